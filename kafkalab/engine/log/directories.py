"""A broker's log directories: which of them can be used, and where the next replica goes.

A directory that fails once is out of use until the next start, with everything in it, while the
others go on. Each has an id of its own, by which the cluster's metadata knows it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.protocol.metadata_records import DIRECTORY_MIGRATING, DIRECTORY_UNASSIGNED


class LogDirectories:
    """The directories in the order of ``log.dirs``."""

    def __init__(self, paths: Iterable[Path], ids: Mapping[Path, uuid.UUID], failures: Mapping[Path, str]) -> None:
        self._paths = list(paths)
        self._ids = dict(ids)
        self.failures = dict(failures)
        """Why a directory is out of use."""
        self.preferred: dict[TopicPartition, Path] = {}
        """Where somebody wants replicas to be that are not here yet."""
        self.cordoned: frozenset[Path] = frozenset()
        """They keep what they have and get no new replicas (KIP-1066)."""

    @property
    def paths(self) -> list[Path]:
        """All of them."""
        return self._paths

    @property
    def live(self) -> list[Path]:
        """Those in use."""
        return [path for path in self._paths if path not in self.failures]

    @property
    def live_ids(self) -> list[uuid.UUID]:
        """The ids of those in use, as far as they are known."""
        return [self._ids[path] for path in self.live if path in self._ids]

    @property
    def offline_ids(self) -> list[uuid.UUID]:
        """The ids of those that failed; what could not be read at the start has none."""
        return [self._ids[path] for path in self.failures if path in self._ids]

    def id_of(self, path: Path) -> uuid.UUID | None:
        """A directory's id."""
        return self._ids.get(path)

    def named(self, texts: Iterable[str]) -> list[Path]:
        """The directories that somebody names as the settings do (``*`` is all), in the order of ``log.dirs``."""
        names = set(texts)
        absolute = {str(Path(text).absolute()) for text in names}
        return [path for path in self._paths if "*" in names or str(path.absolute()) in absolute]

    def ids_of(self, texts: Iterable[str]) -> list[uuid.UUID]:
        """As :meth:`named`, the ids of those."""
        return [self._ids[path] for path in self.named(texts) if path in self._ids]

    def live_path(self, directory_id: uuid.UUID) -> Path | None:
        """The directory with this id, if it is in use."""
        return next((path for path in self.live if self._ids.get(path) == directory_id), None)

    def find(self, text: str) -> Path | None:
        """The directory that somebody names by its absolute path."""
        return next((path for path in self._paths if str(path.absolute()) == text), None)

    def may_hold(self, directory_id: uuid.UUID | None) -> bool:
        """Whether a replica that the metadata places there may lie in a directory that is out of use."""
        if directory_id is None or directory_id in (DIRECTORY_UNASSIGNED, DIRECTORY_MIGRATING):
            return False
        return bool(self.failures) and self.live_path(directory_id) is None

    def fail(self, path: Path, why: str) -> bool:
        """Take a directory out of use. False when it is already."""
        if path in self.failures or path not in self._paths:
            return False
        self.failures[path] = why
        return True
