"""A follower's or observer's side of replication: fetch, check, append, flush, fetch again.

One request is under way at a time. A follower fetches from its leader. Who knows no leader, or got
no answer from it and may not stand for election, asks any voter: the answer says who leads.
"""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING, Any, Final, Protocol

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.network import Network
from kafkalab.engine.raft import messages
from kafkalab.engine.raft.config import RaftConfig
from kafkalab.engine.raft.metadata_log import truncation_offset
from kafkalab.engine.raft.snapshot_fetcher import SnapshotFetcher, SnapshotReceiver
from kafkalab.engine.raft.snapshot_store import SnapshotId
from kafkalab.engine.raft.snapshotted_log import SnapshottedLog
from kafkalab.engine.record.batch import before_epoch_after, iter_headers

if TYPE_CHECKING:
    from random import Random

log = logging.getLogger(__name__)

LEADER_ASKED_EVERY: Final = 2
SILENT_LEADER_ASKED_EVERY: Final = 12
"""Of an observer's fetches while they fail, as many go to the leader; the others ask around who leads. To ask one that
does not answer takes as long as others take to replace it."""
SILENT_SHARE: Final = 0.9
"""A request that failed after less of its time was refused or its connection broke: that node is asked again soon."""
RETRY_BACKOFF_MAX_MS: Final = 200.0


class FetcherOwner(SnapshotReceiver, Protocol):
    """The member on whose behalf is fetched."""

    @property
    def leader_id(self) -> int: ...

    @property
    def high_watermark(self) -> int: ...

    @property
    def is_voter(self) -> bool: ...

    def ask_around(self) -> list[int]:
        """Whom to ask while no leader is known."""

    def handle_appended(self, data: bytes) -> None:
        """The leader sent these batches, and they are in the log."""

    def handle_fetched(self, high_watermark: int) -> None:
        """The leader answered; what it sent is in the log."""

    def handle_fatal(self, why: str) -> None:
        """The member cannot take part any more."""

    def handle_truncated(self, from_offset: int, to_offset: int) -> None:
        """The tail of the log was not the leader's and is gone."""


