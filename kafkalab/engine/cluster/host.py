"""The cluster host: starts nodes, and stops, kills, pauses and restarts them.

The window, the command line and :class:`kafkalab.Lab` all go through it and nothing else. Its commands may be called
from any thread and may wait; the hub's telemetry tells what came of them. The host says of a node only what it knows
itself: that it was started, killed, stopped, paused, or ended. What the cluster makes of it comes from the nodes.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
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
    ClusterPlan,
    NodePlan,
    hold_port,
    plan,
    roles_of_nodes,
    with_controller,
    without_controller,
)
from kafkalab.engine.cluster.links import LinkControl, Party
from kafkalab.engine.cluster.node_process import ProcessRunner
from kafkalab.engine.cluster.quorum_admin import QuorumAdmin
from kafkalab.engine.cluster.runner import Runner, RunnerFactory
from kafkalab.engine.cluster.settings import node_settings
from kafkalab.engine.cluster.snapshot import ClusterSnapshot, NodeFacts, active_controller, build_snapshot, keys_of_node
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.faults.disk import DiskFault, DiskFaultKind
from kafkalab.engine.log.dir_lock import DirLock, DirLocked
from kafkalab.engine.record.batch import Record, build_batch
from kafkalab.engine.server.node import NodeFailed, NodeRunner, NodeSpec
from kafkalab.engine.telemetry.events import Event, NodeCrashed, NodeKilled, NodePaused, NodeResumed, NodeStopped
from kafkalab.engine.telemetry.hub import TelemetryHub
from kafkalab.engine.telemetry.levels import BrokerKey, BrokerLevel, Level, LevelKey

_log = logging.getLogger(__name__)

Isolation = Literal["thread", "process"]
ISOLATIONS: Final[tuple[str, ...]] = ("thread", "process")

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 30.0
QUORUM_TIMEOUT_S: Final = 30.0
QUICK_STOP_TIMEOUT_S: Final = 5.0
"""Where no quorum is there to move leaders away, a controlled shutdown has nothing to wait for."""
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
BY_YOU: Final = "you"
POWER_LOSS: Final = "a power cut"
LOG_DIRS_MAX: Final = 16


class NodeState(StrEnum):
    """What the host has done with a node, or seen it do."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    KILLED = "killed"
    CRASHED = "crashed"


GONE: Final = frozenset({NodeState.NEW, NodeState.STOPPED, NodeState.KILLED, NodeState.CRASHED})


class _NodeSink:
    """One life of a node as seen by the hub: what comes after its end is not heard."""

    def __init__(self, hub: TelemetryHub, true_time: Callable[[Event], Event]) -> None:
        self._hub = hub
        self._true_time = true_time
        self._closed = False

    def emit(self, event: Event) -> None:
        if not self._closed:
            self._hub.emit(self._true_time(event))

    def level(self, key: LevelKey, value: Level | None) -> None:
        if not self._closed:
            self._hub.level(key, value)

    def close(self) -> None:
        self._closed = True


