"""The pill and the notice: what is so, in words, from the same sets that the views draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.ui.model.faults import CLIENTS, Faults, NameOf, TroubledLink, party_list
from kafkalab.ui.model.links import Link
from kafkalab.ui.model.states import HealthLevel, NodeState, Tone
from kafkalab.ui.model.things import Health, Node, Notice, NoticeAction, Quorum
from kafkalab.ui.theme.formats import format_count, format_seconds, plural

NAMED_MAX: Final = 3
"""Of more parties the notice says how many they are: it has one line."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What trouble costs at this moment, counted in partitions."""

    below_min_isr: int = 0
    waiting: int = 0  # their leader is cut off from one that is in sync
    unreached: int = 0  # their leader is cut off from all clients
    could_lead: Mapping[int, int] = field(default_factory=dict)
    """Of those that nobody leads, by the broker that could if it was back."""
    outvoted: Mapping[int, int] = field(default_factory=dict)
    """Those that a broker which is cut off goes on leading, by its id: it has not heard that it does not lead them."""


NO_COSTS: Final = Costs()


@dataclass(slots=True)
class Outage:
    """What the loss of a broker cost, so far."""

    node_id: int
    at_ms: float
    led_after_ms: float = -1.0  # until the last partition that was led got a leader, -1: not yet or nothing was led
    written_after_ms: float = -1.0  # until one of the new leaders acknowledged a write, -1: not yet
    topic: str = ""  # of that write
    waiting: int = 0  # partitions that still have no leader


def judge(
    nodes: Iterable[Node],
    *,
    quorum_leader: int,
    had_quorum: bool,
    under_replicated: set[TopicPartition],
    leaderless: set[TopicPartition],
    cuts: int = 0,
) -> Health:
    """The pill. A link that is cut is told when nothing worse has come of it (yet)."""
    trouble = [node for node in nodes if node.state not in (NodeState.IN_SERVICE, NodeState.STARTING)]
    starting = [node for node in nodes if node.state is NodeState.STARTING]
    counts = {"under_replicated": len(under_replicated), "leaderless": len(leaderless)}
    if quorum_leader < 0:
        if not had_quorum:
            if trouble and not starting:
                return Health(HealthLevel.STARTING, "Not started", Link.cluster(), **counts)
            return Health(HealthLevel.STARTING, "Starting", Link.quorum(), **counts)
        return Health(HealthLevel.NO_QUORUM, "No quorum", Link.quorum(), **counts)
    culprit = trouble[0].link if trouble else None
    if leaderless:
        lost = min(leaderless)
        verb = "has" if len(leaderless) == 1 else "have"
        text = f"Offline · {plural(len(leaderless), 'partition')} {verb} no leader"
        return Health(HealthLevel.OFFLINE, text, culprit or Link.of_partition(*lost), **counts)
    if under_replicated:
        text = f"Degraded · {format_count(len(under_replicated))} under-replicated"
        return Health(HealthLevel.DEGRADED, text, culprit or Link.of_partition(*min(under_replicated)), **counts)
    if trouble:
        node = trouble[0]
        word = "down" if node.is_down else node.state.value
        text = f"Degraded · {node.name} {word}" if len(trouble) == 1 else f"Degraded · {len(trouble)} nodes out of service"
        return Health(HealthLevel.DEGRADED, text, node.link, **counts)
    if starting:
        return Health(HealthLevel.STARTING, "Starting", starting[0].link, **counts)
    if cuts:
        return Health(HealthLevel.DEGRADED, f"Degraded · {plural(cuts, 'link')} cut", Link.cluster(), **counts)
    return Health(HealthLevel.HEALTHY, "Healthy", Link.cluster(), **counts)


def _names(nodes: Sequence[Node]) -> str:
    if len(nodes) == 1:
        return nodes[0].name.capitalize()
    kind = "Brokers" if all(node.is_broker for node in nodes) else "Controllers" if all(node.is_controller for node in nodes) else "Nodes"
    ids = [str(node.node_id) for node in nodes]
    return f"{kind} {', '.join(ids[:-1])} and {ids[-1]}"


def _state_words(nodes: Sequence[Node]) -> str:
    verb = "is" if len(nodes) == 1 else "are"
    if all(node.state is NodeState.PAUSED for node in nodes):
        return f"{_names(nodes)} {verb} paused"
    if all(node.state is NodeState.STOPPED for node in nodes):
        return f"{_names(nodes)} {verb} stopped"
    if all(node.state in (NodeState.FENCED, NodeState.STOPPING) for node in nodes):
        return f"{_names(nodes)} {verb} out of service"
    if all(node.is_down for node in nodes):
        return f"{_names(nodes)} {verb} down"
    return f"{_names(nodes)} {verb} out of service"


