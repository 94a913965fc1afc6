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
commit of the past    one of a generation that the group is past          never
====================  ==================================================  ===================================

What may vanish lawfully is known by place: what lies before a log's start (retention, DeleteRecords); in a compacted
log what a later record of the same key has taken the place of, and tombstones; and anything where a leader was
elected uncleanly. There the same offset may hold another value later, but never in the same leader epoch.
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
    key: bytes | None = None
    is_tombstone: bool = False


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
    epochs: tuple[int, ...] = ()
    """The leader epochs that the records were written in; empty where nobody asks."""


class Commit(NamedTuple):
    """An offset that a group committed."""

    group: str
    place: Place
    offset: int
    done_ms: float
    generation: int = 0
    asked_ms: float = -1.0


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
    last_readers: set[str] = field(default_factory=set)
    """Who read everything when nothing was written any more; where nobody is named, everybody."""
    starts: dict[Place, int] = field(default_factory=dict)
    """What lies before these offsets may be gone."""
    compacted: set[Place] = field(default_factory=set)
    unclean: set[Place] = field(default_factory=set)
    """Where leaders were elected that lacked committed records."""

    def sent(self, producer: str, place: Place, value: bytes, order: int, at_ms: float, *, is_idempotent: bool, acks: int) -> Send:
        """An application sends a value; the outcome is set on what is returned."""
        send = Send(producer, place, value, order, at_ms, is_idempotent, acks)
        self.sends.append(send)
        return send

    def count(self, outcome: Outcome) -> int:
        """How many sends ended so."""
        return sum(send.outcome is outcome for send in self.sends)

    def lost_lawfully(self) -> int:
        """How many acknowledged sends are not there in the end, where leaders were elected that lacked them."""
        last = [poll for poll in self.polls if poll.place in self.unclean and (not self.last_readers or poll.consumer in self.last_readers)]
        read = {(poll.place, value) for poll in last for _, value in poll.records}
        return sum(
            send.outcome is Outcome.OK and send.place in self.unclean and (send.place, send.value) not in read for send in self.sends
        )


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
        self._in_epochs: dict[tuple[Place, int, int], bytes] = {}
        """Where leaders were elected uncleanly: the value at an offset in a leader epoch."""
        self._newest: dict[tuple[Place, bytes], int] = {}
        """Of each key in a compacted log the last offset that is known of."""

    def _say(self, kind: str, detail: str) -> None:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        told = self._found.setdefault(kind, [])
        if len(told) < DETAILS_MAX:
            told.append(detail)

    def anomalies(self) -> list[Anomaly]:
        order = list(SEVERITY)
        return [
            Anomaly(kind, "; ".join(self._found[kind]), self._counts[kind])
            for kind in sorted(self._found, key=lambda one: order.index(one))
        ]

    # --- what is where ---------------------------------------------------------------------------------

    def read_all(self) -> None:
        """Put together what all readers saw, and what producers were told."""
        for poll in self._history.polls:
            if poll.place in self._history.unclean:
                self._look_at_epochs(poll)
            for offset, value in poll.records:
                self._put(poll.place, offset, value, poll.consumer)
        for send in self._history.sends:
            if send.outcome is Outcome.OK and send.offset >= 0:
                self._note_newest(send, send.offset)
            if send.outcome is Outcome.OK and send.offset >= 0 and send.place not in self._history.unclean:
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
                elif len(where) > 1 and known.is_idempotent and min(where) >= self._history.starts.get(place, 0):
                    self._say(DUPLICATE, f"{value!r} of {known.producer} at offsets {', '.join(map(str, where))} of {place[0]}-{place[1]}")
            self._sorted[place] = sorted(self._values[place])

    def _put(self, place: Place, offset: int, value: bytes, who: str) -> None:
        values = self._values.setdefault(place, {})
        there = values.get(offset)
        if there is None:
            values[offset] = value
            self._offsets.setdefault(place, {}).setdefault(value, []).append(offset)
            send = self._sends.get((place, value))
            if send is not None:
                self._note_newest(send, offset)
        elif place in self._history.unclean:
            # It took the place of another one: one value more that was read.
            self._offsets[place].setdefault(value, [offset])
        elif there != value:
            self._say(INCONSISTENT, f"{_at(place, offset)} was {there!r} and is {value!r} for {who}")

    def _look_at_epochs(self, poll: Poll) -> None:
        """Another leader may put something else at an offset; one leader epoch has one value there."""
        for (offset, value), epoch in zip(poll.records, poll.epochs, strict=True):
            there = self._in_epochs.setdefault((poll.place, offset, epoch), value)
            if there != value:
                self._say(INCONSISTENT, f"{_at(poll.place, offset)} of epoch {epoch} was {there!r} and is {value!r} for {poll.consumer}")

    def _note_newest(self, send: Send, offset: int) -> None:
        if send.key is not None and send.place in self._history.compacted:
            at = (send.place, send.key)
            self._newest[at] = max(self._newest.get(at, NO_OFFSET), offset)

    def _may_be_gone(self, send: Send) -> bool:
        """Whether an acknowledged send need not be found any more."""
        place = send.place
        if place in self._history.unclean:
            return True
        start_offset = self._history.starts.get(place, 0)
        if start_offset > 0 and send.offset < start_offset:
            return True
        return place in self._history.compacted and self._is_compacted_away(send, send.offset)

    def _is_compacted_away(self, send: Send | None, offset: int) -> bool:
        if send is None or send.key is None:
            return False
        return send.is_tombstone or offset < self._newest.get((send.place, send.key), NO_OFFSET)

    # --- sends -----------------------------------------------------------------------------------------

    def look_at_sends(self, *, allows_loss: bool) -> None:
        """What was promised is there, what was refused is not."""
        for send in self._history.sends:
            is_read = send.value in self._offsets.get(send.place, ())
            if send.outcome is Outcome.FAILED and is_read:
                self._say(FAILED_READ, f"{send.value!r} of {send.producer} at {_at(send.place, self._offsets[send.place][send.value][0])}")
            if send.outcome is not Outcome.OK or is_read or send.acks != -1 or allows_loss or self._may_be_gone(send):
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
            if place in self._history.unclean:
                continue
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
                    if poll.place in self._history.compacted:
                        missed = [one for one in missed if not self._is_compacted_away(self._send_at(poll.place, one), one)]
                    if missed:
                        self._say(SKIP, f"{poll.consumer} read {_at(poll.place, offset)} after {at} and passed over {missed[0]}")
                at = offset
            if at is not None:
                position[key] = at

    def _send_at(self, place: Place, offset: int) -> Send | None:
        return self._sends.get((place, self._values[place][offset]))

    def look_at_commits(self) -> None:
        """What a group committed is what it goes on from, and who is of an earlier generation commits nothing any more."""
        self._look_at_generations()
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

    def _look_at_generations(self) -> None:
        # Of each group by time: since when it was known to be in which generation, or a later one. A member asks for
        # offsets after its group has begun the generation.
        proofs = [(one.group, one.done_ms, one.generation) for one in self._history.commits]
        proofs += [(one.group, one.at_ms, one.generation) for one in self._history.commit_reads]
        known: dict[str, list[tuple[float, int]]] = {}
        for group, at_ms, generation in sorted(proofs, key=lambda proof: proof[1:]):
            newest = known.setdefault(group, [])
            if not newest or generation > newest[-1][1]:
                newest.append((at_ms, generation))
        for commit in self._history.commits:
            past = known[commit.group]
            index = bisect_left(past, (commit.asked_ms, -1)) - 1
            if index >= 0 and past[index][1] > commit.generation:
                since_ms, generation = past[index]
                self._say(
                    PAST_COMMIT,
                    f"{commit.group} took {_at(commit.place, commit.offset)} of generation {commit.generation} at {commit.done_ms:.0f} ms; "
                    f"it was in {generation} at {since_ms:.0f} ms",
                )


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
PAST_COMMIT: Final = "commit of the past"
SEVERITY: Final = (
    LOST,
    INCONSISTENT,
    UNSEEN,
    DUPLICATE,
    FAILED_READ,
    UNKNOWN_VALUE,
    REORDERED,
    SKIP,
    BACKWARD,
    LOST_COMMIT,
    PAST_COMMIT,
)
"""Every kind of anomaly, the worst first."""


def _at(place: Place, offset: int) -> str:
    return f"{place[0]}-{place[1]}@{offset}"
