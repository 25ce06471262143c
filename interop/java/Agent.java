import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Drives Kafka's Java client for the interop suite: commands on standard input, answers on standard output.
 *
 * <p>A command is a UTF string and its arguments; an answer is the byte 0 and the results, or 1 and the error.
 * Byte arrays carry an int length, -1 for null. Compiled against each kafka-clients version of the matrix.
 */
public final class Agent {
    private static final long EARLIEST = -2;
    private static final long LATEST = -1;
    private static final long CALL_TIMEOUT_MS = 60_000;

    private final Wire.In in;
    private final Wire.Out out;
    private final Map<String, String> common = new HashMap<>();
    private final Map<Integer, KafkaProducer<byte[], byte[]>> producers = new HashMap<>();
    private final Map<Integer, List<Future<?>>> pending = new HashMap<>();
    private final Map<Integer, KafkaConsumer<byte[], byte[]>> consumers = new HashMap<>();
    private AdminClient admin;
    private int nextId;

    private Agent(Wire.In in, Wire.Out out) {
        this.in = in;
        this.out = out;
    }

    public static void main(String[] args) throws IOException {
        Wire.In in = new Wire.In(System.in);
        Wire.Out out = new Wire.Out(System.out);
        System.setOut(System.err);
        Agent agent = new Agent(in, out);
        agent.common.put("bootstrap.servers", args[0]);
        agent.common.put("reconnect.backoff.max.ms", "500");
        agent.serve();
    }

    private void serve() throws IOException {
        while (true) {
            String command;
            try {
                command = in.readUTF();
            } catch (EOFException end) {
                return;
            }
            answer(command);
            out.flush();
        }
    }

    private void answer(String command) throws IOException {
        Object[] arguments = arguments(command);
        Reply reply;
        try {
            reply = call(command, arguments);
        } catch (Exception error) {
            out.writeByte(1);
            out.writeUTF(String.valueOf(error.getCause() == null ? error : error.getCause()));
            return;
        }
        out.writeByte(0);
        reply.write();
    }

    /** The arguments are read whole before the call, so that a failing call leaves the stream in step. */
    private Object[] arguments(String command) throws IOException {
        switch (command) {
            case "topics":
                return new Object[] {};
            case "createTopic":
                return new Object[] {in.readUTF(), in.readInt(), in.readConfig()};
            case "deleteTopic":
                return new Object[] {in.readUTF()};
            case "openProducer":
                return new Object[] {in.readConfig()};
            case "send":
                return new Object[] {in.readInt(), readMessages(in.readUTF())};
            case "openReader":
            case "openCommittedReader":
                return new Object[] {new TopicPartition(in.readUTF(), in.readInt()), in.readLong()};
            case "openMember":
                return new Object[] {in.readConfig(), in.readStrings()};
            case "sendOffsets":
                return new Object[] {in.readInt(), in.readInt(), in.readUTF()};
            case "flush":
            case "initTransactions":
            case "begin":
            case "commitTransaction":
            case "abortTransaction":
            case "closeProducer":
            case "assignment":
            case "commit":
            case "closeConsumer":
                return new Object[] {in.readInt()};
            case "poll":
                return new Object[] {in.readInt(), in.readLong()};
            case "offsetAt":
                return new Object[] {new TopicPartition(in.readUTF(), in.readInt()), in.readLong()};
            case "endOffset":
                return new Object[] {new TopicPartition(in.readUTF(), in.readInt())};
            case "committed":
                return new Object[] {in.readUTF(), new TopicPartition(in.readUTF(), in.readInt())};
            case "setCommitted":
                return new Object[] {in.readUTF(), new TopicPartition(in.readUTF(), in.readInt()), in.readLong()};
            default:
                throw new IOException("unknown command " + command);
        }
    }

