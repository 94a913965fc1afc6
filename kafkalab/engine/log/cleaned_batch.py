"""Batches that lost records: made anew as Kafka makes them.

Offsets, sequence numbers, leader epoch and the last offset stay, so that followers and producers
notice nothing; timestamps stay what they were, counted from another base.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from kafkalab.engine.record.batch import (
    CODEC_MASK,
    CONTROL_BIT,
    DELETE_HORIZON_BIT,
    LOG_APPEND_TIME_BIT,
    NO_TIMESTAMP,
    TRANSACTIONAL_BIT,
    BatchHeader,
    encode_varint,
    rebuild,
    records_payload,
    validate,
)
from kafkalab.engine.record.compression import Codec, compress
from kafkalab.engine.record.keys import Stretch, iter_stretches, timestamp_delta

_KEPT_BITS: Final = CODEC_MASK | LOG_APPEND_TIME_BIT | TRANSACTIONAL_BIT | CONTROL_BIT


class Selection:
    """The records of one batch that stay."""

    __slots__ = ("_stretches", "count", "has_tombstones")

    def __init__(self) -> None:
        self._stretches: list[tuple[Stretch, Sequence[bool] | None]] = []
        self.count = 0
        self.has_tombstones = False

    def add(self, stretch: Stretch, kept: Sequence[bool] | None, has_value: Sequence[bool] | bool) -> None:
        """``kept`` is None when all of them are."""
        self._stretches.append((stretch, kept))
        self.count += len(stretch.keys) if kept is None else sum(kept)
        if self.has_tombstones or has_value is True:
            return
        if has_value is False:
            self.has_tombstones = kept is None or any(kept)
        elif kept is None:
            self.has_tombstones = not all(has_value)
        else:
            self.has_tombstones = any(is_kept and not is_value for is_kept, is_value in zip(kept, has_value, strict=True))

    def bounds(self) -> Iterator[tuple[int, int]]:
        """Where each of them begins and ends in the payload."""
        for stretch, kept in self._stretches:
            starts = stretch.starts
            for number, start in enumerate(starts):
                if kept is None or kept[number]:
                    yield start, starts[number + 1] if number + 1 < len(starts) else stretch.end


def empty_batch(header: BatchHeader) -> bytes:
    """What stays when no record does: offsets, producer and sequence numbers."""
    return rebuild(
        header._replace(base_timestamp=NO_TIMESTAMP, record_count=0),
        b"",
        attributes=header.attributes & _KEPT_BITS & ~CODEC_MASK,
        max_timestamp=header.max_timestamp,
    )


def with_horizon(chunk: bytes, at: int, header: BatchHeader, horizon: int) -> bytes:
    """The batch at ``at`` with all of its records, and the time from which it may go.

    :raises ApiError: when it is corrupt.
    """
    validate(chunk, at, header)
    payload = bytes(records_payload(chunk, at, header))
    selection = Selection()
    for stretch in iter_stretches(payload, header.record_count):
        selection.add(stretch, None, True)
    return remade(header, payload, selection, horizon)


def remade(header: BatchHeader, payload: bytes, selection: Selection, horizon: int | None) -> bytes:
    """The batch with these records only; timestamps are counted from the horizon, or from the first that stays."""
    append_time = header.max_timestamp if header.is_log_append_time else None
    base = header.base_timestamp
    new_base = horizon
    max_timestamp = NO_TIMESTAMP
    out = bytearray()
    for start, end in selection.bounds():
        delta, delta_start, delta_end = timestamp_delta(payload, start)
        timestamp = base + delta if append_time is None else append_time
        if new_base is None:
            new_base = timestamp
        max_timestamp = max(max_timestamp, timestamp)
        new_delta = timestamp - new_base
        if new_delta == delta:
            out += payload[start:end]
            continue
        encoded = encode_varint(new_delta)
        # Attributes, the new delta, and the rest as it was.
        out += encode_varint(1 + len(encoded) + end - delta_end)
        out += payload[delta_start - 1 : delta_start]
        out += encoded
        out += payload[delta_end:end]
    assert new_base is not None, "a batch that is made anew has records"
    attributes = header.attributes & _KEPT_BITS | (DELETE_HORIZON_BIT if horizon is not None else 0)
    return rebuild(
        header._replace(base_timestamp=new_base, record_count=selection.count),
        bytes(out) if header.codec == Codec.NONE else compress(header.codec, bytes(out)),
        attributes=attributes,
        max_timestamp=max_timestamp if append_time is None else append_time,
    )
