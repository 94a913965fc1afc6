"""When each of many logs does what need not be done at once."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from kafkalab.engine.common.time import Clock, Timer


class Turn:
    """One thing that a log has yet to do: of a thousand logs that were begun together each does it at a time of its own.

    :param delay_ms: the earliest.
    :param spread_ms: over so long the logs are spread; a log's place in it follows from its name.
    """

    __slots__ = ("_clock", "_delay_ms", "_spread_ms", "_timer")

    def __init__(self, clock: Clock, *, delay_ms: int, spread_ms: int) -> None:
        self._clock = clock
        self._delay_ms = delay_ms
        self._spread_ms = spread_ms
        self._timer: Timer | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether it is still to be done."""
        return self._timer is not None

    def come(self, log_name: str, action: Callable[[], None]) -> None:
        """Do it in a while; what is awaited already is done when that was to be."""
        if self._timer is not None:
            return

        def act() -> None:
            self._timer = None
            action()

        self._timer = self._clock.call_later(self._delay_ms + crc32(log_name.encode()) % self._spread_ms, act)

    def cancel(self) -> None:
        """It is done already, or will never be."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
