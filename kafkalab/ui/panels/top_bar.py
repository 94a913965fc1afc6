"""The bar above everything: is the cluster well, where do clients connect, how much flows, who controls."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QPoint, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QGuiApplication, QMouseEvent, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QAbstractButton, QHBoxLayout, QLabel, QSizePolicy, QWidget

from kafkalab.ui.model.changes import ChangeSet, Part
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link
from kafkalab.ui.model.states import HEALTH_SIGNS
from kafkalab.ui.panels.widgets import ElidedLabel, LinkLabel, label
from kafkalab.ui.plots.sparkline import Sparkline
from kafkalab.ui.theme.fonts import mono_font, symbol_font, ui_font
from kafkalab.ui.theme.formats import format_byte_rate
from kafkalab.ui.theme.tokens import DARK, FIELD_HEIGHT, RADIUS_FIELD, Theme

HEIGHT: Final = 46
PILL_PADDING: Final = 14
ADDRESS_WIDTH: Final = 300
COPIED_SHOWN_MS: Final = 1_200
RATE_WIDTH: Final = 78
CURVES_FROM: Final = 1_160
CONTROLLER_FROM: Final = 940
RATES_FROM: Final = 720


class HealthPill(QAbstractButton):
    """The cluster's health in shape, colour and words. A click leads to the culprit."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme: Theme = DARK
        self._glyph, self._tone = "◌", "accent"
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.say("◌", "accent", "Starting")

    def set_theme(self, theme: Theme) -> None:
        """Draw in these colours."""
        self._theme = theme
        self.update()

    def say(self, glyph: str, tone: str, text: str) -> None:
        """Show a state."""
        if (glyph, tone, text) == (self._glyph, self._tone, self.text()):
            return
        self._glyph, self._tone = glyph, tone
        self.setText(text)
        self.setAccessibleName(f"Cluster: {text}")
        self.setToolTip(f"{text}. A click leads to what it is about.")
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        self.setFont(ui_font())
        return QSize(self.fontMetrics().horizontalAdvance(self.text()) + PILL_PADDING * 2 + 20, FIELD_HEIGHT)

    def paintEvent(self, event: QPaintEvent) -> None:
        theme = self._theme
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colour = QColor(theme.tone(self._tone))
        painter.setBrush(QColor(theme.raised if self.underMouse() or self.hasFocus() else theme.panel))
        painter.setPen(QPen(colour, 2.0 if self.hasFocus() else 1.5))
        body = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        painter.drawRoundedRect(body, body.height() / 2, body.height() / 2)
        painter.setPen(colour)
        painter.setFont(symbol_font())
        painter.drawText(QRectF(PILL_PADDING, 0, 16, self.height()), int(Qt.AlignmentFlag.AlignVCenter), self._glyph)
        painter.setPen(QColor(theme.text))
        painter.setFont(ui_font())
        area = QRectF(PILL_PADDING + 18, 0, self.width() - PILL_PADDING - 18, self.height())
        painter.drawText(area, int(Qt.AlignmentFlag.AlignVCenter), self.text())


