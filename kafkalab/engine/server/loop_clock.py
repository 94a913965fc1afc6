"""The engine's clock on an asyncio loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from kafkalab.engine.common.time import Timer


class LoopClock:
    """Monotonic time and timers of one loop, for use in its thread only.

    :param offset_ms: how much the wall clock is ahead of this machine's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, offset_ms: int = 0) -> None:
        self._loop = loop
        self.offset_ms = offset_ms

    def now_ms(self) -> float:
        # Not loop.time(): uvloop's stands still while one callback runs.
        return time.monotonic() * 1000.0

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.offset_ms

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> Timer:
        return self._loop.call_later(max(0.0, delay_ms) / 1000.0, callback)
