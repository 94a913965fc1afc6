"""The one way in and the one way out."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from pytestqt.qtbot import QtBot

from kafkalab.engine.cluster.errors import HostError, PortInUse, RequestRefused
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.telemetry.events import NodePaused
from kafkalab.engine.telemetry.hub import TelemetryHub
from kafkalab.ui.bridge import frame_meter
from kafkalab.ui.bridge.command_gateway import CommandGateway, CommandResult, describe_failure
from kafkalab.ui.bridge.event_pump import IDLE_AFTER, IDLE_INTERVAL_MS, PUMP_INTERVAL_MS, EventPump
from kafkalab.ui.bridge.frame_meter import FrameMeter
from kafkalab.ui.model.changes import ChangeSet, Part
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link
from tests.support import telemetry_samples as samples
from tests.ui.window.fakes import NotingHost

# --- the pump ------------------------------------------------------------------------------------


def fill(hub: TelemetryHub, cluster: samples.SampleCluster) -> None:
    events, levels, _ = cluster.drain()
    for event in events:
        hub.emit(event)
    for key, level in levels.items():
        hub.level(key, level)


def test_the_pump_moves_what_the_hub_has_into_the_model(qtbot: QtBot) -> None:
    hub, model, cluster = TelemetryHub(), ClusterModel(), samples.SampleCluster()
    pump = EventPump(hub.open_reader(), model, now_ms=lambda: cluster.now_ms)
    seen: list[ChangeSet] = []
    pump.changed.connect(seen.append)
    fill(hub, cluster)
    pump.pump_once()
    assert len(seen) == 1 and Part.NODES in seen[0] and len(model.nodes) == 6
    pump.pump_once()
    assert len(seen) == 1, "nothing new, nothing told"


def test_the_pump_slows_down_while_nothing_happens(qtbot: QtBot) -> None:
    hub, model = TelemetryHub(), ClusterModel()
    pump = EventPump(hub.open_reader(), model, now_ms=lambda: 1.0)
    for _ in range(IDLE_AFTER):
        pump.pump_once()
    assert pump._timer.interval() == IDLE_INTERVAL_MS
    hub.emit(NodePaused(at_ms=1.0, node_id=1, cause="you"))
    pump.pump_once()
    assert pump._timer.interval() == PUMP_INTERVAL_MS
    pump.start()
    assert pump.is_running
    pump.stop()
    assert not pump.is_running


def test_a_burst_is_taken_in_bites_and_drops_are_told(qtbot: QtBot) -> None:
    hub, model = TelemetryHub(), ClusterModel()
    pump = EventPump(hub.open_reader(events_kept_max=600), model, now_ms=lambda: 1.0)
    for at in range(1_000):
        hub.emit(NodePaused(at_ms=float(at), node_id=1, cause="you"))
    pump.pump_once()
    assert len(model.timeline) == 500
    assert model.dropped == 400
    pump.pump_once()
    assert len(model.timeline) == 600


def test_the_meter_gives_the_percentile_of_frames_with_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr(frame_meter, "perf_counter", lambda: now_s[0])
    meter = FrameMeter()
    assert meter.percentile_ms() == 0
    for work_s in (0.001, 0.002, 0.004):
        with meter.measure():
            now_s[0] += work_s
        meter.add_paint(0.5)
        meter.end_frame()
    meter.end_frame()
    assert meter.percentile_ms(0.5) == pytest.approx(2.5)
    assert meter.percentile_ms() == pytest.approx(4.5)
    assert meter.frames_per_second() == 3
    now_s[0] += 0.995
    assert meter.frames_per_second() == 2, "the first is more than a second ago"


# --- the gateway ---------------------------------------------------------------------------------


class RecordingHost(NotingHost):
    """Notes also from which thread it was asked; can be slow, and fail with any error."""

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__()
        self.threads: list[threading.Thread] = []
        self.failure = failure
        self.gate = threading.Event()
        self.gate.set()

    def _note(self, *what: object) -> None:
        assert self.gate.wait(5)
        self.threads.append(threading.current_thread())
        super()._note(*what)
        if self.failure is not None:
            raise self.failure


class RecordingTraffic:
    """The built-in traffic, on paper."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.said: list[object] = [bootstrap_servers]
        self.is_running = False

    def start(self) -> None:
        self.is_running = True

    def stop(self) -> None:
        self.is_running = False

    def close(self) -> None:
        self.said.append("close")

    def set_rate(self, rate_per_s: float) -> None:
        if rate_per_s < 0:
            raise ValueError("The rate was -1; it can be from 0 to 50,000.")
        self.said.append(rate_per_s)

    def set_acks(self, acks: str) -> None:
        self.said.append(acks)

    def status(self) -> object:
        return tuple(self.said)


def carry_out(qtbot: QtBot, gateway: CommandGateway, act: Callable[[], object]) -> CommandResult:
    with qtbot.waitSignal(gateway.finished, timeout=5_000) as caught:
        act()
    result = caught.args[0]
    assert isinstance(result, CommandResult)
    return result


