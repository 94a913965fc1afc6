"""Batches that lost records: made anew as Kafka makes them.

Offsets, sequence numbers, leader epoch and the last offset stay, so that followers and producers
notice nothing; timestamps stay what they were, counted from another base.
"""

from __future__ import annotations

from functools import lru_cache
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
from kafkalab.engine.record.keys import add_starts, timestamp_delta

_KEPT_BITS: Final = CODEC_MASK | LOG_APPEND_TIME_BIT | TRANSACTIONAL_BIT | CONTROL_BIT


class Selection:
    """The records of one batch that stay."""

    __slots__ = ("chosen", "has_tombstones", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        """Where each record begins, those that go too; at the end of all, where the last one ends."""
        self.chosen: list[int] = []
        """Which of them stay, by number."""
        self.has_tombstones = False


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
    selection.starts.append(add_starts(selection.starts, payload, 0, header.record_count))
    selection.chosen.extend(range(header.record_count))
    return remade(header, payload, selection, horizon)


def remade(header: BatchHeader, data: bytes, selection: Selection, horizon: int | None) -> bytes:
    """The batch with these records only; timestamps are counted from the horizon, or from the first that stays.

    :param data: what ``selection`` has the places of.
    """
    starts, chosen = selection.starts, selection.chosen
    base = header.base_timestamp
    deltas = [timestamp_delta(data, starts[number]) for number in chosen]
    if header.is_log_append_time:
        append_time = max_timestamp = header.max_timestamp
        new_base = append_time if horizon is None else horizon
        new_deltas = [append_time - new_base] * len(deltas)
    else:
        new_base = base + deltas[0][0] if horizon is None else horizon
        max_timestamp = base + max(deltas)[0]
        new_deltas = [base - new_base + delta for delta, _, _ in deltas]
    out = bytearray()
    end = -1
    raw = 0
    for number, (delta, delta_start, delta_end), new_delta in zip(chosen, deltas, new_deltas, strict=True):
        start = starts[number]
        if new_delta == delta:
            # Neighbours that stay as they are go over in one piece.
            if start != end:
                out += data[raw:end] if end >= 0 else b""
                raw = start
            end = starts[number + 1]
            continue
        if end >= 0:
            out += data[raw:end]
            end = -1
        encoded = _encoded(new_delta)
        stop = starts[number + 1]
        if len(encoded) == delta_end - delta_start:
            out += data[start:delta_start]
        else:
            # The record has another length now, and the same attributes.
            out += encode_varint(1 + len(encoded) + stop - delta_end)
            out += data[delta_start - 1 : delta_start]
        out += encoded
        out += data[delta_end:stop]
    if end >= 0:
        out += data[raw:end]
    attributes = header.attributes & _KEPT_BITS | (DELETE_HORIZON_BIT if horizon is not None else 0)
    return rebuild(
        header._replace(base_timestamp=new_base, record_count=len(chosen)),
        bytes(out) if header.codec == Codec.NONE else compress(header.codec, bytes(out)),
        attributes=attributes,
        max_timestamp=max_timestamp,
    )


@lru_cache(maxsize=4096)
def _encoded(delta: int) -> bytes:
    return encode_varint(delta)
