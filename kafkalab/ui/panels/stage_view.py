"""What the views of the stage have in common: they are brought up to date while they are seen."""

from __future__ import annotations

from typing import ClassVar

from PySide6.QtCore import QPoint, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QWidget

from kafkalab.ui.model.changes import ChangeSet, Part


class StageView(QWidget):
    """A view that remembers, while it is not seen, that there is something to be shown."""

    context_requested = Signal(object, QPoint)

    PARTS: ClassVar[tuple[Part, ...]]
    """What it shows: other changes do not concern it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._stale = True

    def apply(self, changes: ChangeSet) -> None:
        """Bring up to date what changed; unseen, remember that something did."""
        if changes.touches(*self.PARTS):
            self._refresh_when_seen()

    def refresh(self) -> None:
        """Show everything as it is now. Each view does it its own way, and calls this."""
        self._stale = False

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._stale:
            self.refresh()

    def _refresh_when_seen(self) -> None:
        if self.isVisible():
            self.refresh()
        else:
            self._stale = True
