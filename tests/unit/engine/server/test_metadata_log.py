"""A node whose metadata log cannot be made whole stops, and says what to do; others are not concerned."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.ids import METADATA_PARTITION
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.log.storage import FileStorage, StorageError
from kafkalab.engine.raft.quorum_state import ElectionState, FileQuorumStateStore
from kafkalab.engine.raft.snapshot_records import snapshot_bytes
from kafkalab.engine.raft.snapshot_store import SnapshotId
from kafkalab.engine.record.batch import Record, build_batch, iter_headers
from kafkalab.engine.server.metadata_log import open_metadata_log
from kafkalab.engine.server.node import NodeFailed, NodeRunner, NodeSpec
from kafkalab.engine.telemetry.hub import TelemetryHub

ID = SnapshotId(epoch=2, end_offset=500)


def spec_of(data_dir: Path) -> NodeSpec:
    return NodeSpec(
        node_id=101,
        roles=frozenset({"controller"}),
        data_dir=data_dir,
        cluster_id="cluster",
        host="127.0.0.1",
        broker_port=None,
        controller_port=1,
        voters={101: ("127.0.0.1", 1)},
    )


def test_segments_are_as_the_settings_say_and_no_retention_is_for_them(tmp_path: Path) -> None:
    config = BrokerConfig({"metadata.log.segment.bytes": "9000000", "metadata.log.segment.ms": "77", "log.retention.ms": "5"})
    replica_log, _ = open_metadata_log(tmp_path, config, ManualClock(), FileStorage())
    assert (replica_log.config.segment_bytes, replica_log.config.segment_ms) == (9_000_000, 77)
    assert (replica_log.config.retention_ms, replica_log.config.retention_bytes) == (-1, -1)
    replica_log.close()


@pytest.mark.expects_warnings
@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_a_node_whose_log_rests_on_a_snapshot_that_is_no_good_does_not_start(tmp_path: Path, damage: str) -> None:
    replica_log, metadata_log = open_metadata_log(tmp_path, BrokerConfig({}), ManualClock(), FileStorage())
    assert metadata_log.snapshots is not None
    path = tmp_path / str(METADATA_PARTITION) / ID.file_name
    path.write_bytes(snapshot_bytes([b"state"], wall_ms=1, epoch=2))
    replica_log.truncate_fully_and_start_at(500)
    replica_log.close()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.unlink()
    runner = NodeRunner(spec_of(tmp_path), TelemetryHub())
    runner.start()
    with pytest.raises(NodeFailed, match=r"begins at offset 500.*Put back the snapshot, or move .* away"):
        runner.wait_ready(10)
    assert not path.exists() or damage == "cut", "what is left is for somebody to look at"


BASE_OFFSET_AT, EPOCH_AT = 4, 12
"""Where these lie in a batch. Neither is under its checksum."""


@pytest.mark.expects_warnings
@pytest.mark.parametrize(
    ("number", "byte_at", "value"),
    [(11, BASE_OFFSET_AT, 1), (11, EPOCH_AT, 0x80), (11, EPOCH_AT + 3, 0xFE), (11, EPOCH_AT + 3, 0)],
    ids=["a gap", "no epoch", "an epoch too high", "an epoch too low"],
)
def test_what_no_checksum_covers_is_checked_and_cut(
    tmp_path: Path, number: int, byte_at: int, value: int, caplog: pytest.LogCaptureFixture
) -> None:
    log, _ = open_metadata_log(tmp_path, BrokerConfig({}), ManualClock(), FileStorage())
    for index in range(20):
        log.append_as_leader(build_batch([Record(0, 5, None, b"record %d" % index)]), 1, client=False)
    log.flush()
    log.close()
    directory = tmp_path / str(METADATA_PARTITION)
    file = next(directory.glob("*.log"))
    whole = file.read_bytes()
    batches = [whole[at : at + header.size_bytes] for at, header in iter_headers(whole)]
    spoilt = bytearray(whole)
    spoilt[sum(map(len, batches[:number])) + byte_at] = value
    file.write_bytes(spoilt)

    log, _ = open_metadata_log(tmp_path, BrokerConfig({}), ManualClock(), FileStorage())
    assert "is corrupt" in caplog.text
    assert (log.log_end_offset, log.latest_epoch) == (number, 1)
    for batch in batches[number:]:
        log.append_as_follower(batch)
    log.flush()
    log.close()
    assert file.read_bytes() == whole


def test_a_log_that_is_right_is_left_alone_unless_it_is_ahead_of_quorum_state(tmp_path: Path) -> None:
    log, _ = open_metadata_log(tmp_path, BrokerConfig({}), ManualClock(), FileStorage())
    for epoch in (1, 1, 4):
        log.append_as_leader(build_batch([Record(0, 5, None, b"a"), Record(1, 5, None, b"b")]), epoch, client=False)
    log.flush()
    log.close()
    # Without quorum-state, as when only the log was copied, nobody knows of which epochs there were.
    log, _ = open_metadata_log(tmp_path, BrokerConfig({}), ManualClock(), FileStorage())
    assert (log.log_end_offset, log.latest_epoch) == (6, 4)
    log.close()
    quorum_state = FileQuorumStateStore(FileStorage(), tmp_path / str(METADATA_PARTITION))
    quorum_state.write(ElectionState(epoch=4))
    open_metadata_log(tmp_path, BrokerConfig({}), ManualClock(), FileStorage())[0].close()
    quorum_state.write(ElectionState(epoch=3))
    with pytest.raises(StorageError, match=r"has records of leader epoch 4, and its quorum-state knows of none after 3"):
        open_metadata_log(tmp_path, BrokerConfig({}), ManualClock(), FileStorage())
