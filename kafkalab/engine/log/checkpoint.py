"""Kafka's checkpoint files: a version, a count, and one entry a line.

They are replaced as a whole, so a reader finds an old one or a new one. A file that is neither is
refused with its name and the line: better to stop than to recover from a wrong offset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.log.storage import Storage, StorageError

RECOVERY_POINT_FILE: Final = "recovery-point-offset-checkpoint"
LOG_START_OFFSET_FILE: Final = "log-start-offset-checkpoint"
CLEANER_OFFSET_FILE: Final = "cleaner-offset-checkpoint"
HIGH_WATERMARK_FILE: Final = "replication-offset-checkpoint"
LEADER_EPOCH_FILE: Final = "leader-epoch-checkpoint"

_VERSION: Final = "0"

Entry = TypeVar("Entry")


def read_offsets(storage: Storage, path: Path) -> dict[TopicPartition, int]:
    """The offsets by partition; empty when there is no such file.

    :raises StorageError: naming file and line when it is no checkpoint.
    """
    return dict(_read(storage, path, _parse_offset))


def write_offsets(storage: Storage, path: Path, offsets: Mapping[TopicPartition, int]) -> None:
    _write(storage, path, (f"{tp.topic} {tp.partition} {offset}" for tp, offset in offsets.items()), len(offsets), sync=True)


def read_leader_epochs(storage: Storage, path: Path) -> list[tuple[int, int]]:
    """Epochs and the offsets at which they began, both rising; empty when there is no such file.

    The file is not synced: of an offset that a power cut took the last digits of, what is left would be another offset.

    :raises StorageError: naming file and line when it is no checkpoint, or one whose last line has no end.
    """
    entries = _read(storage, path, _parse_epoch, must_end=True)
    for index in range(1, len(entries)):
        if entries[index][0] <= entries[index - 1][0] or entries[index][1] < entries[index - 1][1]:
            raise StorageError(f"{path}, line {index + 3}: epochs and offsets must rise")
    return entries


def write_leader_epochs(storage: Storage, path: Path, entries: list[tuple[int, int]], *, sync: bool) -> None:
    _write(storage, path, (f"{epoch} {offset}" for epoch, offset in entries), len(entries), sync=sync)


def _read(storage: Storage, path: Path, parse: Callable[[str], Entry], *, must_end: bool = False) -> list[Entry]:
    try:
        text = storage.read(path).decode()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError:
        raise StorageError(f"{path}: this is no checkpoint file, it has bytes that are no text") from None
    lines = text.splitlines()
    if not lines:
        # So Kafka leaves a checkpoint that it has made and never filled.
        return []
    if must_end and not text.endswith("\n"):
        raise StorageError(f"{path}, line {len(lines)}: the file ends amid {lines[-1]!r}")
    if not lines or lines[0] != _VERSION:
        raise StorageError(f"{path}, line 1: expected the version {_VERSION}, found {lines[0] if lines else 'nothing'!r}")
    if len(lines) < 2 or not lines[1].isdecimal():
        raise StorageError(f"{path}, line 2: expected the number of entries, found {lines[1] if len(lines) > 1 else 'nothing'!r}")
    expected = int(lines[1])
    if len(lines) - 2 != expected:
        raise StorageError(f"{path}, line {len(lines)}: {expected} entries are announced, {len(lines) - 2} are there")
    entries = []
    for number, line in enumerate(lines[2:], 3):
        try:
            entries.append(parse(line))
        except ValueError:
            raise StorageError(f"{path}, line {number}: malformed entry {line!r}") from None
    return entries


def _parse_offset(line: str) -> tuple[TopicPartition, int]:
    topic, partition, offset = line.split(" ")
    return TopicPartition(topic, _parse_number(partition)), _parse_number(offset)


def _parse_epoch(line: str) -> tuple[int, int]:
    epoch, offset = line.split(" ")
    return _parse_number(epoch), _parse_number(offset)


def _parse_number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(text)
    return int(text)


def _write(storage: Storage, path: Path, lines: Iterable[str], count: int, *, sync: bool) -> None:
    content = "\n".join((_VERSION, str(count), *lines, ""))
    storage.replace(path, content.encode(), sync=sync)
