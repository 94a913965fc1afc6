"""The whole window over a model with a story in it, its commands going to a host that notes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QSettings, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QDockWidget, QWidget
from pytestqt.qtbot import QtBot

from kafkalab.ui.bridge.command_gateway import CommandGateway
from kafkalab.ui.itemmodels.export import write_table
from kafkalab.ui.itemmodels.palette import ReasonRole
from kafkalab.ui.main_window import MainWindow
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link
from kafkalab.ui.model.things import NoticeAction
from kafkalab.ui.panels.stage import CLIENTS, CLUSTER, FAILOVER, GROUPS, TOPIC, VIEWS
from kafkalab.ui.theme.tokens import DARK, LIGHT
from tests.support import telemetry_samples as samples
from tests.ui.window.fakes import NotingHost, NotingTraffic

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")

MakeWindow = Callable[[], MainWindow]


@pytest.fixture
def model() -> ClusterModel:
    return ClusterModel()


@pytest.fixture
def cluster(model: ClusterModel) -> samples.SampleCluster:
    return samples.picture(model)


@pytest.fixture
def host() -> NotingHost:
    return NotingHost()


@pytest.fixture
def gateway(qtbot: QtBot, host: NotingHost, model: ClusterModel) -> Iterator[CommandGateway]:
    made = CommandGateway(host, NotingTraffic, node_name=model.node_name)
    yield made
    made.close()


@pytest.fixture
def make_window(qtbot: QtBot, model: ClusterModel, gateway: CommandGateway, tmp_path: Path) -> Iterator[MakeWindow]:
    made: list[MainWindow] = []

    def make() -> MainWindow:
        settings = QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)
        if not settings.contains("theme"):
            settings.setValue("theme", "dark")
        window = MainWindow(model, gateway, settings)
        made.append(window)
        window.resize(1440, 900)
        window.show()
        qtbot.waitExposed(window)
        return window

    yield make
    for window in made:
        window.finish_closing()
        window.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


@pytest.fixture
def window(cluster: samples.SampleCluster, make_window: MakeWindow) -> MainWindow:
    return make_window()


def _asked(qtbot: QtBot, gateway: CommandGateway, act: Callable[[], object]) -> None:
    with qtbot.waitSignal(gateway.finished):
        act()


# --- what it shows -----------------------------------------------------------------------------------------


def test_all_parts_agree(window: MainWindow, model: ClusterModel) -> None:
    assert window.top_bar.pill.text() == model.health.text == "Degraded · 9 under-replicated"
    assert window.top_bar.bootstrap.address() == "127.0.0.1:9092,127.0.0.1:9093,127.0.0.1:9094"
    counts, dropped, _ = window.status.texts()
    assert counts == "3 brokers · 9 partitions · 4 clients"
    assert dropped == "0 events dropped"
    assert window.timeline.model.rowCount() == len(model.timeline)


def test_every_view_paints_in_both_themes(window: MainWindow) -> None:
    for theme in ("light", "dark"):
        window.set_theme_choice(theme)
        for name in VIEWS:
            window.stage.show_view(name)
            QApplication.processEvents()
            assert not window.grab().isNull()
    assert window.theme is DARK


def test_everything_that_takes_part_has_an_accessible_name(window: MainWindow) -> None:
    for widget in window.findChildren(QWidget):
        if widget.focusPolicy() is Qt.FocusPolicy.NoFocus or not widget.isVisible() or widget.objectName().startswith("qt_"):
            continue
        named = widget.accessibleName() or getattr(widget, "text", lambda: "")() or widget.windowTitle()
        assert named or widget.parent().accessibleName(), widget


def test_an_empty_cluster_shows_empty_panels_and_no_errors(qtbot: QtBot, make_window: MakeWindow) -> None:
    window = make_window()
    for name in VIEWS:
        window.stage.show_view(name)
        QApplication.processEvents()
    assert window.top_bar.pill.text() == "Starting"
    assert not window.registry["node.kill"].isEnabled()
    assert "Select" in window.registry["node.kill"].toolTip()


def test_it_follows_the_cluster(qtbot: QtBot, window: MainWindow, model: ClusterModel, cluster: samples.SampleCluster) -> None:
    cluster.restart(2)
    for _ in range(20):
        cluster.advance(200)
        window.apply(cluster.feed(model))
    qtbot.waitUntil(lambda: window.top_bar.pill.text() == "Healthy")
    assert window.explorer.model.index_of(Link.node(2)).data() == "2 in service"


# --- one selection ----------------------------------------------------------------------------------------


def test_a_selection_is_the_same_everywhere(window: MainWindow) -> None:
    link = Link.of_partition("orders", 1)
    window.cluster_view.selected.emit(link)
    assert window.selection.link == link
    assert window.failover_view.selection == link
    assert window.explorer.tree.currentIndex().data().startswith("1 ★3")
    assert window.inspector.shown is not None and window.inspector.shown.title == "orders-1"
    row = window.timeline.model.row_at(window.timeline.table.currentIndex().row())
    assert row is not None and row.link == link


@pytest.mark.parametrize(
    ("link", "view"),
    [
        (Link.topic("payments"), TOPIC),
        (Link.of_partition("orders", 1), TOPIC),
        (Link.group("billing"), GROUPS),
        (Link.client("c:order-producer"), CLIENTS),
        (Link.node(2), CLUSTER),
        (Link.failover(), FAILOVER),
    ],
)
def test_a_link_leads_to_the_view_that_tells_most(window: MainWindow, link: Link, view: str) -> None:
    window.show_link(link)
    assert window.stage.current == view


def test_the_pill_leads_to_the_culprit(qtbot: QtBot, window: MainWindow) -> None:
    window.stage.show_view(CLIENTS)
    qtbot.mouseClick(window.top_bar.pill, Qt.MouseButton.LeftButton)
    assert window.stage.current == CLUSTER
    assert window.selection.link == Link.node(2)


def test_back_and_forward(window: MainWindow) -> None:
    window.selection.select(Link.node(1))
    window.selection.select(Link.topic("orders"))
    window.registry["go.back"].trigger()
    assert window.selection.link == Link.node(1)
    window.registry["go.forward"].trigger()
    assert window.selection.link == Link.topic("orders")


# --- commands ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("link", "name", "asked"),
    [
        (Link.node(1), "node.kill", ("kill", 1)),
        (Link.of_partition("orders", 1), "node.kill", ("kill", 3)),
        (Link.replica("orders", 1, 1), "node.stop", ("stop", 1)),
        (Link.node(103), "node.pause", ("pause", 103)),
        (Link.node(2), "node.restart", ("restart", 2)),
        (Link.quorum(), "node.kill", ("kill", 102)),
    ],
)
def test_verbs_reach_the_host(
    qtbot: QtBot, window: MainWindow, gateway: CommandGateway, host: NotingHost, link: Link, name: str, asked: tuple[object, ...]
) -> None:
    window.selection.select(link)
    _asked(qtbot, gateway, window.registry[name].trigger)
    assert host.asked == [asked]


def test_a_paused_node_is_resumed(
    qtbot: QtBot, window: MainWindow, model: ClusterModel, cluster: samples.SampleCluster, gateway: CommandGateway, host: NotingHost
) -> None:
    cluster.pause(3)
    window.apply(cluster.feed(model))
    window.selection.select(Link.node(3))
    assert window.registry["node.pause"].text() == "Resume broker 3"
    _asked(qtbot, gateway, window.registry["node.pause"].trigger)
    assert host.asked == [("resume", 3)]


def test_what_cannot_be_done_says_why(window: MainWindow) -> None:
    window.selection.select(Link.node(2))
    assert not window.registry["node.kill"].isEnabled()
    assert window.registry["node.kill"].toolTip() == "broker 2 is killed already."
    assert window.registry["node.restart"].isEnabled()


def test_the_notice_restarts_the_broker_and_tells_why(
    qtbot: QtBot, window: MainWindow, model: ClusterModel, gateway: CommandGateway, host: NotingHost
) -> None:
    assert model.notice is not None
    actions = {action.action: action for action in model.notice.actions}
    _asked(qtbot, gateway, lambda: window.cluster_view.action_requested.emit(actions["restart"]))
    assert host.asked == [("restart", 2)]
    window.cluster_view.action_requested.emit(NoticeAction("Why?", "why", Link.node(2)))
    row = window.timeline.model.row_at(window.timeline.table.currentIndex().row())
    assert row is not None and row.link == Link.node(2)


def test_a_failure_is_told_with_what_was_tried(qtbot: QtBot, window: MainWindow, gateway: CommandGateway, host: NotingHost) -> None:
    host.refuses = "Node 1 cannot be killed: it is stopping."
    window.selection.select(Link.node(1))
    _asked(qtbot, gateway, window.registry["node.kill"].trigger)
    assert "Could not kill broker 1." in window.stage.banner.text()
    assert host.refuses in window.stage.banner.text()


def test_context_menus_offer_the_same_actions(window: MainWindow) -> None:
    window.selection.select(Link.node(1))
    menu = window.context_menu(Link.node(1))
    names = [action.objectName() for action in menu.actions() if action.objectName()]
    assert names[:4] == ["node.kill", "node.stop", "node.pause", "node.restart"]
    assert names[4:10] == ["link.cut", "link.delay", "link.slow", "link.lose", "clock.jump", "link.heal"]
    assert names[10:] == ["disk.break", "disk.heal", "node.power_loss", "quorum.add", "quorum.remove"]
    assert menu.actions()[0] is window.registry["node.kill"]
    menu.deleteLater()


def test_the_palette_finds_verbs_and_places(qtbot: QtBot, window: MainWindow, gateway: CommandGateway, host: NotingHost) -> None:
    window.open_palette()
    qtbot.keyClicks(window.palette_panel.field, "kill broker 2")
    assert window.palette_panel.model.index(0, 0).data(ReasonRole) == "broker 2 is killed already."
    window.palette_panel.field.clear()
    qtbot.keyClicks(window.palette_panel.field, "stop broker 1")
    _asked(qtbot, gateway, lambda: qtbot.keyClick(window.palette_panel.field, Qt.Key.Key_Return))
    assert host.asked == [("stop", 1)]
    window.open_palette()
    qtbot.keyClicks(window.palette_panel.field, "payments-2")
    qtbot.keyClick(window.palette_panel.field, Qt.Key.Key_Return)
    assert window.selection.link == Link.of_partition("payments", 2)
    assert window.stage.current == TOPIC


def test_shortcuts_are_unique(window: MainWindow) -> None:
    keys = [entry.action.shortcut().toString() for entry in window.registry if not entry.action.shortcut().isEmpty()]
    assert len(keys) == len(set(keys))


def test_a_topic_is_created_through_the_dialog(qtbot: QtBot, window: MainWindow, gateway: CommandGateway, host: NotingHost) -> None:
    window.registry["topic.create"].trigger()
    dialog = window.commands.create_dialog
    assert dialog is not None
    dialog.set_values(name="fresh", partitions=4, replication_factor=2, configs="retention.ms=nonsense")
    assert "retention.ms" in dialog.fault()
    dialog.set_values(name="fresh", partitions=4, replication_factor=2, configs="retention.ms=60000")
    _asked(qtbot, gateway, dialog.submit)
    assert host.asked == [("create_topic", "fresh", 4, 2, {"retention.ms": "60000"})]
    assert not dialog.isVisible()


def test_a_refused_topic_keeps_its_dialog(qtbot: QtBot, window: MainWindow, gateway: CommandGateway, host: NotingHost) -> None:
    host.refuses = "Creating topic 'fresh': INVALID_REPLICATION_FACTOR (38)"
    window.registry["topic.create"].trigger()
    dialog = window.commands.create_dialog
    assert dialog is not None
    dialog.set_values(name="fresh", partitions=1, replication_factor=1)
    _asked(qtbot, gateway, dialog.submit)
    assert dialog.isVisible()
    dialog.reject()


def test_a_topic_is_deleted_by_its_name(qtbot: QtBot, window: MainWindow, gateway: CommandGateway, host: NotingHost) -> None:
    window.selection.select(Link.topic("orders"))
    assert window.registry["topic.delete"].text() == "Delete topic orders…"
    window.registry["topic.delete"].trigger()
    dialog = window.commands.delete_dialog
    assert dialog is not None
    qtbot.keyClicks(dialog.field, "orders")
    _asked(qtbot, gateway, dialog.submit)
    assert host.asked == [("delete_topic", "orders")]


def test_the_sample_traffic_is_switched_and_set(qtbot: QtBot, window: MainWindow, gateway: CommandGateway) -> None:
    window.registry.refresh()
    _asked(qtbot, gateway, window.registry["traffic.toggle"].trigger)
    assert gateway.workload_running
    assert window.registry["traffic.toggle"].text() == "Stop the sample traffic"
    window.show_traffic()
    _asked(qtbot, gateway, lambda: window.traffic_controls.acks_wanted.emit("1"))
    status = gateway.workload_status()
    assert isinstance(status, NotingTraffic) and status.acks == "1"
    _asked(qtbot, gateway, window.registry["traffic.toggle"].trigger)
    assert not gateway.workload_running


def test_the_bootstrap_address_is_copied(qtbot: QtBot, window: MainWindow) -> None:
    qtbot.mouseClick(window.top_bar.bootstrap, Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == "127.0.0.1:9092,127.0.0.1:9093,127.0.0.1:9094"


def test_copy_takes_the_facts_of_what_is_selected(window: MainWindow) -> None:
    window.selection.select(Link.of_partition("orders", 1))
    window.copy()
    assert QGuiApplication.clipboard().text().startswith("orders-1\nleader epoch\t4 → 5\n")


def test_every_view_has_its_facts_as_a_table(window: MainWindow, tmp_path: Path) -> None:
    for name in VIEWS:
        path = tmp_path / f"{name}.json"
        window.exports.write_to(path, lambda path, name=name: write_table(window.facts_of(name), path))  # type: ignore[misc]
        assert json.loads(path.read_text(encoding="utf-8")), name
    window.exports.write_to(tmp_path / "no" / "where.csv", lambda path: write_table(window.timeline.model, path))
    assert "Could not write" in window.stage.banner.text()


# --- what it remembers ---------------------------------------------------------------------------------------


def test_layout_and_choices_are_found_again(qtbot: QtBot, window: MainWindow, make_window: MakeWindow) -> None:
    window.stage.show_view(FAILOVER)
    window.set_theme_choice("light")
    window.set_show_internal(True)
    dock = window.findChild(QDockWidget, "dock.inspector")
    assert isinstance(dock, QDockWidget)
    dock.hide()
    window.save_settings()

    again = make_window()
    assert again.stage.current == FAILOVER
    assert again.theme is LIGHT
    assert again.registry["view.internal"].isChecked()
    dock = again.findChild(QDockWidget, "dock.inspector")
    assert isinstance(dock, QDockWidget) and dock.isHidden()
    again.reset_layout()
    assert not dock.isHidden()


def test_settings_that_make_no_sense_are_passed_over(cluster: samples.SampleCluster, make_window: MakeWindow, tmp_path: Path) -> None:
    store = QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)
    for key in ("theme", "layout/view", "layout/geometry", "layout/docks", "internal_topics", "layout/version"):
        store.setValue(key, "nonsense")
    store.sync()
    window = make_window()
    assert window.stage.current == CLUSTER
    assert window.size().width() == 1440


# --- leaving ---------------------------------------------------------------------------------------------------


def test_leaving_waits_for_the_cluster(qtbot: QtBot, window: MainWindow, model: ClusterModel, cluster: samples.SampleCluster) -> None:
    with qtbot.waitSignal(window.closing):
        window.close()
    assert window.isVisible()
    window.close()
    assert window.isVisible()
    cluster.stop(1)
    window.apply(cluster.feed(model))
    window.finish_closing()
    assert not window.isVisible()
