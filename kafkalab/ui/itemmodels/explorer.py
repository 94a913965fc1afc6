"""The explorer's tree: controllers, brokers, topics with their partitions, groups, clients.

The tree is brought up to date by comparing what should be there with what is: rows that stay keep
their index, so selection and expansion survive every change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from PySide6.QtCore import QAbstractItemModel, QModelIndex, QObject, Qt

from kafkalab.ui.itemmodels.roles import NO_PARENT, ColourRole, GlyphRole, Index, LinkRole, ToneRole
from kafkalab.ui.model.changes import ChangeSet, Part
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.faults import describe_offset
from kafkalab.ui.model.links import Link
from kafkalab.ui.model.states import NODE_SIGNS, Tone
from kafkalab.ui.model.things import Node, Partition, Topic
from kafkalab.ui.theme.formats import format_ago, format_count, plural

CONTROLLERS, BROKERS, TOPICS, GROUPS, CLIENTS = range(5)
SECTIONS: Final = ("Controllers", "Brokers", "Topics", "Groups", "Clients")


@dataclass(frozen=True, slots=True)
class _Face:
    """What a row looks like."""

    key: Link
    text: str
    glyph: str = ""
    tone: Tone = Tone.TEXT
    colour: int | None = None
    tip: str = ""


@dataclass(slots=True, eq=False)
class _Item:
    face: _Face
    parent: _Item | None
    row: int
    children: list[_Item] = field(default_factory=list)


class ExplorerModel(QAbstractItemModel):
    """All things of the cluster as a tree."""

    def __init__(self, cluster: ClusterModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._cluster = cluster
        self._show_internal = False
        self._filter = ""
        self._root = _Item(_Face(Link.cluster(), ""), None, 0)
        self._root.children = [_Item(_Face(Link.cluster(), title), self._root, row) for row, title in enumerate(SECTIONS)]
        self._by_link: dict[Link, _Item] = {}

    # --- keeping up ---------------------------------------------------------------------------

    def set_show_internal(self, show: bool) -> None:
        """Show or hide the cluster's own topics."""
        self._show_internal = show
        self._sync_topics()

    def set_filter(self, text: str) -> None:
        """Show only topics, partitions, groups and clients whose names have this in them; nodes stay."""
        self._filter = text.strip().lower()
        self._sync_topics()
        self._sync_groups()
        self._sync_clients()

    @property
    def is_narrowed_to_partitions(self) -> bool:
        """The filter leaves some partitions of a topic whose own name it does not match."""
        topics = self._root.children[TOPICS].children
        return bool(self._filter) and any(not self._matches(topic.face.text) for topic in topics)

    def _matches(self, name: str) -> bool:
        return self._filter in name.lower()

    def refresh(self, now_ms: float) -> None:
        """Bring everything up to date."""
        self._sync_nodes(now_ms)
        self._sync_topics()
        self._sync_groups()
        self._sync_clients()

    def apply(self, changes: ChangeSet, now_ms: float) -> None:
        """Bring up to date what changed."""
        if changes.touches(Part.NODES, Part.QUORUM, Part.FAULTS):
            self._sync_nodes(now_ms)
        if Part.TOPICS in changes:
            self._sync_topics()
        elif Part.PARTITIONS in changes:
            self._touch_partitions(changes)
        if Part.GROUPS in changes:
            self._sync_groups()
        if Part.CLIENTS in changes:
            self._sync_clients()

    def tick(self, now_ms: float) -> None:
        """Time passed: how long ago nodes went down reads differently."""
        if any(node.is_down for node in self._cluster.nodes.values()):
            self._sync_nodes(now_ms)

    def index_of(self, link: Link | None) -> QModelIndex:
        """Where a thing is in the tree, an invalid index when it is not."""
        if link is None:
            return QModelIndex()
        item = self._by_link.get(link)
        if item is None and (partition := link.topic_partition) is not None:
            item = self._by_link.get(Link.of_partition(partition.topic, partition.partition))
        return QModelIndex() if item is None else self._index(item)

    def section_index(self, section: int) -> QModelIndex:
        """The row of a section such as :data:`TOPICS`."""
        return self.index(section, 0)

    def _sync_nodes(self, now_ms: float) -> None:
        nodes = [node for _, node in sorted(self._cluster.nodes.items())]
        self._sync(self._root.children[CONTROLLERS], [self._controller_face(node, now_ms) for node in nodes if node.is_controller])
        self._sync(self._root.children[BROKERS], [self._broker_face(node, now_ms) for node in nodes if node.is_broker])

    def _sync_topics(self) -> None:
        topics = sorted(self._cluster.topics.values(), key=lambda topic: (topic.internal, topic.order, topic.name))
        shown: list[tuple[Topic, list[Partition]]] = []
        for topic in topics:
            if not self._show_internal and topic.internal:
                continue
            partitions = topic.sorted_partitions
            if not self._matches(topic.name):
                partitions = [partition for partition in partitions if self._matches(str(partition.topic_partition))]
                if not partitions:
                    continue
            shown.append((topic, partitions))
        section = self._root.children[TOPICS]
        self._sync(section, [_topic_face(topic) for topic, _ in shown])
        for item, (_, partitions) in zip(section.children, shown, strict=True):
            self._sync(item, [_partition_face(partition) for partition in partitions])

    def _touch_partitions(self, changes: ChangeSet) -> None:
        for name, number in changes.partitions:
            item = self._by_link.get(Link.of_partition(name, number))
            topic = self._cluster.topics.get(name)
            if item is not None and topic is not None and number in topic.partitions:
                self._set_face(item, _partition_face(topic.partitions[number]))

    def _sync_groups(self) -> None:
        faces = []
        for _, group in sorted(self._cluster.groups.items()):
            if not self._matches(group.group_id):
                continue
            members = len(group.members)
            tone = Tone.TEXT if group.state == "Stable" else Tone.MUTED if group.state in ("Empty", "Dead") else Tone.WARN
            words = "rebalancing" if group.state in ("PreparingRebalance", "CompletingRebalance") else _spaced(group.state).lower()
            faces.append(_Face(group.link, f"{group.group_id} {words} · {format_count(members)}", tone=tone, tip=group.cause))
        self._sync(self._root.children[GROUPS], faces)

    def _sync_clients(self) -> None:
        faces = []
        for _, client in sorted(self._cluster.clients.items(), key=lambda entry: (entry[1].kind == "group", entry[1].title)):
            text = client.title
            if not any(map(self._matches, (client.title, *client.client_ids))):
                continue
            if client.kind == "group":
                names = sorted(client.client_ids)
                text = f"{names[0]} … {len(names)}" if len(names) > 1 else names[0] if names else client.title
            # The group has its own row among the groups: here are its members.
            faces.append(_Face(Link.client(client.key), text, tone=Tone.TEXT if client.connections else Tone.MUTED, tip=client.subtitle))
        self._sync(self._root.children[CLIENTS], faces)

    def _controller_face(self, node: Node, now_ms: float) -> _Face:
        member = self._cluster.quorum.members.get(node.node_id)
        if node.is_down or member is None:
            return self._broker_face(node, now_ms)
        crown = " ♛" if self._cluster.quorum.leader_id == node.node_id else ""
        return self._with_faults(_Face(node.link, f"{node.node_id} {member.state}{crown}", "⬡", _node_tone(node), tip=node.cause), node)

    def _broker_face(self, node: Node, now_ms: float) -> _Face:
        return self._with_faults(_broker_face(node, now_ms), node)

    def _with_faults(self, face: _Face, node: Node) -> _Face:
        """That links are cut or a clock is wrong is told beside the state, which may not have changed by that."""
        if node.clock_offset_s and not node.is_down:
            tip = f"its clock is {describe_offset(node.clock_offset_s)}"
            face = replace(face, text=f"{face.text} · clock", tone=Tone.WARN if face.tone is Tone.TEXT else face.tone, tip=tip)
        cuts = sum(link.is_cut for link in self._cluster.faults.of(node.node_id))
        if not cuts or node.is_down:
            return face
        # Of an isolated node all others have one cut; the colour is for the one.
        isolated = 2 * cuts > len(self._cluster.nodes) - 1
        tone = Tone.WARN if face.tone is Tone.TEXT and isolated else face.tone
        return replace(face, text=f"{face.text} · {plural(cuts, 'cut')}", tone=tone)

    def _sync(self, parent: _Item, faces: Sequence[_Face]) -> None:
        """Make the children of ``parent`` be ``faces``, touching as few rows as possible."""
        wanted = {face.key for face in faces}
        position = len(parent.children) - 1
        while position >= 0:
            if parent.children[position].face.key not in wanted:
                self._remove(parent, position)
            position -= 1
        for row, face in enumerate(faces):
            if row < len(parent.children) and parent.children[row].face.key == face.key:
                self._set_face(parent.children[row], face)
                continue
            # It stands elsewhere (an order changed) or is new.
            for other in range(row + 1, len(parent.children)):
                if parent.children[other].face.key == face.key:
                    self._remove(parent, other)
                    break
            self._insert(parent, row, face)

    def _insert(self, parent: _Item, row: int, face: _Face) -> None:
        self.beginInsertRows(self._index(parent), row, row)
        item = _Item(face, parent, row)
        parent.children.insert(row, item)
        for later in range(row + 1, len(parent.children)):
            parent.children[later].row = later
        # A node that is both controller and broker is found among the brokers: that is where its data is.
        self._by_link[face.key] = item
        self.endInsertRows()

    def _remove(self, parent: _Item, row: int) -> None:
        self.beginRemoveRows(self._index(parent), row, row)
        gone = parent.children.pop(row)
        for later in range(row, len(parent.children)):
            parent.children[later].row = later
        for item in (gone, *gone.children):
            if self._by_link.get(item.face.key) is item:
                del self._by_link[item.face.key]
        self.endRemoveRows()

    def _set_face(self, item: _Item, face: _Face) -> None:
        if item.face != face:
            item.face = face
            index = self._index(item)
            self.dataChanged.emit(index, index)

    # --- what Qt asks ---------------------------------------------------------------------------

    def _item(self, index: Index) -> _Item:
        if not index.isValid():
            return self._root
        item = index.internalPointer()
        assert isinstance(item, _Item)
        return item

    def _index(self, item: _Item) -> QModelIndex:
        return QModelIndex() if item is self._root else self.createIndex(item.row, 0, item)

    def index(self, row: int, column: int, parent: Index = NO_PARENT) -> QModelIndex:
        children = self._item(parent).children
        if column != 0 or not 0 <= row < len(children):
            return QModelIndex()
        return self.createIndex(row, 0, children[row])

    def parent(self, index: Index = NO_PARENT) -> QModelIndex:  # type: ignore[override]
        parent = self._item(index).parent
        return QModelIndex() if parent is None else self._index(parent)

    def rowCount(self, parent: Index = NO_PARENT) -> int:
        return len(self._item(parent).children)

    def columnCount(self, parent: Index = NO_PARENT) -> int:
        return 1

    def flags(self, index: Index) -> Qt.ItemFlag:
        if not index.isValid():
            return Qt.ItemFlag.NoItemFlags
        return Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        item = self._item(index)
        face = item.face
        if role == Qt.ItemDataRole.DisplayRole:
            return face.text
        if role == Qt.ItemDataRole.ToolTipRole:
            return face.tip or face.text
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return face.text if item.parent is not self._root else f"{face.text}, {len(item.children)}"
        if role == LinkRole:
            return None if item.parent is self._root else face.key
        if role == ToneRole:
            return face.tone
        if role == GlyphRole:
            return face.glyph
        if role == ColourRole:
            return face.colour
        return None


