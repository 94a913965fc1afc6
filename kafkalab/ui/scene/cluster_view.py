"""The cluster stage: controllers, brokers with their replicas, clients, and what flows between them."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from time import perf_counter
from typing import Final

from PySide6.QtCore import QPointF, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QHideEvent, QPainter, QPaintEvent, QPixmap, QRegion, QShowEvent
from PySide6.QtWidgets import QWidget

from kafkalab.ui.model.changes import ChangeSet, Part
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.faults import CLIENTS, describe_offset, party_name
from kafkalab.ui.model.links import Link, LinkKind
from kafkalab.ui.model.states import NODE_SIGNS, REPLICA_SIGNS, NodeState, ReplicaRole, Tone
from kafkalab.ui.model.things import NoticeAction, Partition, QuorumMember, Topic
from kafkalab.ui.scene.fault_lines import FaultLine, draw_fault_lines, lay_fault_lines, vote_course
from kafkalab.ui.scene.layout import (
    CARD_LABEL,
    CARD_PADDING,
    NOTICE_FOOT,
    NOTICE_LINE,
    CardPlace,
    ClientPlace,
    HexPlace,
    RowMode,
    RowPlace,
    StageLayout,
    lay_out,
)
from kafkalab.ui.scene.painted_view import PaintedView
from kafkalab.ui.scene.painting import (
    CENTRE,
    RIGHT,
    ChipPainter,
    colour,
    draw_text,
    hexagon,
    line_rect,
    pen,
    ring,
    rounded,
    text_width,
    two_lines,
)
from kafkalab.ui.scene.regions import Region, Shape
from kafkalab.ui.scene.wires import DOT_SPACING_PX, Wire, curve, draw_arrows, draw_dots, draw_wire, straight, wire_width
from kafkalab.ui.theme import tokens
from kafkalab.ui.theme.fonts import mono_font, ui_font
from kafkalab.ui.theme.formats import format_byte_rate, format_bytes, format_clock, format_count, format_offset, plural
from kafkalab.ui.theme.tokens import Theme, topic_colour

ANIMATION_INTERVAL_MS: Final = 25
SLOW_REFRESH_MS: Final = 250
"""Figures that always change (lag, watermarks) are drawn anew this often."""
_FACT_SEPARATOR: Final = " · "
LAG_SHOWN_MIN: Final = 8
EMPTY_FETCHES_MAX: Final = 100.0
"""Bytes per second: followers ask though there is nothing to fetch; no records run then, and nothing needs to be drawn."""
"""A follower is always a few records behind: that is no news."""
VOTE_FLIGHT_MS: Final = 180.0
VOTE_SHOWN_MS: Final = 1_200.0
_REBUILD: Final = (Part.NODES, Part.TOPICS, Part.PARTITIONS, Part.NOTICE, Part.QUORUM, Part.FAULTS)


class ClusterView(PaintedView):
    """The first thing anyone sees."""

    frame_due = Signal()
    """Something moves, and its next picture is due now; ``painted`` tells when it is done."""

    def __init__(self, model: ClusterModel, parent: QWidget | None = None) -> None:
        super().__init__(model, parent)
        self.setAccessibleName("Cluster")
        self.setMinimumSize(420, 320)
        self._layout = StageLayout((0, 0))
        self._wires: list[Wire] = []
        self._fault_lines: list[FaultLine] = []
        self._covers: list[tuple[float, float, float, float]] = []
        self._chips: ChipPainter | None = None
        self._chip_places: dict[tuple[str, int], list[tuple[QRectF, float]]] = {}
        self._stale_clients: set[str] = set()
        self._stale_wires = False
        self._stale_lines = False
        self._stale_offsets = False
        self._moved_at = 0.0
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(ANIMATION_INTERVAL_MS)
        self._timer.timeout.connect(self._move)
        self._slow = QTimer(self)
        self._slow.setSingleShot(True)
        self._slow.setInterval(SLOW_REFRESH_MS)
        self._slow.timeout.connect(self._refresh_slowly)

    # --- changes -------------------------------------------------------------------------------

    def set_theme(self, theme: Theme) -> None:
        """Change colours."""
        self._chips = None
        super().set_theme(theme)

    def apply_change(self, change: ChangeSet) -> None:
        """Note what to draw anew, and see that it is."""
        if change.touches(*_REBUILD):
            self.setAccessibleDescription(self._words())
            self.invalidate()
        elif Part.CLIENTS in change:
            self.invalidate()
        else:
            if Part.RATES in change:
                self._stale_wires = True
            self._stale_clients |= change.clients
            if change.touches(Part.QUORUM_OFFSETS) or (Part.REPLICAS in change and self.model.under_replicated):
                self._stale_offsets = True
            if (self._stale_wires or self._stale_clients or self._stale_offsets) and not self._slow.isActive() and self.isVisible():
                self._slow.start()
        self._animate_if_needed()

    def _words(self) -> str:
        model = self.model
        return (
            f"{model.health.text}. {plural(len(model.brokers), 'broker')}, {plural(len(model.controllers), 'controller')}, "
            f"{plural(len(model.topics), 'topic')}, {plural(model.partition_count, 'partition')}."
        )

    def _refresh_slowly(self) -> None:
        if self._picture is None:
            return
        if self._stale_wires:
            self._take_rates()
        if self._stale_offsets or self._stale_clients or self._stale_lines:
            self.update()

    def _take_rates(self) -> None:
        """Rates move dots at once; a line is drawn anew when its width changed."""
        before = self._wires
        self._take_wires()
        self._stale_wires = False
        if [_line_look(wire) for wire in before] == [_line_look(wire) for wire in self._wires]:
            return
        if len({card.rect.top() for card in self._layout.cards}) > 1:
            # Lines run behind and between cards in two rows.
            self.invalidate()
        else:
            self._stale_lines = True

    def _take_wires(self) -> None:
        """Lay the lines anew. Dots go on where they were on those that stay."""
        known = {(wire.kind, wire.course): wire for wire in self._wires}
        self._wires = self._lay_wires()
        layout = self._layout
        rects = [*(card.rect for card in layout.cards), *(place.rect for place in layout.clients), layout.more_rect]
        covers = [(rect.left(), rect.top(), rect.right(), rect.bottom()) for rect in rects if not rect.isEmpty()]
        for at, wire in enumerate(self._wires):
            before = known.get((wire.kind, wire.course))
            if before is not None and covers == self._covers:
                wire.phase, wire.points = before.phase, before.points
            else:
                wire.phase = (at * 29.0) % DOT_SPACING_PX
                wire.sample(covers)
        self._covers = covers

    # --- motion --------------------------------------------------------------------------------

    def _animate_if_needed(self) -> None:
        moves = self.isVisible() and not self.reduce_motion and (any(wire.moves for wire in self._wires) or self._has_votes())
        if moves and not self._timer.isActive():
            self._moved_at = perf_counter()
            self._timer.start()
        elif not moves and self._timer.isActive():
            self._timer.stop()
            self.update()

    def _has_votes(self) -> bool:
        votes = self.model.quorum.votes
        return bool(votes) and self.model.now_ms - votes[-1].at_ms < VOTE_SHOWN_MS

    def _move(self) -> None:
        self.frame_due.emit()
        now = perf_counter()
        span_s, self._moved_at = min(now - self._moved_at, 0.1), now
        for wire in self._wires:
            if wire.moves:
                wire.advance(span_s)
        layout = self._layout
        if self._has_votes():
            self.update()
        elif layout.cards:
            band = layout.links
            top = min(card.rect.top() for card in layout.cards) if self.model.peer_links else band.top()
            # Only the bands in which dots run are copied and drawn again.
            self.update(0, int(band.top()) - 4, self.width(), int(self._lines_end() - band.top()) + 8)
            if top < band.top():
                for left, right in self._gaps():
                    self.update(int(left), int(top), int(right - left) + 1, int(band.top() - top))

    def _gaps(self) -> list[tuple[float, float]]:
        cards = sorted({(card.rect.left(), card.rect.right()) for card in self._layout.cards})
        return [(one[1], other[0]) for one, other in pairwise(cards) if other[0] > one[1]]

    def showEvent(self, event: QShowEvent) -> None:
        """Go on."""
        super().showEvent(event)
        self._animate_if_needed()

    def hideEvent(self, event: QHideEvent) -> None:
        """Nothing moves that nobody sees."""
        self._timer.stop()
        self._slow.stop()
        super().hideEvent(event)

    def set_reduce_motion(self, reduce: bool) -> None:
        """Dots become arrowheads."""
        super().set_reduce_motion(reduce)
        self._animate_if_needed()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint and say how long it took."""
        begun = perf_counter()
        super().paintEvent(event)
        self._animate_if_needed()
        self.painted.emit((perf_counter() - begun) * 1000)

    # --- the picture ---------------------------------------------------------------------------

    def draw_picture(self, painter: QPainter, ratio: float) -> None:
        """Everything that stands still."""
        model, theme = self.model, self.theme
        painter.fillRect(self.rect(), colour(theme.bg))
        if self._chips is None or self._chips.ratio != ratio or self._chips.theme is not theme:
            self._chips = ChipPainter(theme, ratio)
        self._layout = lay_out(model, self.width(), self.height())
        self.regions.clear()
        self._chip_places.clear()
        self._stale_clients.clear()
        self._stale_offsets = self._stale_wires = self._stale_lines = False
        self._take_wires()
        if not model.nodes:
            self._draw_empty(painter)
            return
        self._draw_quorum_lines(painter)
        for wire in self._wires:
            draw_wire(painter, wire, theme)
        for hexagon_place in self._layout.hexes:
            self._draw_hexagon(painter, hexagon_place)
            self._note_hexagon(hexagon_place)
        for card in self._layout.cards:
            self._draw_card(painter, card)
            self._note_card(card)
        for place in self._layout.clients:
            self._draw_client(painter, place)
            self._note_client(place)
        self._draw_more_clients(painter)
        if not self._layout.clients:
            self._draw_no_clients(painter)
        self._draw_faults(painter)
        self._draw_notice(painter)

    def refresh_picture(self, picture: QPixmap) -> None:
        """Draw anew what changes all the time: widths of lines, lag on client cards, watermarks, lags of replicas behind."""
        if not (self._stale_clients or self._stale_offsets or self._stale_lines):
            return
        clients, offsets, lines = self._stale_clients, self._stale_offsets, self._stale_lines
        self._stale_clients, self._stale_offsets, self._stale_lines = set(), False, False
        with QPainter(picture) as painter:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            if lines:
                self._redraw_lines(painter)
            for place in self._layout.clients:
                if place.client.key in clients:
                    self._draw_client(painter, place)
            if offsets:
                for hexagon_place in self._layout.hexes:
                    self._draw_hexagon(painter, hexagon_place)
                behind = {
                    replica.node_id
                    for tp in self.model.under_replicated
                    if (partition := self.model.partition(*tp)) is not None
                    for replica in partition.replicas.values()
                    if replica.role is ReplicaRole.BEHIND
                }
                for card in self._layout.cards:
                    if card.node.node_id in behind:
                        self._draw_card(painter, card)
            # They run over what was drawn anew.
            draw_fault_lines(painter, self._fault_lines, self.theme)

    def _redraw_lines(self, painter: QPainter) -> None:
        """Only where lines are seen: between the cards of brokers, and from there down to the clients."""
        painter.save()
        painter.setClipRegion(self._line_zone())
        painter.fillRect(self.rect(), colour(self.theme.bg))
        for wire in self._wires:
            draw_wire(painter, wire, self.theme)
        painter.restore()

    def _lines_end(self) -> float:
        """Where the lowest line ends: at the top of the last row of clients."""
        return max((place.rect.top() for place in self._layout.clients), default=self._layout.links.bottom())

    def _line_zone(self) -> QRegion:
        layout = self._layout
        band = layout.links
        zone = QRegion(0, int(band.top()), self.width(), int(self._lines_end() - band.top()))
        for place in layout.clients:
            zone -= QRegion(place.rect.toAlignedRect())
        if not layout.more_rect.isEmpty():
            zone -= QRegion(layout.more_rect.toAlignedRect())
        if self.model.peer_links:
            top = min((card.rect.top() for card in self._layout.cards), default=band.top())
            for left, right in self._gaps():
                zone += QRegion(int(left) + 1, int(top), max(int(right) - int(left) - 1, 0), max(int(band.top() - top), 0))
        return zone

    def _draw_empty(self, painter: QPainter) -> None:
        middle = QRectF(0, self.height() / 2 - 40, self.width(), 24)
        draw_text(
            painter, middle, "Brokers, controllers and clients appear here as soon as they start.", ui_font(), self.theme.muted, CENTRE
        )

    # --- controllers ---------------------------------------------------------------------------

    def _draw_quorum_lines(self, painter: QPainter) -> None:
        layout, theme = self._layout, self.theme
        painter.setPen(pen(theme.line, tokens.STROKE_CARD))
        for one, other in pairwise(layout.hexes):
            reach = one.radius * 0.87 + 7
            painter.drawLine(one.centre + QPointF(reach, 0), other.centre - QPointF(reach, 0))
        leader = next((place for place in layout.hexes if place.node.node_id == self.model.quorum.leader_id), None)
        reached = [card for card in layout.cards if not card.node.is_down]
        if leader is None or not reached or layout.cards[0].rect.top() - layout.bus_y < 6:
            return
        top = leader.centre.y() + leader.radius + 22
        if top >= layout.bus_y - 4:
            top = layout.bus_y - 4
        first_row = [card for card in reached if card.rect.top() == layout.cards[0].rect.top()]
        painter.setPen(pen(theme.line, tokens.STROKE_HAIRLINE))
        xs = [card.rect.center().x() for card in first_row]
        if not xs:
            return
        x = leader.centre.x()
        painter.drawLine(QPointF(x, top), QPointF(x, layout.bus_y))
        painter.drawLine(QPointF(min([*xs, x]), layout.bus_y), QPointF(max([*xs, x]), layout.bus_y))
        for card_x in xs:
            painter.drawLine(QPointF(card_x, layout.bus_y), QPointF(card_x, layout.cards[0].rect.top() - 1))

    def _draw_hexagon(self, painter: QPainter, place: HexPlace) -> None:
        model, theme, node = self.model, self.theme, place.node
        member = model.quorum.members.get(node.node_id)
        active = node.node_id == model.quorum.leader_id
        centre, radius = place.centre, place.radius
        down = node.is_down
        painter.setBrush(colour(theme.bg if down else theme.raised))
        if active:
            stroke = pen(theme.accent, tokens.STROKE_RING)
        elif down:
            stroke = pen(theme.error, tokens.STROKE_CARD, (4.0, 3.0))
        elif node.state is NodeState.PAUSED:
            stroke = pen(theme.warn, tokens.STROKE_CARD)
        else:
            stroke = pen(theme.line, tokens.STROKE_CARD)
        painter.setPen(stroke)
        painter.drawPolygon(hexagon(centre, radius))
        number = ui_font(tokens.FONT_NAME_PX, semibold=True)
        offset = 0.0 if member is None else -4.5
        draw_text(
            painter,
            line_rect(centre.x() - 30, centre.y() + offset, 60),
            str(node.node_id),
            number,
            theme.muted if down else theme.text,
            CENTRE,
        )
        if member is not None:
            words = f"hw {format_offset(member.high_watermark)}"
            size = 9 if len(words) <= 8 and radius > 30 else 8
            if text_width(words, mono_font(size)) > 1.6 * radius:
                # The number alone stays within the sides; the tooltip says what it is.
                words = words.removeprefix("hw ")
            draw_text(
                painter, line_rect(centre.x() - 32, centre.y() + 11, 64, 14), words, mono_font(size), theme.muted, CENTRE, elide=False
            )
        below = QRectF(centre.x() - 95, centre.y() + radius + 2, 190, 20)
        painter.fillRect(below, colour(theme.bg))
        if down or node.state is NodeState.PAUSED or member is None:
            sign = NODE_SIGNS[node.state]
            draw_text(painter, below, f"{sign.glyph} {sign.word}", ui_font(tokens.FONT_SECONDARY_PX), theme.tone(sign.tone), CENTRE)
        else:
            words, tone = (f"leader ♛ epoch {model.quorum.epoch}", Tone.ACCENT) if active else _role_words(model, member)
            if node.clock_offset_s:
                words, tone = f"{words} · ▲ clock", Tone.WARN
            # Beside the stage's edge the words stand a little aside of their controller rather than be cut off.
            half = text_width(words, ui_font(tokens.FONT_SECONDARY_PX)) / 2 + 4
            below.moveCenter(QPointF(min(max(centre.x(), half), max(self.width() - half, half)), below.center().y()))
            draw_text(painter, below, words, ui_font(tokens.FONT_SECONDARY_PX), theme.tone(tone), CENTRE)

    def _note_hexagon(self, place: HexPlace) -> None:
        reach = QPointF(place.radius, place.radius)
        node = place.node
        self.regions.add(
            Region(
                QRectF(place.centre - reach, place.centre + reach + QPointF(0, 18)),
                node.link,
                Shape.HEXAGON,
                f"{node.name}, {NODE_SIGNS[node.state].word}",
                lambda: self._controller_tip(node.node_id),
            )
        )

    def _controller_tip(self, node_id: int) -> str:
        node, member = self.model.nodes.get(node_id), self.model.quorum.members.get(node_id)
        if node is None:
            return ""
        lines = [f"controller {node_id} · {NODE_SIGNS[node.state].word}", node.address]
        if member is not None:
            lines.append(f"{member.state} in epoch {member.epoch}")
            lag = self.model.quorum.lag_of(node_id)
            behind = f", {format_count(lag)} behind" if lag else ""
            lines.append(f"log end {format_offset(member.log_end_offset)}{behind} · high watermark {format_offset(member.high_watermark)}")
            if member.snapshot_end_offset >= 0:
                lines.append(f"newest snapshot ends at {format_offset(member.snapshot_end_offset)}, epoch {member.snapshot_epoch}")
            if member.cause:
                lines.append(f"because {member.cause}")
        lines += _fault_tips(self.model, node_id)
        return "\n".join(line for line in lines if line)

    # --- brokers -------------------------------------------------------------------------------

    def _draw_card(self, painter: QPainter, card: CardPlace) -> None:
        theme, node, rect = self.theme, card.node, card.rect
        gone = node.is_down
        if gone:
            tone = theme.error if node.state is not NodeState.STOPPED else theme.off
            stroke = pen(tone, tokens.STROKE_CARD, (4.0, 3.0))
        elif node.state in (NodeState.PAUSED, NodeState.FENCED, NodeState.STOPPING):
            stroke = pen(theme.warn, tokens.STROKE_CARD)
        else:
            stroke = pen(theme.line, tokens.STROKE_CARD)
        painter.fillRect(rect, colour(theme.bg))
        # A card that is gone shows the stage through.
        rounded(painter, rect, tokens.RADIUS_CARD, theme.bg if gone and theme.is_dark else theme.raised if gone else theme.panel, stroke)

        left, right = rect.left() + CARD_PADDING, rect.right() - CARD_PADDING
        inner = right - left
        sign = NODE_SIGNS[node.state]
        state = f"{sign.glyph} {sign.word}"
        small = ui_font(tokens.FONT_SECONDARY_PX)
        figures = mono_font(tokens.FONT_SECONDARY_PX)
        state_width = text_width(state, small) + 2
        name = "Node" if node.is_controller else "Broker"
        name_font = ui_font(tokens.FONT_NAME_PX, semibold=True)
        draw_text(
            painter,
            line_rect(left, rect.top() + 19, inner - state_width - 6),
            f"{name} {node.node_id}",
            name_font,
            theme.muted if gone else theme.text,
        )
        draw_text(
            painter,
            line_rect(right - state_width, rect.top() + 19, state_width),
            state,
            ui_font(),
            theme.tone(sign.tone),
            RIGHT,
            elide=False,
        )
        if node.fenced and node.fenced_at_ms >= 0:
            second = f"fenced {format_clock(node.fenced_at_ms)}"
        elif gone or node.state is NodeState.PAUSED:
            second = "not fenced yet"
        elif node.hosts:
            second = f"leads {format_count(node.leads)} of {format_count(node.hosts)}"
        else:
            second = "no replicas yet"
        second_font = small
        second_tone = theme.muted
        if node.clock_offset_s and not gone:
            # What its records and leases are stamped with is worth more room than what it leads.
            second, second_tone = f"▲ clock {describe_offset(node.clock_offset_s)}", theme.warn
        second_width = min(text_width(second, second_font) + 2, inner)
        draw_text(painter, line_rect(right - second_width, rect.top() + 37.5, second_width), second, second_font, second_tone, RIGHT)
        room = inner - second_width - 8
        address = node.address
        if text_width(address, figures) > room:
            address = ":" + address.rpartition(":")[2]
        if address and text_width(address, figures) <= room:
            draw_text(painter, line_rect(left, rect.top() + 37.5, room), address, figures, theme.muted)
        for row in card.rows:
            self._draw_row(painter, card, row)
        if card.hidden_topics:
            words = f"and {plural(card.hidden_topics, 'more topic')}"
            draw_text(painter, line_rect(left, rect.bottom() - 14, inner, 16), words, ui_font(tokens.FONT_SECONDARY_PX), theme.muted)

    def _draw_row(self, painter: QPainter, card: CardPlace, row: RowPlace) -> None:
        theme, node_id = self.theme, card.node.node_id
        left = card.rect.left() + CARD_PADDING
        assert self._chips is not None
        label_font = ui_font(tokens.FONT_SECONDARY_PX)
        if row.mode is RowMode.COUNTS:
            counts = _counts(row.partitions, node_id)
            words = " ".join(f"{REPLICA_SIGNS[role].glyph} {format_count(count)}" for role, count in counts.items() if count)
            font = mono_font(tokens.FONT_SECONDARY_PX)
            width = text_width(words, font) + 2
            right = card.rect.right() - CARD_PADDING
            draw_text(painter, QRectF(right - width, row.top, width, row.height), words, font, theme.muted, RIGHT, elide=False)
            name_width = right - width - left - 8
            if row.topic.colour >= 0:
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(colour(topic_colour(row.topic.colour, theme)))
                painter.drawRoundedRect(QRectF(left, row.top + row.height / 2 - 4, 8, 8), 2, 2)
                draw_text(painter, QRectF(left + 14, row.top, name_width - 14, row.height), row.topic.name, label_font, theme.muted)
            else:
                draw_text(painter, QRectF(left, row.top, name_width, row.height), row.topic.name, label_font, theme.muted)
            return
        first_height = row.chips[0][1].height() if row.chips and row.mode is not RowMode.SQUARES else row.height
        if row.mode is not RowMode.CHIPS:
            left -= 4
        draw_text(
            painter,
            QRectF(left, row.top, row.chips[0][1].left() - left - 4 if row.chips else CARD_LABEL, first_height),
            row.topic.name,
            label_font,
            theme.muted,
        )
        if row.mode is RowMode.SQUARES:
            groups: dict[tuple[ReplicaRole, int], list[QRectF]] = {}
            for partition, rect in row.chips:
                groups.setdefault((partition.replicas[node_id].role, row.topic.colour), []).append(rect)
            self._chips.squares(painter, groups)
            return
        for partition, rect in row.chips:
            replica = partition.replicas[node_id]
            pixmap = self._chips.chip(
                replica.role, row.topic.colour, partition.partition, rect.width(), rect.height(), partition.tag_of(node_id)
            )
            painter.drawPixmap(rect.topLeft(), pixmap)
            if replica.role is ReplicaRole.BEHIND and replica.lag > 0:
                end = max(partition.log_end_offset - partition.log_start_offset, 1)
                # The root makes a small lag visible beside a large one.
                share = min((replica.lag / end) ** 0.5, 1.0)
                bar = QRectF(rect.left() + 4, rect.bottom() - 4.5, max((rect.width() - 8) * share, 2.0), 2.0)
                painter.fillRect(bar, colour(theme.warn))

    def _note_card(self, card: CardPlace) -> None:
        node = card.node
        state = NODE_SIGNS[node.state].word
        self.regions.add(
            Region(
                card.rect,
                node.link,
                Shape.CARD,
                f"{node.name}, {state}, leads {node.leads} of {node.hosts}",
                lambda: self._broker_tip(node.node_id),
            )
        )
        for row in card.rows:
            if row.mode is RowMode.COUNTS:
                rect = QRectF(card.rect.left() + 8, row.top, card.rect.width() - 16, row.height)
                topic = row.topic
                self.regions.add(
                    Region(
                        rect,
                        topic.link,
                        Shape.TEXT,
                        f"topic {topic.name}",
                        partial(_topic_tip, topic),
                    )
                )
                continue
            for partition, rect in row.chips:
                key = (partition.topic, partition.partition)
                radius = float(tokens.RADIUS_CHIP) if row.mode is not RowMode.SQUARES else 1.0
                self._chip_places.setdefault(key, []).append((rect, radius))
                role = REPLICA_SIGNS[partition.replicas[node.node_id].role].word
                self.regions.add(
                    Region(
                        rect,
                        Link.replica(partition.topic, partition.partition, node.node_id),
                        Shape.CHIP,
                        f"{partition.topic}-{partition.partition} on {node.name}, {role}",
                        partial(partition_tip, partition),
                    )
                )

    def _broker_tip(self, node_id: int) -> str:
        node = self.model.nodes.get(node_id)
        if node is None:
            return ""
        lines = [
            f"{node.name} · {NODE_SIGNS[node.state].word}" + (f" · {node.cause}" if node.cause else ""),
            node.address,
            f"leads {format_count(node.leads)}, in sync in {format_count(node.in_sync)} of {plural(node.hosts, 'replica')}",
            f"in {format_byte_rate(node.produced.rate)} · out {format_byte_rate(node.fetched.rate)}",
            *_fault_tips(self.model, node_id),
        ]
        return "\n".join(line for line in lines if line)

    # --- clients -------------------------------------------------------------------------------

    def _draw_client(self, painter: QPainter, place: ClientPlace) -> None:
        theme, rect, client = self.theme, place.rect, place.client
        rounded(painter, rect, tokens.RADIUS_CARD, theme.panel, pen(theme.line, tokens.STROKE_CARD))
        glyph = {"producer": "▸ ", "group": "◂ ", "consumer": "◂ "}.get(client.kind, "")
        inner = rect.width() - 2 * CARD_PADDING
        title = ui_font(tokens.FONT_UI_PX, semibold=True)
        tone = theme.text if client.connections else theme.muted
        draw_text(painter, line_rect(rect.left() + CARD_PADDING, rect.top() + 18, inner), f"{glyph}{client.title}", title, tone)
        subtitle = (client.subtitle or client.software or "connected") if client.connections else "✕ not connected"
        font = ui_font(tokens.FONT_SECONDARY_PX)
        # Whole facts rather than a cut one; the tool tip has them all.
        while text_width(subtitle, font) > inner and _FACT_SEPARATOR in subtitle:
            subtitle = subtitle.rpartition(_FACT_SEPARATOR)[0]
        draw_text(painter, line_rect(rect.left() + CARD_PADDING, rect.top() + 38, inner), subtitle, font, theme.muted)

    def _note_client(self, place: ClientPlace) -> None:
        client = place.client
        self.regions.add(Region(place.rect, client.link, Shape.CARD, f"{client.kind} {client.title}", lambda: self._client_tip(client.key)))

    def _client_tip(self, key: str) -> str:
        client = self.model.clients.get(key)
        if client is None:
            return ""
        ids = sorted(client.client_ids)
        lines = [
            client.title,
            client.subtitle,
            client.software,
            f"{plural(len(client.connections), 'connection')} · client id {', '.join(ids[:4])}{' …' if len(ids) > 4 else ''}",
            f"produces {format_byte_rate(client.produce_rate)} · fetches {format_byte_rate(client.fetch_rate)}",
            f"last error: {client.last_error}" if client.last_error else "",
        ]
        return "\n".join(dict.fromkeys(line for line in lines if line))

    def _draw_more_clients(self, painter: QPainter) -> None:
        layout = self._layout
        if not layout.more_clients:
            return
        rounded(painter, layout.more_rect, tokens.RADIUS_CARD, None, pen(self.theme.line, tokens.STROKE_CARD, (4.0, 3.0)))
        words = f"and {plural(layout.more_clients, 'more client')}"
        draw_text(painter, layout.more_rect, words, ui_font(), self.theme.muted, CENTRE)

    def _draw_no_clients(self, painter: QPainter) -> None:
        layout, theme = self._layout, self.theme
        if not self.model.brokers or layout.client_zone.height() < 40:
            return
        zone = layout.client_zone
        sentence = QRectF(zone.left(), zone.top() + 4, zone.width(), 20)
        draw_text(painter, sentence, "Clients appear here with their lines when they connect.", ui_font(), theme.muted, CENTRE)
        action = NoticeAction("Start sample traffic", "start_workload", Link.cluster())
        width = text_width(action.label, ui_font()) + 28
        button = QRectF(round(zone.center().x() - width / 2), sentence.bottom() + 6, round(width), tokens.BUTTON_HEIGHT)
        rounded(painter, button, tokens.RADIUS_FIELD, theme.raised, pen(theme.line))
        draw_text(painter, button, action.label, ui_font(), theme.text, CENTRE)
        self.regions.add(Region(button, action.link, Shape.TEXT, action.label, action=action))

    # --- faults --------------------------------------------------------------------------------

    def _draw_faults(self, painter: QPainter) -> None:
        self._fault_lines = lay_fault_lines(self._layout, self.model.faults)
        draw_fault_lines(painter, self._fault_lines, self.theme)
        for line in self._fault_lines:
            link = line.trouble.link
            name = f"{self.model.name_of(link)}: {line.trouble.words(self.model.node_name)}"
            self.regions.add(Region(line.box.adjusted(-2, -3, 2, 3), link, Shape.TEXT, name, partial(str, name)))

    # --- lines ---------------------------------------------------------------------------------

    def _lay_wires(self) -> list[Wire]:
        wires = self._peer_wires()
        cards = {card.node.node_id: card for card in self._layout.cards}
        ends: dict[int, list[tuple[float, str, str]]] = {}
        lines: list[tuple[ClientPlace, int, str, float]] = []
        for place in self._layout.clients:
            for node_id in sorted(place.client.links):
                link = place.client.links[node_id]
                if node_id not in cards:
                    continue
                if link.broken or self.model.faults.is_cut(node_id, CLIENTS):
                    lines.append((place, node_id, "broken", 0.0))
                    continue
                if not link.connections:
                    # It was closed in order, and the card says so for a while: no line is where no connection is.
                    continue
                flows = [("produce", link.produce_rate), ("fetch", link.fetch_rate)]
                moving = [(kind, rate) for kind, rate in flows if rate > 0]
                if not moving:
                    # A live connection keeps its kind's colour, for pauses should not make lines flicker.
                    kind = (
                        "produce" if place.client.kind == "producer" else "fetch" if place.client.kind in ("group", "consumer") else "idle"
                    )
                    moving = [(kind if place.client.kind != "client" else "idle", 0.0)]
                lines.extend((place, node_id, kind, rate) for kind, rate in moving)
        for place, node_id, kind, _rate in lines:
            ends.setdefault(node_id, []).append((place.rect.center().x(), place.client.key, kind))
        for slots in ends.values():
            slots.sort()
        by_client: dict[str, list[tuple[int, str]]] = {}
        for place, node_id, kind, _rate in lines:
            by_client.setdefault(place.client.key, []).append((node_id, kind))
        for place, node_id, kind, rate in lines:
            card = cards[node_id]
            slots = ends[node_id]
            at = slots.index((place.rect.center().x(), place.client.key, kind))
            bottom = (card.rect.center().x() + (at - (len(slots) - 1) / 2) * 7.0, card.rect.bottom() + 1)
            arrivals = by_client[place.client.key]
            spread = min(26.0, place.rect.width() * 0.5 / max(len(arrivals), 1))
            arrival = arrivals.index((node_id, kind))
            end = (place.rect.center().x() + (arrival - (len(arrivals) - 1) / 2) * spread, place.rect.top() - 1)
            path = curve(end, bottom) if kind == "produce" else curve(bottom, end)
            wires.append(Wire(kind, path, rate))
        return wires

    def _peer_wires(self) -> list[Wire]:
        """Replication runs behind the cards, so that it shows in the gaps between them."""
        cards = {card.node.node_id: card for card in self._layout.cards}
        wires: list[Wire] = []
        pairs = sorted(pair for pair in self.model.peer_links if pair[0] in cards and pair[1] in cards)
        count = max(len(pairs), 1)
        for at, (leader_id, follower_id) in enumerate(pairs):
            one, other = cards[leader_id].rect, cards[follower_id].rect
            if one.top() != other.top():
                continue
            share = (at + 1) / (count + 1)
            y = one.top() + 24 + (one.height() - 48) * share
            start, end = (one.right(), other.left()) if one.left() < other.left() else (one.left(), other.right())
            rate = self.model.peer_links[leader_id, follower_id].rate
            wires.append(Wire("peer", straight((start, y), (end, y)), rate if rate >= EMPTY_FETCHES_MAX else 0.0))
        return wires

    # --- notice --------------------------------------------------------------------------------

    def _draw_notice(self, painter: QPainter) -> None:
        notice, theme = self.model.notice, self.theme
        if notice is None:
            return
        font = ui_font()
        separator = " · "
        links_width = sum(text_width(action.label, font) for action in notice.actions) + text_width(separator, font) * max(
            len(notice.actions) - 1, 0
        )
        width = min(max(text_width(notice.text, font), links_width, 380.0) + 34, self.width() - 24)
        zone = self._layout.notice
        lines = [line for line in two_lines(notice.text, font, round(width) - 32) if line]
        height = zone.height() + (len(lines) - 1) * NOTICE_LINE
        top = min(zone.top(), self.height() - NOTICE_FOOT - height)
        box = QRectF(round((self.width() - width) / 2), round(top), round(width), height)
        rounded(painter, box, tokens.RADIUS_CARD, theme.raised, pen(theme.line))
        y = box.top() + 14
        for line in lines:
            draw_text(painter, line_rect(box.left() + 16, y, box.width() - 32), line, font, theme.text)
            y += NOTICE_LINE
        x = box.left() + 16
        for at, action in enumerate(notice.actions):
            if at:
                draw_text(painter, line_rect(x, y, 20), separator, font, theme.muted, elide=False)
                x += text_width(separator, font)
            label_width = text_width(action.label, font)
            rect = line_rect(x, y, label_width + 1, 18)
            draw_text(painter, rect, action.label, font, theme.accent, elide=False)
            self.regions.add(Region(rect, action.link, Shape.TEXT, action.label, action=action))
            x += label_width

    # --- what moves ----------------------------------------------------------------------------

    def draw_overlay(self, painter: QPainter) -> None:
        """Dots, rings, votes."""
        theme = self.theme
        if self.reduce_motion:
            draw_arrows(painter, self._wires, theme)
        else:
            draw_dots(painter, self._wires, theme)
        if self.selection is not None:
            self._draw_ring(painter, self.selection, theme)
        if self._hover is not None and self._hover.link != self.selection:
            if self._hover.action is not None:
                rect = self._hover.rect
                painter.setPen(pen(theme.accent))
                painter.drawLine(QPointF(rect.left(), rect.bottom() - 2), QPointF(rect.right(), rect.bottom() - 2))
            elif self._hover.shape is Shape.CHIP:
                self._draw_ring(painter, self._hover.link, theme)
        if self._focus is not None and self._focus.action is not None and self.hasFocus():
            ring(painter, self._focus.rect.adjusted(0, 2, 0, -2), tokens.RADIUS_FIELD, theme)
        self._draw_votes(painter)

    def _draw_ring(self, painter: QPainter, link: Link, theme: Theme) -> None:
        if link.kind in (LinkKind.PARTITION, LinkKind.REPLICA):
            for rect, radius in self._chip_places.get((link.name, link.partition), ()):
                ring(painter, rect, radius, theme)
            return
        region = self.regions.of(link)
        if region is None:
            return
        if region.shape is Shape.HEXAGON:
            place = next((place for place in self._layout.hexes if place.node.node_id == link.node_id), None)
            if place is not None:
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.setPen(pen(theme.accent, tokens.STROKE_RING))
                painter.drawPolygon(hexagon(place.centre, place.radius + 5))
            return
        ring(painter, region.rect, tokens.RADIUS_CARD if region.shape is Shape.CARD else tokens.RADIUS_FIELD, theme)

    def _draw_votes(self, painter: QPainter) -> None:
        if not self._has_votes():
            return
        theme, now = self.theme, self.model.now_ms
        # Where a vote follows a pre-vote the same way, it takes its place.
        latest = {(vote.voter_id, vote.candidate_id): vote for vote in self.model.quorum.votes}
        for vote in latest.values():
            age = now - vote.at_ms
            course = vote_course(self._layout, vote.voter_id, vote.candidate_id) if 0 <= age < VOTE_SHOWN_MS else None
            if course is None:
                continue
            share = 1.0 if self.reduce_motion else min(age / VOTE_FLIGHT_MS, 1.0)
            eased = 1 - (1 - share) ** 2
            tail = max(eased - 0.25, 0.0)
            tone = theme.accent if vote.granted else theme.error
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(pen(tone, tokens.STROKE_RING, (3.0, 3.0) if vote.pre_vote else ()))
            painter.drawPolyline([QPointF(*course.at(tail + (eased - tail) * piece / 6)) for piece in range(7)])
            words = f"{'✓' if vote.granted else '✕'} {vote.epoch}"
            # Beside the middle of the line: at its tip the candidate would cover them.
            x, y = course.at((tail + eased) / 2)
            draw_text(painter, line_rect(x - 20, max(y - 10, 8), 40, 14), words, mono_font(10), tone, CENTRE, elide=False)

    # --- facts ---------------------------------------------------------------------------------

    def facts(self) -> tuple[list[str], list[list[str]]]:
        """Nodes, replicas and clients as a table."""
        rows: list[list[str]] = []
        for node in [*self.model.controllers, *self.model.brokers]:
            rows.append(
                [
                    node.name,
                    NODE_SIGNS[node.state].word,
                    node.address,
                    f"leads {node.leads} of {node.hosts}" if node.is_broker else _member_words(self.model, node.node_id),
                ]
            )
        for topic in self.model.sorted_topics:
            for partition in topic.sorted_partitions:
                for node_id, replica in partition.replicas.items():
                    rows.append(
                        [
                            f"{topic.name}-{partition.partition} on broker {node_id}",
                            REPLICA_SIGNS[replica.role].word,
                            f"log end {format_offset(replica.log_end_offset)}",
                            f"behind by {format_count(replica.lag)}",
                        ]
                    )
        for one in self.model.faults.links:
            rows.append([self.model.name_of(one.link), "cut" if one.is_cut else "impaired", one.words(self.model.node_name), ""])
        for client in self.model.clients.values():
            nodes = ", ".join(f"broker {node_id}{' (broken)' if link.broken else ''}" for node_id, link in sorted(client.links.items()))
            rows.append([client.title, client.kind, client.subtitle, nodes])
        return ["thing", "state", "where", "more"], rows


