"""How a member comes to lead: it asks whether it could win, then asks for votes, and counts (KIP-595, KIP-996)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.network import Network
from kafkalab.engine.raft import messages
from kafkalab.engine.raft.config import RaftConfig
from kafkalab.engine.raft.leading import RETRY_BACKOFF_MAX_MS
from kafkalab.engine.raft.states import UNKNOWN_LEADER, CandidateState, ProspectiveState, State, UnattachedState
from kafkalab.engine.raft.voters import Address, ReplicaKey, VoterSet

if TYPE_CHECKING:
    from random import Random

FETCH_TIMEOUT_JITTER: Final = 0.1
"""Followers that lost their leader together stand for election one after the other."""
ELECTION_BACKOFF_BASE_MS: Final = 50


class ElectionOwner(Protocol):
    """The member that stands for election."""

    @property
    def state(self) -> State: ...

    @property
    def voter_set(self) -> VoterSet: ...

    @property
    def log_position(self) -> tuple[int, int]:
        """The epoch of the log's last record, and where the log ends."""

    @property
    def is_closed(self) -> bool: ...

    def transition_to(self, state: State, cause: str) -> None:
        """Move to another state; on disk when this returns."""

    def enter(self, state: State) -> None:
        """Do what a state begins with."""

    def become_leader(self, candidate: CandidateState) -> None:
        """The election is won."""

    def become_follower(self, epoch: int, leader_id: int, cause: str) -> None:
        """The leader is alive."""

    def observe(self, leader_id: int, epoch: int, cause: str, address: Address | None = None) -> None:
        """A response told who leads in which epoch."""


