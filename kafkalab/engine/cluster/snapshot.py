"""The cluster at one moment, as frozen values: what :meth:`ClusterHost.describe` gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.telemetry.levels import (
    BrokerKey,
    BrokerLevel,
    ConnectionKey,
    GroupKey,
    GroupLevel,
    GroupOffsetKey,
    GroupOffsetLevel,
    Level,
    LevelKey,
    NodeKey,
    PartitionKey,
    PartitionLevel,
    QuorumKey,
    QuorumLevel,
    ReplicaKey,
    ReplicaLevel,
    SegmentsKey,
    TopicKey,
    TopicLevel,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSnapshot:
    """One node, as the host that runs it knows it, and as the controller sees it where it is a broker."""

    node_id: int
    roles: frozenset[str]
    state: str  # "starting", "running", "paused", "stopping", "stopped", "killed", "crashed"
    address: str  # host:port for clients; a controller's own listener where it serves none
    pid: int | None  # of its process while it runs
    failure: str | None  # why it crashed or could not start
    broker_epoch: int  # -1: not registered, or no broker
    fenced: bool  # for a broker: not in service as far as the controller knows
    quorum_state: str | None  # "leader", "follower", …; "observer" for a broker; None where it does not run

    @property
    def is_running(self) -> bool:
        """Whether the node is up and answers."""
        return self.state == "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSnapshot:
    """One replica as the broker that hosts it reported it."""

    node_id: int
    is_leader: bool
    log_start_offset: int
    log_end_offset: int
    high_watermark: int
    size_bytes: int
    segments: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSnapshot:
    """A partition as the controller committed it, with its replicas' offsets."""

    topic: str
    partition: int
    leader: int  # -1: none
    leader_epoch: int
    partition_epoch: int
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    high_watermark: int  # the leader's; -1 while no leader reports
    log_end_offsets: Mapping[int, int]  # by broker; brokers that are gone report none
    replica_states: Mapping[int, ReplicaSnapshot]

    @property
    def is_healthy(self) -> bool:
        """Led, and every replica in sync."""
        return self.leader != -1 and set(self.isr) == set(self.replicas)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSnapshot:
    """A topic and its partitions."""

    name: str
    topic_id: str
    internal: bool
    replication_factor: int
    min_insync_replicas: int
    partitions: tuple[PartitionSnapshot, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMemberSnapshot:
    """A member of a group and what it was given."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    assignment: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSnapshot:
    """A consumer group as its coordinator reported it."""

    group_id: str
    state: str
    coordinator: int
    generation: int
    protocol: str
    members: tuple[GroupMemberSnapshot, ...]
    committed: Mapping[TopicPartition, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSnapshot:
    """Everything at one moment. Offsets are as the nodes last reported them, at most a twentieth of a second old."""

    cluster_id: str
    bootstrap_servers: str
    controller: int  # the active one; -1: none is known
    quorum_epoch: int
    nodes: tuple[NodeSnapshot, ...]
    topics: Mapping[str, TopicSnapshot]
    groups: Mapping[str, GroupSnapshot]
    connections: int

    def node(self, node_id: int) -> NodeSnapshot:
        """A node by its id.

        :raises KeyError: when there is no such node.
        """
        for node in self.nodes:
            if node.node_id == node_id:
                return node
        raise KeyError(node_id)

    def partition(self, topic: str, partition: int) -> PartitionSnapshot:
        """A partition by topic and number.

        :raises KeyError: when there is no such partition.
        """
        for found in self.topics[topic].partitions:
            if found.partition == partition:
                return found
        raise KeyError(TopicPartition(topic, partition))

    def leader(self, topic: str, partition: int) -> int:
        """The broker that leads a partition; -1: none."""
        return self.partition(topic, partition).leader


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What the host knows of a node by itself."""

    node_id: int
    roles: frozenset[str]
    state: str
    address: str
    pid: int | None
    failure: str | None
    old_broker_epoch: int = -1  # of a registration that belongs to an earlier life


def build_snapshot(
    *, cluster_id: str, bootstrap_servers: str, nodes: Iterable[NodeFacts], levels: Mapping[LevelKey, Level]
) -> ClusterSnapshot:
    """Put the hub's levels and the host's knowledge together."""
    quorum = {key.node_id: value for key, value in levels.items() if isinstance(key, QuorumKey) and isinstance(value, QuorumLevel)}
    brokers = {key.broker_id: value for key, value in levels.items() if isinstance(key, BrokerKey) and isinstance(value, BrokerLevel)}
    controller, quorum_epoch = active_controller(levels)
    return ClusterSnapshot(
        cluster_id=cluster_id,
        bootstrap_servers=bootstrap_servers,
        controller=controller,
        quorum_epoch=quorum_epoch,
        nodes=tuple(_node(facts, brokers.get(facts.node_id), quorum.get(facts.node_id)) for facts in nodes),
        topics=MappingProxyType(_topics(levels)),
        groups=MappingProxyType(_groups(levels)),
        connections=sum(isinstance(key, ConnectionKey) for key in levels),
    )


def active_controller(levels: Mapping[LevelKey, Level]) -> tuple[int, int]:
    """The leader of the newest quorum epoch that any member knows of, and that epoch; (-1, epoch) without one."""
    leader_id, epoch = -1, 0
    for key, value in levels.items():
        if isinstance(key, QuorumKey) and isinstance(value, QuorumLevel) and value.epoch >= epoch:
            if value.epoch > epoch:
                leader_id, epoch = -1, value.epoch
            # Only the leader itself knows that it leads; others may have heard of one that is gone since.
            if value.state == "leader":
                leader_id = key.node_id
    return leader_id, epoch


def _node(facts: NodeFacts, broker: BrokerLevel | None, quorum: QuorumLevel | None) -> NodeSnapshot:
    return NodeSnapshot(
        node_id=facts.node_id,
        roles=facts.roles,
        state=facts.state,
        address=facts.address,
        pid=facts.pid,
        failure=facts.failure,
        broker_epoch=broker.broker_epoch if broker is not None else -1,
        fenced=("broker" in facts.roles) and (broker is None or broker.fenced),
        quorum_state=quorum.state if quorum is not None else None,
    )


def _topics(levels: Mapping[LevelKey, Level]) -> dict[str, TopicSnapshot]:
    replicas: dict[TopicPartition, dict[int, ReplicaSnapshot]] = {}
    partitions: dict[str, list[tuple[int, PartitionLevel]]] = {}
    topics: list[tuple[str, TopicLevel]] = []
    for key, value in levels.items():
        if isinstance(key, ReplicaKey) and isinstance(value, ReplicaLevel):
            replicas.setdefault(TopicPartition(key.topic, key.partition), {})[key.node_id] = ReplicaSnapshot(
                node_id=key.node_id,
                is_leader=value.is_leader,
                log_start_offset=value.log_start_offset,
                log_end_offset=value.log_end_offset,
                high_watermark=value.high_watermark,
                size_bytes=value.size_bytes,
                segments=value.segments,
            )
        elif isinstance(key, PartitionKey) and isinstance(value, PartitionLevel):
            partitions.setdefault(key.topic, []).append((key.partition, value))
        elif isinstance(key, TopicKey) and isinstance(value, TopicLevel):
            topics.append((key.topic, value))
    topics.sort(key=lambda item: item[1].order)
    return {
        name: TopicSnapshot(
            name=name,
            topic_id=level.topic_id,
            internal=level.internal,
            replication_factor=level.replication_factor,
            min_insync_replicas=level.min_insync_replicas,
            partitions=tuple(
                _partition(TopicPartition(name, number), partition, replicas.get(TopicPartition(name, number), {}))
                for number, partition in sorted(partitions.get(name, ()), key=lambda item: item[0])
            ),
        )
        for name, level in topics
    }


def _partition(tp: TopicPartition, level: PartitionLevel, replicas: dict[int, ReplicaSnapshot]) -> PartitionSnapshot:
    leader = replicas.get(level.leader)
    return PartitionSnapshot(
        topic=tp.topic,
        partition=tp.partition,
        leader=level.leader,
        leader_epoch=level.leader_epoch,
        partition_epoch=level.partition_epoch,
        replicas=level.replicas,
        isr=level.isr,
        high_watermark=leader.high_watermark if leader is not None else -1,
        log_end_offsets=MappingProxyType({node_id: replica.log_end_offset for node_id, replica in sorted(replicas.items())}),
        replica_states=MappingProxyType(dict(sorted(replicas.items()))),
    )


def _groups(levels: Mapping[LevelKey, Level]) -> dict[str, GroupSnapshot]:
    committed: dict[str, dict[TopicPartition, int]] = {}
    for key, value in levels.items():
        if isinstance(key, GroupOffsetKey) and isinstance(value, GroupOffsetLevel):
            committed.setdefault(key.group_id, {})[TopicPartition(key.topic, key.partition)] = value.offset
    groups = [(key, value) for key, value in levels.items() if isinstance(key, GroupKey) and isinstance(value, GroupLevel)]
    groups.sort(key=lambda item: item[0])
    return {
        key.group_id: GroupSnapshot(
            group_id=key.group_id,
            state=value.state,
            coordinator=value.coordinator_id,
            generation=value.generation,
            protocol=value.protocol,
            members=tuple(
                GroupMemberSnapshot(
                    member_id=member.member_id,
                    instance_id=member.instance_id,
                    client_id=member.client_id,
                    client_host=member.client_host,
                    assignment=tuple(TopicPartition(topic, partition) for topic, partition in member.assignment),
                )
                for member in value.members
            ),
            committed=MappingProxyType(dict(sorted(committed.get(key.group_id, {}).items()))),
        )
        for key, value in groups
    }


def keys_of_node(node_id: int, keys: Iterable[LevelKey]) -> list[LevelKey]:
    """The levels that a node reports of itself, and that go with it."""
    own = NodeKey | QuorumKey | ReplicaKey | SegmentsKey | ConnectionKey
    return [key for key in keys if isinstance(key, own) and key.node_id == node_id]
