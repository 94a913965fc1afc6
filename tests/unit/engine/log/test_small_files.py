"""Checkpoints, properties, the lock, indexes and settings: small things with exact contents."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.log.checkpoint import read_leader_epochs, read_offsets, write_leader_epochs, write_offsets
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.dir_lock import DirLock, DirLocked
from kafkalab.engine.log.epochs import LeaderEpochs
from kafkalab.engine.log.index import OffsetIndex, TimeIndex
from kafkalab.engine.log.meta_properties import MetaProperties
from kafkalab.engine.log.producer_state import CorruptSnapshot, ProducerState
from kafkalab.engine.log.storage import FileStorage, StorageError
from kafkalab.engine.record.batch import Record, build_batch, read_header

# --- checkpoints ----------------------------------------------------------------------------------


def test_offsets_are_written_as_kafka_writes_them(tmp_path: Path, storage: FileStorage) -> None:
    path = tmp_path / "replication-offset-checkpoint"
    assert read_offsets(storage, path) == {}
    path.touch()
    assert read_offsets(storage, path) == {}, "Kafka makes such files empty"
    offsets = {TopicPartition("orders", 0): 5, TopicPartition("with-dashes", 12): 2**40}
    write_offsets(storage, path, offsets)
    assert path.read_text() == "0\n2\norders 0 5\nwith-dashes 12 1099511627776\n"
    assert read_offsets(storage, path) == offsets
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"1\n0\n", "line 1: expected the version 0, found '1'"),
        (b"0\n", "line 2: expected the number of entries, found 'nothing'"),
        (b"0\nmany\n", "line 2: expected the number of entries, found 'many'"),
        (b"0\n2\na 0 1\n", "line 3: 2 entries are announced, 1 are there"),
        (b"0\n1\na 0 1\nb 0 1\n", "line 4: 1 entries are announced, 2 are there"),
        (b"0\n2\na 0 1\nb 0\n", "line 4: malformed entry 'b 0'"),
        (b"0\n1\na 0 -1\n", "line 3: malformed entry 'a 0 -1'"),
        (b"\xff\xfe\x00", "this is no checkpoint file, it has bytes that are no text"),
    ],
)
def test_a_broken_checkpoint_is_named_with_its_line(tmp_path: Path, storage: FileStorage, content: bytes, complaint: str) -> None:
    path = tmp_path / "recovery-point-offset-checkpoint"
    path.write_bytes(content)
    with pytest.raises(StorageError) as error:
        read_offsets(storage, path)
    assert str(error.value).startswith(str(path))
    assert complaint in str(error.value)


def test_epochs_must_rise(tmp_path: Path, storage: FileStorage) -> None:
    path = tmp_path / "leader-epoch-checkpoint"
    write_leader_epochs(storage, path, [(0, 0), (3, 17)], sync=True)
    assert path.read_text() == "0\n2\n0 0\n3 17\n"
    assert read_leader_epochs(storage, path) == [(0, 0), (3, 17)]
    path.write_text("0\n2\n3 0\n3 17\n")
    with pytest.raises(StorageError, match="line 4: epochs and offsets must rise"):
        read_leader_epochs(storage, path)


# --- meta.properties ------------------------------------------------------------------------------

META = MetaProperties(cluster_id="MkU3OEVBNTcwNTJENDM2Qk", node_id=3, directory_id=uuid.UUID(int=2**127 + 5))


def test_properties_come_back(tmp_path: Path) -> None:
    path = tmp_path / "meta.properties"
    META.write(path)
    assert MetaProperties.read(path) == META
    assert set(path.read_text().splitlines()) >= {"version=1", "node.id=3", "cluster.id=MkU3OEVBNTcwNTJENDM2Qk"}
    path.write_text("#\n#Sat Nov 21 03:15:43 UTC 2026\n" + path.read_text() + "\n! also a comment\nunknown=fine\n")
    assert MetaProperties.read(path) == META


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("version=1", "version=0"), "expected version=1, found version=0"),
        (("cluster.id=MkU3OEVBNTcwNTJENDM2Qk", ""), "cluster.id is missing"),
        (("node.id=3", "node.id=three"), "node.id must be a whole number from 0 on, not 'three'"),
        (("directory.id=", "directory.id=x"), "is no id of 22 characters"),
        (("node.id=3", "node.id"), "line 4: expected KEY=VALUE, found 'node.id'"),
    ],
)
def test_broken_properties_say_what_is_wrong(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    path = tmp_path / "meta.properties"
    META.write(path)
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(StorageError) as error:
        MetaProperties.read(path)
    assert str(path) in str(error.value) and complaint in str(error.value)


def test_missing_properties(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        MetaProperties.read(tmp_path / "meta.properties")
    with pytest.raises(StorageError):
        META.write(tmp_path / "not there" / "meta.properties")


# --- the lock -------------------------------------------------------------------------------------


def test_a_folder_has_one_holder(tmp_path: Path) -> None:
    lock = DirLock(tmp_path)
    with pytest.raises(DirLocked) as error:
        DirLock(tmp_path)
    assert error.value.pid == os.getpid()
    assert str(tmp_path) in str(error.value)
    lock.release()
    lock.release()
    DirLock(tmp_path).release()


def test_the_lock_holds_between_processes_and_ends_with_its_holder(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from kafkalab.engine.log.dir_lock import DirLock; lock = DirLock(Path(sys.argv[1]))\n"
    holder = subprocess.Popen(
        [sys.executable, "-c", program + "print('held', flush=True); sys.stdin.read()", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin is not None and holder.stdout is not None
    with holder:
        assert holder.stdout.readline().strip() == b"held"
        with pytest.raises(DirLocked) as error:
            DirLock(tmp_path)
        assert error.value.pid == holder.pid
        holder.kill()
        holder.wait()
    DirLock(tmp_path).release()


# --- indexes --------------------------------------------------------------------------------------

RISING = st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 1000)), max_size=50)


@given(steps=RISING, padding=st.integers(0, 20))
def test_offset_indexes_survive_their_file(steps: list[tuple[int, int]], padding: int) -> None:
    index = OffsetIndex()
    offset = position = 0
    entries = []
    for offset_step, position_step in steps:
        offset, position = offset + offset_step, position + position_step
        index.append(offset, position)
        entries.append((offset, position))
    loaded = OffsetIndex.load(index.dump() + bytes(8 * padding), position + 100)
    assert loaded is not None
    assert loaded.dump() == index.dump()
    for asked in range(0, offset + 2, 7):
        assert loaded.lookup(asked) == max((at for known, at in entries if known <= asked), default=0)
    loaded.truncate(position)
    assert len(loaded) == max(0, len(entries) - 1)


def test_impossible_offset_indexes_are_not_loaded() -> None:
    index = OffsetIndex()
    index.append(5, 100)
    index.append(9, 300)
    good = index.dump()
    assert OffsetIndex.load(good, 301) is not None
    assert OffsetIndex.load(good, 300) is None, "beyond the log"
    assert OffsetIndex.load(good[:-1], 400) is None
    assert OffsetIndex.load(good[8:] + good[:8], 400) is None
    untouched = OffsetIndex.load(bytes(80), 400)
    assert untouched is not None and len(untouched) == 0


@given(steps=RISING, padding=st.integers(0, 20))
def test_time_indexes_survive_their_file(steps: list[tuple[int, int]], padding: int) -> None:
    index = TimeIndex()
    timestamp, offset = 1_700_000_000_000, 0
    entries = []
    for time_step, offset_step in steps:
        timestamp, offset = timestamp + time_step, offset + offset_step
        index.maybe_append(timestamp, offset)
        index.maybe_append(timestamp, offset + 1)
        entries.append((timestamp, offset))
    loaded = TimeIndex.load(index.dump() + bytes(12 * padding))
    assert loaded is not None
    assert loaded.dump() == index.dump()
    assert (loaded.last_timestamp, len(loaded)) == (entries[-1][0] if entries else -1, len(entries))
    for asked in range(1_700_000_000_000, timestamp + 2, 501):
        assert loaded.lookup(asked) == max((at for known, at in entries if known < asked), default=0)


def test_impossible_time_indexes_are_not_loaded() -> None:
    index = TimeIndex()
    index.maybe_append(100, 1)
    index.maybe_append(200, 2)
    good = index.dump()
    assert TimeIndex.load(good) is not None
    assert TimeIndex.load(good[:-1]) is None
    assert TimeIndex.load(good[12:] + good[:12]) is None


# --- epochs ---------------------------------------------------------------------------------------


def test_epochs_are_assigned_and_cut() -> None:
    epochs = LeaderEpochs([(1, 0), (2, 10), (4, 20)])
    assert not epochs.dirty
    epochs.assign(4, 25)
    assert not epochs.dirty, "an epoch begins once"
    epochs.assign(6, 15)
    assert epochs.entries == [(1, 0), (2, 10), (6, 15)] and epochs.latest == 6 and epochs.dirty
    epochs.truncate_from_start(12)
    assert epochs.entries == [(2, 12), (6, 15)]
    epochs.truncate_from_end(15)
    assert epochs.entries == [(2, 12)] and epochs.latest == 2
    epochs.truncate_from_start(100)
    assert epochs.entries == [(2, 100)]
    epochs.clear()
    assert epochs.latest == -1 and epochs.end_offset(0, 5) == (-1, -1) and epochs.epoch_at(3) == -1


def test_epochs_before_the_log_start_go_when_one_begins_just_there() -> None:
    epochs = LeaderEpochs([(0, 0), (1, 3), (2, 5)])
    epochs.truncate_from_start(5)
    assert epochs.entries == [(2, 5)] and epochs.dirty
    assert epochs.end_offset(0, 9) == (0, 5), "not 3, which lies before the log start"
    epochs.dirty = False
    epochs.truncate_from_start(5)
    assert epochs.entries == [(2, 5)] and not epochs.dirty


# --- snapshots ------------------------------------------------------------------------------------


def test_kafkas_snapshot_is_read_and_written() -> None:
    kafkas = bytes.fromhex(
        "000186e5750b00000001000000000000000000000000012b000000000000012b000000310000018bcfe9f7f8ffffffffffffffffffffffff"
    )
    state = ProducerState.load(kafkas)
    (entry,) = state.entries.values()
    assert (entry.producer_id, entry.epoch, entry.last_sequence) == (0, 0, 299)
    assert entry.batches[-1] == (250, 299, 250, 299, 1_700_000_299_000)
    assert state.dump() == kafkas
    assert state.last_stable_offset(300) == 300, "no transaction is open"


def test_a_batch_without_sequences_outlives_a_snapshot() -> None:
    state = ProducerState()
    data = build_batch([Record(0, 5, b"k", b"v")] * 2, producer_id=7, producer_epoch=1, transactional=True)
    state.update(read_header(data), 40)
    (entry,) = ProducerState.load(state.dump()).entries.values()
    assert (entry.last_sequence, entry.batches[-1].first_offset, entry.batches[-1].last_offset) == (-1, 40, 41)


@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_snapshot_or_are_not(content: bytes) -> None:
    try:
        ProducerState.load(content)
    except CorruptSnapshot:
        pass


# --- settings -------------------------------------------------------------------------------------


def test_settings_are_read_by_kafkas_names() -> None:
    config = LogConfig.from_map(
        {
            "cleanup.policy": "compact, delete",
            "segment.bytes": "1048576",
            "min.cleanable.dirty.ratio": "0.2",
            "preallocate": "TRUE",
            "message.timestamp.type": "LogAppendTime",
            "leader.replication.throttled.replicas": "*",
        }
    )
    assert config.compacted and config.deletes_old_segments and config.log_append_time and config.preallocate
    assert (config.segment_bytes, config.min_cleanable_dirty_ratio, config.retention_ms) == (1 << 20, 0.2, 604_800_000)
    assert LogConfig.from_map({"retention.ms": "5"}, config) == LogConfig.from_map({"retention.ms": "5"}, defaults=config)
    assert LogConfig.from_map({}, config) is config
    assert not LogConfig.from_map({"cleanup.policy": ""}).deletes_old_segments


@pytest.mark.parametrize(("name", "text"), [("segment.bytes", "big"), ("preallocate", "yes"), ("min.cleanable.dirty.ratio", "")])
def test_values_that_do_not_parse_are_named(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"Invalid value '{text}' for configuration {name}"):
        LogConfig.from_map({name: text})


def test_a_brokers_settings_are_its_topics_defaults() -> None:
    assert LogConfig.from_broker(BrokerConfig({})) == LogConfig()
    config = LogConfig.from_broker(BrokerConfig({"log.retention.hours": "1", "message.max.bytes": "2000"}), {"segment.bytes": "1048576"})
    assert (config.retention_ms, config.max_message_bytes, config.segment_bytes) == (3_600_000, 2000, 1 << 20)
