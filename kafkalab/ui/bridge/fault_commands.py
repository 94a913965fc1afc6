"""Faults on purpose, elections and moves, as commands of the gateway. Each also says what it is in Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from kafkalab.ui.model.faults import CLIENTS, CLIENTS_WORD, pair_of
from kafkalab.ui.model.links import Link

Party = int | Literal["clients"]

PYTHON_PREFIX: Final = "Python: "
FULL, BROKEN = "full", "broken"
"""Kinds of spoiled disks, as the host names them; ``read_only`` and ``vanished`` are the others."""


class FaultHost(Protocol):
    """What these commands are made to: ``engine.cluster.host.ClusterHost``."""

    def isolate(self, a: Party, b: Party | None = None) -> None:
        """Cut a link both ways, or all links to other nodes."""

    def cut(self, a: Party, b: Party) -> None:
        """Cut one way."""

    def delay(self, a: Party, b: Party, ms: float, jitter: float = 0.0, *, one_way: bool = False) -> None:
        """Let bytes come late."""

    def lose(self, a: Party, b: Party, probability: float, *, one_way: bool = False) -> None:
        """Let bytes have to be sent again."""

    def slow(self, a: Party, b: Party, bytes_per_second: float, *, one_way: bool = False) -> None:
        """Let few bytes through."""

    def heal(self, a: Party | None = None, b: Party | None = None) -> None:
        """Let links be right again."""

    def jump_clock(self, node_id: int, seconds: float) -> None:
        """Set a wall clock."""

    def power_loss(self, node_id: int, torn_tail_bytes: int = 0) -> None:
        """End a node and lose what it had not synced."""

    def fill_disk(self, node_id: int, directory: int | None = None, free_bytes: int = 0) -> None:
        """Let its disk be full."""

    def break_disk(self, node_id: int, directory: int | None = None, kind: str = "broken") -> None:
        """Let its disk fail."""

    def heal_disk(self, node_id: int) -> None:
        """Let its disks be right again."""

    def add_controller(self) -> int:
        """Start one more controller that votes."""

    def remove_controller(self, node_id: int) -> None:
        """Let a controller vote no more, and stop it."""

    def elect_leaders(self, partitions: Sequence[tuple[str, int]] | None = None, *, unclean: bool = False) -> None:
        """Elect preferred leaders, or any."""

    def reassign(self, topic: str, partition: int, replicas: Sequence[int] | None) -> None:
        """Move replicas."""


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that can be done to the cluster, with its words for a person and for a script."""

    name: str
    link: Link
    text: str  # "Isolate broker 2 from clients"
    python: str  # "lab.isolate(2, 'clients')"
    act: Callable[[FaultHost], None]


