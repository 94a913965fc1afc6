"""Links that are broken on purpose, drawn between those whom they should connect.

A line says that something is wrong, its label what: nothing is told by colour alone. A cut that holds one way only
has an arrowhead, which points where nothing arrives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import atan2, cos, hypot, pi, sin
from typing import Final

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QPainter, QPolygonF

from kafkalab.ui.model.faults import CLIENTS, Faults, TroubledLink
from kafkalab.ui.scene.layout import CardPlace, HexPlace, StageLayout
from kafkalab.ui.scene.painting import CENTRE, colour, draw_text, pen, rounded, text_width
from kafkalab.ui.scene.wires import Course, Point
from kafkalab.ui.theme import tokens
from kafkalab.ui.theme.fonts import ui_font
from kafkalab.ui.theme.tokens import Theme

LABEL_HEIGHT: Final = 15.0
LABEL_PADDING: Final = 4.0
LABEL_ROOM: Final = 3.0
SLIDES: Final = (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74, 0.2, 0.8)
"""Where along its line a label may stand, in the order of liking."""
ARROW_PX: Final = 6.0
SPREAD_PX: Final = 22.0
RISE_PX: Final = 30.0
DROP_PX: Final = 24.0
MIDDLE_MIN: Final = 9.0
REACH_PX: Final = 4.0


@dataclass(slots=True)
class FaultLine:
    """One troubled link on the stage."""

    trouble: TroubledLink
    course: Course
    label: str
    box: QRectF
    arrow: int = 0
    """1: nothing (or less) arrives at its end, -1: at its beginning, 0: both ways."""

    @property
    def is_cut(self) -> bool:
        """Nothing arrives."""
        return self.trouble.is_cut


@dataclass(slots=True)
class _Place:
    """Where a node stands, for lines that begin or end there."""

    rect: QRectF
    is_hexagon: bool


def lay_fault_lines(layout: StageLayout, faults: Faults) -> list[FaultLine]:
    """A line for each troubled link between nodes on the stage; labels do not lie on one another."""
    places = _places(layout)
    counts: dict[tuple[int, int], int] = {}
    laid: list[tuple[TroubledLink, Course]] = []
    for trouble in faults.links:
        if trouble.b == CLIENTS:
            course = _to_clients(places, trouble.a)
        else:
            course = _between(places, trouble.a, trouble.b, counts)
        if course is not None:
            laid.append((trouble, course))
    lines: list[FaultLine] = []
    taken: list[QRectF] = []
    # A short line leaves its label little choice, so it comes first.
    for trouble, course in sorted(laid, key=lambda one: _length(one[1])):
        label, arrow = _label(trouble, course)
        box = _free_box(course, label, taken)
        taken.append(box)
        lines.append(FaultLine(trouble, course, label, box, arrow))
    return lines


def vote_course(layout: StageLayout, voter: int, candidate: int) -> Course | None:
    """The way of a vote: over the heads of those who stand between, as it passes none of them."""
    places = {place.node.node_id: _hexagon(place) for place in layout.hexes}
    one, other = places.get(voter), places.get(candidate)
    return None if one is None or other is None or one is other else _between_hexagons(places, one, other)


def _length(course: Course) -> float:
    return hypot(course.end[0] - course.start[0], course.end[1] - course.start[1])


def _places(layout: StageLayout) -> dict[int, _Place]:
    found: dict[int, _Place] = {}
    for place in layout.cards:
        found[place.node.node_id] = _card(place)
    for hexagon in layout.hexes:
        # A node that is both is met where its replicas are.
        found.setdefault(hexagon.node.node_id, _hexagon(hexagon))
    return found


def _card(place: CardPlace) -> _Place:
    return _Place(place.rect, is_hexagon=False)


def _hexagon(place: HexPlace) -> _Place:
    reach = QPointF(place.radius * 0.87, place.radius)
    return _Place(QRectF(place.centre - reach, place.centre + reach), is_hexagon=True)


def _label(trouble: TroubledLink, course: Course) -> tuple[str, int]:
    """Its words, and where an arrow points."""
    forth, back = trouble.forth, trouble.back
    arrow = 0 if forth is not None and back is not None else 1 if forth is not None else -1
    if trouble.is_alike or None in (forth, back):
        words = trouble.short(trouble.a).removeprefix("→ ").removeprefix("← ")
        words = "✕" if words == "cut" else words
        if trouble.b == CLIENTS:
            words += " clients"
        return (_pointing(words, course, arrow) if arrow else words), arrow
    return ("✕ …" if trouble.is_cut else "differs"), 0


def _pointing(words: str, course: Course, arrow: int) -> str:
    """The words with a sign that points where the line's arrow does, also where the line is too short for one."""
    dx, dy = (course.end[0] - course.start[0]) * arrow, (course.end[1] - course.start[1]) * arrow
    if abs(dx) >= abs(dy):
        return f"{words} →" if dx > 0 else f"← {words}"
    return f"{words} ↓" if dy > 0 else f"{words} ↑"


