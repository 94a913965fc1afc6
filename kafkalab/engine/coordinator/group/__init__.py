"""Groups: who is a member, who reads what, and how far.

:class:`GroupCoordinator` is what a broker holds; ``states.py`` is the state table that the screen
draws from.
"""

from __future__ import annotations

from kafkalab.engine.coordinator.group.caller import Caller, Respond
from kafkalab.engine.coordinator.group.offsets import OffsetCommit, PartitionOffset
from kafkalab.engine.coordinator.group.service import GroupCoordinator, java_abs, java_hash
from kafkalab.engine.coordinator.group.states import VALID_PREVIOUS, GroupState

__all__ = [
    "VALID_PREVIOUS",
    "Caller",
    "GroupCoordinator",
    "GroupState",
    "OffsetCommit",
    "PartitionOffset",
    "Respond",
    "java_abs",
    "java_hash",
]
