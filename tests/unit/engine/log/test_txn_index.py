"""Transactions in a log: the index of those that were aborted, and the last stable offset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kafkalab.engine.log.log import Log
from kafkalab.engine.log.txn_index import AbortedTransaction, CorruptTransactionIndex, TransactionIndex, encode_entry
from kafkalab.engine.record.batch import Record, build_batch
from kafkalab.engine.record.control import ControlType, encode_end_transaction_marker, encode_key

OpenLog = Callable[..., Log]
NOW = 1_700_000_000_000


class Producers:
    """Writes transactions into a log as their leader would."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._sequences: dict[int, int] = {}

    def write(self, producer_id: int, count: int = 1, size: int = 10) -> int:
        sequence = self._sequences.get(producer_id, 0)
        self._sequences[producer_id] = sequence + count
        records = [Record(index, NOW, None, b"v" * size) for index in range(count)]
        data = build_batch(records, producer_id=producer_id, producer_epoch=0, base_sequence=sequence, transactional=True)
        return self.log.append_as_leader(data, 0, client=False).first_offset

    def end(self, producer_id: int, control_type: ControlType) -> int:
        record = Record(0, NOW, encode_key(control_type), encode_end_transaction_marker(3))
        data = build_batch([record], producer_id=producer_id, producer_epoch=0, control=True, transactional=True)
        return self.log.append_as_leader(data, 0, client=False).first_offset

    def abort(self, producer_id: int) -> int:
        return self.end(producer_id, ControlType.ABORT)

    def commit(self, producer_id: int) -> int:
        return self.end(producer_id, ControlType.COMMIT)


def aborted(log: Log, offset: int, max_bytes: int = 1 << 20) -> list[tuple[int, int]]:
    return [(one.producer_id, one.first_offset) for one in log.aborted_transactions(offset, log.read(offset, max_bytes))]


def files(log: Log) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(log.directory.glob("*.txnindex"))}


def test_entries_are_kafkas_34_bytes() -> None:
    entry = AbortedTransaction(producer_id=2, first_offset=11, last_offset=21, last_stable_offset=22)
    assert encode_entry(entry).hex() == "0000" + "0000000000000002" + "000000000000000b" + "0000000000000015" + "0000000000000016"
    assert TransactionIndex.load(encode_entry(entry) * 1, 0).entries == [entry]


@pytest.mark.parametrize(
    "content",
    [
        encode_entry(AbortedTransaction(1, 0, 5, 6))[:-1],
        encode_entry(AbortedTransaction(1, 0, 5, 6)) * 2,
        encode_entry(AbortedTransaction(1, 0, 5, 6)).replace(b"\0\0", b"\0\1", 1),
        encode_entry(AbortedTransaction(1, -9, -5, -4)),
    ],
)
def test_what_cannot_be_right_is_refused(content: bytes) -> None:
    with pytest.raises(CorruptTransactionIndex):
        TransactionIndex.load(content, 0)


def test_the_last_stable_offset_waits_for_the_end_of_the_oldest_transaction_to_be_committed(open_log: OpenLog) -> None:
    log = open_log()
    producers = Producers(log)
    assert log.last_stable_offset(0) == 0
    producers.write(1)  # 0
    producers.write(2)  # 1
    assert [log.last_stable_offset(mark) for mark in (2, 1, 0)] == [0, 0, 0]
    assert producers.commit(1) == 2
    # The marker is there but not committed: both transactions may still be seen as open.
    assert log.last_stable_offset(2) == 0
    assert log.last_stable_offset(3) == 1
    assert producers.abort(2) == 3
    assert log.last_stable_offset(3) == 1
    assert log.last_stable_offset(4) == 4
    # A marker without a transaction ends nothing.
    producers.abort(2)
    assert log.last_stable_offset(5) == 5
    assert len(files(log)) == 1
    log.abandon()