def compose_notice(
    nodes: Sequence[Node],
    health: Health,
    outages: dict[int, Outage],
    *,
    voters: int,
    faults: Faults | None = None,
    costs: Costs = NO_COSTS,
    quorum: Quorum | None = None,
    name_of: NameOf = str,
) -> Notice | None:
    """The sentence at the foot of the stage, None while all is well."""
    if health.level in (HealthLevel.HEALTHY, HealthLevel.STARTING):
        return None
    out = [node for node in nodes if node.state not in (NodeState.IN_SERVICE, NodeState.STARTING)]
    cuts = [] if faults is None else faults.cuts
    if health.level is HealthLevel.NO_QUORUM:
        # A quorum is what is missing first: without it no broker that comes back is let in.
        controllers_first = sorted(out, key=lambda node: not node.is_controller)
        said = _without_quorum(nodes, health)
        return Notice(f"{_cut_words(cuts, name_of)} {said}" if cuts else said, _actions(controllers_first, cuts), Tone.ERROR)
    # Whoever helps most comes first: with the wrong one of two back nobody leads still.
    helpful = sorted(out, key=lambda node: -costs.could_lead.get(node.node_id, 0))
    actions = _actions(helpful, cuts)
    if not out and cuts:
        return Notice(f"{_cut_words(cuts, name_of)} {_consequence(health, costs, cuts, quorum, name_of)}", actions)
    if not out:
        text = f"{plural(health.under_replicated, 'partition')} under-replicated. Replicas are catching up."
        if health.leaderless:
            verb = "has" if health.leaderless == 1 else "have"
            text = (
                f"{plural(health.leaderless, 'partition')} {verb} no leader. Writes to {'it' if health.leaderless == 1 else 'them'} wait."
            )
        return Notice(text, (NoticeAction("Show it", "show", health.link), NoticeAction("Show the failover", "show", Link.failover())))
    brokers = [node for node in out if node.is_broker]
    if not brokers:
        left = voters - len([node for node in out if node.is_controller and node.is_down])
        return Notice(f"{_state_words(out)}. {left} of {plural(voters, 'controller')} still hold the quorum.", actions)
    state = _state_words(brokers)
    if all(any(cut.touches(node.node_id) for cut in cuts) and not node.is_down for node in brokers):
        verb = "is" if len(brokers) == 1 else "are"
        state = state.replace(f" {verb} ", f" {verb} cut off and ", 1)
    if health.leaderless and not any(node.is_broker and node.state is NodeState.IN_SERVICE for node in nodes):
        return Notice(f"{state}. No broker is in service: nothing can be read or written.", actions, Tone.ERROR)
    return Notice(f"{state}. {_refused(costs.below_min_isr, health) or _cost(brokers, health, outages, costs)}", actions)


def _refused(below_min_isr: int, health: Health) -> str:
    """What too few in sync cost; that nobody leads at all is worse."""
    if not below_min_isr or health.leaderless:
        return ""
    verb = "has" if below_min_isr == 1 else "have"
    return f"{plural(below_min_isr, 'partition')} {verb} fewer in sync than min.insync.replicas: acks=all is refused."


def _cut_words(cuts: Sequence[TroubledLink], name_of: NameOf) -> str:
    """ "Broker 2 is cut off from controllers 101, 102, 103." """
    common = set.intersection(*({cut.a, cut.b} for cut in cuts)) - {CLIENTS}
    if not common:
        return f"{plural(len(cuts), 'link')} are cut."
    party = min(common)
    name = name_of(party)
    others = [cut.other(party) for cut in cuts]
    whom = party_list(others, name_of) if len(others) <= NAMED_MAX else f"{len(others)} others"
    if all(cut.is_unheard(party) for cut in cuts):
        verb = "hears" if len(others) == 1 and others != [CLIENTS] else "hear"
        return f"{whom[:1].upper()}{whom[1:]} {verb} nothing from {name}."
    name = f"{name[:1].upper()}{name[1:]}"
    if all(cut.is_unheard(other) for cut, other in zip(cuts, others, strict=True)):
        return f"{name} hears nothing from {whom}."
    return f"{name} is cut off from {whom}."


