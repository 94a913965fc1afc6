"""Groups and their lag, in records and in time.

Lag in records is the distance from the committed offset to the high watermark. Lag in time is how
long ago the high watermark passed the committed offset, read from samples of it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Final

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.telemetry import events as ev
from kafkalab.engine.telemetry.levels import GroupLevel, GroupOffsetLevel
from kafkalab.ui.model.changes import ChangeSet, Part
from kafkalab.ui.model.rates import SAMPLE_INTERVAL_MS
from kafkalab.ui.model.things import Group, GroupPartition, Partition, Topic
from kafkalab.ui.theme.formats import format_count, format_lag_time

WATERMARKS_KEPT_MAX: Final = 2_400
"""Ten minutes of samples per partition that a group reads."""


class _Watermarks:
    """When the high watermark had which value: only moves are kept."""

    __slots__ = ("offsets", "times_ms")

    def __init__(self) -> None:
        self.times_ms: list[float] = []
        self.offsets: list[int] = []

    def add(self, at_ms: float, offset: int) -> None:
        if self.offsets:
            if offset == self.offsets[-1]:
                return
            if offset < self.offsets[-1]:
                # The log was cut or made anew: older moments say nothing about it.
                self.times_ms.clear()
                self.offsets.clear()
        self.times_ms.append(at_ms)
        self.offsets.append(offset)
        if len(self.offsets) > WATERMARKS_KEPT_MAX:
            del self.times_ms[: WATERMARKS_KEPT_MAX // 8], self.offsets[: WATERMARKS_KEPT_MAX // 8]

    def passed_at(self, offset: int) -> float:
        """When the high watermark went past the offset, -1: never."""
        at = bisect_right(self.offsets, offset)
        if at >= len(self.times_ms):
            return -1.0
        if at == 0:
            return self.times_ms[0]
        # Somewhere between two samples: where, if records came evenly in the last stretch before it was seen.
        span_ms = min(self.times_ms[at] - self.times_ms[at - 1], SAMPLE_INTERVAL_MS)
        share = (offset - self.offsets[at - 1]) / (self.offsets[at] - self.offsets[at - 1])
        return self.times_ms[at] - span_ms * (1.0 - share)


class Groups:
    """All groups as their coordinators have them."""

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {}
        self._watermarks: dict[TopicPartition, _Watermarks] = {}

    def state_changed(self, event: ev.GroupStateChanged, change: ChangeSet) -> float:
        """Take a happening. Returns how long the rebalance took that ended with it, -1 when none did."""
        group = self.groups.get(event.group_id)
        if group is None:
            group = self.groups[event.group_id] = Group(event.group_id)
        group.state, group.since_ms, group.cause = event.new_state, event.at_ms, event.cause
        group.generation = event.generation
        took_ms = -1.0
        if event.new_state in ("PreparingRebalance", "CompletingRebalance"):
            if group.unowned_since_ms < 0:
                group.unowned_since_ms = event.at_ms
        elif group.unowned_since_ms >= 0:
            if event.new_state == "Stable":
                took_ms = group.last_rebalance_ms = max(event.at_ms - group.unowned_since_ms, 0.0)
            group.unowned_since_ms = -1.0
        change.parts.add(Part.GROUPS)
        change.groups.add(event.group_id)
        return took_ms

    def update(self, group_id: str, level: GroupLevel | None, now_ms: float, change: ChangeSet) -> None:
        """A group's latest facts, None when it is gone."""
        change.parts.add(Part.GROUPS)
        change.groups.add(group_id)
        if level is None:
            self.groups.pop(group_id, None)
            return
        group = self.groups.get(group_id)
        if group is None:
            group = self.groups[group_id] = Group(group_id, since_ms=now_ms)
        if group.state != level.state:
            group.state, group.since_ms = level.state, now_ms
        group.generation, group.coordinator_id = level.generation, level.coordinator_id
        group.protocol_type, group.protocol, group.leader_id = level.protocol_type, level.protocol, level.leader_id
        group.members = level.members
        owners = {TopicPartition(*assigned): member.member_id for member in level.members for assigned in member.assignment}
        for tp, place in list(group.partitions.items()):
            place.member_id = owners.get(tp, "")
            if not place.member_id and place.committed < 0:
                del group.partitions[tp]
        for tp, member_id in owners.items():
            if tp not in group.partitions:
                group.partitions[tp] = GroupPartition(tp.topic, tp.partition, member_id=member_id)

    def update_offset(self, group_id: str, tp: TopicPartition, level: GroupOffsetLevel | None, change: ChangeSet) -> None:
        """A committed offset, None when it expired or was deleted."""
        group = self.groups.get(group_id)
        if group is None:
            if level is None:
                return
            group = self.groups[group_id] = Group(group_id)
            change.parts.add(Part.GROUPS)
        place = group.partitions.get(tp)
        if level is None:
            if place is not None:
                place.committed = -1
                if not place.member_id:
                    del group.partitions[tp]
                    change.parts.add(Part.GROUPS)
            return
        if place is None:
            place = group.partitions[tp] = GroupPartition(tp.topic, tp.partition)
            change.parts.add(Part.GROUPS)
        place.committed, place.commit_ms, place.metadata = level.offset, level.commit_ms, level.metadata
        change.parts.add(Part.LAG)
        change.groups.add(group_id)

    def forget_topic(self, topic: str, change: ChangeSet) -> None:
        """A topic was deleted: nobody lags in it any more."""
        for group in self.groups.values():
            for tp in [tp for tp in group.partitions if tp.topic == topic]:
                del group.partitions[tp]
                change.parts.add(Part.GROUPS)
                change.groups.add(group.group_id)
        for tp in [tp for tp in self._watermarks if tp.topic == topic]:
            del self._watermarks[tp]

    def sample(self, topics: Mapping[str, Topic], now_ms: float, change: ChangeSet) -> None:
        """Compute every group's lag and note it in its history."""
        seen: dict[TopicPartition, _Watermarks | None] = {}
        for group in self.groups.values():
            lag, lag_ms = 0, 0.0
            for tp, place in group.partitions.items():
                if tp not in seen:
                    seen[tp] = self._watch(tp, topics, now_ms)
                watermarks = seen[tp]
                place.lag, place.lag_ms = _lag(place, watermarks, now_ms)
                place.lag_history.add(now_ms, place.lag)
                place.lag_ms_history.add(now_ms, place.lag_ms)
                lag += place.lag
                lag_ms = max(lag_ms, place.lag_ms)
            if group.partitions:
                group.lag_history.add(now_ms, lag)
                change.parts.add(Part.LAG)
                if lag != group.lag or lag_ms != group.lag_ms:
                    change.groups.add(group.group_id)
            group.lag, group.lag_ms = lag, lag_ms

    def _watch(self, tp: TopicPartition, topics: Mapping[str, Topic], now_ms: float) -> _Watermarks | None:
        topic = topics.get(tp.topic)
        partition: Partition | None = topic.partitions.get(tp.partition) if topic is not None else None
        if partition is None or partition.high_watermark < 0:
            return self._watermarks.get(tp)
        watermarks = self._watermarks.get(tp)
        if watermarks is None:
            watermarks = self._watermarks[tp] = _Watermarks()
        watermarks.add(now_ms, partition.high_watermark)
        return watermarks


def _lag(place: GroupPartition, watermarks: _Watermarks | None, now_ms: float) -> tuple[int, float]:
    if place.committed < 0 or watermarks is None or not watermarks.offsets:
        return 0, 0.0
    lag = watermarks.offsets[-1] - place.committed
    if lag <= 0:
        # A commit may be told a moment before the watermark that it follows.
        return 0, 0.0
    return lag, max(now_ms - watermarks.passed_at(place.committed), 0.0)


def group_words(group: Group) -> str:
    """The second line of a group's card."""
    first = group.state if group.state != "Stable" else f"{group.protocol} assignor" if group.protocol else group.state
    return f"{first} · lag {format_count(group.lag)} · {format_lag_time(group.lag_ms)}"