    private Reply call(String command, Object[] args) throws Exception {
        switch (command) {
            case "topics":
                return topics();
            case "createTopic":
                NewTopic topic = new NewTopic((String) args[0], (int) args[1], (short) 1).configs(config(args[2]));
                admin().createTopics(List.of(topic)).all().get(CALL_TIMEOUT_MS, TimeUnit.MILLISECONDS);
                return Reply.NOTHING;
            case "deleteTopic":
                admin().deleteTopics(List.of((String) args[0])).all().get(CALL_TIMEOUT_MS, TimeUnit.MILLISECONDS);
                return Reply.NOTHING;
            case "openProducer":
                return openProducer(config(args[0]));
            case "send":
                return send((int) args[0], messages(args[1]));
            case "flush":
                return flush((int) args[0]);
            case "closeProducer":
                pending.remove((int) args[0]);
                producers.remove((int) args[0]).close();
                return Reply.NOTHING;
            case "initTransactions":
                producers.get((int) args[0]).initTransactions();
                return Reply.NOTHING;
            case "begin":
                producers.get((int) args[0]).beginTransaction();
                return Reply.NOTHING;
            case "sendOffsets":
                return sendOffsets((int) args[0], (int) args[1], (String) args[2]);
            case "commitTransaction":
                producers.get((int) args[0]).commitTransaction();
                return Reply.NOTHING;
            case "abortTransaction":
                pending.get((int) args[0]).clear();
                producers.get((int) args[0]).abortTransaction();
                return Reply.NOTHING;
            case "openReader":
                return openReader((TopicPartition) args[0], (long) args[1], "read_uncommitted");
            case "openCommittedReader":
                return openReader((TopicPartition) args[0], (long) args[1], "read_committed");
            case "openMember":
                return openMember(config(args[0]), (String[]) args[1]);
            case "poll":
                return poll((int) args[0], (long) args[1]);
            case "assignment":
                return assignment((int) args[0]);
            case "commit":
                consumers.get((int) args[0]).commitSync(Duration.ofMillis(CALL_TIMEOUT_MS));
                return Reply.NOTHING;
            case "closeConsumer":
                consumers.remove((int) args[0]).close(Duration.ofSeconds(10));
                return Reply.NOTHING;
            case "offsetAt":
                return offsetAt((TopicPartition) args[0], (long) args[1]);
            case "endOffset":
                return endOffset((TopicPartition) args[0]);
            case "committed":
                return committed((String) args[0], (TopicPartition) args[1]);
            case "setCommitted":
                return setCommitted((String) args[0], (TopicPartition) args[1], (long) args[2]);
            default:
                throw new IllegalStateException(command);
        }
    }

    private static String clientVersion() throws IOException {
        Properties properties = new Properties();
        try (InputStream file = AdminClient.class.getResourceAsStream("/kafka/kafka-version.properties")) {
            properties.load(file);
        }
        return properties.getProperty("version");
    }

    private AdminClient admin() {
        if (admin == null) {
            admin = AdminClient.create(properties(Map.of()));
        }
        return admin;
    }

    private Reply topics() throws Exception {
        Set<String> names = admin().listTopics().names().get(CALL_TIMEOUT_MS, TimeUnit.MILLISECONDS);
        Map<String, Integer> counts = new HashMap<>();
        // One that is deleted between the two questions fails alone, and is then not listed.
        for (Map.Entry<String, ? extends Future<TopicDescription>> entry : describe(names).entrySet()) {
            try {
                counts.put(entry.getKey(), entry.getValue().get().partitions().size());
            } catch (java.util.concurrent.ExecutionException gone) {
                if (!(gone.getCause() instanceof org.apache.kafka.common.errors.UnknownTopicOrPartitionException)) {
                    throw gone;
                }
            }
        }
        return () -> {
            out.writeInt(counts.size());
            for (Map.Entry<String, Integer> count : counts.entrySet()) {
                out.writeUTF(count.getKey());
                out.writeInt(count.getValue());
            }
        };
    }

    /** `values()` was renamed to `topicNameValues()` in 3.1 and removed in 4.0. */
    @SuppressWarnings("unchecked")
    private Map<String, ? extends Future<TopicDescription>> describe(Set<String> names) throws Exception {
        Object result = admin().describeTopics(names);
        String method = clientVersion().startsWith("2.") ? "values" : "topicNameValues";
        return (Map<String, ? extends Future<TopicDescription>>) result.getClass().getMethod(method).invoke(result);
    }

