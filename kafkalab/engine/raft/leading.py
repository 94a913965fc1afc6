"""What a leader owes the others: to tell that it leads, to see that they follow, and to say goodbye."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.network import Network
from kafkalab.engine.raft import messages
from kafkalab.engine.raft.config import RaftConfig
from kafkalab.engine.raft.states import LeaderState, ResignedState, State
from kafkalab.engine.raft.voters import Address, ReplicaKey, VoterSet

CHECK_QUORUM_FACTOR: Final = 1.5
RETRY_BACKOFF_MAX_MS: Final = 250.0


class LeadingOwner(Protocol):
    """The member that leads, or led."""

    @property
    def node_id(self) -> int: ...

    @property
    def state(self) -> State: ...

    @property
    def voter_set(self) -> VoterSet: ...

    @property
    def is_closed(self) -> bool: ...

    def observe(self, leader_id: int, epoch: int, cause: str, address: Address | None = None) -> None:
        """A response told who leads in which epoch."""

    def resign(self, cause: str) -> None:
        """Lead no longer."""

    def handle_goodbyes_said(self) -> None:
        """All voters know that this member leads no longer."""


class LeaderDuties:
    """Timers and requests of one leadership after another; each ends with its state."""

    def __init__(
        self,
        owner: LeadingOwner,
        *,
        cluster_id: str | None,
        endpoints: Callable[[], list[messages.Body]],
        network: Network,
        clock: Clock,
        config: RaftConfig,
    ) -> None:
        """``endpoints`` are the member's own, as requests carry them."""
        self._owner = owner
        self._cluster_id = cluster_id
        self._endpoints = endpoints
        self._network = network
        self._clock = clock
        self._config = config
        self._announcing: Timer | None = None
        self._checking: Timer | None = None
        self._retries: set[Timer] = set()

    def stop(self) -> None:
        """The state has ended."""
        for timer in (self._announcing, self._checking, *self._retries):
            if timer is not None:
                timer.cancel()
        self._announcing = self._checking = None
        self._retries.clear()

    # --- leading -------------------------------------------------------------------------------

    def begin(self, state: LeaderState) -> None:
        """Tell all voters, and go on telling those that do not fetch."""
        for voter_id in state.voters:
            self._announce(state, voter_id)
        if state.voters:
            self._schedule_announcements(state)
            self._check_quorum(state)

    def voters_changed(self, state: LeaderState, new_ids: set[int]) -> None:
        """Others vote from now on."""
        self.stop()
        for voter_id in new_ids:
            self._announce(state, voter_id)
        if state.voters:
            self._schedule_announcements(state)
            self._check_quorum(state)

    def _schedule_announcements(self, state: LeaderState) -> None:
        period_ms = self._config.fetch_timeout_ms / 2

        def announce() -> None:
            silent_since_ms = self._clock.now_ms() - period_ms
            for voter_id, progress in state.voters.items():
                if progress.last_fetch_ms <= silent_since_ms:
                    self._announce(state, voter_id)
            self._announcing = self._clock.call_later(period_ms, announce)

        self._announcing = self._clock.call_later(period_ms, announce)

    def _announce(self, state: LeaderState, voter_id: int) -> None:
        voter = self._owner.voter_set.get(voter_id)
        body = messages.partition_request(
            self._cluster_id,
            {
                "voter_directory_id": None if voter is None else voter.key.directory_id,
                "leader_id": self._owner.node_id,
                "leader_epoch": state.epoch,
            },
            voter_id=voter_id,
            leader_endpoints=self._endpoints(),
        )
        self._network.send(
            voter_id,
            ApiKey.BEGIN_QUORUM_EPOCH,
            body,
            lambda response: self._announced(response, voter_id),
            timeout_ms=self._config.request_timeout_ms,
        )

    def _announced(self, response: Any | None, voter_id: int) -> None:
        self._note_epoch(response, voter_id)

    def _note_epoch(self, response: Any | None, voter_id: int) -> bool:
        """Note a newer epoch; whether the other side understood."""
        if response is None or self._owner.is_closed:
            return False
        partition = messages.only_response_partition(response)
        if partition is None or response.error_code != Errors.NONE:
            return False
        address = messages.told_address(response, partition.leader_id)
        self._owner.observe(partition.leader_id, partition.leader_epoch, f"controller {voter_id} said so", address)
        return bool(partition.error_code == Errors.NONE)

    def _check_quorum(self, state: LeaderState) -> None:
        """Lead no longer than a majority follows: it may have another leader by now."""
        limit_ms = self._config.fetch_timeout_ms * CHECK_QUORUM_FACTOR
        remaining_ms = state.majority_fetched_ms() + limit_ms - self._clock.now_ms()
        if remaining_ms <= 0:
            self._owner.resign(f"no majority of the controllers fetched for {limit_ms:.0f} ms")
            return
        self._checking = self._clock.call_later(remaining_ms, lambda: self._check_quorum(state))

    # --- leaving -------------------------------------------------------------------------------

    def say_goodbyes(self, state: ResignedState) -> None:
        """Tell all voters who did not lead along, until they have understood."""
        for voter_id in tuple(state.unacknowledged):
            self._say_goodbye(state, voter_id, 0)

    def _candidates(self, state: ResignedState) -> list[ReplicaKey]:
        voters = self._owner.voter_set
        return [voter.key if (voter := voters.get(one)) is not None else ReplicaKey(one) for one in state.preferred_successors]

    def _say_goodbye(self, state: ResignedState, voter_id: int, attempt: int) -> None:
        if self._owner.state is not state or self._owner.is_closed:
            return
        body = messages.partition_request(
            self._cluster_id,
            {
                "leader_id": self._owner.node_id,
                "leader_epoch": state.epoch,
                "preferred_successors": state.preferred_successors,
                "preferred_candidates": [
                    {"candidate_id": key.id, "candidate_directory_id": key.directory_id} for key in self._candidates(state)
                ],
            },
            leader_endpoints=self._endpoints(),
        )

        def on_response(response: Any | None) -> None:
            is_understood = self._note_epoch(response, voter_id)
            if self._owner.state is not state or self._owner.is_closed:
                return
            if not is_understood:
                self._retry(attempt, lambda: self._say_goodbye(state, voter_id, attempt + 1))
                return
            state.unacknowledged.discard(voter_id)
            if not state.unacknowledged:
                self._owner.handle_goodbyes_said()

        self._network.send(voter_id, ApiKey.END_QUORUM_EPOCH, body, on_response, timeout_ms=self._config.request_timeout_ms)

    def _retry(self, attempt: int, action: Callable[[], None]) -> None:
        def again() -> None:
            self._retries.discard(timer)
            action()

        timer = self._clock.call_later(self._config.retry_delay_ms(attempt, RETRY_BACKOFF_MAX_MS), again)
        self._retries.add(timer)
