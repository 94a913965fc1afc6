"""The keys of a batch's records, found without building the records: what compaction looks at.

Records of one load mostly look alike. Where their lengths are the same too, such a run is recognised
column by column and cut into keys with one call. Where keys and values differ in length but the
numbers before the key are as wide everywhere, each record costs a look at its length and a cut; only
what differs more is walked byte by byte. Batches come from the log, so they were checked when they
were appended; what is malformed nevertheless is told, not passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from operator import add, ge
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
_HALVES: Final = bytes(byte >> 1 for byte in range(0x100))
_ODD: Final = bytes(byte & 1 for byte in range(0x100))
_KEY_SIZES: Final = bytes([*range(0, 0x80, 2), 1])
"""Sizes of one byte, from 0 up, and the -1 of a key that is none."""
_ONE_BYTE_NUMBERS: Final = 64
"""Numbers from 0 up to below this are one byte wide."""


class Stretch(NamedTuple):
    """Neighbouring records of a batch; all sequences are of one length."""

    keys: Sequence[bytes | None]
    offset_deltas: Sequence[int]
    starts: Sequence[int]
    """Where each record begins in the batch's payload; it ends where the next begins."""
    end: int
    has_value: Sequence[bool] | bool
    """By record; or of all of them."""


def iter_stretches(data: bytes, record_count: int, at: int = 0, end: int | None = None) -> Iterator[Stretch]:
    """The records of a batch in order.

    :param data: the records, decompressed, from ``at`` to ``end``.
    :raises ApiError: CORRUPT_MESSAGE where the bytes are not that many records.
    """
    if end is None:
        end = len(data)
    left = record_count
    walk = _WALK_RECORDS_MIN
    while left:
        if left >= _RUN_RECORDS_MIN:
            run = _find_run(data, at, end, min(left, STRETCH_RECORDS_MAX)) or _find_like(data, at, min(left, STRETCH_RECORDS_MAX))
            if run is not None:
                yield run
                left -= len(run.keys)
                at = run.end
                walk = _WALK_RECORDS_MIN
                continue
        # The fewer runs there are, the less often they are looked for.
        stretch = _walk(data, at, min(left, walk))
        yield stretch
        left -= len(stretch.keys)
        at = stretch.end
        walk = min(walk * 2, STRETCH_RECORDS_MAX)
    if at != end:
        raise _malformed("the records do not end where their batch does")


def add_starts(starts: list[int], data: bytes, at: int, count: int) -> int:
    """Append where each of the next records begins to ``starts``; where the last of them ends.

    :raises ApiError: CORRUPT_MESSAGE where they end early.
    """
    append = starts.append
    try:
        for _ in range(count):
            append(at)
            # As in the other loops here, numbers of one and two bytes are read in place.
            byte = data[at]
            if byte < 0x80:
                at += 1 + (byte >> 1)
            elif (second := data[at + 1]) < 0x80:
                at += 2 + ((byte & 0x7F | second << 7) >> 1)
            else:
                length, at = read_varint(data, at)
                at += length
                if length < 0:
                    raise _malformed("a length is negative")
    except IndexError:
        raise _malformed("the records end early") from None
    return at


def timestamp_delta(data: bytes, start: int) -> tuple[int, int, int]:
    """Of the record that begins at ``start``: its timestamp delta, and where the bytes of that begin and end."""
    at = start + 2 if data[start] < 0x80 else start + 3 if data[start + 1] < 0x80 else read_varint(data, start)[1] + 1
    byte = data[at]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at, at + 1
    delta, end = read_varint(data, at, VARLONG_BYTES_MAX)
    return delta, at, end


def _find_run(data: bytes, start: int, data_end: int, limit: int) -> Stretch | None:
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
    count = min(limit, (data_end - start) // step)
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


def _find_like(data: bytes, start: int, limit: int) -> Stretch | None:
    """Records from ``start`` on whose numbers before the key are as wide as the first one's; None when that are too few."""
    try:
        _, body = read_varint(data, start)
        _, offset_at = read_varint(data, body + 1, VARLONG_BYTES_MAX)
        first_delta, key_size_at = read_varint(data, offset_at)
    except IndexError:
        raise _malformed("the records end early") from None
    if 0 <= first_delta < _ONE_BYTE_NUMBERS:
        # The offset that needs another byte ends what is alike.
        limit = min(limit, _ONE_BYTE_NUMBERS - first_delta)
        if limit < _RUN_RECORDS_MIN:
            return None
    starts: list[int] = []
    after = add_starts(starts, data, start, limit)
    width = key_size_at - start + 1
    # The key's size comes last, and has to be one byte.
    heads = b"".join([data[at : at + width] for at in starts])
    count = len(heads) // width
    last_bytes = (body - start - 1, offset_at - start - 1, key_size_at - start - 1, width - 1)
    for column in range(width):
        if column == body - start:
            continue  # The attributes say nothing.
        values = heads[column : width * count : width]
        count = len(values) - len(values.lstrip(_LAST_BYTES if column in last_bytes else _MORE_BYTES))
        if count < _RUN_RECORDS_MIN:
            return None
    if count < limit:
        after = starts[count]
        del starts[count:]
    key_sizes = heads[width - 1 : width * count : width]
    key_starts = [at + width for at in starts]
    key_ends = list(map(add, key_starts, key_sizes.translate(_HALVES)))
    keys: list[bytes | None] = [data[at:end] for at, end in zip(key_starts, key_ends, strict=True)]
    is_null = key_sizes.translate(_ODD)
    if any(is_null):
        if key_sizes.translate(None, _KEY_SIZES):
            raise _malformed("a size is negative")
        keys = [None if missing else key for missing, key in zip(is_null, keys, strict=True)]
    if any(map(ge, key_ends, [*starts[1:], after])) or after > len(data):
        raise _malformed("a field is longer than its record")
    # An odd number is a negative one, and of these only -1 is a size.
    no_value = bytes(map(data.__getitem__, key_ends)).translate(_ODD)
    nulls = no_value.count(1)
    has_value: Sequence[bool] | bool = nulls == 0 if nulls in (0, count) else [not missing for missing in no_value]
    last_delta, _ = read_varint(data, starts[-1] + offset_at - start)
    deltas: Sequence[int]
    if last_delta - first_delta == count - 1:
        deltas = range(first_delta, last_delta + 1)
    else:
        deltas = [read_varint(data, at + offset_at - start)[0] for at in starts]
    return Stretch(keys, deltas, starts, after, has_value)


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
