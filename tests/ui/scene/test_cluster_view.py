"""The cluster stage: where things stand, what can be pointed at, and that nothing is drawn that need not be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QContextMenuEvent, QImage, QKeyEvent
from pytestqt.qtbot import QtBot

from kafkalab.ui.model.changes import ChangeSet, Part
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link, LinkKind
from kafkalab.ui.scene.cluster_view import ClusterView
from kafkalab.ui.scene.fault_lines import vote_course
from kafkalab.ui.scene.layout import NOTICE_FOOT, NOTICE_LINE, RowMode, lay_out
from kafkalab.ui.scene.painting import text_width, two_lines
from kafkalab.ui.scene.wires import POINT_STEP_PX, Wire, curve, wire_width
from kafkalab.ui.theme.fonts import ui_font
from kafkalab.ui.theme.tokens import DARK, LIGHT, TOPIC_COLOURS, Theme
from tests.support import telemetry_samples as samples
from tests.ui.scene.shown import shown

SIZES = [(927, 605), (770, 430), (1400, 780), (560, 420)]


def count_colour(image: QImage, colour: str) -> int:
    wanted = QColor(colour).rgb()
    return sum(1 for y in range(0, image.height(), 2) for x in range(0, image.width(), 2) if image.pixel(x, y) == wanted)


# --- layout --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("broken", [False, True])
def test_nothing_stands_on_anything_else_or_outside(size: tuple[int, int], broken: bool) -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    if broken:
        cluster.kill(2)
        cluster.run(model, 1_000)
    layout = lay_out(model, *size)
    rects = [card.rect for card in layout.cards] + [place.rect for place in layout.clients]
    for at, one in enumerate(rects):
        assert one.left() >= 0 and one.right() <= size[0] and one.bottom() <= size[1]
        assert not any(one.intersects(other) for other in rects[at + 1 :])
    for card in layout.cards:
        bottoms = [row.top + row.height for row in card.rows]
        assert all(bottom <= card.rect.bottom() for bottom in bottoms)
        for row in card.rows:
            for _, chip in row.chips:
                assert card.rect.contains(chip)
    assert layout.notice.bottom() <= size[1]
    assert layout.notice.top() >= layout.clients[0].rect.bottom() - 1


def test_the_picture_of_the_design_has_its_measures() -> None:
    model = ClusterModel()
    samples.picture(model)
    layout = lay_out(model, 927, 605)
    assert [(card.rect.width(), card.rect.height()) for card in layout.cards] == [(262, 193)] * 3
    assert layout.cards[1].rect.left() - layout.cards[0].rect.right() == 36
    chips = layout.cards[0].rows[0].chips
    assert [(rect.width(), rect.height()) for _, rect in chips] == [(52, 26)] * 3


def test_where_it_gets_tight_chips_become_small_then_squares_then_counts() -> None:
    model = ClusterModel()
    samples.running(model)
    modes = [max(row.mode for row in lay_out(model, 927, height).cards[0].rows if not row.topic.internal) for height in (700, 470, 360)]
    assert modes == sorted(modes)
    assert modes[0] is RowMode.CHIPS and modes[-1] > RowMode.SMALL
    many = ClusterModel()
    samples.big(many)
    assert {row.mode for row in lay_out(many, 927, 605).cards[0].rows} <= {RowMode.SQUARES, RowMode.COUNTS}


def test_many_brokers_stand_in_rows() -> None:
    model = ClusterModel()
    samples.SampleCluster(brokers=9, topics=(samples.TopicSpec("orders", 9),)).feed(model)
    layout = lay_out(model, 927, 605)
    assert len({card.rect.top() for card in layout.cards}) >= 2
    assert max(card.rect.right() for card in layout.cards) <= 927


# --- painting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=lambda theme: theme.name)
@pytest.mark.parametrize("size", SIZES)
def test_it_paints_in_every_size_and_theme(qtbot: QtBot, theme: Theme, size: tuple[int, int]) -> None:
    model = ClusterModel()
    samples.picture(model)
    image = shown(qtbot, ClusterView(model), size, theme).grab().toImage()
    assert image.pixelColor(2, 2).name() == theme.bg
    if size == (927, 605):
        assert count_colour(image, TOPIC_COLOURS[0]) > 300
        assert count_colour(image, theme.error) > 20


def test_before_anything_runs_it_says_what_will_appear(qtbot: QtBot) -> None:
    view = shown(qtbot, ClusterView(ClusterModel()))
    assert count_colour(view.grab().toImage(), DARK.bg) < 927 * 605 / 4
    assert len(view.regions) == 0


def test_without_clients_it_offers_traffic(qtbot: QtBot) -> None:
    model = ClusterModel()
    fresh = samples.SampleCluster(members=0)
    _, levels, _ = fresh.drain()
    model.apply([], {key: level for key, level in levels.items() if key.kind != "connection"}, 0, fresh.now_ms)
    view = shown(qtbot, ClusterView(model))
    region = next(region for region in view.regions if region.action is not None)
    with qtbot.waitSignal(view.action_requested) as caught:
        qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=region.rect.center().toPoint())
    assert caught.args[0].action == "start_workload"


def test_a_chip_can_be_selected_and_rings_every_replica(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.picture(model)
    view = shown(qtbot, ClusterView(model))
    before = count_colour(view.grab().toImage(), DARK.accent)
    region = view.regions.of(Link.replica("orders", 1, 3))
    assert region is not None
    with qtbot.waitSignal(view.selected) as caught:
        qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=region.rect.center().toPoint())
    assert caught.args == [Link.replica("orders", 1, 3)]
    assert len(view._chip_places["orders", 1]) == 3
    assert count_colour(view.grab().toImage(), DARK.accent) > before + 100


def test_pointing_at_a_chip_tells_all_its_replicas(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.picture(model)
    view = shown(qtbot, ClusterView(model))
    region = view.regions.of(Link.replica("orders", 1, 2))
    assert region is not None and region.tip is not None
    lines = region.tip().splitlines()
    assert lines[0] == "orders-1 · leader 3 · epoch 5"
    assert any(line.startswith("✕ broker 2 offline · LEO ") for line in lines)
    with qtbot.waitSignal(view.hovered):
        qtbot.mouseMove(view, region.rect.center().toPoint())


def test_the_notices_links_act(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.picture(model)
    view = shown(qtbot, ClusterView(model))
    asked: list[str] = []
    view.action_requested.connect(lambda action: asked.append(action.action))
    for region in [region for region in view.regions if region.action is not None]:
        qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=region.rect.center().toPoint())
    assert asked == ["restart", "show", "why"]


def first_link_of_notice(qtbot: QtBot, size: tuple[int, int], words: int) -> QRectF:
    model = ClusterModel()
    samples.picture(model)
    assert model.notice is not None
    model.notice = replace(model.notice, text=" ".join(["word"] * words))
    view = shown(qtbot, ClusterView(model), size)
    return next(region.rect for region in view.regions if region.action is not None)


def test_a_notice_that_is_too_long_takes_a_second_line_and_its_links_move_down(qtbot: QtBot) -> None:
    short, long = (first_link_of_notice(qtbot, (927, 605), words) for words in (5, 45))
    assert long.top() - short.top() == NOTICE_LINE
    assert first_link_of_notice(qtbot, (560, 420), 45).bottom() <= 420 - NOTICE_FOOT


def test_words_are_broken_once_and_between_words(qtbot: QtBot) -> None:
    font = ui_font()
    text = "one two three four five"
    width = text_width(text, font)
    assert two_lines(text, font, width) == (text, "")
    first, second = two_lines(text, font, width * 0.6)
    assert second and f"{first} {second}" == text and text_width(first, font) <= width * 0.6
    assert two_lines(text, font, 1.0) == ("one", "two three four five")


def test_the_keyboard_reaches_everything(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.picture(model)
    view = shown(qtbot, ClusterView(model))
    walked: list[Link] = []
    view.selected.connect(walked.append)
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Right, Qt.Key.Key_Down, Qt.Key.Key_Down):
        view.keyPressEvent(QKeyEvent(QEvent.Type.KeyPress, key, Qt.KeyboardModifier.NoModifier))
    assert {link.kind for link in walked} >= {LinkKind.NODE, LinkKind.REPLICA}
    assert view.accessibleDescription()
    with qtbot.waitSignal(view.activated):
        view.keyPressEvent(QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_Return, Qt.KeyboardModifier.NoModifier))


def test_facts_say_in_words_what_is_painted(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.picture(model)
    view = shown(qtbot, ClusterView(model))
    headings, rows = view.facts()
    assert len(headings) == 4 and all(len(row) == 4 for row in rows)
    assert ["broker 2", "killed", "127.0.0.1:9093", "leads 0 of 9"] in rows
    assert any(row[0] == "orders-1 on broker 2" and row[1] == "offline" for row in rows)
    assert any("broker 2 (broken)" in row[3] for row in rows)


# --- motion and cost -----------------------------------------------------------------------------


def test_dots_move_only_while_traffic_flows_and_somebody_looks(qtbot: QtBot) -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    view = shown(qtbot, ClusterView(model))
    assert view._timer.isActive()
    view.hide()
    assert not view._timer.isActive()
    view.show()
    assert view._timer.isActive()
    view.set_reduce_motion(True)
    assert not view._timer.isActive()
    view.set_reduce_motion(False)
    cluster.producing = False
    cluster.run(model, 3_000)
    assert model.produce_rate == 0
    view.apply_change(ChangeSet({Part.RATES}))
    view._refresh_slowly()
    view._animate_if_needed()
    assert not view._timer.isActive()


def test_offsets_and_rates_do_not_draw_the_whole_picture_anew(qtbot: QtBot) -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    view = shown(qtbot, ClusterView(model))
    picture = view._picture
    for _ in range(8):
        cluster.advance(50)
        view.apply_change(cluster.feed(model))
        view._refresh_slowly()
        view.grab()
    assert view._picture is picture
    cluster.kill(2)
    view.apply_change(cluster.feed(model))
    assert view._picture is None


def test_dots_keep_their_places_when_the_picture_is_drawn_anew(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.running(model)
    view = shown(qtbot, ClusterView(model))
    for wire in view._wires:
        wire.phase = 11.0
    view.invalidate()
    view.grab()
    assert {wire.phase for wire in view._wires if wire.moves} == {11.0}


def test_lines_grow_with_the_logarithm_of_their_rate() -> None:
    assert [wire_width(rate) for rate in (0, 1e4, 1e5, 1e6, 1e7, 1e12)] == [1, 1, 2, 3, 4, 6]


def test_a_walk_along_a_curve_has_equal_steps_and_leaves_out_what_is_covered() -> None:
    wire = Wire("produce", curve((0, 0), (200, 116)), rate=1e6)
    wire.sample([])
    steps = [(two - one).manhattanLength() for one, two in zip(wire.points, wire.points[1:], strict=False)]
    assert max(steps) < POINT_STEP_PX * 1.5
    assert wire.points[0] == QPointF(0, 0)
    whole = len(wire.points)
    wire.sample([(50, 0, 150, 200)])
    assert whole * 0.3 < len(wire.points) < whole
    assert not any(50 <= point.x() <= 150 for point in wire.points)


def test_a_picture_of_it_can_be_kept(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.picture(model)
    view = shown(qtbot, ClusterView(model))
    image = view.render_image(2.0)
    assert (image.width(), image.height()) == (1854, 1210)
    assert image.pixelColor(4, 4).name() == DARK.bg


def test_the_menu_is_asked_for_with_the_thing(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.picture(model)
    view = shown(qtbot, ClusterView(model))
    region = view.regions.of(Link.node(1))
    assert region is not None
    asked: list[tuple[Link, QPoint]] = []
    view.context_requested.connect(lambda link, place: asked.append((link, place)))
    place = QPoint(int(region.rect.left()) + 30, int(region.rect.top()) + 8)
    view.contextMenuEvent(QContextMenuEvent(QContextMenuEvent.Reason.Mouse, place, view.mapToGlobal(place)))
    assert asked and asked[0][0] == Link.node(1)


def test_a_line_that_grows_thicker_is_drawn_alone(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ClusterModel()
    samples.running(model)
    view = shown(qtbot, ClusterView(model))
    drawn: list[str] = []
    monkeypatch.setattr(ClusterView, "draw_picture", lambda *_: drawn.append("everything"))
    for client in model.clients.values():
        for link in client.links.values():
            link.produce_rate, link.fetch_rate = link.produce_rate * 10_000, link.fetch_rate * 10_000
    before = {wire.course for wire in view._wires}
    view._stale_wires = True
    view._refresh_slowly()
    view.grab()
    assert {wire.course for wire in view._wires} == before
    assert not drawn
    fresh = view.render_image(1.0)
    assert drawn, "a picture for export is made anew"
    assert fresh.width() == view.width()


def test_lines_drawn_alone_look_like_those_drawn_with_everything(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.running(model)
    view = shown(qtbot, ClusterView(model))
    view.set_reduce_motion(True)
    for client in model.clients.values():
        for link in client.links.values():
            link.produce_rate, link.fetch_rate = link.produce_rate * 10_000, link.fetch_rate * 10_000
    view._stale_wires = True
    view._refresh_slowly()
    alone = view.grab().toImage()
    view.invalidate()
    together = view.grab().toImage()
    differing = sum(alone.pixel(x, y) != together.pixel(x, y) for y in range(0, alone.height(), 2) for x in range(0, alone.width(), 2))
    assert differing < 40, "a hair at the edge of a card may differ"


def test_each_picture_that_is_due_is_told(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.running(model)
    view = shown(qtbot, ClusterView(model))
    with qtbot.waitSignals([view.frame_due, view.painted], timeout=5_000):
        pass


def test_a_client_that_left_is_no_live_one(qtbot: QtBot) -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    view = shown(qtbot, ClusterView(model))
    place = next(place for place in view._layout.clients if place.client.kind == "producer")
    cluster.kill(1)
    cluster.kill(2)
    cluster.kill(3)
    cluster.run(model, 500)
    assert not place.client.connections and model.client_count == 0


def test_a_vote_passes_nobody_who_stands_between(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.running(model)
    view = shown(qtbot, ClusterView(model))
    middle = next(place for place in view._layout.hexes if place.node.node_id == 102)
    course = vote_course(view._layout, 101, 103)
    assert course is not None
    points = [course.at(at / 40) for at in range(41)]
    assert all(abs(x - middle.centre.x()) > middle.radius or y < middle.centre.y() - middle.radius for x, y in points)
    near = vote_course(view._layout, 101, 102)
    assert near is not None and near.start[1] == near.end[1] == middle.centre.y()
    assert vote_course(view._layout, 101, 101) is None and vote_course(view._layout, 101, 9) is None


def test_a_clock_that_is_wrong_is_on_its_card(qtbot: QtBot) -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    view = shown(qtbot, ClusterView(model))
    before = count_colour(view.grab().toImage(), DARK.warn)
    cluster.jump_clock(1, 3_600)
    view.apply_change(cluster.feed(model))
    after = count_colour(view.grab().toImage(), DARK.warn)
    assert after > before


def test_no_line_is_drawn_where_no_connection_is(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.running(model)
    view = shown(qtbot, ClusterView(model))
    client = next(client for client in model.clients.values() if client.kind == "group")
    before = len(view._lay_wires())
    closed = dict.fromkeys(client.connections)
    view.apply_change(model.apply([], closed, 0, model.now_ms + 10))
    assert client.links and not client.connections, "its card stays for a moment"
    assert len(view._lay_wires()) == before - len(client.links)


def test_followers_that_only_ask_move_nothing(qtbot: QtBot) -> None:
    model = ClusterModel()
    samples.running(model)
    view = shown(qtbot, ClusterView(model))
    assert any(wire.moves for wire in view._peer_wires())
    for link in model.peer_links.values():
        link.rate = 40.0
    assert not any(wire.moves for wire in view._peer_wires()), "empty answers are no data"
