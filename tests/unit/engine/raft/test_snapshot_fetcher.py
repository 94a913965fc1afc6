"""What a follower does with a snapshot that has come: checked in turns, named when it is whole, dropped when it is told to stop."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import METADATA_PARTITION, METADATA_TOPIC_ID
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.faults.disk import DiskFault, DiskFaultKind
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.faulty_storage import FaultyStorage
from kafkalab.engine.log.log import Log
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.raft import RaftConfig
from kafkalab.engine.raft.snapshot_fetcher import CHECKED_PER_TURN_MAX, SnapshotFetcher
from kafkalab.engine.raft.snapshot_records import RECORDS_PER_BATCH_MAX, SnapshotBatch, SnapshotContent, snapshot_bytes
from kafkalab.engine.raft.snapshot_store import SnapshotId, SnapshotStore
from kafkalab.engine.raft.snapshotted_log import SnapshottedLog
from kafkalab.engine.raft.voters import Address
from tests.unit.engine.raft.turns import Turns

SNAPSHOT_ID = SnapshotId(epoch=3, end_offset=100)
LEADER_ID = 102
RECORDS = 6_000


class Fixture:
    """A follower with an empty log, and a leader that answers when the test says so."""

    epoch = 3

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.storage = FaultyStorage()
        replica_log = Log.open(
            directory, METADATA_PARTITION, LogConfig.from_map({}), ManualClock(), storage=self.storage, topic_id=METADATA_TOPIC_ID
        )
        self.snapshots = SnapshotStore(self.storage, directory)
        self.log = SnapshottedLog(replica_log, self.snapshots)
        self.turns = Turns()
        self.ends: list[bool] = []
        self.fetched: list[SnapshotId] = []
        self.failure: str | None = None
        self.signs_of_life = 0
        self._answer: Callable[[Any], None] | None = None
        self.checked = 0
        original = SnapshotContent.batches

        def counted(content: SnapshotContent) -> Iterator[SnapshotBatch]:
            for batch in original(content):
                self.checked += len(batch.records)
                yield batch

        monkeypatch.setattr(SnapshotContent, "batches", counted)
        self.fetcher = SnapshotFetcher(
            self,
            node_id=101,
            directory_id=None,
            cluster_id=None,
            log=self.log,
            network=self,
            clock=self.turns,
            config=RaftConfig(),
            on_end=self.ends.append,
        )

    # --- the member and its network ----------------------------------------------------------------

    def observe(self, leader_id: int, epoch: int, cause: str, address: Address | None = None) -> None:
        assert (leader_id, epoch) == (LEADER_ID, self.epoch)

    def handle_snapshot_chunk(self) -> None:
        self.signs_of_life += 1

    def handle_snapshot_fetched(self, snapshot_id: SnapshotId) -> None:
        self.fetched.append(snapshot_id)

    def handle_disk_failed(self, why: str) -> None:
        self.failure = why

    def send(
        self,
        node_id: int,
        api_key: ApiKey,
        body: Mapping[str, Any],
        on_response: Callable[[Any | None], None],
        *,
        timeout_ms: float,
        version: int | None = None,
    ) -> None:
        assert (node_id, api_key) == (LEADER_ID, ApiKey.FETCH_SNAPSHOT)
        self._answer = on_response

    def answer(self, data: bytes, *, topics: int = 1, error: int = Errors.NONE, **changes: Any) -> None:
        """The leader sends all of it in one piece, or something else."""
        fields: dict[str, Any] = {
            "error_code": Errors.NONE,
            "current_leader": SimpleNamespace(leader_id=LEADER_ID, leader_epoch=self.epoch),
            "snapshot_id": SNAPSHOT_ID,
            "position": 0,
            "size": len(data),
            "unaligned_records": data,
        }
        on_response, self._answer = self._answer, None
        assert on_response is not None
        told = [SimpleNamespace(partitions=[SimpleNamespace(**{**fields, **changes})])] * topics
        on_response(SimpleNamespace(error_code=error, topics=told, node_endpoints=[]))

    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.glob("*.checkpoint*"))


@pytest.fixture
def fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fixture:
    fixture = Fixture(tmp_path / str(METADATA_PARTITION), monkeypatch)
    assert fixture.fetcher.start(LEADER_ID, SNAPSHOT_ID)
    return fixture


def content() -> bytes:
    return snapshot_bytes([b"v" * 30] * RECORDS, wall_ms=1, epoch=SNAPSHOT_ID.epoch)


def test_what_came_is_checked_in_turns_and_gets_its_name_when_it_is_whole(fixture: Fixture) -> None:
    fixture.answer(content())
    counts = [fixture.checked]
    while fixture.turns.waiting:
        assert fixture.names() == [f"{SNAPSHOT_ID.file_name}.part"] and fixture.log.latest_snapshot_id is None
        fixture.turns.take()
        counts.append(fixture.checked - sum(counts))
    assert sum(counts) == RECORDS + 2, "a header and a footer"
    assert max(counts) < CHECKED_PER_TURN_MAX + RECORDS_PER_BATCH_MAX and len(counts) > 4
    assert fixture.signs_of_life > len(counts), "whoever is busy checking does not find its leader silent"
    assert (fixture.fetched, fixture.ends) == ([SNAPSHOT_ID], [True])
    assert fixture.names() == [SNAPSHOT_ID.file_name] and fixture.log.log_start_offset == SNAPSHOT_ID.end_offset


def test_one_that_stops_while_it_is_checked_leaves_nothing(fixture: Fixture) -> None:
    fixture.answer(content())
    assert fixture.turns.take()
    fixture.fetcher.stop()
    assert not fixture.turns.waiting and fixture.names() == []
    assert (fixture.fetched, fixture.ends, fixture.log.latest_snapshot_id) == ([], [], None)
    # The next leader's begins anew.
    assert fixture.fetcher.start(LEADER_ID, SNAPSHOT_ID)
    fixture.answer(content())
    while fixture.turns.take():
        pass
    assert fixture.fetched == [SNAPSHOT_ID]


@pytest.mark.expects_warnings
@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda data: data[:-100], "is cut off"),
        (lambda data: data[: data.rindex(b"v" * 30) + 30], "has no footer|is cut off"),
        (lambda data: data[:-2_000] + b"?" + data[-1_999:], "is corrupt"),
        (lambda data: data + data, "something follows the footer"),
        (lambda data: b"\x00" * len(data), "claims a length of 0"),
        (lambda data: data[100:], "claims a length|is corrupt|begin with a header"),
    ],
)
def test_what_is_cut_or_corrupt_is_set_aside(
    fixture: Fixture, caplog: pytest.LogCaptureFixture, spoil: Callable[[bytes], bytes], what: str
) -> None:
    fixture.answer(spoil(content()))
    while fixture.turns.take():
        pass
    assert (fixture.fetched, fixture.ends, fixture.failure) == ([], [False], None)
    assert fixture.names() == [f"{SNAPSHOT_ID.file_name}.corrupt"] and fixture.log.latest_snapshot_id is None
    told = next(record.getMessage() for record in caplog.records if record.levelname == "ERROR")
    assert re.search(what, told)
    assert fixture.fetcher.start(LEADER_ID, SNAPSHOT_ID), "it is asked for again"


@pytest.mark.parametrize(
    "changes",
    [
        {"topics": 0},
        {"topics": 2},
        {"snapshot_id": SnapshotId(epoch=3, end_offset=99)},
        {"snapshot_id": SnapshotId(epoch=2, end_offset=100)},
        {"position": 1},
        {"position": -1},
        {"unaligned_records": b""},
        {"size": 10},
        {"error_code": Errors.SNAPSHOT_NOT_FOUND},
        {"error_code": Errors.POSITION_OUT_OF_RANGE},
        {"error_code": 12_345},
    ],
)
def test_what_was_not_asked_for_is_not_taken(fixture: Fixture, changes: dict[str, Any]) -> None:
    fixture.answer(content(), **changes)
    assert (fixture.fetched, fixture.ends) == ([], [False]) and fixture.names() == [] and not fixture.turns.waiting


def test_one_of_another_cluster_is_asked_a_few_times_and_gives_nothing(fixture: Fixture) -> None:
    for _ in range(4):
        fixture.answer(content(), error=Errors.INCONSISTENT_CLUSTER_ID)
        assert fixture.ends == [] and fixture.turns.take()
    fixture.answer(content(), error=Errors.INCONSISTENT_CLUSTER_ID)
    assert (fixture.fetched, fixture.ends) == ([], [False]) and fixture.names() == [] and not fixture.turns.waiting


@pytest.mark.expects_warnings
def test_a_disk_that_breaks_before_it_has_its_name_ends_the_member(fixture: Fixture) -> None:
    fixture.answer(content())
    while fixture.checked < RECORDS - CHECKED_PER_TURN_MAX:
        assert fixture.turns.take()
    fixture.storage.set_faults([DiskFault(DiskFaultKind.READ_ONLY, str(fixture.directory))])
    with pytest.raises(ApiError, match="KAFKA_STORAGE_ERROR"):
        fixture.turns.take()
    assert fixture.failure == f"{fixture.snapshots.path(SNAPSHOT_ID)} cannot take the metadata log's place: Read-only file system"
    assert fixture.fetched == [] and fixture.log.log_end_offset == 0
