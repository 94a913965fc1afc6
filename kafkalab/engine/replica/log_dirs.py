"""What lies in a broker's log directories, for whoever asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from kafkalab.engine.common.errors import Errors

if TYPE_CHECKING:
    from kafkalab.engine.common.ids import TopicPartition
    from kafkalab.engine.log.manager import LogManager


class ReplicaInfo(NamedTuple):
    """A replica, or a copy on its way here."""

    key: tuple[str, int]
    size_bytes: int
    offset_lag: int
    """How far a copy is behind its replica, or a replica behind its own high watermark; -1 for one that is not in use."""
    is_future: bool


class LogDirInfo(NamedTuple):
    """A log directory; the sizes of its disk are -1 where the system does not tell."""

    path: str
    error: Errors
    replicas: list[ReplicaInfo]
    total_bytes: int
    usable_bytes: int
    is_cordoned: bool
    """It gets no new replicas."""


def describe_log_dirs(manager: LogManager, high_watermark: Callable[[TopicPartition], int | None]) -> list[LogDirInfo]:
    """Every directory of ``log.dirs``; nothing is known of one that is out of use."""
    found = []
    for path in manager.directories.paths:
        if path in manager.directories.failures:
            found.append(LogDirInfo(str(path.absolute()), Errors.KAFKA_STORAGE_ERROR, [], -1, -1, False))
            continue
        replicas = []
        for log in manager.logs():
            if log.log_dir == path:
                committed = high_watermark(log.topic_partition)
                lag = -1 if committed is None else max(committed - log.log_end_offset, 0)
                replicas.append(ReplicaInfo(log.topic_partition, log.size_bytes, lag, False))
        for copy in manager.futures():
            if copy.log_dir == path:
                current = manager.get(copy.topic_partition)
                lag = -1 if current is None else current.log_end_offset - copy.log_end_offset
                replicas.append(ReplicaInfo(copy.topic_partition, copy.size_bytes, lag, True))
        total_bytes, usable_bytes = manager.space(path)
        is_cordoned = path in manager.directories.cordoned
        found.append(LogDirInfo(str(path.absolute()), Errors.NONE, replicas, total_bytes, usable_bytes, is_cordoned))
    return found
