"""The states of a classic group, and which may follow which.

Code, tests and the diagram on screen read this one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class GroupState(StrEnum):
    """Where a classic group is in its life; the values are Kafka's spelling."""

    EMPTY = "Empty"
    """No members; perhaps offsets."""
    PREPARING_REBALANCE = "PreparingRebalance"
    """Members are being waited for."""
    COMPLETING_REBALANCE = "CompletingRebalance"
    """Everybody joined; the leader's assignment is being waited for."""
    STABLE = "Stable"
    """Each member has its assignment."""
    DEAD = "Dead"
    """Deleted, or moved to another coordinator."""


VALID_PREVIOUS: Final[Mapping[GroupState, frozenset[GroupState]]] = MappingProxyType(
    {
        GroupState.EMPTY: frozenset({GroupState.PREPARING_REBALANCE}),
        GroupState.PREPARING_REBALANCE: frozenset({GroupState.EMPTY, GroupState.STABLE, GroupState.COMPLETING_REBALANCE}),
        GroupState.COMPLETING_REBALANCE: frozenset({GroupState.PREPARING_REBALANCE}),
        GroupState.STABLE: frozenset({GroupState.COMPLETING_REBALANCE}),
        GroupState.DEAD: frozenset(GroupState),
    }
)
"""From which states each state may be entered."""
