"""Record batches of format 2: the unit in which Kafka sends, stores and replicates records.

Batches stay bytes. The broker reads the 61-byte header and, for what clients send, walks the records
without building them. Base offset and leader epoch lie outside the checksum, so a leader stamps
them without touching the rest. What is wrong with a batch is said with :class:`ApiError`, because
all of it may have come from outside.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from crc32c import crc32c

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.record.compression import Codec, compress, decompress

HEADER_BYTES: Final = 61
LENGTH_FIELD_END: Final = 12
"""The batch length counts the bytes after itself: everything but the first twelve."""
STAMP_BYTES: Final = 16
"""Base offset, length and leader epoch: the part that a leader writes anew."""
CRC_START: Final = 21
BATCH_LENGTH_MIN: Final = HEADER_BYTES - LENGTH_FIELD_END
MAGIC: Final = 2
NO_PRODUCER_ID: Final = -1
NO_SEQUENCE: Final = -1
NO_TIMESTAMP: Final = -1
SEQUENCE_MAX: Final = 2**31 - 1

CODEC_MASK: Final = 0x07
LOG_APPEND_TIME_BIT: Final = 0x08
TRANSACTIONAL_BIT: Final = 0x10
CONTROL_BIT: Final = 0x20
DELETE_HORIZON_BIT: Final = 0x40

Buffer = bytes | bytearray | memoryview

RECORD_BYTES_MIN: Final = 6
"""After its length: attributes, both deltas, no key, no value, no headers, a byte each."""

_STRIDES_MIN: Final = 16
_DELTA_MIN: Final = -(2**63)
_NOT_HIGHER: Final = {delta: bytes(byte for byte in range(128) if (byte >> 1) ^ -(byte & 1) <= delta) for delta in range(-64, 64)}
"""For each timestamp delta of one byte the bytes that stand for it or for a smaller one."""
_CONTINUED: Final = bytes(range(0x80, 0x100))
"""Every byte of a number but its last."""
_CONTINUED_UPWARDS: Final = bytes(range(0x80, 0x100, 2))
"""How a number begins that has more than one byte and is not negative."""
_IS_UPWARDS: Final = bytes(1 - (byte & 1) for byte in range(256))

_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_STAMP: Final = struct.Struct(">qii")
_HEAD: Final = struct.Struct(">qiibI")
_AFTER_CRC: Final = struct.Struct(">hiqqqhii")
_unpack_header = _HEADER.unpack_from
_new_tuple = tuple.__new__


class BatchHeader(NamedTuple):
    """The fields of a batch before its records, as they stand in the bytes."""

    base_offset: int
    batch_length: int
    partition_leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size_bytes(self) -> int:
        """The whole batch, header and records."""
        return LENGTH_FIELD_END + self.batch_length

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta

    @property
    def next_offset(self) -> int:
        return self.base_offset + self.last_offset_delta + 1

    @property
    def codec(self) -> int:
        return self.attributes & CODEC_MASK

    @property
    def is_log_append_time(self) -> bool:
        return self.attributes & LOG_APPEND_TIME_BIT != 0

    @property
    def is_transactional(self) -> bool:
        return self.attributes & TRANSACTIONAL_BIT != 0

    @property
    def is_control(self) -> bool:
        return self.attributes & CONTROL_BIT != 0

    @property
    def last_sequence(self) -> int:
        """The sequence number of the last record; numbers wrap from 2**31-1 to 0. -1 without a producer."""
        if self.base_sequence == NO_SEQUENCE:
            return NO_SEQUENCE
        return (self.base_sequence + self.last_offset_delta) & SEQUENCE_MAX


class Record(NamedTuple):
    """One record, decoded. ``timestamp`` is the append time where the batch carries one."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


def read_header(buf: Buffer, pos: int = 0) -> BatchHeader:
    """The header at ``pos``; the caller has seen to it that 61 bytes are there."""
    return _new_tuple(BatchHeader, _unpack_header(buf, pos))


def iter_headers(buf: Buffer, pos: int = 0) -> Iterator[tuple[int, BatchHeader]]:
    """Each whole batch's position and header, up to an incomplete tail.

    :raises ApiError: CORRUPT_MESSAGE when a batch says that it is shorter than its own header.
    """
    end = len(buf)
    while pos + HEADER_BYTES <= end:
        header = read_header(buf, pos)
        if header.batch_length < BATCH_LENGTH_MIN:
            raise ApiError(Errors.CORRUPT_MESSAGE, f"A batch of {header.batch_length} bytes is smaller than its own header")
        size = LENGTH_FIELD_END + header.batch_length
        if pos + size > end:
            return
        yield pos, header
        pos += size


