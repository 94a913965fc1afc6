"""The things on show. ``ClusterModel`` owns and changes them; views read them and keep only links."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.telemetry.levels import ConnectionKey, ConnectionLevel, GroupMemberLevel, SegmentFacts
from kafkalab.ui.model.elections import Election, QuorumElection
from kafkalab.ui.model.links import Link
from kafkalab.ui.model.rates import History, RateMeter
from kafkalab.ui.model.states import DOWN_STATES, HealthLevel, NodeState, ReplicaRole, Tone


@dataclass(slots=True)
class Node:
    """A broker, a controller, or both."""

    node_id: int
    is_broker: bool = False
    is_controller: bool = False
    state: NodeState = NodeState.STARTING
    since_ms: float = 0.0  # wall clock of the last change of state
    cause: str = ""  # of the last change, as the engine said it
    address: str = ""
    pid: int = -1
    rack: str | None = None
    broker_epoch: int = -1
    fenced: bool = False
    fenced_at_ms: float = -1.0  # of the latest fencing, -1: never or back in service since
    leads: int = 0  # partitions it leads now
    hosts: int = 0  # partitions it has a replica of
    in_sync: int = 0  # of those, in sync (leaders included)
    produced: RateMeter = field(default_factory=RateMeter)  # record bytes per second appended for clients
    fetched: RateMeter = field(default_factory=RateMeter)  # record bytes per second given to consumers
    client_in: RateMeter = field(default_factory=RateMeter)
    client_out: RateMeter = field(default_factory=RateMeter)
    clock_offset_s: float = 0.0  # how much its wall clock was set ahead on purpose
    peer_in: RateMeter = field(default_factory=RateMeter)
    peer_out: RateMeter = field(default_factory=RateMeter)
    requests: RateMeter = field(default_factory=RateMeter)
    connections: int = 0
    bad_input: tuple[tuple[str, int], ...] = ()

    @property
    def name(self) -> str:
        """What texts call it: "broker 2", "controller 102", "node 1" when it is both."""
        if self.is_broker and self.is_controller:
            return f"node {self.node_id}"
        return f"{'controller' if self.is_controller else 'broker'} {self.node_id}"

    @property
    def is_down(self) -> bool:
        """No process."""
        return self.state in DOWN_STATES

    @property
    def link(self) -> Link:
        """The link to it."""
        return Link.node(self.node_id)


@dataclass(slots=True)
class QuorumMember:
    """A controller (or observer) as it sees the quorum itself."""

    node_id: int
    state: str = "unattached"
    epoch: int = 0
    leader_id: int = -1
    high_watermark: int = -1
    log_end_offset: int = 0
    directory_id: str = ""  # of its metadata log, in Kafka's text form; empty: not told
    snapshot_end_offset: int = -1  # of its newest snapshot, -1: none or not told
    snapshot_epoch: int = -1
    voters: tuple[int, ...] = ()  # who votes, as it knows; empty: not told
    cause: str = ""  # of its last change of state
    changed_at_ms: float = -1.0  # when that was, -1: not seen
    stood_because: str = ""  # why it last stood for election

    @property
    def is_observer(self) -> bool:
        """Brokers follow the metadata log without a vote."""
        return self.state == "observer"


@dataclass(frozen=True, slots=True)
class Vote:
    """One answer to a candidate, kept for a moment so that the stage can show it."""

    at_ms: float
    voter_id: int
    candidate_id: int
    epoch: int
    granted: bool
    pre_vote: bool


@dataclass(slots=True)
class Quorum:
    """The controllers as one: who leads, in which epoch, and each member."""

    leader_id: int = -1  # the active controller, -1: none that runs
    epoch: int = 0
    members: dict[int, QuorumMember] = field(default_factory=dict)  # voters and observers, by node id
    votes: deque[Vote] = field(default_factory=lambda: deque(maxlen=64))
    elections: deque[QuorumElection] = field(default_factory=lambda: deque(maxlen=32))  # those that were seen, newest last

    @property
    def log_end_offset(self) -> int:
        """The active controller's, else the highest; -1: nobody told one."""
        leader = self.members.get(self.leader_id)
        return leader.log_end_offset if leader is not None else max((one.log_end_offset for one in self.members.values()), default=-1)

    def lag_of(self, node_id: int) -> int:
        """How many records a member is behind the active controller, 0 where that is not known."""
        member = self.members.get(node_id)
        return 0 if member is None else max(self.log_end_offset - member.log_end_offset, 0)

    @property
    def voters(self) -> list[QuorumMember]:
        """The members with a vote, by id."""
        return [member for _, member in sorted(self.members.items()) if not member.is_observer]


