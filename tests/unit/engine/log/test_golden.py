"""Directories that Apache Kafka 4.3.1 wrote, opened after its clean stop and after a kill -9.

The archives lie beside the repository or where KAFKALAB_ORACLE says.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import pytest

from kafkalab.engine.common.ids import TopicPartition, uuid_to_text
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.manager import LogManager
from kafkalab.engine.log.meta_properties import MetaProperties
from kafkalab.engine.log.storage import FileStorage
from kafkalab.engine.record.batch import iter_records
from kafkalab.engine.telemetry.hub import NullSink

ORACLE = Path(os.environ.get("KAFKALAB_ORACLE", Path(__file__).parents[5] / "shared" / "oracle"))
ARCHIVES = {kind: ORACLE / "golden" / f"kafka-4.3.1-{kind}.tar.gz" for kind in ("clean", "killed")}

pytestmark = pytest.mark.skipif(
    not all(path.exists() for path in ARCHIVES.values()), reason=f"no golden directories of Apache Kafka in {ORACLE} (KAFKALAB_ORACLE)"
)

# As a client of Kafka saw them: log end offset by partition; every log starts at 0.
END_OFFSETS = {
    "append-time-0": 20,
    "codec-gzip-0": 300,
    "codec-lz4-0": 300,
    "codec-none-0": 300,
    "codec-snappy-0": 300,
    "codec-zstd-0": 300,
    "compacted-0": 400,
    "rolled-0": 4000,
    "txn-0": 38,
    "txn-1": 36,
    "__consumer_offsets-0": 16,
    "__consumer_offsets-1": 0,
    "__transaction_state-0": 22,
    "__transaction_state-1": 0,
}


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    unpacked = {}
    for kind, archive in ARCHIVES.items():
        directory = tmp_path_factory.mktemp(kind)
        with tarfile.open(archive) as tar:
            tar.extractall(directory, filter="data")
        (unpacked[kind],) = directory.iterdir()
    return unpacked


@pytest.fixture(params=["clean", "killed"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def copy(golden: dict[str, Path], kind: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(golden[kind], tmp_path / "logs"))


def _manager(directory: Path, storage: FileStorage) -> LogManager:
    manager = LogManager([directory], LogConfig(), ManualClock(), storage, NullSink(), 1)
    manager.load()
    return manager


def _config(name: str) -> LogConfig:
    return LogConfig(index_interval_bytes=1024 if name == "rolled-0" else 4096)


def test_all_logs_are_found_at_kafkas_offsets(copy: Path, kind: str, storage: FileStorage) -> None:
    manager = _manager(copy, storage)
    assert manager.clean_shutdown_epoch == (194 if kind == "clean" else -1)
    found = {str(log.topic_partition): (log.log_start_offset, log.log_end_offset) for log in manager.logs()}
    assert found == {name: (0, end) for name, end in END_OFFSETS.items()}
    assert all(log.recovered == (kind == "killed") and log.recovered_cut_bytes == 0 for log in manager.logs())
    assert all(log.topic_id is not None for log in manager.logs())
    assert manager.read_high_watermarks()[TopicPartition("rolled", 0)] == 4000
    manager.abandon()


@pytest.mark.parametrize("name", [name for name in END_OFFSETS if name.startswith("codec")])
def test_records_are_kafkas(copy: Path, name: str, storage: FileStorage) -> None:
    log = _manager(copy, storage).get(TopicPartition(name[:-2], 0))
    assert log is not None
    records = [record for _, data in log.iter_batches(0) for record in iter_records(data)]
    assert [record.offset for record in records] == list(range(300))
    assert [record.timestamp for record in records] == [1_700_000_000_000 + 1000 * number for number in range(300)]
    assert {record.key is None for record in records} == {record.value is None for record in records} == {True, False}
    assert all(record.headers == ((("h", b"x"), ("n", None)) if record.offset % 3 == 0 else ()) for record in records)
    assert log.offset_for_timestamp(1_700_000_100_001) == (1_700_000_101_000, 101, 0)
    (entry,) = log.producer_state.entries.values()
    assert (entry.epoch, entry.last_sequence) == (0, 299)
    log.abandon()


@pytest.mark.parametrize("name", sorted(END_OFFSETS))
def test_a_clean_stop_leaves_kafkas_files(golden: dict[str, Path], copy: Path, kind: str, name: str, storage: FileStorage) -> None:
    topic, _, partition = name.rpartition("-")
    log = Log.open(
        copy / name,
        TopicPartition(topic, int(partition)),
        _config(name),
        ManualClock(),
        storage=storage,
        clean=kind == "clean",
    )
    log.close()

    def files(directory: Path) -> dict[str, bytes]:
        # Restarts of Kafka after the kill added leader epochs, and nothing else.
        return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "leader-epoch-checkpoint"}

    assert files(copy / name) == files(golden["clean"] / name)


def test_the_metadata_log_and_properties(copy: Path, kind: str, storage: FileStorage) -> None:
    meta = MetaProperties.read(copy / "meta.properties")
    assert (meta.cluster_id, meta.node_id) == ("MkU3OEVBNTcwNTJENDM2Qk", 1)
    log = Log.open(copy / "__cluster_metadata-0", TopicPartition("__cluster_metadata", 0), LogConfig(), ManualClock(), storage=storage)
    assert log.topic_id is not None and uuid_to_text(log.topic_id) == "AAAAAAAAAAAAAAAAAAAAAQ"
    assert log.log_end_offset == {"clean": 248, "killed": 156}[kind]
    first, _ = next(log.iter_batches(0))
    assert first.is_control and first.partition_leader_epoch == 1
    log.abandon()
