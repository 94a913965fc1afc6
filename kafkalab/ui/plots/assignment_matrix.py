"""Members by partitions: who reads what, and who reads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QHelpEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.telemetry.levels import GroupMemberLevel
from kafkalab.ui.model.links import Link
from kafkalab.ui.model.things import Group
from kafkalab.ui.theme.fonts import mono_font, ui_font
from kafkalab.ui.theme.formats import format_count, format_lag_time
from kafkalab.ui.theme.tokens import DARK, Theme, ink_on, topic_colour

CELL_WIDTH: Final = 44
CELL_HEIGHT: Final = 26
NAME_WIDTH: Final = 250
HEADER_HEIGHT: Final = 42
MARGIN: Final = 16


class AssignmentMatrix(QWidget):
    """Rows are members, columns partitions; a filled cell is an assignment, a column without one has no owner."""

    selected = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme: Theme = DARK
        self._colours: Mapping[str, int] = {}
        self._members: tuple[GroupMemberLevel, ...] = ()
        self._columns: list[TopicPartition] = []
        self._owner: dict[TopicPartition, str] = {}
        self._lags: dict[TopicPartition, tuple[int, float]] = {}
        self._link: Link | None = None
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Members by partitions")

    def set_theme(self, theme: Theme) -> None:
        """Draw in these colours."""
        self._theme = theme
        self.update()

    def set_selected(self, link: Link | None) -> None:
        """Light the column of a partition."""
        self._link = link
        self.update()

    def set_group(self, group: Group | None, colours: Mapping[str, int]) -> None:
        """Show a group; ``colours`` gives each topic's colour index."""
        self._colours = colours
        self._members = () if group is None else tuple(sorted(group.members, key=lambda one: (one.client_id, one.member_id)))
        self._owner = {TopicPartition(*pair): one.member_id for one in self._members for pair in one.assignment}
        known = set(self._owner) | (set() if group is None else set(group.partitions))
        self._columns = sorted(known)
        self._lags = {} if group is None else {tp: (entry.lag, entry.lag_ms) for tp, entry in group.partitions.items()}
        width = MARGIN * 2 + NAME_WIDTH + len(self._columns) * CELL_WIDTH
        self.setFixedSize(max(width, 200), HEADER_HEIGHT + max(1, len(self._members)) * CELL_HEIGHT + MARGIN)
        self.setAccessibleDescription("; ".join(self.describe_member(one) for one in self._members))
        self.update()

    def describe_member(self, member: GroupMemberLevel) -> str:
        """One row in words."""
        name = member.instance_id or member.client_id or member.member_id
        if not member.assignment:
            return f"{name}: idle, no partition is assigned"
        return f"{name}: " + ", ".join(f"{topic}-{number}" for topic, number in sorted(member.assignment))

    def unowned(self) -> list[TopicPartition]:
        """Partitions that nobody reads."""
        return [tp for tp in self._columns if tp not in self._owner]

    def sizeHint(self) -> QSize:
        return self.size()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        theme = self._theme
        left = MARGIN + NAME_WIDTH
        chosen = self._link.topic_partition if self._link is not None else None
        begin = 0
        for place, tp in enumerate(self._columns):
            x = left + place * CELL_WIDTH
            if tp == chosen:
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(QColor(theme.selection))
                painter.drawRoundedRect(QRectF(x, HEADER_HEIGHT - 20, CELL_WIDTH, self.height() - HEADER_HEIGHT + 16), 4, 4)
            painter.setFont(mono_font(11))
            unowned = tp not in self._owner
            painter.setPen(QColor(theme.error if unowned else theme.muted))
            header = QRectF(x, HEADER_HEIGHT - 20, CELL_WIDTH, 18)
            painter.drawText(header, Qt.AlignmentFlag.AlignCenter, f"✕ {tp.partition}" if unowned else str(tp.partition))
            last = place + 1 == len(self._columns) or self._columns[place + 1].topic != tp.topic
            if last:
                painter.setFont(ui_font(11, semibold=True))
                painter.setPen(QColor(theme.text))
                area = QRectF(left + begin * CELL_WIDTH + 4, 2, (place + 1 - begin) * CELL_WIDTH - 8, 18)
                text = painter.fontMetrics().elidedText(tp.topic, Qt.TextElideMode.ElideRight, int(area.width()))
                painter.drawText(area, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, text)
                begin = place + 1
        for row, member in enumerate(self._members):
            self._paint_member(painter, member, HEADER_HEIGHT + row * CELL_HEIGHT, left)

    def _paint_member(self, painter: QPainter, member: GroupMemberLevel, y: int, left: int) -> None:
        theme = self._theme
        idle = not member.assignment
        painter.setFont(ui_font(12))
        painter.setPen(QColor(theme.warn if idle else theme.text))
        name = member.instance_id or member.client_id or member.member_id
        words = f"▲ {name} · idle" if idle else name
        area = QRectF(MARGIN, y, NAME_WIDTH - 12, CELL_HEIGHT)
        half = painter.fontMetrics().elidedText(words, Qt.TextElideMode.ElideMiddle, int(area.width()) - 84)
        painter.drawText(area, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, half)
        painter.setFont(mono_font(10))
        painter.setPen(QColor(theme.muted))
        painter.drawText(area, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, member.client_host.lstrip("/"))
        mine = {TopicPartition(*pair) for pair in member.assignment}
        for place, tp in enumerate(self._columns):
            cell = QRectF(left + place * CELL_WIDTH + 3, y + 3, CELL_WIDTH - 6, CELL_HEIGHT - 6)
            colour = topic_colour(self._colours.get(tp.topic, -1), theme)
            if tp in mine:
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(QColor(colour))
                painter.drawRoundedRect(cell, 4, 4)
                painter.setFont(mono_font(10, bold=True))
                painter.setPen(QColor(ink_on(colour)))
                painter.drawText(cell, Qt.AlignmentFlag.AlignCenter, "●")
            else:
                painter.setPen(QPen(QColor(theme.line), 1))
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.drawLine(cell.center() - QPointF(3, 0), cell.center() + QPointF(3, 0))

    def partition_at(self, x: float) -> TopicPartition | None:
        """The partition whose column is here."""
        place = int((x - MARGIN - NAME_WIDTH) // CELL_WIDTH)
        return self._columns[place] if x >= MARGIN + NAME_WIDTH and 0 <= place < len(self._columns) else None

    def mousePressEvent(self, event: QMouseEvent) -> None:
        tp = self.partition_at(event.position().x())
        if tp is not None:
            self.selected.emit(Link.of_partition(tp.topic, tp.partition))
        super().mousePressEvent(event)

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            QToolTip.showText(event.globalPos(), self._tip(event.pos().x(), event.pos().y()), self)
            return True
        return super().event(event)

    def _tip(self, x: float, y: float) -> str:
        tp = self.partition_at(x)
        row = int((y - HEADER_HEIGHT) // CELL_HEIGHT)
        if tp is None:
            return self.describe_member(self._members[row]) if y >= HEADER_HEIGHT and 0 <= row < len(self._members) else ""
        lag, lag_ms = self._lags.get(tp, (0, 0.0))
        owner = self._owner.get(tp)
        return f"{tp}: {f'read by {owner}' if owner else 'nobody reads it'}, lag {format_count(lag)} · {format_lag_time(lag_ms)}"
