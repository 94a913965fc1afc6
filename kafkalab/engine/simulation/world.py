"""A whole cluster on virtual time: nodes, clients, the network between them, and the verbs of Lab.

>>> world = SimWorld(seed=7)
>>> world.start()
>>> world.create_topic("orders", partitions=3)
>>> world.kill(world.leader("orders", 0))
>>> world.run_until(world.is_healthy)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, Final, Literal

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.ids import random_uuid, uuid_to_text
from kafkalab.engine.faults.disk import DiskFault, DiskFaultKind
from kafkalab.engine.faults.network import CLIENTS, LinkFault
from kafkalab.engine.log.meta_properties import META_PROPERTIES_FILE, MetaProperties
from kafkalab.engine.metadata.image import CONFIG_BROKER, CONFIG_TOPIC, MetadataImage
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.raft.voters import KRAFT_VERSION_MAX, ReplicaKey, Voter, VoterSet
from kafkalab.engine.server.connection import CONTROLLER_LISTENER
from kafkalab.engine.server.formatter import Formatter
from kafkalab.engine.server.node import NodeSpec
from kafkalab.engine.simulation.clients import SimAdmin, SimClient
from kafkalab.engine.simulation.loop import SimLoop
from kafkalab.engine.simulation.machine import SimClock
from kafkalab.engine.simulation.network import SimNetwork
from kafkalab.engine.simulation.node import SimNode, node_directory
from kafkalab.engine.simulation.scheduler import Scheduler
from kafkalab.engine.simulation.telemetry import SimSink
from kafkalab.engine.telemetry.events import ClockJumped, LinkCut, LinkHealed, LinkImpaired

Party = int | Literal["clients"]

BROKER_PORT: Final = 9092
CONTROLLER_PORT: Final = 9093
FIRST_CONTROLLER_ID: Final = 101
READY_WITHIN_MS: Final = 60_000.0
STOP_TIMEOUT_MS: Final = 20_000.0
COMMAND_WITHIN_MS: Final = 60_000.0

DEFAULTS: Final[Mapping[str, str]] = {
    "offsets.topic.num.partitions": "3",
    "group.initial.rebalance.delay.ms": "0",
}
"""What differs from Kafka's settings, besides replication factors: fewer partitions make runs faster."""


class SimulationFailed(AssertionError):
    """Something that never may be, was; or something that must come to be did not.

    :ivar kind: the invariant, in a word.
    """

    def __init__(self, kind: str, detail: str, *, seed: int, at_ms: float) -> None:
        super().__init__(f"{kind}: {detail} (seed {seed}, at {at_ms:.3f} ms)")
        self.kind = kind
        self.detail = detail
        self.seed = seed
        self.at_ms = at_ms

    def __reduce__(self) -> tuple[Any, ...]:
        # By its message alone it could not be made again where a run in another process is waited for.
        return partial(SimulationFailed, seed=self.seed, at_ms=self.at_ms), (self.kind, self.detail)


