"""The tree says what the model says, and rows that stay keep their place."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex
from PySide6.QtTest import QAbstractItemModelTester
from pytestqt.qtbot import QtBot

from kafkalab.ui.itemmodels.explorer import BROKERS, CLIENTS, CONTROLLERS, GROUPS, TOPICS, ExplorerModel
from kafkalab.ui.itemmodels.roles import LinkRole, ToneRole
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link
from kafkalab.ui.panels.explorer import ExplorerPanel
from kafkalab.ui.panels.selection import Selection
from tests.support.telemetry_samples import SampleCluster, TopicSpec


def _texts(tree: ExplorerModel, parent: QModelIndex) -> list[str]:
    return [tree.index(row, 0, parent).data() for row in range(tree.rowCount(parent))]


def test_everything_is_listed(qtbot: QtBot, model: ClusterModel, broken: SampleCluster) -> None:
    tree = ExplorerModel(model)
    QAbstractItemModelTester(tree, QAbstractItemModelTester.FailureReportingMode.Warning)
    tree.refresh(model.now_ms)
    assert _texts(tree, tree.section_index(CONTROLLERS)) == ["101 follower", "102 leader ♛", "103 follower"]
    assert _texts(tree, tree.section_index(BROKERS)) == ["1 in service", "2 killed 4 s ago", "3 in service"]
    assert _texts(tree, tree.section_index(TOPICS)) == ["orders", "payments", "clicks"]
    orders = tree.index(0, 0, tree.section_index(TOPICS))
    assert _texts(tree, orders)[0].startswith("0 ★1 isr")
    assert _texts(tree, tree.section_index(GROUPS)) == ["billing stable · 3"]
    assert _texts(tree, tree.section_index(CLIENTS)) == ["order-producer", "billing-1 … 3"]
    killed = tree.index(1, 0, tree.section_index(BROKERS))
    assert killed.data(ToneRole) == "error"
    assert killed.data(LinkRole) == Link.node(2)


def test_rows_that_stay_keep_their_index(qtbot: QtBot, model: ClusterModel, healthy: SampleCluster) -> None:
    tree = ExplorerModel(model)
    QAbstractItemModelTester(tree, QAbstractItemModelTester.FailureReportingMode.Warning)
    tree.refresh(model.now_ms)
    before = tree.rowCount(tree.section_index(TOPICS))
    first = tree.index_of(Link.of_partition("orders", 0))
    healthy.create_topic(TopicSpec("extra", 2))
    tree.apply(healthy.feed(model), model.now_ms)
    assert tree.rowCount(tree.section_index(TOPICS)) == before + 1
    assert tree.index_of(Link.of_partition("orders", 0)) == first
    healthy.delete_topic("extra")
    tree.apply(healthy.feed(model), model.now_ms)
    assert tree.rowCount(tree.section_index(TOPICS)) == before
    assert not tree.index_of(Link.topic("extra")).isValid()


def test_a_leader_change_rewrites_its_row(qtbot: QtBot, model: ClusterModel, healthy: SampleCluster) -> None:
    tree = ExplorerModel(model)
    tree.refresh(model.now_ms)
    led_by_2 = next(partition for topic in model.topics.values() for partition in topic.partitions.values() if partition.leader == 2)
    healthy.kill(2)
    tree.apply(healthy.feed(model), model.now_ms)
    assert "no leader" in tree.index_of(led_by_2.link).data()


def test_selection_goes_both_ways(qtbot: QtBot, model: ClusterModel, healthy: SampleCluster, selection: Selection) -> None:
    panel = ExplorerPanel(model, selection)
    qtbot.addWidget(panel)
    panel.refresh(model.now_ms)
    selection.select(Link.of_partition("orders", 1))
    assert panel.tree.currentIndex().data(LinkRole) == Link.of_partition("orders", 1)
    panel.tree.setCurrentIndex(panel.model.index_of(Link.node(2)))
    assert selection.link == Link.node(2)
    selection.back()
    assert selection.link == Link.of_partition("orders", 1)
    assert panel.tree.currentIndex().data(LinkRole) == Link.of_partition("orders", 1)


def test_a_filter_leaves_what_is_looked_for(qtbot: QtBot, model: ClusterModel, healthy: SampleCluster) -> None:
    panel = ExplorerPanel(model, Selection())
    qtbot.addWidget(panel)
    panel.refresh(model.now_ms)
    tree = panel.model
    QAbstractItemModelTester(tree, QAbstractItemModelTester.FailureReportingMode.Warning)
    panel.filter_field.setText("PAY")
    assert _texts(tree, tree.section_index(TOPICS)) == ["payments"] and not tree.rowCount(tree.section_index(GROUPS))
    assert tree.rowCount(tree.section_index(BROKERS)) == 3, "nodes stay: there are few of them"
    panel.filter_field.setText("orders-1")
    topic = tree.index(0, 0, tree.section_index(TOPICS))
    assert [text[0] for text in _texts(tree, topic)] == ["1"] and panel.tree.isExpanded(topic)
    panel.filter_field.setText("billing")
    assert _texts(tree, tree.section_index(GROUPS)) == ["billing stable · 3"] and not tree.rowCount(tree.section_index(TOPICS))
    panel.filter_field.clear()
    assert _texts(tree, tree.section_index(TOPICS)) == ["orders", "payments", "clicks"]


def test_a_clock_that_was_set_is_told_beside_the_state(model: ClusterModel, healthy: SampleCluster) -> None:
    tree = ExplorerModel(model)
    healthy.jump_clock(1, 3_600)
    healthy.feed(model)
    tree.refresh(model.now_ms)
    assert _texts(tree, tree.section_index(BROKERS))[0] == "1 in service · clock"
