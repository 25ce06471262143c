// Makes records.jsonl: bytes and verdicts of Apache Kafka's own Java classes, one JSON object a line.
// How to run it is in README.md beside this file.

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Iterator;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.apache.kafka.common.InvalidRecordException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.errors.CorruptRecordException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.CompressionType;
import org.apache.kafka.common.record.ControlRecordType;
import org.apache.kafka.common.record.EndTransactionMarker;
import org.apache.kafka.common.record.LegacyRecord;
import org.apache.kafka.common.record.MemoryRecords;
import org.apache.kafka.common.record.MemoryRecordsBuilder;
import org.apache.kafka.common.record.MutableRecordBatch;
import org.apache.kafka.common.record.Record;
import org.apache.kafka.common.record.RecordBatch;
import org.apache.kafka.common.record.SimpleRecord;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.requests.ProduceRequest;
import org.apache.kafka.common.utils.BufferSupplier;
import org.apache.kafka.common.utils.Crc32C;
import org.apache.kafka.common.utils.PrimitiveRef;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.common.MetadataVersion;
import org.apache.kafka.server.record.BrokerCompressionType;
import org.apache.kafka.storage.internals.log.AppendOrigin;
import org.apache.kafka.storage.internals.log.LogValidator;
import org.apache.kafka.storage.internals.log.RecordValidationException;

public class RecordsGolden {
    static final long NOW = 1_700_000_000_000L;
    static final int MAX_MESSAGE = 3000;
    static final CompressionType[] CODECS = CompressionType.values();

    record Policy(String codec, boolean compacted, boolean appendTime, long before, long after) {
        String json() {
            return "{\"compression\":\"" + codec + "\",\"compacted\":" + compacted + ",\"append_time\":" + appendTime
                + ",\"before\":" + before + ",\"after\":" + after + "}";
        }
    }

    static final Policy PLAIN = new Policy("producer", false, false, Long.MAX_VALUE, Long.MAX_VALUE);
    static final List<Policy> POLICIES = List.of(PLAIN,
        new Policy("producer", true, false, Long.MAX_VALUE, Long.MAX_VALUE),
        new Policy("producer", false, true, Long.MAX_VALUE, Long.MAX_VALUE),
        new Policy("producer", false, false, 5000, 3000),
        new Policy("gzip", false, false, Long.MAX_VALUE, Long.MAX_VALUE),
        new Policy("uncompressed", true, true, 5000, 3000));

    public static void main(String[] args) {
        line("{\"kind\":\"provenance\",\"kafka\":\"" + org.apache.kafka.common.utils.AppInfoParser.getVersion() + "\",\"now\":" + NOW
            + ",\"max_message_bytes\":" + MAX_MESSAGE + "}");
        builds();
        downConversions();
        verdicts();
    }

