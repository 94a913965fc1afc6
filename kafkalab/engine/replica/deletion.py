"""DeleteRecords requests that wait until every live replica has dropped the records.

A leader raises its log start offset at once. Followers hear of it with their next fetch and tell
with the one after. The least log start offset among the live replicas is the *low watermark*; a
request is answered when that has come to where it wants it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kafkalab.engine.common.errors import Errors

if TYPE_CHECKING:
    from kafkalab.engine.common.time import Timer

INVALID_LOW_WATERMARK = -1


class DeletionResult:
    """What became of one partition of a request."""

    __slots__ = ("error", "low_watermark", "operation", "required_offset")

    def __init__(self, error: int = 0, low_watermark: int = INVALID_LOW_WATERMARK, required_offset: int = -1) -> None:
        self.error = error
        self.low_watermark = low_watermark
        self.required_offset = required_offset
        """The low watermark that is waited for."""
        self.operation: DelayedDeletion | None = None
        """Set while the result is still open."""

    def settle(self, error: int, low_watermark: int) -> None:
        """Nothing is waited for any more."""
        operation, self.operation = self.operation, None
        if operation is not None:
            self.error, self.low_watermark = error, low_watermark
            operation.settled_one()


class DelayedDeletion:
    """A DeleteRecords request, until each of its partitions is settled."""

    __slots__ = ("_remaining", "_respond", "results", "timer")

    def __init__(self, results: list[DeletionResult], remaining: int, respond: Callable[[list[DeletionResult]], None]) -> None:
        self.results = results
        self._remaining = remaining
        self._respond = respond
        self.timer: Timer | None = None

    def settled_one(self) -> None:
        """One partition is done; the last one sends the answer."""
        self._remaining -= 1
        if self._remaining == 0:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None
            self._respond(self.results)

    def expire(self) -> None:
        """The time is over: some replica has not told that it dropped the records. It will, when it can."""
        self.timer = None
        if self._remaining == 0:
            return
        self._remaining = 0
        for result in self.results:
            if result.operation is self:
                result.operation = None
                result.error = Errors.REQUEST_TIMED_OUT
        self._respond(self.results)