def _between(places: Mapping[int, _Place], a: int, b: int, counts: dict[tuple[int, int], int]) -> Course | None:
    one, other = places.get(a), places.get(b)
    if one is None or other is None:
        return None
    if one.is_hexagon and other.is_hexagon:
        return _between_hexagons(places, one, other)
    if one.is_hexagon or other.is_hexagon:
        return _hexagon_to_card(one, other, counts)
    return _between_cards(places, one, other)


def _between_hexagons(places: Mapping[int, _Place], one: _Place, other: _Place) -> Course:
    left, right = one.rect, other.rect
    y = left.center().y()
    sign = 1 if left.center().x() < right.center().x() else -1
    start = (left.center().x() + sign * (left.width() / 2 + REACH_PX), y)
    end = (right.center().x() - sign * (right.width() / 2 + REACH_PX), y)
    if _has_between(places, one, other):
        # Over the heads of those who stand between.
        top = left.top() - 2
        start, end = (left.center().x() + sign * 12, top + 10), (right.center().x() - sign * 12, top + 10)
        # The middle of the curve, where a cut's sign is, stays on the stage.
        bend = max(top - DROP_PX, (MIDDLE_MIN - 0.25 * start[1]) / 0.75)
        return Course(start, (start[0] + sign * 40, bend), (end[0] - sign * 40, bend), end)
    return Course(start, start, end, end)


def _hexagon_to_card(one: _Place, other: _Place, counts: dict[tuple[int, int], int]) -> Course:
    hexagon, card = (one, other) if one.is_hexagon else (other, one)
    # Lines come down side by side, from the left at the left: none crosses another one to the same card.
    away = hexagon.rect.center().x() - card.rect.center().x()
    side = 0 if abs(away) < 1 else 1 if away > 0 else -1
    key = (id(card), side)
    counts[key] = counts.get(key, 0) + 1
    offset = SPREAD_PX * side * counts[key]
    down = (card.rect.center().x() + offset, card.rect.top() - 1)
    up = (hexagon.rect.center().x() + max(min((down[0] - hexagon.rect.center().x()) * 0.06, 20.0), -20.0), hexagon.rect.bottom() + 22)
    bend = (down[1] - up[1]) * 0.6
    course = Course(up, (up[0], up[1] + bend), (down[0], down[1] - bend), down)
    return course if one.is_hexagon else _turned(course)


