import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.Optional;
import java.util.stream.Stream;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Counts by key, from a topic to another, exactly once: every record of the source gives one of the sink. */
public final class FlinkCount {
    private FlinkCount() { }

    /** Arguments: bootstrap servers, name, source topic, sink topic, folder of the checkpoints. */
    public static void main(String[] args) throws Exception {
        Path checkpoints = Files.createDirectories(Path.of(args[4]));
        Configuration settings = new Configuration();
        settings.setString("execution.checkpointing.interval", "500ms");
        settings.setString("execution.checkpointing.dir", checkpoints.toUri().toString());
        settings.setString("execution.checkpointing.externalized-checkpoint-retention", "RETAIN_ON_CANCELLATION");
        settings.setString("restart-strategy.type", "fixed-delay");
        settings.setString("restart-strategy.fixed-delay.attempts", "1000");
        settings.setString("restart-strategy.fixed-delay.delay", "500ms");
        latest(checkpoints).ifPresent(path -> settings.setString("execution.state-recovery.path", path));

        StreamExecutionEnvironment job = StreamExecutionEnvironment.createLocalEnvironment(2, settings);
        KafkaSource<Tuple2<String, String>> source = KafkaSource.<Tuple2<String, String>>builder()
            .setBootstrapServers(args[0])
            .setGroupId(args[1])
            .setTopics(args[2])
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setDeserializer(new Reading())
            .setProperty("reconnect.backoff.max.ms", "500")
            .build();
        KafkaSink<Tuple2<String, String>> sink = KafkaSink.<Tuple2<String, String>>builder()
            .setBootstrapServers(args[0])
            .setRecordSerializer(new Writing(args[3]))
            .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
            .setTransactionalIdPrefix(args[1])
            .setProperty("transaction.timeout.ms", "60000")
            .setProperty("reconnect.backoff.max.ms", "500")
            .build();
        job.fromSource(source, WatermarkStrategy.noWatermarks(), "source").uid("source")
            .keyBy(record -> record.f0)
            .map(new Counting()).uid("count")
            .sinkTo(sink).uid("sink");
        job.execute(args[1]);
    }

    /** The newest whole checkpoint of an earlier run. */
    private static Optional<String> latest(Path checkpoints) throws IOException {
        try (Stream<Path> files = Files.walk(checkpoints)) {
            return files.filter(path -> path.endsWith("_metadata"))
                .max(Comparator.comparingLong(path -> path.toFile().lastModified()))
                .map(path -> path.getParent().toUri().toString());
        }
    }

    private static final class Reading implements KafkaRecordDeserializationSchema<Tuple2<String, String>> {
        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Tuple2<String, String>> out) {
            out.collect(Tuple2.of(text(record.key()), text(record.value())));
        }

        @Override
        public TypeInformation<Tuple2<String, String>> getProducedType() {
            return Types.TUPLE(Types.STRING, Types.STRING);
        }

        private static String text(byte[] bytes) {
            return new String(bytes, StandardCharsets.UTF_8);
        }
    }

    private static final class Counting extends RichMapFunction<Tuple2<String, String>, Tuple2<String, String>> {
        private transient ValueState<Long> count;

        @Override
        public void open(OpenContext context) {
            count = getRuntimeContext().getState(new ValueStateDescriptor<>("count", Types.LONG));
        }

        @Override
        public Tuple2<String, String> map(Tuple2<String, String> record) throws IOException {
            Long before = count.value();
            long now = before == null ? 1 : before + 1;
            count.update(now);
            return Tuple2.of(record.f0, String.format("{\"text\": \"%s\", \"count\": %d}", record.f1, now));
        }
    }

    private static final class Writing implements KafkaRecordSerializationSchema<Tuple2<String, String>> {
        private final String topic;

        Writing(String topic) {
            this.topic = topic;
        }

        @Override
        public ProducerRecord<byte[], byte[]> serialize(
                Tuple2<String, String> record, KafkaSinkContext context, Long timestamp) {
            return new ProducerRecord<>(
                topic, record.f0.getBytes(StandardCharsets.UTF_8), record.f1.getBytes(StandardCharsets.UTF_8));
        }
    }
}
