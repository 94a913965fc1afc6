"""Copies partitions from one leading broker: one fetch after the other, in one session.

Each request says only what has changed since the last (KIP-227) and names, by partition, the log
end and the epoch of the last record here. A leader whose log parts from ours before that point
says where, and we cut there and ask again (KIP-320, KIP-595). The next request leaves as soon as
an answer has been worked in; the leader holds it until there is something to tell.

A partition that fails waits alone. Errors that mean "one of us has not heard yet" are tried again
soon at first, for metadata takes milliseconds to get around; then ever slower. What a leader says
that cannot be true would be the same the next time: such a partition is left out until it has
another leader epoch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.log.log import UnexpectedOffset
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.replica.fetch_session import FINAL_EPOCH, INITIAL_EPOCH, NO_SESSION, next_epoch
from kafkalab.engine.replica.remote import UNKNOWN_OFFSET

if TYPE_CHECKING:
    import uuid

    from kafkalab.engine.common.time import Clock, Timer
    from kafkalab.engine.protocol.network import Network
    from kafkalab.engine.replica.partition import Partition
    from kafkalab.engine.replica.quota import ReplicationQuota

log = logging.getLogger(__name__)

RETRY_MIN_MS: Final = 20.0
LATEST_TIMESTAMP: Final = -1
EARLIEST_TIMESTAMP: Final = -2

_SESSION_ERRORS: Final = frozenset(
    {Errors.FETCH_SESSION_ID_NOT_FOUND, Errors.INVALID_FETCH_SESSION_EPOCH, Errors.FETCH_SESSION_TOPIC_ID_ERROR}
)

PartitionId = tuple["uuid.UUID", int]


class _Impossible(Exception):
    """What the leader says cannot be true."""


class FetcherHost(Protocol):
    """What a fetcher asks of its broker."""

    def broker_epoch(self) -> int:
        """The epoch in which this broker is registered, -1 while it is not."""

    def truncated(self, partition: Partition, from_offset: int, cause: str) -> None:
        """A log was cut, because its leader's says otherwise."""

    def storage_failed(self, partition: Partition, error: Exception) -> None:
        """A log could not be written."""


class FetcherConfig:
    """How a fetcher asks."""

    __slots__ = ("backoff_ms", "max_bytes", "max_wait_ms", "min_bytes", "partition_max_bytes", "socket_timeout_ms")

    def __init__(
        self, *, max_wait_ms: int, min_bytes: int, max_bytes: int, partition_max_bytes: int, backoff_ms: int, socket_timeout_ms: int
    ) -> None:
        self.max_wait_ms = max_wait_ms
        self.min_bytes = min_bytes
        self.max_bytes = max_bytes
        self.partition_max_bytes = partition_max_bytes
        self.backoff_ms = backoff_ms
        self.socket_timeout_ms = socket_timeout_ms


class _Copy:
    """One partition that is being copied."""

    __slots__ = ("failures", "fetch_offset", "is_asked", "is_delayed", "is_in_sync", "leader_epoch", "partition", "timer")

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.leader_epoch = partition.leader_epoch
        self.fetch_offset = partition.log.log_end_offset
        self.is_asked = False
        """The leader has been asked for it in this leader epoch: what it sends is an answer to that."""
        self.is_delayed = False
        self.is_in_sync = False
        """It had, with the last answer, everything that is committed: no quota holds it back (KIP-73)."""
        self.failures = 0
        self.timer: Timer | None = None


