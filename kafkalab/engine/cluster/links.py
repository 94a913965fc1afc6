"""What is wrong on purpose with the links between nodes, and between clients and nodes, for the whole cluster."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any, Final, Literal

from kafkalab.engine.cluster.errors import HostError
from kafkalab.engine.faults.network import CLIENTS, LinkFault
from kafkalab.engine.telemetry.events import LinkCut, LinkHealed, LinkImpaired
from kafkalab.engine.telemetry.hub import TelemetryHub
from kafkalab.engine.telemetry.levels import LinksKey, LinksLevel, LinkState

_log = logging.getLogger(__name__)

Party = int | Literal["clients"]
"""A node by its id, or all clients."""

CLIENTS_NAME: Final = "clients"


class LinkControl:
    """Keeps the faults, tells nodes of those that touch them, and says on the hub what is wrong.

    :param node_ids: the nodes that there are.
    :param apply: called with a node's id when its faults have changed; returns when it goes by them.
    """

    def __init__(self, hub: TelemetryHub, node_ids: Callable[[], Collection[int]], apply: Callable[[int], None], cause: str) -> None:
        self._hub = hub
        self._node_ids = node_ids
        self._apply = apply
        self._cause = cause
        self._faults: dict[tuple[int, int], LinkFault] = {}
        # One command after another: what nodes are told last is what holds.
        self._commands = threading.Lock()

    def of(self, node_id: int) -> tuple[LinkFault, ...]:
        """The faults of one node's links."""
        return tuple(fault for fault in list(self._faults.values()) if fault.touches(node_id))

    def is_cut_from_clients(self, node_id: int) -> bool:
        """Whether clients cannot talk to a node."""
        faults = (self._faults.get(direction) for direction in ((CLIENTS, node_id), (node_id, CLIENTS)))
        return any(fault is not None and fault.is_cut for fault in faults)

    def isolate(self, a: Party, b: Party | None) -> None:
        """Cut both ways; without ``b`` from all other nodes."""
        first = self._party(a)
        others = [self._party(b)] if b is not None else [node_id for node_id in self._node_ids() if node_id != first]
        self._change([self._pair(first, other) for other in others], both_ways=True, is_cut=True)

    def cut(self, a: Party, b: Party) -> None:
        """Cut one way."""
        self._change([self._pair(self._party(a), self._party(b))], both_ways=False, is_cut=True)

    def delay(self, a: Party, b: Party, ms: float, jitter: float, *, one_way: bool) -> None:
        """Let bytes come late."""
        if ms < 0 or jitter < 0:
            raise HostError(f"A link can be late by 0 ms or more; {ms:g} ± {jitter:g} ms was asked for.")
        self._change([self._pair(self._party(a), self._party(b))], both_ways=not one_way, delay_ms=float(ms), jitter_ms=float(jitter))

    def lose(self, a: Party, b: Party, probability: float, *, one_way: bool) -> None:
        """Let bytes have to be sent again."""
        if not 0 <= probability <= 1:
            raise HostError(f"A probability is from 0 to 1; {probability:g} was asked for.")
        self._change([self._pair(self._party(a), self._party(b))], both_ways=not one_way, loss=float(probability))

    def slow(self, a: Party, b: Party, bytes_per_second: float, *, one_way: bool) -> None:
        """Let only so many bytes through."""
        if bytes_per_second < 0:
            raise HostError(f"A link can pass on 1 byte per second or more, 0 is no limit; {bytes_per_second:g} was asked for.")
        self._change([self._pair(self._party(a), self._party(b))], both_ways=not one_way, bytes_per_second=float(bytes_per_second))

    def heal(self, a: Party | None, b: Party | None) -> None:
        """Let the links be right again: between two, all of one, or all."""
        parties = frozenset(self._party(party) for party in (a, b) if party is not None)
        with self._commands:
            healed = [direction for direction in self._faults if parties <= set(direction)]
            for direction in healed:
                del self._faults[direction]
            self._tell(healed)
            for source, target in sorted({(min(direction), max(direction)) for direction in healed}):
                self._hub.emit(LinkHealed(at_ms=time.time() * 1000, node_id=-1, source=source, target=target, cause=self._cause))
                _log.info("the link between %s and %s is right again", _name(source), _name(target))

    # --- inside ----------------------------------------------------------------------------------------

    def _party(self, party: Party) -> int:
        if party == CLIENTS_NAME:
            return CLIENTS
        known = self._node_ids()
        if isinstance(party, bool) or not isinstance(party, int) or party not in known:
            raise HostError(f"There is no node {party}; there are {', '.join(str(one) for one in known) or 'none'}, and 'clients'.")
        return party

    @staticmethod
    def _pair(a: int, b: int) -> tuple[int, int]:
        if a == b:
            raise HostError(f"There is no link from {_name(a)} to {_name(b)}: a link has two ends.")
        return a, b

    def _change(self, pairs: Iterable[tuple[int, int]], *, both_ways: bool, **what: Any) -> None:
        with self._commands:
            pairs = list(pairs)
            directions = [*pairs, *((b, a) for a, b in pairs if both_ways)]
            for direction in directions:
                fault = replace(self._faults.get(direction) or LinkFault(*direction), **what)
                if fault.is_none:
                    self._faults.pop(direction, None)
                else:
                    self._faults[direction] = fault
            at_ms = time.time() * 1000
            self._tell(directions)
            for source, target in pairs:
                self._announce(at_ms, source, target, both_ways)

    def _announce(self, at_ms: float, source: int, target: int, both_ways: bool) -> None:
        fault = self._faults.get((source, target))
        if fault is None:
            if (target, source) not in self._faults:
                self._hub.emit(LinkHealed(at_ms=at_ms, node_id=-1, source=source, target=target, cause=self._cause))
            return
        detail = describe_fault(fault)
        if fault.is_cut:
            self._hub.emit(LinkCut(at_ms=at_ms, node_id=-1, source=source, target=target, both_ways=both_ways, cause=self._cause))
        else:
            self._hub.emit(
                LinkImpaired(at_ms=at_ms, node_id=-1, source=source, target=target, both_ways=both_ways, detail=detail, cause=self._cause)
            )
        _log.info("from %s to %s%s: %s", _name(source), _name(target), " and back" if both_ways else "", detail)

    def _tell(self, directions: Iterable[tuple[int, int]]) -> None:
        touched = {party for direction in directions for party in direction if party != CLIENTS}
        for node_id in sorted(touched):
            self._apply(node_id)
        if not self._faults:
            self._hub.level(LinksKey(), None)
            return
        links = tuple(
            LinkState(fault.source, fault.target, fault.is_cut, fault.delay_ms, fault.jitter_ms, fault.loss, fault.bytes_per_second)
            for _, fault in sorted(self._faults.items())
        )
        self._hub.level(LinksKey(), LinksLevel(links=links))


def describe_fault(fault: LinkFault) -> str:
    """What is wrong, in words."""
    if fault.is_cut:
        return "cut"
    parts = []
    if fault.delay_ms or fault.jitter_ms:
        parts.append(f"{fault.delay_ms:g} ms" + (f" ± {fault.jitter_ms:g} ms" if fault.jitter_ms else "") + " late")
    if fault.loss:
        parts.append(f"{fault.loss * 100:g} % lost")
    if fault.bytes_per_second:
        parts.append(f"{fault.bytes_per_second:g} bytes/s")
    return ", ".join(parts) or "nothing is wrong"


def _name(party: int) -> str:
    return CLIENTS_NAME if party == CLIENTS else f"node {party}"
