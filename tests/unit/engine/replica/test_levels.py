"""What the screen hears of a replica's segments."""

from __future__ import annotations

from typing import cast

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.log.segment import SegmentInfo
from kafkalab.engine.replica.levels import ReplicaLevels, segments_level
from kafkalab.engine.replica.partition import Partition
from kafkalab.engine.telemetry.events import Event
from kafkalab.engine.telemetry.levels import (
    LEVEL_INTERVAL_MS,
    SEGMENTS_INTERVAL_MS,
    SEGMENTS_TOLD_MAX,
    Level,
    LevelKey,
    ReplicaLevel,
    SegmentFacts,
    SegmentsLevel,
)


class FakeLog:
    """As much of a log as is told."""

    log_start_offset = 0

    def __init__(self, bases: list[int], end: int, first_dirty_offset: int | None = None) -> None:
        self.log_end_offset = end
        self.first_dirty_offset = first_dirty_offset
        self.segment_count = len(bases)
        self.size_bytes = 100 * len(bases)
        self._segments = [SegmentInfo(base, 100, base) for base in bases]

    def segments(self) -> list[SegmentInfo]:
        return list(self._segments)


def test_a_segment_ends_where_the_next_begins_and_the_last_is_the_active_one() -> None:
    level = segments_level(FakeLog([0, 10, 25], 30, 10))  # type: ignore[arg-type]
    assert level.segments == (
        SegmentFacts(0, 10, 100, 0, False),
        SegmentFacts(10, 25, 100, 10, False),
        SegmentFacts(25, 30, 100, 25, True),
    )
    assert (level.omitted, level.first_dirty_offset) == (0, 10)


def test_only_the_newest_are_told() -> None:
    level = segments_level(FakeLog(list(range(SEGMENTS_TOLD_MAX + 3)), SEGMENTS_TOLD_MAX + 3))  # type: ignore[arg-type]
    assert len(level.segments) == SEGMENTS_TOLD_MAX
    assert level.omitted == 3
    assert level.segments[0].base_offset == 3
    assert level.first_dirty_offset == -1


class FakePartition:
    """As much of a replica as is told."""

    topic_partition = TopicPartition("t", 0)
    is_changed = is_leader = False
    leader_epoch = 0
    high_watermark = 7

    def __init__(self) -> None:
        self.log = FakeLog([0], 7)


class Heard:
    """A sink that knows when each level came, and how far the log went by it."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.offsets: list[tuple[float, int]] = []
        self.segments: list[tuple[float, int]] = []

    def emit(self, event: Event) -> None:
        raise AssertionError(event)

    def level(self, key: LevelKey, value: Level | None) -> None:
        if isinstance(value, ReplicaLevel):
            self.offsets.append((self._clock.now_ms(), value.log_end_offset))
        elif isinstance(value, SegmentsLevel):
            self.segments.append((self._clock.now_ms(), value.segments[-1].end_offset))


def test_all_nodes_are_sampled_at_the_same_beats() -> None:
    clock = ManualClock()
    heard = Heard(clock)
    for node_id, marked_ms in ((1, 0.1), (2, 120.0), (3, 249.0)):
        clock.advance(marked_ms - clock.now_ms())
        ReplicaLevels(node_id=node_id, clock=clock, sink=heard).mark(cast(Partition, FakePartition()))
        clock.advance(LEVEL_INTERVAL_MS)
    assert heard.offsets == [(50.0, 7), (150.0, 7), (250.0, 7)]
    clock.advance(SEGMENTS_INTERVAL_MS)
    assert heard.segments == [(SEGMENTS_INTERVAL_MS, 7)] * 3


def test_segments_are_told_with_the_offsets_of_the_same_moment() -> None:
    clock = ManualClock()
    heard = Heard(clock)
    levels = ReplicaLevels(node_id=1, clock=clock, sink=heard)
    partition = FakePartition()
    levels.mark(cast(Partition, partition))
    clock.advance(SEGMENTS_INTERVAL_MS - 1)
    partition.log.log_end_offset = 8
    levels.mark(cast(Partition, partition))
    clock.advance(1)
    assert heard.offsets[-1] == heard.segments[-1] == (SEGMENTS_INTERVAL_MS, 8)
    clock.advance(2 * SEGMENTS_INTERVAL_MS)
    assert (len(heard.offsets), len(heard.segments)) == (2, 1)
