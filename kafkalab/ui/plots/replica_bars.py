"""Partitions as rows: a bar per replica to its log end, and the high watermark as a line across them.

All bars end against one axis. *Tail* counts records behind the leader's log end, so that a lag of a
few records among millions can be seen; *Whole log* counts offsets from the log start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QHelpEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from kafkalab.ui.model.links import Link
from kafkalab.ui.model.states import REPLICA_SIGNS, ReplicaRole, Tone
from kafkalab.ui.model.things import Partition, Replica, Topic
from kafkalab.ui.theme.fonts import mono_font, symbol_font, ui_font
from kafkalab.ui.theme.formats import format_bytes, format_count, format_offset, format_rate
from kafkalab.ui.theme.tokens import DARK, Theme, ink_on, topic_colour

NAME_WIDTH: Final = 190
FIGURES_WIDTH: Final = 210
REPLICA_HEIGHT: Final = 20
BAR_HEIGHT: Final = 14
ROW_GAP: Final = 14
AXIS_HEIGHT: Final = 30
MARGIN: Final = 16
LABEL_WIDTH: Final = 44
FIGURES_HEIGHT: Final = 50
"""Three lines stand beside the bars, however few replicas there are."""
TAIL_SPAN_MIN: Final = 1_000
WIDE: Final = 360


class Scale(StrEnum):
    """What the bars' axis counts."""

    TAIL = "tail"
    WHOLE = "whole"


def tail_span(partitions: Sequence[Partition]) -> int:
    """How many records back the tail axis reaches: a round number that shows every replica's end."""
    lag = 0
    for partition in partitions:
        end = partition.log_end_offset
        for replica in partition.replicas.values():
            if replica.log_end_offset >= 0:
                lag = max(lag, end - replica.log_end_offset)
        if partition.high_watermark >= 0:
            lag = max(lag, end - partition.high_watermark)
    return round_up(max(TAIL_SPAN_MIN, int(lag * 1.6)))


