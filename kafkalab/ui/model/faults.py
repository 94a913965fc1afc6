"""Links that are broken on purpose, and clocks that were set wrong: what is wrong now, between whom, in words.

A party is a node, or "clients", all who are no nodes. What is wrong is known for each direction; a person thinks of
the link as one thing with two ends, so both directions of a pair are kept together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from kafkalab.engine.telemetry.levels import LinkState
from kafkalab.ui.model.links import Link
from kafkalab.ui.theme.formats import format_byte_rate, format_span

CLIENTS: Final = -1
"""The party of all who are no nodes."""
CLIENTS_WORD: Final = "clients"

NameOf = Callable[[int], str]


def describe_direction(state: LinkState) -> str:
    """What is wrong with what one party sends to another: ``cut``, ``100 ms ± 20 ms late``, ``10 % lost``, ``1.00 kB/s``."""
    if state.is_cut:
        return "cut"
    parts = []
    if state.delay_ms or state.jitter_ms:
        jitter = f" ± {state.jitter_ms:g} ms" if state.jitter_ms else ""
        parts.append(f"{state.delay_ms:g} ms{jitter} late")
    if state.loss:
        parts.append(f"{state.loss * 100:g} % lost")
    if state.bytes_per_second:
        parts.append(format_byte_rate(state.bytes_per_second))
    return ", ".join(parts)


def describe_offset(seconds: float) -> str:
    """How wrong a clock is: ``1 h 00 min ahead``, ``2.5 s behind``."""
    size = abs(seconds)
    words = f"{size:g} s" if size < 60 else format_span(size * 1000)
    return f"{words} {'ahead' if seconds > 0 else 'behind'}"


@dataclass(frozen=True, slots=True)
class TroubledLink:
    """Two parties between which something is wrong. ``a`` is the node with the lower id; clients are always ``b``."""

    a: int
    b: int
    forth: LinkState | None = None
    """What is wrong with what ``a`` sends."""
    back: LinkState | None = None
    """What is wrong with what ``b`` sends."""

    @property
    def link(self) -> Link:
        """The link to it."""
        return Link.between(self.a, self.b)

    @property
    def is_cut(self) -> bool:
        """In one direction at least nothing arrives, so no request is ever answered."""
        return any(state is not None and state.is_cut for state in (self.forth, self.back))

    @property
    def is_alike(self) -> bool:
        """The same is wrong both ways."""
        return self.forth is not None and self.back is not None and self.forth[2:] == self.back[2:]

    def is_unheard(self, party: int) -> bool:
        """What this party sends does not arrive, and what the other one sends does."""
        sent, heard = (self.forth, self.back) if party == self.a else (self.back, self.forth)
        return sent is not None and sent.is_cut and not (heard is not None and heard.is_cut)

    def other(self, party: int) -> int:
        """Who is at the other end."""
        return self.b if party == self.a else self.a

    def touches(self, party: int) -> bool:
        """It is one of this party's links."""
        return party in (self.a, self.b)

    def words(self, name_of: NameOf) -> str:
        """What is wrong: ``cut``, or by direction where these differ: ``broker 1 → broker 2 cut``."""
        if self.is_alike and self.forth is not None:
            return describe_direction(self.forth)
        a, b = party_name(self.a, name_of), party_name(self.b, name_of)
        return "; ".join(
            f"{source} → {target} {describe_direction(state)}"
            for source, target, state in ((a, b, self.forth), (b, a, self.back))
            if state is not None
        )

    def short(self, party: int) -> str:
        """In a few letters, as seen from one of its ends: ``cut``, ``→ cut``, ``← 100 ms late``."""
        if self.is_alike and self.forth is not None:
            return describe_direction(self.forth)
        out, back = (self.forth, self.back) if party == self.a else (self.back, self.forth)
        return ", ".join(f"{sign} {describe_direction(state)}" for sign, state in (("→", out), ("←", back)) if state is not None)


def party_name(party: int, name_of: NameOf) -> str:
    """ "broker 2", or "clients"."""
    return CLIENTS_WORD if party == CLIENTS else name_of(party)


def party_list(parties: Sequence[int], name_of: NameOf) -> str:
    """ "controllers 101, 103 and brokers 1, 2": parties of one kind share their noun."""
    by_noun: dict[str, list[str]] = {}
    for party in dict.fromkeys(parties):
        noun, _, number = party_name(party, name_of).rpartition(" ")
        by_noun.setdefault(noun or CLIENTS_WORD, []).append(number)
    groups = [
        noun if noun == CLIENTS_WORD else f"{noun}{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
        for noun, numbers in by_noun.items()
    ]
    return groups[0] if len(groups) == 1 else f"{', '.join(groups[:-1])} and {groups[-1]}"


def pair_of(one: int, other: int) -> tuple[int, int]:
    """Two parties in their order: clients last, else by id."""
    if CLIENTS in (one, other):
        return max(one, other), CLIENTS
    return min(one, other), max(one, other)


class Faults:
    """What is wrong on purpose in the whole cluster."""

    def __init__(self) -> None:
        self._by_pair: dict[tuple[int, int], TroubledLink] = {}
        self.clocks: dict[int, float] = {}
        """Seconds that a node's wall clock is ahead, of those that are wrong."""

    @property
    def links(self) -> list[TroubledLink]:
        """All links with which something is wrong, by their ends."""
        return [link for _, link in sorted(self._by_pair.items())]

    @property
    def cuts(self) -> list[TroubledLink]:
        """Those that are cut, in one direction at least."""
        return [link for link in self.links if link.is_cut]

    def __bool__(self) -> bool:
        return bool(self._by_pair)

    def set(self, states: Iterable[LinkState]) -> None:
        """These are wrong now, and no others."""
        found: dict[tuple[int, int], dict[bool, LinkState]] = {}
        for state in states:
            pair = pair_of(state.source, state.target)
            found.setdefault(pair, {})[state.source == pair[0]] = state
        self._by_pair = {pair: TroubledLink(*pair, ways.get(True), ways.get(False)) for pair, ways in found.items()}

    def between(self, one: int, other: int) -> TroubledLink | None:
        """What is wrong between two parties; None when nothing is."""
        return self._by_pair.get(pair_of(one, other))

    def of(self, party: int) -> list[TroubledLink]:
        """What is wrong with one party's links."""
        return [link for link in self.links if link.touches(party)]

    def is_cut(self, one: int, other: int) -> bool:
        """Nothing that one asks the other is answered."""
        link = self.between(one, other)
        return link is not None and link.is_cut

    def cut_off_from(self, party: int, others: Sequence[int]) -> list[int]:
        """Those of the others that this party cannot talk with."""
        return [other for other in others if other != party and self.is_cut(party, other)]
