"""Levels: values of which only the latest matters, by key.

A level is emitted again whenever it changed, at most every :data:`LEVEL_INTERVAL_MS`; ``None``
takes the key away. Counters (bytes, requests) only grow during a node's life: the reader turns them into rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

LEVEL_INTERVAL_MS: Final = 50.0
SEGMENTS_INTERVAL_MS: Final = 500.0
"""Segments change by their size only, most of the time; they are told less often."""
SEGMENTS_TOLD_MAX: Final = 256
"""Of one replica, the newest ones."""


def until_sample_ms(now_ms: float, interval_ms: float = LEVEL_INTERVAL_MS) -> float:
    """How long to wait for the next sample, by a clock's reading.

    All nodes sample at the same beats of the machine's clock: taken each at its own time, a follower's log end
    would be older than the high watermark which its leader has from it, and the screen would show what cannot be.
    """
    return interval_ms - now_ms % interval_ms


# ``kind`` keeps keys of different classes apart: as tuples they would be equal.
class NodeKey(NamedTuple):
    node_id: int
    kind: str = "node"


class QuorumKey(NamedTuple):
    node_id: int
    kind: str = "quorum"


class PartitionKey(NamedTuple):
    topic: str
    partition: int
    kind: str = "partition"


class TopicKey(NamedTuple):
    topic: str
    kind: str = "topic"


class ReplicaKey(NamedTuple):
    node_id: int
    topic: str
    partition: int
    kind: str = "replica"


class SegmentsKey(NamedTuple):
    node_id: int
    topic: str
    partition: int
    kind: str = "segments"


class ConnectionKey(NamedTuple):
    node_id: int
    connection_id: int
    kind: str = "connection"


class GroupKey(NamedTuple):
    group_id: str
    kind: str = "group"


class GroupOffsetKey(NamedTuple):
    group_id: str
    topic: str
    partition: int
    kind: str = "groupoffset"


class BrokerKey(NamedTuple):
    broker_id: int
    kind: str = "broker"


class LinksKey(NamedTuple):
    kind: str = "links"


class ClockKey(NamedTuple):
    node_id: int
    kind: str = "clock"


LevelKey = (
    NodeKey
    | QuorumKey
    | PartitionKey
    | TopicKey
    | ReplicaKey
    | SegmentsKey
    | ConnectionKey
    | GroupKey
    | GroupOffsetKey
    | BrokerKey
    | LinksKey
    | ClockKey
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLevel:
    """A node's own counters, by the node. Client traffic and traffic between nodes are apart."""

    client_bytes_in: int
    client_bytes_out: int
    peer_bytes_in: int
    peer_bytes_out: int
    requests: int
    connections: int
    produced_bytes: int  # record bytes appended as leader for clients
    fetched_bytes: int  # record bytes given to consumers
    bad_input: tuple[tuple[str, int], ...]  # (reason, count), by name


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumLevel:
    """A quorum member or observer, by itself."""

    state: str  # raft state, or "observer"
    epoch: int
    leader_id: int  # -1: unknown
    high_watermark: int  # -1: unknown
    log_end_offset: int
    directory_id: str = ""  # of its metadata log, in Kafka's text form; empty while it has none
    snapshot_end_offset: int = -1  # of its newest snapshot, -1: none
    snapshot_epoch: int = -1
    voters: tuple[int, ...] = ()  # who votes, as its log says


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerLevel:
    """A broker as the active controller's committed image has it."""

    broker_epoch: int
    fenced: bool
    in_controlled_shutdown: bool
    address: str
    rack: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicLevel:
    """A topic as the active controller's committed image has it; ``topic_id`` in Kafka's text form."""

    topic_id: str
    partitions: int
    replication_factor: int
    internal: bool
    min_insync_replicas: int
    order: int  # metadata offset of its creation: topics sort by it


class PartitionLevel(NamedTuple):
    """A partition as the active controller's committed image has it. A tuple, because failovers tell thousands."""

    leader: int  # -1: none
    leader_epoch: int
    partition_epoch: int
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    elr: tuple[int, ...] = ()  # eligible leader replicas: not in sync any more, but with every committed record
    last_known_elr: tuple[int, ...] = ()  # who led last, while nobody does
    adding: tuple[int, ...] = ()  # replicas that a reassignment brings
    removing: tuple[int, ...] = ()  # replicas that it takes away when it is done
    recovering: bool = False  # the leader came by an unclean election and has not settled yet


class ReplicaLevel(NamedTuple):
    """One replica, by the broker that hosts it. A tuple for the same reason."""

    is_leader: bool
    leader_epoch: int
    log_start_offset: int
    log_end_offset: int
    high_watermark: int
    size_bytes: int
    segments: int


class SegmentFacts(NamedTuple):
    """One segment: what it holds is from ``base_offset`` to before ``end_offset``, with holes where compaction went."""

    base_offset: int
    end_offset: int
    size_bytes: int
    max_timestamp: int  # -1: empty
    is_active: bool  # appends go there; it is neither deleted nor compacted


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentsLevel:
    """The segments of one replica by offset, by the broker that hosts it."""

    segments: tuple[SegmentFacts, ...]
    omitted: int  # older ones that are not among them
    first_dirty_offset: int  # from here on nothing was compacted yet; -1: this log is not compacted


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLevel:
    """One live TCP connection, by the node that accepted it."""

    client_id: str
    software: str  # "librdkafka 2.16.1"; empty while unknown
    address: str  # the peer's host:port
    listener: str
    peer_node_id: int  # the broker at the other end of replication, -1 for a client
    bytes_in: int
    bytes_out: int
    requests: int
    produced_bytes: int
    fetched_bytes: int
    in_flight: int
    apis: tuple[tuple[str, int, int], ...]  # (API name, version, requests)
    acks: int | None  # of the last produce request
    producer_id: int  # of the last batch, -1 without
    last_error: str
    group_id: str  # of the last group request, or empty


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMemberLevel:
    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    assignment: tuple[tuple[str, int], ...]  # (topic, partition); empty where not known


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLevel:
    """A group, by its coordinator."""

    coordinator_id: int
    state: str
    generation: int
    protocol_type: str
    protocol: str
    leader_id: str
    members: tuple[GroupMemberLevel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupOffsetLevel:
    """A group's committed offset, by its coordinator."""

    offset: int
    leader_epoch: int
    metadata: str
    commit_ms: int


class LinkState(NamedTuple):
    """What is wrong on purpose with what ``source`` sends to ``target``. Clients, all of them, are party -1."""

    source: int
    target: int
    is_cut: bool
    delay_ms: float
    jitter_ms: float
    loss: float  # probability that a piece has to be sent again
    bytes_per_second: float  # 0: as fast as can be


@dataclass(frozen=True, slots=True, kw_only=True)
class LinksLevel:
    """All links with which something is wrong on purpose, by the cluster host; there is none while nothing is."""

    links: tuple[LinkState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockLevel:
    """A node's wall clock that was set on purpose, by the cluster host; there is none while it is right."""

    offset_seconds: float


Level = (
    NodeLevel
    | QuorumLevel
    | PartitionLevel
    | TopicLevel
    | ReplicaLevel
    | SegmentsLevel
    | ConnectionLevel
    | GroupLevel
    | GroupOffsetLevel
    | BrokerLevel
    | LinksLevel
    | ClockLevel
)
