"""Compaction: which records stay, what batches become, when it happens, and what interrupts it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.faults.disk import DiskFault, DiskFaultKind
from kafkalab.engine.log.checkpoint import read_offsets
from kafkalab.engine.log.cleanable import log_to_clean
from kafkalab.engine.log.cleaner import BUSY_SHARE, SLICE_MS_MAX, CleanerConfig
from kafkalab.engine.log.cleaning import Cleaning, CleaningAborted, SyncFiles, group_segments
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.faulty_storage import FaultyStorage
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.manager import LogManager
from kafkalab.engine.log.offset_map import ENTRY_BYTES, OffsetMap, Places, place_of
from kafkalab.engine.log.storage import Background, Done, FileStorage, Storage
from kafkalab.engine.log.txn_index import AbortedTransaction
from kafkalab.engine.record.batch import (
    DELETE_HORIZON_BIT,
    BatchHeader,
    Record,
    build_batch,
    iter_records,
    stamp,
    validate,
)
from kafkalab.engine.record.compression import Codec
from kafkalab.engine.record.control import ControlType, encode_end_transaction_marker, encode_key
from kafkalab.engine.simulation.storage import MemoryStorage
from kafkalab.engine.telemetry.events import LogCompacted, LogUncleanable, SegmentsDeleted
from tests.support.recording_sink import RecordingSink

TP = TopicPartition("orders", 0)
NOW = 1_700_000_000_000
DAY_MS = 86_400_000
COMPACT = frozenset({"compact"})


class House:
    """A broker's logs with one compacted partition, cleaned as often as the test wants."""

    def __init__(self, root: Path, storage: Storage | None = None, clock: ManualClock | None = None, **settings: object) -> None:
        self.root = root
        self.others: list[Path] = []
        """More log directories."""
        self.clock = clock or ManualClock()
        self.sink = RecordingSink()
        self.storage = storage or FileStorage()
        self.settings = {"cleanup_policy": COMPACT, "segment_bytes": 4096, "index_interval_bytes": 200, **settings}
        self.high_watermark: int | None = 2**62
        self.cleaner_config = CleanerConfig(backoff_ms=1000)
        self.open()

    def open(self) -> None:
        self.manager = LogManager([self.root, *self.others], LogConfig(), self.clock, self.storage, self.sink, 4)
        self.manager.load()
        self.log = self.manager.get_or_create(TP, None, LogConfig(**self.settings))  # type: ignore[arg-type]
        self.manager.start(high_watermark=lambda tp: self.high_watermark, cleaner=self.cleaner_config)

    def configure(self, **settings: object) -> None:
        self.settings |= settings
        self.log.config = LogConfig(**self.settings)  # type: ignore[arg-type]

    def put(self, *pairs: tuple[str | None, str | None], codec: int = 0, **producer: int) -> None:
        """One batch of keys and values."""
        records = [Record(0, self.clock.wall_ms(), _bytes(key), _bytes(value), (("h", b"1"),)) for key, value in pairs]
        # Past what a leader lets clients do, because tests need markers and null keys.
        self.log.append_as_leader(build_batch(records, codec=codec, **producer), 3, client=False)  # type: ignore[arg-type]

    def marker(self, kind: ControlType, producer_id: int, epoch: int = 0) -> None:
        record = Record(0, self.clock.wall_ms(), encode_key(kind), encode_end_transaction_marker(7))
        batch = build_batch([record], producer_id=producer_id, producer_epoch=epoch, control=True, transactional=True)
        self.log.append_as_leader(batch, 3, client=False)

    def clean(self) -> None:
        """Seal what there is and let the cleaner pass."""
        self.log.roll()
        self.clock.advance(1000)

    def pairs(self) -> list[tuple[int, str | None, str | None]]:
        return [
            (record.offset, _text(record.key), _text(record.value))
            for header, data in self.log.iter_batches(self.log.log_start_offset)
            if not header.is_control
            for record in iter_records(data)
        ]

    def batches(self) -> list[BatchHeader]:
        return [header for header, _ in self.log.iter_batches(self.log.log_start_offset)]

    def names(self) -> list[str]:
        return sorted(path.name for path in self.log.directory.iterdir())


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.manager.abandon()
    assert house.clock.next_due_ms() is None, "a stopped broker has no timers"


# --- which records stay -----------------------------------------------------------------------------


@pytest.mark.parametrize("codec", list(Codec))
def test_the_last_value_of_each_key_stays(house: House, codec: Codec) -> None:
    house.put(("a", "1"), ("b", "1"), ("c", "1"), codec=codec)
    house.put(("b", "2"), codec=codec)
    house.clock.advance(5)
    house.put(("c", "2"), ("a", "2"), ("c", "3"), codec=codec)
    written_at = house.clock.wall_ms()
    house.clean()
    assert house.pairs() == [(3, "b", "2"), (5, "a", "2"), (6, "c", "3")]
    for header, data in house.log.iter_batches(0):
        validate(data, 0, header)
        assert header.codec == codec
        for record in iter_records(data):
            assert record.headers == (("h", b"1"),)
    last = house.batches()[-1]
    assert (last.base_offset, last.last_offset, last.record_count) == (4, 6, 2)
    assert last.base_timestamp == last.max_timestamp == written_at
    assert house.log.first_dirty_offset == 7
    assert (house.root / "cleaner-offset-checkpoint").read_text() == "0\n1\norders 0 7\n"


