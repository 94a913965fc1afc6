"""Leadership over time as a picture."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QEvent, QPoint, Qt
from PySide6.QtGui import QColor, QImage, QKeyEvent
from pytestqt.qtbot import QtBot

from kafkalab.ui.model.changes import ChangeSet, Part
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link, LinkKind
from kafkalab.ui.scene.failover_view import FailoverView
from kafkalab.ui.theme.tokens import DARK, LIGHT, Theme
from tests.support import telemetry_samples as samples
from tests.ui.scene.shown import shown


def pixels(image: QImage, colour: str) -> int:
    wanted = QColor(colour).rgb()
    return sum(1 for y in range(image.height()) for x in range(0, image.width(), 2) if image.pixel(x, y) == wanted)


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=lambda theme: theme.name)
@pytest.mark.parametrize("size", [(927, 605), (770, 430), (1400, 780)])
def test_it_paints_in_every_size_and_theme(qtbot: QtBot, theme: Theme, size: tuple[int, int]) -> None:
    model = ClusterModel()
    samples.failover_story(model)
    image = shown(qtbot, FailoverView(model), size, theme).grab().toImage()
    assert image.pixelColor(2, 2).name() == theme.bg
    assert pixels(image, theme.error) > 100, "gaps and the mark of the kill"


def test_few_rows_are_roomy_and_many_are_dense_and_scroll(qtbot: QtBot) -> None:
    few, many = ClusterModel(), ClusterModel()
    samples.picture(few)
    samples.big(many)
    assert not shown(qtbot, FailoverView(few))._dense
    view = shown(qtbot, FailoverView(many))
    assert view._dense
    first = view._first_row
    view.keyPressEvent(QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_PageDown, Qt.KeyboardModifier.NoModifier))
    assert view._first_row > first
    view.set_selection(Link.of_partition("topic-9", 99))
    view.grab()
    assert view.regions.of(Link.of_partition("topic-9", 99)) is not None, "the selected row is in view"


def test_a_row_can_be_selected(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.failover_story(model)
    view = shown(qtbot, FailoverView(model))
    region = view.regions.of(Link.of_partition("orders", 1))
    assert region is not None
    with qtbot.waitSignal(view.selected) as caught:
        qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=QPoint(40, int(region.rect.center().y())))
    assert caught.args == [Link.of_partition("orders", 1)]
    assert view._is_chosen(Link.of_partition("orders", 1).topic_partition)  # type: ignore[arg-type]


def test_bands_and_gaps_say_from_when_to_when(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.failover_story(model)
    view = shown(qtbot, FailoverView(model))
    names = [region.name for region in view.regions]
    assert "orders-1: nobody leads" in names
    gap = next(region for region in view.regions if region.name == "orders-1: nobody leads")
    assert gap.tip is not None and gap.tip().startswith("Nobody led orders-1 from ") and "9\u2009012 ms" in gap.tip()
    assert any("fenced" in name and "elections" in name for name in names)
    assert any(name == "broker 2 killed" for name in names)


def test_it_follows_the_clock_until_it_is_dragged_back(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.failover_story(model)
    view = shown(qtbot, FailoverView(model))
    assert view.follows and view._timer.isActive()
    qtbot.mousePress(view, Qt.MouseButton.LeftButton, pos=QPoint(400, 590))
    view._move_in_time(5_000)
    assert not view.follows and not view._timer.isActive()
    view.keyPressEvent(QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_Home, Qt.KeyboardModifier.NoModifier))
    assert view.follows and view._timer.isActive()
    view.hide()
    assert not view._timer.isActive()


def test_time_can_be_zoomed_within_bounds(qtbot: QtBot) -> None:
    view = shown(qtbot, FailoverView(ClusterModel()))
    for _ in range(60):
        view.keyPressEvent(QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_Plus, Qt.KeyboardModifier.NoModifier))
    assert view.span_ms == 2_000
    for _ in range(90):
        view.keyPressEvent(QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_Minus, Qt.KeyboardModifier.NoModifier))
    assert view.span_ms == 600_000


def test_internal_topics_are_shown_on_request_only(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.failover_story(model)
    view = shown(qtbot, FailoverView(model))
    assert not any(tp.topic.startswith("__") for tp in view._rows)
    view.set_show_internal(True)
    view.grab()
    assert sum(1 for tp in view._rows if tp.topic.startswith("__")) == 50


def test_facts_have_every_band(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.failover_story(model)
    view = shown(qtbot, FailoverView(model))
    headings, rows = view.facts()
    assert headings[0] == "row"
    assert [row[1] for row in rows if row[0] == "orders-1"] == ["2", "nobody", "3"]
    assert rows[0][0] == "quorum"


def test_it_is_drawn_anew_when_leadership_changes_only(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.running(model)
    view = shown(qtbot, FailoverView(model))
    view._timer.stop()
    view.apply_change(ChangeSet({Part.RATES, Part.REPLICAS}))
    assert view._picture is not None
    view.apply_change(ChangeSet({Part.FAILOVER}))
    assert view._picture is None
    assert view.accessibleDescription() == "No leaderless gap."


def test_the_quorum_has_its_row(qtbot: QtBot) -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    cluster.kill_controller(102)
    cluster.run(model, 1_000)
    cluster.elect(101)
    cluster.run(model, 1_000)
    view = shown(qtbot, FailoverView(model))
    quorum = [region.name for region in view.regions if region.link.kind is LinkKind.QUORUM]
    assert "the quorum: nobody leads" in quorum and "the quorum: Controller 101 leads" in quorum


def test_trouble_that_is_out_of_sight_is_gone_back_to(qtbot: QtBot) -> None:
    model = ClusterModel()
    cluster = samples.failover_story(model)
    view = shown(qtbot, FailoverView(model))
    killed_ms = next(mark.at_ms for mark in model.failover.marks if mark.label == "broker 2 killed")
    view.show_trouble()
    assert view.follows, "it is in sight"
    cluster.run(model, 120_000, 1_000)
    view.show_trouble()
    assert not view.follows
    assert view._right_ms - view.span_ms < killed_ms < view._right_ms
    view.grab()
    assert any(region.name == "broker 2 killed" for region in view.regions)
    view.follow()
    view.grab()
    latest = next(region for region in view.regions if region.name == "latest trouble")
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=latest.rect.center().toPoint())
    assert not view.follows
    view.grab()
    now = next(region for region in view.regions if region.name == "now")
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=now.rect.center().toPoint())
    assert view.follows


def test_rows_take_the_room_there_is(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.running(model, topics=(samples.TopicSpec("orders", 13),))
    view = shown(qtbot, FailoverView(model), (927, 605))
    height, pitch = view._sizes()
    assert 30 < pitch < 50 and 18 < height < 30, "between dense and roomy"
    assert 14 * pitch > 0.85 * view._room()


def test_a_quorum_without_a_leader_is_no_calm_time(qtbot: QtBot) -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    cluster.kill_controller(102)
    cluster.run(model, 1_000)
    cluster.elect(101)
    cluster.feed(model)
    view = shown(qtbot, FailoverView(model))
    assert view._gap_words() == ("no controller led for 1.000 s", True)
