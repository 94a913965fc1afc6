"""The keys of a batch's records, found without building the records: what compaction looks at.

Records of one load mostly look alike: same lengths, numbers of the same width. Such a run is
recognised column by column and cut into keys with one call; only what differs is walked byte by
byte. Batches come from the log, so they were checked when they were appended; what is malformed
nevertheless is told, not passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from struct import Struct
from typing import Final, NamedTuple

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.record.batch import VARLONG_BYTES_MAX, read_varint

STRETCH_RECORDS_MAX: Final = 1024
"""So that whoever looks at the records can stop in between."""

_RUN_RECORDS_MIN: Final = 8
_WALK_RECORDS_MIN: Final = 32
_LAST_BYTES: Final = bytes(range(0x80))
_MORE_BYTES: Final = bytes(range(0x80, 0x100))


class Stretch(NamedTuple):
    """Neighbouring records of a batch; all sequences are of one length."""

    keys: Sequence[bytes | None]
    offset_deltas: Sequence[int]
    starts: Sequence[int]
    """Where each record begins in the batch's payload; it ends where the next begins."""
    end: int
    has_value: Sequence[bool] | bool
    """By record; or of all of them."""


def iter_stretches(payload: bytes, record_count: int) -> Iterator[Stretch]:
    """The records of a batch in order, ``payload`` being its records decompressed.

    :raises ApiError: CORRUPT_MESSAGE where the bytes are not that many records.
    """
    at = 0
    left = record_count
    walk = _WALK_RECORDS_MIN
    while left:
        if left >= _RUN_RECORDS_MIN:
            run = _find_run(payload, at, min(left, STRETCH_RECORDS_MAX))
            if run is not None:
                yield run
                left -= len(run.keys)
                at = run.end
                walk = _WALK_RECORDS_MIN
                continue
        # The fewer runs there are, the less often they are looked for.
        stretch = _walk(payload, at, min(left, walk))
        yield stretch
        left -= len(stretch.keys)
        at = stretch.end
        walk = min(walk * 2, STRETCH_RECORDS_MAX)
    if at != len(payload):
        raise _malformed("bytes follow the last record")


def timestamp_delta(payload: bytes, start: int) -> tuple[int, int, int]:
    """Of the record that begins at ``start``: its timestamp delta, and where the bytes of that begin and end."""
    _, at = read_varint(payload, start)
    delta, end = read_varint(payload, at + 1, VARLONG_BYTES_MAX)
    return delta, at + 1, end


def _find_run(data: bytes, start: int, limit: int) -> Stretch | None:
    """Records from ``start`` on that are laid out as the first of them; None when that are too few."""
    try:
        length, body = read_varint(data, start)
        _, offset_at = read_varint(data, body + 1, VARLONG_BYTES_MAX)
        first_delta, key_size_at = read_varint(data, offset_at)
        key_size, key_at = read_varint(data, key_size_at)
        value_size_at = key_at + max(key_size, 0)
        value_size, value_at = read_varint(data, value_size_at)
    except IndexError:
        raise _malformed("the records end early") from None
    step = body - start + length
    if length < 0 or key_size < -1 or value_size < -1 or value_at + max(value_size, 0) > start + step:
        raise _malformed("a field is longer than its record")
    count = min(limit, (len(data) - start) // step)
    # Numbers whose bytes are the same everywhere, and numbers that are as wide everywhere.
    columns = [*range(start, body), *range(key_size_at, key_at), *range(value_size_at, value_at)]
    for column in columns:
        values = data[column : column + step * count : step]
        count = len(values) - len(values.lstrip(values[:1]))
        if count < _RUN_RECORDS_MIN:
            return None
    for first, end in ((body + 1, offset_at), (offset_at, key_size_at)):
        for column in range(first, end):
            values = data[column : column + step * count : step]
            count = len(values) - len(values.lstrip(_LAST_BYTES if column + 1 == end else _MORE_BYTES))
            if count < _RUN_RECORDS_MIN:
                return None
    stop = start + step * count
    last_delta, _ = read_varint(data, offset_at + step * (count - 1))
    deltas: Sequence[int]
    if last_delta - first_delta == count - 1:
        # They rise, so there is no room for gaps.
        deltas = range(first_delta, last_delta + 1)
    else:
        deltas = [read_varint(data, position)[0] for position in range(offset_at, stop, step)]
    keys: Sequence[bytes | None]
    if key_size < 0:
        keys = [None] * count
    else:
        cut = _cutter(key_at - start, key_size, step)
        keys = list(chain.from_iterable(cut.iter_unpack(memoryview(data)[start:stop])))
    return Stretch(keys, deltas, range(start, stop, step), stop, value_size >= 0)


@lru_cache(maxsize=1024)
def _cutter(before: int, size: int, step: int) -> Struct:
    return Struct(f"{before}x{size}s{step - before - size}x")


def _walk(data: bytes, at: int, count: int) -> Stretch:
    keys: list[bytes | None] = []
    deltas: list[int] = []
    starts: list[int] = []
    has_value: list[bool] = []
    try:
        for _ in range(count):
            starts.append(at)
            # Numbers of one and two bytes are the rule; the general reader serves the rest.
            byte = data[at]
            if byte < 0x80:
                at += 1
                length = (byte >> 1) ^ -(byte & 1)
            elif (second := data[at + 1]) < 0x80:
                at += 2
                number = byte & 0x7F | second << 7
                length = (number >> 1) ^ -(number & 1)
            else:
                length, at = read_varint(data, at)
            end = at + length
            at += 1
            if data[at] < 0x80:
                at += 1
            elif data[at + 1] < 0x80:
                at += 2
            else:
                _, at = read_varint(data, at, VARLONG_BYTES_MAX)
            byte = data[at]
            if byte < 0x80:
                at += 1
                deltas.append((byte >> 1) ^ -(byte & 1))
            elif (second := data[at + 1]) < 0x80:
                at += 2
                number = byte & 0x7F | second << 7
                deltas.append((number >> 1) ^ -(number & 1))
            else:
                delta, at = read_varint(data, at)
                deltas.append(delta)
            byte = data[at]
            if byte < 0x80:
                at += 1
                size = (byte >> 1) ^ -(byte & 1)
            else:
                size, at = read_varint(data, at)
            if size >= 0:
                stop = at + size
                keys.append(data[at:stop])
                at = stop
            else:
                keys.append(None)
            # An odd number is a negative one, and of these only -1 is a size.
            has_value.append(not data[at] & 1)
            if at >= end:
                raise _malformed("a field is longer than its record")
            at = end
    except IndexError:
        raise _malformed("the records end early") from None
    if at > len(data):
        raise _malformed("the records end early")
    return Stretch(keys, deltas, starts, at, has_value)


def _malformed(what: str) -> ApiError:
    return ApiError(Errors.CORRUPT_MESSAGE, f"Record is corrupt: {what}")
