"""Leadership over time: a band per leader, one row per partition and one for the quorum.

The gap in which nobody leads is measured from the moment the leader's node went away. The view
follows the clock until it is dragged back; Home, or the end of the drag at the right edge, follows again.
"""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import Final

from PySide6.QtCore import QPointF, QRectF, Qt, QTimer
from PySide6.QtGui import (
    QHideEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPixmap,
    QResizeEvent,
    QShowEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QWidget

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.ui.model.changes import ChangeSet, Part
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link, LinkKind
from kafkalab.ui.model.states import Tone
from kafkalab.ui.model.things import Band, Mark, NoticeAction
from kafkalab.ui.scene.painted_view import PaintedView
from kafkalab.ui.scene.painting import CENTRE, LEFT, RIGHT, colour, draw_text, line_rect, pen, text_width
from kafkalab.ui.scene.regions import Region, Shape
from kafkalab.ui.theme import tokens
from kafkalab.ui.theme.fonts import mono_font, ui_font
from kafkalab.ui.theme.formats import format_clock, format_clock_second, format_ms, format_seconds, format_span
from kafkalab.ui.theme.tokens import DARK_INK, broker_colour

SPAN_MS: Final = 30_000.0
SPAN_MIN_MS: Final = 2_000.0
SPAN_MAX_MS: Final = 600_000.0
REDRAW_INTERVAL_MS: Final = 125
LABELS_WIDTH: Final = 127.0
RIGHT_MARGIN: Final = 22.0
TOP: Final = 54.0
AXIS_HEIGHT: Final = 34.0
ROOMY: Final = (30.0, 50.0)  # band height, row pitch
DENSE: Final = (18.0, 22.0)
SMALL_BELOW: Final = 36.0
"""Rows closer together than this have small letters."""
TROUBLE_AT: Final = 0.25
"""Where on the axis the beginning of what is looked back at stands."""
TICKS_S: Final = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300)
TICK_WIDTH_MIN: Final = 96.0
LABEL_WIDTH_MIN: Final = 40.0


