"""Apache Kafka's own tools say of our cluster what they say of theirs, word for word, what they refuse included."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import apache_kafka
from tests.support.apache_tools import Said, Tools
from tests.support.twin_clusters import AT_BROKERS, AT_CONTROLLERS, Twins, twin_clusters

pytestmark = [
    pytest.mark.skipif(apache_kafka.missing() is not None, reason=f"Apache Kafka cannot be run beside: {apache_kafka.missing()}"),
    pytest.mark.timeout(300),
    pytest.mark.expects_warnings,
]

ONE_TOPIC = "1:2:3,2:3:1,3:1:2"


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    with Tools() as tools, twin_clusters(tmp_path_factory.mktemp("twins"), tools) as twins:
        yield twins


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., str]:
    """Writes a file for the reassignment tool; where it is."""

    def write(*partitions: tuple[str, int, list[int]]) -> str:
        file = tmp_path / f"plan-{len(list(tmp_path.iterdir()))}.json"
        listed = [{"topic": topic, "partition": partition, "replicas": replicas} for topic, partition, replicas in partitions]
        file.write_text(json.dumps({"version": 1, "partitions": listed}))
        return str(file)

    return write


def create(twins: Twins, topic: str, assignment: str = ONE_TOPIC) -> None:
    said = twins.alike("topics", AT_BROKERS, "--create", "--topic", topic, "--replica-assignment", assignment)
    assert said.code == 0, said.everything
    described(twins, topic, r"Partition: 0\s+Leader: \d")


def described(twins: Twins, topic: str, wanted: str) -> Said:
    """Described the same by both, as soon as both have come to what is wanted."""
    return twins.settled(wanted, "topics", AT_BROKERS, "--describe", "--topic", topic)


@pytest.mark.parametrize(
    "flags",
    [
        ("--partitions", "1", "--replication-factor", "4"),
        ("--partitions", "0"),
        ("--replica-assignment", "1:1"),
        ("--replica-assignment", "1:9"),
        ("--replica-assignment", "1:2,1"),
        ("--partitions", "1", "--config", "retention.ms=abc"),
        ("--partitions", "1", "--config", "no.such.setting=1"),
    ],
)
def test_topics_refuses_what_cannot_be(twins: Twins, flags: tuple[str, ...]) -> None:
    assert twins.alike("topics", AT_BROKERS, "--create", "--topic", "refused", *flags).code == 1


def test_topics(twins: Twins) -> None:
    create(twins, "first")
    assert twins.alike("topics", AT_BROKERS, "--create", "--topic", "first", "--partitions", "1").code == 1
    assert twins.alike("topics", AT_BROKERS, "--create", "--topic", "bad name", "--partitions", "1").code == 1
    assert twins.alike("topics", AT_BROKERS, "--alter", "--topic", "first", "--partitions", "2").code == 1
    more = f"{ONE_TOPIC},1:3:2"
    assert twins.alike("topics", AT_BROKERS, "--alter", "--topic", "first", "--partitions", "4", "--replica-assignment", more).code == 0
    described(twins, "first", r"Partition: 3\s+Leader: 1")
    assert twins.alike("topics", AT_BROKERS, "--describe", "--topic", "nowhere").code == 1
    assert not twins.settled("^$", "topics", AT_BROKERS, "--describe", "--under-replicated-partitions").out
    twins.settled(r"(?m)^first$", "topics", AT_BROKERS, "--list")
    assert twins.alike("topics", AT_BROKERS, "--delete", "--topic", "first").code == 0
    assert twins.alike("topics", AT_BROKERS, "--delete", "--topic", "nowhere").code == 1


def test_configs(twins: Twins) -> None:
    create(twins, "set")
    topic = ("--entity-type", "topics", "--entity-name", "set")
    assert twins.alike("configs", AT_BROKERS, *topic, "--alter", "--add-config", "retention.ms=1000000,min.insync.replicas=1").code == 0
    for wrong in ("retention.ms=x", "no.such.setting=1"):
        assert twins.alike("configs", AT_BROKERS, *topic, "--alter", "--add-config", wrong).code == 1
    twins.settled("retention.ms=1000000", "configs", AT_BROKERS, *topic, "--describe")
    twins.settled("retention.ms=1000000", "configs", AT_BROKERS, *topic, "--describe", "--all")
    missing = ("--entity-type", "topics", "--entity-name", "nowhere")
    assert twins.alike("configs", AT_BROKERS, *missing, "--alter", "--add-config", "retention.ms=1").code == 1

    one, default = ("--entity-type", "brokers", "--entity-name", "1"), ("--entity-type", "brokers", "--entity-default")
    twins.alike("configs", AT_BROKERS, *one, "--alter", "--add-config", "log.cleaner.threads=2")
    assert twins.alike("configs", AT_BROKERS, *one, "--alter", "--add-config", "broker.id=2").code == 1
    twins.alike("configs", AT_BROKERS, *default, "--alter", "--add-config", "log.retention.ms=5000000")
    twins.settled("log.cleaner.threads=2", "configs", AT_BROKERS, *one, "--describe")
    twins.settled("log.retention.ms=5000000", "configs", AT_BROKERS, *default, "--describe")
    twins.alike("configs", AT_CONTROLLERS, *default, "--alter", "--add-config", "log.retention.ms=6000000")
    twins.settled("log.retention.ms=6000000", "configs", AT_CONTROLLERS, *default, "--describe")
    twins.alike("configs", AT_CONTROLLERS, "--entity-type", "brokers", "--entity-name", "101", "--describe")
    twins.alike("configs", AT_BROKERS, *default, "--alter", "--delete-config", "log.retention.ms")


def test_configs_of_users_clients_and_addresses(twins: Twins) -> None:
    alice = ("--entity-type", "users", "--entity-name", "alice")
    assert twins.alike("configs", AT_BROKERS, *alice, "--alter", "--add-config", "producer_byte_rate=1000").code == 0
    assert twins.alike("configs", AT_BROKERS, *alice, "--alter", "--add-config", "nonsense=1000").code == 1
    twins.alike("configs", AT_BROKERS, *alice, "--alter", "--add-config", "SCRAM-SHA-256=[iterations=4096,password=x]")
    both = r"(?s)producer_byte_rate=1000.*SCRAM-SHA-256=iterations=4096"
    twins.settled(both, "configs", AT_BROKERS, "--entity-type", "users", "--describe")
    for kind, name, quota in (("clients", None, "request_percentage=50.5"), ("ips", "10.0.0.1", "connection_creation_rate=5")):
        entity = ("--entity-type", kind, *(("--entity-name", name) if name else ("--entity-default",)))
        assert twins.alike("configs", AT_BROKERS, *entity, "--alter", "--add-config", quota).code == 0
        twins.settled(quota.partition("=")[0], "configs", AT_BROKERS, "--entity-type", kind, "--describe")
    twins.alike("configs", AT_BROKERS, *alice, "--alter", "--delete-config", "SCRAM-SHA-256")
    twins.alike("configs", AT_BROKERS, *alice, "--alter", "--delete-config", "producer_byte_rate")
    bob = ("--entity-type", "users", "--entity-name", "bob")
    assert twins.alike("configs", AT_BROKERS, *bob, "--alter", "--delete-config", "SCRAM-SHA-256").code == 1
    twins.settled(r"(?s)\A(?!.*alice)", "configs", AT_BROKERS, "--entity-type", "users", "--describe")


def test_records_and_consumer_groups(twins: Twins, tmp_path: Path) -> None:
    create(twins, "read", "1:2:3")
    said = twins.alike("console-producer", AT_BROKERS, "--topic", "read", "--producer-property", "acks=all", stdin="a\nb\nc\n")
    assert said.code == 0, said.everything
    wanted = ("--topic", "read", "--from-beginning", "--group", "readers", "--max-messages", "3", "--timeout-ms", "30000")
    assert twins.alike("console-consumer", AT_BROKERS, *wanted).out.split() == ["a", "b", "c"]
    group = ("--group", "readers")
    twins.settled("readers", "consumer-groups", AT_BROKERS, "--list")
    twins.settled("readers read 0 3 3 0", "consumer-groups", AT_BROKERS, "--describe", *group)
    twins.alike("consumer-groups", AT_BROKERS, "--describe", *group, "--members", "--verbose")
    twins.alike("consumer-groups", AT_BROKERS, "--describe", "--group", "nobody")
    twins.alike("consumer-groups", AT_BROKERS, "--reset-offsets", *group, "--topic", "read", "--to-earliest", "--execute")
    twins.settled("readers read 0 0 3 3", "consumer-groups", AT_BROKERS, "--describe", *group)
    twins.alike("groups", AT_BROKERS, "--list")
    delete = ("consumer-groups", AT_BROKERS, "--delete-offsets")
    twins.alike(*delete, *group, "--topic", "read:7", "--topic", "nowhere:0")
    twins.settled("readers read 0 0 3 3", "consumer-groups", AT_BROKERS, "--describe", *group)
    assert "Successful" in twins.alike(*delete, *group, "--topic", "read").out
    assert "readers read" not in twins.alike("consumer-groups", AT_BROKERS, "--describe", *group).out
    twins.alike(*delete, *group, "--topic", "read:0")
    twins.alike(*delete, "--group", "nobody", "--topic", "read")
    twins.alike("consumer-groups", AT_BROKERS, "--delete", *group)
    twins.alike("consumer-groups", AT_BROKERS, "--delete", *group)

    for time in ("latest", "earliest"):
        twins.settled("^read:0:", "get-offsets", AT_BROKERS, "--topic", "read", "--time", time)
    twins.settled("<dir of 1>", "log-dirs", AT_BROKERS, "--describe", "--topic-list", "read")
    file = tmp_path / "offsets.json"
    file.write_text(json.dumps({"version": 1, "partitions": [{"topic": "read", "partition": 0, "offset": 2}]}))
    assert twins.alike("delete-records", AT_BROKERS, "--offset-json-file", str(file)).code == 0
    file.write_text(json.dumps({"version": 1, "partitions": [{"topic": "read", "partition": 0, "offset": 99}]}))
    twins.alike("delete-records", AT_BROKERS, "--offset-json-file", str(file))
    assert twins.alike("get-offsets", AT_BROKERS, "--topic", "read", "--time", "earliest").out == "read:0:2"


def test_reassign_partitions_and_leader_election(twins: Twins, plan: Callable[..., str]) -> None:
    create(twins, "moved", "1:2,2:3")
    elect = ("leader-election", AT_BROKERS, "--election-type")
    assert twins.alike(*elect, "preferred", "--topic", "moved", "--partition", "0").code == 0
    assert twins.alike(*elect, "unclean", "--topic", "moved", "--partition", "0").code == 0
    for nowhere in (("nowhere", "0"), ("moved", "77")):
        assert twins.alike(*elect, "preferred", "--topic", nowhere[0], "--partition", nowhere[1]).code == 1

    reassign = ("reassign-partitions", AT_BROKERS, "--reassignment-json-file")
    for wrong in (("moved", 0, [3, 9]), ("nowhere", 0, [3, 1]), ("moved", 0, [3, 3]), ("moved", 5, [3, 1]), ("moved", 0, [])):
        assert twins.alike(*reassign, plan(wrong), "--execute").code == 1, wrong
    file = plan(("moved", 0, [3, 1]), ("moved", 1, [1, 2, 3]))
    assert "Successfully started partition reassignments" in twins.alike(*reassign, file, "--execute").out
    described(twins, "moved", r"Replicas: 3,1\s+Isr: 1,3[^_]*Replicas: 1,2,3\s+Isr: 1,2,3")
    twins.settled("Reassignment of partition moved-0 is completed", *reassign, file, "--verify")
    twins.alike(*reassign, file, "--cancel")

    assert "Successfully completed leader election" in twins.alike(*elect, "preferred", "--topic", "moved", "--partition", "0").out
    described(twins, "moved", r"Partition: 0\s+Leader: 3")
    throttled = plan(("moved", 0, [2, 3]))
    assert "throttle limit was set" in twins.alike(*reassign, throttled, "--execute", "--throttle", "100000").out
    described(twins, "moved", r"Replicas: 2,3\s+Isr: 2,3")
    twins.settled("is completed", *reassign, throttled, "--verify")
    topic = ("--entity-type", "topics", "--entity-name", "moved")
    twins.settled(r"(?s)\A(?!.*throttled)", "configs", AT_BROKERS, *topic, "--describe")
    twins.alike("reassign-partitions", AT_BROKERS, "--list")


def test_cluster(twins: Twins) -> None:
    assert apache_kafka.CLUSTER_ID in twins.tools.succeed("cluster", "cluster-id", "--bootstrap-server", twins.ours.bootstrap_servers)
    twins.settled("unfenced", "cluster", "list-endpoints", AT_BROKERS)
    twins.settled("103", "cluster", "list-endpoints", AT_CONTROLLERS)
    assert twins.alike("cluster", "unregister", AT_BROKERS, "--id", "77").code == 1


def test_metadata_quorum(twins: Twins) -> None:
    """Who leads and where the log ends is each quorum's own; all else that is told is not."""

    def without_figures(text: str) -> str:
        text = re.sub(r"(HighWatermark|MaxFollowerLag|MaxFollowerLagTimeMs|LeaderId|LeaderEpoch): -?\d+", r"\1: <n>", text)
        # In the order of a hash map there, of the ids here.
        return re.sub(r"CurrentObservers: .*", lambda found: " ".join(sorted(re.findall(r"\{.*?\}", found[0]))), text)

    for asked in (AT_BROKERS, AT_CONTROLLERS):
        apache, ours = twins.each("metadata-quorum", asked, "describe", "--status")
        assert without_figures(ours.out) == without_figures(apache.out)
        apache, ours = twins.each("metadata-quorum", asked, "describe", "--replication")
        rows = [re.findall(r"^(\d+)\s+(\S+)\s+\d+\s+\d+\s+\d+\s+\d+\s+(\w+)", said.out, re.MULTILINE) for said in (apache, ours)]
        assert sorted((node, directory) for node, directory, _ in rows[0]) == sorted((node, directory) for node, directory, _ in rows[1])
        assert sorted(role for *_, role in rows[0]) == sorted(role for *_, role in rows[1])


