"""Broken links on the stage: where their lines run, and what can be pointed at."""

from __future__ import annotations

from itertools import combinations

import pytest
from PySide6.QtCore import QPointF
from pytestqt.qtbot import QtBot

from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.faults import CLIENTS
from kafkalab.ui.model.links import Link
from kafkalab.ui.model.states import ReplicaRole
from kafkalab.ui.scene.cluster_view import ClusterView, partition_tip
from kafkalab.ui.scene.failover_view import FailoverView
from kafkalab.ui.scene.fault_lines import lay_fault_lines
from kafkalab.ui.scene.layout import lay_out
from kafkalab.ui.scene.painting import ChipPainter
from kafkalab.ui.theme.tokens import DARK
from tests.support import telemetry_samples as samples


@pytest.fixture
def model() -> ClusterModel:
    return ClusterModel()


@pytest.fixture
def cluster(model: ClusterModel) -> samples.SampleCluster:
    return samples.running(model, topics=samples.LOOK_TOPICS)


def test_an_isolated_node_has_a_line_to_each_other(qtbot: QtBot, model: ClusterModel, cluster: samples.SampleCluster) -> None:
    cluster.isolate(102)
    cluster.feed(model)
    lines = lay_fault_lines(lay_out(model, 927, 605), model.faults)
    assert sorted((line.trouble.a, line.trouble.b) for line in lines) == [(1, 102), (2, 102), (3, 102), (101, 102), (102, 103)]
    assert all(line.label == "✕" and line.arrow == 0 for line in lines)
    for one, other in combinations(lines, 2):
        assert not one.box.intersects(other.box), (one.trouble, other.trouble)


def test_a_one_way_cut_points_where_nothing_arrives(qtbot: QtBot, model: ClusterModel, cluster: samples.SampleCluster) -> None:
    cluster.cut(2, 1)
    cluster.cut(102, 2)
    cluster.cut(CLIENTS, 3)
    cluster.delay(1, 3, 100)
    cluster.feed(model)
    labels = {line.trouble.link: line.label for line in lay_fault_lines(lay_out(model, 927, 605), model.faults)}
    assert labels == {
        Link.between(1, 2): "← ✕",
        Link.between(2, 102): "✕ ↓",
        Link.between(3, CLIENTS): "✕ clients ↑",
        Link.between(1, 3): "100 ms late",
    }


def test_lines_can_be_pointed_at(qtbot: QtBot, model: ClusterModel, cluster: samples.SampleCluster) -> None:
    view = ClusterView(model)
    qtbot.addWidget(view)
    view.resize(927, 605)
    view.show()
    cluster.isolate(1, 2)
    cluster.isolate(3, CLIENTS)
    view.apply_change(cluster.feed(model))
    view.grab()
    region = view.regions.of(Link.between(1, 2))
    assert region is not None and region.tip is not None
    assert region.tip() == "link between broker 1 and broker 2: cut"
    assert view.regions.at(QPointF(region.rect.center())) is region
    # Its clients' lines are broken, those to other brokers are not.
    kinds = [wire.kind for wire in view._wires if wire.kind != "peer"]
    assert sorted(kinds) == ["broken"] * 2 + ["fetch"] * 2 + ["produce"] * 2
    assert ["link between broker 1 and broker 2", "cut", "cut", ""] in view.facts()[1]
    cluster.heal()
    view.apply_change(cluster.feed(model))
    view.grab()
    assert view.regions.of(Link.between(1, 2)) is None
    assert not any(wire.kind == "broken" for wire in view._wires)


def test_a_cut_off_controller_is_shown_with_what_it_believes(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.cut_story(model)
    old = model.quorum.members[102]
    assert (old.state, old.epoch, model.quorum.leader_id, model.quorum.epoch) == ("leader", 3, 101, 4)
    view = ClusterView(model)
    qtbot.addWidget(view)
    view.resize(927, 605)
    assert not view.grab().isNull()
    tip = view._controller_tip(102)
    assert "leader in epoch 3" in tip and "link to controller 101: cut" in tip


def test_cuts_and_heals_are_marked_over_time(qtbot: QtBot) -> None:
    model = ClusterModel()
    cluster = samples.cut_story(model)
    cluster.heal()
    cluster.run(model, 1_000)
    view = FailoverView(model)
    qtbot.addWidget(view)
    view.resize(927, 605)
    view.grab()
    names = {region.name for region in view.regions if region.name}
    assert {"controller 102 cut off", "controller 102 healed"} <= names
    gap = next(band for band in model.failover.quorum if band.is_gap)
    assert gap.end_ms - gap.start_ms == pytest.approx(2_100, abs=60)


def test_chips_tell_who_is_eligible_and_what_moves(qtbot: QtBot) -> None:
    model = ClusterModel()
    cluster = samples.elr_story(model)
    partition = model.partition("orders", 2)
    assert partition is not None
    assert [partition.tag_of(node_id) for node_id in (1, 2, 3)] == ["", "", "E"]
    assert "eligible to lead (ELR): 3" in partition_tip(partition) and "in sync · broker 3 was fenced" in partition_tip(partition)
    cluster.reassign("orders", 2, (), (2,))
    cluster.feed(model)
    assert partition.tag_of(2) == "−"
    chips = ChipPainter(DARK, 1.0)
    plain, tagged = (chips.chip(ReplicaRole.OFFLINE, 0, 1, 52, 26, tag).toImage() for tag in ("", "E"))
    assert plain != tagged


@pytest.mark.parametrize("size", [(927, 605), (770, 430), (1400, 780), (560, 420)])
def test_a_cut_over_somebodys_head_stays_on_the_stage(size: tuple[int, int]) -> None:
    model = ClusterModel()
    cluster = samples.running(model, topics=samples.LOOK_TOPICS)
    cluster.isolate(101, 103)
    cluster.feed(model)
    layout = lay_out(model, *size)
    line = lay_fault_lines(layout, model.faults)[0]
    assert line.box.top() >= 0, "its sign is not cut off"
    middle = next(place for place in layout.hexes if place.node.node_id == 102)
    assert line.course.at(0.5)[1] < middle.centre.y() - middle.radius, "and it does not run through the one between"
