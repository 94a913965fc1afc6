"""What a leader asks of a batch that a client sends, and the form in which it is appended.

The header and the checksum are looked at always. Records are walked one by one where they are few,
where something is asked of each, or where they had to be decompressed anyway; of a long
uncompressed batch the walk follows the lengths only.
"""

from __future__ import annotations

from typing import Final

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.record.batch import (
    CODEC_MASK,
    HEADER_BYTES,
    LENGTH_FIELD_END,
    LOG_APPEND_TIME_BIT,
    MAGIC,
    NO_TIMESTAMP,
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
    timestamp_min: int | None = None
    # Kafka takes its own bit from a client where records keep their times, and clears it; where they do not it refuses.
    claims_append_time = header.is_log_append_time
    if claims_append_time and (log_append_time or header.max_timestamp == NO_TIMESTAMP):
        _refuse_append_time(data, header)
    if not log_append_time:
        if header.max_timestamp > now_ms + config.message_timestamp_after_max_ms:
            _refuse_timestamps(data, header, config, now_ms)
        if now_ms > config.message_timestamp_before_max_ms:
            timestamp_min = now_ms - config.message_timestamp_before_max_ms

    codec = header.codec
    if codec == Codec.NONE:
        payload = data[HEADER_BYTES:]
    else:
        payload = bytes(records_payload(data, 0, header))
    count = header.record_count
    if compacted or timestamp_min is not None or count <= RECORDS_WALKED_IN_FULL_MAX:
        refused = check_records(payload, header, keys_required=compacted, timestamp_min=timestamp_min)
        if refused:
            if refused[0][1] == Errors.INVALID_TIMESTAMP:
                _refuse_timestamps(data, header, config, now_ms)
            errors = [(index, f"{sentence} in topic partition {where}") for index, _, sentence in refused]
            shown = ", ".join(f"RecordError(batchIndex={index}, message='{sentence}')" for index, sentence in errors[:RECORD_ERRORS_MAX])
            raise InvalidRecords(
                Errors.INVALID_RECORD,
                f"One or more records have been rejected due to {len(errors)} record errors in total, "
                f"and only showing the first three errors at most: [{shown}]",
                errors,
            )
    else:
        check_record_bounds(payload, header)

    wanted = config.compression_type
    recompress = wanted != "producer" and CODEC_BY_NAME[wanted] != codec
    if not recompress and not log_append_time and not claims_append_time:
        return data, header
    attributes = header.attributes & ~LOG_APPEND_TIME_BIT
    max_timestamp = header.max_timestamp
    if recompress:
        codec = CODEC_BY_NAME[wanted]
        attributes = attributes & ~CODEC_MASK | codec
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


def _refuse_timestamps(data: bytes, header: BatchHeader, config: LogConfig, now_ms: int) -> None:
    earliest = now_ms - config.message_timestamp_before_max_ms
    latest = now_ms + config.message_timestamp_after_max_ms
    allowed = f"The timestamp should be within [{earliest}, {latest}]"
    errors = [
        (
            index,
            f"Timestamp {record.timestamp} of message with offset {record.offset} is out of range. {allowed}",
        )
        for index, record in enumerate(records_of(data, 0, header))
        if record.timestamp != NO_TIMESTAMP and not earliest <= record.timestamp <= latest
    ]
    # The header alone may lie about its largest timestamp; then the records are fine and so is the batch.
    if errors:
        raise InvalidRecords(Errors.INVALID_TIMESTAMP, INVALID_TIMESTAMPS, errors)


def _refuse_append_time(data: bytes, header: BatchHeader) -> None:
    errors = [
        (index, f"Invalid timestamp type in message {_shown(record)}. Producer should not set timestamp type to LogAppendTime.")
        for index, record in enumerate(records_of(data, 0, header))
    ]
    raise InvalidRecords(Errors.INVALID_TIMESTAMP, INVALID_TIMESTAMPS, errors)


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
