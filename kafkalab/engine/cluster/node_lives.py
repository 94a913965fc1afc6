"""The lives of a cluster's nodes: each is started, paused, stopped, killed and started again, on one address and one folder.

What is said here of a node is what was done with it or seen of it: that it was started, killed, stopped, paused, or
ended. What the cluster makes of it comes from the nodes.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import Final

from kafkalab.engine.cluster.clocks import ClockControl
from kafkalab.engine.cluster.errors import ClusterStartError, HostError
from kafkalab.engine.cluster.layout import BROKER, CONTROLLER, NodePlan, hold_port
from kafkalab.engine.cluster.links import LinkControl
from kafkalab.engine.cluster.node_process import ProcessRunner
from kafkalab.engine.cluster.runner import Runner, RunnerFactory
from kafkalab.engine.cluster.snapshot import NodeFacts, active_controller, keys_of_node
from kafkalab.engine.faults.disk import DiskFault
from kafkalab.engine.server.node import NodeFailed, NodeSpec
from kafkalab.engine.telemetry.events import Event, NodeCrashed, NodeKilled, NodePaused, NodeResumed, NodeStopped
from kafkalab.engine.telemetry.hub import TelemetryHub
from kafkalab.engine.telemetry.levels import BrokerKey, BrokerLevel, Level, LevelKey

_log = logging.getLogger(__name__)

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 30.0
QUICK_STOP_TIMEOUT_S: Final = 5.0
"""Where no quorum is there to move leaders away, a controlled shutdown has nothing to wait for."""
_CAN_LISTEN_WHERE_HELD: Final = sys.platform == "linux"
"""Elsewhere a port must be let go before its node listens, and another program may come between."""
BY_YOU: Final = "you"


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

    keeps_levels = True

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


class HostNode:
    """What the host keeps of one node. Guarded by :attr:`NodeLives.changed`."""

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
        """Its ports, while nobody listens there."""
        self.old_broker_epoch = -1
        """The epoch of its last registration before this life: it is in service again with a newer one only."""


class NodeLives:
    """All nodes of a cluster, from the start of the host to its end. May be called from any thread.

    :param closing: set when the host is being closed: nothing is started any more, and ports are not held for another life.
    """

    def __init__(
        self, hub: TelemetryHub, runner_factory: RunnerFactory, links: LinkControl, clocks: ClockControl, closing: threading.Event
    ) -> None:
        self.changed: Final = threading.Condition()
        """Guards the nodes, and is notified when one of them gets another state."""
        self.nodes: Final[dict[int, HostNode]] = {}
        """By id, in the order of their ids."""
        self._hub = hub
        self._runner_factory = runner_factory
        self._links = links
        self._clocks = clocks
        self._closing = closing

    def node(self, node_id: int) -> HostNode:
        """
        :raises HostError: when there is none with this id.
        """
        node = self.nodes.get(node_id)
        if node is None:
            raise HostError(f"There is no node {node_id}; there are {', '.join(str(known) for known in self.nodes) or 'none'}.")
        return node

    def add(self, node_plan: NodePlan, spec: NodeSpec) -> None:
        """One more node, which has not been started."""
        node = self.nodes[node_plan.node_id] = HostNode(node_plan, spec)
        self._hold_ports(node)

    def remove(self, node: HostNode) -> None:
        """Forget a node that is gone."""
        self._let_go_of_ports(node)
        del self.nodes[node.plan.node_id]

    def is_gone(self, node_id: int) -> bool:
        """Whether a node does not live now.

        :raises HostError: when there is none with this id.
        """
        with self.changed:
            return self.node(node_id).state in GONE

    def live_runner(self, node: HostNode) -> Runner | None:
        """The present life of a node; None when it has none."""
        with self.changed:
            return None if node.state in GONE else node.runner

    def wait_until_all_gone(self, timeout: float | None) -> bool:
        """Wait until no node is alive any more; False when the time was over before."""
        with self.changed:
            return self.changed.wait_for(lambda: all(node.state in GONE for node in self.nodes.values()), timeout)

    def facts(self) -> list[NodeFacts]:
        """What is known of all of them, as it is now."""
        with self.changed:
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
                for node in self.nodes.values()
            ]

    # --- beginnings ----------------------------------------------------------------------------------

    def launch(self, node_id: int) -> None:
        """Begin another life of a node that is gone; unless the host is being closed."""
        with self.changed:
            if self._closing.is_set():
                return
            node = self.node(node_id)
            level = self._hub.levels().get(BrokerKey(node_id))
            node.old_broker_epoch = level.broker_epoch if isinstance(level, BrokerLevel) else -1
            sink = _NodeSink(self._hub, lambda event: self._clocks.true_time(node_id, event))
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
            if not _CAN_LISTEN_WHERE_HELD:
                self._let_go_of_ports(node)
            runner.start()

    def await_started(self, node_ids: Iterable[int]) -> dict[int, str]:
        """Wait until these nodes listen; why those that do not failed."""
        failures: dict[int, str] = {}
        deadline = time.monotonic() + START_TIMEOUT_S
        for node_id in node_ids:
            node = self.node(node_id)
            with self.changed:
                runner = node.runner
            if runner is None:
                continue
            try:
                runner.wait_ready(max(0.0, seconds_left(deadline)))
            except NodeFailed as e:
                failures[node_id] = str(e)
                self._failed_to_start(node, runner, str(e))
                continue
            with self.changed:
                if node.runner is runner and node.state is NodeState.STARTING:
                    self._let_go_of_ports(node)
                    self._move(node, NodeState.RUNNING)
            # It may have ended between the two lines above, when its end was still the business of this start.
            if not runner.is_alive:
                self._exited(node, runner, runner.failure)
        return failures

    def _failed_to_start(self, node: HostNode, runner: Runner, message: str) -> None:
        with self.changed:
            ours = node.runner is runner and node.state is NodeState.STARTING
            if ours:
                node.failure = message
                self._move(node, NodeState.CRASHED)
        if runner.is_alive:
            runner.kill()
        if ours:
            self._bury(node, runner)
            self._hub.emit(NodeCrashed(at_ms=wall_ms(), node_id=node.plan.node_id, cause=message))
            _log.error("node %s did not start: %s", node.plan.node_id, message)

    def start(self, node_id: int) -> None:
        """Start a node that is gone, on its old address and files, and return when it listens.

        :raises HostError: when it runs, or does not start.
        """
        with self.changed:
            state = self.node(node_id).state
            if state not in GONE:
                raise HostError(f"Node {node_id} cannot be started: it is {state}.")
        self.launch(node_id)
        failures = self.await_started([node_id])
        if failures:
            raise ClusterStartError(failures)

    # --- ends ------------------------------------------------------------------------------------------

    def end(self, node_id: int, end: Callable[[Runner], None], cause: str) -> None:
        """End a node in the manner of ``end``, without a goodbye.

        :raises HostError: when it is not there, or does not run.
        """
        with self.changed:
            node = self.node(node_id)
            if node.state in GONE:
                raise HostError(f"Node {node_id} cannot be killed: it is {node.state}.")
            self._move(node, NodeState.KILLED)
            runner, at_ms = node.runner, wall_ms()
        assert runner is not None
        end(runner)
        self._bury(node, runner)
        self._hub.emit(NodeKilled(at_ms=at_ms, node_id=node_id, cause=cause))
        _log.info("node %s was killed: %s", node_id, cause)

    def stop(self, node_id: int, timeout: float = STOP_TIMEOUT_S) -> None:
        """Kafka's controlled shutdown; a paused node is let go on first.

        :raises HostError: when it is not there, or does not run.
        """
        with self.changed:
            node = self.node(node_id)
            if node.state in GONE or node.state is NodeState.STOPPING:
                raise HostError(f"Node {node_id} cannot be stopped: it is {node.state}.")
        self._stop(node, timeout)

    def _exited(self, node: HostNode, runner: Runner, reason: str | None) -> None:
        """A node is gone. Whoever ordered that has moved it on already; here are the ends that nobody ordered."""
        node_id = node.plan.node_id
        sent = runner.exit_signal if isinstance(runner, ProcessRunner) else None
        event: Event
        with self.changed:
            # A start that fails is told by whoever waits for it.
            if node.runner is not runner or node.state not in (NodeState.RUNNING, NodeState.PAUSED):
                return
            if reason is None and sent == signal.SIGTERM:
                event = NodeStopped(at_ms=wall_ms(), node_id=node_id, cause=f"signal {sent}")
                state = NodeState.STOPPED
            elif reason is None and sent is not None:
                event = NodeKilled(at_ms=wall_ms(), node_id=node_id, cause=f"signal {sent}")
                state = NodeState.KILLED
            else:
                node.failure = reason or "it ended by itself"
                event = NodeCrashed(at_ms=wall_ms(), node_id=node_id, cause=node.failure)
                state = NodeState.CRASHED
            self._move(node, state)
        self._bury(node, runner)
        self._hub.emit(event)
        _log.warning("node %s is gone: %s", node_id, event.cause)

    def _stop(self, node: HostNode, timeout: float, *, hands_over: bool = True) -> None:
        with self.changed:
            runner, paused = node.runner, node.state is NodeState.PAUSED
            if node.state in GONE or runner is None:
                return
            self._move(node, NodeState.STOPPING)
        if paused:
            self._resume(node, runner)
        runner.stop(timeout, hands_over=hands_over)
        with self.changed:
            # It may have been killed while it was stopping.
            if node.runner is not runner or node.state is not NodeState.STOPPING:
                return
            self._move(node, NodeState.STOPPED)
        self._bury(node, runner)
        self._hub.emit(NodeStopped(at_ms=wall_ms(), node_id=node.plan.node_id, cause=BY_YOU))
        _log.info("node %s was stopped", node.plan.node_id)

    def stop_all(self) -> None:
        """Stop the brokers in order, then the controllers."""
        with self.changed:
            nodes = list(self.nodes.values())
        for together, timeout, hands_over in self._order_of_stopping(nodes):
            self._stop_together(together, timeout, hands_over=hands_over)
        for node in nodes:
            self._let_go_of_ports(node)

    def _order_of_stopping(self, nodes: Sequence[HostNode]) -> Iterator[tuple[Sequence[HostNode], float, bool]]:
        """Groups of nodes that stop together, one after another, so that nobody waits for one that is gone.

        With each the time that it has, and whether leaderships are handed over: in the last there is nobody to take them.
        """
        active_id, _ = active_controller(self._hub.levels())
        only_brokers = [node for node in nodes if CONTROLLER not in node.plan.roles]
        active = [node for node in nodes if node.plan.node_id == active_id]
        others = [node for node in nodes if CONTROLLER in node.plan.roles and node not in active]
        orderly_s = STOP_TIMEOUT_S if self._has_majority() else QUICK_STOP_TIMEOUT_S
        yield only_brokers, orderly_s, True
        if any(BROKER in node.plan.roles for node in (*active, *others)):
            # These ask the active controller for leave; itself it has nobody to ask, once they are gone.
            yield others, orderly_s, True
            yield active, orderly_s if not others else QUICK_STOP_TIMEOUT_S, True
        else:
            # A leader hands over before it goes, to those who are still there.
            yield active, QUICK_STOP_TIMEOUT_S, True
            yield others, QUICK_STOP_TIMEOUT_S, False

    def _stop_together(self, nodes: Sequence[HostNode], timeout: float, *, hands_over: bool) -> None:
        stop = partial(self._stop, timeout=timeout, hands_over=hands_over)
        threads = [threading.Thread(target=stop, args=(node,), name=f"kafkalab-stop-{node.plan.node_id}") for node in nodes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _has_majority(self) -> bool:
        controllers = [node for node in self.nodes.values() if CONTROLLER in node.plan.roles]
        running = [node for node in controllers if node.state is NodeState.RUNNING]
        return len(running) > len(controllers) // 2

    # --- in between ------------------------------------------------------------------------------------

    def pause(self, node_id: int) -> None:
        """Let a node stop answering while its sockets stay open.

        :raises HostError: when it is not there, or does not run.
        """
        _, runner = self._switch(node_id, NodeState.RUNNING, NodeState.PAUSED, "paused")
        at_ms = wall_ms()
        runner.pause()
        self._hub.emit(NodePaused(at_ms=at_ms, node_id=node_id, cause=BY_YOU))
        _log.info("node %s was paused", node_id)

    def resume(self, node_id: int) -> None:
        """Let a paused node go on.

        :raises HostError: when it is not there, or is not paused.
        """
        self._resume(*self._switch(node_id, NodeState.PAUSED, NodeState.RUNNING, "resumed"))

    def _switch(self, node_id: int, before: NodeState, after: NodeState, said: str) -> tuple[HostNode, Runner]:
        with self.changed:
            node = self.node(node_id)
            if node.state is not before or node.runner is None:
                raise HostError(f"Node {node_id} cannot be {said}: it is {node.state}.")
            self._move(node, after)
            return node, node.runner

    def _resume(self, node: HostNode, runner: Runner) -> None:
        runner.resume()
        self._hub.emit(NodeResumed(at_ms=wall_ms(), node_id=node.plan.node_id, cause=BY_YOU))
        _log.info("node %s was resumed", node.plan.node_id)

    def _move(self, node: HostNode, state: NodeState) -> None:
        node.state = state
        self.changed.notify_all()

    def _bury(self, node: HostNode, runner: Runner) -> None:
        """What a node reported of itself goes with it."""
        with self.changed:
            if node.runner is not runner:
                return
            if node.sink is not None:
                node.sink.close()
            self._hub.forget(keys_of_node(node.plan.node_id, self._hub.levels()))
            if not self._closing.is_set():
                self._hold_ports(node)

    def _hold_ports(self, node: HostNode) -> None:
        self._let_go_of_ports(node)
        ports = [port for port in (node.plan.broker_port, node.plan.controller_port) if port is not None]
        node.held_ports = [held for port in ports if (held := hold_port(node.spec.host, port)) is not None]

    @staticmethod
    def _let_go_of_ports(node: HostNode) -> None:
        for held in node.held_ports:
            held.close()
        node.held_ports = []


def wall_ms() -> float:
    """The wall clock of this machine."""
    return time.time() * 1000


def seconds_left(deadline: float) -> float:
    """Until a deadline of the monotonic clock; negative after it."""
    return deadline - time.monotonic()
