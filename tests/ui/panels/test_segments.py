"""Segments on show: what a row says, where a lane draws, and which partition the topic view shows."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from kafkalab.engine.telemetry import levels as lv
from kafkalab.ui.itemmodels.segments import SEGMENT_COLUMNS, segment_rows, segment_state
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link
from kafkalab.ui.model.things import Replica
from kafkalab.ui.panels.actions import ActionRegistry
from kafkalab.ui.panels.segments import SegmentsPanel
from kafkalab.ui.panels.selection import Selection
from kafkalab.ui.panels.topic import TopicView
from kafkalab.ui.theme.formats import format_offset
from kafkalab.ui.theme.tokens import LIGHT
from tests.support import telemetry_samples as samples

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")

COMPACTED = lv.SegmentFacts(0, 4_000, 1_000, 1_000, False)
PARTLY = lv.SegmentFacts(4_000, 6_000, 20_000, 2_000, False)
DIRTY = lv.SegmentFacts(6_000, 8_000, 20_000, 3_000, False)
ACTIVE = lv.SegmentFacts(8_000, 9_000, 10_000, -1, True)
ALL = (COMPACTED, PARTLY, DIRTY, ACTIVE)


def tell(model: ClusterModel, partition: int, node_id: int, segments: tuple[lv.SegmentFacts, ...], first_dirty: int = -1) -> None:
    key = lv.SegmentsKey(node_id, "orders", partition)
    level = lv.SegmentsLevel(segments=segments, omitted=0, first_dirty_offset=first_dirty)
    change = model.apply([], {key: level}, 0, model.now_ms)
    assert change.partitions


def test_a_segment_is_active_closed_or_somewhere_in_compaction() -> None:
    assert [segment_state(one, 5_000) for one in ALL] == ["compacted", "partly compacted", "to be compacted", "active"]
    assert [segment_state(one, -1) for one in ALL] == ["closed", "closed", "closed", "active"]


def test_rows_are_the_newest_first_and_say_how_old() -> None:
    rows = segment_rows(Replica(1, segment_list=ALL), now_ms=63_000)
    assert [row.facts for row in rows] == list(reversed(ALL))
    said = [[column.text(row) for column in SEGMENT_COLUMNS] for row in rows]
    assert said[0][4:] == ["–", "active"]
    assert said[1][1] == format_offset(2_000)
    assert rows[1].age_ms == 60_000
    assert segment_rows(None, 0) == []


def test_levels_reach_the_replica_and_stay_when_its_node_is_gone(model: ClusterModel, healthy: samples.SampleCluster) -> None:
    tell(model, 0, 1, ALL, 5_000)
    replica = model.topics["orders"].partitions[0].replicas[1]
    assert (replica.segment_list, replica.first_dirty_offset) == (ALL, 5_000)
    model.apply([], {lv.SegmentsKey(1, "orders", 0): None}, 0, model.now_ms)
    assert replica.segment_list == ALL
    model.apply([], {lv.SegmentsKey(9, "nothing", 0): lv.SegmentsLevel(segments=(), omitted=0, first_dirty_offset=-1)}, 0, model.now_ms)


def test_the_lane_draws_by_offset_and_finds_what_it_drew(qtbot: QtBot, model: ClusterModel, healthy: samples.SampleCluster) -> None:
    tell(model, 0, 1, ALL, 5_000)
    panel = SegmentsPanel()
    qtbot.addWidget(panel)
    panel.resize(900, 400)
    panel.set_theme(LIGHT)
    partition = model.topics["orders"].partitions[0]
    panel.show_partition(partition, 0, model.now_ms)
    lane = list(partition.replicas).index(1)
    first, last = panel.lane.segment_rect(lane, COMPACTED), panel.lane.segment_rect(lane, ACTIVE)
    assert first.width() == pytest.approx(4 * last.width())
    assert first.right() <= last.left()
    found = panel.lane.segment_at(last.center())
    assert found is not None and found[1] == ACTIVE
    assert panel.lane.segment_at(QPointF(1, 1)) is None
    assert not panel.grab().isNull()
    assert "broker 1" in panel.lane.accessibleDescription()


def test_the_topic_view_shows_the_segments_of_the_selected_partition(
    qtbot: QtBot, model: ClusterModel, healthy: samples.SampleCluster, selection: Selection, registry: ActionRegistry
) -> None:
    partition = model.topics["orders"].partitions[1]
    tell(model, 1, partition.leader, ALL)
    view = TopicView(model, selection, registry)
    qtbot.addWidget(view)
    view.resize(900, 600)
    view.show()
    assert "orders-0" in view.segments.title
    selection.select(Link.of_partition("orders", 1))
    assert "orders-1" in view.segments.title
    model_rows = view.segments.table.model()
    assert model_rows.rowCount() == len(ALL)
    assert model_rows.index(0, 5).data() == "active"


def test_what_was_deleted_is_hatched_up_to_the_log_start(qtbot: QtBot, model: ClusterModel, healthy: samples.SampleCluster) -> None:
    panel = SegmentsPanel()
    qtbot.addWidget(panel)
    panel.resize(900, 400)
    tell(model, 0, 1, ALL)
    partition = model.topics["orders"].partitions[0]
    replica = partition.replicas[1]
    panel.show_partition(partition, 0, model.now_ms)
    lane = list(partition.replicas).index(1)
    assert panel.lane.deleted_rect(lane, replica) is None
    replica.log_start_offset = 4_500
    deleted = panel.lane.deleted_rect(lane, replica)
    assert deleted is not None
    whole, first = panel.lane.segment_rect(lane, ACTIVE).right(), panel.lane.segment_rect(lane, COMPACTED).left()
    assert deleted.left() == first and deleted.width() / (whole - first) == pytest.approx(0.5, abs=0.01), "4 500 of 9 000 offsets"


def test_the_newest_record_is_a_date_and_one_time() -> None:
    column = next(column for column in SEGMENT_COLUMNS if column.header == "Newest record")
    row = segment_rows(Replica(1, segment_list=ALL), now_ms=63_000)[1]
    assert column.text(row).count(":") == 2, "a day and one time of day"


def test_nothing_lies_over_the_lanes_of_a_low_panel(qtbot: QtBot, model: ClusterModel, healthy: samples.SampleCluster) -> None:
    panel = SegmentsPanel()
    qtbot.addWidget(panel)
    panel.show_partition(model.topics["orders"].partitions[0], 0, model.now_ms)
    panel.show()
    for height, tables in ((150, 0), (420, 1)):
        panel.resize(700, height)
        qtbot.waitUntil(lambda tables=tables: panel.table.isVisible() == bool(tables))
        QApplication.processEvents()
        others = [child for child in panel.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly) if child.isVisible()]
        assert not any(panel.lane.geometry().intersects(other.geometry()) for other in others if other is not panel.lane)
