"""What the host asks of the quorum itself: who votes, and that it be otherwise (KIP-853)."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any, Final

from kafkalab.engine.cluster.admin import Address, AdminClient
from kafkalab.engine.cluster.errors import HostError, RequestRefused
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.features import KRAFT_VERSION_FEATURE
from kafkalab.engine.common.ids import METADATA_TOPIC
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.server.connection import CONTROLLER_LISTENER

RETRY_WAIT_S: Final = 0.1
_UPGRADE: Final = 1


@dataclass(frozen=True, slots=True)
class QuorumMembers:
    """What the leader says of its quorum: voters and caught-up observers with their directories."""

    leader_id: int
    voters: dict[int, uuid.UUID | None]
    observers: dict[int, uuid.UUID | None]


class QuorumAdmin:
    """Asks by way of any broker."""

    def __init__(self, admin: AdminClient) -> None:
        self._admin = admin

    def members(self, timeout_s: float) -> QuorumMembers:
        """Who votes and who observes.

        :raises HostError: when nobody could tell in time.
        """
        body = {"topics": [{"topic_name": METADATA_TOPIC, "partitions": [{"partition_index": 0}]}]}
        partition = self._admin.ask(
            "Describing the quorum", ApiKey.DESCRIBE_QUORUM, body, lambda response: response.topics[0].partitions[0], timeout_s=timeout_s
        )
        return QuorumMembers(
            partition.leader_id,
            {one.replica_id: one.replica_directory_id for one in partition.current_voters},
            {one.replica_id: one.replica_directory_id for one in partition.observers if one.last_caught_up_timestamp > 0},
        )

    def let_voters_change(self, timeout_s: float) -> None:
        """Raise kraft.version to 1 where it is 0. Voters tell within seconds that they can work at it; until then it is asked again.

        :raises HostError: when that was not possible in time.
        """
        update = {"feature": KRAFT_VERSION_FEATURE, "max_version_level": 1, "upgrade_type": _UPGRADE}
        body = {"timeout": int(timeout_s * 1000), "feature_updates": [update], "validate_only": False}
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self._change("Raising kraft.version", ApiKey.UPDATE_FEATURES, body, timeout_s)
            except RequestRefused as refusal:
                if refusal.error is not Errors.INVALID_UPDATE_VERSION or time.monotonic() > deadline:
                    raise
                time.sleep(RETRY_WAIT_S)
            else:
                return

    def add(self, node_id: int, address: Address, timeout_s: float) -> None:
        """Let an observer vote, as soon as it has the log.

        :raises HostError: when that was not possible in time.
        """
        deadline = time.monotonic() + timeout_s
        while (directory_id := self.members(max(0.1, deadline - time.monotonic())).observers.get(node_id)) is None:
            if time.monotonic() > deadline:
                raise HostError(f"Controller {node_id} did not catch up with the quorum within {timeout_s:g} s.")
            time.sleep(RETRY_WAIT_S)
        host, port = address
        body = {
            "cluster_id": None,
            "timeout": int(timeout_s * 1000),
            "voter_id": node_id,
            "voter_directory_id": directory_id,
            "listeners": [{"name": CONTROLLER_LISTENER, "host": host, "port": port}],
            "ack_when_committed": True,
        }
        remaining_s = max(0.1, deadline - time.monotonic())
        self._change(f"Adding controller {node_id}", ApiKey.ADD_RAFT_VOTER, body, remaining_s, Errors.DUPLICATE_VOTER)

    def remove(self, node_id: int, timeout_s: float) -> None:
        """Let a voter vote no more.

        :raises HostError: when it is none, or that was not possible in time.
        """
        members = self.members(timeout_s)
        if node_id not in members.voters:
            raise HostError(f"Controller {node_id} is none of the voters {', '.join(map(str, sorted(members.voters)))}.")
        body = {"cluster_id": None, "voter_id": node_id, "voter_directory_id": members.voters[node_id]}
        self._change(f"Removing controller {node_id}", ApiKey.REMOVE_RAFT_VOTER, body, timeout_s, Errors.VOTER_NOT_FOUND)

    def _change(self, what: str, api_key: ApiKey, body: dict[str, Any], timeout_s: float, done: Errors | None = None) -> None:
        """Ask for a change; ``done`` says that an earlier time of asking, whose answer was lost, has brought it about."""
        try:
            self._admin.ask(what, api_key, body, lambda response: response, timeout_s=timeout_s)
        except RequestRefused as refusal:
            if refusal.error is not done:
                raise
