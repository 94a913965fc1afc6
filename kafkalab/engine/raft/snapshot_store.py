"""The snapshots of the metadata log on the disk of one node.

A snapshot is the whole state up to an offset, in a file beside the log's segments that is named
after that offset and the epoch of the record before it, as Kafka names it. While it is being
written the name ends in ``.part``; it gets its name when every byte is on the disk, so that what
bears the name is whole, unless the disk itself fails.
"""

from __future__ import annotations

import contextlib
import logging
import re
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kafkalab.engine.log.storage import DataFile, Storage, StorageError

log = logging.getLogger(__name__)

SNAPSHOT_SUFFIX: Final = ".checkpoint"
PART_SUFFIX: Final = ".part"
DELETED_SUFFIX: Final = ".deleted"
CORRUPT_SUFFIX: Final = ".corrupt"
_NAME: Final = re.compile(r"(\d{20})-(\d{10})\.checkpoint(\.part|\.deleted)?")


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class SnapshotId:
    """What a snapshot contains: everything before ``end_offset``, of which the last was written in ``epoch``."""

    epoch: int
    end_offset: int

    @property
    def is_bootstrap(self) -> bool:
        """The one that formatting leaves: it says who the first voters are, and nothing of the log."""
        return self.end_offset == 0 and self.epoch == 0

    @property
    def file_name(self) -> str:
        return f"{self.end_offset:020d}-{self.epoch:010d}{SNAPSHOT_SUFFIX}"

    def __str__(self) -> str:
        return f"{self.end_offset:020d}-{self.epoch:010d}"


