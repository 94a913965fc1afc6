"""``bootstrap.checkpoint``: the records with which the log of a new cluster is to begin.

Formatting leaves it in each log directory, in a snapshot's form (Kafka up to 4.3; its features, and
SCRAM credentials that clients need before anybody can create one). The first active controller
writes its records into the log; nobody looks at it afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kafkalab.engine.common.features import METADATA_VERSION_FEATURE
from kafkalab.engine.log.storage import Storage, StorageError
from kafkalab.engine.protocol.metadata_records import FeatureLevelRecord, MetadataRecord, RecordDecodeError, decode_record, encode_record
from kafkalab.engine.raft.snapshot_records import SnapshotContent, snapshot_bytes

BOOTSTRAP_FILE: Final = "bootstrap.checkpoint"


def bootstrap_file_content(records: Sequence[MetadataRecord], *, wall_ms: int) -> bytes:
    """The file's bytes."""
    return snapshot_bytes([encode_record(record) for record in records], wall_ms=wall_ms)


def read_bootstrap_file(storage: Storage, directory: Path) -> list[MetadataRecord] | None:
    """The records in a directory's file; None without one.

    :raises StorageError: naming the file and what is wrong with it.
    """
    path = directory / BOOTSTRAP_FILE
    try:
        if not storage.exists(path):
            return None
        data = storage.read(path)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error
    try:
        content = SnapshotContent(path, lambda position, size: data[position : position + size])
        records = [decode_record(value) for values in content.values() for value in values]
    except RecordDecodeError as error:
        raise StorageError(f"{path}: {error}") from error
    if not any(isinstance(record, FeatureLevelRecord) and record.name == METADATA_VERSION_FEATURE for record in records):
        raise StorageError(f"{path}: it names no level of {METADATA_VERSION_FEATURE}")
    return records