    static SimpleRecord[] sample(boolean headers) {
        Header[] some = headers
            ? new Header[] {new RecordHeader("a", "1".getBytes()), new RecordHeader("\u00e4\u20ac", (byte[]) null),
                new RecordHeader("", new byte[0])}
            : new Header[0];
        List<SimpleRecord> all = new ArrayList<>();
        all.add(new SimpleRecord(NOW - 5, bytes("key"), bytes("value"), some));
        all.add(new SimpleRecord(NOW + 7, null, bytes("no key")));
        all.add(new SimpleRecord(NOW - 900, bytes("no value"), (byte[]) null));
        all.add(new SimpleRecord(NOW, new byte[0], new byte[0]));
        all.add(new SimpleRecord(NOW + 1, (byte[]) null, (byte[]) null, some));
        all.add(new SimpleRecord(NOW + 2, bytes("long"), bytes("0123456789abcdef".repeat(20))));
        return all.toArray(new SimpleRecord[0]);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static MemoryRecordsBuilder builder(byte magic, CompressionType codec, TimestampType type, long base, long append,
                                        long pid, short epoch, int sequence, boolean txn, boolean control) {
        return new MemoryRecordsBuilder(ByteBuffer.allocate(512), magic, Compression.of(codec).build(), type, base, append, pid,
            epoch, sequence, txn, control, magic == 2 ? 9 : -1, Integer.MAX_VALUE);
    }

    static MemoryRecords build(byte magic, CompressionType codec, TimestampType type, long base, long append,
                               long pid, int sequence, boolean txn, SimpleRecord... records) {
        MemoryRecordsBuilder b = builder(magic, codec, type, base, append, pid, (short) (pid < 0 ? -1 : 3), sequence, txn, false);
        for (SimpleRecord r : records) b.append(r);
        return b.build();
    }

    // ---- what the builder makes

    static void builds() {
        for (byte magic = 0; magic <= 2; magic++)
            for (CompressionType codec : CODECS) {
                if (codec == CompressionType.ZSTD && magic < 2) continue;
                for (TimestampType type : new TimestampType[] {TimestampType.CREATE_TIME, TimestampType.LOG_APPEND_TIME}) {
                    if (magic == 0 && type == TimestampType.LOG_APPEND_TIME) continue;
                    TimestampType used = magic == 0 ? TimestampType.NO_TIMESTAMP_TYPE : type;
                    buildLine("records", magic, codec, build(magic, codec, used, 41, NOW + 60, -1, -1, false, sample(magic == 2)));
                }
            }
        Random random = new Random(1);
        byte[] noise = new byte[70_000];
        random.nextBytes(noise);
        for (CompressionType codec : CODECS) {
            SimpleRecord[] big = {new SimpleRecord(NOW, bytes("k"), bytes("repeat ".repeat(12_000))),
                new SimpleRecord(NOW, bytes("noise"), java.util.Arrays.copyOf(noise, codec == CompressionType.NONE ? 100 : 9_000))};
            buildLine("several blocks", (byte) 2, codec, build((byte) 2, codec, TimestampType.CREATE_TIME, 0, -1, 77, 5, true, big));
        }
        for (ControlRecordType type : new ControlRecordType[] {ControlRecordType.ABORT, ControlRecordType.COMMIT}) {
            MemoryRecords marker = MemoryRecords.withEndTransactionMarker(11, NOW, 4, 4242L, (short) 6, new EndTransactionMarker(type, 13));
            line("{\"kind\":\"marker\",\"type\":\"" + type.name() + "\",\"bytes\":\"" + b64(marker) + "\"}");
        }
    }

    static void buildLine(String what, byte magic, CompressionType codec, MemoryRecords records) {
        MutableRecordBatch first = records.batches().iterator().next();
        line("{\"kind\":\"build\",\"what\":\"" + what + "\",\"magic\":" + magic + ",\"codec\":\"" + codec.name
            + "\",\"timestamp_type\":\"" + first.timestampType().name + "\",\"producer_id\":" + first.producerId()
            + ",\"bytes\":\"" + b64(records) + "\",\"records\":" + recordsJson(records) + "}");
    }

    // ---- what down-conversion makes

    static void downConversions() {
        for (CompressionType codec : CODECS)
            for (TimestampType type : new TimestampType[] {TimestampType.CREATE_TIME, TimestampType.LOG_APPEND_TIME})
                for (byte to = 0; to <= 1; to++) {
                    MemoryRecords source = build((byte) 2, codec, type, 100, NOW + 60, -1, -1, false, sample(true));
                    String out;
                    try {
                        MemoryRecords converted = source.downConvert(to, 102, Time.SYSTEM).records();
                        out = "\"bytes\":\"" + b64(converted) + "\",\"records\":" + recordsJson(converted);
                    } catch (RuntimeException e) {
                        out = "\"error\":\"" + Errors.forException(e).name() + "\"";
                    }
                    line("{\"kind\":\"down\",\"to_magic\":" + to + ",\"codec\":\"" + codec.name + "\",\"first_offset\":102,\"source\":\""
                        + b64(source) + "\"," + out + "}");
                }
        MemoryRecords v1 = build((byte) 1, CompressionType.GZIP, TimestampType.CREATE_TIME, 50, -1, -1, -1, false, sample(false));
        MemoryRecords v0 = v1.downConvert((byte) 0, 52, Time.SYSTEM).records();
        line("{\"kind\":\"down\",\"to_magic\":0,\"codec\":\"gzip\",\"first_offset\":52,\"source\":\"" + b64(v1) + "\",\"bytes\":\""
            + b64(v0) + "\",\"records\":" + recordsJson(v0) + "}");
    }

    // ---- what an append decides

    static void verdicts() {
        for (CompressionType codec : CODECS) {
            byte[] plain = array(build((byte) 2, codec, TimestampType.CREATE_TIME, 0, -1, -1, -1, false, sample(true)));
            for (int version : new int[] {2, 3, 6, 7, 11})
                verdict("plain " + codec, plain, PLAIN, version, AppendOrigin.CLIENT);
            for (Policy policy : POLICIES) verdict("plain " + codec, plain, policy, 9, AppendOrigin.CLIENT);
            headerEdits(codec, plain);
            framing(codec, plain);
            sequences(codec);
            bodies(codec);
            if (codec != CompressionType.ZSTD)
                for (byte magic = 0; magic <= 1; magic++) legacy(magic, codec);
        }
        markers();
        random();
    }

    static void headerEdits(CompressionType codec, byte[] plain) {
        edit(codec + " count 0", plain, b -> b.putInt(57, 0));
        edit(codec + " count -1", plain, b -> b.putInt(57, -1));
        edit(codec + " count +1", plain, b -> b.putInt(57, 7));
        edit(codec + " count -1 of records", plain, b -> b.putInt(57, 5));
        edit(codec + " count and delta +1", plain, b -> b.putInt(57, 7).putInt(23, 6));
        edit(codec + " count and delta -1", plain, b -> b.putInt(57, 5).putInt(23, 4));
        edit(codec + " count and delta huge", plain, b -> b.putInt(57, Integer.MAX_VALUE).putInt(23, Integer.MAX_VALUE - 1));
        edit(codec + " delta -1", plain, b -> b.putInt(23, -1));
        edit(codec + " delta max", plain, b -> b.putInt(23, Integer.MAX_VALUE));
        edit(codec + " base offset 5", plain, b -> b.putLong(0, 5));
        edit(codec + " leader epoch 5", plain, b -> b.putInt(12, 5));
        edit(codec + " control", plain, b -> b.putShort(21, (short) (b.getShort(21) | 0x20)));
        edit(codec + " transactional without producer", plain, b -> b.putShort(21, (short) (b.getShort(21) | 0x10)));
        edit(codec + " append time", plain, b -> b.putShort(21, (short) (b.getShort(21) | 0x08)));
        edit(codec + " unknown codec", plain, b -> b.putShort(21, (short) (b.getShort(21) & ~7 | 6)));
        edit(codec + " other codec", plain, b -> b.putShort(21, (short) (b.getShort(21) & ~7 | (codec.id + 1) % 5)));
        edit(codec + " high attribute byte", plain, b -> b.put(21, (byte) 0x7f));
        edit(codec + " max timestamp too low", plain, b -> b.putLong(35, 3));
        edit(codec + " base timestamp huge", plain, b -> b.putLong(27, Long.MAX_VALUE));
        edit(codec + " base timestamp negative", plain, b -> b.putLong(27, -50));
        edit(codec + " producer without sequence", plain, b -> b.putLong(43, 7));
        edit(codec + " sequence without producer", plain, b -> b.putInt(53, 7));
        edit(codec + " append time without timestamp", plain,
            b -> b.putShort(21, (short) (b.getShort(21) | 0x08)).putLong(35, -1));
    }

    static void framing(CompressionType codec, byte[] plain) {
        byte[] flipped = plain.clone();
        flipped[flipped.length - 1] ^= 1;
        verdict(codec + " crc", flipped, PLAIN, 9, AppendOrigin.CLIENT);
        for (int magic : new int[] {-1, 0, 1, 3, 127}) {
            byte[] copy = plain.clone();
            copy[16] = (byte) magic;
            verdict(codec + " magic byte " + magic, copy, PLAIN, 9, AppendOrigin.CLIENT);
            verdict(codec + " magic byte " + magic, copy, PLAIN, 2, AppendOrigin.CLIENT);
        }
        for (int length : new int[] {-1, 0, 13, 14, 40, 48, plain.length - 13, plain.length - 11, Integer.MAX_VALUE}) {
            byte[] copy = plain.clone();
            ByteBuffer.wrap(copy).putInt(8, length);
            verdict(codec + " length " + length, copy, PLAIN, 9, AppendOrigin.CLIENT);
        }
        for (int cut : new int[] {0, 11, 12, 16, 17, 60, 61, plain.length - 1})
            for (int version : new int[] {2, 9})
                verdict(codec + " cut " + cut, java.util.Arrays.copyOf(plain, cut), PLAIN, version, AppendOrigin.CLIENT);
        for (int version : new int[] {2, 9}) {
            verdict(codec + " twice", join(plain, plain), PLAIN, version, AppendOrigin.CLIENT);
            verdict(codec + " and a half", join(plain, java.util.Arrays.copyOf(plain, 30)), PLAIN, version, AppendOrigin.CLIENT);
            verdict(codec + " and zeros", join(plain, new byte[30]), PLAIN, version, AppendOrigin.CLIENT);
            verdict(codec + " and 8 bytes", join(plain, new byte[8]), PLAIN, version, AppendOrigin.CLIENT);
        }
        byte[] large = array(build((byte) 2, codec, TimestampType.CREATE_TIME, 0, -1, -1, -1, false,
            new SimpleRecord(NOW, bytes("k"), bytes("x".repeat(4000)))));
        for (Policy policy : POLICIES) verdict(codec + " large", large, policy, 9, AppendOrigin.CLIENT);
    }

    static void sequences(CompressionType codec) {
        for (int sequence : new int[] {0, 5, Integer.MAX_VALUE - 2})
            for (boolean txn : new boolean[] {false, true}) {
                byte[] batch = array(build((byte) 2, codec, TimestampType.CREATE_TIME, 0, -1, 4000, sequence, txn, sample(true)));
                for (Policy policy : List.of(PLAIN, POLICIES.get(4)))
                    verdict("producer " + sequence + " " + codec, batch, policy, 9, AppendOrigin.CLIENT);
            }
    }

    static void bodies(CompressionType codec) {
        String good = rec("00" + "00" + "00" + "0261" + "0262" + "00");
        String second = rec("00" + "02" + "02" + "01" + "0262" + "00");
        body(codec, "two good", 2, good + second);
        body(codec, "missing", 2, good);
        body(codec, "extra", 1, good + second);
        body(codec, "extra byte", 1, good + "00");
        body(codec, "negative length", 1, "01");
        body(codec, "zero length", 1, "00");
        body(codec, "short length", 1, "0a0000000101");
        body(codec, "length cut", 1, "80");
        body(codec, "length of 6 bytes", 1, "80808080808001");
        body(codec, "length beyond", 1, "7e" + good.substring(2));
        body(codec, "length 2 GB", 1, "feffffff0f" + good.substring(2));
        body(codec, "offset deltas 0, 0", 2, good + good);
        body(codec, "offset deltas 0, 5", 2, good + rec("0002" + "0a" + "01" + "0262" + "00"));
        body(codec, "offset delta -1", 1, rec("0000" + "01" + "01" + "0262" + "00"));
        body(codec, "attributes set", 2, rec("7f" + "00" + "00" + "0261" + "0262" + "00") + second);
        body(codec, "first timestamp delta not 0", 1, rec("00" + "10" + "00" + "0261" + "0262" + "00"));
        body(codec, "timestamp before 1970", 1, rec("00" + "ffffffffffffffffff01" + "00" + "0261" + "0262" + "00"));
        body(codec, "timestamp of 11 bytes", 1, rec("00" + "ffffffffffffffffffff01" + "00" + "0261" + "0262" + "00"));
        body(codec, "wide varints", 1, rec("00" + "8000" + "8000" + "820061" + "820062" + "8000"));
        body(codec, "key beyond", 1, rec("00" + "00" + "00" + "7e61" + "0262" + "00"));
        body(codec, "key -2", 1, rec("00" + "00" + "00" + "03" + "0262" + "00"));
        body(codec, "value beyond", 1, rec("00" + "00" + "00" + "0261" + "7e62" + "00"));
        body(codec, "value null", 1, rec("00" + "00" + "00" + "0261" + "01" + "00"));
        body(codec, "no header count", 1, rec("00" + "00" + "00" + "0261" + "0262"));
        body(codec, "header count -1", 1, rec("00" + "00" + "00" + "0261" + "0262" + "01"));
        body(codec, "header count huge", 1, rec("00" + "00" + "00" + "0261" + "0262" + "feffffff0f"));
        body(codec, "header name null", 1, rec("00" + "00" + "00" + "0261" + "0262" + "02" + "01" + "01"));
        body(codec, "header name beyond", 1, rec("00" + "00" + "00" + "0261" + "0262" + "02" + "7e" + "01"));
        body(codec, "header of odd bytes", 1, rec("00" + "00" + "00" + "0261" + "0262" + "02" + "04fffe" + "0278"));
        body(codec, "byte after the headers", 1, rec("00" + "00" + "00" + "0261" + "0262" + "00" + "00"));
        body(codec, "old", 2, rec("00" + "9f8d06" + "00" + "0261" + "0262" + "00") + second);
        body(codec, "no keys", 3, rec("0000" + "00" + "01" + "0262" + "00") + second + rec("0002" + "04" + "0261" + "0262" + "00"));
        if (codec == CompressionType.NONE) return;
        byte[] batch = bodyBatch(codec, 2, unhex(good + second));
        for (int cut : new int[] {1, 2, 5, 9}) rawBody(codec, "compressed data cut by " + cut, batch, cut, new byte[0]);
        rawBody(codec, "bytes after the compressed data", batch, 0, new byte[] {1, 2, 3, 4, 5, 6, 7, 8});
        rawBody(codec, "compressed data gone", batch, batch.length - 61, new byte[0]);
        rawBody(codec, "compressed data is noise", batch, batch.length - 61, bytes("this is nothing that a codec makes"));
    }

    static String rec(String hex) {
        int length = hex.length() / 2;
        return length < 64 ? String.format("%02x", length * 2) + hex
            : String.format("%02x%02x", length * 2 & 0x7f | 0x80, length * 2 >> 7) + hex;
    }

    static byte[] bodyBatch(CompressionType codec, int count, byte[] body) {
        try {
            org.apache.kafka.common.utils.ByteBufferOutputStream out = new org.apache.kafka.common.utils.ByteBufferOutputStream(1024);
            out.position(61);
            java.io.OutputStream packed = Compression.of(codec).build().wrapForOutput(out, (byte) 2);
            packed.write(body);
            packed.close();
            ByteBuffer b = out.buffer();
            int size = b.position();
            byte[] batch = new byte[size];
            b.flip();
            b.get(batch);
            ByteBuffer h = ByteBuffer.wrap(batch);
            h.putInt(8, size - 12).putInt(12, -1).put(16, (byte) 2).putShort(21, codec.id).putInt(23, count - 1)
                .putLong(27, NOW).putLong(35, NOW + 1).putLong(43, -1).putShort(51, (short) -1).putInt(53, -1).putInt(57, count);
            return crc(batch);
        } catch (java.io.IOException e) {
            throw new RuntimeException(e);
        }
    }

    static void body(CompressionType codec, String name, int count, String hex) {
        byte[] batch = bodyBatch(codec, count, unhex(hex));
        for (Policy policy : POLICIES) verdict(name + " " + codec, batch, policy, 9, AppendOrigin.CLIENT);
    }

    static void rawBody(CompressionType codec, String name, byte[] batch, int cut, byte[] added) {
        byte[] changed = join(java.util.Arrays.copyOf(batch, batch.length - cut), added);
        ByteBuffer.wrap(changed).putInt(8, changed.length - 12);
        verdict(name + " " + codec, crc(changed), PLAIN, 9, AppendOrigin.CLIENT);
    }

    static void legacy(byte magic, CompressionType codec) {
        TimestampType type = magic == 0 ? TimestampType.NO_TIMESTAMP_TYPE : TimestampType.CREATE_TIME;
        byte[] set = array(build(magic, codec, type, 0, -1, -1, -1, false, sample(false)));
        String name = "magic " + magic + " " + codec;
        for (Policy policy : POLICIES) verdict(name, set, policy, 2, AppendOrigin.CLIENT);
        verdict(name, set, PLAIN, 3, AppendOrigin.CLIENT);
        verdict(name + " twice", join(set, set), PLAIN, 2, AppendOrigin.CLIENT);
        verdict(name + " cut", java.util.Arrays.copyOf(set, set.length - 1), PLAIN, 2, AppendOrigin.CLIENT);
        verdict(name + " and another magic", join(set, array(build((byte) (1 - magic), CompressionType.NONE,
            magic == 1 ? TimestampType.NO_TIMESTAMP_TYPE : TimestampType.CREATE_TIME, 0, -1, -1, -1, false, sample(false)))),
            PLAIN, 2, AppendOrigin.CLIENT);
        byte[] flipped = set.clone();
        flipped[20] ^= 1;
        verdict(name + " crc", flipped, PLAIN, 2, AppendOrigin.CLIENT);
        for (long offset : new long[] {0, 3, 5, 1000}) {
            byte[] copy = set.clone();
            ByteBuffer.wrap(copy).putLong(0, offset);
            verdict(name + " first offset " + offset, copy, PLAIN, 2, AppendOrigin.CLIENT);
        }
        if (magic == 1)
            for (Policy policy : POLICIES)
                verdict(name + " append time", array(build(magic, codec, TimestampType.LOG_APPEND_TIME, 0, NOW + 9, -1, -1, false,
                    sample(false))), policy, 2, AppendOrigin.CLIENT);
        int at = magic == 0 ? 18 : 26;
        if (codec == CompressionType.NONE) {
            for (int size : new int[] {-2, 1000, Integer.MAX_VALUE})
                oneMessage(name + " key size " + size, set, b -> b.putInt(at, size));
        } else {
            oneMessage(name + " null value", set, b -> b.putInt(at + 4, -1));
            oneMessage(name + " value size 0", set, b -> b.putInt(at + 4, 0));
            oneMessage(name + " value size huge", set, b -> b.putInt(at + 4, Integer.MAX_VALUE));
            oneMessage(name + " value damaged", set, b -> b.put(at + 30, (byte) (b.get(at + 30) ^ 0x55)));
            oneMessage(name + " as zstd", set, b -> b.put(17, (byte) 4));
            oneMessage(name + " unknown codec", set, b -> b.put(17, (byte) 5));
            for (CompressionType inner : new CompressionType[] {CompressionType.NONE, CompressionType.GZIP})
                for (byte innerMagic = 0; innerMagic <= 1; innerMagic++) {
                    TimestampType innerType = innerMagic == 0 ? TimestampType.NO_TIMESTAMP_TYPE : TimestampType.CREATE_TIME;
                    byte[] content = array(build(innerMagic, inner, innerType, 0, -1, -1, -1, false, sample(false)));
                    verdict(name + " wraps magic " + innerMagic + " " + inner, wrap(magic, codec, content), PLAIN, 2, AppendOrigin.CLIENT);
                    byte[] bad = content.clone();
                    bad[bad.length - 1] ^= 1;
                    verdict(name + " wraps a wrong crc " + innerMagic + " " + inner, wrap(magic, codec, bad), PLAIN, 2, AppendOrigin.CLIENT);
                    verdict(name + " wraps a cut " + innerMagic + " " + inner,
                        wrap(magic, codec, java.util.Arrays.copyOf(content, content.length - 1)), PLAIN, 2, AppendOrigin.CLIENT);
                }
            verdict(name + " wraps nothing", wrap(magic, codec, new byte[0]), PLAIN, 2, AppendOrigin.CLIENT);
            verdict(name + " wraps zeros", wrap(magic, codec, new byte[40]), PLAIN, 2, AppendOrigin.CLIENT);
            verdict(name + " wraps magic 2", wrap(magic, codec, array(build((byte) 2, CompressionType.NONE, TimestampType.CREATE_TIME,
                0, -1, -1, -1, false, sample(false)))), PLAIN, 2, AppendOrigin.CLIENT);
        }
    }

    static byte[] wrap(byte magic, CompressionType codec, byte[] content) {
        try {
            org.apache.kafka.common.utils.ByteBufferOutputStream out = new org.apache.kafka.common.utils.ByteBufferOutputStream(1024);
            java.io.OutputStream packed = Compression.of(codec).build().wrapForOutput(out, magic);
            packed.write(content);
            packed.close();
            byte[] value = new byte[out.buffer().position()];
            out.buffer().flip();
            out.buffer().get(value);
            LegacyRecord record = LegacyRecord.create(magic, magic == 0 ? -1 : NOW, null, value, codec,
                magic == 0 ? TimestampType.NO_TIMESTAMP_TYPE : TimestampType.CREATE_TIME);
            ByteBuffer all = ByteBuffer.allocate(12 + record.sizeInBytes());
            all.putLong(0).putInt(record.sizeInBytes()).put(record.buffer().duplicate());
            return all.array();
        } catch (java.io.IOException e) {
            throw new RuntimeException(e);
        }
    }

    static void oneMessage(String name, byte[] set, java.util.function.Consumer<ByteBuffer> change) {
        byte[] one = java.util.Arrays.copyOf(set, 12 + ByteBuffer.wrap(set).getInt(8));
        ByteBuffer b = ByteBuffer.wrap(one);
        change.accept(b);
        java.util.zip.CRC32 crc = new java.util.zip.CRC32();
        crc.update(one, 16, one.length - 16);
        b.putInt(12, (int) crc.getValue());
        verdict(name, one, PLAIN, 2, AppendOrigin.CLIENT);
    }

    static void markers() {
        byte[] marker = array(MemoryRecords.withEndTransactionMarker(0, NOW, -1, 4242L, (short) 6,
            new EndTransactionMarker(ControlRecordType.COMMIT, 13)));
        for (Policy policy : POLICIES)
            for (AppendOrigin origin : new AppendOrigin[] {AppendOrigin.CLIENT, AppendOrigin.COORDINATOR})
                verdict("marker", marker, policy, 9, origin);
    }

    static void random() {
        Random random = new Random(7);
        for (int i = 0; i < 600; i++) {
            CompressionType codec = CODECS[random.nextInt(5)];
            byte[] batch = array(build((byte) 2, codec, TimestampType.CREATE_TIME, 0, -1, -1, -1, false, sample(true)));
            int changes = 1 + random.nextInt(3);
            for (int c = 0; c < changes; c++) {
                // Compressed bytes are left alone: libraries differ in which damage they notice.
                int end = codec == CompressionType.NONE ? batch.length : 61;
                batch[random.nextInt(end)] ^= (byte) (1 << random.nextInt(8));
            }
            if (random.nextInt(8) != 0) crc(batch);
            verdict("random " + i, batch, POLICIES.get(random.nextInt(POLICIES.size())), 9, AppendOrigin.CLIENT);
        }
    }

    static void edit(String name, byte[] batch, java.util.function.Consumer<ByteBuffer> change) {
        byte[] copy = batch.clone();
        change.accept(ByteBuffer.wrap(copy));
        crc(copy);
        for (Policy policy : List.of(PLAIN, POLICIES.get(2), POLICIES.get(4))) verdict(name, copy, policy, 9, AppendOrigin.CLIENT);
    }

    static void verdict(String name, byte[] input, Policy policy, int version, AppendOrigin origin) {
        String head = "{\"kind\":\"verdict\",\"name\":\"" + name + "\",\"policy\":" + policy.json() + ",\"version\":" + version
            + ",\"origin\":\"" + origin.name().toLowerCase() + "\",\"input\":\"" + Base64.getEncoder().encodeToString(input) + "\",";
        String outcome;
        try {
            outcome = append(input.clone(), policy, version, origin);
        } catch (RecordValidationException e) {
            StringBuilder indexes = new StringBuilder();
            e.recordErrors().forEach(r -> indexes.append(indexes.length() == 0 ? "" : ",").append(r.batchIndex));
            outcome = "\"error\":\"" + Errors.forException(e.invalidException()).name() + "\",\"record_errors\":[" + indexes + "]";
        } catch (Throwable e) {
            outcome = "\"error\":\"" + Errors.forException(e).name() + "\",\"why\":\"" + e.getClass().getSimpleName() + "\"";
        }
        line(head + outcome + "}");
    }

    // The checks of the broker in their order: the request's, then those that UnifiedLog makes of each batch (which is Scala
    // and private, so they are called one by one here), then LogValidator.
    static String append(byte[] input, Policy policy, int version, AppendOrigin origin) {
        MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(input));
        ProduceRequest.validateRecords((short) version, records);
        int valid = 0;
        CompressionType source = CompressionType.NONE;
        for (MutableRecordBatch batch : records.batches()) {
            if (batch.magic() >= 2 && origin == AppendOrigin.CLIENT && batch.baseOffset() != 0)
                throw new InvalidRecordException("base offset");
            batch.lastOffset();
            if (batch.sizeInBytes() > MAX_MESSAGE) throw new RecordTooLargeException();
            if (!batch.isValid()) throw new CorruptRecordException();
            batch.maxTimestamp();
            valid += batch.sizeInBytes();
            CompressionType codec = CompressionType.forId(batch.compressionType().id);
            if (codec != CompressionType.NONE) source = codec;
        }
        if (valid <= 0) return "\"empty\":true";
        ByteBuffer trimmed = ByteBuffer.wrap(input);
        trimmed.limit(valid);
        Compression target = BrokerCompressionType.targetCompression(
            policy.codec.equals("producer") ? Optional.empty()
                : Optional.of(Compression.of(policy.codec.equals("uncompressed") ? "none" : policy.codec).build()), source);
        LogValidator validator = new LogValidator(MemoryRecords.readableRecords(trimmed.slice()), new TopicPartition("t", 0),
            new FixedTime(), source, target, policy.compacted, (byte) 2,
            policy.appendTime ? TimestampType.LOG_APPEND_TIME : TimestampType.CREATE_TIME, policy.before, policy.after, 9, origin,
            MetadataVersion.IBP_3_9_IV0);
        LogValidator.ValidationResult result = validator.validateMessagesAndAssignOffsets(PrimitiveRef.ofLong(0), new NoMetrics(),
            BufferSupplier.NO_CACHING);
        MemoryRecords out = result.validatedRecords;
        MutableRecordBatch batch = out.batches().iterator().next();
        if (result.messageSizeMaybeChanged && batch.sizeInBytes() > MAX_MESSAGE) throw new RecordTooLargeException();
        String bytes = batch.compressionType() == CompressionType.NONE || !result.messageSizeMaybeChanged
            ? ",\"bytes\":\"" + b64(out) + "\"" : "";
        return "\"max_timestamp\":" + result.maxTimestampMs + ",\"changed\":"
            + result.messageSizeMaybeChanged + ",\"codec\":\"" + batch.compressionType().name + "\"" + bytes + ",\"records\":"
            + recordsJson(out);
    }

