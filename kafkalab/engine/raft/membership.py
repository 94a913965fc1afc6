"""What a follower does about its own place among the voters (KIP-853).

A voter tells the leader where it listens now, when the log says otherwise. An observer that may vote
and is set to join asks for it, having first had a voter removed that is this very node with the disk
it had before.
"""

from __future__ import annotations

import logging
from typing import Any, Final, Protocol

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.network import Network
from kafkalab.engine.raft import voter_messages
from kafkalab.engine.raft.config import RaftConfig
from kafkalab.engine.raft.states import FollowerState, State
from kafkalab.engine.raft.voter_history import VoterHistory
from kafkalab.engine.raft.voters import Voter

log = logging.getLogger(__name__)

_EXPECTED: Final = frozenset({Errors.NONE, Errors.REQUEST_TIMED_OUT, Errors.DUPLICATE_VOTER, Errors.VOTER_NOT_FOUND})


class MembershipOwner(Protocol):
    """The member that follows."""

    @property
    def state(self) -> State: ...

    @property
    def is_voter(self) -> bool: ...

    def observe(self, leader_id: int, epoch: int, cause: str, address: tuple[str, int] | None = None) -> None:
        """A response told who leads in which epoch."""


class Membership:
    """Looks at it once every fetch timeout, as long as the node follows the same leader."""

    def __init__(
        self,
        owner: MembershipOwner,
        *,
        local: Voter,
        is_joining: bool,
        cluster_id: str | None,
        history: VoterHistory,
        network: Network,
        clock: Clock,
        config: RaftConfig,
    ) -> None:
        self._owner = owner
        self._local = local
        self._is_joining = is_joining
        self._cluster_id = cluster_id
        self._history = history
        self._network = network
        self._clock = clock
        self._config = config
        self._timer: Timer | None = None
        self._has_updated_leader = False

    def begin(self, state: FollowerState) -> None:
        """The node follows that leader from now on."""
        self.stop()
        if self._local.endpoints:
            self._has_updated_leader = False
            self._arm(state)

    def stop(self) -> None:
        """It does so no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, state: FollowerState) -> None:
        self._timer = self._clock.call_later(self._config.fetch_timeout_ms, lambda: self._look(state))

    def _look(self, state: FollowerState) -> None:
        if self._owner.state is not state:
            return
        self._arm(state)
        if self._owner.is_voter:
            if self._should_update():
                body = voter_messages.update_request(self._cluster_id, self._local, epoch=state.epoch)
                self._send(state, ApiKey.UPDATE_RAFT_VOTER, body)
        elif self._is_joining and self._history.kraft_version > 0:
            old = self._history.voters.get(self._local.key.id)
            if old is not None:
                self._send(state, ApiKey.REMOVE_RAFT_VOTER, voter_messages.remove_request(self._cluster_id, old.key))
            else:
                body = voter_messages.add_request(self._cluster_id, self._local, timeout_ms=self._config.request_timeout_ms)
                self._send(state, ApiKey.ADD_RAFT_VOTER, body)

    def _should_update(self) -> bool:
        if self._history.kraft_version == 0:
            # For the day on which the version is raised; each leader asks for it anew.
            return not self._has_updated_leader
        return self._history.voters.needs_change(self._local)

    def _send(self, state: FollowerState, api_key: ApiKey, body: dict[str, Any]) -> None:
        self._network.send(
            state.leader_id,
            api_key,
            body,
            lambda response: self._answered(state, api_key, response),
            timeout_ms=self._config.request_timeout_ms,
        )

    def _answered(self, state: FollowerState, api_key: ApiKey, response: Any | None) -> None:
        if response is None or self._owner.state is not state:
            return
        error = response.error_code
        if api_key is ApiKey.UPDATE_RAFT_VOTER:
            leader = response.current_leader
            address = (leader.host, leader.port) if leader.host else None
            self._owner.observe(leader.leader_id, leader.leader_epoch, "it was told so", address)
            # A leader that cannot do it need not be asked again.
            self._has_updated_leader = error in (Errors.NONE, Errors.UNSUPPORTED_VERSION)
        elif error not in _EXPECTED:
            log.warning("%s was refused with error %s: %s", api_key.name, error, response.error_message)