class SimWorld:
    """See the module.

    :param seed: what everything follows from.
    :param config: broker settings by Kafka's names, for all nodes.
    :param combined: every node is both broker and controller.
    :param dynamic: who votes is in the metadata log (kraft.version 1), and can change.
    :param spare_controllers: so many more controllers, which do not vote at first; only where voters can change.
    :param racks: where brokers stand, in the order of their ids; with fewer racks than brokers it begins anew.
    """

    def __init__(
        self,
        seed: int,
        brokers: int = 3,
        controllers: int = 3,
        config: Mapping[str, object] | None = None,
        *,
        combined: bool = False,
        racks: tuple[str, ...] = (),
        log_dirs: int = 1,
        dynamic: bool = False,
        spare_controllers: int = 0,
    ) -> None:
        self.seed = seed
        self.is_dynamic = dynamic
        self.scheduler = Scheduler(self.rng("ties"))
        self.network = SimNetwork(self.scheduler, self.rng("network"))
        self.sink = SimSink(self.scheduler)
        self.checks: list[Callable[[SimNode], None]] = []
        """Called after each step of a node, with the node."""
        self.read_checks: list[Callable[[str, str, int, int], None]] = []
        """Called when a consumer has read something: its name, topic, partition, and the offset after what it read."""
        self.failure: SimulationFailed | None = None
        self.watched_image: MetadataImage | None = None
        """What is committed of the metadata, kept by whoever watches: nodes may all have lost sight of it."""
        self.cluster_id = uuid_to_text(random_uuid(self.rng("cluster")))
        self._loop = self.client_loop("10.1.255.254")
        self._clients = 0
        self.clients: list[SimClient] = []
        self._admin: SimAdmin | None = None
        self.nodes: dict[int, SimNode] = {}
        self._away: dict[int, SimNode] = {}
        """Brokers that were here and may come back."""
        roles: dict[int, set[str]] = {node_id: {"broker"} for node_id in range(1, brokers + 1)}
        first = 1 if combined else FIRST_CONTROLLER_ID
        assert dynamic or not spare_controllers, "static voters do not change"
        for node_id in range(first, first + controllers + spare_controllers):
            roles.setdefault(node_id, set()).add("controller")
        voters = {node_id: (_ip(node_id), CONTROLLER_PORT) for node_id in range(first, first + controllers)}
        everybody = tuple((_ip(node_id), CONTROLLER_PORT) for node_id in range(first, first + controllers + spare_controllers))
        replication_factor = str(min(3, brokers))
        settings = {
            **DEFAULTS,
            "default.replication.factor": replication_factor,
            "offsets.topic.replication.factor": replication_factor,
            **{key: _text(value) for key, value in (config or {}).items()},
        }
        for node_id, names in sorted(roles.items()):
            own = dict(settings)
            if racks and "broker" in names:
                own["broker.rack"] = racks[(node_id - 1) % len(racks)]
            spec = NodeSpec(
                node_id=node_id,
                roles=frozenset(names),
                data_dir=node_directory(node_id),
                cluster_id=self.cluster_id,
                host=_ip(node_id),
                broker_port=BROKER_PORT if "broker" in names else None,
                controller_port=CONTROLLER_PORT if "controller" in names else None,
                voters={} if dynamic else voters,
                config=own,
                log_dirs=log_dirs,
                bootstrap_servers=everybody if dynamic else (),
            )
            self._add_node(spec)
        if dynamic:
            self._format(voters)

    def _add_node(self, spec: NodeSpec) -> SimNode:
        node = SimNode(
            spec,
            scheduler=self.scheduler,
            network=self.network,
            rng=self.rng(f"node {spec.node_id}"),
            sink=self.sink,
            broken=self._node_broken,
        )
        node.on_step = self._stepped
        self.nodes[spec.node_id] = node
        return node

    def _format(self, addresses: Mapping[int, tuple[str, int]]) -> None:
        """Tell the nodes' directories who votes first (KIP-853)."""
        rng = self.rng("format")
        first = VoterSet(
            Voter(key=ReplicaKey(node_id, random_uuid(rng)), endpoints={CONTROLLER_LISTENER: address}, max_version=KRAFT_VERSION_MAX)
            for node_id, address in addresses.items()
        )
        for node in self.nodes.values():
            self._format_node(node, first, rng)

    def _format_node(self, node: SimNode, first: VoterSet | None, rng: Random) -> None:
        paths = node.spec.directories
        for path in paths:
            node.storage.make_dirs(path)
        Formatter(
            cluster_id=self.cluster_id,
            node_id=node.node_id,
            directories=paths,
            metadata_directory=paths[0],
            has_dynamic_quorum=True,
            initial_voters=first,
        ).run(node.storage, rng=rng, wall_ms=node.storage.wall_ms(), tell=lambda _line: None)
        node.storage.sync_everything()

    def rng(self, purpose: str) -> Random:
        """Chance of its own for each purpose: what one does with it does not change what others get."""
        return Random(f"{self.seed}/{purpose}")

    # --- who is there ----------------------------------------------------------------------------------

    @property
    def broker_ids(self) -> tuple[int, ...]:
        """The nodes that serve clients."""
        return tuple(node_id for node_id, node in self.nodes.items() if node.is_broker)

    @property
    def controller_ids(self) -> tuple[int, ...]:
        """The nodes that vote."""
        return tuple(node_id for node_id, node in self.nodes.items() if node.is_controller)

    @property
    def bootstrap(self) -> list[tuple[str, int]]:
        """The brokers' addresses."""
        return [(_ip(node_id), BROKER_PORT) for node_id in self.broker_ids]

    def active_controller(self) -> int | None:
        """The controller that acts, as it sees itself; of several the one of the newest epoch."""
        best: tuple[int, int] | None = None
        for node_id in self.controller_ids:
            node = self.nodes[node_id].node
            if node is not None and node.controller is not None and node.controller.is_active:
                assert node.raft is not None
                best = max(best or (-1, -1), (node.raft.epoch, node_id))
        return None if best is None else best[1]

    def image(self) -> MetadataImage | None:
        """The newest metadata that is committed; where nobody watches, the newest that a living node has."""
        if self.watched_image is not None:
            return self.watched_image
        nodes = [node.node for node in self.nodes.values() if node.node is not None]
        return max((node.image for node in nodes), key=lambda image: image.offset, default=None)

    def leader(self, topic: str, partition: int) -> int | None:
        """Who leads by the newest metadata; None where nobody does."""
        image = self.image()
        found = None if image is None else image.topics_by_name.get(topic)
        registration = None if found is None else found.partitions.get(partition)
        return None if registration is None or registration.leader < 0 else registration.leader

    def isr(self, topic: str, partition: int) -> tuple[int, ...]:
        """The in-sync replicas by the newest metadata."""
        image = self.image()
        found = None if image is None else image.topics_by_name.get(topic)
        registration = None if found is None else found.partitions.get(partition)
        return () if registration is None else tuple(registration.isr)

    def voter_ids(self) -> frozenset[int]:
        """Who votes, as the active controller has it; nobody while there is none."""
        active = self.active_controller()
        node = None if active is None else self.nodes[active].node
        return frozenset() if node is None or node.raft is None else node.raft.voter_ids

    def is_ready(self) -> bool:
        """Whether every broker is in service."""
        image = self.image()
        return image is not None and all(
            (broker := image.brokers.get(node_id)) is not None and not broker.fenced for node_id in self.broker_ids
        )

    def is_healthy(self) -> bool:
        """Whether all nodes run with the same metadata, all brokers are in service, and all replicas in sync with leaders that know it."""
        image = self.image()
        if image is None or not self.is_ready() or self.active_controller() is None:
            return False
        for node in self.nodes.values():
            if not node.is_running or node.node is None or node.node.image.offset != image.offset:
                return False
        for topic in image.topics_by_id.values():
            for index, registration in topic.partitions.items():
                if registration.leader < 0 or set(registration.isr) != set(registration.replicas):
                    return False
                leader = self.nodes[registration.leader].node
                assert leader is not None
                partition = None if leader.replica_manager is None else leader.replica_manager.partition((topic.name, index))
                if partition is None or not partition.is_leader or partition.leader_epoch != registration.leader_epoch:
                    return False
        return True

    def high_watermark(self, topic: str, partition: int) -> int:
        """The leader's; -1 where nobody leads."""
        leader = self.leader(topic, partition)
        node = None if leader is None else self.nodes[leader].node
        mark = None if node is None or node.replica_manager is None else node.replica_manager.high_watermark((topic, partition))
        return -1 if mark is None else mark

    def log_start_offset(self, topic: str, partition: int) -> int:
        """The leader's; -1 where nobody leads."""
        leader = self.leader(topic, partition)
        node = None if leader is None else self.nodes[leader].node
        replica = None if node is None or node.replica_manager is None else node.replica_manager.partition((topic, partition))
        return -1 if replica is None else replica.log.log_start_offset

    def check_ends(self) -> None:
        """Everybody has everything: replicas of a healthy cluster end where their leaders do, as soon as nobody writes any more.

        :raises SimulationFailed: when that does not come to be.
        """
        self.run_until(self._are_ends_equal, READY_WITHIN_MS, "all replicas with the same ends and high watermarks")

    def _are_ends_equal(self) -> bool:
        ends: dict[tuple[str, int], tuple[int, int]] = {}
        for node in self.nodes.values():
            manager = None if node.node is None else node.node.replica_manager
            for partition in () if manager is None else manager.partitions():
                end = (partition.log.log_end_offset, partition.high_watermark)
                if ends.setdefault(partition.topic_partition, end) != end or end[0] != end[1]:
                    return False
        return True

    def close(self) -> None:
        """The end of the world: nothing is left that could still run."""
        for client in self.clients:
            client.close()
        for node in (*self.nodes.values(), *self._away.values()):
            node.kill()
        self.checks.clear()

    # --- time ------------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> float:
        """Virtual time since the beginning."""
        return self.scheduler.now_ms

    def step(self, until_ms: float) -> bool:
        """Let one thing happen that is due by then, and check; False when there is nothing, and it is then.

        :raises SimulationFailed: when something is wrong.
        """
        scheduler = self.scheduler
        if not scheduler.step(until_ms):
            return False
        touched = scheduler.touched
        if touched is not None and touched.on_step is not None:
            touched.on_step()
        if self.failure is not None:
            raise self.failure
        return True

    def run(self, for_ms: float) -> None:
        """Let time pass.

        :raises SimulationFailed: when something is wrong.
        """
        until_ms = self.scheduler.now_ms + for_ms
        while self.step(until_ms):
            pass

    def run_until(self, condition: Callable[[], bool], within_ms: float = READY_WITHIN_MS, what: str = "") -> float:
        """Let time pass until something holds; how long that took.

        :raises SimulationFailed: when it does not within that time, or something is wrong before.
        """
        started_ms = self.scheduler.now_ms
        while not condition():
            if not self.step(started_ms + within_ms):
                if condition():
                    break
                self.fail("not in time", f"{what or getattr(condition, '__name__', 'it')} did not come to be within {within_ms:g} ms")
                assert self.failure is not None
                raise self.failure
        return self.scheduler.now_ms - started_ms

    def at(self, when_ms: float, action: Callable[[], object]) -> None:
        """Have something done by nobody in particular at a time."""
        self.scheduler.at(when_ms, self._loop, action)

    def fail(self, kind: str, detail: str) -> None:
        """Something is wrong: the present step is the last one. What is wrong first counts."""
        if self.failure is None:
            self.failure = SimulationFailed(kind, detail, seed=self.seed, at_ms=self.now_ms)

    def _stepped(self, node: SimNode) -> None:
        for check in self.checks:
            check(node)

    def _node_broken(self, node: SimNode, what: str, error: BaseException | None) -> None:
        kind = "broken invariant" if isinstance(error, AssertionError) else "error" if error is not None else "node gave up"
        detail = f"node {node.node_id}: {what}" if error is None else f"node {node.node_id}: {type(error).__name__}: {error} {what}"
        self.fail(kind, detail)
        if self.failure is not None and self.failure.__cause__ is None:
            self.failure.__cause__ = error

    # --- the verbs of Lab ------------------------------------------------------------------------------

    def start(self, within_ms: float = READY_WITHIN_MS) -> None:
        """Start all nodes, and wait until every broker is in service."""
        for node in self.nodes.values():
            node.start()
        self.run_until(self.is_ready, within_ms, "a cluster in service")

    def add_broker(self, node_id: int) -> None:
        """Start one broker more, on empty disks and with the settings of the first; clients hear of it from the others.

        One that was there before comes back as it was left.
        """
        node = self._away.pop(node_id, None)
        if node is None:
            model = self.nodes[self.broker_ids[0]].spec
            node = self._add_node(
                replace(
                    model,
                    node_id=node_id,
                    roles=frozenset({"broker"}),
                    data_dir=node_directory(node_id),
                    host=_ip(node_id),
                    controller_port=None,
                )
            )
            node.on_vote = self.nodes[self.broker_ids[0]].on_vote
            if self.is_dynamic:
                self._format_node(node, None, self.rng(f"format {node_id}"))
        self.nodes[node_id] = node
        node.start()

    def remove_broker(self, node_id: int) -> None:
        """A broker that is dead is no part of the world any more: nobody waits for it."""
        node = self.nodes.pop(node_id)
        assert not node.is_alive, f"node {node_id} still runs"
        self._away[node_id] = node

    def kill(self, node_id: int) -> None:
        """End a node as SIGKILL does; one that is dead stays so."""
        self.nodes[node_id].kill()

    def power_loss(self, node_id: int, torn_tail: int | None = 0) -> None:
        """Cut a node's power: what it had not synced is gone, and nothing comes from it, not even a reset.

        :param torn_tail: so many of the bytes that were not synced reached the disk all the same, at the end of each
            file; None leaves that to chance.
        """
        self.nodes[node_id].power_loss(torn_tail)

    def stop(self, node_id: int, timeout_ms: float = STOP_TIMEOUT_MS, *, wait: bool = True) -> None:
        """Kafka's controlled shutdown."""
        node = self.nodes[node_id]
        node.stop(timeout_ms)
        if wait:
            self.run_until(lambda: not node.is_alive, timeout_ms + 1.0, f"node {node_id} stopped")

    def restart(self, node_id: int) -> None:
        """Start a dead node on its files; one that lives is killed before."""
        node = self.nodes[node_id]
        node.kill()
        node.start()

    def pause(self, node_id: int) -> None:
        """Let a node stop answering, with its sockets open."""
        self.nodes[node_id].pause()

    def resume(self, node_id: int) -> None:
        """Let a paused node go on."""
        self.nodes[node_id].resume()

    def isolate(self, a: Party, b: Party | None = None) -> None:
        """Cut the link between two parties both ways; without ``b`` that of a node to all other nodes, not to clients."""
        first = _party(a)
        for other in [_party(b)] if b is not None else [node_id for node_id in self.nodes if node_id != first]:
            self._impair(first, other, both_ways=True, is_cut=True)

    def cut(self, a: Party, b: Party) -> None:
        """Cut one way: what ``a`` sends does not reach ``b``."""
        self._impair(_party(a), _party(b), both_ways=False, is_cut=True)

    def delay(self, a: Party, b: Party, ms: float, jitter: float = 0.0, *, one_way: bool = False) -> None:
        """Let what two parties send each other, or only what ``a`` sends, arrive later by ``ms`` ± ``jitter``."""
        self._impair(_party(a), _party(b), both_ways=not one_way, delay_ms=ms, jitter_ms=jitter)

    def lose(self, a: Party, b: Party, probability: float, *, one_way: bool = False) -> None:
        """Let each piece have to be sent again with this probability."""
        self._impair(_party(a), _party(b), both_ways=not one_way, loss=probability)

    def slow(self, a: Party, b: Party, bytes_per_second: float, *, one_way: bool = False) -> None:
        """Let each connection pass on so many bytes; 0 takes it back."""
        self._impair(_party(a), _party(b), both_ways=not one_way, bytes_per_second=bytes_per_second)

    def _impair(self, source: int, target: int, *, both_ways: bool, **what: Any) -> None:
        self.network.impair(source, target, **what)
        if both_ways:
            self.network.impair(target, source, **what)
        wall_ms = SimClock(self._loop, 0).wall_ms()
        if what.get("is_cut"):
            self.sink.emit(LinkCut(at_ms=wall_ms, node_id=-1, source=source, target=target, both_ways=both_ways, cause="simulation"))
        else:
            detail = ", ".join(f"{key} {value:g}" for key, value in what.items())
            self.sink.emit(
                LinkImpaired(
                    at_ms=wall_ms, node_id=-1, source=source, target=target, both_ways=both_ways, detail=detail, cause="simulation"
                )
            )

    def heal(self, a: Party | None = None, b: Party | None = None) -> None:
        """Let the link between two parties be right again, or all links of one, or all."""
        parties = {_party(one) for one in (a, b) if one is not None}
        healed = sorted({_direction(fault) for fault in self.network.faults if parties <= {fault.source, fault.target}})
        self.network.heal(*sorted(parties))
        wall_ms = SimClock(self._loop, 0).wall_ms()
        for source, target in healed:
            self.sink.emit(LinkHealed(at_ms=wall_ms, node_id=-1, source=source, target=target, cause="simulation"))

    def jump_clock(self, node_id: int, seconds: float) -> None:
        """Set a node's wall clock forward, or back with a negative number."""
        self.nodes[node_id].jump_clock(seconds)
        wall_ms = SimClock(self._loop, 0).wall_ms()
        offset_s = self.nodes[node_id].offset_ms / 1000.0
        self.sink.emit(ClockJumped(at_ms=wall_ms, node_id=-1, node=node_id, seconds=seconds, offset_seconds=offset_s, cause="simulation"))

    def fill_disk(self, node_id: int, directory: int | None = None, *, free_bytes: int = 0) -> None:
        """Let a node's disk be full after so many more bytes: that of one log directory (from 1 on), or of all."""
        self._disk(node_id, DiskFaultKind.FULL, directory, free_bytes)

    def break_disk(self, node_id: int, directory: int | None = None, *, kind: str = "broken") -> None:
        """Break a node's disk: ``broken``, ``read_only`` or ``vanished``."""
        self._disk(node_id, DiskFaultKind(kind), directory, 0)

    def _disk(self, node_id: int, kind: DiskFaultKind, directory: int | None, free_bytes: int) -> None:
        node = self.nodes[node_id]
        paths = node.spec.directories if directory is None else (node.spec.directories[directory - 1],)
        node.set_disk_faults(tuple(DiskFault(kind, str(path), free_bytes) for path in paths))

    def heal_disk(self, node_id: int) -> None:
        """Let a node's disks be right again."""
        self.nodes[node_id].set_disk_faults(())

    # --- topics ----------------------------------------------------------------------------------------

    @property
    def admin(self) -> SimAdmin:
        """A client for commands."""
        if self._admin is None:
            self._admin = SimAdmin(self)
        return self._admin

    def create_topic(
        self,
        name: str,
        partitions: int = 1,
        replication_factor: int = -1,
        config: Mapping[str, object] | None = None,
        *,
        assignments: Mapping[int, Sequence[int]] | None = None,
    ) -> None:
        """Create a topic, and wait until each of its partitions is led.

        :param assignments: the replicas of each partition, instead of a number of partitions and a replication factor.
        :raises SimulationFailed: when that does not come to be.
        """
        placed = [{"partition_index": index, "broker_ids": list(replicas)} for index, replicas in sorted((assignments or {}).items())]
        topic = {
            "name": name,
            "num_partitions": -1 if placed else partitions,
            "replication_factor": -1 if placed else replication_factor,
            "assignments": placed,
            "configs": [{"name": key, "value": _text(value)} for key, value in (config or {}).items()],
        }
        partitions = len(placed) or partitions

        def answered(response: Any) -> bool:
            error = Errors(response.topics[0].error_code)
            if error not in (Errors.NONE, Errors.TOPIC_ALREADY_EXISTS, Errors.NOT_CONTROLLER, Errors.REQUEST_TIMED_OUT):
                self.fail("refused", f"topic {name}: {error.name} {response.topics[0].error_message}")
            return error in (Errors.NONE, Errors.TOPIC_ALREADY_EXISTS)

        self.admin.request(ApiKey.CREATE_TOPICS, {"topics": [topic], "timeout": 30_000, "validate_only": False}, answered)
        self.run_until(lambda: all(self._is_led(name, i) for i in range(partitions)), COMMAND_WITHIN_MS, f"topic {name} with leaders")

    def add_controller(self, node_id: int, on_answer: Callable[[Errors], None]) -> None:
        """Let a controller that is no voter be one."""
        sim = self.nodes[node_id]
        meta = MetaProperties.read(sim.spec.directories[0] / META_PROPERTIES_FILE, sim.storage)
        body = {
            "cluster_id": self.cluster_id,
            "timeout": 5_000,
            "voter_id": node_id,
            "voter_directory_id": meta.directory_id,
            "listeners": [{"name": CONTROLLER_LISTENER, "host": sim.spec.host, "port": sim.spec.controller_port}],
            "ack_when_committed": True,
        }
        self.admin.request(ApiKey.ADD_RAFT_VOTER, body, lambda response: _told(on_answer, response), within_ms=10_000.0)

    def remove_controller(self, node_id: int, on_answer: Callable[[Errors], None]) -> None:
        """Let a voter be one no longer."""
        active = self.active_controller()
        node = None if active is None else self.nodes[active].node
        voter = None if node is None or node.raft is None else node.raft.voter_set.get(node_id)
        if voter is None:
            on_answer(Errors.VOTER_NOT_FOUND)
            return
        body = {"cluster_id": self.cluster_id, "voter_id": node_id, "voter_directory_id": voter.key.directory_id}
        self.admin.request(ApiKey.REMOVE_RAFT_VOTER, body, lambda response: _told(on_answer, response), within_ms=10_000.0)

    def reassign(
        self,
        topic: str,
        partition: int,
        replicas: Sequence[int] | None,
        answered: Callable[[Errors], bool] = lambda error: error is Errors.NONE,
        *,
        within_ms: float = COMMAND_WITHIN_MS,
        on_given_up: Callable[[], None] | None = None,
    ) -> None:
        """Ask for a partition's replicas to be on these brokers; None takes a move back.

        :param answered: hears how it was taken, and whether that is final; what is not is asked again.
        """
        moved = {"partition_index": partition, "replicas": None if replicas is None else list(replicas)}
        body = {
            "timeout": 10_000,
            "allow_replication_factor_change": True,
            "topics": [{"name": topic, "partitions": [moved]}],
        }
        self.admin.request(
            ApiKey.ALTER_PARTITION_REASSIGNMENTS,
            body,
            lambda response: answered(_reassignment_error(response)),
            within_ms=within_ms,
            on_given_up=on_given_up,
        )

    def delete_topic(self, name: str) -> None:
        """Delete a topic, and wait until all nodes know."""
        body = {"topics": [{"name": name, "topic_id": None}], "topic_names": [name], "timeout": 30_000}
        self.admin.request(
            ApiKey.DELETE_TOPICS,
            body,
            lambda response: Errors(response.responses[0].error_code) in (Errors.NONE, Errors.UNKNOWN_TOPIC_OR_PARTITION),
        )
        self.run_until(
            lambda: all(node.node is None or name not in node.node.image.topics_by_name for node in self.nodes.values()),
            COMMAND_WITHIN_MS,
            f"topic {name} deleted",
        )

    def alter_topic(self, name: str, config: Mapping[str, object], *, wait: bool = True) -> None:
        """Change settings of a topic; None takes one back."""
        done = self._alter(CONFIG_TOPIC, name, config)
        if wait:
            self.run_until(lambda: bool(done), COMMAND_WITHIN_MS, f"settings of {name}")

    def alter_brokers(self, config: Mapping[str, object]) -> None:
        """Change settings that all brokers have in common; None takes one back."""
        self._alter(CONFIG_BROKER, "", config)

    def _alter(self, resource_type: int, name: str, config: Mapping[str, object]) -> list[bool]:
        """Ask for other settings; what is returned is no longer empty when they are made."""
        configs = [
            {"name": key, "config_operation": 1 if value is None else 0, "value": None if value is None else _text(value)}
            for key, value in config.items()
        ]
        done: list[bool] = []

        def answered(response: Any) -> bool:
            if Errors(response.responses[0].error_code) is Errors.NONE:
                done.append(True)
            return bool(done)

        body = {"resources": [{"resource_type": resource_type, "resource_name": name, "configs": configs}], "validate_only": False}
        self.admin.request(ApiKey.INCREMENTAL_ALTER_CONFIGS, body, answered)
        return done

    def _is_led(self, topic: str, index: int) -> bool:
        """Whether the metadata names a leader and that broker knows that it is the one."""
        leader = self.leader(topic, index)
        node = None if leader is None else self.nodes[leader].node
        partition = None if node is None or node.replica_manager is None else node.replica_manager.partition((topic, index))
        return partition is not None and partition.is_leader

    # --- clients ---------------------------------------------------------------------------------------

    def client_loop(self, ip: str | None = None) -> SimLoop:
        """A loop for a client on a machine of its own."""
        if ip is None:
            self._clients += 1
            ip = f"10.1.{self._clients >> 8}.{self._clients & 255}"
        return SimLoop(self.scheduler, self.network, CLIENTS, ip, self._client_raised)

    def _client_raised(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, SimulationFailed):
            self.failure = self.failure or error
            return
        self.fail("client error", f"{type(error).__name__}: {error} {context.get('message')}")
        if self.failure is not None and self.failure.__cause__ is None:
            self.failure.__cause__ = error


def _ip(node_id: int) -> str:
    return f"10.0.0.{node_id}"


def _party(party: Party) -> int:
    return CLIENTS if party == "clients" else party


def _direction(fault: LinkFault) -> tuple[int, int]:
    return min(fault.source, fault.target), max(fault.source, fault.target)


def _reassignment_error(response: Any) -> Errors:
    """What became of a reassignment of one partition."""
    if response.error_code or not response.responses:
        return Errors(response.error_code)
    return Errors(response.responses[0].partitions[0].error_code)


def _told(on_answer: Callable[[Errors], None], response: Any) -> bool:
    error = Errors(response.error_code)
    if error is Errors.NOT_CONTROLLER:
        return False
    on_answer(error)
    return True


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


__all__ = ["Errors", "Party", "SimWorld", "SimulationFailed"]
