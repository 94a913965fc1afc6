"""``kafkalab format`` and ``random-uuid``: the flags, words and files of Kafka's storage tool."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kafkalab.cli import commands
from kafkalab.engine.common.ids import uuid_from_text
from kafkalab.engine.log.meta_properties import MetaProperties
from kafkalab.engine.log.storage import FileStorage
from kafkalab.engine.metadata.bootstrap import read_bootstrap_file
from kafkalab.engine.protocol.metadata_records import FeatureLevelRecord, UserScramCredentialRecord
from kafkalab.engine.raft.snapshot_records import SnapshotReader
from kafkalab.engine.raft.snapshot_store import SnapshotId, SnapshotStore
from kafkalab.engine.raft.voter_history import VoterHistory
from kafkalab.engine.raft.voters import ReplicaKey, VoterSet

CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"
STATIC = "controller.quorum.voters=7@127.0.0.1:9093\n"
DYNAMIC = "controller.quorum.bootstrap.servers=127.0.0.1:9093\n"
TWO = "7@127.0.0.1:9093:JEXY6aqzQY-32P5TStzaFg,8@localhost:9094:MvDxzVmcRsaTz33bUuRU6A"
FEATURES_OF_4_3 = [
    ("metadata.version", 30),
    ("eligible.leader.replicas.version", 1),
    ("group.version", 1),
    ("share.version", 1),
    ("streams.version", 1),
    ("transaction.version", 2),
]


class Place:
    """A node's settings and folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.a, self.b = root / "a", root / "b"

    def format(self, quorum: str, *arguments: str, roles: str = "broker,controller") -> tuple[int, str, str]:
        config = self.root / "server.properties"
        config.write_text(
            (f"process.roles={roles}\n" if roles else "") + f"node.id=7\nlog.dirs={self.a},{self.b}\ncontroller.listener.names=CONTROLLER\n"
            "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n"
            f"advertised.listeners=PLAINTEXT://127.0.0.1:9092\n{quorum}"
        )
        result = CliRunner().invoke(commands, ["format", "-t", CLUSTER_ID, "-c", str(config), *arguments])
        return result.exit_code, result.stdout, result.stderr

    def refusal(self, quorum: str, *arguments: str, roles: str = "broker,controller") -> str:
        status, _, complaint = self.format(quorum, *arguments, roles=roles)
        assert status == 1 and not self.a.exists()
        return complaint.strip()

    def features(self) -> list[tuple[str, int]]:
        records = read_bootstrap_file(FileStorage(), self.a)
        assert records is not None
        return [(record.name, record.feature_level) for record in records if isinstance(record, FeatureLevelRecord)]

    def voters(self) -> VoterHistory:
        reader = SnapshotReader(SnapshotStore(FileStorage(), self.a / "__cluster_metadata-0"), SnapshotId(epoch=0, end_offset=0))
        reader.verify()
        history = VoterHistory(VoterSet())
        history.load_snapshot(reader.controls(), 0)
        return history


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_static_voters_leave_no_snapshot(place: Place) -> None:
    status, told, _ = place.format(STATIC)
    assert status == 0
    assert told.splitlines()[1:] == [
        f"Formatting metadata directory {place.a} with metadata.version 4.3-IV0.",
        f"Formatting data directory {place.b} with metadata.version 4.3-IV0.",
    ]
    assert told.startswith(
        "Bootstrap metadata: BootstrapMetadata(records=[ApiMessageAndVersion(FeatureLevelRecord(name='metadata.version', "
        "featureLevel=30) at version 0), "
    )
    assert place.features() == FEATURES_OF_4_3
    assert sorted(one.name for one in place.a.iterdir()) == ["bootstrap.checkpoint", "meta.properties"]
    first = MetaProperties.read(place.a / "meta.properties")
    second = MetaProperties.read(place.b / "meta.properties")
    assert (first.cluster_id, first.node_id) == (CLUSTER_ID, 7)
    assert first.directory_id != second.directory_id


