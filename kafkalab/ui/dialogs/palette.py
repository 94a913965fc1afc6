"""The command palette: everything that can be done or gone to, found by a few letters of its name."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QModelIndex, QObject, QPersistentModelIndex, QRect, QSize, Qt
from PySide6.QtGui import QKeyEvent, QPainter, QPalette
from PySide6.QtWidgets import QFrame, QLabel, QLineEdit, QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QVBoxLayout, QWidget

from kafkalab.ui.itemmodels.palette import KindRole, PaletteEntry, PaletteModel, ReasonRole, ShortcutRole

WIDTH = 600
HEIGHT = 420
ROW_HEIGHT = 28


class _RowDelegate(QStyledItemDelegate):
    """Title at the left; kind and shortcut, or the reason why it cannot be done, at the right."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> None:
        painter.save()
        view = option.widget
        area: QRect = option.rect
        palette: QPalette = option.palette
        state: QStyle.StateFlag = option.state
        reason = str(index.data(ReasonRole) or "")
        if state & QStyle.StateFlag.State_Selected:
            painter.fillRect(area, palette.color(QPalette.ColorRole.Highlight))
        painter.setFont(view.font())
        inner = area.adjusted(12, 0, -12, 0)
        hint = reason or "  ".join(filter(None, (str(index.data(KindRole) or ""), str(index.data(ShortcutRole) or ""))))
        muted = palette.color(QPalette.ColorRole.PlaceholderText)
        text = palette.color(QPalette.ColorRole.Text)
        metrics = painter.fontMetrics()
        hint = metrics.elidedText(hint, Qt.TextElideMode.ElideRight, inner.width() * 2 // 3)
        hint_width = metrics.horizontalAdvance(hint)
        painter.setPen(muted)
        painter.drawText(inner, int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight), hint)
        painter.setPen(muted if reason else text)
        title = metrics.elidedText(str(index.data() or ""), Qt.TextElideMode.ElideRight, inner.width() - hint_width - 12)
        painter.drawText(inner, int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft), title)
        painter.restore()

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        return QSize(WIDTH // 2, ROW_HEIGHT)


class CommandPalette(QFrame):
    """A field and a list under it. Return does it, Escape leaves, the arrows move in the list.

    It lies over the window as a child of it, not as a window of its own: focus, theme and place are the window's.
    """

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._focus_before: QWidget | None = None
        self.setObjectName("palette")
        self.setProperty("role", "palette")
        self.hide()
        self.setAccessibleName("Command palette")
        self._model = PaletteModel(self)
        self._field = QLineEdit()
        self._field.setPlaceholderText("Do something, or go to a broker, topic, partition, group or client")
        self._field.setAccessibleName("What to do or where to go")
        self._field.textChanged.connect(self._search)
        self._field.installEventFilter(self)
        self._list = QListView()
        self._list.setModel(self._model)
        self._list.setItemDelegate(_RowDelegate(self._list))
        self._list.setUniformItemSizes(True)
        self._list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._list.setAccessibleName("Matches")
        self._list.clicked.connect(lambda index: self._choose(index.row()))
        self._nothing = QLabel("Nothing is called like that.")
        self._nothing.setProperty("role", "muted")
        self._nothing.hide()
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 8)
        column.setSpacing(6)
        column.addWidget(self._field)
        column.addWidget(self._nothing)
        column.addWidget(self._list)

    def ask(self, entries: Sequence[PaletteEntry]) -> None:
        """Open over the parent with ``entries`` to choose from."""
        self._model.set_entries(entries)
        self._field.clear()
        self._search("")
        self._focus_before = self._window.focusWidget()
        self.show()
        self.raise_()
        self._field.setFocus(Qt.FocusReason.PopupFocusReason)

    @property
    def model(self) -> PaletteModel:
        """The rows on show."""
        return self._model

    @property
    def field(self) -> QLineEdit:
        """Where one types."""
        return self._field

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is not self._field:
            return super().eventFilter(watched, event)
        if event.type() == QEvent.Type.FocusOut and self.isVisible():
            self._focus_before = None
            self.hide()
        elif event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent) and event.key() == Qt.Key.Key_Escape:
            # Escape closes the palette; it must not reach a shortcut of the window.
            event.accept()
            return True
        elif isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() == Qt.Key.Key_Escape:
                self._leave()
                return True
            step = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1, Qt.Key.Key_PageDown: 10, Qt.Key.Key_PageUp: -10}.get(Qt.Key(event.key()))
            if step is not None:
                self._move(step)
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._choose(self._list.currentIndex().row())
                return True
        return super().eventFilter(watched, event)

    def _search(self, query: str) -> None:
        self._model.set_query(query)
        rows = self._model.rowCount()
        self._nothing.setVisible(rows == 0)
        self._list.setVisible(rows > 0)
        self._fit(rows)
        self._list.setCurrentIndex(self._model.index(0, 0))

    def _fit(self, rows: int) -> None:
        """As high as what was found, and no higher than there is room for."""
        window = self._window
        width = min(WIDTH, window.width() - 40)
        around = self._field.sizeHint().height() + 6 + 2 * 8 + 2
        content = rows * ROW_HEIGHT + 6 if rows else self._nothing.sizeHint().height() + 6
        self.setGeometry((window.width() - width) // 2, 64, width, min(around + content, HEIGHT, window.height() - 80))

    def _move(self, step: int) -> None:
        rows = self._model.rowCount()
        if rows:
            row = max(0, min(rows - 1, self._list.currentIndex().row() + step))
            self._list.setCurrentIndex(self._model.index(row, 0))

    def _choose(self, row: int) -> None:
        entry = self._model.entry(row)
        if entry is None or entry.reason:
            return
        # Closed first: what is chosen may open a dialog of its own.
        self._leave()
        entry.run()

    def _leave(self) -> None:
        before, self._focus_before = self._focus_before, None
        self.hide()
        if before is not None:
            before.setFocus(Qt.FocusReason.PopupFocusReason)
