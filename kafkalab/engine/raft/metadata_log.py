"""What raft needs of the log that it keeps, and how batches get in and out of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Protocol

from kafkalab.engine.raft.listener import CommittedBatch
from kafkalab.engine.record.batch import BatchHeader, Record, build_batch, iter_headers, read_header, values_of

BATCHES_KEPT: Final = 8
"""Batches of which it is remembered what is in them: the newest that have many records and are not too large."""
MANY_RECORDS: Final = 32
BATCH_KEPT_BYTES_MAX: Final = 262_144


class Appended(Protocol):
    """Where an append went."""

    @property
    def last_offset(self) -> int:
        """The offset of its last record."""


class MetadataLog(Protocol):
    """A log of batches, as far as raft looks at nothing else of it."""

    @property
    def log_start_offset(self) -> int: ...

    @property
    def log_end_offset(self) -> int: ...

    @property
    def latest_epoch(self) -> int:
        """The epoch of the last batch, -1 in an empty log."""

    def append_as_leader(self, data: bytes, leader_epoch: int, *, client: bool = True) -> Appended: ...

    def append_as_follower(self, data: bytes) -> Appended: ...

    def read(self, offset: int, max_bytes: int, *, max_offset: int | None = None) -> bytes: ...

    def truncate_to(self, offset: int) -> object: ...

    def end_offset_for_epoch(self, epoch: int) -> tuple[int, int]: ...

    def flush(self) -> None: ...


class ReplicaLog(MetadataLog, Protocol):
    """The part of ``log.Log`` that is needed to keep snapshots beside it."""

    @property
    def size_bytes(self) -> int: ...

    def truncate_fully_and_start_at(self, offset: int) -> None: ...

    def increment_log_start_offset(self, offset: int) -> None: ...

    def delete_old_segments(self, high_watermark: int) -> int: ...


def values_batch(values: Sequence[bytes], *, base_offset: int, epoch: int, timestamp_ms: int) -> bytes:
    """One batch of metadata records: no keys, no compression, no producer."""
    records = [Record(base_offset + index, timestamp_ms, None, value) for index, value in enumerate(values)]
    return build_batch(records, base_offset=base_offset, leader_epoch=epoch)


def committed_batches(data: bytes) -> list[CommittedBatch]:
    """The batches in bytes read from the log."""
    return [_committed_batch(data, pos, header) for pos, header in iter_headers(data)]


def _committed_batch(data: bytes, pos: int, header: BatchHeader) -> CommittedBatch:
    size = header.size_bytes
    is_kept = header.record_count >= MANY_RECORDS and size <= BATCH_KEPT_BYTES_MAX
    values = _values_kept(data[pos : pos + size]) if is_kept else tuple(values_of(data, pos, header))
    return CommittedBatch(header.base_offset, header.partition_leader_epoch, values, header.is_control, size, header.max_timestamp)


@lru_cache(maxsize=BATCHES_KEPT)
def _values_kept(batch: bytes) -> tuple[bytes, ...]:
    """The values of one batch. Nodes that share an interpreter read the same ones at much the same time."""
    return tuple(values_of(batch, 0, read_header(batch)))


def divergence(log: MetadataLog, offset: int, last_fetched_epoch: int) -> tuple[int, int] | None:
    """Where a follower's log parts from this one: (epoch, end offset), or None while it is a prefix.

    The follower says where its log ends and in which epoch its last batch was written.
    """
    if offset == 0 == log.log_start_offset:
        # Nothing lies before it that could differ.
        return None
    epoch, end_offset = log.end_offset_for_epoch(last_fetched_epoch)
    if epoch < 0:
        return log.latest_epoch, log.log_end_offset
    if epoch == last_fetched_epoch and end_offset >= offset:
        return None
    return epoch, end_offset


def truncation_offset(log: MetadataLog, epoch: int, end_offset: int) -> int:
    """How much of the own log may agree with a leader in which ``epoch`` ends at ``end_offset``."""
    own_epoch, own_end = log.end_offset_for_epoch(epoch)
    if own_epoch < 0:
        return min(log.log_end_offset, end_offset)
    return own_end if own_epoch != epoch else min(own_end, end_offset)
