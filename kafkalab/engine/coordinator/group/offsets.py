"""How far each group has read: committed offsets, who may commit them, and when they expire."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import Clock
from kafkalab.engine.coordinator.group.classic import ClassicGroup
from kafkalab.engine.coordinator.group.embedded import CONSUMER_PROTOCOL_TYPE
from kafkalab.engine.coordinator.group.states import GroupState
from kafkalab.engine.coordinator.runtime import ShardLog
from kafkalab.engine.protocol.coordinator_records import (
    CoordinatorKey,
    CoordinatorValue,
    OffsetCommitKey,
    OffsetCommitValue,
)

if TYPE_CHECKING:
    from kafkalab.engine.coordinator.group.rebalance import ClassicGroups
    from kafkalab.engine.coordinator.group.telemetry import GroupTelemetry

Records = list[tuple[CoordinatorKey, CoordinatorValue | None]]

LONG_MAX: Final = 2**63 - 1
GROUP_ID_NOT_FOUND_FROM: Final = 9
"""OffsetCommit version that knows GROUP_ID_NOT_FOUND; older ones hear ILLEGAL_GENERATION."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionOffset:
    """One partition of a commit."""

    topic_partition: TopicPartition
    topic_id: uuid.UUID | None
    offset: int
    leader_epoch: int
    metadata: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetCommit:
    """An OffsetCommit request whose partitions are known to exist."""

    group_id: str
    member_id: str
    group_instance_id: str | None
    generation: int
    retention_ms: int
    """How long to keep the offsets, as versions up to 4 could say; -1 for the broker's retention."""
    partitions: Sequence[PartitionOffset]
    version: int


CommitAnswer = Callable[[Mapping[TopicPartition, Errors]], None]
FetchAnswer = Callable[[Errors, Mapping[TopicPartition, OffsetCommitValue]], None]
DeleteAnswer = Callable[[Errors, Mapping[TopicPartition, Errors]], None]


