"""The docks around the stage: made, found by title, and brought back to where they were at first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDockWidget, QMainWindow, QWidget

from kafkalab.ui.panels.widgets import DockTitle

EXPLORER: Final = "Explorer"
INSPECTOR: Final = "Inspector"
TIMELINE: Final = "Timeline"
EXPLORER_WIDTH: Final = 212
INSPECTOR_WIDTH: Final = 300
TIMELINE_HEIGHT: Final = 166
_AREAS: Final = {
    EXPLORER: Qt.DockWidgetArea.LeftDockWidgetArea,
    INSPECTOR: Qt.DockWidgetArea.RightDockWidgetArea,
    TIMELINE: Qt.DockWidgetArea.BottomDockWidgetArea,
}


class Docks:
    """Explorer at the left, inspector at the right, timeline at the foot; the user may have it otherwise."""

    def __init__(self, window: QMainWindow) -> None:
        self._window = window
        self._docks: dict[str, QDockWidget] = {}

    def __iter__(self) -> Iterator[QDockWidget]:
        return iter(self._docks.values())

    def __getitem__(self, title: str) -> QDockWidget:
        return self._docks[title]

    def add(self, title: str, panel: QWidget, *extras: QWidget) -> None:
        """Put a panel into a dock of its own; extras stand in its title."""
        dock = QDockWidget(title, self._window)
        dock.setObjectName(f"dock.{title.lower()}")
        dock.setWidget(panel)
        dock.setTitleBarWidget(DockTitle(title, *extras))
        dock.setAccessibleName(title)
        self._window.addDockWidget(_AREAS[title], dock)
        self._docks[title] = dock

    def reset(self) -> None:
        """Every dock where it was at the first start."""
        for title, dock in self._docks.items():
            dock.setFloating(False)
            self._window.addDockWidget(_AREAS[title], dock)
            dock.show()
        self.resize()

    def resize(self) -> None:
        """Every dock as large as at the first start."""
        beside = [self._docks[EXPLORER], self._docks[INSPECTOR]]
        self._window.resizeDocks(beside, [EXPLORER_WIDTH, INSPECTOR_WIDTH], Qt.Orientation.Horizontal)
        self._window.resizeDocks([self._docks[TIMELINE]], [TIMELINE_HEIGHT], Qt.Orientation.Vertical)