def test_standalone_names_itself_with_its_directory(place: Place) -> None:
    status, told, _ = place.format(DYNAMIC, "-s")
    assert status == 0
    assert f"Formatting dynamic metadata voter directory {place.a} with" in told
    history = place.voters()
    directory_id = MetaProperties.read(place.a / "meta.properties").directory_id
    assert history.kraft_version == 1 and history.voters_offset == -1
    (voter,) = history.voters
    assert voter.key == ReplicaKey(7, directory_id)
    assert dict(voter.endpoints) == {"CONTROLLER": ("127.0.0.1", 9093)}
    assert (voter.min_version, voter.max_version) == (0, 1)
    # As large as the one that Kafka 4.3.1 writes.
    assert (place.a / "__cluster_metadata-0" / "00000000000000000000-0000000000.checkpoint").stat().st_size == 241
    assert (place.a / "bootstrap.checkpoint").stat().st_size == 411


def test_initial_controllers_give_each_its_directory(place: Place) -> None:
    assert place.format(DYNAMIC, "-I", TWO)[0] == 0
    assert MetaProperties.read(place.a / "meta.properties").directory_id == uuid_from_text("JEXY6aqzQY-32P5TStzaFg")
    assert sorted(place.voters().voters.ids) == [7, 8]
    assert place.voters().voters.address(8, "CONTROLLER") == ("localhost", 9094)


def test_no_initial_controllers_knows_nobody(place: Place) -> None:
    status, told, _ = place.format(DYNAMIC, "-N")
    assert status == 0 and f"Formatting metadata directory {place.a}" in told
    assert not (place.a / "__cluster_metadata-0").exists()
    assert place.format(DYNAMIC, "-g", roles="broker")[1] == "All of the log directories are already formatted.\n"


def test_an_older_release_has_its_own_features(place: Place) -> None:
    assert place.format(DYNAMIC, "-s", "-r", "4.0.1")[0] == 0
    assert place.features() == [("metadata.version", 25), ("group.version", 1), ("transaction.version", 2)]


def test_features_are_set_one_by_one(place: Place) -> None:
    assert place.format(DYNAMIC, "-s", "-f", "group.version=0", "-f", "transaction.version=1")[0] == 0
    assert dict(place.features())["transaction.version"] == 1 and "group.version" not in dict(place.features())


def test_a_credential_is_among_the_records(place: Place) -> None:
    salted = 'SCRAM-SHA-256=[name=alice,salt="MWx2NHBkbnc0ZndxN25vdGN4bTB5eTFrN3E=",password=alice-secret,iterations=4096]'
    status, told, _ = place.format(DYNAMIC, "-s", "-S", salted)
    assert status == 0 and "alice-secret" not in told
    records = read_bootstrap_file(FileStorage(), place.a)
    assert records is not None
    (credential,) = [record for record in records if isinstance(record, UserScramCredentialRecord)]
    assert (credential.name, credential.mechanism, credential.iterations) == ("alice", 1, 4_096)
    assert len(credential.stored_key) == len(credential.server_key) == 32


