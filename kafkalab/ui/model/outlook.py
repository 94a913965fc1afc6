""" "Can a write succeed now?": the answer for each acks setting, from the same numbers as everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kafkalab.ui.model.faults import CLIENTS, Faults
from kafkalab.ui.model.states import Tone
from kafkalab.ui.model.things import Partition
from kafkalab.ui.theme.formats import format_offset, plural

_NO_FAULTS: Final = Faults()


@dataclass(frozen=True, slots=True)
class WriteAnswer:
    """For one acks setting."""

    acks: str  # "0", "1", "all"
    succeeds: bool
    text: str
    tone: Tone

    @property
    def glyph(self) -> str:
        """The sign that goes with the words."""
        if self.succeeds:
            return "✓" if self.tone is Tone.OK else "▲"
        return "‖" if self.tone is Tone.WARN else "✕"


@dataclass(frozen=True, slots=True)
class WriteOutlook:
    """All three answers and what the next loss would change."""

    answers: tuple[WriteAnswer, WriteAnswer, WriteAnswer]
    note: str


def write_outlook(
    partition: Partition,
    min_insync_replicas: int,
    faults: Faults = _NO_FAULTS,
    controllers: Sequence[int] = (),
    outvoted: Sequence[int] = (),
) -> WriteOutlook:
    """Judge a partition as a producer would meet it at this moment.

    :param faults: links that are broken on purpose.
    :param controllers: all of them, to tell whether the leader can change the ISR.
    :param outvoted: brokers that are cut off and go on leading it, for they have not heard.
    """
    outlook = _outlook(partition, min_insync_replicas, faults, controllers)
    if not outvoted:
        return outlook
    who, whom = (f"Broker {outvoted[0]} has", "it") if len(outvoted) == 1 else (f"Brokers {_and(outvoted)} have", "them")
    if partition.leader >= 0:
        said = f"{who} not heard who leads: clients that know no better still write to {whom}, and that is cut away later"
    else:
        said = f"{who} not heard that nobody leads: clients that know no better still write to {whom}"
    return WriteOutlook(outlook.answers, f"{outlook.note} {said}.")


def _outlook(partition: Partition, min_insync_replicas: int, faults: Faults, controllers: Sequence[int]) -> WriteOutlook:
    if partition.is_leaderless:
        return _refused("no: nobody leads", _who_could_lead(partition))
    leader = partition.serving_leader
    if faults.is_cut(leader, CLIENTS):
        return _refused(
            f"no: clients do not reach {leader}",
            f"Clients are cut off from broker {leader}, which still leads. They time out and retry until the link is healed.",
        )

    # A topic with fewer replicas than it asks for is content with all of them.
    needed = min(min_insync_replicas, max(len(partition.replica_ids), 1))
    unconfirmed = WriteAnswer("0", True, "yes, unconfirmed", Tone.OK)
    plain = WriteAnswer("1", True, "yes", Tone.OK)
    in_sync = len(partition.in_sync_ids)
    silent = [node_id for node_id in partition.isr if node_id not in partition.in_sync_ids]
    cut_off = [node_id for node_id in faults.cut_off_from(leader, partition.isr) if node_id not in silent]
    if len(partition.isr) < needed:
        frozen = format_offset(partition.high_watermark)
        plain = WriteAnswer("1", True, f"yes, unread past {frozen}", Tone.WARN)
        all_answer = WriteAnswer("all", False, f"no: {len(partition.isr)} in sync < {needed}", Tone.ERROR)
        note = (
            f"acks=all fails with NOT_ENOUGH_REPLICAS (19) until {plural(needed, 'replica is', 'replicas are')} in sync. "
            f"The high watermark stands at {frozen} until then: consumers see nothing newer."
        )
    elif silent:
        verb = "does" if len(silent) == 1 else "do"
        all_answer = WriteAnswer("all", False, f"waits: {_and(silent)} in the ISR {verb} not answer", Tone.WARN)
        note = f"acks=all goes on when {_leave(silent)} the ISR or {'comes' if len(silent) == 1 else 'come'} back."
    elif cut_off:
        verb = "is" if len(cut_off) == 1 else "are"
        all_answer = WriteAnswer("all", False, f"waits: {_and(cut_off)} in the ISR {verb} cut off", Tone.WARN)
        if controllers and len(faults.cut_off_from(leader, controllers)) == len(controllers):
            note = f"Broker {leader} is cut off from the controllers too: it cannot shrink the ISR, and is fenced soon."
        else:
            links = "the link is" if len(cut_off) == 1 else "the links are"
            note = f"acks=all goes on when {_leave(cut_off)} the ISR (replica.lag.time.max.ms) or {links} healed."
    else:
        all_answer = WriteAnswer("all", True, f"yes: {in_sync} in sync ≥ {needed}", Tone.OK)
        spare = in_sync - needed
        if in_sync == 1:
            note = "One more loss and nobody leads."
        elif spare == 0:
            note = "One more loss and acks=all will fail with NOT_ENOUGH_REPLICAS (19)."
        else:
            note = f"{plural(spare, 'more loss', 'more losses')} can be borne without a change for producers."
    return WriteOutlook((unconfirmed, plain, all_answer), note)


def _refused(text: str, note: str) -> WriteOutlook:
    zero, one, every = (WriteAnswer(acks, False, text, Tone.ERROR) for acks in ("0", "1", "all"))
    return WriteOutlook((zero, one, every), note)


def _who_could_lead(partition: Partition) -> str:
    """Why nobody leads, and what would change that."""
    if partition.leader >= 0:
        return f"Broker {partition.leader} does not answer. Clients retry until the controller fences it and elects another leader."
    begin = "Clients get LEADER_NOT_AVAILABLE (5) and retry. It goes on when "
    if partition.isr:
        return f"{begin}{_one_of(partition.isr)} of the ISR is back in service."
    if partition.elr:
        return f"{begin}{_one_of(partition.elr)} of the ELR is back in service: it has every committed record."
    if partition.last_known_elr:
        return f"{begin}{_one_of(partition.last_known_elr)}, who led last, is back in service, or by an unclean election."
    return f"{begin}a replica of the ISR is back in service."


def _and(node_ids: Sequence[int]) -> str:
    names = list(map(str, node_ids))
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _leave(node_ids: Sequence[int]) -> str:
    return f"broker {_and(node_ids)} leaves" if len(node_ids) == 1 else f"brokers {_and(node_ids)} leave"


def _one_of(node_ids: Sequence[int]) -> str:
    names = list(map(str, node_ids))
    return f"broker {names[0]}" if len(names) == 1 else f"broker {', '.join(names[:-1])} or {names[-1]}"
