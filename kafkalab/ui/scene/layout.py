"""Where everything on the cluster stage stands: plain geometry from the model and the size at hand.

What fits is shown in full; where it gets tight, gaps shrink first, then chips become small, then
squares, then counts, so that a card never grows past its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from math import ceil
from typing import Final

from PySide6.QtCore import QPointF, QRectF

from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.things import Client, Node, Partition, Topic

CARD_WIDTH: Final = 262.0
CARD_WIDTH_MIN: Final = 168.0
CARD_GAP: Final = 36.0
CARD_GAP_MIDDLE: Final = 22.0
CARD_GAP_MIN: Final = 14.0
CARD_PADDING: Final = 14.0
CARD_HEAD: Final = 59.0
CARD_FOOT: Final = 20.0
CARD_LABEL: Final = 70.0
CHIP: Final = (52.0, 26.0)
CHIP_GAP: Final = 6.0
CARD_HEAD_TIGHT: Final = 50.0
CARD_LABEL_TIGHT: Final = 70.0
CARD_PADDING_TIGHT: Final = 8.0
SMALL_CHIP: Final = (24.0, 18.0)
SMALL_CHIP_GAP: Final = 2.0
SQUARE: Final = 8.0
SQUARE_GAP: Final = 3.0
COUNTS_HEIGHT: Final = 16.0
ROW_GAP: Final = 18.0
ROW_GAP_TIGHT: Final = 8.0
ROW_GAP_TIGHTEST: Final = 5.0
HEX_RADIUS: Final = 34.5
HEX_RADIUS_SMALL: Final = 24.0
HEX_SPACING: Final = 245.0
HEAD_HEIGHT: Final = 141.0
HEAD_HEIGHT_SMALL: Final = 108.0
LINKS_HEIGHT: Final = 116.0
LINKS_HEIGHT_MIN: Final = 48.0
LINKS_HEIGHT_MAX: Final = 220.0
CLIENT: Final = (262.0, 56.0)
CLIENT_WIDTH_MAX: Final = 400.0
LETTERS_FIT: Final = 44
CLIENT_WIDTH_MIN: Final = 168.0
CLIENT_GAP_MIN: Final = 16.0
NOTICE_HEIGHT: Final = 44.0
NOTICE_LINE: Final = 17.0
"""What a second line of words adds."""
NOTICE_FOOT: Final = 6.0
FOOT_HEIGHT: Final = 96.0
FOOT_HEIGHT_MIN: Final = 54.0
MARGIN: Final = 16.0
OWN_CLIENT_IDS: Final = frozenset({"kafkalab-host"})
"""The window's own hand in the cluster is no client of it."""


class RowMode(IntEnum):
    """How a topic's replicas are drawn on a card, from roomy to dense."""

    CHIPS = 0
    SMALL = 1
    SQUARES = 2
    COUNTS = 3


@dataclass(slots=True)
class RowPlace:
    """One topic on one card."""

    topic: Topic
    mode: RowMode
    top: float
    height: float
    chips: list[tuple[Partition, QRectF]] = field(default_factory=list)
    partitions: list[Partition] = field(default_factory=list)


@dataclass(slots=True)
class CardPlace:
    """One broker."""

    node: Node
    rect: QRectF
    rows: list[RowPlace] = field(default_factory=list)
    hidden_topics: int = 0


@dataclass(slots=True)
class HexPlace:
    """One controller."""

    node: Node
    centre: QPointF
    radius: float


@dataclass(slots=True)
class ClientPlace:
    """One client or group."""

    client: Client
    rect: QRectF


@dataclass(slots=True)
class StageLayout:
    """All places."""

    size: tuple[float, float]
    hexes: list[HexPlace] = field(default_factory=list)
    cards: list[CardPlace] = field(default_factory=list)
    clients: list[ClientPlace] = field(default_factory=list)
    more_clients: int = 0
    more_rect: QRectF = field(default_factory=QRectF)
    bus_y: float = 0.0
    links: QRectF = field(default_factory=QRectF)  # between cards and clients
    client_zone: QRectF = field(default_factory=QRectF)
    notice: QRectF = field(default_factory=QRectF)
    label_width: float = CARD_LABEL


def shown_clients(model: ClusterModel) -> list[Client]:
    """The clients on the stage: producers, groups, then others, each by name."""
    order = {"producer": 0, "group": 1, "consumer": 2, "client": 3}
    clients = [client for client in model.clients.values() if not client.client_ids <= OWN_CLIENT_IDS]
    return sorted(clients, key=lambda client: (order.get(client.kind, 9), client.key))


