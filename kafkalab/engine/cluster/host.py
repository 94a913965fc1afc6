"""The cluster host: starts nodes, and stops, kills, pauses and restarts them.

The window, the command line and :class:`kafkalab.Lab` all go through it and nothing else. Its commands may be called
from any thread and may wait; the hub's telemetry tells what came of them. The host says of a node only what it knows
itself: that it was started, killed, stopped, paused, or ended. What the cluster makes of it comes from the nodes.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random, SystemRandom
from typing import Final, Literal

from kafkalab.engine.cluster.admin import Address, AdminClient
from kafkalab.engine.cluster.clocks import ClockControl
from kafkalab.engine.cluster.errors import ClusterStartError, DataDirInUse, HostError, RequestRefused
from kafkalab.engine.cluster.health import hopeless, trouble
from kafkalab.engine.cluster.layout import (
    BROKER,
    CONTROLLER,
    LOG_DIRS_MAX,
    ClusterPlan,
    NodePlan,
    plan,
    roles_of_nodes,
    with_controller,
    without_controller,
)
from kafkalab.engine.cluster.links import LinkControl, Party
from kafkalab.engine.cluster.node_lives import BY_YOU, GONE, STOP_TIMEOUT_S, HostNode, NodeLives, NodeState, seconds_left
from kafkalab.engine.cluster.node_process import ProcessRunner
from kafkalab.engine.cluster.quorum_admin import QuorumAdmin
from kafkalab.engine.cluster.runner import RunnerFactory
from kafkalab.engine.cluster.settings import node_settings
from kafkalab.engine.cluster.snapshot import ClusterSnapshot, build_snapshot
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.faults.disk import DiskFault, DiskFaultKind
from kafkalab.engine.log.dir_lock import DirLock, DirLocked
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.record.batch import Record, build_batch
from kafkalab.engine.server.node import NodeRunner, NodeSpec
from kafkalab.engine.telemetry.hub import TelemetryHub
from kafkalab.engine.telemetry.levels import BrokerKey, Level, LevelKey, QuorumKey

_log = logging.getLogger(__name__)

Isolation = Literal["thread", "process"]
ISOLATIONS: Final[tuple[str, ...]] = ("thread", "process")

QUORUM_TIMEOUT_S: Final = 30.0
COMMAND_TIMEOUT_S: Final = 30.0
LEVELS_WAIT_S: Final = 1.0
MANY_LOGS: Final = 200
"""From so many on it takes brokers longer to open their logs than controllers to elect."""
ACTIVE_CONTROLLER_WAIT_S: Final = 3.0
SWITCH_INTERVAL_S: Final = 0.0001
"""How long a thread may keep the others waiting. With Python's own 5 ms a request through two nodes and the
window's frames take several times as long (measured: p99 of 2.9 ms against 1.1, and 33 ms against 17)."""
READY_TOPIC: Final = "__kafkalab_ready"
"""Written to once, to know that a record can be written, and deleted again."""
POWER_LOSS: Final = "a power cut"