    // ---- plumbing

    static String recordsJson(MemoryRecords records) {
        StringBuilder s = new StringBuilder("[");
        try {
            for (Record r : records.records()) {
                if (s.length() > 1) s.append(",");
                s.append("[").append(r.offset()).append(",").append(r.timestamp()).append(",").append(b64(r.key())).append(",")
                    .append(b64(r.value())).append(",[");
                String comma = "";
                for (Header h : r.headers()) {
                    s.append(comma).append("[\"").append(Base64.getEncoder().encodeToString(bytes(h.key()))).append("\",")
                        .append(h.value() == null ? "null" : "\"" + Base64.getEncoder().encodeToString(h.value()) + "\"").append("]");
                    comma = ",";
                }
                s.append("]]");
            }
        } catch (RuntimeException e) {
            return "null";
        }
        return s.append("]").toString();
    }

    static String b64(ByteBuffer b) {
        if (b == null) return "null";
        byte[] a = new byte[b.remaining()];
        b.duplicate().get(a);
        return "\"" + Base64.getEncoder().encodeToString(a) + "\"";
    }

    static String b64(MemoryRecords records) {
        return Base64.getEncoder().encodeToString(array(records));
    }

    static byte[] array(MemoryRecords records) {
        ByteBuffer b = records.buffer().duplicate();
        byte[] a = new byte[b.remaining()];
        b.get(a);
        return a;
    }

