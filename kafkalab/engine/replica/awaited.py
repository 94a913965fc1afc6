"""Followers that are expected soon, and for whose sake answers do not wait long.

A broker that comes to lead a partition may hold a fetch of a follower that knows nothing of it yet:
that fetch is answered, so that the follower can come back and ask for the new partition too. Until it
has, or for a second, its fetches wait only a moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kafkalab.engine.common.time import Clock
    from kafkalab.engine.replica.partition import Partition

WAIT_MS: Final = 20.0
"""How long a fetch of a follower waits while that follower is expected to ask for more partitions."""
AWAITED_MAX_MS: Final = 1_000.0


class AwaitedFollowers:
    """By follower: the partitions for which it has not fetched in the present leader epoch."""

    __slots__ = ("_awaited", "_clock")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._awaited: dict[int, tuple[set[Partition], float]] = {}

    def expect(self, led: Iterable[Partition]) -> set[int]:
        """These are led in a new epoch: the followers that must come for them."""
        due_ms = self._clock.now_ms() + AWAITED_MAX_MS
        followers: set[int] = set()
        for partition in led:
            for replica in partition.remotes.values():
                if replica.log_end_offset < 0:
                    awaited, _ = self._awaited.get(replica.broker_id, (set(), 0.0))
                    awaited.add(partition)
                    self._awaited[replica.broker_id] = (awaited, due_ms)
                    followers.add(replica.broker_id)
        return followers

    def arrived(self, broker_id: int, partition: Partition) -> None:
        """A follower has fetched for the first time in this leader epoch."""
        awaited = self._awaited.get(broker_id)
        if awaited is not None:
            awaited[0].discard(partition)
            if not awaited[0]:
                del self._awaited[broker_id]

    def wait_ms(self, broker_id: int, wanted_ms: float) -> float:
        """How long a fetch of that broker waits that wants to wait so long."""
        awaited = self._awaited.get(broker_id) if self._awaited else None
        if awaited is None:
            return wanted_ms
        if self._clock.now_ms() < awaited[1]:
            return min(wanted_ms, WAIT_MS)
        del self._awaited[broker_id]
        return wanted_ms
