"""Requests that wait: produce requests for the high watermark, fetches for data.

Nobody looks whether something has happened. A waiting request lies with the partitions that it
waits for, and the event itself (an append, a high watermark, a leader change) ends the wait; its
deadline is a timer. Each request is answered exactly once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.log.region import NO_REGIONS

if TYPE_CHECKING:
    from kafkalab.engine.common.time import Timer
    from kafkalab.engine.replica.partition import Partition
    from kafkalab.engine.replica.quota import ReplicationQuota
    from kafkalab.engine.replica.tracking import FollowerTracker

PartitionResponse = dict[str, Any]
"""A partition's part of a fetch response, with the field names of the codec."""


class ProduceResult:
    """What became of the batch for one partition."""

    __slots__ = ("append_time_ms", "base_offset", "error", "log_start_offset", "message", "operation", "record_errors", "required_offset")

    def __init__(
        self,
        error: int = 0,
        base_offset: int = -1,
        append_time_ms: int = -1,
        log_start_offset: int = -1,
        message: str | None = None,
        record_errors: Sequence[tuple[int, str]] = (),
    ) -> None:
        self.error = error
        self.base_offset = base_offset
        self.append_time_ms = append_time_ms
        """The broker's time that the records got, -1 where they keep their own."""
        self.log_start_offset = log_start_offset
        self.message = message
        self.record_errors = record_errors
        """The records that are to blame, by their place in the batch."""
        self.required_offset = -1
        """The high watermark that acks=all waits for."""
        self.operation: DelayedProduce | None = None
        """Set while the result is still open."""


class DelayedProduce:
    """A produce request with acks=all, until each of its partitions is settled."""

    __slots__ = ("client_id", "is_internal", "remaining", "respond", "results", "timer")

    def __init__(
        self, results: list[ProduceResult], remaining: int, respond: Callable[[list[ProduceResult]], None], client_id: str | None
    ) -> None:
        self.results = results
        self.remaining = remaining
        self.respond = respond
        self.client_id = client_id
        self.is_internal = client_id is None
        """A coordinator's own write: what is committed is committed, however small the ISR."""
        self.timer: Timer | None = None

    def settle(self, result: ProduceResult, error: int, message: str | None = None) -> None:
        """One partition is done; the last one sends the answer."""
        result.operation = None
        if error:
            result.error = error
            result.message = message
        self.remaining -= 1
        if self.remaining == 0:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None
            self.respond(self.results)

    def expire(self) -> None:
        """The deadline is over: what is still open timed out. It may yet be committed."""
        self.timer = None
        if self.remaining == 0:
            return
        for result in self.results:
            if result.operation is self:
                result.operation = None
                result.error = Errors.REQUEST_TIMED_OUT
        self.remaining = 0
        self.respond(self.results)


class FetchItem:
    """One partition of a fetch request, or of a fetch session, where it lives from request to request."""

    __slots__ = (
        "current_leader_epoch",
        "error",
        "fetch_offset",
        "home",
        "is_noted",
        "key",
        "last_fetched_epoch",
        "log_start_offset",
        "max_bytes",
        "pending",
        "sent_high_watermark",
        "sent_log_start_offset",
        "topic_id",
        "tracker",
    )

    def __init__(
        self,
        key: tuple[str, int],
        topic_id: Any,
        fetch_offset: int,
        max_bytes: int,
        current_leader_epoch: int = -1,
        last_fetched_epoch: int = -1,
        log_start_offset: int = -1,
        error: int = 0,
    ) -> None:
        self.key = key
        """Topic name ("" while the id is unknown) and partition."""
        self.topic_id = topic_id
        self.fetch_offset = fetch_offset
        self.max_bytes = max_bytes
        self.current_leader_epoch = current_leader_epoch
        self.last_fetched_epoch = last_fetched_epoch
        self.log_start_offset = log_start_offset
        """Of the follower that fetches, -1 for a consumer."""
        self.error = error
        """Set where the topic could not even be named."""
        # What the fetcher heard last in this session; it is told again only of what differs.
        self.sent_high_watermark = -1
        self.sent_log_start_offset = -1
        self.pending = False
        """There is more than was read last, for a limit or a quota was in the way."""
        self.tracker: FollowerTracker | None = None
        """Of the follower's session that it lives in."""
        self.home: Partition | None = None
        """The partition that puts it on the tracker's list."""
        self.is_noted = False
        """A fetch has come since it was put there: only then was the follower looked at, and may it be taken off."""

    def leave(self) -> None:
        """Its session is over, or goes on without it."""
        if self.home is not None:
            self.home.tracked.pop(self, None)
            self.home = None
        if self.tracker is not None:
            self.tracker.dirty.pop(self, None)
            self.tracker = None


