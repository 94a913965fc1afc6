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

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.raft.voters import ReplicaKey, VoterSet

UNKNOWN_LEADER: Final = -1
OBSERVER_FORGOTTEN_AFTER_MS: Final = 300_000.0
CAUGHT_UP_WITHIN_MS: Final = 3_600_000.0
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


def leader_refusal(state: State, epoch: int, *, is_serving: bool) -> Errors:
    """Why a member in that state does not serve what was asked of the leader of ``epoch``; NONE where it does."""
    if epoch < state.epoch:
        return Errors.FENCED_LEADER_EPOCH
    if epoch > state.epoch:
        return Errors.UNKNOWN_LEADER_EPOCH
    if not isinstance(state, LeaderState):
        return Errors.NOT_LEADER_OR_FOLLOWER
    return Errors.NONE if is_serving else Errors.BROKER_NOT_AVAILABLE


def majority_of(count: int) -> int:
    """The fewest of ``count`` voters that are more than half."""
    return count // 2 + 1


class State:
    """What every state has: its epoch, and whom this member voted for in it."""

    __slots__ = ("epoch", "voted_directory_id", "voted_id")

    kind: ClassVar[RaftState]

    def __init__(self, epoch: int, voted_id: int | None, voted_directory_id: uuid.UUID | None = None) -> None:
        assert epoch >= 0, "epochs count from 0"
        self.epoch = epoch
        self.voted_id = voted_id
        self.voted_directory_id = voted_directory_id
        """The disk of whom it voted for, where that one told."""

    def voted_for_other_disk(self, candidate_id: int, directory_id: uuid.UUID | None) -> bool:
        """Whether the vote went to a node of that id which had another disk, and therefore is another voter."""
        return self.voted_id == candidate_id and self.voted_directory_id is not None and self.voted_directory_id != directory_id

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

    def __init__(self, epoch: int, *, voted_id: int | None, deadline_ms: float, voted_directory_id: uuid.UUID | None = None) -> None:
        super().__init__(epoch, voted_id, voted_directory_id)
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
        voted_directory_id: uuid.UUID | None = None,
    ) -> None:
        super().__init__(epoch, voted_id, voted_directory_id)
        assert voters, "somebody votes"
        self._leader_id = leader_id
        self.voters = voters
        self.deadline_ms = deadline_ms
        self.retries = retries
        """Candidacies lost since a leader was last known."""
        # One whose removal may not be committed stands as well, and does not count itself.
        self.granted = {local_id} & voters
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

    def __init__(
        self,
        epoch: int,
        *,
        local_id: int,
        voters: frozenset[int],
        deadline_ms: float,
        retries: int,
        cause: str,
        directory_id: uuid.UUID | None = None,
    ) -> None:
        super().__init__(epoch, local_id, directory_id)
        assert voters, "somebody votes"
        self.local_id = local_id
        self.voters = voters
        self.deadline_ms = deadline_ms
        self.retries = retries
        self.cause = cause
        """Why there had to be an election."""
        self.is_backing_off = False
        # One whose removal may not be committed stands as well, and does not count itself.
        self.granted = {local_id} & voters
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

    def __init__(
        self, epoch: int, *, leader_id: int, voted_id: int | None, deadline_ms: float, voted_directory_id: uuid.UUID | None = None
    ) -> None:
        super().__init__(epoch, voted_id, voted_directory_id)
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
    """Led this epoch and does no longer. It may neither vote in it nor follow anybody; a pre-vote is for the next."""

    __slots__ = ("deadline_ms", "local_id", "preferred_successors", "unacknowledged")
    kind = RaftState.RESIGNED

    def __init__(
        self,
        epoch: int,
        *,
        local_id: int,
        others: Collection[int],
        preferred_successors: tuple[int, ...],
        deadline_ms: float,
        directory_id: uuid.UUID | None = None,
    ) -> None:
        super().__init__(epoch, local_id, directory_id)
        self.local_id = local_id
        self.unacknowledged = set(others)
        self.preferred_successors = preferred_successors
        self.deadline_ms = deadline_ms

    @property
    def leader_id(self) -> int:
        return self.local_id

    def grants_vote(self, candidate_id: int, *, is_log_up_to_date: bool, is_pre_vote: bool) -> bool:
        return is_pre_vote and is_log_up_to_date


