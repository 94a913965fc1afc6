"""Lines between cards, and the dots that run along them.

A line is sampled into points once when it is laid; a frame only picks points from that list, so
the cost of motion is one call per colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log10
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


@dataclass(slots=True)
class Wire:
    """One line. Dots run from the first point to the last."""

    kind: str  # "produce", "fetch", "idle", "broken", "peer"
    path: QPainterPath
    rate: float = 0.0
    phase: float = 0.0
    points: list[QPointF] = field(default_factory=list)

    def sample(self, covers: Sequence[QRectF]) -> None:
        """Walk the path once. What is covered by cards is left out: the line runs behind them."""
        length = self.path.length()
        steps = max(int(length / POINT_STEP_PX), 2)
        # Equal steps of the curve's parameter are dense where it bends, which reads as easing.
        self.points = [self.path.pointAtPercent(self.path.percentAtLength(length * at / steps)) for at in range(steps)]
        self.points = [point for point in self.points if not any(cover.contains(point) for cover in covers)]

    @property
    def moves(self) -> bool:
        """Dots run on it."""
        return self.rate > 0 and self.kind in ("produce", "fetch", "peer")

    def dots(self) -> list[QPointF]:
        """Where the dots are now."""
        step = int(DOT_SPACING_PX / POINT_STEP_PX)
        count = len(self.points)
        first = int(self.phase / POINT_STEP_PX) % step
        return self.points[first:count:step]

    def advance(self, span_s: float) -> None:
        """Let the dots run."""
        self.phase = (self.phase + dot_speed(self.rate) * span_s) % DOT_SPACING_PX


def curve(start: QPointF, end: QPointF) -> QPainterPath:
    """A line that leaves and arrives upright."""
    path = QPainterPath(start)
    bend = (end.y() - start.y()) * 0.62
    path.cubicTo(QPointF(start.x(), start.y() + bend), QPointF(end.x(), end.y() - bend), end)
    return path


def straight(start: QPointF, end: QPointF) -> QPainterPath:
    """A plain line."""
    path = QPainterPath(start)
    path.lineTo(end)
    return path


def wire_colour(kind: str, theme: Theme) -> str:
    """Produce in accent, fetch in ok, the rest muted."""
    return {"produce": theme.accent, "fetch": theme.ok, "broken": theme.error}.get(kind, theme.muted)


def draw_wire(painter: QPainter, wire: Wire, theme: Theme) -> None:
    """The line itself, without dots."""
    painter.setBrush(Qt.BrushStyle.NoBrush)
    if wire.kind == "broken":
        painter.setPen(pen(theme.error, 1.2, (4.0, 3.0)))
        painter.drawPath(wire.path)
        middle = wire.path.pointAtPercent(CROSS_AT)
        painter.setFont(symbol_font(12))
        painter.setPen(colour(theme.error))
        painter.drawText(QRectF(middle.x() - 10, middle.y() - 10, 20, 20), CENTRE, "✕")
        return
    if wire.kind in ("idle", "peer"):
        width = 1.0 if wire.kind == "idle" or not wire.rate else min(wire_width(wire.rate), 2.0)
        painter.setPen(pen(theme.muted, width, alpha=110))
        painter.drawPath(wire.path)
        return
    painter.setPen(pen(wire_colour(wire.kind, theme), wire_width(wire.rate), alpha=215))
    painter.drawPath(wire.path)


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
