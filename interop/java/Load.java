import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * An application that produces and consumes all the time, and writes down every error that its clients show it.
 *
 * <p>Arguments: bootstrap, the producer's name, topic, number of partitions, and the group protocols; each has a
 * group of two members. A line "status" is answered with counts, "stop" with everything there was.
 */
public final class Load {
    private static final int MEMBERS = 2;
    private static final Duration POLL = Duration.ofMillis(200);
    private static final long COMMIT_EVERY_NS = 300_000_000L;
    private static final long PAUSE_MS = 10;
    private static final long LAST_RECORDS_WITHIN_NS = 60_000_000_000L;

    private final String bootstrap;
    private final String name;
    private final String topic;
    private final int partitions;
    private final List<Group> groups = new ArrayList<>();
    private final List<String> errors = Collections.synchronizedList(new ArrayList<>());
    private final List<Record> acknowledged = Collections.synchronizedList(new ArrayList<>());
    private final Thread producing = new Thread(this::produce, "producer");
    private volatile boolean isEnding;

    private Load(String[] args) {
        bootstrap = args[0];
        name = args[1];
        topic = args[2];
        partitions = Integer.parseInt(args[3]);
        for (int index = 4; index < args.length; index++) {
            groups.add(new Group(args[index]));
        }
    }

    public static void main(String[] args) throws Exception {
        Wire.In in = new Wire.In(System.in);
        Wire.Out out = new Wire.Out(System.out);
        System.setOut(System.err);
        Load load = new Load(args);
        load.groups.forEach(Group::start);
        load.producing.start();
        for (String command = in.readUTF(); command.equals("status"); command = in.readUTF()) {
            load.writeStatus(out);
        }
        load.stop();
        load.writeAll(out);
    }

    private void writeStatus(Wire.Out out) throws IOException {
        out.writeInt(acknowledged.size());
        for (Group group : groups) {
            out.writeInt(group.holders.get());
            out.writeInt(group.rebalances.get());
        }
        out.flush();
    }

    private void stop() throws InterruptedException {
        isEnding = true;
        producing.join();
        for (Group group : groups) {
            group.stop();
        }
    }

    private void writeAll(Wire.Out out) throws IOException {
        out.writeInt(errors.size());
        for (String error : errors) {
            out.writeUTF(error);
        }
        write(out, acknowledged);
        for (Group group : groups) {
            out.writeInt(group.rebalances.get());
            write(out, group.consumed);
        }
        out.flush();
    }

    private static void write(Wire.Out out, List<Record> records) throws IOException {
        out.writeInt(records.size());
        for (Record record : records) {
            out.writeInt(record.partition);
            out.writeLong(record.offset);
            out.writeUTF(record.value);
        }
    }

    private Properties common() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        return properties;
    }

    private void produce() {
        Properties properties = common();
        properties.put("acks", "all");
        properties.put("enable.idempotence", "true");
        properties.put("linger.ms", "5");
        int[] numbers = new int[partitions];
        try (KafkaProducer<String, String> producer =
                new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer())) {
            for (int partition = 0; !isEnding; partition = (partition + 1) % partitions) {
                String value = name + ":" + numbers[partition]++;
                producer.send(new ProducerRecord<>(topic, partition, null, value), (metadata, error) -> {
                    if (error == null) {
                        acknowledged.add(new Record(metadata.partition(), metadata.offset(), value));
                    } else {
                        errors.add("producer: " + value + ": " + error);
                    }
                });
                Thread.sleep(PAUSE_MS);
            }
        } catch (Exception error) {
            errors.add("producer: " + error);
        }
    }

    /** One record as the cluster acknowledged or gave it. */
    private static final class Record {
        final int partition;
        final long offset;
        final String value;

        Record(int partition, long offset, String value) {
            this.partition = partition;
            this.offset = offset;
            this.value = value;
        }
    }

    /** The members of one group. */
    private final class Group {
        final List<Record> consumed = Collections.synchronizedList(new ArrayList<>());
        final AtomicInteger holders = new AtomicInteger();
        final AtomicInteger rebalances = new AtomicInteger();
        private final AtomicLong ours = new AtomicLong();
        private final String protocol;
        private final List<Thread> members = new ArrayList<>();
        private final CountDownLatch haveAll = new CountDownLatch(MEMBERS);
        private volatile boolean isStopping;

        Group(String protocol) {
            this.protocol = protocol;
            for (int number = 0; number < MEMBERS; number++) {
                members.add(new Thread(this::consume, protocol + "-" + number));
            }
        }

        void start() {
            members.forEach(Thread::start);
        }

        /** Everything that was acknowledged is read before the members leave. */
        void stop() throws InterruptedException {
            long end = System.nanoTime() + LAST_RECORDS_WITHIN_NS;
            while (ours.get() < acknowledged.size() && System.nanoTime() < end) {
                Thread.sleep(PAUSE_MS);
            }
            isStopping = true;
            for (Thread member : members) {
                member.join();
            }
        }

        private void consume() {
            String member = Thread.currentThread().getName();
            Properties properties = common();
            properties.put("group.id", name + "-" + protocol);
            properties.put("auto.offset.reset", "earliest");
            properties.put("enable.auto.commit", "false");
            if (protocol.equals("consumer")) {
                properties.put("group.protocol", protocol);
            }
            try (KafkaConsumer<String, String> consumer =
                    new KafkaConsumer<>(properties, new StringDeserializer(), new StringDeserializer())) {
                consumer.subscribe(List.of(topic), new Rebalances(member));
                long committedAt = System.nanoTime();
                while (!isStopping) {
                    step(consumer, member);
                    if (System.nanoTime() - committedAt > COMMIT_EVERY_NS) {
                        committedAt = System.nanoTime();
                        commit(consumer, member);
                    }
                }
                commit(consumer, member);
                haveAll.countDown();
                haveAll.await();
            } catch (Exception error) {
                errors.add(member + ": " + error);
            } finally {
                haveAll.countDown();
            }
        }

        private void step(KafkaConsumer<String, String> consumer, String member) {
            try {
                for (ConsumerRecord<String, String> record : consumer.poll(POLL)) {
                    consumed.add(new Record(record.partition(), record.offset(), record.value()));
                    if (record.value().startsWith(name + ":")) {
                        ours.incrementAndGet();
                    }
                }
            } catch (RuntimeException error) {
                errors.add(member + ": poll: " + error);
            }
        }

        private void commit(KafkaConsumer<String, String> consumer, String member) {
            try {
                consumer.commitSync();
            } catch (RuntimeException error) {
                errors.add(member + ": commit: " + error);
            }
        }

        /** Counts the members that hold partitions, and how often some were taken from one. */
        private final class Rebalances implements ConsumerRebalanceListener {
            private final String member;
            private int held;

            Rebalances(String member) {
                this.member = member;
            }

            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> added) {
                hold(held + added.size());
            }

            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> removed) {
                if (!isStopping && !removed.isEmpty()) {
                    rebalances.incrementAndGet();
                }
                hold(held - removed.size());
            }

            @Override
            public void onPartitionsLost(Collection<TopicPartition> lost) {
                errors.add(member + ": lost " + lost);
                hold(held - lost.size());
            }

            private void hold(int count) {
                holders.addAndGet(Integer.signum(count) - Integer.signum(held));
                held = count;
            }
        }
    }
}
