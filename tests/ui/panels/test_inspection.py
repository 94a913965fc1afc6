"""What the inspector says, without the inspector."""

from __future__ import annotations

import pytest
from pytestqt.qtbot import QtBot

from kafkalab.engine.telemetry.levels import ConnectionKey
from kafkalab.ui.itemmodels.inspected import Fact, Inspection
from kafkalab.ui.itemmodels.inspection import inspect
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link
from kafkalab.ui.model.states import Tone
from kafkalab.ui.panels.actions import ActionRegistry
from kafkalab.ui.panels.inspector import FactRow, InspectorPanel
from kafkalab.ui.panels.selection import Selection
from tests.support.telemetry_samples import SampleCluster


def _value(said: Inspection, label: str) -> str:
    return next(fact.value for fact in [*said.facts, *said.more] if fact.label == label)


def test_a_leader_that_was_replaced_without_hearing_of_it(model: ClusterModel, healthy: SampleCluster) -> None:
    partition = next(one for one in model.hosted_partitions(1) if one.leader == 1)
    led = model.nodes[1].leads
    healthy.isolate(1)
    healthy._fence(1, "no heartbeat", 9_000.0)
    healthy.feed(model)
    broker = inspect(model, Link.node(1), model.now_ms)
    assert broker is not None
    assert _value(broker, "leads").startswith("0 of ")
    assert _value(broker, "believes to lead") == f"{led} partitions"
    # It has what its successor never got.
    partition.replicas[1].log_end_offset, partition.replicas[1].lag = partition.log_end_offset + 28, 0
    said = inspect(model, partition.link, model.now_ms)
    assert said is not None and said.outlook is not None
    assert _value(said, "log end · broker 1").endswith(" (+28)")
    assert "Broker 1 has not heard who leads" in said.outlook.note
    partition.replicas[1].log_end_offset -= 28
    said = inspect(model, partition.link, model.now_ms)
    assert said is not None and "(" not in _value(said, "log end · broker 1")


def test_a_partition_after_its_leader_was_killed(model: ClusterModel, broken: SampleCluster) -> None:
    said = inspect(model, Link.of_partition("orders", 1), model.now_ms)
    assert said is not None
    assert (said.title, said.badge) == ("orders-1", "★ broker 3")
    assert _value(said, "leader epoch") == "4 → 5"
    assert _value(said, "replicas") == "2, 3, 1"
    assert _value(said, "in sync").startswith("3, 1 (2 left 2.")
    assert _value(said, "log end · broker 2").startswith("offline at ")
    offline = next(fact for fact in said.facts if fact.label == "log end · broker 2")
    assert offline.tone is Tone.ERROR and offline.link == Link.node(2)
    assert said.outlook is not None
    assert [answer.succeeds for answer in said.outlook.answers] == [True, True, True]
    assert "NOT_ENOUGH_REPLICAS (19)" in said.outlook.note
    assert [name for name, _ in said.actions] == [
        "node.kill",
        "node.pause",
        "link.isolate",
        "partition.reassign",
        "partition.elect",
        "topic.show",
    ]
    assert _value(said, "elected as") == "in sync"
    assert _value(said, "because") == "broker 2 was fenced"


def test_a_partition_that_nobody_leads(model: ClusterModel, healthy: SampleCluster) -> None:
    partition = next(one for topic in model.topics.values() for one in topic.partitions.values() if one.leader == 2)
    healthy.kill(2)
    healthy.feed(model)
    said = inspect(model, partition.link, model.now_ms + 1_500)
    assert said is not None
    assert said.badge == "✕ no leader"
    assert said.outlook is not None
    assert not any(answer.succeeds for answer in said.outlook.answers)


def test_every_kind_of_thing_has_facts(model: ClusterModel, broken: SampleCluster) -> None:
    links = [
        Link.cluster(),
        Link.quorum(),
        Link.node(1),
        Link.node(2),
        Link.node(102),
        Link.topic("orders"),
        Link.replica("orders", 0, 1),
        Link.group("billing"),
        *(client.link for client in model.clients.values()),
        *(connection.link for connection in model.connections.values()),
    ]
    for link in links:
        said = inspect(model, link, model.now_ms)
        assert said is not None, link
        assert said.title and said.facts, link


@pytest.mark.parametrize(
    "link",
    [
        None,
        Link.node(9),
        Link.topic("gone"),
        Link.of_partition("orders", 99),
        Link.group("gone"),
        Link.client("c:gone"),
        Link.connection(1, 424_242),
    ],
)
def test_what_is_not_there_is_nothing(model: ClusterModel, healthy: SampleCluster, link: Link | None) -> None:
    assert ConnectionKey(1, 424_242) not in model.connections
    assert inspect(model, link, model.now_ms) is None


def test_the_panel_follows_selection_and_loss(
    qtbot: QtBot, model: ClusterModel, broken: SampleCluster, selection: Selection, registry: ActionRegistry
) -> None:
    panel = InspectorPanel(model, selection, registry)
    qtbot.addWidget(panel)
    panel.refresh(model.now_ms)
    assert panel.shown is None
    selection.select(Link.of_partition("orders", 1))
    panel.refresh(model.now_ms)
    assert panel.shown is not None and panel.shown.title == "orders-1"
    assert [fact.label for fact in panel.facts()][:6] == ["leader epoch", "elected", "elected as", "because", "replicas", "in sync"]
    selection.select(Link.topic("orders"))
    panel.refresh(model.now_ms)
    assert panel.shown is not None and panel.shown.title == "orders"
    broken.delete_topic("orders")
    broken.feed(model)
    panel.refresh(model.now_ms)
    assert panel.shown is None


def test_words_have_the_lines_they_need_and_figures_one(qtbot: QtBot, selection: Selection) -> None:
    row = FactRow(selection, lambda action: None)
    qtbot.addWidget(row)

    def height_of(value: str, *, prose: bool) -> int:
        row.show_fact(Fact("because", value, prose=prose))
        return min(max(row.heightForWidth(200), row.minimumHeight()), row.maximumHeight())

    long = "leadership went back to the preferred replica " * 2
    figure = height_of(long, prose=False)
    assert height_of("short", prose=True) == figure
    assert height_of(long, prose=True) > figure
    assert height_of(long, prose=False) == figure, "the row is used again"


def test_on_a_replica_the_verbs_are_for_its_own_broker(model: ClusterModel, healthy: SampleCluster) -> None:
    partition = model.topics["orders"].partitions[0]
    follower = next(node_id for node_id in partition.isr if node_id != partition.leader)
    of_replica = inspect(model, Link.replica("orders", 0, follower), model.now_ms)
    of_partition = inspect(model, Link.of_partition("orders", 0), model.now_ms)
    assert of_replica is not None and of_replica.actions[0] == ("node.kill", f"Kill broker {follower}")
    assert of_partition is not None and of_partition.actions[0] == ("node.kill", "Kill leader")