def test_readers_hear_of_the_aborted_transactions_among_what_they_get(open_log: OpenLog) -> None:
    log = open_log()
    producers = Producers(log)
    producers.write(1)  # 0
    producers.write(2)  # 1
    producers.commit(1)  # 2
    producers.abort(2)  # 3
    producers.write(3, size=5_000)  # 4
    producers.write(1)  # 5
    producers.abort(3)  # 6
    producers.commit(1)  # 7
    assert TransactionIndex.load(*files(log).values(), 0).entries == [AbortedTransaction(2, 1, 3, 4), AbortedTransaction(3, 4, 6, 5)]
    assert aborted(log, 0) == [(2, 1), (3, 4)]
    assert aborted(log, 0, 1) == []
    assert aborted(log, 2, 200) == [(2, 1)]
    assert aborted(log, 4) == aborted(log, 6) == [(3, 4)]
    assert aborted(log, 7) == []
    log.abandon()


def test_a_transaction_that_ends_in_a_later_segment_is_found(open_log: OpenLog) -> None:
    log = open_log()
    producers = Producers(log)
    producers.write(1)  # 0
    log.roll()
    producers.write(2)  # 1
    log.roll()
    producers.abort(1)  # 2
    log.roll()
    producers.abort(2)  # 3
    assert sorted(files(log)) == ["00000000000000000002.txnindex", "00000000000000000003.txnindex"]
    assert aborted(log, 0) == [(1, 0)]
    assert aborted(log, 1) == [(1, 0), (2, 1)]
    log.abandon()


@pytest.mark.parametrize("stop", ["close", "abandon"])
def test_transactions_outlive_a_stop(open_log: OpenLog, stop: str) -> None:
    log = open_log()
    producers = Producers(log)
    producers.write(1)
    producers.abort(1)
    log.roll()
    producers.write(2)
    producers.write(1)
    producers.abort(2)
    producers.write(3)
    before = files(log)
    assert len(before) == 2
    getattr(log, stop)()
    log = open_log(clean=stop == "close")
    assert files(log) == before
    assert log.last_stable_offset(log.log_end_offset) == 3
    assert aborted(log, 0) == [(1, 0)]
    assert aborted(log, 2) == [(2, 2)]
    log.abandon()


@pytest.mark.parametrize("damage", [b"", b"nonsense", encode_entry(AbortedTransaction(9, 0, 77, 78)), None])
def test_after_a_kill_the_indexes_follow_from_the_log(open_log: OpenLog, damage: bytes | None) -> None:
    log = open_log()
    producers = Producers(log)
    producers.write(1)
    log.roll()
    producers.abort(1)
    producers.write(2)
    producers.abort(2)
    before = files(log)
    log.abandon()
    path = log.directory / "00000000000000000001.txnindex"
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    log = open_log(recovery_point=1)
    assert files(log) == before
    assert aborted(log, 1) == [(1, 0), (2, 2)]
    log.abandon()


def test_a_sealed_index_that_is_none_is_made_again_after_a_clean_stop_too(open_log: OpenLog) -> None:
    log = open_log()
    producers = Producers(log)
    producers.write(1)
    producers.abort(1)
    log.roll()
    producers.write(2)
    producers.abort(2)
    before = files(log)
    log.close()
    (log.directory / "00000000000000000000.txnindex").write_bytes(b"x" * 35)
    log = open_log(clean=True)
    assert files(log) == before
    log.abandon()


def test_truncation_takes_markers_back(open_log: OpenLog) -> None:
    log = open_log()
    producers = Producers(log)
    producers.write(1)  # 0
    producers.abort(1)  # 1
    producers.write(1)  # 2
    producers.abort(1)  # 3
    before = files(log)
    log.truncate_to(3)
    assert aborted(log, 0) == [(1, 0)]
    assert log.last_stable_offset(3) == 2
    producers.abort(1)
    assert files(log) == before
    log.truncate_to(1)
    assert files(log) == {}
    assert log.last_stable_offset(1) == 0
    log.truncate_fully_and_start_at(50)
    assert log.last_stable_offset(50) == 50
    log.abandon()


def test_an_index_that_is_read_from_its_file_is_kept_when_more_follows(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    producers = Producers(log)
    producers.write(1)
    producers.abort(1)
    log.close()
    log = open_log(clean=True)
    producers = Producers(log)
    producers.write(2)
    producers.abort(2)
    (content,) = files(log).values()
    assert [entry.producer_id for entry in TransactionIndex.load(content, 0).entries] == [1, 2]
    log.abandon()