def test_a_batch_that_loses_nothing_stays_as_it_is(house: House) -> None:
    house.put(("a", "1"), ("b", "1"))
    house.put(("a", "2"))
    house.put(("c", "1"), ("d", "1"))
    before = {header.base_offset: data for header, data in house.log.iter_batches(0)}
    house.clean()
    after = {header.base_offset: data for header, data in house.log.iter_batches(0)}
    assert set(after) == {0, 2, 3} and after[2] == before[2] and after[3] == before[3]
    assert len(after[0]) < len(before[0])


def test_timestamps_are_counted_from_the_first_record_that_stays(house: House) -> None:
    records = [Record(0, NOW + delta, key, b"v") for key, delta in ((b"a", 0), (b"b", 70), (b"c", 10_000), (b"d", 5))]
    house.log.append_as_leader(build_batch(records), 3, client=False)
    house.put(("a", "x"), ("c", "x"))
    house.clean()
    header, data = next(house.log.iter_batches(0))
    assert (header.base_timestamp, header.max_timestamp, header.last_offset) == (NOW + 70, NOW + 70, 3)
    assert [(record.offset, record.timestamp) for record in iter_records(data)] == [(1, NOW + 70), (3, NOW + 5)]


def test_append_times_stay(house: House) -> None:
    house.configure(message_timestamp_type="LogAppendTime")
    house.log.append_as_leader(build_batch([Record(0, 5, b"a", b"1"), Record(0, 6, b"b", b"1")]), 3)
    house.put(("a", "2"))
    house.clean()
    header, data = next(house.log.iter_batches(0))
    assert header.is_log_append_time and header.max_timestamp == NOW
    assert [record.timestamp for record in iter_records(data)] == [NOW]


@pytest.mark.expects_warnings
def test_records_without_a_key_go(house: House) -> None:
    house.put(("a", "1"), (None, "lost"), ("b", "1"))
    house.put(("c", "1"))
    house.clean()
    assert [key for _, key, _ in house.pairs()] == ["a", "b", "c"]


def test_keys_of_any_length_are_told_apart(house: House) -> None:
    long, other = "x" * 500, "x" * 499 + "y"
    house.put((long, "1"), (other, "1"), ("s", "1"))
    house.put((long, "2"))
    house.clean()
    assert [(key, value) for _, key, value in house.pairs()] == [(other, "1"), ("s", "1"), (long, "2")]


def test_tombstones_stay_for_delete_retention(house: House) -> None:
    house.configure(delete_retention_ms=DAY_MS, min_cleanable_dirty_ratio=0.0)
    house.put(("a", "1"), ("b", "1"))
    house.put(("a", None), ("c", "1"))
    house.clean()
    assert house.pairs() == [(1, "b", "1"), (2, "a", None), (3, "c", "1")]
    horizon_batch = house.batches()[1]
    # A second pass was due at once: the horizon is that of the first.
    assert horizon_batch.attributes & DELETE_HORIZON_BIT
    assert horizon_batch.base_timestamp == NOW + 1000 + DAY_MS
    assert [record.timestamp for record in iter_records(next(d for h, d in house.log.iter_batches(2)))] == [NOW, NOW]

    house.clock.advance(DAY_MS - 1001)
    house.put(("d", "1"))
    house.clean()
    assert (2, "a", None) in house.pairs(), "the last millisecond"
    house.put(("e", "1"))
    house.clean()
    assert [key for _, key, _ in house.pairs()] == ["b", "c", "d", "e"]
    kept = next(header for header in house.batches() if header.base_offset == 2)
    assert kept.attributes & DELETE_HORIZON_BIT and kept.base_timestamp == NOW + 1000 + DAY_MS
    assert kept.record_count == 1


def test_the_end_of_the_compacted_part_stays_as_an_empty_batch(house: House) -> None:
    house.configure(delete_retention_ms=0, min_cleanable_dirty_ratio=0.0)
    house.put(("a", "1"))
    house.put(("b", None))
    house.clean()
    house.clean()
    house.configure(min_cleanable_dirty_ratio=0.0)
    house.put(("c", "1"))
    house.put(("c", None))
    house.clean()
    house.clock.advance(10_000)
    house.put(("d", "1"))
    house.put(("d", None))
    house.clean()
    last = house.batches()[-1]
    assert house.log.log_end_offset == last.next_offset


# --- producers and transactions -----------------------------------------------------------------------


def test_a_producers_last_batch_stays_empty(house: House) -> None:
    house.put(("a", "1"), producer_id=9, producer_epoch=1, base_sequence=0)
    house.put(("a", "2"), ("b", "2"), producer_id=9, producer_epoch=1, base_sequence=1)
    house.put(("a", "3"), ("b", "3"))
    house.clean()
    assert [(header.base_offset, header.record_count) for header in house.batches()] == [(1, 0), (3, 2)]
    empty = house.batches()[0]
    assert (empty.last_offset, empty.producer_id, empty.producer_epoch, empty.base_sequence, empty.last_sequence) == (2, 9, 1, 1, 2)
    assert empty.base_timestamp == -1 and empty.max_timestamp == NOW and empty.size_bytes == 61
    house.manager.abandon()
    (house.log.directory / "00000000000000000005.snapshot").unlink()
    house.open()
    entry = house.log.producer_state.entries[9]
    assert (entry.last_sequence, entry.epoch, entry.batches[-1].last_offset) == (2, 1, 2)
    # Once it writes again the empty batch has done its duty.
    house.put(("z", "1"), producer_id=9, producer_epoch=1, base_sequence=3)
    house.configure(min_cleanable_dirty_ratio=0.0)
    house.clean()
    assert [(header.base_offset, header.record_count) for header in house.batches()] == [(3, 2), (5, 1)]