def before_epoch_after(buf: bytes, leader_epoch: int) -> bytes:
    """What comes before the first whole batch of a later leader epoch; as a rule that is all of it."""
    pos, end = 0, len(buf)
    while pos + HEADER_BYTES <= end:
        _, batch_length, epoch = _STAMP.unpack_from(buf, pos)
        if epoch > leader_epoch:
            return buf[:pos]
        if batch_length < BATCH_LENGTH_MIN:
            # Refused where it is appended.
            break
        pos += LENGTH_FIELD_END + batch_length
    return buf


def validate(buf: Buffer, pos: int, header: BatchHeader) -> None:
    """Check what must hold of every batch, wherever it comes from.

    Compaction leaves batches with fewer records than offsets, so equal counts are asked of clients
    only (:func:`validate_client_batch`).

    :raises ApiError: CORRUPT_MESSAGE for bounds and checksum, INVALID_RECORD for another format or impossible counts.
    """
    if header.batch_length < BATCH_LENGTH_MIN:
        raise ApiError(Errors.CORRUPT_MESSAGE, f"A batch of {header.batch_length} bytes is smaller than its own header")
    end = pos + LENGTH_FIELD_END + header.batch_length
    if end > len(buf):
        raise ApiError(Errors.CORRUPT_MESSAGE, f"A batch of {header.size_bytes} bytes ends after {len(buf) - pos} bytes")
    if header.magic != MAGIC:
        raise ApiError(Errors.INVALID_RECORD, f"Record batches have magic version {MAGIC}, this one says {header.magic}")
    if crc32c(memoryview(buf)[pos + CRC_START : end]) != header.crc:
        raise ApiError(Errors.CORRUPT_MESSAGE, f"Record is corrupt (stored crc = {header.crc}) at offset {header.base_offset}")
    if header.record_count < 0 or header.last_offset_delta < 0:
        raise ApiError(
            Errors.INVALID_RECORD,
            f"A batch cannot have {header.record_count} records and {header.last_offset_delta} as its last offset delta",
        )


def validate_client_batch(header: BatchHeader) -> None:
    """Check what a client may say in a batch's header.

    :raises ApiError: INVALID_RECORD, in Kafka's words.
    """
    if header.base_offset != 0:
        raise ApiError(
            Errors.INVALID_RECORD, f"The baseOffset of the record batch in the append should be 0, but it is {header.base_offset}"
        )
    if header.record_count <= 0:
        raise ApiError(Errors.INVALID_RECORD, f"Invalid reported count for record batch: {header.record_count}")
    if header.record_count != header.last_offset_delta + 1:
        raise ApiError(
            Errors.INVALID_RECORD,
            f"Inconsistent batch offset range [{header.base_offset}, {header.last_offset}] and count of records {header.record_count}",
        )
    if header.is_control:
        raise ApiError(Errors.INVALID_RECORD, "Clients are not allowed to write control records")
    if header.producer_id >= 0 and header.base_sequence < 0:
        raise ApiError(
            Errors.INVALID_RECORD,
            f"Invalid sequence number {header.base_sequence} in record batch with producerId {header.producer_id}",
        )


def stamp(buf: bytearray, pos: int, base_offset: int, leader_epoch: int) -> None:
    """Write base offset and leader epoch into the batch at ``pos``; the checksum covers neither."""
    _STAMP.pack_into(buf, pos, base_offset, int.from_bytes(buf[pos + 8 : pos + LENGTH_FIELD_END], "big", signed=True), leader_epoch)


def stamped_head(header: BatchHeader, base_offset: int, leader_epoch: int) -> bytes:
    """The first :data:`STAMP_BYTES` of a batch as a leader writes them; the rest can be written as it came."""
    return _STAMP.pack(base_offset, header.batch_length, leader_epoch)


def rebuild(header: BatchHeader, payload: bytes, *, attributes: int, max_timestamp: int) -> bytes:
    """The same batch around other bytes: recompressed, or with the append time as its timestamp."""
    after_crc = (
        _AFTER_CRC.pack(
            attributes,
            header.last_offset_delta,
            header.base_timestamp,
            max_timestamp,
            header.producer_id,
            header.producer_epoch,
            header.base_sequence,
            header.record_count,
        )
        + payload
    )
    head = _HEAD.pack(
        header.base_offset, CRC_START - LENGTH_FIELD_END + len(after_crc), header.partition_leader_epoch, MAGIC, crc32c(after_crc)
    )
    return head + after_crc


