"""Tells the screen where replicas stand: the latest values of those that changed, not every change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafkalab.engine.telemetry.levels import LEVEL_INTERVAL_MS, ReplicaKey, ReplicaLevel

if TYPE_CHECKING:
    from kafkalab.engine.common.time import Clock, Timer
    from kafkalab.engine.replica.partition import Partition
    from kafkalab.engine.telemetry.hub import TelemetrySink


class ReplicaLevels:
    """Samples changed partitions. The timer runs only while something has changed."""

    def __init__(self, *, node_id: int, clock: Clock, sink: TelemetrySink) -> None:
        self._node_id = node_id
        self._clock = clock
        self._sink = sink
        self._changed: list[Partition] = []
        self._timer: Timer | None = None
        self.changes = 0
        """Counts samples; whoever compares it knows whether offsets have moved since."""

    def mark(self, partition: Partition) -> None:
        """Take the partition into the next sample."""
        if partition.is_changed:
            return
        partition.is_changed = True
        self._changed.append(partition)
        self.changes += 1
        if self._timer is None:
            self._timer = self._clock.call_later(LEVEL_INTERVAL_MS, self._sample)

    def _sample(self) -> None:
        self._timer = None
        changed, self._changed = self._changed, []
        for partition in changed:
            partition.is_changed = False
            topic, index = partition.topic_partition
            log = partition.log
            self._sink.level(
                ReplicaKey(self._node_id, topic, index),
                ReplicaLevel(
                    is_leader=partition.is_leader,
                    leader_epoch=partition.leader_epoch,
                    log_start_offset=log.log_start_offset,
                    log_end_offset=log.log_end_offset,
                    high_watermark=partition.high_watermark,
                    size_bytes=log.size_bytes,
                    segments=log.segment_count,
                ),
            )

    def forget(self, partition: Partition) -> None:
        """The replica is gone."""
        if partition.is_changed:
            self._changed.remove(partition)
        # Whatever is left of the partition must not come back into a sample.
        partition.is_changed = True
        topic, index = partition.topic_partition
        self._sink.level(ReplicaKey(self._node_id, topic, index), None)

    def close(self) -> None:
        """Sample no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