class Fetcher:
    """The fetch loop. ``restart`` begins it anew, ``stop`` ends it; late answers change no log."""

    def __init__(
        self,
        owner: FetcherOwner,
        *,
        node_id: int,
        directory_id: uuid.UUID | None,
        cluster_id: str | None,
        log: SnapshottedLog,
        network: Network,
        clock: Clock,
        rng: Random,
        config: RaftConfig,
        can_become_voter: bool = False,
    ) -> None:
        self._owner = owner
        self._node_id = node_id
        self._directory_id = directory_id
        self._cluster_id = cluster_id
        self._log = log
        self._network = network
        self._clock = clock
        self._rng = rng
        self._config = config
        self._can_become_voter = can_become_voter
        # Raised by each restart and stop: what was sent before belongs to the past.
        self._generation = 0
        self._failures = 0
        self.is_refused_as_stranger = False
        """Whether whoever was asked belongs to another cluster. It is said once, not at each fetch."""
        self._silent_id = -1
        """Who let a fetch wait until its time was over."""
        self._retry: Timer | None = None
        self._snapshots = SnapshotFetcher(
            owner,
            node_id=node_id,
            directory_id=directory_id,
            cluster_id=cluster_id,
            log=log,
            network=network,
            clock=clock,
            config=config,
            on_end=self._snapshot_ended,
        )

    def restart(self) -> None:
        """Fetch from whoever leads now, at once."""
        self.stop()
        self._failures = 0
        self._send()

    def stop(self) -> None:
        """Fetch no more."""
        self._generation += 1
        self._snapshots.stop()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _target(self) -> int | None:
        leader_id = self._owner.leader_id
        # A voter that hears nothing will stand for election; an observer can only ask around.
        every = LEADER_ASKED_EVERY if self._silent_id != leader_id else SILENT_LEADER_ASKED_EVERY
        if leader_id >= 0 and (self._owner.is_voter or self._failures % every == 0):
            return leader_id
        known = self._owner.ask_around()
        others = [one for one in known if one not in (leader_id, self._silent_id)] or known
        return self._rng.choice(others) if others else None

    def _send(self) -> None:
        target = self._target()
        if target is None:
            return
        generation = self._generation
        sent_ms = self._clock.now_ms()
        body = messages.fetch_request(
            cluster_id=self._cluster_id,
            replica_id=self._node_id,
            directory_id=self._directory_id,
            epoch=self._owner.epoch,
            offset=self._log.log_end_offset,
            last_fetched_epoch=max(0, self._log.latest_epoch),
            high_watermark=self._owner.high_watermark,
            max_wait_ms=self._config.fetch_max_wait_ms,
            max_bytes=self._config.fetch_max_bytes,
        )

        def answered(response: Any | None) -> None:
            if response is not None:
                self._silent_id = -1 if target == self._silent_id else self._silent_id
            elif self._clock.now_ms() - sent_ms >= self._config.request_timeout_ms * SILENT_SHARE:
                self._silent_id = target
            self._handle_response(response, generation)

        self._network.send(
            target,
            ApiKey.FETCH,
            body,
            answered,
            timeout_ms=self._config.request_timeout_ms,
        )

    def _retry_later(self) -> None:
        delay_ms = self._config.retry_delay_ms(self._failures, RETRY_BACKOFF_MAX_MS)
        self._failures += 1
        self._retry = self._clock.call_later(delay_ms, self._send)

    def _handle_response(self, response: Any | None, generation: int) -> None:
        if generation != self._generation:
            return
        if response is None or response.error_code != Errors.NONE:
            is_stranger = response is not None and response.error_code == Errors.INCONSISTENT_CLUSTER_ID
            if is_stranger and not self.is_refused_as_stranger:
                self.is_refused_as_stranger = True
                log.error("Node %d belongs to cluster %s, the quorum it asks does not", self._node_id, self._cluster_id)
            self._retry_later()
            return
        if len(response.responses) != 1 or len(response.responses[0].partitions) != 1:
            self._retry_later()
            return
        partition = response.responses[0].partitions[0]
        leader = partition.current_leader
        address = messages.told_address(response, leader.leader_id)
        self._owner.observe(leader.leader_id, leader.leader_epoch, "a fetch was answered so", address)
        if generation != self._generation:
            # Another leader or epoch: the loop has begun anew.
            return
        if partition.error_code == Errors.NONE and leader.leader_epoch == self._owner.epoch and _names_snapshot(partition.snapshot_id):
            self._fetch_snapshot(leader.leader_id, partition.snapshot_id)
            return
        if partition.error_code != Errors.NONE or leader.leader_epoch != self._owner.epoch or not self._take(partition):
            if generation == self._generation:
                self._retry_later()
            return
        self._failures = 0
        self._owner.handle_fetched(partition.high_watermark)
        if generation == self._generation:
            self._send()

    def _fetch_snapshot(self, leader_id: int, snapshot_id: Any) -> None:
        wanted = SnapshotId(epoch=snapshot_id.epoch, end_offset=snapshot_id.end_offset)
        if wanted.epoch < 0 or wanted.end_offset < 0 or not self._snapshots.start(leader_id, wanted):
            log.error(
                "Node %d is told to take snapshot %s, which is of no use at offset %d", self._node_id, wanted, self._log.log_end_offset
            )
            self._retry_later()

    def _snapshot_ended(self, is_fetched: bool) -> None:
        if is_fetched:
            self._failures = 0
            self._send()
        else:
            self._retry_later()

    def _take(self, partition: Any) -> bool:
        """Bring the log on with what the leader sent; False when that is of no use."""
        diverging = partition.diverging_epoch
        if diverging.epoch >= 0:
            return self._truncate(diverging.epoch, diverging.end_offset)
        if not partition.records:
            return True
        try:
            # Of a later epoch is what was written over it while it was on its way (KAFKA-18723).
            data = before_epoch_after(bytes(partition.records), self._owner.epoch)
            self._check_unbroken(data)
            self._log.append_as_follower(data)
        except ApiError as error:
            if error.error is Errors.KAFKA_STORAGE_ERROR:
                # Not the leader's doing: the node ends.
                raise
            log.error("What the leader sent cannot be appended at offset %d: %s", self._log.log_end_offset, error)
            return False
        self._owner.handle_appended(data)
        if self._owner.is_voter or self._can_become_voter:
            # The next fetch says that this voter has it; then it must survive a power cut. One that the leader
            # makes a voter counts with what it has fetched before it hears of that.
            self._log.flush()
        return True

    def _check_unbroken(self, data: bytes) -> None:
        """In the metadata log each offset has its record, for it is not compacted, and epochs only rise.

        :raises ApiError: when there is a hole, or what comes is here already.
        """
        next_offset, epoch = self._log.log_end_offset, self._log.latest_epoch
        for _, header in iter_headers(data):
            is_whole = header.record_count == header.last_offset_delta + 1
            if header.base_offset != next_offset or header.partition_leader_epoch < epoch or not is_whole:
                raise ApiError(
                    Errors.INVALID_RECORD,
                    f"{header.record_count} records at offsets {header.base_offset} to {header.last_offset} "
                    f"of epoch {header.partition_leader_epoch} follow offset {next_offset - 1} of epoch {epoch}",
                )
            next_offset, epoch = header.next_offset, header.partition_leader_epoch

    def _truncate(self, epoch: int, end_offset: int) -> bool:
        from_offset = self._log.log_end_offset
        to_offset = truncation_offset(self._log, epoch, end_offset)
        if to_offset >= from_offset:
            return False
        if to_offset < self._owner.high_watermark:
            # Either of the two has lost what a majority had. To cut it here would lose it for good.
            self._owner.handle_fatal(
                f"controller {self._owner.leader_id}, the leader of epoch {self._owner.epoch}, asks to cut the metadata log at offset "
                f"{to_offset}, below what is committed: the high watermark is {self._owner.high_watermark}"
            )
            return False
        self._log.truncate_to(to_offset)
        self._owner.handle_truncated(from_offset, to_offset)
        return True


def _names_snapshot(snapshot_id: Any) -> bool:
    return bool(snapshot_id.epoch >= 0 or snapshot_id.end_offset >= 0)
