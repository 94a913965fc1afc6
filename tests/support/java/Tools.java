import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Kafka's tools one after the other in one process, which spares each its start.
 *
 * <p>A line is the main class, the input and the arguments, each in Base64 and parted by spaces. The answer is a line:
 * the exit code, and what went to the standard output and to the error output, in Base64.
 */
public class Tools {
    private static class Ended extends RuntimeException {
        final int code;

        Ended(int code) {
            super(null, null, false, false);
            this.code = code;
        }
    }

    private static int firstCode;

    public static void main(String[] words) throws Exception {
        PrintStream answers = System.out;
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ByteArrayOutputStream err = new ByteArrayOutputStream();
        // Set once: some of the tools keep the first streams that they see.
        System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
        Exit.Procedure exit = (code, message) -> {
            firstCode = firstCode < 0 ? code : firstCode;
            throw new Ended(firstCode);
        };
        Exit.setExitProcedure(exit);
        Exit.setHaltProcedure(exit);
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] parts = Arrays.stream(line.split(" ", -1)).map(Tools::decode).toArray(String[]::new);
            out.reset();
            err.reset();
            firstCode = -1;
            System.setIn(new ByteArrayInputStream(parts[1].getBytes(StandardCharsets.UTF_8)));
            int code = run(parts[0], Arrays.copyOfRange(parts, 2, parts.length));
            System.out.flush();
            System.err.flush();
            answers.println(code + " " + encode(out) + " " + encode(err));
            answers.flush();
        }
    }

    private static int run(String mainClass, String[] arguments) {
        try {
            Class.forName(mainClass).getMethod("main", String[].class).invoke(null, (Object) arguments);
            return Math.max(firstCode, 0);
        } catch (InvocationTargetException e) {
            if (e.getCause() instanceof Ended) {
                return ((Ended) e.getCause()).code;
            }
            e.getCause().printStackTrace();
            return 1;
        } catch (ReflectiveOperationException e) {
            e.printStackTrace();
            return 1;
        }
    }

    private static String decode(String word) {
        return new String(Base64.getDecoder().decode(word), StandardCharsets.UTF_8);
    }

    private static String encode(ByteArrayOutputStream bytes) {
        return Base64.getEncoder().encodeToString(bytes.toByteArray());
    }
}
