"""A partition's segments side by side on the axis of offsets, one lane per replica.

A segment is as wide as the offsets that it covers and as high as its bytes per offset, so that what
compaction took away is seen as height that is missing, and what retention took as a lane that begins later.
"""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QEvent, QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QHelpEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from kafkalab.engine.telemetry.levels import SegmentFacts
from kafkalab.ui.model.states import REPLICA_SIGNS, ReplicaRole
from kafkalab.ui.model.things import Partition, Replica
from kafkalab.ui.theme.fonts import mono_font, symbol_font
from kafkalab.ui.theme.formats import format_bytes, format_offset, plural
from kafkalab.ui.theme.tokens import DARK, Theme, topic_colour

LANE_HEIGHT: Final = 26
LANE_GAP: Final = 6
AXIS_HEIGHT: Final = 20
LABEL_WIDTH: Final = 56
MARGIN: Final = 14
FILL_MIN: Final = 0.12
"""Of the lane's height, so that a segment of a few bytes can still be seen."""
WIDTH_MIN: Final = 2.0


class SegmentLane(QWidget):
    """The lanes of one partition."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme: Theme = DARK
        self._partition: Partition | None = None
        self._colour = 0
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(AXIS_HEIGHT + LANE_HEIGHT)
        self.setAccessibleName("Segments of each replica")

    def set_theme(self, theme: Theme) -> None:
        """Draw in these colours."""
        self._theme = theme
        self.update()

    def set_partition(self, partition: Partition | None, colour: int = 0) -> None:
        """Show this partition; called again whenever its numbers changed."""
        self._partition = partition
        self._colour = colour
        lanes = max(1, len(partition.replicas)) if partition is not None else 1
        height = lanes * (LANE_HEIGHT + LANE_GAP) + AXIS_HEIGHT
        if self.height() != height:
            self.setFixedHeight(height)
        self.setAccessibleDescription(describe_segments(partition) if partition is not None else "")
        self.update()

    # --- geometry -------------------------------------------------------------------------------

    def _replicas(self) -> list[Replica]:
        return list(self._partition.replicas.values()) if self._partition is not None else []

    def _range(self) -> tuple[int, int]:
        shown = [facts for replica in self._replicas() for facts in replica.segment_list]
        if not shown:
            return 0, 1
        first = min(facts.base_offset for facts in shown)
        return first, max(first + 1, max(facts.end_offset for facts in shown))

    def segment_rect(self, lane: int, facts: SegmentFacts) -> QRectF:
        """Where a segment's full height is."""
        first, last = self._range()
        left, width = float(LABEL_WIDTH), float(max(1, self.width() - LABEL_WIDTH - MARGIN))
        scale = width / (last - first)
        x = left + (facts.base_offset - first) * scale
        extent = max(WIDTH_MIN, (facts.end_offset - facts.base_offset) * scale)
        return QRectF(min(x, left + width - WIDTH_MIN), lane * (LANE_HEIGHT + LANE_GAP), extent, LANE_HEIGHT)

    def deleted_rect(self, lane: int, replica: Replica) -> QRectF | None:
        """Where offsets stand that are before the log start and in a file still; None without any."""
        if not replica.segment_list or replica.log_start_offset <= replica.segment_list[0].base_offset:
            return None
        oldest = self.segment_rect(lane, replica.segment_list[0])
        first, last = self._range()
        share = min((replica.log_start_offset - first) / (last - first), 1.0)
        end = LABEL_WIDTH + share * max(1, self.width() - LABEL_WIDTH - MARGIN)
        return QRectF(oldest.left(), oldest.top(), end - oldest.left(), LANE_HEIGHT)

    def segment_at(self, position: QPointF) -> tuple[Replica, SegmentFacts] | None:
        """What is drawn at a point."""
        for lane, replica in enumerate(self._replicas()):
            for facts in reversed(replica.segment_list):
                if self.segment_rect(lane, facts).contains(position):
                    return replica, facts
        return None

    # --- painting -------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        replicas = self._replicas()
        densest = max((_density(facts) for replica in replicas for facts in replica.segment_list), default=0.0)
        for lane, replica in enumerate(replicas):
            self._paint_label(painter, lane, replica)
            trough = QRectF(LABEL_WIDTH, lane * (LANE_HEIGHT + LANE_GAP), max(1, self.width() - LABEL_WIDTH - MARGIN), LANE_HEIGHT)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(self._theme.raised))
            painter.drawRoundedRect(trough, 3, 3)
            for facts in replica.segment_list:
                self._paint_segment(painter, lane, replica, facts, densest)
            deleted = self.deleted_rect(lane, replica)
            if deleted is not None:
                self._paint_deleted(painter, deleted)
        if replicas:
            self._paint_axis(painter, len(replicas) * (LANE_HEIGHT + LANE_GAP))
        painter.end()

    def _paint_label(self, painter: QPainter, lane: int, replica: Replica) -> None:
        sign = REPLICA_SIGNS[replica.role]
        theme = self._theme
        painter.setFont(symbol_font(11))
        painter.setPen(
            QColor(theme.error if replica.role is ReplicaRole.OFFLINE else theme.warn if replica.role is ReplicaRole.BEHIND else theme.text)
        )
        area = QRectF(0, lane * (LANE_HEIGHT + LANE_GAP), LABEL_WIDTH - 8, LANE_HEIGHT)
        painter.drawText(area, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, f"{sign.glyph} {replica.node_id}")

    def _paint_segment(self, painter: QPainter, lane: int, replica: Replica, facts: SegmentFacts, densest: float) -> None:
        area = self.segment_rect(lane, facts).adjusted(0, 0, -1 if self.segment_rect(lane, facts).width() > WIDTH_MIN else 0, 0)
        colour = QColor(topic_colour(self._colour, self._theme))
        is_compacted = replica.first_dirty_offset >= 0 and facts.end_offset <= replica.first_dirty_offset
        if is_compacted or replica.role is ReplicaRole.OFFLINE:
            colour.setAlphaF(0.55)
        fill = max(FILL_MIN, _density(facts) / densest) if densest > 0 and facts.size_bytes else 0.0
        painter.setPen(Qt.PenStyle.NoPen)
        if fill:
            painter.setBrush(colour)
            painter.drawRect(QRectF(area.left(), area.bottom() - area.height() * fill, area.width(), area.height() * fill))
        if facts.is_active:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(QColor(self._theme.accent), 1.5))
            painter.drawRect(area.adjusted(0.75, 0.75, -0.75, -0.75))

    def _paint_deleted(self, painter: QPainter, area: QRectF) -> None:
        """Records that nobody can read any more; their segment goes when all of it is before the log start."""
        veil = QColor(self._theme.raised)
        veil.setAlphaF(0.75)
        painter.fillRect(area, veil)
        painter.fillRect(area, QBrush(QColor(self._theme.muted), Qt.BrushStyle.BDiagPattern))
        painter.setPen(QPen(QColor(self._theme.text), 1.5))
        painter.drawLine(area.topRight(), area.bottomRight())

    def _paint_axis(self, painter: QPainter, top: int) -> None:
        first, last = self._range()
        painter.setFont(mono_font(10))
        painter.setPen(QColor(self._theme.muted))
        area = QRectF(LABEL_WIDTH, top, max(1, self.width() - LABEL_WIDTH - MARGIN), AXIS_HEIGHT)
        painter.drawText(area, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, format_offset(first))
        painter.drawText(area, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, format_offset(last))

    # --- pointing -------------------------------------------------------------------------------

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            found = self.segment_at(QPointF(event.pos()))
            QToolTip.showText(event.globalPos(), describe_segment(*found) if found is not None else "", self)
            return True
        return super().event(event)


def _density(facts: SegmentFacts) -> float:
    return facts.size_bytes / max(1, facts.end_offset - facts.base_offset)


def describe_segment(replica: Replica, facts: SegmentFacts) -> str:
    """A segment in words."""
    active = "the active segment, " if facts.is_active else ""
    return (
        f"broker {replica.node_id}: {active}offsets {format_offset(facts.base_offset)} to {format_offset(facts.end_offset)}, "
        f"{format_bytes(facts.size_bytes)}"
    )


def describe_segments(partition: Partition) -> str:
    """The lanes in words."""
    return "; ".join(
        f"broker {replica.node_id}: {plural(replica.segments, 'segment')}, {format_bytes(replica.size_bytes)}"
        for replica in partition.replicas.values()
    )
