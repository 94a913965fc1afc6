"""Lines between cards, and the dots that run along them.

A line is sampled into points once when it is laid; a frame only picks points from that list, so
the cost of motion is one call per colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from math import hypot, log10
from typing import Final

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QPainter, QPainterPath, QPolygonF

from kafkalab.ui.scene.painting import CENTRE, colour, pen
from kafkalab.ui.theme.fonts import symbol_font
from kafkalab.ui.theme.tokens import Theme

DOT_PX: Final = 6.0
DOT_SPACING_PX: Final = 72.0
POINT_STEP_PX: Final = 1.0
RATE_BASE: Final = 10_000.0
WIDTH_MAX: Final = 6.0
SPEED_MIN: Final = 24.0
SPEED_MAX: Final = 150.0
CROSS_AT: Final = 0.56
CURVE_PIECES: Final = 48
PATHS_KEPT_MAX: Final = 512
MOVING_KINDS: Final = frozenset({"produce", "fetch", "peer"})


def wire_width(rate: float) -> float:
    """1 + log10 of its bytes per second / 10⁴, at most 6; in halves, so that it does not flicker."""
    if rate <= RATE_BASE:
        return 1.0
    return min(round((1.0 + log10(rate / RATE_BASE)) * 2) / 2, WIDTH_MAX)


def dot_speed(rate: float) -> float:
    """Pixels per second."""
    if rate <= 0:
        return 0.0
    return min(max(SPEED_MIN * log10(max(rate, 10.0)) / 1.6, SPEED_MIN), SPEED_MAX)


Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Course:
    """Where a line runs: a cubic curve by its four points. Equal courses are the same line."""

    start: Point
    bend_start: Point
    bend_end: Point
    end: Point

    def path(self) -> QPainterPath:
        """As Qt draws it."""
        return _path(self)

    def at(self, share: float) -> Point:
        """The point at a share of the curve's parameter."""
        rest = 1.0 - share
        one, two, three, four = rest**3, 3 * rest * rest * share, 3 * rest * share * share, share**3
        return (
            one * self.start[0] + two * self.bend_start[0] + three * self.bend_end[0] + four * self.end[0],
            one * self.start[1] + two * self.bend_start[1] + three * self.bend_end[1] + four * self.end[1],
        )

    def walk(self, step_px: float) -> list[Point]:
        """Points at equal distances, computed here: asking Qt for each would take a hundred times as long."""
        corners = [self.at(at / CURVE_PIECES) for at in range(CURVE_PIECES + 1)]
        points: list[Point] = []
        left = 0.0
        for (x, y), (next_x, next_y) in pairwise(corners):
            piece = hypot(next_x - x, next_y - y)
            while left < piece:
                share = left / piece
                points.append((x + (next_x - x) * share, y + (next_y - y) * share))
                left += step_px
            left -= piece
        return points


@lru_cache(maxsize=PATHS_KEPT_MAX)
def _path(course: Course) -> QPainterPath:
    """Kept, for a line is drawn again whenever its rate has another width."""
    path = QPainterPath(QPointF(*course.start))
    path.cubicTo(QPointF(*course.bend_start), QPointF(*course.bend_end), QPointF(*course.end))
    return path


def curve(start: Point, end: Point) -> Course:
    """A line that leaves and arrives upright."""
    bend = (end[1] - start[1]) * 0.62
    return Course(start, (start[0], start[1] + bend), (end[0], end[1] - bend), end)


def straight(start: Point, end: Point) -> Course:
    """A plain line."""
    return Course(start, start, end, end)


@dataclass(slots=True)
class Wire:
    """One line. Dots run from the first point to the last."""

    kind: str  # "produce", "fetch", "idle", "broken", "peer"
    course: Course
    rate: float = 0.0
    phase: float = 0.0
    points: list[QPointF] = field(default_factory=list)

    def sample(self, covers: Sequence[tuple[float, float, float, float]]) -> None:
        """Walk the line once. What is covered by cards (left, top, right, bottom) is left out: it runs behind them."""
        if self.kind not in MOVING_KINDS:
            return
        self.points = [
            QPointF(x, y)
            for x, y in self.course.walk(POINT_STEP_PX)
            if not any(left <= x <= right and top <= y <= bottom for left, top, right, bottom in covers)
        ]

    @property
    def moves(self) -> bool:
        """Dots run on it."""
        return self.rate > 0 and self.kind in MOVING_KINDS

    def dots(self) -> list[QPointF]:
        """Where the dots are now."""
        step = int(DOT_SPACING_PX / POINT_STEP_PX)
        return self.points[int(self.phase / POINT_STEP_PX) % step :: step]

    def advance(self, span_s: float) -> None:
        """Let the dots run."""
        self.phase = (self.phase + dot_speed(self.rate) * span_s) % DOT_SPACING_PX


def wire_colour(kind: str, theme: Theme) -> str:
    """Produce in accent, fetch in ok, the rest muted."""
    return {"produce": theme.accent, "fetch": theme.ok, "broken": theme.error}.get(kind, theme.muted)


def draw_wire(painter: QPainter, wire: Wire, theme: Theme) -> None:
    """The line itself, without dots."""
    painter.setBrush(Qt.BrushStyle.NoBrush)
    if wire.kind == "broken":
        painter.setPen(pen(theme.error, 1.2, (4.0, 3.0)))
        painter.drawPath(wire.course.path())
        middle = QPointF(*wire.course.at(CROSS_AT))
        painter.setFont(symbol_font(12))
        painter.setPen(colour(theme.error))
        painter.drawText(QRectF(middle.x() - 10, middle.y() - 10, 20, 20), CENTRE, "✕")
        return
    if wire.kind in ("idle", "peer"):
        width = 1.0 if wire.kind == "idle" or not wire.rate else min(wire_width(wire.rate), 2.0)
        painter.setPen(pen(theme.muted, width, alpha=110))
        painter.drawPath(wire.course.path())
        return
    painter.setPen(pen(wire_colour(wire.kind, theme), max(wire_width(wire.rate), 1.5 if wire.rate else 1.0), alpha=215))
    painter.drawPath(wire.course.path())


def draw_dots(painter: QPainter, wires: list[Wire], theme: Theme) -> None:
    """All dots of all lines, one call per colour."""
    by_kind: dict[str, list[QPointF]] = {}
    for wire in wires:
        if wire.moves:
            by_kind.setdefault(wire.kind, []).extend(wire.dots())
    for kind, points in by_kind.items():
        if points:
            size = DOT_PX if kind != "peer" else DOT_PX - 2.0
            painter.setPen(pen(wire_colour(kind, theme), size, round_cap=True))
            painter.drawPoints(points)


def draw_arrows(painter: QPainter, wires: list[Wire], theme: Theme) -> None:
    """Where nothing may move, an arrowhead in the middle of each line shows the direction."""
    painter.setPen(Qt.PenStyle.NoPen)
    for wire in wires:
        if not wire.moves or len(wire.points) < 12:
            continue
        at = len(wire.points) // 2
        tip, back = wire.points[at + 5], wire.points[at - 5]
        along = tip - back
        length = max((along.x() ** 2 + along.y() ** 2) ** 0.5, 0.001)
        side = QPointF(-along.y() / length * 4.5, along.x() / length * 4.5)
        painter.setBrush(colour(wire_colour(wire.kind, theme)))
        painter.drawPolygon(QPolygonF([tip, back + side, back - side]))
