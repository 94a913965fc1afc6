"""A node's directories: formatted where they are new, locked, and checked to be this node's.

The first holds the metadata log, and without it a node cannot be. Of the others each may fail.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from pathlib import Path
from random import Random

from kafkalab.engine.common.ids import random_uuid
from kafkalab.engine.log.dir_lock import DirLock
from kafkalab.engine.log.meta_properties import META_PROPERTIES_FILE, MetaProperties
from kafkalab.engine.log.storage import Storage, StorageError
from kafkalab.engine.server.machine import Lock

log = logging.getLogger(__name__)


class ForeignDirectory(Exception):
    """A directory belongs to somebody else, or to the same node with other directories."""


class NodeDirectories:
    """The directories in the order of ``log.dirs``; :meth:`open` comes first, :meth:`release` last."""

    def __init__(self, data_dir: Path, paths: tuple[Path, ...], lock: Callable[[Path], Lock] = DirLock) -> None:
        self._data_dir = data_dir
        self._lock = lock
        self.paths = paths
        self.ids: dict[Path, uuid.UUID] = {}
        self.failures: dict[Path, str] = {}
        """Directories that cannot be used, and why."""
        self._locks: list[Lock] = []

    @property
    def metadata_dir(self) -> Path:
        """Where the metadata log is."""
        return self.paths[0]

    def open(self, storage: Storage, *, cluster_id: str, node_id: int, rng: Random) -> uuid.UUID:
        """Lock and read all directories. The id of the first.

        :raises DirLocked: when another process uses one.
        :raises ForeignDirectory: when one is not this node's.
        :raises StorageError: when the first cannot be used.
        :raises OSError: likewise.
        """
        _make_for_good(storage, self._data_dir)
        self._locks.append(self._lock(self._data_dir))
        self._check_layout(storage)
        for path in self.paths:
            try:
                _make_for_good(storage, path)
                if path != self._data_dir:
                    self._locks.append(self._lock(path))
                meta = self._read_or_format(path, storage, cluster_id, node_id, rng)
            except (StorageError, OSError) as error:
                if path == self.metadata_dir:
                    raise
                why = str(error)
                log.error("log directory %s cannot be used: %s", path, why)
                self.failures[path] = why
                continue
            self._check_owner(path, meta, cluster_id, node_id)
            self.ids[path] = meta.directory_id
        if len(set(self.ids.values())) != len(self.ids):
            raise ForeignDirectory(f"two of {', '.join(map(str, self.ids))} have the same directory.id: one is a copy of another")
        return self.ids[self.metadata_dir]

    def _check_layout(self, storage: Storage) -> None:
        is_single = self.paths == (self._data_dir,)
        other = self._data_dir / "dir-1" if is_single else self._data_dir
        if storage.exists(other / META_PROPERTIES_FILE):
            what = "several log directories" if is_single else "one log directory"
            raise ForeignDirectory(f"{self._data_dir} holds a node with {what}; start it with as many as it had")

    def _read_or_format(self, path: Path, storage: Storage, cluster_id: str, node_id: int, rng: Random) -> MetaProperties:
        file = path / META_PROPERTIES_FILE
        if storage.exists(file):
            made: list[uuid.UUID] = []

            def make_id() -> uuid.UUID:
                made.append(random_uuid(rng))
                return made[0]

            meta = MetaProperties.read(file, storage, make_id=make_id)
            if made:
                meta.write(file, storage)
            return meta
        meta = MetaProperties(cluster_id=cluster_id, node_id=node_id, directory_id=random_uuid(rng))
        meta.write(file, storage)
        return meta

    def _check_owner(self, path: Path, meta: MetaProperties, cluster_id: str, node_id: int) -> None:
        file = path / META_PROPERTIES_FILE
        if meta.cluster_id != cluster_id:
            raise ForeignDirectory(f"{file} belongs to cluster {meta.cluster_id}, this one is {cluster_id}")
        if meta.node_id != node_id:
            raise ForeignDirectory(f"{file} belongs to node {meta.node_id}, this one is {node_id}")

    def release(self) -> None:
        """Let somebody else have them; doing so twice does nothing."""
        while self._locks:
            self._locks.pop().release()


def _make_for_good(storage: Storage, path: Path) -> None:
    """Make a directory whose name outlasts a power cut: what is synced in it is lost without."""
    made = [one for one in (path, *path.parents) if not storage.is_dir(one)]
    storage.make_dirs(path)
    for one in reversed(made):
        storage.sync_dir(one.parent)
