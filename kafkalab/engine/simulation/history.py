"""What clients did and saw, and whether a correct cluster can have shown it to them.

In the manner of Jepsen's Kafka workload: every value is sent once by the application, so that it can
be told apart wherever it turns up. Time-outs and lost connections leave a send *unknown*, never
*failed*. The module knows nothing of the simulator: histories of live clients are judged the same way.

What may and may not be seen:

====================  ==================================================  ===================================
anomaly               meaning                                             never, unless
====================  ==================================================  ===================================
inconsistent offset   two values at one offset                            never
duplicate             one value at two offsets                            the producer is not idempotent
lost write            acknowledged, and a reader went past its offset     acks is not all, or loss is allowed
unseen                acknowledged, not read by the end                   as lost write
failed write read     refused for good, and yet read                      never
unknown value         read, and nobody sent it                            never
reordered             sends of a producer in another order                the producer is not idempotent
poll skip             a reader passed over a record                       the reader subscribes
backward poll         a reader went back                                  the reader subscribes
lost commit           an acknowledged commit of a group is not found      never
====================  ==================================================  ===================================
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

Place = tuple[str, int]
"""Topic and partition."""

NO_OFFSET: Final = -1
DETAILS_MAX: Final = 5
"""So many cases of one anomaly are told; all are counted."""


class Outcome(StrEnum):
    """What became of a send."""

    UNKNOWN = "unknown"
    OK = "ok"
    FAILED = "failed"


@dataclass(slots=True)
class Send:
    """One value, sent by an application."""

    producer: str
    place: Place
    value: bytes
    order: int
    """The how-manieth of this producer to this partition."""
    at_ms: float
    is_idempotent: bool
    acks: int
    outcome: Outcome = Outcome.UNKNOWN
    offset: int = NO_OFFSET
    """Where it is, as the cluster said; -1 where it did not say."""
    done_ms: float = -1.0


class Poll(NamedTuple):
    """What one poll returned of one partition."""

    consumer: str
    run: int
    """Within a run the consumer goes through the partition from one record to the next."""
    is_assigned: bool
    """By itself, with no group that may take the partition away."""
    place: Place
    at_ms: float
    records: tuple[tuple[int, bytes], ...]
    """Offsets and values."""


class Commit(NamedTuple):
    """An offset that a group committed."""

    group: str
    place: Place
    offset: int
    done_ms: float
    generation: int = 0


class CommitRead(NamedTuple):
    """A group's committed offset as a member got it; -1 is none."""

    group: str
    place: Place
    offset: int
    asked_ms: float
    at_ms: float
    generation: int = 0
    """A member that the group has gone on without may still be told what was so before."""


class Anomaly(NamedTuple):
    """Something that may not be seen."""

    kind: str
    detail: str
    cases: int

    def __str__(self) -> str:
        return f"{self.kind} ({self.cases}): {self.detail}"


@dataclass(slots=True)
class History:
    """What all clients did and saw, in the order in which it was recorded."""

    sends: list[Send] = field(default_factory=list)
    polls: list[Poll] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    commit_reads: list[CommitRead] = field(default_factory=list)
    is_complete: bool = False
    """At the end everything was read, from the first offset to the last."""

    def sent(self, producer: str, place: Place, value: bytes, order: int, at_ms: float, *, is_idempotent: bool, acks: int) -> Send:
        """An application sends a value; the outcome is set on what is returned."""
        send = Send(producer, place, value, order, at_ms, is_idempotent, acks)
        self.sends.append(send)
        return send

    def count(self, outcome: Outcome) -> int:
        """How many sends ended so."""
        return sum(send.outcome is outcome for send in self.sends)


def check_history(history: History, *, allows_loss: bool = False, reordering_is_allowed: bool = False) -> list[Anomaly]:
    """All anomalies, the worst first.

    :param allows_loss: acknowledged writes may be lost, as with unclean elections.
    """
    checker = _Checker(history)
    checker.read_all()
    checker.look_at_sends(allows_loss=allows_loss)
    if not reordering_is_allowed:
        checker.look_at_order()
    checker.look_at_polls()
    checker.look_at_commits()
    return checker.anomalies()


