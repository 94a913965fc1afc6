"""Nodes that do nothing but say so: for tests of the host alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kafkalab.engine.faults.disk import DiskFault
from kafkalab.engine.faults.network import LinkFault
from kafkalab.engine.server.node import NodeFailed, NodeSpec
from kafkalab.engine.telemetry.hub import TelemetrySink
from kafkalab.engine.telemetry.levels import BrokerKey, BrokerLevel, QuorumKey, QuorumLevel


class FakeRunner:
    """A node whose every step is seen, and whose end can be ordered from outside."""

    def __init__(self, spec: NodeSpec, sink: TelemetrySink, cluster: FakeCluster) -> None:
        self.spec = spec
        self.sink = sink
        self.cluster = cluster
        self.on_exit: Callable[[str | None], None] | None = None
        self.failure: str | None = None
        self.is_alive = False
        self.steps: list[str] = []
        self.link_faults = spec.link_faults
        self.clock_offset_ms = spec.clock_offset_ms

    def start(self) -> None:
        self.steps.append("start")
        self.failure = self.cluster.start_failures.get(self.spec.node_id)
        self.is_alive = self.failure is None
        if self.is_alive:
            self.cluster.report(self)

    def wait_ready(self, timeout: float) -> None:
        if self.failure is not None:
            raise NodeFailed(self.failure)

    def stop(self, timeout: float, *, hands_over: bool = True) -> None:
        self.steps.append("stop" if hands_over else "end")
        self._end(None)

    def kill(self) -> None:
        self.steps.append("kill")
        self._end(None)

    def power_loss(self, torn_tail_bytes: int = 0) -> None:
        self.steps.append(f"power loss {torn_tail_bytes}")
        self._end(None)

    def set_link_faults(self, faults: tuple[LinkFault, ...]) -> None:
        self.link_faults = faults

    def set_clock_offset(self, offset_ms: int) -> None:
        self.clock_offset_ms = offset_ms

    def set_disk_faults(self, faults: tuple[DiskFault, ...]) -> None:
        self.steps.append(f"faults {[(str(fault.kind), Path(fault.directory).name) for fault in faults]}")

    def pause(self) -> None:
        self.steps.append("pause")

    def resume(self) -> None:
        self.steps.append("resume")

    def crash(self, reason: str) -> None:
        """End as a node does that cannot go on."""
        self.failure = reason
        self._end(reason)

    def _end(self, reason: str | None) -> None:
        if self.is_alive:
            self.is_alive = False
            self.cluster.order_of_ends.append(self.spec.node_id)
            if self.on_exit is not None:
                self.on_exit(reason)


class FakeCluster:
    """Makes the runners, and reports for them what a real cluster would: an elected controller, brokers in service."""

    def __init__(self) -> None:
        self.runners: dict[int, FakeRunner] = {}
        self.lives: list[FakeRunner] = []
        self.start_failures: dict[int, str] = {}
        self.order_of_ends: list[int] = []
        self.brokers_register = True
        self._epoch = 0

    def __call__(self, spec: NodeSpec, sink: TelemetrySink) -> FakeRunner:
        runner = FakeRunner(spec, sink, self)
        self.runners[spec.node_id] = runner
        self.lives.append(runner)
        return runner

    def report(self, runner: FakeRunner) -> None:
        """What a node's start leads to."""
        spec = runner.spec
        leader_id = min(spec.voters)
        if "controller" in spec.roles:
            state = "leader" if spec.node_id == leader_id else "follower"
            level = QuorumLevel(state=state, epoch=1, leader_id=leader_id, high_watermark=1, log_end_offset=1)
            runner.sink.level(QuorumKey(spec.node_id), level)
        if "broker" in spec.roles and self.brokers_register:
            self.register(spec.node_id, fenced=False)

    def register(self, broker_id: int, *, fenced: bool) -> None:
        """The active controller's word on a broker."""
        self._epoch += 1
        level = BrokerLevel(broker_epoch=self._epoch, fenced=fenced, in_controlled_shutdown=False, address="", rack=None)
        any_runner = next(iter(self.runners.values()))
        any_runner.sink.level(BrokerKey(broker_id), level)
