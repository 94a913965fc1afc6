"""Indexes of sealed segments: in memory while they are searched, on the disk otherwise."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import pytest

from kafkalab.engine.log.index import OffsetIndex, TimeIndex
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.segments import INDEXED_SEGMENTS_MAX
from kafkalab.engine.record.batch import Record, build_batch, iter_records

OpenLog = Callable[..., Log]
NOW = 1_700_000_000_000
COUNT = 400


def filled(open_log: OpenLog) -> Log:
    log = open_log(segment_bytes=1 << 20, index_interval_bytes=4096)
    for number in range(COUNT):
        log.append_as_leader(build_batch([Record(0, NOW + number, None, b"x" * 20_000)]), 0)
    assert log.segment_count > 6
    return log


def in_memory(log: Log) -> int:
    return sum(segment._index is not None for segment in log.sealed_segments())


@pytest.mark.parametrize("stop", [None, "close", "abandon"])
def test_few_indexes_stay_in_memory_and_every_offset_and_time_is_found(open_log: OpenLog, stop: str | None) -> None:
    log = filled(open_log)
    assert in_memory(log) <= INDEXED_SEGMENTS_MAX
    if stop is not None:
        getattr(log, stop)()
        log = open_log(clean=stop == "close", segment_bytes=1 << 20, index_interval_bytes=4096)
        assert in_memory(log) == 0
    before = [(info.base_offset, info.max_timestamp) for info in log.segments()]
    for offset in [*range(0, COUNT, 7), *range(COUNT - 1, 0, -13)]:
        assert next(iter_records(log.read(offset, 1))).offset == offset
        assert log.offset_for_timestamp(NOW + offset) == (NOW + offset, offset, 0)
        assert in_memory(log) <= INDEXED_SEGMENTS_MAX
    assert log.max_timestamp() == (NOW + COUNT - 1, COUNT - 1, 0)
    assert [(info.base_offset, info.max_timestamp) for info in log.segments()] == before
    log.abandon()


def test_a_log_that_is_cut_back_into_a_sealed_segment_goes_on(open_log: OpenLog) -> None:
    log = filled(open_log)
    log.read(0, 1)
    log.truncate_to(60)
    for number in range(60, 200):
        log.append_as_leader(build_batch([Record(0, NOW + number, None, b"y" * 20_000)]), 1)
    for offset in range(0, 200, 3):
        assert next(iter_records(log.read(offset, 1))).offset == offset
        assert log.offset_for_timestamp(NOW + offset) == (NOW + offset, offset, int(offset >= 60))
    log.close()


def test_a_large_time_index_is_read_as_it_was_written() -> None:
    index = TimeIndex()
    for number in range(3_000):
        index.maybe_append(NOW + number * number, number * 3)
    content = index.dump()
    for padding in (b"", bytes(12), bytes(120)):
        loaded = TimeIndex.load(content + padding)
        assert loaded is not None and loaded.dump() == content
        assert loaded.lookup(NOW + 100) == index.lookup(NOW + 100)
    assert TimeIndex.load(bytes(120)) is not None
    assert TimeIndex.load(content + content[:12]) is None
    assert TimeIndex.load(content[:24] + bytes(12) + content[24:]) is None
    assert TimeIndex.load(content[:-1]) is None


def test_offset_indexes_are_checked_unless_they_were_before() -> None:
    index = OffsetIndex()
    for number in range(1, 100):
        index.append(number, number * 100)
    content = index.dump()
    assert OffsetIndex.load(content + content, 1 << 20) is None
    assert OffsetIndex.load(content, 100) is None
    trusted = OffsetIndex.load(content + bytes(80), 1 << 20, is_trusted=True)
    assert trusted is not None and trusted.dump() == content
    assert isinstance(trusted._positions, array)