def lay_out(model: ClusterModel, width: float, height: float) -> StageLayout:
    """Place everything on a stage of this size."""
    layout = StageLayout((width, height))
    clients = shown_clients(model)
    brokers, controllers = model.brokers, model.controllers
    topics = model.sorted_topics

    per_row, card_width, card_gap, chips_per_line = _card_columns(topics, len(brokers), width)
    rows = ceil(len(brokers) / per_row) if brokers else 0

    foot = FOOT_HEIGHT
    client_rows, client_width, clients_per_row = _client_rows(clients, width)
    clients_height = client_rows * CLIENT[1] + (client_rows - 1) * 12.0
    # Heights in the order in which they give way when the stage is low.
    head = HEAD_HEIGHT
    wanted_links = LINKS_HEIGHT
    natural = _card_height(topics, brokers, model, RowMode.CHIPS, ROW_GAP, chips_per_line, card_width)
    spare = height - head - clients_height - foot - wanted_links - rows * natural - max(rows - 1, 0) * CARD_GAP_MIN
    top = 0.0
    if spare >= 0:
        more_links = min(spare * 0.6, LINKS_HEIGHT_MAX - LINKS_HEIGHT)
        wanted_links += more_links
        top = (spare - more_links) / 2
    else:
        give = min(-spare, LINKS_HEIGHT - LINKS_HEIGHT_MIN)
        wanted_links -= give
        spare += give
        give = min(-spare, FOOT_HEIGHT - FOOT_HEIGHT_MIN)
        foot -= give
        spare += give
        if spare < 0:
            spare += HEAD_HEIGHT - HEAD_HEIGHT_SMALL
            head = HEAD_HEIGHT_SMALL
            if spare > 0:
                head, spare = head + spare, 0.0
    room = height - top - head - clients_height - foot - wanted_links - max(rows - 1, 0) * CARD_GAP_MIN
    card_room = max(room / max(rows, 1), CARD_HEAD)

    radius = HEX_RADIUS if head > HEAD_HEIGHT_SMALL + 20 else HEX_RADIUS_SMALL
    _place_hexes(layout, controllers, width, top + 20.0 + radius + (1.0 if radius == HEX_RADIUS else -1.0), radius)
    layout.bus_y = top + head - 12.0
    cards_bottom = _place_cards(layout, model, topics, brokers, per_row, card_width, card_gap, chips_per_line, top + head, card_room)
    if not brokers:
        cards_bottom = top + head
    clients_top = min(cards_bottom + wanted_links, height - foot - clients_height)
    layout.links = QRectF(0, cards_bottom, width, max(clients_top - cards_bottom, 0))
    _place_clients(layout, clients, width, clients_top, clients_per_row, client_width, client_rows)
    layout.client_zone = QRectF(0, clients_top, width, clients_height)
    notice_top = min(clients_top + clients_height + (foot - NOTICE_HEIGHT) * 0.54, height - NOTICE_HEIGHT - NOTICE_FOOT)
    layout.notice = QRectF(0, notice_top, width, NOTICE_HEIGHT)
    return layout