    static byte[] crc(byte[] batch) {
        ByteBuffer.wrap(batch).putInt(17, (int) Crc32C.compute(batch, 21, batch.length - 21));
        return batch;
    }

    static byte[] join(byte[] a, byte[] b) {
        byte[] all = java.util.Arrays.copyOf(a, a.length + b.length);
        System.arraycopy(b, 0, all, a.length, b.length);
        return all;
    }

    static byte[] unhex(String hex) {
        return java.util.HexFormat.of().parseHex(hex);
    }

    static void line(String text) {
        System.out.println(text);
    }

    static class FixedTime implements Time {
        public long milliseconds() { return NOW; }
        public long nanoseconds() { return NOW * 1_000_000; }
        public long hiResClockMs() { return NOW; }
        public void sleep(long ms) { }
        public void waitObject(Object obj, java.util.function.Supplier<Boolean> condition, long deadlineMs) { }
        public org.apache.kafka.common.utils.Timer timer(long timeoutMs) { return null; }
        public org.apache.kafka.common.utils.Timer timer(java.time.Duration timeout) { return null; }
        public <T> T waitForFuture(java.util.concurrent.CompletableFuture<T> future, long deadlineNs) { return null; }
    }

    static class NoMetrics implements LogValidator.MetricsRecorder {
        public void recordInvalidMagic() { }
        public void recordInvalidOffset() { }
        public void recordInvalidSequence() { }
        public void recordInvalidChecksums() { }
        public void recordNoKeyCompactedTopic() { }
    }
}