@pytest.mark.parametrize(
    ("quorum", "arguments", "words"),
    [
        (DYNAMIC, (), "Because controller.quorum.voters is not set on this controller, you must specify one of the following: "),
        (STATIC, ("-s",), "You cannot specify controller.quorum.voters and format the node with --initial-controllers or --standalone. "),
        (STATIC, ("-f", "kraft.version=1"), "Cannot set kraft.version to 1 unless controller.quorum.voters is empty and "),
        (DYNAMIC, ("-s", "-f", "kraft.version=0"), "Cannot set kraft.version to 0 if controller.quorum.voters is empty and "),
        (DYNAMIC, ("-s", "-r", "9.9"), "Unknown metadata.version '9.9'. Supported metadata.version are: 3.3-IV3, 3.4-IV0, "),
        (DYNAMIC, ("-s", "-f", "nope=1"), "Unsupported feature: nope. Supported features are: eligible.leader.replicas.version, "),
        (DYNAMIC, ("-s", "-f", "group.version=9"), "No feature:group.version with feature level 9"),
        (DYNAMIC, ("-s", "-f", "abc"), "Can't parse feature=level string abc: equals sign not found."),
        (DYNAMIC, ("-s", "-f", "a=b"), "Can't parse feature=level string a=b: unable to parse b as a short."),
        (
            DYNAMIC,
            ("-s", "-f", "metadata.version=29", "-r", "4.1"),
            "Use --release-version instead of --feature metadata.version=X to avoid ambiguity.",
        ),
        (DYNAMIC, ("-s", "-f", "metadata.version=6"), "No MetadataVersion with feature level 6."),
        (
            DYNAMIC,
            ("-s", "-r", "3.9", "-f", "eligible.leader.replicas.version=1"),
            "eligible.leader.replicas.version could not be set to 1 because it depends on metadata.version level 23",
        ),
        (DYNAMIC, ("-s", "-N"), "argument --no-initial-controllers/-N: not allowed with argument --standalone/-s"),
        (DYNAMIC, ("-I", "7"), "No @ found in dynamic voter string."),
        (DYNAMIC, ("-I", "@h:1:x"), "Invalid @ at beginning of dynamic voter string."),
        (DYNAMIC, ("-I", "x@h:1:x"), "Failed to parse node id in dynamic voter string."),
        (DYNAMIC, ("-I", "7@"), "No hostname found after node id."),
        (DYNAMIC, ("-I", "7@[::1"), "Hostname began with left bracket, but no right bracket was found."),
        (DYNAMIC, ("-I", "7@h"), "No colon following hostname could be found."),
        (DYNAMIC, ("-I", "7@h:1"), "No colon following port could be found."),
        (DYNAMIC, ("-I", "7@h:x:JEXY6aqzQY-32P5TStzaFg"), "Failed to parse port in dynamic voter string."),
        (DYNAMIC, ("-I", "7@h:70000:JEXY6aqzQY-32P5TStzaFg"), "Invalid port 70000 in dynamic voter string."),
        (DYNAMIC, ("-I", "7@h:1:x"), "Failed to parse directory ID in dynamic voter string."),
        (DYNAMIC, ("-I", f"{TWO},7@h:1:JEXY6aqzQY-32P5TStzaFg"), "Node id 7 was specified more than once."),
        (DYNAMIC, ("-s", "-S", "SCRAM-SHA-256"), "Failed to find equals sign in SCRAM argument 'SCRAM-SHA-256'"),
        (DYNAMIC, ("-s", "-S", "MD5=[name=a]"), "The add-scram mechanism MD5 is not supported."),
        (DYNAMIC, ("-s", "-S", "SCRAM-SHA-256=[name=a]"), "You must supply one of 'password' or 'saltedpassword' to add-scram"),
        (
            DYNAMIC,
            ("-s", "-S", "SCRAM-SHA-512=[name=a,password=p,iterations=1]"),
            "The 'iterations' value must be >= 4096 for add-scram using SCRAM_SHA_512",
        ),
        (DYNAMIC, ("-s", "-r", "3.4", "-S", "SCRAM-SHA-256=[name=a,password=p]"), "SCRAM is only supported in metadata.version 3.5-IV2"),
    ],
)
def test_what_cannot_be_is_said_in_kafkas_words(place: Place, quorum: str, arguments: tuple[str, ...], words: str) -> None:
    assert place.refusal(quorum, *arguments).startswith(words)


def test_only_a_controller_stands_alone(place: Place) -> None:
    assert place.refusal(DYNAMIC, "-s", roles="broker") == "You can only use --standalone on a controller."
    assert place.refusal(STATIC, roles="").startswith("The kafka configuration file appears to be for a legacy cluster.")


def test_formatted_directories_are_left_as_they_are(place: Place) -> None:
    assert place.format(STATIC)[0] == 0
    before = (place.a / "meta.properties").read_bytes()
    status, _, complaint = place.format(STATIC)
    assert status == 1
    assert complaint.strip() == (
        f"Log directory {place.a} is already formatted. Use --ignore-formatted to ignore this directory and format the others."
    )
    (place.b / "meta.properties").unlink()
    status, told, _ = place.format(STATIC, "-g")
    assert status == 0 and str(place.b) in told and f"directory {place.a}" not in told
    assert (place.a / "meta.properties").read_bytes() == before
    other = uuid.uuid4().hex[:22]
    result = CliRunner().invoke(commands, ["format", "-t", other, "-c", str(place.root / "server.properties"), "-g"])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Invalid cluster.id in: {place.a / 'meta.properties'}. Expected {other}, but read {CLUSTER_ID}")


def test_random_ids_are_ids() -> None:
    texts = {CliRunner().invoke(commands, ["random-uuid"]).stdout.strip() for _ in range(3)}
    assert len(texts) == 3
    for text in texts:
        uuid_from_text(text)