class FetchHost(Protocol):
    """What a waiting fetch asks for when it is woken."""

    def collect(self, fetch: FetchOperation) -> tuple[list[PartitionResponse | None], int]:
        """Read now: one entry per item, None where there is nothing to tell, and the bytes of all."""

    def unpark(self, fetch: FetchOperation) -> None:
        """The fetch waits no longer."""


class FetchOperation:
    """A fetch request on its way to its answer, which may have to wait for data."""

    __slots__ = (
        "host",
        "is_follower",
        "is_incremental",
        "items",
        "max_bytes",
        "max_wait_ms",
        "min_bytes",
        "needs_leader",
        "partitions",
        "quota",
        "rack",
        "read_committed",
        "region_from",
        "replica_epoch",
        "replica_id",
        "respond",
        "timer",
        "tracker",
    )

    def __init__(
        self,
        items: list[FetchItem],
        respond: Callable[[list[PartitionResponse | None], int], None],
        *,
        max_wait_ms: int,
        min_bytes: int,
        max_bytes: int,
        replica_id: int = -1,
        replica_epoch: int = -1,
        read_committed: bool = False,
        needs_leader: bool = True,
        is_incremental: bool = False,
        region_from: int = NO_REGIONS,
        rack: str = "",
        quota: ReplicationQuota | None = None,
        tracker: FollowerTracker | None = None,
    ) -> None:
        self.items = items
        """What is looked at; of a tracked session, what there was to look at last."""
        self.tracker = tracker
        self.respond = respond
        """Gets an entry per item, None where there is nothing to tell, and the bytes of all."""
        self.max_wait_ms = max_wait_ms
        self.min_bytes = min_bytes
        self.max_bytes = max_bytes
        self.replica_id = replica_id
        self.replica_epoch = replica_epoch
        self.is_follower = replica_id >= 0
        self.read_committed = read_committed
        self.needs_leader = needs_leader
        """Whether only the leader may answer; since version 11 consumers may ask followers (KIP-392)."""
        self.is_incremental = is_incremental
        """Whether partitions without news may be left out."""
        self.region_from = region_from
        """From how many bytes on a partition's records may be told as a region of a file."""
        self.rack = rack
        """Of the consumer that would rather read from a replica in its rack; "" where that does not matter."""
        self.quota = quota
        """Of what is sent to followers; None where nobody is limited, as for consumers."""
        self.host: FetchHost | None = None
        """Set while it waits."""
        self.partitions: list[Partition] = []
        self.timer: Timer | None = None

    def wake(self) -> None:
        """Something was appended or committed where it waits: answer, if that is enough."""
        host = self.host
        if host is None:
            return
        self._look_again()
        results, size = host.collect(self)
        if size >= self.min_bytes:
            self._finish(host, results, size)

    def complete(self) -> None:
        """Answer with what there is: the deadline is over, or a leader has changed."""
        host = self.host
        if host is not None:
            self._look_again()
            results, size = host.collect(self)
            self._finish(host, results, size)

    def _look_again(self) -> None:
        if self.tracker is not None:
            # In place: whoever answers goes through the same list.
            self.items[:] = self.tracker.dirty

    def forget(self) -> None:
        """Wait no longer and never answer."""
        if self.host is not None:
            self.host.unpark(self)

    def _finish(self, host: FetchHost, results: list[PartitionResponse | None], size: int) -> None:
        host.unpark(self)
        self.respond(results, size)
