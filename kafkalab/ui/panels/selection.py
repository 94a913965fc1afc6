"""The one selection of the window: what it is, and what it was before."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QObject, Signal

from kafkalab.ui.model.links import Link

HISTORY_MAX: Final = 100


class Selection(QObject):
    """A thing chosen in one place is the thing shown everywhere; earlier ones can be gone back to."""

    changed = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._link: Link | None = None
        self._past: list[Link] = []
        self._future: list[Link] = []

    @property
    def link(self) -> Link | None:
        """What is selected."""
        return self._link

    def select(self, link: Link | None) -> None:
        """Select something; None selects nothing."""
        if link == self._link:
            return
        if self._link is not None:
            self._past.append(self._link)
            del self._past[:-HISTORY_MAX]
        self._future.clear()
        self._set(link)

    def back(self) -> None:
        """To what was selected before."""
        if self._past:
            if self._link is not None:
                self._future.append(self._link)
            self._set(self._past.pop())

    def forward(self) -> None:
        """To what was selected before going back."""
        if self._future:
            if self._link is not None:
                self._past.append(self._link)
            self._set(self._future.pop())

    @property
    def can_go_back(self) -> bool:
        """There was something before."""
        return bool(self._past)

    @property
    def can_go_forward(self) -> bool:
        """One has gone back."""
        return bool(self._future)

    def _set(self, link: Link | None) -> None:
        self._link = link
        self.changed.emit(link)