def test_aborted_records_go_and_markers_follow(house: House) -> None:
    house.configure(delete_retention_ms=DAY_MS, min_cleanable_dirty_ratio=0.0)
    house.put(("a", "committed"))
    house.put(("a", "aborted"), ("b", "aborted"), producer_id=5, producer_epoch=0, base_sequence=0, transactional=True)
    house.put(("c", "committed"), producer_id=6, producer_epoch=0, base_sequence=0, transactional=True)
    house.marker(ControlType.ABORT, 5)
    house.marker(ControlType.COMMIT, 6)
    house.put(("d", "1"))
    assert house.log.aborted_between(0, 9) == [AbortedTransaction(5, 1, 4, 3)]
    house.clean()
    assert house.pairs() == [(0, "a", "committed"), (3, "c", "committed"), (6, "d", "1")]
    # The last batch of the producer stays, empty, and so the marker that speaks of it.
    assert [(header.base_offset, header.record_count) for header in house.batches()] == [(0, 1), (1, 0), (3, 1), (4, 1), (5, 1), (6, 1)]
    assert house.log.aborted_between(0, 9) == [AbortedTransaction(5, 1, 4, 3)]
    assert "00000000000000000000.txnindex" in house.names()

    # The producer goes on elsewhere in the log: nothing of the transaction is needed, but for a day of the marker.
    house.put(("e", "1"), producer_id=5, producer_epoch=0, base_sequence=2)
    house.clean()
    house.put(("x", "1"))
    house.clean()
    marker = next(header for header in house.batches() if header.base_offset == 4)
    assert marker.attributes & DELETE_HORIZON_BIT and marker.base_timestamp - house.clock.wall_ms() <= DAY_MS
    assert 1 not in {header.base_offset for header in house.batches()}
    house.clock.advance(DAY_MS)
    house.put(("f", "1"))
    house.clean()
    assert 4 not in {header.base_offset for header in house.batches()}
    assert not house.log.aborted_between(0, 20)
    assert not [name for name in house.names() if name.endswith(".txnindex")]
    assert [header.base_offset for header in house.batches() if header.is_control] == [5], "records of the committed one are still there"


def test_what_is_not_decided_is_not_touched(house: House) -> None:
    house.put(("a", "1"))
    house.put(("a", "2"))
    house.log.roll()
    house.put(("a", "3"), producer_id=5, producer_epoch=0, base_sequence=0, transactional=True)
    house.clean()
    assert house.log.first_dirty_offset == 2
    assert [offset for offset, _, _ in house.pairs()] == [1, 2]
    house.marker(ControlType.COMMIT, 5)
    house.clean()
    assert [offset for offset, _, _ in house.pairs()] == [2]


def test_nothing_above_the_high_watermark_is_touched(house: House) -> None:
    house.configure(min_cleanable_dirty_ratio=0.0)
    house.put(("a", "1"))
    house.log.roll()
    house.put(("a", "2"))
    house.log.roll()
    house.high_watermark = None
    house.clean()
    assert house.log.first_dirty_offset is None
    house.high_watermark = 1
    house.clean()
    assert house.log.first_dirty_offset == 1 and len(house.pairs()) == 2
    house.high_watermark = 2
    house.put(("b", "2"))
    house.clean()
    assert [offset for offset, _, _ in house.pairs()] == [1, 2]


# --- when ---------------------------------------------------------------------------------------------


def test_the_dirtiest_log_comes_first_and_clean_ones_wait(house: House) -> None:
    for number in range(20):
        house.put((f"k{number:02}", "v" * 40))
    house.clean()
    assert len(house.sink.of(LogCompacted)) == 1
    house.put(("k01", "w"))
    house.clean()
    assert len(house.sink.of(LogCompacted)) == 1, "hardly anything is dirty"
    house.configure(min_cleanable_dirty_ratio=0.01)
    house.clock.advance(1000)
    assert len(house.sink.of(LogCompacted)) == 2
    assert len(house.pairs()) == 20


def test_young_records_wait_and_old_ones_do_not(house: House) -> None:
    house.configure(min_compaction_lag_ms=5000)
    house.put(("a", "1"))
    house.log.roll()
    house.clock.advance(3000)
    house.put(("a", "2"))
    house.clean()
    assert len(house.pairs()) == 2
    to_clean = log_to_clean(house.log, 2**62, house.clock.wall_ms() + 1500)
    assert (to_clean.first_dirty_offset, to_clean.first_uncleanable_offset) == (0, 1)
    house.configure(min_compaction_lag_ms=0, min_cleanable_dirty_ratio=1.0, max_compaction_lag_ms=10_000)
    house.clock.advance(5000)
    assert len(house.pairs()) == 2
    house.clock.advance(5000)
    assert len(house.pairs()) == 1
    assert house.log.config.max_segment_ms == 10_000


