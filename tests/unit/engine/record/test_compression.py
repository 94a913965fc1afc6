"""The codecs: what other libraries write is read, bombs are not, and Java can read what we write."""

from __future__ import annotations

import gzip
import random
import struct

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.record import compression
from kafkalab.engine.record.compression import Codec, compress, decompress

COMPRESSING = [codec for codec in Codec if codec != Codec.NONE]


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("data", [b"", b"x", b"abc" * 100_000, bytes(range(256)) * 700], ids=["empty", "one", "long", "bytes"])
def test_round_trip(codec: Codec, data: bytes) -> None:
    assert decompress(codec, compress(codec, data)) == data
    assert decompress(codec, memoryview(compress(codec, memoryview(data)))) == data


@pytest.mark.parametrize(("codec", "level"), [(Codec.GZIP, 1), (Codec.GZIP, -1), (Codec.LZ4, 9), (Codec.LZ4, 17), (Codec.ZSTD, 19)])
def test_levels(codec: Codec, level: int) -> None:
    data = b"some records " * 1000
    packed = compress(codec, data, level=level)
    assert len(packed) < len(data)
    assert decompress(codec, packed) == data


def test_lz4_levels_differ_and_the_default_is_the_fast_compressor() -> None:
    chance = random.Random(1)
    data = b"".join(b'{"id":%d,"name":"user-%d"}' % (i, chance.randrange(10**6)) for i in range(8_000))
    fast = compress(Codec.LZ4, data)
    assert compress(Codec.LZ4, data, level=9) == fast
    sizes = [len(compress(Codec.LZ4, data, level=level)) for level in (17, 8, 3)]
    assert sizes[0] < sizes[1] < sizes[2] < len(fast)
    for level in range(1, 18):
        assert (
            decompress(Codec.LZ4, compress(Codec.LZ4, data + bytes(100_000) + chance.randbytes(100_000), level=level))[:100] == data[:100]
        )


def test_snappy_is_read_framed_and_raw() -> None:
    data = b"xerial frames have blocks " * 5000
    framed = compress(Codec.SNAPPY, data)
    assert framed[:16] == b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
    assert decompress(Codec.SNAPPY, bytes(cramjam.snappy.compress_raw(data))) == data


def test_lz4_frames_have_independent_blocks() -> None:
    # Java's reader refuses any other; the third header byte is the checksum of the two before it.
    for level in (None, 3, 9):
        assert compress(Codec.LZ4, b"data" * 100, level=level)[:7] == bytes.fromhex("04224d18604082")
    with pytest.raises(ApiError, match="depend on each other") as error:
        decompress(Codec.LZ4, bytes(cramjam.lz4.compress(b"linked blocks " * 10_000)))
    assert error.value.error == Errors.INVALID_RECORD


def test_frames_of_other_settings_are_read() -> None:
    data = b"several members " * 10_000
    assert decompress(Codec.GZIP, gzip.compress(data[:100]) + gzip.compress(data[100:])) == data


@pytest.mark.parametrize("codec", COMPRESSING)
def test_a_bomb_does_not_go_off(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = compress(codec, bytes(3_000_000))
    monkeypatch.setattr(compression, "DECOMPRESSED_BYTES_MAX", 2_000_000)
    with pytest.raises(ApiError) as error:
        decompress(codec, bomb)
    assert error.value.error == Errors.INVALID_RECORD


@pytest.mark.parametrize("codec", COMPRESSING)
def test_large_records_of_zeros_are_records_like_any_other(codec: Codec) -> None:
    assert decompress(codec, compress(codec, bytes(30_000_000))) == bytes(30_000_000)


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.LZ4, Codec.ZSTD])
def test_the_ratio_is_bounded_beyond_what_is_free(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = compress(codec, bytes(3_000_000))
    assert len(decompress(codec, bomb)) == 3_000_000
    monkeypatch.setattr(compression, "DECOMPRESSED_BYTES_FREE", 1000)
    with pytest.raises(ApiError) as error:
        decompress(codec, bomb)
    assert error.value.error == Errors.INVALID_RECORD
    ordinary = b"".join(b'{"id":%d,"name":"user-%d"}' % (i, i * i) for i in range(100_000))
    assert decompress(codec, compress(codec, ordinary)) == ordinary


@pytest.mark.parametrize("codec", [Codec.LZ4, Codec.ZSTD])
def test_what_is_broken_is_tried_once(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counted(size: int) -> bytearray:
        made.append(size)
        return bytearray(size)

    monkeypatch.setattr(compression, "bytearray", counted, raising=False)
    packed = compress(codec, bytes(1_000_000))
    with pytest.raises(ApiError):
        decompress(codec, packed[:-5])
    tried = len(made)
    decompress(codec, packed)
    assert sum(made[tried:]) < 5_000_000 and tried <= len(made) - tried


@pytest.mark.parametrize("codec", COMPRESSING)
def test_cut_streams_are_invalid_records(codec: Codec) -> None:
    packed = compress(codec, b"record after record " * 1000)
    for cut in (packed[:-1], packed[: len(packed) // 2], packed[:5]):
        with pytest.raises(ApiError) as error:
            decompress(codec, cut)
        assert error.value.error == Errors.INVALID_RECORD


@given(codec=st.sampled_from(COMPRESSING), data=st.binary(max_size=300))
def test_any_bytes_decompress_or_are_refused(codec: Codec, data: bytes) -> None:
    try:
        decompress(codec, data)
    except ApiError as error:
        assert error.error == Errors.INVALID_RECORD


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_unknown_codecs_are_refused(codec: int) -> None:
    with pytest.raises(ApiError) as error:
        decompress(codec, b"x")
    assert error.value.error == Errors.INVALID_RECORD
