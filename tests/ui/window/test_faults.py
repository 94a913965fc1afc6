"""Breaking links from the window: menus, palette, buttons; one action each, which says what a script would say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QSettings
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu, QPushButton
from pytestqt.qtbot import QtBot

from kafkalab.engine.telemetry import events as ev
from kafkalab.engine.telemetry import levels as lv
from kafkalab.ui.bridge.command_gateway import CommandGateway
from kafkalab.ui.dialogs.deeds import DiskDialog, LinkFaultDialog
from kafkalab.ui.main_window import MainWindow
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.faults import CLIENTS
from kafkalab.ui.model.links import Link
from kafkalab.ui.model.things import NoticeAction
from tests.support import telemetry_samples as samples
from tests.ui.window.fakes import NotingHost, NotingTraffic

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")


@pytest.fixture
def model() -> ClusterModel:
    return ClusterModel()


@pytest.fixture
def cluster(model: ClusterModel) -> samples.SampleCluster:
    return samples.running(model, topics=samples.LOOK_TOPICS)


@pytest.fixture
def host() -> NotingHost:
    return NotingHost()


@pytest.fixture
def window(qtbot: QtBot, model: ClusterModel, cluster: samples.SampleCluster, host: NotingHost, tmp_path: Path) -> Iterator[MainWindow]:
    gateway = CommandGateway(host, NotingTraffic, node_name=model.node_name)
    made = MainWindow(model, gateway, QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat))
    made.resize(1440, 900)
    made.show()
    qtbot.waitExposed(made)
    yield made
    gateway.close()
    made.finish_closing()
    made.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


def _done(qtbot: QtBot, window: MainWindow, act: Callable[[], object]) -> None:
    with qtbot.waitSignal(window.gateway.finished):
        act()


def _actions(menu: QMenu) -> dict[str, QAction]:
    return {action.text(): action for action in menu.actions() if action.text()}


def test_a_node_is_isolated_from_its_context_menu(qtbot: QtBot, window: MainWindow, host: NotingHost) -> None:
    window.selection.select(Link.node(102))
    menu = window.context_menu(Link.node(102))
    from_whom = next(action.menu() for action in menu.actions() if action.text() == "Isolate controller 102 from")
    assert isinstance(from_whom, QMenu)
    choices = _actions(from_whom)
    assert list(choices)[:4] == ["all other nodes", "the other controllers", "the brokers", "clients"]
    assert "controller 102" not in choices and {"broker 1", "broker 2", "broker 3", "controller 101"} <= set(choices)
    assert choices["all other nodes"].toolTip() == "Python: lab.isolate(102)"
    _done(qtbot, window, choices["all other nodes"].trigger)
    _done(qtbot, window, choices["broker 2"].trigger)
    assert host.asked == [("isolate", 102, None), ("isolate", 102, 2)]


def test_every_way_to_break_a_link_is_an_action_with_its_python(window: MainWindow) -> None:
    window.selection.select(Link.node(2))
    window.registry.refresh()
    names = ["link.isolate", "link.cut", "link.delay", "link.slow", "link.lose", "clock.jump", "node.kill", "node.pause"]
    tips = {name: window.registry[name].toolTip() for name in names}
    assert all("Python: lab." in tip for tip in tips.values()), tips
    assert tips["link.isolate"].endswith("lab.isolate(2)") and tips["node.kill"].endswith("lab.kill(2)")
    assert window.registry["link.delay"].text() == "Delay the link of broker 2…"
    faults = next(action.menu() for action in window.menus.actions() if action.text() == "Faults")
    assert isinstance(faults, QMenu)
    assert {"link.isolate", "link.heal", "link.heal_all", "clock.jump"} <= {action.objectName() for action in faults.actions()}


def test_figures_are_asked_for(qtbot: QtBot, window: MainWindow, host: NotingHost) -> None:
    window.selection.select(Link.between(1, 2))
    window.registry["link.delay"].trigger()
    dialog = window.commands.faults.dialog
    assert isinstance(dialog, LinkFaultDialog) and (dialog.a, dialog.b) == (1, 2)
    dialog.set_values(ms=250, one_way=True)
    _done(qtbot, window, dialog.submit)
    assert host.asked == [("delay", 1, 2, 250.0, 0.0, True)]
    qtbot.waitUntil(lambda: not dialog.isVisible())


def test_a_refusal_stays_in_the_dialog(qtbot: QtBot, window: MainWindow, host: NotingHost) -> None:
    window.selection.select(Link.node(1))
    window.registry["clock.jump"].trigger()
    dialog = window.commands.faults.dialog
    assert dialog is not None
    host.refuses = "There is no node 1."
    _done(qtbot, window, dialog.submit)
    assert dialog.isVisible() and not window.stage.banner.text()
    dialog.reject()


def test_healing_is_offered_where_something_is_wrong(
    qtbot: QtBot, window: MainWindow, host: NotingHost, cluster: samples.SampleCluster, model: ClusterModel
) -> None:
    window.selection.select(Link.node(2))
    window.registry.refresh()
    assert window.registry["link.heal"].toolTip() == "Nothing is wrong with the links of broker 2."
    assert not window.registry["link.heal_all"].isEnabled()
    cluster.isolate(2, 3)
    cluster.isolate(2, CLIENTS)
    window.apply(cluster.feed(model))
    window.refresh()
    assert window.registry["link.heal"].text() == "Heal the links of broker 2"
    shown = window.inspector.facts()
    assert [(fact.label, fact.value) for fact in shown[:2]] == [("link to clients", "✕ cut"), ("link to broker 3", "✕ cut")]
    heal = next(button for button in window.inspector.findChildren(QPushButton) if button.accessibleName() == "Heal: link to broker 3")
    _done(qtbot, window, heal.click)
    _done(qtbot, window, window.registry["link.heal"].trigger)
    _done(qtbot, window, window.registry["link.heal_all"].trigger)
    _done(qtbot, window, lambda: window.commands.take_notice_action(NoticeAction("Heal all links", "heal", Link.cluster())))
    assert host.asked == [("heal", 2, 3), ("heal", 2, None), ("heal", None, None), ("heal", None, None)]
    assert window.explorer.model.index_of(Link.node(2)).data() == "2 in service · 2 cuts"


def test_a_link_has_facts_of_its_own(window: MainWindow, cluster: samples.SampleCluster, model: ClusterModel) -> None:
    cluster.cut(1, 2)
    cluster.delay(2, 1, 50, one_way=True)
    window.apply(cluster.feed(model))
    window.show_link(Link.between(1, 2))
    window.refresh()
    said = window.inspector.shown
    assert said is not None and (said.title, said.badge) == ("broker 1 – broker 2", "✕ cut")
    assert [(fact.label, fact.value) for fact in said.facts[:2]] == [
        ("broker 1 → broker 2", "cut"),
        ("broker 2 → broker 1", "50 ms late"),
    ]
    menu = window.context_menu(Link.between(1, 2))
    assert [action.objectName() for action in menu.actions() if action.objectName()][:2] == ["link.heal", "link.heal_all"]


def test_a_node_is_isolated_from_all_of_a_kind_at_once(qtbot: QtBot, window: MainWindow, host: NotingHost) -> None:
    entries = {entry.title: entry for entry in window.commands.faults.palette_entries()}
    _done(qtbot, window, entries["Isolate broker 2 from the other brokers"].run)
    _done(qtbot, window, entries["Isolate broker 2 from the controllers"].run)
    assert host.asked == [("isolate", 2, one) for one in (1, 3, 101, 102, 103)]
    assert entries["Isolate broker 2 from the other brokers"].kind == "for node in [1, 3]: lab.isolate(2, node)"
    assert "Isolate controller 102 from the other controllers" in entries and "Isolate controller 102 from the brokers" in entries


def test_the_palette_isolates_by_name(qtbot: QtBot, window: MainWindow, host: NotingHost) -> None:
    entries = {entry.title: entry for entry in window.commands.palette_entries()}
    assert entries["Isolate broker 1 from clients"].kind == "lab.isolate(1, 'clients')"
    _done(qtbot, window, entries["Isolate broker 1 from controller 102"].run)
    assert host.asked == [("isolate", 1, 102)]


def test_disks_break_and_power_fails_from_the_window(qtbot: QtBot, window: MainWindow, host: NotingHost) -> None:
    window.selection.select(Link.node(2))
    window.registry.refresh()
    assert window.registry["disk.break"].text() == "Break the disk of broker 2…"
    window.registry["disk.break"].trigger()
    dialog = window.commands.faults.dialog
    assert isinstance(dialog, DiskDialog) and dialog.python() == "lab.fill_disk(2)"
    dialog.set_values("read_only", 2)
    assert dialog.python() == "lab.break_disk(2, 2, kind='read_only')"
    _done(qtbot, window, dialog.submit)
    dialog.set_values("broken")
    assert dialog.python() == "lab.break_disk(2)" and dialog.deed().text == "Break the disk of broker 2"
    _done(qtbot, window, window.registry["disk.heal"].trigger)
    _done(qtbot, window, window.registry["node.power_loss"].trigger)
    assert host.asked == [("break_disk", 2, 2, "read_only"), ("heal_disk", 2), ("power_loss", 2)]
    menu = [action.objectName() for action in window.context_menu(Link.node(2)).actions()]
    assert {"disk.break", "disk.heal", "node.power_loss"} <= set(menu)


def test_leaders_are_elected_and_replicas_moved(
    qtbot: QtBot, window: MainWindow, host: NotingHost, cluster: samples.SampleCluster, model: ClusterModel
) -> None:
    partition = model.topics["orders"].partitions[0]
    window.selection.select(partition.link)
    window.registry.refresh()
    assert "leads already" in window.registry["partition.elect"].toolTip()
    assert "an unclean election is for" in window.registry["partition.elect_unclean"].toolTip()
    window.registry["partition.reassign"].trigger()
    dialog = window.commands.faults.dialog
    assert dialog is not None
    dialog.set_replicas("2, 3")  # type: ignore[attr-defined]
    _done(qtbot, window, dialog.submit)
    cluster.reassign("orders", 0, (), (1,))
    window.apply(cluster.feed(model))
    window.registry.refresh()
    _done(qtbot, window, window.registry["partition.reassign_back"].trigger)
    _done(qtbot, window, window.registry["cluster.elect"].trigger)
    assert host.asked == [("reassign", "orders", 0, [2, 3]), ("reassign", "orders", 0, None), ("elect_leaders", None, False)]


def test_voters_come_and_go(
    qtbot: QtBot, window: MainWindow, host: NotingHost, cluster: samples.SampleCluster, model: ClusterModel
) -> None:
    window.selection.select(Link.node(1))
    window.registry.refresh()
    assert window.registry["quorum.remove"].toolTip() == "Select a controller first."
    window.selection.select(Link.node(103))
    window.registry.refresh()
    assert window.registry["quorum.remove"].text() == "Remove controller 103"
    assert window.registry["quorum.remove"].toolTip().endswith("Python: lab.remove_controller(103)")
    _done(qtbot, window, window.registry["quorum.remove"].trigger)
    _done(qtbot, window, window.registry["quorum.add"].trigger)
    assert host.asked == [("remove_controller", 103), ("add_controller",)]
    cluster.controllers.remove(103)
    stopped = ev.NodeStopped(at_ms=cluster.now_ms, node_id=103, cause="you")
    model.apply([stopped], {lv.QuorumKey(103): None}, 0, cluster.now_ms)
    cluster.run(model, 200)
    assert [node.node_id for node in model.controllers] == [101, 102]
    assert model.health.text == "Healthy"