class Deeds:
    """Makes deeds. Parties are node ids; -1 is all clients.

    :param name_of: what a person calls a node.
    """

    def __init__(self, name_of: Callable[[int], str]) -> None:
        self._name_of = name_of

    def isolate(self, a: int, b: int | None = None) -> Deed:
        """Cut both ways; without ``b`` from all other nodes."""
        whom = "all other nodes" if b is None else self._name(b)
        code = f"lab.isolate({_party(a)!r})" if b is None else f"lab.isolate({_party(a)!r}, {_party(b)!r})"
        text = f"Isolate {self._name(a)} from {whom}"
        return Deed("isolate", _link(a, b), text, code, lambda host: host.isolate(_party(a), None if b is None else _party(b)))

    def isolate_from_all(self, a: int, others: Sequence[int], whom: str) -> Deed:
        """Cut both ways from several nodes at once, "the other brokers" say."""

        def act(host: FaultHost) -> None:
            for other in others:
                host.isolate(a, other)

        code = f"for node in {list(others)}: lab.isolate({a}, node)"
        return Deed("isolate", Link.node(a), f"Isolate {self._name(a)} from {whom}", code, act)

    def cut(self, a: int, b: int) -> Deed:
        """Cut one way."""
        text = f"Cut what {self._name(a)} {'send' if a == CLIENTS else 'sends'} to {self._name(b)}"
        return Deed("cut", _link(a, b), text, f"lab.cut({_party(a)!r}, {_party(b)!r})", lambda host: host.cut(_party(a), _party(b)))

    def delay(self, a: int, b: int, ms: float, jitter: float, *, one_way: bool) -> Deed:
        """Let bytes come late."""
        text = f"Delay {self._between(a, b, one_way)} by {ms:g} ms"
        figures = f"{ms:g}" + (f", {jitter:g}" if jitter else "")
        return Deed(
            "delay",
            _link(a, b),
            text,
            _code("delay", a, b, figures, one_way),
            lambda host: host.delay(_party(a), _party(b), ms, jitter, one_way=one_way),
        )

    def lose(self, a: int, b: int, probability: float, *, one_way: bool) -> Deed:
        """Let bytes have to be sent again."""
        text = f"Lose {probability * 100:g} % {self._between(a, b, one_way)}"
        return Deed(
            "lose",
            _link(a, b),
            text,
            _code("lose", a, b, f"{probability:g}", one_way),
            lambda host: host.lose(_party(a), _party(b), probability, one_way=one_way),
        )

    def slow(self, a: int, b: int, bytes_per_second: float, *, one_way: bool) -> Deed:
        """Let few bytes through."""
        text = f"Slow {self._between(a, b, one_way)} down to {bytes_per_second:.0f} bytes/s"
        return Deed(
            "slow",
            _link(a, b),
            text,
            _code("slow", a, b, f"{bytes_per_second:.0f}", one_way),
            lambda host: host.slow(_party(a), _party(b), bytes_per_second, one_way=one_way),
        )

    def heal(self, a: int | None = None, b: int | None = None) -> Deed:
        """One link, all of one party, or all."""
        if a is None:
            return Deed("heal", Link.cluster(), "Heal all links", "lab.heal()", lambda host: host.heal())
        if b is None:
            return Deed(
                "heal", Link.node(a), f"Heal the links of {self._name(a)}", f"lab.heal({_party(a)!r})", lambda host: host.heal(_party(a))
            )
        text = f"Heal the link between {self._name(a)} and {self._name(b)}"
        code = f"lab.heal({_party(a)!r}, {_party(b)!r})"
        return Deed("heal", _link(a, b), text, code, lambda host: host.heal(_party(a), _party(b)))

    def jump_clock(self, node_id: int, seconds: float) -> Deed:
        """Set a wall clock."""
        text = f"Set the clock of {self._name(node_id)} {'forward' if seconds >= 0 else 'back'} by {abs(seconds):g} s"
        code = f"lab.jump_clock({node_id}, {seconds:g})"
        return Deed("jump_clock", Link.node(node_id), text, code, lambda host: host.jump_clock(node_id, seconds))

    def power_loss(self, node_id: int) -> Deed:
        """A kill, and what was not synced is lost."""
        text = f"Power loss of {self._name(node_id)}"
        return Deed("power_loss", Link.node(node_id), text, f"lab.power_loss({node_id})", lambda host: host.power_loss(node_id))

    def spoil_disk(self, node_id: int, kind: str, directory: int | None) -> Deed:
        """The disk is full, or fails in one way or another: in one log directory or in all."""
        where = f"log directory {directory} of " if directory is not None else "the disk of "
        text = f"{'Fill' if kind == FULL else 'Break'} {where}{self._name(node_id)}"
        arguments = [str(node_id), *([str(directory)] if directory is not None else [])]
        if kind == FULL:
            code = f"lab.fill_disk({', '.join(arguments)})"
            return Deed("fill_disk", Link.node(node_id), text, code, lambda host: host.fill_disk(node_id, directory))
        if kind != BROKEN:
            arguments.append(f"kind={kind!r}")
        code = f"lab.break_disk({', '.join(arguments)})"
        return Deed("break_disk", Link.node(node_id), text, code, lambda host: host.break_disk(node_id, directory, kind))

    def heal_disk(self, node_id: int) -> Deed:
        """All of a node's log directories are right again."""
        text = f"Heal the disk of {self._name(node_id)}"
        return Deed("heal_disk", Link.node(node_id), text, f"lab.heal_disk({node_id})", lambda host: host.heal_disk(node_id))

    def add_controller(self) -> Deed:
        """One more voter."""

        def act(host: FaultHost) -> None:
            host.add_controller()

        return Deed("add_controller", Link.quorum(), "Add a controller", "lab.add_controller()", act)

    def remove_controller(self, node_id: int) -> Deed:
        """One voter less."""
        text = f"Remove {self._name(node_id)}"
        code = f"lab.remove_controller({node_id})"
        return Deed("remove_controller", Link.node(node_id), text, code, lambda host: host.remove_controller(node_id))

    def elect(self, topic: str | None = None, partition: int = -1, *, unclean: bool = False) -> Deed:
        """The preferred leader of a partition or of all; or any replica that is alive."""
        option = "unclean=True" if unclean else ""
        if topic is None:
            code = f"lab.elect_leaders({option})"
            return Deed(
                "elect_leaders", Link.cluster(), "Elect preferred leaders", code, lambda host: host.elect_leaders(None, unclean=unclean)
            )
        text = f"Elect {'any' if unclean else 'the preferred'} leader of {topic}-{partition}"
        code = f"lab.elect_leaders({', '.join(filter(None, (repr(topic), str(partition), option)))})"
        link = Link.of_partition(topic, partition)
        return Deed("elect_leaders", link, text, code, lambda host: host.elect_leaders([(topic, partition)], unclean=unclean))

    def reassign(self, topic: str, partition: int, replicas: Sequence[int] | None) -> Deed:
        """Move replicas, or take a move back."""
        wanted = None if replicas is None else list(replicas)
        name = f"{topic}-{partition}"
        text = f"Take the move of {name} back" if wanted is None else f"Move {name} to {', '.join(map(str, wanted))}"
        return Deed(
            "reassign",
            Link.of_partition(topic, partition),
            text,
            f"lab.reassign({topic!r}, {partition}, {wanted})",
            lambda host: host.reassign(topic, partition, wanted),
        )

    def _name(self, party: int) -> str:
        return CLIENTS_WORD if party == CLIENTS else self._name_of(party)

    def _between(self, a: int, b: int, one_way: bool) -> str:
        return f"from {self._name(a)} to {self._name(b)}" if one_way else f"between {self._name(a)} and {self._name(b)}"


def _party(party: int) -> Party:
    return "clients" if party == CLIENTS else party


def _link(a: int, b: int | None) -> Link:
    if b is None:
        return Link.node(a)
    return Link.between(*pair_of(a, b))


def _code(verb: str, a: int, b: int, figures: str, one_way: bool) -> str:
    return f"lab.{verb}({_party(a)!r}, {_party(b)!r}, {figures}{', one_way=True' if one_way else ''})"
