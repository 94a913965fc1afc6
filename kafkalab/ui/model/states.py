"""States that the window shows, each with its glyph, its word and its tone: never by colour alone."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple


class Tone(StrEnum):
    """Which colour token a fact is drawn in."""

    TEXT = "text"
    MUTED = "muted"
    ACCENT = "accent"
    OK = "ok"
    WARN = "warn"
    ERROR = "error"
    OFF = "off"


class Sign(NamedTuple):
    """How a state looks and what it is called."""

    glyph: str
    word: str
    tone: Tone


class NodeState(StrEnum):
    """A node as a person sees it: process and registration taken together."""

    STARTING = "starting"
    IN_SERVICE = "in_service"
    FENCED = "fenced"  # alive, and the controller does not count on it
    STOPPING = "stopping"
    STOPPED = "stopped"
    KILLED = "killed"
    CRASHED = "crashed"
    PAUSED = "paused"


NODE_SIGNS: Final[Mapping[NodeState, Sign]] = MappingProxyType(
    {
        NodeState.STARTING: Sign("◌", "starting", Tone.ACCENT),
        NodeState.IN_SERVICE: Sign("●", "in service", Tone.OK),
        NodeState.FENCED: Sign("▲", "fenced", Tone.WARN),
        NodeState.STOPPING: Sign("◌", "stopping", Tone.WARN),
        NodeState.STOPPED: Sign("■", "stopped", Tone.MUTED),
        NodeState.KILLED: Sign("✕", "killed", Tone.ERROR),
        NodeState.CRASHED: Sign("✕", "crashed", Tone.ERROR),
        NodeState.PAUSED: Sign("‖", "paused", Tone.WARN),
    }
)

DOWN_STATES: Final = frozenset({NodeState.STOPPED, NodeState.KILLED, NodeState.CRASHED})
"""No process: what the node held is out of reach until it starts again."""


class ReplicaRole(StrEnum):
    """What a replica is to its partition now."""

    LEADER = "leader"
    IN_SYNC = "in_sync"
    BEHIND = "behind"
    OFFLINE = "offline"


REPLICA_SIGNS: Final[Mapping[ReplicaRole, Sign]] = MappingProxyType(
    {
        ReplicaRole.LEADER: Sign("★", "leader", Tone.TEXT),
        ReplicaRole.IN_SYNC: Sign("●", "in sync", Tone.TEXT),
        ReplicaRole.BEHIND: Sign("○", "behind", Tone.WARN),
        ReplicaRole.OFFLINE: Sign("✕", "offline", Tone.OFF),
    }
)


class HealthLevel(StrEnum):
    """The pill's states, from good to bad."""

    STARTING = "starting"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    OFFLINE = "offline"
    NO_QUORUM = "no_quorum"


HEALTH_SIGNS: Final[Mapping[HealthLevel, Sign]] = MappingProxyType(
    {
        HealthLevel.STARTING: Sign("◌", "Starting", Tone.ACCENT),
        HealthLevel.HEALTHY: Sign("●", "Healthy", Tone.OK),
        HealthLevel.DEGRADED: Sign("▲", "Degraded", Tone.WARN),
        HealthLevel.OFFLINE: Sign("✕", "Offline", Tone.ERROR),
        HealthLevel.NO_QUORUM: Sign("✕", "No quorum", Tone.ERROR),
    }
)
