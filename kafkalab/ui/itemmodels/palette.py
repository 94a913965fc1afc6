"""The rows of the command palette: actions and things of the cluster, best fit first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from PySide6.QtCore import QAbstractListModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from kafkalab.ui.itemmodels.fuzzy import NO_MATCH, score

ROWS_MAX: Final = 200
KindRole: Final = Qt.ItemDataRole.UserRole + 1
ShortcutRole: Final = Qt.ItemDataRole.UserRole + 2
ReasonRole: Final = Qt.ItemDataRole.UserRole + 3

_Index = QModelIndex | QPersistentModelIndex
_NO_PARENT: Final = QModelIndex()


@dataclass(frozen=True, slots=True)
class PaletteEntry:
    """One row: what it is called, of what kind it is, and what choosing it does."""

    title: str
    kind: str
    run: Callable[[], None]
    shortcut: str = ""
    reason: str = ""  # why it cannot be done now; empty when it can


class PaletteModel(QAbstractListModel):
    """Entries filtered and ordered by what was typed."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._all: Sequence[PaletteEntry] = ()
        self._shown: list[PaletteEntry] = []

    def set_entries(self, entries: Sequence[PaletteEntry]) -> None:
        """Everything that can be chosen."""
        self._all = entries
        self.set_query("")

    def set_query(self, query: str) -> None:
        """Show what fits, best first; equal fits keep their order. Nothing typed: everything."""
        self.beginResetModel()
        if query.strip():
            scored = [(score(query, entry.title), index) for index, entry in enumerate(self._all)]
            order = sorted((-fit, index) for fit, index in scored if fit != NO_MATCH)
            self._shown = [self._all[index] for _, index in order[:ROWS_MAX]]
        else:
            self._shown = list(self._all[:ROWS_MAX])
        self.endResetModel()

    def entry(self, row: int) -> PaletteEntry | None:
        """The entry in a row, None where there is none."""
        return self._shown[row] if 0 <= row < len(self._shown) else None

    def rowCount(self, parent: _Index = _NO_PARENT) -> int:
        return 0 if parent.isValid() else len(self._shown)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        entry = self.entry(index.row())
        if entry is None:
            return None
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return entry.title
            case Qt.ItemDataRole.ToolTipRole:
                return entry.reason or entry.title
            case Qt.ItemDataRole.AccessibleTextRole:
                return ", ".join(filter(None, (entry.title, entry.kind, entry.shortcut, entry.reason)))
        if role == KindRole:
            return entry.kind
        if role == ShortcutRole:
            return entry.shortcut
        if role == ReasonRole:
            return entry.reason
        return None

    def flags(self, index: _Index) -> Qt.ItemFlag:
        entry = self.entry(index.row())
        if entry is None or entry.reason:
            return Qt.ItemFlag.ItemIsSelectable
        return Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEnabled
