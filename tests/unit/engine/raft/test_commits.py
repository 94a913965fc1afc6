"""What is committed comes to the listener in order, once, and never too much of it in one turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kafkalab.engine.common.errors import ApiError
from kafkalab.engine.common.ids import METADATA_PARTITION, METADATA_TOPIC_ID
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.faults.disk import DiskFault, DiskFaultKind
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.faulty_storage import FaultyStorage
from kafkalab.engine.log.log import Log
from kafkalab.engine.raft import CommittedBatch, CommittedSnapshot
from kafkalab.engine.raft.commits import READ_BYTES_MAX, RECORDS_PER_TURN_MAX, CommitFeed
from kafkalab.engine.raft.metadata_log import values_batch
from kafkalab.engine.raft.snapshot_store import SnapshotId, SnapshotStore
from kafkalab.engine.raft.snapshotted_log import SnapshottedLog
from tests.unit.engine.raft.turns import Turns

EPOCH = 3


class Fixture:
    """A log with its snapshots, its feed, and a listener that writes down what it hears."""

    def __init__(self, directory: Path) -> None:
        self.storage = FaultyStorage()
        self.turns = Turns()
        self.directory = directory
        self.log = Log.open(
            directory, METADATA_PARTITION, LogConfig.from_map({}), ManualClock(), storage=self.storage, topic_id=METADATA_TOPIC_ID
        )
        self.snapshots = SnapshotStore(self.storage, directory)
        self.feed = CommitFeed(self, log=SnapshottedLog(self.log, self.snapshots), listener=self, clock=self.turns)
        self.heard: list[str] = []
        self.records = 0
        self.handed_over = 0
        self.failure: str | None = None

    # --- the listener ------------------------------------------------------------------------------

    def handle_commit(self, batches: list[CommittedBatch]) -> None:
        values = [value for batch in batches for value in batch.values]
        self.records += len(values)
        self.heard.append(f"{batches[0].base_offset} to {batches[0].base_offset + len(values)}")

    def handle_snapshot(self, snapshot: CommittedSnapshot) -> Iterator[int]:
        self.heard.append(f"begin {snapshot.end_offset}")
        for values in snapshot.values():
            self.records += len(values)
            yield len(values)
        self.heard.append(f"end {snapshot.end_offset}")

    def handle_leader_change(self, leader_id: int, epoch: int) -> None:
        raise AssertionError("that is not the feed's")

    def handle_became_leader(self, epoch: int) -> None:
        raise AssertionError("that is not the feed's")

    def handle_resigned(self) -> None:
        raise AssertionError("that is not the feed's")

    # --- the member --------------------------------------------------------------------------------

    def handle_handed_over(self) -> None:
        self.handed_over += 1

    def handle_disk_failed(self, why: str) -> None:
        self.failure = why

    # --- what there is -----------------------------------------------------------------------------

    def append(self, batches: int, records: int = 1) -> int:
        """So many batches of so many records; where the log ends then."""
        for _ in range(batches):
            values = [b"v" * 20] * records
            data = values_batch(values, base_offset=self.log.log_end_offset, epoch=EPOCH, timestamp_ms=1)
            self.log.append_as_leader(data, EPOCH, client=False)
        return self.log.log_end_offset

    def snapshot(self, end_offset: int, records: int) -> SnapshotId:
        """One that the log then begins at, as after a fetch."""
        snapshot_id = SnapshotId(epoch=EPOCH, end_offset=end_offset)
        whole = SnapshottedLog(self.log, self.snapshots)
        writer = whole.create_snapshot(snapshot_id, last_contained_ms=1, wall_ms=1)
        assert writer is not None
        writer.append([b"s" * 20] * records)
        writer.freeze(lambda error: None)
        assert whole.truncate_to_latest_snapshot()
        return snapshot_id

    def advance(self, high_watermark: int) -> int:
        """How many records that brought at once."""
        before = self.records
        self.feed.advance(high_watermark)
        return self.records - before

    def take_turns(self) -> list[int]:
        """How many records came in each of the turns that are left."""
        counts, before = [], self.records
        while self.turns.take():
            counts.append(self.records - before)
            before = self.records
        return counts


@pytest.fixture
def fixture(tmp_path: Path) -> Fixture:
    return Fixture(tmp_path / str(METADATA_PARTITION))


def test_a_little_comes_at_once(fixture: Fixture) -> None:
    fixture.snapshot(100, records=200)
    assert fixture.advance(100) == 200
    assert fixture.advance(fixture.append(10, records=5)) == 50
    assert fixture.heard == ["begin 100", "end 100", "100 to 150"]
    assert not fixture.turns.waiting and fixture.feed.next_offset == 150 and fixture.handed_over == 2


def test_a_large_snapshot_comes_in_turns_and_what_is_committed_meanwhile_after_it(fixture: Fixture) -> None:
    fixture.snapshot(100, records=5_000)
    assert 0 < fixture.advance(100) <= RECORDS_PER_TURN_MAX
    assert fixture.turns.waiting == [0.0] and fixture.feed.next_offset == 0
    # The log goes on, and the next turn comes no sooner for that.
    for _ in range(3):
        assert fixture.advance(fixture.append(1)) == 0
        assert fixture.turns.waiting == [0.0]
        assert fixture.turns.take()
    counts = fixture.take_turns()
    assert max(counts) <= RECORDS_PER_TURN_MAX and len(counts) > 15
    assert fixture.heard == ["begin 100", "end 100", "100 to 103"] and fixture.records == 5_003
    assert fixture.feed.next_offset == 103


def test_a_long_log_comes_in_turns(fixture: Fixture) -> None:
    end_offset = fixture.append(600, records=7)
    first = fixture.advance(end_offset)
    counts = [first, *fixture.take_turns()]
    assert sum(counts) == end_offset == fixture.feed.next_offset
    # The last step of a turn may begin just before its end.
    assert max(counts) < RECORDS_PER_TURN_MAX + READ_BYTES_MAX // 25 and len(counts) > 4
    spans = [line.split(" to ") for line in fixture.heard]
    assert [low for low, _ in spans] == ["0", *(high for _, high in spans[:-1])], "in order, once, without a gap"


def test_whoever_waits_for_a_commit_is_told_when_its_turn_has_come(fixture: Fixture) -> None:
    end_offset = fixture.append(600, records=7)
    told: list[bool] = []
    fixture.feed.wait_for(end_offset - 1, told.append)
    fixture.advance(end_offset)
    assert told == []
    fixture.take_turns()
    assert told == [True]


def test_one_that_stops_amid_a_snapshot_hands_over_nothing_more(fixture: Fixture) -> None:
    fixture.snapshot(100, records=5_000)
    taken = fixture.advance(100)
    fixture.feed.stop()
    assert not fixture.turns.waiting and not fixture.turns.take()
    assert fixture.advance(fixture.append(1)) == 0
    assert fixture.records == taken and fixture.heard == ["begin 100"]


def test_a_newer_snapshot_takes_the_place_of_one_that_is_half_taken_up(fixture: Fixture) -> None:
    old = fixture.snapshot(100, records=5_000)
    fixture.advance(100)
    fixture.snapshot(1_000, records=600)
    assert old not in fixture.snapshots, "the log begins after it"
    fixture.feed.advance(1_000)
    fixture.take_turns()
    assert fixture.heard == ["begin 100", "begin 1000", "end 1000"] and fixture.feed.next_offset == 1_000


@pytest.mark.expects_warnings
def test_a_snapshot_that_cannot_be_read_on_ends_the_member(fixture: Fixture) -> None:
    # More than is read ahead.
    snapshot_id = fixture.snapshot(100, records=60_000)
    fixture.advance(100)
    fixture.storage.set_faults([DiskFault(DiskFaultKind.BROKEN, str(fixture.directory))])
    with pytest.raises(ApiError, match="KAFKA_STORAGE_ERROR"):
        fixture.take_turns()
    assert fixture.failure is not None and snapshot_id.file_name in fixture.failure and "Input/output error" in fixture.failure
    assert fixture.heard == ["begin 100"] and fixture.feed.next_offset == 0
