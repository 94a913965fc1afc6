"""Directories by what the settings call them."""

from __future__ import annotations

import uuid
from pathlib import Path

from kafkalab.engine.log.directories import LogDirectories


def test_directories_are_found_by_their_names() -> None:
    a, b = Path("/data/a"), Path("/data/b")
    ids = {a: uuid.UUID(int=1), b: uuid.UUID(int=2)}
    directories = LogDirectories([a, b], ids, {})
    assert directories.named([]) == [] and directories.named([str(b), "/nowhere"]) == [b]
    assert directories.ids_of([]) == []
    assert directories.ids_of([str(b), "/nowhere"]) == [ids[b]]
    assert directories.ids_of(["*"]) == [ids[a], ids[b]]
