"""Several log directories: what happens to the others when one fails, and copies from one to another."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from pathlib import Path

import pytest

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.faults.disk import DiskFault, DiskFaultKind
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.faulty_storage import FaultyStorage
from kafkalab.engine.log.manager import LogManager, ReplicaTwice
from kafkalab.engine.log.storage import StorageError
from kafkalab.engine.protocol.metadata_records import DIRECTORY_UNASSIGNED
from kafkalab.engine.record.batch import Record, build_batch
from kafkalab.engine.telemetry.hub import NullSink

NOW = 1_700_000_000_000
TOPIC_ID = uuid.UUID(int=5)
pytestmark = pytest.mark.expects_warnings


def tp(number: int) -> TopicPartition:
    return TopicPartition("t", number)


class Listener:
    def __init__(self) -> None:
        self.failed: list[tuple[str, list[int]]] = []

    def directory_failed(self, directory: Path, replicas: Collection[TopicPartition], why: str) -> None:
        assert why
        self.failed.append((directory.name, sorted(one.partition for one in replicas)))


class House:
    def __init__(self, root: Path, count: int = 2) -> None:
        self.dirs = [root / f"dir-{number}" for number in range(1, count + 1)]
        self.ids = {path: uuid.UUID(int=100 + number) for number, path in enumerate(self.dirs, 1)}
        self.clock = ManualClock()
        self.storage = FaultyStorage()
        self.listener = Listener()

    def open(self, *, failures: dict[Path, str] | None = None) -> LogManager:
        manager = LogManager(
            self.dirs, LogConfig(), self.clock, self.storage, NullSink(), 1, directory_ids=self.ids, failures=failures or {}
        )
        manager.load()
        manager.directory_listener = self.listener
        return manager

    def break_directory(self, number: int, kind: DiskFaultKind = DiskFaultKind.BROKEN) -> None:
        self.storage.set_faults([DiskFault(kind, str(self.dirs[number - 1]))])


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def append(manager: LogManager, number: int, count: int = 1) -> None:
    log = manager.get_or_create(tp(number), TOPIC_ID, LogConfig())
    for _ in range(count):
        log.append_as_leader(build_batch([Record(0, NOW, b"k", b"v" * 50)]), 0)


def places(manager: LogManager) -> dict[int, str]:
    return {log.topic_partition.partition: log.directory.parent.name for log in manager.logs()}


def test_one_directory_fails_and_the_others_go_on(house: House) -> None:
    manager = house.open()
    for number in range(4):
        append(manager, number)
    before = places(manager)
    house.break_directory(2)
    manager.fail_directory(house.dirs[1], "told")
    manager.fail_directory(house.dirs[1], "told again")
    assert len(manager.logs()) == 4, "what is under way is not cut off"
    house.clock.advance(0)
    gone = [number for number, place in before.items() if place == "dir-2"]
    assert house.listener.failed == [("dir-2", gone)]
    assert set(places(manager).values()) == {"dir-1"}
    append(manager, 9)
    assert places(manager)[9] == "dir-1"
    manager.checkpoint()
    manager.close(3)
    house.storage.set_faults([])
    assert (house.dirs[0] / ".kafka_cleanshutdown").exists() and not (house.dirs[1] / ".kafka_cleanshutdown").exists()
    again = house.open()
    assert places(again) == {**before, 9: "dir-1"}, "healed, everything is back"
    assert {log.topic_partition.partition for log in again.logs() if log.recovered} == set(gone)


def test_a_write_that_fails_takes_its_directory_out_of_use(house: House) -> None:
    manager = house.open()
    for number in range(2):
        append(manager, number)
    house.break_directory(1, DiskFaultKind.READ_ONLY)
    with pytest.raises(StorageError):
        manager.write_high_watermarks({tp(0): 1, tp(1): 1})
    house.clock.advance(0)
    assert [name for name, _ in house.listener.failed] == ["dir-1"]
    assert manager.directories.live == [house.dirs[1]] and manager.directories.offline_ids == [house.ids[house.dirs[0]]]


def test_a_directory_that_cannot_be_loaded_is_left_out_but_the_last_one_is_not(house: House) -> None:
    manager = house.open()
    for number in range(4):
        append(manager, number)
    before = places(manager)
    manager.abandon()
    house.break_directory(2)
    manager = house.open()
    assert places(manager) == {number: place for number, place in before.items() if place == "dir-1"}
    assert list(manager.directories.failures) == [house.dirs[1]]
    manager.abandon()
    house.storage.set_faults([DiskFault(DiskFaultKind.BROKEN, str(path)) for path in house.dirs])
    with pytest.raises(StorageError, match="Input/output error"):
        house.open()


@pytest.mark.parametrize("clean", [True, False])
def test_a_directory_whose_batches_must_be_read_and_cannot_is_left_out(house: House, clean: bool) -> None:
    manager = house.open()
    for number in range(2):
        log = manager.get_or_create(tp(number), TOPIC_ID, LogConfig(segment_bytes=300))
        for _ in range(9):
            log.append_as_leader(build_batch([Record(0, NOW, b"k", b"v" * 50)]), 0)
        log.flush()
    manager.checkpoint()
    broken = next(path / "t-0" for path in house.dirs if (path / "t-0").exists())
    manager.close(1) if clean else manager.abandon()
    first = broken / "00000000000000000000.log"
    content = first.read_bytes()
    first.write_bytes(content[:8] + b"\xff" * 4 + content[12:])
    for snapshot in broken.glob("*.snapshot"):
        # Without it the producers are looked for in all batches.
        snapshot.unlink()
    manager = house.open()
    assert places(manager) == {1: next(path.name for path in house.dirs if path != broken.parent)}
    assert "segment 0: no batch at position 0" in manager.directories.failures[broken.parent]


def test_a_replica_is_made_where_it_is_wanted(house: House) -> None:
    manager = house.open()
    for _ in range(3):
        manager.get_or_create(tp(1), TOPIC_ID, LogConfig(), directory_id=house.ids[house.dirs[1]])
    manager.get_or_create(tp(2), TOPIC_ID, LogConfig(), directory_id=house.ids[house.dirs[1]])
    manager.get_or_create(tp(3), TOPIC_ID, LogConfig(), directory_id=DIRECTORY_UNASSIGNED)
    manager.directories.preferred[tp(4)] = house.dirs[1]
    manager.get_or_create(tp(4), TOPIC_ID, LogConfig(), directory_id=house.ids[house.dirs[0]])
    assert places(manager) == {1: "dir-2", 2: "dir-2", 3: "dir-1", 4: "dir-2"}


def test_a_cordoned_directory_gets_no_new_replicas(house: House) -> None:
    manager = house.open()
    manager.directories.cordoned = frozenset({house.dirs[0]})
    for number in range(4):
        append(manager, number)
    assert places(manager) == dict.fromkeys(range(4), "dir-2")
    # Where the controller did not hear of it in time a replica must go somewhere.
    manager.directories.cordoned = frozenset(house.dirs)
    append(manager, 4)
    assert places(manager)[4] == "dir-1"


def test_what_a_failed_directory_may_hold_is_not_made_anew(house: House) -> None:
    directories = house.open(failures={house.dirs[1]: "gone"}).directories
    first, second = (house.ids[path] for path in house.dirs)
    assert directories.may_hold(second) and directories.may_hold(uuid.UUID(int=999))
    assert not directories.may_hold(first) and not directories.may_hold(DIRECTORY_UNASSIGNED) and not directories.may_hold(None)
    assert not house.open().directories.may_hold(uuid.UUID(int=999)), "all are here: it is nowhere"


def test_a_copy_takes_the_place_of_its_replica(house: House) -> None:
    manager = house.open()
    append(manager, 0, 20)
    log = manager.get(tp(0))
    assert log is not None
    source = log.directory.parent
    target = next(path for path in house.dirs if path != source)
    copy = manager.create_future(tp(0), target)
    assert copy.directory.name.startswith("t-0.") and copy.directory.name.endswith("-future")
    copy.append_as_follower(log.read(0, 1 << 20))
    # A stop on the way finds both again.
    manager.close(1)
    manager = house.open()
    copy = manager.future(tp(0))
    assert copy is not None and copy.log_end_offset == 20 and places(manager) == {0: source.name}
    new = manager.promote_future(tp(0))
    assert new.directory == target / "t-0" and manager.future(tp(0)) is None
    assert [path.name.rsplit("-", 1)[-1] for path in source.iterdir() if path.is_dir()] == ["delete"]
    append(manager, 0)
    assert new.log_end_offset == 21
    house.clock.advance(60_000)
    assert not [path for path in source.iterdir() if path.is_dir()]
    manager.close(2)
    assert places(house.open()) == {0: target.name}


def test_two_directories_that_claim_one_replica_are_refused(house: House) -> None:
    manager = house.open()
    append(manager, 0)
    manager.close(1)
    other = house.dirs[1] if (house.dirs[0] / "t-0").exists() else house.dirs[0]
    (other / "t-0").mkdir()
    with pytest.raises(ReplicaTwice, match="Duplicate log directories for t-0 are found in both"):
        house.open()


def test_foreign_files_are_left_alone(house: House) -> None:
    manager = house.open()
    append(manager, 0, 3)
    manager.abandon()
    log_dir = next(path for path in house.dirs if (path / "t-0").exists())
    foreign = [
        log_dir / "notes.txt",
        log_dir / "t-0" / "notes.txt",
        log_dir / "t-0" / "123.log",
        log_dir / "t-0" / "00000000000000000000.bak",
        log_dir / "t-0" / "x0000000000000000000.log",
        log_dir / "t-0" / ("\N{FULLWIDTH DIGIT ZERO}" * 20 + ".log"),
        log_dir / "list-delete",
        log_dir / "backup-delete" / "notes.txt",
        log_dir / "t-0" / "folder.tmp" / "notes.txt",
        log_dir / "t-0" / "folder.swap" / "notes.txt",
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("not mine")
    (log_dir / "lost+found").mkdir()
    (log_dir / "t-0" / "folder").mkdir()
    manager = house.open()
    assert places(manager) == {0: log_dir.name}
    log = manager.get(tp(0))
    assert log is not None and log.log_end_offset == 3
    manager.close(1)
    assert all(path.read_text() == "not mine" for path in foreign)


def test_a_clock_that_jumps_back_does_no_harm(house: House) -> None:
    manager = house.open()
    config = LogConfig(segment_ms=1000, retention_ms=5000, message_timestamp_type="LogAppendTime")
    log = manager.get_or_create(tp(0), TOPIC_ID, config)
    for step in (0, 10_000, -60_000, 500, -3_600_000, 20_000):
        house.clock._wall_offset_ms += step
        log.append_as_leader(build_batch([Record(0, NOW, b"k", b"v")]), 0)
        manager.apply_retention(lambda _tp: log.log_end_offset)
    assert log.log_end_offset == 6
    assert [header.base_offset for header, _ in log.iter_batches(log.log_start_offset)][-1] == 5
    manager.close(1)
    assert house.open().get(tp(0)) is not None
