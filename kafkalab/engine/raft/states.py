"""The states of a quorum member, one class each, and the table of which may follow which.

A state holds what is only true while it lasts: the votes of one candidacy, the progress of the
followers of one leadership. It is made anew at each transition and knows no clock, network or
file; :mod:`node` moves between them. Observers (brokers) are Unattached or Follower for life.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import ClassVar, Final

UNKNOWN_LEADER: Final = -1
OBSERVER_FORGOTTEN_AFTER_MS: Final = 300_000.0
OBSERVERS_MAX: Final = 1_000
"""Fetchers outside the voters that are remembered; ids come from outside, so they are bounded."""


class RaftState(Enum):
    """What a member is in the present epoch."""

    UNATTACHED = "unattached"
    PROSPECTIVE = "prospective"
    CANDIDATE = "candidate"
    LEADER = "leader"
    FOLLOWER = "follower"
    RESIGNED = "resigned"


VALID_NEXT: Final[Mapping[RaftState, frozenset[RaftState]]] = MappingProxyType(
    {
        # Another epoch, or a vote in this one, makes a new Unattached of an Unattached.
        RaftState.UNATTACHED: frozenset({RaftState.UNATTACHED, RaftState.PROSPECTIVE, RaftState.FOLLOWER}),
        RaftState.PROSPECTIVE: frozenset({RaftState.UNATTACHED, RaftState.PROSPECTIVE, RaftState.CANDIDATE, RaftState.FOLLOWER}),
        RaftState.CANDIDATE: frozenset({RaftState.UNATTACHED, RaftState.PROSPECTIVE, RaftState.LEADER, RaftState.FOLLOWER}),
        RaftState.LEADER: frozenset({RaftState.UNATTACHED, RaftState.FOLLOWER, RaftState.RESIGNED}),
        RaftState.FOLLOWER: frozenset({RaftState.UNATTACHED, RaftState.PROSPECTIVE, RaftState.FOLLOWER}),
        # Straight to Prospective only where there is no other voter who could lead.
        RaftState.RESIGNED: frozenset({RaftState.UNATTACHED, RaftState.PROSPECTIVE, RaftState.FOLLOWER}),
    }
)
"""For each state those that may follow it. Code, tests and diagrams read this table."""

OBSERVER_STATES: Final = frozenset({RaftState.UNATTACHED, RaftState.FOLLOWER})


def majority_of(count: int) -> int:
    """The fewest of ``count`` voters that are more than half."""
    return count // 2 + 1


class State:
    """What every state has: its epoch, and whom this member voted for in it."""

    __slots__ = ("epoch", "voted_id")

    kind: ClassVar[RaftState]

    def __init__(self, epoch: int, voted_id: int | None) -> None:
        assert epoch >= 0, "epochs count from 0"
        self.epoch = epoch
        self.voted_id = voted_id

    @property
    def leader_id(self) -> int:
        """The epoch's leader as far as known, else -1."""
        return UNKNOWN_LEADER

    def grants_vote(self, candidate_id: int, *, is_log_up_to_date: bool, is_pre_vote: bool) -> bool:
        """Whether a candidate of this very epoch gets the vote."""
        raise NotImplementedError


class UnattachedState(State):
    """No leader is known in this epoch. A voter waits for one, or stands when it waited long enough."""

    __slots__ = ("deadline_ms",)
    kind = RaftState.UNATTACHED

    def __init__(self, epoch: int, *, voted_id: int | None, deadline_ms: float) -> None:
        super().__init__(epoch, voted_id)
        self.deadline_ms = deadline_ms

    def grants_vote(self, candidate_id: int, *, is_log_up_to_date: bool, is_pre_vote: bool) -> bool:
        if is_pre_vote:
            return is_log_up_to_date
        if self.voted_id is not None:
            # The candidate may not have heard the first answer.
            return self.voted_id == candidate_id
        return is_log_up_to_date


