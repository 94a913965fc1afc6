"""Requests of other members about elections: Vote, BeginQuorumEpoch, EndQuorumEpoch.

Any replica answers a vote, be it a voter or not, and whoever asks: a node may have become a voter by a
record that this one has not got yet (KIP-853), or by settings that it was not restarted with yet.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Protocol

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.raft import messages
from kafkalab.engine.raft.config import RaftConfig
from kafkalab.engine.raft.reporter import RaftReporter
from kafkalab.engine.raft.states import UNKNOWN_LEADER, FollowerState, ProspectiveState, State
from kafkalab.engine.raft.voter_history import VoterHistory
from kafkalab.engine.raft.voters import Address, ReplicaKey


class RequestOwner(Protocol):
    """The member that is asked."""

    @property
    def node_id(self) -> int: ...

    @property
    def state(self) -> State: ...

    @property
    def is_voter(self) -> bool: ...

    @property
    def may_stand(self) -> bool:
        """Whether it may ask for votes."""

    @property
    def is_closed(self) -> bool: ...

    @property
    def log_position(self) -> tuple[int, int]:
        """The epoch of the log's last record, and where the log ends."""

    def leader_address(self) -> Address | None:
        """Where the leader listens, as far as known."""

    def observe(self, leader_id: int, epoch: int, cause: str, address: Address | None = None) -> None:
        """Somebody said who leads in which epoch."""

    def become_unattached(self, epoch: int, cause: str, *, voted: ReplicaKey | None = None) -> None:
        """Take up a newer epoch, or vote in this one; on disk when this returns."""

    def ask_for_pre_vote(self, state: ProspectiveState, voter_id: int) -> None:
        """Ask a voter once more, who may have changed its mind."""

    def stand_after(self, backoff_ms: float, cause: str, *, is_successor: bool) -> None:
        """Stand for election after that time, unless somebody else leads by then."""


