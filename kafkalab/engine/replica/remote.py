"""What a partition's leader knows of another broker's replica.

A follower tells where its log ends with each fetch. It is *caught up* at the moment of a fetch that
asks for the leader's log end, or, under a steady stream of writes, at the moment of the fetch before,
if it asks now for all that the leader had then (KAFKA-2350's rule, as Kafka 4.3 has it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kafkalab.engine.replica.tracking import FollowerTracker

UNKNOWN_OFFSET: Final = -1
UNTOLD_EPOCH: Final = -1
"""The follower speaks a version of Fetch in which it does not tell its broker epoch."""
NEVER_FETCHED: Final = -2
"""The broker epoch of a follower that has not fetched in this leader epoch yet: nobody knows which life it is in."""


class RemoteReplica:
    """A follower's place, by its fetches in the present leader epoch."""

    __slots__ = (
        "broker_epoch",
        "broker_id",
        "in_maximal_isr",
        "last_caught_up_ms",
        "last_fetch_leader_end",
        "last_fetch_ms",
        "log_end_offset",
        "log_start_offset",
        "tracker",
    )

    def __init__(self, broker_id: int) -> None:
        self.broker_id = broker_id
        self.broker_epoch = NEVER_FETCHED
        """Of the life in which it fetched last (KIP-903)."""
        self.log_end_offset = UNKNOWN_OFFSET
        self.log_start_offset = UNKNOWN_OFFSET
        self.last_fetch_ms = float("-inf")
        self.last_fetch_leader_end = UNKNOWN_OFFSET
        self.last_caught_up_ms = float("-inf")
        """The last such moment that a look at its fetch has told of."""
        self.in_maximal_isr = False
        self.tracker: FollowerTracker | None = None
        """Of the session of its last fetch; its later fetches count here too while it rests at the leader's end."""

    def reset(self, now_ms: float, leader_end_offset: int, *, is_same_leader: bool, in_sync: bool) -> None:
        """A new leader epoch begins.

        A member of the ISR gets the full time to catch up; anybody else has to fetch first, so that
        the high watermark does not wait for a replica of which nothing is known.
        """
        self.tracker = None
        self.last_caught_up_ms = now_ms if in_sync else float("-inf")
        self.last_fetch_ms = now_ms if in_sync and is_same_leader else float("-inf")
        self.last_fetch_leader_end = leader_end_offset if is_same_leader else UNKNOWN_OFFSET

    def fetched(
        self,
        offset: int,
        log_start_offset: int,
        broker_epoch: int,
        leader_end_offset: int,
        now_ms: float,
        tracker: FollowerTracker | None = None,
    ) -> None:
        """It asked for ``offset``: it has what lies before."""
        self.last_caught_up_ms = self.caught_up_at()
        if self._rests():
            self.last_fetch_ms = max(self.last_fetch_ms, self.last_caught_up_ms)
        self.tracker = tracker
        if offset >= leader_end_offset:
            self.last_caught_up_ms = now_ms
        elif offset >= self.last_fetch_leader_end and self.last_fetch_ms > self.last_caught_up_ms:
            # It had, when it fetched last, all that the leader had then.
            self.last_caught_up_ms = self.last_fetch_ms
        self.log_end_offset = offset
        self.log_start_offset = log_start_offset
        self.broker_epoch = broker_epoch
        self.last_fetch_leader_end = leader_end_offset
        self.last_fetch_ms = now_ms

    def _rests(self) -> bool:
        """It had, when its fetch was looked at last, all that the leader had; the leader has told of nothing new since."""
        return self.tracker is not None and self.log_end_offset == self.last_fetch_leader_end

    def caught_up_at(self) -> float:
        """The last moment at which it had everything that the leader had then."""
        if self.tracker is not None and self._rests():
            return max(self.last_caught_up_ms, self.tracker.last_fetch_ms)
        return self.last_caught_up_ms

    def is_caught_up(self, leader_end_offset: int, now_ms: float, lag_time_max_ms: float) -> bool:
        """Whether it has all that the leader has, or had within the time that it may lag."""
        return self.log_end_offset == leader_end_offset or now_ms - self.caught_up_at() <= lag_time_max_ms
