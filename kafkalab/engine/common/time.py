"""Time as the engine sees it: handed in, never asked of the machine.

Live nodes get a clock that stands on their event loop; tests and the simulator get
:class:`ManualClock`, which moves only when told.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A callback that is due later."""

    def cancel(self) -> None:
        """Forget the callback; harmless when it already ran."""


class Clock(Protocol):
    """Two readings and one alarm."""

    def now_ms(self) -> float:
        """Milliseconds on a clock that never jumps; only differences mean anything."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC, for timestamps that are stored or shown."""

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> Timer:
        """Run the callback once, in the owner's thread, after the delay."""


class _ManualTimer:
    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """A clock for tests: time passes in :meth:`advance` only, and timers fire in order."""

    def __init__(self, *, wall_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = 0.0
        self._wall_offset_ms = wall_ms
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _ManualTimer]] = []

    def now_ms(self) -> float:
        return self._now_ms

    def wall_ms(self) -> int:
        return self._wall_offset_ms + int(self._now_ms)

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> Timer:
        timer = _ManualTimer(callback)
        heapq.heappush(self._timers, (self._now_ms + max(0.0, delay_ms), next(self._order), timer))
        return timer

    def next_due_ms(self) -> float | None:
        """When the next live timer fires, or None when nothing is waiting."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def advance(self, delta_ms: float) -> None:
        """Let time pass; every timer that falls due on the way runs at its own instant."""
        target = self._now_ms + delta_ms
        while (due := self.next_due_ms()) is not None and due <= target:
            self._now_ms = max(self._now_ms, due)
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                callback()
        self._now_ms = target