class QuorumRequests:
    """Answers them; what follows from them is the owner's doing."""

    def __init__(
        self,
        owner: RequestOwner,
        *,
        cluster_id: str | None,
        local_key: ReplicaKey,
        history: VoterHistory,
        reporter: RaftReporter,
        config: RaftConfig,
    ) -> None:
        self._owner = owner
        self._cluster_id = cluster_id
        self._local_key = local_key
        self._history = history
        self._reporter = reporter
        self._config = config

    def _refusal_of_all(self, request: Any) -> Errors:
        if self._owner.is_closed:
            return Errors.BROKER_NOT_AVAILABLE
        if messages.is_foreign(request, self._cluster_id):
            return Errors.INCONSISTENT_CLUSTER_ID
        return Errors.NONE if messages.only_partition(request) is not None else Errors.INVALID_REQUEST

    def _response(self, error: Errors, **fields: Any) -> messages.Body:
        state = self._owner.state
        return messages.partition_response(self._owner.leader_address(), error, state.leader_id, state.epoch, **fields)

    def _is_local_key(self, voter_id: int, directory_id: uuid.UUID | None) -> bool:
        """Whether a request that names its receiver means this node and this disk."""
        if voter_id == -1:
            # An old version, which does not name it.
            return True
        own = self._local_key.directory_id
        return voter_id == self._local_key.id and (directory_id is None or own is None or directory_id == own)

    @property
    def _has_static_voters(self) -> bool:
        return self._history.kraft_version == 0 and len(self._history.voters) > 0

    def handle_vote(self, request: Any) -> messages.Body:
        """Answer a candidate, or somebody who wonders whether to become one."""
        owner = self._owner
        error = self._refusal_of_all(request)
        if error is not Errors.NONE:
            return messages.top_level_error(error)
        vote = messages.only_partition(request)
        assert vote is not None, "the request was found well-formed"
        candidate = ReplicaKey.of(vote.replica_id, vote.replica_directory_id)
        epoch, is_pre_vote = vote.replica_epoch, vote.pre_vote
        newest_allowed = epoch if is_pre_vote else epoch - 1
        if vote.last_offset < 0 or not 0 <= vote.last_offset_epoch <= newest_allowed:
            return self._response(Errors.INVALID_REQUEST, vote_granted=False)
        if epoch < owner.state.epoch:
            return self._response(Errors.FENCED_LEADER_EPOCH, vote_granted=False)
        if candidate.id < 0:
            return self._response(Errors.INVALID_REQUEST, vote_granted=False)
        if candidate.id == owner.node_id:
            return self._response(Errors.INCONSISTENT_VOTER_SET, vote_granted=False)
        if epoch > owner.state.epoch:
            owner.become_unattached(epoch, f"controller {candidate.id} stands for election")
        if not self._is_local_key(request.voter_id, vote.voter_directory_id):
            return self._response(Errors.INVALID_VOTER_KEY, vote_granted=False)
        is_granted = (is_pre_vote or not owner.state.voted_for_other_disk(*candidate)) and owner.state.grants_vote(
            candidate.id,
            is_log_up_to_date=(vote.last_offset_epoch, vote.last_offset) >= owner.log_position,
            is_pre_vote=is_pre_vote,
        )
        if is_granted and not is_pre_vote and owner.state.voted_id is None:
            # On disk when this returns, and only then is it said.
            owner.become_unattached(epoch, f"it votes for controller {candidate.id}", voted=candidate)
        self._reporter.vote_answered(candidate.id, epoch, is_granted=is_granted, is_pre_vote=is_pre_vote)
        state = owner.state
        if not is_granted and is_pre_vote and isinstance(state, ProspectiveState) and candidate.id in state.rejected:
            # It refused because it had a leader; now it looks for one, and with the shorter log it cannot be it.
            owner.ask_for_pre_vote(state, candidate.id)
        return self._response(Errors.NONE, vote_granted=is_granted)

    def _handle_leader_claim(self, request: Any, leader_id: int, epoch: int, cause: str) -> Errors:
        """What BeginQuorumEpoch and EndQuorumEpoch have in common: somebody says that it leads, or led."""
        state = self._owner.state
        if epoch < state.epoch:
            return Errors.FENCED_LEADER_EPOCH
        address = messages.claimed_address(request, self._config.listener_name)
        is_stranger = self._has_static_voters and leader_id not in self._history.voters
        if leader_id < 0 or leader_id == self._owner.node_id or (is_stranger and address is None):
            return Errors.INVALID_REQUEST
        if epoch == state.epoch and state.leader_id not in (UNKNOWN_LEADER, leader_id):
            return Errors.INVALID_REQUEST
        self._owner.observe(leader_id, epoch, cause, address)
        return Errors.NONE

    def handle_begin_quorum_epoch(self, request: Any) -> messages.Body:
        """A new leader tells that it leads."""
        error = self._refusal_of_all(request)
        if error is not Errors.NONE:
            return messages.top_level_error(error)
        partition = messages.only_partition(request)
        assert partition is not None, "the request was found well-formed"
        leader_id = partition.leader_id
        claim = self._handle_leader_claim(request, leader_id, partition.leader_epoch, f"controller {leader_id} was elected")
        if claim is Errors.NONE and not self._is_local_key(request.voter_id, partition.voter_directory_id):
            # That it leads is true all the same.
            claim = Errors.INVALID_VOTER_KEY
        return self._response(claim)

    def handle_end_quorum_epoch(self, request: Any) -> messages.Body:
        """A leader tells that it leads no longer, and who is nearest to succeed it."""
        error = self._refusal_of_all(request)
        if error is not Errors.NONE:
            return messages.top_level_error(error)
        partition = messages.only_partition(request)
        assert partition is not None, "the request was found well-formed"
        leader_id = partition.leader_id
        claim = self._handle_leader_claim(request, leader_id, partition.leader_epoch, f"controller {leader_id} led")
        state = self._owner.state
        if claim is Errors.NONE and isinstance(state, FollowerState) and self._owner.may_stand:
            # Having said goodbye it will never lead this epoch again: others may be voted for.
            state.has_fetched = False
            candidates = [ReplicaKey.of(one.candidate_id, one.candidate_directory_id) for one in partition.preferred_candidates]
            candidates = candidates or [ReplicaKey(one) for one in getattr(partition, "preferred_successors", ())]
            backoff_ms = self._succession_backoff_ms(candidates)
            self._owner.stand_after(backoff_ms, f"controller {leader_id} resigned", is_successor=backoff_ms == 0.0)
        return self._response(claim)

    def _succession_backoff_ms(self, candidates: Sequence[ReplicaKey]) -> float:
        """The first in line stands at once, the others in turn, should it fail."""
        longest_ms = self._config.election_backoff_max_ms
        for position, candidate in enumerate(candidates):
            if self._is_local_key(candidate.id, candidate.directory_id):
                if position == 0:
                    return 0.0
                return float(min(longest_ms, (longest_ms >> min(len(candidates) - 1, 31)) << min(position - 1, 31)))
        return float(longest_ms)