def _consequence(health: Health, costs: Costs, cuts: Sequence[TroubledLink], quorum: Quorum | None, name_of: NameOf) -> str:
    """What comes of cuts while every node runs: the worst of it."""
    if health.leaderless:
        verb = "has" if health.leaderless == 1 else "have"
        return f"{plural(health.leaderless, 'partition')} {verb} no leader: writes to {'it' if health.leaderless == 1 else 'them'} wait."
    if costs.unreached:
        return f"No client reaches the leader of {plural(costs.unreached, 'partition')}: reads and writes there time out."
    if costs.below_min_isr:
        return _refused(costs.below_min_isr, health)
    if costs.waiting:
        return f"acks=all waits on {plural(costs.waiting, 'partition')}: a replica that is in sync does not answer the leader."
    if health.under_replicated:
        return f"{plural(health.under_replicated, 'partition')} under-replicated."
    so = "every partition has its leader and its replicas."
    if quorum is not None and any(cut.touches(member.node_id) for cut in cuts for member in quorum.voters):
        return f"{name_of(quorum.leader_id).capitalize()} leads the quorum, epoch {quorum.epoch}; {so}"
    return so.capitalize()


def _without_quorum(nodes: Sequence[Node], health: Health) -> str:
    """What still works while no controller leads."""
    lost = "No controller leads the quorum"
    if not any(node.is_broker and not node.is_down and node.state is not NodeState.PAUSED for node in nodes):
        return f"{lost} and no broker is up: nothing can be read or written."
    if health.leaderless:
        verb = "has" if health.leaderless == 1 else "have"
        return f"{lost}. {plural(health.leaderless, 'partition')} {verb} no leader, and none can be elected; the others go on."
    return f"{lost}. Reads and writes go on, but no leader can be elected and no topic created."


def _cost(brokers: Sequence[Node], health: Health, outages: dict[int, Outage], costs: Costs) -> str:
    unheard = [node for node in brokers if node.node_id in costs.outvoted]
    if unheard:
        has = "has" if len(unheard) == 1 else "have"
        goes_on = "goes" if len(unheard) == 1 else "go"
        who = f"{_names(unheard)} {has} not heard and {goes_on} on with clients that know no better"
        if not health.leaderless:
            return f"Others lead what {'it' if len(unheard) == 1 else 'they'} led. {who}: without acks=all those writes are lost."
        verb = "has" if health.leaderless == 1 else "have"
        return f"{plural(health.leaderless, 'partition')} {verb} no leader. {who}."
    if health.leaderless:
        verb = "has" if health.leaderless == 1 else "have"
        lost = f"{plural(health.leaderless, 'partition')} {verb} no leader: writes to {'it' if health.leaderless == 1 else 'them'} wait"
        if all(node.fenced for node in brokers):
            return f"{lost}."
        # Until the controller gives it up it is in the ISR, and acks=all means all of the ISR.
        return f"{lost}, and acks=all elsewhere until the ISR shrinks."
    known = [outages[node.node_id] for node in brokers if node.node_id in outages]
    ended = [outage for outage in known if outage.led_after_ms >= 0]
    if ended:
        worst = max(ended, key=lambda outage: (outage.led_after_ms, outage.written_after_ms))
        led = f"New leaders were elected after {format_seconds(worst.led_after_ms)}"
        if worst.written_after_ms < 0:
            return f"{led}: writes can go on."
        return f"{led}; the first write, to {worst.topic}, was acknowledged after {format_seconds(worst.written_after_ms)}."
    return "Every partition has a leader: writes go on."


def _actions(out: Sequence[Node], cuts: Sequence[TroubledLink]) -> tuple[NoticeAction, ...]:
    actions: list[NoticeAction] = []
    if cuts:
        actions.append(NoticeAction("Heal all links", "heal", Link.cluster()))
    if out:
        node = out[0]
        if node.state is NodeState.PAUSED:
            actions.append(NoticeAction(f"Resume {node.name}", "resume", node.link))
        elif node.is_down:
            actions.append(NoticeAction(f"Restart {node.name}", "restart", node.link))
    actions.append(NoticeAction("Show the failover", "show", Link.failover()))
    actions.append(NoticeAction("Why?", "why", out[0].link if out else _culprit(cuts)))
    return tuple(actions)


def _culprit(cuts: Sequence[TroubledLink]) -> Link:
    """The party that all cuts have in common, else the first of them, else the quorum."""
    if not cuts:
        return Link.quorum()
    common = set.intersection(*({cut.a, cut.b} for cut in cuts)) - {CLIENTS}
    return Link.node(min(common)) if common and len(cuts) > 1 else cuts[0].link
