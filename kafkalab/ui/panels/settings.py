"""What the window remembers. A value that is missing or makes no sense is the default; nothing else is touched."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from PySide6.QtCore import QByteArray, QSettings

LAYOUT_VERSION: Final = 1
"""Raised when docks change, so that an old arrangement is not forced on new docks."""


class WindowSettings:
    """Typed access to the settings file."""

    def __init__(self, store: QSettings) -> None:
        self._store = store

    @property
    def path(self) -> str:
        """Where they are kept."""
        return self._store.fileName()

    def text(self, key: str, default: str, allowed: Collection[str] = ()) -> str:
        """A word, one of ``allowed`` where that is given."""
        value = self._store.value(key, default)
        if not isinstance(value, str) or (allowed and value not in allowed):
            return default
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Yes or no."""
        value = self._store.value(key, default)
        if isinstance(value, bool):
            return value
        return {"true": True, "false": False}.get(str(value).lower(), default)

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A number within bounds."""
        try:
            value = float(str(self._store.value(key, default)))
        except ValueError:
            return default
        return value if low <= value <= high else default

    def blob(self, key: str) -> QByteArray:
        """What Qt packed; empty when it is not there or was packed for another arrangement."""
        if self.number("layout/version", LAYOUT_VERSION, 0, 10_000) != LAYOUT_VERSION:
            return QByteArray()
        value = self._store.value(key)
        return value if isinstance(value, QByteArray) else QByteArray()

    def put(self, key: str, value: object) -> None:
        """Remember a value."""
        self._store.setValue(key, value)

    def forget_layout(self) -> None:
        """Forget the arrangement of the window."""
        self._store.remove("layout")

    def save(self) -> None:
        """Write them out."""
        self._store.setValue("layout/version", LAYOUT_VERSION)
        self._store.sync()