def test_compact_and_delete_together(house: House) -> None:
    house.configure(cleanup_policy=frozenset({"compact", "delete"}), retention_ms=10_000)
    house.put(("a", "1"), ("b", "1"))
    house.put(("a", "2"))
    house.clean()
    assert [offset for offset, _, _ in house.pairs()] == [1, 2]
    house.clock.advance(8000)
    house.put(("c", "1"))
    house.log.roll()
    house.clock.advance(2000)
    assert [offset for offset, _, _ in house.pairs()] == [3]
    (event,) = house.sink.of(SegmentsDeleted)
    assert isinstance(event, SegmentsDeleted)
    assert (event.cause, event.count, event.log_start_offset) == ("retention.ms", 1, 3)


def test_the_throttle_holds(house: House) -> None:
    house.manager.cleaner.config = CleanerConfig(backoff_ms=1000, io_max_bytes_per_second=1000.0, read_bytes=500)
    for number in range(40):
        house.put((f"k{number % 5}", "v" * 100))
    size = house.log.size_bytes
    house.log.roll()
    house.clock.advance(1000)
    began = house.clock.now_ms()
    while not house.sink.of(LogCompacted):
        house.clock.advance(100)
        assert house.clock.now_ms() - began < 60_000
    # Everything is read twice, and a little of it written.
    assert 2 * size - 1000 <= house.clock.now_ms() - began <= 3 * size


def test_the_settings_of_a_broker() -> None:
    config = CleanerConfig.from_broker(BrokerConfig({"log.cleaner.dedupe.buffer.size": "2000000", "log.cleaner.backoff.ms": "5"}))
    assert (config.enabled, config.dedupe_buffer_bytes, config.load_factor, config.backoff_ms) == (True, 2_000_000, 0.9, 5)
    assert config.read_bytes == 262_144
    assert not CleanerConfig.from_broker(BrokerConfig({"log.cleaner.enable": "false"})).enabled
    assert not CleanerConfig.from_broker(BrokerConfig({"log.cleaner.threads": "0"})).enabled


def test_a_cleaner_that_is_off_touches_nothing(house: House) -> None:
    house.manager.cleaner.config = CleanerConfig(enabled=False, backoff_ms=1000)
    house.put(("a", "1"))
    house.put(("a", "2"))
    house.clean()
    assert len(house.pairs()) == 2


# --- beside clients -----------------------------------------------------------------------------------


class WorkingClock(ManualClock):
    """Whoever looks at it has worked meanwhile; timers fire late, because others have their turn first."""

    def __init__(self, late_ms: float) -> None:
        super().__init__()
        self.late_ms = late_ms
        self.worked_ms: list[float] = []

    def now_ms(self) -> float:
        self._now_ms += 0.02
        return self._now_ms

    def run_next(self) -> None:
        due_ms = self.next_due_ms()
        assert due_ms is not None
        self._now_ms = max(self._now_ms, due_ms + self.late_ms)
        began_ms = self._now_ms
        callback = heapq.heappop(self._timers)[2].callback
        assert callback is not None
        callback()
        self.worked_ms.append(self._now_ms - began_ms)


@pytest.mark.parametrize("late_ms", [0.0, 1.0, 3.0, 40.0])
def test_clients_leave_the_cleaner_its_share_and_no_more(tmp_path: Path, late_ms: float) -> None:
    clock = WorkingClock(0.0)
    house = House(tmp_path, clock=clock, segment_bytes=1024 * 1024)
    for number in range(3_000):
        house.put((f"k{number % 100}", "v"))
    house.log.roll()
    served = itertools.count()
    cleaner = house.manager.cleaner
    cleaner.stop()
    cleaner.config = CleanerConfig(backoff_ms=1000, read_bytes=100)
    cleaner.start(last_stable_offset=lambda log: log.log_end_offset, delete_old=lambda log: None, activity=lambda: next(served))
    while cleaner.is_cleaning is None:
        clock.run_next()
    clock.worked_ms.clear()
    clock.late_ms = late_ms
    began_ms = clock.now_ms()
    for _ in range(20):
        clock.run_next()
        assert cleaner.is_cleaning is not None, "there is more to do than was looked at"
    share = sum(clock.worked_ms) / (clock.now_ms() - began_ms)
    assert max(clock.worked_ms) <= SLICE_MS_MAX + 0.1
    assert share <= BUSY_SHARE * 1.1
    if late_ms < 10.0:
        assert share >= BUSY_SHARE * 0.85, "who is late makes up for it"
    house.manager.abandon()


# --- memory, groups, files ----------------------------------------------------------------------------


def test_the_map_of_keys_is_bounded() -> None:
    offset_map = OffsetMap(10 * ENTRY_BYTES, 0.5)
    assert offset_map.entries_max == 5
    assert offset_map.put([b"a", b"b", b"a"], range(place_of(0, True), place_of(3, True), 2))
    assert (len(offset_map), offset_map.latest_offset, offset_map.get(b"a")) == (2, 2, place_of(2, True))
    tombstones = range(place_of(3, False), place_of(10, False), 2)
    assert not offset_map.put([b"c", b"b", b"d", b"e", b"a", b"f", b"g"], tombstones)
    assert (len(offset_map), offset_map.latest_offset, offset_map.get(b"f")) == (5, 7, None)
    assert offset_map.get(b"a") == place_of(7, False)


