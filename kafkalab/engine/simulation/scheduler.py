"""Virtual time: what happens next, anywhere in the world.

Events at one instant run in an order that the seed decides between nodes, and in the order in which
they were asked for within one node.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from random import Random
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from kafkalab.engine.simulation.loop import SimLoop

CANCELLED_MAX: Final = 256
"""Most timers are cancelled long before they are due. With more of them than this, and than others, the list is cleared."""


class Handle:
    """Something that is to be done; may be cancelled until then."""

    __slots__ = ("args", "callback", "loop", "when_ms")

    def __init__(self, when_ms: float, loop: SimLoop, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.when_ms = when_ms
        self.loop = loop
        self.callback: Callable[..., object] | None = callback
        self.args = args

    def cancel(self) -> None:
        """Forget it; harmless when it was done."""
        if self.callback is not None:
            self.callback = None
            self.args = ()
            self.loop.scheduler.cancelled += 1

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.callback is None

    def when(self) -> float:
        """The loop's time at which it is due, in seconds."""
        return self.when_ms / 1000.0


class Scheduler:
    """The one clock and the one list of events."""

    def __init__(self, rng: Random) -> None:
        self.now_ms = 0.0
        self.steps = 0
        """Events that have run."""
        self.touched: SimLoop | None = None
        """The loop that did something last."""
        self.cancelled = 0
        """Of what was asked for, since the list was cleared last."""
        self._rng = rng
        self._heap: list[tuple[float, float, int, Handle]] = []
        self._sequence = 0

    def tie(self) -> float:
        """A loop's place among others whose events are due at the same instant."""
        return self._rng.random()

    def at(self, when_ms: float, loop: SimLoop, callback: Callable[..., object], args: tuple[Any, ...] = ()) -> Handle:
        """Have a loop do something at an instant; the past is now."""
        handle = Handle(when_ms, loop, callback, args)
        self._sequence = sequence = self._sequence + 1
        heappush(self._heap, (when_ms, loop.tie, sequence, handle))
        if self.cancelled > CANCELLED_MAX and self.cancelled * 2 > len(self._heap):
            self._clear()
        return handle

    def _clear(self) -> None:
        self._heap[:] = [entry for entry in self._heap if entry[3].callback is not None]
        heapify(self._heap)
        self.cancelled = 0

    def next_ms(self) -> float | None:
        """When the next event is due; None when nothing ever happens again."""
        heap = self._heap
        while heap and heap[0][3].callback is None:
            heappop(heap)
        return heap[0][0] if heap else None

    def step(self, until_ms: float) -> bool:
        """Run the next event that is due by then; False when there is none, and it is then."""
        heap = self._heap
        while heap:
            entry = heap[0]
            handle = entry[3]
            callback = handle.callback
            if callback is None:
                heappop(heap)
                continue
            when_ms = entry[0]
            if when_ms > until_ms:
                break
            heappop(heap)
            if when_ms > self.now_ms:
                self.now_ms = when_ms
            self.steps += 1
            loop = handle.loop
            if loop.is_paused:
                # It may still be cancelled by what comes before it then.
                loop.put_off(handle)
                return True
            args = handle.args
            handle.callback = None
            loop.run(callback, args)
            return True
        if until_ms > self.now_ms:
            self.now_ms = until_ms
        return False
