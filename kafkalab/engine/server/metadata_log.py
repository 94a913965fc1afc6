"""A node's metadata log with its snapshots, as its settings say."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.ids import METADATA_PARTITION, METADATA_TOPIC_ID
from kafkalab.engine.common.time import Clock
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.storage import Storage, StorageError
from kafkalab.engine.raft.quorum_state import FileQuorumStateStore, QuorumStateError
from kafkalab.engine.raft.snapshot_store import SnapshotStore
from kafkalab.engine.raft.snapshotted_log import SnapshottedLog
from kafkalab.engine.record.batch import iter_headers

_log = logging.getLogger(__name__)

BATCH_BYTES_MAX: Final = 2**31 - 1
"""Nothing that raft appends is too large for its log."""
_READ_BYTES: Final = 1 << 20


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
    wrong_from = _out_of_order_from(log)
    if wrong_from is not None:
        _log.warning(
            "%s is corrupt: offsets and leader epochs do not follow one another at offset %d. What it has from there on is cut",
            directory,
            wrong_from,
        )
        log.truncate_to(wrong_from)
    _check_last_epoch(log, storage, directory)
    return log, SnapshottedLog(log, SnapshotStore(storage, directory))


def _out_of_order_from(log: Log) -> int | None:
    """Where offsets have a gap or leader epochs fall; None where all is well.

    No checksum covers either, and of compaction there is none here. A controller that believed a wrong epoch would
    have the newest log of all, be elected for it, and make every other node part with what is committed.
    """
    offset, epoch = log.log_start_offset, 0
    last_offset, epoch_before_last = offset, 0
    while offset < log.log_end_offset:
        start = offset
        for _, header in iter_headers(log.read(offset, _READ_BYTES)):
            if header.base_offset > offset or header.partition_leader_epoch < 0:
                return offset
            if header.partition_leader_epoch < epoch:
                # Of the two that do not go together one is wrong: the one before, where this goes with what is before that.
                return last_offset if header.partition_leader_epoch >= epoch_before_last else offset
            last_offset, epoch_before_last = offset, epoch
            offset, epoch = header.next_offset, header.partition_leader_epoch
        if offset <= start:
            return start
    return None


def _check_last_epoch(log: Log, storage: Storage, directory: Path) -> None:
    """A node writes down that it has heard of an epoch before it writes anything of that epoch.

    :raises StorageError: when the log has records of an epoch that the node never heard of.
    """
    try:
        state = FileQuorumStateStore(storage, directory).read()
    except QuorumStateError:
        # Raft stops the node for it, and says why.
        return
    if state is not None and log.latest_epoch > state.epoch:
        log.close()
        raise StorageError(
            f"{directory} has records of leader epoch {log.latest_epoch}, and its quorum-state knows of none after {state.epoch}: "
            f"one of them is corrupt. Put back what was there, or move {directory} away to fetch it from the other controllers"
        )
