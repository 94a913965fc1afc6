"""A machine's disks in memory: what was written, and what of it was synced.

A kill loses nothing, for the system goes on. A power cut (:meth:`MemoryStorage.lose_unsynced`) leaves
of each file what was synced and a part of what was not, perhaps with zeros where bytes were promised;
names that were not synced with their directory may be gone. Cuts, renames and removals stay, as on
the journaling file systems that brokers run on. What survives a kill is not synced by that: a later
power cut still takes it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Final

from kafkalab.engine.faults.disk import DiskFault, DiskFaults, disk_full
from kafkalab.engine.log.storage import Background, DataFile, Done, sync_now

DISK_BYTES: Final = 1 << 40
GARBAGE_PROBABILITY: Final = 0.2
"""With a torn tail: that what reached the disk of it is its length, and zeros."""


class _Inode:
    """A file's content."""

    __slots__ = ("before", "content", "is_name_synced", "modified_ms", "synced")

    def __init__(self, modified_ms: int) -> None:
        self.content = bytearray()
        self.synced = 0
        """So many bytes from the start are on the disk."""
        self.is_name_synced = False
        self.before: bytes | None = None
        """What a replacement that was not synced took the place of."""
        self.modified_ms = modified_ms


class MemoryFile:
    """A data file. Like a descriptor it keeps its content when the name goes away."""

    __slots__ = ("_inode", "_path", "_storage")

    def __init__(self, storage: MemoryStorage, path: str) -> None:
        self._storage = storage
        self._path = path
        self._inode: _Inode | None = None

    def _for_change(self) -> _Inode:
        inode = self._inode
        if inode is None:
            inode = self._inode = self._storage.inode(self._path, create=True)
        return inode

    def append(self, head: bytes, body: bytes | memoryview) -> None:
        storage = self._storage
        inode = self._inode or self._for_change()
        if storage.faults.active:
            size = len(head) + len(body)
            taken = storage.faults.take(self._path, size)
            if taken < size:
                inode.content += (head + bytes(body))[:taken]
                raise disk_full(self._path)
        content = inode.content
        content += head
        content += body
        inode.modified_ms = storage.wall_ms()

    def read(self, position: int, size: int) -> bytes:
        if self._storage.faults.active:
            self._storage.faults.check_read(self._path)
        inode = self._inode
        if inode is None:
            inode = self._inode = self._storage.inode(self._path, create=False)
        return bytes(memoryview(inode.content)[position : position + size])

    def region(self, position: int, size: int) -> bytes:
        return self.read(position, size)

    def truncate(self, size: int) -> None:
        self._storage.check_change(self._path)
        inode = self._for_change()
        del inode.content[size:]
        if len(inode.content) < size:
            inode.content += bytes(size - len(inode.content))
        inode.synced = min(inode.synced, size)
        inode.modified_ms = self._storage.wall_ms()

    def reserve(self, size: int) -> None:
        self._storage.check_change(self._path)

    def sync(self) -> None:
        self._storage.check_change(self._path)
        inode = self._for_change()
        inode.synced = len(inode.content)

    def size(self) -> int:
        inode = self._inode or self._storage.files.get(self._path)
        return 0 if inode is None else len(inode.content)

    def close(self) -> None:
        self._inode = None

    def moved(self, path: str) -> None:
        self._path = path


