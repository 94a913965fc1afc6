"""Broken disks on purpose: what is wrong with which directory, and what the system would say of it.

Only the rules are here. Whoever reads and writes files asks them before each step
(:mod:`kafkalab.engine.log.faulty_storage`), so that the errors come from where real ones come.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class DiskFaultKind(StrEnum):
    """What is wrong with a disk."""

    FULL = "full"
    """What is there can be read and removed; nothing more can be written."""
    BROKEN = "broken"
    """Every read and every write fails."""
    READ_ONLY = "read_only"
    """The system has remounted it after an error: reading goes on."""
    VANISHED = "vanished"
    """It is not there any more."""


@dataclass(frozen=True, slots=True)
class DiskFault:
    """One directory's fault; it holds for everything below."""

    kind: DiskFaultKind
    directory: str
    free_bytes: int = 0
    """With a full disk: what can still be written before it is full."""


class DiskFaults:
    """The faults of one node's disks. While there are none, nobody has to ask."""

    def __init__(self, faults: Iterable[DiskFault] = ()) -> None:
        self._faults: list[tuple[str, DiskFault]] = []
        self._left: dict[DiskFault, int] = {}
        self.set(faults)

    @property
    def active(self) -> bool:
        """Whether anything is wrong anywhere."""
        return bool(self._faults)

    def set(self, faults: Iterable[DiskFault]) -> None:
        """From now on these faults and no others."""
        left, self._left = self._left, {}
        self._faults = []
        for fault in faults:
            self._faults.append((f"{fault.directory.rstrip(os.sep)}{os.sep}", fault))
            # A fault that stays goes on where it was.
            self._left[fault] = left.get(fault, fault.free_bytes)

    def _of(self, path: str | Path) -> DiskFault | None:
        if not self._faults:
            return None
        text = f"{path}{os.sep}"
        return next((fault for prefix, fault in self._faults if text.startswith(prefix)), None)

    def affects(self, path: str | Path) -> bool:
        """Whether anything is wrong where this path lies."""
        return self._of(path) is not None

    def check_read(self, path: str | Path) -> None:
        """
        :raises OSError: when nothing can be read there.
        """
        fault = self._of(path)
        if fault is not None and fault.kind is DiskFaultKind.BROKEN:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        if fault is not None and fault.kind is DiskFaultKind.VANISHED:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))

    def check_change(self, path: str | Path) -> None:
        """For what changes a file without taking space: cuts, renames, removals.

        :raises OSError: when nothing can be changed there.
        """
        self.check_read(path)
        fault = self._of(path)
        if fault is not None and fault.kind is DiskFaultKind.READ_ONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def take(self, path: str | Path, size: int) -> int:
        """How many of so many bytes can be written; the space is taken by asking. Fewer is a full disk.

        :raises OSError: when nothing can be changed there.
        """
        self.check_change(path)
        fault = self._of(path)
        if fault is None or fault.kind is not DiskFaultKind.FULL:
            return size
        taken = min(size, self._left[fault])
        self._left[fault] -= taken
        return taken

    def left(self, path: str | Path) -> int | None:
        """The free bytes of a disk that is to be full; None where the real disk's count."""
        fault = self._of(path)
        return self._left[fault] if fault is not None and fault.kind is DiskFaultKind.FULL else None


def disk_full(path: str | Path) -> OSError:
    """What the system says when there is no space."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