class ProspectiveState(State):
    """Asks whether an election could be won, in the present epoch and with nothing at stake."""

    __slots__ = ("_leader_id", "deadline_ms", "granted", "rejected", "retries", "voters")
    kind = RaftState.PROSPECTIVE

    def __init__(
        self,
        epoch: int,
        *,
        local_id: int,
        voters: frozenset[int],
        leader_id: int,
        voted_id: int | None,
        deadline_ms: float,
        retries: int,
    ) -> None:
        super().__init__(epoch, voted_id)
        assert local_id in voters, "only a voter may stand for election"
        self._leader_id = leader_id
        self.voters = voters
        self.deadline_ms = deadline_ms
        self.retries = retries
        """Candidacies lost since a leader was last known."""
        self.granted = {local_id}
        self.rejected: set[int] = set()

    @property
    def leader_id(self) -> int:
        return self._leader_id

    def record(self, voter_id: int, *, granted: bool) -> None:
        """A voter answered; its last answer counts, for a pre-vote binds nobody."""
        assert voter_id in self.voters, "votes come from voters only"
        self.granted.discard(voter_id)
        self.rejected.discard(voter_id)
        (self.granted if granted else self.rejected).add(voter_id)

    @property
    def is_won(self) -> bool:
        return len(self.granted) >= majority_of(len(self.voters))

    @property
    def is_lost(self) -> bool:
        return len(self.voters) - len(self.rejected) < majority_of(len(self.voters))

    def grants_vote(self, candidate_id: int, *, is_log_up_to_date: bool, is_pre_vote: bool) -> bool:
        if is_pre_vote:
            return is_log_up_to_date
        if self.voted_id is not None:
            return self.voted_id == candidate_id
        # Where a leader is known, this epoch has had its election.
        return self._leader_id == UNKNOWN_LEADER and is_log_up_to_date


class CandidateState(State):
    """Counts votes for one epoch until a majority settles it, one way or the other."""

    __slots__ = ("cause", "deadline_ms", "granted", "is_backing_off", "local_id", "rejected", "retries", "unreachable", "voters")
    kind = RaftState.CANDIDATE

    def __init__(self, epoch: int, *, local_id: int, voters: frozenset[int], deadline_ms: float, retries: int, cause: str) -> None:
        super().__init__(epoch, local_id)
        assert local_id in voters, "only a voter may stand for election"
        self.local_id = local_id
        self.voters = voters
        self.deadline_ms = deadline_ms
        self.retries = retries
        self.cause = cause
        """Why there had to be an election."""
        self.is_backing_off = False
        self.granted = {local_id}
        self.rejected: set[int] = set()
        self.unreachable: set[int] = set()
        """Voters whose last request went unanswered; they may still answer a later one."""

    def record(self, voter_id: int, *, granted: bool) -> None:
        """A voter answered. Votes are kept, so a second answer must agree with the first."""
        assert voter_id in self.voters, "votes come from voters only"
        self.unreachable.discard(voter_id)
        if voter_id in self.granted or voter_id in self.rejected:
            return
        (self.granted if granted else self.rejected).add(voter_id)
        assert not self.granted & self.rejected, "a voter answers once per epoch"

    @property
    def is_won(self) -> bool:
        return len(self.granted) >= majority_of(len(self.voters))

    @property
    def is_lost(self) -> bool:
        """No majority is in sight: too many refused, or cannot be asked."""
        return len(self.voters) - len(self.rejected) - len(self.unreachable) < majority_of(len(self.voters))

    def grants_vote(self, candidate_id: int, *, is_log_up_to_date: bool, is_pre_vote: bool) -> bool:
        return is_pre_vote and is_log_up_to_date


class FollowerState(State):
    """Fetches from the epoch's leader."""

    __slots__ = ("_leader_id", "deadline_ms", "has_fetched")
    kind = RaftState.FOLLOWER

    def __init__(self, epoch: int, *, leader_id: int, voted_id: int | None, deadline_ms: float) -> None:
        super().__init__(epoch, voted_id)
        assert leader_id >= 0, "a follower knows whom it follows"
        self._leader_id = leader_id
        self.deadline_ms = deadline_ms
        self.has_fetched = False
        """The leader answered a fetch in this epoch and has not said goodbye since."""

    @property
    def leader_id(self) -> int:
        return self._leader_id

    def grants_vote(self, candidate_id: int, *, is_log_up_to_date: bool, is_pre_vote: bool) -> bool:
        return is_pre_vote and is_log_up_to_date and not self.has_fetched


class ResignedState(State):
    """Led this epoch and does no longer. It may neither vote in it nor follow anybody."""

    __slots__ = ("deadline_ms", "local_id", "preferred_successors", "unacknowledged")
    kind = RaftState.RESIGNED

    def __init__(
        self, epoch: int, *, local_id: int, others: Collection[int], preferred_successors: tuple[int, ...], deadline_ms: float
    ) -> None:
        super().__init__(epoch, local_id)
        self.local_id = local_id
        self.unacknowledged = set(others)
        self.preferred_successors = preferred_successors
        self.deadline_ms = deadline_ms

    @property
    def leader_id(self) -> int:
        return self.local_id

    def grants_vote(self, candidate_id: int, *, is_log_up_to_date: bool, is_pre_vote: bool) -> bool:
        return False


