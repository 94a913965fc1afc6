"""A curve the size of a word, for the rates in the top bar."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPointF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QWidget

from kafkalab.ui.theme.tokens import DARK, Theme

WIDTH = 88
HEIGHT = 22
POINTS_MAX = 60
HEADROOM = 1.3


class Sparkline(QWidget):
    """The last samples, scaled to their own maximum. A flat line at the foot when nothing moves."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._values: list[float] = []
        self._theme: Theme = DARK
        self.setFixedSize(WIDTH, HEIGHT)

    def set_theme(self, theme: Theme) -> None:
        """Draw in these colours."""
        self._theme = theme
        self.update()

    def set_values(self, values: Sequence[float]) -> None:
        """Show the last of these."""
        self._values = list(values)[-POINTS_MAX:]
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(WIDTH, HEIGHT)

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self._values:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(self._theme.accent), 1.5, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin))
        top, foot = 3.0, self.height() - 3.0
        highest = max(self._values) * HEADROOM or 1.0
        # The newest sample stands at the right edge, so that a short history grows from there.
        step = (self.width() - 4) / (POINTS_MAX - 1)
        left = self.width() - 2 - step * (len(self._values) - 1)
        points = [QPointF(left + step * place, foot - (foot - top) * value / highest) for place, value in enumerate(self._values)]
        if len(points) == 1:
            points.insert(0, QPointF(left - step, points[0].y()))
        painter.drawPolyline(QPolygonF(points))
