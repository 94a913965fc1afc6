"""A cluster of both kinds of nodes: KafkaLab's brokers 1 and 2, Apache Kafka's broker 3, and a quorum of either or both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from confluent_kafka.admin import AdminClient, NewTopic

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.log.reader import LogDirReader, StoredBatch
from kafkalab.engine.protocol.apis import ApiKey
from tests.support.apache_kafka import CLUSTER_ID, free_port
from tests.support.apache_nodes import ApacheNode, ApacheProcess
from tests.support.lab_nodes import LabNodes
from tests.support.raw_client import RawClient
from tests.support.waiting import wait_for

Quorum = Literal["ours", "theirs", "mixed"]
OUR_BROKERS: Final = (1, 2)
THEIR_BROKER: Final = 3
CONTROLLERS: Final = (101, 102, 103)
OURS_OF_MIXED: Final = (101, 102)
WAIT_S: Final = 40.0

SETTINGS: Final = {
    # Short sessions, so that a kill is noticed within a test's patience; both kinds are told the same.
    "broker.session.timeout.ms": "5000",
    "broker.heartbeat.interval.ms": "500",
    "replica.lag.time.max.ms": "4000",
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "offsets.topic.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
}


@dataclass(frozen=True)
class PartitionState:
    """A partition as brokers tell clients."""

    leader: int
    replicas: frozenset[int]
    in_sync: frozenset[int]


@dataclass(frozen=True)
class MixedCluster:
    """Its nodes, and its brokers' view of it.

    Each broker comes to know of a change in its own time, so what is told here is what all that run agree on.
    """

    lab: LabNodes
    """Brokers 1 and 2, and our part of the quorum."""
    theirs: ApacheProcess
    """Broker 3, and where the quorum is theirs or mixed controller 103 in the same process."""
    voters: Mapping[int, tuple[str, int]]
    admin: AdminClient
    directory: Path
    their_majority: ApacheProcess | None = None
    """Where the quorum is theirs, the other two controllers."""

    @property
    def bootstrap_servers(self) -> str:
        """All brokers of both kinds."""
        return f"{self.lab.bootstrap_servers},{self.their_address}"

    @property
    def their_address(self) -> str:
        """Broker 3 alone."""
        broker = next(node for node in self.theirs.nodes if node.node_id == THEIR_BROKER)
        return f"127.0.0.1:{broker.port}"

    def log_dirs(self, broker_id: int) -> list[Path]:
        """Where a broker keeps its replicas; a second directory of theirs is called as the first with something after it."""
        first = self.theirs.log_dir(broker_id) if broker_id == THEIR_BROKER else self.lab.data_dir(broker_id)
        return sorted(path for path in first.parent.glob(f"{first.name}*") if path.is_dir())

    def kill(self, broker_id: int) -> None:
        """SIGKILL to a broker, or what is like it; with theirs goes what else is in its process."""
        if broker_id == THEIR_BROKER:
            self.theirs.kill()
        else:
            self.lab.kill(broker_id)

    def stop(self, broker_id: int) -> None:
        """Stop a broker in order."""
        if broker_id == THEIR_BROKER:
            self.theirs.stop()
        else:
            self.lab.stop(broker_id)

    def start(self, broker_id: int) -> None:
        """Start a broker again, and wait until it has its port."""
        if broker_id == THEIR_BROKER:
            self.theirs.start()
            self.theirs.wait_ready()
        else:
            self.lab.start(broker_id)

    def create_topic(self, name: str, assignments: Sequence[Sequence[int]], config: Mapping[str, str] | None = None) -> None:
        """Create a topic with these replicas of each partition, preferred leader first."""
        topic = NewTopic(name, len(assignments), replica_assignment=[list(replicas) for replicas in assignments], config=dict(config or {}))
        self.admin.create_topics([topic], operation_timeout=WAIT_S)[name].result(WAIT_S)
        self.wait_in_sync(name)

    def _ask_each(self, topics: Sequence[str]) -> list[Any]:
        """What each broker that runs tells of the cluster and of these topics."""
        running = {**self.lab.brokers, **({THEIR_BROKER: self.their_address} if self.theirs.is_running else {})}
        assert running, "nobody can be asked"
        answers = []
        for address in running.values():
            with RawClient(address) as client:
                body = {"topics": [{"name": topic} for topic in topics], "allow_auto_topic_creation": False}
                answers.append(client.ask(ApiKey.METADATA, 12, body))
        return answers

    def partitions(self, topic: str) -> dict[int, PartitionState]:
        """Leader, replicas and ISR of each partition."""

        def told(answer: Any) -> dict[int, PartitionState]:
            return {
                one.partition_index: PartitionState(one.leader_id, frozenset(one.replica_nodes), frozenset(one.isr_nodes))
                for one in answer.topics[0].partitions
            }

        def agreed() -> dict[int, PartitionState] | None:
            first, *others = map(told, self._ask_each([topic]))
            return first if first and all(other == first for other in others) else None

        return wait_for(agreed, f"{topic} known to all brokers alike")

    def leaders(self, topic: str) -> dict[int, int]:
        """The leader of each partition."""
        return {partition: state.leader for partition, state in self.partitions(topic).items()}

    def wait_in_sync(self, topic: str) -> None:
        """Until every replica of every partition is in its ISR."""

        def all_in_sync() -> bool:
            return all(state.in_sync == state.replicas and state.leader >= 0 for state in self.partitions(topic).values())

        wait_for(all_in_sync, f"all replicas of {topic} in sync")

    def wait_led_without(self, topic: str, broker_id: int) -> None:
        """Until a broker that ended is out of service, and others lead all partitions."""

        def led_by_others() -> bool:
            answers = self._ask_each([])
            is_gone = all(broker_id not in {one.node_id for one in answer.brokers} for answer in answers)
            return is_gone and not {-1, broker_id} & set(self.leaders(topic).values())

        wait_for(led_by_others, f"{topic} led by others than {broker_id}")

    def wait_brokers(self, *broker_ids: int) -> None:
        """Until just these are in service."""

        def just_these() -> bool:
            return all({one.node_id for one in answer.brokers} == set(broker_ids) for answer in self._ask_each([]))

        wait_for(just_these, f"brokers {broker_ids}")


@contextmanager
def mixed_cluster(
    directory: Path, quorum: Quorum, *, config: Mapping[str, str] | None = None, their_config: Mapping[str, str] | None = None
) -> Iterator[MixedCluster]:
    """Start one of these, all brokers in service; stopped in order at the end, brokers first.

    :param their_config: settings of broker 3 alone.
    """
    settings = {**SETTINGS, **(config or {})}
    voters = {node_id: ("127.0.0.1", free_port()) for node_id in CONTROLLERS}
    ours = {"ours": CONTROLLERS, "mixed": OURS_OF_MIXED, "theirs": ()}[quorum]
    lab = LabNodes(directory, CLUSTER_ID, config={**settings, "metadata.max.idle.interval.ms": "0"})
    for node_id in ours:
        lab.add(node_id, "controller", voters, port=voters[node_id][1])
    for node_id in OUR_BROKERS:
        lab.add(node_id, "broker", voters)

    def controller(node_id: int) -> ApacheNode:
        return ApacheNode(node_id, "controller", voters, settings, voters[node_id][1])

    beside = [controller(CONTROLLERS[-1])] if quorum != "ours" else []
    theirs = ApacheProcess(
        directory, CLUSTER_ID, [*beside, ApacheNode(THEIR_BROKER, "broker", voters, {**settings, **(their_config or {})})]
    )
    majority = ApacheProcess(directory, CLUSTER_ID, [controller(node_id) for node_id in CONTROLLERS[:2]]) if quorum == "theirs" else None
    with ExitStack() as stack:
        if majority is not None:
            stack.enter_context(majority)
        stack.enter_context(lab)
        if ours:
            lab.start(*ours)
        # It ends before the quorum does.
        stack.enter_context(theirs)
        theirs.wait_ready()
        lab.start(*OUR_BROKERS)
        admin = AdminClient({"bootstrap.servers": lab.bootstrap_servers, "log_level": 0, "reconnect.backoff.max.ms": 500})
        cluster = MixedCluster(lab, theirs, voters, admin, directory, majority)
        cluster.wait_brokers(*OUR_BROKERS, THEIR_BROKER)
        yield cluster


def batches_by_replica(cluster: MixedCluster, partition: TopicPartition) -> dict[int, list[StoredBatch]]:
    """What is in the files of each broker that has the partition."""
    found = {}
    for broker_id in (*OUR_BROKERS, THEIR_BROKER):
        for log_dir in cluster.log_dirs(broker_id):
            reader = LogDirReader(log_dir).partitions().get(partition)
            if reader is not None:
                found[broker_id] = list(reader.batches())
    return found


def assert_replicas_agree(cluster: MixedCluster, topic: str, partitions: int) -> None:
    """Every replica of a partition has the same bytes, whoever wrote them."""
    for number in range(partitions):
        by_broker = batches_by_replica(cluster, TopicPartition(topic, number))
        (first_id, first), *others = by_broker.items()
        assert first and all(batch.is_valid for batch in first)
        for broker_id, batches in others:
            assert [batch.data for batch in batches] == [batch.data for batch in first], f"{topic}-{number} at {broker_id} and {first_id}"
