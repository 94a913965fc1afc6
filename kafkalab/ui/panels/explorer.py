"""The explorer: every thing of the cluster by name."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QModelIndex, QPoint, QRect, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPolygon
from PySide6.QtWidgets import QAbstractItemView, QHBoxLayout, QLineEdit, QStyleOptionViewItem, QTreeView, QVBoxLayout, QWidget

from kafkalab.ui.itemmodels.explorer import GROUPS, TOPICS, ExplorerModel
from kafkalab.ui.itemmodels.roles import Index, LinkRole
from kafkalab.ui.model.changes import ChangeSet, Part
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link
from kafkalab.ui.panels.delegates import EDGE, RowDelegate
from kafkalab.ui.panels.selection import Selection
from kafkalab.ui.theme.tokens import DARK, RADIUS_FIELD, Theme

ROW_HEIGHT: Final = 23
INDENT: Final = 16
WIDTH_MIN: Final = 150
EXPANDED_MAX: Final = 50
ARROW: Final = 3
SHIFT: Final = 6
"""Everything stands this much further right than Qt would have it, in line with the dock's title."""


class _Tree(QTreeView):
    """A tree whose arrows are small and whose selection reaches from edge to edge."""

    def __init__(self) -> None:
        super().__init__()
        self.theme: Theme = DARK

    def drawRow(self, painter: QPainter, options: QStyleOptionViewItem, index: Index) -> None:
        if self.selectionModel().isSelected(index):
            painter.save()
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(self.theme.selection))
            band = QRectF(EDGE, options.rect.top(), self.viewport().width() - 2 * EDGE, options.rect.height())
            painter.drawRoundedRect(band, RADIUS_FIELD, RADIUS_FIELD)
            painter.restore()
        super().drawRow(painter, options, index)

    def drawBranches(self, painter: QPainter, rect: QRect, index: Index) -> None:
        model = self.model()
        if model is None or not model.hasChildren(index):
            return
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(self.theme.text if not index.parent().isValid() else self.theme.muted))
        middle = QPoint(rect.right() - INDENT // 2 + SHIFT + 1, rect.center().y() + 1)
        if self.isExpanded(index):
            corners = [QPoint(-ARROW, -ARROW + 1), QPoint(ARROW, -ARROW + 1), QPoint(0, ARROW)]
        else:
            corners = [QPoint(-ARROW + 1, -ARROW), QPoint(-ARROW + 1, ARROW), QPoint(ARROW, 0)]
        painter.drawPolygon(QPolygon([middle + corner for corner in corners]))
        painter.restore()


class ExplorerPanel(QWidget):
    """The tree; what is selected in it is selected everywhere."""

    context_requested = Signal(object, QPoint)
    activated = Signal(object)

    def __init__(self, cluster: ClusterModel, selection: Selection, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._selection = selection
        self._following = False
        self._topics_seen = False
        self._model = ExplorerModel(cluster, self)
        self._tree = _Tree()
        self._tree.setModel(self._model)
        self._delegate = RowDelegate(self._tree, padding=2 + SHIFT, height=ROW_HEIGHT, bands=False)
        self._tree.setItemDelegate(self._delegate)
        self._tree.setHeaderHidden(True)
        self._tree.setUniformRowHeights(True)
        self._tree.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._tree.setIndentation(INDENT)
        self._tree.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self._tree.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self._tree.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self._tree.setExpandsOnDoubleClick(False)
        self._tree.setAccessibleName("Explorer")
        self._tree.customContextMenuRequested.connect(self._ask_for_menu)
        self._tree.selectionModel().currentChanged.connect(self._current_changed)
        self._tree.doubleClicked.connect(self._activate)
        self._tree.clicked.connect(self._clicked)
        self._tree.setProperty("role", "panel")
        for section in range(GROUPS + 2):
            self._tree.setExpanded(self._model.section_index(section), True)
        self.setMinimumWidth(WIDTH_MIN)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._filter = QLineEdit()
        self._filter.setPlaceholderText("filter…")
        self._filter.setClearButtonEnabled(True)
        self._filter.setProperty("role", "quiet")
        self._filter.setAccessibleName("Filter topics, groups and clients")
        self._filter.setToolTip("Part of a topic's, partition's, group's or client's name: orders, orders-12, billing")
        self._filter.textChanged.connect(self._narrow)
        place = QHBoxLayout()
        place.setContentsMargins(6, 0, 6, 2)
        place.addWidget(self._filter)
        column.setSpacing(0)
        column.addLayout(place)
        column.addWidget(self._tree)
        selection.changed.connect(self._follow)

    @property
    def model(self) -> ExplorerModel:
        """The tree's rows."""
        return self._model

    @property
    def tree(self) -> QTreeView:
        """The tree itself."""
        return self._tree

    def set_theme(self, theme: Theme) -> None:
        """Draw in these colours."""
        self._delegate.set_theme(theme)
        self._tree.theme = theme
        self._tree.viewport().update()

    def refresh(self, now_ms: float) -> None:
        """Bring everything up to date."""
        self._model.refresh(now_ms)
        self._expand_first_topic()

    def apply(self, changes: ChangeSet, now_ms: float) -> None:
        """Bring up to date what changed."""
        self._model.apply(changes, now_ms)
        if Part.TOPICS in changes:
            self._expand_first_topic()

    def tick(self, now_ms: float) -> None:
        """Time passed."""
        self._model.tick(now_ms)

    def set_show_internal(self, show: bool) -> None:
        """Show or hide the cluster's own topics."""
        self._model.set_show_internal(show)

    @property
    def filter_field(self) -> QLineEdit:
        """Where what is looked for is typed."""
        return self._filter

    def _narrow(self, text: str) -> None:
        self._model.set_filter(text)
        if self._model.is_narrowed_to_partitions:
            # Whoever asks for a partition wants to see it.
            section = self._model.section_index(TOPICS)
            for row in range(min(self._model.rowCount(section), EXPANDED_MAX)):
                self._tree.setExpanded(self._model.index(row, 0, section), True)
        self._follow(self._selection.link)

    def _expand_first_topic(self) -> None:
        # So that one sees that topics have partitions; what the user folds stays folded.
        first = self._model.index(0, 0, self._model.section_index(TOPICS))
        if not self._topics_seen and first.isValid():
            self._topics_seen = True
            self._tree.setExpanded(first, True)

    def _current_changed(self, current: QModelIndex) -> None:
        link = current.data(LinkRole)
        if isinstance(link, Link) and not self._following:
            self._selection.select(link)

    def _follow(self, link: Link | None) -> None:
        index = self._model.index_of(link)
        if index == self._tree.currentIndex():
            return
        self._following = True
        if index.isValid():
            self._tree.setCurrentIndex(index)
            self._tree.scrollTo(index)
        else:
            self._tree.clearSelection()
            self._tree.setCurrentIndex(QModelIndex())
        self._following = False

    def _activate(self, index: QModelIndex) -> None:
        link = index.data(LinkRole)
        if isinstance(link, Link):
            self.activated.emit(link)

    def _clicked(self, index: QModelIndex) -> None:
        # A section stands for nothing that could be selected: a click folds it.
        if not isinstance(index.data(LinkRole), Link):
            self._tree.setExpanded(index, not self._tree.isExpanded(index))

    def _ask_for_menu(self, position: QPoint) -> None:
        link = self._tree.indexAt(position).data(LinkRole)
        if isinstance(link, Link):
            self.context_requested.emit(link, self._tree.viewport().mapToGlobal(position))
