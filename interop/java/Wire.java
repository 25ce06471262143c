import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.HashMap;
import java.util.Map;

/** The streams of an agent: Java's own data streams, and byte arrays with an int length, -1 for null. */
final class Wire {
    private static final int BUFFER_BYTES = 1 << 16;

    private Wire() { }

    static final class In extends DataInputStream {
        In(InputStream stream) {
            super(new BufferedInputStream(stream, BUFFER_BYTES));
        }

        byte[] readBlob() throws IOException {
            int length = readInt();
            return length < 0 ? null : readNBytes(length);
        }

        Map<String, String> readConfig() throws IOException {
            Map<String, String> config = new HashMap<>();
            for (int left = readInt(); left > 0; left--) {
                config.put(readUTF(), readUTF());
            }
            return config;
        }

        String[] readStrings() throws IOException {
            String[] strings = new String[readInt()];
            for (int index = 0; index < strings.length; index++) {
                strings[index] = readUTF();
            }
            return strings;
        }
    }

    static final class Out extends DataOutputStream {
        Out(OutputStream stream) {
            super(new BufferedOutputStream(stream, BUFFER_BYTES));
        }

        void writeBlob(byte[] bytes) throws IOException {
            writeInt(bytes == null ? -1 : bytes.length);
            if (bytes != null) {
                write(bytes);
            }
        }
    }
}