@dataclass(slots=True)
class Replica:
    """One replica with the last offsets its broker told."""

    node_id: int
    role: ReplicaRole = ReplicaRole.OFFLINE
    leader_epoch: int = -1
    believes_to_lead: bool = False  # by what its own broker has heard; others may lead since
    log_start_offset: int = 0
    log_end_offset: int = -1  # -1: not told yet
    high_watermark: int = -1
    size_bytes: int = 0
    segments: int = 0
    segment_list: tuple[SegmentFacts, ...] = ()  # the newest of them, by offset
    first_dirty_offset: int = -1  # from here on nothing was compacted yet, -1: the log is not compacted
    lag: int = 0  # records behind the leader's log end
    left_isr_at_ms: float = -1.0  # when it last left the ISR, -1: it is in
    offline_since_ms: float = -1.0  # -1: not offline


@dataclass(slots=True)
class Partition:
    """A partition as the active controller's image and its replicas have it."""

    topic: str
    partition: int
    leader: int = -1  # the image's leader, -1: none
    leader_epoch: int = -1
    previous_leader_epoch: int = -1
    partition_epoch: int = -1
    replica_ids: tuple[int, ...] = ()
    isr: tuple[int, ...] = ()
    elr: tuple[int, ...] = ()  # eligible leader replicas: out of sync, but with every committed record
    last_known_elr: tuple[int, ...] = ()  # who led last, while nobody does
    adding: tuple[int, ...] = ()  # replicas that a reassignment brings
    removing: tuple[int, ...] = ()  # and takes away when it is done
    recovering: bool = False  # the leader came by an unclean election and has not settled yet
    election: Election | None = None  # the latest that was seen
    leader_lost_at_ms: float = -1.0  # the leader's node went away then and nobody took over yet; -1: fine
    replicas: dict[int, Replica] = field(default_factory=dict)  # by broker id, in the order of replica_ids
    records: RateMeter = field(default_factory=RateMeter)  # records per second, from the leader's log end
    appended: RateMeter = field(default_factory=RateMeter)  # bytes per second, from the leader's log size

    @property
    def topic_partition(self) -> TopicPartition:
        """Its name."""
        return TopicPartition(self.topic, self.partition)

    @property
    def link(self) -> Link:
        """The link to it."""
        return Link.of_partition(self.topic, self.partition)

    @property
    def serving_leader(self) -> int:
        """The broker that can take a write now, -1: nobody leads."""
        return -1 if self.leader_lost_at_ms >= 0 else self.leader

    @property
    def is_leaderless(self) -> bool:
        """Nobody can take a write."""
        return self.serving_leader < 0

    @property
    def in_sync_ids(self) -> tuple[int, ...]:
        """The replicas that are in sync and within reach."""
        return tuple(node_id for node_id, replica in self.replicas.items() if replica.role in _ROLES_IN_SYNC)

    def tag_of(self, node_id: int) -> str:
        """A letter for what is to be known of a replica beside its role: on its way (+), going (−), eligible (E), last leader (L)."""
        if node_id in self.adding:
            return "+"
        if node_id in self.removing:
            return "−"
        if node_id in self.elr:
            return "E"
        return "L" if node_id in self.last_known_elr else ""

    @property
    def is_moving(self) -> bool:
        """A reassignment is under way."""
        return bool(self.adding or self.removing)

    @property
    def is_under_replicated(self) -> bool:
        """Fewer replicas in sync and within reach than there should be; those that only come do not count yet, as in Kafka."""
        return len(self.in_sync_ids) < len(self.replica_ids) - len(self.adding)

    @property
    def leader_replica(self) -> Replica | None:
        """The replica whose offsets speak for the partition: the leader's, else the last leader's."""
        return self.replicas.get(self.leader)

    @property
    def high_watermark(self) -> int:
        """The high watermark as its leader told it, else the highest known; -1: not known."""
        replica = self.leader_replica
        if replica is not None and replica.high_watermark >= 0:
            return replica.high_watermark
        return max((other.high_watermark for other in self.replicas.values()), default=-1)

    @property
    def log_end_offset(self) -> int:
        """The leader's log end, else the highest known; -1: not known."""
        replica = self.leader_replica
        if replica is not None and replica.log_end_offset >= 0:
            return replica.log_end_offset
        return max((other.log_end_offset for other in self.replicas.values()), default=-1)

    @property
    def log_start_offset(self) -> int:
        """The leader's log start."""
        replica = self.leader_replica
        return 0 if replica is None else replica.log_start_offset


