"""The leader's side of replication: answers fetches and learns from them how far everybody is.

Any member is asked: who is not the leader says who is. A leader answers at once with data, a
divergence, a snapshot to be taken in place of the log, or a newer high watermark; else it keeps the
fetch until there is one of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.time import Clock
from kafkalab.engine.raft import messages
from kafkalab.engine.raft.config import RaftConfig
from kafkalab.engine.raft.metadata_log import divergence
from kafkalab.engine.raft.parked import FetchPurgatory, ParkedFetch
from kafkalab.engine.raft.snapshot_serving import SnapshotOwner
from kafkalab.engine.raft.snapshot_store import SnapshotId
from kafkalab.engine.raft.snapshotted_log import SnapshottedLog
from kafkalab.engine.raft.states import LeaderState, leader_refusal
from kafkalab.engine.raft.voters import ReplicaKey


class ServingOwner(SnapshotOwner, Protocol):
    """The member that is asked."""

    @property
    def high_watermark(self) -> int: ...

    def handle_replica_progress(self) -> None:
        """A voter has more of the log on its disk than before."""


class FetchServer:
    """Answers Fetch for the metadata log."""

    def __init__(
        self,
        owner: ServingOwner,
        *,
        cluster_id: str | None,
        log: SnapshottedLog,
        clock: Clock,
        config: RaftConfig,
    ) -> None:
        self._owner = owner
        self._cluster_id = cluster_id
        self._log = log
        self._clock = clock
        self._config = config
        self._parked = FetchPurgatory(clock)

    # --- Fetch -----------------------------------------------------------------------------------

    def handle_fetch(self, request: Any, respond: Callable[[Mapping[str, Any]], None]) -> None:
        """Answer a fetch, now or when there is news."""
        if messages.is_foreign(request, self._cluster_id):
            respond(messages.fetch_error(Errors.INCONSISTENT_CLUSTER_ID))
            return
        partition = messages.only_fetch_partition(request)
        if partition is None:
            respond(messages.fetch_error(Errors.INVALID_REQUEST))
            return
        error = self._refusal(request, partition)
        state = self._owner.state
        if error is not Errors.NONE:
            respond(self._answer(error))
            return
        assert isinstance(state, LeaderState), "only a leader serves"
        snapshot_id = self._log.snapshot_instead_of(partition.fetch_offset, partition.last_fetched_epoch)
        if snapshot_id is not None:
            respond(self._answer(Errors.NONE, snapshot_id=snapshot_id))
            return
        diverging = divergence(self._log, partition.fetch_offset, partition.last_fetched_epoch)
        if diverging is not None:
            # Such a fetch says nothing of how far the replica is: its tail is about to go.
            respond(self._answer(Errors.NONE, diverging=diverging))
            return
        is_progress = self._count(state, request, partition)
        if is_progress:
            # The high watermark may move: everybody parked hears of it, this replica too, below.
            self._owner.handle_replica_progress()
            if self._owner.state is not state:
                respond(self._answer(self._refusal(request, partition)))
                return
        fetch = ParkedFetch(
            offset=partition.fetch_offset,
            high_watermark=partition.high_watermark,
            # There is one partition, and Kafka's followers leave its own bound at 0.
            max_bytes=max(0, min(request.max_bytes, self._config.fetch_max_bytes)),
            respond=respond,
        )
        body = self._news_for(fetch)
        if body is not None or request.max_wait <= 0:
            respond(body or self._answer(Errors.NONE))
        else:
            self._parked.park(fetch, request.max_wait, lambda late: late.respond(self._answer(Errors.NONE)))

    def _refusal(self, request: Any, partition: Any) -> Errors:
        epoch = partition.current_leader_epoch
        if request.max_wait < 0 or partition.fetch_offset < 0 or epoch < 0 or not 0 <= partition.last_fetched_epoch <= epoch:
            return Errors.INVALID_REQUEST
        return leader_refusal(self._owner.state, epoch, is_serving=self._owner.is_serving)

    def _count(self, state: LeaderState, request: Any, partition: Any) -> bool:
        """Note where the replica is; whether a voter got further."""
        key = ReplicaKey.of(max(request.replica_state.replica_id, getattr(request, "replica_id", -1)), partition.replica_directory_id)
        now_ms = self._clock.now_ms()
        progress = state.replica(key, now_ms)
        if progress is None:
            return False
        progress.directory_id = key.directory_id
        old_end = progress.end_offset
        progress.advance(partition.fetch_offset, self._log.log_end_offset, now_ms=now_ms, wall_ms=self._clock.wall_ms())
        return progress.end_offset > old_end and state.voter(key) is progress

    def _news_for(self, fetch: ParkedFetch) -> messages.Body | None:
        """The answer to a valid fetch, or None while there is nothing to tell."""
        if fetch.offset < self._log.log_start_offset:
            # The log's prefix went while the fetch was parked, which only one that is far behind can tell of.
            return self._answer(Errors.NONE)
        if fetch.offset < self._log.log_end_offset:
            return self._answer(Errors.NONE, records=self._log.read(fetch.offset, fetch.max_bytes))
        if fetch.high_watermark < self._owner.high_watermark:
            return self._answer(Errors.NONE)
        return None

    def _answer(
        self, error: Errors, *, records: bytes = b"", diverging: tuple[int, int] | None = None, snapshot_id: SnapshotId | None = None
    ) -> messages.Body:
        state = self._owner.state
        is_leader = isinstance(state, LeaderState)
        return messages.fetch_response(
            self._owner.leader_address(),
            error,
            state.leader_id,
            state.epoch,
            high_watermark=self._owner.high_watermark if is_leader else -1,
            log_start_offset=self._log.log_start_offset if is_leader else -1,
            records=records,
            diverging=diverging,
            snapshot_id=snapshot_id,
        )

    def release(self) -> None:
        """There may be news: data, or a higher high watermark."""
        self._parked.release(self._news_for)

    def refuse_parked(self) -> None:
        """This member leads no longer: whoever waits shall look for the new leader."""
        for fetch in self._parked.clear():
            fetch.respond(self._answer(Errors.NOT_LEADER_OR_FOLLOWER))

    def abandon(self) -> None:
        """Forget whoever waits."""
        self._parked.clear()
