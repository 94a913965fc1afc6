"""What the painted views share: one prepared picture, regions, mouse and keyboard.

A frame copies the prepared picture and draws what moves on top. The picture is drawn anew when the
model says that something on it changed, in parts where that suffices.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPoint, QPointF, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QContextMenuEvent,
    QCursor,
    QFocusEvent,
    QHelpEvent,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPixmap,
    QResizeEvent,
)
from PySide6.QtWidgets import QToolTip, QWidget

from kafkalab.ui.model.changes import ChangeSet
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link
from kafkalab.ui.model.things import NoticeAction
from kafkalab.ui.scene.regions import Region, Regions
from kafkalab.ui.theme.tokens import DARK, Theme

_ARROWS = {
    Qt.Key.Key_Left: (-1, 0),
    Qt.Key.Key_Right: (1, 0),
    Qt.Key.Key_Up: (0, -1),
    Qt.Key.Key_Down: (0, 1),
}


class PaintedView(QWidget):
    """A view that paints itself. Subclasses draw the picture and what lies on top of it."""

    selected = Signal(object)  # Link
    activated = Signal(object)  # Link: double click or Return
    context_requested = Signal(object, QPoint)  # Link, global position
    action_requested = Signal(object)  # NoticeAction
    hovered = Signal(object)  # Link or None
    painted = Signal(float)  # milliseconds that a frame took

    def __init__(self, model: ClusterModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = model
        self.theme: Theme = DARK
        self.regions = Regions()
        self.selection: Link | None = None
        self.reduce_motion = False
        self._hover: Region | None = None
        self._focus: Region | None = None
        self._picture: QPixmap | None = None
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)

    # --- for the window ------------------------------------------------------------------------

    def set_theme(self, theme: Theme) -> None:
        """Change colours."""
        self.theme = theme
        self.invalidate()

    def set_selection(self, link: Link | None) -> None:
        """Ring a thing that was selected anywhere."""
        if link != self.selection:
            self.selection = link
            self.selection_changed()
            self.update()

    def set_reduce_motion(self, reduce: bool) -> None:
        """Nothing moves; changes are instant."""
        self.reduce_motion = reduce
        self.update()

    def apply_change(self, change: ChangeSet) -> None:
        """The model changed."""
        raise NotImplementedError

    def facts(self) -> tuple[list[str], list[list[str]]]:
        """The same facts as a table: headings and rows, for screen readers and export."""
        raise NotImplementedError

    def render_image(self, scale: float = 2.0) -> QImage:
        """The view as a picture."""
        image = QImage(self.size() * scale, QImage.Format.Format_ARGB32_Premultiplied)
        image.setDevicePixelRatio(scale)
        painter = QPainter(image)
        self.render_to(painter)
        painter.end()
        return image

    def render_to(self, painter: QPainter) -> None:
        """Draw everything onto any painter, e.g. of an SVG."""
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self.draw_picture(painter, self.ratio)
        self.draw_overlay(painter)

    def invalidate(self) -> None:
        """Draw the picture anew before the next frame."""
        self._picture = None
        self.update()

    def sizeHint(self) -> QSize:
        """The stage of the design's pictures."""
        return QSize(927, 605)

    # --- for subclasses ------------------------------------------------------------------------

    @property
    def ratio(self) -> float:
        """Device pixels per pixel."""
        return self.devicePixelRatioF()

    def draw_picture(self, painter: QPainter, ratio: float) -> None:
        """Draw all that stands still, and note the regions."""
        raise NotImplementedError

    def refresh_picture(self, picture: QPixmap) -> None:
        """Draw parts of the prepared picture anew, when only these changed."""

    def draw_overlay(self, painter: QPainter) -> None:
        """Draw what moves, rings and the like."""

    def selection_changed(self) -> None:
        """React to a new selection."""

    # --- Qt ------------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        """Copy the picture, draw the rest."""
        picture = self._picture
        ratio = self.ratio
        if picture is None or picture.devicePixelRatio() != ratio:
            picture = QPixmap(QSize(max(int(self.width() * ratio), 1), max(int(self.height() * ratio), 1)))
            picture.setDevicePixelRatio(ratio)
            self._picture = picture
            self.regions.clear()
            with QPainter(picture) as painter:
                painter.setRenderHint(QPainter.RenderHint.Antialiasing)
                self.draw_picture(painter, ratio)
            self._find_again()
        else:
            self.refresh_picture(picture)
        with QPainter(self) as painter:
            rect: QRect = event.rect()
            source = QRectF(rect.x() * ratio, rect.y() * ratio, rect.width() * ratio, rect.height() * ratio)
            painter.drawPixmap(QRectF(rect), picture, source)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            self.draw_overlay(painter)

    def _find_again(self) -> None:
        """The regions are new: point at and focus the same things as before."""
        hover, focus = self._hover, self._focus
        if hover is not None:
            self._hover = self.regions.at(QPointF(self.mapFromGlobal(QCursor.pos())))
        if focus is not None:
            self._focus = next((region for region in self.regions if region.link == focus.link and region.action == focus.action), None)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Everything stands elsewhere now."""
        self._picture = None
        super().resizeEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Light what the pointer is on."""
        self._set_hover(self.regions.at(event.position()))

    def leaveEvent(self, event: QEvent) -> None:
        """Nothing is pointed at."""
        self._set_hover(None)
        super().leaveEvent(event)

    def _set_hover(self, region: Region | None) -> None:
        before = self._hover
        if region is before:
            return
        self._hover = region
        self.setCursor(Qt.CursorShape.PointingHandCursor if region is not None else Qt.CursorShape.ArrowCursor)
        self.hovered.emit(None if region is None else region.link)
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Select what was pressed on."""
        region = self.regions.at(event.position())
        if region is None or event.button() not in (Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton):
            super().mousePressEvent(event)
            return
        self._focus = region
        if region.action is not None:
            if event.button() is Qt.MouseButton.LeftButton:
                self._act(region.action)
            return
        self._choose(region)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Open it."""
        region = self.regions.at(event.position())
        if region is not None and region.action is None:
            self.activated.emit(region.link)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Ask for the menu of what is under the pointer, or has the focus."""
        by_key = event.reason() is QContextMenuEvent.Reason.Keyboard
        region = self._focus if by_key else self.regions.at(QPointF(event.pos()))
        if region is None or region.action is not None:
            return
        place = self.mapToGlobal(region.rect.center().toPoint()) if by_key else event.globalPos()
        self.context_requested.emit(region.link, place)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrows walk over the things, Return opens, Space selects."""
        arrow = _ARROWS.get(Qt.Key(event.key()))
        if arrow is not None:
            origin = self._focus
            if origin is None and self.selection is not None:
                origin = self.regions.of(self.selection)
            region = self.regions.next_to(origin, *arrow)
            if region is not None:
                self._focus = region
                if region.action is None:
                    self._choose(region)
                self.setAccessibleDescription(region.name)
                self.update()
            return
        region = self._focus
        if region is not None and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            if region.action is not None:
                self._act(region.action)
            elif event.key() == Qt.Key.Key_Space:
                self._choose(region)
            else:
                self.activated.emit(region.link)
            return
        super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Show where the keyboard is."""
        super().focusInEvent(event)
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """The keyboard is elsewhere."""
        super().focusOutEvent(event)
        self.update()

    def _act(self, action: NoticeAction) -> None:
        """A link in the picture was clicked: the window knows what it means, unless the view itself does."""
        self.action_requested.emit(action)

    def _choose(self, region: Region) -> None:
        self.set_selection(region.link)
        self.selected.emit(region.link)

    def event(self, event: QEvent) -> bool:
        """Tooltips come from the regions."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            region = self.regions.at(QPointF(event.pos()))
            text = region.tip() if region is not None and region.tip is not None else ""
            if text:
                QToolTip.showText(event.globalPos(), text, self, region.rect.toRect() if region is not None else QRect())
            else:
                QToolTip.hideText()
            return True
        return super().event(event)
