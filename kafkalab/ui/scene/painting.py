"""Small things that every painted view draws alike: text, chips, rings, pens."""

from __future__ import annotations

from functools import cache
from typing import Final

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QFont, QFontMetricsF, QPainter, QPainterPath, QPen, QPixmap, QPolygonF

from kafkalab.ui.model.states import REPLICA_SIGNS, ReplicaRole
from kafkalab.ui.theme import tokens
from kafkalab.ui.theme.fonts import mono_font, symbol_font
from kafkalab.ui.theme.tokens import Theme, ink_on, topic_colour

LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
CENTRE = Qt.AlignmentFlag.AlignCenter

_SIXTY_DEGREES = ((0.0, -1.0), (0.8660254, -0.5), (0.8660254, 0.5), (0.0, 1.0), (-0.8660254, 0.5), (-0.8660254, -0.5))


@cache
def colour(name: str, alpha: int = 255) -> QColor:
    """A token as Qt's colour."""
    value = QColor(name)
    value.setAlpha(alpha)
    return value


@cache
def pen(
    name: str, width: float = tokens.STROKE_HAIRLINE, dashes: tuple[float, ...] = (), *, round_cap: bool = False, alpha: int = 255
) -> QPen:
    """A pen; dashes are in pixels."""
    value = QPen(colour(name, alpha), width)
    value.setCapStyle(Qt.PenCapStyle.RoundCap if round_cap else Qt.PenCapStyle.FlatCap)
    if dashes:
        value.setDashPattern([length / width for length in dashes])
    return value


_metrics: dict[int, tuple[QFont, QFontMetricsF]] = {}


def metrics(font: QFont) -> QFontMetricsF:
    """The font's metrics, kept. Fonts come from ``theme.fonts``, which makes each once."""
    known = _metrics.get(id(font))
    if known is None or known[0] is not font:
        known = _metrics[id(font)] = (font, QFontMetricsF(font))
    return known[1]


_widths: dict[tuple[str, int], float] = {}
WIDTHS_KEPT_MAX: Final = 4_096


def text_width(text: str, font: QFont) -> float:
    """How wide the text is. Kept, for most texts are drawn again."""
    measure = metrics(font)
    key = (text, id(font))
    width = _widths.get(key)
    if width is None:
        if len(_widths) >= WIDTHS_KEPT_MAX:
            _widths.clear()
        width = _widths[key] = measure.horizontalAdvance(text)
    return width


def elided(text: str, font: QFont, width: float) -> str:
    """The text, cut with an ellipsis where it is too wide."""
    return text if text_width(text, font) <= width else metrics(font).elidedText(text, Qt.TextElideMode.ElideRight, width)


def two_lines(text: str, font: QFont, width: float) -> tuple[str, str]:
    """The text in as many lines as it needs, at most two: the second, empty where one is enough, is as long as it is."""
    if text_width(text, font) <= width:
        return text, ""
    first, _, rest = text.partition(" ")
    while rest:
        word, _, others = rest.partition(" ")
        if text_width(f"{first} {word}", font) > width:
            break
        first, rest = f"{first} {word}", others
    return first, rest


def draw_text(
    painter: QPainter, rect: QRectF, text: str, font: QFont, tone: str, align: Qt.AlignmentFlag = LEFT, *, elide: bool = True
) -> None:
    """Text within a rectangle, in the colour ``#rrggbb``."""
    painter.setFont(font)
    painter.setPen(colour(tone))
    # Glyphs may reach over their advance, so nothing is clipped; what is too wide was elided before.
    painter.drawText(rect, align | Qt.TextFlag.TextDontClip, elided(text, font, rect.width()) if elide else text)


def line_rect(left: float, centre_y: float, width: float, height: float = 20.0) -> QRectF:
    """A rectangle for one line of text around its middle."""
    return QRectF(left, centre_y - height / 2, width, height)


def rounded(painter: QPainter, rect: QRectF, radius: float, fill: str | None, stroke: QPen | None) -> None:
    """A rounded rectangle whose stroke lies inside it."""
    painter.setBrush(colour(fill) if fill is not None else QBrush(Qt.BrushStyle.NoBrush))
    if stroke is None:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.drawRoundedRect(rect, radius, radius)
        return
    painter.setPen(stroke)
    half = stroke.widthF() / 2
    painter.drawRoundedRect(rect.adjusted(half, half, -half, -half), radius - half, radius - half)


def hexagon(centre: QPointF, radius: float) -> QPolygonF:
    """A hexagon that stands on a corner."""
    return QPolygonF([QPointF(centre.x() + radius * x, centre.y() + radius * y) for x, y in _SIXTY_DEGREES])


