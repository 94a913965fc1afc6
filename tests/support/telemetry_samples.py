"""Telemetry as a real cluster gives it, made by hand: for tests and pictures of the window.

``SampleCluster`` plays three controllers, three brokers, topics, a producer and a group on a clock
of its own, and can kill, fence and restart; ``feed`` hands what happened since to a model, as the
hub's reader would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kafkalab.engine.telemetry import events as ev
from kafkalab.engine.telemetry import levels as lv
from kafkalab.ui.model.changes import ChangeSet
from kafkalab.ui.model.cluster import ClusterModel

STEP_MS: Final = 50.0
SESSION_TIMEOUT_MS: Final = 9_000.0
START_MS: Final = 1_772_366_340_000.0
RECORD_BYTES: Final = 1_000


@dataclass(frozen=True)
class TopicSpec:
    """A topic to begin with."""

    name: str
    partitions: int
    replication_factor: int = 3
    internal: bool = False


@dataclass
class _Part:
    replicas: tuple[int, ...]
    leader: int
    leader_epoch: int
    isr: tuple[int, ...]
    partition_epoch: int = 0
    elr: tuple[int, ...] = ()
    last_known_elr: tuple[int, ...] = ()
    adding: tuple[int, ...] = ()
    removing: tuple[int, ...] = ()
    ends: dict[int, int] = field(default_factory=dict)
    high_watermark: int = 0
    first_write_at_ms: float = -1.0
    committed: int = 0


@dataclass
class _Broker:
    epoch: int
    alive: bool = True
    paused: bool = False
    fenced: bool = False
    silent_since_ms: float = -1.0
    started_ms: float = 0.0
    counters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTERS, 0))


_COUNTERS: Final = ("client_bytes_in", "client_bytes_out", "peer_bytes_in", "peer_bytes_out", "requests", "produced_bytes", "fetched_bytes")

DEFAULT_TOPICS: Final = (
    TopicSpec("orders", 6),
    TopicSpec("payments", 3),
    TopicSpec("clicks", 3),
    TopicSpec("__consumer_offsets", 50, internal=True),
)
LOOK_TOPICS: Final = (TopicSpec("orders", 3), TopicSpec("payments", 3), TopicSpec("clicks", 3))
"""The topics of the pictures in the design."""


class SampleCluster:
    """A cluster that exists only as telemetry."""

    def __init__(
        self,
        *,
        topics: Sequence[TopicSpec] = DEFAULT_TOPICS,
        brokers: int = 3,
        controllers: int = 3,
        session_timeout_ms: float = SESSION_TIMEOUT_MS,
        start_ms: float = START_MS,
        records_per_second: int = 4_000,
        members: int = 3,
        elr: bool = False,
    ) -> None:
        self.elr = elr
        """Whether the ISR may become empty, with those who had every committed record kept in mind (KIP-966)."""
        self.links: dict[tuple[int, int], lv.LinkState] = {}
        self.now_ms = start_ms
        self.session_timeout_ms = session_timeout_ms
        self.records_per_second = records_per_second
        self.topics: dict[str, TopicSpec] = {}
        self.parts: dict[tuple[str, int], _Part] = {}
        self.controllers = [101 + at for at in range(controllers)]
        self.controller = self.controllers[min(1, controllers - 1)]
        self.controller_epoch = 3
        self.dead_controllers: set[int] = set()
        self.brokers = {1 + at: _Broker(epoch=10 + at, fenced=True, started_ms=start_ms) for at in range(brokers)}
        self.metadata_offset = 4_100
        self.members = members
        self.producing = True
        self._events: list[ev.Event] = []
        self._levels: dict[lv.LevelKey, lv.Level | None] = {}
        self._connections: dict[lv.ConnectionKey, dict[str, int]] = {}
        self._boot(topics)

    # --- beginning -----------------------------------------------------------------------------

    def _boot(self, topics: Sequence[TopicSpec]) -> None:
        for node_id in self.controllers:
            self._emit(
                ev.NodeStarted(
                    at_ms=self.now_ms, node_id=node_id, role="controller", address=f"127.0.0.1:{19000 + node_id}", pid=4_000 + node_id
                )
            )
        self._emit(
            ev.QuorumLeaderElected(
                at_ms=self.now_ms,
                node_id=self.controller,
                epoch=self.controller_epoch,
                votes=tuple(self.controllers[:2]),
                cause="no leader known",
            )
        )
        for broker_id, broker in self.brokers.items():
            self._emit(
                ev.NodeStarted(at_ms=self.now_ms, node_id=broker_id, role="broker", address=self.address(broker_id), pid=4_000 + broker_id)
            )
            self._register(broker_id, broker)
            self._unfence(broker_id, broker)
        for spec in topics:
            self.create_topic(spec)
        for client_id in self._client_ids():
            for broker_id in self.brokers:
                self._connect(client_id, broker_id)
        for leader_id in self.brokers:
            for follower_id in self.brokers:
                if leader_id != follower_id:
                    self._connect(f"broker-{follower_id}-fetcher-0", leader_id)
        if self.members:
            self._emit(
                ev.GroupStateChanged(
                    at_ms=self.now_ms,
                    node_id=1,
                    group_id="billing",
                    old_state="Empty",
                    new_state="PreparingRebalance",
                    generation=6,
                    members=1,
                    cause="member billing-1 joined",
                )
            )
            self._emit(
                ev.GroupStateChanged(
                    at_ms=self.now_ms + 212,
                    node_id=1,
                    group_id="billing",
                    old_state="CompletingRebalance",
                    new_state="Stable",
                    generation=7,
                    members=self.members,
                    cause="assignment received from the leader",
                )
            )
        self._tell()

    def address(self, broker_id: int) -> str:
        """Where a broker listens."""
        return f"127.0.0.1:{9091 + broker_id}"

    def _client_ids(self) -> list[str]:
        return (["order-producer"] if self.producing else []) + [f"billing-{at + 1}" for at in range(self.members)]

    def create_topic(self, spec: TopicSpec) -> None:
        """Spread a topic over the brokers in order."""
        ids = sorted(self.brokers)
        self.topics[spec.name] = spec
        self.metadata_offset += spec.partitions + 1
        for number in range(spec.partitions):
            replicas = tuple(ids[(number + step) % len(ids)] for step in range(min(spec.replication_factor, len(ids))))
            self.parts[spec.name, number] = _Part(replicas, replicas[0], 4, replicas, ends=dict.fromkeys(replicas, 0))
        if not spec.internal:
            self._emit(
                ev.TopicCreated(
                    at_ms=self.now_ms,
                    node_id=self.controller,
                    topic=spec.name,
                    partitions=spec.partitions,
                    replication_factor=spec.replication_factor,
                )
            )
        self._level(
            lv.TopicKey(spec.name),
            lv.TopicLevel(
                topic_id=f"{spec.name[:8]:A<21}Q",
                partitions=spec.partitions,
                replication_factor=spec.replication_factor,
                internal=spec.internal,
                min_insync_replicas=1 if spec.internal else 2,
                order=self.metadata_offset,
            ),
        )
        for (name, number), part in self.parts.items():
            if name == spec.name:
                self._tell_partition(name, number, part)

    def delete_topic(self, name: str) -> None:
        """Take a topic away."""
        del self.topics[name]
        self._emit(ev.TopicDeleted(at_ms=self.now_ms, node_id=self.controller, topic=name))
        self._level(lv.TopicKey(name), None)
        for key in [key for key in self.parts if key[0] == name]:
            del self.parts[key]
            self._level(lv.PartitionKey(*key), None)

    def lay_out_like_the_pictures(self) -> None:
        """Leaders and offsets as in the design's pictures, before broker 2 is killed."""
        leaders = {"orders": (1, 2, 3), "payments": (2, 1, 2), "clicks": (1, 3, 2)}
        heirs = {"orders": (1, 3, 3), "payments": (3, 1, 1), "clicks": (1, 3, 3)}
        for (name, number), part in self.parts.items():
            leader, heir = leaders[name][number], heirs[name][number]
            rest = [node_id for node_id in (2, 3, 1) if node_id not in (leader, heir)]
            part.leader = leader
            part.replicas = tuple(dict.fromkeys((leader, heir, *rest)))
            part.isr = part.replicas
            part.ends = dict.fromkeys(part.replicas, 1_271_000 + 2_000 * number)
            part.high_watermark = part.committed = part.ends[leader]
            self._tell_partition(name, number, part)

    # --- happenings ----------------------------------------------------------------------------

    def kill(self, broker_id: int, cause: str = "you") -> None:
        """A broker is gone; the controller fences it when its session is over."""
        broker = self.brokers[broker_id]
        broker.alive, broker.silent_since_ms = False, self.now_ms
        self._emit(ev.NodeKilled(at_ms=self.now_ms, node_id=broker_id, cause=cause))
        self._disconnect(broker_id)
        self._level(lv.NodeKey(broker_id), None)
        self._level(lv.QuorumKey(broker_id), None)
        for (name, number), part in self.parts.items():
            if broker_id in part.replicas:
                self._level(lv.ReplicaKey(broker_id, name, number), None)

    def stop(self, broker_id: int) -> None:
        """A controlled shutdown: leaders move first."""
        broker = self.brokers[broker_id]
        self._fence(broker_id, "controlled shutdown", 0.0)
        broker.alive = False
        self._disconnect(broker_id)
        self._emit(ev.NodeStopped(at_ms=self.now_ms, node_id=broker_id, cause="you"))

    def pause(self, broker_id: int) -> None:
        """A broker stands still."""
        broker = self.brokers[broker_id]
        broker.paused, broker.silent_since_ms = True, self.now_ms
        self._emit(ev.NodePaused(at_ms=self.now_ms, node_id=broker_id, cause="you"))

    def resume(self, broker_id: int) -> None:
        """A broker goes on."""
        broker = self.brokers[broker_id]
        broker.paused, broker.silent_since_ms = False, -1.0
        self._emit(ev.NodeResumed(at_ms=self.now_ms, node_id=broker_id, cause="you"))
        if broker.fenced:
            self._unfence(broker_id, broker)

    def restart(self, broker_id: int) -> None:
        """A broker is back with a new registration, and its replicas catch up."""
        broker = self.brokers[broker_id]
        broker.alive, broker.silent_since_ms, broker.started_ms = True, -1.0, self.now_ms
        broker.epoch += 1_000
        broker.counters = dict.fromkeys(_COUNTERS, 0)
        self._emit(
            ev.NodeStarted(at_ms=self.now_ms, node_id=broker_id, role="broker", address=self.address(broker_id), pid=5_000 + broker_id)
        )
        if not broker.fenced:
            self._fence(broker_id, "it registered again", 0.0)
        self._register(broker_id, broker)
        self._unfence(broker_id, broker)
        for client_id in self._client_ids():
            self._connect(client_id, broker_id)

    def kill_controller(self, node_id: int) -> None:
        """A controller is gone; when it was the active one, another is elected a moment later by ``elect``."""
        self.dead_controllers.add(node_id)
        self._emit(ev.NodeKilled(at_ms=self.now_ms, node_id=node_id, cause="you"))
        self._level(lv.QuorumKey(node_id), None)

    def elect(self, node_id: int) -> None:
        """A controller stands for election and wins."""
        self.controller_epoch += 1
        for voter in self.controllers:
            if voter not in self.dead_controllers and voter != node_id:
                self._emit(
                    ev.VoteAnswered(
                        at_ms=self.now_ms, node_id=voter, candidate_id=node_id, epoch=self.controller_epoch, granted=True, pre_vote=False
                    )
                )
        self.controller = node_id
        votes = tuple(voter for voter in self.controllers if voter not in self.dead_controllers)
        self._emit(
            ev.QuorumLeaderElected(
                at_ms=self.now_ms, node_id=node_id, epoch=self.controller_epoch, votes=votes, cause="the leader was silent"
            )
        )

    # --- faults --------------------------------------------------------------------------------

    def nodes(self) -> list[int]:
        """All ids."""
        return [*sorted(self.brokers), *self.controllers]

    def isolate(self, a: int, b: int | None = None) -> None:
        """Cut both ways; without ``b`` from all other nodes. Clients are -1."""
        for other in [b] if b is not None else [node_id for node_id in self.nodes() if node_id != a]:
            self._impair(a, other, both_ways=True, is_cut=True)

    def cut(self, a: int, b: int) -> None:
        """Cut what ``a`` sends to ``b``."""
        self._impair(a, b, both_ways=False, is_cut=True)

    def delay(self, a: int, b: int, ms: float, *, one_way: bool = False) -> None:
        """Let bytes come late."""
        self._impair(a, b, both_ways=not one_way, delay_ms=ms)

    def heal(self, a: int | None = None, b: int | None = None) -> None:
        """All links of a party, one link, or all."""
        wanted = {party for party in (a, b) if party is not None}
        healed = [pair for pair in self.links if wanted <= set(pair)]
        for pair in healed:
            del self.links[pair]
        for source, target in sorted({(min(pair), max(pair)) for pair in healed}):
            self._emit(ev.LinkHealed(at_ms=self.now_ms, node_id=-1, source=source, target=target, cause="you"))
        self._tell_links()

    def jump_clock(self, node_id: int, seconds: float) -> None:
        """Set a wall clock."""
        self._emit(ev.ClockJumped(at_ms=self.now_ms, node_id=-1, node=node_id, seconds=seconds, offset_seconds=seconds, cause="you"))
        self._level(lv.ClockKey(node_id), lv.ClockLevel(offset_seconds=seconds) if seconds else None)

    def _impair(self, a: int, b: int, *, both_ways: bool, is_cut: bool = False, delay_ms: float = 0.0) -> None:
        for source, target in ((a, b), (b, a)) if both_ways else ((a, b),):
            self.links[source, target] = lv.LinkState(source, target, is_cut, delay_ms, 0.0, 0.0, 0.0)
        at = {"at_ms": self.now_ms, "node_id": -1, "source": a, "target": b, "both_ways": both_ways, "cause": "you"}
        self._emit(ev.LinkCut(**at) if is_cut else ev.LinkImpaired(**at, detail=f"{delay_ms:g} ms late"))  # type: ignore[arg-type]
        self._tell_links()

    def _tell_links(self) -> None:
        links = tuple(state for _, state in sorted(self.links.items()))
        self._level(lv.LinksKey(), lv.LinksLevel(links=links) if links else None)

    # --- elections -----------------------------------------------------------------------------

    def lead(self, name: str, number: int, leader: int, election: str, cause: str) -> None:
        """A partition without a leader gets one, by whatever right."""
        part = self.parts[name, number]
        part.elr = tuple(node_id for node_id in part.elr if node_id != leader)
        part.last_known_elr = ()
        part.ends = {node_id: min(end, part.ends[leader]) for node_id, end in part.ends.items()}
        self._change(name, number, part, leader, (leader,), cause, self.now_ms, election)

    def reassign(self, name: str, number: int, adding: tuple[int, ...], removing: tuple[int, ...]) -> None:
        """Replicas are on their way."""
        part = self.parts[name, number]
        old = part.replicas
        part.replicas, part.adding, part.removing = (*old, *adding), adding, removing
        part.ends |= dict.fromkeys(adding, 0)
        self._emit(
            ev.ReassignmentChanged(
                at_ms=self.now_ms, node_id=self.controller, topic=name, partition=number, old_replicas=old,
                new_replicas=part.replicas, adding=adding, removing=removing, state="started", cause="its replicas were reassigned",
            )
        )  # fmt: skip
        self._tell_partition(name, number, part)

    def _register(self, broker_id: int, broker: _Broker) -> None:
        broker.fenced = True
        self.metadata_offset += 1
        self._emit(ev.BrokerRegistered(at_ms=self.now_ms, node_id=self.controller, broker_id=broker_id, broker_epoch=broker.epoch))
        self._tell_broker(broker_id)

    def _unfence(self, broker_id: int, broker: _Broker) -> None:
        broker.fenced = False
        self.metadata_offset += 1
        self._emit(ev.BrokerUnfenced(at_ms=self.now_ms, node_id=self.controller, broker_id=broker_id))
        self._tell_broker(broker_id)

    def _fence(self, broker_id: int, cause: str, silent_ms: float) -> None:
        self.brokers[broker_id].fenced = True
        self.metadata_offset += 1
        self._emit(ev.BrokerFenced(at_ms=self.now_ms, node_id=self.controller, broker_id=broker_id, cause=cause, silent_ms=silent_ms))
        self._tell_broker(broker_id)
        at_ms = self.now_ms + 12.0
        for (name, number), part in self.parts.items():
            if broker_id not in part.isr:
                continue
            isr = tuple(node_id for node_id in part.isr if node_id != broker_id)
            heirs = [node_id for node_id in part.replicas if node_id in isr and self._serves(node_id)]
            leader = part.leader if part.leader != broker_id else (heirs[0] if heirs else -1)
            if leader != part.leader and not self.topics[name].internal:
                part.first_write_at_ms = at_ms + 14.0
            old_elr = part.elr
            if self.elr:
                # Whoever leaves an ISR that is too small keeps its right to lead.
                part.elr = tuple(sorted({*part.elr, broker_id})) if len(isr) < 2 else ()
                part.last_known_elr = (broker_id,) if not isr else ()
            kept = isr if isr or self.elr else part.isr
            self._change(name, number, part, leader, kept, f"broker {broker_id} was fenced", at_ms, old_elr=old_elr)
            at_ms += 0.5

    def _change(
        self,
        name: str,
        number: int,
        part: _Part,
        leader: int,
        isr: tuple[int, ...],
        cause: str,
        at_ms: float,
        election: str = "isr",
        old_elr: tuple[int, ...] | None = None,
    ) -> None:
        epoch = part.leader_epoch + (1 if leader != part.leader else 0)
        self.metadata_offset += 1
        self._emit(
            ev.PartitionChanged(
                at_ms=at_ms,
                node_id=self.controller,
                topic=name,
                partition=number,
                old_leader=part.leader,
                new_leader=leader,
                old_leader_epoch=part.leader_epoch,
                new_leader_epoch=epoch,
                old_isr=part.isr,
                new_isr=isr,
                cause=cause,
                election="" if leader == part.leader else "none" if leader < 0 else election,
                old_elr=part.elr if old_elr is None else old_elr,
                new_elr=part.elr,
            )
        )
        part.leader, part.leader_epoch, part.isr, part.partition_epoch = leader, epoch, isr, part.partition_epoch + 1
        self._tell_partition(name, number, part)

    def _serves(self, broker_id: int) -> bool:
        broker = self.brokers[broker_id]
        return broker.alive and not broker.fenced and not broker.paused

    # --- time ----------------------------------------------------------------------------------

    def advance(self, span_ms: float) -> None:
        """Let time pass in steps; the last one may be shorter."""
        end_ms = self.now_ms + span_ms
        while self.now_ms < end_ms:
            step_ms = min(STEP_MS, end_ms - self.now_ms)
            for broker_id, broker in self.brokers.items():
                if broker.silent_since_ms >= 0 and not broker.fenced:
                    due_ms = broker.silent_since_ms + self.session_timeout_ms
                    if due_ms <= self.now_ms + step_ms:
                        step_ms = max(due_ms - self.now_ms, 0.0)
                        self.now_ms += step_ms
                        silence = f"{self.session_timeout_ms:,.0f}".replace(",", " ")
                        self._fence(broker_id, f"no heartbeat for {silence} ms (broker.session.timeout.ms)", self.session_timeout_ms)
                        step_ms = 0.0
                        break
            self.now_ms += step_ms
            self._flow(step_ms)
            self._tell()

    def _flow(self, span_ms: float) -> None:
        for (name, number), part in self.parts.items():
            for follower in part.replicas:
                idle = self.topics[name].internal and part.leader >= 0
                if idle and follower not in part.isr and self._serves(follower) and self.now_ms - self.brokers[follower].started_ms > 300:
                    isr = tuple(node_id for node_id in part.replicas if node_id in (*part.isr, follower))
                    self._change(name, number, part, part.leader, isr, f"replica {follower} caught up", self.now_ms)
        writable = [(key, part) for key, part in self.parts.items() if not self.topics[key[0]].internal]
        active = [(key, part) for key, part in writable if part.leader >= 0 and self._serves(part.leader)]
        if not active or not self.producing or not span_ms:
            return
        each = max(int(self.records_per_second * span_ms / 1000 / len(active)), 0)
        size = each * RECORD_BYTES
        member_of = self._assignment()
        for (name, number), part in active:
            part.ends[part.leader] += each
            if part.first_write_at_ms >= 0 and each:
                self._emit(
                    ev.FirstWriteAcknowledged(
                        at_ms=part.first_write_at_ms,
                        node_id=part.leader,
                        topic=name,
                        partition=number,
                        offset=part.ends[part.leader] - each,
                        leader_epoch=part.leader_epoch,
                        client_id="order-producer",
                    )
                )
                part.first_write_at_ms = -1.0
            counters = self.brokers[part.leader].counters
            counters["produced_bytes"] += size
            counters["client_bytes_in"] += size + 200
            counters["requests"] += 2
            self._count("order-producer", part.leader, produced_bytes=size, bytes_in=size)
            for follower in part.replicas:
                if follower == part.leader or not self.brokers[follower].alive or self.brokers[follower].paused:
                    continue
                behind = part.ends[part.leader] - part.ends[follower]
                part.ends[follower] += behind if follower in part.isr else min(behind, each * 4)
                counters["peer_bytes_out"] += size
                self.brokers[follower].counters["peer_bytes_in"] += size
                self._count(f"broker-{follower}-fetcher-0", part.leader, bytes_out=size)
                caught_up = part.ends[follower] == part.ends[part.leader]
                if follower not in part.isr and caught_up and self._serves(follower):
                    isr = tuple(node_id for node_id in part.replicas if node_id in (*part.isr, follower))
                    self._change(name, number, part, part.leader, isr, f"replica {follower} caught up", self.now_ms)
            if len(part.isr) >= 2 or not self.elr:
                part.high_watermark = max(part.high_watermark if self.elr else 0, min(part.ends[node_id] for node_id in part.isr))
            if (name, number) in member_of:
                behind = max(part.high_watermark - 25, 0)
                read = max(behind - part.committed, 0) * RECORD_BYTES
                part.committed = max(part.committed, behind)
                counters["fetched_bytes"] += read
                counters["client_bytes_out"] += read
                self._count(member_of[name, number], part.leader, fetched_bytes=read, bytes_out=read)

    def _assignment(self) -> dict[tuple[str, int], str]:
        if not self.members:
            return {}
        read = sorted(key for key in self.parts if key[0] == "orders")
        return {key: f"billing-{1 + at % self.members}" for at, key in enumerate(read)}

    def _count(self, client_id: str, broker_id: int, **counts: int) -> None:
        for key, counters in self._connections.items():
            if key.node_id == broker_id and counters["owner"] == hash(client_id):
                for name, count in counts.items():
                    counters[name] += count
                counters["requests"] += 1

    # --- levels --------------------------------------------------------------------------------

    def _emit(self, event: ev.Event) -> None:
        self._events.append(event)

    def _level(self, key: lv.LevelKey, level: lv.Level | None) -> None:
        self._levels[key] = level

    def _connect(self, client_id: str, broker_id: int) -> None:
        key = lv.ConnectionKey(broker_id, len(self._connections) + 1)
        names = ("bytes_in", "bytes_out", "requests", "produced_bytes", "fetched_bytes")
        self._connections[key] = {**dict.fromkeys(names, 0), "owner": hash(client_id)}
        self._owners[key] = client_id

    @property
    def _owners(self) -> dict[lv.ConnectionKey, str]:
        return self.__dict__.setdefault("_owner_names", {})

    def _disconnect(self, broker_id: int) -> None:
        for key in [key for key in self._connections if key.node_id == broker_id or self._peer(key) == broker_id]:
            del self._connections[key]
            self._level(key, None)

    def _peer(self, key: lv.ConnectionKey) -> int:
        owner = self._owners[key]
        return int(owner.split("-")[1]) if owner.startswith("broker-") else -1

    def _tell_broker(self, broker_id: int) -> None:
        broker = self.brokers[broker_id]
        self._level(
            lv.BrokerKey(broker_id),
            lv.BrokerLevel(
                broker_epoch=broker.epoch, fenced=broker.fenced, in_controlled_shutdown=False, address=self.address(broker_id), rack=None
            ),
        )

    def _tell_partition(self, name: str, number: int, part: _Part) -> None:
        self._level(
            lv.PartitionKey(name, number),
            lv.PartitionLevel(
                leader=part.leader,
                leader_epoch=part.leader_epoch,
                partition_epoch=part.partition_epoch,
                replicas=part.replicas,
                isr=part.isr,
                elr=part.elr,
                last_known_elr=part.last_known_elr,
                adding=part.adding,
                removing=part.removing,
            ),
        )

    def _tell(self) -> None:
        for node_id in self.controllers:
            if node_id not in self.dead_controllers:
                leader = self.controller if self.controller not in self.dead_controllers else -1
                state = "leader" if node_id == leader else "follower" if leader >= 0 else "unattached"
                self._level(
                    lv.QuorumKey(node_id),
                    lv.QuorumLevel(
                        state=state,
                        epoch=self.controller_epoch,
                        leader_id=leader,
                        high_watermark=self.metadata_offset,
                        log_end_offset=self.metadata_offset,
                        directory_id=f"{node_id}sCkz7RHZm4Zm0bX1TTQ",
                        snapshot_end_offset=4_000,
                        snapshot_epoch=2,
                        voters=tuple(self.controllers),
                    ),
                )
        for broker_id, broker in self.brokers.items():
            if not broker.alive or broker.paused:
                continue
            self._level(lv.NodeKey(broker_id), lv.NodeLevel(**broker.counters, connections=6, bad_input=()))
            self._level(
                lv.QuorumKey(broker_id),
                lv.QuorumLevel(
                    state="observer",
                    epoch=self.controller_epoch,
                    leader_id=self.controller,
                    high_watermark=self.metadata_offset,
                    log_end_offset=self.metadata_offset,
                ),
            )
        self._tell_replicas()
        self._tell_connections()
        if self.members:
            self._tell_group()

    def _tell_replicas(self) -> None:
        for (name, number), part in self.parts.items():
            for node_id in part.replicas:
                broker = self.brokers[node_id]
                if broker.alive and not broker.paused:
                    self._level(
                        lv.ReplicaKey(node_id, name, number),
                        lv.ReplicaLevel(
                            is_leader=node_id == part.leader,
                            leader_epoch=part.leader_epoch,
                            log_start_offset=0,
                            log_end_offset=part.ends[node_id],
                            high_watermark=min(part.high_watermark, part.ends[node_id]),
                            size_bytes=part.ends[node_id] * 100,
                            segments=1 + part.ends[node_id] // 500_000,
                        ),
                    )

    def _tell_connections(self) -> None:
        for key, counters in self._connections.items():
            owner, peer = self._owners[key], self._peer(key)
            broker = self.brokers[key.node_id]
            if not broker.alive or broker.paused:
                continue
            produces = owner == "order-producer"
            self._level(
                key,
                lv.ConnectionLevel(
                    client_id=owner,
                    software="kafkalab 0.1.0" if peer >= 0 else "librdkafka 2.16",
                    address=f"127.0.0.1:{40_000 + key.connection_id}",
                    listener="PLAINTEXT",
                    peer_node_id=peer,
                    bytes_in=counters["bytes_in"],
                    bytes_out=counters["bytes_out"],
                    requests=counters["requests"],
                    produced_bytes=counters["produced_bytes"],
                    fetched_bytes=counters["fetched_bytes"],
                    in_flight=0,
                    apis=(("Produce", 10, counters["requests"]),) if produces else (("Fetch", 16, counters["requests"]),),
                    acks=-1 if produces else None,
                    producer_id=4001 if produces else -1,
                    last_error="",
                    # Members speak to their coordinator on one of their connections only.
                    group_id="billing" if owner.startswith("billing-") and key.node_id == self._coordinator() else "",
                ),
            )

    def _coordinator(self) -> int:
        return next((broker_id for broker_id in sorted(self.brokers) if self._serves(broker_id)), -1)

    def _tell_group(self) -> None:
        owned: dict[str, list[tuple[str, int]]] = {}
        for place, member in self._assignment().items():
            owned.setdefault(member, []).append(place)
            part = self.parts[place]
            self._level(
                lv.GroupOffsetKey("billing", *place),
                lv.GroupOffsetLevel(offset=part.committed, leader_epoch=part.leader_epoch, metadata="", commit_ms=int(self.now_ms)),
            )
        members = tuple(
            lv.GroupMemberLevel(
                member_id=f"billing-{at + 1}-6f1c", instance_id=None, client_id=f"billing-{at + 1}", client_host="127.0.0.1",
                assignment=tuple(owned.get(f"billing-{at + 1}", ())),
            )
            for at in range(self.members)
        )  # fmt: skip
        self._level(
            lv.GroupKey("billing"),
            lv.GroupLevel(
                coordinator_id=self._coordinator(),
                state="Stable",
                generation=7,
                protocol_type="consumer",
                protocol="range",
                leader_id=members[0].member_id,
                members=members,
            ),
        )

    # --- reading -------------------------------------------------------------------------------

    def drain(self) -> tuple[list[ev.Event], Mapping[lv.LevelKey, lv.Level | None], int]:
        """What happened since the last call, as ``Reader.drain`` gives it."""
        events, levels = self._events, self._levels
        self._events, self._levels = [], {}
        return events, levels, 0

    def feed(self, model: ClusterModel) -> ChangeSet:
        """Hand what happened to a model."""
        return model.apply(*self.drain(), self.now_ms)

    def run(self, model: ClusterModel, span_ms: float, step_ms: float = STEP_MS) -> None:
        """Let time pass and feed the model at every step."""
        end_ms = self.now_ms + span_ms
        while self.now_ms < end_ms:
            self.advance(min(step_ms, end_ms - self.now_ms))
            self.feed(model)


