import java.io.EOFException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Agent for kafka-clients 0.9 to 1.1, by the methods that 0.9 has: no admin client, no headers, no timestamps of
 * one's own. It speaks the commands of Agent, and what it cannot do it answers with an error.
 */
public final class OldAgent {
    private static final long EARLIEST = -2;
    private static final long CALL_TIMEOUT_MS = 60_000;

    private final Wire.In in;
    private final Wire.Out out;
    private final String bootstrap;
    private final Map<Integer, KafkaProducer<byte[], byte[]>> producers = new HashMap<>();
    private final Map<Integer, List<Future<?>>> pending = new HashMap<>();
    private final Map<Integer, KafkaConsumer<byte[], byte[]>> consumers = new HashMap<>();
    private final Map<Integer, OldMember> members = new HashMap<>();
    private int nextId;

    private OldAgent(Wire.In in, Wire.Out out, String bootstrap) {
        this.in = in;
        this.out = out;
        this.bootstrap = bootstrap;
    }

    public static void main(String[] args) throws Exception {
        Wire.In in = new Wire.In(System.in);
        Wire.Out out = new Wire.Out(System.out);
        System.setOut(System.err);
        OldAgent agent = new OldAgent(in, out, args[0]);
        while (agent.serveOne()) {
            out.flush();
        }
    }

    /** Every command reads its arguments before it does anything that may fail. */
    private boolean serveOne() throws IOException {
        String command;
        try {
            command = in.readUTF();
        } catch (EOFException end) {
            return false;
        }
        try {
            serve(command);
        } catch (IOException broken) {
            throw broken;
        } catch (Exception error) {
            out.writeByte(1);
            out.writeUTF(String.valueOf(error.getCause() == null ? error : error.getCause()));
        }
        return true;
    }

    private void serve(String command) throws Exception {
        switch (command) {
            case "createTopic":
                createTopic(in.readUTF(), in.readInt());
                in.readConfig();
                break;
            case "topics":
                topics();
                break;
            case "openProducer":
                openProducer(in.readConfig());
                break;
            case "send":
                send(in.readInt(), in.readUTF());
                break;
            case "flush":
                flush(in.readInt());
                break;
            case "closeProducer":
                closeProducer(in.readInt());
                break;
            case "openReader":
                openReader(new TopicPartition(in.readUTF(), in.readInt()), in.readLong());
                break;
            case "poll":
                poll(in.readInt(), in.readLong());
                break;
            case "closeConsumer":
                closeConsumer(in.readInt());
                break;
            case "openMember":
                openMember(in.readConfig(), in.readStrings());
                break;
            case "assignment":
                assignment(in.readInt());
                break;
            case "commit":
                members.get(in.readInt()).commit();
                ok();
                break;
            case "committed":
                committed(in.readUTF(), new TopicPartition(in.readUTF(), in.readInt()));
                break;
            case "endOffset":
                endOffset(new TopicPartition(in.readUTF(), in.readInt()));
                break;
            default:
                throw new IOException("unknown command " + command);
        }
    }

    private void closeProducer(int id) throws IOException {
        pending.remove(id);
        producers.remove(id).close();
        ok();
    }

    private void ok() throws IOException {
        out.writeByte(0);
    }

