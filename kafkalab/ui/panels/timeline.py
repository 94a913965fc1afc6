"""The timeline: each happening one line, with its cause, and the way to the thing it speaks of."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QModelIndex, QPoint, Qt, Signal
from PySide6.QtGui import QFontMetrics, QGuiApplication, QResizeEvent, QShowEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QLineEdit,
    QMenu,
    QPushButton,
    QStackedLayout,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from kafkalab.ui.itemmodels.roles import LinkRole
from kafkalab.ui.itemmodels.timeline import DETAIL, GLYPH, HEADLINE, TIME, TimelineModel
from kafkalab.ui.model.changes import ChangeSet
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link
from kafkalab.ui.panels.row_table import RowTable
from kafkalab.ui.panels.selection import Selection
from kafkalab.ui.panels.widgets import DOCK_PADDING, EmptyState
from kafkalab.ui.theme.fonts import mono_font
from kafkalab.ui.theme.formats import format_clock, format_count
from kafkalab.ui.theme.tokens import ROW_HEIGHT, Theme

SEARCHED_BACK_MAX: Final = 500
"""How far back the row that speaks of the selected thing is looked for."""


class TimelinePanel(QWidget):
    """The rows, a filter, and whether the newest stays in sight."""

    context_requested = Signal(object, QPoint)
    activated = Signal(object)

    def __init__(self, cluster: ClusterModel, selection: Selection, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._selection = selection
        self._following = False  # the table follows a selection made elsewhere
        self._scrolling = False  # the table scrolls by itself
        self._model = TimelineModel(cluster, self)
        self._table = RowTable(self._model, "Timeline", role="panel", padding=7, edge=DOCK_PADDING)
        self._table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        header = self._table.horizontalHeader()
        header.hide()
        header.setMinimumSectionSize(20)
        header.setStretchLastSection(True)
        self._table.setColumnWidth(TIME, QFontMetrics(mono_font()).horizontalAdvance(format_clock(0.0)) + DOCK_PADDING + 7)
        self._table.setColumnWidth(GLYPH, 26)
        self._table.setColumnWidth(HEADLINE, 462)

        self.filter = QLineEdit()
        self.filter.setPlaceholderText("filter…")
        self.filter.setAccessibleName("Filter the timeline; !word leaves rows out")
        self.filter.setToolTip("Words that a row must have; !word leaves rows out (Ctrl+F)")
        self.filter.setClearButtonEnabled(True)
        self.filter.setProperty("role", "quiet")
        self.filter.setFixedWidth(130)
        self.filter.textChanged.connect(self._filter_changed)
        self.follow = QPushButton("follow")
        self.follow.setCheckable(True)
        self.follow.setChecked(True)
        self.follow.setProperty("role", "quiet")
        self.follow.setToolTip("Keep the newest row in sight. Scrolling up lets go.")
        self.follow.setAccessibleName("Follow the newest row")
        self.follow.toggled.connect(self._follow_toggled)

        self._empty = EmptyState(
            "What happens to the cluster appears here, each with its cause: elections, fencing, rebalances, kills.", role="panel"
        )
        self._nothing = EmptyState("", role="panel")
        holder = QWidget()
        self._stack = QStackedLayout(holder)
        for page in (self._table, self._empty, self._nothing):
            self._stack.addWidget(page)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.addWidget(holder)

        self._table.selectionModel().currentRowChanged.connect(self._current_changed)
        self._table.clicked.connect(self._clicked)
        self._table.doubleClicked.connect(self._activate)
        self._table.customContextMenuRequested.connect(self._menu)
        self._table.verticalScrollBar().valueChanged.connect(self._scrolled)
        selection.changed.connect(self._selected_elsewhere)
        self._show_page()

    @property
    def model(self) -> TimelineModel:
        """The rows."""
        return self._model

    @property
    def table(self) -> QTableView:
        """The table itself."""
        return self._table

    def set_theme(self, theme: Theme) -> None:
        """Draw in these colours."""
        self._table.set_theme(theme)

    def apply(self, changes: ChangeSet) -> None:
        """Show what happened."""
        self._model.apply(changes)
        self._show_page()
        if self.follow.isChecked():
            self._to_end()

    def reveal(self, link: Link) -> bool:
        """Bring the latest row that speaks of a thing into sight, filter or not. False when there is none."""
        for attempt in ("filtered", "all"):
            if attempt == "all" and self.filter.text():
                self.filter.clear()
            last = self._model.rowCount() - 1
            for row in range(last, max(-1, last - SEARCHED_BACK_MAX), -1):
                happening = self._model.row_at(row)
                if happening is not None and happening.link == link:
                    self.follow.setChecked(False)
                    self._table.selectRow(row)
                    self._table.scrollTo(self._model.index(row, TIME), QAbstractItemView.ScrollHint.PositionAtCenter)
                    self._table.setFocus(Qt.FocusReason.OtherFocusReason)
                    return True
        return False

    def title(self) -> str:
        """How many rows there are, and how many are shown."""
        shown, total = self._model.rowCount(), self._model.total
        return f"{format_count(shown)} of {format_count(total)}" if shown != total else format_count(total)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self.follow.isChecked():
            self._to_end()

    def resizeEvent(self, event: QResizeEvent) -> None:
        # Whole rows only: what does not fit stays empty at the foot.
        self._column.setContentsMargins(0, 0, 0, self.height() % ROW_HEIGHT)
        super().resizeEvent(event)

    def _show_page(self) -> None:
        if self._model.rowCount():
            page: QWidget = self._table
        elif self._model.total:
            self._nothing.set_sentence(f"None of {format_count(self._model.total)} happenings fits “{self.filter.text()}”.")
            page = self._nothing
        else:
            page = self._empty
        if self._stack.currentWidget() is not page:
            self._stack.setCurrentWidget(page)

    def _filter_changed(self, text: str) -> None:
        self._model.set_filter(text)
        self._show_page()
        if self.follow.isChecked():
            self._to_end()

    def _to_end(self) -> None:
        self._scrolling = True
        self._table.scrollToBottom()
        self._scrolling = False

    def _follow_toggled(self, on: bool) -> None:
        if on:
            self._to_end()

    def _scrolled(self, value: int) -> None:
        if not self._scrolling:
            self.follow.setChecked(value >= self._table.verticalScrollBar().maximum())

    def _current_changed(self, current: QModelIndex) -> None:
        link = current.data(LinkRole)
        if isinstance(link, Link) and not self._following:
            self._following = True
            self._selection.select(link)
            self._following = False

    def _clicked(self, index: QModelIndex) -> None:
        # A click on the row that is current already selects its thing again.
        self._current_changed(index)

    def _selected_elsewhere(self, link: Link | None) -> None:
        if self._following:
            return
        self._following = True
        # The row is lit where it is: a selection made elsewhere does not carry the eye away from the newest rows.
        self._table.setAutoScroll(False)
        self._table.clearSelection()
        self._table.selectionModel().clearCurrentIndex()
        if link is not None:
            last = self._model.rowCount() - 1
            for row in range(last, max(-1, last - SEARCHED_BACK_MAX), -1):
                happening = self._model.row_at(row)
                if happening is not None and happening.link == link:
                    self._table.selectRow(row)
                    break
        self._table.setAutoScroll(True)
        self._following = False

    def _activate(self, index: QModelIndex) -> None:
        link = index.data(LinkRole)
        if isinstance(link, Link):
            self.activated.emit(link)

    def _menu(self, position: QPoint) -> None:
        index = self._table.indexAt(position)
        row = self._model.row_at(index.row())
        if row is None:
            return
        menu = QMenu(self)
        menu.addAction(f"Go to {row.link}", lambda: self.activated.emit(row.link))
        menu.addAction("Copy", lambda: QGuiApplication.clipboard().setText(f"{format_clock(row.at_ms)}  {row.headline}  ·  {row.detail}"))
        menu.addSeparator()
        menu.addAction(f"Only rows about {row.link}", lambda: self.filter.setText(str(row.link)))
        menu.addAction("Only rows of this kind", lambda: self.filter.setText(row.kind))
        menu.addAction("No rows of this kind", lambda: self.filter.setText(f"{self.filter.text()} !{row.kind}".strip()))
        if self.filter.text():
            menu.addAction("Clear the filter", self.filter.clear)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(self._table.viewport().mapToGlobal(position))

    @staticmethod
    def columns() -> tuple[int, int, int, int]:
        """The table's columns, in order."""
        return TIME, GLYPH, HEADLINE, DETAIL