class ReplicaFetcher:
    """The copying from one broker. All partitions that it leads and we follow are here."""

    def __init__(
        self,
        *,
        node_id: int,
        leader_id: int,
        clock: Clock,
        network: Network,
        host: FetcherHost,
        config: FetcherConfig,
        quota: ReplicationQuota,
    ) -> None:
        self._node_id = node_id
        self.leader_id = leader_id
        self._clock = clock
        self._network = network
        self._host = host
        self._config = config
        self._quota = quota
        self._copies: dict[PartitionId, _Copy] = {}
        self._unsent: dict[PartitionId, None] = {}
        """Partitions of which the leader's session must hear, in the order in which they changed."""
        self._in_session: set[PartitionId] = set()
        """What the leader's session holds."""
        self._forgotten: dict[PartitionId, None] = {}
        """What it holds and should not."""
        self._session_id = NO_SESSION
        self._session_epoch = INITIAL_EPOCH
        self._generation = 0
        """Counts connections given up: an answer from before is not ours any more."""
        self._is_in_flight = False
        self._failures = 0
        self._retry: Timer | None = None
        self._start: Timer | None = None
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._copies)

    # --- what is copied ------------------------------------------------------------------------

    def add(self, partition: Partition) -> None:
        """Copy a partition from its log end on; one that is copied already begins anew in its leader epoch."""
        key = (partition.topic_id, partition.topic_partition.partition)
        old = self._copies.get(key)
        if old is not None and old.timer is not None:
            old.timer.cancel()
        self._copies[key] = _Copy(partition)
        self._unsent[key] = None
        self._forgotten.pop(key, None)
        if self._retry is not None:
            # The metadata says that this broker leads: worth another try now.
            self._retry.cancel()
            self._retry = None
        if not self._is_in_flight and self._start is None:
            # One request for all the partitions that one change of metadata brings.
            self._start = self._clock.call_later(0.0, self._begin)

    def partitions(self) -> list[Partition]:
        """What is copied."""
        return [copy.partition for copy in self._copies.values()]

    def remove(self, partition: Partition) -> None:
        """Copy a partition no longer; an answer under way will not be applied."""
        key = (partition.topic_id, partition.topic_partition.partition)
        copy = self._copies.pop(key, None)
        if copy is None:
            return
        if copy.timer is not None:
            copy.timer.cancel()
        self._leave_session(key)

    def reset(self) -> None:
        """The leader's broker began a new life: what is under way to the old one will not be answered."""
        self._generation += 1
        self._is_in_flight = False
        self._failures = 0
        self._forget_session(NO_SESSION)
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._copies and self._start is None:
            self._start = self._clock.call_later(0.0, self._begin)

    def close(self) -> None:
        """Stop. Answers that still come are not applied."""
        self._is_closed = True
        self._generation += 1
        for timer in (self._retry, self._start, *(copy.timer for copy in self._copies.values())):
            if timer is not None:
                timer.cancel()
        self._copies.clear()

    # --- asking --------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._start = None
        self._send()

    def _forget_session(self, session_id: int) -> None:
        """The next request is a full one; the session that it names is over."""
        self._session_id = session_id
        self._session_epoch = INITIAL_EPOCH
        self._in_session.clear()
        self._forgotten.clear()
        for key, copy in self._copies.items():
            copy.is_asked = False
            if not copy.is_delayed:
                self._unsent[key] = None

    def _leave_session(self, key: PartitionId) -> None:
        self._unsent.pop(key, None)
        if key in self._in_session:
            self._forgotten[key] = None

    def _send(self) -> None:
        if self._is_closed or self._is_in_flight or self._retry is not None:
            return
        if self._quota:
            self._hold_back()
        if not self._unsent and len(self._in_session) == len(self._forgotten):
            # Nothing to ask for now, and an empty session would end: what comes later begins a new one.
            if self._in_session:
                self._forget_session(self._session_id)
            return
        config = self._config
        topics: dict[uuid.UUID, list[dict[str, int]]] = {}
        for key in self._unsent:
            copy = self._copies[key]
            replica_log = copy.partition.log
            copy.fetch_offset = replica_log.log_end_offset
            copy.is_asked = True
            topics.setdefault(key[0], []).append(
                {
                    "partition": key[1],
                    "current_leader_epoch": copy.leader_epoch,
                    "fetch_offset": copy.fetch_offset,
                    "last_fetched_epoch": replica_log.latest_epoch,
                    "log_start_offset": replica_log.log_start_offset,
                    "partition_max_bytes": config.partition_max_bytes,
                }
            )
        self._in_session.difference_update(self._forgotten)
        self._in_session.update(self._unsent)
        self._unsent.clear()
        forgotten: dict[uuid.UUID, list[int]] = {}
        for topic_id, index in self._forgotten:
            forgotten.setdefault(topic_id, []).append(index)
        self._forgotten.clear()
        body = {
            "max_wait": config.max_wait_ms,
            "min_bytes": config.min_bytes,
            "max_bytes": config.max_bytes,
            "session_id": self._session_id,
            "session_epoch": self._session_epoch,
            "topics": [{"topic_id": topic_id, "partitions": partitions} for topic_id, partitions in topics.items()],
            "forgotten_topics_data": [{"topic_id": topic_id, "partitions": indexes} for topic_id, indexes in forgotten.items()],
            "replica_state": {"replica_id": self._node_id, "replica_epoch": self._host.broker_epoch()},
        }
        self._is_in_flight = True
        generation = self._generation
        self._network.send(
            self.leader_id,
            ApiKey.FETCH,
            body,
            lambda response: self._answered(response, generation),
            timeout_ms=config.max_wait_ms + config.socket_timeout_ms,
        )

    def _hold_back(self) -> None:
        """Leave out what is behind and must not be copied so fast, until the quota allows it again."""
        quota = self._quota
        late = [key for key in self._unsent if not self._copies[key].is_in_sync and self._copies[key].partition.topic_partition in quota]
        wait_ms = quota.wait_ms() if late else 0.0
        if wait_ms > 0.0:
            for key in late:
                copy = self._copies[key]
                self._take_out(key, copy)
                self._come_back(key, copy, min(wait_ms, self._config.backoff_ms))

    # --- working the answer in -------------------------------------------------------------------

    def _answered(self, response: Any | None, generation: int) -> None:
        if generation != self._generation:
            return
        self._is_in_flight = False
        error = Errors.NETWORK_EXCEPTION if response is None else response.error_code
        if error != Errors.NONE:
            self._forget_session(NO_SESSION if error == Errors.FETCH_SESSION_ID_NOT_FOUND else self._session_id)
            if error in _SESSION_ERRORS and self._failures == 0:
                self._failures = 1
                self._send()
            else:
                self._back_off()
            return
        assert response is not None
        copies = self._copies
        was_full = self._session_epoch == INITIAL_EPOCH
        answered: set[PartitionId] = set()
        for topic in response.responses:
            topic_id = topic.topic_id
            for data in topic.partitions:
                key = (topic_id, data.partition_index)
                copy = copies.get(key)
                if was_full:
                    answered.add(key)
                # Not asked for any more, or asked for anew and not by the request that this answers.
                if copy is not None and copy.is_asked and not copy.is_delayed:
                    self._work_in(key, copy, data)
        if response.session_id == NO_SESSION:
            # All of the leader's session slots are taken: each request is a full one.
            self._forget_session(NO_SESSION)
        elif was_full and not answered.issuperset(self._in_session):
            # Whatever the leader's session holds, it is not what was asked for.
            self._forget_session(response.session_id)
            self._back_off()
            return
        else:
            self._session_id = response.session_id
            self._session_epoch = next_epoch(self._session_epoch)
            assert self._session_epoch != FINAL_EPOCH, "a session that goes on has an epoch"
        self._failures = 0
        self._send()

    def _back_off(self) -> None:
        self._failures += 1
        delay_ms = min(RETRY_MIN_MS * 2 ** min(self._failures, 10), self._config.backoff_ms)

        def again() -> None:
            self._retry = None
            self._send()

        self._retry = self._clock.call_later(delay_ms, again)

    def _work_in(self, key: PartitionId, copy: _Copy, data: Any) -> None:
        partition = copy.partition
        error = data.error_code
        if error == Errors.NONE:
            try:
                self._follow(key, copy, data)
            except (_Impossible, UnexpectedOffset) as e:
                self._fail(key, copy, e)
            except ApiError as e:
                log.warning(
                    "broker %d: what broker %d sent for %s is refused: %s", self._node_id, self.leader_id, partition.topic_partition, e
                )
                self._delay(key, copy)
            except OSError as e:
                self._host.storage_failed(partition, e)
                self._delay(key, copy)
        elif error == Errors.OFFSET_OUT_OF_RANGE:
            self._find_range(key, copy)
        elif error == Errors.FENCED_LEADER_EPOCH:
            # The leader is in a later epoch. Metadata that is under way will say, and it is added anew then.
            self._take_out(key, copy)
        else:
            # Not heard of yet, not leader any more: soon one of us will have heard.
            self._delay(key, copy)

    def _follow(self, key: PartitionId, copy: _Copy, data: Any) -> None:
        """Do as the leader did: cut the log, or append to it.

        :raises ApiError: when what it sent cannot be appended, or the disk refuses.
        :raises OSError: when the disk refuses.
        :raises _Impossible: when the leader wants what cannot be.
        """
        partition = copy.partition
        diverging = data.diverging_epoch
        if diverging.epoch >= 0:
            if self._truncate(copy, diverging.epoch, diverging.end_offset):
                self._unsent[key] = None
            else:
                self._delay(key, copy)
            return
        copy.failures = 0
        records = data.records
        if not records:
            copy.is_in_sync = data.high_watermark <= partition.log.log_end_offset
            partition.follow_high_watermark(data.high_watermark)
            if data.log_start_offset > partition.log.log_start_offset:
                self._follow_log_start(key, copy, data.log_start_offset)
            return
        if partition.log.log_end_offset != copy.fetch_offset:
            # The log moved while the request was under way; ask from where it is now.
            self._unsent[key] = None
            return
        if self._quota and partition.topic_partition in self._quota:
            self._quota.record(len(records))
        partition.append_as_follower(records, data.high_watermark, copy.leader_epoch)
        partition.follow_log_start_offset(data.log_start_offset)
        copy.fetch_offset = partition.log.log_end_offset
        copy.is_in_sync = data.high_watermark <= copy.fetch_offset
        self._unsent[key] = None

    def _follow_log_start(self, key: PartitionId, copy: _Copy, leader_log_start_offset: int) -> None:
        """Let go what the leader has let go; it waits to hear of it."""
        try:
            if copy.partition.follow_log_start_offset(leader_log_start_offset):
                self._unsent[key] = None
        except (ApiError, OSError) as e:
            self._host.storage_failed(copy.partition, e)
            self._delay(key, copy)

    def _truncate(self, copy: _Copy, leader_epoch: int, leader_end_offset: int) -> bool:
        """Cut the log where the leader's parts from it, or at the last epoch before that is known here.

        False when there was nothing to cut. What is committed is cut too, and what lies before the log start: it is the
        leader's log that counts, whatever right it leads by.

        :raises ApiError: when the disk refuses.
        :raises _Impossible: when the leader's log ends before it begins.
        """
        if leader_end_offset == UNKNOWN_OFFSET:
            return False
        partition = copy.partition
        replica_log = partition.log
        log_end = replica_log.log_end_offset
        epoch, end_offset = replica_log.end_offset_for_epoch(leader_epoch)
        if epoch < 0 or end_offset < 0 or epoch == leader_epoch:
            target = leader_end_offset if end_offset < 0 else min(end_offset, leader_end_offset)
        else:
            # This epoch is unknown here: cut at the end of the one below it and let the leader say more.
            target = end_offset
        if target < 0:
            raise _Impossible(f"leader epoch {leader_epoch} ends at offset {leader_end_offset}")
        if target < min(partition.high_watermark, log_end):
            log.warning(
                "broker %d: %s is cut at %d, below its high watermark %d",
                self._node_id,
                partition.topic_partition,
                target,
                partition.high_watermark,
            )
        if target >= log_end:
            return False
        partition.truncate_to(target)
        self._host.truncated(
            partition, log_end, f"broker {self.leader_id}, the leader, ended leader epoch {leader_epoch} at offset {leader_end_offset}"
        )
        copy.fetch_offset = replica_log.log_end_offset
        return True

    def _fail(self, key: PartitionId, copy: _Copy, error: Exception) -> None:
        """Leave a partition out for as long as this leader epoch lasts."""
        log.warning(
            "broker %d: %s is not copied any more until it has another leader epoch, for broker %d says what cannot be: %s",
            self._node_id,
            copy.partition.topic_partition,
            self.leader_id,
            error,
        )
        self._take_out(key, copy)

    def _delay(self, key: PartitionId, copy: _Copy) -> None:
        """Leave a partition out for a while."""
        self._take_out(key, copy)
        copy.failures += 1
        self._come_back(key, copy, min(RETRY_MIN_MS * 2 ** min(copy.failures - 1, 10), self._config.backoff_ms))

    def _come_back(self, key: PartitionId, copy: _Copy, delay_ms: float) -> None:
        def again() -> None:
            copy.timer = None
            copy.is_delayed = False
            if self._copies.get(key) is copy:
                self._unsent[key] = None
                self._send()

        copy.timer = self._clock.call_later(delay_ms, again)

    def _take_out(self, key: PartitionId, copy: _Copy) -> None:
        copy.is_delayed = True
        copy.is_asked = False
        self._leave_session(key)

    # --- offsets out of the leader's range ---------------------------------------------------------

    def _find_range(self, key: PartitionId, copy: _Copy) -> None:
        """The leader does not have our offset: ask it for its log's ends, then cut or start over."""
        self._take_out(key, copy)

        def end_known(leader_end: int | None) -> None:
            if leader_end is None or leader_end < 0:
                self._delay(key, copy)
                return
            partition = copy.partition
            log_end = partition.log.log_end_offset
            if leader_end < log_end:
                try:
                    partition.truncate_to(leader_end)
                except ApiError as e:
                    self._cannot_cut(key, copy, e)
                    return
                self._host.truncated(partition, log_end, f"the log of broker {self.leader_id}, the leader, ends at {leader_end}")
                self._resume(key, copy)
            else:
                self._ask_offset(key, copy, EARLIEST_TIMESTAMP, start_known)

        def start_known(leader_start: int | None) -> None:
            if leader_start is None:
                self._delay(key, copy)
                return
            partition = copy.partition
            log_end = partition.log.log_end_offset
            if leader_start <= log_end:
                # What was out of its range is in it now, or it contradicts itself.
                self._delay(key, copy)
                return
            try:
                partition.truncate_fully_and_start_at(leader_start)
            except ApiError as e:
                self._cannot_cut(key, copy, e)
                return
            self._host.truncated(partition, log_end, f"the log of broker {self.leader_id}, the leader, starts at {leader_start}")
            self._resume(key, copy)

        self._ask_offset(key, copy, LATEST_TIMESTAMP, end_known)

    def _cannot_cut(self, key: PartitionId, copy: _Copy, error: ApiError) -> None:
        log.warning("broker %d: the log of %s cannot be cut: %s", self._node_id, copy.partition.topic_partition, error)
        self._delay(key, copy)

    def _resume(self, key: PartitionId, copy: _Copy) -> None:
        copy.is_delayed = False
        copy.fetch_offset = copy.partition.log.log_end_offset
        self._unsent[key] = None
        self._send()

    def _ask_offset(self, key: PartitionId, copy: _Copy, timestamp: int, then: Callable[[int | None], None]) -> None:
        partition = copy.partition
        topic, index = partition.topic_partition
        body = {
            "replica_id": self._node_id,
            "isolation_level": 0,
            "topics": [
                {
                    "name": topic,
                    "partitions": [{"partition_index": index, "current_leader_epoch": copy.leader_epoch, "timestamp": timestamp}],
                }
            ],
        }

        def answered(response: Any | None) -> None:
            if self._is_closed or self._copies.get(key) is not copy:
                return
            offset: int | None = None
            for answer in () if response is None else response.topics:
                for row in answer.partitions:
                    if (answer.name, row.partition_index, row.error_code) == (topic, index, Errors.NONE):
                        offset = row.offset
            then(offset)

        self._network.send(self.leader_id, ApiKey.LIST_OFFSETS, body, answered, timeout_ms=self._config.socket_timeout_ms)