class _Checker:
    def __init__(self, history: History) -> None:
        self._history = history
        self._found: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}
        self._sends = {(send.place, send.value): send for send in history.sends}
        self._values: dict[Place, dict[int, bytes]] = {}
        self._offsets: dict[Place, dict[bytes, list[int]]] = {}
        self._sorted: dict[Place, list[int]] = {}

    def _say(self, kind: str, detail: str) -> None:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        told = self._found.setdefault(kind, [])
        if len(told) < DETAILS_MAX:
            told.append(detail)

    def anomalies(self) -> list[Anomaly]:
        order = list(_SEVERITY)
        return [
            Anomaly(kind, "; ".join(self._found[kind]), self._counts[kind])
            for kind in sorted(self._found, key=lambda one: order.index(one))
        ]

    # --- what is where ---------------------------------------------------------------------------------

    def read_all(self) -> None:
        """Put together what all readers saw, and what producers were told."""
        for poll in self._history.polls:
            for offset, value in poll.records:
                self._put(poll.place, offset, value, poll.consumer)
        for send in self._history.sends:
            if send.outcome is Outcome.OK and send.offset >= 0:
                there = self._values.get(send.place, {}).get(send.offset)
                if there is not None and there != send.value:
                    self._say(
                        INCONSISTENT,
                        f"{_at(send.place, send.offset)} was acknowledged for {send.value!r} and holds {there!r}",
                    )
        for place, offsets in self._offsets.items():
            for value, where in offsets.items():
                known = self._sends.get((place, value))
                if known is None:
                    self._say(UNKNOWN_VALUE, f"{value!r} at {_at(place, where[0])}")
                elif len(where) > 1 and known.is_idempotent:
                    self._say(DUPLICATE, f"{value!r} of {known.producer} at offsets {', '.join(map(str, where))} of {place[0]}-{place[1]}")
            self._sorted[place] = sorted(self._values[place])

    def _put(self, place: Place, offset: int, value: bytes, who: str) -> None:
        values = self._values.setdefault(place, {})
        there = values.get(offset)
        if there is None:
            values[offset] = value
            self._offsets.setdefault(place, {}).setdefault(value, []).append(offset)
        elif there != value:
            self._say(INCONSISTENT, f"{_at(place, offset)} was {there!r} and is {value!r} for {who}")

    # --- sends -----------------------------------------------------------------------------------------

    def look_at_sends(self, *, allows_loss: bool) -> None:
        """What was promised is there, what was refused is not."""
        for send in self._history.sends:
            is_read = send.value in self._offsets.get(send.place, ())
            if send.outcome is Outcome.FAILED and is_read:
                self._say(FAILED_READ, f"{send.value!r} of {send.producer} at {_at(send.place, self._offsets[send.place][send.value][0])}")
            if send.outcome is not Outcome.OK or is_read or send.acks != -1 or allows_loss:
                continue
            read_to = self._sorted.get(send.place, [NO_OFFSET])[-1]
            if 0 <= send.offset < read_to:
                self._say(
                    LOST,
                    f"{send.value!r} of {send.producer}, acknowledged at {_at(send.place, send.offset)}; readers came to {read_to}",
                )
            elif self._history.is_complete:
                self._say(UNSEEN, f"{send.value!r} of {send.producer}, acknowledged at {_at(send.place, send.offset)}")

    def look_at_order(self) -> None:
        """An idempotent producer's values stand in the order in which it sent them."""
        for place, offsets in self._sorted.items():
            values = self._values[place]
            last: dict[str, tuple[int, int]] = {}
            for offset in offsets:
                send = self._sends.get((place, values[offset]))
                if send is None or not send.is_idempotent:
                    continue
                before = last.get(send.producer)
                if before is not None and send.order < before[0]:
                    self._say(
                        REORDERED, f"{send.producer}'s value {send.order} at {_at(place, offset)} comes after {before[0]} at {before[1]}"
                    )
                last[send.producer] = (send.order, offset)

    # --- readers ---------------------------------------------------------------------------------------

    def look_at_polls(self) -> None:
        """A reader goes from one record to the next."""
        position: dict[tuple[str, int, Place], int] = {}
        for poll in self._history.polls:
            if not poll.is_assigned:
                continue
            key = (poll.consumer, poll.run, poll.place)
            at = position.get(key)
            known = self._sorted[poll.place] if poll.records else []
            for offset, _ in poll.records:
                if at is not None and offset <= at:
                    self._say(BACKWARD, f"{poll.consumer} read {_at(poll.place, offset)} after {at}")
                elif at is not None:
                    missed = known[bisect_left(known, at + 1) : bisect_left(known, offset)]
                    if missed:
                        self._say(SKIP, f"{poll.consumer} read {_at(poll.place, offset)} after {at} and passed over {missed[0]}")
                at = offset
            if at is not None:
                position[key] = at

    def look_at_commits(self) -> None:
        """What a group committed is what it goes on from."""
        commits: dict[tuple[str, Place], list[Commit]] = {}
        for commit in self._history.commits:
            commits.setdefault((commit.group, commit.place), []).append(commit)
        for read in self._history.commit_reads:
            for commit in commits.get((read.group, read.place), ()):
                if commit.done_ms < read.asked_ms and commit.generation <= read.generation and read.offset < commit.offset:
                    self._say(
                        LOST_COMMIT,
                        f"{read.group} committed {_at(commit.place, commit.offset)} and found {read.offset} "
                        f"{read.at_ms - commit.done_ms:.0f} ms later",
                    )
                    break


INCONSISTENT: Final = "inconsistent offset"
LOST: Final = "lost write"
UNSEEN: Final = "unseen"
DUPLICATE: Final = "duplicate"
FAILED_READ: Final = "failed write read"
UNKNOWN_VALUE: Final = "unknown value"
REORDERED: Final = "reordered"
SKIP: Final = "poll skip"
BACKWARD: Final = "backward poll"
LOST_COMMIT: Final = "lost commit"
_SEVERITY: Final = (LOST, INCONSISTENT, UNSEEN, DUPLICATE, FAILED_READ, UNKNOWN_VALUE, REORDERED, SKIP, BACKWARD, LOST_COMMIT)


def _at(place: Place, offset: int) -> str:
    return f"{place[0]}-{place[1]}@{offset}"
