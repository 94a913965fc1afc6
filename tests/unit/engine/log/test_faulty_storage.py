"""Disks that fail on order, and power that goes: what is left, and who hears of it."""

from __future__ import annotations

import errno
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.faults.disk import DiskFault, DiskFaultKind, DiskFaults
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.epoch_file import EPOCHS_DELAY_MS, EPOCHS_SPREAD_MS
from kafkalab.engine.log.faulty_storage import FaultyStorage
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.partition_metadata import TOPIC_ID_DELAY_MS, TOPIC_ID_SPREAD_MS
from kafkalab.engine.log.storage import Done, StorageError
from kafkalab.engine.record.batch import Record, build_batch, iter_records

NOW = 1_700_000_000_000
TP = TopicPartition("t", 0)


class Worker:
    """Does what was put off when it is told to."""

    def __init__(self) -> None:
        self.tasks: list[tuple[Callable[[], None], Done]] = []

    def __call__(self, work: Callable[[], None], done: Done) -> None:
        self.tasks.append((work, done))

    def run(self) -> None:
        tasks, self.tasks = self.tasks, []
        for work, done in tasks:
            work()
            done(None)


class Disk:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.worker = Worker()
        self.errors: list[OSError] = []
        self.clock = ManualClock()
        self.storage = self._power_up()

    def _power_up(self) -> FaultyStorage:
        return FaultyStorage(background=self.worker)

    def open(self, *, recovery_point: int = 0, topic_id: uuid.UUID | None = None, **settings: object) -> Log:
        config = LogConfig(**settings)  # type: ignore[arg-type]
        log = Log.open(self.path / str(TP), TP, config, self.clock, storage=self.storage, recovery_point=recovery_point, topic_id=topic_id)
        log.on_storage_error = lambda _log, error: self.errors.append(error)
        return log

    def fail(self, kind: DiskFaultKind, free_bytes: int = 0) -> None:
        self.storage.set_faults([DiskFault(kind, str(self.path), free_bytes)])

    def cut_power(self, log: Log, torn_tail_bytes: int = 0) -> None:
        log.abandon()
        self.worker.tasks.clear()
        self.storage.lose_unsynced(torn_tail_bytes)
        self.storage = self._power_up()


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    (tmp_path / "logs").mkdir()
    return Disk(tmp_path / "logs")


def append(log: Log, count: int, *, epoch: int = 0) -> None:
    for _ in range(count):
        number = log.log_end_offset
        data = build_batch([Record(0, NOW + number, b"k", b"%d" % number)], producer_id=1, producer_epoch=0, base_sequence=number)
        log.append_as_leader(data, epoch)


def values(log: Log) -> list[int]:
    return [int(record.value or b"") for _, data in log.iter_batches(log.log_start_offset) for record in iter_records(data)]


# --- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("free_bytes", [0, 1, 40, 61, 69])
def test_a_disk_that_fills_amid_a_batch_leaves_nothing_of_it(disk: Disk, free_bytes: int) -> None:
    log = disk.open()
    append(log, 5)
    size = log.size_bytes
    disk.fail(DiskFaultKind.FULL, free_bytes)
    with pytest.raises(ApiError) as error:
        append(log, 1)
    assert error.value.error is Errors.KAFKA_STORAGE_ERROR and "No space left" in str(error.value)
    assert [one.errno for one in disk.errors] == [errno.ENOSPC]
    assert (log.directory / "00000000000000000000.log").stat().st_size == size, "what was written of it is cut"
    assert values(log) == list(range(5)), "what was there can be read"
    disk.storage.set_faults([])
    log.abandon()
    again = disk.open()
    append(again, 2)
    assert values(again) == list(range(7)) and again.recovered_cut_bytes == 0


def test_space_that_is_left_is_used_up_once(disk: Disk) -> None:
    log = disk.open()
    append(log, 1)
    size = log.size_bytes
    disk.fail(DiskFaultKind.FULL, 3 * size)
    append(log, 3)
    with pytest.raises(ApiError):
        append(log, 1)
    assert disk.storage.space(disk.path)[1] == 0


@pytest.mark.parametrize("what", ["index", "snapshot", "epochs"])
def test_a_disk_that_fills_amid_a_small_file_leaves_the_old_one(disk: Disk, what: str) -> None:
    log = disk.open()
    append(log, 5)
    before = {path.name: path.read_bytes() for path in log.directory.iterdir()}
    disk.fail(DiskFaultKind.FULL, 3)
    with pytest.raises(ApiError) as error:
        if what == "epochs":
            log.increment_log_start_offset(3)
        elif what == "index":
            log.roll()
        else:
            log.close()
    assert error.value.error is Errors.KAFKA_STORAGE_ERROR and disk.errors
    for name, content in before.items():
        assert (log.directory / name).read_bytes() == content
    disk.storage.set_faults([])
    log.abandon()
    again = disk.open()
    append(again, 1, epoch=8)
    assert values(again) == list(range(6))


