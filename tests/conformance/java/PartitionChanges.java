import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;
import org.apache.kafka.common.DirectoryId;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.controller.PartitionChangeBuilder;
import org.apache.kafka.metadata.LeaderRecoveryState;
import org.apache.kafka.metadata.PartitionRegistration;
import org.apache.kafka.server.common.ApiMessageAndVersion;
import org.apache.kafka.server.common.MetadataVersion;

/** Reads partitions and what is to become of them, a line each, and writes the changes that a controller makes of it. */
public class PartitionChanges {
    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        StringBuilder out = new StringBuilder();
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            out.append(change(line.split(" "))).append('\n');
        }
        System.out.print(out);
    }

    private static String change(String[] field) {
        int[] replicas = ids(field[0]);
        Uuid[] directories = new Uuid[replicas.length];
        Arrays.setAll(directories, i -> new Uuid(7, replicas[i]));
        PartitionRegistration partition = new PartitionRegistration.Builder()
            .setReplicas(replicas)
            .setDirectories(directories)
            .setIsr(ids(field[1]))
            .setRemovingReplicas(ids(field[2]))
            .setAddingReplicas(ids(field[3]))
            .setElr(ids(field[4]))
            .setLastKnownElr(ids(field[5]))
            .setLeader(Integer.parseInt(field[6]))
            .setLeaderRecoveryState(LeaderRecoveryState.of(Byte.parseByte(field[7])))
            .setLeaderEpoch(4)
            .setPartitionEpoch(9)
            .build();
        List<Integer> acceptable = list(field[11]);
        PartitionChangeBuilder builder = new PartitionChangeBuilder(
            partition, new Uuid(1, 2), 0, acceptable::contains, MetadataVersion.LATEST_PRODUCTION,
            Integer.parseInt(field[8]), Boolean.parseBoolean(field[9]));
        builder.setElection(PartitionChangeBuilder.Election.valueOf(field[10]));
        builder.setDefaultDirProvider(id -> DirectoryId.UNASSIGNED);
        if (!field[12].equals("same")) builder.setTargetIsr(list(field[12]));
        if (!field[13].equals("same")) builder.setTargetReplicas(list(field[13]));
        if (!field[14].equals("same")) builder.setTargetRemoving(list(field[14]));
        if (!field[15].equals("same")) builder.setTargetAdding(list(field[15]));
        if (!field[16].equals("same")) builder.setTargetLeaderRecoveryState(LeaderRecoveryState.of(Byte.parseByte(field[16])));
        if (!field[17].equals("-")) builder.setUncleanShutdownReplicas(list(field[17]));
        Optional<ApiMessageAndVersion> record = builder.build();
        if (record.isEmpty()) return "none";
        PartitionRegistration after = partition.merge(
            (org.apache.kafka.common.metadata.PartitionChangeRecord) record.get().message());
        return String.join(" ",
            text(after.replicas), text(after.isr), text(after.removingReplicas), text(after.addingReplicas), text(after.elr),
            text(after.lastKnownElr), Integer.toString(after.leader), Byte.toString(after.leaderRecoveryState.value()),
            Integer.toString(after.leaderEpoch));
    }

    private static int[] ids(String text) {
        return text.equals("-") ? new int[0] : Arrays.stream(text.split(",")).mapToInt(Integer::parseInt).toArray();
    }

    private static List<Integer> list(String text) {
        return Arrays.stream(ids(text)).boxed().collect(Collectors.toList());
    }

    private static String text(int[] ids) {
        return ids.length == 0 ? "-" : Arrays.stream(ids).mapToObj(Integer::toString).collect(Collectors.joining(","));
    }
}
