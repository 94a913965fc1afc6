"""A replica on its way to another directory, while it grows, is cut, or loses one of the two."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.manager import LogManager
from kafkalab.engine.log.storage import FileStorage
from kafkalab.engine.record.batch import Record, build_batch, iter_records
from kafkalab.engine.replica.assignments import ASSIGNMENTS_PER_REQUEST_MAX, DirectoryAssignments
from kafkalab.engine.replica.moves import SLICE_BYTES, ReplicaMoves
from kafkalab.engine.replica.partition import Partition
from kafkalab.engine.replica.quota import ReplicationQuota
from kafkalab.engine.telemetry.hub import NullSink

NOW = 1_700_000_000_000
TP = TopicPartition("t", 0)
TOPIC_ID = uuid.UUID(int=7)


class Controller:
    """Takes requests and answers when told."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, Any], Callable[[Any], None]]] = []

    def send(self, api_key: Any, body: Any, on_response: Callable[[Any], None], *, timeout_ms: float = 0) -> None:
        self.asked.append((body, on_response))

    @property
    def told(self) -> dict[tuple[uuid.UUID, int], uuid.UUID]:
        body, _ = self.asked[0]
        return {
            (topic["topic_id"], part["partition_index"]): directory["id_"]
            for directory in body["directories"]
            for topic in directory["topics"]
            for part in topic["partitions"]
        }

    def answer(self, error: Errors = Errors.NONE, *, top: Errors = Errors.NONE) -> None:
        body, on_response = self.asked.pop(0)
        directories = [
            SimpleNamespace(
                topics=[
                    SimpleNamespace(
                        topic_id=topic["topic_id"],
                        partitions=[
                            SimpleNamespace(partition_index=part["partition_index"], error_code=error) for part in topic["partitions"]
                        ],
                    )
                    for topic in directory["topics"]
                ]
            )
            for directory in body["directories"]
        ]
        on_response(SimpleNamespace(error_code=top, directories=directories if top is Errors.NONE else []))

    def be_silent(self) -> None:
        self.asked.pop(0)[1](None)


class Setting:
    def __init__(self, root: Path) -> None:
        self.dirs = [root / "a", root / "b", root / "c"]
        self.ids = {path: uuid.UUID(int=50 + number) for number, path in enumerate(self.dirs)}
        self.clock = ManualClock()
        self.controller = Controller()
        self.moved: list[Partition] = []
        self.bytes_per_second = 1 << 60
        self.begin()

    def begin(self) -> None:
        self.manager = LogManager(self.dirs, LogConfig(), self.clock, FileStorage(), NullSink(), 1, directory_ids=self.ids)
        self.manager.load()
        self.assignments = DirectoryAssignments(node_id=1, clock=self.clock, channel=self.controller, broker_epoch=lambda: 9)
        self.quota = ReplicationQuota(self.clock, lambda: self.bytes_per_second, sample_count=11, sample_ms=1_000.0)
        self.moves = ReplicaMoves(
            clock=self.clock, log_manager=self.manager, assignments=self.assignments, on_moved=self.moved.append, quota=self.quota
        )
        log = self.manager.get_or_create(TP, TOPIC_ID, LogConfig(segment_bytes=5_000))
        host = SimpleNamespace(mark_changed=lambda partition: None)
        self.partition = Partition(TP, TOPIC_ID, 1, log, host, high_watermark=0)
        self.moves.resume(self.partition)

    def append(self, count: int, epoch: int = 0) -> None:
        for _ in range(count):
            number = self.partition.log.log_end_offset
            data = build_batch([Record(0, NOW, b"k", b"%d" % number + b"." * 300)], producer_id=3, producer_epoch=0, base_sequence=number)
            self.partition.log.append_as_leader(data, epoch)

    @property
    def place(self) -> str:
        return self.partition.log.directory.parent.name

    def values(self) -> list[int]:
        log = self.partition.log
        return [int((r.value or b"").split(b".")[0]) for _, data in log.iter_batches(log.log_start_offset) for r in iter_records(data)]

    def until_reported(self) -> None:
        for _ in range(1000):
            if self.controller.asked:
                return
            self.clock.advance(0)
        raise AssertionError("nothing was reported")


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def test_a_replica_moves_while_it_grows(setting: Setting) -> None:
    setting.append(2_500)
    assert setting.place == "a"
    setting.moves.start(setting.partition, setting.dirs[1])
    slices: list[int] = []
    read = setting.partition.log.read

    def counted(offset: int, max_bytes: int) -> bytes:
        slices.append(len(data := read(offset, max_bytes)))
        if len(slices) == 2:
            setting.append(10, epoch=3)
        return data

    setting.partition.log.read = counted  # type: ignore[method-assign,assignment]
    setting.until_reported()
    assert len(slices) > 2 and max(slices) <= SLICE_BYTES, "a slice at a time"
    copy = setting.partition.future_log
    assert copy is not None and copy.log_end_offset == 2_510
    assert setting.place == "a", "the controller hears of it first"
    assert setting.controller.told == {(TOPIC_ID, 0): setting.ids[setting.dirs[1]]}
    setting.append(5, epoch=4)
    before = setting.partition.log
    setting.controller.answer()
    setting.clock.advance(0)
    assert setting.place == "b" and setting.moved == [setting.partition] and not len(setting.moves)
    assert setting.values() == list(range(2_515))
    assert setting.partition.log.leader_epochs == before.leader_epochs
    assert setting.partition.log.producer_state.entries[3].last_sequence == 2_514
    assert setting.partition.log.recovery_point >= 2_510
    setting.append(1)