def records_payload(buf: Buffer, pos: int, header: BatchHeader) -> Buffer:
    """The records of a batch, decompressed.

    :raises ApiError: INVALID_RECORD when they do not decompress, or into more than a broker stands for.
    """
    block = memoryview(buf)[pos + HEADER_BYTES : pos + header.size_bytes]
    codec = header.codec
    if codec == Codec.NONE:
        return block
    return decompress(codec, block)


def iter_records(buf: Buffer) -> Iterator[Record]:
    """Every record of every whole batch in ``buf``, in order; those of control batches too.

    :raises ApiError: INVALID_RECORD where the records are not what their batch says.
    """
    for pos, header in iter_headers(buf):
        yield from records_of(buf, pos, header)


def records_of(buf: Buffer, pos: int, header: BatchHeader) -> Iterator[Record]:
    """The records of the batch at ``pos``.

    :raises ApiError: INVALID_RECORD where they are not what the header says.
    """
    payload = bytes(records_payload(buf, pos, header))
    base_offset, base_timestamp = header.base_offset, header.base_timestamp
    append_time = header.max_timestamp if header.is_log_append_time else None
    at = 0
    try:
        for _ in range(header.record_count):
            length, at = read_varint(payload, at)
            end = at + length
            if length < 0 or end > len(payload):
                raise _malformed("a record is longer than its batch")
            timestamp_delta, at = read_varint(payload, at + 1, VARLONG_BYTES_MAX)
            offset_delta, at = read_varint(payload, at)
            key, at = _read_nullable(payload, at, end)
            value, at = _read_nullable(payload, at, end)
            header_count, at = read_varint(payload, at)
            if header_count < 0 or header_count > end - at:
                raise _malformed(f"a record cannot have {header_count} headers")
            headers: tuple[tuple[str, bytes | None], ...] = ()
            if header_count:
                found = []
                for _ in range(header_count):
                    name, at = _read_nullable(payload, at, end)
                    if name is None:
                        raise _malformed("a header has no key")
                    content, at = _read_nullable(payload, at, end)
                    found.append((name.decode("utf-8", "replace"), content))
                headers = tuple(found)
            if at != end:
                raise _malformed("a record does not end where its length says")
            timestamp = base_timestamp + timestamp_delta if append_time is None else append_time
            yield Record(base_offset + offset_delta, timestamp, key, value, headers)
    except IndexError:
        raise _malformed("the records end early") from None
    if at != len(payload):
        raise _malformed("bytes follow the last record")


def values_of(buf: Buffer, pos: int, header: BatchHeader) -> list[bytes]:
    """The values of the batch at ``pos``, for logs whose records have nothing else to say; of records without one, empty ones.

    :raises ApiError: INVALID_RECORD where the records are not what the header says.
    """
    payload = bytes(records_payload(buf, pos, header))
    values = []
    at = 0
    try:
        for _ in range(header.record_count):
            length, at = read_varint(payload, at)
            end = at + length
            # Neither the attributes, nor timestamp and offset.
            at += 1
            while payload[at] >= 0x80:
                at += 1
            at += 1
            while payload[at] >= 0x80:
                at += 1
            key_size, at = read_varint(payload, at + 1)
            size, at = read_varint(payload, at + max(0, key_size))
            stop = at + max(0, size)
            if not at <= stop < end <= len(payload):
                raise _malformed("a record is longer than its batch")
            values.append(payload[at:stop])
            at = end
    except IndexError:
        raise _malformed("the records end early") from None
    if at != len(payload):
        raise _malformed("bytes follow the last record")
    return values


