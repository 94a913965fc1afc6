"""What a leader asks of a batch that a client sends, and the form in which it is appended.

The header and the checksum are looked at always. Records are walked one by one where they are few
or where something is asked of each; of a long batch the walk follows the lengths and the timestamps
only. What the header says of the largest timestamp is set right where it is wrong.
"""

from __future__ import annotations

from typing import Final

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.log.config import LONG_MAX, LogConfig
from kafkalab.engine.record.batch import (
    CODEC_MASK,
    DELETE_HORIZON_BIT,
    HEADER_BYTES,
    LENGTH_FIELD_END,
    LOG_APPEND_TIME_BIT,
    MAGIC,
    NO_TIMESTAMP,
    TRANSACTIONAL_BIT,
    BatchHeader,
    Record,
    check_record_bounds,
    check_records,
    read_header,
    rebuild,
    records_of,
    records_payload,
    validate,
    validate_client_batch,
)
from kafkalab.engine.record.compression import CODEC_BY_NAME, Codec, compress

RECORDS_WALKED_IN_FULL_MAX: Final = 24
RECORD_ERRORS_MAX: Final = 3
INVALID_TIMESTAMPS: Final = "One or more records have been rejected due to invalid timestamp"
MAGIC_AT: Final = 16
OLD_RECORD_BYTES_MIN: Final = 14
"""What a record of the first format takes at least; nothing that calls itself a batch is shorter."""


class InvalidRecords(ApiError):
    """A batch is refused because of single records; the client may be told which (Produce 8 and newer)."""

    def __init__(self, error: Errors, message: str, record_errors: list[tuple[int, str]]) -> None:
        super().__init__(error, message)
        self.record_errors = record_errors


class NotOneBatch(ApiError):
    """What came is not one batch, so that no log was asked."""


