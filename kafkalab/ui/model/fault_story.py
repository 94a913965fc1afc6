"""Links cut and healed, clocks set: rows of the timeline and marks of the failover view.

Isolating one node from five others is one deed: what happens to the links of one party at one moment shares a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from kafkalab.engine.telemetry import events as ev
from kafkalab.ui.model.failover import FailoverHistory
from kafkalab.ui.model.faults import CLIENTS, NameOf, describe_offset, pair_of, party_list, party_name
from kafkalab.ui.model.links import Link
from kafkalab.ui.model.states import Tone
from kafkalab.ui.model.things import Mark, TimelineRow
from kafkalab.ui.model.timeline import Timeline

ONE_DEED_MS: Final = 100.0
"""So close together it is one command, whose links were changed one after another."""


@dataclass(slots=True)
class _Deed:
    key: tuple[object, ...]
    row: TimelineRow
    mark: Mark | None
    pairs: list[tuple[int, int]] = field(default_factory=list)


class FaultStory:
    """Tells of faults that were made on purpose."""

    def __init__(self, timeline: Timeline, failover: FailoverHistory, name_of: NameOf) -> None:
        self._timeline = timeline
        self._failover = failover
        self._name_of = name_of
        self._last: _Deed | None = None

    def link_cut(self, event: ev.LinkCut) -> None:
        """Bytes do not arrive any more."""
        deed = self._join(("cut", event.source, event.both_ways, event.cause), event)
        source = self._party(event.source)
        if deed is None:
            target = self._party(event.target)
            headline = f"{source} and {target} are cut off from each other" if event.both_ways else f"{target} hears nothing from {source}"
            link = _link(event.source, event.target)
            row = self._timeline.add(event, "⊘", Tone.ERROR, headline, _by(event.cause), link)
            sign = "–" if event.both_ways else "→"
            mark = self._failover.mark(event.at_ms, f"{source} {sign} {target} cut", Tone.ERROR, link)
            self._keep(("cut", event.source, event.both_ways, event.cause), row, mark, event)
            return
        deed.pairs.append((event.source, event.target))
        others = party_list([target for _, target in deed.pairs], self._name_of)
        headline = f"{source} is cut off from {others}" if event.both_ways else f"{others} hear nothing from {source}"
        self._timeline.rewrite(deed.row, headline, _by(event.cause))
        deed.row.link = Link.node(event.source)
        assert deed.mark is not None, "a cut is marked"
        deed.mark.label = f"{source} cut off" if event.both_ways else f"{source} not heard"
        deed.mark.link = deed.row.link

    def link_impaired(self, event: ev.LinkImpaired) -> None:
        """Bytes come late, in part again, or slowly."""
        ways = "between {} and {}" if event.both_ways else "from {} to {}"
        headline = f"the link {ways.format(self._party(event.source), self._party(event.target))}: {event.detail}"
        self._timeline.add(event, "▲", Tone.WARN, headline, _by(event.cause), _link(event.source, event.target))

    def link_healed(self, event: ev.LinkHealed) -> None:
        """A link is right again."""
        key = ("healed", event.cause)
        deed = self._join(key, event)
        if deed is None:
            link = _link(event.source, event.target)
            source, target = (self._party(party) for party in pair_of(event.source, event.target))
            row = self._timeline.add(event, "✓", Tone.OK, f"the link between {source} and {target} is right again", _by(event.cause), link)
            mark = self._failover.mark(event.at_ms, f"{source} – {target} healed", Tone.OK, link)
            self._keep(key, row, mark, event)
            return
        deed.pairs.append((event.source, event.target))
        common = set.intersection(*(set(pair) for pair in deed.pairs)) - {CLIENTS}
        if common:
            party = common.pop()
            others = [one if other == party else other for one, other in deed.pairs]
            headline = f"{self._party(party)} is connected again with {party_list(others, self._name_of)}"
            deed.row.link, label = Link.node(party), f"{self._party(party)} healed"
        else:
            headline, label = f"{len(deed.pairs)} links are right again", f"{len(deed.pairs)} links healed"
            deed.row.link = Link.cluster()
        self._timeline.rewrite(deed.row, headline, _by(event.cause))
        assert deed.mark is not None, "a heal is marked"
        deed.mark.label, deed.mark.link = label, deed.row.link

    def clock_jumped(self, event: ev.ClockJumped) -> None:
        """A wall clock was set."""
        name = self._name_of(event.node)
        now = f"now {describe_offset(event.offset_seconds)}" if event.offset_seconds else "right again"
        detail = " · ".join((now, _by(event.cause)))
        link = Link.node(event.node)
        self._timeline.add(event, "▲", Tone.WARN, f"the clock of {name} jumped by {event.seconds:+g} s", detail, link)
        self._failover.mark(event.at_ms, f"clock of {name} {event.seconds:+g} s", Tone.WARN, link)

    def _party(self, party: int) -> str:
        return party_name(party, self._name_of)

    def _join(self, key: tuple[object, ...], event: ev.Event) -> _Deed | None:
        deed = self._last
        return deed if deed is not None and deed.key == key and 0 <= event.at_ms - deed.row.at_ms <= ONE_DEED_MS else None

    def _keep(self, key: tuple[object, ...], row: TimelineRow, mark: Mark, event: ev.LinkCut | ev.LinkHealed) -> None:
        self._last = _Deed(key, row, mark, [(event.source, event.target)])


def _link(source: int, target: int) -> Link:
    return Link.between(*pair_of(source, target))


def _by(cause: str) -> str:
    return f"by {cause}" if cause else ""