class ReplicaProgress:
    """How far a fetcher has come, as its leader saw it."""

    __slots__ = ("directory_id", "end_offset", "last_caught_up_wall_ms", "last_fetch_ms", "last_fetch_wall_ms", "leader_end_at_last_fetch")

    def __init__(self, now_ms: float) -> None:
        self.end_offset = -1
        self.last_fetch_ms = now_ms
        self.last_fetch_wall_ms = -1
        self.last_caught_up_wall_ms = -1
        self.leader_end_at_last_fetch = -1
        self.directory_id: uuid.UUID | None = None

    def advance(self, end_offset: int, leader_end: int, *, now_ms: float, wall_ms: int) -> None:
        """The replica fetched from its end."""
        if end_offset >= leader_end:
            self.last_caught_up_wall_ms = wall_ms
        elif self.leader_end_at_last_fetch >= 0 and end_offset >= self.leader_end_at_last_fetch:
            self.last_caught_up_wall_ms = max(self.last_caught_up_wall_ms, self.last_fetch_wall_ms)
        self.end_offset = end_offset
        self.leader_end_at_last_fetch = leader_end
        self.last_fetch_ms = now_ms
        self.last_fetch_wall_ms = wall_ms


class LeaderState(State):
    """Knows how far every voter has come, and from that what is committed."""

    __slots__ = ("_local_id", "epoch_start_offset", "flushed_end_offset", "is_announced", "observers", "started_ms", "voters")
    kind = RaftState.LEADER

    def __init__(self, epoch: int, *, local_id: int, voters: Iterable[int], epoch_start_offset: int, now_ms: float) -> None:
        super().__init__(epoch, local_id)
        self._local_id = local_id
        self.epoch_start_offset = epoch_start_offset
        """Where LEADER_CHANGE lies: nothing is committed by counting until that is (Raft's figure 8)."""
        self.flushed_end_offset = epoch_start_offset
        self.started_ms = now_ms
        self.voters = {voter_id: ReplicaProgress(now_ms) for voter_id in voters if voter_id != local_id}
        """The other voters."""
        self.observers: dict[int, ReplicaProgress] = {}
        self.is_announced = False
        """The listener has been told that this node leads."""

    @property
    def leader_id(self) -> int:
        return self._local_id

    def grants_vote(self, candidate_id: int, *, is_log_up_to_date: bool, is_pre_vote: bool) -> bool:
        return False

    def replica(self, replica_id: int, now_ms: float) -> ReplicaProgress | None:
        """The progress of a fetcher; None for one that there is no room to remember."""
        progress = self.voters.get(replica_id) or self.observers.get(replica_id)
        if progress is None and replica_id >= 0 and replica_id != self._local_id:
            self.forget_silent_observers(now_ms)
            if len(self.observers) < OBSERVERS_MAX:
                progress = self.observers[replica_id] = ReplicaProgress(now_ms)
        return progress

    def forget_silent_observers(self, now_ms: float) -> None:
        """Drop observers that have not fetched for minutes."""
        oldest_ms = now_ms - OBSERVER_FORGOTTEN_AFTER_MS
        for replica_id in [one for one, progress in self.observers.items() if progress.last_fetch_ms < oldest_ms]:
            del self.observers[replica_id]

    def committed_end(self) -> int | None:
        """The end of what a majority has on disk, once that covers the start of this epoch."""
        ends = sorted([self.flushed_end_offset, *(progress.end_offset for progress in self.voters.values())], reverse=True)
        end = ends[majority_of(len(ends)) - 1]
        return end if end > self.epoch_start_offset else None

    def majority_fetched_ms(self) -> float:
        """Since when, at the latest, a majority (this node among them) has been in touch."""
        times = sorted((progress.last_fetch_ms for progress in self.voters.values()), reverse=True)
        needed = majority_of(len(times) + 1) - 1
        return times[needed - 1] if needed else float("inf")

    def preferred_successors(self) -> tuple[int, ...]:
        """The other voters, those with the longest logs first."""
        return tuple(sorted(self.voters, key=lambda voter_id: (-self.voters[voter_id].end_offset, voter_id)))
