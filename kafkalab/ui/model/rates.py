"""Rates from counters, and short histories for curves."""

from __future__ import annotations

from collections import deque
from typing import Final

SAMPLE_INTERVAL_MS: Final = 250.0
"""All rates are sampled together, so that sums of parts equal the whole."""
WINDOW_SAMPLES: Final = 4
"""A rate is the mean over this many samples: one second."""
HISTORY_POINTS_MAX: Final = 480
"""Two minutes of samples."""


class RateMeter:
    """Turns a counter that only grows (and starts again with its node) into a rate over a second.

    ``add`` costs an addition; the division happens in ``sample``, once per interval for all meters.
    """

    __slots__ = ("_counter", "_deltas", "_pending", "_spans", "rate")

    def __init__(self) -> None:
        self.rate = 0.0  # per second
        self._counter = -1
        self._pending = 0
        self._deltas: list[int] = []
        self._spans: list[float] = []

    def update(self, counter: int, *, may_shrink: bool = False) -> None:
        """Take the counter's new value. The first one only sets the base.

        :param may_shrink: a smaller value is no new beginning; what came meanwhile is not known then.
        """
        previous = self._counter
        if previous >= 0:
            # A smaller value means that the node began anew at zero.
            self._pending += counter - previous if counter >= previous else 0 if may_shrink else counter
        self._counter = counter

    def rebase(self) -> None:
        """Forget the counter: the next value only sets the base again."""
        self._counter = -1

    @property
    def is_still(self) -> bool:
        """Nothing moved within the window: a sample would change nothing."""
        return self.rate == 0.0 and self._pending == 0

    def sample(self, span_ms: float) -> float:
        """Close an interval of ``span_ms`` and return the rate."""
        if self.rate == 0.0 and self._pending == 0:
            return 0.0
        self._deltas.append(self._pending)
        self._spans.append(span_ms)
        self._pending = 0
        if len(self._deltas) > WINDOW_SAMPLES:
            del self._deltas[0], self._spans[0]
        total = sum(self._deltas)
        if total == 0:
            self._deltas.clear()
            self._spans.clear()
            self.rate = 0.0
        else:
            self.rate = total * 1000.0 / max(sum(self._spans), 1.0)
        return self.rate


class History:
    """The last samples of a value, with their times."""

    __slots__ = ("times_ms", "values")

    def __init__(self, points_max: int = HISTORY_POINTS_MAX) -> None:
        self.times_ms: deque[float] = deque(maxlen=points_max)
        self.values: deque[float] = deque(maxlen=points_max)

    def add(self, at_ms: float, value: float) -> None:
        """Append a sample, the oldest leaves."""
        self.times_ms.append(at_ms)
        self.values.append(value)

    def __len__(self) -> int:
        return len(self.values)