class ClusterHost:
    """A cluster on this machine.

    :param config: broker settings by Kafka's names, for every node.
    :param racks: where brokers stand, in the order of their ids; with fewer racks than brokers it begins anew.
    :param port: broker *i* listens on port + i - 1; 0 takes ports that are free, or those of the last time.
    :param data_dir: where nodes keep their files; None is a temporary folder that goes with the host.
    :param log_dirs: how many log directories each node has.
    :raises HostError: when no such cluster can be.
    :raises ConfigError: when a setting is unknown or its value not allowed.
    """

    def __init__(
        self,
        brokers: int = 3,
        controllers: int = 3,
        combined: bool = False,
        port: int = 0,
        data_dir: Path | None = None,
        config: Mapping[str, str] | None = None,
        isolation: Isolation | str = "thread",
        host: str = "127.0.0.1",
        *,
        racks: Sequence[str] = (),
        log_dirs: int = 1,
        runner_factory: RunnerFactory | None = None,
        rng: Random | None = None,
    ) -> None:
        if isolation not in ISOLATIONS:
            raise HostError(f"The isolation was {isolation!r}; it can be 'thread' or 'process'.")
        roles_of_nodes(brokers, controllers, combined=combined)
        if not 1 <= log_dirs <= LOG_DIRS_MAX:
            raise HostError(f"The number of log directories was {log_dirs}; it can be 1 to {LOG_DIRS_MAX}.")
        self._log_dirs = log_dirs
        self.hub = TelemetryHub()
        self._settings = node_settings(config or {}, brokers)
        self._racks = tuple(racks)
        self._counts = (brokers, controllers)
        self._combined = combined
        self._port = port
        self._host = host
        self._isolation = isolation
        self._rng = rng or SystemRandom()
        self._given_dir = data_dir
        self._data_dir: Path | None = None
        self._dir_lock: DirLock | None = None
        self._plan: ClusterPlan | None = None
        self._closing = threading.Event()
        self._closed = False
        self._admin = AdminClient(self._reachable_brokers, self._closing)
        self._quorum = QuorumAdmin(self._admin)
        self._old_switch_interval: float | None = None
        self._links = LinkControl(self.hub, lambda: self.node_ids, self._apply_link_faults, BY_YOU)
        self._clocks = ClockControl(self.hub, BY_YOU)
        runners: RunnerFactory = runner_factory or (ProcessRunner if isolation == "process" else NodeRunner)
        self._lives = NodeLives(self.hub, runners, self._links, self._clocks, self._closing)

    # --- the cluster as a whole ------------------------------------------------------------------

    def start(self) -> None:
        """Start every node, and return when each listens.

        :raises ClusterStartError: when some did not; the others run.
        :raises HostError: when nothing was started: a busy port, a folder in use, a broken file.
        """
        with self._lives.changed:
            if self._plan is not None or self._closed:
                raise HostError("The cluster was started before.")
            controllers = [node.node_id for node in self._prepare().controllers]
            others = [node_id for node_id in self._lives.nodes if node_id not in controllers]
        failures: dict[int, str] = {}
        for node_id in controllers:
            self._lives.launch(node_id)
        if self._isolation == "thread":
            # A quorum that is there saves its brokers the first retry.
            failures.update(self._lives.await_started(controllers))
            controllers = []
            if not failures and sum(self._logs_of(node_id) for node_id in others) >= MANY_LOGS:
                self._await_active_controller()
        for node_id in others:
            self._lives.launch(node_id)
        failures.update(self._lives.await_started([*controllers, *others]))
        if failures and not self._closing.is_set():
            raise ClusterStartError(failures)

    def _logs_of(self, node_id: int) -> int:
        """About how many logs a node will open when it starts."""
        logs = 0
        for directory in self._lives.node(node_id).spec.directories:
            with suppress(OSError):
                logs += len(os.listdir(directory))
        return logs

    def _await_active_controller(self) -> None:
        """Wait until a controller is active and knows its brokers, but not for long.

        Nodes that share an interpreter take turns. Brokers that read many logs would hold up the election, and
        with it the end of the sessions that brokers had before a kill, which count from then on.
        """
        with self._levels_until(time.monotonic() + ACTIVE_CONTROLLER_WAIT_S, kinds=(BrokerKey,)) as versions:
            for brokers in versions:
                if brokers:
                    return

    def wait_until_ready(self, timeout: float) -> float:
        """Wait until every broker that runs is in service and a record could be produced with acks=all.

        :returns: when that record was acknowledged, by :func:`time.monotonic`.
        :raises HostError: when it did not come to that in time; it says what is missing.
        """
        deadline = time.monotonic() + timeout
        # After a kill brokers wait for the end of their sessions.
        self._admin.make_ready(ApiKey.CREATE_TOPICS, ApiKey.METADATA, ApiKey.PRODUCE, ApiKey.DELETE_TOPICS)
        self._wait_until_no_trouble(deadline, partitions=False, only_running=True)
        brokers = sum(1 for node in self._lives.facts() if BROKER in node.roles and node.state == NodeState.RUNNING)
        try:
            self._admin.create_topic(READY_TOPIC, 1, min(3, brokers), {}, timeout_s=seconds_left(deadline))
        except RequestRefused as e:
            # An earlier start may have been ended before it could tidy up.
            if e.error is not Errors.TOPIC_ALREADY_EXISTS:
                raise
        try:
            record = Record(offset=0, timestamp=int(time.time() * 1000), key=None, value=b"ready", headers=())
            self._admin.produce(READY_TOPIC, build_batch([record]), timeout_s=seconds_left(deadline))
            return time.monotonic()
        finally:
            try:
                self._admin.delete_topic(READY_TOPIC, timeout_s=max(1.0, seconds_left(deadline)))
            except RequestRefused as e:
                # Somebody else who waited has tidied up.
                if e.error is not Errors.UNKNOWN_TOPIC_OR_PARTITION:
                    raise

    def wait_until_healthy(self, timeout: float) -> None:
        """Wait until all nodes run, all brokers are in service, and all partitions are led and fully in sync.

        :raises HostError: when it did not come to that in time; it says what is missing.
        """
        self._wait_until_no_trouble(time.monotonic() + timeout, partitions=True, only_running=False)

    def close(self) -> None:
        """Stop the brokers in order, then the controllers, and tidy up. Harmless when closed already."""
        with self._lives.changed:
            if self._closed:
                return
            self._closed = True
            self._closing.set()
        self._lives.stop_all()
        if self._dir_lock is not None:
            self._dir_lock.release()
        if self._given_dir is None and self._data_dir is not None:
            shutil.rmtree(self._data_dir, ignore_errors=True)
        if self._old_switch_interval is not None:
            sys.setswitchinterval(self._old_switch_interval)

    def kill_all(self) -> None:
        """Kill every node at once, as a power cut does to a machine."""
        for node_id in self.node_ids:
            if not self._lives.is_gone(node_id):
                self.kill(node_id)

    @property
    def is_closing(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closing.is_set()

    @property
    def bootstrap_servers(self) -> str:
        """The addresses of all brokers, as clients want them."""
        cluster = self._planned()
        return ",".join(f"{cluster.host}:{node.broker_port}" for node in cluster.brokers)

    @property
    def cluster_id(self) -> str:
        """The cluster's id in Kafka's text form."""
        return self._planned().cluster_id

    @property
    def data_dir(self) -> Path:
        """Where the nodes' folders are."""
        self._planned()
        assert self._data_dir is not None
        return self._data_dir

    @property
    def node_ids(self) -> tuple[int, ...]:
        """All nodes, by id; there are none before the start."""
        return tuple(self._lives.nodes)

    @property
    def broker_ids(self) -> tuple[int, ...]:
        """The nodes that serve clients."""
        return tuple(node_id for node_id, node in self._lives.nodes.items() if BROKER in node.plan.roles)

    @property
    def controller_ids(self) -> tuple[int, ...]:
        """The nodes that vote."""
        return tuple(node_id for node_id, node in self._lives.nodes.items() if CONTROLLER in node.plan.roles)

    def describe(self) -> ClusterSnapshot:
        """The cluster as it is now, frozen."""
        return build_snapshot(
            cluster_id=self._planned().cluster_id,
            bootstrap_servers=self.bootstrap_servers,
            nodes=self._lives.facts(),
            levels=self.hub.levels(),
        )

    def wait_until_all_gone(self, timeout: float | None = None) -> bool:
        """Wait until no node is alive any more; False when the time was over before."""
        return self._lives.wait_until_all_gone(timeout)

    # --- nodes -------------------------------------------------------------------------------------

    def kill(self, node_id: int) -> None:
        """End a node without flush or goodbye.

        :raises HostError: when it is not there, or does not run.
        """
        self._lives.end(node_id, lambda runner: runner.kill(), BY_YOU)

    def power_loss(self, node_id: int, torn_tail_bytes: int = 0) -> None:
        """End a node, and with it everything that it had written and not synced.

        :param torn_tail_bytes: so much of what was not synced is left at the end of each file.
        :raises HostError: when it is not there, or does not run.
        """
        self._lives.end(node_id, lambda runner: runner.power_loss(torn_tail_bytes), POWER_LOSS)

    def fill_disk(self, node_id: int, directory: int | None = None, free_bytes: int = 0) -> None:
        """Let a node's disk be full after so many more bytes: that of one log directory, or of all.

        :raises HostError: when there is no such node or directory.
        """
        self._fault(node_id, directory, DiskFaultKind.FULL, free_bytes)

    def break_disk(self, node_id: int, directory: int | None = None, kind: DiskFaultKind | str = DiskFaultKind.BROKEN) -> None:
        """Let every access to a node's disk fail, or with other kinds every change, or let it be gone.

        :param directory: the number of the log directory, from 1 on; None is all of them.
        :raises HostError: when there is no such node, directory or kind.
        """
        if kind not in tuple(DiskFaultKind) or kind == DiskFaultKind.FULL:
            kinds = ", ".join(repr(str(one)) for one in DiskFaultKind if one is not DiskFaultKind.FULL)
            raise HostError(f"A disk can be broken as {kinds}; {str(kind)!r} was asked for.")
        self._fault(node_id, directory, DiskFaultKind(kind), 0)

    def heal_disk(self, node_id: int) -> None:
        """Let a node's disks be right again. What went out of use is used again after a restart.

        :raises HostError: when there is no such node.
        """
        with self._lives.changed:
            node = self._lives.node(node_id)
            node.faults.clear()
        self._apply_faults(node)

    def _fault(self, node_id: int, directory: int | None, kind: DiskFaultKind, free_bytes: int) -> None:
        with self._lives.changed:
            node = self._lives.node(node_id)
            paths = node.spec.directories
            if directory is not None:
                if not 1 <= directory <= len(paths):
                    raise HostError(f"Node {node_id} has no log directory {directory}; it has 1 to {len(paths)}.")
                paths = (paths[directory - 1],)
            for path in paths:
                node.faults[str(path)] = DiskFault(kind, str(path), free_bytes)
        _log.info("node %s: the disk of %s is %s", node_id, "all its directories" if directory is None else f"directory {directory}", kind)
        self._apply_faults(node)

    def _apply_faults(self, node: HostNode) -> None:
        with self._lives.changed:
            runner = None if node.state in GONE else node.runner
            faults = tuple(node.faults.values())
        if runner is not None:
            runner.set_disk_faults(faults)

    def stop(self, node_id: int, timeout: float = STOP_TIMEOUT_S) -> None:
        """Kafka's controlled shutdown; a paused node is let go on first.

        :raises HostError: when it is not there, or does not run.
        """
        self._lives.stop(node_id, timeout)

    def start_node(self, node_id: int) -> None:
        """Start a node that is gone, on its old address and files, and return when it listens.

        :raises HostError: when it runs, or does not start.
        """
        self._lives.start(node_id)

    def restart(self, node_id: int) -> None:
        """Start a node again, on its old address and files; one that runs is stopped in order first.

        :raises HostError: when it is not there, or does not start.
        """
        if not self._lives.is_gone(node_id):
            self.stop(node_id)
        self.start_node(node_id)

    def pause(self, node_id: int) -> None:
        """Let a node stop answering while its sockets stay open.

        :raises HostError: when it is not there, or does not run.
        """
        self._lives.pause(node_id)

    def resume(self, node_id: int) -> None:
        """Let a paused node go on.

        :raises HostError: when it is not there, or is not paused.
        """
        self._lives.resume(node_id)

    # --- the quorum ------------------------------------------------------------------------------------

    def add_controller(self, timeout: float = QUORUM_TIMEOUT_S) -> int:
        """Start one more controller, and let it vote once it has the metadata log; its id.

        A quorum whose voters are static becomes one whose voters are in the log (kraft.version 1), and stays so.

        :raises HostError: when that was not possible in time.
        """
        deadline = time.monotonic() + timeout
        self._quorum.let_voters_change(timeout)
        with self._lives.changed:
            cluster = self._plan = with_controller(self.data_dir, self._planned(), self._rng)
            added = cluster.nodes[-1]
            self._lives.add(added, self._spec_of(cluster, added))
        self._lives.launch(added.node_id)
        failures = self._lives.await_started([added.node_id])
        if failures:
            raise ClusterStartError(failures)
        assert added.controller_port is not None
        self._quorum.add(added.node_id, (cluster.host, added.controller_port), max(1.0, seconds_left(deadline)))
        return added.node_id

    def remove_controller(self, node_id: int, timeout: float = QUORUM_TIMEOUT_S) -> None:
        """Let a controller vote no more, stop it in order, and forget it; it may be one that is gone already.

        :raises HostError: when it is no controller or a broker too, or that was not possible in time.
        """
        with self._lives.changed:
            node = self._lives.node(node_id)
            if node.plan.roles != {CONTROLLER}:
                raise HostError(f"Node {node_id} is a {node.plan.role}; only a node that is nothing but a controller can leave the quorum.")
        self._quorum.let_voters_change(timeout)
        self._quorum.remove(node_id, timeout)
        if not self._lives.is_gone(node_id):
            self.stop(node_id)
        with self._lives.changed:
            self._plan = without_controller(self.data_dir, self._planned(), node_id)
            self._lives.remove(node)

    # --- links and clocks ------------------------------------------------------------------------------

    def isolate(self, a: Party, b: Party | None = None) -> None:
        """Cut the link between two parties both ways: nodes by their ids, or ``"clients"`` for all that are no nodes.

        Connections stay open at both ends and nothing arrives, not even that the other end has closed one; new ones
        do not come about. Whoever waits for an answer has to notice by the time that it takes. Without ``b`` a node
        is cut from all other nodes, and its clients still reach it.

        :raises HostError: when there is no such link.
        """
        self._links.isolate(a, b)

    def cut(self, a: Party, b: Party) -> None:
        """Cut one way: what ``a`` sends does not reach ``b``; the other direction goes on.

        :raises HostError: when there is no such link.
        """
        self._links.cut(a, b)

    def delay(self, a: Party, b: Party, ms: float, jitter: float = 0.0, *, one_way: bool = False) -> None:
        """Let each piece arrive later by ``ms`` ± ``jitter``, in both directions or from ``a`` to ``b`` only; 0 takes it back.

        :raises HostError: when there is no such link.
        """
        self._links.delay(a, b, ms, jitter, one_way=one_way)

    def lose(self, a: Party, b: Party, probability: float, *, one_way: bool = False) -> None:
        """Let each piece be lost with this probability, in both directions or from ``a`` to ``b`` only; 0 takes it back.

        As with TCP nothing is missing in the end: a lost piece is sent again after 200 ms, if that is lost too after
        400 ms more and so on, up to 120 s, and all that follows on its connection waits for it. A piece that was lost
        sixteen times, after some fifteen minutes, ends the connection; Kafka's own timeouts come long before. A
        connection that is being made is asked for again after 1 s, 2 s, ….

        :raises HostError: when there is no such link.
        """
        self._links.lose(a, b, probability, one_way=one_way)

    def slow(self, a: Party, b: Party, bytes_per_second: float, *, one_way: bool = False) -> None:
        """Let each connection pass on only so many bytes, in both directions or from ``a`` to ``b`` only; 0 takes it back.

        :raises HostError: when there is no such link.
        """
        self._links.slow(a, b, bytes_per_second, one_way=one_way)

    def heal(self, a: Party | None = None, b: Party | None = None) -> None:
        """Let the link between two parties be right again, or all links of one, or all links.

        What was held back on connections that are still open arrives.

        :raises HostError: when there is no such party.
        """
        self._links.heal(a, b)

    def jump_clock(self, node_id: int, seconds: float) -> None:
        """Set a node's wall clock forward, or back with a negative number, from what it shows now. Timers go on as they
        were. It stays wrong over restarts, as a machine's would; the opposite jump sets it right.

        :raises HostError: when there is no such node.
        """
        with self._lives.changed:
            node = self._lives.node(node_id)
        offset_ms = self._clocks.jump(node_id, seconds)
        if (runner := self._lives.live_runner(node)) is not None:
            runner.set_clock_offset(offset_ms)

    def _apply_link_faults(self, node_id: int) -> None:
        if (runner := self._lives.live_runner(self._lives.node(node_id))) is not None:
            runner.set_link_faults(self._links.of(node_id))

    # --- topics --------------------------------------------------------------------------------------

    def create_topic(
        self,
        name: str,
        partitions: int = -1,
        replication_factor: int = -1,
        configs: Mapping[str, str] | None = None,
        *,
        timeout: float = COMMAND_TIMEOUT_S,
    ) -> None:
        """Create a topic; -1 takes the broker's default.

        :raises HostError: when the controller refuses, or nobody answers in time.
        """
        self._admin.create_topic(name, partitions, replication_factor, configs or {}, timeout_s=timeout)

    def alter_topic(self, name: str, configs: Mapping[str, str | None], *, timeout: float = COMMAND_TIMEOUT_S) -> None:
        """Change settings of a topic, None taking one back, and wait until brokers go by them.

        :raises HostError: when the controller refuses, or nobody answers in time.
        """
        self._admin.alter_topic(name, configs, timeout_s=timeout)

    def delete_topic(self, name: str, *, timeout: float = COMMAND_TIMEOUT_S) -> None:
        """Delete a topic.

        :raises HostError: when there is none, the controller refuses, or nobody answers in time.
        """
        self._admin.delete_topic(name, timeout_s=timeout)

    def elect_leaders(
        self, partitions: Sequence[tuple[str, int]] | None = None, *, unclean: bool = False, timeout: float = COMMAND_TIMEOUT_S
    ) -> None:
        """Elect the preferred leader of each partition given, or of all; ``unclean`` takes any replica that is alive
        where nobody leads, and may lose records.

        :raises HostError: when the controller refuses, or nobody answers in time.
        """
        self._admin.elect_leaders(partitions, unclean=unclean, timeout_s=timeout)

    def reassign(self, topic: str, partition: int, replicas: Sequence[int] | None, *, timeout: float = COMMAND_TIMEOUT_S) -> None:
        """Begin to move a partition's replicas to these brokers, the preferred leader first; None takes a move back.

        :raises HostError: when the controller refuses, or nobody answers in time.
        """
        self._admin.reassign(topic, partition, replicas, timeout_s=timeout)

    def wait_for_levels(self, settled: Callable[[Mapping[LevelKey, Level]], bool], timeout: float) -> bool:
        """Wait until the hub's levels fulfil a condition; False when they did not in time."""
        with self._levels_until(time.monotonic() + timeout) as versions:
            return any(settled(levels) for levels in versions)

    # --- inside ------------------------------------------------------------------------------------

    def _planned(self) -> ClusterPlan:
        if self._plan is None:
            raise HostError("The cluster was not started.")
        return self._plan

    def _prepare(self) -> ClusterPlan:
        """Folder, ids, ports: all that can go wrong before anything runs."""
        data_dir = self._given_dir or Path(tempfile.mkdtemp(prefix="kafkalab-"))
        self._data_dir = data_dir
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise HostError(f"The data folder {data_dir} cannot be made: {e.strerror or e}.") from e
        try:
            self._dir_lock = DirLock(data_dir)
        except DirLocked as e:
            raise DataDirInUse(str(data_dir), e.pid) from e
        brokers, controllers = self._counts
        self._plan = cluster = plan(
            data_dir,
            brokers=brokers,
            controllers=controllers,
            combined=self._combined,
            port=self._port,
            host=self._host,
            rng=self._rng,
            log_dirs=self._log_dirs,
        )
        for node_plan in cluster.nodes:
            self._lives.add(node_plan, self._spec_of(cluster, node_plan))
        if self._isolation == "thread" and sys.getswitchinterval() > SWITCH_INTERVAL_S:
            self._old_switch_interval = sys.getswitchinterval()
            sys.setswitchinterval(SWITCH_INTERVAL_S)
        return cluster

    def _spec_of(self, cluster: ClusterPlan, node_plan: NodePlan) -> NodeSpec:
        assert self._data_dir is not None, "nodes have a folder"
        return NodeSpec(
            node_id=node_plan.node_id,
            roles=node_plan.roles,
            data_dir=self._data_dir / node_plan.directory_name,
            cluster_id=cluster.cluster_id,
            host=cluster.host,
            broker_port=node_plan.broker_port,
            controller_port=node_plan.controller_port,
            # One that joined must not take the voters that there were first for those that there are.
            voters={} if node_plan.has_joined else cluster.voters,
            bootstrap_servers=cluster.controller_addresses if node_plan.has_joined else (),
            config=self._settings_of(node_plan),
            log_dirs=self._log_dirs,
        )

    def _settings_of(self, node_plan: NodePlan) -> Mapping[str, str]:
        if not self._racks or node_plan.broker_port is None:
            return self._settings
        return {**self._settings, "broker.rack": self._racks[(node_plan.node_id - 1) % len(self._racks)]}

    def _reachable_brokers(self) -> list[Address]:
        with self._lives.changed:
            running = [node for node in self._lives.nodes.values() if node.state is NodeState.RUNNING]
            ports = [(node, node.plan.broker_port) for node in running]
            return [
                (node.spec.host, port)
                for node, port in ports
                if port is not None and not self._links.is_cut_from_clients(node.plan.node_id)
            ]

    def _wait_until_no_trouble(self, deadline: float, *, partitions: bool, only_running: bool) -> None:
        timeout = max(0.0, seconds_left(deadline))
        found = "nothing is known of it"
        with self._levels_until(deadline, kinds=None if partitions else (BrokerKey, QuorumKey)) as versions:
            for levels in versions:
                nodes = self._lives.facts()
                found = trouble(nodes, levels, partitions=partitions, only_running=only_running) or ""
                if not found:
                    return
                if only_running and (why := hopeless(nodes)):
                    raise HostError(f"The cluster cannot become ready: {why}.")
        raise HostError(f"After {timeout:.1f} s the cluster is not well: {found}.")

    @contextmanager
    def _levels_until(
        self, deadline: float, *, kinds: tuple[type[LevelKey], ...] | None = None
    ) -> Iterator[Iterator[Mapping[LevelKey, Level]]]:
        """The levels now, and again after each change, until the deadline or the end of the host.

        :param kinds: the keys of those that are asked for; all without it. While a thousand partitions change,
            whoever waits for brokers would look through them time and again, and hold up the nodes with that.
        """
        reader = self.hub.open_reader(events_kept_max=1)
        levels: dict[LevelKey, Level] = {}

        def versions() -> Iterator[Mapping[LevelKey, Level]]:
            while not self._closing.is_set():
                _, changed, _ = reader.drain()
                for key, level in changed.items():
                    if kinds is not None and not isinstance(key, kinds):
                        continue
                    if level is None:
                        levels.pop(key, None)
                    else:
                        levels[key] = level
                yield levels
                remaining_s = seconds_left(deadline)
                if remaining_s <= 0:
                    return
                # The host's own changes of state come as events too; the bound is for the end of the host.
                reader.wait_changed(min(LEVELS_WAIT_S, remaining_s))

        try:
            yield versions()
        finally:
            reader.close()
