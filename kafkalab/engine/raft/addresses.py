"""Where members of the quorum listen, and whom to ask while nobody is known to lead.

Three know it, and not always the same: the leader, of itself; the log, of the voters (or the settings,
while those are static); and the bootstrap servers, which are addresses whose nodes are not known yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from kafkalab.engine.raft import messages
from kafkalab.engine.raft.voter_history import VoterHistory
from kafkalab.engine.raft.voters import Address, Voter

BOOTSTRAP_ID_FIRST: Final = -2
"""Servers whose ids are not known yet go by ids that no node has, as in Kafka."""


class AddressBook:
    """One member's."""

    def __init__(
        self,
        *,
        local: Voter,
        history: VoterHistory,
        listener_name: str,
        bootstrap_servers: Sequence[Address],
        pending_address: Callable[[int], Address | None],
    ) -> None:
        """``pending_address`` knows of one that is about to become a voter."""
        self._local = local
        self._history = history
        self._listener_name = listener_name
        self._bootstrap = {BOOTSTRAP_ID_FIRST - index: address for index, address in enumerate(bootstrap_servers)}
        self._pending_address = pending_address
        # Where the leader said that it listens; the voter set may not know it yet.
        self._told_leader: tuple[int, Address] | None = None

    def note_leader(self, leader_id: int, address: Address) -> None:
        """A leader, or somebody who follows it, said where it listens."""
        self._told_leader = (leader_id, address)

    def of(self, node_id: int, leader_id: int) -> Address | None:
        """Where a member listens, by what the present leader said of itself, the voter set, and the settings."""
        told = self._told_leader
        if told is not None and told[0] == node_id == leader_id:
            return told[1]
        return self._of_voter(node_id) or self._pending_address(node_id) or self._bootstrap.get(node_id)

    def of_leader(self, leader_id: int) -> Address | None:
        """Where the leader listens, which may be this member; None while it is not known."""
        if leader_id == self._local.key.id:
            return self._own or self._of_voter(leader_id)
        return self.of(leader_id, leader_id)

    def _of_voter(self, node_id: int) -> Address | None:
        return self._history.voters.address(node_id, self._listener_name)

    @property
    def _own(self) -> Address | None:
        return self._local.endpoints.get(self._listener_name)

    @property
    def other_voters(self) -> list[int]:
        """Everybody who votes but this member."""
        return [voter.key.id for voter in self._history.voters if voter.key.id != self._local.key.id]

    def ask_around(self) -> list[int]:
        """Whom to ask who leads: the bootstrap servers, and every other voter that is known."""
        return [*(one for one, address in self._bootstrap.items() if address != self._own), *self.other_voters]

    def own_endpoints(self) -> list[messages.Body]:
        """Where this member listens, as its requests say it."""
        voter = self._history.voters.get(self._local.key.id)
        known = {} if voter is None else voter.endpoints
        return messages.listeners(self._local.endpoints or known)