    /** Metadata asked by a producer makes the broker create the topic. */
    private void createTopic(String topic, int partitions) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(Collections.emptyMap())) {
            int found = producer.partitionsFor(topic).size();
            if (found != partitions) {
                throw new IllegalStateException(topic + " has " + found + " partitions");
            }
        }
        ok();
    }

    private void topics() throws IOException {
        Map<String, List<PartitionInfo>> topics;
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            topics = consumer.listTopics();
        }
        ok();
        out.writeInt(topics.size());
        for (Map.Entry<String, List<PartitionInfo>> topic : topics.entrySet()) {
            out.writeUTF(topic.getKey());
            out.writeInt(topic.getValue().size());
        }
    }

    private void openProducer(Map<String, String> settings) throws IOException {
        Map<String, String> known = new HashMap<>(settings);
        known.remove("enable.idempotence");
        // Old clients drop records on a lost connection unless they are told to try again, in order.
        known.put("retries", "1000");
        known.put("max.in.flight.requests.per.connection", "1");
        known.put("block.on.buffer.full", "true");
        // In 0.9 this is also how long a batch may wait for a broker to come back.
        known.put("request.timeout.ms", "60000");
        producers.put(nextId, producer(known));
        pending.put(nextId, new ArrayList<>());
        ok();
        out.writeInt(nextId++);
    }

    private void send(int id, String topic) throws IOException {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int left = in.readInt(); left > 0; left--) {
            int partition = in.readInt();
            in.readLong();
            records.add(new ProducerRecord<>(topic, partition, in.readBlob(), in.readBlob()));
            if (in.readInt() != 0) {
                throw new IOException("old clients send no headers");
            }
        }
        for (ProducerRecord<byte[], byte[]> record : records) {
            pending.get(id).add(producers.get(id).send(record));
        }
        ok();
    }

    private void flush(int id) throws Exception {
        producers.get(id).flush();
        for (Future<?> future : pending.get(id)) {
            future.get(CALL_TIMEOUT_MS, TimeUnit.MILLISECONDS);
        }
        pending.get(id).clear();
        ok();
    }

    private void openReader(TopicPartition where, long offset) throws Exception {
        KafkaConsumer<byte[], byte[]> consumer = consumer();
        consumer.assign(Collections.singletonList(where));
        if (offset == EARLIEST) {
            seek(consumer, "seekToBeginning", where);
        } else {
            consumer.seek(where, offset);
        }
        consumers.put(nextId, consumer);
        ok();
        out.writeInt(nextId++);
    }

    private void openMember(Map<String, String> settings, String[] topics) throws IOException {
        members.put(nextId, new OldMember(consumer(settings), topics));
        ok();
        out.writeInt(nextId++);
    }

    private void assignment(int id) throws IOException {
        Collection<TopicPartition> owned = members.get(id).assignment();
        ok();
        out.writeInt(owned.size());
        for (TopicPartition where : owned) {
            out.writeUTF(where.topic());
            out.writeInt(where.partition());
        }
    }

    private void committed(String group, TopicPartition where) throws IOException {
        OffsetAndMetadata found;
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Collections.singletonMap("group.id", group))) {
            found = consumer.committed(where);
        }
        ok();
        out.writeLong(found == null ? -1 : found.offset());
    }

    private void closeConsumer(int id) throws Exception {
        OldMember member = members.remove(id);
        if (member == null) {
            consumers.remove(id).close();
        } else {
            member.close();
        }
        ok();
    }

    private void poll(int id, long timeoutMs) throws Exception {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        if (members.containsKey(id)) {
            records = members.get(id).poll(timeoutMs);
        } else {
            consumers.get(id).poll(timeoutMs).forEach(records::add);
        }
        ok();
        out.writeInt(records.size());
        for (ConsumerRecord<byte[], byte[]> record : records) {
            out.writeInt(record.partition());
            out.writeLong(record.offset());
            out.writeLong(-1);
            out.writeBlob(record.key());
            out.writeBlob(record.value());
            out.writeInt(0);
        }
    }

    private void endOffset(TopicPartition where) throws Exception {
        long offset;
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            consumer.assign(Collections.singletonList(where));
            seek(consumer, "seekToEnd", where);
            offset = consumer.position(where);
        }
        ok();
        out.writeLong(offset);
    }

    /** The seeks took an array of partitions in 0.9 and take a collection since 0.10. */
    private static void seek(KafkaConsumer<?, ?> consumer, String name, TopicPartition where) throws Exception {
        try {
            consumer.getClass().getMethod(name, Collection.class).invoke(consumer, Collections.singletonList(where));
        } catch (NoSuchMethodException before010) {
            Object array = new TopicPartition[] {where};
            consumer.getClass().getMethod(name, TopicPartition[].class).invoke(consumer, array);
        }
    }

    private KafkaProducer<byte[], byte[]> producer(Map<String, String> settings) {
        return new KafkaProducer<>(properties(settings), new ByteArraySerializer(), new ByteArraySerializer());
    }

    private KafkaConsumer<byte[], byte[]> consumer() {
        return consumer(Collections.emptyMap());
    }

    private KafkaConsumer<byte[], byte[]> consumer(Map<String, String> settings) {
        Properties properties = properties(settings);
        properties.putIfAbsent("auto.offset.reset", "none");
        properties.put("enable.auto.commit", "false");
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private Properties properties(Map<String, String> settings) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.putAll(settings);
        return properties;
    }
}
