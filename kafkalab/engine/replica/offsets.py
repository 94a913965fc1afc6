"""Offsets that clients and followers ask for by name or by time (ListOffsets)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from kafkalab.engine.common.errors import ApiError, Errors

if TYPE_CHECKING:
    from kafkalab.engine.replica.partition import Partition

LATEST: Final = -1
EARLIEST: Final = -2
MAX_TIMESTAMP: Final = -3
EARLIEST_LOCAL: Final = -4
LATEST_TIERED: Final = -5
EARLIEST_PENDING_UPLOAD: Final = -6

MIN_VERSIONS: Final = {LATEST: 1, EARLIEST: 1, MAX_TIMESTAMP: 7, EARLIEST_LOCAL: 8, LATEST_TIERED: 9, EARLIEST_PENDING_UPLOAD: 11}
"""The first version of ListOffsets that knows each of the named offsets."""


class FoundOffset(NamedTuple):
    """An offset with the timestamp that it was found by; all -1 when there is none."""

    timestamp: int = -1
    offset: int = -1
    leader_epoch: int = -1


NOT_FOUND: Final = FoundOffset()


def find_offset(partition: Partition, timestamp: int, *, is_consumer: bool, read_committed: bool = False) -> FoundOffset:
    """The offset that ``timestamp`` names, or the first at or after that time.

    Consumers see up to the high watermark, or up to the last stable offset when only what is
    committed counts; everybody else up to the log end.

    :raises ApiError: OFFSET_NOT_AVAILABLE while a new leader does not know what is committed.
    """
    log = partition.log
    if timestamp in (EARLIEST, EARLIEST_LOCAL):
        # Nothing is tiered here: what is earliest is local.
        return FoundOffset(-1, log.log_start_offset, partition.epoch_at_start())
    if timestamp in (LATEST_TIERED, EARLIEST_PENDING_UPLOAD):
        return NOT_FOUND
    bound = log.log_end_offset
    if is_consumer:
        bound = partition.high_watermark
        if read_committed:
            bound = log.last_stable_offset(bound)
    lags = is_consumer and partition.offset_lags_epoch_start()
    if timestamp == LATEST:
        if lags:
            raise _not_available(partition)
        return FoundOffset(-1, bound, partition.leader_epoch)
    found = log.max_timestamp() if timestamp == MAX_TIMESTAMP else log.offset_for_timestamp(timestamp)
    if found is None:
        return NOT_FOUND
    if found[1] < bound:
        return FoundOffset(*found)
    if lags:
        raise _not_available(partition)
    return NOT_FOUND


def _not_available(partition: Partition) -> ApiError:
    return ApiError(
        Errors.OFFSET_NOT_AVAILABLE,
        f"Failed to fetch offsets for partition {partition.topic_partition} with leader epoch {partition.leader_epoch} as this "
        f"partition's high watermark ({partition.high_watermark}) is lagging behind the start offset from the beginning of this "
        f"epoch ({partition.leader_epoch_start_offset}).",
    )