class _Node:
    """What the host keeps of one node. Guarded by the host's lock."""

    def __init__(self, node_plan: NodePlan, spec: NodeSpec) -> None:
        self.plan = node_plan
        self.spec = spec
        self.state = NodeState.NEW
        self.failure: str | None = None
        self.runner: Runner | None = None
        self.sink: _NodeSink | None = None
        self.faults: dict[str, DiskFault] = {}
        """What is wrong with its disks, by directory; it outlives a restart."""
        self.held_ports: list[socket.socket] = []
        """Its ports, while it is gone."""
        self.old_broker_epoch = -1
        """The epoch of its last registration before this life: it is in service again with a newer one only."""


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
        self._runner_factory: RunnerFactory = runner_factory or (ProcessRunner if isolation == "process" else NodeRunner)
        self._rng = rng or SystemRandom()
        self._given_dir = data_dir
        self._data_dir: Path | None = None
        self._dir_lock: DirLock | None = None
        self._plan: ClusterPlan | None = None
        self._nodes: dict[int, _Node] = {}
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._closed = False
        self._admin = AdminClient(self._reachable_brokers, self._closing)
        self._quorum = QuorumAdmin(self._admin)
        self._old_switch_interval: float | None = None
        self._links = LinkControl(self.hub, lambda: self.node_ids, self._apply_link_faults, BY_YOU)
        self._clocks = ClockControl(self.hub, BY_YOU)

    # --- the cluster as a whole ------------------------------------------------------------------

    def start(self) -> None:
        """Start every node, and return when each listens.

        :raises ClusterStartError: when some did not; the others run.
        :raises HostError: when nothing was started: a busy port, a folder in use, a broken file.
        """
        with self._changed:
            if self._plan is not None or self._closed:
                raise HostError("The cluster was started before.")
            controllers = [node.node_id for node in self._prepare().controllers]
            others = [node_id for node_id in self._nodes if node_id not in controllers]
        failures: dict[int, str] = {}
        for node_id in controllers:
            self._launch(node_id)
        if self._isolation == "thread":
            # A quorum that is there saves its brokers the first retry.
            failures.update(self._await_started(controllers))
            controllers = []
            if not failures and sum(self._logs_of(node_id) for node_id in others) >= MANY_LOGS:
                self._await_active_controller()
        for node_id in others:
            self._launch(node_id)
        failures.update(self._await_started([*controllers, *others]))
        if failures and not self._closing.is_set():
            raise ClusterStartError(failures)

    def _logs_of(self, node_id: int) -> int:
        """About how many logs a node will open when it starts."""
        try:
            return len(os.listdir(self._node(node_id).spec.data_dir))
        except OSError:
            return 0

    def _await_active_controller(self) -> None:
        """Wait until a controller is active and knows its brokers, but not for long.

        Nodes that share an interpreter take turns. Brokers that read many logs would hold up the election, and
        with it the end of the sessions that brokers had before a kill, which count from then on.
        """
        with self._levels_until(time.monotonic() + ACTIVE_CONTROLLER_WAIT_S) as versions:
            for levels in versions:
                if any(isinstance(key, BrokerKey) for key in levels):
                    return

    def wait_until_ready(self, timeout: float) -> None:
        """Wait until every broker that runs is in service and a record could be produced with acks=all.

        :raises HostError: when it did not come to that in time; it says what is missing.
        """
        deadline = time.monotonic() + timeout
        self._wait_until_no_trouble(deadline, partitions=False, only_running=True)
        brokers = sum(1 for node in self._copy_of_nodes() if BROKER in node.roles and node.state == NodeState.RUNNING)
        try:
            self._admin.create_topic(READY_TOPIC, 1, min(3, brokers), {}, timeout_s=_left(deadline))
        except RequestRefused as e:
            # An earlier start may have been ended before it could tidy up.
            if e.error is not Errors.TOPIC_ALREADY_EXISTS:
                raise
        try:
            record = Record(offset=0, timestamp=int(time.time() * 1000), key=None, value=b"ready", headers=())
            self._admin.produce(READY_TOPIC, build_batch([record]), timeout_s=_left(deadline))
        finally:
            self._admin.delete_topic(READY_TOPIC, timeout_s=max(1.0, _left(deadline)))

    def wait_until_healthy(self, timeout: float) -> None:
        """Wait until all nodes run, all brokers are in service, and all partitions are led and fully in sync.

        :raises HostError: when it did not come to that in time; it says what is missing.
        """
        self._wait_until_no_trouble(time.monotonic() + timeout, partitions=True, only_running=False)

    def close(self) -> None:
        """Stop the brokers in order, then the controllers, and tidy up. Harmless when closed already."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._closing.set()
            nodes = list(self._nodes.values())
        for together, timeout in self._order_of_stopping(nodes):
            self._stop_together(together, timeout)
        for node in nodes:
            self._let_go_of_ports(node)
        if self._dir_lock is not None:
            self._dir_lock.release()
        if self._given_dir is None and self._data_dir is not None:
            shutil.rmtree(self._data_dir, ignore_errors=True)
        if self._old_switch_interval is not None:
            sys.setswitchinterval(self._old_switch_interval)

    def kill_all(self) -> None:
        """Kill every node at once, as a power cut does to a machine."""
        for node_id in self.node_ids:
            if self._node(node_id).state not in GONE:
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
        return tuple(self._nodes)

    @property
    def broker_ids(self) -> tuple[int, ...]:
        """The nodes that serve clients."""
        return tuple(node_id for node_id, node in self._nodes.items() if BROKER in node.plan.roles)

    @property
    def controller_ids(self) -> tuple[int, ...]:
        """The nodes that vote."""
        return tuple(node_id for node_id, node in self._nodes.items() if CONTROLLER in node.plan.roles)

    def describe(self) -> ClusterSnapshot:
        """The cluster as it is now, frozen."""
        return build_snapshot(
            cluster_id=self._planned().cluster_id,
            bootstrap_servers=self.bootstrap_servers,
            nodes=self._copy_of_nodes(),
            levels=self.hub.levels(),
        )

    def wait_until_all_gone(self, timeout: float | None = None) -> bool:
        """Wait until no node is alive any more; False when the time was over before."""
        with self._changed:
            return self._changed.wait_for(lambda: all(node.state in GONE for node in self._nodes.values()), timeout)

    # --- nodes -------------------------------------------------------------------------------------

    def kill(self, node_id: int) -> None:
        """End a node without flush or goodbye.

        :raises HostError: when it is not there, or does not run.
        """
        self._end(node_id, lambda runner: runner.kill(), BY_YOU)

    def _end(self, node_id: int, end: Callable[[Runner], None], cause: str) -> None:
        with self._changed:
            node = self._node(node_id)
            if node.state in GONE:
                raise HostError(f"Node {node_id} cannot be killed: it is {node.state}.")
            self._move(node, NodeState.KILLED)
            runner, at_ms = node.runner, _wall_ms()
        assert runner is not None
        end(runner)
        self._bury(node, runner)
        self.hub.emit(NodeKilled(at_ms=at_ms, node_id=node_id, cause=cause))
        _log.info("node %s was killed: %s", node_id, cause)

    def power_loss(self, node_id: int, torn_tail_bytes: int = 0) -> None:
        """End a node, and with it everything that it had written and not synced.

        :param torn_tail_bytes: so much of what was not synced is left at the end of each file.
        :raises HostError: when it is not there, or does not run.
        """
        self._end(node_id, lambda runner: runner.power_loss(torn_tail_bytes), POWER_LOSS)

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
        with self._changed:
            node = self._node(node_id)
            node.faults.clear()
        self._apply_faults(node)

    def _fault(self, node_id: int, directory: int | None, kind: DiskFaultKind, free_bytes: int) -> None:
        with self._changed:
            node = self._node(node_id)
            paths = node.spec.directories
            if directory is not None:
                if not 1 <= directory <= len(paths):
                    raise HostError(f"Node {node_id} has no log directory {directory}; it has 1 to {len(paths)}.")
                paths = (paths[directory - 1],)
            for path in paths:
                node.faults[str(path)] = DiskFault(kind, str(path), free_bytes)
        _log.info("node %s: the disk of %s is %s", node_id, "all its directories" if directory is None else f"directory {directory}", kind)
        self._apply_faults(node)

    def _apply_faults(self, node: _Node) -> None:
        with self._changed:
            runner = None if node.state in GONE else node.runner
            faults = tuple(node.faults.values())
        if runner is not None:
            runner.set_disk_faults(faults)

    def stop(self, node_id: int, timeout: float = STOP_TIMEOUT_S) -> None:
        """Kafka's controlled shutdown; a paused node is let go on first.

        :raises HostError: when it is not there, or does not run.
        """
        with self._changed:
            node = self._node(node_id)
            if node.state in GONE or node.state is NodeState.STOPPING:
                raise HostError(f"Node {node_id} cannot be stopped: it is {node.state}.")
        self._stop(node, timeout)

    def start_node(self, node_id: int) -> None:
        """Start a node that is gone, on its old address and files, and return when it listens.

        :raises HostError: when it runs, or does not start.
        """
        with self._changed:
            state = self._node(node_id).state
            if state not in GONE:
                raise HostError(f"Node {node_id} cannot be started: it is {state}.")
        self._launch(node_id)
        failures = self._await_started([node_id])
        if failures:
            raise ClusterStartError(failures)

    def restart(self, node_id: int) -> None:
        """Start a node again, on its old address and files; one that runs is stopped in order first.

        :raises HostError: when it is not there, or does not start.
        """
        with self._changed:
            gone = self._node(node_id).state in GONE
        if not gone:
            self.stop(node_id)
        self.start_node(node_id)

    def pause(self, node_id: int) -> None:
        """Let a node stop answering while its sockets stay open.

        :raises HostError: when it is not there, or does not run.
        """
        with self._changed:
            node = self._node(node_id)
            if node.state is not NodeState.RUNNING or node.runner is None:
                raise HostError(f"Node {node_id} cannot be paused: it is {node.state}.")
            self._move(node, NodeState.PAUSED)
            runner, at_ms = node.runner, _wall_ms()
        runner.pause()
        self.hub.emit(NodePaused(at_ms=at_ms, node_id=node_id, cause=BY_YOU))
        _log.info("node %s was paused", node_id)

    def resume(self, node_id: int) -> None:
        """Let a paused node go on.

        :raises HostError: when it is not there, or is not paused.
        """
        with self._changed:
            node = self._node(node_id)
            if node.state is not NodeState.PAUSED or node.runner is None:
                raise HostError(f"Node {node_id} cannot be resumed: it is {node.state}.")
            self._move(node, NodeState.RUNNING)
            runner = node.runner
        self._resume(node, runner)

    # --- the quorum ------------------------------------------------------------------------------------

    def add_controller(self, timeout: float = QUORUM_TIMEOUT_S) -> int:
        """Start one more controller, and let it vote once it has the metadata log; its id.

        A quorum whose voters are static becomes one whose voters are in the log (kraft.version 1), and stays so.

        :raises HostError: when that was not possible in time.
        """
        deadline = time.monotonic() + timeout
        self._quorum.let_voters_change(timeout)
        with self._changed:
            cluster = self._plan = with_controller(self.data_dir, self._planned(), self._rng)
            added = cluster.nodes[-1]
            self._nodes[added.node_id] = _Node(added, self._spec_of(cluster, added))
        self._launch(added.node_id)
        failures = self._await_started([added.node_id])
        if failures:
            raise ClusterStartError(failures)
        assert added.controller_port is not None
        self._quorum.add(added.node_id, (cluster.host, added.controller_port), max(1.0, _left(deadline)))
        return added.node_id

    def remove_controller(self, node_id: int, timeout: float = QUORUM_TIMEOUT_S) -> None:
        """Let a controller vote no more, stop it in order, and forget it; it may be one that is gone already.

        :raises HostError: when it is no controller or a broker too, or that was not possible in time.
        """
        with self._changed:
            node = self._node(node_id)
            if node.plan.roles != {CONTROLLER}:
                raise HostError(f"Node {node_id} is a {node.plan.role}; only a node that is nothing but a controller can leave the quorum.")
        self._quorum.let_voters_change(timeout)
        self._quorum.remove(node_id, timeout)
        with self._changed:
            is_gone = node.state in GONE
        if not is_gone:
            self.stop(node_id)
        with self._changed:
            self._plan = without_controller(self.data_dir, self._planned(), node_id)
            self._let_go_of_ports(node)
            del self._nodes[node_id]

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
        with self._changed:
            node = self._node(node_id)
        offset_ms = self._clocks.jump(node_id, seconds)
        if (runner := self._live_runner(node)) is not None:
            runner.set_clock_offset(offset_ms)

    def _apply_link_faults(self, node_id: int) -> None:
        if (runner := self._live_runner(self._node(node_id))) is not None:
            runner.set_link_faults(self._links.of(node_id))

    def _live_runner(self, node: _Node) -> Runner | None:
        with self._changed:
            return None if node.state in GONE else node.runner

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

        :raises HostError: when the controller refuses, or nobody answers in time.
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

    def _node(self, node_id: int) -> _Node:
        node = self._nodes.get(node_id)
        if node is None:
            raise HostError(f"There is no node {node_id}; there are {', '.join(str(known) for known in self._nodes) or 'none'}.")
        return node

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
        )
        for node_plan in cluster.nodes:
            self._nodes[node_plan.node_id] = _Node(node_plan, self._spec_of(cluster, node_plan))
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

    def _launch(self, node_id: int) -> None:
        with self._changed:
            if self._closing.is_set():
                return
            node = self._node(node_id)
            level = self.hub.levels().get(BrokerKey(node_id))
            node.old_broker_epoch = level.broker_epoch if isinstance(level, BrokerLevel) else -1
            sink = _NodeSink(self.hub, lambda event: self._clocks.true_time(node_id, event))
            spec = replace(
                node.spec,
                disk_faults=tuple(node.faults.values()),
                link_faults=self._links.of(node_id),
                clock_offset_ms=self._clocks.offset_ms(node_id),
            )
            runner = self._runner_factory(spec, sink)
            runner.on_exit = lambda reason: self._exited(node, runner, reason)
            node.runner, node.sink, node.failure = runner, sink, None
            self._move(node, NodeState.STARTING)
            self._let_go_of_ports(node)
            runner.start()

    def _await_started(self, node_ids: Iterable[int]) -> dict[int, str]:
        failures: dict[int, str] = {}
        deadline = time.monotonic() + START_TIMEOUT_S
        for node_id in node_ids:
            node = self._node(node_id)
            with self._changed:
                runner = node.runner
            if runner is None:
                continue
            try:
                runner.wait_ready(max(0.0, _left(deadline)))
            except NodeFailed as e:
                failures[node_id] = str(e)
                self._failed_to_start(node, runner, str(e))
                continue
            with self._changed:
                if node.runner is runner and node.state is NodeState.STARTING:
                    self._move(node, NodeState.RUNNING)
            # It may have ended between the two lines above, when its end was still the business of this start.
            if not runner.is_alive:
                self._exited(node, runner, runner.failure)
        return failures

    def _failed_to_start(self, node: _Node, runner: Runner, message: str) -> None:
        with self._changed:
            ours = node.runner is runner and node.state is NodeState.STARTING
            if ours:
                node.failure = message
                self._move(node, NodeState.CRASHED)
        if runner.is_alive:
            runner.kill()
        if ours:
            self._bury(node, runner)
            self.hub.emit(NodeCrashed(at_ms=_wall_ms(), node_id=node.plan.node_id, cause=message))
            _log.error("node %s did not start: %s", node.plan.node_id, message)

    def _exited(self, node: _Node, runner: Runner, reason: str | None) -> None:
        """A node is gone. Whoever ordered that has moved it on already; here are the ends that nobody ordered."""
        node_id = node.plan.node_id
        sent = runner.exit_signal if isinstance(runner, ProcessRunner) else None
        event: Event
        with self._changed:
            # A start that fails is told by whoever waits for it.
            if node.runner is not runner or node.state not in (NodeState.RUNNING, NodeState.PAUSED):
                return
            if reason is None and sent == signal.SIGTERM:
                event = NodeStopped(at_ms=_wall_ms(), node_id=node_id, cause=f"signal {sent}")
                state = NodeState.STOPPED
            elif reason is None and sent is not None:
                event = NodeKilled(at_ms=_wall_ms(), node_id=node_id, cause=f"signal {sent}")
                state = NodeState.KILLED
            else:
                node.failure = reason or "it ended by itself"
                event = NodeCrashed(at_ms=_wall_ms(), node_id=node_id, cause=node.failure)
                state = NodeState.CRASHED
            self._move(node, state)
        self._bury(node, runner)
        self.hub.emit(event)
        _log.warning("node %s is gone: %s", node_id, event.cause)

    def _stop(self, node: _Node, timeout: float) -> None:
        with self._changed:
            runner, paused = node.runner, node.state is NodeState.PAUSED
            if node.state in GONE or runner is None:
                return
            self._move(node, NodeState.STOPPING)
        if paused:
            self._resume(node, runner)
        runner.stop(timeout)
        with self._changed:
            # It may have been killed while it was stopping.
            if node.runner is not runner or node.state is not NodeState.STOPPING:
                return
            self._move(node, NodeState.STOPPED)
        self._bury(node, runner)
        self.hub.emit(NodeStopped(at_ms=_wall_ms(), node_id=node.plan.node_id, cause=BY_YOU))
        _log.info("node %s was stopped", node.plan.node_id)

    def _order_of_stopping(self, nodes: Sequence[_Node]) -> Iterator[tuple[Sequence[_Node], float]]:
        """Groups of nodes that stop together, one after another, so that nobody waits for one that is gone."""
        active_id, _ = active_controller(self.hub.levels())
        only_brokers = [node for node in nodes if CONTROLLER not in node.plan.roles]
        active = [node for node in nodes if node.plan.node_id == active_id]
        others = [node for node in nodes if CONTROLLER in node.plan.roles and node not in active]
        orderly_s = STOP_TIMEOUT_S if self._has_majority() else QUICK_STOP_TIMEOUT_S
        yield only_brokers, orderly_s
        if any(BROKER in node.plan.roles for node in (*active, *others)):
            # These ask the active controller for leave; itself it has nobody to ask, once they are gone.
            yield others, orderly_s
            yield active, orderly_s if not others else QUICK_STOP_TIMEOUT_S
        else:
            # A leader hands over before it goes, to those who are still there.
            yield active, QUICK_STOP_TIMEOUT_S
            yield others, QUICK_STOP_TIMEOUT_S

    def _stop_together(self, nodes: Sequence[_Node], timeout: float) -> None:
        threads = [threading.Thread(target=self._stop, args=(node, timeout), name=f"kafkalab-stop-{node.plan.node_id}") for node in nodes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _resume(self, node: _Node, runner: Runner) -> None:
        runner.resume()
        self.hub.emit(NodeResumed(at_ms=_wall_ms(), node_id=node.plan.node_id, cause=BY_YOU))
        _log.info("node %s was resumed", node.plan.node_id)

    def _move(self, node: _Node, state: NodeState) -> None:
        node.state = state
        self._changed.notify_all()

    def _bury(self, node: _Node, runner: Runner) -> None:
        """What a node reported of itself goes with it."""
        with self._changed:
            if node.runner is not runner:
                return
            if node.sink is not None:
                node.sink.close()
            self.hub.forget(keys_of_node(node.plan.node_id, self.hub.levels()))
            if not self._closed:
                ports = [port for port in (node.plan.broker_port, node.plan.controller_port) if port is not None]
                node.held_ports = [held for port in ports if (held := hold_port(node.spec.host, port)) is not None]

    @staticmethod
    def _let_go_of_ports(node: _Node) -> None:
        for held in node.held_ports:
            held.close()
        node.held_ports = []

    def _has_majority(self) -> bool:
        controllers = [node for node in self._nodes.values() if CONTROLLER in node.plan.roles]
        running = [node for node in controllers if node.state is NodeState.RUNNING]
        return len(running) > len(controllers) // 2

    def _reachable_brokers(self) -> list[Address]:
        with self._changed:
            running = [node for node in self._nodes.values() if node.state is NodeState.RUNNING]
            ports = [(node, node.plan.broker_port) for node in running]
            return [
                (node.spec.host, port)
                for node, port in ports
                if port is not None and not self._links.is_cut_from_clients(node.plan.node_id)
            ]

    def _copy_of_nodes(self) -> list[NodeFacts]:
        with self._changed:
            return [
                NodeFacts(
                    node_id=node.plan.node_id,
                    roles=node.plan.roles,
                    state=str(node.state),
                    address=f"{node.spec.host}:{node.plan.port}",
                    pid=None if node.state in GONE else (node.runner.pid if isinstance(node.runner, ProcessRunner) else os.getpid()),
                    failure=node.failure,
                    old_broker_epoch=node.old_broker_epoch,
                )
                for node in self._nodes.values()
            ]

    def _wait_until_no_trouble(self, deadline: float, *, partitions: bool, only_running: bool) -> None:
        timeout = max(0.0, _left(deadline))
        found = "nothing is known of it"
        with self._levels_until(deadline) as versions:
            for levels in versions:
                nodes = self._copy_of_nodes()
                found = trouble(nodes, levels, partitions=partitions, only_running=only_running) or ""
                if not found:
                    return
                if only_running and (why := hopeless(nodes)):
                    raise HostError(f"The cluster cannot become ready: {why}.")
        raise HostError(f"After {timeout:.1f} s the cluster is not well: {found}.")

    @contextmanager
    def _levels_until(self, deadline: float) -> Iterator[Iterator[Mapping[LevelKey, Level]]]:
        """All levels now, and again after each change, until the deadline or the end of the host."""
        reader = self.hub.open_reader(events_kept_max=1)

        def versions() -> Iterator[Mapping[LevelKey, Level]]:
            while not self._closing.is_set():
                reader.drain()
                yield self.hub.levels()
                remaining_s = _left(deadline)
                if remaining_s <= 0:
                    return
                # The host's own changes of state come as events too; the bound is for the end of the host.
                reader.wait_changed(min(LEVELS_WAIT_S, remaining_s))

        try:
            yield versions()
        finally:
            reader.close()


def _left(deadline: float) -> float:
    return deadline - time.monotonic()


def _wall_ms() -> float:
    return time.time() * 1000
