"""Logs read from outside, while their owner writes, and when something is broken."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.reader import (
    AbortedTransaction,
    LogDirReader,
    OffsetEntry,
    PartitionReader,
    TimeEntry,
    base_offset_of,
    parse_partition_name,
    read_batches,
    read_offset_index,
    read_producer_snapshot,
    read_time_index,
    read_transaction_index,
)
from kafkalab.engine.log.storage import StorageError
from kafkalab.engine.record.batch import Record, build_batch
from kafkalab.engine.record.control import ControlType, encode_end_transaction_marker, encode_key
from tests.unit.engine.log.conftest import TP, OpenLog


def batch(first: int, count: int = 2, *, size: int = 50, timestamp: int = 1_000) -> bytes:
    return build_batch([Record(number, timestamp + first + number, b"k", bytes(size)) for number in range(count)])


def filled(open_log: OpenLog, batches: int, **settings: object) -> Log:
    log = open_log(**settings)
    for number in range(batches):
        log.append_as_leader(batch(number * 2), 0)
    return log


def test_what_was_appended_is_read_while_the_log_is_open(open_log: OpenLog, tmp_path: Path) -> None:
    log = filled(open_log, 30, segment_bytes=1_000, index_interval_bytes=100)
    reader = PartitionReader(tmp_path / str(TP))
    assert reader.topic_partition == TP
    assert len(reader.segments()) == log.segment_count > 2
    assert [one.header.base_offset for one in reader.batches()] == list(range(0, 60, 2))
    assert all(one.is_valid for one in reader.batches())
    assert [record.offset for record in reader.records(37)] == list(range(37, 60))
    assert (reader.start_offset, reader.end_offset) == (0, 60)
    assert reader.size_bytes == log.size_bytes
    assert reader.leader_epochs == [(0, 0)]
    log.append_as_leader(batch(60), 0)
    assert reader.end_offset == 62
    log.close()
    assert reader.end_offset == 62
    for segment in reader.segments():
        found = [one for one in reader.batches(segment.base_offset) if one.header.base_offset < segment.base_offset + 1_000]
        assert reader.max_timestamp(segment) == max(one.header.max_timestamp for one in read_batches(segment.path))
        assert found[0].header.base_offset == segment.base_offset


def test_an_unfinished_batch_is_not_there_yet(open_log: OpenLog, tmp_path: Path) -> None:
    filled(open_log, 3).abandon()
    path = tmp_path / str(TP) / f"{0:020}.log"
    whole = path.read_bytes()
    size = len(whole) // 3
    for cut in (*range(2 * size, 3 * size, 7), 3 * size - 1):
        path.write_bytes(whole[:cut])
        assert [one.position for one in read_batches(path)] == [0, size]
    path.write_bytes(whole + bytes(500))
    assert len(list(read_batches(path))) == 3
    path.write_bytes(whole + struct.pack(">qi", 6, 2**31 - 1) + bytes(100))
    assert len(list(read_batches(path))) == 3, "a length of two gigabytes asks for nothing that is not there"


def test_a_flipped_bit_is_found_where_it_is(open_log: OpenLog, tmp_path: Path) -> None:
    filled(open_log, 3).abandon()
    path = tmp_path / str(TP) / f"{0:020}.log"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert [one.is_valid for one in read_batches(path)] == [True, False, True]


def test_a_batch_larger_than_what_is_read_at_once(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log(max_message_bytes=8_000_000)
    for number in range(3):
        log.append_as_leader(batch(number, 1, size=3_000_000 - number), 0)
    log.abandon()
    found = list(read_batches(tmp_path / str(TP) / f"{0:020}.log"))
    assert [one.header.base_offset for one in found] == [0, 1, 2]
    assert all(one.is_valid for one in found)


def test_segments_that_go_meanwhile_are_passed_over(open_log: OpenLog, tmp_path: Path) -> None:
    filled(open_log, 30, segment_bytes=1_000).abandon()
    reader = PartitionReader(tmp_path / str(TP))
    walk = reader.batches()
    next(walk)
    (victim, *_) = [segment for segment in reader.segments() if segment.base_offset > 10]
    victim.path.rename(victim.path.with_suffix(".log.deleted"))
    offsets = [one.header.base_offset for one in walk]
    assert victim.base_offset not in offsets
    assert offsets[-1] == 58


def test_indexes_end_where_their_zeros_begin(tmp_path: Path) -> None:
    index, times, transactions = (tmp_path / f"{100:020}.{suffix}" for suffix in ("index", "timeindex", "txnindex"))
    index.write_bytes(struct.pack(">iiii", 5, 1_000, 9, 2_000) + bytes(800))
    assert read_offset_index(index) == [OffsetEntry(105, 1_000), OffsetEntry(109, 2_000)]
    times.write_bytes(struct.pack(">qi", 77, 5) + bytes(120) + b"half")
    assert read_time_index(times) == [TimeEntry(77, 105)]
    transactions.write_bytes(struct.pack(">hqqqq", 0, 4, 100, 110, 105) + b"half")
    assert read_transaction_index(transactions) == [AbortedTransaction(0, 4, 100, 110, 105)]
    with pytest.raises(StorageError, match="named by an offset"):
        base_offset_of(tmp_path / "orders.index")


def test_snapshots_tell_of_producers(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    log.append_as_leader(build_batch([Record(0, 5, None, b"x")], producer_id=9, producer_epoch=2, base_sequence=0), 0)
    log.close()
    (path,) = (tmp_path / str(TP)).glob("*.snapshot")
    (entry,) = read_producer_snapshot(path)
    assert (entry.producer_id, entry.epoch, entry.last_sequence) == (9, 2, 0)
    path.write_bytes(b"\x00\x01" + bytes(20))
    with pytest.raises(StorageError, match="CRC is no longer valid"):
        read_producer_snapshot(path)


def test_committed_records_leave_aborted_transactions_and_markers_out(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()

    def transaction(value: bytes, sequence: int) -> bytes:
        return build_batch([Record(0, 5, None, value)], producer_id=9, producer_epoch=0, base_sequence=sequence, transactional=True)

    def marker(kind: ControlType) -> bytes:
        record = Record(0, 5, encode_key(kind), encode_end_transaction_marker(0))
        return build_batch([record], producer_id=9, producer_epoch=0, control=True, transactional=True)

    for data in (transaction(b"lost", 0), marker(ControlType.ABORT), transaction(b"kept", 1), marker(ControlType.COMMIT)):
        log.append_as_leader(data, 0, client=False)
    log.append_as_leader(batch(0, 1), 0)
    log.close()
    reader = PartitionReader(tmp_path / str(TP))
    index = tmp_path / str(TP) / f"{0:020}.txnindex"
    if not index.exists():
        index.write_bytes(struct.pack(">hqqqq", 0, 9, 0, 1, 0))
    assert [one.control_type for one in reader.batches() if one.header.is_control] == [ControlType.ABORT, ControlType.COMMIT]
    assert [record.value for record in reader.records()][:2] == [b"lost", b"kept"]
    assert [record.value for record in reader.records(committed=True)][:1] == [b"kept"]
    assert [one.first_offset for one in reader.aborted_transactions()] == [0]


def test_a_log_directory_tells_its_partitions_and_checkpoints(tmp_path: Path) -> None:
    reader = LogDirReader(tmp_path)
    assert (reader.partitions(), reader.high_watermarks, reader.clean_shutdown_epoch) == ({}, {}, None)
    for name in ("orders-0", "with-dashes-12", "__cluster_metadata-0", "orders-1.0f1e-delete", "notes", "orders-3-stray"):
        (tmp_path / name).mkdir()
    (tmp_path / "plain-1").write_text("a file")
    assert list(reader.partitions()) == [
        TopicPartition("__cluster_metadata", 0),
        TopicPartition("orders", 0),
        TopicPartition("with-dashes", 12),
    ]
    for name, offset in (
        ("recovery-point-offset-checkpoint", 1),
        ("log-start-offset-checkpoint", 2),
        ("replication-offset-checkpoint", 3),
        ("cleaner-offset-checkpoint", 4),
    ):
        (tmp_path / name).write_text(f"0\n1\norders 0 {offset}\n")
    told = (reader.recovery_points, reader.log_start_offsets, reader.high_watermarks, reader.cleaner_offsets)
    assert [list(one.values()) for one in told] == [[1], [2], [3], [4]]
    for content, epoch in ((b'{"version":0,"brokerEpoch":17}', 17), (b"[]", -1), (b"\xff", -1), (b'{"brokerEpoch":"x"}', -1)):
        (tmp_path / ".kafka_cleanshutdown").write_bytes(content)
        assert reader.clean_shutdown_epoch == epoch
    assert PartitionReader(tmp_path / "orders-0").topic_id is None
    (tmp_path / "meta.properties").write_text("version=1\ncluster.id=c\nnode.id=4\ndirectory.id=AAAAAAAAAAAAAAAAAAAAZQ\n")
    assert reader.meta_properties.node_id == 4


def test_names_that_are_no_partitions() -> None:
    assert parse_partition_name("a-b-3") == TopicPartition("a-b", 3)
    for name in ("orders", "-3", "orders-", "orders-x", "orders-1.abc-future"):
        assert parse_partition_name(name) is None
