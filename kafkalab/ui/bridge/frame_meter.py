"""How long the Qt thread was busy per frame, measured where the work is done."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final

from kafkalab.ui.model.breath import one_breath

FRAMES_KEPT: Final = 600


class FrameMeter:
    """Sums what pump and painters spent between two ticks; the percentile is over the last ten seconds or so.

    Waiting for the interpreter's lock counts, for the person at the screen waits too.
    """

    def __init__(self) -> None:
        self._frames: deque[float] = deque(maxlen=FRAMES_KEPT)
        self._busy_ms = 0.0
        self._paint_times: deque[float] = deque(maxlen=FRAMES_KEPT)

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Do a stretch of work in one breath, and count it to the present frame."""
        start = perf_counter()
        try:
            with one_breath():
                yield
        finally:
            self._busy_ms += (perf_counter() - start) * 1000

    def add_paint(self, took_ms: float) -> None:
        """A view has painted, and timed itself: this belongs to the present frame."""
        self._busy_ms += took_ms
        self._paint_times.append(perf_counter())

    def end_frame(self) -> None:
        """A tick: what was spent since the last one is one frame's cost. Ticks without work are no frames."""
        if self._busy_ms > 0:
            self._frames.append(self._busy_ms)
            self._busy_ms = 0.0

    def percentile_ms(self, share: float = 0.99) -> float:
        """The cost that this share of the frames kept within; 0 before the first frame."""
        if not self._frames:
            return 0.0
        ordered = sorted(self._frames)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]

    def frames_per_second(self) -> float:
        """Pictures painted in the last second: few when nothing moves."""
        now = perf_counter()
        return float(sum(1 for at in reversed(self._paint_times) if now - at <= 1.0))
