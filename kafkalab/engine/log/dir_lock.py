"""The lock that keeps two processes, or two nodes of one, out of the same folder.

The lock is the system's and ends with its holder, however that ends; the file stays and says who
the holder is.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

LOCK_FILE: Final = ".lock"

# Windows locks ranges of bytes, and nobody reads a locked one: far behind the holder's pid.
_WINDOWS_LOCK_POSITION: Final = 1 << 20

if sys.platform == "win32":
    import msvcrt

    def _try_lock(fd: int) -> bool:
        os.lseek(fd, _WINDOWS_LOCK_POSITION, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(fd: int) -> None:
        os.lseek(fd, _WINDOWS_LOCK_POSITION, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)


class DirLocked(Exception):
    """Somebody else has the folder; ``pid`` is 0 where the file does not say who."""

    def __init__(self, directory: Path, pid: int) -> None:
        super().__init__(f"{directory} is in use by {f'process {pid}' if pid else 'another process'}")
        self.directory = directory
        self.pid = pid


class DirLock:
    """Held from its making to :meth:`release`.

    :raises DirLocked: when somebody else holds it.
    :raises OSError: when the folder cannot be written to.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / LOCK_FILE
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        if not _try_lock(self._fd):
            os.lseek(self._fd, 0, os.SEEK_SET)
            holder = os.read(self._fd, 32).strip()
            os.close(self._fd)
            self._fd = -1
            raise DirLocked(directory, int(holder) if holder.isdigit() else 0)
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.write(self._fd, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let somebody else have the folder; doing so twice does nothing."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            _unlock(self._fd)
            os.close(self._fd)
            self._fd = -1
