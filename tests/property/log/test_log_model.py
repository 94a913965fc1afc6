"""The log against a model of it: a list of records, and what the disk may have lost."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.storage import FileStorage
from kafkalab.engine.record.batch import Record, build_batch, iter_headers, iter_records, stamp

TP = TopicPartition("model", 0)
NOW = 1_700_000_000_000
CONFIG = LogConfig(segment_bytes=1500, index_interval_bytes=150)


class LogMachine(RuleBasedStateMachine):
    """Does to a log what leaders, followers, kills and power cuts do, and compares after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="kafkalab-model-"))
        self.storage = FileStorage(open_files_max=4)
        self.clock = ManualClock()
        # One entry a record: (offset, value); batches by their first offset.
        self.records: list[tuple[int, bytes]] = []
        self.batches: list[int] = []
        self.epochs: list[tuple[int, int]] = []
        self.start = self.end = 0
        self.epoch = 0
        self.sequence = 0

    def open(self, *, clean: bool, recovery_point: int) -> None:
        self.log = Log.open(
            self.folder / "model-0",
            TP,
            CONFIG,
            self.clock,
            storage=self.storage,
            clean=clean,
            recovery_point=recovery_point,
            log_start_offset=self.start,
        )

    @initialize()
    def begin(self) -> None:
        self.open(clean=False, recovery_point=0)

    def note(self, count: int, first: int) -> None:
        if not self.epochs or self.epochs[-1][0] != self.epoch:
            self.epochs.append((self.epoch, first))
        self.batches.append(first)
        self.records += [(first + index, b"%d" % (first + index)) for index in range(count)]
        self.end = first + count

    def values(self, count: int, first: int) -> list[Record]:
        return [Record(0, NOW + first + index, b"k" * (first % 40), b"%d" % (first + index)) for index in range(count)]

    @rule(count=st.integers(1, 4), codec=st.sampled_from([0, 0, 0, 4]))
    def lead(self, count: int, codec: int) -> None:
        data = build_batch(self.values(count, self.end), codec=codec, producer_id=1, producer_epoch=0, base_sequence=self.sequence)
        info = self.log.append_as_leader(data, self.epoch)
        assert (info.first_offset, info.last_offset, info.duplicate) == (self.end, self.end + count - 1, False)
        again = self.log.append_as_leader(data, self.epoch)
        assert again.duplicate and again[:2] == info[:2]
        self.note(count, self.end)
        self.sequence += count

    @rule(counts=st.lists(st.integers(1, 3), min_size=1, max_size=6), gap=st.sampled_from([0, 0, 0, 5]))
    def follow(self, counts: list[int], gap: int) -> None:
        data = bytearray()
        for number, count in enumerate(counts):
            first = self.end + (gap if number == 0 else 0)
            batch = bytearray(build_batch(self.values(count, first)))
            stamp(batch, 0, first, self.epoch)
            data += batch
            self.note(count, first)
        self.log.append_as_follower(bytes(data) + b"\0" * 30)

    @rule()
    def elect(self) -> None:
        self.epoch += 1

    @rule()
    def roll(self) -> None:
        self.log.roll()

    @rule()
    def flush(self) -> None:
        self.log.flush()
        assert self.log.recovery_point == self.end

    @rule(back=st.integers(0, 12))
    def truncate(self, back: int) -> None:
        target = max(self.start, self.end - back)
        kept = [first for first in self.batches if self.batch_end(first) <= target]
        # A cut that ends in a gap is remembered only while the log is open: leaders make no such cuts.
        lost = [first for first in self.batches if first not in kept]
        if lost and lost[0] != (self.batch_end(kept[-1]) if kept else self.log.segments()[0].base_offset):
            return
        end = self.log.truncate_to(target)
        self.end = min(target, lost[0]) if lost else target
        self.start = min(self.start, self.end)
        self.batches = kept
        self.records = [record for record in self.records if record[0] < self.end]
        self.epochs = [entry for entry in self.epochs if entry[1] < self.end]
        assert end == self.end
        # What was cut may be sent again under new numbers: like a producer that lost its leader.
        entry = self.log.producer_state.entries.get(1)
        self.sequence = entry.last_sequence + 1 if entry is not None and entry.batches else 0
        self.epoch += 1

    def batch_end(self, first: int) -> int:
        following = [other for other in self.batches if other > first]
        limit = following[0] if following else self.end
        return max(offset for offset, _ in self.records if first <= offset < limit) + 1

    @rule(forward=st.integers(0, 20))
    def delete_records(self, forward: int) -> None:
        self.start = min(self.end, self.start + forward)
        self.log.increment_log_start_offset(self.start)

    @rule()
    def stop_and_start(self) -> None:
        self.log.close()
        self.open(clean=True, recovery_point=self.end)
        assert not self.log.recovered

    @rule()
    def kill_and_start(self) -> None:
        recovery_point = self.log.recovery_point
        self.log.abandon()
        self.open(clean=False, recovery_point=recovery_point)
        assert not self.log.recovered_cut_bytes

    @precondition(lambda self: self.log.size_bytes > 0)
    @rule(cut=st.integers(1, 200), junk=st.binary(max_size=80))
    def tear_and_start(self, cut: int, junk: bytes) -> None:
        recovery_point = self.log.recovery_point
        active = self.log.segments()[-1]
        self.log.abandon()
        path = self.folder / "model-0" / f"{active.base_offset:020d}.log"
        content = path.read_bytes()
        # Nothing that was synced is lost: the tear lies behind the recovery point.
        safe = 0
        for pos, header in iter_headers(content):
            if header.next_offset <= recovery_point:
                safe = pos + header.size_bytes
        path.write_bytes(content[: max(safe, len(content) - cut)] + junk)
        self.open(clean=False, recovery_point=recovery_point)
        end = self.log.log_end_offset
        assert recovery_point <= end <= self.end or end == self.start
        self.end = end
        self.start = self.log.log_start_offset
        self.batches = [first for first in self.batches if first < end]
        self.records = [record for record in self.records if record[0] < end]
        self.epochs = [entry for entry in self.epochs if entry[1] < end]
        entry = self.log.producer_state.entries.get(1)
        self.sequence = entry.last_sequence + 1 if entry is not None and entry.batches else 0
        self.epoch += 1

    @rule(offset=st.integers(-2, 300), size=st.integers(1, 800), ahead=st.none() | st.integers(0, 20))
    def read(self, offset: int, size: int, ahead: int | None) -> None:
        limit = None if ahead is None else min(self.end, offset + ahead)
        try:
            data = self.log.read(offset, size, max_offset=limit)
        except ApiError as error:
            assert error.error == Errors.OFFSET_OUT_OF_RANGE and not self.start <= offset <= self.end
            return
        assert self.start <= offset <= self.end
        headers = [header for _, header in iter_headers(data)]
        assert sum(header.size_bytes for header in headers) == len(data)
        assert len(headers) <= 1 or len(data) <= size
        found = [(record.offset, record.value) for record in iter_records(data)]
        bound = self.end if limit is None else limit
        expected = [record for record in self.records if offset <= record[0] < bound]
        served = [record for record in found if record[0] >= offset]
        assert served == expected[: len(served)]
        assert all(offset_found < bound for offset_found, _ in found)
        following = next((record for record in self.records if record[0] >= offset), None)
        if following is not None:
            first = max(batch for batch in self.batches if batch <= following[0])
            if self.batch_end(first) <= bound:
                assert served, "a batch that may be seen is served, however large"

    @rule(timestamp=st.integers(0, 300))
    def find(self, timestamp: int) -> None:
        found = self.log.offset_for_timestamp(NOW + timestamp)
        expected = next((offset for offset, _ in self.records if offset >= max(timestamp, self.start)), None)
        assert (found.offset if found else None) == expected

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "log"):
            return
        assert (self.log.log_start_offset, self.log.log_end_offset) == (self.start, self.end)
        visible = [record for record in self.records if record[0] >= self.start]
        stored = [(record.offset, record.value) for _, data in self.log.iter_batches(self.start) for record in iter_records(data)]
        assert [record for record in stored if record[0] >= self.start] == visible
        epochs = [entry for entry in self.epochs if entry[1] < self.end]
        for epoch, first in epochs:
            if first >= self.start:
                assert self.log.epoch_at(first) == epoch
        assert self.log.recovery_point <= self.end
        if visible:
            newest = self.log.max_timestamp()
            assert newest is not None and newest.offset == self.records[-1][0]

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log.abandon()
        self.storage.close()
        shutil.rmtree(self.folder)


LogMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)


@pytest.mark.timeout(300)
class TestLogModel(LogMachine.TestCase):  # type: ignore[misc]
    """Run by pytest as a test case."""
