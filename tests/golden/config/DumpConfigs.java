import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import kafka.server.DynamicBrokerConfig$;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.server.config.AbstractKafkaConfig;
import org.apache.kafka.server.config.QuotaConfigs;
import org.apache.kafka.server.config.ServerTopicConfigSynonyms;
import org.apache.kafka.storage.internals.log.LogConfig;

/**
 * Prints what Apache Kafka's own classes define about every broker and topic key: one JSON row a line.
 *
 * <p>Made with org.apache.kafka:kafka_2.13:3.9.2 and its dependencies in lib/ (mvn dependency:copy-dependencies):
 * javac -cp 'lib/*' DumpConfigs.java; java -cp 'lib/*:.' DumpConfigs > kafka-3.9.2.json
 */
public class DumpConfigs {
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] args) throws Exception {
        Map<String, Map<String, ?>> sections = new LinkedHashMap<>();
        sections.put("broker", rows(AbstractKafkaConfig.CONFIG_DEF.configKeys(),
            DynamicBrokerConfig$.MODULE$.dynamicConfigUpdateModes()));
        sections.put("broker_quota", rows(QuotaConfigs.brokerQuotaConfigs().configKeys(), null));
        sections.put("topic", rows(LogConfig.configKeys(), null));
        sections.put("synonyms", synonyms());
        System.out.println("{");
        for (Iterator<String> names = sections.keySet().iterator(); names.hasNext(); ) {
            String name = names.next();
            System.out.println("  \"" + name + "\": {");
            print(sections.get(name));
            System.out.println(names.hasNext() ? "  }," : "  }");
        }
        System.out.println("}");
    }

    private static void print(Map<String, ?> rows) throws Exception {
        for (Iterator<String> names = rows.keySet().iterator(); names.hasNext(); ) {
            String name = names.next();
            String row = JSON.writeValueAsString(rows.get(name));
            System.out.println("    \"" + name + "\": " + row + (names.hasNext() ? "," : ""));
        }
    }

    private static Map<String, Object> rows(Map<String, ConfigDef.ConfigKey> keys, Map<String, String> modes) {
        Map<String, Object> rows = new TreeMap<>();
        for (ConfigDef.ConfigKey key : keys.values()) {
            Map<String, Object> row = new LinkedHashMap<>();
            row.put("type", key.type.toString().toLowerCase(Locale.ROOT));
            if (key.hasDefault())
                row.put("default", ConfigDef.convertToString(key.defaultValue, key.type));
            if (key.validator != null)
                row.put("valid", key.validator.toString());
            row.put("importance", key.importance.toString().toLowerCase(Locale.ROOT));
            if (key.internalConfig)
                row.put("internal", true);
            if (modes != null)
                row.put("mode", modes.getOrDefault(key.name, "read-only"));
            rows.put(key.name, row);
        }
        return rows;
    }

    private static Map<String, List<String>> synonyms() {
        Map<String, List<String>> synonyms = new TreeMap<>();
        ServerTopicConfigSynonyms.ALL_TOPIC_CONFIG_SYNONYMS.forEach((topicKey, brokerKeys) -> {
            List<String> names = new ArrayList<>();
            brokerKeys.forEach(synonym -> names.add(synonym.name()));
            synonyms.put(topicKey, names);
        });
        return synonyms;
    }
}
