"""The levels of the cluster's features that this program works at (KIP-584)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

METADATA_VERSION: Final = 30
"""4.3-IV0."""
SUPPORTED_FEATURES: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {"kraft.version": (0, 0), "metadata.version": (METADATA_VERSION, METADATA_VERSION)}
)
"""(lowest, highest) level by feature, by name."""