def ring(painter: QPainter, rect: QRectF, radius: float, theme: Theme) -> None:
    """The selection ring: 2 px of accent with a gap of 3."""
    outer = rect.adjusted(-tokens.RING_GAP, -tokens.RING_GAP, tokens.RING_GAP, tokens.RING_GAP)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(pen(theme.accent, tokens.STROKE_RING))
    painter.drawRoundedRect(outer, radius + tokens.RING_GAP, radius + tokens.RING_GAP)


class ChipPainter:
    """Replica chips, each look drawn once and then copied."""

    def __init__(self, theme: Theme, ratio: float) -> None:
        self.theme = theme
        self.ratio = ratio
        self._pixmaps: dict[tuple[ReplicaRole, int, int, int, int, str], QPixmap] = {}

    def chip(self, role: ReplicaRole, topic: int, number: int, width: float, height: float, tag: str = "") -> QPixmap:
        """A chip by role, colour index of the topic and number of the partition; ``tag`` is a letter in its corner."""
        key = (role, topic, number, int(width), int(height), tag)
        pixmap = self._pixmaps.get(key)
        if pixmap is None:
            pixmap = self._pixmaps[key] = self._draw(role, topic, number, width, height, tag)
        return pixmap

    def _draw(self, role: ReplicaRole, topic: int, number: int, width: float, height: float, tag: str) -> QPixmap:
        pixmap = QPixmap(int(width * self.ratio + 0.5), int(height * self.ratio + 0.5))
        pixmap.setDevicePixelRatio(self.ratio)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        theme = self.theme
        base = topic_colour(topic, theme)
        rect = QRectF(0, 0, width, height)
        small = height < tokens.ROW_HEIGHT
        if role is ReplicaRole.LEADER:
            rounded(painter, rect, tokens.RADIUS_CHIP, base, None)
            ink = ink_on(base)
        elif role is ReplicaRole.OFFLINE:
            rounded(painter, rect, tokens.RADIUS_CHIP, None, pen(theme.off, tokens.STROKE_CARD, (3.0, 3.0)))
            # Off is no text colour, so the number is muted.
            ink = theme.muted
        else:
            rounded(painter, rect, tokens.RADIUS_CHIP, theme.panel, pen(base, tokens.STROKE_CARD))
            ink = theme.text
        glyph_size = 8 if small else 12
        middle = height / 2
        glyph_x, number_x = (width * 0.27, width * 0.7) if small else (width * 0.26, width * 0.71)
        painter.setFont(symbol_font(glyph_size))
        painter.setPen(colour(ink))
        glyph = REPLICA_SIGNS[role].glyph
        painter.drawText(QRectF(glyph_x - 10, middle - 10, 20, 20), CENTRE, glyph)
        painter.setFont(mono_font((9 if number < 100 else 7) if small else (12 if number < 100 else 10), bold=role is ReplicaRole.LEADER))
        painter.drawText(QRectF(number_x - 16, middle - 10, 32, 20), CENTRE, str(number))
        if tag:
            self._draw_tag(painter, tag, width, height, small=small)
        painter.end()
        return pixmap

    def _draw_tag(self, painter: QPainter, tag: str, width: float, height: float, *, small: bool) -> None:
        """A filled corner with its letter: who may lead besides the ISR, and what moves, is found at a glance."""
        theme = self.theme
        size = 8.0 if small else 11.0
        box = QRectF(width - size, 0, size, min(size, height))
        tone = theme.accent if tag in "+−" else theme.warn
        rounded(painter, box, 3, tone, None)
        painter.setFont(mono_font(7 if small else 8, bold=True))
        painter.setPen(colour(ink_on(tone)))
        painter.drawText(box.adjusted(-4, -4, 4, 4), CENTRE, tag)

    def squares(self, painter: QPainter, groups: dict[tuple[ReplicaRole, int], list[QRectF]]) -> None:
        """Many replicas as squares: one call per look."""
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        for (role, topic), rects in groups.items():
            base = topic_colour(topic, self.theme)
            if role is ReplicaRole.LEADER:
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(colour(base))
                painter.drawRects(rects)
                continue
            inner = [rect.adjusted(0.5, 0.5, -0.5, -0.5) for rect in rects]
            painter.setBrush(Qt.BrushStyle.NoBrush)
            if role is ReplicaRole.OFFLINE:
                painter.setPen(pen(self.theme.off, 1.0))
                path = QPainterPath()
                for rect in inner:
                    path.moveTo(rect.topLeft())
                    path.lineTo(rect.bottomRight())
                    path.moveTo(rect.topRight())
                    path.lineTo(rect.bottomLeft())
                painter.drawPath(path)
                continue
            painter.setPen(pen(base, 1.0))
            painter.drawRects(inner)
            if role is ReplicaRole.IN_SYNC:
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(colour(base))
                painter.drawRects([rect.adjusted(2.5, 2.5, -2.5, -2.5) for rect in rects])
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