def _node_tone(node: Node) -> Tone:
    tone = NODE_SIGNS[node.state].tone
    return Tone.TEXT if tone is Tone.OK else tone


def _broker_face(node: Node, now_ms: float) -> _Face:
    sign = NODE_SIGNS[node.state]
    words = f"{node.node_id} {sign.word}"
    if node.is_down and node.since_ms > 0:
        words += f" {format_ago(now_ms - node.since_ms)}"
    return _Face(node.link, words, sign.glyph, _node_tone(node), tip=node.cause or node.address)


def _topic_face(topic: Topic) -> _Face:
    return _Face(topic.link, topic.name, colour=topic.colour, tone=Tone.MUTED if topic.internal else Tone.TEXT)


def _partition_face(partition: Partition) -> _Face:
    leader = partition.serving_leader
    isr = " ".join(map(str, partition.in_sync_ids))
    elr = f" elr {' '.join(map(str, partition.elr))}" if partition.elr else ""
    moves = " ".join(f"{sign}{one}" for sign, ids in (("+", partition.adding), ("−", partition.removing)) for one in ids)
    more = elr + (f" {moves}" if moves else "")
    if leader < 0:
        return _Face(partition.link, f"{partition.partition} ✕ no leader{more}", tone=Tone.ERROR)
    return _Face(partition.link, f"{partition.partition} ★{leader} isr {isr}{more}")


def _spaced(state: str) -> str:
    """PreparingRebalance → Preparing Rebalance."""
    return "".join(f" {letter}" if letter.isupper() and position else letter for position, letter in enumerate(state))