_ROLES_IN_SYNC = frozenset({ReplicaRole.LEADER, ReplicaRole.IN_SYNC})


@dataclass(slots=True)
class Topic:
    """A topic with its partitions."""

    name: str
    topic_id: str = ""
    order: int = 0  # by which topics sort
    colour: int = -1  # index into the topic colours by creation; -1: internal, drawn muted
    internal: bool = False
    min_insync_replicas: int = 1
    replication_factor: int = 1
    partitions: dict[int, Partition] = field(default_factory=dict)

    @property
    def link(self) -> Link:
        """The link to it."""
        return Link.topic(self.name)

    @property
    def sorted_partitions(self) -> list[Partition]:
        """The partitions by number."""
        return [self.partitions[number] for number in sorted(self.partitions)]


@dataclass(slots=True)
class Connection:
    """One TCP connection to a node."""

    key: ConnectionKey
    level: ConnectionLevel
    client_key: str  # of the client it belongs to, empty for a connection between nodes
    peer_id: int = -1  # the node at the other end, -1 for a client
    produced: RateMeter = field(default_factory=RateMeter)
    fetched: RateMeter = field(default_factory=RateMeter)
    bytes_in: RateMeter = field(default_factory=RateMeter)
    bytes_out: RateMeter = field(default_factory=RateMeter)

    @property
    def node_id(self) -> int:
        """The node that accepted it."""
        return self.key.node_id

    @property
    def link(self) -> Link:
        """The link to it."""
        return Link.connection(self.key.node_id, self.key.connection_id)


@dataclass(slots=True)
class ClientLink:
    """All connections of one client to one node, as one line on the stage."""

    node_id: int
    connections: int = 0
    produce_rate: float = 0.0  # record bytes per second
    fetch_rate: float = 0.0
    lost_at_ms: float = -1.0  # when its last connection went
    broken: bool = False  # it was connected when the node went away


@dataclass(slots=True)
class Client:
    """What talks to the cluster under one name: a client id, or the members of a group together."""

    key: str  # "c:order-producer" or "g:billing"
    title: str  # the client id or group id
    kind: str = "client"  # "producer", "consumer", "group", "client"
    group_id: str = ""
    client_ids: set[str] = field(default_factory=set)
    software: str = ""
    acks: int | None = None
    producer_id: int = -1
    last_error: str = ""
    links: dict[int, ClientLink] = field(default_factory=dict)  # by node id
    connections: set[ConnectionKey] = field(default_factory=set)
    produce_rate: float = 0.0
    fetch_rate: float = 0.0
    subtitle: str = ""  # the second line of its card, kept by the model

    @property
    def link(self) -> Link:
        """The link to it: a group's members are shown as the group."""
        return Link.group(self.group_id) if self.kind == "group" else Link.client(self.key)


