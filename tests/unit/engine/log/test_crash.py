"""A file that ends anywhere, and a bit that is another one: what an open makes of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from kafkalab.engine.common.errors import ApiError
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.storage import FileStorage, StorageError
from kafkalab.engine.record.batch import Record, build_batch, iter_headers, iter_records, validate

NOW = 1_700_000_000_000
TP = TopicPartition("crash", 0)
TOPIC_ID = uuid.UUID(int=77)
TAILS: dict[str, Callable[[int], bytes]] = {
    "cut": lambda size: b"",
    "zeros": bytes,
    "garbage": lambda size: Random(size).randbytes(size),
    "ones": lambda size: b"\xff" * size,
}


class Shape:
    """A log to be broken, and what was in it."""

    def __init__(self, folder: Path, *, codec: int = 0, records: int = 1, batches: int = 6, segment_bytes: int = 1 << 30) -> None:
        self.folder = folder
        self.config = LogConfig(segment_bytes=segment_bytes, index_interval_bytes=100)
        self.storage = FileStorage()
        log = self.open()
        for number in range(batches):
            first = number * records
            content = [Record(0, NOW + first + i, b"key-%d" % (first + i), b"%d" % (first + i) * 9) for i in range(records)]
            log.append_as_leader(
                build_batch(content, codec=codec, producer_id=7, producer_epoch=0, base_sequence=first), leader_epoch=number // 3
            )
        self.ends = [header.next_offset for header, _ in log.iter_batches(0)]
        self.records = [record for _, data in log.iter_batches(0) for record in iter_records(data)]
        log.abandon()
        self.keep()

    def open(self, *, clean: bool = False, recovery_point: int = 0) -> Log:
        return Log.open(self.folder, TP, self.config, ManualClock(), storage=self.storage, recovery_point=recovery_point, clean=clean)

    def keep(self) -> None:
        self.files = {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def restore(self) -> None:
        for path in self.folder.iterdir():
            if path.name not in self.files:
                path.unlink()
        for name, content in self.files.items():
            path = self.folder / name
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)

    def check_prefix(self, log: Log, end_offset: int) -> None:
        assert log.log_end_offset == end_offset
        assert [record for _, data in log.iter_batches(0) for record in iter_records(data)] == self.records[:end_offset]
        for offset in range(end_offset):
            found = next(record for record in iter_records(log.read(offset, 1)) if record.offset == offset)
            assert found == self.records[offset]
        entry = log.producer_state.entries.get(7)
        assert (entry.last_sequence if entry else -1) == end_offset - 1
        assert log.leader_epochs == [(number // 3, first) for number, first in self._epoch_starts(end_offset)]
        # And it goes on: the same batches come again, each once.
        log.append_as_leader(build_batch([Record(0, NOW, b"k", b"v")], producer_id=7, producer_epoch=0, base_sequence=end_offset), 9)
        assert log.log_end_offset == end_offset + 1

    def _epoch_starts(self, end_offset: int) -> Iterator[tuple[int, int]]:
        starts = [0, *self.ends[:-1]]
        for number in range(0, len(self.ends), 3):
            if starts[number] < end_offset:
                yield number, starts[number]


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize(
    ("codec", "records", "segment_bytes"), [(0, 1, 1 << 30), (0, 4, 1 << 30), (4, 5, 1 << 30), (2, 3, 1 << 30), (0, 2, 320)]
)
def test_the_file_ends_at_every_byte_of_the_last_two_batches(
    tmp_path: Path, codec: int, records: int, segment_bytes: int, tail: str
) -> None:
    shape = Shape(tmp_path / "crash-0", codec=codec, records=records, segment_bytes=segment_bytes)
    # Both may lie in the newest segment, or one in the one before it.
    places: list[tuple[Path, int, int, int]] = []
    number = 0
    for path in sorted(shape.folder.glob("*.log")):
        for position, header in iter_headers(path.read_bytes()):
            places.append((path, position, header.size_bytes, shape.ends[number] - records))
            number += 1
    cases = 0
    for path, position, size, end_before in places[-2:]:
        for cut in range(position, position + size):
            shape.restore()
            content = path.read_bytes()
            path.write_bytes(content[:cut] + TAILS[tail](len(content) - cut))
            intact = path.read_bytes()[position : position + size] == content[position : position + size]
            is_newest = path == places[-1][0]
            if cut == position and tail == "cut" and not is_newest:
                # Where a batch ends so may a segment: a gap is what compaction leaves too.
                continue
            expected = end_before + (records if intact else 0)
            if intact and not is_newest:
                expected = shape.ends[-1]
            for clean in (True, False) if tail == "cut" else (False,):
                if clean and not is_newest:
                    # A clean stop's word on older segments is taken: who cuts those cuts what was synced.
                    continue
                log = shape.open(clean=clean)
                shape.check_prefix(log, expected)
                log.abandon()
                cases += 1
                shape.restore()
                path.write_bytes(content[:cut] + TAILS[tail](len(content) - cut))
    assert cases > 150


def is_outside_the_checksum(content: bytes, at: int) -> bool:
    """Base offset and leader epoch are: a leader writes them without a look at the rest."""
    return any(0 <= at - position < 8 or 12 <= at - position < 16 for position, _ in iter_headers(content))


def flips(size: int, rng: Random) -> list[int]:
    """Every byte of what is small, some of what is not."""
    return list(range(size)) if size <= 120 else sorted(rng.sample(range(size), 120))


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("kind", [".log", ".index", ".timeindex", ".snapshot", "leader-epoch-checkpoint", "partition.metadata"])
def test_a_flipped_bit_in_any_file_is_found_or_does_no_harm(tmp_path: Path, kind: str, clean: bool) -> None:
    shape = Shape(tmp_path / "crash-0", records=2, batches=30, segment_bytes=900)
    shape.open().close()
    log = Log.open(shape.folder, TP, shape.config, ManualClock(), storage=shape.storage, clean=True, topic_id=TOPIC_ID)
    log.close()
    shape.keep()
    rng = Random(kind)
    cases = refused = 0
    for path in sorted(shape.folder.iterdir()):
        if not path.name.endswith(kind):
            continue
        shape.restore()
        for at in flips(path.stat().st_size, rng):
            shape.restore()
            content = bytearray(path.read_bytes())
            if kind == ".log" and is_outside_the_checksum(bytes(content), at):
                continue
            content[at] ^= 1 << rng.randrange(8)
            path.write_bytes(content)
            cases += 1
            try:
                log = Log.open(shape.folder, TP, shape.config, ManualClock(), storage=shape.storage, clean=clean, topic_id=TOPIC_ID)
            except StorageError as error:
                assert kind == "partition.metadata" and kind in str(error)
                refused += 1
                continue
            check_readable(shape, log, kind, clean)
            log.abandon()
    assert cases >= 20
    if kind == "partition.metadata":
        assert refused > cases // 2


def check_readable(shape: Shape, log: Log, kind: str, clean: bool) -> None:
    """What is given out is what was put in, or its reader finds a wrong checksum."""
    if kind != ".log":
        assert log.log_end_offset == len(shape.records)
    for offset in range(log.log_start_offset, min(log.log_end_offset, len(shape.records))):
        try:
            # From one batch to a few of them.
            chunk = log.read(offset, 1 + 97 * (offset % 5))
            records = list(iter_records(chunk)) if is_right(chunk) else None
        except ApiError:
            # A follower or consumer hears of it; on this side it is the log's error.
            assert kind == ".log" and clean
            continue
        if records is None:
            assert kind == ".log" and clean
            continue
        found_record = next((record for record in records if record.offset == offset), None)
        if found_record is None:
            # A header that says that its batch is shorter is found wrong when that batch is read.
            assert kind == ".log" and clean
            continue
        assert found_record == shape.records[offset]
    for number in (0, len(shape.records) // 2, len(shape.records) - 1):
        record = shape.records[number]
        if kind != ".log":
            found = log.offset_for_timestamp(record.timestamp)
            assert found is not None and found.offset == record.offset
    if kind == ".log" and not clean:
        # Everything was looked at: what is left is right.
        assert all(is_right(data) for _, data in log.iter_batches(0))


def is_right(data: bytes) -> bool:
    try:
        for position, header in iter_headers(data):
            validate(data, position, header)
    except ApiError:
        return False
    return True