def _between_cards(places: Mapping[int, _Place], one: _Place, other: _Place) -> Course:
    left, right = one.rect, other.rect
    same_row = abs(left.top() - right.top()) < 1
    sign = 1 if left.center().x() < right.center().x() else -1
    if same_row and not _has_between(places, one, other):
        y = left.center().y()
        start = (left.right() if sign > 0 else left.left(), y)
        end = (right.left() if sign > 0 else right.right(), y)
        return Course(start, start, end, end)
    if same_row:
        # Under those who stand between.
        y = max(left.bottom(), right.bottom()) + 1
        start, end = (left.center().x() + sign * 60, y), (right.center().x() - sign * 60, y)
        return Course(start, (start[0] + sign * 50, y + RISE_PX), (end[0] - sign * 50, y + RISE_PX), end)
    upper, lower = (left, right) if left.top() < right.top() else (right, left)
    down: Point = (lower.center().x(), lower.top())
    up: Point = (upper.center().x(), upper.bottom())
    course = Course(up, up, down, down)
    return course if upper is left else _turned(course)


def _to_clients(places: Mapping[int, _Place], node_id: int) -> Course | None:
    place = places.get(node_id)
    if place is None:
        return None
    if place.is_hexagon:
        x, y = place.rect.right() + 2, place.rect.center().y() + 12
        return Course((x, y), (x, y), (x + 46, y + 16), (x + 46, y + 16))
    x, y = place.rect.center().x(), place.rect.bottom()
    return Course((x, y), (x, y), (x, y + 34), (x, y + 34))


def _has_between(places: Mapping[int, _Place], one: _Place, other: _Place) -> bool:
    low, high = sorted((one.rect.center().x(), other.rect.center().x()))
    return any(
        place.is_hexagon == one.is_hexagon and abs(place.rect.top() - one.rect.top()) < 1 and low < place.rect.center().x() < high
        for place in places.values()
        if place is not one and place is not other
    )


def _turned(course: Course) -> Course:
    return Course(course.end, course.bend_end, course.bend_start, course.start)


def _free_box(course: Course, label: str, taken: list[QRectF]) -> QRectF:
    width = text_width(label, ui_font(tokens.FONT_CAPITALS_PX, semibold=True)) + 2 * LABEL_PADDING
    first: QRectF | None = None
    for share in SLIDES:
        x, y = course.at(share)
        box = QRectF(round(x - width / 2), round(y - LABEL_HEIGHT / 2), round(width), LABEL_HEIGHT)
        first = first or box
        room = box.adjusted(-LABEL_ROOM, -LABEL_ROOM, LABEL_ROOM, LABEL_ROOM)
        if not any(room.intersects(other) for other in taken):
            return box
    assert first is not None, "there are places to try"
    return first


def draw_fault_lines(painter: QPainter, lines: list[FaultLine], theme: Theme) -> None:
    """Lines first, so that no label is crossed."""
    for line in lines:
        tone = theme.error if line.is_cut else theme.warn
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(pen(theme.bg, 5.0))
        painter.drawPath(line.course.path())
        painter.setPen(pen(tone, tokens.STROKE_CARD, (4.0, 3.0) if line.is_cut else ()))
        painter.drawPath(line.course.path())
        if line.arrow:
            _draw_arrow(painter, line, tone)
    font = ui_font(tokens.FONT_CAPITALS_PX, semibold=True)
    for line in lines:
        tone = theme.error if line.is_cut else theme.warn
        rounded(painter, line.box, LABEL_HEIGHT / 2, theme.panel, pen(tone))
        draw_text(painter, line.box, line.label, font, tone, CENTRE, elide=False)


def _draw_arrow(painter: QPainter, line: FaultLine, tone: str) -> None:
    course = line.course
    tip, back = (course.at(1.0), course.at(0.94)) if line.arrow > 0 else (course.at(0.0), course.at(0.06))
    if hypot(tip[0] - back[0], tip[1] - back[1]) < 0.5:
        return
    angle = atan2(tip[1] - back[1], tip[0] - back[0])
    corners = [QPointF(*tip)]
    for turn in (pi * 0.85, -pi * 0.85):
        corners.append(QPointF(tip[0] + ARROW_PX * 1.4 * cos(angle + turn), tip[1] + ARROW_PX * 1.4 * sin(angle + turn)))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(colour(tone))
    painter.drawPolygon(QPolygonF(corners))