def check_records(
    payload: Buffer, header: BatchHeader, *, keys_required: bool = False, timestamp_min: int | None = None
) -> tuple[int, bool]:
    """Walk a client's records without building them.

    Returns their largest timestamp, and whether something is wrong with single ones: keys that a
    compacted topic must have, timestamps before ``timestamp_min``.

    :raises ApiError: INVALID_RECORD where the bytes are not the records the header announces.
    """
    is_refused = False
    data = payload if isinstance(payload, bytes) else bytes(payload)
    total = len(data)
    delta_min = _DELTA_MIN if timestamp_min is None else timestamp_min - header.base_timestamp
    delta_of_none = NO_TIMESTAMP - header.base_timestamp
    largest = _DELTA_MIN
    at = 0
    try:
        for index in range(header.record_count):
            # One-byte varints are the rule; the general reader serves the rest.
            byte = data[at]
            if byte < 0x80:
                at += 1
                length = (byte >> 1) ^ -(byte & 1)
            else:
                length, at = read_varint(data, at)
            end = at + length
            if length < 0 or end > total:
                raise _malformed(f"record {index} is longer than its batch")
            at += 1
            byte = data[at]
            if byte < 0x80:
                at += 1
                delta = (byte >> 1) ^ -(byte & 1)
            else:
                delta, at = read_varint(data, at, VARLONG_BYTES_MAX)
            if delta > largest:
                largest = delta
            if delta < delta_min and delta != delta_of_none:
                is_refused = True
            byte = data[at]
            if byte < 0x80:
                at += 1
                delta = (byte >> 1) ^ -(byte & 1)
            else:
                delta, at = read_varint(data, at)
            if delta != index:
                raise _malformed(f"record {index} says that its offset delta is {delta}")
            byte = data[at]
            if byte < 0x80:
                at += 1
                size = (byte >> 1) ^ -(byte & 1)
            else:
                size, at = read_varint(data, at)
            if size > 0:
                at += size
            elif size < 0:
                if size != -1:
                    raise _malformed(f"record {index} has a key of {size} bytes")
                if keys_required:
                    is_refused = True
            byte = data[at]
            if byte < 0x80:
                at += 1
                size = (byte >> 1) ^ -(byte & 1)
            else:
                size, at = read_varint(data, at)
            if size > 0:
                at += size
            elif size < -1:
                raise _malformed(f"record {index} has a value of {size} bytes")
            count = data[at]
            at += 1
            if count:
                at = _skip_headers(data, at - 1, end, index)
            if at != end:
                raise _malformed(f"record {index} does not end where its length says")
    except IndexError:
        raise _malformed("the records end early") from None
    if at != total:
        raise _malformed("bytes follow the last record")
    return max(NO_TIMESTAMP, header.base_timestamp + largest), is_refused


def check_record_bounds(payload: Buffer, header: BatchHeader) -> int:
    """Follow the records' lengths only: as many as announced, and nothing behind them. Their largest timestamp.

    Records of one size, the usual load, are passed in strides.

    :raises ApiError: INVALID_RECORD otherwise.
    """
    data = payload if isinstance(payload, bytes) else bytes(payload)
    total = len(data)
    left = header.record_count
    at = last_step = 0
    largest = _DELTA_MIN
    window = _STRIDES_MIN
    try:
        while left:
            byte = data[at]
            if byte < 0x80:
                length, body = (byte >> 1) ^ -(byte & 1), at + 1
            else:
                length, body = read_varint(data, at)
            if length < RECORD_BYTES_MIN:
                raise _malformed(f"a record cannot have {length} bytes")
            byte = data[body + 1]
            delta = (byte >> 1) ^ -(byte & 1) if byte < 0x80 else read_varint(data, body + 1, VARLONG_BYTES_MAX)[0]
            if delta > largest:
                largest = delta
            prefix = data[at:body]
            step = body - at + length
            at += step
            left -= 1
            if step != last_step:
                last_step = step
                continue
            window = min(window, left)
            run = window
            for index, byte in enumerate(prefix):
                column = data[at + index : at + index + step * run : step]
                run = len(column) - len(column.lstrip(bytes((byte,))))
            largest = _largest_delta(data, at + len(prefix) + 1, step, run, largest)
            at += run * step
            left -= run
            window = window * 2 if run == window else _STRIDES_MIN
    except IndexError:
        raise _malformed("the records end early") from None
    if at != total:
        raise _malformed("the records do not end where their batch does")
    return max(NO_TIMESTAMP, header.base_timestamp + largest)


def _largest_delta(data: bytes, first: int, step: int, count: int, largest: int) -> int:
    """The largest of ``count`` timestamp deltas, of which one begins every ``step`` bytes, and of what was the largest before."""
    column = data[first : first + step * count : step]
    if not column.isascii():
        found = _largest_long_delta(data, column, first, step, count)
        if found is None:
            deltas = (read_varint(data, position, VARLONG_BYTES_MAX)[0] for position in range(first, first + step * count, step))
            found = max(deltas)
        return max(largest, found)
    # One byte each: as a rule a batch is gathered within milliseconds.
    higher = column.translate(None, _NOT_HIGHER[min(max(largest, -64), 63)]) if largest >= -64 else column
    return max((byte >> 1) ^ -(byte & 1) for byte in set(higher)) if higher else largest