def parse_snapshot_name(name: str) -> tuple[SnapshotId, str] | None:
    """The id in a file's name and what follows ``.checkpoint``; None for any other file."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return SnapshotId(end_offset=int(match[1]), epoch=int(match[2])), match[3] or ""


class SnapshotFile:
    """A snapshot that is being written, or fetched. It counts once :meth:`freeze` is through."""

    def __init__(self, store: SnapshotStore, storage: Storage, path: Path, snapshot_id: SnapshotId) -> None:
        self.snapshot_id: Final = snapshot_id
        self.size_bytes = 0
        self._store = store
        self._storage = storage
        self._path = path
        self.part: Final = path.with_name(path.name + PART_SUFFIX)
        """Where it lies meanwhile."""
        storage.remove(self.part)
        self._file = storage.open(str(self.part))
        self._is_open = True

    @property
    def is_open(self) -> bool:
        """Whether it can still become a snapshot that counts, and does not yet."""
        return self._is_open

    def read(self, position: int, size: int) -> bytes:
        """Some of what was written; fewer bytes at its end.

        :raises OSError: as the disk gives it.
        """
        return self._file.read(position, size)

    def append(self, data: bytes | memoryview) -> None:
        """Write more.

        :raises OSError: as the disk gives it.
        """
        assert self._is_open, f"snapshot {self.snapshot_id} is complete"
        self._file.append(b"", data)
        self.size_bytes += len(data)

    def freeze(self, done: Callable[[OSError | None], None]) -> None:
        """Nothing more comes: bring it to the disk, beside whatever else there is to do, and give it its name.

        ``done`` is told when it counts, or why it does not; perhaps at once.
        """
        assert self._is_open, f"snapshot {self.snapshot_id} is complete"

        def synced(error: OSError | None) -> None:
            if not self._is_open:
                return
            if error is None:
                try:
                    self._close()
                    self._storage.rename(self.part, self._path)
                    self._storage.sync_dir(self._path.parent)
                except OSError as failure:
                    error = failure
                else:
                    self._store.add(self.snapshot_id)
            done(error)

        self._storage.sync_later(self._file, synced)

    def discard(self) -> None:
        """It will not be completed."""
        if self._is_open:
            # Where the disk is gone, the next start removes it.
            with contextlib.suppress(OSError):
                self._close()
                self._storage.remove(self.part)

    def set_aside(self) -> Path:
        """It is corrupt: give it a name under which nobody looks for a snapshot; the new path.

        :raises OSError: as the disk gives it.
        """
        self._close()
        aside = self._path.with_name(self._path.name + CORRUPT_SUFFIX)
        self._storage.rename(self.part, aside)
        return aside

    def _close(self) -> None:
        self._is_open = False
        self._store.ended(self)
        self._file.close()


class SnapshotStore:
    """The whole snapshots in one directory, oldest first."""

    def __init__(self, storage: Storage, directory: Path) -> None:
        """Look at what is there, and remove what a stop left half written or half deleted.

        :raises StorageError: when the directory cannot be read.
        """
        self.directory: Final = directory
        self._storage = storage
        self._ids: list[SnapshotId] = []
        self._files: dict[SnapshotId, DataFile] = {}
        # Those that may yet come.
        self._unfinished: set[SnapshotFile] = set()
        try:
            for name in storage.list_dir(directory) if storage.is_dir(directory) else ():
                parsed = parse_snapshot_name(name)
                if parsed is None:
                    continue
                snapshot_id, suffix = parsed
                if suffix:
                    log.info("Removing %s, which was left half %s", directory / name, "written" if suffix == PART_SUFFIX else "deleted")
                    storage.remove(directory / name)
                else:
                    self._ids.append(snapshot_id)
        except OSError as error:
            raise StorageError(f"{directory}: {error.strerror or error}") from error
        self._ids.sort()

    @property
    def ids(self) -> tuple[SnapshotId, ...]:
        """All of them, oldest first."""
        return tuple(self._ids)

    @property
    def earliest(self) -> SnapshotId | None:
        return self._ids[0] if self._ids else None

    @property
    def latest(self) -> SnapshotId | None:
        return self._ids[-1] if self._ids else None

    def __contains__(self, snapshot_id: SnapshotId) -> bool:
        return snapshot_id in self._ids

    def path(self, snapshot_id: SnapshotId) -> Path:
        """Where it lies."""
        return self.directory / snapshot_id.file_name

    def create(self, snapshot_id: SnapshotId) -> SnapshotFile:
        """Begin to write one.

        :raises OSError: as the disk gives it.
        """
        file = SnapshotFile(self, self._storage, self.path(snapshot_id), snapshot_id)
        self._unfinished.add(file)
        return file

    def ended(self, file: SnapshotFile) -> None:
        """It has its name, or will never get it."""
        self._unfinished.discard(file)

    def add(self, snapshot_id: SnapshotId) -> None:
        """It is whole and has its name."""
        if snapshot_id not in self._ids:
            insort(self._ids, snapshot_id)

    def size_bytes(self, snapshot_id: SnapshotId) -> int:
        """How large it is."""
        return self._file(snapshot_id).size()

    def read(self, snapshot_id: SnapshotId, position: int, size: int) -> bytes:
        """Some of its bytes; fewer at its end.

        :raises OSError: as the disk gives it.
        """
        return self._file(snapshot_id).read(position, size)

    def _file(self, snapshot_id: SnapshotId) -> DataFile:
        file = self._files.get(snapshot_id)
        if file is None:
            file = self._files[snapshot_id] = self._storage.open(str(self.path(snapshot_id)))
        return file

    def remove_before(self, snapshot_id: SnapshotId) -> list[SnapshotId]:
        """Delete those that are older, and what would have become older ones; which of the former there were.

        :raises OSError: as the disk gives it.
        """
        for file in [file for file in self._unfinished if file.snapshot_id < snapshot_id]:
            file.discard()
        older = [one for one in self._ids if one < snapshot_id]
        for one in older:
            self._forget(one)
            self._storage.remove(self.path(one))
        return older

    def set_aside(self, snapshot_id: SnapshotId) -> Path:
        """It is corrupt: give it a name under which nobody looks for a snapshot; the new path.

        :raises OSError: as the disk gives it.
        """
        path = self.path(snapshot_id)
        self._forget(snapshot_id)
        aside = path.with_name(path.name + CORRUPT_SUFFIX)
        self._storage.rename(path, aside)
        return aside

    def _forget(self, snapshot_id: SnapshotId) -> None:
        self._ids.remove(snapshot_id)
        file = self._files.pop(snapshot_id, None)
        if file is not None:
            file.close()
