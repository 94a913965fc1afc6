"""What the inspector says of links that are broken on purpose, and of the clock of a node."""

from __future__ import annotations

from kafkalab.ui.itemmodels.inspected import Fact, Inspection
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.faults import TroubledLink, describe_direction, describe_offset, pair_of, party_name
from kafkalab.ui.model.links import Link
from kafkalab.ui.model.states import Tone
from kafkalab.ui.model.things import Node, NoticeAction


def fault_facts(model: ClusterModel, node: Node) -> list[Fact]:
    """A row for each link of a node with which something is wrong, and one for a clock that was set."""
    facts = [
        Fact(
            f"link to {party_name(link.other(node.node_id), model.node_name)}",
            _marked(link, link.short(node.node_id)),
            Tone.ERROR if link.is_cut else Tone.WARN,
            link.link,
            tip=link.words(model.node_name),
            prose=True,
            action=NoticeAction("Heal", "heal", link.link),
        )
        for link in model.faults.of(node.node_id)
    ]
    if node.clock_offset_s:
        facts.append(Fact("clock", f"▲ {describe_offset(node.clock_offset_s)}", Tone.WARN, prose=True))
    return facts


def inspect_link(model: ClusterModel, link: Link) -> Inspection | None:
    """The link between two parties."""
    if not model.exists(link):
        return None
    a, b = pair_of(link.node_id, link.other_id)
    names = [party_name(party, model.node_name) for party in (a, b)]
    found = model.faults.between(a, b)
    said = Inspection(f"{names[0]} – {names[1]}")
    if found is None:
        said.badge, said.badge_tone = "● nothing is wrong", Tone.OK
    elif found.is_cut:
        said.badge, said.badge_tone = "✕ cut", Tone.ERROR
    else:
        said.badge, said.badge_tone = "▲ impaired", Tone.WARN
    ways = (None, None) if found is None else (found.forth, found.back)
    for state, source, target in zip(ways, names, reversed(names), strict=True):
        words = "as it should be" if state is None else describe_direction(state)
        tone = Tone.TEXT if state is None else Tone.ERROR if state.is_cut else Tone.WARN
        said.facts.append(Fact(f"{source} → {target}", words, tone, prose=True))
    said.facts.append(Fact("ends", names[0], link=Link.node(a)))
    if b >= 0:
        said.facts.append(Fact("", names[1], link=Link.node(b)))
    said.actions = [
        ("link.heal", "Heal"),
        ("link.cut", "Cut one way…"),
        ("link.delay", "Delay…"),
        ("link.slow", "Slow…"),
        ("link.lose", "Lose…"),
    ]
    return said


def _marked(link: TroubledLink, words: str) -> str:
    return f"{'✕' if link.is_cut else '▲'} {words}"
