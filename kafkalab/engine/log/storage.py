"""Files as the log sees them: a seam behind which real disks and, later, simulated ones lie.

Data files only grow at their end or are cut; everything small is replaced as a whole. A write goes
to the page cache in one call, so that killing the process loses nothing that was written.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from kafkalab.engine.log.region import Descriptor, FileRegion
from kafkalab.engine.log.reserve import reserve_space

OPEN_FILES_MAX: Final = 256
"""Per node: a process may hold six nodes, and most systems start a process with 1024 files."""


class StorageError(Exception):
    """A file cannot be read, written or believed. The sentence names the file."""


Done = Callable[[OSError | None], None]
Background = Callable[[Callable[[], None], Done], None]
"""Runs work beside the node's loop and calls back in the loop; given by whoever has threads."""


class DataFile(Protocol):
    """A file that is appended to, read anywhere, and cut at its end."""

    def append(self, head: bytes, body: bytes | memoryview) -> None:
        """Write both at the end, in one call to the system."""

    def read(self, position: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``position``; fewer at the end."""

    def region(self, position: int, size: int) -> FileRegion | bytes:
        """These bytes, all of which are there, to be sent from where they lie; read now where a file cannot give them so."""

    def truncate(self, size: int) -> None: ...

    def reserve(self, size: int) -> None:
        """Keep space on the disk for that many bytes, as far as the system can; cutting the file gives the rest back."""

    def sync(self) -> None:
        """Return when everything written is on the disk."""

    def size(self) -> int: ...

    def close(self) -> None:
        """Let go of the file; a later use opens it again."""

    def moved(self, path: str) -> None:
        """The file goes by another name now."""


class Storage(Protocol):
    """A place with directories and files. Errors are OSError, as the system gives them."""

    def open(self, path: str) -> DataFile:
        """A data file; it is created with the first append."""

    def exists(self, path: Path) -> bool: ...

    def is_dir(self, path: Path) -> bool: ...

    def list_dir(self, path: Path) -> list[str]: ...

    def make_dirs(self, path: Path) -> None: ...

    def size(self, path: Path) -> int: ...

    def read(self, path: Path) -> bytes: ...

    def replace(self, path: Path, content: bytes, *, sync: bool = True) -> None:
        """Write the whole file so that a reader finds the old content or the new, never a part."""

    def rename(self, old: Path, new: Path) -> None: ...

    def modified_ms(self, path: Path) -> int:
        """When the file was last written to, by the wall clock."""

    def set_modified_ms(self, path: Path, modified_ms: int) -> None: ...

    def remove(self, path: Path) -> None:
        """Remove a file; nothing happens when it is not there."""

    def remove_tree(self, path: Path) -> None: ...

    def sync_dir(self, path: Path) -> None:
        """Return when the names in a directory are on the disk: what was created, renamed or removed there."""

    def sync_later(self, file: DataFile, done: Done) -> None:
        """Sync a file without holding up whoever asks; ``done`` may be called at once."""

    def sync_dir_later(self, path: Path, done: Done) -> None:
        """As :meth:`sync_dir`, of the names as they are now, without holding up whoever asks; ``done`` may be called at once."""

    def space(self, path: Path) -> tuple[int, int]:
        """The bytes of the disk on which a directory lies, and how many of them can still be written."""

    def close(self) -> None:
        """Close every open file."""


_HAS_WRITEV: Final = hasattr(os, "writev")
_HAS_PREAD: Final = hasattr(os, "pread")
_OPEN_FLAGS: Final = os.O_RDWR | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class OpenableFile:
    """A data file on a real disk. Its descriptor is opened when needed and may be taken away meanwhile."""

    __slots__ = ("_cuts", "_descriptor", "_fd", "_path", "_storage", "recently_used")

    def __init__(self, storage: FileStorage, path: str) -> None:
        self._storage = storage
        self._path = path
        # The descriptor belongs to an object, because regions that are on their way share it.
        self._descriptor: Descriptor | None = None
        self._fd = -1
        self._cuts: list[int] = []
        self.recently_used = False

    def append(self, head: bytes, body: bytes | memoryview) -> None:
        fd = self._fd
        if fd < 0:
            self._append_closed(head, body)
            return
        self.recently_used = True
        total = len(head) + len(body)
        written = os.writev(fd, (head, body)) if _HAS_WRITEV else os.write(fd, head + body)
        if written != total:
            # A full disk or a signal: what is left follows, or the system says why not.
            rest = memoryview(head + body)[written:]
            while rest:
                rest = rest[os.write(fd, rest) :]

    def read(self, position: int, size: int) -> bytes:
        fd = self._fd
        if fd < 0:
            fd = self._open(0)
        self.recently_used = True
        if _HAS_PREAD:
            return os.pread(fd, size, position)
        os.lseek(fd, position, os.SEEK_SET)
        return os.read(fd, size)

    def region(self, position: int, size: int) -> FileRegion | bytes:
        if self._fd < 0:
            self._open(0)
        self.recently_used = True
        assert self._descriptor is not None
        return FileRegion(self._descriptor, position, size, self._cuts)

    def truncate(self, size: int) -> None:
        # Said before it is done: a region must not be sent while it is half true.
        self._cuts.append(size)
        os.ftruncate(self._fd if self._fd >= 0 else self._open(os.O_CREAT), size)

    def reserve(self, size: int) -> None:
        reserve_space(self._fd if self._fd >= 0 else self._open(os.O_CREAT), size)

    def sync(self) -> None:
        fd = self._fd if self._fd >= 0 else self._open(os.O_CREAT)
        sync_data(fd)

    def size(self) -> int:
        try:
            return os.stat(self._path).st_size
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        if self._fd >= 0:
            self._fd = -1
            self._descriptor = None
            self._storage.closed(self)

    def moved(self, path: str) -> None:
        self._path = path

    def take_away(self) -> None:
        """The storage closes the descriptor to make room for another."""
        self._fd = -1
        self._descriptor = None

    def duplicate(self) -> int:
        """A descriptor of the caller's own."""
        return os.dup(self._fd if self._fd >= 0 else self._open(os.O_CREAT))

    def _append_closed(self, head: bytes, body: bytes | memoryview) -> None:
        self._open(os.O_CREAT)
        self.append(head, body)

    def _open(self, flags: int) -> int:
        self._storage.make_room()
        self._fd = os.open(self._path, _OPEN_FLAGS | flags, 0o644)
        self._descriptor = Descriptor(self._fd)
        self._storage.opened(self)
        return self._fd


class FileStorage:
    """Real directories and files. At most ``open_files_max`` data files are open at a time.

    Without ``background`` nothing is put off: :meth:`sync_later` and :meth:`sync_dir_later` sync at once.
    """

    def __init__(self, *, open_files_max: int = OPEN_FILES_MAX, background: Background | None = None) -> None:
        assert open_files_max > 0, "one file at least must be open to be written"
        self._background = background
        self._open_files_max = open_files_max
        # In the order in which they were opened; a used one gets a second chance.
        self._open_files: deque[OpenableFile] = deque()

    def open(self, path: str) -> DataFile:
        return OpenableFile(self, path)

    def exists(self, path: Path) -> bool:
        return os.path.exists(path)

    def is_dir(self, path: Path) -> bool:
        return os.path.isdir(path)

    def list_dir(self, path: Path) -> list[str]:
        return os.listdir(path)

    def make_dirs(self, path: Path) -> None:
        if not os.path.isdir(path):
            path.mkdir(parents=True, exist_ok=True)

    def size(self, path: Path) -> int:
        return os.stat(path).st_size

    def read(self, path: Path) -> bytes:
        # Thousands of small files are read at a start: neither a buffer nor a path's own way is worth its time.
        with open(path, "rb", buffering=0) as file:
            return file.readall()

    def replace(self, path: Path, content: bytes, *, sync: bool = True) -> None:
        temporary = f"{path}.tmp"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o644)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(fd, rest) :]
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
        if sync:
            sync_directory(path.parent)

    def rename(self, old: Path, new: Path) -> None:
        os.replace(old, new)

    def modified_ms(self, path: Path) -> int:
        return os.stat(path).st_mtime_ns // 1_000_000

    def set_modified_ms(self, path: Path, modified_ms: int) -> None:
        os.utime(path, ns=(modified_ms * 1_000_000, modified_ms * 1_000_000))

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def remove_tree(self, path: Path) -> None:
        shutil.rmtree(path)

    def sync_dir(self, path: Path) -> None:
        sync_directory(path)

    def sync_later(self, file: DataFile, done: Done) -> None:
        if self._background is None or not isinstance(file, OpenableFile):
            sync_now(file.sync, done)
            return
        try:
            # Of its own: the file may be closed to make room before its turn comes.
            fd = file.duplicate()
        except OSError as error:
            done(error)
            return

        self._sync_beside(sync_data, fd, done)

    def sync_dir_later(self, path: Path, done: Done) -> None:
        if self._background is None or sys.platform == "win32":
            sync_now(partial(sync_directory, path), done)
            return
        try:
            # Opened now: the directory may have another name before its turn comes.
            fd = os.open(path, os.O_RDONLY)
        except OSError as error:
            done(error)
            return
        self._sync_beside(os.fsync, fd, done)

    def _sync_beside(self, sync: Callable[[int], None], fd: int, done: Done) -> None:
        """Sync what a descriptor of our own stands for, and close it."""
        assert self._background is not None, "somebody works beside the loop"

        def work() -> None:
            try:
                sync(fd)
            finally:
                os.close(fd)

        self._background(work, done)

    def space(self, path: Path) -> tuple[int, int]:
        usage = shutil.disk_usage(path)
        return usage.total, usage.free

    def close(self) -> None:
        while self._open_files:
            self._open_files.popleft().take_away()

    def make_room(self) -> None:
        """Close the least recently used file when as many are open as may be."""
        while len(self._open_files) >= self._open_files_max:
            candidate = self._open_files.popleft()
            if candidate.recently_used:
                candidate.recently_used = False
                self._open_files.append(candidate)
            else:
                candidate.take_away()

    def opened(self, file: OpenableFile) -> None:
        self._open_files.append(file)

    def closed(self, file: OpenableFile) -> None:
        with contextlib.suppress(ValueError):
            self._open_files.remove(file)


def sync_now(sync: Callable[[], None], done: Done) -> None:
    """Where nobody works beside the loop: sync, and tell what came of it."""
    try:
        sync()
    except OSError as error:
        done(error)
    else:
        done(None)


def sync_data(fd: int) -> None:
    """Flush a file's bytes and its size; macOS has no fdatasync."""
    if hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)


def sync_directory(path: Path) -> None:
    """Make a rename durable; Windows neither needs nor knows this."""
    if sys.platform != "win32":
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
