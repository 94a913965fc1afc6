"""Regions of data files: what is sent later is what was there when it was asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kafkalab.engine.log.log import Log
from kafkalab.engine.log.region import REGION_BYTES_MIN, FileRegion
from kafkalab.engine.log.storage import FileStorage
from kafkalab.engine.protocol.codec import JOIN_BELOW_BYTES
from kafkalab.engine.record.batch import Record, build_batch

OpenLog = Callable[..., Log]


def batch(size: int, value: bytes = b"x") -> bytes:
    return build_batch([Record(0, 1_700_000_000_000, None, value * size)])


def region_of(log: Log, offset: int, **more: int) -> FileRegion:
    chunk = log.read_chunk(offset, 1 << 20, region_from=REGION_BYTES_MIN, **more)
    assert isinstance(chunk, FileRegion)
    return chunk


def test_a_region_is_never_so_small_that_the_codec_would_copy_it() -> None:
    assert REGION_BYTES_MIN >= JOIN_BELOW_BYTES


def test_large_reads_are_regions_with_the_bytes_that_a_read_gives(open_log: OpenLog) -> None:
    log = open_log(segment_bytes=1 << 20)
    for _ in range(100):
        log.append_as_leader(batch(30_000), 0)
    assert log.segment_count > 2
    for offset in range(100):
        for max_bytes, max_offset in ((1, None), (70_000, None), (1 << 20, None), (1 << 20, offset + 2), (20_000, offset + 1)):
            chunk = log.read_chunk(offset, max_bytes, max_offset=max_offset, region_from=REGION_BYTES_MIN)
            assert isinstance(chunk, FileRegion) and chunk.is_whole
            assert chunk.read() == log.read(offset, max_bytes, max_offset=max_offset)
    log.abandon()


def test_small_reads_are_bytes(open_log: OpenLog) -> None:
    log = open_log()
    log.append_as_leader(batch(1_000), 0)
    assert log.read_chunk(0, 1 << 20, region_from=REGION_BYTES_MIN) == log.read(0, 1 << 20)
    assert log.read_chunk(0, 0, min_one=False, region_from=REGION_BYTES_MIN) == b""
    log.abandon()


def test_a_region_outlives_its_descriptors_owner(tmp_path: Path) -> None:
    storage = FileStorage(open_files_max=1)
    first, second = storage.open(str(tmp_path / "1.log")), storage.open(str(tmp_path / "2.log"))
    first.append(b"", b"a" * 50_000)
    region = first.region(0, 50_000)
    assert isinstance(region, FileRegion)
    fd = region.fd
    # The storage takes the descriptor away to make room; it is closed when the region is gone, not before.
    second.append(b"", b"b")
    assert region.read() == b"a" * 50_000
    if sys.platform != "win32":
        (tmp_path / "1.log").unlink()
        assert region.read() == b"a" * 50_000
    del region
    with pytest.raises(OSError, match=r"[Bb]ad file descriptor"):
        os.fstat(fd)
    storage.close()


def test_a_cut_within_a_region_is_noticed_whoever_holds_the_file_open(tmp_path: Path) -> None:
    storage = FileStorage(open_files_max=1)
    file, other = storage.open(str(tmp_path / "1.log")), storage.open(str(tmp_path / "2.log"))
    file.append(b"", b"a" * 50_000)
    region = file.region(10_000, 20_000)
    assert isinstance(region, FileRegion)
    other.append(b"", b"b")
    file.truncate(30_000)
    assert region.is_whole
    file.truncate(29_999)
    file.append(b"", b"c" * 20_000)
    assert not region.is_whole
    with pytest.raises(OSError, match="cut to 29999 bytes"):
        region.read()
    later = file.region(10_000, 20_000)
    assert isinstance(later, FileRegion) and later.is_whole and later.read() == b"a" * 19_999 + b"c"
    storage.close()


def test_a_truncated_log_gives_up_regions_above_the_cut_and_keeps_those_below(open_log: OpenLog) -> None:
    log = open_log()
    for number in range(4):
        log.append_as_leader(batch(20_000, b"%d" % number), 0)
    below, above = region_of(log, 0, max_offset=2), region_of(log, 1)
    before = below.read()
    log.truncate_to(2)
    log.append_as_leader(batch(20_000, b"z"), 1)
    assert below.is_whole and below.read() == before
    assert not above.is_whole
    log.abandon()


def test_regions_of_deleted_segments_stay(open_log: OpenLog) -> None:
    log = open_log(segment_bytes=1 << 20, file_delete_delay_ms=0)
    for _ in range(100):
        log.append_as_leader(batch(30_000), 0)
    region = region_of(log, 0)
    before = region.read()
    log.truncate_fully_and_start_at(500)
    log.append_as_leader(batch(30_000, b"n"), 1)
    assert region.is_whole and region.read() == before
    log.abandon()
