"""A thread for what the disk takes its time over, so that the node's loop does not wait for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Final

Work = Callable[[], None]
Done = Callable[[OSError | None], None]

END_WAIT_S: Final = 10.0


class DiskWorker:
    """Does one thing after another and calls back in the loop; a node has one. Its thread starts with the first work."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._loop = loop
        self._name = name
        self._queue: SimpleQueue[tuple[Work, Done] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def __call__(self, work: Work, done: Done) -> None:
        """Do something in the thread; ``done`` is told of the disk's refusal, if it refused."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._queue.put((work, done))

    def close(self, *, wait: bool) -> None:
        """Take nothing more, and call back no more; with ``wait`` what was begun is finished first."""
        self._is_closed = True
        if self._thread is not None:
            self._queue.put(None)
            if wait:
                self._thread.join(END_WAIT_S)

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            work, done = task
            error: OSError | None = None
            try:
                work()
            except OSError as e:
                error = e
            with suppress(RuntimeError):  # The loop is gone, and with it whoever asked.
                self._loop.call_soon_threadsafe(self._call_back, done, error)

    def _call_back(self, done: Done, error: OSError | None) -> None:
        if not self._is_closed:
            done(error)
