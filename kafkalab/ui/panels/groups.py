"""The groups view: the state diagram with today's state lit, who reads what, and how far each is behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QResizeEvent, QShowEvent
from PySide6.QtWidgets import (
    QBoxLayout,
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QScrollArea,
    QStackedLayout,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from kafkalab.ui.itemmodels.tables import Column, TableModel
from kafkalab.ui.model.changes import Part
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link, LinkKind
from kafkalab.ui.model.states import Tone
from kafkalab.ui.model.things import Group, TimelineRow
from kafkalab.ui.panels.actions import ActionRegistry
from kafkalab.ui.panels.row_table import RowTable
from kafkalab.ui.panels.selection import Selection
from kafkalab.ui.panels.stage_view import StageView
from kafkalab.ui.panels.widgets import DOCK_PADDING, Chooser, ElidedLabel, EmptyState, label, segment_button
from kafkalab.ui.plots.assignment_matrix import AssignmentMatrix
from kafkalab.ui.plots.state_diagram import StateDiagram, spaced
from kafkalab.ui.theme.formats import (
    UNKNOWN,
    format_clock,
    format_count,
    format_lag_time,
    format_ms,
    format_offset,
    plural,
)
from kafkalab.ui.theme.tokens import DARK, ROW_HEIGHT, Theme

if TYPE_CHECKING:
    from kafkalab.ui.plots.lag import LagPlot

REBALANCES_SHOWN_MAX: Final = 50
ROWS_SEARCHED_MAX: Final = 5_000

CHANGES: Final[tuple[Column[TimelineRow], ...]] = (
    Column("Time", lambda row: format_clock(row.at_ms), mono=True, tone=lambda _: Tone.MUTED),
    Column("Change", lambda row: row.headline.removeprefix(f"{row.link.name} "), tone=lambda row: row.tone),
    Column("Why", lambda row: row.detail, tone=lambda _: Tone.MUTED),
)

BESIDE_FROM: Final = 700


class GroupsView(StageView):
    """One group at a time: the selected one, else the first by name."""

    PARTS = (Part.GROUPS, Part.LAG, Part.RATES, Part.TIMELINE)

    def __init__(self, cluster: ClusterModel, selection: Selection, registry: ActionRegistry, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._cluster = cluster
        self._selection = selection
        self._theme: Theme = DARK
        self._group_id = ""
        self._lag: LagPlot | None = None
        self._diagram: StateDiagram | None = None

        self._chooser = Chooser("Group")
        self._chooser.currentIndexChanged.connect(self._chosen)
        self._facts = ElidedLabel("", "muted")
        head = QHBoxLayout()
        head.setContentsMargins(DOCK_PADDING, 12, DOCK_PADDING, 0)
        head.setSpacing(10)
        head.addWidget(self._chooser)
        head.addWidget(self._facts, 1)

        self._diagram_place = QVBoxLayout()
        self._diagram_place.setContentsMargins(0, 0, 0, 0)
        self._matrix = AssignmentMatrix()
        self._matrix.selected.connect(selection.select)
        self._matrix.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self._matrix.customContextMenuRequested.connect(self._menu)
        matrix_scroll = QScrollArea()
        matrix_scroll.setAccessibleName("Members by partitions")
        matrix_scroll.setWidget(self._matrix)
        matrix_scroll.setFrameShape(QFrame.Shape.NoFrame)
        matrix_scroll.setProperty("role", "stage")
        self._matrix.setProperty("role", "stage")
        self._matrix_scroll = matrix_scroll

        self._records = segment_button("records")
        self._seconds = segment_button("seconds")
        self._records.setChecked(True)
        units = QButtonGroup(self)
        units.addButton(self._records)
        units.addButton(self._seconds)
        self._records.toggled.connect(self._unit_changed)
        self._lag_title = ElidedLabel("Lag, last two minutes", "strong")
        lag_head = QHBoxLayout()
        lag_head.setContentsMargins(DOCK_PADDING, 6, DOCK_PADDING, 2)
        lag_head.addWidget(self._lag_title, 1)
        lag_head.addWidget(self._records)
        lag_head.addWidget(self._seconds)
        self._lag_place = QVBoxLayout()
        self._lag_place.setContentsMargins(DOCK_PADDING, 0, DOCK_PADDING, 0)

        self._changes: TableModel[TimelineRow] = TableModel(CHANGES, lambda row: row.number, lambda row: row.link, self)
        self._history = RowTable(self._changes, "Rebalances of this group", widths=(106, 230))
        self._history.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._history.setSelectionMode(QTableView.SelectionMode.NoSelection)
        self._history.horizontalHeader().setStretchLastSection(True)
        self._history.setMinimumHeight(4 * ROW_HEIGHT)

        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 8)
        column.setSpacing(2)
        column.addLayout(head)
        column.addLayout(self._diagram_place)
        members = QVBoxLayout()
        members.setSpacing(2)
        members.addWidget(_heading("Members by partitions"))
        members.addWidget(matrix_scroll)
        members.addStretch(1)
        changes = QVBoxLayout()
        changes.setSpacing(2)
        changes.addWidget(_heading("Rebalances"))
        changes.addWidget(self._history, 1)
        self._beside = beside = QHBoxLayout()
        beside.setSpacing(12)
        beside.addLayout(members, 5)
        beside.addLayout(changes, 6)
        column.addLayout(beside)
        column.addLayout(lag_head)
        column.addLayout(self._lag_place, 1)
        page.setProperty("role", "stage")
        page.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        # Whatever does not fit is scrolled to: the view never presses the docks aside.
        self._page = QScrollArea()
        self._page.setAccessibleName("Group")
        self._page.setWidget(page)
        self._page.setWidgetResizable(True)
        self._page.setFrameShape(QFrame.Shape.NoFrame)
        self._page.setProperty("role", "stage")
        self._empty = EmptyState(
            "Consumer groups appear here: their state, who reads which partition, and how far each is behind. "
            "No group has joined yet: connect a consumer, or start the sample traffic.",
            registry["traffic.start"],
        )
        self._stack = QStackedLayout(self)
        self._stack.addWidget(self._page)
        self._stack.addWidget(self._empty)
        selection.changed.connect(self._follow)
        self.refresh()

    @property
    def group_id(self) -> str:
        """The group on show, empty when there is none."""
        return self._group_id

    @property
    def diagram(self) -> StateDiagram | None:
        """The state diagram; None until the view was seen once."""
        return self._diagram

    @property
    def matrix(self) -> AssignmentMatrix:
        """Members by partitions."""
        return self._matrix

    @property
    def lag_plot(self) -> LagPlot | None:
        """The curves; None until the view was seen once."""
        return self._lag

    @property
    def rebalances(self) -> TableModel[TimelineRow]:
        """The group's changes of state."""
        return self._changes

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Where it is narrow, the rebalances stand under the members, not beside them."""
        super().resizeEvent(event)
        narrow = self.width() < BESIDE_FROM
        self._beside.setDirection(QBoxLayout.Direction.TopToBottom if narrow else QBoxLayout.Direction.LeftToRight)

    def set_theme(self, theme: Theme) -> None:
        """Draw in these colours."""
        self._theme = theme
        if self._diagram is not None:
            self._diagram.set_theme(theme)
        self._matrix.set_theme(theme)
        self._history.set_theme(theme)
        if self._lag is not None:
            self._lag.set_theme(theme)

    def refresh(self) -> None:
        """Show the group as it is now."""
        super().refresh()
        names = sorted(self._cluster.groups)
        if self._group_id not in self._cluster.groups:
            self._group_id = names[0] if names else ""
        self._chooser.offer(names, self._group_id)
        group = self._cluster.groups.get(self._group_id)
        self._stack.setCurrentWidget(self._empty if group is None else self._page)
        if group is None:
            return
        self._facts.set_text(group_line(group, self._cluster.now_ms))
        if self._diagram is not None:
            self._diagram.set_state(group.state)
        self._matrix.set_group(group, {topic.name: topic.colour for topic in self._cluster.topics.values()})
        bar = self._matrix_scroll.horizontalScrollBar().sizeHint().height()
        self._matrix_scroll.setFixedHeight(min(self._matrix.height(), 200) + bar)
        self._lag_title.set_text(f"Lag, last two minutes · now {format_count(group.lag)} records · {format_lag_time(group.lag_ms)}")
        if self._lag is not None:
            self._lag.set_group(group, self._cluster.now_ms)
        self._changes.set_rows(rebalances(self._cluster.timeline, group.link))

    def showEvent(self, event: QShowEvent) -> None:
        if self._lag is None:
            # The plotting library costs a third of a second, the coordinator a tenth: only who looks at them pays.
            from kafkalab.engine.coordinator.group.states import VALID_PREVIOUS
            from kafkalab.ui.plots.lag import LagPlot

            self._diagram = StateDiagram({str(state): frozenset(map(str, sources)) for state, sources in VALID_PREVIOUS.items()})
            self._diagram.set_theme(self._theme)
            self._diagram_place.addWidget(self._diagram)
            self._lag = LagPlot()
            self._lag.set_theme(self._theme)
            self._lag_place.addWidget(self._lag)
            self._unit_changed()
            self._stale = True
        super().showEvent(event)

    def _menu(self, position: QPoint) -> None:
        partition = self._matrix.partition_at(position.x())
        link = Link.group(self._group_id) if partition is None else Link.of_partition(*partition)
        self.context_requested.emit(link, self._matrix.mapToGlobal(position))

    def _unit_changed(self) -> None:
        if self._lag is not None:
            from kafkalab.ui.plots.lag import LagUnit

            self._lag.set_unit(LagUnit.RECORDS if self._records.isChecked() else LagUnit.SECONDS)
            self._lag.set_group(self._cluster.groups.get(self._group_id), self._cluster.now_ms)

    def _chosen(self, index: int) -> None:
        if index >= 0:
            self._group_id = self._chooser.itemText(index)
            self._selection.select(Link.group(self._group_id))
            self.refresh()

    def _follow(self, link: Link | None) -> None:
        self._matrix.set_selected(link)
        if link is not None and link.kind is LinkKind.GROUP and link.name != self._group_id:
            self._group_id = link.name
            self._refresh_when_seen()


def rebalances(timeline: Sequence[TimelineRow], link: Link) -> list[TimelineRow]:
    """The latest rows that speak of a group, newest first."""
    found: list[TimelineRow] = []
    for place in range(len(timeline) - 1, max(-1, len(timeline) - 1 - ROWS_SEARCHED_MAX), -1):
        if timeline[place].link == link:
            found.append(timeline[place])
            if len(found) == REBALANCES_SHOWN_MAX:
                break
    return found


def group_line(group: Group, now_ms: float) -> str:
    """A group's facts in one line."""
    idle = sum(not member.assignment for member in group.members)
    parts = [
        spaced(group.state),
        plural(len(group.members), "member") + (f" ({idle} idle)" if idle else ""),
        f"generation {format_offset(group.generation)}",
        " ".join(filter(None, (group.protocol_type, group.protocol))) or UNKNOWN,
        f"coordinator: broker {group.coordinator_id}" if group.coordinator_id >= 0 else "no coordinator",
    ]
    if group.unowned_since_ms >= 0:
        parts.append(f"rebalancing for {format_ms(now_ms - group.unowned_since_ms)}")
    elif group.last_rebalance_ms >= 0:
        parts.append(f"last rebalance took {format_ms(group.last_rebalance_ms)}")
    if group.cause:
        parts.append(group.cause)
    return " · ".join(parts)


def _heading(text: str) -> QWidget:
    made = label(text, "strong")
    made.setContentsMargins(DOCK_PADDING, 6, DOCK_PADDING, 2)
    return made
