"""``partition.metadata``: which topic a directory's records belong to. It is there before any record is."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

from kafkalab.engine.common.ids import uuid_from_text, uuid_to_text
from kafkalab.engine.common.time import Clock
from kafkalab.engine.log.segment import LOG_SUFFIX
from kafkalab.engine.log.storage import Storage, StorageError
from kafkalab.engine.log.turns import Turn

PARTITION_METADATA_FILE: Final = "partition.metadata"
TOPIC_ID_DELAY_MS: Final = 500
"""How long a new log's topic id may be unsynced while nothing is appended, with a spread of its own."""
TOPIC_ID_SPREAD_MS: Final = 5_000


def read_topic_id(storage: Storage, path: Path) -> uuid.UUID | None:
    """The topic id, or None when the file is not there.

    :raises StorageError: when it is no such file.
    """
    try:
        text = storage.read(path).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    if fields.get("version") != "0":
        raise StorageError(f"{path}: expected 'version: 0', found {text.splitlines()[:1]}")
    try:
        return uuid_from_text(fields.get("topic_id", ""))
    except ValueError as error:
        raise StorageError(f"{path}: the topic id is malformed: {error}") from None


def write_topic_id(storage: Storage, path: Path, topic_id: uuid.UUID, *, sync: bool = True) -> None:
    """Put the topic id down; without ``sync`` a power cut may take it."""
    storage.replace(path, f"version: 0\ntopic_id: {uuid_to_text(topic_id)}".encode(), sync=sync)


class TopicIdFile:
    """The file of one log. Who appends syncs it first: no record lies in a directory of which nobody knows whose it is.

    :param topic_id: whose log it shall be; None takes it as it is.
    :raises StorageError: when it is another topic's, or the file is broken and there are records.
    :raises OSError: as the disk gives it.
    """

    def __init__(self, storage: Storage, clock: Clock, directory: Path, topic_id: uuid.UUID | None) -> None:
        self._storage = storage
        self._directory = directory
        stored = self._stored()
        if stored is None and topic_id is not None:
            write_topic_id(storage, self._path, topic_id, sync=False)
        elif stored is not None and topic_id is not None and stored != topic_id:
            raise self._other_topic(stored, topic_id)
        self.topic_id = topic_id or stored
        self.was_there = stored is not None
        # There while the file may be lost with the power.
        self._turn = Turn(clock, delay_ms=TOPIC_ID_DELAY_MS, spread_ms=TOPIC_ID_SPREAD_MS)

    @property
    def _path(self) -> Path:
        return self._directory / PARTITION_METADATA_FILE

    @property
    def is_unsynced(self) -> bool:
        """Whether a power cut may take it."""
        return self._turn.is_awaited

    def claim(self, topic_id: uuid.UUID) -> None:
        """Say which topic the records belong to, if that is not known yet.

        :raises StorageError: when they are another topic's.
        """
        if self.topic_id == topic_id:
            return
        if self.topic_id is not None:
            raise self._other_topic(self.topic_id, topic_id)
        try:
            write_topic_id(self._storage, self._path, topic_id)
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror or error}") from error
        self.topic_id = topic_id

    def sync_soon(self, on_error: Callable[[OSError], object]) -> None:
        """Sync it when its turn comes: a broker that gets a thousand replicas would do nothing else for seconds."""

        def sync() -> None:
            try:
                self.sync()
            except OSError as error:
                on_error(error)

        self._turn.come(self._directory.name, sync)

    def sync(self) -> None:
        """Put it on the disk now.

        :raises OSError: as the disk gives it.
        """
        assert self.topic_id is not None, "what is synced is there"
        self.abandon()
        write_topic_id(self._storage, self._path, self.topic_id)

    def abandon(self) -> None:
        """Sync it no more."""
        self._turn.cancel()

    def moved(self, directory: Path) -> None:
        """The directory has another name."""
        self._directory = directory

    def _stored(self) -> uuid.UUID | None:
        """None where nobody said so, or the power went before what was said was whole."""
        try:
            return read_topic_id(self._storage, self._path)
        except StorageError:
            # It is synced before the first record is written: without one, nothing rests on it.
            names = self._storage.list_dir(self._directory)
            if any(name.endswith(LOG_SUFFIX) and self._storage.size(self._directory / name) for name in names):
                raise
            return None

    def _other_topic(self, found: uuid.UUID, wanted: uuid.UUID) -> StorageError:
        return StorageError(f"{self._path}: the directory belongs to topic id {uuid_to_text(found)}, not to {uuid_to_text(wanted)}")
