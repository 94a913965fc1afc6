"""When a snapshot of the image is written, and that nothing else waits for it."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.log.storage import DataFile, FileStorage
from kafkalab.engine.metadata.image import MetadataImage
from kafkalab.engine.metadata.image_writer import image_records
from kafkalab.engine.metadata.loader import MetadataLoader
from kafkalab.engine.metadata.snapshot_generator import SnapshotGenerator
from kafkalab.engine.protocol.metadata_records import (
    BeginTransactionRecord,
    EndTransactionRecord,
    FeatureLevelRecord,
    MetadataRecord,
    NoOpRecord,
    TopicRecord,
    decode_record,
    encode_record,
)
from kafkalab.engine.raft.listener import CommittedBatch
from kafkalab.engine.raft.snapshot_records import RECORDS_PER_BATCH_MAX, SnapshotReader, SnapshotWriter
from kafkalab.engine.raft.snapshot_store import SnapshotId, SnapshotStore

BATCH_BYTES = 100


class Fixture:
    """A loader with a generator behind it, and a directory in the place of raft."""

    def __init__(self, directory: Path, storage: FileStorage | None = None) -> None:
        self.clock = ManualClock()
        self.store = SnapshotStore(storage or FileStorage(), directory)
        self.loader = MetadataLoader(MetadataImage())
        self.generator = SnapshotGenerator(self.loader, self, node_id=7, clock=self.clock, max_bytes=1_000, max_interval_ms=60_000)
        self.loader.add_publisher(self.generator)
        self.asked: list[SnapshotId] = []
        self.next_offset = 0
        self.commit(FeatureLevelRecord(name="metadata.version", feature_level=30))

    def create_snapshot(self, snapshot_id: SnapshotId, *, last_contained_ms: int) -> SnapshotWriter | None:
        self.asked.append(snapshot_id)
        return SnapshotWriter(self.store.create(snapshot_id), last_contained_ms=last_contained_ms, wall_ms=self.clock.wall_ms())

    def commit(self, *records: MetadataRecord, size_bytes: int = BATCH_BYTES) -> None:
        values = [encode_record(record) for record in records]
        self.loader.handle_commit([CommittedBatch(self.next_offset, 3, values, False, size_bytes, 1_000 + self.next_offset)])
        self.next_offset += len(values)

    def read(self, snapshot_id: SnapshotId) -> list[MetadataRecord]:
        return [decode_record(value) for values in SnapshotReader(self.store, snapshot_id).values() for value in values]


@pytest.fixture
def fixture(tmp_path: Path) -> Fixture:
    return Fixture(tmp_path)


def topics(count: int, first: int = 0) -> list[MetadataRecord]:
    return [TopicRecord(name=f"t{number}", topic_id=uuid.UUID(int=1_000 + number)) for number in range(first, first + count)]


def test_one_is_written_when_the_log_grew_enough(fixture: Fixture) -> None:
    for _ in range(8):
        fixture.commit(NoOpRecord())
    assert not fixture.asked
    fixture.commit(*topics(3))
    fixture.clock.advance(0)
    snapshot_id = SnapshotId(epoch=3, end_offset=12)
    assert fixture.asked == [snapshot_id]
    assert fixture.store.ids == (snapshot_id,) and not fixture.generator.is_writing
    assert fixture.read(snapshot_id) == list(image_records(fixture.loader.image))
    assert SnapshotReader(fixture.store, snapshot_id).last_contained_ms() == 1_009
    for _ in range(9):
        fixture.commit(NoOpRecord())
    assert len(fixture.asked) == 1, "the count begins anew"
    fixture.commit(NoOpRecord())
    assert len(fixture.asked) == 2


def test_one_is_written_when_enough_time_has_passed(fixture: Fixture) -> None:
    fixture.clock.advance(59_000)
    fixture.commit(NoOpRecord())
    assert not fixture.asked
    fixture.clock.advance(1_000)
    fixture.commit(NoOpRecord())
    fixture.clock.advance(0)
    assert fixture.asked == [SnapshotId(epoch=3, end_offset=3)]
    fixture.clock.advance(1_000)
    fixture.commit(NoOpRecord())
    assert len(fixture.asked) == 1


def test_a_large_one_is_written_bit_by_bit_and_holds_the_state_of_its_beginning(fixture: Fixture) -> None:
    count = RECORDS_PER_BATCH_MAX * 4
    fixture.commit(*topics(count), size_bytes=5_000)
    before = list(image_records(fixture.loader.image))
    turns = 0

    def other_work() -> None:
        nonlocal turns
        if fixture.generator.is_writing:
            turns += 1
            fixture.commit(*topics(1, first=count + turns), size_bytes=5_000)
            fixture.clock.call_later(0, other_work)

    fixture.clock.call_later(0, other_work)
    fixture.clock.advance(0)
    assert turns >= 5, "others have their turn in between, and the metadata moves on"
    assert len(fixture.asked) == 1, "one at a time"
    assert fixture.read(fixture.asked[0]) == before
    fixture.commit(NoOpRecord())
    assert len(fixture.asked) == 2, "what came meanwhile counts"


def test_none_is_begun_amid_a_transaction(fixture: Fixture) -> None:
    fixture.commit(BeginTransactionRecord(name="x"), size_bytes=5_000)
    fixture.commit(*topics(1), size_bytes=5_000)
    assert not fixture.asked
    fixture.commit(EndTransactionRecord())
    assert fixture.asked == [SnapshotId(epoch=3, end_offset=4)]


def test_one_that_came_from_the_leader_takes_the_place_of_the_own(fixture: Fixture, tmp_path: Path) -> None:
    fixture.commit(*topics(10), size_bytes=5_000)
    assert fixture.generator.is_writing
    other = tmp_path / "other"
    other.mkdir()
    store = SnapshotStore(FileStorage(), other)
    theirs = SnapshotId(epoch=3, end_offset=100)
    writer = SnapshotWriter(store.create(theirs), last_contained_ms=5, wall_ms=5)
    writer.append([encode_record(FeatureLevelRecord(name="metadata.version", feature_level=30))])
    writer.freeze(lambda error: None)
    assert sum(fixture.loader.handle_snapshot(SnapshotReader(store, theirs))) == 1
    assert not fixture.generator.is_writing and not list(tmp_path.glob("*.part"))
    fixture.clock.advance(10)
    assert fixture.store.ids == ()
    fixture.next_offset = 100
    fixture.commit(NoOpRecord())
    assert len(fixture.asked) == 1, "the count begins anew with it"


def test_one_whose_place_was_taken_is_written_no_further(fixture: Fixture, tmp_path: Path) -> None:
    fixture.commit(*topics(2_000), size_bytes=5_000)
    assert fixture.generator.is_writing
    # The leader's is on the disk, and taken up bit by bit: nothing has been published yet.
    fixture.store.remove_before(SnapshotId(epoch=3, end_offset=10_000))
    fixture.clock.advance(1_000)
    assert not fixture.generator.is_writing and fixture.store.ids == () and not list(tmp_path.glob("*.checkpoint*"))


class FullDisk(FileStorage):
    """Takes a little, and then no more."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = False

    def open(self, path: str) -> DataFile:
        return _FullFile(self, super().open(path))


