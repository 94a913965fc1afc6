"""A partition's directory in a temporary folder, on a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.storage import FileStorage

TP = TopicPartition("orders", 0)
OpenLog = Callable[..., Log]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def storage() -> Iterator[FileStorage]:
    storage = FileStorage()
    yield storage
    storage.close()


@pytest.fixture
def open_log(tmp_path: Path, clock: ManualClock, storage: FileStorage) -> OpenLog:
    """Open the log of ``orders-0``; keyword arguments are settings of the topic, or those of Log.open."""

    def open_it(
        *, recovery_point: int = 0, clean: bool = False, log_start_offset: int = 0, compacted_to: int | None = None, **settings: object
    ) -> Log:
        return Log.open(
            tmp_path / str(TP),
            TP,
            LogConfig(**settings),  # type: ignore[arg-type]
            clock,
            storage=storage,
            recovery_point=recovery_point,
            clean=clean,
            log_start_offset=log_start_offset,
            compacted_to=compacted_to,
        )

    return open_it
