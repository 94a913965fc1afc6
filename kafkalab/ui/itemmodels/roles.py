"""What item models say about a cell beside its text."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, Qt

Index = QModelIndex | QPersistentModelIndex
NO_PARENT: Final = QModelIndex()

LinkRole: Final = int(Qt.ItemDataRole.UserRole) + 10
"""The ``Link`` to the thing that a row speaks of."""
ToneRole: Final = int(Qt.ItemDataRole.UserRole) + 11
"""The ``Tone`` in which the text is drawn."""
MonoRole: Final = int(Qt.ItemDataRole.UserRole) + 12
"""True where figures stand: drawn in the tabular face."""
GlyphRole: Final = int(Qt.ItemDataRole.UserRole) + 13
"""A sign drawn before the text."""
ColourRole: Final = int(Qt.ItemDataRole.UserRole) + 14
"""The index of a topic's colour, drawn as a small square before the text."""
SortRole: Final = int(Qt.ItemDataRole.UserRole) + 15
"""The value by which a column sorts."""
