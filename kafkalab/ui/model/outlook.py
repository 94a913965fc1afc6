""" "Can a write succeed now?": the answer for each acks setting, from the same numbers as everything else."""

from __future__ import annotations

from dataclasses import dataclass

from kafkalab.ui.model.states import Tone
from kafkalab.ui.model.things import Partition
from kafkalab.ui.theme.formats import plural


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
        return "✓" if self.succeeds else "‖" if self.tone is Tone.WARN else "✕"


@dataclass(frozen=True, slots=True)
class WriteOutlook:
    """All three answers and what the next loss would change."""

    answers: tuple[WriteAnswer, WriteAnswer, WriteAnswer]
    note: str


def write_outlook(partition: Partition, min_insync_replicas: int) -> WriteOutlook:
    """Judge a partition as a producer would meet it at this moment."""
    if partition.is_leaderless:
        answers = tuple(WriteAnswer(acks, False, "no: nobody leads", Tone.ERROR) for acks in ("0", "1", "all"))
        if partition.leader < 0:
            note = "Clients get LEADER_NOT_AVAILABLE (5) and retry. It goes on when a replica of the ISR is back in service."
        else:
            note = f"Broker {partition.leader} does not answer. Clients retry until the controller fences it and elects another leader."
        return WriteOutlook((answers[0], answers[1], answers[2]), note)

    needed = min_insync_replicas
    in_sync = len(partition.in_sync_ids)
    silent = [node_id for node_id in partition.isr if node_id not in partition.in_sync_ids]
    if len(partition.isr) < needed:
        all_answer = WriteAnswer("all", False, f"no: {len(partition.isr)} in sync < {needed}", Tone.ERROR)
        note = f"acks=all fails with NOT_ENOUGH_REPLICAS (19) until {plural(needed, 'replica is', 'replicas are')} in sync."
    elif silent:
        names = ", ".join(map(str, silent))
        all_answer = WriteAnswer("all", False, f"waits: {names} in the ISR does not answer", Tone.WARN)
        note = f"acks=all goes on when broker {names} leaves the ISR or comes back."
    else:
        all_answer = WriteAnswer("all", True, f"yes: {in_sync} in sync ≥ {needed}", Tone.OK)
        spare = in_sync - needed
        if in_sync == 1:
            note = "One more loss and nobody leads."
        elif spare == 0:
            note = "One more loss and acks=all will fail with NOT_ENOUGH_REPLICAS (19)."
        else:
            note = f"{plural(spare, 'more loss', 'more losses')} can be borne without a change for producers."
    return WriteOutlook((WriteAnswer("0", True, "yes, unconfirmed", Tone.OK), WriteAnswer("1", True, "yes", Tone.OK), all_answer), note)