    private Reply openProducer(Map<String, String> settings) {
        int id = nextId++;
        Properties properties = properties(settings);
        producers.put(id, new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer()));
        pending.put(id, new ArrayList<>());
        return () -> out.writeInt(id);
    }

    private Reply send(int id, List<ProducerRecord<byte[], byte[]>> records) {
        for (ProducerRecord<byte[], byte[]> record : records) {
            pending.get(id).add(producers.get(id).send(record));
        }
        return Reply.NOTHING;
    }

    private Reply flush(int id) throws Exception {
        producers.get(id).flush();
        for (Future<?> future : pending.get(id)) {
            future.get(CALL_TIMEOUT_MS, TimeUnit.MILLISECONDS);
        }
        pending.get(id).clear();
        return Reply.NOTHING;
    }

    /** By the group's metadata since 2.5 (KIP-447), by its name alone before; 4.0 has no longer both. */
    private Reply sendOffsets(int producer, int consumer, String group) throws Exception {
        KafkaConsumer<byte[], byte[]> member = consumers.get(consumer);
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (TopicPartition each : member.assignment()) {
            offsets.put(each, new OffsetAndMetadata(member.position(each)));
        }
        Class<?> kind = String.class;
        Object who = group;
        if (!clientVersion().startsWith("2.0")) {
            who = KafkaConsumer.class.getMethod("groupMetadata").invoke(member);
            kind = who.getClass();
            if (kind.getSuperclass() != Object.class) {
                kind = kind.getSuperclass();
            }
        }
        KafkaProducer.class
            .getMethod("sendOffsetsToTransaction", Map.class, kind)
            .invoke(producers.get(producer), offsets, who);
        return Reply.NOTHING;
    }

    private Reply openReader(TopicPartition where, long offset, String isolation) {
        KafkaConsumer<byte[], byte[]> consumer =
            consumer(Map.of("auto.offset.reset", "none", "isolation.level", isolation));
        consumer.assign(List.of(where));
        if (offset == EARLIEST) {
            consumer.seekToBeginning(List.of(where));
        } else if (offset == LATEST) {
            consumer.seekToEnd(List.of(where));
        } else {
            consumer.seek(where, offset);
        }
        return opened(consumer);
    }

    private Reply openMember(Map<String, String> settings, String[] topics) {
        KafkaConsumer<byte[], byte[]> consumer = consumer(settings);
        if (topics.length == 1 && topics[0].startsWith("^")) {
            consumer.subscribe(Pattern.compile(topics[0]));
        } else {
            consumer.subscribe(List.of(topics));
        }
        return opened(consumer);
    }

    private Reply opened(KafkaConsumer<byte[], byte[]> consumer) {
        int id = nextId++;
        consumers.put(id, consumer);
        return () -> out.writeInt(id);
    }

    private Reply poll(int id, long timeoutMs) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        consumers.get(id).poll(Duration.ofMillis(timeoutMs)).forEach(records::add);
        return () -> {
            out.writeInt(records.size());
            for (ConsumerRecord<byte[], byte[]> record : records) {
                write(record);
            }
        };
    }

    private Reply assignment(int id) {
        Set<TopicPartition> assigned = consumers.get(id).assignment();
        return () -> {
            out.writeInt(assigned.size());
            for (TopicPartition each : assigned) {
                out.writeUTF(each.topic());
                out.writeInt(each.partition());
            }
        };
    }

    private Reply offsetAt(TopicPartition where, long timestamp) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of())) {
            OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(where, timestamp)).get(where);
            return () -> out.writeLong(found == null ? -1 : found.offset());
        }
    }

    private Reply endOffset(TopicPartition where) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of())) {
            long offset = consumer.endOffsets(List.of(where)).get(where);
            return () -> out.writeLong(offset);
        }
    }

    private Reply committed(String group, TopicPartition where) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> offsets =
            admin().listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        OffsetAndMetadata offset = offsets.get(where);
        return () -> out.writeLong(offset == null ? -1 : offset.offset());
    }

    /** As a consumer that takes its partitions by hand. */
    private Reply setCommitted(String group, TopicPartition where, long offset) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("group.id", group))) {
            consumer.assign(List.of(where));
            consumer.commitSync(Map.of(where, new OffsetAndMetadata(offset)));
        }
        return Reply.NOTHING;
    }

    private KafkaConsumer<byte[], byte[]> consumer(Map<String, String> settings) {
        return new KafkaConsumer<>(properties(settings), new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private Properties properties(Map<String, String> settings) {
        Properties properties = new Properties();
        properties.putAll(common);
        properties.putAll(settings);
        return properties;
    }

    private List<ProducerRecord<byte[], byte[]>> readMessages(String topic) throws IOException {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int left = in.readInt(); left > 0; left--) {
            int partition = in.readInt();
            long timestamp = in.readLong();
            byte[] key = in.readBlob();
            byte[] value = in.readBlob();
            List<Header> headers = new ArrayList<>();
            for (int count = in.readInt(); count > 0; count--) {
                headers.add(new RecordHeader(in.readUTF(), in.readBlob()));
            }
            records.add(new ProducerRecord<>(topic, partition, timestamp < 0 ? null : timestamp, key, value, headers));
        }
        return records;
    }

    private void write(ConsumerRecord<byte[], byte[]> record) throws IOException {
        out.writeInt(record.partition());
        out.writeLong(record.offset());
        out.writeLong(record.timestamp());
        out.writeBlob(record.key());
        out.writeBlob(record.value());
        Header[] headers = record.headers().toArray();
        out.writeInt(headers.length);
        for (Header header : headers) {
            out.writeBlob(header.key().getBytes(StandardCharsets.UTF_8));
            out.writeBlob(header.value());
        }
    }

    @SuppressWarnings("unchecked")
    private static Map<String, String> config(Object argument) {
        return (Map<String, String>) argument;
    }

    @SuppressWarnings("unchecked")
    private static List<ProducerRecord<byte[], byte[]>> messages(Object argument) {
        return (List<ProducerRecord<byte[], byte[]>>) argument;
    }

    /** Writes the results of a call that went well. */
    private interface Reply {
        Reply NOTHING = () -> { };

        void write() throws IOException;
    }
}
