"""Tells the telemetry what a quorum member goes through."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Protocol

from kafkalab.engine.common.ids import METADATA_TOPIC, uuid_to_text
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.raft.snapshot_store import SnapshotId
from kafkalab.engine.raft.states import State
from kafkalab.engine.telemetry.events import LogTruncated, QuorumLeaderElected, RaftStateChanged, VoteAnswered
from kafkalab.engine.telemetry.hub import TelemetrySink
from kafkalab.engine.telemetry.levels import QuorumKey, QuorumLevel, until_sample_ms


class ReportedMember(Protocol):
    """What is told of a member."""

    @property
    def node_id(self) -> int: ...

    @property
    def state_name(self) -> str: ...

    @property
    def is_voter(self) -> bool: ...

    @property
    def epoch(self) -> int: ...

    @property
    def leader_id(self) -> int: ...

    @property
    def high_watermark(self) -> int: ...

    @property
    def log_end_offset(self) -> int: ...

    @property
    def voters(self) -> Collection[int]: ...


class SnapshotHolder(Protocol):
    """The log, as far as its snapshots go."""

    @property
    def latest_snapshot_id(self) -> SnapshotId | None: ...


class RaftReporter:
    """Emits each happening, and the level at most every ``LEVEL_INTERVAL_MS``."""

    def __init__(
        self, member: ReportedMember, *, clock: Clock, sink: TelemetrySink, directory_id: uuid.UUID | None, log: SnapshotHolder
    ) -> None:
        self._member = member
        self._directory_id = uuid_to_text(directory_id) if directory_id is not None else ""
        self._log = log
        self._clock = clock
        self._sink = sink
        self._timer: Timer | None = None
        self._last_level: QuorumLevel | None = None
        self._is_stopped = False

    def start(self) -> None:
        """Tell the first level."""
        self._emit_level()

    def stop(self) -> None:
        """Tell no more. The last level stays: whoever stopped the node takes it away."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def state_changed(self, old: State, new: State, cause: str) -> None:
        """The member moved; observers only change their level."""
        if (old.kind, old.epoch, old.leader_id) == (new.kind, new.epoch, new.leader_id):
            return
        if self._member.is_voter:
            self._sink.emit(
                RaftStateChanged(
                    at_ms=self._clock.wall_ms(),
                    node_id=self._member.node_id,
                    old_state=old.kind.value,
                    new_state=new.kind.value,
                    epoch=new.epoch,
                    leader_id=new.leader_id,
                    cause=cause,
                )
            )
        self._emit_level()

    def vote_answered(self, candidate_id: int, epoch: int, *, is_granted: bool, is_pre_vote: bool) -> None:
        """A candidate got its answer."""
        self._sink.emit(
            VoteAnswered(
                at_ms=self._clock.wall_ms(),
                node_id=self._member.node_id,
                candidate_id=candidate_id,
                epoch=epoch,
                granted=is_granted,
                pre_vote=is_pre_vote,
            )
        )

    def elected(self, epoch: int, votes: tuple[int, ...], cause: str) -> None:
        """The member won an election."""
        self._sink.emit(
            QuorumLeaderElected(at_ms=self._clock.wall_ms(), node_id=self._member.node_id, epoch=epoch, votes=votes, cause=cause)
        )

    def truncated(self, from_offset: int, to_offset: int) -> None:
        """The member's log lost an uncommitted tail."""
        self._sink.emit(
            LogTruncated(
                at_ms=self._clock.wall_ms(),
                node_id=self._member.node_id,
                topic=METADATA_TOPIC,
                partition=0,
                from_offset=from_offset,
                to_offset=to_offset,
                cause=f"it was not committed, and controller {self._member.leader_id} leads with another",
            )
        )
        self.level_changed()

    def level_changed(self) -> None:
        """Offsets moved: say so soon."""
        if self._timer is None and not self._is_stopped:
            self._timer = self._clock.call_later(until_sample_ms(self._clock.now_ms()), self._emit_level)

    def _emit_level(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_stopped:
            return
        member, snapshot = self._member, self._log.latest_snapshot_id
        level = QuorumLevel(
            state=member.state_name,
            epoch=member.epoch,
            leader_id=member.leader_id,
            high_watermark=member.high_watermark,
            log_end_offset=member.log_end_offset,
            directory_id=self._directory_id,
            snapshot_end_offset=-1 if snapshot is None else snapshot.end_offset,
            snapshot_epoch=-1 if snapshot is None else snapshot.epoch,
            voters=tuple(sorted(member.voters)),
        )
        if level != self._last_level:
            self._last_level = level
            self._sink.level(QuorumKey(member.node_id), level)
