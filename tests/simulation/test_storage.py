"""Disks in memory: what a power cut takes, and what the system says of broken ones."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from random import Random

import pytest

from kafkalab.engine.faults.disk import DiskFault, DiskFaultKind
from kafkalab.engine.simulation.storage import MemoryStorage

ROOT = Path(f"{os.sep}data")


@pytest.fixture
def storage() -> MemoryStorage:
    storage = MemoryStorage(Random(1), lambda: 1_000)
    storage.make_dirs(ROOT)
    storage.sync_dir(ROOT.parent)
    return storage


def test_a_power_cut_leaves_what_was_synced(storage: MemoryStorage) -> None:
    file = storage.open(str(ROOT / "log"))
    file.append(b"head", b"body")
    file.sync()
    storage.sync_dir(ROOT)
    file.append(b"", b"more")
    assert storage.read(ROOT / "log") == b"headbodymore"
    assert storage.unsynced_bytes == 4
    storage.lose_unsynced()
    assert storage.read(ROOT / "log") == b"headbody"
    file.append(b"x", b"yz")
    storage.lose_unsynced(torn_tail_bytes=2)
    assert storage.read(ROOT / "log") == b"headbodyxy"


def test_a_name_that_was_not_synced_is_gone_and_everything_below_it(storage: MemoryStorage) -> None:
    storage.make_dirs(ROOT / "t-0")
    file = storage.open(str(ROOT / "t-0" / "log"))
    file.append(b"a", b"b")
    file.sync()
    storage.sync_dir(ROOT / "t-0")
    storage.lose_unsynced()
    assert not storage.exists(ROOT / "t-0")
    assert not storage.exists(ROOT / "t-0" / "log")
    assert storage.list_dir(ROOT) == []


def test_a_replacement_is_there_or_not(storage: MemoryStorage) -> None:
    storage.replace(ROOT / "checkpoint", b"one")
    storage.replace(ROOT / "checkpoint", b"two", sync=False)
    storage.replace(ROOT / "checkpoint", b"three", sync=False)
    assert storage.read(ROOT / "checkpoint") == b"three"
    storage.lose_unsynced()
    assert storage.read(ROOT / "checkpoint") == b"one"


def test_a_cut_takes_what_was_synced_with_it(storage: MemoryStorage) -> None:
    file = storage.open(str(ROOT / "log"))
    file.append(b"", b"0123456789")
    file.sync()
    storage.sync_dir(ROOT)
    file.truncate(4)
    file.append(b"", b"abcdef")
    storage.lose_unsynced()
    assert storage.read(ROOT / "log") == b"0123"


def test_renames_take_along_what_is_below(storage: MemoryStorage) -> None:
    storage.make_dirs(ROOT / "t-0")
    file = storage.open(str(ROOT / "t-0" / "log"))
    file.append(b"", b"x")
    storage.rename(ROOT / "t-0", ROOT / "t-0.deleted")
    file.moved(str(ROOT / "t-0.deleted" / "log"))
    assert storage.list_dir(ROOT) == ["t-0.deleted"]
    assert storage.read(ROOT / "t-0.deleted" / "log") == b"x"
    storage.remove_tree(ROOT / "t-0.deleted")
    assert file.read(0, 10) == b"x", "who has it open still reads it"
    with pytest.raises(FileNotFoundError):
        storage.read(ROOT / "t-0.deleted" / "log")


def test_a_torn_tail_by_chance_is_a_beginning_or_has_a_hole() -> None:
    seen: set[bytes] = set()
    for seed in range(300):
        storage = MemoryStorage(Random(seed), lambda: 0)
        storage.make_dirs(ROOT)
        storage.sync_dir(ROOT.parent)
        file = storage.open(str(ROOT / "log"))
        file.append(b"", b"abc")
        file.sync()
        storage.sync_dir(ROOT)
        file.append(b"", b"de")
        storage.lose_unsynced(None)
        seen.add(storage.read(ROOT / "log"))
    assert seen == {b"abc", b"abcd", b"abcde", b"abc\0", b"abc\0\0", b"abc\0e", b"abcd\0"}


def test_a_full_disk_takes_a_part(storage: MemoryStorage) -> None:
    storage.set_faults([DiskFault(DiskFaultKind.FULL, str(ROOT), 6)])
    file = storage.open(str(ROOT / "log"))
    with pytest.raises(OSError) as raised:
        file.append(b"0123", b"4567")
    assert raised.value.errno == errno.ENOSPC
    assert storage.read(ROOT / "log") == b"012345"
    storage.set_faults(())
    file.append(b"", b"!")
    assert storage.read(ROOT / "log") == b"012345!"


def test_a_broken_disk_neither_reads_nor_writes(storage: MemoryStorage) -> None:
    file = storage.open(str(ROOT / "log"))
    file.append(b"", b"x")
    storage.set_faults([DiskFault(DiskFaultKind.BROKEN, str(ROOT))])
    for action in (lambda: file.append(b"", b"x"), lambda: file.read(0, 1), lambda: file.sync(), lambda: storage.list_dir(ROOT)):
        with pytest.raises(OSError) as raised:
            action()
        assert raised.value.errno == errno.EIO


def test_a_sync_beside_the_loop_counts_when_it_is_done(storage: MemoryStorage) -> None:
    waiting = []
    storage.background = lambda work, done: waiting.append((work, done))
    file = storage.open(str(ROOT / "log"))
    file.append(b"", b"abc")
    told: list[OSError | None] = []
    storage.sync_later(file, told.append)
    file.append(b"", b"later")
    assert storage.unsynced_bytes == 8 and told == []
    work, done = waiting.pop()
    work()
    done(None)
    assert storage.unsynced_bytes == 5 and told == [None]


def test_names_that_are_synced_beside_the_loop_are_those_that_were_there(storage: MemoryStorage) -> None:
    waiting = []
    storage.background = lambda work, done: waiting.append((work, done))
    told: list[OSError | None] = []
    for name in ("early", "late", "lost"):
        if name == "late":
            storage.make_dirs(ROOT / "t-0")
            storage.sync_dir_later(ROOT, told.append)
        elif name == "lost":
            work, done = waiting.pop()
            assert told == []
            work()
            done(None)
        file = storage.open(str(ROOT / name))
        file.append(b"", b"x")
        file.sync()
    assert told == [None] and not waiting
    storage.lose_unsynced(0)
    assert sorted(storage.list_dir(ROOT)) == ["early", "t-0"]
    storage.set_faults([DiskFault(DiskFaultKind.BROKEN, str(ROOT))])
    storage.sync_dir_later(ROOT, told.append)
    assert isinstance(told[1], OSError) and not waiting
