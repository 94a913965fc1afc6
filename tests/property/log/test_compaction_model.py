"""Compaction against a model of it: whatever is written, cleaned, interrupted and killed, the newest of each key remains."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kafkalab.engine.common.errors import ApiError
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.log.cleanable import log_to_clean
from kafkalab.engine.log.cleaning import Cleaning, SyncFiles
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.offset_map import ENTRY_BYTES, OffsetMap
from kafkalab.engine.log.storage import FileStorage
from kafkalab.engine.record.batch import Record, build_batch, iter_records, read_header, records_payload, validate
from kafkalab.engine.record.control import ControlType, encode_end_transaction_marker, encode_key
from kafkalab.engine.record.keys import add_starts, iter_stretches, timestamp_delta

TP = TopicPartition("compacted", 0)
DELETE_RETENTION_MS = 1000
CONFIG = LogConfig(
    segment_bytes=1200,
    index_interval_bytes=150,
    cleanup_policy=frozenset({"compact"}),
    delete_retention_ms=DELETE_RETENTION_MS,
    file_delete_delay_ms=300,
)
KEYS = st.sampled_from([b"a", b"b", b"c", b"key-d", b"e" * 50, b"f" * 50, b""])
# A value that is not there, and lengths on both sides of a one-byte number.
VALUES = st.none() | st.integers(0, 90)

BATCHES = st.lists(st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=6), min_size=1, max_size=5)


class CompactionMachine(RuleBasedStateMachine):
    """A leader's log with idempotent and transactional producers, and a cleaner that may be stopped anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="kafkalab-compaction-"))
        self.storage = FileStorage(open_files_max=4)
        self.clock = ManualClock()
        # By offset: key, value, timestamp; records of aborted transactions are in another place.
        self.written: dict[int, tuple[bytes, bytes | None, int]] = {}
        self.aborted: dict[int, tuple[bytes, bytes | None, int]] = {}
        self.sequences = {1: 0, 2: 0, 3: 0}
        self.transaction: list[int] | None = None
        self.end = 0
        self.recovery_point = 0

    def open(self, *, clean: bool) -> None:
        self.log = Log.open(
            self.folder / str(TP), TP, CONFIG, self.clock, storage=self.storage, clean=clean, recovery_point=self.recovery_point
        )

    @initialize(batches=st.lists(st.tuples(BATCHES, st.sampled_from([-1, 1, 2])), min_size=4, max_size=12))
    def begin(self, batches: list[tuple[list[list[tuple[bytes, int | None]]], int]]) -> None:
        self.open(clean=False)
        for several, producer_id in batches:
            self.write(several, 0, producer_id)

    def append(self, pairs: list[tuple[bytes, int | None]], codec: int, producer_id: int, transactional: bool) -> None:
        now_ms = self.clock.wall_ms()
        records = []
        for index, (key, size) in enumerate(pairs):
            value = None if size is None else b"%05d" % (self.end + index) + b"." * size
            records.append(Record(0, now_ms + index * 40, key, value))
            self.written[self.end + index] = (key, value, now_ms + index * 40)
        sequence = self.sequences.get(producer_id, -1)
        data = build_batch(
            records,
            codec=codec,
            producer_id=producer_id,
            producer_epoch=-1 if producer_id < 0 else 0,
            base_sequence=sequence,
            transactional=transactional,
        )
        info = self.log.append_as_leader(data, 0)
        assert info.first_offset == self.end
        if producer_id > 0:
            self.sequences[producer_id] += len(pairs)
        self.end += len(pairs)

    @rule(
        batches=BATCHES,
        codec=st.sampled_from([0, 0, 0, 3]),
        producer_id=st.sampled_from([-1, 1, 2]),
    )
    def write(self, batches: list[list[tuple[bytes, int | None]]], codec: int, producer_id: int) -> None:
        for pairs in batches:
            self.append(pairs, codec, producer_id, False)

    @rule(pairs=st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=4), committed=st.sampled_from([True, False, False, None]))
    def write_in_transaction(self, pairs: list[tuple[bytes, int | None]], committed: bool | None) -> None:
        if self.transaction is None:
            self.transaction = []
        self.transaction += range(self.end, self.end + len(pairs))
        self.append(pairs, 0, 3, True)
        if committed is not None:
            self.end_transaction(committed)

    @rule(committed=st.booleans())
    def end_transaction(self, committed: bool) -> None:
        if self.transaction is None:
            return
        kind = ControlType.COMMIT if committed else ControlType.ABORT
        record = Record(0, self.clock.wall_ms(), encode_key(kind), encode_end_transaction_marker(0))
        self.log.append_as_leader(build_batch([record], producer_id=3, producer_epoch=0, control=True, transactional=True), 0, client=False)
        self.end += 1
        if not committed:
            for offset in self.transaction:
                self.aborted[offset] = self.written.pop(offset)
        self.transaction = None

    @rule()
    def roll(self) -> None:
        self.log.roll()

    @rule(by_ms=st.sampled_from([10, 400, 1100]))
    def wait(self, by_ms: int) -> None:
        self.clock.advance(by_ms)

    @rule(
        entries=st.sampled_from([1, 2, 3, 100]), stop_after=st.none() | st.integers(1, 12), killed=st.booleans(), chunk=st.integers(61, 500)
    )
    def compact(self, entries: int, stop_after: int | None, killed: bool, chunk: int) -> None:
        stable = self.log.producer_state.last_stable_offset(self.end)
        to_clean = log_to_clean(self.log, stable, self.clock.wall_ms())
        if to_clean.first_uncleanable_offset <= to_clean.first_dirty_offset:
            return
        cleaning = Cleaning(
            self.log,
            self.storage,
            first_dirty_offset=to_clean.first_dirty_offset,
            first_uncleanable_offset=to_clean.first_uncleanable_offset,
            offset_map=OffsetMap(entries * ENTRY_BYTES, 1.0),
            wall_ms=self.clock.wall_ms(),
            read_bytes=chunk,
        )
        for number, step in enumerate(cleaning.steps()):
            if number == stop_after:
                if killed:
                    self.kill()
                else:
                    cleaning.discard()
                return
            if isinstance(step, SyncFiles):
                for file in step.files:
                    file.sync()
        assert to_clean.first_dirty_offset < cleaning.end_offset <= to_clean.first_uncleanable_offset
        self.log.first_dirty_offset = cleaning.end_offset
        if entries == 100:
            assert cleaning.end_offset == to_clean.first_uncleanable_offset
            keys = [key for offset, (key, _, _) in self.stored().items() if offset < cleaning.end_offset and offset not in self.aborted]
            assert len(keys) == len(set(keys))

    @rule(lose_snapshots=st.booleans())
    def kill(self, lose_snapshots: bool = False) -> None:
        dirty = self.log.first_dirty_offset
        self.recovery_point = self.log.recovery_point
        self.log.abandon()
        if lose_snapshots:
            for path in self.log.directory.glob("*.snapshot"):
                path.unlink()
        self.open(clean=False)
        assert not self.log.recovered_cut_bytes
        self.log.first_dirty_offset = dirty

    @rule()
    def stop_and_start(self) -> None:
        self.log.close()
        self.recovery_point = self.end
        self.open(clean=True)
        assert not self.log.recovered

    @rule(back=st.integers(0, 6))
    def lose_the_compacted_offset(self, back: int) -> None:
        self.log.first_dirty_offset = None if back == 0 else max(0, (self.log.first_dirty_offset or 0) - back)

    @rule(offset=st.integers(0, 120))
    def read(self, offset: int) -> None:
        if offset >= self.end:
            return
        data = self.log.read(offset, 1)
        served = [record.offset for record in iter_records(data) if record.offset >= offset]
        stored = [stored for stored in self.stored(with_markers=True) if stored >= offset]
        if served:
            assert served[0] == stored[0]

    def stored(self, *, with_markers: bool = False) -> dict[int, tuple[bytes, bytes | None, int]]:
        found: dict[int, tuple[bytes, bytes | None, int]] = {}
        end = 0
        for header, data in self.log.iter_batches(0):
            validate(data, 0, header)
            assert header.base_offset >= end, "offsets rise"
            end = header.next_offset
            if header.is_control and not with_markers:
                continue
            for record in iter_records(data):
                assert header.base_offset <= record.offset <= header.last_offset and record.key is not None
                assert record.timestamp <= header.max_timestamp
                found[record.offset] = (record.key, record.value, record.timestamp)
        return found

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "log"):
            return
        assert self.log.log_end_offset == self.end
        stored = self.stored()
        everything = self.written | self.aborted
        for offset, record in stored.items():
            assert everything[offset] == record, "what is there is what was written"
        newest: dict[bytes, int] = {}
        undecided = set(self.transaction or ())
        for offset in sorted(self.written):
            if offset not in undecided:
                # Of an open transaction nothing is decided, so nothing of it makes others old.
                newest[self.written[offset][0]] = offset
        now_ms = self.clock.wall_ms()
        for offset in [*newest.values(), *undecided]:
            _, value, timestamp = self.written[offset]
            if offset not in stored:
                assert value is None and now_ms >= timestamp + DELETE_RETENTION_MS - 40 * 12, "the newest of each key stays"
        # Whoever reads committed records only must be able to tell what was aborted.
        for offset in self.aborted:
            if offset in stored:
                assert any(one.first_offset <= offset < one.last_offset for one in self.log.aborted_between(offset, offset + 1))
        for producer_id, sequence in self.sequences.items():
            if sequence:
                entry = self.log.producer_state.entries[producer_id]
                assert entry.last_sequence == sequence - 1
                assert (entry.transaction_first_offset >= 0) == (producer_id == 3 and self.transaction is not None)

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log.abandon()
        self.storage.close()
        shutil.rmtree(self.folder)


CompactionMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.timeout(300)
class TestCompactionModel(CompactionMachine.TestCase):  # type: ignore[misc]
    """Run by pytest as a test case."""


RECORDS = st.lists(
    st.tuples(st.none() | st.binary(max_size=70), st.none() | st.binary(max_size=200), st.integers(0, 20_000), st.booleans()), min_size=1
)


@given(records=RECORDS, repeats=st.integers(1, 40), in_turn=st.booleans(), before=st.binary(max_size=3))
@settings(deadline=None, max_examples=300)
def test_keys_are_those_of_the_records(
    records: list[tuple[bytes | None, bytes | None, int, bool]], repeats: int, in_turn: bool, before: bytes
) -> None:
    """Runs of like records, records that are alike but in length, and others, in any mixture."""
    chosen = records * repeats if in_turn else [record for record in records for _ in range(repeats)]
    batch = build_batch(
        [Record(0, 10**12 + delta, key, value, (("name", b"x"),) if with_header else ()) for key, value, delta, with_header in chosen]
    )
    header = read_header(batch)
    payload = bytes(records_payload(batch, 0, header))
    expected = list(iter_records(batch))
    at, end = len(before), len(before) + len(payload)
    data = before + payload + b"\x00" * 20
    found = list(iter_stretches(data, header.record_count, at, end))
    assert [key for stretch in found for key in stretch.keys] == [record.key for record in expected]
    assert [delta for stretch in found for delta in stretch.offset_deltas] == [record.offset for record in expected]
    values = [
        has_value
        for stretch in found
        for has_value in ([stretch.has_value] * len(stretch.keys) if isinstance(stretch.has_value, bool) else stretch.has_value)
    ]
    assert values == [record.value is not None for record in expected]
    starts = [start for stretch in found for start in stretch.starts]
    assert starts[0] == at and found[-1].end == end and len(starts) == len(expected)
    again: list[int] = []
    assert add_starts(again, data, at, header.record_count) == end
    assert again == starts
    assert [timestamp_delta(data, start)[0] + header.base_timestamp for start in starts] == [record.timestamp for record in expected]


@given(payload=st.binary(max_size=300), count=st.integers(1, 40))
@settings(deadline=None, max_examples=300)
def test_arbitrary_bytes_are_records_or_refused(payload: bytes, count: int) -> None:
    try:
        found = list(iter_stretches(payload, count))
    except ApiError:
        return
    assert sum(len(stretch.keys) for stretch in found) == count
