"""The table that the panels show rows in."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QAbstractItemModel, Qt
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QStyleOptionHeader, QTableView

from kafkalab.ui.panels.delegates import RowDelegate
from kafkalab.ui.theme.tokens import ROW_HEIGHT, Theme


class SortHeader(QHeaderView):
    """Column headers of which one says by an arrow in its text how the rows are sorted; the style's own would lie over the words."""

    def __init__(self) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        # As a table's own header is.
        self.setSectionsClickable(True)

    def initStyleOptionForIndex(self, option: QStyleOptionHeader, logicalIndex: int) -> None:
        super().initStyleOptionForIndex(option, logicalIndex)
        if not self.isSortIndicatorShown() or logicalIndex != self.sortIndicatorSection():
            return
        arrow = "↑" if self.sortIndicatorOrder() is Qt.SortOrder.AscendingOrder else "↓"
        # On the side where the text is not flush.
        at_right = option.textAlignment & Qt.AlignmentFlag.AlignRight
        option.text = f"{arrow} {option.text}" if at_right else f"{option.text} {arrow}"
        option.sortIndicator = QStyleOptionHeader.SortIndicator.None_


class RowTable(QTableView):
    """Rows of one height without a grid, of which one is selected. The window's look comes by the ``role`` property."""

    def __init__(
        self,
        model: QAbstractItemModel,
        name: str,
        *,
        widths: Sequence[int] = (),
        role: str = "stage",
        padding: int = 8,
        edge: int | None = None,
    ) -> None:
        super().__init__()
        self.setHorizontalHeader(SortHeader())
        self.setModel(model)
        self._delegate = RowDelegate(self, padding=padding, edge=edge)
        self.setItemDelegate(self._delegate)
        self.setProperty("role", role)
        self.setAccessibleName(name)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.verticalHeader().hide()
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        self.horizontalHeader().setHighlightSections(False)
        for column, width in enumerate(widths):
            self.setColumnWidth(column, width)

    def set_theme(self, theme: Theme) -> None:
        """Draw in these colours."""
        self._delegate.set_theme(theme)
        self.viewport().update()
