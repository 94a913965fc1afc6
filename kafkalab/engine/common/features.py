"""The levels of the cluster's features that this program works at (KIP-584, KIP-1022)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from kafkalab.engine.common.metadata_versions import METADATA_VERSIONS

KRAFT_VERSION_FEATURE: Final = "kraft.version"
METADATA_VERSION_FEATURE: Final = "metadata.version"
METADATA_VERSION: Final = METADATA_VERSIONS[-1].level
"""4.3-IV0."""
SUPPORTED_FEATURES: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {
        "eligible.leader.replicas.version": (0, 1),
        "group.version": (0, 1),
        KRAFT_VERSION_FEATURE: (0, 1),
        METADATA_VERSION_FEATURE: (METADATA_VERSIONS[0].level, METADATA_VERSION),
        "share.version": (0, 1),
        "streams.version": (0, 1),
        "transaction.version": (0, 2),
    }
)
"""(lowest, highest) level by feature, by name."""
FINALIZED_AT_FIRST: Final[Mapping[str, int]] = MappingProxyType(
    {
        "eligible.leader.replicas.version": 1,
        METADATA_VERSION_FEATURE: METADATA_VERSION,
    }
)
"""Levels that a new cluster starts with.

Those of the protocols that are not served stay out. A directory that Apache Kafka formatted names them
all; its nodes come up here too, and what a client asks of those protocols it is refused by API.
"""

_DEFAULT_SINCE: Final[Mapping[str, tuple[tuple[int, int], ...]]] = MappingProxyType(
    {
        KRAFT_VERSION_FEATURE: ((1, 21),),
        "transaction.version": ((1, 24), (2, 24)),
        "group.version": ((1, 22),),
        "eligible.leader.replicas.version": ((1, 26),),
        "share.version": ((1, 28),),
        "streams.version": ((1, 29),),
    }
)
"""In Kafka's order: (level, the metadata.version from which on a directory is formatted with it)."""
FEATURE_ORDER: Final = tuple(_DEFAULT_SINCE)
_NEEDED_METADATA_VERSION: Final[Mapping[tuple[str, int], int]] = MappingProxyType({("eligible.leader.replicas.version", 1): 23})


def default_level(feature: str, metadata_version: int) -> int:
    """The level that a directory is formatted with for that metadata.version."""
    return max((level for level, since in _DEFAULT_SINCE[feature] if since <= metadata_version), default=0)


def unmet_dependency(feature: str, level: int, levels: Mapping[str, int]) -> str | None:
    """Why a feature other than metadata.version cannot have a level beside these; None when it can."""
    present = levels.get(METADATA_VERSION_FEATURE)
    lowest = METADATA_VERSIONS[0]
    if level >= 1 and (present is None or present < lowest.level):
        return f"{feature} could not be set to {level} because it depends on {METADATA_VERSION_FEATURE}={lowest.level} ({lowest.name})"
    needed = _NEEDED_METADATA_VERSION.get((feature, level))
    if needed is not None and (present is None or present < needed):
        return f"{feature} could not be set to {level} because it depends on {METADATA_VERSION_FEATURE} level {needed}"
    return None
