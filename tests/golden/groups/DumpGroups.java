import java.nio.ByteBuffer;
import java.util.*;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.metadata.*;
import org.apache.kafka.coordinator.common.runtime.*;
import org.apache.kafka.coordinator.group.GroupCoordinatorRecordHelpers;
import org.apache.kafka.coordinator.group.GroupCoordinatorRecordSerde;
import org.apache.kafka.coordinator.group.Utils;
import org.apache.kafka.coordinator.group.generated.ConsumerGroupMemberMetadataValue;
import org.apache.kafka.coordinator.group.modern.MemberState;
import org.apache.kafka.coordinator.group.modern.consumer.*;
import org.apache.kafka.image.*;

/**
 * Records of consumer groups and hashes of topics as Apache Kafka makes them, for the tests to compare with.
 *
 * Run with the class path of kafka_2.13 4.3 (version set "tools-4" of interop/support/maven.py):
 * java -cp ... DumpGroups.java > kafka-4.3.1.json
 */
public class DumpGroups {
    static final Uuid A = new Uuid(0x0102030405060708L, 0x090a0b0c0d0e0f10L);
    static final Uuid B = new Uuid(0x71f2f3f4f5f6f7f8L, 0xf9fafbfcfdfeff00L);
    static void out(String name, CoordinatorRecord record) {
        GroupCoordinatorRecordSerde serde = new GroupCoordinatorRecordSerde();
        System.out.println("  \"" + name + "\": [\"" + HexFormat.of().formatHex(serde.serializeKey(record)) + "\", "
            + (record.value() == null ? "null" : "\"" + HexFormat.of().formatHex(serde.serializeValue(record)) + "\"") + "],");
    }
    public static void main(String[] args) throws Exception {
        MetadataDelta delta = new MetadataDelta.Builder().setImage(MetadataImage.EMPTY).build();
        for (int id = 0; id < 3; id++) {
            delta.replay(new RegisterBrokerRecord().setBrokerId(id).setRack(id == 2 ? "\u00e4-rack" : "rack" + id).setFenced(false));
        }
        delta.replay(new TopicRecord().setName("orders").setTopicId(A));
        delta.replay(new TopicRecord().setName("payments-\u00e9").setTopicId(B));
        for (int p = 0; p < 3; p++) delta.replay(new PartitionRecord().setTopicId(A).setPartitionId(p).setReplicas(List.of(p, (p + 1) % 3)).setIsr(List.of(p)).setLeader(p));
        delta.replay(new PartitionRecord().setTopicId(B).setPartitionId(0).setReplicas(List.of(2, 1, 0)).setIsr(List.of(2)).setLeader(2));
        CoordinatorMetadataImage image = new KRaftCoordinatorMetadataImage(delta.apply(MetadataProvenance.EMPTY));
        Map<String, Long> hashes = new HashMap<>();
        System.out.println("{");
        for (String name : List.of("orders", "payments-\u00e9")) hashes.put(name, Utils.computeTopicHash(name, image));
        System.out.println("  \"hash of orders\": " + Utils.computeGroupHash(Map.of("orders", hashes.get("orders"))) + ",");
        System.out.println("  \"hash of both\": " + Utils.computeGroupHash(hashes) + ",");
        Map<Uuid, Map<Integer, Integer>> owned = new TreeMap<>(Map.of(A, new TreeMap<>(Map.of(0, 3, 2, 5)), B, Map.of(0, 4)));
        ConsumerGroupMember member = new ConsumerGroupMember.Builder("m1")
            .setMemberEpoch(5).setPreviousMemberEpoch(4).setState(MemberState.UNREVOKED_PARTITIONS)
            .setInstanceId("i1").setRackId("rack0").setRebalanceTimeoutMs(45000).setClientId("c").setClientHost("/10.0.0.1")
            .setSubscribedTopicNames(List.of("payments-\u00e9", "orders")).setSubscribedTopicRegex("").setServerAssignorName("range")
            .setAssignedPartitions(owned).setPartitionsPendingRevocation(Map.of(A, Map.of(1, 2))).build();
        ConsumerGroupMember classic = new ConsumerGroupMember.Builder("m2").setClientId("c").setClientHost("/h").setRebalanceTimeoutMs(1000)
            .setSubscribedTopicNames(List.of("orders"))
            .setClassicMemberMetadata(new ConsumerGroupMemberMetadataValue.ClassicMemberMetadata().setSessionTimeoutMs(6000)
                .setSupportedProtocols(List.of(new ConsumerGroupMemberMetadataValue.ClassicProtocol().setName("range").setMetadata(new byte[] {0, 1})))).build();
        out("group epoch", GroupCoordinatorRecordHelpers.newConsumerGroupEpochRecord("g", 7, -2));
        out("group epoch gone", GroupCoordinatorRecordHelpers.newConsumerGroupEpochTombstoneRecord("g"));
        out("partition metadata gone", GroupCoordinatorRecordHelpers.newConsumerGroupSubscriptionMetadataTombstoneRecord("g"));
        out("profile", GroupCoordinatorRecordHelpers.newConsumerGroupMemberSubscriptionRecord("g", member));
        out("classic profile", GroupCoordinatorRecordHelpers.newConsumerGroupMemberSubscriptionRecord("g", classic));
        out("profile gone", GroupCoordinatorRecordHelpers.newConsumerGroupMemberSubscriptionTombstoneRecord("g", "m1"));
        out("target epoch", GroupCoordinatorRecordHelpers.newConsumerGroupTargetAssignmentMetadataRecord("g", 7, 1700000000000L));
        out("target epoch gone", GroupCoordinatorRecordHelpers.newConsumerGroupTargetAssignmentMetadataTombstoneRecord("g"));
        out("target", GroupCoordinatorRecordHelpers.newConsumerGroupTargetAssignmentRecord("g", "m1", new TreeMap<>(Map.of(A, new TreeSet<>(Set.of(0, 2)), B, Set.of(0)))));
        out("target gone", GroupCoordinatorRecordHelpers.newConsumerGroupTargetAssignmentTombstoneRecord("g", "m1"));
        out("current", GroupCoordinatorRecordHelpers.newConsumerGroupCurrentAssignmentRecord("g", member));
        out("current gone", GroupCoordinatorRecordHelpers.newConsumerGroupCurrentAssignmentTombstoneRecord("g", "m1"));
        out("regex", GroupCoordinatorRecordHelpers.newConsumerGroupRegularExpressionRecord("g", "o.*", new ResolvedRegularExpression(new TreeSet<>(Set.of("orders")), 12L, 1700000000000L)));
        out("regex gone", GroupCoordinatorRecordHelpers.newConsumerGroupRegularExpressionTombstone("g", "o.*"));
        System.out.println("  \"kafka\": \"" + org.apache.kafka.common.utils.AppInfoParser.getVersion() + "\"");
        System.out.println("}");
    }
}
