"""How a leader changes who votes: one voter at a time, each change in the log before the next (KIP-853).

A change counts as soon as its record is in the leader's log, and whoever asked is told when it is
committed. Before a leader has committed something of its own epoch it changes nothing, for a change
of the leader before may still come up. While kraft.version is 0 the voters are static: their
endpoints and disks are only remembered here, for the day on which the version is raised.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from kafkalab import __version__
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.features import KRAFT_VERSION_FEATURE
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.network import Network
from kafkalab.engine.raft import voter_messages as messages
from kafkalab.engine.raft.config import RaftConfig
from kafkalab.engine.raft.messages import Body, is_foreign
from kafkalab.engine.raft.states import LeaderState, State, leader_refusal
from kafkalab.engine.raft.voter_history import VoterHistory, voters_value
from kafkalab.engine.raft.voters import Address, ReplicaKey, Voter, VoterSet
from kafkalab.engine.record.control import ControlType
from kafkalab.engine.record.quorum_records import encode_kraft_version

log = logging.getLogger(__name__)

Respond = Callable[[Mapping[str, Any]], None]
_NO_COMMIT_YET: Final = "Request timed out waiting for leader to establish HWM and fence previous voter changes"


class ChangesOwner(Protocol):
    """The member that may lead."""

    @property
    def state(self) -> State: ...

    @property
    def high_watermark(self) -> int: ...

    @property
    def is_serving(self) -> bool: ...

    def append_controls(self, controls: list[tuple[ControlType, bytes]]) -> int:
        """As the leader: one control batch, and the offset of its last record."""

    def leader_address(self) -> Address | None:
        """Where the leader listens, as far as known."""

    def resign(self, cause: str) -> None:
        """As the leader: lead no longer."""

    def handle_replica_alive(self, key: ReplicaKey) -> None:
        """As the leader: a voter was heard of."""


@dataclass(slots=True, eq=False)
class _Pending:
    """The one change that is under way."""

    what: str
    key: ReplicaKey
    respond: Respond | None
    timer: Timer
    endpoints: Mapping[str, Address]
    ack_when_committed: bool
    last_offset: int | None = None


class VoterChanges:
    """Answers AddRaftVoter, RemoveRaftVoter and UpdateRaftVoter, and raises kraft.version."""

    def __init__(
        self,
        owner: ChangesOwner,
        *,
        local: Voter,
        cluster_id: str | None,
        history: VoterHistory,
        network: Network,
        clock: Clock,
        config: RaftConfig,
    ) -> None:
        self._owner = owner
        self._local = local
        self._cluster_id = cluster_id
        self._history = history
        self._network = network
        self._clock = clock
        self._config = config
        self._pending: _Pending | None = None
        # While kraft.version is 0: the static voters with what each told of itself.
        self._volatile: VoterSet | None = None
        self._requested_version: int | None = None

    # --- leadership ----------------------------------------------------------------------------

    def begin(self) -> None:
        """This member leads from now on."""
        self._requested_version = None
        self._volatile = None
        if self._history.kraft_version == 0:
            self._volatile = self._history.voters.with_changed(self._local, ignore_directory=True)

    def end(self) -> None:
        """This member leads no longer."""
        self._volatile = None
        self._requested_version = None
        self._finish(Errors.NOT_LEADER_OR_FOLLOWER, None)

    def handle_high_watermark(self, high_watermark: int) -> None:
        """More is committed: perhaps the change that is under way."""
        pending = self._pending
        if pending is not None and pending.last_offset is not None and high_watermark > pending.last_offset:
            self._finish(Errors.NONE, None)
        offset = self._history.voters_offset
        if offset is not None and offset < high_watermark and not self._history.voters.is_voter(self._local.key):
            # Whoever asked hears of it first.
            self._owner.resign("it was removed from the voters")

    @property
    def kraft_version(self) -> int:
        """The level as it is, or as it is about to be."""
        return self._history.kraft_version if self._requested_version is None else self._requested_version

    def pending_address(self, node_id: int) -> Address | None:
        """Where a node listens that is about to become a voter."""
        pending = self._pending
        if pending is None or pending.key.id != node_id:
            return None
        return pending.endpoints.get(self._config.listener_name)

    # --- requests ------------------------------------------------------------------------------

    def handle_add(self, request: Any, respond: Respond) -> None:
        """AddRaftVoter: somebody wants a caught-up observer to vote."""
        state = self._leading(request, respond)
        if state is None:
            return
        key = ReplicaKey.of(request.voter_id, request.voter_directory_id)
        endpoints = _endpoints(request.listeners)
        if key.id < 0 or key.directory_id is None:
            respond(messages.voter_response(Errors.INVALID_REQUEST, "Add voter request didn't include a valid voter"))
            return
        name = self._config.listener_name
        if name not in endpoints:
            told = ", ".join(f"{listener}={host}:{port}" for listener, (host, port) in endpoints.items())
            message = f"Add voter request didn't include the endpoint ({told}) for the default listener {name}"
            respond(messages.voter_response(Errors.INVALID_REQUEST, message))
            return
        try:
            voters = self._changeable_voters("adding")
            if key.id in voters:
                raise ApiError(Errors.DUPLICATE_VOTER, f"The voter id for {key} is already part of the set of voters {voters}.")
        except ApiError as refusal:
            respond(messages.voter_response(refusal.error, refusal.message))
            return
        pending = self._begin("add", key, respond, endpoints, ack_when_committed=request.ack_when_committed)
        self._network.send(
            key.id,
            ApiKey.API_VERSIONS,
            {"client_software_name": "kafkalab", "client_software_version": __version__},
            lambda response: self._handle_api_versions(pending, state, response),
            timeout_ms=self._config.request_timeout_ms,
        )

    def _handle_api_versions(self, pending: _Pending, state: LeaderState, response: Any | None) -> None:
        if self._pending is not pending or self._owner.state is not state:
            return
        key = pending.key
        if response is None or response.error_code != Errors.NONE:
            error = "no answer" if response is None else Errors.name_of(response.error_code)
            message = f"Aborted add voter operation for {key} since API_VERSIONS returned an error {error}"
            self._finish(Errors.REQUEST_TIMED_OUT, message)
            return
        supported = next((one for one in response.supported_features if one.name == KRAFT_VERSION_FEATURE), None)
        low, high = (0, 0) if supported is None else (supported.min_version, supported.max_version)
        level = self._history.kraft_version
        if supported is None or not low <= level <= high:
            message = (
                f"Aborted add voter operation for {key} since the {KRAFT_VERSION_FEATURE} range (min: {low}, max: {high}) "
                f"doesn't support the finalized version {level}"
            )
            self._finish(Errors.INVALID_REQUEST, message)
            return
        if not state.is_caught_up(key, self._clock.now_ms()):
            self._finish(Errors.REQUEST_TIMED_OUT, f"Aborted add voter operation for {key} since it is lagging behind")
            return
        voters = self._history.voters.with_voter(Voter(key=key, endpoints=pending.endpoints, min_version=low, max_version=high))
        assert voters is not None, "no other change came between"
        pending.last_offset = self._append(voters)
        if not pending.ack_when_committed and pending.respond is not None:
            respond, pending.respond = pending.respond, None
            respond(messages.voter_response(Errors.NONE))

    def handle_remove(self, request: Any, respond: Respond) -> None:
        """RemoveRaftVoter: somebody wants a voter to be none any more."""
        if self._leading(request, respond) is None:
            return
        key = ReplicaKey.of(request.voter_id, request.voter_directory_id)
        if key.id < 0 or key.directory_id is None:
            respond(messages.voter_response(Errors.INVALID_REQUEST, "Remove voter request didn't include a valid voter"))
            return
        try:
            voters = self._changeable_voters("removing")
            remaining = voters.without_voter(key)
            if remaining is None:
                raise ApiError(Errors.VOTER_NOT_FOUND, f"Cannot remove voter {key} from the set of voters {voters}")
        except ApiError as refusal:
            respond(messages.voter_response(refusal.error, refusal.message))
            return
        pending = self._begin("remove", key, respond, {}, ack_when_committed=True)
        pending.last_offset = self._append(remaining)

    def handle_update(self, request: Any) -> Body:
        """UpdateRaftVoter: a voter tells where it listens now, and at which levels it can work."""
        if is_foreign(request, self._cluster_id):
            return self._update_response(Errors.INCONSISTENT_CLUSTER_ID)
        error = leader_refusal(self._owner.state, request.current_leader_epoch, is_serving=self._owner.is_serving)
        if error is not Errors.NONE:
            return self._update_response(error)
        key = ReplicaKey.of(request.voter_id, request.voter_directory_id)
        endpoints = _endpoints(request.listeners)
        feature = request.k_raft_version_feature
        low, high = feature.min_supported_version, feature.max_supported_version
        if key.id < 0 or key.directory_id is None or self._config.listener_name not in endpoints or not 0 <= low <= high:
            return self._update_response(Errors.INVALID_REQUEST)
        try:
            self._update(Voter(key=key, endpoints=endpoints, min_version=low, max_version=high))
        except ApiError as refusal:
            return self._update_response(refusal.error)
        self._owner.handle_replica_alive(key)
        return self._update_response(Errors.NONE)

    def _update(self, voter: Voter) -> None:
        is_static = self._history.kraft_version == 0
        if self._pending is not None or not self._has_committed:
            raise ApiError(Errors.REQUEST_TIMED_OUT)
        if is_static:
            if self._volatile is None:
                raise ApiError(Errors.REQUEST_TIMED_OUT)
            voters = self._volatile
        else:
            voters = self._changeable_voters("updating")
        if not voter.supports(self._history.kraft_version):
            raise ApiError(Errors.INVALID_REQUEST)
        changed = voters.with_changed(voter, ignore_directory=is_static)
        if changed is None:
            raise ApiError(Errors.VOTER_NOT_FOUND)
        if is_static:
            self._volatile = changed
        else:
            self._append(changed)

    def upgrade(self, epoch: int, level: int, *, validate_only: bool) -> None:
        """Raise kraft.version. That the voters can work at it must be known of each.

        :raises ApiError: INVALID_UPDATE_VERSION, or NOT_CONTROLLER where another epoch has come.
        """
        state = self._owner.state
        if not isinstance(state, LeaderState) or state.epoch != epoch:
            raise ApiError(Errors.NOT_CONTROLLER, "Upgrade kraft version failed because the replica is not the current leader")
        name, present = KRAFT_VERSION_FEATURE, self._history.kraft_version
        requested = self._requested_version
        if requested is not None:
            if requested != level:
                message = f"Invalid concurrent upgrade of {name} from version {_shown(requested)} to {_shown(level)}"
                raise ApiError(Errors.INVALID_UPDATE_VERSION, message)
            return
        if present == level:
            return
        invalid = f"Invalid upgrade of {name} from version {_shown(present)} to {_shown(level)}"
        if present > level:
            raise ApiError(Errors.INVALID_UPDATE_VERSION, f"{invalid} because the new version is a downgrade")
        voters = self._volatile
        if voters is None:
            raise ApiError(Errors.INVALID_UPDATE_VERSION, invalid)
        if any(not voter.supports(level) or voter.key.directory_id is None for voter in voters):
            message = f"Invalid upgrade of {name} to {_shown(level)} because not all of the voters support it"
            raise ApiError(Errors.INVALID_UPDATE_VERSION, message)
        if validate_only:
            return
        self._volatile, self._requested_version = None, level
        controls = [(ControlType.KRAFT_VERSION, encode_kraft_version(level))]
        if voters != self._history.voters:
            controls.append((ControlType.KRAFT_VOTERS, voters_value(voters)))
        self._owner.append_controls(controls)
        self._requested_version = None

    # --- how ----------------------------------------------------------------------------------

    def _leading(self, request: Any, respond: Respond) -> LeaderState | None:
        """The state to work in; None when the request has been refused."""
        state = self._owner.state
        if is_foreign(request, self._cluster_id):
            message = f'The given id "{request.cluster_id}" doesn\'t match the cluster id "{self._cluster_id}"'
            respond(messages.voter_response(Errors.INCONSISTENT_CLUSTER_ID, message))
            return None
        error = leader_refusal(state, state.epoch, is_serving=self._owner.is_serving)
        if error is not Errors.NONE:
            respond(messages.voter_response(error))
            return None
        assert isinstance(state, LeaderState), "others refuse"
        return state

    def _changeable_voters(self, doing: str) -> VoterSet:
        """The voters, when nothing stands against changing them.

        :raises ApiError: REQUEST_TIMED_OUT while something is under way, UNSUPPORTED_VERSION for static voters.
        """
        if self._pending is not None:
            raise ApiError(Errors.REQUEST_TIMED_OUT, "Request timed out waiting for leader to handle previous voter change request")
        if not self._has_committed:
            raise ApiError(Errors.REQUEST_TIMED_OUT, _NO_COMMIT_YET)
        high_watermark = self._owner.high_watermark
        level = self._history.kraft_version
        if level == 0:
            message = f"Cluster doesn't support {doing} voter because the {KRAFT_VERSION_FEATURE} feature is {level}"
            raise ApiError(Errors.UNSUPPORTED_VERSION, message)
        offset = self._history.voters_offset
        if offset is None or offset >= high_watermark:
            message = f"Request timed out waiting for voters to commit the latest voter change at {offset} with HWM {high_watermark}"
            raise ApiError(Errors.REQUEST_TIMED_OUT, message)
        return self._history.voters

    @property
    def _has_committed(self) -> bool:
        """Whether something of this leadership is committed, so that no change of the leader before can still come up."""
        state = self._owner.state
        return isinstance(state, LeaderState) and self._owner.high_watermark > state.epoch_start_offset

    def _begin(
        self, what: str, key: ReplicaKey, respond: Respond, endpoints: Mapping[str, Address], *, ack_when_committed: bool
    ) -> _Pending:
        timer = self._clock.call_later(self._config.request_timeout_ms, lambda: self._expire(pending))
        pending = _Pending(what, key, respond, timer, endpoints, ack_when_committed)
        self._pending = pending
        log.info("Node %d is asked to %s voter %s", self._local.key.id, what, key)
        return pending

    def _expire(self, pending: _Pending) -> None:
        if self._pending is pending:
            self._finish(Errors.REQUEST_TIMED_OUT, None)

    def _append(self, voters: VoterSet) -> int:
        return self._owner.append_controls([(ControlType.KRAFT_VOTERS, voters_value(voters))])

    def _finish(self, error: Errors, message: str | None) -> None:
        pending, self._pending = self._pending, None
        if pending is None:
            return
        pending.timer.cancel()
        if pending.respond is not None:
            pending.respond(messages.voter_response(error, message))

    def _update_response(self, error: Errors) -> Body:
        state, address = self._owner.state, self._owner.leader_address()
        return messages.update_response(error, state.leader_id, state.epoch, address)


def _shown(kraft_version: int) -> str:
    """As Kafka's messages name a level."""
    return f"KRAFT_VERSION_{kraft_version}"


def _endpoints(listeners: Any) -> dict[str, Address]:
    return {listener.name: (listener.host, listener.port) for listener in listeners}
