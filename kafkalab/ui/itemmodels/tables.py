"""Plain tables whose rows are rebuilt when the cluster changed: connections, partitions, groups' offsets.

Columns are data: a header, how a row's cell reads, and by what it sorts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from PySide6.QtCore import QAbstractTableModel, QObject, QSortFilterProxyModel, Qt

from kafkalab.ui.itemmodels.roles import NO_PARENT, Index, LinkRole, MonoRole, SortRole, ToneRole
from kafkalab.ui.model.links import Link
from kafkalab.ui.model.states import Tone

Row = TypeVar("Row")


# Without slots: with them a frozen class cannot be made under its parameters' names, as ``Column[str](…)``.
@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column of a table."""

    header: str
    text: Callable[[Row], str]
    sort: Callable[[Row], Any] | None = None
    mono: bool = False
    tone: Callable[[Row], Tone] | None = None
    tip: str = ""

    @property
    def right(self) -> bool:
        """Figures stand at the right."""
        return self.mono and self.sort is not None


class TableModel(QAbstractTableModel, Generic[Row]):
    """Rows of one kind under fixed columns. Rows that stay keep their place, so a selection survives."""

    def __init__(
        self,
        columns: Sequence[Column[Row]],
        key: Callable[[Row], Hashable],
        link: Callable[[Row], Link | None],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._columns = tuple(columns)
        self._key = key
        self._link = link
        self._rows: list[Row] = []
        self._keys: list[Hashable] = []

    def set_rows(self, rows: Sequence[Row]) -> None:
        """Show these rows."""
        keys = [self._key(row) for row in rows]
        if keys == self._keys:
            self._rows = list(rows)
            if rows:
                self.dataChanged.emit(self.index(0, 0), self.index(len(rows) - 1, len(self._columns) - 1))
            return
        wanted = set(keys)
        for place in range(len(self._keys) - 1, -1, -1):
            if self._keys[place] not in wanted:
                self.beginRemoveRows(NO_PARENT, place, place)
                del self._keys[place], self._rows[place]
                self.endRemoveRows()
        known = set(self._keys)
        if [key for key in keys if key in known] != self._keys:
            self.beginResetModel()
            self._rows, self._keys = list(rows), keys
            self.endResetModel()
            return
        for place, (key, row) in enumerate(zip(keys, rows, strict=True)):
            if key in known:
                self._rows[place] = row
                continue
            self.beginInsertRows(NO_PARENT, place, place)
            self._keys.insert(place, key)
            self._rows.insert(place, row)
            self.endInsertRows()
        if rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(rows) - 1, len(self._columns) - 1))

    def columns(self) -> Sequence[Column[Row]]:
        """The columns, as given."""
        return self._columns

    def rowCount(self, parent: Index = NO_PARENT) -> int:
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index = NO_PARENT) -> int:
        return len(self._columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation is not Qt.Orientation.Horizontal or not 0 <= section < len(self._columns):
            return None
        column = self._columns[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.header
        if role == Qt.ItemDataRole.ToolTipRole:
            return column.tip or column.header
        if role == Qt.ItemDataRole.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if column.right else Qt.AlignmentFlag.AlignLeft
            return Qt.AlignmentFlag.AlignVCenter | side
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not 0 <= index.row() < len(self._rows):
            return None
        row = self._rows[index.row()]
        column = self._columns[index.column()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return column.text(row)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{column.header}: {column.text(row)}"
        if role == Qt.ItemDataRole.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if column.right else Qt.AlignmentFlag.AlignLeft
            return Qt.AlignmentFlag.AlignVCenter | side
        if role == SortRole:
            return column.sort(row) if column.sort is not None else column.text(row)
        if role == MonoRole:
            return column.mono
        if role == ToneRole:
            return column.tone(row) if column.tone is not None else Tone.TEXT
        if role == LinkRole:
            return self._link(row)
        return None


class SortedTable(QSortFilterProxyModel):
    """Sorts by :data:`SortRole`, filters by words in any column. Equal rows keep their order."""

    def __init__(self, source: QAbstractTableModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._words: list[str] = []
        self.setSourceModel(source)
        self.setSortRole(SortRole)
        self.setDynamicSortFilter(True)

    def set_filter(self, text: str) -> None:
        """Show the rows in which every word is found."""
        words = text.casefold().split()
        if hasattr(self, "endFilterChange"):
            self.beginFilterChange()
            self._words = words
            self.endFilterChange(QSortFilterProxyModel.Direction.Rows)
        else:
            # Before Qt 6.10.
            self._words = words
            self.invalidateFilter()

    def filterAcceptsRow(self, source_row: int, source_parent: Index) -> bool:
        if not self._words:
            return True
        source = self.sourceModel()
        said = " ".join(str(source.index(source_row, column).data() or "") for column in range(source.columnCount())).casefold()
        return all(word in said for word in self._words)

    def lessThan(self, left: Index, right: Index) -> bool:
        one, other = left.data(SortRole), right.data(SortRole)
        if isinstance(one, int | float) and isinstance(other, int | float):
            return one < other
        return str(one).casefold() < str(other).casefold()
