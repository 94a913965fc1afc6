"""A state machine drawn from the table it runs on, with the present state lit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from typing import Final

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPainterPath, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget

from kafkalab.ui.theme.fonts import ui_font
from kafkalab.ui.theme.tokens import DARK, Theme

BOX_WIDTH: Final = 152
BOX_HEIGHT: Final = 30
GAP: Final = 52
TOP: Final = 30
LOW_ROW: Final = 60
MARGIN: Final = 16
ARROW: Final = 6.0
APART: Final = 6.0  # of the two arrows between neighbours

Table = Mapping[str, Set[str]]
"""A state and the states from which it can be entered."""


def in_order(table: Table) -> tuple[list[str], list[str]]:
    """States of the upper row, in the order in which they are passed through, and final ones below.

    A state from which no other can be entered is final.
    """
    finals = [state for state in table if not any(state in entered_from for other, entered_from in table.items() if other != state)]
    return [state for state in table if state not in finals], finals


def spaced(state: str) -> str:
    """PreparingRebalance → Preparing rebalance."""
    words = "".join(f" {letter}" if letter.isupper() and place else letter for place, letter in enumerate(state)).replace("_", " ")
    return words[:1].upper() + words[1:].lower()


class StateDiagram(QWidget):
    """Boxes and arrows; what is so now is filled and said in words as well."""

    def __init__(self, table: Table, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme: Theme = DARK
        self._table = table
        self._upper, self._finals = in_order(table)
        self._state = ""
        self.setFixedHeight(TOP + BOX_HEIGHT + (LOW_ROW if self._finals else 0) + 24)
        self.setMinimumWidth(len(self._upper) * 96 + MARGIN * 2)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.set_state("")

    def set_theme(self, theme: Theme) -> None:
        """Draw in these colours."""
        self._theme = theme
        self.update()

    def set_state(self, state: str) -> None:
        """Light this one."""
        if state != self._state or not self.accessibleName():
            self._state = state
            self.setAccessibleName(f"State diagram: now {spaced(state)}" if state else "State diagram")
            self.update()

    def state(self) -> str:
        """The one that is lit."""
        return self._state

    def sizeHint(self) -> QSize:
        return QSize(len(self._upper) * (BOX_WIDTH + GAP), self.height())

    def boxes(self) -> dict[str, QRectF]:
        """Where each state is drawn."""
        count = max(1, len(self._upper))
        room = self.width() - 2 * MARGIN
        box_width = min(BOX_WIDTH, (room - (count - 1) * 24) / count)
        gap = min(GAP * 1.5, (room - count * box_width) / max(1, count - 1))
        placed = {state: QRectF(MARGIN + place * (box_width + gap), TOP, box_width, BOX_HEIGHT) for place, state in enumerate(self._upper)}
        for place, state in enumerate(self._finals):
            x = MARGIN + (count / 2 - 0.5) * (box_width + gap) + place * (box_width + gap)
            placed[state] = QRectF(x, TOP + LOW_ROW, box_width, BOX_HEIGHT)
        return placed

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        boxes = self.boxes()
        for target, sources in self._table.items():
            for source in sources:
                if source != target and source in boxes:
                    self._paint_arrow(painter, source, target, boxes)
        for state, box in boxes.items():
            self._paint_box(painter, state, box)

    def _paint_box(self, painter: QPainter, state: str, box: QRectF) -> None:
        theme = self._theme
        lit = state == self._state
        painter.setBrush(QColor(theme.accent if lit else theme.panel))
        painter.setPen(QPen(QColor(theme.accent if lit else theme.line), 1.5))
        painter.drawRoundedRect(box, 6, 6)
        painter.setFont(ui_font(12, semibold=lit))
        painter.setPen(QColor(theme.bg if lit else theme.muted))
        text = painter.fontMetrics().elidedText(spaced(state), Qt.TextElideMode.ElideRight, int(box.width()) - 10)
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)

    def _paint_arrow(self, painter: QPainter, source: str, target: str, boxes: Mapping[str, QRectF]) -> None:
        theme = self._theme
        # What can happen next is drawn strongly.
        colour = QColor(theme.accent if source == self._state else theme.off)
        painter.setPen(QPen(colour, 1.4))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        start, end = boxes[source], boxes[target]
        path = QPainterPath()
        if target in self._finals:
            begin = QPointF(start.center().x(), start.bottom())
            goal = QPointF(end.center().x() + (start.center().x() - end.center().x()) * 0.12, end.top())
            path.moveTo(begin)
            path.cubicTo(begin + QPointF(0, 22), goal - QPointF(0, 22), goal)
            before = goal - QPointF((goal.x() - begin.x()) * 0.05, 6)
        elif abs(self._upper.index(source) - self._upper.index(target)) == 1:
            forward = start.x() < end.x()
            shift = -APART if forward else APART
            begin = QPointF(start.right() if forward else start.left(), start.center().y() + shift)
            goal = QPointF(end.left() if forward else end.right(), end.center().y() + shift)
            path.moveTo(begin)
            path.lineTo(goal)
            before = begin
        else:
            begin = QPointF(start.center().x(), start.top())
            goal = QPointF(end.center().x(), end.top())
            # To the same box from the right lands right of the middle, so that arrows do not lie on each other.
            goal += QPointF(14 if begin.x() > goal.x() else -14, 0)
            rise = QPointF(0, -TOP * 0.9)
            path.moveTo(begin)
            path.cubicTo(begin + rise, goal + rise, goal)
            before = goal + QPointF(math.copysign(4, begin.x() - goal.x()), -8)
        painter.drawPath(path)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        painter.drawPolygon(_arrow_head(before, goal))


def _arrow_head(before: QPointF, tip: QPointF) -> QPolygonF:
    angle = math.atan2(tip.y() - before.y(), tip.x() - before.x())
    corners = [tip]
    for turn in (2.6, -2.6):
        corners.append(tip + QPointF(math.cos(angle + turn) * ARROW, math.sin(angle + turn) * ARROW))
    return QPolygonF(corners)
