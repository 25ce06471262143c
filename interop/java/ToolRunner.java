import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs main methods of Kafka's command-line tools, many in one JVM: standard input, arguments, both outputs and
 * the exit code are those of a process of its own, the start of a JVM is paid once.
 */
public final class ToolRunner {
    private static final SwitchedStream OUTPUT = new SwitchedStream();
    private static final SwitchedStream ERRORS = new SwitchedStream();

    /** What the tool wants done when its process ends: console producers close themselves here. */
    private static final List<Runnable> HOOKS = new ArrayList<>();

    private static Integer exitCode;

    private ToolRunner() { }

    public static void main(String[] args) throws IOException {
        DataInputStream in = new DataInputStream(new BufferedInputStream(System.in));
        DataOutputStream out = new DataOutputStream(new BufferedOutputStream(System.out));
        // Scala and the loggers keep the streams that they see first, so these stay and their targets change.
        System.setOut(new PrintStream(OUTPUT, true));
        System.setErr(new PrintStream(ERRORS, true));
        Exit.setExitProcedure((code, message) -> {
            if (exitCode == null) {
                exitCode = code;
            }
            throw new ToolExit();
        });
        Exit.setShutdownHookAdder((name, hook) -> HOOKS.add(hook));
        while (true) {
            String tool;
            try {
                tool = in.readUTF();
            } catch (EOFException end) {
                return;
            }
            String[] arguments = new String[in.readInt()];
            for (int index = 0; index < arguments.length; index++) {
                arguments[index] = in.readUTF();
            }
            run(tool, arguments, in.readNBytes(in.readInt()));
            out.writeInt(exitCode == null ? 0 : exitCode);
            write(out, OUTPUT.take());
            write(out, ERRORS.take());
            out.flush();
        }
    }

    private static void run(String tool, String[] arguments, byte[] input) {
        exitCode = null;
        System.setIn(new ByteArrayInputStream(input));
        try {
            Class.forName(tool).getMethod("main", String[].class).invoke(null, (Object) arguments);
        } catch (InvocationTargetException error) {
            if (!(error.getCause() instanceof ToolExit)) {
                error.getCause().printStackTrace();
                exitCode = 1;
            }
        } catch (ReflectiveOperationException error) {
            error.printStackTrace();
            exitCode = 127;
        }
        HOOKS.forEach(Runnable::run);
        HOOKS.clear();
        System.out.flush();
        System.err.flush();
    }

    private static void write(DataOutputStream out, byte[] bytes) throws IOException {
        out.writeInt(bytes.length);
        out.write(bytes);
    }

    /** Unwinds the tool where it would have ended the process; an Error, so that no `catch (Exception)` keeps it. */
    private static final class ToolExit extends Error {
        private static final long serialVersionUID = 1;

        ToolExit() {
            super("exit", null, false, false);
        }
    }

    private static final class SwitchedStream extends OutputStream {
        private final ByteArrayOutputStream target = new ByteArrayOutputStream();

        @Override
        public synchronized void write(int b) {
            target.write(b);
        }

        @Override
        public synchronized void write(byte[] bytes, int offset, int length) {
            target.write(bytes, offset, length);
        }

        synchronized byte[] take() {
            byte[] taken = target.toByteArray();
            target.reset();
            return taken;
        }
    }
}