def await_voters_known(twins: Twins) -> None:
    """Static voters tell the leader once in a fetch timeout what they support; before that it answers for none of them."""
    twins.settled("(?m)^kraft.version can be upgraded to 1", "features", AT_BROKERS, "upgrade", "--feature", "kraft.version=1", "--dry-run")


def test_features(twins: Twins) -> None:
    """Ours begins without the protocols that it does not serve; what each can be raised to is the same."""

    def supported(text: str) -> list[str]:
        return [line.partition("FinalizedVersionLevel")[0] for line in text.splitlines()]

    for asked in (AT_BROKERS, AT_CONTROLLERS):
        apache, ours = twins.each("features", asked, "describe")
        assert supported(ours.out) == supported(apache.out)
    await_voters_known(twins)
    for words in (
        ("upgrade", "--feature", "group.version=1"),
        ("downgrade", "--feature", "group.version=0"),
        ("upgrade", "--metadata", "4.3"),
        ("upgrade", "--feature", "kraft.version=1", "--dry-run"),
        ("downgrade", "--feature", "eligible.leader.replicas.version=0"),
        ("upgrade", "--feature", "eligible.leader.replicas.version=1"),
    ):
        assert twins.alike("features", AT_BROKERS, *words).code == 0, words
    for words in (
        ("upgrade", "--feature", "group.version=7"),
        ("upgrade", "--feature", "no.such.version=1"),
        ("upgrade", "--feature", "share.version=1", "--feature", "no.such.version=1"),
        ("upgrade", "--feature", "kraft.version=2"),
        ("upgrade", "--metadata", "4.2"),
        ("downgrade", "--metadata", "4.0-IV3"),
        ("downgrade", "--metadata", "4.2-IV1", "--dry-run"),
        ("downgrade", "--unsafe", "--metadata", "3.9-IV0", "--dry-run"),
    ):
        assert twins.alike("features", AT_BROKERS, *words).code == 1, words


