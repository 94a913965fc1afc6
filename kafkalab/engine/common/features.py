"""The levels of the cluster's features that this program works at (KIP-584)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

METADATA_VERSION: Final = 30
"""4.3-IV0."""
SUPPORTED_FEATURES: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {
        "eligible.leader.replicas.version": (0, 1),
        "group.version": (0, 1),
        "kraft.version": (0, 0),
        "metadata.version": (METADATA_VERSION, METADATA_VERSION),
        "share.version": (0, 1),
        "streams.version": (0, 1),
        "transaction.version": (0, 2),
    }
)
"""(lowest, highest) level by feature, by name."""
FINALIZED_AT_FIRST: Final[Mapping[str, int]] = MappingProxyType(
    {
        "eligible.leader.replicas.version": 1,
        "metadata.version": METADATA_VERSION,
    }
)
"""Levels that a new cluster starts with.

Those of the protocols that are not served stay out. A directory that Apache Kafka formatted names them
all; its nodes come up here too, and what a client asks of those protocols it is refused by API.
"""
