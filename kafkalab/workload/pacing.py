"""How many records are due: a steady pace that does not make up for more than it should."""

from __future__ import annotations

from typing import Final

BACKLOG_MAX_S: Final = 0.25
"""After a pause the pace goes on; what was missed longer ago than this is not made up for."""
EPSILON: Final = 1e-6


class Pace:
    """Turns time into records. A change of rate holds from the moment it is made."""

    def __init__(self, rate_per_s: float, now_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._at_s = now_s
        self._owed = 0.0

    def set_rate(self, rate_per_s: float, now_s: float) -> None:
        """Go on at another rate."""
        self._accrue(now_s)
        self._rate_per_s = rate_per_s

    def take(self, now_s: float) -> int:
        """The records that are due now, counted as sent."""
        self._accrue(now_s)
        # Seconds that were added up fall short of a whole record by a hair now and then.
        due = int(self._owed + EPSILON)
        self._owed -= due
        return due

    def next_in_s(self, at_least_s: float, at_most_s: float) -> float:
        """How long until the next record is due, within bounds."""
        wait_s = (1.0 - self._owed) / self._rate_per_s if self._rate_per_s > 0 else at_most_s
        return min(max(wait_s, at_least_s), at_most_s)

    def _accrue(self, now_s: float) -> None:
        self._owed += min(now_s - self._at_s, BACKLOG_MAX_S) * self._rate_per_s
        self._at_s = now_s