@pytest.mark.parametrize(
    ("kind", "reads"), [(DiskFaultKind.BROKEN, False), (DiskFaultKind.VANISHED, False), (DiskFaultKind.READ_ONLY, True)]
)
def test_a_broken_disk(disk: Disk, kind: DiskFaultKind, reads: bool) -> None:
    log = disk.open()
    append(log, 5)
    disk.fail(kind)
    with pytest.raises(ApiError) as error:
        append(log, 1)
    assert error.value.error is Errors.KAFKA_STORAGE_ERROR
    if reads:
        assert values(log) == list(range(5))
    else:
        with pytest.raises(ApiError):
            log.read(0, 1000)
    other = Disk(disk.path.parent)
    other.storage = disk.storage
    log = other.open()
    append(log, 1)
    assert values(log) == [0], "other disks are not touched by it"


def test_a_refused_sync_is_told(disk: Disk) -> None:
    log = disk.open()
    append(log, 5)
    disk.fail(DiskFaultKind.BROKEN)
    with pytest.raises(ApiError):
        log.flush()
    assert log.recovery_point == 0 and disk.errors


def test_faults_are_looked_up_by_directory() -> None:
    faults = DiskFaults([DiskFault(DiskFaultKind.BROKEN, "/a/dir-1")])
    assert faults.affects("/a/dir-1") and faults.affects("/a/dir-1/t-0/x.log")
    assert not faults.affects("/a/dir-10/t-0") and not faults.affects("/a")
    faults.set([])
    assert not faults.active


# --- power ----------------------------------------------------------------------------------------


def test_what_was_synced_outlives_the_power(disk: Disk) -> None:
    log = disk.open()
    append(log, 5)
    log.flush()
    append(log, 5)
    disk.cut_power(log)
    again = disk.open(recovery_point=5)
    assert values(again) == list(range(5)) and again.recovered_cut_bytes == 0
    assert again.producer_state.entries[1].last_sequence == 4
    append(again, 3)
    assert values(again) == list(range(8))