def _role_words(model: ClusterModel, member: QuorumMember) -> tuple[str, Tone]:
    """A controller that does not lead: what it believes, where that is not what is so, and how far it is behind."""
    if member.epoch < model.quorum.epoch:
        return f"▲ {member.state} in epoch {member.epoch}", Tone.WARN
    if model.quorum.leader_id < 0:
        return f"{member.state}, epoch {member.epoch}", Tone.WARN
    lag = model.quorum.lag_of(member.node_id)
    return (f"{member.state}, {format_count(lag)} behind", Tone.WARN) if lag > LAG_SHOWN_MIN else (member.state, Tone.MUTED)


def _line_look(wire: Wire) -> tuple[object, ...]:
    """What a line's drawing depends on."""
    return wire.kind, wire.course, wire_width(wire.rate), wire.rate > 0


def _member_words(model: ClusterModel, node_id: int) -> str:
    member = model.quorum.members.get(node_id)
    return "" if member is None else f"{member.state}, epoch {member.epoch}, high watermark {format_offset(member.high_watermark)}"


def _fault_tips(model: ClusterModel, node_id: int) -> list[str]:
    """What is wrong on purpose with a node's links and clock."""
    tips = [f"link to {party_name(one.other(node_id), model.node_name)}: {one.words(model.node_name)}" for one in model.faults.of(node_id)]
    offset_s = model.nodes[node_id].clock_offset_s
    return [*tips, f"its clock is {describe_offset(offset_s)}"] if offset_s else tips


