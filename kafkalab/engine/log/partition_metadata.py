"""``partition.metadata``: which topic a directory's records belong to. It is there before any record is."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Final

from kafkalab.engine.common.ids import uuid_from_text, uuid_to_text
from kafkalab.engine.log.storage import Storage, StorageError

PARTITION_METADATA_FILE: Final = "partition.metadata"


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
