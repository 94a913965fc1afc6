"""The engine's clock on an asyncio loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from kafkalab.engine.common.time import Timer


class LoopClock:
    """Monotonic time and timers of one loop, for use in its thread only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now_ms(self) -> float:
        # Not loop.time(): uvloop's stands still while one callback runs.
        return time.monotonic() * 1000.0

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> Timer:
        return self._loop.call_later(max(0.0, delay_ms) / 1000.0, callback)