class CopyBox(QAbstractButton):
    """An address in a field; a click puts the whole of it on the clipboard."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme: Theme = DARK
        self._address = ""
        self._copied = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(COPIED_SHOWN_MS)
        self._timer.timeout.connect(self._forget_copied)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setFixedHeight(FIELD_HEIGHT)
        self.setMinimumWidth(140)
        self.setMaximumWidth(ADDRESS_WIDTH)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.clicked.connect(self.copy)
        self.set_address("")

    def set_theme(self, theme: Theme) -> None:
        """Draw in these colours."""
        self._theme = theme
        self.update()

    def set_address(self, address: str) -> None:
        """Show this."""
        self._address = address
        self.setEnabled(bool(address))
        self.setAccessibleName(f"Bootstrap address {address}: copy" if address else "Bootstrap address: not known yet")
        self.setToolTip(f"bootstrap.servers={address}\nClick to copy (Ctrl+Shift+C)" if address else "The brokers' addresses appear here.")
        self.update()

    def address(self) -> str:
        """What is shown."""
        return self._address

    def copy(self) -> None:
        """Put it on the clipboard and say so for a moment."""
        if not self._address:
            return
        QGuiApplication.clipboard().setText(self._address)
        self._copied = True
        self._timer.start()
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(ADDRESS_WIDTH, FIELD_HEIGHT)

    def paintEvent(self, event: QPaintEvent) -> None:
        theme = self._theme
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(QColor(theme.raised))
        painter.setPen(QPen(QColor(theme.accent if self.hasFocus() else theme.line), 1))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), RADIUS_FIELD, RADIUS_FIELD)
        inner = QRectF(self.rect()).adjusted(10, 0, -32, 0)
        painter.setFont(mono_font())
        painter.setPen(QColor(theme.text if self._address and not self._copied else theme.ok if self._copied else theme.muted))
        words = "✓ copied" if self._copied else self._address or "starting…"
        shown = painter.fontMetrics().elidedText(words, Qt.TextElideMode.ElideRight, int(inner.width()))
        painter.drawText(inner, int(Qt.AlignmentFlag.AlignVCenter), shown)
        # Two sheets, one on the other.
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(QColor(theme.muted), 1.2))
        corner = QPoint(self.width() - 22, self.height() // 2 - 6)
        painter.drawRoundedRect(QRectF(corner.x() + 3, corner.y(), 9, 9), 1.5, 1.5)
        painter.setBrush(QColor(theme.raised))
        painter.drawRoundedRect(QRectF(corner.x(), corner.y() + 3, 9, 9), 1.5, 1.5)

    def _forget_copied(self) -> None:
        self._copied = False
        self.update()


class _Rate(QWidget):
    """A direction, its rate, and its last fifteen seconds."""

    def __init__(self, name: str, tip: str) -> None:
        super().__init__()
        self._name = name
        self._tip = tip
        self._value = ElidedLabel("0 B/s", "mono")
        self._value.setFixedWidth(RATE_WIDTH)
        self._value.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Preferred)
        self.curve = Sparkline()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(label(name, "muted"))
        row.addWidget(self._value)
        row.addSpacing(4)
        row.addWidget(self.curve)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Preferred)

    def show_rate(self, rate: float, history: list[float]) -> None:
        text = format_byte_rate(rate)
        if text != self._value.text():
            self._value.set_text(text)
            self.setAccessibleName(f"{self._name} {text}")
            self.setToolTip(f"{self._tip}: {text}")
        self.curve.set_values(history)


class _ControllerLabel(QLabel):
    """Who is the active controller; a click goes there."""

    clicked = Signal()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() is Qt.MouseButton.LeftButton:
            self.clicked.emit()
        super().mouseReleaseEvent(event)


class TopBar(QWidget):
    """Three questions answered without a click."""

    link_clicked = Signal(object)
    palette_requested = Signal()

    def __init__(self, cluster: ClusterModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._cluster = cluster
        self.setProperty("role", "topbar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedHeight(HEIGHT)
        self.pill = HealthPill()
        self.pill.clicked.connect(lambda *_: self.link_clicked.emit(self._cluster.health.link))
        self.bootstrap = CopyBox()
        self._in = _Rate("in", "Record bytes that producers bring")
        self._out = _Rate("out", "Record bytes that consumers take")
        self._controller = _ControllerLabel("")
        self._controller.setProperty("role", "value")
        self._controller.setCursor(Qt.CursorShape.PointingHandCursor)
        self._controller.clicked.connect(lambda: self.link_clicked.emit(Link.quorum()))
        self._keys = LinkLabel("Ctrl+K")
        self._keys.setProperty("role", "hint")
        self._keys.setToolTip("Do something, or go somewhere, by a few letters of its name")
        self._keys.setAccessibleName("Command palette, Ctrl+K")
        self._keys.clicked.connect(lambda *_: self.palette_requested.emit())
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 0, 14, 2)
        row.setSpacing(12)
        row.addWidget(self.pill)
        row.addWidget(self.bootstrap)
        row.addSpacing(10)
        row.addWidget(self._in)
        row.addSpacing(10)
        row.addWidget(self._out)
        row.addSpacing(16)
        self._controller_name = label("controller", "muted")
        row.addWidget(self._controller_name)
        row.addWidget(self._controller)
        row.addStretch(1)
        row.addWidget(self._keys)
        self.refresh()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """What does not fit goes, the least needed first: curves, then the controller, then rates."""
        super().resizeEvent(event)
        width = self.width()
        for rate in (self._in, self._out):
            rate.curve.setVisible(width >= CURVES_FROM)
            rate.setVisible(width >= RATES_FROM)
        for shown in (self._controller, self._controller_name):
            shown.setVisible(width >= CONTROLLER_FROM)

    def set_theme(self, theme: Theme) -> None:
        """Draw in these colours."""
        self.pill.set_theme(theme)
        self.bootstrap.set_theme(theme)
        self._in.curve.set_theme(theme)
        self._out.curve.set_theme(theme)

    def apply(self, changes: ChangeSet) -> None:
        """Bring up to date what changed."""
        if changes.touches(Part.HEALTH, Part.RATES, Part.QUORUM, Part.NODES):
            self.refresh()

    def refresh(self) -> None:
        """Show the cluster as it is now."""
        cluster = self._cluster
        sign = HEALTH_SIGNS[cluster.health.level]
        self.pill.say(sign.glyph, sign.tone.value, cluster.health.text)
        self._in.show_rate(cluster.produce_rate, list(cluster.produce_history.values))
        self._out.show_rate(cluster.fetch_rate, list(cluster.fetch_history.values))
        leader = cluster.quorum.leader_id
        text = f"{leader} ♛ epoch {cluster.quorum.epoch}" if leader >= 0 else "none"
        if text != self._controller.text():
            self._controller.setText(text)
            self._controller.setToolTip(f"Active controller: {text}")
            self._controller.setAccessibleName(f"Active controller: {text}")