def round_up(value: int) -> int:
    """The next of 1, 2, 5 × 10ⁿ."""
    if value <= 1:
        return 1
    power: int = 10 ** int(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


class ReplicaBars(QWidget):
    """One topic's partitions. Paints the rows in sight only."""

    selected = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme: Theme = DARK
        self._topic: Topic | None = None
        self._partitions: list[Partition] = []
        self._tops: list[int] = []
        self._scale = Scale.TAIL
        self._span = TAIL_SPAN_MIN
        self._link: Link | None = None
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Log ends and high watermark of each replica")

    def set_theme(self, theme: Theme) -> None:
        """Draw in these colours."""
        self._theme = theme
        self.update()

    def set_scale(self, scale: Scale) -> None:
        """Count on this axis."""
        self._scale = scale
        self.update()

    def set_selected(self, link: Link | None) -> None:
        """Light the partition that a link speaks of."""
        self._link = link
        self.update()

    def set_topic(self, topic: Topic | None) -> None:
        """Show this topic; called again whenever its numbers changed."""
        self._topic = topic
        self._partitions = [] if topic is None else topic.sorted_partitions
        self._tops = []
        top = AXIS_HEIGHT
        for partition in self._partitions:
            self._tops.append(top)
            top += _row_height(partition)
        height = top + MARGIN
        if self.height() != height:
            self.setFixedHeight(height)
        span = tail_span(self._partitions)
        # The axis widens at once and narrows only when it is far too wide, so that bars do not breathe.
        if span > self._span or span * 4 < self._span:
            self._span = span
        if topic is not None:
            self.setAccessibleDescription("; ".join(describe_partition(one) for one in self._partitions[:50]))
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(720, (self._tops[-1] if self._tops else AXIS_HEIGHT) + 120)

    # --- painting ---------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._topic is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_axis(painter)
        for place in range(len(self._partitions)):
            top, bottom = self._row_span(place)
            if bottom >= event.rect().top() and top <= event.rect().bottom():
                self._paint_row(painter, self._partitions[place], top, bottom)

    def _row_span(self, place: int) -> tuple[int, int]:
        top = self._tops[place]
        return top, top + _row_height(self._partitions[place])

    def _bars_area(self) -> tuple[float, float]:
        return NAME_WIDTH + LABEL_WIDTH, max(NAME_WIDTH + LABEL_WIDTH + 80.0, self.width() - FIGURES_WIDTH)

    def _axis(self, partition: Partition) -> tuple[int, int]:
        """First and last offset of the axis, as it reads for this partition."""
        end = max(partition.log_end_offset, max((one.log_end_offset for one in partition.replicas.values()), default=0), 0)
        if self._scale is Scale.TAIL:
            return end - self._span, end
        highest = max((max(one.log_end_offset, 1) for one in self._partitions), default=1)
        return 0, max(highest, end)

    def _paint_axis(self, painter: QPainter) -> None:
        left, right = self._bars_area()
        theme = self._theme
        painter.setFont(mono_font(10))
        steps = 4 if right - left > WIDE else 2
        for step in range(steps + 1):
            x = left + (right - left) * step / steps
            painter.setPen(QPen(QColor(theme.line), 1))
            painter.drawLine(QPointF(round(x) + 0.5, AXIS_HEIGHT - 6), QPointF(round(x) + 0.5, self.height() - MARGIN))
            if self._scale is Scale.TAIL:
                behind = self._span * (steps - step) // steps
                text = "log end" if behind == 0 else f"−{format_count(behind)}"
            else:
                text = format_count(self._axis(self._partitions[0])[1] * step // steps) if self._partitions else ""
            painter.setPen(QColor(theme.muted))
            painter.drawText(QRectF(x - 60, 6, 120, 16), Qt.AlignmentFlag.AlignCenter, text)

    def _paint_row(self, painter: QPainter, partition: Partition, top: int, bottom: int) -> None:
        theme = self._theme
        assert self._topic is not None
        if self._link is not None and self._link.topic_partition == partition.topic_partition:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(theme.selection))
            painter.drawRoundedRect(QRectF(6, top - 5, self.width() - 12, bottom - top - 4), 4, 4)
        leader = partition.serving_leader
        painter.setFont(ui_font(12, semibold=True))
        painter.setPen(QColor(theme.text))
        painter.drawText(QRectF(MARGIN, top, NAME_WIDTH - MARGIN, 18), int(Qt.AlignmentFlag.AlignVCenter), str(partition.topic_partition))
        painter.setFont(ui_font(11))
        painter.setPen(QColor(theme.error if leader < 0 else theme.muted))
        words = "✕ nobody leads" if leader < 0 else f"★ broker {leader} · epoch {partition.leader_epoch}"
        painter.drawText(QRectF(MARGIN, top + 18, NAME_WIDTH - MARGIN, 16), int(Qt.AlignmentFlag.AlignVCenter), words)
        for at, (words, tone) in enumerate(_standing(partition)):
            painter.setPen(QColor(theme.tone(tone)))
            painter.drawText(QRectF(MARGIN, top + 34 + 15 * at, NAME_WIDTH - MARGIN, 16), int(Qt.AlignmentFlag.AlignVCenter), words)
        left, right = self._bars_area()
        first, last = self._axis(partition)
        pixels = (right - left) / max(1, last - first)
        y = float(top)
        for replica in partition.replicas.values():
            self._paint_bar(painter, partition, replica, y, left, right, first, pixels)
            y += REPLICA_HEIGHT
        watermark = partition.high_watermark
        if watermark >= 0:
            x = left + (max(watermark, first) - first) * pixels
            painter.setPen(QPen(QColor(theme.accent), 2))
            painter.drawLine(QPointF(x, top - 2), QPointF(x, y - REPLICA_HEIGHT + BAR_HEIGHT + 4))
        self._paint_figures(painter, partition, top, right)

    def _paint_bar(
        self, painter: QPainter, partition: Partition, replica: Replica, y: float, left: float, right: float, first: int, pixels: float
    ) -> None:
        theme = self._theme
        assert self._topic is not None
        sign = REPLICA_SIGNS[replica.role]
        offline = replica.role is ReplicaRole.OFFLINE
        painter.setFont(symbol_font(11))
        painter.setPen(QColor(theme.error if offline else theme.warn if replica.role is ReplicaRole.BEHIND else theme.text))
        painter.drawText(
            QRectF(left - LABEL_WIDTH, y, LABEL_WIDTH - 8, BAR_HEIGHT),
            Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight,
            f"{sign.glyph} {replica.node_id}",
        )
        tag = partition.tag_of(replica.node_id)
        if tag:
            self._paint_tag(painter, tag, left - LABEL_WIDTH, y)
        colour = QColor(topic_colour(self._topic.colour, theme))
        trough = QRectF(left, y, right - left, BAR_HEIGHT)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(theme.raised))
        painter.drawRoundedRect(trough, 3, 3)
        end = replica.log_end_offset
        if end < 0:
            return
        x_start = left + max(0, replica.log_start_offset - first) * pixels
        x_end = left + max(0.0, (end - first) * pixels)
        bar = QRectF(x_start, y, max(0.0, min(x_end, right) - x_start), BAR_HEIGHT)
        if offline:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(QColor(theme.off), 1.5, Qt.PenStyle.DashLine))
            painter.drawRoundedRect(bar.adjusted(0.75, 0.75, -0.75, -0.75), 3, 3)
        elif replica.role is ReplicaRole.LEADER:
            painter.setBrush(colour)
            painter.drawRoundedRect(bar, 3, 3)
        else:
            soft = QColor(colour)
            soft.setAlphaF(0.45)
            painter.setBrush(soft)
            painter.setPen(QPen(colour, 1.2))
            painter.drawRoundedRect(bar.adjusted(0.6, 0.6, -0.6, -0.6), 3, 3)
        text = format_offset(end)
        if replica.lag > 0 and replica.role is not ReplicaRole.LEADER:
            text += f"  −{format_count(replica.lag)}"
        painter.setFont(mono_font(10))
        width = painter.fontMetrics().horizontalAdvance(text) + 10
        if bar.width() > width + 4:
            ink = ink_on(topic_colour(self._topic.colour, theme)) if replica.role is ReplicaRole.LEADER else theme.text
            painter.setPen(QColor(theme.muted if offline else ink))
            painter.drawText(bar.adjusted(0, 0, -6, 0), Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, text)
        else:
            painter.setPen(QColor(theme.muted))
            area = QRectF(min(bar.right() + 6, right - width), y, width, BAR_HEIGHT)
            painter.drawText(area, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, text)

    def _paint_tag(self, painter: QPainter, tag: str, x: float, y: float) -> None:
        """The same corner as on the chips of the stage."""
        tone = QColor(self._theme.accent if tag in "+−" else self._theme.warn)
        box = QRectF(x - 10, y + 1, 12, 12)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(tone)
        painter.drawRoundedRect(box, 3, 3)
        painter.setFont(mono_font(9, bold=True))
        painter.setPen(QColor(ink_on(tone.name())))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, tag)

    def _paint_figures(self, painter: QPainter, partition: Partition, top: int, right: float) -> None:
        theme = self._theme
        held = partition.leader_replica
        area = QRectF(right + 16, top, FIGURES_WIDTH - 16 - MARGIN, 16)
        painter.setFont(mono_font(11))
        painter.setPen(QColor(theme.accent))
        painter.drawText(area, int(Qt.AlignmentFlag.AlignVCenter), f"hw {format_offset(partition.high_watermark)}")
        painter.setPen(QColor(theme.text))
        painter.drawText(area.translated(0, 17), int(Qt.AlignmentFlag.AlignVCenter), format_rate(partition.records.rate, "records"))
        if held is not None:
            painter.setPen(QColor(theme.muted))
            words = f"{format_count(held.segments)} seg · {format_bytes(held.size_bytes)}"
            painter.drawText(area.translated(0, 34), int(Qt.AlignmentFlag.AlignVCenter), words)

    # --- pointing -----------------------------------------------------------------------------------

    def partition_at(self, y: float) -> Partition | None:
        """The partition whose row is at this height."""
        for place, partition in enumerate(self._partitions):
            top, bottom = self._row_span(place)
            if top - 5 <= y < bottom - 5:
                return partition
        return None

    def mousePressEvent(self, event: QMouseEvent) -> None:
        partition = self.partition_at(event.position().y())
        if partition is not None:
            self.selected.emit(partition.link)
        super().mousePressEvent(event)

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            partition = self.partition_at(event.pos().y())
            QToolTip.showText(event.globalPos(), describe_partition(partition) if partition is not None else "", self)
            return True
        return super().event(event)