def test_what_is_cut_is_cut_from_the_copy_too(setting: Setting) -> None:
    setting.append(100)
    setting.moves.start(setting.partition, setting.dirs[1])
    setting.until_reported()
    setting.partition.truncate_to(40)
    setting.append(7, epoch=2)
    setting.controller.answer()
    setting.clock.advance(0)
    assert setting.place == "b" and setting.values() == list(range(47))
    setting.moves.start(setting.partition, setting.dirs[2])
    setting.clock.advance(0)
    setting.partition.truncate_fully_and_start_at(500)
    setting.append(3, epoch=3)
    for _ in range(3):
        if setting.controller.asked:
            setting.controller.answer()
        setting.clock.advance(0)
    assert setting.place == "c" and setting.values() == [500, 501, 502] and setting.partition.log.log_start_offset == 500


def test_records_that_were_deleted_meanwhile_are_not_copied(setting: Setting) -> None:
    setting.append(100)
    setting.moves.start(setting.partition, setting.dirs[1])
    setting.until_reported()
    setting.partition.log.increment_log_start_offset(90)
    setting.controller.answer()
    assert setting.place == "b" and setting.partition.log.log_start_offset == 90 and setting.values()[-10:] == list(range(90, 100))


def test_another_destination_takes_over(setting: Setting) -> None:
    setting.append(2_500)
    setting.moves.start(setting.partition, setting.dirs[1])
    setting.clock.advance(0)
    setting.moves.start(setting.partition, setting.dirs[1])
    assert len(list(setting.dirs[1].glob("*-future"))) == 1, "the same wish changes nothing"
    setting.moves.start(setting.partition, setting.dirs[2])
    assert not list(setting.dirs[1].glob("*-future")) and len(list(setting.dirs[2].glob("*-future"))) == 1
    setting.moves.start(setting.partition, setting.dirs[0])
    assert not list(setting.dirs[2].glob("*-future")) and not len(setting.moves), "where it is it stays"


def test_a_move_goes_on_after_a_stop(setting: Setting) -> None:
    setting.append(2_500)
    setting.moves.start(setting.partition, setting.dirs[1])
    setting.clock.advance(0)
    setting.moves.close()
    setting.manager.close(1)
    setting.controller.asked.clear()
    setting.begin()
    setting.append(3)
    setting.until_reported()
    setting.controller.answer()
    assert setting.place == "b" and setting.values() == list(range(2_503))


def test_a_copy_whose_replica_went_another_way_is_cut_first(setting: Setting) -> None:
    setting.append(10, epoch=1)
    setting.append(10, epoch=2)
    setting.moves.start(setting.partition, setting.dirs[1])
    setting.until_reported()
    setting.moves.close()
    # Cut and written anew while nobody copied: as after a power cut that took the replica's tail.
    setting.partition.log.truncate_to(10)
    setting.append(8, epoch=3)
    setting.manager.close(1)
    setting.controller.asked.clear()
    setting.begin()
    setting.until_reported()
    setting.controller.answer()
    assert setting.place == "b" and setting.values() == list(range(18))
    assert setting.partition.log.leader_epochs == [(1, 0), (3, 10)]


def test_a_directory_that_fails_ends_the_move(setting: Setting) -> None:
    setting.append(100)
    setting.moves.start(setting.partition, setting.dirs[1])
    setting.moves.directory_failed(setting.dirs[1])
    setting.clock.advance(0)
    assert setting.place == "a" and not len(setting.moves) and setting.partition.future_log is None
    setting.append(1)


# --- reports --------------------------------------------------------------------------------------


def test_reports_are_gathered_and_repeated_until_they_are_heard(setting: Setting) -> None:
    directory = setting.ids[setting.dirs[0]]
    for index in range(3):
        setting.assignments.report((TOPIC_ID, index), directory)
    setting.clock.advance(0)
    assert len(setting.controller.asked) == 1 and len(setting.controller.told) == 3
    setting.controller.be_silent()
    setting.clock.advance(100)
    setting.controller.answer(top=Errors.STALE_BROKER_EPOCH)
    setting.clock.advance(100)
    assert len(setting.controller.told) == 3
    setting.assignments.report((TOPIC_ID, 1), setting.ids[setting.dirs[1]])
    setting.controller.answer(Errors.UNKNOWN_TOPIC_OR_PARTITION)
    setting.clock.advance(0)
    assert setting.controller.told == {(TOPIC_ID, 1): setting.ids[setting.dirs[1]]}, "the last word counts"
    setting.controller.answer()
    setting.clock.advance(1000)
    assert not setting.controller.asked


def test_no_request_holds_more_than_the_controller_takes(setting: Setting) -> None:
    for index in range(ASSIGNMENTS_PER_REQUEST_MAX + 10):
        setting.assignments.report((TOPIC_ID, index), setting.ids[setting.dirs[0]])
    setting.clock.advance(0)
    assert len(setting.controller.told) == ASSIGNMENTS_PER_REQUEST_MAX
    setting.controller.answer()
    setting.clock.advance(0)
    assert len(setting.controller.told) == 10


def test_a_move_goes_no_faster_than_allowed(setting: Setting) -> None:
    setting.append(200)
    size = setting.partition.log.size_bytes
    setting.bytes_per_second = size // 5
    # The first slice goes at once, whatever its size; what it used up has to be earned.
    setting.moves.start(setting.partition, setting.dirs[1])
    setting.clock.advance(100)
    setting.append(1)
    setting.clock.advance(3_000)
    assert len(setting.moves) == 1
    setting.clock.advance(3_000)
    setting.controller.answer()
    setting.clock.advance(10)
    assert len(setting.moves) == 0
    assert setting.partition.log.directory.parent == setting.dirs[1]
