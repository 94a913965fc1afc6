"""Who votes in the quorum: nodes, each with the disk that its vote is kept on (KIP-853).

A voter is a node together with a directory. Where directories are unknown, as in the static
configuration, the node's id alone makes the voter. Voter sets never change; a change makes another.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple, Self

from kafkalab.engine.common.ids import ZERO_UUID, uuid_to_text

Address = tuple[str, int]
KRAFT_VERSION_MIN: Final = 0
KRAFT_VERSION_MAX: Final = 1
"""Version 1 has its voters in the log and can change them."""


class ReplicaKey(NamedTuple):
    """A node and the directory that it keeps the metadata log in; None where that is unknown."""

    id: int
    directory_id: uuid.UUID | None = None

    @classmethod
    def of(cls, node_id: int, directory_id: uuid.UUID | None) -> Self:
        """As requests and records say it, in which the zero id stands for none."""
        return cls(node_id, None if directory_id == ZERO_UUID else directory_id)

    def __str__(self) -> str:
        directory = "<undefined>" if self.directory_id is None else uuid_to_text(self.directory_id)
        return f"ReplicaKey(id={self.id}, directoryId={directory})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Voter:
    """A voter, where it listens, and which levels of kraft.version it can work at."""

    key: ReplicaKey
    endpoints: Mapping[str, Address] = field(default_factory=dict)
    """By listener name; the first is what members use among themselves."""
    min_version: int = KRAFT_VERSION_MIN
    max_version: int = KRAFT_VERSION_MIN

    def is_voter(self, key: ReplicaKey) -> bool:
        """Whether that replica is this voter; without a directory the id decides."""
        if key.id != self.key.id:
            return False
        return self.key.directory_id is None or self.key.directory_id == key.directory_id

    def supports(self, kraft_version: int) -> bool:
        return self.min_version <= kraft_version <= self.max_version


class VoterSet:
    """The voters by id. Equal sets have equal voters."""

    __slots__ = ("_voters", "ids")

    def __init__(self, voters: Iterable[Voter] = ()) -> None:
        self._voters: Final = {voter.key.id: voter for voter in sorted(voters, key=lambda voter: voter.key.id)}
        self.ids: Final = frozenset(self._voters)

    @classmethod
    def static(cls, addresses: Mapping[int, Address], listener_name: str) -> Self:
        """What ``controller.quorum.voters`` says."""
        return cls(Voter(key=ReplicaKey(node_id), endpoints={listener_name: address}) for node_id, address in addresses.items())

    def __len__(self) -> int:
        return len(self._voters)

    def __iter__(self) -> Iterator[Voter]:
        return iter(self._voters.values())

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._voters

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VoterSet) and self._voters == other._voters

    def __hash__(self) -> int:
        return hash(self.ids)

    def __str__(self) -> str:
        return f"[{', '.join(str(voter.key) for voter in self)}]"

    def get(self, node_id: int) -> Voter | None:
        return self._voters.get(node_id)

    def is_voter(self, key: ReplicaKey) -> bool:
        """Whether that node, with that disk, votes."""
        voter = self._voters.get(key.id)
        return voter is not None and voter.is_voter(key)

    def address(self, node_id: int, listener_name: str) -> Address | None:
        """Where a voter listens under that name."""
        voter = self._voters.get(node_id)
        return None if voter is None else voter.endpoints.get(listener_name)

    def addresses(self, listener_name: str) -> Mapping[int, Address]:
        """Where each voter listens under that name."""
        return MappingProxyType({voter.key.id: voter.endpoints[listener_name] for voter in self if listener_name in voter.endpoints})

    def with_voter(self, voter: Voter) -> VoterSet | None:
        """With one more; None when its id votes already."""
        return None if voter.key.id in self._voters else VoterSet((*self, voter))

    def without_voter(self, key: ReplicaKey) -> VoterSet | None:
        """Without that one; None when it is none of these, or the only one."""
        voter = self._voters.get(key.id)
        if voter is None or voter.key != key or len(self) == 1:
            return None
        return VoterSet(one for one in self if one is not voter)

    def with_changed(self, voter: Voter, *, ignore_directory: bool = False) -> VoterSet | None:
        """With what is new about a voter; None when it is none of these."""
        old = self._voters.get(voter.key.id)
        if old is None or not (ignore_directory or old.is_voter(voter.key)):
            return None
        return VoterSet((*(one for one in self if one is not old), voter))

    def needs_change(self, voter: Voter) -> bool:
        """Whether that one is among the voters, and known otherwise than it is."""
        old = self._voters.get(voter.key.id)
        return old is not None and old.is_voter(voter.key) and old != voter