def test_places_are_found_by_offset() -> None:
    random = Random(3)
    offsets = random.sample(range(20_000), 9_000)
    there = {offset: random.random() < 0.8 for offset in offsets}
    places = Places()
    for _ in places.fill(place_of(offset, has_value) for offset, has_value in there.items()):
        pass
    for first, last in ((0, 20_000), (0, 0), (1_023, 1_024), (5_000, 12_345), (19_999, 30_000), (25_000, 25_001)):
        expected = [place_of(offset, there[offset]) for offset in sorted(offsets) if first <= offset <= last]
        assert places.between(first, last) == expected


def test_more_keys_than_memory_take_several_passes(house: House) -> None:
    house.manager.cleaner.config = CleanerConfig(backoff_ms=1000, dedupe_buffer_bytes=7 * ENTRY_BYTES, load_factor=1.0)
    house.configure(min_cleanable_dirty_ratio=0.0)
    for round_number in range(3):
        for number in range(0, 30, 3):
            house.put(*((f"k{number + index}", str(round_number)) for index in range(3)))
    house.clean()
    assert len(house.sink.of(LogCompacted)) > 10
    assert sorted(house.pairs()) == [(60 + number, f"k{number}", "2") for number in range(30)]


def test_small_neighbours_become_one_segment(house: House) -> None:
    house.configure(segment_bytes=1500)
    for number in range(60):
        house.put((f"k{number % 3}", "v" * 80))
    house.clean()
    bases = [segment.base_offset for segment in house.log.segments()]
    assert bases[0] == 0 and len(bases) > 5, "each was full before it was compacted"
    assert [offset for offset, _, _ in house.pairs()] == [57, 58, 59]
    house.configure(min_cleanable_dirty_ratio=0.0)
    house.put(("x", "1"))
    house.clean()
    assert house.log.segment_count == 2, "what became small is put together"
    assert len(house.pairs()) == 4
    assert all(record.offset >= 57 for record in iter_records(house.log.read(0, 10_000)))


def test_groups_keep_to_all_limits(house: House) -> None:
    house.configure(segment_bytes=600)
    for number in range(30):
        house.put((f"k{number}", "v" * 80))
    segments = house.log.sealed_segments()
    assert all(len(group) == 1 for group in group_segments(segments, 600, 10**6, 30))
    assert [len(group) for group in group_segments(segments, 10**9, 10**6, 30)] == [len(segments)]
    assert len(group_segments(segments, 10**9, 0, 30)) == len(segments), "no index may grow"
    segments[-1].base_offset = 2**32
    assert [len(group) for group in group_segments(segments, 10**9, 10**6, 2**32 + 1)] == [len(segments) - 2, 1, 1]


def test_files_of_what_was_replaced_wait_their_delay(house: House) -> None:
    house.configure(file_delete_delay_ms=60_000)
    house.put(("a", "1"))
    house.put(("a", "2"))
    house.clean()
    assert "00000000000000000000.log.deleted" in house.names() and "00000000000000000000.index.deleted" in house.names()
    house.clock.advance(30_000)
    house.configure(min_cleanable_dirty_ratio=0.0)
    house.put(("a", "3"))
    house.clean()
    assert [path.name for path in house.log.directory.glob("*.log.deleted")]
    house.clock.advance(60_000)
    assert not list(house.log.directory.glob("*.deleted"))
    assert not list(house.log.directory.glob("*.cleaned"))


def test_what_was_compacted_is_there_after_a_power_cut_when_what_it_replaced_is_gone(tmp_path: Path) -> None:
    storage = MemoryStorage(Random(1), lambda: NOW)
    storage.make_dirs(tmp_path)
    storage.sync_everything()
    house = House(tmp_path, storage, file_delete_delay_ms=60_000)
    house.put(("a", "1"), ("b", "1"))
    house.put(("a", "2"))
    house.log.roll()
    house.log.flush()
    house.clean()
    house.clock.advance(60_000)
    before = house.pairs()
    assert [value for _, _, value in before] == ["1", "2"]
    house.manager.abandon()
    storage.lose_unsynced(0)
    house.open()
    assert house.pairs() == before


def test_readers_of_what_was_replaced_go_on(house: House) -> None:
    for number in range(50):
        house.put(("a", str(number)))
    reader = house.log.iter_batches(0)
    next(reader)
    house.clean()
    assert len(list(reader)) == 49


def test_indexes_of_what_was_compacted_find_everything(house: House) -> None:
    house.configure(segment_bytes=100_000, index_interval_bytes=100)
    for number in range(300):
        house.put((f"k{number % 100}", "v" * (number % 7)))
        house.clock.advance(10)
    house.clean()
    info = house.log.segments()[0]
    assert info.base_offset == 0
    for offset in range(300):
        first = next(iter_records(house.log.read(offset, 1)))
        assert first.offset == max(offset, 200)
    found = house.log.offset_for_timestamp(NOW + 2500)
    assert found is not None and (found.offset, found.timestamp) == (250, NOW + 2500)
    house.manager.close(1)
    house.storage = FileStorage()
    house.open()
    assert not house.log.recovered and house.log.first_dirty_offset == 300
    assert [offset for offset, _, _ in house.pairs()] == list(range(200, 300))


# --- what interrupts it -------------------------------------------------------------------------------


