"""The groups of one partition of ``__consumer_offsets``, on that partition's leader."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import OFFSETS_TOPIC, TopicPartition
from kafkalab.engine.common.time import Clock
from kafkalab.engine.coordinator.group.classic import ClassicGroup
from kafkalab.engine.coordinator.group.offsets import GroupOffsets, Records
from kafkalab.engine.coordinator.group.rebalance import ClassicGroups
from kafkalab.engine.coordinator.group.telemetry import GroupTelemetry
from kafkalab.engine.coordinator.runtime import LOAD_SLICE_BYTES, CoordinatorLog, ShardLog, TimerTable
from kafkalab.engine.log.storage import StorageError
from kafkalab.engine.protocol.codec import DecodeError
from kafkalab.engine.protocol.coordinator_records import (
    CoordinatorKey,
    CoordinatorValue,
    GroupMetadataKey,
    OffsetCommitKey,
    OffsetCommitValue,
    decode_group_metadata,
    decode_key,
    decode_offset_commit,
    encode_key,
    encode_value,
)
from kafkalab.engine.record import control
from kafkalab.engine.record.batch import BatchHeader, iter_headers, records_of
from kafkalab.engine.telemetry.hub import TelemetrySink

if TYPE_CHECKING:
    import uuid
    from random import Random

log = logging.getLogger(__name__)


def _encode(key: CoordinatorKey, value: CoordinatorValue | None) -> tuple[bytes, bytes | None]:
    return encode_key(key), None if value is None else encode_value(value)


class GroupShard:
    """Loads, answers, and is forgotten when another broker takes over."""

    def __init__(
        self,
        partition: int,
        leader_epoch: int,
        *,
        node_id: int,
        config: BrokerConfig,
        clock: Clock,
        rng: Random,
        sink: TelemetrySink,
        replica_log: CoordinatorLog,
    ) -> None:
        self.partition: Final = partition
        self.leader_epoch = leader_epoch
        self.is_active = False
        """The log is replayed: requests are answered."""
        self._is_closed = False
        self._config = config
        self._clock = clock
        self._replica_log = replica_log
        self._topic_partition = TopicPartition(OFFSETS_TOPIC, partition)
        self._timers = TimerTable(clock)
        self._log = ShardLog[CoordinatorKey, CoordinatorValue](
            self._topic_partition,
            replica_log,
            clock,
            timeout_ms=config.get_int("offsets.commit.timeout.ms"),
            encode=_encode,
        )
        self._telemetry = GroupTelemetry(self, node_id=node_id, clock=clock, sink=sink)
        self.groups: Final = ClassicGroups(config, clock, rng, self._log, self._timers, self._telemetry)
        self.offsets: Final = GroupOffsets(config, clock, self._log, self.groups, self._telemetry)
        self._transactions: dict[int, list[tuple[OffsetCommitKey, OffsetCommitValue | None]]] = {}
        """While loading: offsets of transactions that have not ended, by producer id."""

    # --- loading -------------------------------------------------------------------------------

    def load(self, on_failed: Callable[[], None]) -> None:
        """Replay the partition's log, in slices that leave the node its other work.

        ``on_failed`` is called when it cannot be read; the shard then stays silent.
        """
        started_ms = self._clock.now_ms()
        chunks = self._replica_log.read_committed_log(self._topic_partition)

        def next_slice() -> None:
            if self._is_closed:
                return
            try:
                is_more = self._replay_slice(chunks)
            except (ApiError, OSError, StorageError) as error:
                if not (isinstance(error, ApiError) and error.error is Errors.NOT_LEADER_OR_FOLLOWER):
                    log.error("%s cannot be replayed: %s", self._topic_partition, error)
                on_failed()
                return
            if is_more:
                self._timers.schedule(("load",), 0, next_slice)
                return
            self._transactions.clear()
            self._replica_log.when_committed(self._topic_partition, begin)

        def begin(error: Errors | None) -> None:
            if self._is_closed:
                return
            if error is not None:
                on_failed()
                return
            self.is_active = True
            self.groups.resume()
            self._telemetry.loaded(self._clock.now_ms() - started_ms)
            self._schedule_expiry()

        next_slice()

    def close(self) -> None:
        """Another broker leads: answer those who wait, and forget everything."""
        self.is_active = False
        self._is_closed = True
        self._timers.cancel_all()
        self._telemetry.close()
        self._log.close()
        self.groups.abandon()

    def _replay_slice(self, chunks: Iterator[bytes]) -> bool:
        """Replay some of the log; False at its end."""
        size = 0
        for chunk in chunks:
            for pos, header in iter_headers(chunk):
                self._replay_batch(chunk, pos, header)
            size += len(chunk)
            if size >= LOAD_SLICE_BYTES:
                return True
        return False

    def _replay_batch(self, chunk: bytes, pos: int, header: BatchHeader) -> None:
        for record in records_of(chunk, pos, header):
            if header.is_control:
                ended = self._transactions.pop(header.producer_id, [])
                if control.decode_key(record.key) is control.ControlType.COMMIT:
                    for offset_key, offset in ended:
                        self.offsets.replay(offset_key, offset)
                continue
            try:
                key = decode_key(record.key or b"")
                if isinstance(key, GroupMetadataKey):
                    self._replay_group(key.group, record.value)
                elif key is not None:
                    value = None if record.value is None else decode_offset_commit(record.value)
                    if header.is_transactional:
                        self._transactions.setdefault(header.producer_id, []).append((key, value))
                    else:
                        self.offsets.replay(key, value)
            except DecodeError as error:
                # Kafka's own loader steps over what it does not understand as well.
                log.warning("%s: the record at offset %d is skipped: %s", self._topic_partition, record.offset, error)

    def _replay_group(self, group_id: str, value: bytes | None) -> None:
        if value is None:
            self.groups.by_id.pop(group_id, None)
        else:
            self.groups.by_id[group_id] = ClassicGroup.from_record(group_id, decode_group_metadata(value))

    # --- forgetting groups and offsets -----------------------------------------------------------

    def delete_groups(self, group_ids: Sequence[str], answer: Callable[[Mapping[str, Errors]], None]) -> None:
        """Delete groups that have no members, with their offsets; the answer comes when that is committed."""
        errors: dict[str, Errors] = {}
        records: Records = []
        taken: list[ClassicGroup] = []
        for group_id in dict.fromkeys(group_ids):
            group = self.groups.by_id.get(group_id)
            if group is None:
                errors[group_id] = Errors.GROUP_ID_NOT_FOUND
            elif not group.is_empty:
                errors[group_id] = Errors.NON_EMPTY_GROUP
            else:
                errors[group_id] = Errors.NONE
                records += self.offsets.tombstones(group_id)
                taken.append(group)

        def done(error: Errors) -> None:
            if error:
                for group in taken:
                    errors[group.group_id] = error
            answer(errors)

        self._delete(taken, records, "deleted", done)

    def _delete(self, groups: Sequence[ClassicGroup], records: Records, cause: str, answer: Callable[[Errors], None]) -> None:
        """Write these tombstones and the groups' own; the groups are out of sight at once."""
        for group in groups:
            self.groups.take_out(group.group_id)
            records.append((GroupMetadataKey(group.group_id), None))

        def done(error: Errors) -> None:
            for group in groups:
                if error:
                    self.groups.put_back(group)
                else:
                    self._telemetry.group_deleted(group, cause)
            answer(error)

        self._log.write(records, apply=self.offsets.apply, answer=done)

    def _schedule_expiry(self) -> None:
        self._timers.schedule(("expiry",), self._config.get_int("offsets.retention.check.interval.ms"), self._expire)

    def _expire(self) -> None:
        self._schedule_expiry()
        records: Records = []
        emptied = []
        for group in self.groups.by_id.values():
            expired, is_bare = self.offsets.expired(group)
            records += expired
            if is_bare and group.is_empty and not group.pending_join:
                emptied.append(group)
        if records or emptied:
            self._delete(emptied, records, "its offsets expired", lambda error: None)

    def topics_deleted(self, topics: Mapping[str, uuid.UUID]) -> None:
        """Forget the offsets of topics (id by name) that are gone."""
        self.offsets.write_tombstones(self.offsets.of_deleted_topics(topics))
