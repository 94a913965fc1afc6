import java.io.File;
import java.io.PrintStream;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import kafka.server.KafkaConfig;
import kafka.server.KafkaRaftServer;
import kafka.server.Server;
import kafka.tools.StorageTool;
import org.apache.kafka.common.utils.Time;

/**
 * Several nodes of Apache Kafka in one process: {@code Nodes.java CLUSTER_ID FILE.properties… [-- FORMAT_FLAG…]}.
 *
 * <p>A directory that is not formatted is formatted first. Says NODES STARTED when all have, ends at the end of its
 * input or at a signal, brokers first: they need the quorum for a controlled shutdown.
 */
public class Nodes {
    public static void main(String[] args) throws Exception {
        List<String> words = Arrays.asList(args);
        int dashes = words.indexOf("--");
        List<String> files = words.subList(1, dashes < 0 ? words.size() : dashes);
        List<String> flags = dashes < 0 ? List.of() : words.subList(dashes + 1, words.size());
        List<Server> brokers = new ArrayList<>();
        List<Server> controllers = new ArrayList<>();
        for (String file : files) {
            Properties properties = new Properties();
            try (var in = Files.newInputStream(new File(file).toPath())) {
                properties.load(in);
            }
            if (!new File(properties.getProperty("log.dirs").split(",")[0], "meta.properties").exists()) {
                List<String> format = new ArrayList<>(List.of("format", "-t", args[0], "-c", file));
                format.addAll(flags);
                if (StorageTool.execute(format.toArray(new String[0]), new PrintStream(System.out)) != 0) {
                    throw new IllegalStateException("format of " + file + " failed");
                }
            }
            Server server = new KafkaRaftServer(KafkaConfig.fromProps(properties, false), Time.SYSTEM);
            (properties.getProperty("process.roles").equals("controller") ? controllers : brokers).add(server);
        }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stop(brokers);
            stop(controllers);
        }));
        List<Server> all = new ArrayList<>(controllers);
        all.addAll(brokers);
        List<Thread> starting = new ArrayList<>();
        for (Server server : all) {
            Thread thread = new Thread(() -> {
                try {
                    server.startup();
                } catch (Throwable error) {
                    error.printStackTrace();
                    Runtime.getRuntime().halt(1);
                }
            });
            thread.start();
            starting.add(thread);
        }
        for (Thread thread : starting) {
            thread.join();
        }
        System.out.println("NODES STARTED");
        while (System.in.read() >= 0) {
            continue;
        }
        System.exit(0);
    }

    private static void stop(List<Server> servers) {
        List<Thread> stopping = new ArrayList<>();
        for (Server server : servers) {
            Thread thread = new Thread(() -> {
                server.shutdown();
                server.awaitShutdown();
            });
            thread.start();
            stopping.add(thread);
        }
        for (Thread thread : stopping) {
            try {
                thread.join();
            } catch (InterruptedException e) {
                return;
            }
        }
    }
}