@pytest.mark.parametrize("torn", [1, 30, 61, 75, 76, 100, 1000])
def test_a_torn_tail_is_cut(disk: Disk, torn: int) -> None:
    log = disk.open()
    append(log, 5)
    log.flush()
    size = log.size_bytes
    append(log, 5)
    disk.cut_power(log, torn)
    again = disk.open(recovery_point=5)
    whole = min(5, torn * 5 // size)
    assert values(again) == list(range(5 + whole))
    assert again.recovered_cut_bytes == min(torn, size) - whole * size // 5


def test_what_was_never_synced_never_was(disk: Disk) -> None:
    log = disk.open()
    append(log, 5)
    disk.cut_power(log)
    assert not (disk.path / str(TP)).exists()
    assert disk.open().log_end_offset == 0


def test_a_file_without_its_name_is_lost(disk: Disk) -> None:
    log = disk.open()
    append(log, 5)
    log._active.sync()  # The bytes are on the disk, and no directory says so.
    disk.cut_power(log)
    assert disk.open().log_end_offset == 0


def test_rolled_segments_are_synced_beside_the_loop(disk: Disk) -> None:
    log = disk.open(segment_bytes=300)
    append(log, 20)
    assert log.recovery_point == 0 and disk.worker.tasks, "nobody waits for the disk"
    disk.worker.run()
    base_offset = log.segments()[-1].base_offset
    assert log.recovery_point == base_offset > 0
    disk.cut_power(log)
    again = disk.open(segment_bytes=300, recovery_point=base_offset)
    assert values(again) == list(range(base_offset)), "all but the active segment"


def test_names_are_synced_beside_the_loop(disk: Disk) -> None:
    told: list[OSError | None] = []

    def make(name: str) -> None:
        file = disk.storage.open(str(disk.path / name))
        file.append(b"", b"x")
        file.sync()

    make("early")
    disk.storage.sync_dir_later(disk.path, told.append)
    make("late")
    assert told == []
    disk.worker.run()
    assert told == [None]
    disk.storage.lose_unsynced()
    assert [path.name for path in disk.path.iterdir()] == ["early"]
    disk.storage.set_faults([DiskFault(DiskFaultKind.BROKEN, str(disk.path))])
    disk.storage.sync_dir_later(disk.path, told.append)
    disk.storage.set_faults(())
    disk.storage.sync_dir_later(disk.path / "nowhere", told.append)
    assert [type(error) for error in told] == [type(None), OSError, FileNotFoundError] and not disk.worker.tasks


def test_a_sync_under_way_says_nothing_after_a_cut(disk: Disk) -> None:
    log = disk.open(segment_bytes=300)
    append(log, 8)
    log.truncate_to(2)
    append(log, 10)
    del disk.worker.tasks[1:]
    recovery_point = log.recovery_point
    disk.worker.run()
    assert log.recovery_point == recovery_point == 0
    done: list[bool] = []
    log.flush_all_later(lambda: done.append(True))
    disk.worker.run()
    assert done and log.recovery_point == log.log_end_offset


def test_epochs_are_synced_with_the_batches_that_have_them(disk: Disk) -> None:
    log = disk.open()
    for epoch in range(4):
        append(log, 2, epoch=epoch)
    log.flush()
    append(log, 1, epoch=9)
    disk.cut_power(log)
    again = disk.open(recovery_point=8)
    assert again.leader_epochs == [(0, 0), (1, 2), (2, 4), (3, 6)]


@pytest.mark.parametrize("is_late", [True, False])
def test_the_indexes_of_what_counts_as_synced_are_synced_too(disk: Disk, is_late: bool) -> None:
    """Of a file that was only renamed into its place a power cut may leave the beginning, which looks like a whole index."""
    log = disk.open(segment_bytes=400, index_interval_bytes=0)
    while log.segment_count < 4:
        append(log, 1)
    if is_late:
        disk.worker.run()
    else:
        log.flush_inactive()
    assert log.recovery_point == log.active_base_offset
    sealed = [segment.base_offset for segment in log.segments()[:-1]]
    files = [log.directory / f"{base:020d}{suffix}" for base in sealed for suffix in (".index", ".timeindex")]
    before = [path.read_bytes() for path in files]
    disk.cut_power(log)
    assert [path.read_bytes() for path in files] == before and all(before)


def test_small_files_are_as_they_were_synced(disk: Disk) -> None:
    path, other = disk.path / "a", disk.path / "b"
    disk.storage.replace(path, b"old")
    disk.storage.replace(path, b"newer", sync=False)
    disk.storage.replace(other, b"never synced", sync=False)
    disk.storage.replace(path, b"newest", sync=False)
    disk.storage.lose_unsynced()
    assert path.read_bytes() == b"old" and not other.exists()


def test_renamed_and_removed_files_are_not_made_again(disk: Disk) -> None:
    log = disk.open()
    append(log, 3)
    renamed = log.rename_for_delete()
    disk.storage.lose_unsynced()
    assert renamed.is_dir() and not list(renamed.glob("*.log")), "the new name was synced, nothing in it was"
    assert not (disk.path / str(TP)).exists()


# --- the file of leader epochs, which is behind for a while --------------------------------------------


def on_disk(log: Log) -> str:
    path = log.directory / "leader-epoch-checkpoint"
    return path.read_text() if path.exists() else ""


def test_the_file_of_leader_epochs_follows_soon(disk: Disk) -> None:
    log = disk.open()
    append(log, 1, epoch=3)
    append(log, 1, epoch=4)
    assert on_disk(log) == ""
    disk.clock.advance(EPOCHS_DELAY_MS + EPOCHS_SPREAD_MS)
    assert on_disk(log) == "0\n2\n3 0\n4 1\n"
    append(log, 1, epoch=4)
    append(log, 1, epoch=5)
    log.close()
    assert on_disk(log) == "0\n3\n3 0\n4 1\n5 3\n"
    disk.clock.advance(EPOCHS_DELAY_MS + EPOCHS_SPREAD_MS)


def test_a_kill_before_the_file_follows_loses_no_epoch(disk: Disk) -> None:
    log = disk.open(segment_bytes=300)
    for epoch in range(6):
        append(log, 3, epoch=epoch)
    log.flush()
    flushed = log.recovery_point
    append(log, 3, epoch=6)
    expected = log.leader_epochs
    log.abandon()
    # The recovery point may be the one of any flush: what lies before it is in the file.
    for recovery_point in (0, flushed):
        again = disk.open(segment_bytes=300, recovery_point=recovery_point)
        assert again.leader_epochs == expected == [(epoch, 3 * epoch) for epoch in range(7)]
        again.abandon()


def test_power_that_goes_before_the_file_follows_loses_no_epoch(disk: Disk) -> None:
    log = disk.open(segment_bytes=300)
    for epoch in range(6):
        append(log, 3, epoch=epoch)
    log.flush_later()
    disk.worker.run()
    flushed = log.recovery_point
    assert 0 < flushed < 18
    disk.cut_power(log)
    again = disk.open(segment_bytes=300, recovery_point=flushed)
    end = again.log_end_offset
    assert end >= flushed
    assert again.leader_epochs == [(epoch, 3 * epoch) for epoch in range(6) if 3 * epoch < end]


def test_a_disk_that_refuses_the_file_is_told_of_to_whoever_keeps_it(disk: Disk) -> None:
    log = disk.open()
    append(log, 1, epoch=3)
    disk.fail(DiskFaultKind.BROKEN)
    disk.clock.advance(EPOCHS_DELAY_MS + EPOCHS_SPREAD_MS)
    assert disk.errors


# --- the file with the topic id, which is not synced at once -------------------------------------------

TOPIC_ID = uuid.UUID(int=7)
OTHER_TOPIC_ID = uuid.UUID(int=8)


def synced_names(monkeypatch: pytest.MonkeyPatch, disk: Disk) -> list[str]:
    """The files that are replaced and synced, from now on."""
    names: list[str] = []
    replace = disk.storage.replace

    def noting(path: Path, content: bytes, *, sync: bool = True) -> None:
        if sync:
            names.append(path.name)
        replace(path, content, sync=sync)

    monkeypatch.setattr(disk.storage, "replace", noting)
    return names


def test_a_new_log_waits_for_no_disk_and_its_topic_id_follows(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    names = synced_names(monkeypatch, disk)
    log = disk.open(topic_id=TOPIC_ID)
    assert not names
    disk.clock.advance(TOPIC_ID_DELAY_MS + TOPIC_ID_SPREAD_MS)
    assert names == ["partition.metadata"]
    append(log, 1)
    assert names == ["partition.metadata"], "once"


def test_a_log_whose_topic_id_went_with_the_power_is_anybodys_and_empty(disk: Disk) -> None:
    disk.cut_power(disk.open(topic_id=TOPIC_ID))
    again = disk.open(topic_id=OTHER_TOPIC_ID)
    assert (again.topic_id, again.log_end_offset) == (OTHER_TOPIC_ID, 0)


def test_no_record_is_on_the_disk_without_its_topic_id(disk: Disk) -> None:
    log = disk.open(topic_id=TOPIC_ID)
    append(log, 3)
    log.flush()
    disk.cut_power(log)
    with pytest.raises(StorageError, match=r"partition\.metadata"):
        disk.open(topic_id=OTHER_TOPIC_ID)
    assert disk.open(topic_id=TOPIC_ID).log_end_offset == 3


@pytest.mark.parametrize("content", [b"", b"\0\0\0\0", b"version: 0\ntopic_"])
def test_a_topic_id_of_which_a_power_cut_left_a_part_is_none_while_there_are_no_records(disk: Disk, content: bytes) -> None:
    log = disk.open(topic_id=TOPIC_ID)
    file = log.directory / "partition.metadata"
    log.close()
    file.write_bytes(content)
    assert disk.open().topic_id is None, "the directory is loaded before anybody knows the topics"
    again = disk.open(topic_id=OTHER_TOPIC_ID)
    assert again.topic_id == OTHER_TOPIC_ID
    append(again, 1)
    again.close()
    file.write_bytes(content)
    with pytest.raises(StorageError, match=r"partition\.metadata"):
        disk.open(topic_id=OTHER_TOPIC_ID)


def test_a_topic_id_that_a_kill_left_unsynced_is_synced_in_the_next_life(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.open(topic_id=TOPIC_ID).abandon()
    names = synced_names(monkeypatch, disk)
    again = disk.open()
    assert again.topic_id == TOPIC_ID and not names
    append(again, 1)
    assert names == ["partition.metadata"]
    again.abandon()
    append(disk.open(), 1)
    assert names == ["partition.metadata"], "with records it was synced"


def test_the_disk_is_asked_once_for_each_segment_however_far_it_is_behind(disk: Disk) -> None:
    log = disk.open()
    for _ in range(20):
        append(log, 1)
        log.roll()
    assert len(disk.worker.tasks) == 20 * 3, "a segment and its two indexes"
    log.truncate_to(10)
    append(log, 1)
    log.roll()
    assert len(disk.worker.tasks) > 20 * 3, "what was asked for before the cut says nothing of what came after it"
    disk.worker.run()
    assert log.recovery_point == log.log_end_offset == 11
