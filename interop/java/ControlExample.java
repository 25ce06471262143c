import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** Controls a test broker over HTTP. Argument: its address, as http://127.0.0.1:8082. */
public class ControlExample {
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    public static void main(String[] arguments) throws Exception {
        String url = arguments[0];
        call(url, "reset", "{}");
        call(url, "add_fault",
            "{\"api\": [\"Produce\"], \"topic\": \"orders\", \"error\": \"NOT_LEADER_OR_FOLLOWER\", \"times\": 1}");
        String address = first("\"address\": ?\"([^\"]+)\"", call(url, "brokers", "{}"));
        Map<String, Object> settings = Map.of("bootstrap.servers", address);
        try (KafkaProducer<String, String> producer =
                 new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            producer.send(new ProducerRecord<>("orders", "one")).get();
        }
        String fired = first("\"fired\": ?(\\d+)", call(url, "faults", "{}"));
        String value = first("\"value\": ?\"([^\"]+)\"", call(url, "records", "{\"topic\": \"orders\"}"));
        call(url, "reset", "{}");
        int left = call(url, "faults", "{}").strip().equals("[]") ? 0 : 1;
        System.out.printf("{\"fired\": %s, \"records\": [\"%s\"], \"left\": %d}%n", fired, value, left);
    }

    /** One operation of the API; its arguments and its result are JSON. */
    private static String call(String url, String operation, String arguments) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url + "/v1/" + operation))
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(arguments))
            .build();
        HttpResponse<String> response = HTTP.send(request, HttpResponse.BodyHandlers.ofString());
        if (response.statusCode() != 200) {
            throw new IllegalStateException(operation + ": " + response.body());
        }
        return response.body();
    }

    private static String first(String pattern, String text) {
        Matcher found = Pattern.compile(pattern).matcher(text);
        if (!found.find()) {
            throw new IllegalStateException("no " + pattern + " in " + text);
        }
        return found.group(1);
    }
}
