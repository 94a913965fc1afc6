"""What is told of log directories, over a manager that has just the logs at hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.log.directories import LogDirectories
from kafkalab.engine.log.manager import LogManager
from kafkalab.engine.replica.log_dirs import ReplicaInfo, describe_log_dirs

FIRST, SECOND, BROKEN = (Path(f"/disk-{number}") for number in (1, 2, 3))
USED, UNUSED = TopicPartition("used", 0), TopicPartition("unused", 0)


def log(tp: TopicPartition, directory: Path, log_end_offset: int) -> Any:
    return SimpleNamespace(topic_partition=tp, log_dir=directory, size_bytes=100, log_end_offset=log_end_offset)


def test_each_directory_with_its_replicas_and_how_far_they_are() -> None:
    logs = {tp: log(tp, FIRST, 10) for tp in (USED, UNUSED)}
    copies = [log(USED, SECOND, 4), log(TopicPartition("gone", 0), SECOND, 4)]
    directories = LogDirectories((FIRST, SECOND, BROKEN), {}, {BROKEN: "broken"})
    directories.cordoned = frozenset({SECOND, BROKEN})
    manager = SimpleNamespace(
        directories=directories, logs=logs.values, futures=lambda: copies, get=logs.get, space=lambda path: (1_000, 500)
    )
    committed = {USED: 12}
    first, second, broken = describe_log_dirs(cast(LogManager, manager), committed.get)
    # Of one that no partition has taken up nobody knows how far it should be.
    assert first.replicas == [ReplicaInfo(USED, 100, 2, False), ReplicaInfo(UNUSED, 100, -1, False)]
    assert second.replicas == [ReplicaInfo(USED, 100, 6, True), ReplicaInfo(TopicPartition("gone", 0), 100, -1, True)]
    assert (broken.error, broken.replicas, broken.total_bytes) == (Errors.KAFKA_STORAGE_ERROR, [], -1)
    assert [one.is_cordoned for one in (first, second, broken)] == [False, True, False]
