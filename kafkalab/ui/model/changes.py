"""What one call of ``ClusterModel.apply`` changed, so that views redraw that and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from kafkalab.engine.common.ids import TopicPartition


class Part(StrEnum):
    """A part of the model that views watch."""

    NODES = "nodes"  # a node came, or its state or address changed
    QUORUM = "quorum"  # a member's raft state, epoch, leader or a vote
    QUORUM_OFFSETS = "quorum_offsets"  # high watermarks and log ends of the members only
    TOPICS = "topics"  # a topic came, went or changed its facts
    PARTITIONS = "partitions"  # leaders, ISR, roles of replicas
    REPLICAS = "replicas"  # offsets and sizes of replicas only
    CLIENTS = "clients"  # clients or their links to nodes came, went or broke
    CONNECTIONS = "connections"  # a connection came, went or changed its facts
    RATES = "rates"  # a new sample of all rates (a few times a second)
    GROUPS = "groups"  # group state, members or assignment
    LAG = "lag"  # committed offsets and lag (with each sample)
    TIMELINE = "timeline"  # rows were added or the last ones rewritten
    FAILOVER = "failover"  # leadership bands or marks
    HEALTH = "health"  # the pill's words
    NOTICE = "notice"  # the sentence at the foot of the stage
    FAULTS = "faults"  # links that are broken on purpose, clocks that were set wrong
    DROPPED = "dropped"  # the count of dropped events


@dataclass(slots=True)
class ChangeSet:
    """The parts that changed, with the names of the things where that helps a view."""

    parts: set[Part] = field(default_factory=set)
    nodes: set[int] = field(default_factory=set)
    topics: set[str] = field(default_factory=set)
    partitions: set[TopicPartition] = field(default_factory=set)
    clients: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    timeline_removed: int = 0
    """How many of the oldest rows went away (before anything else is read)."""
    timeline_rewritten_from: int = -1
    """The lowest index (after removal) among rows that existed before and were rewritten, -1: none."""
    timeline_added: int = 0
    """How many rows were appended at the end."""

    def __contains__(self, part: object) -> bool:
        return part in self.parts

    def __bool__(self) -> bool:
        return bool(self.parts)

    def touches(self, *parts: Part) -> bool:
        """True when any of the parts changed."""
        return not self.parts.isdisjoint(parts)
