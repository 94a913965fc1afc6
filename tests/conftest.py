"""What every test lives under: no screen, no leaked thread, no unexpected warning in the log."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

THREAD_END_WAIT_S = 20.0


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "oracle: beside Apache Kafka itself, from Maven; takes minutes")
    config.addinivalue_line("markers", "expects_warnings: the test makes the program warn in its log, and looks at it")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name.startswith(("test_oracle_", "test_interop_")):
            item.add_marker(pytest.mark.oracle)


@pytest.fixture(autouse=True)
def _no_leaked_threads() -> Iterator[None]:
    """Threads started by a test end with it. Those of libraries (asyncio's and pools of Qt) are not ours to count."""
    before = set(threading.enumerate())
    yield
    leaked = [thread for thread in threading.enumerate() if thread not in before and thread.name.startswith("kafkalab")]
    for thread in leaked:
        thread.join(THREAD_END_WAIT_S)
    alive = [thread.name for thread in leaked if thread.is_alive()]
    assert not alive, f"threads outlived the test: {', '.join(alive)}"


@pytest.fixture(autouse=True)
def _no_unexpected_warnings(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A WARNING or worse in our own log fails the test, unless the test says that it makes one."""
    yield
    if request.node.get_closest_marker("expects_warnings") is not None:
        return
    records = [record for phase in ("setup", "call") for record in caplog.get_records(phase)]
    said = [record.getMessage() for record in records if record.levelno >= logging.WARNING and record.name.startswith("kafkalab")]
    assert not said, f"unexpected in the log: {said}"