def test_static_voters_become_dynamic_ones(twins: Twins) -> None:
    """It cannot be undone, so this comes last."""
    nobody = ("--controller-id", "103", "--controller-directory-id", "AAAAAAAAAAAAAAAAAAAAAQ")
    for asked in (AT_BROKERS, AT_CONTROLLERS):
        assert "UNSUPPORTED" in twins.alike("metadata-quorum", asked, "remove-controller", *nobody).err.upper()

    def voters_told(said: Said) -> str:
        # In the order of a hash map there, of the ids here.
        return re.sub(r"\[(ReplicaKey.*)\]", lambda found: " ".join(sorted(re.findall(r"ReplicaKey\(.*?\)", found[1]))), said.everything)

    await_voters_known(twins)
    assert twins.alike("features", AT_BROKERS, "upgrade", "--feature", "kraft.version=1").code == 0
    for asked in (AT_BROKERS, AT_CONTROLLERS):
        apache, ours = twins.each("metadata-quorum", asked, "remove-controller", *nobody)
        assert ours.code == apache.code == 1
        assert voters_told(ours) == voters_told(apache)
    assert twins.alike("features", AT_BROKERS, "downgrade", "--feature", "kraft.version=0").code == 1
    apache, ours = twins.each("metadata-quorum", AT_CONTROLLERS, "describe", "--status")
    for said in (apache, ours):
        assert said.out.count('"directoryId": "<id>", "endpoints"') == 3