@dataclass(slots=True)
class PeerLink:
    """Replication from one broker to another: the follower's connections to the leader's node."""

    leader_id: int  # the node that accepted, records flow from here
    follower_id: int
    connections: int = 0
    rate: float = 0.0  # bytes per second


@dataclass(slots=True)
class GroupPartition:
    """How far a group has come in one partition."""

    topic: str
    partition: int
    committed: int = -1  # the committed offset, -1: none
    commit_ms: int = -1
    metadata: str = ""
    lag: int = 0  # records to the high watermark
    lag_ms: float = 0.0  # how long ago the first of them was committed to the log, as seen here
    member_id: str = ""  # who has it assigned, empty: nobody
    lag_history: History = field(default_factory=History)
    lag_ms_history: History = field(default_factory=History)


@dataclass(slots=True)
class Group:
    """A consumer group as its coordinator has it."""

    group_id: str
    state: str = "Empty"
    since_ms: float = 0.0
    cause: str = ""  # of the last change of state
    generation: int = -1
    coordinator_id: int = -1
    protocol_type: str = ""
    protocol: str = ""
    leader_id: str = ""
    members: tuple[GroupMemberLevel, ...] = ()
    partitions: dict[TopicPartition, GroupPartition] = field(default_factory=dict)  # committed or assigned
    lag: int = 0
    lag_ms: float = 0.0  # of the partition furthest behind
    unowned_since_ms: float = -1.0  # a rebalance runs since then; -1: none
    last_rebalance_ms: float = -1.0  # how long the last one took, -1: none seen
    lag_history: History = field(default_factory=History)

    @property
    def link(self) -> Link:
        """The link to it."""
        return Link.group(self.group_id)


@dataclass(slots=True)
class TimelineRow:
    """One happening in words. The last rows may be rewritten while like happenings join them."""

    number: int  # from 0, never reused
    at_ms: float
    glyph: str
    tone: Tone
    headline: str  # what happened
    detail: str  # cause and measure
    link: Link
    kind: str  # the event's class name, for filters
    node_id: int
    count: int = 1  # happenings it stands for


@dataclass(slots=True)
class Band:
    """Who led from when to when; a gap when ``leader`` is -1."""

    leader: int
    epoch: int
    start_ms: float
    end_ms: float = -1.0  # -1: still so

    @property
    def is_gap(self) -> bool:
        """Nobody led."""
        return self.leader < 0

    def length_ms(self, now_ms: float) -> float:
        """How long it lasted, or lasts."""
        return (now_ms if self.end_ms < 0 else self.end_ms) - self.start_ms


@dataclass(slots=True)
class Mark:
    """A moment that runs through all rows of the failover view."""

    at_ms: float
    label: str
    tone: Tone
    link: Link


@dataclass(frozen=True, slots=True)
class Health:
    """What the pill says."""

    level: HealthLevel = HealthLevel.STARTING
    text: str = "Starting"  # "Degraded · 9 under-replicated"
    link: Link = field(default_factory=Link.cluster)  # the culprit
    under_replicated: int = 0
    leaderless: int = 0


@dataclass(frozen=True, slots=True)
class NoticeAction:
    """A way on from a notice: ``action`` is "restart", "resume", "heal", "show" (go to the link) or "why" (its timeline row)."""

    label: str
    action: str
    link: Link


@dataclass(frozen=True, slots=True)
class Notice:
    """What is so after something broke, in one sentence, and where to go from there."""

    text: str
    actions: tuple[NoticeAction, ...]
    tone: Tone = Tone.TEXT
