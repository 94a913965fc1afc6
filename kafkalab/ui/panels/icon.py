"""The window's icon, painted: a hexagon as on the stage, with a star for who leads."""

from __future__ import annotations

import math
from typing import Final

from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPen, QPixmap, QPolygonF

from kafkalab.ui.theme.tokens import DARK

SIZES: Final = (16, 24, 32, 48, 64, 128, 256)


def window_icon() -> QIcon:
    """In all sizes that a desktop asks for."""
    icon = QIcon()
    for size in SIZES:
        icon.addPixmap(_paint(size))
    return icon


def _paint(size: int) -> QPixmap:
    picture = QPixmap(size, size)
    picture.fill(Qt.GlobalColor.transparent)
    with QPainter(picture) as painter:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(DARK.accent), max(1.5, size / 14)))
        painter.setBrush(QColor(DARK.panel))
        painter.drawPolygon(_around(size, size * 0.44, size * 0.44, 6))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(DARK.text))
        painter.drawPolygon(_around(size, size * 0.25, size * 0.11, 10))
    return picture


def _around(size: int, radius: float, inner_radius: float, corners: int) -> QPolygonF:
    """A polygon around the middle whose corners lie on two circles by turns."""
    middle = size / 2
    points = []
    for corner in range(corners):
        reach = radius if corner % 2 == 0 else inner_radius
        angle = math.tau * corner / corners - math.pi / 2
        points.append(QPointF(middle + math.cos(angle) * reach, middle + math.sin(angle) * reach))
    return QPolygonF(points)
