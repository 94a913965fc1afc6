"""Which log is to be compacted next, and from where to where."""

from __future__ import annotations

from dataclasses import dataclass

from kafkalab.engine.log.cleaning import segments_between
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.segment import Segment
from kafkalab.engine.record.batch import HEADER_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class LogToClean:
    """A compacted log and how dirty it is."""

    log: Log
    first_dirty_offset: int
    first_uncleanable_offset: int
    """Where a segment begins: nothing from here on is touched."""
    clean_bytes: int
    cleanable_bytes: int
    is_overdue: bool
    """A record waits longer than ``max.compaction.lag.ms`` allows."""

    @property
    def total_bytes(self) -> int:
        return self.clean_bytes + self.cleanable_bytes

    @property
    def cleanable_ratio(self) -> float:
        return self.cleanable_bytes / self.total_bytes if self.total_bytes else 0.0

    @property
    def is_due(self) -> bool:
        if self.is_overdue and self.cleanable_bytes:
            return True
        return self.cleanable_ratio > self.log.config.min_cleanable_dirty_ratio


def log_to_clean(log: Log, last_stable_offset: int, wall_ms: int) -> LogToClean:
    """What a compaction of this log would find now.

    :raises OSError: when a file cannot be read.
    """
    first_dirty_offset = log.log_start_offset if log.first_dirty_offset is None else log.first_dirty_offset
    if not log.log_start_offset <= first_dirty_offset <= log.log_end_offset:
        # Deleted from its start, or cut: what the last compaction knew does not hold any more.
        first_dirty_offset = log.log_start_offset
    sealed = log.sealed_segments()
    # Nothing that may yet be taken back, nothing that still grows, nothing too young.
    limit = max(first_dirty_offset, min(last_stable_offset, log.active_base_offset))
    dirty = segments_between(sealed, first_dirty_offset, log.active_base_offset)
    if log.config.min_compaction_lag_ms > 0:
        for segment in dirty:
            if segment.largest_timestamp() > wall_ms - log.config.min_compaction_lag_ms:
                limit = min(limit, max(first_dirty_offset, segment.base_offset))
                break
    behind = segments_between(sealed, limit, log.active_base_offset)
    first_uncleanable_offset = behind[0].base_offset if behind else log.active_base_offset
    return LogToClean(
        log=log,
        first_dirty_offset=first_dirty_offset,
        first_uncleanable_offset=first_uncleanable_offset,
        clean_bytes=sum(segment.size for segment in segments_between(sealed, -1, first_dirty_offset)),
        cleanable_bytes=sum(
            segment.size
            for segment in segments_between(sealed, min(first_dirty_offset, first_uncleanable_offset), first_uncleanable_offset)
        ),
        is_overdue=_is_overdue(log, dirty, wall_ms),
    )


def _is_overdue(log: Log, dirty: list[Segment], wall_ms: int) -> bool:
    clean_until_ms = wall_ms - log.config.max_compaction_lag_ms
    if clean_until_ms <= 0:
        return False
    return any(0 < _first_timestamp(segment) < clean_until_ms for segment in dirty)


def _first_timestamp(segment: Segment) -> int:
    if segment.first_timestamp < 0 and segment.size:
        for _, header in segment.headers(0, chunk_bytes=HEADER_BYTES):
            segment.first_timestamp = header.max_timestamp
            break
    return segment.first_timestamp
