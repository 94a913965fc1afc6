"""Small widgets that every panel is made of. Their looks come from the style sheet, by the ``role`` property."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QPointF, QRect, QSignalBlocker, QSize, Qt, Signal
from PySide6.QtGui import QAction, QGuiApplication, QPainter, QPaintEvent, QPalette, QPolygonF, QResizeEvent
from PySide6.QtWidgets import QComboBox, QFrame, QHBoxLayout, QLabel, QLayout, QLayoutItem, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from kafkalab.ui.panels.actions import ActionButton

DOCK_PADDING = 14
DOCK_TITLE_HEIGHT = 30


def label(text: str = "", role: str = "", *, selectable: bool = False, wrap: bool = False) -> QLabel:
    """A label of one of the style sheet's roles: muted, title, heading, dock, mono, value, ok, warn, error, small."""
    made = QLabel(text)
    # What clients call themselves is shown as text, never read as markup.
    made.setTextFormat(Qt.TextFormat.PlainText)
    if role:
        made.setProperty("role", role)
    made.setWordWrap(wrap)
    if selectable:
        made.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard)
    return made


def set_role(widget: QWidget, role: str) -> None:
    """Give a widget another role; the style sheet is asked again only when it is another."""
    if widget.property("role") != role:
        widget.setProperty("role", role)
        widget.style().unpolish(widget)
        widget.style().polish(widget)


def hairline() -> QFrame:
    """A horizontal line of one pixel."""
    line = QFrame()
    line.setProperty("role", "hairline")
    line.setFixedHeight(1)
    return line


class ElidedLabel(QLabel):
    """A label that shortens its text to its width, and then tells the whole in its tooltip.

    It draws its text itself: ``QLabel.setText`` asks for a new layout of the whole window each time, which then is
    painted anew from edge to edge, and numbers change many times a second.
    """

    def __init__(self, text: str = "", role: str = "", mode: Qt.TextElideMode = Qt.TextElideMode.ElideRight) -> None:
        super().__init__()
        self._whole = ""
        self._shown = ""
        self._tip = ""
        self._mode = mode
        self.setTextFormat(Qt.TextFormat.PlainText)
        if role:
            self.setProperty("role", role)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.setMinimumWidth(24)
        self.set_text(text)

    def set_text(self, text: str, tip: str = "") -> None:
        """Show ``text``, as much of it as fits; ``tip`` is said in any case."""
        if text == self._whole and tip == self._tip:
            return
        self._whole, self._tip = text, tip
        self.setAccessibleName(text)
        self._fit()

    def whole_text(self) -> str:
        """The text without the shortening."""
        return self._whole

    def text(self) -> str:
        """The text as it is shown."""
        return self._shown

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        # Another role is another face, in which another piece of the text fits.
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def sizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        return QSize(metrics.horizontalAdvance(self._whole) + 2, metrics.height())

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        painter.drawText(self.contentsRect(), int(self.alignment()) | int(Qt.TextFlag.TextSingleLine), self._shown)

    def _fit(self) -> None:
        shown = self.fontMetrics().elidedText(self._whole, self._mode, max(8, self.contentsRect().width()))
        if shown != self._shown:
            self._shown = shown
            self.update()
        tip = "\n".join(filter(None, (self._whole if shown != self._whole else "", self._tip)))
        if tip != self.toolTip():
            self.setToolTip(tip)


