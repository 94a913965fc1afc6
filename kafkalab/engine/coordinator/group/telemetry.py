"""What the coordinator tells the screen: rebalances one by one, groups and offsets as they are now.

Levels are gathered and sent at most every ``LEVEL_INTERVAL_MS``; the timer is armed only while
something is waiting to be sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.coordinator.group.classic import ClassicGroup
from kafkalab.engine.coordinator.group.embedded import CONSUMER_PROTOCOL_TYPE, assigned_partitions
from kafkalab.engine.coordinator.group.states import GroupState
from kafkalab.engine.protocol.coordinator_records import OffsetCommitValue
from kafkalab.engine.telemetry.events import CoordinatorLoaded, GroupStateChanged
from kafkalab.engine.telemetry.hub import TelemetrySink
from kafkalab.engine.telemetry.levels import (
    GroupKey,
    GroupLevel,
    GroupMemberLevel,
    GroupOffsetKey,
    GroupOffsetLevel,
    until_sample_ms,
)

if TYPE_CHECKING:
    from kafkalab.engine.coordinator.group.shard import GroupShard


class GroupTelemetry:
    """The voice of one shard."""

    def __init__(self, shard: GroupShard, *, node_id: int, clock: Clock, sink: TelemetrySink) -> None:
        self._shard = shard
        self._node_id = node_id
        self._clock = clock
        self._sink = sink
        self._groups: set[str] = set()
        self._offsets: set[tuple[str, TopicPartition]] = set()
        self._timer: Timer | None = None

    def state_changed(self, group: ClassicGroup, cause: str) -> None:
        """A group moved to another state."""
        self._emit(group, group.previous_state, group.state, cause)
        self.touch_group(group.group_id)

    def group_deleted(self, group: ClassicGroup, cause: str) -> None:
        """A group's tombstone is committed."""
        self._emit(group, group.state, GroupState.DEAD, cause)
        self.touch_group(group.group_id)

    def _emit(self, group: ClassicGroup, old: GroupState, new: GroupState, cause: str) -> None:
        self._sink.emit(
            GroupStateChanged(
                at_ms=float(self._clock.wall_ms()),
                node_id=self._node_id,
                group_id=group.group_id,
                old_state=str(old),
                new_state=str(new),
                generation=group.generation,
                members=len(group.members),
                cause=cause,
            )
        )

    def loaded(self, took_ms: float) -> None:
        """The shard's log is replayed: show everything in it."""
        shard = self._shard
        self._sink.emit(
            CoordinatorLoaded(
                at_ms=float(self._clock.wall_ms()),
                node_id=self._node_id,
                partition=shard.partition,
                groups=len(shard.groups.by_id),
                offsets=shard.offsets.count,
                took_ms=took_ms,
            )
        )
        for group_id in shard.groups.by_id:
            self.touch_group(group_id)
        for group_id, tp in shard.offsets.places():
            self.touch_offset(group_id, tp)

    def touch_group(self, group_id: str) -> None:
        """Something about a group changed."""
        self._groups.add(group_id)
        self._arm()

    def touch_offset(self, group_id: str, tp: TopicPartition) -> None:
        """A group's place in a partition changed."""
        self._offsets.add((group_id, tp))
        self._arm()

    def close(self) -> None:
        """Say no more: the next coordinator speaks for these groups."""
        if self._timer is not None:
            self._timer.cancel()
        self._groups.clear()
        self._offsets.clear()

    def _arm(self) -> None:
        if self._timer is None and self._shard.is_active:
            self._timer = self._clock.call_later(until_sample_ms(self._clock.now_ms()), self._flush)

    def _flush(self) -> None:
        self._timer = None
        groups, self._groups = self._groups, set()
        offsets, self._offsets = self._offsets, set()
        for group_id in groups:
            group = self._shard.groups.by_id.get(group_id)
            self._sink.level(GroupKey(group_id), None if group is None else self._group_level(group))
        for group_id, tp in offsets:
            value = self._shard.offsets.get(group_id, tp)
            self._sink.level(GroupOffsetKey(group_id, tp.topic, tp.partition), None if value is None else _offset_level(value))

    def _group_level(self, group: ClassicGroup) -> GroupLevel:
        is_consumer = group.protocol_type == CONSUMER_PROTOCOL_TYPE
        return GroupLevel(
            coordinator_id=self._node_id,
            state=str(group.state),
            generation=group.generation,
            protocol_type=group.protocol_type or "",
            protocol=group.protocol or "",
            leader_id=group.leader_id or "",
            members=tuple(
                GroupMemberLevel(
                    member_id=member.member_id,
                    instance_id=member.instance_id,
                    client_id=member.client_id,
                    client_host=member.client_host.removeprefix("/"),
                    assignment=assigned_partitions(member.assignment) if is_consumer else (),
                )
                for member in group.members.values()
            ),
        )


def _offset_level(value: OffsetCommitValue) -> GroupOffsetLevel:
    return GroupOffsetLevel(offset=value.offset, leader_epoch=value.leader_epoch, metadata=value.metadata, commit_ms=value.commit_timestamp)
