"""The model of everything on show: fed by what the engine recorded, read by all views.

Plain Python in one thread. ``apply`` costs what changed, not what exists: counts are kept, not
counted. All views read the same objects, so that all numbers on the screen agree.

Rules: leaders, replicas and ISR are the active controller's; offsets are each broker's own; whether
a node's process runs is the cluster host's to say. A replica on a node without a process, or on one
that is paused or not registered yet, is offline whatever the ISR says; a partition whose leader's
node went away has no leader until another one is committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.telemetry import events as ev
from kafkalab.engine.telemetry import levels as lv
from kafkalab.ui.model.changes import ChangeSet, Part
from kafkalab.ui.model.clients import Clients
from kafkalab.ui.model.elections import Election, QuorumElection
from kafkalab.ui.model.failover import FIRST_WRITE_WINDOW_MS, FailoverHistory
from kafkalab.ui.model.fault_story import FaultStory
from kafkalab.ui.model.faults import CLIENTS, Faults, party_name
from kafkalab.ui.model.groups import Groups, group_words
from kafkalab.ui.model.health import Costs, Outage, compose_notice, judge
from kafkalab.ui.model.links import Link, LinkKind
from kafkalab.ui.model.offsets import refresh_lags
from kafkalab.ui.model.rates import SAMPLE_INTERVAL_MS, History, RateMeter
from kafkalab.ui.model.states import DOWN_STATES, NodeState, ReplicaRole, Tone
from kafkalab.ui.model.things import (
    Client,
    Connection,
    Group,
    Health,
    Node,
    Notice,
    Partition,
    PeerLink,
    Quorum,
    QuorumMember,
    Replica,
    TimelineRow,
    Topic,
    Vote,
)
from kafkalab.ui.model.timeline import OWN_PREFIX, Narrator, Timeline
from kafkalab.ui.model.trouble import (
    below_min_isr,
    could_lead,
    cut_records,
    lost_records,
    unreached,
    waiting_for_the_cut_off,
    without_majority,
)
from kafkalab.ui.theme.formats import plural

SPARKLINE_POINTS: Final = 60


class ClusterModel:
    """The cluster as the window shows it.

    Read its attributes freely; change it through ``apply`` and ``expect_node`` only.
    """

    def __init__(self) -> None:
        self.now_ms = 0.0  # of the last ``apply``
        self.nodes: dict[int, Node] = {}
        self.quorum = Quorum()
        self.topics: dict[str, Topic] = {}
        self.failover = FailoverHistory()
        self.faults = Faults()
        self.health = Health()
        self.notice: Notice | None = None
        self.dropped = 0  # events the ring could not keep
        self.produce_rate = 0.0  # record bytes per second, all brokers
        self.fetch_rate = 0.0
        self.produce_history = History(SPARKLINE_POINTS)
        self.fetch_history = History(SPARKLINE_POINTS)
        self.under_replicated: set[TopicPartition] = set()
        self.leaderless: set[TopicPartition] = set()
        self.partition_count = 0

        self._timeline = Timeline()
        self._narrator = Narrator(self._timeline, self)
        self._fault_story = FaultStory(self._timeline, self.failover, self.node_name)
        self._links_changed_at_ms = -1.0
        self._clients = Clients()
        self._groups = Groups()
        self._hosted: dict[int, set[TopicPartition]] = {}
        self._unregistered_since: dict[int, int] = {}  # down or starting brokers: the epoch they had before
        self._gone: dict[int, NodeState] = {}  # nodes without a process or paused, and how
        self._elected_at: dict[TopicPartition, float] = {}
        self._outages: dict[int, Outage] = {}
        self._moving: set[TopicPartition] = set()  # partitions whose rates are not still
        self._unplaced: dict[lv.ReplicaKey, lv.ReplicaLevel] = {}  # of partitions that the controller does not tell of
        self._colours_given = 0
        self._had_quorum = False
        self._sampled_at_ms = -1.0
        self._appliers = {
            ev.NodeStarted: self._node_started,
            ev.NodeStopped: self._node_stopped,
            ev.NodeKilled: self._node_killed,
            ev.NodeCrashed: self._node_crashed,
            ev.NodePaused: self._node_paused,
            ev.NodeResumed: self._node_resumed,
            ev.RaftStateChanged: self._raft_state_changed,
            ev.VoteAnswered: self._vote_answered,
            ev.QuorumLeaderElected: self._quorum_leader_elected,
            ev.BrokerRegistered: self._broker_registered,
            ev.BrokerFenced: self._broker_fenced,
            ev.BrokerUnfenced: self._broker_unfenced,
            ev.PartitionChanged: self._partition_changed,
            ev.FirstWriteAcknowledged: self._first_write_acknowledged,
            ev.GroupStateChanged: self._group_state_changed,
            ev.LogRecovered: self._log_recovered,
            ev.LogTruncated: self._log_truncated,
            ev.LinkCut: self._link_cut,
            ev.LinkImpaired: self._link_impaired,
            ev.LinkHealed: self._link_healed,
            ev.ClockJumped: self._clock_jumped,
        }

    # --- reading -------------------------------------------------------------------------------

    @property
    def clients(self) -> dict[str, Client]:
        """By key. Groups' members are one client of kind "group"."""
        return self._clients.clients

    @property
    def connections(self) -> dict[lv.ConnectionKey, Connection]:
        """All live connections, those between nodes too."""
        return self._clients.connections

    @property
    def peer_links(self) -> dict[tuple[int, int], PeerLink]:
        """Connections between nodes, by (the node that accepted, the node that asked)."""
        return self._clients.peer_links

    @property
    def groups(self) -> dict[str, Group]:
        """By group id."""
        return self._groups.groups

    @property
    def timeline(self) -> Sequence[TimelineRow]:
        """The rows, oldest first."""
        return self._timeline.rows

    @property
    def timeline_removed(self) -> int:
        """How many of the oldest rows were let go."""
        return self._timeline.removed_total

    @property
    def brokers(self) -> list[Node]:
        """The brokers by id."""
        return [node for _, node in sorted(self.nodes.items()) if node.is_broker]

    @property
    def controllers(self) -> list[Node]:
        """The controllers by id."""
        return [node for _, node in sorted(self.nodes.items()) if node.is_controller]

    @property
    def sorted_topics(self) -> list[Topic]:
        """The topics in order of creation, internal ones last."""
        return sorted(self.topics.values(), key=lambda topic: (topic.internal, topic.order, topic.name))

    @property
    def client_count(self) -> int:
        """How many clients are connected, by their client ids: each member of a group is one."""
        return sum(len(self.connected_ids(client)) for client in self.clients.values())

    def connected_ids(self, client: Client) -> list[str]:
        """The client ids behind a client's live connections."""
        return sorted({self.connections[key].level.client_id for key in client.connections})

    def connections_of(self, node_id: int) -> int:
        """How many connections a node has accepted that are still open."""
        return sum(key.node_id == node_id for key in self.connections)

    def partition(self, topic: str, partition: int) -> Partition | None:
        """A partition by its name."""
        found = self.topics.get(topic)
        return None if found is None else found.partitions.get(partition)

    def exists(self, link: Link) -> bool:
        """True while the thing a link speaks of is there."""
        match link.kind:
            case LinkKind.NODE:
                return link.node_id in self.nodes
            case LinkKind.LINK:
                return link.node_id in self.nodes and (link.other_id < 0 or link.other_id in self.nodes)
            case LinkKind.TOPIC:
                return link.name in self.topics
            case LinkKind.PARTITION | LinkKind.REPLICA:
                return self.partition(link.name, link.partition) is not None
            case LinkKind.GROUP:
                return link.name in self.groups
            case LinkKind.CLIENT:
                return link.name in self.clients
            case LinkKind.CONNECTION:
                return lv.ConnectionKey(link.node_id, link.connection_id) in self.connections
            case _:
                return True

    def node_name(self, node_id: int) -> str:
        """ "broker 2", also for a node not seen yet."""
        if node_id < 0:
            return "the cluster"
        node = self.nodes.get(node_id)
        return f"node {node_id}" if node is None else node.name

    def name_of(self, link: Link) -> str:
        """What a person calls the thing that a link speaks of."""
        if link.kind is LinkKind.NODE:
            return self.node_name(link.node_id)
        if link.kind is LinkKind.LINK:
            return f"link between {self.node_name(link.node_id)} and {party_name(link.other_id, self.node_name)}"
        client = self.clients.get(link.name) if link.kind is LinkKind.CLIENT else None
        return str(link) if client is None else client.title

    def replicas_on(self, node_id: int) -> int:
        """How many replicas a broker hosts."""
        return len(self._hosted.get(node_id, ()))

    def hosted_partitions(self, node_id: int) -> list[Partition]:
        """The partitions a broker has a replica of, by name."""
        return [self.topics[tp.topic].partitions[tp.partition] for tp in sorted(self._hosted.get(node_id, ()))]

    def is_broker_only(self, node_id: int) -> bool:
        """A broker that is no controller."""
        node = self.nodes.get(node_id)
        return node is not None and node.is_broker and not node.is_controller

    def leader_since(self, tp: TopicPartition) -> float:
        """When the present leader was elected, -1 when that was not seen."""
        return self._elected_at.get(tp, -1.0)

    # --- feeding -------------------------------------------------------------------------------

    def expect_node(self, node_id: int, *, is_broker: bool, is_controller: bool, address: str = "") -> None:
        """Show a node before it speaks, as one that is starting."""
        node = self.nodes.get(node_id)
        if node is None:
            node = self.nodes[node_id] = Node(node_id, since_ms=self.now_ms)
        node.is_broker, node.is_controller = node.is_broker or is_broker, node.is_controller or is_controller
        node.address = node.address or address

    def nothing_started(self) -> ChangeSet:
        """The start was refused before any node ran: none of those that were expected is on its way."""
        change = ChangeSet()
        for node in self.nodes.values():
            self._gone[node.node_id] = NodeState.STOPPED
            node.cause = "not started"
            self._refresh_node(node, self.now_ms, change)
        self._judge()
        change.parts.add(Part.HEALTH)
        return change

    def apply(self, events: Iterable[ev.Event], levels: Mapping[lv.LevelKey, lv.Level | None], dropped: int, now_ms: float) -> ChangeSet:
        """Take in what the hub's reader gave, at a wall-clock moment, and tell what changed."""
        self.now_ms = now_ms
        change = ChangeSet()
        health_before, notice_before = self.health, self.notice
        for event in events:
            self._take(event, change)
        if levels:
            self._take_levels(levels, change)
        if dropped != self.dropped:
            self.dropped = dropped
            change.parts.add(Part.DROPPED)
        if self._sampled_at_ms < 0:
            self._sampled_at_ms = now_ms
        elif now_ms - self._sampled_at_ms >= SAMPLE_INTERVAL_MS:
            self._sample(now_ms - self._sampled_at_ms, change)
            self._sampled_at_ms = now_ms
        removed, rewritten_from, added = self._timeline.take_changes()
        if removed or added or rewritten_from >= 0:
            change.parts.add(Part.TIMELINE)
            change.timeline_removed, change.timeline_rewritten_from, change.timeline_added = removed, rewritten_from, added
        if change.touches(Part.NODES, Part.QUORUM, Part.PARTITIONS, Part.TOPICS, Part.FAILOVER, Part.FAULTS):
            self._judge()
            if self.health != health_before:
                change.parts.add(Part.HEALTH)
            if self.notice != notice_before:
                change.parts.add(Part.NOTICE)
        return change

    def _take(self, event: ev.Event, change: ChangeSet) -> None:
        applier = self._appliers.get(type(event))
        if applier is not None:
            applier(event, change)  # type: ignore[operator]  # each row of the table takes its own event class
        self._narrator.tell(event)

    def _take_levels(self, levels: Mapping[lv.LevelKey, lv.Level | None], change: ChangeSet) -> None:
        # What others refer to comes first: a mapping from a set has no order of its own.
        kinds: dict[str, list[tuple[lv.LevelKey, lv.Level | None]]] = {}
        for key, level in levels.items():
            kinds.setdefault(key.kind, []).append((key, level))
        stale: set[TopicPartition] = set()
        for key, level in kinds.get("broker", ()):
            assert isinstance(key, lv.BrokerKey) and (level is None or isinstance(level, lv.BrokerLevel))
            self._broker_level(key.broker_id, level, change)
        for _, level in kinds.get("links", ()):
            assert level is None or isinstance(level, lv.LinksLevel)
            self._links_level(level, change)
        for key, level in kinds.get("clock", ()):
            assert isinstance(key, lv.ClockKey) and (level is None or isinstance(level, lv.ClockLevel))
            self._clock_level(key.node_id, level, change)
        for key, level in kinds.get("quorum", ()):
            assert isinstance(key, lv.QuorumKey) and (level is None or isinstance(level, lv.QuorumLevel))
            self._quorum_level(key.node_id, level, change)
        for key, level in kinds.get("node", ()):
            assert isinstance(key, lv.NodeKey) and (level is None or isinstance(level, lv.NodeLevel))
            self._node_level(key.node_id, level, change)
        if "topic" in kinds:
            self._topic_levels(kinds["topic"], change)
        for key, level in kinds.get("partition", ()):
            assert isinstance(key, lv.PartitionKey) and (level is None or isinstance(level, lv.PartitionLevel))
            self._partition_level(key, level, change)
        if self._unplaced and "partition" in kinds:
            for key in [key for key in self._unplaced if self.partition(key.topic, key.partition) is not None]:
                self._replica_level(key, self._unplaced[key], stale, change)
        for key, level in kinds.get("replica", ()):
            assert isinstance(key, lv.ReplicaKey) and (level is None or isinstance(level, lv.ReplicaLevel))
            self._replica_level(key, level, stale, change)
        for key, level in kinds.get("segments", ()):
            assert isinstance(key, lv.SegmentsKey) and (level is None or isinstance(level, lv.SegmentsLevel))
            self._segments_level(key, level, change)
        for tp in stale:
            self._refresh_lags(tp)
        for key, level in kinds.get("group", ()):
            assert isinstance(key, lv.GroupKey) and (level is None or isinstance(level, lv.GroupLevel))
            if level is not None and self._is_outvoted(level.coordinator_id):
                continue
            self._groups.update(key.group_id, level, self.now_ms, change)
            if level is None:
                self._clients.forget_groups(self.groups.__contains__)
        for key, level in kinds.get("groupoffset", ()):
            assert isinstance(key, lv.GroupOffsetKey) and (level is None or isinstance(level, lv.GroupOffsetLevel))
            self._groups.update_offset(key.group_id, TopicPartition(key.topic, key.partition), level, change)
        for key, level in kinds.get("connection", ()):
            assert isinstance(key, lv.ConnectionKey) and (level is None or isinstance(level, lv.ConnectionLevel))
            if level is None:
                self._clients.remove(key, self.now_ms, change)
            else:
                self._clients.update(key, level, change)

    # --- nodes ---------------------------------------------------------------------------------

    def _node(self, node_id: int, change: ChangeSet) -> Node:
        node = self.nodes.get(node_id)
        if node is None:
            node = self.nodes[node_id] = Node(node_id, since_ms=self.now_ms)
            change.parts.add(Part.NODES)
            change.nodes.add(node_id)
        return node

    def _refresh_node(self, node: Node, at_ms: float, change: ChangeSet) -> None:
        state = self._node_state(node)
        if state is node.state:
            return
        node.state, node.since_ms = state, at_ms
        change.parts.add(Part.NODES)
        change.nodes.add(node.node_id)
        if state is NodeState.IN_SERVICE:
            node.fenced_at_ms = -1.0
            self._outages.pop(node.node_id, None)
            self._clients.node_back(node.node_id, change)
        for tp in self._hosted.get(node.node_id, ()):
            self._refresh_roles(self.topics[tp.topic].partitions[tp.partition], change)

    def _node_state(self, node: Node) -> NodeState:
        gone = self._gone.get(node.node_id)
        if gone is not None:
            return gone
        if node.is_broker:
            if node.node_id in self._unregistered_since or node.broker_epoch < 0:
                return NodeState.STARTING
            if node.fenced:
                # Until it was in service once, a fenced broker is one that is still on its way.
                return NodeState.STARTING if node.state is NodeState.STARTING else NodeState.FENCED
            return NodeState.STOPPING if node.cause == _SHUTTING_DOWN else NodeState.IN_SERVICE
        member = self.quorum.members.get(node.node_id)
        return NodeState.STARTING if member is None else NodeState.IN_SERVICE

    def _node_started(self, event: ev.NodeStarted, change: ChangeSet) -> None:
        node = self._node(event.node_id, change)
        node.is_broker = node.is_broker or "broker" in event.role
        node.is_controller = node.is_controller or "controller" in event.role
        node.address, node.pid, node.cause = event.address, event.pid, ""
        self._gone.pop(event.node_id, None)
        change.parts.add(Part.NODES)
        change.nodes.add(event.node_id)
        self._refresh_node(node, event.at_ms, change)

    def _log_recovered(self, event: ev.LogRecovered, change: ChangeSet) -> None:
        """A node that was down looks through its logs: it is on its way long before it has its ports."""
        if self._gone.pop(event.node_id, None) is not None:
            node = self._node(event.node_id, change)
            node.cause = ""
            self._refresh_node(node, event.at_ms, change)

    def _node_gone(self, event: ev.Event, state: NodeState, cause: str, change: ChangeSet) -> None:
        node = self._node(event.node_id, change)
        node.cause, node.pid = cause, -1
        self._gone[event.node_id] = state
        if node.is_broker:
            self._unregistered_since[event.node_id] = node.broker_epoch
            self._outages[event.node_id] = Outage(event.node_id, event.at_ms)
        for meter in (node.produced, node.fetched, node.client_in, node.client_out, node.peer_in, node.peer_out, node.requests):
            meter.rebase()
        self._clients.node_gone(event.node_id, event.at_ms, change)
        self._lose_leaders(event.node_id, event.at_ms, change)
        self._refresh_node(node, event.at_ms, change)
        if node.is_controller:
            self.quorum.members.pop(event.node_id, None)
            self._refresh_quorum(event.at_ms, change)
        if state is not NodeState.STOPPED:
            self.failover.mark(event.at_ms, f"{node.name} {state.value}", Tone.ERROR, node.link)
            change.parts.add(Part.FAILOVER)

    def _node_killed(self, event: ev.NodeKilled, change: ChangeSet) -> None:
        self._node_gone(event, NodeState.KILLED, event.cause, change)

    def _node_crashed(self, event: ev.NodeCrashed, change: ChangeSet) -> None:
        self._node_gone(event, NodeState.CRASHED, event.cause, change)

    def _node_stopped(self, event: ev.NodeStopped, change: ChangeSet) -> None:
        self._node_gone(event, NodeState.STOPPED, event.cause, change)

    def _node_paused(self, event: ev.NodePaused, change: ChangeSet) -> None:
        node = self._node(event.node_id, change)
        node.cause = event.cause
        self._gone[event.node_id] = NodeState.PAUSED
        if node.is_broker:
            self._outages[event.node_id] = Outage(event.node_id, event.at_ms)
        self._lose_leaders(event.node_id, event.at_ms, change)
        self._refresh_node(node, event.at_ms, change)
        self._refresh_quorum(event.at_ms, change)
        self.failover.mark(event.at_ms, f"{node.name} paused", Tone.ERROR, node.link)
        change.parts.add(Part.FAILOVER)

    def _node_resumed(self, event: ev.NodeResumed, change: ChangeSet) -> None:
        node = self._node(event.node_id, change)
        node.cause = event.cause
        self._gone.pop(event.node_id, None)
        # It still leads what nobody took from it meanwhile.
        for tp in self._hosted.get(event.node_id, ()):
            partition = self.topics[tp.topic].partitions[tp.partition]
            if partition.leader == event.node_id and partition.leader_lost_at_ms >= 0:
                partition.leader_lost_at_ms = -1.0
                self._led_again(tp, self.failover.lead(tp, partition.leader, partition.leader_epoch, event.at_ms))
                self._refresh_roles(partition, change)
        self._refresh_node(node, event.at_ms, change)
        self._refresh_quorum(event.at_ms, change)
        self.failover.mark(event.at_ms, f"{node.name} resumed", Tone.OK, node.link)
        change.parts.add(Part.FAILOVER)

    def _lose_leaders(self, node_id: int, at_ms: float, change: ChangeSet) -> None:
        outage = self._outages.get(node_id)
        for tp in self._hosted.get(node_id, ()):
            partition = self.topics[tp.topic].partitions[tp.partition]
            if partition.leader == node_id and partition.leader_lost_at_ms < 0:
                partition.leader_lost_at_ms = at_ms
                self.failover.lose(tp, at_ms)
                self._refresh_roles(partition, change)
                if outage is not None:
                    outage.waiting += 1
                change.parts.add(Part.FAILOVER)

    def _node_level(self, node_id: int, level: lv.NodeLevel | None, change: ChangeSet) -> None:
        if level is None:
            return
        node = self._node(node_id, change)
        node.produced.update(level.produced_bytes)
        node.fetched.update(level.fetched_bytes)
        node.client_in.update(level.client_bytes_in)
        node.client_out.update(level.client_bytes_out)
        node.peer_in.update(level.peer_bytes_in)
        node.peer_out.update(level.peer_bytes_out)
        node.requests.update(level.requests)
        node.connections, node.bad_input = level.connections, level.bad_input

    def _broker_level(self, broker_id: int, level: lv.BrokerLevel | None, change: ChangeSet) -> None:
        if level is None:
            return
        node = self._node(broker_id, change)
        if not node.is_broker or (level.address and level.address != node.address):
            node.is_broker, node.address = True, level.address or node.address
            change.parts.add(Part.NODES)
            change.nodes.add(broker_id)
        node.rack = level.rack
        self._registered(node, level.broker_epoch)
        node.fenced = level.fenced
        node.cause = (
            _SHUTTING_DOWN if level.in_controlled_shutdown and not level.fenced else "" if node.cause == _SHUTTING_DOWN else node.cause
        )
        self._refresh_node(node, self.now_ms, change)

    def _registered(self, node: Node, broker_epoch: int) -> None:
        if broker_epoch != node.broker_epoch:
            node.broker_epoch = broker_epoch
        if self._unregistered_since.get(node.node_id, broker_epoch) != broker_epoch:
            del self._unregistered_since[node.node_id]

    def _broker_registered(self, event: ev.BrokerRegistered, change: ChangeSet) -> None:
        node = self._node(event.broker_id, change)
        node.is_broker = True
        self._registered(node, event.broker_epoch)
        node.fenced = True  # until the controller says otherwise
        self._refresh_node(node, event.at_ms, change)

    def _broker_fenced(self, event: ev.BrokerFenced, change: ChangeSet) -> None:
        node = self._node(event.broker_id, change)
        node.is_broker, node.fenced, node.fenced_at_ms = True, True, event.at_ms
        change.parts.update((Part.NODES, Part.FAILOVER))
        change.nodes.add(event.broker_id)
        self._refresh_node(node, event.at_ms, change)
        several = len([other for other in self._outages.values() if event.at_ms - other.at_ms < 60_000]) > 1
        self.failover.mark_fenced(event.at_ms, f"{node.name} fenced" if several else "fenced", node.link)

    def _broker_unfenced(self, event: ev.BrokerUnfenced, change: ChangeSet) -> None:
        node = self._node(event.broker_id, change)
        was = node.state
        node.is_broker, node.fenced = True, False
        self._refresh_node(node, event.at_ms, change)
        if was is not NodeState.IN_SERVICE and self.failover.marks:
            self.failover.mark(event.at_ms, f"{node.name} in service", Tone.OK, node.link)
            change.parts.add(Part.FAILOVER)

    # --- faults made on purpose ------------------------------------------------------------------

    def _link_cut(self, event: ev.LinkCut, change: ChangeSet) -> None:
        self._links_changed_at_ms = event.at_ms
        self._fault_story.link_cut(event)
        change.parts.add(Part.FAILOVER)

    def _link_impaired(self, event: ev.LinkImpaired, change: ChangeSet) -> None:
        self._links_changed_at_ms = event.at_ms
        self._fault_story.link_impaired(event)

    def _link_healed(self, event: ev.LinkHealed, change: ChangeSet) -> None:
        self._links_changed_at_ms = event.at_ms
        self._fault_story.link_healed(event)
        change.parts.add(Part.FAILOVER)

    def _clock_jumped(self, event: ev.ClockJumped, change: ChangeSet) -> None:
        self._fault_story.clock_jumped(event)
        change.parts.add(Part.FAILOVER)

    def _links_level(self, level: lv.LinksLevel | None, change: ChangeSet) -> None:
        self.faults.set(() if level is None else level.links)
        change.parts.add(Part.FAULTS)
        at_ms, self._links_changed_at_ms = self._links_changed_at_ms, -1.0
        self._refresh_quorum(self.now_ms if at_ms < 0 else at_ms, change)

    def _clock_level(self, node_id: int, level: lv.ClockLevel | None, change: ChangeSet) -> None:
        node = self._node(node_id, change)
        node.clock_offset_s = 0.0 if level is None else level.offset_seconds
        if level is None:
            self.faults.clocks.pop(node_id, None)
        else:
            self.faults.clocks[node_id] = level.offset_seconds
        change.parts.add(Part.FAULTS)

    # --- quorum --------------------------------------------------------------------------------

    def _raft_state_changed(self, event: ev.RaftStateChanged, change: ChangeSet) -> None:
        member = self.quorum.members.get(event.node_id)
        if member is not None:
            member.cause, member.changed_at_ms = event.cause, event.at_ms
            if event.new_state == "prospective" or (event.new_state == "candidate" and event.old_state != "prospective"):
                member.stood_because = event.cause
            change.parts.add(Part.QUORUM)

    def _quorum_level(self, node_id: int, level: lv.QuorumLevel | None, change: ChangeSet) -> None:
        member = self.quorum.members.get(node_id)
        if level is None:
            if member is not None:
                del self.quorum.members[node_id]
                self._refresh_quorum(self.now_ms, change)
                change.parts.add(Part.QUORUM)
            return
        if self._gone.get(node_id) in DOWN_STATES:
            return
        node = self._node(node_id, change)
        if member is None:
            member = self.quorum.members[node_id] = QuorumMember(node_id)
            change.parts.add(Part.QUORUM)
        if level.state == "observer":
            # A controller that was added does not vote yet.
            if not node.is_broker and not node.is_controller:
                node.is_broker = True
                change.parts.add(Part.NODES)
        elif not node.is_controller:
            node.is_controller = True
            change.parts.add(Part.NODES)
        if (member.state, member.epoch, member.leader_id) != (level.state, level.epoch, level.leader_id):
            member.state, member.epoch, member.leader_id = level.state, level.epoch, level.leader_id
            change.parts.add(Part.QUORUM)
        if (member.high_watermark, member.log_end_offset) != (level.high_watermark, level.log_end_offset):
            member.high_watermark, member.log_end_offset = level.high_watermark, level.log_end_offset
            change.parts.add(Part.QUORUM_OFFSETS)
        member.directory_id, member.voters = level.directory_id, level.voters
        member.snapshot_end_offset, member.snapshot_epoch = level.snapshot_end_offset, level.snapshot_epoch
        if level.state == "leader" and level.voters and level.epoch >= self.quorum.epoch:
            self._forget_retired(level.voters, change)
        self._refresh_node(node, self.now_ms, change)
        self._refresh_quorum(self.now_ms, change)

    def _refresh_quorum(self, at_ms: float, change: ChangeSet) -> float:
        leader_id, epoch = -1, self.quorum.epoch
        for member in self.quorum.members.values():
            if member.epoch > epoch or (member.epoch == epoch and leader_id < 0):
                leader_id = member.leader_id if member.leader_id >= 0 else (leader_id if member.epoch == epoch else -1)
                epoch = member.epoch
        if leader_id in self._gone or without_majority(leader_id, [node.node_id for node in self.controllers], self.faults, self._gone):
            leader_id = -1
        return self._set_quorum(leader_id, epoch, at_ms, change)

    def _forget_retired(self, voters: tuple[int, ...], change: ChangeSet) -> None:
        """A controller that was taken out of the quorum and stopped is none of the cluster any more."""
        for node in self.controllers:
            if node.state is NodeState.STOPPED and not node.is_broker and node.node_id not in voters:
                del self.nodes[node.node_id]
                change.parts.add(Part.NODES)
                change.nodes.add(node.node_id)

    def _set_quorum(self, leader_id: int, epoch: int, at_ms: float, change: ChangeSet) -> float:
        quorum = self.quorum
        if (quorum.leader_id, quorum.epoch) == (leader_id, epoch):
            return -1.0
        quorum.leader_id, quorum.epoch = leader_id, epoch
        change.parts.update((Part.QUORUM, Part.FAILOVER))
        if leader_id >= 0:
            self._had_quorum = True
        elif not self._had_quorum:
            return -1.0
        return self.failover.lead_quorum(leader_id, epoch, at_ms)

    def _vote_answered(self, event: ev.VoteAnswered, change: ChangeSet) -> None:
        vote = Vote(event.at_ms, event.node_id, event.candidate_id, event.epoch, event.granted, event.pre_vote)
        self.quorum.votes.append(vote)
        change.parts.add(Part.QUORUM)

    def _quorum_leader_elected(self, event: ev.QuorumLeaderElected, change: ChangeSet) -> None:
        gap_ms = -1.0
        if event.epoch >= self.quorum.epoch:
            node = self._node(event.node_id, change)
            node.is_controller = True
            # The members' own levels follow within a moment; until then this keeps them in step. One that is cut off
            # from the winner has not heard of it.
            for member in self.quorum.members.values():
                if member.epoch < event.epoch and not self.faults.is_cut(member.node_id, event.node_id):
                    member.epoch, member.leader_id = event.epoch, event.node_id
                    if not member.is_observer:
                        member.state = "leader" if member.node_id == event.node_id else "follower"
            gap_ms = self._set_quorum(event.node_id, event.epoch, event.at_ms, change)
        # That enough would vote for it is how it won; what made it stand is why there was an election.
        winner = self.quorum.members.get(event.node_id)
        cause = (winner.stood_because if winner is not None else "") or event.cause
        election = QuorumElection(event.at_ms, event.node_id, event.epoch, event.votes, cause, gap_ms)
        self.quorum.elections.append(election)
        self._narrator.quorum_leader_elected(event, election)

    # --- topics and partitions -----------------------------------------------------------------

    def _topic_levels(self, entries: list[tuple[lv.LevelKey, lv.Level | None]], change: ChangeSet) -> None:
        present: list[tuple[str, lv.TopicLevel]] = []
        for key, level in entries:
            assert isinstance(key, lv.TopicKey)
            change.parts.add(Part.TOPICS)
            change.topics.add(key.topic)
            if isinstance(level, lv.TopicLevel):
                present.append((key.topic, level))
            else:
                self._forget_topic(key.topic, change)
        for name, level in sorted(present, key=lambda entry: entry[1].order):
            topic = self.topics.get(name)
            if topic is not None and topic.topic_id and topic.topic_id != level.topic_id:
                # Deleted and made anew within one look: nothing of the old one holds.
                colour = topic.colour
                self._forget_topic(name, change)
                topic = self.topics[name] = Topic(name, colour=colour)
            if topic is None:
                topic = self.topics[name] = Topic(name)
            internal = level.internal or name.startswith(OWN_PREFIX)
            if topic.colour < 0 and not internal:
                topic.colour = self._colours_given
                self._colours_given += 1
            topic.topic_id, topic.order, topic.internal = level.topic_id, level.order, internal
            topic.min_insync_replicas, topic.replication_factor = level.min_insync_replicas, level.replication_factor

    def _forget_topic(self, name: str, change: ChangeSet) -> None:
        topic = self.topics.get(name)
        if topic is None:
            return
        for number in list(topic.partitions):
            self._forget_partition(topic, number, change)
        del self.topics[name]
        self._groups.forget_topic(name, change)

    def _forget_partition(self, topic: Topic, number: int, change: ChangeSet) -> None:
        partition = topic.partitions.get(number)
        if partition is None:
            return
        self._count_roles(partition, -1)
        tp = partition.topic_partition
        for node_id in partition.replica_ids:
            self._hosted.get(node_id, set()).discard(tp)
            self.nodes[node_id].hosts = self.replicas_on(node_id)
        del topic.partitions[number]
        self.partition_count -= 1
        self.under_replicated.discard(tp)
        self.leaderless.discard(tp)
        self._moving.discard(tp)
        self._elected_at.pop(tp, None)
        self.failover.forget(tp)
        change.parts.update((Part.PARTITIONS, Part.FAILOVER))
        change.partitions.add(tp)

    def _partition_of(self, name: str, number: int) -> Partition:
        topic = self.topics.get(name)
        if topic is None:
            topic = self.topics[name] = Topic(name, internal=name.startswith("__"))
        partition = topic.partitions.get(number)
        if partition is None:
            partition = topic.partitions[number] = Partition(name, number)
            self.partition_count += 1
        return partition

    def _partition_level(self, key: lv.PartitionKey, level: lv.PartitionLevel | None, change: ChangeSet) -> None:
        if level is None:
            topic = self.topics.get(key.topic)
            if topic is not None:
                self._forget_partition(topic, key.partition, change)
            return
        partition = self._partition_of(key.topic, key.partition)
        facts = (level.leader, level.leader_epoch, level.replicas, level.isr)
        same = facts == (partition.leader, partition.leader_epoch, partition.replica_ids, partition.isr)
        partition.partition_epoch = level.partition_epoch
        more = (level.elr, level.last_known_elr, level.adding, level.removing, level.recovering)
        if more != (partition.elr, partition.last_known_elr, partition.adding, partition.removing, partition.recovering):
            partition.elr, partition.last_known_elr = level.elr, level.last_known_elr
            partition.adding, partition.removing, partition.recovering = level.adding, level.removing, level.recovering
            change.parts.add(Part.PARTITIONS)
            change.partitions.add(partition.topic_partition)
        if not same:
            self._set_replicas(partition, level.replicas, change)
            self._set_leader(partition, level.leader, level.leader_epoch, level.isr, self.now_ms, change)

    def _set_replicas(self, partition: Partition, replica_ids: tuple[int, ...], change: ChangeSet) -> None:
        if partition.replica_ids == replica_ids:
            return
        tp = partition.topic_partition
        self._count_roles(partition, -1)
        for node_id in partition.replica_ids:
            if node_id not in replica_ids:
                self._hosted[node_id].discard(tp)
                self.nodes[node_id].hosts = self.replicas_on(node_id)
        partition.replicas = {node_id: partition.replicas.get(node_id) or Replica(node_id) for node_id in replica_ids}
        partition.replica_ids = replica_ids
        for node_id in replica_ids:
            node = self._node(node_id, change)
            node.is_broker = True
            self._hosted.setdefault(node_id, set()).add(tp)
            node.hosts = self.replicas_on(node_id)
        self._count_roles(partition, +1)

    def _set_leader(self, partition: Partition, leader: int, epoch: int, isr: tuple[int, ...], at_ms: float, change: ChangeSet) -> float:
        """Take a committed leader and ISR. Returns the length of the gap this ended, -1 without one."""
        tp = partition.topic_partition
        gap_ms = -1.0
        if epoch != partition.leader_epoch or leader != partition.leader:
            if epoch != partition.leader_epoch:
                partition.previous_leader_epoch = partition.leader_epoch
            was_elected = leader != partition.leader or partition.leader_lost_at_ms >= 0
            partition.leader, partition.leader_epoch = leader, epoch
            partition.leader_lost_at_ms = -1.0
            if leader in self._gone:
                # The controller does not know yet that this node went away.
                partition.leader_lost_at_ms = self.nodes[leader].since_ms
                self.failover.lead(tp, -1, epoch, at_ms)
            else:
                gap_ms = self._led_again(tp, self.failover.lead(tp, leader, epoch, at_ms))
                if was_elected:
                    self._elected_at[tp] = at_ms
                else:
                    # A new epoch of the same leader: replicas were moved, say. What follows does not follow an election.
                    self._elected_at.pop(tp, None)
            change.parts.add(Part.FAILOVER)
        for node_id in partition.isr:
            replica = partition.replicas.get(node_id)
            if node_id not in isr and replica is not None:
                replica.left_isr_at_ms = at_ms
        partition.isr = isr
        for node_id in isr:
            replica = partition.replicas.get(node_id)
            if replica is not None:
                replica.left_isr_at_ms = -1.0
        self._refresh_roles(partition, change)
        change.parts.add(Part.PARTITIONS)
        change.partitions.add(tp)
        self._refresh_lags(tp)
        return gap_ms

    def _led_again(self, tp: TopicPartition, gap_ms: float) -> float:
        topic = self.topics[tp.topic]
        if gap_ms >= 0 and not topic.internal:
            for outage in self._outages.values():
                outage.led_after_ms = max(outage.led_after_ms, gap_ms)
        return gap_ms

    def _partition_changed(self, event: ev.PartitionChanged, change: ChangeSet) -> None:
        partition = self.partition(event.topic, event.partition)
        election: Election | None = None
        if partition is not None and event.new_leader_epoch >= partition.leader_epoch:
            lost = lost_records(partition, event.new_leader)
            gap_ms = self._set_leader(partition, event.new_leader, event.new_leader_epoch, event.new_isr, event.at_ms, change)
            partition.elr = event.new_elr
            if event.old_leader != event.new_leader:
                election = partition.election = Election(
                    event.at_ms, event.new_leader, event.old_leader, event.new_leader_epoch, event.election, event.cause, gap_ms, lost
                )
                if event.new_leader >= 0 and self.failover.count_election(event.at_ms):
                    change.parts.add(Part.FAILOVER)
                if election.loss_words:
                    # Nothing worse can happen to a partition: it is not one of many on a fencing's mark.
                    words = f"{partition.topic_partition} {election.sign.words}: {election.loss_words}"
                    self.failover.mark(event.at_ms, words, election.sign.tone, partition.link)
        self._narrator.partition_changed(event, election)

    def _log_truncated(self, event: ev.LogTruncated, change: ChangeSet) -> None:
        partition = self.partition(event.topic, event.partition)
        if partition is None or partition.election is None or partition.election.right not in ("unclean", "last known leader"):
            return
        cut = cut_records(partition, event.node_id, event.from_offset, event.to_offset)
        partition.election = replace(partition.election, lost=max(cut, partition.election.lost))
        change.parts.add(Part.PARTITIONS)

    def _first_write_acknowledged(self, event: ev.FirstWriteAcknowledged, change: ChangeSet) -> None:
        if self.failover.count_first_write(event.at_ms):
            change.parts.add(Part.FAILOVER)
        partition = self.partition(event.topic, event.partition)
        election = None if partition is None else partition.election
        if election is None or election.epoch != event.leader_epoch or self.topics[event.topic].internal:
            return
        if event.at_ms - election.at_ms > FIRST_WRITE_WINDOW_MS:
            return  # nobody wanted to write before
        for outage in self._outages.values():
            if outage.led_after_ms >= 0 > outage.written_after_ms and election.at_ms >= outage.at_ms:
                outage.written_after_ms, outage.topic = event.at_ms - outage.at_ms, event.topic
                change.parts.add(Part.FAILOVER)

    def _group_state_changed(self, event: ev.GroupStateChanged, change: ChangeSet) -> None:
        if self._is_outvoted(event.node_id):
            self._narrator.group_state_held(event)
            return
        self._narrator.group_state_changed(event, self._groups.state_changed(event, change))

    def _is_outvoted(self, broker_id: int) -> bool:
        """A broker that is cut off and fenced goes on as coordinator until it hears that it is none any more."""
        node = self.nodes.get(broker_id)
        return node is not None and node.fenced and any(link.is_cut for link in self.faults.of(broker_id))

    def outvoted_leads(self, broker_id: int) -> int:
        """How many partitions a broker that is cut off goes on leading, though the cluster has settled otherwise."""
        return sum(self._holds_on(broker_id, one) for one in self.hosted_partitions(broker_id)) if self._is_outvoted(broker_id) else 0

    def outvoted_leaders(self, partition: Partition) -> list[int]:
        """The brokers that go on leading a partition, for clients that know no better, though the cluster has settled otherwise."""
        return [broker_id for broker_id in partition.replicas if self._is_outvoted(broker_id) and self._holds_on(broker_id, partition)]

    def _holds_on(self, broker_id: int, partition: Partition) -> bool:
        replica = partition.replicas[broker_id]
        return replica.believes_to_lead and replica.role is ReplicaRole.BEHIND and not self.faults.is_cut(broker_id, CLIENTS)

    # --- replicas ------------------------------------------------------------------------------

    def _replica_level(self, key: lv.ReplicaKey, level: lv.ReplicaLevel | None, stale: set[TopicPartition], change: ChangeSet) -> None:
        self._unplaced.pop(key, None)
        if level is None:
            return  # the last offsets of a node that went away stay on show
        partition = self.partition(key.topic, key.partition)
        if partition is None:
            # Ahead of the controller's word, or behind it: a broker may speak of a topic that is deleted already.
            self._unplaced[key] = level
            return
        replica = partition.replicas.get(key.node_id)
        if replica is None:
            replica = partition.replicas[key.node_id] = Replica(key.node_id)
        replica.leader_epoch, replica.believes_to_lead = level.leader_epoch, level.is_leader
        replica.log_start_offset, replica.log_end_offset = level.log_start_offset, level.log_end_offset
        replica.high_watermark, replica.size_bytes, replica.segments = level.high_watermark, level.size_bytes, level.segments
        tp = TopicPartition(key.topic, key.partition)
        if level.is_leader and key.node_id == partition.leader:
            partition.records.update(level.log_end_offset)
            partition.appended.update(level.size_bytes, may_shrink=True)
            self._moving.add(tp)
        stale.add(tp)
        change.parts.add(Part.REPLICAS)
        change.partitions.add(tp)

    def _segments_level(self, key: lv.SegmentsKey, level: lv.SegmentsLevel | None, change: ChangeSet) -> None:
        partition = self.partition(key.topic, key.partition)
        replica = partition.replicas.get(key.node_id) if partition is not None else None
        # The first word of a replica comes with its offsets.
        if level is None or replica is None:
            return
        replica.segment_list, replica.first_dirty_offset = level.segments, level.first_dirty_offset
        change.parts.add(Part.REPLICAS)
        change.partitions.add(TopicPartition(key.topic, key.partition))

    def _refresh_lags(self, tp: TopicPartition) -> None:
        partition = self.partition(*tp)
        if partition is not None:
            refresh_lags(partition, leader_is_gone=partition.leader in self._gone)

    def _refresh_roles(self, partition: Partition, change: ChangeSet) -> None:
        self._count_roles(partition, -1)
        serving = partition.serving_leader
        for node_id, replica in partition.replicas.items():
            node = self.nodes.get(node_id)
            if node is None or node_id in self._gone or node_id in self._unregistered_since:
                if replica.role is not ReplicaRole.OFFLINE or replica.offline_since_ms < 0:
                    replica.offline_since_ms = self.now_ms if node is None else node.since_ms
                replica.role = ReplicaRole.OFFLINE
                continue
            replica.offline_since_ms = -1.0
            if node_id == serving:
                replica.role = ReplicaRole.LEADER
            elif node_id in partition.isr:
                replica.role = ReplicaRole.IN_SYNC
            else:
                replica.role = ReplicaRole.BEHIND
        self._count_roles(partition, +1)
        tp = partition.topic_partition
        _keep(self.under_replicated, tp, partition.is_under_replicated)
        _keep(self.leaderless, tp, partition.is_leaderless)
        change.parts.add(Part.PARTITIONS)
        change.partitions.add(tp)

    def _count_roles(self, partition: Partition, sign: int) -> None:
        for node_id in partition.replica_ids:
            role = partition.replicas[node_id].role
            if role is ReplicaRole.LEADER:
                self.nodes[node_id].leads += sign
                self.nodes[node_id].in_sync += sign
            elif role is ReplicaRole.IN_SYNC:
                self.nodes[node_id].in_sync += sign

    # --- time ----------------------------------------------------------------------------------

    def _sample(self, span_ms: float, change: ChangeSet) -> None:
        produced = fetched = 0.0
        for node in self.nodes.values():
            produced += node.produced.sample(span_ms)
            fetched += node.fetched.sample(span_ms)
            for meter in (node.client_in, node.client_out, node.peer_in, node.peer_out, node.requests):
                meter.sample(span_ms)
        self.produce_rate, self.fetch_rate = produced, fetched
        self.produce_history.add(self.now_ms, produced)
        self.fetch_history.add(self.now_ms, fetched)
        for tp in list(self._moving):
            partition = self.partition(*tp)
            if partition is None:
                self._moving.discard(tp)
                continue
            meters: tuple[RateMeter, RateMeter] = (partition.records, partition.appended)
            for meter in meters:
                meter.sample(span_ms)
            if meters[0].is_still and meters[1].is_still:
                self._moving.discard(tp)
        self._clients.sample(span_ms, self.now_ms, change)
        self._groups.sample(self.topics, self.now_ms, change)
        for client in self.clients.values():
            if client.kind == "group":
                group = self.groups.get(client.group_id)
                words = "" if group is None else group_words(group)
                title = client.group_id if group is None else f"{client.group_id} ({plural(len(group.members), 'member')})"
            else:
                words, title = client.subtitle, client.title
            if title != client.title:
                # Members came or went: other views say so at this moment.
                change.parts.add(Part.CLIENTS)
            if (words, title) != (client.subtitle, client.title):
                client.subtitle, client.title = words, title
                change.clients.add(client.key)
        change.parts.add(Part.RATES)

    def _judge(self) -> None:
        ordered = [node for _, node in sorted(self.nodes.items())]
        self.health = judge(
            ordered,
            quorum_leader=self.quorum.leader_id,
            had_quorum=self._had_quorum,
            under_replicated=self.under_replicated,
            leaderless=self.leaderless,
            cuts=len(self.faults.cuts),
        )
        self.notice = compose_notice(
            ordered,
            self.health,
            self._outages,
            voters=len(self.controllers),
            faults=self.faults,
            costs=Costs(
                below_min_isr=below_min_isr(self.topics, self.under_replicated - self.leaderless),
                waiting=waiting_for_the_cut_off(self.topics, self._hosted, self.faults),
                unreached=unreached(self.topics, self._hosted, self.faults),
                could_lead=could_lead(self.topics, self.leaderless),
                outvoted={node_id: held for node_id in self._hosted if (held := self.outvoted_leads(node_id))},
            ),
            quorum=self.quorum,
            name_of=self.node_name,
        )


_SHUTTING_DOWN: Final = "controlled shutdown"


def _keep(names: set[TopicPartition], tp: TopicPartition, present: bool) -> None:
    if present:
        names.add(tp)
    else:
        names.discard(tp)