class Chooser(QComboBox):
    """A combo box with the window's own arrow: a style sheet cannot draw one without a file."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._names: tuple[str, ...] = ()
        self.setAccessibleName(name)
        self.setMinimumWidth(160)

    def offer(self, names: Sequence[str], chosen: str) -> None:
        """Offer these names and show ``chosen``, which may be none of them. No signal tells of it: nobody chose."""
        with QSignalBlocker(self):
            if tuple(names) != self._names:
                self._names = tuple(names)
                self.clear()
                self.addItems(names)
            if chosen in self._names and self.currentText() != chosen:
                self.setCurrentIndex(self._names.index(chosen))

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self.palette().color(QPalette.ColorRole.PlaceholderText))
        middle = QPointF(self.width() - 13, self.height() / 2)
        painter.drawPolygon(QPolygonF([middle + QPointF(-4, -2), middle + QPointF(4, -2), middle + QPointF(0, 3)]))


def segment_button(text: str, tip: str = "") -> QPushButton:
    """One of a few buttons beside each other of which one is down."""
    made = QPushButton(text)
    made.setCheckable(True)
    made.setToolTip(tip)
    made.setProperty("role", "segment")
    return made


class LinkLabel(QPushButton):
    """A piece of text that goes somewhere: a flat button in the accent colour."""

    def __init__(self, text: str, parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setProperty("role", "link")
        self.setFlat(True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)


class FlowLayout(QLayout):
    """Widgets beside each other, and in further rows where they do not fit."""

    def __init__(self, spacing: int = 8) -> None:
        super().__init__()
        self.setContentsMargins(0, 0, 0, 0)
        self.setSpacing(spacing)
        self._items: list[QLayoutItem] = []

    def addItem(self, item: QLayoutItem) -> None:
        self._items.append(item)

    def count(self) -> int:
        return len(self._items)

    # The names of the arguments are Qt's.
    def itemAt(self, index: int) -> QLayoutItem | None:
        return self._items[index] if 0 <= index < len(self._items) else None

    def takeAt(self, index: int) -> QLayoutItem | None:
        return self._items.pop(index) if 0 <= index < len(self._items) else None

    def expandingDirections(self) -> Qt.Orientation:
        return Qt.Orientation(0)

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return self._lay_out(QRect(0, 0, width, 0), move=False)

    def setGeometry(self, rect: QRect) -> None:
        super().setGeometry(rect)
        self._lay_out(rect, move=True)

    def sizeHint(self) -> QSize:
        return self.minimumSize()

    def minimumSize(self) -> QSize:
        size = QSize()
        for item in self._items:
            size = size.expandedTo(item.minimumSize())
        return size

    def _lay_out(self, rect: QRect, *, move: bool) -> int:
        x, y, row_height = rect.x(), rect.y(), 0
        for item in self._items:
            hint = item.sizeHint()
            if x > rect.x() and x + hint.width() > rect.right() + 1:
                x, y, row_height = rect.x(), y + row_height + self.spacing(), 0
            if move:
                item.setGeometry(QRect(x, y, min(hint.width(), rect.width()), hint.height()))
            x += hint.width() + self.spacing()
            row_height = max(row_height, hint.height())
        return y + row_height - rect.y()


class EmptyState(QWidget):
    """One sentence on what appears here, and the one button that makes it appear."""

    def __init__(self, sentence: str, action: QAction | None = None, *, role: str = "stage") -> None:
        super().__init__()
        self._sentence = label(sentence, "muted", wrap=True)
        self._sentence.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._sentence.setMaximumWidth(420)
        column = QVBoxLayout(self)
        column.setContentsMargins(DOCK_PADDING, DOCK_PADDING, DOCK_PADDING, DOCK_PADDING)
        column.setSpacing(12)
        column.addStretch(1)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(self._sentence, 8)
        row.addStretch(1)
        column.addLayout(row)
        if action is not None:
            column.addWidget(ActionButton(action), 0, Qt.AlignmentFlag.AlignHCenter)
        column.addStretch(2)
        self.setProperty("role", role)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setAccessibleName(sentence)

    def set_sentence(self, sentence: str) -> None:
        """Say something else."""
        self._sentence.setText(sentence)
        self.setAccessibleName(sentence)


class DockTitle(QWidget):
    """The title of a dock in small capitals, with room at its right for what the dock offers."""

    def __init__(self, title: str, *extras: QWidget) -> None:
        super().__init__()
        self.setProperty("role", "dockbar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        row = QHBoxLayout(self)
        row.setContentsMargins(DOCK_PADDING, 4, 10, 2)
        row.setSpacing(6)
        row.addWidget(label(title.upper(), "dock"))
        row.addStretch(1)
        for extra in extras:
            row.addWidget(extra)
        self.setFixedHeight(DOCK_TITLE_HEIGHT)

    def sizeHint(self) -> QSize:
        # A dock asks for the hint, not for the height that is fixed.
        return QSize(super().sizeHint().width(), DOCK_TITLE_HEIGHT)

    def minimumSizeHint(self) -> QSize:
        return QSize(60, DOCK_TITLE_HEIGHT)


class Banner(QFrame):
    """A line across the window: what went wrong, what was tried, what to do. Its text can be copied."""

    dismissed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "banner")
        self._text = label("", "", selectable=True, wrap=True)
        self._details = ""
        self._copy = QPushButton("Copy details")
        self._copy.clicked.connect(self._copy_details)
        self._close = QPushButton("Dismiss")
        self._close.clicked.connect(self.dismiss)
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(DOCK_PADDING, 8, DOCK_PADDING, 8)
        self._row.setSpacing(8)
        self._row.addWidget(self._text, 1)
        self._row.addWidget(self._copy)
        self._row.addWidget(self._close)
        self._button: ActionButton | None = None
        self.hide()

    def say(self, text: str, *, error: bool, details: str = "", action: QAction | None = None) -> None:
        """Show ``text``, with ``details`` to copy and the action that mends it."""
        set_role(self, "banner-error" if error else "banner")
        if self._button is not None:
            self._row.removeWidget(self._button)
            self._button.deleteLater()
            self._button = None
        if action is not None:
            self._button = ActionButton(action)
            self._row.insertWidget(1, self._button)
        self._details = details or text
        self._text.setText(text)
        self._copy.setVisible(error)
        self.setAccessibleName(text)
        self.show()

    def dismiss(self) -> None:
        """Take it away."""
        self.hide()
        self.dismissed.emit()

    def text(self) -> str:
        """What is being said; empty when nothing is."""
        return self._text.text() if not self.isHidden() else ""

    def _copy_details(self) -> None:
        QGuiApplication.clipboard().setText(self._details)
