"""One partition as one broker has it: leader or follower, its ISR and its high watermark.

The rules (Kafka 4.3):

* The ISR is what the controller has committed. While a change of ours is under way the *maximal*
  ISR counts: a member that is to join already does, one that is to leave still does. So nothing is
  acknowledged that either outcome of the change would lose.
* The high watermark is the least log end among the maximal ISR and those replicas that are about
  to join it (caught up and eligible). It never moves back while leading, and stands still while
  the ISR is smaller than min.insync.replicas, whatever acks a producer wants (KIP-966).
* A follower joins the ISR when it has what is committed and has come into this leader epoch. Where
  the ISR is too small the high watermark is an old one, and it must be caught up too (KAFKA-19996).
* A new leader keeps the high watermark that it knew. It moves again when every ISR member has
  fetched once in the new epoch.
* A follower's position counts from its fetch request, and only when its log does not diverge.

Waiting requests lie here and are woken by what they wait for.
"""

from __future__ import annotations

import uuid
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.record.batch import HEADER_BYTES, before_epoch_after, read_header, validate
from kafkalab.engine.replica.delayed import FetchItem, FetchOperation, PartitionResponse, ProduceResult
from kafkalab.engine.replica.deletion import INVALID_LOW_WATERMARK, DeletionResult
from kafkalab.engine.replica.isr import IsrProposal
from kafkalab.engine.replica.remote import NEVER_FETCHED, UNKNOWN_OFFSET, UNTOLD_EPOCH, RemoteReplica

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kafkalab.engine.log.log import AppendInfo, Log
    from kafkalab.engine.log.region import FileRegion
    from kafkalab.engine.metadata.image import PartitionRegistration

NO_EPOCH: Final = -1
# What a fetch finds at a partition before anything is read.
NOTHING_NEW: Final = 0
HAS_DATA: Final = 1
MUST_ANSWER: Final = 2


class PartitionHost(Protocol):
    """What a partition asks of its broker."""

    lag_time_max_ms: float

    def is_isr_eligible(self, broker_id: int, broker_epoch: int) -> bool:
        """Whether the broker may stand in an ISR: registered in that epoch, unfenced, and staying."""

    def may_fetch_without_epoch(self) -> bool:
        """Whether the cluster's version is one in which followers do not tell their broker epoch."""

    def registered_epoch(self, broker_id: int) -> int | None:
        """The broker epoch in the metadata, None for a broker that is not registered."""

    def propose_isr(self, partition: Partition, proposal: IsrProposal) -> None:
        """Ask the controller for another ISR."""

    def mark_changed(self, partition: Partition) -> None:
        """The screen and the checkpoint should hear of the partition's offsets."""

    def first_write_acknowledged(self, partition: Partition, offset: int, client_id: str) -> None:
        """A new leader has answered its first produce request."""

    def follower_arrived(self, broker_id: int, partition: Partition) -> None:
        """A follower has fetched for the first time in this leader epoch."""

    def nearest_replica(self, partition: Partition, rack: str, candidates: list[RemoteReplica]) -> int | None:
        """Which follower a consumer in that rack should read from; None for the leader."""

    def is_alive(self, broker_id: int) -> bool:
        """Whether the broker is registered and not fenced."""