class _FullFile:
    def __init__(self, disk: FullDisk, file: DataFile) -> None:
        self._disk = disk
        self._file = file

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def append(self, head: bytes, body: bytes | memoryview) -> None:
        if self._disk.is_full:
            raise OSError(28, "No space left on device")
        self._file.append(head, body)


@pytest.mark.expects_warnings
def test_a_disk_that_is_full_costs_the_snapshot_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = FullDisk()
    fixture = Fixture(tmp_path, disk)
    fixture.commit(*topics(600), size_bytes=5_000)
    disk.is_full = True
    fixture.clock.advance(0)
    assert not fixture.generator.is_writing and not list(tmp_path.iterdir())
    assert "No space left" in caplog.text
    disk.is_full = False
    fixture.commit(NoOpRecord(), size_bytes=5_000)
    fixture.clock.advance(0)
    while fixture.generator.is_writing:
        fixture.clock.advance(0)
    assert len(fixture.store.ids) == 1


def test_a_stop_leaves_nothing_half_written_and_a_kill_does(fixture: Fixture, tmp_path: Path) -> None:
    fixture.commit(*topics(10), size_bytes=5_000)
    fixture.generator.abandon()
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    fixture.clock.advance(100)
    fixture.commit(NoOpRecord(), size_bytes=5_000)
    assert fixture.generator.is_writing
    fixture.generator.stop()
    fixture.clock.advance(100)
    assert not any(path.name == fixture.asked[1].file_name + ".part" for path in tmp_path.iterdir())