def _card_columns(topics: Sequence[Topic], brokers: int, width: float) -> tuple[int, float, float, int]:
    """Cards per row, their width and gap, and chips per line: as wide as the widest topic needs, if there is room."""
    count = max(brokers, 1)
    room = width - 2 * MARGIN
    widest = max((len(topic.partitions) for topic in topics if not topic.internal), default=3)
    for chips in range(min(max(widest, 3), 8), 2, -1):
        needed = CARD_LABEL + CARD_PADDING + chips * CHIP[0] + (chips - 1) * CHIP_GAP + 10.0
        if count * needed + (count - 1) * CARD_GAP_MIDDLE <= room:
            gap = min((room - count * needed) / max(count - 1, 1), CARD_GAP)
            return count, max(needed, CARD_WIDTH), gap, chips
    per_row = count
    while per_row > 1 and per_row * CARD_WIDTH_MIN + (per_row - 1) * CARD_GAP_MIN > room:
        per_row = ceil(count / (ceil(count / per_row) + 1))
    gap = CARD_GAP_MIN if per_row * CARD_WIDTH + (per_row - 1) * CARD_GAP > room else CARD_GAP
    card = min((room - (per_row - 1) * gap) / per_row, CARD_WIDTH)
    chips = max(int((card - CARD_LABEL - CARD_PADDING - 10.0 + CHIP_GAP) // (CHIP[0] + CHIP_GAP)), 1)
    return per_row, card, gap, chips


def _cell(mode: RowMode) -> tuple[float, float, float]:
    """Width, height and gap of one replica."""
    if mode is RowMode.CHIPS:
        return (*CHIP, CHIP_GAP)
    if mode is RowMode.SMALL:
        return (*SMALL_CHIP, SMALL_CHIP_GAP)
    return SQUARE, SQUARE, SQUARE_GAP


def _per_line(mode: RowMode, chips_per_line: int, card_width: float) -> int:
    if mode is RowMode.CHIPS:
        return chips_per_line
    width, _, gap = _cell(mode)
    room = card_width - CARD_LABEL_TIGHT - CARD_PADDING_TIGHT
    return max(int((room + gap) // (width + gap)), 1)


def _mode_for(topic: Topic, count: int, least: RowMode, chips_per_line: int, card_width: float) -> RowMode:
    """The roomiest way that needs few lines, at least as dense as asked."""
    if topic.internal or least is RowMode.COUNTS:
        return RowMode.COUNTS
    lines_max = {RowMode.CHIPS: 2, RowMode.SMALL: 2, RowMode.SQUARES: 4}
    for mode in (RowMode.CHIPS, RowMode.SMALL, RowMode.SQUARES):
        if mode >= least and ceil(count / _per_line(mode, chips_per_line, card_width)) <= lines_max[mode]:
            return mode
    return RowMode.COUNTS


def _row_height(mode: RowMode, count: int, chips_per_line: int, card_width: float) -> float:
    if mode is RowMode.COUNTS:
        return COUNTS_HEIGHT
    _, height, gap = _cell(mode)
    lines = max(ceil(count / _per_line(mode, chips_per_line, card_width)), 1)
    return max(lines * height + (lines - 1) * gap, COUNTS_HEIGHT)


def _hosted_max(topic: Topic, brokers: Sequence[Node]) -> int:
    counts = {node.node_id: 0 for node in brokers}
    for partition in topic.partitions.values():
        for node_id in partition.replica_ids:
            if node_id in counts:
                counts[node_id] += 1
    return max(counts.values(), default=0)


def _rows_height(heights: Sequence[float], gap: float) -> float:
    return sum(heights) + max(len(heights) - 1, 0) * gap


def _card_height(
    topics: Sequence[Topic], brokers: Sequence[Node], model: ClusterModel, least: RowMode, gap: float, chips_per_line: int, width: float
) -> float:
    heights = []
    for topic in topics:
        count = _hosted_max(topic, brokers)
        heights.append(_row_height(_mode_for(topic, count, least, chips_per_line, width), count, chips_per_line, width))
    if not heights:
        heights = [CHIP[1]]
    return CARD_HEAD + _rows_height(heights, gap) + CARD_FOOT


def _place_cards(
    layout: StageLayout,
    model: ClusterModel,
    topics: Sequence[Topic],
    brokers: Sequence[Node],
    per_row: int,
    card_width: float,
    card_gap: float,
    chips_per_line: int,
    top: float,
    room: float,
) -> float:
    """Choose how dense rows must be so that they fit, then place cards. Returns the bottom of the lowest."""
    counts = {topic.name: _hosted_max(topic, brokers) for topic in topics}
    shown = list(topics)
    least, head, gap, foot = RowMode.CHIPS, CARD_HEAD, ROW_GAP, CARD_FOOT
    steps = (
        (RowMode.CHIPS, CARD_HEAD, ROW_GAP, CARD_FOOT),
        (RowMode.CHIPS, CARD_HEAD, ROW_GAP_TIGHT, 12.0),
        (RowMode.SMALL, CARD_HEAD_TIGHT, ROW_GAP_TIGHT, 12.0),
        (RowMode.SMALL, CARD_HEAD_TIGHT, ROW_GAP_TIGHTEST, 8.0),
        (RowMode.SQUARES, CARD_HEAD_TIGHT, ROW_GAP_TIGHTEST, 8.0),
        (RowMode.COUNTS, CARD_HEAD_TIGHT, 2.0, 8.0),
    )
    heights: list[float] = []
    for least, head, gap, foot in steps:
        heights = [
            _row_height(
                _mode_for(topic, counts[topic.name], least, chips_per_line, card_width), counts[topic.name], chips_per_line, card_width
            )
            for topic in shown
        ]
        if head + _rows_height(heights, gap) + foot <= room + 0.5:
            break
    hidden = 0
    while len(shown) > 1 and head + _rows_height(heights, gap) + foot + (COUNTS_HEIGHT if hidden else 0) > room + 0.5:
        shown.pop()
        heights.pop()
        hidden += 1
    content = _rows_height(heights, gap) if heights else CHIP[1]
    height = head + content + foot + (COUNTS_HEIGHT if hidden else 0.0)

    bottom = top
    for index, node in enumerate(brokers):
        row, column = divmod(index, per_row)
        in_row = min(per_row, len(brokers) - row * per_row)
        left = (layout.size[0] - in_row * card_width - (in_row - 1) * card_gap) / 2
        rect = QRectF(
            round(left + column * (card_width + card_gap)), round(top + row * (height + CARD_GAP_MIN)), round(card_width), round(height)
        )
        card = CardPlace(node, rect, hidden_topics=hidden)
        y = rect.top() + head
        for topic, row_height in zip(shown, heights, strict=True):
            mode = _mode_for(topic, counts[topic.name], least, chips_per_line, card_width)
            card.rows.append(_place_row(topic, node, mode, rect, y, row_height, chips_per_line))
            y += row_height + gap
        layout.cards.append(card)
        bottom = max(bottom, rect.bottom())
    return bottom


def _place_row(topic: Topic, node: Node, mode: RowMode, rect: QRectF, y: float, height: float, chips_per_line: int) -> RowPlace:
    hosted = [partition for partition in topic.sorted_partitions if node.node_id in partition.replicas]
    place = RowPlace(topic, mode, y, height, partitions=hosted)
    if mode is RowMode.COUNTS:
        return place
    width, cell_height, gap = _cell(mode)
    per_line = _per_line(mode, chips_per_line, rect.width())
    left = rect.left() + (CARD_LABEL + CARD_PADDING if mode is RowMode.CHIPS else CARD_LABEL_TIGHT)
    for index, partition in enumerate(hosted):
        line, column = divmod(index, per_line)
        chip = QRectF(left + column * (width + gap), y + line * (cell_height + gap), width, cell_height)
        place.chips.append((partition, chip))
    return place


def _place_hexes(layout: StageLayout, controllers: Sequence[Node], width: float, y: float, radius: float) -> None:
    if not controllers:
        return
    spacing = min(HEX_SPACING, (width - 2 * MARGIN - 2 * radius) / max(len(controllers) - 1, 1))
    left = width / 2 - spacing * (len(controllers) - 1) / 2
    for index, node in enumerate(controllers):
        layout.hexes.append(HexPlace(node, QPointF(round(left + index * spacing), round(y)), radius))


def _client_rows(clients: Sequence[Client], width: float) -> tuple[int, float, int]:
    """Rows of client cards (at most two), their width, and how many stand in a row."""
    count = len(clients)
    room = width - 2 * MARGIN
    most = max(int((room + CLIENT_GAP_MIN) // (CLIENT_WIDTH_MIN + CLIENT_GAP_MIN)), 1)
    per_row = max(min(count, most), 1)
    rows = 1 if count <= most else 2
    if rows == 2:
        per_row = min(ceil(count / 2), most)
    # By the number of letters, so that the width does not follow every digit.
    letters = max((len(client.subtitle) for client in clients), default=0)
    wanted = min(max(CLIENT[0], letters * 5.9 + 2 * CARD_PADDING), CLIENT_WIDTH_MAX)
    card = min(wanted if letters > LETTERS_FIT else CLIENT[0], (room - (per_row - 1) * CLIENT_GAP_MIN) / per_row)
    return rows, card, per_row


def _place_clients(
    layout: StageLayout, clients: Sequence[Client], width: float, top: float, per_row: int, card_width: float, rows: int
) -> None:
    fit = per_row * rows
    shown = list(clients[:fit])
    if len(clients) > fit:
        shown = list(clients[: fit - 1])
        layout.more_clients = len(clients) - len(shown)
    slots = len(shown) + (1 if layout.more_clients else 0)
    for index in range(slots):
        row, column = divmod(index, per_row)
        in_row = min(per_row, slots - row * per_row)
        slot = (width - 2 * MARGIN) / in_row
        left = MARGIN + slot * (column + 0.5) - card_width / 2
        rect = QRectF(round(left), round(top + row * (CLIENT[1] + 12.0)), round(card_width), CLIENT[1])
        if index < len(shown):
            layout.clients.append(ClientPlace(shown[index], rect))
        else:
            layout.more_rect = rect
