"""Topic, groups and clients: what they show of the model, and what they say when there is nothing to show."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent, QObject, QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QImage
from PySide6.QtTest import QAbstractItemModelTester
from PySide6.QtWidgets import QApplication, QStyleOptionHeader, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.coordinator.group.states import VALID_PREVIOUS, GroupState
from kafkalab.ui.itemmodels.export import as_csv, as_json, table_of, write_table
from kafkalab.ui.itemmodels.facts import band_table, group_table, replica_table
from kafkalab.ui.itemmodels.roles import LinkRole
from kafkalab.ui.itemmodels.tables import Column, SortedTable, TableModel
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link, LinkKind
from kafkalab.ui.model.things import Partition, Replica
from kafkalab.ui.panels.actions import ActionRegistry
from kafkalab.ui.panels.clients import ClientsView
from kafkalab.ui.panels.groups import GroupsView, rebalances
from kafkalab.ui.panels.pictures import write_picture
from kafkalab.ui.panels.row_table import RowTable
from kafkalab.ui.panels.selection import Selection
from kafkalab.ui.panels.topic import TopicView
from kafkalab.ui.panels.traffic import RATE_MAX, TrafficControls, rate_of, step_of
from kafkalab.ui.panels.widgets import ElidedLabel
from kafkalab.ui.plots.replica_bars import FIGURES_HEIGHT, _row_height, round_up, tail_span
from kafkalab.ui.plots.state_diagram import StateDiagram, in_order, spaced
from kafkalab.ui.theme.tokens import DARK, LIGHT
from tests.support.telemetry_samples import SampleCluster

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")


def _colours(view: QWidget) -> set[str]:
    image: QImage = view.grab().toImage()
    return {QColor(image.pixel(QPoint(x, y))).name() for x in range(0, image.width(), 3) for y in range(0, image.height(), 3)}


# --- topic -------------------------------------------------------------------------------------------


def test_the_topic_view_shows_what_is_selected(
    qtbot: QtBot, model: ClusterModel, broken: SampleCluster, selection: Selection, registry: ActionRegistry
) -> None:
    view = TopicView(model, selection, registry)
    qtbot.addWidget(view)
    view.resize(900, 600)
    view.show()
    assert view.topic_name == "orders"
    selection.select(Link.of_partition("payments", 2))
    assert view.topic_name == "payments"
    partition = view.bars.partition_at(40)
    assert partition is not None and partition.topic == "payments"
    chosen: list[Link] = []
    view.bars.selected.connect(chosen.append)
    qtbot.mouseClick(view.bars, Qt.MouseButton.LeftButton, pos=QPoint(300, 40))
    assert chosen == [partition.link]
    assert "offline" in view.bars.accessibleDescription()


def test_bars_are_painted_in_the_topics_colour(
    qtbot: QtBot, model: ClusterModel, broken: SampleCluster, selection: Selection, registry: ActionRegistry
) -> None:
    view = TopicView(model, selection, registry)
    qtbot.addWidget(view)
    view.resize(900, 600)
    for theme in (DARK, LIGHT):
        view.set_theme(theme)
        assert "#0072b2" in _colours(view.bars)


def test_without_topics_the_view_offers_one(qtbot: QtBot, model: ClusterModel, selection: Selection, registry: ActionRegistry) -> None:
    view = TopicView(model, selection, registry)
    qtbot.addWidget(view)
    assert view.topic_name == ""
    view.apply(SampleCluster().feed(model))
    view.show()
    assert view.topic_name == "orders"


def test_the_tail_axis_reaches_every_replica(model: ClusterModel, broken: SampleCluster) -> None:
    partitions = model.topics["orders"].sorted_partitions
    span = tail_span(partitions)
    for partition in partitions:
        for replica in partition.replicas.values():
            assert partition.log_end_offset - replica.log_end_offset < span


@pytest.mark.parametrize(("value", "rounded"), [(0, 1), (1, 1), (3, 5), (1_000, 1_000), (1_001, 2_000), (6_000, 10_000)])
def test_axes_are_round(value: int, rounded: int) -> None:
    assert round_up(value) == rounded


# --- groups --------------------------------------------------------------------------------------------


def test_the_groups_view_shows_state_assignment_and_lag(
    qtbot: QtBot, model: ClusterModel, healthy: SampleCluster, selection: Selection, registry: ActionRegistry
) -> None:
    view = GroupsView(model, selection, registry)
    qtbot.addWidget(view)
    view.resize(900, 700)
    view.show()
    assert view.group_id == "billing"
    assert view.diagram is not None and view.diagram.state() == "Stable"
    assert view.lag_plot is not None and view.lag_plot.curve_count() == len(model.groups["billing"].partitions)
    assert view.matrix.unowned() == []
    assert "billing-1: orders-" in view.matrix.accessibleDescription()
    assert [row.link.kind for row in rebalances(model.timeline, Link.group("billing"))][:1] == [LinkKind.GROUP]
    view.grab()


def test_without_groups_the_view_says_what_will_be_here(
    qtbot: QtBot, model: ClusterModel, selection: Selection, registry: ActionRegistry
) -> None:
    view = GroupsView(model, selection, registry)
    qtbot.addWidget(view)
    view.show()
    assert view.group_id == ""
    view.grab()


def test_the_diagram_is_the_coordinators_table(qtbot: QtBot) -> None:
    table = {str(state): frozenset(map(str, sources)) for state, sources in VALID_PREVIOUS.items()}
    upper, finals = in_order(table)
    assert finals == [GroupState.DEAD]
    assert upper == [GroupState.EMPTY, GroupState.PREPARING_REBALANCE, GroupState.COMPLETING_REBALANCE, GroupState.STABLE]
    diagram = StateDiagram(table)
    qtbot.addWidget(diagram)
    diagram.resize(800, diagram.height())
    assert set(diagram.boxes()) == set(table)
    diagram.set_state("Stable")
    assert diagram.accessibleName() == "State diagram: now Stable"
    assert DARK.accent in _colours(diagram)
    assert spaced("PreparingRebalance") == "Preparing rebalance"


# --- clients ---------------------------------------------------------------------------------------------


def test_the_clients_view_lists_connections_and_filters_them(
    qtbot: QtBot, model: ClusterModel, healthy: SampleCluster, selection: Selection, registry: ActionRegistry
) -> None:
    view = ClientsView(model, selection, registry)
    qtbot.addWidget(view)
    view.show()
    rows = view.table.model()
    QAbstractItemModelTester(rows, QAbstractItemModelTester.FailureReportingMode.Warning)
    clients = [one for one in model.connections.values() if one.client_key]
    assert rows.rowCount() == len(clients)
    names = [rows.index(row, 0).data() for row in range(rows.rowCount())]
    assert names == sorted(names)
    link = rows.index(1, 0).data(LinkRole)
    selection.select(link)
    assert view.table.currentIndex().row() == 1
    healthy.kill(2)
    view.apply(healthy.feed(model))
    assert rows.rowCount() == len([one for one in model.connections.values() if one.client_key])


def test_tables_sort_by_value_and_keep_rows_in_place(qtbot: QtBot) -> None:
    columns = [
        Column[tuple[str, int]]("name", lambda row: row[0]),
        Column[tuple[str, int]]("n", lambda row: f"{row[1]} B", lambda row: row[1]),
    ]
    table: TableModel[tuple[str, int]] = TableModel(columns, lambda row: row[0], lambda _: None)
    QAbstractItemModelTester(table, QAbstractItemModelTester.FailureReportingMode.Warning)
    table.set_rows([("a", 9), ("b", 100), ("c", 20)])
    ordered = SortedTable(table)
    ordered.sort(1)
    assert [ordered.index(row, 0).data() for row in range(3)] == ["a", "c", "b"]
    table.set_rows([("a", 9), ("d", 1), ("c", 20)])
    assert [ordered.index(row, 0).data() for row in range(3)] == ["d", "a", "c"]
    ordered.set_filter("20 B")
    assert [ordered.index(row, 0).data() for row in range(ordered.rowCount())] == ["c"]
    table.set_rows([("c", 1), ("a", 2)])
    ordered.set_filter("")
    assert ordered.rowCount() == 2


@pytest.mark.parametrize(
    ("column", "order", "said"),
    [
        (0, Qt.SortOrder.AscendingOrder, ["name ↑", "n"]),
        (1, Qt.SortOrder.DescendingOrder, ["name", "↓ n"]),
    ],
)
def test_a_header_says_by_what_rows_are_sorted_on_the_side_that_is_free(
    qtbot: QtBot, column: int, order: Qt.SortOrder, said: list[str]
) -> None:
    columns = [Column[str]("name", str), Column[str]("n", str, len, mono=True)]
    table = RowTable(SortedTable(TableModel(columns, str, lambda _: None)), "letters")
    qtbot.addWidget(table)
    table.setSortingEnabled(True)
    table.sortByColumn(column, order)
    header = table.horizontalHeader()
    painted = []
    for section in range(2):
        option = QStyleOptionHeader()
        header.initStyleOptionForIndex(option, section)
        painted.append(option.text)
        assert option.sortIndicator == QStyleOptionHeader.SortIndicator.None_
    assert painted == said


# --- traffic -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1, 10, 200, 5_000, RATE_MAX])
def test_the_slider_comes_near_every_rate(rate: int) -> None:
    assert rate_of(step_of(rate)) == pytest.approx(rate, rel=0.06)


def test_a_rate_is_asked_for_once_the_hand_rests(qtbot: QtBot, registry: ActionRegistry) -> None:
    controls = TrafficControls(registry)
    qtbot.addWidget(controls)
    with qtbot.waitSignal(controls.rate_wanted) as asked:
        controls.set_rate(300)
        controls.set_rate(400)
    assert asked.args == [400.0]


# --- export --------------------------------------------------------------------------------------------------


def test_facts_of_painted_views_are_tables(qtbot: QtBot, model: ClusterModel, broken: SampleCluster) -> None:
    headers, rows = table_of(replica_table(model, "orders"))
    assert headers[:4] == ["Topic", "Partition", "Broker", "Role"]
    assert len(rows) == 9
    assert ["orders", "1", "2", "offline"] in [row[:4] for row in rows]
    _, bands = table_of(band_table(model))
    gaps = [row for row in bands if row[0] == "orders-1" and row[1] == "none"]
    assert len(gaps) == 1 and float(gaps[0][5]) == pytest.approx(1_540, abs=10)
    _, offsets = table_of(group_table(model.groups["billing"]))
    assert len(offsets) == len(model.groups["billing"].partitions)
    assert TopicPartition("orders", 0) in model.groups["billing"].partitions


def test_tables_are_written_as_csv_and_json(qtbot: QtBot, tmp_path: Path) -> None:
    headers, rows = ["name", "count"], [["a, b", "1"], ['"quoted"', "2"]]
    assert list(csv.reader(io.StringIO(as_csv(headers, rows)))) == [headers, *rows]
    assert json.loads(as_json(headers, rows))[1] == {"name": '"quoted"', "count": "2"}
    table: TableModel[str] = TableModel([Column[str]("n", lambda row: row)], lambda row: row, lambda _: None)
    table.set_rows(["1\u2009284\u2009530"])
    write_table(table, tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text(encoding="utf-8")) == [{"n": "1284530"}]


def test_views_are_written_as_png_and_svg(
    qtbot: QtBot, model: ClusterModel, broken: SampleCluster, selection: Selection, registry: ActionRegistry, tmp_path: Path
) -> None:
    view = TopicView(model, selection, registry)
    qtbot.addWidget(view)
    view.resize(700, 400)
    write_picture(view, tmp_path / "topic.png", "Topic")
    assert not QImage(str(tmp_path / "topic.png")).isNull()
    write_picture(view, tmp_path / "topic.svg", "Topic")
    assert "<svg" in (tmp_path / "topic.svg").read_text(encoding="utf-8")[:600]
    with pytest.raises(OSError, match="nowhere"):
        write_picture(view, tmp_path / "nowhere" / "topic.png", "Topic")
    assert QPointF(0, 0).isNull()


def test_a_text_that_changes_asks_for_no_new_layout(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    column = QVBoxLayout(window)
    text = ElidedLabel("1 B/s", "mono")
    column.addWidget(text)
    window.resize(200, 60)
    window.show()
    qtbot.waitExposed(window)
    QApplication.processEvents()
    asked: list[QEvent.Type] = []

    class Watch(QObject):
        def eventFilter(self, _watched: QObject, event: QEvent) -> bool:
            asked.append(event.type())
            return False

    watch = Watch()
    window.installEventFilter(watch)
    text.set_text("123.4 MB/s")
    QApplication.processEvents()
    assert text.text() == "123.4 MB/s"
    assert QEvent.Type.LayoutRequest not in asked
    text.set_text("a text that is far too long for the place that it has been given here")
    assert text.text().endswith("…") and text.toolTip() == text.whole_text()


def test_in_a_narrow_view_the_rebalances_stand_under_the_members(
    qtbot: QtBot, model: ClusterModel, healthy: SampleCluster, selection: Selection, registry: ActionRegistry
) -> None:
    view = GroupsView(model, selection, registry)
    qtbot.addWidget(view)
    view.resize(900, 600)
    view.show()
    qtbot.waitExposed(view)
    assert view._history.geometry().left() > view._matrix_scroll.geometry().left()
    view.resize(560, 600)
    QApplication.processEvents()
    assert view._history.geometry().top() > view._matrix_scroll.geometry().bottom()


def test_three_lines_of_figures_have_room_beside_one_replica() -> None:
    partition = Partition("lonely", 0)
    partition.leader, partition.replica_ids, partition.isr = 1, (1,), (1,)
    partition.replicas = {1: Replica(1)}
    assert _row_height(partition) >= FIGURES_HEIGHT + 10, "the next row begins below them"