class MemoryStorage:
    """One machine's files; it outlives the lives of its node.

    :param wall_ms: the machine's wall clock.
    """

    def __init__(self, rng: Random, wall_ms: Callable[[], int]) -> None:
        self.wall_ms = wall_ms
        self.faults = DiskFaults()
        self.files: dict[str, _Inode] = {}
        self.background: Background | None = None
        """How the present life has things done beside its loop; None does them at once."""
        self._rng = rng
        self._directories: dict[str, bool] = {os.sep: True}
        """By name: whether the name is on the disk."""

    # --- faults ----------------------------------------------------------------------------------------

    def set_faults(self, faults: Iterable[DiskFault]) -> None:
        """From now on these faults and no others."""
        self.faults.set(faults)

    def check_change(self, path: str | Path) -> None:
        """
        :raises OSError: when nothing can be changed there.
        """
        if self.faults.active:
            self.faults.check_change(path)

    def _check_read(self, path: str | Path) -> None:
        if self.faults.active:
            self.faults.check_read(path)

    # --- files -----------------------------------------------------------------------------------------

    def inode(self, path: str, *, create: bool) -> _Inode:
        """The content behind a name.

        :raises OSError: when it is not there.
        """
        inode = self.files.get(path)
        if inode is None:
            if not create or os.path.dirname(path) not in self._directories:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            self.check_change(path)
            inode = self.files[path] = _Inode(self.wall_ms())
        return inode

    def open(self, path: str) -> MemoryFile:
        return MemoryFile(self, path)

    def exists(self, path: Path) -> bool:
        self._check_read(path)
        name = str(path)
        return name in self.files or name in self._directories

    def is_dir(self, path: Path) -> bool:
        self._check_read(path)
        return str(path) in self._directories

    def list_dir(self, path: Path) -> list[str]:
        self._check_read(path)
        name = str(path)
        if name not in self._directories:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        prefix = f"{name}{os.sep}"
        start = len(prefix)
        return [one[start:] for one in (*self.files, *self._directories) if one.startswith(prefix) and os.sep not in one[start:]]

    def make_dirs(self, path: Path) -> None:
        self._check_read(path)
        for one in reversed((path, *path.parents)):
            if str(one) not in self._directories:
                self.check_change(path)
                if self.faults.left(path) == 0:
                    raise disk_full(path)
                self._directories[str(one)] = False

    def size(self, path: Path) -> int:
        self._check_read(path)
        return len(self.inode(str(path), create=False).content)

    def read(self, path: Path) -> bytes:
        self._check_read(path)
        return bytes(self.inode(str(path), create=False).content)

    def replace(self, path: Path, content: bytes, *, sync: bool = True) -> None:
        name = str(path)
        if self.faults.active:
            taken = self.faults.take(path, len(content))
            if taken < len(content):
                raise disk_full(path)
        old = self.files.get(name)
        new = _Inode(self.wall_ms())
        if os.path.dirname(name) not in self._directories:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        new.content += content
        self.files[name] = new
        if sync:
            new.synced = len(content)
            self._sync_names(os.path.dirname(name))
        elif old is not None:
            new.is_name_synced = old.is_name_synced
            # Of an old file that was itself not synced, the last one that was.
            new.before = old.before if old.before is not None else bytes(old.content[: old.synced])

    def rename(self, old: Path, new: Path) -> None:
        self.check_change(old)
        self.check_change(new)
        was, name = str(old), str(new)
        if was in self.files:
            self.files[name] = self.files.pop(was)
            return
        if was not in self._directories:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), was)
        prefix = f"{was}{os.sep}"
        for one in [one for one in self.files if one.startswith(prefix)]:
            self.files[f"{name}{os.sep}{one[len(prefix) :]}"] = self.files.pop(one)
        for one in [one for one in self._directories if one == was or one.startswith(prefix)]:
            self._directories[name + one[len(was) :]] = self._directories.pop(one)

    def modified_ms(self, path: Path) -> int:
        self._check_read(path)
        return self.inode(str(path), create=False).modified_ms

    def set_modified_ms(self, path: Path, modified_ms: int) -> None:
        self.check_change(path)
        self.inode(str(path), create=False).modified_ms = modified_ms

    def remove(self, path: Path) -> None:
        self.check_change(path)
        self.files.pop(str(path), None)

    def remove_tree(self, path: Path) -> None:
        self.check_change(path)
        name = str(path)
        if name not in self._directories:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        prefix = f"{name}{os.sep}"
        for one in [one for one in self.files if one.startswith(prefix)]:
            del self.files[one]
        for one in [one for one in self._directories if one == name or one.startswith(prefix)]:
            del self._directories[one]

    def sync_dir(self, path: Path) -> None:
        self._check_read(path)
        self._sync_names(str(path))

    def _sync_names(self, directory: str) -> None:
        self._note_names_synced(*self._unsynced_names(directory))

    def _unsynced_names(self, directory: str) -> tuple[list[_Inode], list[str]]:
        """The files and directories in there whose names a power cut would take."""
        prefix = directory if directory.endswith(os.sep) else f"{directory}{os.sep}"
        start = len(prefix)
        inodes = [
            inode
            for name, inode in self.files.items()
            if not inode.is_name_synced and name.startswith(prefix) and os.sep not in name[start:]
        ]
        directories = [
            name
            for name, is_synced in self._directories.items()
            if not is_synced and name.startswith(prefix) and os.sep not in name[start:]
        ]
        return inodes, directories

    def _note_names_synced(self, inodes: Iterable[_Inode], directories: Iterable[str]) -> None:
        for inode in inodes:
            inode.is_name_synced = True
        for name in directories:
            # What was removed meanwhile does not come back.
            if name in self._directories:
                self._directories[name] = True

    def sync_later(self, file: DataFile, done: Done) -> None:
        assert isinstance(file, MemoryFile), "a storage syncs its own files"
        if self.background is None:
            sync_now(file.sync, done)
            return
        try:
            inode = file._for_change()
        except OSError as error:
            done(error)
            return
        size = len(inode.content)

        def work() -> None:
            # What was cut meanwhile is not there to be synced.
            if inode.synced < size <= len(inode.content):
                inode.synced = size

        self.background(work, done)

    def sync_dir_later(self, path: Path, done: Done) -> None:
        try:
            self._check_read(path)
        except OSError as error:
            done(error)
            return
        inodes, directories = self._unsynced_names(str(path))

        def work() -> None:
            self._note_names_synced(inodes, directories)

        if self.background is None:
            work()
            done(None)
        else:
            self.background(work, done)

    def space(self, path: Path) -> tuple[int, int]:
        self._check_read(path)
        left = self.faults.left(path)
        return DISK_BYTES, DISK_BYTES // 2 if left is None else left

    def close(self) -> None:
        """Nothing is kept open here."""

    def sync_everything(self) -> None:
        """As a machine does that is shut down in order."""
        for inode in self.files.values():
            inode.synced = len(inode.content)
            inode.is_name_synced = True
            inode.before = None
        for name in self._directories:
            self._directories[name] = True

    # --- what is on the disk ---------------------------------------------------------------------------

    @property
    def unsynced_bytes(self) -> int:
        """What a power cut may take."""
        return sum(len(inode.content) - inode.synced for inode in self.files.values())

    def lose_unsynced(self, torn_tail_bytes: int | None = 0) -> None:
        """The power is gone.

        :param torn_tail_bytes: so many of the bytes that were not synced reached the disk all the same, in each file;
            None leaves that to chance, file by file.
        """
        rng = self._rng
        for name, inode in list(self.files.items()):
            if inode.before is not None:
                if torn_tail_bytes is not None or rng.random() < 0.5:
                    inode.content[:] = inode.before
                inode.before = None
                inode.synced = len(inode.content)
            unsynced = len(inode.content) - inode.synced
            if unsynced > 0:
                kept = min(unsynced, torn_tail_bytes) if torn_tail_bytes is not None else self._kept(unsynced)
                del inode.content[inode.synced + kept :]
                if kept and torn_tail_bytes is None and rng.random() < GARBAGE_PROBABILITY:
                    # Pages reach the disk in any order: what is after a hole may be right.
                    hole = rng.randint(1, kept)
                    at = inode.synced + rng.randint(0, kept - hole)
                    inode.content[at : at + hole] = bytes(hole)
            inode.synced = len(inode.content)
            if not inode.is_name_synced and self._is_name_lost(torn_tail_bytes):
                del self.files[name]
            inode.is_name_synced = True
        for name in [name for name, is_synced in self._directories.items() if not is_synced]:
            if self._is_name_lost(torn_tail_bytes):
                self._lose_directory(name)
            elif name in self._directories:
                self._directories[name] = True

    def _kept(self, unsynced: int) -> int:
        return 0 if self._rng.random() < 0.5 else self._rng.randint(0, unsynced)

    def _is_name_lost(self, torn_tail_bytes: int | None) -> bool:
        return torn_tail_bytes == 0 or (torn_tail_bytes is None and self._rng.random() < 0.5)

    def _lose_directory(self, name: str) -> None:
        prefix = f"{name}{os.sep}"
        for one in [one for one in self.files if one.startswith(prefix)]:
            del self.files[one]
        for one in [one for one in self._directories if one == name or one.startswith(prefix)]:
            del self._directories[one]
