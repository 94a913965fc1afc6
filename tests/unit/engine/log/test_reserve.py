"""``preallocate``: space is kept for the segment that grows, and its file has no more than its records."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kafkalab.engine.log import reserve as reserve_module
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.reserve import reserve_space
from kafkalab.engine.record.batch import Record, build_batch

OpenLog = Callable[..., Log]
MIB = 1 << 20


@pytest.fixture
def can_reserve(tmp_path: Path) -> bool:
    fd = os.open(tmp_path / "probe", os.O_RDWR | os.O_CREAT)
    try:
        return reserve_space(fd, 4096)
    finally:
        os.close(fd)


def blocks(path: Path) -> int:
    return path.stat().st_blocks * 512 if sys.platform != "win32" else 0


@pytest.mark.parametrize("stop", ["close", "abandon"])
def test_a_segment_keeps_space_until_it_is_sealed(open_log: OpenLog, can_reserve: bool, stop: str) -> None:
    log = open_log(segment_bytes=4 * MIB, preallocate=True)
    first = log.directory / "00000000000000000000.log"
    log.append_as_leader(build_batch([Record(0, 1, None, b"x" * 1_000)]), 0)
    size = first.stat().st_size
    assert size == log.size_bytes < 2_000
    assert (blocks(first) >= 4 * MIB) == can_reserve
    log.roll()
    assert first.stat().st_size == size and blocks(first) < MIB
    second = log.directory / "00000000000000000001.log"
    assert second.stat().st_size == 0 and (blocks(second) >= 4 * MIB) == can_reserve
    log.append_as_leader(build_batch([Record(0, 1, None, b"y" * 1_000)]), 0)
    getattr(log, stop)()
    log = open_log(clean=stop == "close", segment_bytes=4 * MIB)
    assert (log.log_end_offset, log.recovered_cut_bytes) == (2, 0)
    assert second.stat().st_size == size
    log.abandon()


def test_systems_that_cannot_do_without(open_log: OpenLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve_module, "_fallocate", lambda: None)
    log = open_log(preallocate=True)
    log.append_as_leader(build_batch([Record(0, 1, None, b"x")]), 0)
    log.close()


@pytest.mark.parametrize(("code", "raised"), [(errno.ENOSPC, True), (errno.EOPNOTSUPP, False)])
def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch, code: int, raised: bool) -> None:
    def fallocate(*_: int) -> int:
        reserve_module.ctypes.set_errno(code)
        return -1

    monkeypatch.setattr(reserve_module, "_fallocate", lambda: fallocate)
    if raised:
        with pytest.raises(OSError) as failure:
            reserve_space(1, 10)
        assert failure.value.errno == code
    else:
        assert not reserve_space(1, 10)