def _largest_long_delta(data: bytes, column: bytes, first: int, step: int, count: int) -> int | None:
    """The largest of deltas that all have as many bytes, two or more; None where they have not, or where all are negative."""
    columns = [column]
    while not columns[-1].isascii():
        if columns[-1].translate(None, _CONTINUED) or len(columns) == VARLONG_BYTES_MAX - 1:
            return None  # the longest may be none at all
        start = first + len(columns)
        columns.append(data[start : start + step * count : step])
    if column.translate(None, _CONTINUED_UPWARDS):
        is_upwards = column.translate(_IS_UPWARDS)
        columns = [bytes(itertools.compress(one, is_upwards)) for one in columns]
        if not columns[0]:
            return None
    number = 0
    while columns:
        high = max(column := columns.pop())
        number = number << 7 | high & 0x7F
        if columns and column.count(high) < len(column):
            is_high = list(map(high.__eq__, column))
            columns = [bytes(itertools.compress(one, is_high)) for one in columns]
    return number >> 1


def build_batch(
    records: Sequence[Record],
    *,
    base_offset: int = 0,
    leader_epoch: int = -1,
    codec: int = Codec.NONE,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    timestamp_type: int = 0,
    control: bool = False,
    transactional: bool = False,
) -> bytes:
    """A batch of these records, checksum and all.

    Offsets follow from ``base_offset`` and the records' order: what the records themselves say is not asked.
    """
    assert records, "a batch has at least one record"
    base_timestamp = records[0].timestamp
    max_timestamp = base_timestamp
    out = bytearray()
    body = bytearray()
    for index, record in enumerate(records):
        if record.timestamp > max_timestamp:
            max_timestamp = record.timestamp
        body.clear()
        body.append(0)
        _write_varint(body, record.timestamp - base_timestamp)
        _write_varint(body, index)
        _write_nullable(body, record.key)
        _write_nullable(body, record.value)
        _write_varint(body, len(record.headers))
        for name, content in record.headers:
            _write_nullable(body, name.encode())
            _write_nullable(body, content)
        _write_varint(out, len(body))
        out += body
    header = BatchHeader(
        base_offset=base_offset,
        batch_length=0,
        partition_leader_epoch=leader_epoch,
        magic=MAGIC,
        crc=0,
        attributes=0,
        last_offset_delta=len(records) - 1,
        base_timestamp=base_timestamp,
        max_timestamp=max_timestamp,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
        record_count=len(records),
    )
    attributes = (
        codec
        | (LOG_APPEND_TIME_BIT if timestamp_type else 0)
        | (TRANSACTIONAL_BIT if transactional else 0)
        | (CONTROL_BIT if control else 0)
    )
    payload = bytes(out) if codec == Codec.NONE else compress(codec, bytes(out))
    return rebuild(header, payload, attributes=attributes, max_timestamp=max_timestamp)


VARINT_BYTES_MAX: Final = 5
VARLONG_BYTES_MAX: Final = 10


def read_varint(data: Buffer, at: int, bytes_max: int = VARINT_BYTES_MAX) -> tuple[int, int]:
    """A zigzag varint and the position after it.

    :raises IndexError: at the end of ``data``.
    :raises ApiError: INVALID_RECORD when it does not end in time.
    """
    byte = data[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    value = byte & 0x7F
    shift = 7
    for _ in range(bytes_max - 1):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
    raise _malformed("a number does not end")


def encode_varint(value: int) -> bytes:
    """A zigzag varint."""
    out = bytearray()
    _write_varint(out, value)
    return bytes(out)


def _write_varint(out: bytearray, value: int) -> None:
    value = value << 1 if value >= 0 else (-value << 1) - 1
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _read_nullable(data: bytes, at: int, end: int) -> tuple[bytes | None, int]:
    size, at = read_varint(data, at)
    if size < 0:
        if size != -1:
            raise _malformed(f"a field has {size} bytes")
        return None, at
    stop = at + size
    if stop > end:
        raise _malformed("a field is longer than its record")
    return data[at:stop], stop


def _write_nullable(out: bytearray, content: bytes | None) -> None:
    if content is None:
        out.append(1)
    else:
        _write_varint(out, len(content))
        out += content


def _skip_headers(data: bytes, at: int, end: int, index: int) -> int:
    count, at = read_varint(data, at)
    if count < 0 or count > end - at:
        raise _malformed(f"record {index} cannot have {count} headers")
    for _ in range(count):
        size, at = read_varint(data, at)
        if size < 0:
            raise _malformed(f"a header of record {index} has no key")
        at += size
        size, at = read_varint(data, at)
        if size < -1:
            raise _malformed(f"a header of record {index} has a value of {size} bytes")
        if size > 0:
            at += size
        if at > end:
            raise _malformed(f"a header of record {index} is longer than the record")
    return at


def _malformed(what: str) -> ApiError:
    return ApiError(Errors.INVALID_RECORD, f"Invalid record: {what}")
