"""``meta.properties``: which cluster, node and directory a folder belongs to."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from kafkalab.engine.common.ids import uuid_from_text, uuid_to_text
from kafkalab.engine.log.storage import FileStorage, Storage, StorageError

META_PROPERTIES_FILE: Final = "meta.properties"
_VERSION: Final = "1"


def log_directories(folder: Path, count: int) -> tuple[Path, ...]:
    """Where a node with this folder keeps its logs: there, or in so many folders in it."""
    if count == 1:
        return (folder,)
    return tuple(folder / f"dir-{number}" for number in range(1, count + 1))


@dataclass(frozen=True, slots=True)
class MetaProperties:
    """The file's content, version 1."""

    cluster_id: str
    node_id: int
    directory_id: uuid.UUID

    @classmethod
    def read(cls, path: Path, storage: Storage | None = None, *, make_id: Callable[[], uuid.UUID] | None = None) -> Self:
        """
        :param make_id: gives the directory's id where the file has none, as those of brokers before 3.7; without it one is asked for.
        :raises StorageError: naming the file and what is wrong with it.
        """
        try:
            text = (storage or FileStorage()).read(path).decode()
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror or error}") from error
        except UnicodeDecodeError:
            raise StorageError(f"{path}: this is no text") from None
        fields: dict[str, str] = {}
        for number, line in enumerate(text.splitlines(), 1):
            stripped = line.strip()
            if not stripped or stripped[0] in "#!":
                continue
            key, separator, value = stripped.partition("=")
            if not separator:
                raise StorageError(f"{path}, line {number}: expected KEY=VALUE, found {line!r}")
            fields[key.strip()] = value.strip()
        if fields.get("version") != _VERSION:
            raise StorageError(f"{path}: expected version={_VERSION}, found version={fields.get('version')}")
        if make_id is not None and not fields.get("directory.id"):
            fields["directory.id"] = uuid_to_text(make_id())
        missing = [name for name in ("cluster.id", "node.id", "directory.id") if not fields.get(name)]
        if missing:
            raise StorageError(f"{path}: {', '.join(missing)} is missing")
        node_text = fields["node.id"]
        if not (node_text.isascii() and node_text.isdecimal()):
            raise StorageError(f"{path}: node.id must be a whole number from 0 on, not {node_text!r}")
        try:
            directory_id = uuid_from_text(fields["directory.id"])
        except ValueError:
            raise StorageError(f"{path}: directory.id {fields['directory.id']!r} is no id of 22 characters") from None
        return cls(cluster_id=fields["cluster.id"], node_id=int(node_text), directory_id=directory_id)

    def write(self, path: Path, storage: Storage | None = None) -> None:
        """Replace the file.

        :raises StorageError: naming the file and what the system says.
        """
        lines = (
            "#",
            f"cluster.id={self.cluster_id}",
            f"directory.id={uuid_to_text(self.directory_id)}",
            f"node.id={self.node_id}",
            f"version={_VERSION}",
            "",
        )
        try:
            (storage or FileStorage()).replace(path, "\n".join(lines).encode())
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror or error}") from error
