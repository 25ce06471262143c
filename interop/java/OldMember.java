import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/**
 * A member of a group with a thread of its own: before 2.0 a poll that meets a rebalance returns only when the
 * group is complete, however short its time, so members that are polled in turn would wait for each other.
 */
final class OldMember {
    private static final long CALL_TIMEOUT_MS = 60_000;
    private static final ConsumerRebalanceListener SILENT = new ConsumerRebalanceListener() {
        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) { }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) { }
    };

    private final KafkaConsumer<byte[], byte[]> consumer;
    private final ExecutorService thread = Executors.newSingleThreadExecutor();
    private volatile Set<TopicPartition> assignment = Collections.emptySet();
    private Future<List<ConsumerRecord<byte[], byte[]>>> polling;

    OldMember(KafkaConsumer<byte[], byte[]> consumer, String[] topics) {
        this.consumer = consumer;
        if (topics.length == 1 && topics[0].startsWith("^")) {
            consumer.subscribe(Pattern.compile(topics[0]), SILENT);
        } else {
            consumer.subscribe(Arrays.asList(topics));
        }
    }

    /** The records of one poll, or none when that poll goes on in the member's thread; a later call gets them. */
    List<ConsumerRecord<byte[], byte[]>> poll(long timeoutMs) throws Exception {
        if (polling == null) {
            polling = thread.submit(() -> pollOnce(timeoutMs));
        }
        try {
            List<ConsumerRecord<byte[], byte[]>> records = polling.get(2 * timeoutMs, TimeUnit.MILLISECONDS);
            polling = null;
            return records;
        } catch (TimeoutException goesOn) {
            return Collections.emptyList();
        } catch (ExecutionException failed) {
            polling = null;
            throw failed;
        }
    }

    /** As of the last poll that ended. */
    Set<TopicPartition> assignment() {
        return assignment;
    }

    void commit() throws Exception {
        thread.submit((Runnable) consumer::commitSync).get(CALL_TIMEOUT_MS, TimeUnit.MILLISECONDS);
    }

    void close() throws Exception {
        if (polling != null && !polling.isDone()) {
            consumer.wakeup();
        }
        thread.submit((Runnable) consumer::close).get(CALL_TIMEOUT_MS, TimeUnit.MILLISECONDS);
        thread.shutdown();
    }

    private List<ConsumerRecord<byte[], byte[]>> pollOnce(long timeoutMs) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        consumer.poll(timeoutMs).forEach(records::add);
        assignment = consumer.assignment();
        return records;
    }
}