class Partition:
    """A hosted partition. The manager tells it its role; handlers and fetchers use it."""

    __slots__ = (
        "_deletion_waiters",
        "_host",
        "_produce_waiters",
        "consumer_waiters",
        "first_write_pending",
        "follower_waiters",
        "future_log",
        "high_watermark",
        "is_changed",
        "is_leader",
        "isr",
        "leader_epoch",
        "leader_epoch_start_offset",
        "leader_id",
        "log",
        "maximal_isr",
        "min_isr",
        "node_id",
        "partition_epoch",
        "pending",
        "remotes",
        "replicas",
        "topic_id",
        "topic_partition",
        "tracked",
    )

    def __init__(
        self, topic_partition: TopicPartition, topic_id: uuid.UUID, node_id: int, log: Log, host: PartitionHost, *, high_watermark: int
    ) -> None:
        self.topic_partition = topic_partition
        self.topic_id = topic_id
        self.node_id = node_id
        self.log = log
        self.future_log: Log | None = None
        """A copy on its way to another directory."""
        self._host = host
        self.high_watermark = max(log.log_start_offset, min(high_watermark, log.log_end_offset))
        """Records below it are committed. Never above the log end."""
        self.leader_id = -1
        self.is_leader = False
        self.leader_epoch = NO_EPOCH
        self.partition_epoch = NO_EPOCH
        self.leader_epoch_start_offset = UNKNOWN_OFFSET
        """The leader's log end when it became leader in this epoch."""
        self.replicas: tuple[int, ...] = ()
        self.isr: tuple[int, ...] = ()
        """As committed by the controller; empty on a follower."""
        self.maximal_isr: frozenset[int] = frozenset()
        self.pending: IsrProposal | None = None
        """Our own ISR change that is under way; at most one."""
        self.min_isr = 1
        """min.insync.replicas, but never more than there are replicas."""
        self.remotes: dict[int, RemoteReplica] = {}
        self.first_write_pending = False
        self.is_changed = False
        """Already on the list of those whose offsets changed."""
        self._produce_waiters: deque[ProduceResult] = deque()
        self._deletion_waiters: list[DeletionResult] = []
        # Followers wait for the log end, consumers for the high watermark.
        self.follower_waiters: dict[FetchOperation, FetchItem] = {}
        self.consumer_waiters: dict[FetchOperation, FetchItem] = {}
        self.tracked: dict[FetchItem, None] = {}
        """In followers' sessions: these go on their lists when something happens here."""

    # --- roles ---------------------------------------------------------------------------------

    def become_leader(self, registration: PartitionRegistration, now_ms: float) -> bool:
        """Lead, or go on leading, as the controller has it. Tells whether this is a new leader epoch."""
        is_new_epoch = registration.leader_epoch > self.leader_epoch
        was_leader = self.is_leader
        if was_leader and not is_new_epoch and registration.partition_epoch <= self.partition_epoch:
            # Our own change: the controller's answer was here before the metadata. But the answer says
            # nothing of the replicas, and the change may have been the end of a reassignment.
            if registration.partition_epoch == self.partition_epoch and registration.replicas != self.replicas:
                self._set_replicas(registration.replicas)
                self._know_replicas(registration.replicas)
                self._set_maximal(self.maximal_isr)
                self.maybe_advance_high_watermark(now_ms)
            return False
        self.is_leader = True
        self.leader_id = self.node_id
        self.leader_epoch = registration.leader_epoch
        self.partition_epoch = registration.partition_epoch
        self._set_replicas(registration.replicas)
        log_end = self.log.log_end_offset
        if is_new_epoch or not was_leader:
            self.leader_epoch_start_offset = log_end
            self.first_write_pending = True
            if not was_leader:
                self.remotes = {}
            self._know_replicas(registration.replicas)
            for replica in self.remotes.values():
                replica.reset(now_ms, log_end, is_same_leader=was_leader, in_sync=replica.broker_id in registration.isr)
        else:
            self._know_replicas(registration.replicas)
        self._commit_isr(registration.isr)
        self.maybe_advance_high_watermark(now_ms)
        if is_new_epoch or not was_leader:
            # Fetches in the old epoch must hear of the new one.
            self._complete_fetches()
        self._host.mark_changed(self)
        return is_new_epoch or not was_leader

    def become_follower(self, registration: PartitionRegistration) -> bool:
        """Follow, or go on following. Tells whether the leader or its epoch is another one."""
        was_leader = self.is_leader
        is_new = was_leader or registration.leader_epoch != self.leader_epoch or registration.leader != self.leader_id
        self.is_leader = False
        self.leader_id = registration.leader
        self.leader_epoch = registration.leader_epoch
        self.partition_epoch = registration.partition_epoch
        self.leader_epoch_start_offset = UNKNOWN_OFFSET
        self._set_replicas(registration.replicas)
        self.isr = ()
        self.maximal_isr = frozenset()
        self.pending = None
        self.remotes = {}
        self.first_write_pending = False
        if is_new:
            self._fail_produces(Errors.NOT_LEADER_OR_FOLLOWER)
            self._fail_deletions(Errors.NOT_LEADER_OR_FOLLOWER)
            self._complete_fetches()
        self._host.mark_changed(self)
        return is_new

    def stop(self, error: Errors = Errors.NOT_LEADER_OR_FOLLOWER) -> None:
        """The partition is not hosted any more: everybody who waits hears so."""
        self.is_leader = False
        self.leader_id = -1
        self.pending = None
        self._fail_produces(error)
        self._fail_deletions(Errors.UNKNOWN_TOPIC_OR_PARTITION)
        self._complete_fetches()
        for item in self.tracked:
            item.home = None
        self.tracked.clear()

    def _set_replicas(self, replicas: tuple[int, ...]) -> None:
        self.replicas = replicas
        self.update_min_isr()

    def _know_replicas(self, replicas: tuple[int, ...]) -> None:
        for broker_id in replicas:
            if broker_id != self.node_id and broker_id not in self.remotes:
                self.remotes[broker_id] = RemoteReplica(broker_id)
        for broker_id in [one for one in self.remotes if one not in replicas]:
            del self.remotes[broker_id]

    def update_min_isr(self) -> None:
        """Take over min.insync.replicas from the log's settings."""
        self.min_isr = min(self.log.config.min_insync_replicas, len(self.replicas)) if self.replicas else 1

    # --- ISR -----------------------------------------------------------------------------------

    def _commit_isr(self, isr: tuple[int, ...]) -> None:
        self.isr = isr
        # Whoever could not be proposed meanwhile is looked at with its next fetch.
        self.touch_followers()
        self.pending = None
        self._set_maximal(frozenset(isr))

    def _set_maximal(self, maximal: frozenset[int]) -> None:
        self.maximal_isr = maximal
        for replica in self.remotes.values():
            replica.in_maximal_isr = replica.broker_id in maximal

    def maybe_expand_isr(self, replica: RemoteReplica, now_ms: float) -> None:
        """Propose a follower that has caught up with the high watermark and with this epoch."""
        if (
            self.pending is not None
            or replica.in_maximal_isr
            or replica.log_end_offset < self.high_watermark
            or replica.log_end_offset < self.leader_epoch_start_offset
            or not self._host.is_isr_eligible(replica.broker_id, replica.broker_epoch)
        ):
            return
        if len(self.isr) < self.min_isr and not replica.is_caught_up(self.log.log_end_offset, now_ms, self._host.lag_time_max_ms):
            # The high watermark stands still and says nothing: it would join, be late, leave and join again.
            return
        self._propose((*self.isr, replica.broker_id), replica.broker_id)

    def maybe_shrink_isr(self, now_ms: float) -> tuple[int, ...]:
        """Propose an ISR without those that have lagged for too long; returns them."""
        if not self.is_leader or self.pending is not None:
            return ()
        log_end = self.log.log_end_offset
        late = tuple(
            replica.broker_id
            for replica in self.remotes.values()
            if replica.in_maximal_isr and not replica.is_caught_up(log_end, now_ms, self._host.lag_time_max_ms)
        )
        if late:
            self._propose(tuple(one for one in self.isr if one not in late), None)
        return late

    def _propose(self, isr: tuple[int, ...], joining: int | None) -> None:
        epochs = []
        for broker_id in isr:
            if broker_id == self.node_id:
                own_epoch = self._host.registered_epoch(broker_id)
                epochs.append(UNTOLD_EPOCH if own_epoch is None else own_epoch)
            else:
                # Of a member that has not fetched yet no epoch can be told. Should it have begun another
                # life, the controller has taken it out of the ISR, and the partition epoch is an old one.
                remote = self.remotes.get(broker_id)
                known = remote is not None and remote.broker_epoch != NEVER_FETCHED
                epochs.append(remote.broker_epoch if remote is not None and known else UNTOLD_EPOCH)
        self.pending = IsrProposal(isr, tuple(epochs), joining, self.leader_epoch, self.partition_epoch)
        if joining is not None:
            self._set_maximal(frozenset(isr))
        self._host.propose_isr(self, self.pending)

    def isr_decided(self, isr: tuple[int, ...], leader_epoch: int, partition_epoch: int, now_ms: float) -> None:
        """The controller has answered with the partition's committed state."""
        if not self.is_leader or leader_epoch != self.leader_epoch or partition_epoch < self.partition_epoch:
            return
        self.partition_epoch = partition_epoch
        self._commit_isr(isr)
        self.maybe_advance_high_watermark(now_ms)

    def isr_refused(self, proposal: IsrProposal, now_ms: float) -> None:
        """The controller has not applied the proposal and nobody ever will: the committed ISR stands."""
        if self.pending is proposal:
            self._commit_isr(self.isr)
            # Whoever was to join may be waited for no more.
            self.maybe_advance_high_watermark(now_ms)

    # --- the leader's log ------------------------------------------------------------------------

    def append_as_leader(self, data: bytes, acks: int, now_ms: float, *, client: bool = True) -> AppendInfo:
        """Append one batch.

        :raises ApiError: when it is refused; nothing was appended then.
        """
        if not self.is_leader:
            raise ApiError(Errors.NOT_LEADER_OR_FOLLOWER)
        if acks == -1 and len(self.isr) < self.min_isr:
            raise ApiError(
                Errors.NOT_ENOUGH_REPLICAS,
                f"The size of the current ISR : {len(self.isr)} is insufficient to satisfy the min.isr requirement "
                f"of {self.min_isr} for partition {self.topic_partition}, live replica(s) broker.id are : {list(self.isr)}",
            )
        info = self.log.append_as_leader(data, self.leader_epoch, client=client)
        if not info.duplicate:
            if not self.is_changed:
                self._host.mark_changed(self)
            # With others in the ISR an append alone commits nothing.
            if len(self.maximal_isr) == 1:
                self.maybe_advance_high_watermark(now_ms)
            if self.follower_waiters:
                for fetch in list(self.follower_waiters):
                    fetch.wake()
            if self.tracked:
                for waiting in self.touch_followers():
                    waiting.wake()
        return info

    def await_commit(self, result: ProduceResult) -> None:
        """Let a produce result wait for its offset."""
        waiters = self._produce_waiters
        if waiters and waiters[-1].required_offset > result.required_offset:
            # A repeated batch whose first copy is not committed yet: rare.
            waiting = sorted([*waiters, result], key=lambda one: one.required_offset)
            self._produce_waiters = deque(waiting)
        else:
            while waiters and waiters[0].operation is None:
                waiters.popleft()
            waiters.append(result)

    def maybe_advance_high_watermark(self, now_ms: float) -> bool:
        """Commit what every member of the maximal ISR has. O(replicas)."""
        if not self.is_leader or len(self.isr) < self.min_isr:
            return False
        log_end = offset = self.log.log_end_offset
        for replica in self.remotes.values():
            if replica.log_end_offset < offset and (replica.in_maximal_isr or self._is_about_to_join(replica, log_end, now_ms)):
                offset = replica.log_end_offset
        if offset <= self.high_watermark:
            return False
        self.high_watermark = offset
        if not self.is_changed:
            self._host.mark_changed(self)
        # Followers hear of it with whatever they hear next.
        self.touch_followers()
        if self._produce_waiters:
            self._settle_produces()
        if self.consumer_waiters:
            self._wake_consumers()
        return True

    def _is_about_to_join(self, replica: RemoteReplica, log_end: int, now_ms: float) -> bool:
        return replica.is_caught_up(log_end, now_ms, self._host.lag_time_max_ms) and self._host.is_isr_eligible(
            replica.broker_id, replica.broker_epoch
        )

    def _settle_produces(self) -> None:
        waiters = self._produce_waiters
        while waiters and (waiters[0].required_offset <= self.high_watermark or waiters[0].operation is None):
            result = waiters.popleft()
            operation = result.operation
            if operation is None:
                continue
            if operation.is_internal:
                operation.settle(result, Errors.NONE)
            elif len(self.maximal_isr) < self.min_isr:
                operation.settle(result, Errors.NOT_ENOUGH_REPLICAS_AFTER_APPEND)
            else:
                if self.first_write_pending:
                    self.acknowledged_first(result.base_offset, operation.client_id or "")
                operation.settle(result, Errors.NONE)

    def acknowledged_first(self, offset: int, client_id: str) -> None:
        """A client's write was acknowledged, and it is the first in this leader epoch."""
        self.first_write_pending = False
        self._host.first_write_acknowledged(self, offset, client_id)

    def _fail_produces(self, error: Errors) -> None:
        waiters, self._produce_waiters = self._produce_waiters, deque()
        for result in waiters:
            if result.operation is not None:
                result.operation.settle(result, error)

    # --- deletion of records -------------------------------------------------------------------

    def delete_records(self, offset: int) -> tuple[int, int]:
        """Let records before ``offset`` go, -1 for all committed ones: the offset that is meant, and the low watermark.

        :raises ApiError: when they may not go, or are not (yet) to be had.
        """
        if not self.is_leader:
            raise ApiError(Errors.NOT_LEADER_OR_FOLLOWER)
        config = self.log.config
        if config.compacted and not config.deletes_old_segments:
            raise ApiError(
                Errors.POLICY_VIOLATION, f"Records of partition {self.topic_partition} can not be deleted due to the configured policy"
            )
        if offset == -1:
            offset = self.high_watermark
        if offset < 0:
            raise ApiError(Errors.OFFSET_OUT_OF_RANGE, f"The offset {offset} for partition {self.topic_partition} is not valid")
        if offset > self.high_watermark:
            raise ApiError(
                Errors.OFFSET_OUT_OF_RANGE,
                f"Cannot increment the log start offset to {offset} of partition {self.topic_partition} "
                f"since it is larger than the high watermark {self.high_watermark}",
            )
        if offset > self.log.log_start_offset:
            self.log.increment_log_start_offset(offset)
            self._host.mark_changed(self)
            # Followers hear of it now, not when their fetch's time is over.
            for fetch in (*self.follower_waiters, *self.touch_followers()):
                fetch.complete()
        return offset, self.low_watermark()

    def low_watermark(self) -> int:
        """The least log start offset among live replicas; -1 while one has not told its own."""
        offset = self.log.log_start_offset
        if self.future_log is not None:
            # It takes this one's place, and must not bring back what is gone.
            offset = min(offset, self.future_log.log_start_offset)
        for replica in self.remotes.values():
            if replica.log_start_offset < offset and self._host.is_alive(replica.broker_id):
                offset = replica.log_start_offset
        return offset

    def await_deletion(self, result: DeletionResult) -> None:
        """Let a result wait for the low watermark."""
        self._deletion_waiters.append(result)

    def maybe_settle_deletions(self) -> None:
        """Answer those whose records are gone everywhere, as far as replicas live."""
        if self._deletion_waiters:
            low_watermark = self.low_watermark()
            waiters = [result for result in self._deletion_waiters if result.operation is not None]
            self._deletion_waiters = [result for result in waiters if result.required_offset > low_watermark]
            for result in waiters:
                if result.required_offset <= low_watermark:
                    result.settle(Errors.NONE, low_watermark)

    def _fail_deletions(self, error: Errors) -> None:
        waiters, self._deletion_waiters = self._deletion_waiters, []
        for result in waiters:
            result.settle(error, INVALID_LOW_WATERMARK)

    def follow_log_start_offset(self, leader_log_start_offset: int) -> bool:
        """What the leader has let go goes here too. Tells whether something did."""
        offset = min(leader_log_start_offset, self.high_watermark)
        if offset <= self.log.log_start_offset:
            return False
        self.log.increment_log_start_offset(offset)
        self._host.mark_changed(self)
        return True

    # --- fetches -------------------------------------------------------------------------------

    def park(self, fetch: FetchOperation, item: FetchItem) -> None:
        """Let a fetch wait here for data."""
        (self.follower_waiters if fetch.is_follower else self.consumer_waiters)[fetch] = item

    def unpark(self, fetch: FetchOperation) -> None:
        """The fetch waits no longer."""
        (self.follower_waiters if fetch.is_follower else self.consumer_waiters).pop(fetch, None)

    def _wake_consumers(self) -> None:
        high_watermark = self.high_watermark
        for fetch, item in list(self.consumer_waiters.items()):
            if item.fetch_offset < high_watermark:
                fetch.wake()

    def _complete_fetches(self) -> None:
        for fetch in (*self.follower_waiters, *self.touch_followers(), *self.consumer_waiters):
            fetch.complete()

    def touch_followers(self) -> list[FetchOperation]:
        """Something has happened here that followers' fetches must look at; those that wait now."""
        waiting = []
        for item in self.tracked:
            tracker = item.tracker
            assert tracker is not None, "who is tracked here has a list to be put on"
            tracker.dirty[item] = None
            item.is_noted = False
            if tracker.waiting is not None:
                waiting.append(tracker.waiting)
        return waiting

    def check_leader_epoch(self, current_leader_epoch: int) -> None:
        """Refuse somebody who knows another leader epoch; -1 is somebody who does not say.

        :raises ApiError: FENCED_LEADER_EPOCH for an older one, UNKNOWN_LEADER_EPOCH for a newer one.
        """
        if current_leader_epoch not in (NO_EPOCH, self.leader_epoch):
            if current_leader_epoch < self.leader_epoch:
                raise ApiError(
                    Errors.FENCED_LEADER_EPOCH,
                    f"Leader epoch {current_leader_epoch} of {self.topic_partition} is over, {self.leader_epoch} is current",
                )
            raise ApiError(
                Errors.UNKNOWN_LEADER_EPOCH,
                f"Leader epoch {current_leader_epoch} of {self.topic_partition} is not known here yet, {self.leader_epoch} is",
            )

    def check_readable(self, current_leader_epoch: int, *, needs_leader: bool) -> None:
        """Refuse a reader with another leader epoch, or one who needs the leader and asks a follower.

        :raises ApiError: FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH or NOT_LEADER_OR_FOLLOWER.
        """
        self.check_leader_epoch(current_leader_epoch)
        if needs_leader and not self.is_leader:
            raise ApiError(Errors.NOT_LEADER_OR_FOLLOWER)

    def note_follower_fetch(self, fetch: FetchOperation, item: FetchItem, now_ms: float) -> int:
        """Take a follower's position from its fetch, and tell what the fetch will find."""
        if (item.current_leader_epoch != self.leader_epoch and item.current_leader_epoch >= 0) or not self.is_leader:
            return MUST_ANSWER
        replica = self.remotes.get(fetch.replica_id)
        if replica is None or self._is_stale(fetch):
            return MUST_ANSWER
        log = self.log
        log_end = log.log_end_offset
        offset = item.fetch_offset
        if offset > log_end or offset < log.log_start_offset:
            return MUST_ANSWER
        if item.last_fetched_epoch >= 0 and item.last_fetched_epoch != log.latest_epoch and self._diverging(item) is not None:
            # What it has is not what we have (KAFKA-13141): its position says nothing.
            return MUST_ANSWER

        if replica.log_end_offset < 0:
            self._host.follower_arrived(replica.broker_id, self)
        moved = replica.log_end_offset != offset
        if fetch.tracker is not None and item.home is not self and item.tracker is fetch.tracker:
            if item.home is not None:
                item.home.tracked.pop(item, None)
            item.home = self
            self.tracked[item] = None
        replica.fetched(offset, item.log_start_offset, fetch.replica_epoch, log_end, now_ms, fetch.tracker)
        item.is_noted = True
        if self._deletion_waiters:
            self.maybe_settle_deletions()
        if not replica.in_maximal_isr:
            self.maybe_expand_isr(replica, now_ms)
        if moved:
            self.maybe_advance_high_watermark(now_ms)
        return HAS_DATA if offset < log_end else NOTHING_NEW

    def note_consumer_fetch(self, fetch: FetchOperation, item: FetchItem) -> int:
        """Tell what a consumer's fetch will find."""
        if item.current_leader_epoch != self.leader_epoch and item.current_leader_epoch >= 0:
            return MUST_ANSWER
        if not self.is_leader and (fetch.needs_leader or self.leader_epoch < 0):
            return MUST_ANSWER
        log = self.log
        offset = item.fetch_offset
        if offset > log.log_end_offset or offset < log.log_start_offset:
            return MUST_ANSWER
        if item.last_fetched_epoch >= 0 and item.last_fetched_epoch != log.latest_epoch and self._diverging(item) is not None:
            return MUST_ANSWER
        if fetch.rack and self.is_leader and self.preferred_replica(fetch, offset) is not None:
            return MUST_ANSWER
        high_watermark = self.high_watermark
        if offset >= high_watermark:
            return NOTHING_NEW
        if fetch.read_committed and offset >= log.last_stable_offset(high_watermark):
            return NOTHING_NEW
        return HAS_DATA

    def preferred_replica(self, fetch: FetchOperation, offset: int) -> int | None:
        """The follower that the consumer had better read from, None for the leader (KIP-392)."""
        return self._host.nearest_replica(
            self,
            fetch.rack,
            [
                replica
                for replica in self.remotes.values()
                if replica.broker_id in self.isr and replica.log_start_offset <= offset <= replica.log_end_offset
            ],
        )

    def _is_stale(self, fetch: FetchOperation) -> bool:
        """Whether the fetch comes from an earlier life of its broker, or from somebody who is no broker at all."""
        registered = self._host.registered_epoch(fetch.replica_id)
        if registered is None:
            return True
        if fetch.replica_epoch == UNTOLD_EPOCH:
            # Kafka lets it pass always; who speaks a version that has the epoch has no reason to keep it back.
            return not self._host.may_fetch_without_epoch()
        return fetch.replica_epoch < registered

    def _diverging(self, item: FetchItem) -> tuple[int, int] | None:
        """Where the log that is being fetched for parts from this one: (epoch, end offset), None if it does not.

        :raises ApiError: OFFSET_OUT_OF_RANGE when this log does not know.
        """
        epoch, end_offset = self.end_offset_for_epoch(item.last_fetched_epoch)
        if epoch < 0 or end_offset < 0:
            # Found again, and raised, when the answer is built.
            return (NO_EPOCH, UNKNOWN_OFFSET)
        if epoch < item.last_fetched_epoch or end_offset < item.fetch_offset:
            return epoch, end_offset
        return None

    def end_offset_for_epoch(self, epoch: int) -> tuple[int, int]:
        """The largest epoch not above the given one, and where it ends; (-1, -1) when it is above all.

        A leader knows its own epoch before the first record in it.
        """
        log = self.log
        latest = log.latest_epoch
        if self.is_leader and epoch != NO_EPOCH and (epoch > latest or latest < 0):
            if epoch == self.leader_epoch:
                return epoch, log.log_end_offset
            if epoch < self.leader_epoch:
                return (epoch if latest < 0 else latest), self.leader_epoch_start_offset
        return log.end_offset_for_epoch(epoch)

    def epoch_at(self, offset: int) -> int:
        """The leader epoch in which the record at ``offset`` was (or would be) written; -1 when unknown."""
        if self.is_leader and offset >= self.leader_epoch_start_offset:
            return self.leader_epoch
        return self.log.epoch_at(offset)

    def read(self, fetch: FetchOperation, item: FetchItem, max_bytes: int, min_one: bool) -> PartitionResponse | None:
        """A partition's part of the answer; None where an incremental answer may leave it out.

        :raises ApiError: when it may not be read.
        """
        current_leader_epoch = item.current_leader_epoch
        self.check_readable(current_leader_epoch if current_leader_epoch >= 0 else NO_EPOCH, needs_leader=fetch.needs_leader)
        log = self.log
        high_watermark = self.high_watermark
        offset = item.fetch_offset
        log_end = log.log_end_offset
        if fetch.is_follower:
            if fetch.replica_id not in self.remotes:
                # It may be one by metadata that has not come here yet.
                raise ApiError(Errors.UNKNOWN_LEADER_EPOCH if item.current_leader_epoch >= 0 else Errors.NOT_LEADER_OR_FOLLOWER)
            if self._is_stale(fetch):
                raise ApiError(Errors.NOT_LEADER_OR_FOLLOWER, f"Broker epoch {fetch.replica_epoch} of {fetch.replica_id} is over")
            bound = log_end
        elif not self.is_leader and self.leader_epoch < 0:
            raise ApiError(Errors.NOT_LEADER_OR_FOLLOWER)
        else:
            bound = high_watermark
        last_stable_offset = log.last_stable_offset(high_watermark)
        if fetch.read_committed:
            bound = last_stable_offset
        log_start_offset = log.log_start_offset
        # Whoever asks for what is gone hears that first, whether the logs part or not.
        may_part = item.last_fetched_epoch >= 0 and offset >= log_start_offset
        if may_part and (item.last_fetched_epoch != log.latest_epoch or offset > log_end):
            diverging = self._diverging(item)
            if diverging is not None:
                if diverging[1] < 0:
                    raise ApiError(Errors.OFFSET_OUT_OF_RANGE, f"The end of leader epoch {item.last_fetched_epoch} is not known here")
                return {
                    "partition_index": self.topic_partition.partition,
                    "error_code": 0,
                    "high_watermark": high_watermark,
                    "last_stable_offset": last_stable_offset,
                    "log_start_offset": log_start_offset,
                    "diverging_epoch": {"epoch": diverging[0], "end_offset": diverging[1]},
                    "aborted_transactions": None,
                    "records": b"",
                }
        if offset > log_end or offset < log_start_offset:
            raise ApiError(
                Errors.OFFSET_OUT_OF_RANGE, f"Offset {offset} of {self.topic_partition} is not in {log_start_offset} to {log_end}"
            )
        aborted: Sequence[PartitionResponse] | None = () if fetch.read_committed else None
        # Who waited here until there was something gets it here.
        preferred = self.preferred_replica(fetch, offset) if fetch.rack and self.is_leader and fetch.host is None else None
        if preferred is not None:
            return {
                "partition_index": self.topic_partition.partition,
                "error_code": 0,
                "high_watermark": high_watermark,
                "last_stable_offset": last_stable_offset,
                "log_start_offset": log_start_offset,
                "aborted_transactions": aborted,
                "preferred_read_replica": preferred,
                "records": b"",
            }
        records: bytes | FileRegion
        if max_bytes < 0 and offset < bound:
            raise ApiError(Errors.UNKNOWN_SERVER_ERROR, f"Invalid max size {max_bytes} for a read of {self.topic_partition}")
        if offset < bound and (max_bytes > 0 or min_one) and not (fetch.quota is not None and self._is_held_back(fetch)):
            records = log.read_chunk(offset, max_bytes, max_offset=bound, min_one=min_one, region_from=fetch.region_from)
            item.pending = not records
            if fetch.read_committed and records:
                aborted = [
                    {"producer_id": one.producer_id, "first_offset": one.first_offset} for one in log.aborted_transactions(offset, records)
                ]
        else:
            records = b""
            item.pending = offset < log_end
            if fetch.is_incremental and item.sent_high_watermark == high_watermark and item.sent_log_start_offset == log_start_offset:
                return None
        return {
            "partition_index": self.topic_partition.partition,
            "error_code": 0,
            "high_watermark": high_watermark,
            "last_stable_offset": last_stable_offset,
            "log_start_offset": log_start_offset,
            "aborted_transactions": aborted,
            "records": records,
        }

    def _is_held_back(self, fetch: FetchOperation) -> bool:
        """Whether the quota of leaders is used up; members of the ISR get all they want, lest they leave it."""
        quota = fetch.quota
        return quota is not None and fetch.replica_id not in self.isr and self.topic_partition in quota and quota.is_exceeded()

    # --- the follower's log ----------------------------------------------------------------------

    def append_as_follower(self, data: bytes, leader_high_watermark: int, leader_epoch: int) -> AppendInfo:
        """Append what the leader of that epoch sent, and follow its high watermark.

        Batches of a later epoch are left out, with what follows them: they were written over what was
        read, while it was on its way (KAFKA-18723).
        """
        assert not self.is_leader, "a leader copies from nobody"
        data = before_epoch_after(data, leader_epoch)
        log = self.log
        if log.log_end_offset == log.log_start_offset and len(data) >= HEADER_BYTES:
            first = read_header(data, 0)
            if 0 <= first.base_offset < log.log_end_offset <= first.last_offset:
                validate(data, 0, first)
                # The leader's log starts within a batch, because records were deleted. Batches come whole.
                self.truncate_fully_and_start_at(first.base_offset)
        info = log.append_as_follower(data)
        self.follow_high_watermark(leader_high_watermark)
        if not self.is_changed:
            self._host.mark_changed(self)
        return info

    def follow_high_watermark(self, leader_high_watermark: int) -> None:
        """What the leader has committed is committed here, as far as it is here."""
        offset = min(leader_high_watermark, self.log.log_end_offset)
        if offset > self.high_watermark:
            self.high_watermark = offset
            if not self.is_changed:
                self._host.mark_changed(self)
            if self.consumer_waiters:
                self._wake_consumers()

    def truncate_to(self, offset: int) -> None:
        """Cut what the leader does not have."""
        self.log.truncate_to(offset)
        if self.future_log is not None:
            self.future_log.truncate_to(self.log.log_end_offset)
        self._after_truncation()

    def truncate_fully_and_start_at(self, offset: int) -> None:
        """Drop everything: the leader's log starts beyond this one's end."""
        self.log.truncate_fully_and_start_at(offset)
        if self.future_log is not None:
            self.future_log.truncate_fully_and_start_at(offset)
        self._after_truncation()

    def _after_truncation(self) -> None:
        log = self.log
        self.high_watermark = max(log.log_start_offset, min(self.high_watermark, log.log_end_offset))
        self._complete_fetches()
        self._host.mark_changed(self)

    # --- offsets for whoever asks ----------------------------------------------------------------

    def offset_lags_epoch_start(self) -> bool:
        """Whether a new leader does not know yet how much of the log is committed."""
        return self.is_leader and self.high_watermark < self.leader_epoch_start_offset