class BytesBehind(Exception):
    """Behind the batch lies what is none; a client's partition ends before it."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size
        """Of the batch."""


def check_client_batch(data: bytes, config: LogConfig, *, zstd_allowed: bool) -> BatchHeader:
    """The header of the one batch in ``data``, after everything that it says was checked.

    :raises ApiError: as promised for bad input.
    :raises BytesBehind: when there is more than the batch.
    """
    size = len(data)
    if size < HEADER_BYTES:
        raise _not_one_batch()
    header = read_header(data)
    if header.magic != MAGIC:
        _size_of_batch(data, 0)
        raise NotOneBatch(Errors.INVALID_RECORD, "Produce requests are only allowed to contain record batches with magic version 2")
    if LENGTH_FIELD_END + header.batch_length != size and header.batch_length >= HEADER_BYTES - LENGTH_FIELD_END:
        behind = header.size_bytes
        if behind < size and _size_of_batch(data, behind) is None:
            raise BytesBehind(behind)
        raise _not_one_batch()
    if size > config.max_message_bytes:
        raise _too_large(size, config)
    validate(data, 0, header)
    validate_client_batch(header)
    codec = header.codec
    if codec > Codec.ZSTD:
        raise ApiError(Errors.INVALID_RECORD, f"Unknown compression type id: {codec}")
    if codec == Codec.ZSTD and not zstd_allowed:
        raise ApiError(
            Errors.UNSUPPORTED_COMPRESSION_TYPE, "Produce requests with a version below 7 are not allowed to use ZStandard compression"
        )
    return header


def prepare_client_batch(data: bytes, header: BatchHeader, config: LogConfig, now_ms: int, where: object = "") -> tuple[bytes, BatchHeader]:
    """Check the records; the batch as it is to be appended: as it came, recompressed, or with the append time.

    ``where`` is the partition, as messages name it.

    :raises ApiError: as promised for bad input.
    """
    log_append_time = config.log_append_time
    compacted = config.compacted
    # Kafka takes its own bit from a client where records keep their times, and clears it; where they do not it refuses.
    claims_append_time = header.is_log_append_time
    timestamp_min: int | None = None
    if not log_append_time and not claims_append_time and now_ms > config.message_timestamp_before_max_ms:
        timestamp_min = now_ms - config.message_timestamp_before_max_ms

    codec = header.codec
    if codec == Codec.NONE:
        payload = data[HEADER_BYTES:]
    else:
        payload = bytes(records_payload(data, 0, header))
    is_refused = False
    if compacted or timestamp_min is not None or header.record_count <= RECORDS_WALKED_IN_FULL_MAX:
        max_timestamp, is_refused = check_records(payload, header, keys_required=compacted, timestamp_min=timestamp_min)
    else:
        max_timestamp = check_record_bounds(payload, header)
    if claims_append_time:
        max_timestamp = header.max_timestamp
        is_refused = True
    elif max_timestamp > LONG_MAX:
        raise ApiError(Errors.INVALID_RECORD, f"Invalid record: it cannot have the timestamp {max_timestamp}")
    if is_refused or (not log_append_time and max_timestamp > now_ms + config.message_timestamp_after_max_ms):
        _refuse_records(data, header, config, now_ms, where)

    wanted = config.compression_type
    recompress = wanted != "producer" and CODEC_BY_NAME[wanted] != codec
    if not recompress and not log_append_time and not claims_append_time and max_timestamp == header.max_timestamp:
        return data, header
    # Whatever else is set there means nothing.
    attributes = header.attributes & (CODEC_MASK | TRANSACTIONAL_BIT | DELETE_HORIZON_BIT)
    if recompress:
        codec = CODEC_BY_NAME[wanted]
        attributes = attributes & TRANSACTIONAL_BIT | codec
        block = compress(codec, payload, level=_level(codec, config))
    else:
        block = data[HEADER_BYTES:]
    if log_append_time:
        attributes |= LOG_APPEND_TIME_BIT
        max_timestamp = now_ms
    prepared = rebuild(header, block, attributes=attributes, max_timestamp=max_timestamp)
    if len(prepared) > config.max_message_bytes:
        raise _too_large(len(prepared), config)
    return prepared, read_header(prepared)


def _refuse_records(data: bytes, header: BatchHeader, config: LogConfig, now_ms: int, where: object) -> None:
    """Look at each record for what is wrong with it, the key before the timestamp; return when nothing is.

    :raises InvalidRecords: naming those that are refused.
    """
    log_append_time, compacted = config.log_append_time, config.compacted
    earliest = now_ms - config.message_timestamp_before_max_ms
    latest = now_ms + config.message_timestamp_after_max_ms
    error = Errors.INVALID_RECORD
    errors: list[tuple[int, str]] = []
    for index, record in enumerate(records_of(data, 0, header)):
        if compacted and record.key is None:
            errors.append((index, f"Compacted topic cannot accept message without key in topic partition {where}"))
        elif not log_append_time and record.timestamp != NO_TIMESTAMP:
            if not earliest <= record.timestamp <= latest:
                error = Errors.INVALID_TIMESTAMP
                said = f"Timestamp {record.timestamp} of message with offset {record.offset} is out of range."
                errors.append((index, f"{said} The timestamp should be within [{earliest}, {latest}]"))
        elif header.is_log_append_time:
            error = Errors.INVALID_TIMESTAMP
            said = f"Invalid timestamp type in message {_shown(record)}."
            errors.append((index, f"{said} Producer should not set timestamp type to LogAppendTime."))
    if error == Errors.INVALID_TIMESTAMP:
        raise InvalidRecords(error, INVALID_TIMESTAMPS, errors)
    if errors:
        shown = ", ".join(f"RecordError(batchIndex={index}, message='{sentence}')" for index, sentence in errors[:RECORD_ERRORS_MAX])
        raise InvalidRecords(
            error,
            f"One or more records have been rejected due to {len(errors)} record errors in total, "
            f"and only showing the first three errors at most: [{shown}]",
            errors,
        )


def _shown(record: Record) -> str:
    sizes = f"key={len(record.key or b'')} bytes, value={len(record.value or b'')} bytes"
    return f"DefaultRecord(offset={record.offset}, timestamp={record.timestamp}, {sizes})"


def _size_of_batch(data: bytes, position: int) -> int | None:
    """How long the batch is that begins there, None when it is not whole; as Kafka reads a request's records.

    :raises ApiError: CORRUPT_MESSAGE when it says what no batch says.
    """
    left = len(data) - position
    if left < LENGTH_FIELD_END:
        return None
    length = int.from_bytes(data[position + LENGTH_FIELD_END - 4 : position + LENGTH_FIELD_END], "big", signed=True)
    if length < OLD_RECORD_BYTES_MIN:
        raise ApiError(Errors.CORRUPT_MESSAGE, f"Record size {length} is less than the minimum record overhead ({OLD_RECORD_BYTES_MIN})")
    if left <= MAGIC_AT:
        return None
    magic = int.from_bytes(data[position + MAGIC_AT : position + MAGIC_AT + 1], "big", signed=True)
    if not 0 <= magic <= MAGIC:
        raise ApiError(Errors.CORRUPT_MESSAGE, f"Invalid magic found in record: {magic}")
    size = LENGTH_FIELD_END + length
    return size if size <= left else None


def _level(codec: int, config: LogConfig) -> int | None:
    if codec == Codec.GZIP:
        return config.compression_gzip_level
    if codec == Codec.LZ4:
        return config.compression_lz4_level
    if codec == Codec.ZSTD:
        return config.compression_zstd_level
    return None


def _not_one_batch() -> ApiError:
    return NotOneBatch(Errors.INVALID_RECORD, "Produce requests must have exactly one record batch per partition")


def _too_large(size: int, config: LogConfig) -> ApiError:
    return ApiError(
        Errors.MESSAGE_TOO_LARGE,
        f"The record batch size in the append is {size} bytes which exceeds the maximum configured value of {config.max_message_bytes}.",
    )
