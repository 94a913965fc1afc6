"""The timeline follows the cluster model's rows, filtered or not, and links them to what they speak of."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QAbstractItemModelTester
from pytestqt.qtbot import QtBot

from kafkalab.ui.itemmodels.timeline import HEADLINE, TimelineModel, row_test
from kafkalab.ui.model import timeline as model_timeline
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link
from kafkalab.ui.panels.selection import Selection
from kafkalab.ui.panels.timeline import TimelinePanel
from tests.support.telemetry_samples import SampleCluster

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")


def _shown(rows: TimelineModel) -> list[str]:
    return [rows.index(row, HEADLINE).data() for row in range(rows.rowCount())]


def _expected(model: ClusterModel, text: str) -> list[str]:
    test = row_test(text)
    return [row.headline for row in model.timeline if test is None or test(row)]


@pytest.mark.parametrize("text", ["", "broker 2", "leader !payments", "PartitionChanged"])
def test_rows_are_those_of_the_model_at_every_step(qtbot: QtBot, model: ClusterModel, text: str) -> None:
    cluster = SampleCluster()
    cluster.feed(model)
    rows = TimelineModel(model)
    QAbstractItemModelTester(rows, QAbstractItemModelTester.FailureReportingMode.Warning)
    rows.set_filter(text)
    steps = [
        lambda: cluster.kill(2),
        lambda: None,
        lambda: cluster.restart(2),
        lambda: cluster.kill_controller(101),
        lambda: cluster.stop(3),
    ]
    for step in steps:
        step()
        for _ in range(6):
            cluster.advance(2_000)
            rows.apply(cluster.feed(model))
            assert _shown(rows) == _expected(model, text)


@pytest.mark.parametrize("text", ["", "paused"])
def test_rows_that_the_model_lets_go_are_let_go(qtbot: QtBot, model: ClusterModel, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_timeline, "ROWS_MAX", 40)
    monkeypatch.setattr(model_timeline, "ROWS_REMOVED_AT_ONCE", 15)
    cluster = SampleCluster()
    cluster.feed(model)
    rows = TimelineModel(model)
    QAbstractItemModelTester(rows, QAbstractItemModelTester.FailureReportingMode.Warning)
    rows.set_filter(text)
    for _ in range(40):
        cluster.pause(2)
        cluster.advance(1_500)
        cluster.resume(2)
        cluster.advance(1_500)
        rows.apply(cluster.feed(model))
        assert _shown(rows) == _expected(model, text)
    assert model.timeline_removed > 0


def test_a_row_selects_what_it_speaks_of_and_the_other_way_round(
    qtbot: QtBot, model: ClusterModel, broken: SampleCluster, selection: Selection
) -> None:
    panel = TimelinePanel(model, selection)
    qtbot.addWidget(panel)
    killed = next(row for row, happening in enumerate(model.timeline) if happening.headline == "broker 2 killed")
    panel.table.selectRow(killed)
    assert selection.link == Link.node(2)
    selection.select(Link.of_partition("orders", 1))
    row = panel.model.row_at(panel.table.currentIndex().row())
    assert row is not None
    assert row.link == Link.of_partition("orders", 1)


def test_a_filter_that_nothing_passes_says_so(qtbot: QtBot, model: ClusterModel, broken: SampleCluster, selection: Selection) -> None:
    panel = TimelinePanel(model, selection)
    qtbot.addWidget(panel)
    qtbot.keyClicks(panel.filter, "no such thing")
    assert panel.model.rowCount() == 0
    assert panel.title().startswith("0 of ")
    panel.filter.clear()
    assert panel.model.rowCount() == len(model.timeline)


def test_why_brings_the_row_into_sight_even_when_it_was_filtered_away(
    qtbot: QtBot, model: ClusterModel, broken: SampleCluster, selection: Selection
) -> None:
    panel = TimelinePanel(model, selection)
    qtbot.addWidget(panel)
    panel.filter.setText("no such thing")
    assert panel.reveal(Link.node(2))
    assert panel.filter.text() == ""
    row = panel.model.row_at(panel.table.currentIndex().row())
    assert row is not None and row.link == Link.node(2)
    assert not panel.follow.isChecked()


def test_scrolling_up_lets_go_of_the_newest_row(qtbot: QtBot, model: ClusterModel, broken: SampleCluster, selection: Selection) -> None:
    panel = TimelinePanel(model, selection)
    qtbot.addWidget(panel)
    panel.resize(800, 120)
    panel.show()
    bar = panel.table.verticalScrollBar()
    panel.follow.setChecked(True)
    panel.filter.setText("")
    bar.setValue(0)
    assert not panel.follow.isChecked()
    bar.setValue(bar.maximum())
    assert panel.follow.isChecked()
    assert panel.table.focusPolicy() is not Qt.FocusPolicy.NoFocus