class Elections:
    """The candidacies of one member, one after the other; each ends with its state."""

    def __init__(
        self,
        owner: ElectionOwner,
        *,
        local_key: ReplicaKey,
        cluster_id: str | None,
        network: Network,
        clock: Clock,
        rng: Random,
        config: RaftConfig,
    ) -> None:
        self._owner = owner
        self._key = local_key
        self._cluster_id = cluster_id
        self._network = network
        self._clock = clock
        self._rng = rng
        self._config = config
        # How often an election was tried since the start; None once a leader has been known.
        self._boot_attempts: int | None = 0
        self._timers: set[Timer] = set()

    def leader_known(self) -> None:
        """The start is over: waits are as long as the settings say."""
        self._boot_attempts = None

    def stop(self) -> None:
        """The state has ended."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _at(self, deadline_ms: float, action: Callable[[], None]) -> None:
        def due() -> None:
            self._timers.discard(timer)
            action()

        timer = self._clock.call_later(max(0.0, deadline_ms - self._clock.now_ms()), due)
        self._timers.add(timer)

    def begin(self, state: ProspectiveState | CandidateState) -> None:
        """Ask everybody, and wait for answers no longer than the state lasts."""
        self._at(state.deadline_ms, lambda: self._handle_timeout(state))
        for voter in self._owner.voter_set:
            if voter.key.id != self._key.id:
                self.ask_for_vote(state, voter.key.id)

    def election_wait_ms(self) -> float:
        """How long to wait for a leader, or for votes: random, and short at first after the start."""
        wait_ms = self._config.election_timeout_ms * (1.0 + self._rng.random())
        if self._boot_attempts is None:
            return wait_ms
        boot_ms = self._config.boot_election_wait_ms * 2.0 ** min(self._boot_attempts, 16) * (0.5 + self._rng.random())
        return min(wait_ms, boot_ms)

    def fetch_timeout_ms(self) -> float:
        """How long to wait for an answer of the leader: no two wait equally long."""
        return self._config.fetch_timeout_ms * (1.0 + FETCH_TIMEOUT_JITTER * self._rng.random())

    def stand(self, cause: str, *, retries: int = 0, is_successor: bool = False) -> None:
        """Ask whether an election could be won; who was named as the successor need not ask."""
        old = self._owner.state
        if self._boot_attempts is not None:
            self._boot_attempts += 1
        state = ProspectiveState(
            old.epoch,
            local_id=self._key.id,
            voters=self._owner.voter_set.ids,
            leader_id=old.leader_id,
            voted_id=old.voted_id,
            voted_directory_id=old.voted_directory_id,
            deadline_ms=self._clock.now_ms() + self.election_wait_ms(),
            retries=retries,
        )
        self._owner.transition_to(state, cause)
        if state.is_won or is_successor:
            self._become_candidate(state, cause)
        else:
            self._owner.enter(state)

    def _become_candidate(self, prospect: ProspectiveState, cause: str) -> None:
        state = CandidateState(
            prospect.epoch + 1,
            local_id=self._key.id,
            directory_id=self._key.directory_id,
            voters=self._owner.voter_set.ids,
            deadline_ms=self._clock.now_ms() + self.election_wait_ms(),
            retries=prospect.retries,
            cause=cause,
        )
        self._owner.transition_to(state, cause)
        if state.is_won:
            self._owner.become_leader(state)
        else:
            self._owner.enter(state)

    def _handle_timeout(self, state: ProspectiveState | CandidateState) -> None:
        if self._owner.state is not state:
            return
        if isinstance(state, CandidateState):
            self.stand("its candidacy got no majority", retries=state.retries + 1)
        elif state.leader_id != UNKNOWN_LEADER and state.rejected:
            # Somebody still hears the leader: try to follow it again.
            self._owner.become_follower(state.epoch, state.leader_id, "its pre-vote got no majority")
        else:
            self.stand("nobody answered its pre-vote", retries=state.retries)

    def ask_for_vote(self, state: ProspectiveState | CandidateState, voter_id: int, attempt: int = 0) -> None:
        """Ask one voter, again and again until it answers."""
        if self._owner.state is not state or self._owner.is_closed:
            return
        is_pre_vote = isinstance(state, ProspectiveState)
        last_epoch, end_offset = self._owner.log_position
        voter = self._owner.voter_set.get(voter_id)
        body = messages.partition_request(
            self._cluster_id,
            {
                "replica_epoch": state.epoch,
                "replica_id": self._key.id,
                "replica_directory_id": self._key.directory_id,
                "voter_directory_id": None if voter is None else voter.key.directory_id,
                "last_offset_epoch": last_epoch,
                "last_offset": end_offset,
                "pre_vote": is_pre_vote,
            },
            voter_id=voter_id,
        )
        self._network.send(
            voter_id,
            ApiKey.VOTE,
            body,
            lambda response: self._handle_vote_response(state, voter_id, attempt, response),
            timeout_ms=self._config.request_timeout_ms,
        )

    def _handle_vote_response(self, state: ProspectiveState | CandidateState, voter_id: int, attempt: int, response: Any | None) -> None:
        if self._owner.is_closed:
            return
        partition = messages.only_response_partition(response) if response is not None else None
        if response is not None and Errors.UNSUPPORTED_VERSION in (response.error_code, partition.error_code if partition else 0):
            if self._owner.state is state and isinstance(state, ProspectiveState):
                # A voter older than pre-votes: the election itself must tell.
                self._become_candidate(state, "a voter knows no pre-vote")
            return
        if partition is None or response is None or response.error_code != Errors.NONE:
            if self._owner.state is state and isinstance(state, CandidateState) and voter_id not in state.granted | state.rejected:
                state.unreachable.add(voter_id)
                self._maybe_back_off(state)
            self._retry(attempt, lambda: self.ask_for_vote(state, voter_id, attempt + 1))
            return
        address = messages.told_address(response, partition.leader_id)
        self._owner.observe(partition.leader_id, partition.leader_epoch, f"controller {voter_id} said so when asked for its vote", address)
        # A late answer to an earlier candidacy says nothing about this one.
        if self._owner.state is not state:
            return
        if partition.error_code != Errors.NONE or partition.leader_epoch < state.epoch:
            # Who answers for an older epoch has not heard the question.
            self._retry(attempt, lambda: self.ask_for_vote(state, voter_id, attempt + 1))
            return
        state.record(voter_id, granted=partition.vote_granted)
        if isinstance(state, CandidateState):
            if state.is_won:
                self._owner.become_leader(state)
            else:
                self._maybe_back_off(state)
        elif state.is_won:
            self._become_candidate(state, f"controllers {names_of(state.granted)} would vote for it")
        elif state.leader_id != UNKNOWN_LEADER and (state.is_lost or (voter_id == state.leader_id and not partition.vote_granted)):
            self._owner.become_follower(state.epoch, state.leader_id, "its leader is alive")
        elif state.is_lost and state.leader_id == UNKNOWN_LEADER:
            unattached = UnattachedState(
                state.epoch, voted_id=state.voted_id, voted_directory_id=state.voted_directory_id, deadline_ms=state.deadline_ms
            )
            self._owner.transition_to(unattached, "its pre-vote was refused")
            self._owner.enter(unattached)

    def _maybe_back_off(self, state: CandidateState) -> None:
        """A candidacy without hope waits only until it is unlikely to collide again."""
        if not state.is_lost or state.is_backing_off:
            return
        state.is_backing_off = True
        longest_ms = min(ELECTION_BACKOFF_BASE_MS * 2.0 ** min(state.retries + 1, 16), self._config.election_backoff_max_ms)
        wait_ms = self._rng.uniform(min(self._config.retry_backoff_ms, longest_ms), longest_ms)
        self._at(min(state.deadline_ms, self._clock.now_ms() + wait_ms), lambda: self._handle_timeout(state))

    def _retry(self, attempt: int, action: Callable[[], None]) -> None:
        self._at(self._clock.now_ms() + self._config.retry_delay_ms(attempt, RETRY_BACKOFF_MAX_MS), action)


def names_of(node_ids: Iterable[int]) -> str:
    """The ids in order, for a sentence."""
    return ", ".join(str(node_id) for node_id in sorted(node_ids))
