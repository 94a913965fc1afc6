"""A snapshot's file: what is in it, and what becomes of one that is cut or corrupt."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kafkalab.engine.common.ids import METADATA_PARTITION, METADATA_TOPIC_ID
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.storage import FileStorage, StorageError
from kafkalab.engine.raft.metadata_log import values_batch
from kafkalab.engine.raft.snapshot_records import RECORDS_PER_BATCH_MAX, CorruptSnapshot, SnapshotContent, SnapshotReader, SnapshotWriter
from kafkalab.engine.raft.snapshot_store import SnapshotId, SnapshotStore, parse_snapshot_name
from kafkalab.engine.raft.snapshotted_log import SnapshottedLog
from kafkalab.engine.record.control import ControlType
from kafkalab.engine.record.quorum_records import control_batch

ID = SnapshotId(epoch=3, end_offset=120)
DATA = Path(__file__).parent / "data"


def write(store: SnapshotStore, snapshot_id: SnapshotId, values: list[bytes]) -> Path:
    writer = SnapshotWriter(store.create(snapshot_id), last_contained_ms=55, wall_ms=99)
    writer.append(values)
    outcome: list[OSError | None] = []
    writer.freeze(outcome.append)
    assert outcome == [None]
    return store.path(snapshot_id)


def open_log(directory: Path) -> Log:
    return Log.open(
        directory,
        METADATA_PARTITION,
        LogConfig.from_map({"retention.ms": "-1", "segment.bytes": "2000"}),
        ManualClock(),
        storage=FileStorage(),
        topic_id=METADATA_TOPIC_ID,
    )


def fill(replica_log: Log, batches: int, epoch: int = 3) -> None:
    for _ in range(batches):
        offset = replica_log.log_end_offset
        values = [b"x" * 50] * 10
        replica_log.append_as_leader(values_batch(values, base_offset=offset, epoch=epoch, timestamp_ms=5), epoch, client=False)


def test_ids_are_ordered_by_epoch_and_offset_and_named_as_kafka_names_them() -> None:
    assert SnapshotId(epoch=1, end_offset=900) < SnapshotId(epoch=2, end_offset=10) < SnapshotId(epoch=2, end_offset=11)
    name = "00000000000000000120-0000000003.checkpoint"
    assert ID.file_name == name
    assert parse_snapshot_name(name) == (ID, "")
    assert parse_snapshot_name(name + ".part") == (ID, ".part")
    assert parse_snapshot_name("leader-epoch-checkpoint") is None


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = SnapshotStore(FileStorage(), tmp_path)
    values = [b"%d" % number for number in range(RECORDS_PER_BATCH_MAX * 2 + 5)]
    path = write(store, ID, values)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    reader = SnapshotReader(store, ID)
    read = list(reader.values())
    assert [len(batch) for batch in read] == [RECORDS_PER_BATCH_MAX, RECORDS_PER_BATCH_MAX, 5]
    assert [value for batch in read for value in batch] == values
    assert reader.last_contained_ms() == 55 and reader.controls() == []
    offsets = [record.offset for batch in reader.batches() for record in batch.records]
    assert offsets == list(range(len(values) + 2)), "offsets count from 0 within the file, control records too"
    assert {batch.epoch for batch in reader.batches()} == {3}


def test_an_empty_state_has_a_header_and_a_footer_and_controls_follow_the_header(tmp_path: Path) -> None:
    store = SnapshotStore(FileStorage(), tmp_path)
    writer = SnapshotWriter(store.create(ID), last_contained_ms=1, wall_ms=2, controls=[(ControlType.KRAFT_VERSION, b"\0\0\0\1\0")])
    writer.freeze(lambda error: None)
    reader = SnapshotReader(store, ID)
    assert [len(batch.records) for batch in reader.batches()] == [2, 1]
    assert reader.controls() == [(ControlType.KRAFT_VERSION, b"\0\0\0\1\0")]


@pytest.mark.parametrize("size", [0, 9, 10, 12])
def test_a_header_has_a_time_at_least(size: int) -> None:
    header = struct.pack(">hqbb", 0, 55, 0, 0)[:size]
    first, last = (
        control_batch([(kind, value)], base_offset=offset, epoch=3, timestamp_ms=0)
        for offset, (kind, value) in enumerate([(ControlType.SNAPSHOT_HEADER, header), (ControlType.SNAPSHOT_FOOTER, b"")])
    )
    data = first + last
    content = SnapshotContent(Path("any"), lambda position, size: data[position : position + size])
    if size < 10:
        with pytest.raises(CorruptSnapshot):
            content.last_contained_ms()
    else:
        assert content.last_contained_ms() == 55
        content.verify()


def test_a_snapshot_that_kafka_wrote_is_read() -> None:
    reader = SnapshotReader(SnapshotStore(FileStorage(), DATA), SnapshotId(epoch=1, end_offset=353))
    assert sum(len(values) for values in reader.values()) == 116
    assert reader.last_contained_ms() == 1795259851923
    assert [kind for kind, _ in reader.controls()] == [ControlType.KRAFT_VERSION, ControlType.KRAFT_VOTERS]


@pytest.mark.parametrize("cut", ["in the footer", "before the footer", "in the header", "everything"])
def test_a_cut_snapshot_is_found_out(tmp_path: Path, cut: str) -> None:
    store = SnapshotStore(FileStorage(), tmp_path)
    path = write(store, ID, [b"one", b"two"])
    data = path.read_bytes()
    footer_bytes = 75
    path.write_bytes(data[: {"in the footer": -1, "before the footer": -footer_bytes, "in the header": 30, "everything": 0}[cut]])
    with pytest.raises(CorruptSnapshot, match=path.name):
        SnapshotReader(SnapshotStore(FileStorage(), tmp_path), ID).verify()


def test_every_flipped_byte_is_found_out(tmp_path: Path) -> None:
    store = SnapshotStore(FileStorage(), tmp_path)
    path = write(store, ID, [b"one", b"two"])
    whole = path.read_bytes()
    # Base offsets and epochs lie outside the checksums, and say nothing in a snapshot.
    outside = {position + at for position in (0, 83, len(whole) - 75) for at in (*range(8), *range(12, 16))}
    for position in range(len(whole)):
        broken = bytearray(whole)
        broken[position] ^= 0x10
        path.write_bytes(broken)
        if position in outside:
            continue
        with pytest.raises(CorruptSnapshot):
            SnapshotReader(store, ID).verify()


def test_something_behind_the_footer_is_found_out(tmp_path: Path) -> None:
    store = SnapshotStore(FileStorage(), tmp_path)
    path = write(store, ID, [b"one"])
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(CorruptSnapshot, match="follows the footer"):
        SnapshotReader(store, ID).verify()


def test_the_next_start_removes_what_was_half_written_or_half_deleted(tmp_path: Path) -> None:
    store = SnapshotStore(FileStorage(), tmp_path)
    write(store, ID, [b"one"])
    half = SnapshotWriter(store.create(SnapshotId(epoch=4, end_offset=200)), last_contained_ms=1, wall_ms=1)
    half.append([b"two"])
    (tmp_path / "00000000000000000007-0000000001.checkpoint.deleted").write_bytes(b"")
    found = SnapshotStore(FileStorage(), tmp_path)
    assert found.ids == (ID,)
    assert [file.name for file in tmp_path.iterdir()] == [ID.file_name]


def test_a_discarded_one_leaves_nothing(tmp_path: Path) -> None:
    store = SnapshotStore(FileStorage(), tmp_path)
    writer = SnapshotWriter(store.create(ID), last_contained_ms=1, wall_ms=1)
    writer.discard()
    assert store.ids == () and not list(tmp_path.iterdir())


# --- beside the log ---------------------------------------------------------------------------------


def test_one_that_is_being_written_goes_when_a_newer_one_takes_the_place_of_all_before(tmp_path: Path) -> None:
    store = SnapshotStore(FileStorage(), tmp_path)
    older = store.create(SnapshotId(epoch=3, end_offset=10))
    older.append(b"half")
    newer = SnapshotId(epoch=3, end_offset=20)
    write(store, newer, [b"x"])
    assert older.is_open
    store.remove_before(newer)
    assert not older.is_open and [path.name for path in tmp_path.iterdir()] == [newer.file_name]
    # Its writer may find out later.
    older.discard()
    assert store.ids == (newer,)


def test_the_prefix_of_the_log_goes_with_the_snapshots_before_it(tmp_path: Path) -> None:
    replica_log = open_log(tmp_path)
    fill(replica_log, 12)
    store = SnapshotStore(FileStorage(), tmp_path)
    metadata_log = SnapshottedLog(replica_log, store)
    for end_offset in (20, 60, 100):
        write(store, SnapshotId(epoch=3, end_offset=end_offset), [b"state"])
    assert replica_log.segment_count > 3
    segments_before = replica_log.segment_count
    assert metadata_log.delete_before(SnapshotId(epoch=3, end_offset=60))
    assert [one.end_offset for one in store.ids] == [60, 100]
    assert metadata_log.log_start_offset == 60 and replica_log.segment_count < segments_before
    assert not metadata_log.delete_before(SnapshotId(epoch=3, end_offset=60)), "that is done"
    replica_log.close()
    again = SnapshottedLog(open_log(tmp_path), SnapshotStore(FileStorage(), tmp_path))
    assert again.log_start_offset <= 60 and again.log_end_offset == 120
    assert again.latest_snapshot_id == SnapshotId(epoch=3, end_offset=100)


def test_a_snapshot_beyond_the_log_takes_its_place_at_the_start(tmp_path: Path) -> None:
    """The node crashed after it had fetched the snapshot and before it had cut the log."""
    replica_log = open_log(tmp_path)
    fill(replica_log, 3)
    replica_log.close()
    store = SnapshotStore(FileStorage(), tmp_path)
    write(store, SnapshotId(epoch=3, end_offset=20), [b"old"])
    write(store, SnapshotId(epoch=5, end_offset=400), [b"new"])
    metadata_log = SnapshottedLog(open_log(tmp_path), store)
    assert (metadata_log.log_start_offset, metadata_log.log_end_offset, metadata_log.latest_epoch) == (400, 400, 5)
    assert [one.end_offset for one in store.ids] == [400]
    assert metadata_log.end_offset_for_epoch(5) == (5, 400)
    assert metadata_log.snapshot_instead_of(400, 5) is None


@pytest.mark.expects_warnings
def test_a_corrupt_snapshot_is_set_aside_where_there_is_another_way(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    replica_log = open_log(tmp_path)
    fill(replica_log, 12)
    replica_log.close()
    store = SnapshotStore(FileStorage(), tmp_path)
    write(store, SnapshotId(epoch=3, end_offset=60), [b"good"])
    bad = write(store, SnapshotId(epoch=3, end_offset=100), [b"bad"])
    bad.write_bytes(bad.read_bytes()[:-10])
    metadata_log = SnapshottedLog(open_log(tmp_path), SnapshotStore(FileStorage(), tmp_path))
    assert metadata_log.latest_snapshot_id == SnapshotId(epoch=3, end_offset=60)
    assert metadata_log.log_end_offset == 120
    assert bad.with_name(bad.name + ".corrupt").exists() and not bad.exists()
    assert [record.levelname for record in caplog.records] == ["ERROR"] and bad.name in caplog.text


def test_a_node_whose_log_rests_on_a_corrupt_snapshot_does_not_start(tmp_path: Path) -> None:
    replica_log = open_log(tmp_path)
    replica_log.truncate_fully_and_start_at(60)
    fill(replica_log, 2)
    replica_log.close()
    store = SnapshotStore(FileStorage(), tmp_path)
    bad = write(store, SnapshotId(epoch=3, end_offset=60), [b"state"])
    bad.write_bytes(b"\0" * 100)
    with pytest.raises(StorageError, match=rf"{bad.name}: .* begins at offset 60, and no other snapshot reaches that far"):
        SnapshottedLog(open_log(tmp_path), SnapshotStore(FileStorage(), tmp_path))
    assert bad.exists(), "somebody may want to look at it"
    bad.unlink()
    with pytest.raises(StorageError, match="no snapshot reaches that far"):
        SnapshottedLog(open_log(tmp_path), SnapshotStore(FileStorage(), tmp_path))


def test_followers_are_told_of_the_snapshot_when_the_log_no_longer_has_what_they_need(tmp_path: Path) -> None:
    replica_log = open_log(tmp_path)
    fill(replica_log, 6, epoch=2)
    fill(replica_log, 6, epoch=4)
    store = SnapshotStore(FileStorage(), tmp_path)
    metadata_log = SnapshottedLog(replica_log, store)
    assert metadata_log.snapshot_instead_of(0, 0) is None, "there is none"
    write(store, SnapshotId(epoch=2, end_offset=40), [b"state"])
    latest = SnapshotId(epoch=4, end_offset=80)
    write(store, latest, [b"state"])
    assert metadata_log.snapshot_instead_of(0, 0) == latest, "who has nothing is sooner there with it"
    assert metadata_log.snapshot_instead_of(10, 2) is None
    assert metadata_log.snapshot_instead_of(10, 1) == latest, "an epoch before the oldest snapshot's is not in the log"
    metadata_log.delete_before(SnapshotId(epoch=2, end_offset=40))
    assert metadata_log.snapshot_instead_of(39, 2) == latest
    assert metadata_log.snapshot_instead_of(40, 2) is None
    assert metadata_log.snapshot_instead_of(40, 3) == latest
    assert metadata_log.end_offset_for_epoch(1) == (2, 40), "older epochs end where the snapshot does"
    assert metadata_log.end_offset_for_epoch(3) == (2, 60)


def test_no_snapshot_is_begun_that_would_not_be_the_newest(tmp_path: Path) -> None:
    replica_log = open_log(tmp_path)
    fill(replica_log, 6)
    store = SnapshotStore(FileStorage(), tmp_path)
    metadata_log = SnapshottedLog(replica_log, store)
    write(store, SnapshotId(epoch=3, end_offset=40), [b"state"])
    assert metadata_log.create_snapshot(SnapshotId(epoch=3, end_offset=40), last_contained_ms=0, wall_ms=0) is None
    assert metadata_log.create_snapshot(SnapshotId(epoch=3, end_offset=30), last_contained_ms=0, wall_ms=0) is None
    assert metadata_log.receive_snapshot(SnapshotId(epoch=3, end_offset=60)) is None, "all of that is in the log"
    writer = metadata_log.create_snapshot(SnapshotId(epoch=3, end_offset=50), last_contained_ms=0, wall_ms=0)
    assert writer is not None
    writer.discard()