@pytest.mark.parametrize("name", ["kill", "stop", "pause", "resume", "restart"])
def test_commands_to_nodes_run_beside_the_qt_thread(qtbot: QtBot, name: str) -> None:
    host = RecordingHost()
    gateway = CommandGateway(host, node_name=lambda node_id: f"broker {node_id}")
    result = carry_out(qtbot, gateway, lambda: getattr(gateway, name)(2))
    assert result.ok and result.command.link == Link.node(2)
    assert result.command.text == f"{name.capitalize()} broker 2"
    assert host.asked == [(name, 2)]
    assert host.threads[0] is not threading.current_thread()
    gateway.close()


def test_topics_and_the_start(qtbot: QtBot) -> None:
    host = RecordingHost()
    gateway = CommandGateway(host)
    carry_out(qtbot, gateway, gateway.start_cluster)
    carry_out(qtbot, gateway, lambda: gateway.create_topic("orders", 6, 3, {"min.insync.replicas": "2"}))
    carry_out(qtbot, gateway, lambda: gateway.delete_topic("orders"))
    assert host.asked == [
        ("start",),
        ("wait_until_ready",),
        ("create_topic", "orders", 6, 3, {"min.insync.replicas": "2"}),
        ("delete_topic", "orders"),
    ]
    assert gateway.bootstrap_servers() == "127.0.0.1:9092"
    gateway.close()


def test_a_slow_command_holds_up_nothing(qtbot: QtBot) -> None:
    host = RecordingHost()
    gateway = CommandGateway(host)
    host.gate.clear()
    gateway.stop(1)
    gateway.kill(2)
    assert [command.name for command in gateway.under_way] == ["stop", "kill"]
    with qtbot.waitSignals([gateway.finished, gateway.finished], timeout=5_000):
        host.gate.set()
    assert gateway.under_way == []
    gateway.close()


def test_a_refusal_is_told_with_name_code_and_advice(qtbot: QtBot) -> None:
    refused = RequestRefused("topic orders", Errors.TOPIC_ALREADY_EXISTS, "Topic 'orders' already exists.")
    gateway = CommandGateway(RecordingHost(refused))
    result = carry_out(qtbot, gateway, lambda: gateway.create_topic("orders", 1, 1))
    failure = result.failure
    assert failure is not None and not result.ok
    assert (failure.error_name, failure.error_code) == ("TOPIC_ALREADY_EXISTS", 36)
    assert failure.advice == "Choose another name, or delete the topic first."
    assert str(failure).splitlines()[0] == "Could not create topic orders."
    gateway.close()


@pytest.mark.expects_warnings
def test_a_mistake_of_ours_is_told_and_logged(qtbot: QtBot, caplog: pytest.LogCaptureFixture) -> None:
    gateway = CommandGateway(RecordingHost(ZeroDivisionError("division by zero")))
    failure = carry_out(qtbot, gateway, lambda: gateway.kill(1)).failure
    assert failure is not None and "ZeroDivisionError" in failure.answer
    assert "Kill node 1" in caplog.text
    gateway.close()


def test_traffic_is_made_when_first_asked_for(qtbot: QtBot) -> None:
    gateway = CommandGateway(RecordingHost(), RecordingTraffic)
    assert gateway.workload_status() is None and not gateway.workload_running
    carry_out(qtbot, gateway, gateway.start_workload)
    assert gateway.workload_running
    carry_out(qtbot, gateway, lambda: gateway.set_workload_rate(500.0))
    carry_out(qtbot, gateway, lambda: gateway.set_workload_acks("1"))
    refused = carry_out(qtbot, gateway, lambda: gateway.set_workload_rate(-1))
    assert refused.failure is not None and "50,000" in refused.failure.answer
    carry_out(qtbot, gateway, gateway.stop_workload)
    assert not gateway.workload_running
    gateway.close()
    assert gateway.workload_status() == ("127.0.0.1:9092", 500.0, "1", "close")


def test_after_the_end_nothing_is_carried_out(qtbot: QtBot) -> None:
    host = RecordingHost()
    gateway = CommandGateway(host)
    gateway.close()
    gateway.close()
    assert carry_out(qtbot, gateway, lambda: gateway.kill(1)).failure is not None
    assert host.asked == []


def test_failures_of_the_start_say_what_to_do() -> None:
    busy = describe_failure("Start the cluster", PortInUse("127.0.0.1", 9092, 9192, 3))
    assert "9192" in busy.advice
    assert describe_failure("Kill node 9", HostError("There is no node 9.")).answer == "There is no node 9."
    assert describe_failure("Start the cluster", OSError("disk full")).advice


def test_the_bridge_loads_no_protocol_before_the_first_picture() -> None:
    code = "import sys, kafkalab.app; print(any(name.startswith(('kio', 'kafkalab.engine.protocol')) for name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    )
    assert done.stdout.strip() == "False"