class Later:
    """Work beside the loop, done when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], None], Done]] = []

    def __call__(self, work: Callable[[], None], done: Done) -> None:
        self.waiting.append((work, done))

    def run(self) -> None:
        waiting, self.waiting = self.waiting, []
        for work, done in waiting:
            work()
            done(None)


def waiting_house(tmp_path: Path) -> tuple[House, Later]:
    later = Later()
    background: Background = later
    house = House(tmp_path)
    house.manager.abandon()
    house.storage = FileStorage(background=background)
    house.open()
    return house, later


def test_the_disk_is_waited_for_beside_the_loop(tmp_path: Path) -> None:
    house, later = waiting_house(tmp_path)
    house.put(("a", "1"))
    house.put(("a", "2"))
    house.clean()
    assert house.manager.cleaner.is_cleaning == TP
    assert "00000000000000000000.log.cleaned" in house.names()
    assert len(house.pairs()) == 2
    house.put(("b", "1"))
    later.run()
    house.clock.advance(0)
    assert len(house.pairs()) == 2 and not [name for name in house.names() if name.endswith((".cleaned", ".swap"))]
    assert house.manager.cleaner.is_cleaning == TP and house.log.first_dirty_offset is None, "until the new names are synced"
    later.run()
    house.clock.advance(0)
    assert house.manager.cleaner.is_cleaning is None and house.log.first_dirty_offset == 2
    house.manager.abandon()


@pytest.mark.parametrize("waits", [0, 1, 2])
def test_a_power_cut_while_the_disk_is_waited_for_loses_nothing(tmp_path: Path, waits: int) -> None:
    later = Later()
    storage = MemoryStorage(Random(1), lambda: NOW)
    storage.make_dirs(tmp_path)
    storage.sync_everything()
    storage.background = later
    house = House(tmp_path, storage)
    house.put(("a", "1"), ("b", "1"))
    house.put(("a", "2"))
    house.log.roll()
    house.log.flush()
    house.clean()
    for _ in range(waits):
        assert house.manager.cleaner.is_cleaning == TP
        later.run()
        house.clock.advance(0)
    assert ("00000000000000000000.log.deleted" in storage.list_dir(house.log.directory)) == (waits > 0)
    house.manager.abandon()
    storage.background = None
    storage.lose_unsynced(0)
    house.open()
    found = house.pairs()
    assert {key: value for _, key, value in found} == {"a": "2", "b": "1"} and len(found) == (3 if waits == 0 else 2)
    house.manager.abandon()


@pytest.mark.parametrize("how", ["truncate", "delete", "stop", "retention", "start over", "another policy"])
def test_a_log_that_changes_meanwhile_is_left_as_it_is(tmp_path: Path, how: str) -> None:
    house, later = waiting_house(tmp_path)
    house.put(("a", "1"))
    house.put(("a", "2"))
    house.clean()
    assert house.manager.cleaner.is_cleaning == TP
    directory = house.log.directory
    if how == "truncate":
        house.log.truncate_to(1)
    elif how == "delete":
        house.manager.delete(TP)
    elif how == "stop":
        house.manager.close(1)
    elif how == "retention":
        house.log.increment_log_start_offset(2)
        assert house.log.delete_old_segments(2) == 1
    elif how == "another policy":
        house.log.config = replace(house.log.config, cleanup_policy=frozenset({"delete"}))
    else:
        house.log.truncate_fully_and_start_at(50)
    later.run()
    house.clock.advance(0)
    assert not list(directory.glob("*.cleaned")) and not list(directory.glob("*.swap"))
    if how == "another policy":
        assert len(house.pairs()) == 2 and house.log.first_dirty_offset is None
    if how == "truncate":
        assert house.pairs() == [(0, "a", "1")]
        house.put(("b", "1"))
        assert [offset for offset, _, _ in house.pairs()] == [0, 1]
    assert house.manager.cleaner.is_cleaning is None
    house.manager.abandon()


def first_dirty_offsets(directory: Path) -> dict[TopicPartition, int]:
    return read_offsets(FileStorage(), directory / "cleaner-offset-checkpoint")


def copy_all(house: House, copy: Log) -> None:
    while copy.log_end_offset < house.log.log_end_offset:
        copy.append_as_follower(house.log.read(copy.log_end_offset, 1 << 20))


def test_a_log_is_not_compacted_while_it_is_copied_to_another_directory(tmp_path: Path) -> None:
    """What was copied before would keep what a compaction takes, and never be looked at again."""
    house = House(tmp_path / "one", min_cleanable_dirty_ratio=0.0)
    house.manager.abandon()
    house.others = [tmp_path / "two"]
    house.open()
    here = house.log.directory.parent
    there = next(path for path in (house.root, *house.others) if path != here)
    house.put(("a", "1"), ("b", "1"), ("c", "1"))
    house.clean()
    house.put(("a", "2"), ("b", "2"))
    house.log.roll()
    copy = house.manager.create_future(TP, there)
    copy_all(house, copy)
    house.put(("a", "3"), ("b", "3"))
    house.clean()
    assert house.log.first_dirty_offset == 3, "the copy is under way"
    house.manager.close(1)
    house.storage = FileStorage()
    house.open()
    house.clean()
    assert house.log.first_dirty_offset == 3, "a copy is found again at the start, and goes on"
    copy = house.manager.future(TP) or copy
    copy_all(house, copy)
    house.log = house.manager.promote_future(TP)
    assert house.log.directory.parent == there
    assert (first_dirty_offsets(here), first_dirty_offsets(there)) == ({}, {TP: 3}), "what is compacted is known where the log is now"
    house.clean()
    assert house.pairs() == [(2, "c", "1"), (5, "a", "3"), (6, "b", "3")]
    assert first_dirty_offsets(there) == {TP: 7}
    house.manager.abandon()


def test_a_copy_that_is_begun_ends_a_compaction_and_one_that_is_given_up_lets_it_begin_again(tmp_path: Path) -> None:
    house, later = waiting_house(tmp_path / "one")
    house.manager.abandon()
    house.others = [tmp_path / "two"]
    house.open()
    house.put(("a", "1"))
    house.put(("a", "2"))
    house.clean()
    assert house.manager.cleaner.is_cleaning == TP
    there = next(path for path in (house.root, *house.others) if path != house.log.directory.parent)
    house.manager.create_future(TP, there)
    assert house.manager.cleaner.is_cleaning is None
    assert not [name for name in house.names() if name.endswith(".cleaned")]
    later.run()
    house.clock.advance(5000)
    assert len(house.pairs()) == 2 and house.log.first_dirty_offset is None
    house.manager.drop_future(TP)
    house.clock.advance(1000)
    later.run()
    house.clock.advance(0)
    assert house.pairs() == [(1, "a", "2")]
    house.manager.abandon()


def test_what_was_compacted_is_not_said_of_what_comes_in_its_place(house: House) -> None:
    """Neither of records after a truncation nor of a log of the same name nor of one that lost its end, even after a kill."""
    for number in range(10):
        house.put((f"k{number}", "1"))
        house.log.roll()
    house.clean()
    assert first_dirty_offsets(house.root) == {TP: 10}
    house.log.truncate_to(4)
    assert first_dirty_offsets(house.root) == {TP: 4}, "before anything is appended"
    house.manager.abandon()
    (house.root / "cleaner-offset-checkpoint").write_text("0\n1\norders 0 10\n")
    house.open()
    assert house.log.first_dirty_offset == 4 and first_dirty_offsets(house.root) == {TP: 4}, "the log ends there"
    house.manager.delete(TP)
    house.log = house.manager.get_or_create(TP, None, house.log.config)
    assert first_dirty_offsets(house.root) == {}


def test_truncation_below_the_compacted_part_makes_it_dirty_again(house: House) -> None:
    for number in range(10):
        house.put((f"k{number}", "1"))
        house.log.roll()
    house.clean()
    assert house.log.first_dirty_offset == 10
    house.log.truncate_to(4)
    house.configure(min_cleanable_dirty_ratio=0.0)
    for number in range(8):
        house.put((f"k{number}", "2"))
    assert house.log.first_dirty_offset == 4
    house.clean()
    assert house.log.first_dirty_offset == 12
    assert [(key, value) for _, key, value in house.pairs()] == [(f"k{number}", "2") for number in range(8)]


@pytest.mark.expects_warnings
def test_a_corrupt_batch_makes_the_log_uncleanable(house: House) -> None:
    house.put(("a", "1" * 50))
    house.put(("a", "2" * 50))
    house.log.roll()
    path = house.log.directory / "00000000000000000000.log"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(bytes(content))
    house.clean()
    assert "Record is corrupt (stored crc" in house.manager.cleaner.uncleanable[TP]
    (event,) = house.sink.of(LogUncleanable)
    assert isinstance(event, LogUncleanable) and "crc" in event.cause
    assert not list(house.log.directory.glob("*.cleaned")) and path.stat().st_size == len(content)
    house.clock.advance(100_000)
    assert len(house.sink.of(LogUncleanable)) == 1
    house.manager.delete(TP)
    assert not house.manager.cleaner.uncleanable


@pytest.mark.expects_warnings
def test_a_broken_cleaner_checkpoint_only_costs_work(house: House) -> None:
    house.put(("a", "1"))
    house.put(("a", "2"))
    house.clean()
    house.manager.close(1)
    (house.root / "cleaner-offset-checkpoint").write_text("nonsense")
    house.storage = FileStorage()
    house.open()
    assert house.log.first_dirty_offset is None
    house.clean()
    assert house.log.first_dirty_offset == 2 and len(house.pairs()) == 1


def test_a_step_is_small(house: House) -> None:
    """However large a batch is, there is time for others in the middle of it."""
    house.configure(segment_bytes=10**8)
    records = [Record(0, NOW, b"key-%d" % (number % 500), b"v" * (number % 9)) for number in range(20_000)]
    house.log.append_as_leader(build_batch(records, codec=Codec.LZ4), 3, client=False)
    house.put(("last", "1"))
    house.log.roll()
    cleaning = Cleaning(
        house.log,
        house.storage,
        first_dirty_offset=0,
        first_uncleanable_offset=house.log.log_end_offset,
        offset_map=OffsetMap(10**6, 0.9),
        wall_ms=NOW,
    )
    steps = list(cleaning.steps())
    assert len(steps) > 15
    assert [step for step in steps if isinstance(step, SyncFiles)]
    assert len(house.pairs()) == 501


def test_an_aborted_run_says_so(house: House) -> None:
    house.put(("a", "1"))
    house.put(("a", "2"))
    house.log.roll()
    cleaning = Cleaning(
        house.log,
        house.storage,
        first_dirty_offset=0,
        first_uncleanable_offset=2,
        offset_map=OffsetMap(10**6, 0.9),
        wall_ms=NOW,
    )
    steps = cleaning.steps()
    next(steps)
    house.log.truncate_to(0)
    with pytest.raises(CleaningAborted):
        list(steps)


@pytest.mark.expects_warnings
@pytest.mark.parametrize("kind", [DiskFaultKind.FULL, DiskFaultKind.READ_ONLY, DiskFaultKind.BROKEN])
def test_a_disk_that_refuses_anywhere_loses_nothing(tmp_path: Path, kind: DiskFaultKind) -> None:
    for room in range(0, 2600, 130) if kind is DiskFaultKind.FULL else (0,):
        root = tmp_path / str(room)
        house = House(root, segment_bytes=1000)
        house.manager.abandon()
        faulty = house.storage = FaultyStorage()
        house.open()
        for number in range(30):
            house.put((f"k{number % 12}", "v" * 80))
        house.log.roll()
        house.log.flush()
        before = house.pairs()
        faulty.set_faults([DiskFault(kind, str(root), room)])
        house.clock.advance(1000)
        is_refused = bool(house.manager.directories.failures)
        assert is_refused == (house.log.first_dirty_offset is None)
        assert house.manager.cleaner.is_cleaning is None
        house.manager.abandon()
        house.storage = FileStorage()
        house.open()
        # Of one group the new segment may be in its place already, and of the next the old ones.
        found = house.pairs()
        assert set(found) <= set(before)
        assert {key: value for _, key, value in found} == {key: value for _, key, value in before}
        assert house.log.log_end_offset == 30 and not house.log.recovered_cut_bytes
        assert not [name for name in house.names() if name.endswith((".cleaned", ".swap"))]
        house.clean()
        assert len(house.pairs()) == 12
        house.manager.abandon()
    assert kind is not DiskFaultKind.FULL or not is_refused, "the last time there was room enough"


PHASES = ["cleaned", "half renamed", "swap", "old ones going", "old ones gone", "log in place", "done"]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("clean", [True, False])
def test_a_start_after_a_kill_in_each_phase(tmp_path: Path, phase: str, clean: bool) -> None:
    """The files as a kill between two steps leaves them."""
    house = House(tmp_path, segment_bytes=1000)
    for number in range(30):
        aborted = {"producer_id": 5, "producer_epoch": 0, "base_sequence": 0, "transactional": True} if number == 3 else {}
        house.put((f"k{number % 4}", "v" * 80), **aborted)
        if number == 4:
            house.marker(ControlType.ABORT, 5)
    house.log.roll()
    house.log.flush()
    before = house.pairs()
    old = {path.name: path.read_bytes() for path in house.log.directory.iterdir()}
    house.clean()
    after = house.pairs()
    assert len(after) < len(before) / 4
    new = {path.name: path.read_bytes() for path in house.log.directory.iterdir() if not path.name.endswith(".deleted")}
    end_offset = house.log.log_end_offset
    house.manager.abandon()
    for path in house.log.directory.iterdir():
        path.unlink()
    segment_kinds = (".log", ".index", ".timeindex", ".txnindex")
    untouched = {name[:20] for name in old if name.endswith(".log") and new.get(name) == old[name]}
    produced = {name: content for name, content in new.items() if name.endswith(segment_kinds) and name[:20] not in untouched}
    assert {name[20:] for name in produced} == set(segment_kinds)
    changed = {name: content for name, content in old.items() if name.endswith(segment_kinds) and name[:20] not in untouched}
    files = {name: content for name, content in old.items() if name not in changed}
    if phase == "cleaned":
        files |= changed | {f"{name}.cleaned": content for name, content in produced.items()}
    elif phase == "half renamed":
        files |= changed | {f"{name}{'.swap' if name.endswith('.log') else '.cleaned'}": content for name, content in produced.items()}
    elif phase == "swap":
        files |= changed | {f"{name}.swap": content for name, content in produced.items()}
    elif phase == "old ones going":
        going = sorted(changed)[: len(changed) // 2]
        files |= {f"{name}.deleted" if name in going else name: content for name, content in changed.items()}
        files |= {f"{name}.swap": content for name, content in produced.items()}
    elif phase == "old ones gone":
        files |= {f"{name}.swap": content for name, content in produced.items()}
    elif phase == "log in place":
        files |= {name if name.endswith(".log") else f"{name}.swap": content for name, content in produced.items()}
    else:
        files = new
    for name, content in files.items():
        (house.log.directory / name).write_bytes(content)
    storage = FileStorage()
    log = Log.open(
        house.log.directory,
        TP,
        LogConfig(segment_bytes=1000),
        house.clock,
        storage=storage,
        recovery_point=end_offset,
        clean=clean,
    )
    house.log = log
    is_before = phase in ("cleaned", "half renamed")
    assert house.pairs() == (before if is_before else after)
    assert log.log_end_offset == end_offset and log.recovered_cut_bytes == 0
    assert log.aborted_between(0, end_offset) == [AbortedTransaction(5, 3, 5, 6)]
    assert not [name for name in house.names() if name.endswith((".cleaned", ".swap", ".deleted"))]
    batch = bytearray(build_batch([Record(0, NOW, b"n", b"1")]))
    stamp(batch, 0, end_offset, 4)
    log.append_as_follower(bytes(batch))
    assert len(house.pairs()) == len(before if is_before else after) + 1
    log.abandon()
    storage.close()
