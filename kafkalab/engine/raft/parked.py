"""Fetches that wait at the leader until there is something to tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kafkalab.engine.common.time import Clock, Timer


@dataclass(slots=True, eq=False)
class ParkedFetch:
    """One fetch: where it reads, what it knows, and how it is answered."""

    offset: int
    high_watermark: int
    max_bytes: int
    respond: Callable[[dict[str, Any]], None]
    timer: Timer | None = None


class FetchPurgatory:
    """The parked fetches of one leader, oldest first. Each is let go once, by news or by its deadline."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._fetches: dict[ParkedFetch, None] = {}

    def __len__(self) -> int:
        return len(self._fetches)

    def park(self, fetch: ParkedFetch, max_wait_ms: float, on_deadline: Callable[[ParkedFetch], None]) -> None:
        """Keep the fetch for a while at most."""

        def expire() -> None:
            if fetch in self._fetches:
                del self._fetches[fetch]
                on_deadline(fetch)

        self._fetches[fetch] = None
        fetch.timer = self._clock.call_later(max_wait_ms, expire)

    def release(self, answer: Callable[[ParkedFetch], dict[str, Any] | None]) -> None:
        """Offer every fetch for an answer; those that get one leave."""
        for fetch in tuple(self._fetches):
            # Answering one may lead to others being answered.
            body = answer(fetch) if fetch in self._fetches else None
            if body is not None:
                self.forget(fetch)
                fetch.respond(body)

    def forget(self, fetch: ParkedFetch) -> None:
        """The fetch has been answered."""
        self._fetches.pop(fetch, None)
        if fetch.timer is not None:
            fetch.timer.cancel()

    def clear(self) -> list[ParkedFetch]:
        """Let all go, for the caller to answer."""
        fetches = list(self._fetches)
        for fetch in fetches:
            self.forget(fetch)
        return fetches
