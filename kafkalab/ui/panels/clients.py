"""The clients view: every TCP connection as a row of a plain table."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QModelIndex, QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QAbstractItemView, QCheckBox, QHBoxLayout, QLineEdit, QStackedLayout, QTableView, QVBoxLayout, QWidget

from kafkalab.ui.itemmodels.roles import LinkRole
from kafkalab.ui.itemmodels.tables import Column, SortedTable, TableModel
from kafkalab.ui.model.changes import Part
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link, LinkKind
from kafkalab.ui.model.states import Tone
from kafkalab.ui.model.things import Connection
from kafkalab.ui.panels.actions import ActionRegistry
from kafkalab.ui.panels.row_table import RowTable
from kafkalab.ui.panels.selection import Selection
from kafkalab.ui.panels.stage_view import StageView
from kafkalab.ui.panels.widgets import DOCK_PADDING, ElidedLabel, EmptyState
from kafkalab.ui.theme.formats import UNKNOWN, format_byte_rate, format_bytes, format_count, plural
from kafkalab.ui.theme.tokens import Theme

_APIS_IN_CELL_MAX: Final = 4
CONTROLLER_LISTENER: Final = "CONTROLLER"


def _name(one: Connection) -> str:
    return one.level.client_id or (f"broker {one.level.peer_node_id}" if one.level.peer_node_id >= 0 else UNKNOWN)


def is_between_nodes(one: Connection) -> bool:
    """Replication, and whatever comes to a controller: its listener is for nodes alone."""
    return not one.client_key or one.level.listener == CONTROLLER_LISTENER


def _acks(one: Connection) -> str:
    acks = one.level.acks
    return "" if acks is None else "all" if acks == -1 else str(acks)


def _apis(one: Connection) -> str:
    used = sorted(one.level.apis, key=lambda api: -api[2])
    text = ", ".join(f"{name} v{version}" for name, version, _ in used[:_APIS_IN_CELL_MAX])
    return f"{text}, +{len(used) - _APIS_IN_CELL_MAX}" if len(used) > _APIS_IN_CELL_MAX else text


def _produced(one: Connection) -> str:
    return format_byte_rate(one.produced.rate) if one.level.produced_bytes else ""


def _fetched(one: Connection) -> str:
    return format_byte_rate(one.fetched.rate) if one.level.fetched_bytes else ""


COLUMNS: Final[tuple[Column[Connection], ...]] = (
    Column("Client", _name),
    Column("Software", lambda one: one.level.software or UNKNOWN, tone=lambda _: Tone.MUTED),
    Column("Address", lambda one: one.level.address),
    Column("Node", lambda one: str(one.node_id), lambda one: one.node_id, mono=True),
    Column("Produces", _produced, lambda one: one.produced.rate, mono=True),
    Column("Fetches", _fetched, lambda one: one.fetched.rate, mono=True),
    Column("Received", lambda one: format_bytes(one.level.bytes_in), lambda one: one.level.bytes_in, mono=True),
    Column("Sent", lambda one: format_bytes(one.level.bytes_out), lambda one: one.level.bytes_out, mono=True),
    Column("Requests", lambda one: format_count(one.level.requests), lambda one: one.level.requests, mono=True),
    Column("In flight", lambda one: format_count(one.level.in_flight), lambda one: one.level.in_flight, mono=True),
    Column("Acks", _acks, mono=True),
    Column(
        "Producer id",
        lambda one: format_count(one.level.producer_id) if one.level.producer_id >= 0 else "",
        lambda one: one.level.producer_id,
        mono=True,
    ),
    Column("Group", lambda one: one.level.group_id),
    Column("APIs", _apis, tone=lambda _: Tone.MUTED, tip="The APIs used most, with their versions"),
    Column("Last error", lambda one: one.level.last_error, tone=lambda one: Tone.WARN if one.level.last_error else Tone.TEXT),
)
WIDTHS: Final = (120, 230, 120, 54, 92, 92, 86, 86, 84, 70, 50, 92, 80, 240, 180)


class ClientsView(StageView):
    """The table, a filter for it, and whether connections between nodes are shown too."""

    PARTS = (Part.CLIENTS, Part.CONNECTIONS, Part.RATES)

    def __init__(self, cluster: ClusterModel, selection: Selection, registry: ActionRegistry, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._cluster = cluster
        self._selection = selection
        self._following = False
        self._source: TableModel[Connection] = TableModel(COLUMNS, lambda one: one.key, lambda one: one.link, self)
        self._model = SortedTable(self._source, self)
        self._table = RowTable(self._model, "Connections", widths=WIDTHS)
        self._table.setSortingEnabled(True)
        self._table.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self._table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self._table.customContextMenuRequested.connect(self._menu)
        self._table.horizontalHeader().setSectionsMovable(True)
        self._table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self._table.selectionModel().currentRowChanged.connect(self._current_changed)

        self._filter = QLineEdit()
        self._filter.setPlaceholderText("filter…")
        self._filter.setClearButtonEnabled(True)
        self._filter.setAccessibleName("Filter the connections")
        self._filter.setFixedWidth(200)
        self._filter.textChanged.connect(self._model.set_filter)
        self._filter.textChanged.connect(lambda _: self._show_count())
        self._peers = QCheckBox("between nodes too")
        self._peers.toggled.connect(lambda _: self.refresh())
        self._count = ElidedLabel("", "muted")
        head = QHBoxLayout()
        head.setContentsMargins(DOCK_PADDING, 12, DOCK_PADDING, 8)
        head.setSpacing(12)
        head.addWidget(self._filter)
        head.addWidget(self._peers)
        head.addWidget(self._count, 1)
        self._empty = EmptyState(
            "Every connection appears here, with its client's name, library and traffic. Nobody is connected: "
            "give a client the bootstrap address, or start the sample traffic.",
            registry["traffic.start"],
        )
        holder = QWidget()
        self._stack = QStackedLayout(holder)
        self._stack.addWidget(self._table)
        self._stack.addWidget(self._empty)
        column_layout = QVBoxLayout(self)
        column_layout.setContentsMargins(0, 0, 0, 0)
        column_layout.setSpacing(0)
        column_layout.addLayout(head)
        column_layout.addWidget(holder, 1)
        self.setProperty("role", "stage")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        selection.changed.connect(self._follow)
        self.refresh()

    @property
    def table(self) -> QTableView:
        """The table."""
        return self._table

    def set_theme(self, theme: Theme) -> None:
        """Draw in these colours."""
        self._table.set_theme(theme)

    def refresh(self) -> None:
        """Show the connections there are now."""
        super().refresh()
        peers = self._peers.isChecked()
        rows = [one for one in self._cluster.connections.values() if peers or not is_between_nodes(one)]
        self._source.set_rows(rows)
        self._stack.setCurrentWidget(self._table if rows else self._empty)
        self._show_count()

    def copy_selected(self) -> bool:
        """Put the selected row on the clipboard, cells apart by tabs. False when no row is selected."""
        index = self._table.currentIndex()
        if not index.isValid():
            return False
        cells = [str(index.siblingAtColumn(column).data() or "") for column in range(len(COLUMNS))]
        QGuiApplication.clipboard().setText("\t".join(cells))
        return True

    def _show_count(self) -> None:
        shown, total = self._model.rowCount(), self._source.rowCount()
        self._count.set_text(plural(total, "connection") if shown == total else f"{format_count(shown)} of {plural(total, 'connection')}")

    def _current_changed(self, current: QModelIndex) -> None:
        link = current.data(LinkRole)
        if isinstance(link, Link) and not self._following:
            self._following = True
            self._selection.select(link)
            self._following = False

    def _follow(self, link: Link | None) -> None:
        if self._following:
            return
        self._following = True
        self._table.clearSelection()
        self._table.selectionModel().clearCurrentIndex()
        if link is not None and link.kind is LinkKind.CONNECTION:
            for row in range(self._model.rowCount()):
                if self._model.index(row, 0).data(LinkRole) == link:
                    self._table.selectRow(row)
                    break
        self._following = False

    def _menu(self, position: QPoint) -> None:
        link = self._table.indexAt(position).data(LinkRole)
        if isinstance(link, Link):
            self.context_requested.emit(link, self._table.viewport().mapToGlobal(position))
