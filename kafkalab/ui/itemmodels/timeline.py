"""The timeline's rows, as many as the cluster model keeps, with a filter that never renumbers them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Final

from PySide6.QtCore import QAbstractTableModel, QObject, Qt

from kafkalab.ui.itemmodels.roles import NO_PARENT, Index, LinkRole, MonoRole, ToneRole
from kafkalab.ui.model.changes import ChangeSet, Part
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.states import Tone
from kafkalab.ui.model.things import TimelineRow
from kafkalab.ui.theme.formats import format_clock, format_date

TIME, GLYPH, HEADLINE, DETAIL = range(4)
HEADERS: Final = ("Time", "", "What happened", "Why, and how much")

RowTest = Callable[[TimelineRow], bool]


def row_test(text: str) -> RowTest | None:
    """What a filter means: every word must be found; one that begins with ``!`` must not. None: no filter."""
    words = text.casefold().split()
    wanted = [word for word in words if not word.startswith("!")]
    unwanted = [word[1:] for word in words if len(word) > 1 and word.startswith("!")]
    if not wanted and not unwanted:
        return None

    def passes(row: TimelineRow) -> bool:
        said = f"{row.headline} {row.detail} {row.kind} {row.link}".casefold()
        return all(word in said for word in wanted) and not any(word in said for word in unwanted)

    return passes


class TimelineModel(QAbstractTableModel):
    """Rows of the timeline. Without a filter a row's place is its place in the cluster model."""

    def __init__(self, cluster: ClusterModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._cluster = cluster
        self._rows = cluster.timeline
        self._test: RowTest | None = None
        self._numbers: list[int] = []  # of the rows that pass the filter, ascending
        self._count = len(self._rows)

    @property
    def total(self) -> int:
        """Rows that are kept, shown or not."""
        return len(self._rows)

    def set_filter(self, text: str) -> None:
        """Show only the rows that pass."""
        self.beginResetModel()
        self._test = row_test(text)
        self._numbers = [] if self._test is None else [row.number for row in self._rows if self._test(row)]
        self._count = len(self._rows) if self._test is None else len(self._numbers)
        self.endResetModel()

    def apply(self, changes: ChangeSet) -> None:
        """Follow what the cluster model did to its rows."""
        if Part.TIMELINE not in changes:
            return
        if self._test is None:
            self._apply_plain(changes)
        else:
            self._apply_filtered(changes)

    def _apply_plain(self, changes: ChangeSet) -> None:
        removed = min(changes.timeline_removed, self._count)
        if removed:
            self.beginRemoveRows(NO_PARENT, 0, removed - 1)
            self._count -= removed
            self.endRemoveRows()
        # The rows that were there before are a prefix of the ones that are there now.
        total = len(self._rows)
        if 0 <= changes.timeline_rewritten_from < self._count:
            self.dataChanged.emit(self.index(changes.timeline_rewritten_from, 0), self.index(self._count - 1, DETAIL))
        if total > self._count:
            self.beginInsertRows(NO_PARENT, self._count, total - 1)
            self._count = total
            self.endInsertRows()

    def _apply_filtered(self, changes: ChangeSet) -> None:
        assert self._test is not None
        first_number = self._rows[0].number if len(self._rows) else 0
        gone = bisect_left(self._numbers, first_number)
        if gone:
            self.beginRemoveRows(NO_PARENT, 0, gone - 1)
            del self._numbers[:gone]
            self._count -= gone
            self.endRemoveRows()
        start = len(self._rows) - changes.timeline_added
        if changes.timeline_rewritten_from >= 0:
            start = min(start, changes.timeline_rewritten_from)
        start = max(0, start)
        if start >= len(self._rows):
            return
        # Rewritten rows may pass now or not any more: they are taken off and looked at again.
        kept = bisect_left(self._numbers, first_number + start)
        if kept < self._count:
            self.beginRemoveRows(NO_PARENT, kept, self._count - 1)
            del self._numbers[kept:]
            self._count = kept
            self.endRemoveRows()
        passing = [self._rows[place].number for place in range(start, len(self._rows)) if self._test(self._rows[place])]
        if passing:
            self.beginInsertRows(NO_PARENT, self._count, self._count + len(passing) - 1)
            self._numbers += passing
            self._count = len(self._numbers)
            self.endInsertRows()

    def row_at(self, row: int) -> TimelineRow | None:
        """The happening in a shown row."""
        if not 0 <= row < self._count:
            return None
        place = row if self._test is None else self._numbers[row] - self._rows[0].number
        return self._rows[place] if 0 <= place < len(self._rows) else None

    def rowCount(self, parent: Index = NO_PARENT) -> int:
        return 0 if parent.isValid() else self._count

    def columnCount(self, parent: Index = NO_PARENT) -> int:
        return len(HEADERS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role == Qt.ItemDataRole.DisplayRole and orientation is Qt.Orientation.Horizontal:
            return HEADERS[section]
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self.row_at(index.row())
        if row is None:
            return None
        column = index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return (format_clock(row.at_ms), row.glyph, row.headline, row.detail)[column] if column else format_clock(row.at_ms)
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{format_date(row.at_ms)}  {row.headline}\n{row.detail}"
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{format_clock(row.at_ms)}, {row.headline}, {row.detail}"
        if role == ToneRole:
            return Tone.MUTED if column in (TIME, DETAIL) else row.tone
        if role == MonoRole:
            return column == TIME
        if role == LinkRole:
            return row.link
        return None
