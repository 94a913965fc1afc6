"""The program as a whole: what it is started with, what stands in its way, and a run over a real cluster."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings, QTimer
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from kafkalab.app import PORT, AppOptions, LateHost, LateReader, Program, default_data_dir, options_from_environment, run
from kafkalab.engine.cluster.errors import HostError, PortInUse
from kafkalab.ui.bridge.command_gateway import CommandResult
from kafkalab.ui.model.states import HealthLevel, NodeState

pytestmark = [pytest.mark.qt_log_ignore("This plugin does not support"), pytest.mark.timeout(300)]

RUN_MS_MAX = 150_000


def test_the_environment_says_where_and_how_many(tmp_path: Path) -> None:
    assert options_from_environment({}) == AppOptions(port=PORT, brokers=3, controllers=3)
    assert AppOptions().folder == default_data_dir()
    said = options_from_environment({"KAFKALAB_DATA_DIR": str(tmp_path), "KAFKALAB_PORT": "0", "KAFKALAB_BROKERS": "1"})
    assert (said.folder, said.port, said.brokers, said.controllers) == (tmp_path, 0, 1, 3)
    with pytest.raises(SystemExit, match="KAFKALAB_PORT was 'many'"):
        options_from_environment({"KAFKALAB_PORT": "many"})


def test_before_the_start_nothing_happened_and_nothing_can_be_asked(tmp_path: Path) -> None:
    reader = LateReader()
    host = LateHost(AppOptions(data_dir=tmp_path), reader)
    assert reader.drain() == ([], {}, 0)
    with pytest.raises(HostError, match="not running"):
        host.kill(1)
    host.close()
    with pytest.raises(HostError, match="closing"):
        host.start()


def test_a_busy_port_is_told_and_another_start_can_be_tried(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        host = LateHost(AppOptions(data_dir=tmp_path, port=taken.getsockname()[1], brokers=1, controllers=1), LateReader())
        with pytest.raises(PortInUse) as caught:
            host.start()
        assert host.failure is caught.value
        assert host.may_start
    host.close()


def test_the_options_of_the_command_line_reach_the_cluster(tmp_path: Path) -> None:
    host = LateHost(AppOptions(data_dir=tmp_path, port=0, brokers=1, controllers=1, combined=True, log_dirs=2), LateReader())
    host.start()
    host.close()
    assert sorted(path.parent.name for path in (tmp_path / "node-1").glob("*/meta.properties")) == ["dir-1", "dir-2"]


@pytest.mark.expects_warnings  # the broker's own, of the registration that has to expire before it may come back
def test_a_run_over_a_real_cluster(qtbot: QtBot, tmp_path: Path) -> None:
    """Start, traffic, a kill and a restart in the window, and an orderly end."""
    seen: dict[str, object] = {}
    settings_file = tmp_path / "settings" / "window.ini"
    settings = QSettings(str(settings_file), QSettings.Format.IniFormat)
    settings.setValue("theme", "dark")
    settings.sync()

    def watch(program: Program) -> None:
        window, model = program.window, program.cluster
        steps = QTimer(window)
        steps.setInterval(50)

        def finished(result: CommandResult) -> None:
            seen[result.command.name] = str(result.failure) if result.failure else "done"
            if result.command.name == "start_cluster" and result.failure:
                window.close()

        def step() -> None:
            group = model.groups.get("billing")
            is_at_work = group is not None and group.state == "Stable" and model.produce_rate > 0
            if "kill" not in seen and is_at_work and model.health.level is HealthLevel.HEALTHY:
                seen["kill"] = "asked"
                window.commands.act("kill", 2)
            elif seen.get("kill") == "done" and model.nodes[2].state is NodeState.KILLED and "restart" not in seen:
                seen["notice"] = model.notice.text if model.notice is not None else ""
                seen["restart"] = "asked"
                window.commands.act("restart", 2)
            elif seen.get("restart") == "done" and model.health.level is HealthLevel.HEALTHY and "left" not in seen:
                seen["timeline"] = [row.headline for row in model.timeline]
                seen["bootstrap"] = window.top_bar.bootstrap.address()
                seen["left"] = True
                window.close()

        program.gateway.finished.connect(finished)
        steps.timeout.connect(step)
        steps.start()
        # Should a step never come, the run ends all the same, and the assertions tell which.
        QTimer.singleShot(RUN_MS_MAX, window, window.close)

    options = AppOptions(data_dir=tmp_path / "data", port=0)
    assert run(options, settings_file=settings_file, on_shown=watch) == 0
    assert seen["start_cluster"] == "done"
    assert seen["start_workload"] == "done"
    assert (seen.get("kill"), seen.get("restart"), seen.get("left")) == ("done", "done", True)
    assert str(seen["notice"]).startswith("Broker 2 is down.")
    timeline = seen["timeline"]
    assert isinstance(timeline, list) and "broker 2 killed" in timeline
    assert str(seen["bootstrap"]).count(",") == 2
    assert (tmp_path / "data" / "cluster.json").is_file()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.expects_warnings
def test_a_cluster_whose_process_dies_can_be_started_again(qtbot: QtBot, tmp_path: Path) -> None:
    """The window stays, says what happened, and its button brings the cluster back."""
    seen: dict[str, object] = {}
    settings_file = tmp_path / "settings" / "window.ini"
    settings = QSettings(str(settings_file), QSettings.Format.IniFormat)
    settings.setValue("traffic", False)
    settings.sync()

    def watch(program: Program) -> None:
        window, model = program.window, program.cluster
        steps = QTimer(window)
        steps.setInterval(50)
        starts: list[CommandResult] = []

        def finished(result: CommandResult) -> None:
            if result.command.name == "start_cluster":
                starts.append(result)
                if result.failure:
                    window.close()

        def step() -> None:
            if "killed" not in seen and starts and model.health.level is HealthLevel.HEALTHY:
                seen["killed"] = True
                pid = program.host.running().pid
                os.kill(pid, signal.SIGKILL)
            elif (
                seen.get("killed")
                and "banner" not in seen
                and window.stage.banner.text()
                # The banner comes at once, the nodes' ends with the next look at the telemetry.
                and not any(node.state is NodeState.IN_SERVICE for node in model.nodes.values())
            ):
                seen["banner"] = window.stage.banner.text()
                seen["nodes"] = {node.state for node in model.nodes.values()}
                (button,) = [one for one in window.stage.banner.findChildren(QPushButton) if one.text() == "Start again"]
                button.click()
                seen["banner after the click"] = window.stage.banner.text()
            elif len(starts) == 2 and model.health.level is HealthLevel.HEALTHY and "left" not in seen:
                seen["left"] = {node.state for node in model.nodes.values()}
                seen["timeline"] = [row.headline for row in model.timeline]
                window.close()

        program.gateway.finished.connect(finished)
        steps.timeout.connect(step)
        steps.start()
        # Should a step never come, the run ends all the same, and the assertions tell which.
        QTimer.singleShot(RUN_MS_MAX, window, window.close)

    options = AppOptions(data_dir=tmp_path / "data", port=0, brokers=1, controllers=1)
    assert run(options, settings_file=settings_file, on_shown=watch) == 0
    assert seen.get("killed")
    assert seen.get("banner") == "The process of the cluster ended (signal 9). Its nodes are gone with it."
    assert seen["nodes"] == {NodeState.KILLED}
    assert seen["banner after the click"] == ""
    assert seen.get("left") == {NodeState.IN_SERVICE}
    timeline = seen["timeline"]
    assert isinstance(timeline, list) and "broker 1 killed" in timeline
