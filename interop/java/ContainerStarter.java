import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import org.testcontainers.containers.GenericContainer;
import org.testcontainers.kafka.ConfluentKafkaContainer;
import org.testcontainers.kafka.KafkaContainer;
import org.testcontainers.utility.DockerImageName;

/**
 * Starts a broker with a Kafka module of Testcontainers: one answer line, and the end of input stops it.
 *
 * <p>Arguments: the mode (apache, confluent, and of the deprecated class zookeeper and kraft) and the image.
 */
public final class ContainerStarter {
    public static void main(String[] arguments) throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        if (input.readLine() == null) {
            return;
        }
        try (GenericContainer<?> container = container(arguments[0], arguments[1])) {
            container.start();
            answer("bootstrap", bootstrap(container));
            while (input.readLine() != null) {
                // Until the end of input.
            }
        } catch (RuntimeException failure) {
            Throwable cause = failure;
            while (cause.getCause() != null) {
                cause = cause.getCause();
            }
            answer("error", failure + " because of " + cause);
        }
    }

    @SuppressWarnings("deprecation")
    private static GenericContainer<?> container(String mode, String image) {
        switch (mode) {
            case "apache":
                return new KafkaContainer(image);
            case "confluent":
                return new ConfluentKafkaContainer(image);
            case "zookeeper":
                return new org.testcontainers.containers.KafkaContainer(DockerImageName.parse(image));
            case "kraft":
                return new org.testcontainers.containers.KafkaContainer(DockerImageName.parse(image)).withKraft();
            default:
                throw new IllegalArgumentException("no mode " + mode);
        }
    }

    @SuppressWarnings("deprecation")
    private static String bootstrap(GenericContainer<?> container) {
        if (container instanceof KafkaContainer) {
            return ((KafkaContainer) container).getBootstrapServers();
        }
        if (container instanceof ConfluentKafkaContainer) {
            return ((ConfluentKafkaContainer) container).getBootstrapServers();
        }
        String servers = ((org.testcontainers.containers.KafkaContainer) container).getBootstrapServers();
        return servers.substring(servers.indexOf("://") + 3);
    }

    private static void answer(String name, String text) {
        System.out.println("{\"" + name + "\": \"" + text.replaceAll("[\"\\\\\\p{Cntrl}]", " ") + "\"}");
    }
}
