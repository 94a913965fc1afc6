"""The codecs of record batches, framed as Kafka's own clients frame them.

Compressed bytes come from outside and may be a bomb: every decompression has an output budget. Up to
64 MiB the ratio is not asked for, since megabytes of zeros compress to almost nothing and are a record
like any other; what is larger must be in proportion to its input, and a quarter of a GiB is the end of
it. Kafka, which reads the records as a stream, has no such bounds; those of ``max.message.bytes``, on
the compressed batch, hold before it comes to these.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final

import cramjam

from kafkalab.engine.common.errors import ApiError, Errors

DECOMPRESSED_BYTES_MAX: Final = 256 * 1024 * 1024
DECOMPRESSED_RATIO_MAX: Final = 100
DECOMPRESSED_BYTES_FREE: Final = 64 * 1024 * 1024
"""Up to here the ratio is not asked for."""
_GUESS_BYTES_MIN: Final = 256 * 1024
_GROWTH: Final = 8
_TOO_SMALL: Final = "failed to write whole buffer"

_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER: Final = _XERIAL_MAGIC + struct.pack(">ii", 1, 1)
_XERIAL_BLOCK_BYTES: Final = 32 * 1024

# Independent blocks of 64 KiB, no checksums: the only frames that Kafka's Java client reads.
_LZ4_FRAME_HEADER: Final = bytes.fromhex("04224d18604082")
_LZ4_BLOCK_BYTES: Final = 64 * 1024
_LZ4_STORED_BIT: Final = 0x80000000
_LZ4_END_MARK: Final = b"\x00\x00\x00\x00"
_LZ4_FLAGS_AT: Final = 4
_LZ4_INDEPENDENT_BIT: Final = 0x20
_LZ4_FAST_LEVEL: Final = 9
"""Kafka's default. It means the fast compressor, every other level the thorough one."""


class Codec(IntEnum):
    """The low three bits of a batch's attributes."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


CODEC_BY_NAME: Final = {"uncompressed": Codec.NONE, "gzip": Codec.GZIP, "snappy": Codec.SNAPPY, "lz4": Codec.LZ4, "zstd": Codec.ZSTD}
"""The values of ``compression.type`` except ``producer``, which keeps what came."""


def compress(codec: int, data: bytes | memoryview, *, level: int | None = None) -> bytes:
    """Compress a block of records; ``level`` is the codec's own, None its default."""
    if codec == Codec.NONE:
        return bytes(data)
    if codec == Codec.GZIP:
        compressor = zlib.compressobj(-1 if level is None else level, zlib.DEFLATED, 31)
        return compressor.compress(data) + compressor.flush()
    if codec == Codec.SNAPPY:
        return _compress_xerial(memoryview(data))
    if codec == Codec.LZ4:
        return _compress_lz4(memoryview(data), level)
    assert codec == Codec.ZSTD, f"{codec} is no codec"
    return bytes(cramjam.zstd.compress(data, level=3 if level is None else level))


def decompress(codec: int, data: bytes | memoryview) -> bytes:
    """Undo :func:`compress`, and what other clients' libraries do in its place.

    :raises ApiError: INVALID_RECORD for broken bytes and for an output over budget.
    """
    budget = min(DECOMPRESSED_BYTES_MAX, max(DECOMPRESSED_BYTES_FREE, len(data) * DECOMPRESSED_RATIO_MAX))
    try:
        if codec == Codec.NONE:
            return bytes(data)
        if codec == Codec.GZIP:
            return _decompress_gzip(data, budget)
        if codec == Codec.SNAPPY:
            return _decompress_snappy(memoryview(data), budget)
        if codec == Codec.LZ4:
            return _decompress_lz4(data, budget)
        if codec == Codec.ZSTD:
            return _decompress_into(cramjam.zstd.decompress_into, data, budget)
    except (cramjam.DecompressionError, zlib.error, _BrokenBlock) as error:
        raise ApiError(Errors.INVALID_RECORD, f"The {Codec(codec).name.lower()} records cannot be decompressed: {error}") from error
    raise ApiError(Errors.INVALID_RECORD, f"Unknown compression type id: {codec}")


