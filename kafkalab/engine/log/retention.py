"""Which of a log's oldest segments may go, and why.

Three rules look at whole segments from the oldest on, each until it meets one that it must keep:
what lies before the log start, what is more than ``retention.bytes``, what is older than
``retention.ms``. Nothing at or above the high watermark goes, so the log start never passes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.segment import Segment


class Cause(StrEnum):
    """Why segments were deleted."""

    LOG_START = "log start offset"
    SIZE = "retention.bytes"
    AGE = "retention.ms"


class Expired(NamedTuple):
    """So many of the oldest segments, after those that were named before."""

    segments: int
    cause: Cause


def expired_segments(
    segments: Sequence[Segment], config: LogConfig, *, log_start_offset: int, log_end_offset: int, high_watermark: int, wall_ms: int
) -> list[Expired]:
    """What every rule in turn finds among the segments that the rules before have left."""
    found: list[Expired] = []
    at = 0

    def apply(is_expired: Callable[[int, Segment], bool], cause: Cause) -> None:
        nonlocal at
        first = at
        while at < len(segments):
            is_last = at + 1 == len(segments)
            segment = segments[at]
            end_offset = log_end_offset if is_last else segments[at + 1].base_offset
            # An empty last segment is where the next record goes: there would have to be another such at once.
            if end_offset > high_watermark or (is_last and not segment.size) or not is_expired(at, segment):
                break
            at += 1
        if at > first:
            found.append(Expired(at - first, cause))

    apply(lambda number, _: number + 1 < len(segments) and segments[number + 1].base_offset <= log_start_offset, Cause.LOG_START)
    if not config.deletes_old_segments:
        return found
    if config.retention_bytes >= 0:
        excess = sum(segment.size for segment in segments[at:]) - config.retention_bytes

        def is_too_much(_: int, segment: Segment) -> bool:
            nonlocal excess
            if excess < segment.size:
                return False
            excess -= segment.size
            return True

        apply(is_too_much, Cause.SIZE)
    if config.retention_ms >= 0:
        apply(lambda _, segment: wall_ms - segment.largest_timestamp() > config.retention_ms, Cause.AGE)
    return found