def running(model: ClusterModel, **options: object) -> SampleCluster:
    """A healthy cluster, five seconds old, fed into the model."""
    cluster = SampleCluster(**options)  # type: ignore[arg-type]  # the constructor's own names and types
    cluster.feed(model)
    cluster.run(model, 5_000)
    return cluster


def failover_story(
    model: ClusterModel, *, after_kill_ms: float = 15_000.0, session_timeout_ms: float = SESSION_TIMEOUT_MS
) -> SampleCluster:
    """The story the window is known by: broker 2 is killed, fenced when its session is over, and others lead on."""
    cluster = running(model, session_timeout_ms=session_timeout_ms)
    cluster.run(model, 9_113)
    cluster.kill(2)
    cluster.run(model, after_kill_ms)
    return cluster


def picture(model: ClusterModel) -> SampleCluster:
    """The moment of the design's pictures: four seconds after broker 2 was killed, fenced after 1.5 s."""
    cluster = SampleCluster(topics=LOOK_TOPICS, session_timeout_ms=1_527.0, records_per_second=41_200, start_ms=START_MS)
    cluster.lay_out_like_the_pictures()
    cluster.feed(model)
    cluster.run(model, 24_113)
    cluster.kill(2)
    cluster.run(model, 4_100)
    return cluster


