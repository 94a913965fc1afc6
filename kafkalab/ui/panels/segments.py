"""The segments of one partition: a lane for each replica, and the leader's as a table."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QTableView, QVBoxLayout, QWidget

from kafkalab.ui.itemmodels.segments import segment_rows, segment_table
from kafkalab.ui.itemmodels.tables import SortedTable
from kafkalab.ui.model.things import Partition, Replica
from kafkalab.ui.panels.row_table import RowTable
from kafkalab.ui.panels.widgets import DOCK_PADDING, ElidedLabel, label
from kafkalab.ui.plots.segment_lane import SegmentLane
from kafkalab.ui.theme.formats import format_bytes, format_offset, plural
from kafkalab.ui.theme.tokens import Theme

WIDTHS: Final = (124, 90, 90, 206, 124, 120)
HEIGHT_MIN: Final = 120
TABLE_HEIGHT_MIN: Final = 78
"""The header and two rows."""


class SegmentsPanel(QWidget):
    """Under a topic's bars. Shows what it is given; asks for nothing itself."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title = ElidedLabel("", "muted")
        self._lane = SegmentLane()
        self._rows = segment_table(self)
        self._sorted = SortedTable(self._rows, self)
        self._table = RowTable(self._sorted, "Segments of the leader", widths=WIDTHS)
        self._table.setSortingEnabled(True)
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
        self._title.setContentsMargins(DOCK_PADDING, 6, DOCK_PADDING, 6)
        self._legend = legend = label(
            "width: offsets · height: bytes per offset · outlined: active · pale: compacted · hatched: before the log start", "small"
        )
        legend.setContentsMargins(DOCK_PADDING, 0, DOCK_PADDING, 4)
        column_layout = QVBoxLayout(self)
        column_layout.setContentsMargins(0, 0, 0, 0)
        column_layout.setSpacing(0)
        column_layout.addWidget(self._title)
        column_layout.addWidget(self._lane)
        column_layout.addWidget(legend)
        column_layout.addWidget(self._table, 1)
        # More lanes take room from the table, not from the window.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Ignored)
        self.setMinimumHeight(HEIGHT_MIN)
        self.setProperty("role", "stage")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)

    @property
    def lane(self) -> SegmentLane:
        """The painted part."""
        return self._lane

    @property
    def table(self) -> QTableView:
        """The rows."""
        return self._table

    @property
    def title(self) -> str:
        """What the panel says it shows."""
        return self._title.text()

    def set_theme(self, theme: Theme) -> None:
        """Draw in these colours."""
        self._lane.set_theme(theme)
        self._table.set_theme(theme)

    def show_partition(self, partition: Partition | None, colour: int, now_ms: float) -> None:
        """Show this partition as it is now."""
        self._lane.set_partition(partition, colour)
        replica = _speaking(partition)
        self._rows.set_rows(segment_rows(replica, now_ms))
        self._title.set_text(segments_line(partition, replica))
        self._make_room()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._make_room()

    def _make_room(self) -> None:
        """In a low panel the lanes come first: nothing lies over them."""
        left = self.height() - self._title.sizeHint().height() - self._lane.height()
        self._table.setVisible(left >= TABLE_HEIGHT_MIN)
        self._legend.setVisible(left >= TABLE_HEIGHT_MIN + self._legend.sizeHint().height())


def _speaking(partition: Partition | None) -> Replica | None:
    if partition is None:
        return None
    return partition.leader_replica or next(iter(partition.replicas.values()), None)


def segments_line(partition: Partition | None, replica: Replica | None) -> str:
    """The panel's title: whose segments, how many, and what was compacted."""
    if partition is None or replica is None:
        return "Segments"
    parts = [f"Segments of {partition.topic_partition}", f"broker {replica.node_id}", plural(replica.segments, "segment")]
    if replica.segments > len(replica.segment_list) > 0:
        parts[-1] += f", the newest {len(replica.segment_list)} shown"
    parts.append(format_bytes(replica.size_bytes))
    if replica.first_dirty_offset >= 0:
        parts.append(f"compacted up to {format_offset(replica.first_dirty_offset)}")
    if replica.log_start_offset > 0:
        parts.append(f"log start {format_offset(replica.log_start_offset)}")
    return " · ".join(parts)