class GroupOffsets:
    """The committed offsets of one shard's groups. Replay of committed records alone changes them."""

    def __init__(
        self,
        config: BrokerConfig,
        clock: Clock,
        log: ShardLog[CoordinatorKey, CoordinatorValue],
        groups: ClassicGroups,
        telemetry: GroupTelemetry,
    ) -> None:
        self._config = config
        self._clock = clock
        self._log = log
        self._groups = groups
        self._telemetry = telemetry
        self._by_group: dict[str, dict[TopicPartition, OffsetCommitValue]] = {}

    @property
    def count(self) -> int:
        """How many offsets there are."""
        return sum(len(offsets) for offsets in self._by_group.values())

    def places(self) -> Iterator[tuple[str, TopicPartition]]:
        """Every (group, partition) with an offset."""
        return ((group_id, tp) for group_id, offsets in self._by_group.items() for tp in offsets)

    def get(self, group_id: str, tp: TopicPartition) -> OffsetCommitValue | None:
        """A group's place in a partition."""
        return self._by_group.get(group_id, {}).get(tp)

    def replay(self, key: OffsetCommitKey, value: OffsetCommitValue | None) -> None:
        """Apply one committed record."""
        tp = TopicPartition(key.topic, key.partition)
        if value is not None:
            # Whoever commits without joining has a group all the same, with no members.
            self._groups.get_or_create(key.group)
            self._by_group.setdefault(key.group, {})[tp] = value
        elif (offsets := self._by_group.get(key.group)) is not None:
            offsets.pop(tp, None)
            if not offsets:
                del self._by_group[key.group]
        self._telemetry.touch_offset(key.group, tp)

    # --- OffsetCommit --------------------------------------------------------------------------

    def commit(self, commit: OffsetCommit, answer: CommitAnswer) -> None:
        """Write a member's offsets; the answer comes when they are committed.

        :raises ApiError: when this member may not commit now.
        """
        group = self._groups.by_id.get(commit.group_id)
        if group is not None:
            group.validate_offset_commit(commit.member_id, commit.group_instance_id, commit.generation)
            self._groups.keep_session(group, commit.member_id)
        elif commit.generation >= 0:
            raise ApiError(Errors.GROUP_ID_NOT_FOUND if commit.version >= GROUP_ID_NOT_FOUND_FROM else Errors.ILLEGAL_GENERATION)
        now_ms = self._clock.wall_ms()
        metadata_max = self._config.get_int("offset.metadata.max.bytes")
        errors: dict[TopicPartition, Errors] = {}
        records: Records = []
        for partition in commit.partitions:
            tp = partition.topic_partition
            metadata = partition.metadata or ""
            if len(metadata) > metadata_max:
                errors[tp] = Errors.OFFSET_METADATA_TOO_LARGE
                continue
            errors[tp] = Errors.NONE
            value = OffsetCommitValue(
                offset=partition.offset,
                leader_epoch=partition.leader_epoch,
                metadata=metadata,
                commit_timestamp=now_ms,
                expire_timestamp=-1 if commit.retention_ms < 0 else min(now_ms + commit.retention_ms, LONG_MAX),
                topic_id=partition.topic_id,
            )
            records.append((OffsetCommitKey(commit.group_id, tp.topic, tp.partition), value))

        def done(error: Errors) -> None:
            if error:
                for tp, own in errors.items():
                    errors[tp] = own or error
            answer(errors)

        self._log.write(records, apply=self.apply, answer=done)

    def apply(self, records: Iterable[tuple[CoordinatorKey, CoordinatorValue | None]]) -> None:
        """Apply committed records; those of other kinds are left to others."""
        for key, value in records:
            if isinstance(key, OffsetCommitKey):
                assert value is None or isinstance(value, OffsetCommitValue), "a key has its own kind of value"
                self.replay(key, value)

    # --- OffsetFetch ---------------------------------------------------------------------------

    def fetch(self, group_id: str, partitions: Sequence[TopicPartition] | None, *, require_stable: bool, answer: FetchAnswer) -> None:
        """Give a group's offsets, of all partitions where none are named.

        With ``require_stable`` the answer waits for commits that are on their way.
        """

        def settled(error: Errors) -> None:
            found: Mapping[TopicPartition, OffsetCommitValue] = {}
            if not error and group_id in self._groups.by_id:
                offsets = self._by_group.get(group_id, {})
                found = dict(offsets) if partitions is None else {tp: offsets[tp] for tp in partitions if tp in offsets}
            answer(error, found)

        if require_stable:
            self._log.when_settled(settled)
        else:
            settled(Errors.NONE)

    # --- OffsetDelete --------------------------------------------------------------------------

    def delete(self, group_id: str, partitions: Sequence[TopicPartition], answer: DeleteAnswer) -> None:
        """Forget offsets, also those on their way; the answer comes when that is committed.

        Where there is no offset nothing is left to do, and that is no error.

        :raises ApiError: when there is no such group, or its members alone decide on its offsets.
        """
        group = self._groups.by_id.get(group_id)
        if group is None:
            raise ApiError(Errors.GROUP_ID_NOT_FOUND)
        group.validate_offset_delete()
        known = self._by_group.get(group_id, {})
        under_way = self._under_way(group_id)
        results: dict[TopicPartition, Errors] = {}
        records: Records = []
        for tp in dict.fromkeys(partitions):
            if group.is_subscribed_to(tp.topic):
                results[tp] = Errors.GROUP_SUBSCRIBED_TO_TOPIC
                continue
            results[tp] = Errors.NONE
            key = OffsetCommitKey(group_id, tp.topic, tp.partition)
            if tp in known or key in under_way:
                records.append((key, None))
        self._log.write(records, apply=self.apply, answer=lambda error: answer(error, results))

    # --- forgetting ----------------------------------------------------------------------------

    def tombstones(self, group_id: str) -> Records:
        """Tombstones for all of a group's offsets, also those on their way."""
        keys = {OffsetCommitKey(group_id, tp.topic, tp.partition) for tp in self._by_group.get(group_id, {})}
        keys |= self._under_way(group_id)
        return [(key, None) for key in keys]

    def expired(self, group: ClassicGroup) -> tuple[Records, bool]:
        """Tombstones for a group's expired offsets, and whether none are left after them."""
        offsets = self._by_group.get(group.group_id, {})
        under_way = self._under_way(group.group_id)
        base = self._expiry_base(group)
        if base is None:
            return [], not offsets and not under_way
        now_ms = self._clock.wall_ms()
        retention_ms = self._config.get_int("offsets.retention.minutes") * 60_000
        records: Records = []
        for tp, value in offsets.items():
            if group.is_subscribed_to(tp.topic):
                continue
            key = OffsetCommitKey(group.group_id, tp.topic, tp.partition)
            expires_ms = value.expire_timestamp if value.expire_timestamp >= 0 else base(value) + retention_ms
            if now_ms >= expires_ms and key not in under_way:
                records.append((key, None))
        return records, len(records) == len(offsets) and not under_way

    @staticmethod
    def _expiry_base(group: ClassicGroup) -> Callable[[OffsetCommitValue], int] | None:
        """From when on a group's offsets age, or None while they do not."""
        if group.protocol_type is None:
            # A simple group: each offset ages by itself.
            return lambda value: value.commit_timestamp
        if group.is_empty:
            since = group.state_timestamp
            return lambda value: since if since >= 0 else value.commit_timestamp
        if group.state is GroupState.STABLE and group.protocol_type == CONSUMER_PROTOCOL_TYPE and group.subscribed_topics is not None:
            # Topics that the members no longer read.
            return lambda value: value.commit_timestamp
        return None

    def _under_way(self, group_id: str) -> set[OffsetCommitKey]:
        return {key for key in self._log.under_way() if isinstance(key, OffsetCommitKey) and key.group == group_id}

    def of_deleted_topics(self, topics: Mapping[str, uuid.UUID]) -> Records:
        """Tombstones for the offsets of topics (id by name) that are gone."""
        return [
            (OffsetCommitKey(group_id, tp.topic, tp.partition), None)
            for group_id, offsets in self._by_group.items()
            for tp, value in offsets.items()
            if tp.topic in topics and value.topic_id in (None, topics[tp.topic])
        ]

    def write_tombstones(self, records: Records) -> None:
        """Write tombstones that nobody waits for."""
        if records:
            self._log.write(records, apply=self.apply)
