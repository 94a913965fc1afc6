"""The stage: one view at a time, chosen by its tab; messages above it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QTabWidget, QVBoxLayout, QWidget

from kafkalab.ui.model.links import Link, LinkKind
from kafkalab.ui.panels.widgets import Banner

CLUSTER: Final = "Cluster"
TOPIC: Final = "Topic"
GROUPS: Final = "Groups"
FAILOVER: Final = "Failover"
CLIENTS: Final = "Clients"
VIEWS: Final = (CLUSTER, TOPIC, GROUPS, FAILOVER, CLIENTS)

VIEW_OF: Final[Mapping[LinkKind, str]] = {
    LinkKind.CLUSTER: CLUSTER,
    LinkKind.NODE: CLUSTER,
    LinkKind.QUORUM: CLUSTER,
    LinkKind.TOPIC: TOPIC,
    LinkKind.PARTITION: TOPIC,
    LinkKind.REPLICA: TOPIC,
    LinkKind.GROUP: GROUPS,
    LinkKind.CLIENT: CLIENTS,
    LinkKind.CONNECTION: CLIENTS,
    LinkKind.FAILOVER: FAILOVER,
    LinkKind.LINK: CLUSTER,
}
"""The view that tells most about a thing."""


class Stage(QWidget):
    """Tabs over views."""

    view_changed = Signal(str)

    def __init__(self, views: Mapping[str, QWidget], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._views = dict(views)
        self.banner = Banner()
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setDrawBase(False)
        self.tabs.tabBar().setExpanding(False)
        self.tabs.setAccessibleName("Views")
        self.tabs.tabBar().setAccessibleName("Views")
        for name, view in self._views.items():
            self.tabs.addTab(view, name)
        self.tabs.currentChanged.connect(lambda _: self.view_changed.emit(self.current))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.banner)
        column.addWidget(self.tabs)

    @property
    def current(self) -> str:
        """The view in front."""
        return self.tabs.tabText(self.tabs.currentIndex())

    @property
    def current_view(self) -> QWidget:
        """Its widget."""
        return self._views[self.current]

    def show_view(self, name: str) -> None:
        """Bring a view to the front."""
        self.tabs.setCurrentWidget(self._views[name])

    def show_for(self, link: Link) -> None:
        """Bring the view to the front that tells most about a thing."""
        self.show_view(VIEW_OF[link.kind])
