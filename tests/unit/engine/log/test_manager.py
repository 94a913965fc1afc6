"""All logs of a broker, from one life to the next."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.log.checkpoint import read_offsets
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.manager import LogManager, parse_directory_name
from kafkalab.engine.log.meta_properties import MetaProperties
from kafkalab.engine.log.storage import FileStorage, StorageError
from kafkalab.engine.record.batch import Record, build_batch
from kafkalab.engine.telemetry.events import LogRecovered
from tests.support.recording_sink import RecordingSink

ORDERS, PAYMENTS = TopicPartition("orders", 0), TopicPartition("pay-ments", 11)
TOPIC_ID = uuid.UUID(int=77 << 64)
NOW = 1_700_000_000_000


class House:
    """Makes managers over the same directories, one life after the other."""

    def __init__(self, root: Path) -> None:
        self.dirs = [root / "logs"]
        self.clock = ManualClock()
        self.sink = RecordingSink()

    def open(self) -> LogManager:
        manager = LogManager(self.dirs, LogConfig(), self.clock, FileStorage(), self.sink, 4)
        manager.load()
        return manager

    def file(self, name: str) -> Path:
        return self.dirs[0] / name


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def append(manager: LogManager, tp: TopicPartition, count: int, config: LogConfig | None = None) -> None:
    log = manager.get_or_create(tp, TOPIC_ID, config or LogConfig())
    for _ in range(count):
        log.append_as_leader(build_batch([Record(0, NOW, b"k", b"v" * 50)]), 0)


def test_a_clean_stop_is_noticed_and_its_marker_used_once(house: House) -> None:
    manager = house.open()
    assert manager.clean_shutdown_epoch == -1
    append(manager, ORDERS, 5)
    append(manager, PAYMENTS, 3)
    manager.write_high_watermarks({ORDERS: 4, PAYMENTS: 3})
    manager.close(42)
    assert house.file(".kafka_cleanshutdown").read_bytes() == b'{"version":0,"brokerEpoch":42}'
    assert house.file("recovery-point-offset-checkpoint").read_text() == "0\n2\norders 0 5\npay-ments 11 3\n"

    manager = house.open()
    assert manager.clean_shutdown_epoch == 42
    assert not house.file(".kafka_cleanshutdown").exists()
    assert {log.topic_partition: (log.log_end_offset, log.topic_id, log.recovered) for log in manager.logs()} == {
        ORDERS: (5, TOPIC_ID, False),
        PAYMENTS: (3, TOPIC_ID, False),
    }
    assert manager.read_high_watermarks() == {ORDERS: 4, PAYMENTS: 3}
    assert not house.sink.events
    manager.abandon()

    manager = house.open()
    assert manager.clean_shutdown_epoch == -1
    assert all(log.recovered for log in manager.logs())
    assert not house.sink.events, "all was flushed: there was nothing to validate"
    manager.abandon()


def test_a_kill_is_recovered_from_and_told(house: House) -> None:
    manager = house.open()
    append(manager, ORDERS, 5)
    manager.abandon()
    with house.file("orders-0/00000000000000000000.log").open("ab") as file:
        file.write(b"torn")
    manager = house.open()
    (event,) = house.sink.events
    assert isinstance(event, LogRecovered)
    assert (event.node_id, event.topic, event.partition, event.log_end_offset, event.cut_bytes) == (4, "orders", 0, 5, 4)
    manager.abandon()


def test_logs_are_made_once_and_belong_to_a_topic(house: House) -> None:
    manager = house.open()
    assert manager.get(ORDERS) is None
    log = manager.get_or_create(ORDERS, TOPIC_ID, LogConfig(retention_ms=5))
    assert manager.get_or_create(ORDERS, TOPIC_ID, LogConfig(retention_ms=6)) is log is manager.get(ORDERS)
    assert log.config.retention_ms == 6
    with pytest.raises(StorageError, match="belongs to topic id"):
        manager.get_or_create(ORDERS, uuid.UUID(int=5 << 64), LogConfig())
    assert list(manager.logs()) == [log]
    manager.close(1)
    assert sorted(path.name for path in house.file("orders-0").iterdir()) == [
        "00000000000000000000.index",
        "00000000000000000000.log",
        "00000000000000000000.timeindex",
        "partition.metadata",
    ]


def test_logs_know_their_directory_by_the_one_object_that_is_looked_up(house: House) -> None:
    append(house.open(), ORDERS, 1)
    manager = house.open()
    append(manager, PAYMENTS, 1)
    assert all(log.log_dir is house.dirs[0] for log in manager.logs())


def test_a_deleted_log_goes_after_its_delay(house: House) -> None:
    manager = house.open()
    append(manager, ORDERS, 5, LogConfig(file_delete_delay_ms=1000))
    manager.delete(ORDERS)
    manager.delete(PAYMENTS)
    assert manager.get(ORDERS) is None
    (renamed,) = [path.name for path in house.dirs[0].iterdir() if path.name.startswith("orders")]
    assert renamed.startswith("orders-0.") and renamed.endswith("-delete")
    append(manager, ORDERS, 1)
    house.clock.advance(999)
    assert house.file(renamed).exists()
    house.clock.advance(1)
    assert not house.file(renamed).exists()
    assert house.file("orders-0").exists()
    manager.delete(ORDERS)
    manager.abandon()
    house.clock.advance(100_000)
    assert len(list(house.dirs[0].glob("orders*"))) == 1, "the dead delete nothing"
    house.open().abandon()
    assert not list(house.dirs[0].glob("orders*"))


def test_house_is_kept(house: House) -> None:
    manager = house.open()
    append(manager, ORDERS, 30, LogConfig(segment_bytes=1000, retention_ms=1000))
    log = manager.get(ORDERS)
    assert log is not None
    manager.start(high_watermark=lambda tp: 25, checkpoint_interval_ms=100, start_offsets_interval_ms=300, retention_check_interval_ms=2000)
    house.clock.advance(100)
    boundary = log.segments()[-1].base_offset
    assert house.file("recovery-point-offset-checkpoint").read_text() == f"0\n1\norders 0 {boundary}\n"
    assert log.log_start_offset == 0
    house.clock.advance(1900)
    assert 0 < log.log_start_offset <= 25
    log.increment_log_start_offset(29)
    house.clock.advance(99)
    assert " 29" not in house.file("log-start-offset-checkpoint").read_text()
    house.clock.advance(1)
    assert house.file("log-start-offset-checkpoint").read_text() == "0\n1\norders 0 29\n"
    manager.abandon()
    assert house.clock.next_due_ms() is None
    again = house.open().get(ORDERS)
    assert again is not None and (again.log_start_offset, again.log_end_offset) == (29, 30)


def test_intervals_begin_after_a_delay_and_without_one_a_thing_is_done_once(house: House) -> None:
    manager = house.open()
    append(manager, ORDERS, 30, LogConfig(segment_bytes=1000))
    manager.start(high_watermark=lambda tp: None, checkpoint_interval_ms=0, initial_delay_ms=500)
    house.clock.advance(499)
    assert not house.file("recovery-point-offset-checkpoint").exists()
    house.clock.advance(1)
    written = recovery_points(house)[ORDERS]
    append(manager, ORDERS, 30, LogConfig(segment_bytes=1000))
    house.clock.advance(100_000)
    assert recovery_points(house)[ORDERS] == written
    manager.abandon()


def test_producers_that_were_silent_too_long_are_forgotten_from_the_start_and_then_at_intervals(house: House) -> None:
    def manager_that_checks() -> LogManager:
        manager = house.open()
        manager.start(high_watermark=lambda tp: None, producers_check_interval_ms=700, producer_id_expiration_ms=1000)
        return manager

    def known(manager: LogManager) -> list[int]:
        log = manager.get(ORDERS)
        assert log is not None
        return list(log.producer_state.entries)

    manager = manager_that_checks()
    log = manager.get_or_create(ORDERS, TOPIC_ID, LogConfig())
    log.append_as_leader(build_batch([Record(0, NOW, b"k", b"v")], producer_id=9, producer_epoch=0, base_sequence=0), 0)
    house.clock.advance(700)
    assert known(manager) == [9]
    house.clock.advance(700)
    assert known(manager) == []
    later = house.clock.wall_ms()
    log.append_as_leader(build_batch([Record(0, later, b"k", b"v")], producer_id=9, producer_epoch=0, base_sequence=0), 0)
    manager.close(1)
    manager = manager_that_checks()
    assert known(manager) == [9]
    manager.close(1)
    house.clock.advance(1000)
    assert known(manager_that_checks()) == []


def test_a_stray_is_set_aside_and_stays(house: House) -> None:
    manager = house.open()
    append(manager, ORDERS, 3)
    directory = manager.set_aside(ORDERS)
    assert re.fullmatch(r"orders-0\.[0-9a-f]{32}-stray", directory.name)
    assert manager.get(ORDERS) is None
    append(manager, ORDERS, 1)
    house.clock.advance(10_000_000)
    manager.close(1)
    again = house.open().get(ORDERS)
    assert again is not None and again.log_end_offset == 1
    assert len((directory / "00000000000000000000.log").read_bytes()) > 300


def test_a_broken_checkpoint_stops_the_start(house: House) -> None:
    manager = house.open()
    append(manager, ORDERS, 1)
    manager.close(1)
    house.file("recovery-point-offset-checkpoint").write_text("0\n1\norders zero 1\n")
    with pytest.raises(StorageError, match=r"recovery-point-offset-checkpoint, line 3: malformed entry 'orders zero 1'"):
        house.open()
    house.file("recovery-point-offset-checkpoint").unlink()
    house.file("replication-offset-checkpoint").write_text("nonsense")
    with pytest.raises(StorageError, match=r"replication-offset-checkpoint, line 1"):
        house.open().read_high_watermarks()


def test_two_directories_share_the_load_but_no_partition(house: House, tmp_path: Path) -> None:
    house.dirs.append(tmp_path / "more")
    manager = house.open()
    for number in range(4):
        append(manager, TopicPartition("t", number), 1)
    assert [len(list(directory.glob("t-*"))) for directory in house.dirs] == [2, 2]
    manager.write_high_watermarks({TopicPartition("t", number): 1 for number in range(4)})
    assert [(directory / "replication-offset-checkpoint").read_text().count("t ") for directory in house.dirs] == [2, 2]
    assert len(manager.read_high_watermarks()) == 4
    manager.close(9)
    (name,) = {path.name for path in house.dirs[0].glob("t-0")} or {"t-1"}
    (house.dirs[1] / name).mkdir(exist_ok=True)
    with pytest.raises(StorageError, match="Duplicate log directories for"):
        house.open()


def test_the_directory_id_is_that_of_meta_properties(house: House) -> None:
    manager = house.open()
    with pytest.raises(StorageError):
        _ = manager.directory_id
    MetaProperties("cluster", 4, TOPIC_ID).write(house.file("meta.properties"))
    assert manager.directory_id == TOPIC_ID


@pytest.mark.expects_warnings
def test_a_marker_without_an_epoch_still_marks(house: House) -> None:
    manager = house.open()
    append(manager, ORDERS, 1)
    manager.close(1)
    house.file(".kafka_cleanshutdown").write_text("")
    manager = house.open()
    assert manager.clean_shutdown_epoch == -1
    assert not any(log.recovered for log in manager.logs())


def test_directory_names() -> None:
    assert parse_directory_name("orders-0") == ORDERS
    assert parse_directory_name("pay-ments-11") == PAYMENTS
    for name in ("__cluster_metadata-0", "orders", "-0", "orders-x", "orders-0.aabb-delete", "orders-0-stray", "meta.properties"):
        assert parse_directory_name(name) is None


def recovery_points(house: House) -> dict[TopicPartition, int]:
    return read_offsets(FileStorage(), house.file("recovery-point-offset-checkpoint"))


@pytest.mark.parametrize("offset", [4, 0])
def test_what_takes_the_place_of_synced_records_is_not_taken_for_synced(house: House, offset: int) -> None:
    manager = house.open()
    append(manager, ORDERS, 10)
    append(manager, PAYMENTS, 3)
    manager.close(1)
    manager = house.open()
    log = manager.get(ORDERS)
    assert log is not None and log.recovery_point == 10
    log.truncate_to(offset) if offset else log.truncate_fully_and_start_at(0)
    assert recovery_points(house) == {ORDERS: offset, PAYMENTS: 3}, "before anything is appended"
    append(manager, ORDERS, 10)
    manager.abandon()
    # A power cut has left the lengths of the new records, and zeros.
    file = house.file("orders-0/00000000000000000000.log")
    content = bytearray(file.read_bytes())
    content[content.index(b"k", len(content) // 3) :] = bytes(len(content) - content.index(b"k", len(content) // 3))
    file.write_bytes(content)
    again = house.open().get(ORDERS)
    assert again is not None and again.log_end_offset < 10
    assert all(header.record_count == 1 for header, _ in again.iter_batches(0))


def test_a_log_that_lost_its_synced_end_begins_anew_where_it_ends(house: House) -> None:
    manager = house.open()
    append(manager, ORDERS, 10)
    manager.checkpoint()
    log = manager.get(ORDERS)
    assert log is not None
    log.flush()
    manager.checkpoint()
    assert recovery_points(house)[ORDERS] == 10
    manager.abandon()
    file = house.file("orders-0/00000000000000000000.log")
    file.write_bytes(file.read_bytes()[:-20])
    house.open().abandon()
    assert recovery_points(house)[ORDERS] == 9


def test_a_new_log_is_not_as_synced_as_one_of_its_name_that_was_deleted(house: House) -> None:
    manager = house.open()
    append(manager, ORDERS, 10)
    manager.close(1)
    manager = house.open()
    manager.delete(ORDERS)
    append(manager, ORDERS, 2)
    assert recovery_points(house).get(ORDERS, 0) == 0


@pytest.mark.parametrize(
    ("checkpoint", "ends_at"),
    [(None, 4), ("0\n1\norders 0 3\n", 4), ("0\n1\norders 0 6\n", 12), ("0\n1\npay-ments 11 9\n", 4), ("gone", 12)],
    ids=["never compacted", "compacted before", "compacted", "another is", "unreadable"],
)
def test_a_hole_that_no_compaction_left_ends_a_log_after_a_kill(
    house: House, checkpoint: str | None, ends_at: int, caplog: pytest.LogCaptureFixture
) -> None:
    manager = house.open()
    for _ in range(3):
        append(manager, ORDERS, 4)
        log = manager.get(ORDERS)
        assert log is not None
        log.roll()
    manager.abandon()
    house.file("orders-0/00000000000000000004.log").write_bytes(b"")
    if checkpoint is not None:
        house.file("cleaner-offset-checkpoint").write_text(checkpoint)
    again = house.open().get(ORDERS)
    assert again is not None and again.log_end_offset == ends_at
    assert [one.levelname for one in caplog.records] == (["WARNING"] if checkpoint == "gone" else [])
    caplog.clear()