class _BrokenBlock(Exception):
    """A frame of our own reading is broken or too large."""


def _decompress_into(decompress_into: Callable[[Any, bytearray], int], data: bytes | memoryview, budget: int) -> bytes:
    # The first guess fits nearly always. What is merely broken is not worth the whole budget.
    guess = max(_GUESS_BYTES_MIN, 16 * len(data))
    while True:
        output = bytearray(min(guess, budget))
        try:
            size = decompress_into(data, output)
        except cramjam.DecompressionError as error:
            if guess >= budget or _TOO_SMALL not in str(error):
                raise
            guess *= _GROWTH
        else:
            return bytes(memoryview(output)[:size])


def _decompress_gzip(data: bytes | memoryview, budget: int) -> bytes:
    parts: list[bytes] = []
    rest = bytes(data)
    while True:
        stream = zlib.decompressobj(31)
        part = stream.decompress(rest, budget + 1)
        budget -= len(part)
        if budget < 0:
            raise _BrokenBlock("the output exceeds what a batch may hold")
        if not stream.eof:
            raise _BrokenBlock("the stream ends early")
        parts.append(part)
        rest = stream.unused_data
        if not rest:
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _compress_xerial(data: memoryview) -> bytes:
    parts = [_XERIAL_HEADER]
    for start in range(0, len(data), _XERIAL_BLOCK_BYTES):
        block = bytes(cramjam.snappy.compress_raw(data[start : start + _XERIAL_BLOCK_BYTES]))
        parts += (len(block).to_bytes(4, "big"), block)
    return b"".join(parts)


def _decompress_snappy(data: memoryview, budget: int) -> bytes:
    if bytes(data[:8]) != _XERIAL_MAGIC:
        # librdkafka and others write one raw block.
        return _snappy_block(data, budget)
    if len(data) < len(_XERIAL_HEADER):
        raise _BrokenBlock("the header is cut")
    parts: list[bytes] = []
    pos, end = len(_XERIAL_HEADER), len(data)
    while pos < end:
        size = int.from_bytes(data[pos : pos + 4], "big")
        pos += 4
        if size > end - pos or pos > end:
            raise _BrokenBlock("a block is longer than what is left")
        part = _snappy_block(data[pos : pos + size], budget)
        budget -= len(part)
        parts.append(part)
        pos += size
    return b"".join(parts)


def _snappy_block(block: memoryview, budget: int) -> bytes:
    size = cramjam.snappy.decompress_raw_len(block)
    if size > budget:
        raise _BrokenBlock("the output exceeds what a batch may hold")
    return bytes(cramjam.snappy.decompress_raw(block))


def _compress_lz4(data: memoryview, level: int | None) -> bytes:
    parts = [_LZ4_FRAME_HEADER]
    for start in range(0, len(data), _LZ4_BLOCK_BYTES):
        block = data[start : start + _LZ4_BLOCK_BYTES]
        if level is None or level == _LZ4_FAST_LEVEL:
            packed = bytes(cramjam.lz4.compress_block(block, store_size=False))
        else:
            # The library compresses thoroughly in frames only. One of this size holds a single block, which depends on no other.
            frame = bytes(cramjam.lz4.compress(block, level=level))
            start_of_block = len(_LZ4_FRAME_HEADER) + 4
            size = int.from_bytes(frame[len(_LZ4_FRAME_HEADER) : start_of_block], "little") & ~_LZ4_STORED_BIT
            packed = frame[start_of_block : start_of_block + size]
        if len(packed) < len(block):
            parts += (len(packed).to_bytes(4, "little"), packed)
        else:
            parts += ((len(block) | _LZ4_STORED_BIT).to_bytes(4, "little"), bytes(block))
    parts.append(_LZ4_END_MARK)
    return b"".join(parts)


def _decompress_lz4(data: bytes | memoryview, budget: int) -> bytes:
    if len(data) > _LZ4_FLAGS_AT and not data[_LZ4_FLAGS_AT] & _LZ4_INDEPENDENT_BIT:
        # What is taken here must be read by Java's consumers.
        raise _BrokenBlock("its blocks depend on each other")
    return _decompress_into(cramjam.lz4.decompress_into, data, budget)
