"""The records with which a cluster begins, in Kafka's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafkalab.engine.log.storage import FileStorage, StorageError
from kafkalab.engine.metadata.bootstrap import BOOTSTRAP_FILE, bootstrap_file_content, read_bootstrap_file
from kafkalab.engine.protocol.metadata_records import FeatureLevelRecord, MetadataRecord

DATA = Path(__file__).parents[1] / "raft" / "data"


def test_what_kafka_wrote_is_read_and_what_is_written_is_read(tmp_path: Path) -> None:
    theirs = read_bootstrap_file(FileStorage(), DATA)
    assert theirs is not None
    levels = {record.name: record.feature_level for record in theirs if isinstance(record, FeatureLevelRecord)}
    assert levels == {
        "metadata.version": 30,
        "eligible.leader.replicas.version": 1,
        "group.version": 1,
        "share.version": 1,
        "streams.version": 1,
        "transaction.version": 2,
    }
    ours = bootstrap_file_content(theirs, wall_ms=1795259798902)
    (tmp_path / BOOTSTRAP_FILE).write_bytes(ours)
    assert read_bootstrap_file(FileStorage(), tmp_path) == theirs
    assert len(ours) == len((DATA / BOOTSTRAP_FILE).read_bytes())


def test_there_may_be_no_file(tmp_path: Path) -> None:
    assert read_bootstrap_file(FileStorage(), tmp_path) is None


@pytest.mark.parametrize("broken", [b"", b"\0" * 200, bootstrap_file_content([], wall_ms=1)[:-1]])
def test_a_broken_file_is_named(tmp_path: Path, broken: bytes) -> None:
    (tmp_path / BOOTSTRAP_FILE).write_bytes(broken)
    with pytest.raises(StorageError, match=BOOTSTRAP_FILE):
        read_bootstrap_file(FileStorage(), tmp_path)


def test_a_record_that_nobody_knows_is_named(tmp_path: Path) -> None:
    from kafkalab.engine.raft.snapshot_records import snapshot_bytes

    (tmp_path / BOOTSTRAP_FILE).write_bytes(snapshot_bytes([b"\x01\x7f\x00"], wall_ms=1))
    with pytest.raises(StorageError, match=f"{BOOTSTRAP_FILE}: .*key 127"):
        read_bootstrap_file(FileStorage(), tmp_path)


def test_other_records_may_be_in_it(tmp_path: Path) -> None:
    records: list[MetadataRecord] = [FeatureLevelRecord(name="metadata.version", feature_level=25)]
    (tmp_path / BOOTSTRAP_FILE).write_bytes(bootstrap_file_content(records, wall_ms=1))
    assert read_bootstrap_file(FileStorage(), tmp_path) == records
