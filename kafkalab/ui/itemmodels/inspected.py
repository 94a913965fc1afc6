"""What an inspection is made of: facts in words, with their tones and where they lead. No Qt."""

from __future__ import annotations

from dataclasses import dataclass, field

from kafkalab.ui.model.links import Link
from kafkalab.ui.model.outlook import WriteOutlook
from kafkalab.ui.model.states import Tone
from kafkalab.ui.model.things import NoticeAction


@dataclass(frozen=True, slots=True)
class Fact:
    """One row: what, how much, how it is to be read, and where it leads."""

    label: str
    value: str
    tone: Tone = Tone.TEXT
    link: Link | None = None
    tip: str = ""
    prose: bool = False  # words, not figures
    action: NoticeAction | None = None  # what can be done about it, as a small button beside the value


@dataclass(slots=True)
class Inspection:
    """All that the inspector shows about one thing."""

    title: str
    badge: str = ""
    badge_tone: Tone = Tone.TEXT
    facts: list[Fact] = field(default_factory=list)
    outlook: WriteOutlook | None = None
    more_title: str = ""
    more: list[Fact] = field(default_factory=list)
    actions: list[tuple[str, str]] = field(default_factory=list)  # (name in the registry, short text or "")
    colour: int | None = None  # topic colour index where the thing has one
