"""Whether what is gone from the beginning of a log went lawfully: by its age, by its size, or because somebody asked for it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from kafkalab.engine.log.retention import Cause

if TYPE_CHECKING:
    from kafkalab.engine.simulation.committed import CommittedLog
    from kafkalab.engine.simulation.world import SimWorld
    from kafkalab.engine.telemetry.events import SegmentsDeleted

_Key = tuple[uuid.UUID, int]

FOREVER: Final = -1
"""retention.ms and retention.bytes where nothing goes."""


class RetentionWatch:
    """Knows up to where each log may have been deleted."""

    def __init__(self, world: SimWorld) -> None:
        self._world = world
        self._lawful: dict[_Key, int] = {}
        self.deletions = 0
        """How often segments were deleted for their age or their size."""

    def lawful_start(self, key: _Key) -> int:
        """No replica's log may begin later."""
        return self._lawful.get(key, 0)

    def why(self, key: _Key) -> str:
        """What may have been deleted, in words."""
        return f"nothing from {self.lawful_start(key)} on was old enough, too much, or asked to be deleted"

    def may_delete(self, topic_id: uuid.UUID, index: int, offset: int) -> None:
        """Somebody asks for the records before an offset to be deleted."""
        key = (topic_id, index)
        self._lawful[key] = max(self._lawful.get(key, 0), offset)

    def deleted(self, event: SegmentsDeleted, committed: CommittedLog) -> str | None:
        """A broker has deleted segments: why it may not have, None when it may.

        The first that deletes something is asked for its reasons; all others may follow.
        """
        sim = self._world.nodes.get(event.node_id)
        manager = None if sim is None or sim.node is None else sim.node.replica_manager
        partition = None if manager is None else manager.partition((event.topic, event.partition))
        if sim is None or partition is None:
            return None
        key = (partition.topic_id, event.partition)
        name = f"{event.topic}-{event.partition} on broker {event.node_id}"
        before, start_offset, config = self.lawful_start(key), event.log_start_offset, partition.log.config
        if event.cause == Cause.LOG_START or start_offset <= before:
            return None
        if start_offset > partition.high_watermark:
            return f"{name}: segments up to {start_offset} went; its high watermark is {partition.high_watermark}"
        if event.cause == Cause.SIZE:
            if config.retention_bytes == FOREVER or partition.log.size_bytes < config.retention_bytes:
                return f"{name}: {partition.log.size_bytes} bytes are left, {config.retention_bytes} are to be kept"
        else:
            oldest_ms = sim.storage.wall_ms() - config.retention_ms
            young = next((one for one in committed.batches(before, start_offset) if one.max_timestamp > oldest_ms), None)
            if config.retention_ms == FOREVER or young is not None:
                return f"{name}: {young} went, and is to be kept for {config.retention_ms} ms"
        self.deletions += 1
        self.may_delete(*key, start_offset)
        return None
