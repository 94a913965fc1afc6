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
    NO_TIMESTAMP,
    BatchHeader,
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


class InvalidRecords(ApiError):
    """A batch is refused because of single records; the client may be told which (Produce 8 and newer)."""

    def __init__(self, error: Errors, message: str, record_errors: list[tuple[int, str]]) -> None:
        super().__init__(error, message)
        self.record_errors = record_errors


def check_client_batch(data: bytes, config: LogConfig, *, zstd_allowed: bool) -> BatchHeader:
    """The header of the one batch in ``data``, after everything that it says was checked.

    :raises ApiError: as promised for bad input.
    """
    size = len(data)
    if size < HEADER_BYTES:
        raise _not_one_batch()
    header = read_header(data)
    if header.magic != 2:
        raise ApiError(Errors.INVALID_RECORD, "Produce requests are only allowed to contain record batches with magic version 2")
    if LENGTH_FIELD_END + header.batch_length != size and header.batch_length >= HEADER_BYTES - LENGTH_FIELD_END:
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
    if not log_append_time:
        if header.is_log_append_time:
            raise InvalidRecords(
                Errors.INVALID_TIMESTAMP,
                "Invalid timestamp type in message. Producer should not set timestamp type to LogAppendTime.",
                [(0, "Invalid timestamp type in message. Producer should not set timestamp type to LogAppendTime.")],
            )
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
            errors = [(index, f"{sentence} in topic partition {where}.") for index, _, sentence in refused]
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
    if not recompress and not log_append_time:
        return data, header
    attributes = header.attributes
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
    earliest = max(0, now_ms - config.message_timestamp_before_max_ms)
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
        raise InvalidRecords(Errors.INVALID_TIMESTAMP, "One or more records have been rejected due to invalid timestamp", errors)


def _level(codec: int, config: LogConfig) -> int | None:
    if codec == Codec.GZIP:
        return config.compression_gzip_level
    if codec == Codec.LZ4:
        return config.compression_lz4_level
    if codec == Codec.ZSTD:
        return config.compression_zstd_level
    return None


def _not_one_batch() -> ApiError:
    return ApiError(Errors.INVALID_RECORD, "Produce requests must have exactly one record batch per partition")


def _too_large(size: int, config: LogConfig) -> ApiError:
    return ApiError(
        Errors.MESSAGE_TOO_LARGE,
        f"The record batch size in the append is {size} bytes which exceeds the maximum configured value of {config.max_message_bytes}.",
    )