def _topic_tip(topic: Topic) -> str:
    return f"{topic.name} · {plural(len(topic.partitions), 'partition')}"


def _counts(partitions: list[Partition], node_id: int) -> dict[ReplicaRole, int]:
    counts = dict.fromkeys((ReplicaRole.LEADER, ReplicaRole.IN_SYNC, ReplicaRole.BEHIND, ReplicaRole.OFFLINE), 0)
    for partition in partitions:
        counts[partition.replicas[node_id].role] += 1
    return counts


def partition_tip(partition: Partition) -> str:
    """A partition and each of its replicas in a few lines."""
    leader = f"leader {partition.serving_leader}" if not partition.is_leaderless else "no leader"
    lines = [f"{partition.topic}-{partition.partition} · {leader} · epoch {partition.leader_epoch}"]
    if partition.election is not None:
        election = partition.election
        lines.append(" · ".join(filter(None, (election.sign.words, election.cause, election.loss_words))))
    for words, ids in (("eligible to lead (ELR)", partition.elr), ("adding", partition.adding), ("removing", partition.removing)):
        if ids:
            lines.append(f"{words}: {', '.join(map(str, ids))}")
    for node_id, replica in partition.replicas.items():
        sign = REPLICA_SIGNS[replica.role]
        parts = [
            f"{sign.glyph} broker {node_id} {sign.word}",
            f"LEO {format_offset(replica.log_end_offset)}",
            f"high watermark {format_offset(replica.high_watermark)}",
            f"lag {format_count(replica.lag)}",
            format_bytes(replica.size_bytes),
        ]
        lines.append(" · ".join(parts))
    return "\n".join(lines)
