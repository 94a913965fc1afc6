"""Why somebody leads: the latest election of a partition and those of the quorum, each with its right and its cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from kafkalab.ui.model.states import Tone
from kafkalab.ui.theme.formats import plural


class Right(NamedTuple):
    """By what right a replica leads."""

    words: str
    tone: Tone


RIGHTS: Final[Mapping[str, Right]] = MappingProxyType(
    {
        "isr": Right("in sync", Tone.TEXT),
        "preferred": Right("preferred", Tone.TEXT),
        "elr": Right("eligible (ELR)", Tone.TEXT),
        "last known leader": Right("last known leader", Tone.WARN),
        "unclean": Right("unclean", Tone.ERROR),
        "none": Right("nobody may lead", Tone.ERROR),
    }
)
"""As the controller names them (KIP-966 has them in this order)."""


@dataclass(frozen=True, slots=True)
class Election:
    """A partition's leader changed."""

    at_ms: float
    leader: int
    old_leader: int
    epoch: int
    right: str  # a key of :data:`RIGHTS`, or empty where that was not told
    cause: str
    gap_ms: float = -1.0  # how long nobody led before, -1: no gap was seen
    lost: int = -1  # committed records that the new leader does not have, -1: not known

    @property
    def sign(self) -> Right:
        """Its words and tone."""
        return RIGHTS.get(self.right, Right("elected", Tone.TEXT))

    @property
    def loss_words(self) -> str:
        """What was lost; empty where nothing can be."""
        if self.right not in ("unclean", "last known leader"):
            return ""
        if self.lost < 0:
            return "records may be lost"
        return f"{plural(self.lost, 'committed record')} lost" if self.lost else "no committed record lost"


@dataclass(frozen=True, slots=True)
class QuorumElection:
    """A controller won."""

    at_ms: float
    leader: int
    epoch: int
    votes: tuple[int, ...]
    cause: str
    gap_ms: float = -1.0  # how long nobody could commit before, -1: no gap was seen
