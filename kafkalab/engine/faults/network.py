"""Broken links on purpose: what is wrong with what one party sends to another, and what becomes of its bytes.

A party is a node or "clients", all of those that are no nodes of the cluster. A fault holds for one direction of all
connections between two parties, whoever made them. Nothing is lost for good, as with TCP: what a cut link holds back
arrives when it is healed, unless one of the two has given the connection up by then. Only the rules are here, and the
order and times in which pieces arrive; whoever has the sockets asks (:mod:`kafkalab.engine.server.links`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

CLIENTS: Final = -1
"""The party of all who are no nodes."""

RETRANSMIT_FIRST_MS: Final = 200.0
RETRANSMIT_MAX_MS: Final = 120_000.0
RETRANSMITS_MAX: Final = 15
"""As Linux sends again (``tcp_retries2``): first after 200 ms, then after twice as long each time, up to 120 s. After
15 times in vain, about 15 minutes, the connection is given up."""
SYN_FIRST_MS: Final = 1_000.0
"""A connection that is being made is asked for again after a second first."""
PIECE_MS: Final = 50.0
"""What a slow link passes on at a time takes so long."""
PIECE_BYTES_MIN: Final = 256

GIVEN_UP: Final = object()
"""In place of a piece that was lost too often."""


class Chance(Protocol):
    """What of a random generator is needed here."""

    def random(self) -> float:
        """From 0 to below 1."""

    def uniform(self, a: float, b: float) -> float:
        """From ``a`` to ``b``."""


@dataclass(frozen=True, slots=True)
class LinkFault:
    """What is wrong with what ``source`` sends to ``target``."""

    source: int
    target: int
    is_cut: bool = False
    """Nothing arrives, not even that a connection was closed."""
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    """Each piece is later or earlier by up to this; what was sent before still arrives before."""
    loss: float = 0.0
    """The probability with which a piece has to be sent again; all that follows on its connection waits for it."""
    bytes_per_second: float = 0.0
    """0 is as fast as can be."""

    @property
    def is_none(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.is_cut or self.delay_ms or self.jitter_ms or self.loss or self.bytes_per_second)

    def touches(self, party: int) -> bool:
        """Whether it is one of this party's links."""
        return party in (self.source, self.target)

    def late_ms(self, chance: Chance) -> float:
        """How much later than sent a piece arrives, transmission aside."""
        if not self.jitter_ms:
            return self.delay_ms
        return max(0.0, self.delay_ms + chance.uniform(-self.jitter_ms, self.jitter_ms))

    def resending_ms(self, chance: Chance, first_ms: float = RETRANSMIT_FIRST_MS) -> float | None:
        """How long a piece takes that is sent again each time it is lost; None when TCP gives it up."""
        waited_ms, wait_ms = 0.0, first_ms
        for _ in range(RETRANSMITS_MAX + 1):
            if not self.loss or chance.random() >= self.loss:
                return waited_ms
            waited_ms += wait_ms
            wait_ms = min(2 * wait_ms, RETRANSMIT_MAX_MS)
        return None


def giving_up_ms() -> float:
    """How long TCP tries before it gives a connection up."""
    return sum(min(RETRANSMIT_FIRST_MS * 2.0**turn, RETRANSMIT_MAX_MS) for turn in range(RETRANSMITS_MAX + 1))


class LinkFaults:
    """The faults that one node has to know of. While there are none, nobody has to ask."""

    def __init__(self, node_id: int, faults: Iterable[LinkFault] = ()) -> None:
        self._node_id = node_id
        self._by_direction: dict[tuple[int, int], LinkFault] = {}
        self.set(faults)

    @property
    def active(self) -> bool:
        """Whether anything is wrong with a link of this node."""
        return bool(self._by_direction)

    def set(self, faults: Iterable[LinkFault]) -> None:
        """From now on these faults and no others."""
        own = self._node_id
        self._by_direction = {
            (fault.source, fault.target): fault
            for fault in faults
            if fault.touches(own) and fault.source != fault.target and not fault.is_none
        }

    def incoming(self, party: int) -> LinkFault | None:
        """What is wrong with what a party sends here."""
        return self._by_direction.get((party, self._node_id))

    def outgoing(self, party: int) -> LinkFault | None:
        """What is wrong with what this node sends to a party."""
        return self._by_direction.get((self._node_id, party))


class LinkQueue:
    """One direction of one connection while something is wrong with it: what was sent, and when it arrives.

    Items are opaque; ends of connections go through here too, as pieces of no size. Times are monotonic milliseconds.
    """

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._fault: LinkFault | None = None
        self._queue: deque[tuple[float, object, int]] = deque()
        self._line_free_ms = 0.0
        self._last_due_ms = 0.0
        self.held_bytes = 0
        """What was sent and has not arrived."""

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def fault(self) -> LinkFault | None:
        """What is wrong."""
        return self._fault

    def set_fault(self, fault: LinkFault | None, now_ms: float) -> None:
        """From now on this is wrong; what is on its way is as if it were sent now."""
        if fault == self._fault:
            return
        self._fault = fault
        self._line_free_ms = self._last_due_ms = now_ms
        waiting, self._queue = self._queue, deque()
        self.held_bytes = 0
        for _, item, size in waiting:
            self.put(item, size, now_ms)

    def pieces(self, data: bytes) -> list[bytes]:
        """What is sent at a time: a slow link passes on a little after another."""
        fault = self._fault
        if fault is None or not fault.bytes_per_second:
            return [data]
        size = max(PIECE_BYTES_MIN, int(fault.bytes_per_second * PIECE_MS / 1000))
        return [data[at : at + size] for at in range(0, len(data), size)] if len(data) > size else [data]

    def put(self, item: object, size: int, now_ms: float) -> None:
        """Something is sent now."""
        due_ms = now_ms
        fault = self._fault
        if fault is not None and not fault.is_cut:
            if fault.bytes_per_second:
                self._line_free_ms = max(self._line_free_ms, now_ms) + size / fault.bytes_per_second * 1000
                due_ms = self._line_free_ms
            due_ms += fault.late_ms(self._chance)
            resent_ms = fault.resending_ms(self._chance) if fault.loss else 0.0
            if resent_ms is None:
                resent_ms, item = giving_up_ms(), GIVEN_UP
            due_ms += resent_ms
        # What comes after it on one connection is never there before it.
        self._last_due_ms = due_ms = max(due_ms, self._last_due_ms)
        self._queue.append((due_ms, item, size))
        self.held_bytes += size

    def next_ms(self) -> float | None:
        """When something arrives next; None while nothing can."""
        if not self._queue or (self._fault is not None and self._fault.is_cut):
            return None
        return self._queue[0][0]

    def take(self, now_ms: float) -> object | None:
        """The next item that has arrived by now; :data:`GIVEN_UP` where TCP ends the connection instead."""
        due_ms = self.next_ms()
        if due_ms is None or due_ms > now_ms:
            return None
        _, item, size = self._queue.popleft()
        self.held_bytes -= size
        return item

    def clear(self) -> None:
        """Nothing of it arrives any more."""
        self._queue.clear()
        self.held_bytes = 0