def big(model: ClusterModel, *, partitions: int = 1_000) -> SampleCluster:
    """As many replicas as the stage has to bear: ``partitions`` × 3, in ten topics."""
    specs = tuple(TopicSpec(f"topic-{at}", partitions // 10) for at in range(10))
    cluster = SampleCluster(topics=specs, records_per_second=20_000, members=0)
    cluster.feed(model)
    cluster.run(model, 500, 250)
    return cluster


def elr_story(model: ClusterModel) -> SampleCluster:
    """Two of three brokers are gone one after the other: the ISR is too small, and who left it last may still lead."""
    cluster = SampleCluster(topics=LOOK_TOPICS, session_timeout_ms=1_527.0, records_per_second=8_000, start_ms=START_MS, elr=True)
    cluster.lay_out_like_the_pictures()
    cluster.feed(model)
    cluster.run(model, 12_000)
    cluster.kill(2)
    cluster.run(model, 6_000)
    cluster.kill(3)
    cluster.run(model, 4_000)
    return cluster


def cut_story(model: ClusterModel) -> SampleCluster:
    """The active controller is cut off from all other nodes, and another one is elected."""
    cluster = SampleCluster(topics=LOOK_TOPICS, records_per_second=8_000, start_ms=START_MS)
    cluster.lay_out_like_the_pictures()
    cluster.feed(model)
    cluster.run(model, 12_000)
    cluster.isolate(102)
    cluster.run(model, 2_100)
    cluster.dead_controllers.add(102)  # It tells nothing new, and does not vote.
    cluster.elect(101)
    cluster.run(model, 500)
    return cluster
