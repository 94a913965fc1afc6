"""The topic view: each partition's replicas as bars, with the high watermark across them."""

from __future__ import annotations

from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QButtonGroup, QFrame, QHBoxLayout, QScrollArea, QSplitter, QStackedLayout, QVBoxLayout, QWidget

from kafkalab.ui.model.changes import Part
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link, LinkKind
from kafkalab.ui.model.things import Partition, Topic
from kafkalab.ui.panels.actions import ActionButton, ActionRegistry
from kafkalab.ui.panels.segments import SegmentsPanel
from kafkalab.ui.panels.selection import Selection
from kafkalab.ui.panels.stage_view import StageView
from kafkalab.ui.panels.widgets import DOCK_PADDING, Chooser, ElidedLabel, EmptyState, label, segment_button
from kafkalab.ui.plots.replica_bars import ReplicaBars, Scale
from kafkalab.ui.theme.formats import format_byte_rate, format_bytes, format_count, format_rate, plural
from kafkalab.ui.theme.tokens import Theme


class TopicView(StageView):
    """One topic at a time: the selected one, else the first that was created."""

    PARTS = (Part.TOPICS, Part.PARTITIONS, Part.REPLICAS, Part.RATES)

    def __init__(self, cluster: ClusterModel, selection: Selection, registry: ActionRegistry, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._cluster = cluster
        self._selection = selection
        self._name = ""

        self._chooser = Chooser("Topic")
        self._chooser.currentIndexChanged.connect(self._chosen)
        self._facts = ElidedLabel("", "muted")
        self._tail = segment_button("Tail", "Records behind the leader's log end")
        self._whole = segment_button("Whole log", "Offsets from the beginning")
        self._tail.setChecked(True)
        scales = QButtonGroup(self)
        scales.addButton(self._tail)
        scales.addButton(self._whole)
        head = QHBoxLayout()
        head.setContentsMargins(DOCK_PADDING, 12, DOCK_PADDING, 4)
        head.setSpacing(8)
        head.addWidget(self._chooser)
        head.addWidget(self._facts, 1)
        head.addWidget(self._tail)
        head.addWidget(self._whole)
        head.addSpacing(8)
        head.addWidget(ActionButton(registry["topic.create"]))
        head.addWidget(ActionButton(registry["topic.delete"], text="Delete…"))

        self._bars = ReplicaBars()
        self._bars.selected.connect(selection.select)
        self._bars.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self._bars.customContextMenuRequested.connect(self._menu)
        self._tail.toggled.connect(lambda on: self._bars.set_scale(Scale.TAIL if on else Scale.WHOLE))
        scroll = QScrollArea()
        scroll.setAccessibleName("Partitions")
        scroll.setWidget(self._bars)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setProperty("role", "stage")
        self._bars.setProperty("role", "stage")
        legend = label(
            "filled: leader · outlined: follower · dashed: offline · line across: high watermark · E: eligible to lead · + −: on the move",
            "small",
        )
        legend.setContentsMargins(DOCK_PADDING, 4, DOCK_PADDING, 8)

        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(head)
        bars = QWidget()
        bars_column = QVBoxLayout(bars)
        bars_column.setContentsMargins(0, 0, 0, 0)
        bars_column.setSpacing(0)
        bars_column.addWidget(scroll, 1)
        bars_column.addWidget(legend)
        self._segments = SegmentsPanel()
        split = QSplitter(Qt.Orientation.Vertical)
        split.addWidget(bars)
        split.addWidget(self._segments)
        split.setStretchFactor(0, 1)
        split.setStretchFactor(1, 1)
        split.setSizes([300, 260])
        column.addWidget(split, 1)
        page.setProperty("role", "stage")
        page.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._page = page
        self._empty = EmptyState(
            "A topic's partitions appear here: who leads, who is in sync, and how far each replica has come.", registry["topic.create"]
        )
        self._stack = QStackedLayout(self)
        self._stack.addWidget(self._page)
        self._stack.addWidget(self._empty)
        selection.changed.connect(self._follow)
        self.refresh()

    @property
    def topic_name(self) -> str:
        """The topic on show, empty when there is none."""
        return self._name

    @property
    def bars(self) -> ReplicaBars:
        """The painted part."""
        return self._bars

    @property
    def segments(self) -> SegmentsPanel:
        """The segments of one of the partitions."""
        return self._segments

    def set_theme(self, theme: Theme) -> None:
        """Draw in these colours."""
        self._bars.set_theme(theme)
        self._segments.set_theme(theme)

    def refresh(self) -> None:
        """Show the topic as it is now."""
        super().refresh()
        topics = self._cluster.sorted_topics
        names = [topic.name for topic in topics]
        if self._name not in self._cluster.topics:
            self._name = names[0] if names else ""
        self._chooser.offer(names, self._name)
        topic = self._cluster.topics.get(self._name)
        self._stack.setCurrentWidget(self._empty if topic is None else self._page)
        self._bars.set_topic(topic)
        if topic is not None:
            self._facts.set_text(topic_line(topic))
        self._show_segments(topic)

    def _show_segments(self, topic: Topic | None) -> None:
        shown: Partition | None = None
        if topic is not None:
            link = self._selection.link
            if link is not None and link.topic_partition is not None and link.name == topic.name:
                shown = topic.partitions.get(link.topic_partition.partition)
            if shown is None:
                shown = next(iter(topic.sorted_partitions), None)
        self._segments.show_partition(shown, topic.colour if topic is not None else 0, self._cluster.now_ms)

    def _chosen(self, index: int) -> None:
        if index >= 0:
            self._name = self._chooser.itemText(index)
            self._selection.select(Link.topic(self._name))
            self.refresh()

    def _follow(self, link: Link | None) -> None:
        self._bars.set_selected(link)
        if link is not None and link.kind in (LinkKind.TOPIC, LinkKind.PARTITION, LinkKind.REPLICA) and link.name != self._name:
            self._name = link.name
            self._refresh_when_seen()
        elif self.isVisible():
            self._show_segments(self._cluster.topics.get(self._name))

    def _menu(self, position: QPoint) -> None:
        partition = self._bars.partition_at(position.y())
        if partition is not None:
            self.context_requested.emit(partition.link, self._bars.mapToGlobal(position))


def topic_line(topic: Topic) -> str:
    """A topic's figures in one line."""
    partitions = topic.sorted_partitions
    size = sum(one.leader_replica.size_bytes for one in partitions if one.leader_replica is not None)
    return " · ".join(
        (
            f"{plural(len(partitions), 'partition')} × {plural(topic.replication_factor, 'replica')}",
            f"min.insync.replicas {topic.min_insync_replicas}",
            format_bytes(size),
            format_rate(sum(one.records.rate for one in partitions), "records"),
            format_byte_rate(sum(one.appended.rate for one in partitions)),
            f"{format_count(sum(max(0, one.log_end_offset - one.log_start_offset) for one in partitions))} records",
        )
    )
