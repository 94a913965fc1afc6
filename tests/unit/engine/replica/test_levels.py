"""What the screen hears of a replica's segments."""

from __future__ import annotations

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.log.segment import SegmentInfo
from kafkalab.engine.replica.levels import segments_level
from kafkalab.engine.telemetry.levels import SEGMENTS_TOLD_MAX, SegmentFacts


class FakeLog:
    """As much of a log as is told."""

    topic_partition = TopicPartition("orders", 0)

    def __init__(self, bases: list[int], end: int, first_dirty_offset: int | None = None) -> None:
        self.log_end_offset = end
        self.first_dirty_offset = first_dirty_offset
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
