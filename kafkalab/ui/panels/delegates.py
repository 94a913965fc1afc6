"""How rows of trees and tables are drawn: tones, glyphs, topic squares, the tabular face, a soft selection."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QModelIndex, QObject, QPersistentModelIndex, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetrics, QPainter
from PySide6.QtWidgets import QAbstractItemView, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from kafkalab.ui.itemmodels.roles import ColourRole, GlyphRole, MonoRole, ToneRole
from kafkalab.ui.model.states import Tone
from kafkalab.ui.theme.fonts import mono_font, symbol_font, ui_font
from kafkalab.ui.theme.tokens import DARK, RADIUS_FIELD, ROW_HEIGHT, Theme, topic_colour

GLYPH_WIDTH: Final = 16
SQUARE: Final = 9
EDGE: Final = 4

_Index = QModelIndex | QPersistentModelIndex


class RowDelegate(QStyledItemDelegate):
    """Draws one cell. The selected row is one rounded band over all its cells."""

    def __init__(
        self, parent: QObject | None = None, *, padding: int = 8, height: int = ROW_HEIGHT, edge: int | None = None, bands: bool = True
    ) -> None:
        super().__init__(parent)
        self._theme: Theme = DARK
        self._padding = padding
        self._height = height
        self._edge = padding if edge is None else edge
        """Padding of the first cell at its left."""
        self._bands = bands
        """Whether the selection is drawn here; a tree draws it itself, under its arrows."""

    def set_theme(self, theme: Theme) -> None:
        """Draw in these colours."""
        self._theme = theme

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        font = mono_font() if index.data(MonoRole) else ui_font()
        width = QFontMetrics(font).horizontalAdvance(str(index.data() or "")) + self._padding * 2
        return QSize(width, self._height)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        theme = self._theme
        area: QRect = option.rect
        state: QStyle.StateFlag = option.state
        view = option.widget
        assert isinstance(view, QAbstractItemView), "the delegate is for rows of views"
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self._bands and state & QStyle.StateFlag.State_Selected:
            self._paint_band(painter, area, index, view)
        inner = area.adjusted(self._padding if index.column() else self._edge, 0, -self._padding, 0)
        # Qt hands a string enumeration back as its string. Text is never drawn in the colour of outlines.
        tone = str(index.data(ToneRole) or Tone.TEXT)
        colour = QColor(theme.muted if tone == Tone.OFF else theme.tone(tone))
        topic = index.data(ColourRole)
        if isinstance(topic, int):
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(topic_colour(topic, theme)))
            painter.drawRoundedRect(QRectF(inner.left(), inner.center().y() - SQUARE / 2 + 0.5, SQUARE, SQUARE), 1.5, 1.5)
            inner.setLeft(inner.left() + GLYPH_WIDTH)
        glyph = index.data(GlyphRole)
        if glyph:
            painter.setFont(symbol_font())
            painter.setPen(colour)
            painter.drawText(QRect(inner.left(), inner.top(), GLYPH_WIDTH, inner.height()), int(Qt.AlignmentFlag.AlignVCenter), str(glyph))
            inner.setLeft(inner.left() + GLYPH_WIDTH - 2)
        painter.setFont(mono_font() if index.data(MonoRole) else ui_font())
        painter.setPen(colour)
        align = index.data(Qt.ItemDataRole.TextAlignmentRole)
        side = Qt.AlignmentFlag(align) if align is not None else Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        text = painter.fontMetrics().elidedText(str(index.data() or ""), Qt.TextElideMode.ElideRight, max(0, inner.width()))
        painter.drawText(inner, side | Qt.AlignmentFlag.AlignVCenter, text)
        if state & QStyle.StateFlag.State_HasFocus and state & QStyle.StateFlag.State_KeyboardFocusChange:
            painter.setPen(QColor(theme.accent))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(QRectF(area).adjusted(1.5, 1.5, -1.5, -1.5), RADIUS_FIELD, RADIUS_FIELD)
        painter.restore()

    def _paint_band(self, painter: QPainter, area: QRect, index: _Index, view: QAbstractItemView) -> None:
        model = index.model()
        first = index.column() == 0
        last = index.column() == model.columnCount(index.parent()) - 1
        band = QRectF(area)
        # Beyond the cell's edge where the band goes on, so that only its ends are round.
        band.setLeft(float(EDGE) if first else band.left() - RADIUS_FIELD * 2)
        band.setRight(float(view.viewport().width() - EDGE) if last else band.right() + RADIUS_FIELD * 2)
        painter.setClipRect(
            QRect(
                0 if first else area.left(),
                area.top(),
                100_000 if last else area.right() + 1 - (0 if first else area.left()),
                area.height(),
            )
        )
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(self._theme.selection))
        painter.drawRoundedRect(band, RADIUS_FIELD, RADIUS_FIELD)
        painter.setClipping(False)
