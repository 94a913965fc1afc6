"""Real files on disks that can be made to fail, and a power that can be cut.

While nothing is wrong an append or a read costs what it costs on a :class:`FileStorage`. When a
fault is set every descriptor is taken away, and a file in a place with a fault is opened anew for
each step, so that each step is asked about.

A power cut (:meth:`FaultyStorage.lose_unsynced`) throws away what no sync had reached: bytes behind
the last sync of a file, files and directories whose names were not synced with their directory,
replacements of small files that were not synced. What a file held when this process first opened it
counts as synced, and so do cuts, renames and removals, which a journaling file system keeps in order.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from itertools import chain, takewhile
from pathlib import Path

from kafkalab.engine.faults.disk import DiskFault, DiskFaults, disk_full
from kafkalab.engine.log.storage import OPEN_FILES_MAX, Background, DataFile, Done, FileStorage, OpenableFile


class FaultyFile(OpenableFile):
    """A data file that asks before it is opened, and remembers how much of it was synced."""

    __slots__ = ("_faulty",)

    def __init__(self, storage: FaultyStorage, path: str) -> None:
        super().__init__(storage, path)
        self._faulty = storage

    def _append_closed(self, head: bytes, body: bytes | memoryview) -> None:
        faulty = self._faulty
        if not faulty.faults.affects(self._path):
            super()._append_closed(head, body)
            return
        data = head + body
        taken = faulty.faults.take(self._path, len(data))
        fd = self._open(os.O_CREAT)
        os.write(fd, data[:taken])
        if taken < len(data):
            raise disk_full(self._path)

    def _open(self, flags: int) -> int:
        faulty = self._faulty
        if flags & os.O_CREAT:
            faulty.faults.check_change(self._path)
        else:
            faulty.faults.check_read(self._path)
        faulty.note_opened(self._path)
        fd = super()._open(flags)
        if faulty.faults.affects(self._path):
            # Whoever asked uses it now, while the descriptor is still kept; the next step must come by here again.
            self._fd = -1
            faulty.closed(self)
        return fd

    def truncate(self, size: int) -> None:
        super().truncate(size)
        self._faulty.note_cut(self._path, size)

    def sync(self) -> None:
        super().sync()
        self._faulty.note_synced(self._path, self.size())

    def moved(self, path: str) -> None:
        self._faulty.note_file_moved(self._path, path)
        super().moved(path)

    @property
    def path(self) -> str:
        """Its present name."""
        return self._path


class FaultyStorage(FileStorage):
    """See the module."""

    def __init__(
        self, *, faults: Iterable[DiskFault] = (), open_files_max: int = OPEN_FILES_MAX, background: Background | None = None
    ) -> None:
        super().__init__(open_files_max=open_files_max, background=background)
        self.faults = DiskFaults(faults)
        # By path: how much of a data file that was used in this life is on the disk.
        self._synced: dict[str, int] = {}
        # Names that were made in this life and not synced with their directory, by directory.
        self._new_names: defaultdict[str, set[str]] = defaultdict(set)
        # Small files that were replaced without a sync, and what they held before.
        self._replaced: dict[str, bytes | None] = {}

    # --- faults -------------------------------------------------------------------------------------

    def set_faults(self, faults: Iterable[DiskFault]) -> None:
        """From now on these faults and no others."""
        self.close()
        self.faults.set(faults)

    def open(self, path: str) -> DataFile:
        return FaultyFile(self, path)

    def exists(self, path: Path) -> bool:
        self.faults.check_read(path)
        return super().exists(path)

    def is_dir(self, path: Path) -> bool:
        self.faults.check_read(path)
        return super().is_dir(path)

    def list_dir(self, path: Path) -> list[str]:
        self.faults.check_read(path)
        return super().list_dir(path)

    def make_dirs(self, path: Path) -> None:
        self.faults.check_read(path)
        missing = list(takewhile(lambda parent: not os.path.exists(parent), (path, *path.parents)))
        if missing:
            self.faults.check_change(path)
            if self.faults.left(path) == 0:
                raise disk_full(path)
        super().make_dirs(path)
        for name in map(str, missing):
            self._new_names[os.path.dirname(name)].add(name)

    def size(self, path: Path) -> int:
        self.faults.check_read(path)
        return super().size(path)

    def read(self, path: Path) -> bytes:
        self.faults.check_read(path)
        return super().read(path)

    def replace(self, path: Path, content: bytes, *, sync: bool = True) -> None:
        if self.faults.active:
            taken = self.faults.take(path, len(content))
            if taken < len(content):
                # What a full disk leaves behind: the beginning of the new content, under its own name.
                Path(f"{path}.tmp").write_bytes(content[:taken])
                raise disk_full(path)
        name = str(path)
        if not sync and name not in self._replaced:
            try:
                self._replaced[name] = path.read_bytes()
            except FileNotFoundError:
                self._replaced[name] = None
        super().replace(path, content, sync=sync)
        if sync:
            self._replaced.pop(name, None)
            self._note_names_synced(path.parent)

    def rename(self, old: Path, new: Path) -> None:
        self.faults.check_change(old)
        self.faults.check_change(new)
        super().rename(old, new)
        self.note_moved(str(old), str(new))

    def modified_ms(self, path: Path) -> int:
        self.faults.check_read(path)
        return super().modified_ms(path)

    def set_modified_ms(self, path: Path, modified_ms: int) -> None:
        self.faults.check_change(path)
        super().set_modified_ms(path, modified_ms)

    def remove(self, path: Path) -> None:
        if self.faults.active:
            self.faults.check_change(path)
        super().remove(path)
        self._forget(str(path))

    def remove_tree(self, path: Path) -> None:
        self.faults.check_change(path)
        super().remove_tree(path)
        prefix = f"{path}{os.sep}"
        known = (*self._synced, *chain(*self._new_names.values()), *self._replaced)
        for name in [name for name in known if f"{name}{os.sep}".startswith(prefix)]:
            self._forget(name)

    def sync_dir(self, path: Path) -> None:
        self.faults.check_read(path)
        super().sync_dir(path)
        self._note_names_synced(path)

    def sync_later(self, file: DataFile, done: Done) -> None:
        assert isinstance(file, FaultyFile), "a storage syncs its own files"
        super().sync_later(file, partial(self._synced_later, file, file.size(), _inode(file.path), done))

    def _synced_later(self, file: FaultyFile, size: int, inode: int, done: Done, error: OSError | None) -> None:
        if error is None and inode == _inode(file.path):
            # Not replaced since.
            self._replaced.pop(file.path, None)
        # What was cut meanwhile is not there to be synced.
        if error is None and self._synced.get(file.path, size) < size <= file.size():
            self.note_synced(file.path, size)
        done(error)

    def sync_dir_later(self, path: Path, done: Done) -> None:
        try:
            self.faults.check_read(path)
        except OSError as error:
            done(error)
            return
        names = frozenset(self._new_names.get(str(path), ()))
        super().sync_dir_later(path, partial(self._names_synced_later, path, names, done))

    def _names_synced_later(self, path: Path, names: frozenset[str], done: Done, error: OSError | None) -> None:
        if error is None and (unsynced := self._new_names.get(str(path))):
            # One that was made or renamed meanwhile has to wait.
            unsynced -= names
        done(error)

    def space(self, path: Path) -> tuple[int, int]:
        self.faults.check_read(path)
        total, free = super().space(path)
        left = self.faults.left(path)
        return total, free if left is None else left

    # --- what is on the disk --------------------------------------------------------------------------

    def note_opened(self, path: str) -> None:
        """A data file is about to be opened, or created."""
        if path not in self._synced:
            try:
                self._synced[path] = os.stat(path).st_size
            except FileNotFoundError:
                self._synced[path] = 0
                self._new_names[os.path.dirname(path)].add(path)

    def note_synced(self, path: str, size: int) -> None:
        """The first ``size`` bytes are on the disk."""
        self._synced[path] = size
        self._replaced.pop(path, None)

    def note_cut(self, path: str, size: int) -> None:
        """The file was cut."""
        self._synced[path] = min(self._synced.get(path, size), size)

    def note_file_moved(self, old: str, new: str) -> None:
        """A data file has another name; it may have got it with its directory."""
        size = self._synced.pop(old, None)
        if size is not None:
            self._synced[new] = size

    def note_moved(self, old: str, new: str) -> None:
        """A file, or a directory with everything in it, has another name."""
        prefix = f"{old}{os.sep}"

        def renamed(name: str) -> str:
            return new if name == old else f"{new}{os.sep}{name[len(prefix) :]}" if name.startswith(prefix) else name

        self._synced = {renamed(name): size for name, size in self._synced.items()}
        names = {renamed(name) for name in chain(*self._new_names.values())}
        self._new_names.clear()
        for name in names:
            self._new_names[os.path.dirname(name)].add(name)
        self._replaced = {renamed(name): content for name, content in self._replaced.items()}

    def _note_names_synced(self, directory: Path) -> None:
        self._new_names.pop(str(directory), None)

    def _forget(self, name: str) -> None:
        self._synced.pop(name, None)
        if names := self._new_names.get(os.path.dirname(name)):
            names.discard(name)
        self._replaced.pop(name, None)

    def lose_unsynced(self, torn_tail_bytes: int = 0) -> None:
        """The power is gone: nobody uses this storage any more, and its files become what was on the disk.

        :param torn_tail_bytes: so many of the bytes that were not synced reached the disk all the same, in each file.
        """
        self.close()
        for name, content in self._replaced.items():
            if content is None:
                Path(name).unlink(missing_ok=True)
            elif os.path.isdir(os.path.dirname(name)):
                Path(name).write_bytes(content)
        for name, size in self._synced.items():
            kept = size + torn_tail_bytes
            if os.path.exists(name) and os.stat(name).st_size > kept:
                os.truncate(name, kept)
        for name in chain(*self._new_names.values()):
            if torn_tail_bytes and os.path.isfile(name):
                # Its directory went the same way as those bytes.
                continue
            if os.path.isdir(name):
                if not torn_tail_bytes:
                    shutil.rmtree(name)
            else:
                Path(name).unlink(missing_ok=True)


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return -1