class FailoverView(PaintedView):
    """The picture the project is known by."""

    def __init__(self, model: ClusterModel, parent: QWidget | None = None) -> None:
        super().__init__(model, parent)
        self.setAccessibleName("Failover")
        self.setMinimumSize(420, 240)
        self.span_ms = SPAN_MS
        self.show_internal = False
        self._end_ms = -1.0  # the right edge while held, -1: follows the clock
        self._first_row = 0
        self._rows: list[TopicPartition] = []
        self._dense = False
        self._pitch = ROOMY[1]
        self._labels: tuple[object, QPixmap] | None = None
        self._grip: tuple[float, float] | None = None  # where a drag began: x, right edge
        self._timer = QTimer(self)
        self._timer.setInterval(REDRAW_INTERVAL_MS)
        self._timer.timeout.connect(self.invalidate)

    # --- for the window ------------------------------------------------------------------------

    @property
    def follows(self) -> bool:
        """The right edge is now."""
        return self._end_ms < 0

    def follow(self) -> None:
        """Let the right edge be now."""
        self._end_ms = -1.0
        self._pace()
        self.invalidate()

    def set_span(self, span_ms: float) -> None:
        """How much time the view shows."""
        self.span_ms = min(max(span_ms, SPAN_MIN_MS), SPAN_MAX_MS)
        self._pace()
        self.invalidate()

    def show_trouble(self) -> None:
        """Go where the latest trouble began, if that is out of sight by now."""
        moments = self._trouble()
        if not moments or moments[-1] >= self.model.now_ms - self.span_ms * (1 - TROUBLE_AT / 2):
            self.follow()
            return
        # What belongs together is looked at together: a kill, its fencing, the end of the gap.
        begun = next(at_ms for at_ms in moments if at_ms >= moments[-1] - self.span_ms / 2)
        end = begun + self.span_ms * (1 - TROUBLE_AT)
        self._end_ms = -1.0 if end >= self.model.now_ms else end
        self._pace()
        self.invalidate()

    def _trouble(self) -> list[float]:
        """When something broke or nobody led, in order."""
        history = self.model.failover
        moments = [mark.at_ms for mark in history.marks if mark.tone in (Tone.ERROR, Tone.WARN)]
        rows = [history.quorum, *(history.bands.get(tp, []) for tp in self._rows)]
        return sorted([*moments, *(band.start_ms for row in rows for band in row if band.is_gap)])

    def set_show_internal(self, show: bool) -> None:
        """Rows for partitions of internal topics too."""
        self.show_internal = show
        self.invalidate()

    def apply_change(self, change: ChangeSet) -> None:
        """Leadership changed, or topics did."""
        if change.touches(Part.FAILOVER, Part.TOPICS):
            self.setAccessibleDescription(self._words())
            self.invalidate()

    def selection_changed(self) -> None:
        """The selected row is part of the picture; bring it into view."""
        link = self.selection
        if link is not None and link.topic_partition in self._rows:
            at = self._rows.index(TopicPartition(link.name, link.partition)) + 1
            shown = self._rows_shown()
            if at < self._first_row + 1:
                self._first_row = max(at - 1, 0)
            elif at >= self._first_row + shown:
                self._first_row = at - shown + 1
        self.invalidate()

    def _words(self) -> str:
        words, _ = self._gap_words()
        return f"{words[:1].upper()}{words[1:]}."

    # --- time ----------------------------------------------------------------------------------

    @property
    def _right_ms(self) -> float:
        return self.model.now_ms if self._end_ms < 0 else self._end_ms

    def _x(self, at_ms: float) -> float:
        share = (at_ms - (self._right_ms - self.span_ms)) / self.span_ms
        return LABELS_WIDTH + share * self._bands_width()

    def _bands_width(self) -> float:
        return max(self.width() - LABELS_WIDTH - RIGHT_MARGIN, 50.0)

    def _pace(self) -> None:
        if self.isVisible() and self.follows:
            # A pixel's worth of time is soon enough.
            self._timer.setInterval(int(min(max(self.span_ms / self._bands_width() * 2, REDRAW_INTERVAL_MS), 1_000)))
            if not self._timer.isActive():
                self._timer.start()
        else:
            self._timer.stop()

    def showEvent(self, event: QShowEvent) -> None:
        """Go on."""
        super().showEvent(event)
        self._pace()
        self.invalidate()

    def hideEvent(self, event: QHideEvent) -> None:
        """Rest."""
        self._timer.stop()
        super().hideEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """The clock moves another number of pixels now."""
        super().resizeEvent(event)
        self._pace()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint and say how long it took."""
        begun = perf_counter()
        super().paintEvent(event)
        self.painted.emit((perf_counter() - begun) * 1000)

    # --- mouse and keyboard --------------------------------------------------------------------

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Scroll rows; with Ctrl zoom in time, with Shift or sideways move in time."""
        steps = event.angleDelta().y() / 120
        sideways = event.angleDelta().x() / 120
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.set_span(self.span_ms * 0.8**steps)
        elif event.modifiers() & Qt.KeyboardModifier.ShiftModifier or sideways:
            self._move_in_time((sideways or steps) * self.span_ms / 10)
        else:
            self._scroll(-int(steps * 3) or (-1 if steps > 0 else 1))
        event.accept()

    def _scroll(self, rows: int) -> None:
        last = max(len(self._rows) + 1 - self._rows_shown(), 0)
        self._first_row = min(max(self._first_row + rows, 0), last)
        self.invalidate()

    def _move_in_time(self, span_ms: float) -> None:
        end = self._right_ms - span_ms
        self._end_ms = -1.0 if end >= self.model.now_ms else end
        self._pace()
        self.invalidate()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Select a row, and take hold of time."""
        super().mousePressEvent(event)
        if event.button() is Qt.MouseButton.LeftButton and event.position().x() > LABELS_WIDTH:
            self._grip = (event.position().x(), self._right_ms)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Drag time."""
        if self._grip is not None and event.buttons() & Qt.MouseButton.LeftButton:
            moved = event.position().x() - self._grip[0]
            if abs(moved) > 3 or not self.follows:
                end = self._grip[1] - moved / self._bands_width() * self.span_ms
                self._end_ms = -1.0 if end >= self.model.now_ms else end
                self._pace()
                self.invalidate()
            return
        super().mouseMoveEvent(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Let go."""
        self._grip = None
        super().mouseReleaseEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Plus and minus zoom, Home follows the clock, pages scroll."""
        match event.key():
            case Qt.Key.Key_Plus | Qt.Key.Key_Equal:
                self.set_span(self.span_ms * 0.8)
            case Qt.Key.Key_Minus:
                self.set_span(self.span_ms / 0.8)
            case Qt.Key.Key_Home:
                self.follow()
            case Qt.Key.Key_PageDown:
                self._scroll(self._rows_shown() - 1)
            case Qt.Key.Key_PageUp:
                self._scroll(1 - self._rows_shown())
            case _:
                super().keyPressEvent(event)

    # --- the picture ---------------------------------------------------------------------------

    def _room(self) -> float:
        return self.height() - TOP - AXIS_HEIGHT

    def _sizes(self) -> tuple[float, float]:
        share = (self._pitch - DENSE[1]) / (ROOMY[1] - DENSE[1])
        return round(DENSE[0] + (ROOMY[0] - DENSE[0]) * share), self._pitch

    def _rows_shown(self) -> int:
        return max(int(self._room() // self._sizes()[1]), 1)

    def _collect_rows(self) -> None:
        self._rows = [
            partition.topic_partition
            for topic in self.model.sorted_topics
            if self.show_internal or not topic.internal
            for partition in topic.sorted_partitions
        ]
        # Rows take the room there is, as far apart as they may stand at most.
        self._pitch = min(max(self._room() // (len(self._rows) + 1), DENSE[1]), ROOMY[1])
        self._dense = self._pitch < SMALL_BELOW
        self._first_row = min(self._first_row, max(len(self._rows) + 1 - self._rows_shown(), 0))

    def _longest_gap(self) -> tuple[float, TopicPartition | None]:
        right = self._right_ms
        return self.model.failover.longest_gap(right - self.span_ms, right, self._rows)

    def draw_picture(self, painter: QPainter, ratio: float) -> None:
        """All of it: time passes everywhere at once."""
        theme = self.theme
        painter.fillRect(self.rect(), colour(theme.bg))
        self.regions.clear()
        self._collect_rows()
        self._draw_head(painter)
        if not self._rows and not self.model.failover.quorum:
            middle = QRectF(0, self.height() / 2 - 12, self.width(), 24)
            draw_text(
                painter,
                middle,
                "Who leads each partition, and when nobody did, appears here with the first topic.",
                ui_font(),
                theme.muted,
                CENTRE,
            )
            return
        self._draw_grid(painter)
        self._draw_rows(painter, ratio)
        self._draw_marks(painter)

    def _draw_head(self, painter: QPainter) -> None:
        theme = self.theme
        span = format_span(self.span_ms)
        until = "" if self.follows else f" until {format_clock_second(self._right_ms)}"
        title = f"Leadership of partitions, {'last ' if self.follows else ''}{span}{until}"
        words, is_bad = self._gap_words()
        font = ui_font(semibold=is_bad)
        width = text_width(words, font) + 2
        right = self.width() - RIGHT_MARGIN + 2
        draw_text(painter, line_rect(right - width, 20, width), words, font, theme.error if is_bad else theme.muted, RIGHT)
        title_font = ui_font(13, semibold=True)
        draw_text(painter, line_rect(23, 20, right - width - 40), title, title_font, theme.text)
        self._draw_links(painter, 23 + text_width(title, title_font) + 20, right - width - 16)

    def _draw_links(self, painter: QPainter, left: float, right: float) -> None:
        """Ways through time, as far as there is room for them: each is a key too."""
        font = ui_font(tokens.FONT_SECONDARY_PX)
        links = [("latest trouble", "latest")] if self._trouble() else []
        links += [] if self.follows else [("now", "now")]
        links += [("earlier", "earlier"), ("zoom out", "wider"), ("zoom in", "closer")]
        for words, action in links:
            width = text_width(words, font) + 1
            if left + width > right:
                return
            rect = line_rect(left, 20, width, 18)
            draw_text(painter, rect, words, font, self.theme.accent, elide=False)
            self.regions.add(Region(rect, Link.failover(), Shape.TEXT, words, action=NoticeAction(words, action, Link.failover())))
            left += width + 14

    def _act(self, action: NoticeAction) -> None:
        match action.action:
            case "latest":
                self.show_trouble()
            case "earlier":
                self._move_in_time(self.span_ms / 2)
            case "now":
                self.follow()
            case "wider":
                self.set_span(self.span_ms * 2)
            case "closer":
                self.set_span(self.span_ms / 2)
            case _:
                super()._act(action)

    def _gap_words(self) -> tuple[str, bool]:
        """The longest time in sight without a leader, and whether there was one."""
        gap, where = self._longest_gap()
        if where is not None:
            return f"longest leaderless gap {format_seconds(gap)}", True
        right = self._right_ms
        gap = self.model.failover.longest_quorum_gap(right - self.span_ms, right)
        return (f"no controller led for {format_seconds(gap)}", True) if gap > 0 else ("no leaderless gap", False)

    def _draw_grid(self, painter: QPainter) -> None:
        theme = self.theme
        left_ms, right_ms = self._right_ms - self.span_ms, self._right_ms
        per_ms = self._bands_width() / self.span_ms
        step_ms = next((step * 1000 for step in TICKS_S if step * 1000 * per_ms >= TICK_WIDTH_MIN), TICKS_S[-1] * 1000)
        bottom = self.height() - AXIS_HEIGHT
        at_ms = (left_ms // step_ms + 1) * step_ms
        lines: list[QPointF] = []
        font = mono_font(tokens.FONT_SECONDARY_PX)
        while at_ms <= right_ms:
            x = round(self._x(at_ms)) + 0.5
            lines += [QPointF(x, TOP - 14), QPointF(x, bottom)]
            if x < self.width() - 30:
                text = format_clock_second(at_ms) if step_ms >= 1000 else format_clock(at_ms)[:-2]
                draw_text(painter, line_rect(x - 40, bottom + 15, 80), text, font, theme.muted, CENTRE, elide=False)
            at_ms += step_ms
        painter.setPen(pen(theme.line))
        painter.drawLines(lines)

    def _draw_rows(self, painter: QPainter, ratio: float) -> None:
        theme = self.theme
        height, pitch = self._sizes()
        places = {node.node_id: at for at, node in enumerate(self.model.brokers)}
        fills: dict[str, QPainterPath] = {}
        gaps: list[QRectF] = []
        words: list[tuple[QRectF, str, str, bool]] = []
        y = TOP + (pitch - height) / 2 - 10.0 * (pitch - DENSE[1]) / (ROOMY[1] - DENSE[1])
        label_font = ui_font() if not self._dense else ui_font(tokens.FONT_SECONDARY_PX)
        labels: list[tuple[float, str, bool]] = []
        quorum_shown = self._first_row == 0
        shown = self._rows[max(self._first_row - 1, 0) : max(self._first_row - 1, 0) + self._rows_shown() - (1 if quorum_shown else 0)]
        if quorum_shown:
            self._note_row(QRectF(0, y, self.width(), height), Link.quorum(), "quorum")
            labels.append((y, "quorum", False))
            self._lay_bands(self.model.failover.quorum, y, height, fills, gaps, words, None, places)
            y += pitch
        for tp in shown:
            link = Link.of_partition(tp.topic, tp.partition)
            chosen = self._is_chosen(tp)
            if chosen:
                edge = 8.0 if not self._dense else 2.0
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(colour(theme.selection, 150 if theme.is_dark else 255))
                painter.drawRoundedRect(QRectF(13, y - edge, self.width() - 24, height + 2 * edge), 4, 4)
            self._note_row(QRectF(0, y, self.width(), height), link, str(tp))
            labels.append((y, str(tp), chosen))
            self._lay_bands(self.model.failover.bands.get(tp, []), y, height, fills, gaps, words, tp, places)
            y += pitch
        painter.drawPixmap(QPointF(0, 0), self._labels_picture(tuple(labels), height, ratio))
        painter.setPen(Qt.PenStyle.NoPen)
        for fill, path in fills.items():
            painter.setBrush(colour(fill, 105 if fill == theme.accent else 235))
            painter.drawPath(path)
        if gaps:
            painter.setBrush(colour(theme.bg))
            painter.setPen(pen(theme.error, tokens.STROKE_CARD, (3.0, 2.5)))
            painter.drawRects(gaps)
        for rect, text, tone, is_gap in words:
            font = mono_font(tokens.FONT_SECONDARY_PX if not self._dense else 10, bold=True) if is_gap else label_font
            draw_text(painter, rect, text, font, tone, CENTRE if is_gap else LEFT, elide=False)

    def _labels_picture(self, labels: tuple[tuple[float, str, bool], ...], height: float, ratio: float) -> QPixmap:
        """The names of the rows: they stand still while time passes, so they are drawn once."""
        key = (labels, height, ratio, self.theme.name, self.height())
        if self._labels is None or self._labels[0] != key:
            pixmap = QPixmap(int(LABELS_WIDTH * ratio), int(self.height() * ratio))
            pixmap.setDevicePixelRatio(ratio)
            pixmap.fill(Qt.GlobalColor.transparent)
            size = tokens.FONT_UI_PX if not self._dense else tokens.FONT_SECONDARY_PX
            with QPainter(pixmap) as painter:
                for y, name, chosen in labels:
                    draw_text(painter, QRectF(23, y, LABELS_WIDTH - 31, height), name, ui_font(size, semibold=chosen), self.theme.text)
            self._labels = (key, pixmap)
        return self._labels[1]

    def _is_chosen(self, tp: TopicPartition) -> bool:
        link = self.selection
        return link is not None and link.kind in (LinkKind.PARTITION, LinkKind.REPLICA) and link.topic_partition == tp

    def _lay_bands(
        self,
        bands: list[Band],
        y: float,
        height: float,
        fills: dict[str, QPainterPath],
        gaps: list[QRectF],
        words: list[tuple[QRectF, str, str, bool]],
        tp: TopicPartition | None,
        places: dict[int, int],
    ) -> None:
        theme = self.theme
        left_edge, right_edge = LABELS_WIDTH, LABELS_WIDTH + self._bands_width()
        now = self.model.now_ms
        font = ui_font() if not self._dense else ui_font(tokens.FONT_SECONDARY_PX)
        for band in bands:
            start = max(self._x(band.start_ms), left_edge)
            end = min(self._x(now if band.end_ms < 0 else band.end_ms), right_edge)
            if end <= left_edge or start >= right_edge:
                continue
            rect = QRectF(start, y, max(end - start, 1.0), height)
            if band.is_gap:
                gaps.append(rect.adjusted(0.75, 0.75, -0.75, -0.75))
                seconds = f"{band.length_ms(now) / 1000:.2f}"
                if text_width(seconds, mono_font(tokens.FONT_SECONDARY_PX, bold=True)) + 4 <= rect.width():
                    words.append((rect, seconds, theme.error, True))
            else:
                fill = theme.accent if tp is None else broker_colour(places.get(band.leader, 0))
                fills.setdefault(fill, QPainterPath()).addRoundedRect(rect, 3, 3)
                text = f"♛ {band.leader} · epoch {band.epoch}" if tp is None else f"★ broker {band.leader}"
                room = rect.width() - 12
                if text_width(text, font) > room:
                    text = str(band.leader)
                if text_width(text, font) <= room:
                    tone = theme.text if tp is None else DARK_INK
                    words.append((rect.adjusted(8, 0, -4, 0), text, tone, False))
            self._note_band(rect, band, tp)

    def _note_row(self, rect: QRectF, link: Link, name: str) -> None:
        self.regions.add(Region(rect, link, Shape.TEXT, name))

    def _note_band(self, rect: QRectF, band: Band, tp: TopicPartition | None) -> None:
        link = Link.quorum() if tp is None else Link.of_partition(tp.topic, tp.partition)
        what = "the quorum" if tp is None else str(tp)
        who = "Nobody" if band.is_gap else f"Controller {band.leader}" if tp is None else f"Broker {band.leader}"

        def tip() -> str:
            now = self.model.now_ms
            until = "until now" if band.end_ms < 0 else f"until {format_clock(band.end_ms)}"
            return f"{who} led {what} from {format_clock(band.start_ms)} {until}\n{format_ms(band.length_ms(now))} · epoch {band.epoch}"

        self.regions.add(Region(rect, link, Shape.TEXT, f"{what}: {who} leads" if not band.is_gap else f"{what}: nobody leads", tip))

    # --- marks ---------------------------------------------------------------------------------

    def _draw_marks(self, painter: QPainter) -> None:
        left_ms, right_ms = self._right_ms - self.span_ms, self._right_ms
        marks = [mark for mark in self.model.failover.marks if left_ms <= mark.at_ms <= right_ms]
        # What broke has the first claim on the room for labels.
        marks.sort(key=lambda mark: mark.tone is not Tone.ERROR)
        taken: list[QRectF] = []
        for mark in marks:
            self._draw_mark(painter, mark, taken)

    def _draw_mark(self, painter: QPainter, mark: Mark, taken: list[QRectF]) -> None:
        theme = self.theme
        x = round(self._x(mark.at_ms)) + 0.5
        tone = theme.tone(mark.tone)
        solid = mark.tone is Tone.ERROR
        painter.setPen(pen(tone, tokens.STROKE_CARD if solid else 1.2, () if solid else (4.0, 3.0)))
        painter.drawLine(QPointF(x, TOP - 15), QPointF(x, self.height() - AXIS_HEIGHT))
        font = ui_font(tokens.FONT_SECONDARY_PX)
        tip = partial(_mark_tip, mark)
        self.regions.add(Region(QRectF(x - 3, TOP - 24, 6, self.height() - TOP), mark.link, Shape.TEXT, mark.label, tip))
        width = text_width(mark.label, font) + 4
        room_before = x - 6 - max((rect.right() + 8 for rect in taken if rect.left() < x), default=4.0)
        room_after = min((rect.left() - 8 for rect in taken if rect.right() > x), default=self.width() - 4.0) - x - 6
        before = (line_rect(x - 6 - min(width, room_before), TOP - 12, min(width, room_before), 14), RIGHT)
        after = (line_rect(x + 6, TOP - 12, min(width, room_after), 14), LEFT)
        sides = [(room_before, before), (room_after, after)] if solid else [(room_after, after), (room_before, before)]
        # The wanted side if it fits, else the other, else wherever there is more room, with an ellipsis.
        room, (rect, align) = next((side for side in sides if side[0] >= width), max(sides, key=lambda side: side[0]))
        if room >= LABEL_WIDTH_MIN:
            taken.append(rect)
            draw_text(painter, rect, mark.label, font, tone, align)
            self.regions.add(Region(rect, mark.link, Shape.TEXT, mark.label, tip))

    # --- facts ---------------------------------------------------------------------------------

    def facts(self) -> tuple[list[str], list[list[str]]]:
        """Every band as a row."""
        now = self.model.now_ms
        rows: list[list[str]] = []
        everything: list[tuple[str, list[Band]]] = [("quorum", self.model.failover.quorum)]
        everything += [(str(tp), bands) for tp, bands in sorted(self.model.failover.bands.items())]
        for name, bands in everything:
            for band in bands:
                rows.append(
                    [
                        name,
                        "nobody" if band.is_gap else str(band.leader),
                        str(band.epoch),
                        format_clock(band.start_ms),
                        "now" if band.end_ms < 0 else format_clock(band.end_ms),
                        format_ms(band.length_ms(now)),
                    ]
                )
        return ["row", "leader", "epoch", "from", "to", "length"], rows


def _mark_tip(mark: Mark) -> str:
    return f"{mark.label}\n{format_clock(mark.at_ms)}"