class ReplicaProgress:
    """How far a fetcher has come, as its leader saw it."""

    __slots__ = (
        "directory_id",
        "end_offset",
        "last_caught_up_wall_ms",
        "last_fetch_ms",
        "last_fetch_wall_ms",
        "leader_end_at_last_fetch",
        "voter_directory_id",
    )

    def __init__(self, now_ms: float) -> None:
        self.end_offset = -1
        self.last_fetch_ms = now_ms
        self.last_fetch_wall_ms = -1
        self.last_caught_up_wall_ms = -1
        self.leader_end_at_last_fetch = -1
        self.directory_id: uuid.UUID | None = None
        """The disk that it fetches to, as it says."""
        self.voter_directory_id: uuid.UUID | None = None
        """The disk that it votes with; None where the voters are static."""

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

    __slots__ = (
        "_local_id",
        "epoch_start_offset",
        "flushed_end_offset",
        "is_announced",
        "is_voter",
        "observers",
        "started_ms",
        "voters",
    )
    kind = RaftState.LEADER

    def __init__(
        self,
        epoch: int,
        *,
        local_id: int,
        voters: Iterable[int],
        epoch_start_offset: int,
        now_ms: float,
        directory_id: uuid.UUID | None = None,
    ) -> None:
        super().__init__(epoch, local_id, directory_id)
        self._local_id = local_id
        self.epoch_start_offset = epoch_start_offset
        """Where LEADER_CHANGE lies: nothing is committed by counting until that is (Raft's figure 8)."""
        self.flushed_end_offset = epoch_start_offset
        self.started_ms = now_ms
        self.is_voter = True
        """False once it is removed; it leads on until that is committed, and does not count itself."""
        self.voters = {voter_id: ReplicaProgress(now_ms) for voter_id in voters if voter_id != local_id}
        """The other voters."""
        self.observers: dict[ReplicaKey, ReplicaProgress] = {}
        self.is_announced = False
        """The listener has been told that this node leads."""

    @property
    def leader_id(self) -> int:
        return self._local_id

    def grants_vote(self, candidate_id: int, *, is_log_up_to_date: bool, is_pre_vote: bool) -> bool:
        return False

    def set_voters(self, voters: VoterSet, local_key: ReplicaKey, now_ms: float) -> None:
        """Others vote from now on; what is known of each goes with it. A new voter has as long to fetch as after an election."""
        old = self.voters
        self.voters = {}
        self.is_voter = voters.is_voter(local_key)
        for voter in voters:
            if voter.is_voter(local_key):
                continue
            known = old.pop(voter.key.id, None)
            if known is not None and known.voter_directory_id not in (None, voter.key.directory_id):
                old[voter.key.id] = known
                known = None
            progress = known or self.observers.pop(voter.key, None) or ReplicaProgress(now_ms)
            progress.voter_directory_id = voter.key.directory_id
            if known is None:
                progress.last_fetch_ms = now_ms
            self.voters[voter.key.id] = progress
        for voter_id, progress in old.items():
            self.observers.setdefault(ReplicaKey(voter_id, progress.voter_directory_id or progress.directory_id), progress)

    def voter(self, key: ReplicaKey) -> ReplicaProgress | None:
        """The progress of another voter; None for a replica that is none."""
        progress = self.voters.get(key.id)
        if progress is None or progress.voter_directory_id not in (None, key.directory_id):
            return None
        return progress

    def replica(self, key: ReplicaKey | int, now_ms: float) -> ReplicaProgress | None:
        """The progress of a fetcher; None for one that there is no room to remember."""
        if isinstance(key, int):
            key = ReplicaKey(key)
        progress = self.voter(key) or self.observers.get(key)
        if progress is None and key.id >= 0 and key.id != self._local_id:
            self.forget_silent_observers(now_ms)
            if len(self.observers) < OBSERVERS_MAX:
                progress = self.observers[key] = ReplicaProgress(now_ms)
        return progress

    def is_caught_up(self, key: ReplicaKey, now_ms: float) -> bool:
        """Whether an observer had all of the log lately, so that it delays nobody as a voter."""
        progress = self.observers.get(key)
        return progress is not None and progress.last_caught_up_wall_ms > 0 and progress.last_fetch_ms > now_ms - CAUGHT_UP_WITHIN_MS

    def forget_silent_observers(self, now_ms: float) -> None:
        """Drop observers that have not fetched for minutes."""
        oldest_ms = now_ms - OBSERVER_FORGOTTEN_AFTER_MS
        for key in [one for one, progress in self.observers.items() if progress.last_fetch_ms < oldest_ms]:
            del self.observers[key]

    def committed_end(self) -> int | None:
        """The end of what a majority has on disk, once that covers the start of this epoch."""
        ends = [progress.end_offset for progress in self.voters.values()]
        if self.is_voter:
            ends.append(self.flushed_end_offset)
        ends.sort(reverse=True)
        end = ends[majority_of(len(ends)) - 1]
        return end if end > self.epoch_start_offset else None

    def majority_fetched_ms(self) -> float:
        """Since when, at the latest, a majority (this node among them, while it votes) has been in touch."""
        times = sorted((progress.last_fetch_ms for progress in self.voters.values()), reverse=True)
        needed = majority_of(len(times) + self.is_voter) - self.is_voter
        return times[needed - 1] if needed else float("inf")

    def preferred_successors(self) -> tuple[int, ...]:
        """The other voters, those with the longest logs first."""
        return tuple(sorted(self.voters, key=lambda voter_id: (-self.voters[voter_id].end_offset, voter_id)))
