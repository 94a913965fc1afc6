"""Which segments go, in which order of rules, and what becomes of their files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.retention import Cause
from kafkalab.engine.log.segment import SegmentInfo
from kafkalab.engine.log.storage import FileStorage
from kafkalab.engine.record.batch import Record, build_batch

NOW = 1_700_000_000_000
FOREVER = {"retention_ms": -1, "retention_bytes": -1}


class Shelf:
    """A log of ten records, each in a segment of its own and a second younger than the one before."""

    def __init__(self, root: Path, **settings: object) -> None:
        self.clock = ManualClock()
        self.storage = FileStorage()
        self.directory = root / "orders-0"
        self.settings = {**FOREVER, "file_delete_delay_ms": 500, **settings}
        self.log = Log.open(
            self.directory,
            TopicPartition("orders", 0),
            LogConfig(**self.settings),  # type: ignore[arg-type]
            self.clock,
            storage=self.storage,
        )
        for number in range(10):
            self.put(NOW + 1000 * number)
            self.log.roll()
        self.segment_bytes = self.log.segments()[0].size_bytes
        self.deleted: list[tuple[Cause, list[int]]] = []

    def put(self, timestamp: int) -> None:
        record = Record(0, timestamp, b"k", b"v" * 100)
        self.log.append_as_leader(build_batch([record], producer_id=1, producer_epoch=0), 2, client=False)

    def retain(self, high_watermark: int = 10, **settings: object) -> list[tuple[Cause, list[int]]]:
        self.settings |= settings
        self.log.config = LogConfig(**self.settings)  # type: ignore[arg-type]

        def note(cause: Cause, segments: list[SegmentInfo]) -> None:
            self.deleted.append((cause, [segment.base_offset for segment in segments]))

        self.deleted = []
        count = self.log.delete_old_segments(high_watermark, note)
        assert count == sum(len(bases) for _, bases in self.deleted)
        return self.deleted

    def close(self) -> None:
        self.log.abandon()
        self.storage.close()
        assert self.clock.next_due_ms() is None


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_nothing_goes_by_default_of_forever(shelf: Shelf) -> None:
    shelf.clock.advance(10**12)
    assert shelf.retain() == []
    shelf.close()


def test_age_is_that_of_the_newest_record(shelf: Shelf) -> None:
    shelf.clock.advance(5000)
    assert shelf.retain(retention_ms=3000) == [(Cause.AGE, [0, 1])]
    assert shelf.log.log_start_offset == 2 and shelf.log.leader_epochs == [(2, 2)]
    # A clock that jumped back, or records from the future, keep everything.
    shelf.clock = ManualClock(wall_ms=NOW - 10**9)
    shelf.log._clock = shelf.clock
    assert shelf.retain() == []
    shelf.close()


def test_size_counts_what_is_left(shelf: Shelf) -> None:
    size = shelf.segment_bytes
    assert shelf.retain(retention_bytes=8 * size + 1) == [(Cause.SIZE, [0])]
    assert shelf.retain(retention_bytes=8 * size) == [(Cause.SIZE, [1])]
    assert shelf.retain(retention_bytes=0) == [(Cause.SIZE, [2, 3, 4, 5, 6, 7, 8, 9])]
    assert shelf.log.segment_count == 1 and shelf.log.log_start_offset == 10
    shelf.close()


def test_each_rule_goes_on_where_the_one_before_ended(shelf: Shelf) -> None:
    shelf.log.increment_log_start_offset(2)
    shelf.clock.advance(7500)
    found = shelf.retain(retention_bytes=6 * shelf.segment_bytes, retention_ms=2000)
    assert found == [(Cause.LOG_START, [0, 1]), (Cause.SIZE, [2, 3]), (Cause.AGE, [4, 5])]
    assert shelf.log.log_start_offset == 6
    shelf.close()


@pytest.mark.parametrize("policy", [frozenset({"compact"}), frozenset()])
def test_without_the_policy_only_deleted_records_go(shelf: Shelf, policy: frozenset[str]) -> None:
    shelf.log.increment_log_start_offset(3)
    assert shelf.log.segments()[0].base_offset == 0, "files go later"
    shelf.clock.advance(10**9)
    assert shelf.retain(cleanup_policy=policy, retention_ms=1, retention_bytes=0) == [(Cause.LOG_START, [0, 1, 2])]
    shelf.close()


def test_nothing_at_or_above_the_high_watermark_goes(shelf: Shelf) -> None:
    shelf.clock.advance(10**9)
    assert shelf.retain(4, retention_ms=0) == [(Cause.AGE, [0, 1, 2, 3])]
    assert shelf.retain(4) == []
    shelf.close()


def test_all_of_them_leave_an_empty_one(shelf: Shelf) -> None:
    shelf.put(NOW)
    shelf.clock.advance(10**9)
    assert shelf.retain(11, retention_ms=0) == [(Cause.AGE, list(range(11)))]
    assert [(info.base_offset, info.size_bytes) for info in shelf.log.segments()] == [(11, 0)]
    assert shelf.retain(11) == []
    shelf.put(NOW)
    assert shelf.log.log_end_offset == 12
    shelf.close()


def test_without_timestamps_the_file_tells_the_age(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.put(-1)
    shelf.log.roll()
    shelf.log.increment_log_start_offset(10)
    written_at_ms = NOW + 50_000
    os.utime(shelf.directory / f"{10:020d}.log", (written_at_ms / 1000, written_at_ms / 1000))
    shelf.clock.advance(50_900)
    assert shelf.retain(11, retention_ms=1000) == [(Cause.LOG_START, list(range(10)))]
    shelf.clock.advance(101)
    assert shelf.retain(11) == [(Cause.AGE, [10])]
    shelf.close()


def test_files_wait_and_snapshots_go(shelf: Shelf) -> None:
    shelf.clock.advance(5000)
    shelf.retain(retention_ms=3000)
    names = {path.name for path in shelf.directory.iterdir()}
    first, third = "0" * 20, f"{2:020d}"
    assert {f"{first}.log.deleted", f"{first}.index.deleted", f"{first}.timeindex.deleted", f"{third}.log"} <= names
    assert f"{1:020d}.snapshot" not in names and f"{third}.snapshot" in names
    shelf.clock.advance(499)
    assert (shelf.directory / f"{first}.log.deleted").exists()
    shelf.clock.advance(1)
    assert not list(shelf.directory.glob("*.deleted"))
    shelf.close()


def test_the_next_start_removes_what_a_stop_left(shelf: Shelf) -> None:
    shelf.clock.advance(5000)
    shelf.retain(retention_ms=3000)
    shelf.close()
    assert list(shelf.directory.glob("*.deleted"))
    storage = FileStorage()
    log = Log.open(shelf.directory, TopicPartition("orders", 0), LogConfig(), shelf.clock, storage=storage, recovery_point=10)
    assert (log.log_start_offset, log.log_end_offset) == (2, 10)
    assert not list(shelf.directory.glob("*.deleted"))
    log.abandon()
    storage.close()


def test_a_directory_on_its_way_out_takes_its_deleted_segments_along(shelf: Shelf) -> None:
    shelf.clock.advance(5000)
    shelf.retain(retention_ms=3000)
    renamed = shelf.log.rename_for_delete()
    shelf.clock.advance(1000)
    assert list(renamed.glob("*.deleted")), "the directory goes as a whole"
    shelf.log.delete()
    assert not renamed.exists()
    shelf.close()


def test_old_records_roll_even_when_few_come(shelf: Shelf) -> None:
    shelf.settings |= {"segment_ms": 5000, "segment_jitter_ms": 4999}
    shelf.log.config = LogConfig(**shelf.settings)  # type: ignore[arg-type]
    shelf.put(NOW)
    before = shelf.log.segment_count
    shelf.put(NOW + 5001)
    assert shelf.log.segment_count == before + 1
    shelf.settings |= {"cleanup_policy": frozenset({"compact"}), "max_compaction_lag_ms": 100, "segment_jitter_ms": 0}
    shelf.log.config = LogConfig(**shelf.settings)  # type: ignore[arg-type]
    shelf.put(NOW + 5101)
    assert shelf.log.segment_count == before + 1
    shelf.put(NOW + 5102)
    assert shelf.log.segment_count == before + 2
    shelf.close()


def test_a_full_time_index_rolls_too(tmp_path: Path) -> None:
    clock = ManualClock(wall_ms=NOW)
    config = LogConfig(index_interval_bytes=0, segment_index_bytes=60)
    log = Log.open(tmp_path / "t-0", TopicPartition("t", 0), config, clock, storage=FileStorage())
    for number in range(12):
        log.append_as_leader(build_batch([Record(0, NOW + number, b"k", b"v")]), 0)
    # Sixty bytes are five entries of the time index, the last of which belongs to the sealing; the first batch has none.
    assert [segment.base_offset for segment in log.segments()] == [0, 5, 10]
    assert len((tmp_path / "t-0" / "00000000000000000000.timeindex").read_bytes()) == 4 * 12
    log.close()


def test_records_without_a_time_do_not_age_a_segment_that_has_one(tmp_path: Path) -> None:
    clock = ManualClock(wall_ms=NOW)
    log = Log.open(tmp_path / "t-0", TopicPartition("t", 0), LogConfig(segment_ms=1000), clock, storage=FileStorage())
    log.append_as_leader(build_batch([Record(0, NOW, b"k", b"v")]), 0)
    clock.advance(2000)
    log.append_as_leader(build_batch([Record(0, -1, b"k", b"v")]), 0)
    assert log.segment_count == 1
    log.close()
