"""Tells the screen where replicas stand: the latest values of those that changed, not every change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafkalab.engine.telemetry.levels import (
    SEGMENTS_INTERVAL_MS,
    SEGMENTS_TOLD_MAX,
    ReplicaKey,
    ReplicaLevel,
    SegmentFacts,
    SegmentsKey,
    SegmentsLevel,
    until_sample_ms,
)

if TYPE_CHECKING:
    from kafkalab.engine.common.time import Clock, Timer
    from kafkalab.engine.log.log import Log
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
        self._segments_changed: dict[Partition, None] = {}
        self._segments_timer: Timer | None = None
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
            self._timer = self._clock.call_later(until_sample_ms(self._clock.now_ms()), self._sample)

    def _sample(self) -> None:
        self._timer = None
        self._tell_offsets()

    def _tell_offsets(self) -> None:
        changed, self._changed = self._changed, []
        if self._segments_timer is None and changed:
            self._segments_timer = self._clock.call_later(
                until_sample_ms(self._clock.now_ms(), SEGMENTS_INTERVAL_MS), self._sample_segments
            )
        for partition in changed:
            self._segments_changed[partition] = None
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

    def _sample_segments(self) -> None:
        # Of the same moment as the segments: an active one ends where its log does.
        self._tell_offsets()
        self._segments_timer = None
        changed, self._segments_changed = self._segments_changed, {}
        for partition in changed:
            topic, index = partition.topic_partition
            self._sink.level(SegmentsKey(self._node_id, topic, index), segments_level(partition.log))

    def forget(self, partition: Partition) -> None:
        """The replica is gone."""
        if partition.is_changed:
            self._changed.remove(partition)
        # Whatever is left of the partition must not come back into a sample.
        partition.is_changed = True
        topic, index = partition.topic_partition
        self._segments_changed.pop(partition, None)
        self._sink.level(ReplicaKey(self._node_id, topic, index), None)
        self._sink.level(SegmentsKey(self._node_id, topic, index), None)

    def close(self) -> None:
        """Sample no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._segments_timer is not None:
            self._segments_timer.cancel()
            self._segments_timer = None


def segments_level(log: Log) -> SegmentsLevel:
    """A log's newest segments."""
    told = log.segments()
    omitted = max(0, len(told) - SEGMENTS_TOLD_MAX)
    del told[:omitted]
    ends = [segment.base_offset for segment in told[1:]]
    ends.append(log.log_end_offset)
    active = len(told) - 1
    return SegmentsLevel(
        segments=tuple(
            SegmentFacts(one.base_offset, end, one.size_bytes, one.max_timestamp, number == active)
            for number, (one, end) in enumerate(zip(told, ends, strict=True))
        ),
        omitted=omitted,
        first_dirty_offset=-1 if log.first_dirty_offset is None else log.first_dirty_offset,
    )
