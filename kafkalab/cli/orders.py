"""Orders to a cluster that is served, a line each: what :class:`kafkalab.Lab` can do to nodes, links and clocks.

``isolate 1 2``, ``cut 1 clients``, ``delay 1 2 100 20``, ``kill 3``, ``heal`` …; each is answered by a line, ``OK`` and
the order, or ``ERROR`` and why not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from kafkalab.engine.cluster.errors import HostError
from kafkalab.engine.cluster.host import ClusterHost
from kafkalab.engine.cluster.links import CLIENTS_NAME

ONE_WAY: Final = "one-way"


def _party(word: str) -> object:
    return word if word == CLIENTS_NAME else int(word)


@dataclass(frozen=True, slots=True)
class Order:
    """One verb: what stands behind it, and how it is written."""

    method: str
    needed: tuple[Callable[[str], object], ...]
    optional: tuple[Callable[[str], object], ...] = ()
    may_be_one_way: bool = False
    usage: str = ""


ORDERS: Final = {
    "kill": Order("kill", (int,), usage="kill NODE"),
    "stop": Order("stop", (int,), usage="stop NODE"),
    "restart": Order("restart", (int,), usage="restart NODE"),
    "pause": Order("pause", (int,), usage="pause NODE"),
    "resume": Order("resume", (int,), usage="resume NODE"),
    "power-loss": Order("power_loss", (int,), (int,), usage="power-loss NODE [TORN_TAIL_BYTES]"),
    "isolate": Order("isolate", (_party,), (_party,), usage="isolate A [B]"),
    "cut": Order("cut", (_party, _party), usage="cut A B"),
    "delay": Order("delay", (_party, _party, float), (float,), may_be_one_way=True, usage="delay A B MS [JITTER_MS] [one-way]"),
    "lose": Order("lose", (_party, _party, float), may_be_one_way=True, usage="lose A B PROBABILITY [one-way]"),
    "slow": Order("slow", (_party, _party, float), may_be_one_way=True, usage="slow A B BYTES_PER_SECOND [one-way]"),
    "heal": Order("heal", (), (_party, _party), usage="heal [A [B]]"),
    "jump-clock": Order("jump_clock", (int, float), usage="jump-clock NODE SECONDS"),
}
"""A and B are nodes by their ids, or ``clients``."""


def parse(line: str) -> tuple[str, list[object], dict[str, Any]]:
    """The host's method that a line asks for, and what it is called with.

    :raises ValueError: when it is no order; the message says how it would be written.
    """
    verb, *words = line.split()
    order = ORDERS.get(verb)
    if order is None:
        raise ValueError(f"There is no order {verb!r}; there are {', '.join(ORDERS)}.")
    named: dict[str, Any] = {}
    if order.may_be_one_way and words[-1:] == [ONE_WAY]:
        named["one_way"] = True
        words.pop()
    kinds = (*order.needed, *order.optional)
    if not len(order.needed) <= len(words) <= len(kinds):
        raise ValueError(f"It is written so: {order.usage}")
    try:
        return order.method, [kind(word) for kind, word in zip(kinds, words, strict=False)], named
    except ValueError as e:
        raise ValueError(f"It is written so: {order.usage}") from e


def obey(host: ClusterHost, lines: Iterable[str], answer: Callable[[str], None]) -> None:
    """Carry out one order after the other until there are no more."""
    for line in lines:
        text = " ".join(line.split())
        if not text or text.startswith("#"):
            continue
        try:
            method, args, named = parse(text)
            getattr(host, method)(*args, **named)
        except (ValueError, HostError) as e:
            answer(f"ERROR {text}: {e}")
        else:
            answer(f"OK {text}")
