"""What is new for a follower, kept as it happens.

A follower's session may hold thousands of partitions, and as a rule a fetch is about a few of them.
So nobody goes through all: a partition in which something happens (an append, another high
watermark, leader epoch, ISR or log start) puts itself on the list of each session that it is in,
and a fetch looks at that list and at what the request names. A partition leaves the list when the
follower has everything that there is to tell.

A partition that is not on the list *rests*: the follower is at the leader's log end. Each fetch of the
session says so again, for all that rest (:meth:`RemoteReplica.caught_up_at`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kafkalab.engine.replica.delayed import FetchItem, FetchOperation


class FollowerTracker:
    """One follower session's list of what is to be looked at."""

    __slots__ = ("dirty", "last_fetch_ms", "replica_epoch", "waiting")

    def __init__(self, replica_epoch: int) -> None:
        self.dirty: dict[FetchItem, None] = {}
        """In the order in which they are read: what was read goes to the end."""
        self.last_fetch_ms = float("-inf")
        self.replica_epoch = replica_epoch
        self.waiting: FetchOperation | None = None
        """The fetch that waits for something to happen."""