def _row_height(partition: Partition) -> int:
    """As many lines as there are bars, or words beside them."""
    words = 34 + 15 * len(_standing(partition))
    return max(len(partition.replicas) * REPLICA_HEIGHT, words, FIGURES_HEIGHT) + ROW_GAP


def _standing(partition: Partition) -> list[tuple[str, Tone]]:
    """Who is in sync where not all are, who else may lead, what moves."""
    lines = []
    if partition.is_under_replicated:
        lines.append((f"▲ in sync: {_ids(partition.in_sync_ids)}", Tone.WARN))
    if partition.elr:
        lines.append((f"E eligible: {_ids(partition.elr)}", Tone.WARN))
    if partition.last_known_elr:
        lines.append((f"L last leader: {_ids(partition.last_known_elr)}", Tone.WARN))
    if partition.is_moving:
        moves = [f"{sign}{node_id}" for sign, ids in (("+", partition.adding), ("−", partition.removing)) for node_id in ids]
        lines.append((f"moving: {' '.join(moves)}", Tone.ACCENT))
    return lines


def _ids(node_ids: Sequence[int]) -> str:
    return ", ".join(map(str, node_ids)) or "none"


def describe_partition(partition: Partition) -> str:
    """A partition's bars in words."""
    leader = partition.serving_leader
    ends = ", ".join(
        f"broker {one.node_id} {REPLICA_SIGNS[one.role].word} at {format_offset(one.log_end_offset)}" for one in partition.replicas.values()
    )
    led = f"led by broker {leader}" if leader >= 0 else "nobody leads"
    standing = "".join(f", {words}" for words, _ in _standing(partition))
    return f"{partition.topic_partition}: {led}{standing}, high watermark {format_offset(partition.high_watermark)}; {ends}"
