import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Array;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;

/**
 * Writes messages with Apache Kafka's own classes. Every input line is "<class> <version>"; every output line is one
 * JSON object {"class", "version", "variant", "hex", "values"}, three variants per input line, or nothing when the
 * release has no such class or version. generate.py runs it.
 *
 * <p>Variants: "default" is a message as constructed; "filled" has a value other than the default in every field that
 * the version has, and lists of two; "nulls" has null wherever the version allows it, and lists of one. Values are
 * counted up, so the same release always gives the same bytes.
 */
public final class GoldenBytes {
    private static final HexFormat HEX = HexFormat.of();

    private final boolean nulls;
    private final int version;
    private int count = 0;

    private GoldenBytes(boolean nulls, int version) {
        this.nulls = nulls;
        this.version = version;
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            short version = Short.parseShort(words[1]);
            Class<?> type = find(words[0]);
            if (type == null || !knows(type, version)) {
                continue;
            }
            for (String variant : List.of("default", "filled", "nulls")) {
                Message message = (Message) newInstance(type);
                if (!variant.equals("default")) {
                    new GoldenBytes(variant.equals("nulls"), version).fill(message);
                }
                byte[] bytes = write(message, version);
                if (bytes != null) {
                    out.printf(
                        "{\"class\":\"%s\",\"version\":%d,\"variant\":\"%s\",\"hex\":\"%s\",\"values\":%s}%n",
                        words[0], version, variant, HEX.formatHex(bytes), json(message));
                }
            }
        }
        out.flush();
    }

    private static Class<?> find(String name) {
        for (String place : List.of(
                "org.apache.kafka.common.message.%sData",
                "org.apache.kafka.common.message.%s",
                "org.apache.kafka.coordinator.group.generated.%s",
                "org.apache.kafka.coordinator.transaction.generated.%s")) {
            try {
                return Class.forName(String.format(place, name));
            } catch (ClassNotFoundException e) {
                continue;
            }
        }
        return null;
    }

    private static boolean knows(Class<?> type, int version) throws Exception {
        return type.getField("LOWEST_SUPPORTED_VERSION").getShort(null) <= version
            && version <= type.getField("HIGHEST_SUPPORTED_VERSION").getShort(null);
    }

    /** The bytes, or null for a default that the version cannot hold (null where it must not be null). */
    private static byte[] write(Message message, short version) {
        try {
            ObjectSerializationCache cache = new ObjectSerializationCache();
            ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
            message.write(new ByteBufferAccessor(buffer), cache, version);
            if (buffer.hasRemaining()) {
                throw new IllegalStateException("size and bytes of " + message + " disagree");
            }
            return buffer.array();
        } catch (NullPointerException e) {
            return null;
        }
    }

    private static Object newInstance(Class<?> type) throws Exception {
        Constructor<?> constructor = type.getDeclaredConstructor();
        constructor.setAccessible(true);
        return constructor.newInstance();
    }

    /** The fields that hold what a message says: neither constants nor the links of Kafka's linked hash sets. */
    private static List<Field> fieldsOf(Class<?> type) {
        boolean linked = Arrays.stream(type.getInterfaces()).anyMatch(
            parent -> parent.getName().endsWith(".ImplicitLinkedHashCollection$Element"));
        List<Field> found = new ArrayList<>();
        for (Field field : type.getDeclaredFields()) {
            boolean link = linked && List.of("next", "prev").contains(field.getName());
            if (!Modifier.isStatic(field.getModifiers()) && !field.getName().startsWith("_") && !link) {
                field.setAccessible(true);
                found.add(field);
            }
        }
        return found;
    }

    /** Kafka's own spelling of a field in its schemas, with the wire type it has in this version. */
    private Map<String, Type> wireTypes(Class<?> type) throws Exception {
        Schema schema = ((Schema[]) type.getField("SCHEMAS").get(null))[version];
        Map<String, Type> found = new HashMap<>();
        for (BoundField field : schema.fields()) {
            if (field.def.type instanceof TaggedFields) {
                Field fields = TaggedFields.class.getDeclaredField("fields");
                fields.setAccessible(true);
                for (Object value : ((Map<?, ?>) fields.get(field.def.type)).values()) {
                    org.apache.kafka.common.protocol.types.Field tagged =
                        (org.apache.kafka.common.protocol.types.Field) value;
                    found.put(tagged.name, tagged.type);
                }
            } else {
                found.put(field.def.name, field.def.type);
            }
        }
        return found;
    }

    private static String schemaName(String name) {
        return name.replaceAll("([A-Z])", "_$1").toLowerCase().replaceAll("^_", "");
    }

    private void fill(Object message) throws Exception {
        Map<String, Type> wireTypes = wireTypes(message.getClass());
        for (Field field : fieldsOf(message.getClass())) {
            Type wireType = wireTypes.get(schemaName(field.getName()));
            if (wireType == null) {
                continue;
            }
            Object before = field.get(message);
            if (nulls && wireType.isNullable() && !field.getType().isPrimitive()) {
                set(message, field, null);
            } else if (Collection.class.isAssignableFrom(field.getType())) {
                set(message, field, list(field));
            } else if (Message.class.isAssignableFrom(field.getType())) {
                Object struct = newInstance(field.getType());
                fill(struct);
                set(message, field, struct);
            } else if (!set(message, field, value(field.getType(), before, false))) {
                set(message, field, value(field.getType(), before, true));
            }
        }
    }

    /** Whether the setter took the value: those of unsigned fields refuse some. */
    private static boolean set(Object message, Field field, Object value) throws Exception {
        String name = "set" + field.getName().substring(0, 1).toUpperCase() + field.getName().substring(1);
        Method setter = message.getClass().getMethod(name, field.getType());
        try {
            setter.invoke(message, value);
            return true;
        } catch (InvocationTargetException e) {
            return false;
        }
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private Collection<?> list(Field field) throws Exception {
        Class<?> element;
        Collection found;
        if (field.getType() == List.class) {
            element = (Class<?>) ((ParameterizedType) field.getGenericType()).getActualTypeArguments()[0];
            found = new ArrayList<>();
        } else {
            ParameterizedType parent = (ParameterizedType) field.getType().getGenericSuperclass();
            element = (Class<?>) parent.getActualTypeArguments()[0];
            found = (Collection) newInstance(field.getType());
        }
        for (int i = 0; i < (nulls ? 1 : 2); i++) {
            if (Message.class.isAssignableFrom(element)) {
                Object struct = newInstance(element);
                fill(struct);
                found.add(struct);
            } else {
                found.add(value(element, null, false));
            }
        }
        return found;
    }

    private Object value(Class<?> type, Object before, boolean small) throws Exception {
        int n = ++count;
        int sign = n % 3 == 0 ? -1 : 1;
        if (type == boolean.class || type == Boolean.class) {
            return before == null || !((Boolean) before);
        } else if (type == byte.class || type == Byte.class) {
            return (byte) (sign * (n % 120 + 2));
        } else if (type == short.class || type == Short.class) {
            return (short) (sign * (n % 250 * 131 + 17));
        } else if (type == int.class || type == Integer.class) {
            return small ? 40000 + n : sign * (n * 7919 + 100003);
        } else if (type == long.class || type == Long.class) {
            return small ? 3_000_000_000L + n : sign * (n * 1_000_000_007L + 5_000_000_000L);
        } else if (type == double.class || type == Double.class) {
            return sign * (n + 0.25);
        } else if (type == Uuid.class) {
            return new Uuid(0x0123456789abcdefL + n, 0xfedcba9876543210L - n);
        } else if (type == String.class) {
            return "text-" + n + "-\u00e9\u20ac";
        } else if (type == byte[].class) {
            return bytes(n);
        } else if (type == ByteBuffer.class) {
            return ByteBuffer.wrap(bytes(n));
        } else if (type.getSimpleName().equals("BaseRecords")) {
            return records(n);
        }
        throw new IllegalStateException("no value for a " + type);
    }

    private static byte[] bytes(int n) {
        byte[] found = new byte[n % 5 + 1];
        Arrays.fill(found, (byte) (n + 128));
        return found;
    }

    /** A batch of one record; the classes for it moved to another package in Kafka 4. */
    private static Object records(int n) throws Exception {
        Class<?> simpleRecord = recordClass("SimpleRecord");
        Object records = Array.newInstance(simpleRecord, 1);
        Constructor<?> constructor = simpleRecord.getConstructor(long.class, byte[].class, byte[].class);
        byte[] key = {1, (byte) n};
        byte[] value = {2, (byte) n};
        Array.set(records, 0, constructor.newInstance(1_700_000_000_000L + n, key, value));
        return recordClass("MemoryRecords")
            .getMethod("withRecords", Compression.class, records.getClass())
            .invoke(null, Compression.NONE, records);
    }

    private static Class<?> recordClass(String name) throws ClassNotFoundException {
        try {
            return Class.forName("org.apache.kafka.common.record." + name);
        } catch (ClassNotFoundException e) {
            return Class.forName("org.apache.kafka.common.record.internal." + name);
        }
    }

    /** Values as JSON; bytes, ids and records as hexadecimal text. */
    private static String json(Object value) throws Exception {
        if (value == null || value instanceof Boolean || value instanceof Number) {
            return String.valueOf(value);
        } else if (value instanceof String) {
            return "\"" + value + "\"";
        } else if (value instanceof byte[]) {
            return "\"" + HEX.formatHex((byte[]) value) + "\"";
        } else if (value instanceof ByteBuffer) {
            ByteBuffer buffer = ((ByteBuffer) value).duplicate();
            byte[] found = new byte[buffer.remaining()];
            buffer.get(found);
            return json(found);
        } else if (value instanceof Uuid) {
            Uuid id = (Uuid) value;
            return json(ByteBuffer.allocate(16)
                .putLong(id.getMostSignificantBits()).putLong(id.getLeastSignificantBits()).flip());
        } else if (value.getClass().getSimpleName().equals("MemoryRecords")) {
            return json(value.getClass().getMethod("buffer").invoke(value));
        } else if (value instanceof Collection) {
            List<String> parts = new ArrayList<>();
            for (Object element : (Collection<?>) value) {
                parts.add(json(element));
            }
            return "[" + String.join(",", parts) + "]";
        }
        List<String> parts = new ArrayList<>();
        for (Field field : fieldsOf(value.getClass())) {
            parts.add("\"" + field.getName() + "\":" + json(field.get(value)));
        }
        return "{" + String.join(",", parts) + "}";
    }
}
