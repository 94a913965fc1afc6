"""A node's metadata log with its snapshots, as its settings say."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.ids import METADATA_PARTITION, METADATA_TOPIC_ID
from kafkalab.engine.common.time import Clock
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.storage import Storage
from kafkalab.engine.raft.snapshot_store import SnapshotStore
from kafkalab.engine.raft.snapshotted_log import SnapshottedLog

BATCH_BYTES_MAX: Final = 2**31 - 1
"""Nothing that raft appends is too large for its log."""


def open_metadata_log(metadata_dir: Path, config: BrokerConfig, clock: Clock, storage: Storage) -> tuple[Log, SnapshottedLog]:
    """The log's files, and what raft makes of them.

    :raises StorageError: when they cannot be read, or do not make a whole.
    """
    directory = metadata_dir / str(METADATA_PARTITION)
    # The second is for tests: no cluster needs segments that small.
    segment_bytes = config.get("internal.metadata.log.segment.bytes") or config.get_int("metadata.log.segment.bytes")
    settings = {
        # Neither time nor size are for the segments: they go with the snapshots.
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "max.message.bytes": str(BATCH_BYTES_MAX),
        "segment.bytes": str(segment_bytes),
        "segment.ms": str(config.get_int("metadata.log.segment.ms")),
        "file.delete.delay.ms": str(config.get_int("log.segment.delete.delay.ms")),
    }
    log = Log.open(
        directory,
        METADATA_PARTITION,
        LogConfig.from_map(settings),
        clock,
        storage=storage,
        # Validated from its start each time: it is small, and nothing else is worth as much.
        recovery_point=0,
        clean=False,
        topic_id=METADATA_TOPIC_ID,
    )
    return log, SnapshottedLog(log, SnapshotStore(storage, directory))
