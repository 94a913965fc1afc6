"""Happenings: what changed in the cluster, once each, with its cause.

Emitted where the fact is decided, after it is committed: leader and ISR changes by the active
controller, rebalances by the group's coordinator, kills by whoever killed. Times are wall-clock
milliseconds since 1970 with fractions. All are plain values and can be pickled.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at a moment, as seen by one node (-1: the cluster host)."""

    at_ms: float
    node_id: int


# --- nodes -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStarted(Event):
    """A node's listeners are bound; it is on its way to being in service."""

    role: str  # "broker", "controller" or "broker,controller"
    address: str  # the client listener's host:port, or the controller listener's for a controller
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStopped(Event):
    """A controlled shutdown came to its end."""

    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKilled(Event):
    """A node is gone without a goodbye."""

    cause: str  # "you", or "signal 9" when somebody else killed its process


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCrashed(Event):
    """A node stopped itself: corrupt files, a broken invariant, no quorum."""

    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePaused(Event):
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeResumed(Event):
    cause: str


# --- quorum ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftStateChanged(Event):
    """A quorum member moved to another state of the raft state table."""

    old_state: str  # "unattached", "prospective", "candidate", "leader", "follower", "resigned"
    new_state: str
    epoch: int
    leader_id: int  # -1: unknown
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteAnswered(Event):
    """``node_id`` answered a candidate's request for its vote."""

    candidate_id: int
    epoch: int
    granted: bool
    pre_vote: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumLeaderElected(Event):
    """``node_id`` won the election for ``epoch`` and is the active controller."""

    epoch: int
    votes: tuple[int, ...]
    cause: str


# --- brokers, topics, partitions (emitted by the active controller on commit) --------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerRegistered(Event):
    broker_id: int
    broker_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerFenced(Event):
    broker_id: int
    cause: str  # "no heartbeat for 9 000 ms (broker.session.timeout.ms)", "controlled shutdown"
    silent_ms: float  # since its last heartbeat; 0 where that is not the cause


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerUnfenced(Event):
    broker_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicCreated(Event):
    topic: str
    partitions: int
    replication_factor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicDeleted(Event):
    topic: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionsAdded(Event):
    topic: str
    old_count: int
    new_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionChanged(Event):
    """A partition's leader or ISR changed; old and new values are equal where it did not."""

    topic: str
    partition: int
    old_leader: int  # -1: none
    new_leader: int
    old_leader_epoch: int
    new_leader_epoch: int
    old_isr: tuple[int, ...]
    new_isr: tuple[int, ...]
    cause: str  # "broker 2 was fenced", "replica 3 caught up", "replica 2 fell behind for 30 000 ms"
    election: str = ""  # by what right the new leader leads: "isr", "preferred", "elr", "last known leader", "unclean"; "none" without one
    old_elr: tuple[int, ...] = ()  # eligible leader replicas (KIP-966)
    new_elr: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReassignmentChanged(Event):
    """A partition's replicas are on their way elsewhere, or have arrived."""

    topic: str
    partition: int
    old_replicas: tuple[int, ...]
    new_replicas: tuple[int, ...]
    adding: tuple[int, ...]
    removing: tuple[int, ...]
    state: str  # "started", "changed", "done" or "taken back"
    cause: str


# --- replicas ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTruncated(Event):
    topic: str
    partition: int
    from_offset: int
    to_offset: int
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecovered(Event):
    """A log was re-validated after an unclean stop; ``cut_bytes`` of torn tail were removed."""

    topic: str
    partition: int
    log_end_offset: int
    cut_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogDirectoryFailed(Event):
    """A broker's log directory went out of use, and the replicas in it with it."""

    directory: str
    replicas: int
    cause: str  # "/data/dir-2/orders-0: No space left on device"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCompacted(Event):
    """A compaction came to its end; the sizes are those of the segments that it went through."""

    topic: str
    partition: int
    bytes_before: int
    bytes_after: int
    records_dropped: int
    first_dirty_offset: int
    duration_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LogUncleanable(Event):
    """A log is not compacted any more while this broker lives."""

    topic: str
    partition: int
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentsDeleted(Event):
    """The oldest segments of a log went."""

    topic: str
    partition: int
    count: int
    size_bytes: int
    log_start_offset: int
    cause: str  # "retention.ms", "retention.bytes" or "log start offset"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstWriteAcknowledged(Event):
    """The first produce request a new leader answered without error in its leader epoch."""

    topic: str
    partition: int
    offset: int
    leader_epoch: int
    client_id: str


# --- groups (emitted by the group's coordinator) -------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStateChanged(Event):
    group_id: str
    old_state: str  # "Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"
    new_state: str
    generation: int
    members: int
    cause: str  # "member consumer-1 joined", "member consumer-2: no heartbeat for 45 000 ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorLoaded(Event):
    """This broker took over a partition of ``__consumer_offsets`` and replayed it."""

    partition: int
    groups: int
    offsets: int
    took_ms: float


# --- clients -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BadInput(Event):
    """A connection was closed, or a request refused, because of what it sent."""

    peer: str
    reason: str  # the counter's name, e.g. "frame_too_long", "http", "tls", "unknown_api"
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFailed(Event):
    """A handler broke: our own mistake, answered with UNKNOWN_SERVER_ERROR."""

    api: str
    detail: str


# --- faults made on purpose (emitted by the cluster host) ----------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkCut(Event):
    """Bytes of one party do not reach another any more. Clients, all of them, are party -1."""

    source: int
    target: int
    both_ways: bool
    cause: str  # "you"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkImpaired(Event):
    """What one party sends to another comes late, in part again, or slowly."""

    source: int
    target: int
    both_ways: bool
    detail: str  # "100 ms ± 20 ms late", "each piece is lost with 10 %", "1 000 bytes/s"
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkHealed(Event):
    """Nothing is wrong any more between two parties, in either direction."""

    source: int
    target: int
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockJumped(Event):
    """A node's wall clock was set; its timers go on as they were."""

    node: int
    seconds: float  # the jump
    offset_seconds: float  # all its jumps together: what its clock is ahead of this machine's
    cause: str
