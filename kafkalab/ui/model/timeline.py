"""The timeline: happenings in words, one row each; many alike at one moment share a row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.telemetry import events as ev
from kafkalab.ui.model.elections import RIGHTS, Election, QuorumElection
from kafkalab.ui.model.links import Link
from kafkalab.ui.model.states import Tone
from kafkalab.ui.model.things import TimelineRow
from kafkalab.ui.theme.formats import format_bytes, format_count, format_ms, format_offset, join_names, plural

ROWS_MAX: Final = 200_000
ROWS_REMOVED_AT_ONCE: Final = 10_000
JOIN_WINDOW_MS: Final = 1_000.0
"""Like happenings this close to the row's first one join it."""
NAMES_SHOWN_MAX: Final = 4
CAUSES_SHOWN_MAX: Final = 3
OPEN_MAX: Final = 256
OWN_PREFIX: Final = "__kafkalab"
"""Topics that the cluster host makes for itself: nothing that a person did or could do something about."""
_UUID_TAIL: Final = re.compile(r"-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


class Timeline:
    """The rows, oldest first, bounded; remembers what changed since it was last asked."""

    def __init__(self) -> None:
        self.rows: list[TimelineRow] = []
        self.removed_total = 0
        self._removed = 0
        self._rewritten_from = -1
        self._known = 0  # number of the first row that nobody was told of

    def add(
        self, event: ev.Event, glyph: str, tone: Tone, headline: str, detail: str, link: Link, *, at_ms: float | None = None
    ) -> TimelineRow:
        """Append a row."""
        row = TimelineRow(
            number=self.removed_total + len(self.rows),
            at_ms=event.at_ms if at_ms is None else at_ms,
            glyph=glyph,
            tone=tone,
            headline=headline,
            detail=detail,
            link=link,
            kind=type(event).__name__,
            node_id=event.node_id,
        )
        self.rows.append(row)
        if len(self.rows) > ROWS_MAX:
            del self.rows[:ROWS_REMOVED_AT_ONCE]
            self.removed_total += ROWS_REMOVED_AT_ONCE
            self._removed += ROWS_REMOVED_AT_ONCE
        return row

    def rewrite(self, row: TimelineRow, headline: str, detail: str) -> None:
        """Change a row's words."""
        row.headline, row.detail = headline, detail
        row.count += 1
        if row.number < self._known and (self._rewritten_from < 0 or row.number < self._rewritten_from):
            self._rewritten_from = row.number

    def take_changes(self) -> tuple[int, int, int]:
        """Since the last call: rows removed, index from which old rows were rewritten (-1: none), rows added."""
        end = self.removed_total + len(self.rows)
        rewritten = max(self._rewritten_from - self.removed_total, 0) if self._rewritten_from >= 0 else -1
        changes = (self._removed, rewritten, end - max(self._known, self.removed_total))
        self._removed, self._rewritten_from, self._known = 0, -1, end
        return changes


class Facts(Protocol):
    """What the narrator asks the model."""

    def node_name(self, node_id: int) -> str:
        """ "broker 2"."""

    def replicas_on(self, node_id: int) -> int:
        """How many replicas a broker hosts."""

    def is_broker_only(self, node_id: int) -> bool:
        """A broker that is no controller."""

    def leader_since(self, tp: TopicPartition) -> float:
        """When the present leader was elected, -1 when that was not seen."""


@dataclass(slots=True)
class _Joined:
    row: TimelineRow
    names: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    total: int = 0


def _set(ids: Iterable[int]) -> str:
    return "{" + ",".join(str(node_id) for node_id in ids) + "}"


def _is_own(event: ev.Event) -> bool:
    return getattr(event, "topic", "").startswith(OWN_PREFIX)


def _partition_names(names: list[str]) -> str:
    """``orders-0, orders-1``; of many in one topic only how many there are."""
    topics = {name.rpartition("-")[0] for name in names}
    if len(names) > NAMES_SHOWN_MAX and len(topics) == 1:
        return f"{plural(len(names), 'partition')} of {topics.pop()}"
    return join_names(names, NAMES_SHOWN_MAX)


def _leader(node_id: int) -> str:
    return "none" if node_id < 0 else str(node_id)


def _because(cause: str) -> str:
    return f"because {cause}" if cause else ""


_ELECTED: Final = {
    "isr": "it was in the ISR",
    "elr": "an eligible leader replica: no record is lost",
    "last known leader": "the last known leader, nobody is known to have more: ",
    "unclean": "unclean: ",
    "preferred": "the preferred replica",
}
"""By what right somebody leads; where records can be lost, that follows."""


def _eligible(event: ev.PartitionChanged) -> str:
    return f"still eligible to lead: {_set(event.new_elr)}" if event.new_elr and event.new_elr != event.old_elr else ""


def _short_ids(cause: str) -> str:
    """Member ids end with a UUID, which says nothing to a person."""
    return _UUID_TAIL.sub("", cause)


def _dots(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


class Narrator:
    """Turns events into rows."""

    def __init__(self, timeline: Timeline, facts: Facts) -> None:
        self._timeline = timeline
        self._facts = facts
        self._open: dict[tuple[object, ...], _Joined] = {}
        self._rebalances: dict[str, _Joined] = {}  # under way, by group; the total is the generation they began with
        self._tellers: dict[type[ev.Event], Callable[..., None]] = {
            ev.NodeStarted: self._node_started,
            ev.NodeStopped: self._node_stopped,
            ev.NodeKilled: self._node_killed,
            ev.NodeCrashed: self._node_crashed,
            ev.NodePaused: self._node_paused,
            ev.NodeResumed: self._node_resumed,
            ev.RaftStateChanged: self._raft_state_changed,
            ev.VoteAnswered: self._vote_answered,
            ev.BrokerRegistered: self._broker_registered,
            ev.BrokerFenced: self._broker_fenced,
            ev.BrokerUnfenced: self._broker_unfenced,
            ev.TopicCreated: self._topic_created,
            ev.TopicDeleted: self._topic_deleted,
            ev.PartitionsAdded: self._partitions_added,
            ev.LogTruncated: self._log_truncated,
            ev.LogRecovered: self._log_recovered,
            ev.LogDirectoryFailed: self._directory_failed,
            ev.LogCompacted: self._log_compacted,
            ev.LogUncleanable: self._log_uncleanable,
            ev.SegmentsDeleted: self._segments_deleted,
            ev.FirstWriteAcknowledged: self._first_write,
            ev.CoordinatorLoaded: self._coordinator_loaded,
            ev.BadInput: self._bad_input,
            ev.RequestFailed: self._request_failed,
            ev.ReassignmentChanged: self._reassignment_changed,
        }

    def tell(self, event: ev.Event) -> None:
        """Write what needs no measure. Those that do have their own methods below."""
        teller = self._tellers.get(type(event))
        if teller is not None and not _is_own(event):
            teller(event)

    # --- reassignments -----------------------------------------------------------------------

    def _reassignment_changed(self, event: ev.ReassignmentChanged) -> None:
        name = f"{event.topic}-{event.partition}"
        link = Link.of_partition(event.topic, event.partition)
        if event.state in ("started", "changed"):
            moves = []
            if event.adding:
                moves.append(f"to {join_names([self._facts.node_name(node_id) for node_id in event.adding], NAMES_SHOWN_MAX)}")
            if event.removing:
                moves.append(f"away from {join_names([self._facts.node_name(node_id) for node_id in event.removing], NAMES_SHOWN_MAX)}")
            self._timeline.add(event, "⇄", Tone.ACCENT, f"{name} moves {', '.join(moves)}", event.cause, link)
            return
        what = "is back" if event.state == "taken back" else "has moved"
        self._timeline.add(event, "⇄", Tone.TEXT, f"{name} {what}: replicas {_set(event.new_replicas)}", event.cause, link)

    # --- joining -------------------------------------------------------------------------------

    def _join(self, key: tuple[object, ...], event: ev.Event) -> _Joined | None:
        joined = self._open.get(key)
        if joined is not None and 0 <= event.at_ms - joined.row.at_ms <= JOIN_WINDOW_MS:
            return joined
        return None

    def _keep(self, key: tuple[object, ...], row: TimelineRow, name: str, other: str = "", total: int = 1) -> None:
        if len(self._open) > OPEN_MAX:
            # Only the latest rows can be joined, so the older half can go.
            for old in list(self._open)[:128]:
                del self._open[old]
        self._open[key] = _Joined(row, [name], [other], total)

    # --- with a measure ------------------------------------------------------------------------

    def quorum_leader_elected(self, event: ev.QuorumLeaderElected, election: QuorumElection) -> None:
        """A controller won."""
        gap_ms = election.gap_ms
        votes = f"votes of {', '.join(str(voter) for voter in event.votes)}" if event.votes else ""
        gap = f"nobody led for {format_ms(gap_ms)}" if gap_ms >= 0 else ""
        headline = f"{self._facts.node_name(event.node_id)} leads the quorum, epoch {event.epoch}"
        self._timeline.add(event, "♛", Tone.ACCENT, headline, _dots(election.cause, votes, gap), Link.node(event.node_id))

    def partition_changed(self, event: ev.PartitionChanged, election: Election | None) -> None:
        """A leader, ISR or ELR changed; ``election`` is what came of a leader's change."""
        if _is_own(event):
            return
        if event.old_leader != event.new_leader:
            self._leader_changed(event, election)
        elif event.old_isr != event.new_isr:
            self._isr_changed(event)
        elif event.old_elr != event.new_elr:
            self._elr_changed(event)

    def _leader_changed(self, event: ev.PartitionChanged, election: Election | None) -> None:
        name = f"{event.topic}-{event.partition}"
        # Internal topics have many partitions that nobody asked for: they do not crowd out the others.
        lost = event.new_leader < 0
        key: tuple[object, ...] = ("leader", event.cause, event.election, lost, event.topic if event.topic.startswith("__") else "")
        first = self._join(key, event)
        if first is not None:
            self._more_leaders_changed(event, name, first)
            return
        isr = f", ISR {_set(event.old_isr)} → {_set(event.new_isr)}" if event.old_isr != event.new_isr else ""
        epochs = f"epoch {event.old_leader_epoch} → {event.new_leader_epoch}"
        if lost:
            headline = f"{name} has no leader, {epochs}{isr}"
        else:
            headline = f"{name} leader {_leader(event.old_leader)} → {event.new_leader}, {epochs}{isr}"
        gap = f"leaderless for {format_ms(election.gap_ms)}" if election is not None and election.gap_ms >= 0 else ""
        right = _ELECTED.get(event.election, "")
        if right.endswith(": "):
            right += "records may be lost" if election is None else election.loss_words
        tone = RIGHTS[event.election].tone if event.election in RIGHTS else Tone.TEXT
        row = self._timeline.add(
            event,
            "✕" if lost else "★",
            Tone.ERROR if lost else tone,
            headline,
            _dots(_because(event.cause), gap, right, _eligible(event)),
            Link.of_partition(event.topic, event.partition),
        )
        self._keep(key, row, name)

    def _more_leaders_changed(self, event: ev.PartitionChanged, name: str, first: _Joined) -> None:
        key = ("leaders", first.row.number)
        more = self._open.get(key)
        if more is None:
            row = self._timeline.add(event, first.row.glyph, first.row.tone, "", "", Link.of_partition(event.topic, event.partition))
            row.count = 0
            self._keep(key, row, name, _leader(event.new_leader), 0)
            more = self._open[key]
        else:
            more.names.append(name)
            more.others.append(_leader(event.new_leader))
        more.total += 1
        who = _partition_names(more.names)
        if event.new_leader < 0:
            headline = f"{who}: no leader"
        elif len(more.names) <= NAMES_SHOWN_MAX:
            headline = f"{who}: new {'leaders' if more.total > 1 else 'leader'} {', '.join(more.others)}"
        else:
            headline = f"{who}: new leaders"
        count = plural(more.total, "partition" if event.new_leader < 0 else "election")
        self._timeline.rewrite(more.row, headline, f"same cause · {count}")

    def _isr_changed(self, event: ev.PartitionChanged) -> None:
        name = f"{event.topic}-{event.partition}"
        came = tuple(node for node in event.new_isr if node not in event.old_isr)
        left = tuple(node for node in event.old_isr if node not in event.new_isr)
        key: tuple[object, ...] = ("isr", came, left, event.cause, event.topic if event.topic.startswith("__") else "")
        joined = self._join(key, event)
        if joined is None:
            grew = bool(came) and not left
            row = self._timeline.add(
                event,
                "●" if grew else "○",
                Tone.OK if grew else Tone.WARN,
                f"{name} ISR {_set(event.old_isr)} → {_set(event.new_isr)}",
                _dots(event.cause, _eligible(event)),
                Link.of_partition(event.topic, event.partition),
            )
            self._keep(key, row, name)
            return
        joined.names.append(name)
        moves = []
        if came:
            moves.append(f"{', '.join(map(self._facts.node_name, came))} joined the ISR")
        if left:
            moves.append(f"{', '.join(map(self._facts.node_name, left))} left the ISR")
        headline = f"{_partition_names(joined.names)}: {', '.join(moves)}"
        self._timeline.rewrite(joined.row, headline, _dots(event.cause, plural(len(joined.names), "partition")))

    def _elr_changed(self, event: ev.PartitionChanged) -> None:
        """Who may lead besides the ISR changed, and nothing else did."""
        name = f"{event.topic}-{event.partition}"
        shrank = len(event.new_elr) < len(event.old_elr)
        self._timeline.add(
            event,
            "▲" if shrank else "●",
            Tone.WARN if shrank else Tone.TEXT,
            f"{name} ELR {_set(event.old_elr)} → {_set(event.new_elr)}",
            event.cause,
            Link.of_partition(event.topic, event.partition),
        )

    def group_state_changed(self, event: ev.GroupStateChanged, unowned_ms: float) -> None:
        """A group moved on; ``unowned_ms`` is how long its rebalance took, -1 when none ended here."""
        if event.new_state in ("PreparingRebalance", "CompletingRebalance"):
            self._rebalance_goes_on(event)
            return
        self._rebalances.pop(event.group_id, None)
        stable = event.new_state == "Stable"
        headline = f"{event.group_id} {event.old_state} → {event.new_state}, generation {event.generation}"
        measure = f"rebalance took {format_ms(unowned_ms)}" if unowned_ms >= 0 else ""
        self._timeline.add(
            event,
            "●" if stable else "◌",
            Tone.OK if stable else Tone.MUTED,
            headline,
            _dots(_short_ids(event.cause), plural(event.members, "member"), measure),
            Link.group(event.group_id),
        )

    def group_state_held(self, event: ev.GroupStateChanged) -> None:
        """What a coordinator still believes that was replaced without hearing of it: told, and not taken for so."""
        name = self._facts.node_name(event.node_id)
        headline = f"{name}, which is fenced, holds {event.group_id} for {event.new_state}, generation {event.generation}"
        self._timeline.add(event, "▲", Tone.MUTED, headline, _short_ids(event.cause), Link.node(event.node_id))

    def _rebalance_goes_on(self, event: ev.GroupStateChanged) -> None:
        """However often members join before it is done, a rebalance has one row for its course, and one for its end."""
        cause = _short_ids(event.cause)
        begun = self._rebalances.get(event.group_id)
        if begun is None:
            headline = f"{event.group_id} {event.old_state} → {event.new_state}, generation {event.generation}"
            detail = _dots(cause, plural(event.members, "member"))
            row = self._timeline.add(event, "◌", Tone.TEXT, headline, detail, Link.group(event.group_id))
            if len(self._rebalances) >= OPEN_MAX:
                self._rebalances.pop(next(iter(self._rebalances)))
            self._rebalances[event.group_id] = _Joined(row, [cause], total=event.generation)
            return
        # That all have come is no cause of its own.
        if event.new_state == "PreparingRebalance" and cause and cause not in begun.names:
            begun.names.append(cause)
        generations = f"{begun.total} → {event.generation}" if event.generation != begun.total else f"{event.generation}"
        detail = _dots(join_names(begun.names, CAUSES_SHOWN_MAX), plural(event.members, "member"))
        self._timeline.rewrite(begun.row, f"{event.group_id} rebalances, generation {generations}", detail)

    # --- nodes ---------------------------------------------------------------------------------

    def _node_started(self, event: ev.NodeStarted) -> None:
        name = self._facts.node_name(event.node_id)
        pid = f"process {event.pid}" if event.pid > 0 else ""
        self._timeline.add(event, "▸", Tone.TEXT, f"{name} started", _dots(event.address, pid), Link.node(event.node_id))

    def _node_stopped(self, event: ev.NodeStopped) -> None:
        name = self._facts.node_name(event.node_id)
        self._timeline.add(event, "■", Tone.TEXT, f"{name} stopped", _dots(event.cause, "controlled shutdown"), Link.node(event.node_id))

    def _node_killed(self, event: ev.NodeKilled) -> None:
        self._node_gone(event, "killed", event.cause, "process gone")

    def _node_crashed(self, event: ev.NodeCrashed) -> None:
        self._node_gone(event, "crashed", event.cause, "")

    def _node_gone(self, event: ev.Event, word: str, cause: str, how: str) -> None:
        replicas = self._facts.replicas_on(event.node_id)
        loss = f"{plural(replicas, 'replica')} offline" if replicas else ""
        name = self._facts.node_name(event.node_id)
        consequence = ", ".join(part for part in (how, loss) if part)
        self._timeline.add(event, "✕", Tone.ERROR, f"{name} {word}", _dots(cause, consequence), Link.node(event.node_id))

    def _node_paused(self, event: ev.NodePaused) -> None:
        name = self._facts.node_name(event.node_id)
        self._timeline.add(event, "‖", Tone.WARN, f"{name} paused", event.cause, Link.node(event.node_id))

    def _node_resumed(self, event: ev.NodeResumed) -> None:
        name = self._facts.node_name(event.node_id)
        self._timeline.add(event, "▸", Tone.OK, f"{name} resumed", event.cause, Link.node(event.node_id))

    # --- quorum --------------------------------------------------------------------------------

    def _raft_state_changed(self, event: ev.RaftStateChanged) -> None:
        # The win itself has its own row, and a broker only follows.
        if event.new_state == "leader" or self._facts.is_broker_only(event.node_id):
            return
        name = self._facts.node_name(event.node_id)
        states = event.new_state if event.old_state == event.new_state else f"{event.old_state} → {event.new_state}"
        headline = f"{name} {states}, epoch {event.epoch}"
        self._timeline.add(event, "◌", Tone.MUTED, headline, event.cause, Link.node(event.node_id))

    def _vote_answered(self, event: ev.VoteAnswered) -> None:
        key: tuple[object, ...] = ("vote", event.candidate_id, event.epoch, event.granted, event.pre_vote)
        verb = ("would vote" if event.pre_vote else "voted") if event.granted else "refused"
        joined = self._join(key, event)
        if joined is None:
            headline = f"{event.node_id} {verb} {'for ' if event.granted else ''}{event.candidate_id}, epoch {event.epoch}"
            row = self._timeline.add(
                event, "✓" if event.granted else "✕", Tone.MUTED, headline, "pre-vote" if event.pre_vote else "vote", Link.quorum()
            )
            self._keep(key, row, str(event.node_id))
            return
        if str(event.node_id) in joined.names:
            return
        joined.names.append(str(event.node_id))
        headline = f"{', '.join(joined.names)} {verb} {'for ' if event.granted else ''}{event.candidate_id}, epoch {event.epoch}"
        self._timeline.rewrite(joined.row, headline, joined.row.detail)

    # --- brokers and topics --------------------------------------------------------------------

    def _broker_registered(self, event: ev.BrokerRegistered) -> None:
        name = self._facts.node_name(event.broker_id)
        self._timeline.add(
            event, "◌", Tone.MUTED, f"{name} registered", f"broker epoch {format_count(event.broker_epoch)}", Link.node(event.broker_id)
        )

    def _broker_fenced(self, event: ev.BrokerFenced) -> None:
        by = self._facts.node_name(event.node_id) if event.node_id >= 0 else ""
        name = self._facts.node_name(event.broker_id)
        self._timeline.add(event, "▲", Tone.WARN, f"{name} fenced", _dots(by, event.cause), Link.node(event.broker_id))

    def _broker_unfenced(self, event: ev.BrokerUnfenced) -> None:
        by = self._facts.node_name(event.node_id) if event.node_id >= 0 else ""
        name = self._facts.node_name(event.broker_id)
        self._timeline.add(event, "●", Tone.OK, f"{name} in service", _dots(by, "unfenced"), Link.node(event.broker_id))

    def _topic_created(self, event: ev.TopicCreated) -> None:
        shape = f"{plural(event.partitions, 'partition')} × {plural(event.replication_factor, 'replica')}"
        self._timeline.add(event, "✓", Tone.TEXT, f"topic {event.topic} created", shape, Link.topic(event.topic))

    def _topic_deleted(self, event: ev.TopicDeleted) -> None:
        self._timeline.add(event, "✕", Tone.TEXT, f"topic {event.topic} deleted", "", Link.topic(event.topic))

    def _partitions_added(self, event: ev.PartitionsAdded) -> None:
        headline = f"topic {event.topic}: {format_count(event.old_count)} → {plural(event.new_count, 'partition')}"
        self._timeline.add(event, "✓", Tone.TEXT, headline, "", Link.topic(event.topic))

    # --- replicas ------------------------------------------------------------------------------

    def _log_truncated(self, event: ev.LogTruncated) -> None:
        name = f"{event.topic}-{event.partition}"
        records = event.from_offset - event.to_offset
        headline = f"{name} on {self._facts.node_name(event.node_id)}: log cut back to {format_offset(event.to_offset)}"
        self._timeline.add(
            event,
            "▲",
            Tone.WARN,
            headline,
            _dots(event.cause, f"{plural(records, 'record')} removed"),
            Link.replica(event.topic, event.partition, event.node_id),
        )
        # Who joins an ISR from here on has been cut before: that belongs below this row, not into one above it.
        for key in [key for key in self._open if key[0] == "isr"]:
            del self._open[key]

    def _log_recovered(self, event: ev.LogRecovered) -> None:
        key: tuple[object, ...] = ("recovered", event.node_id)
        name = self._facts.node_name(event.node_id)
        joined = self._join(key, event)
        if joined is None:
            headline = f"{name} recovered the log of {event.topic}-{event.partition}"
            row = self._timeline.add(event, "✓", Tone.TEXT, headline, _cut(event.cut_bytes), Link.node(event.node_id))
            self._keep(key, row, name, total=event.cut_bytes)
            return
        joined.names.append(name)
        joined.total += event.cut_bytes
        self._timeline.rewrite(joined.row, f"{name} recovered {plural(len(joined.names), 'log')}", _cut(joined.total))

    def _directory_failed(self, event: ev.LogDirectoryFailed) -> None:
        headline = f"{self._facts.node_name(event.node_id)} lost a log directory with {plural(event.replicas, 'replica')}"
        self._timeline.add(event, "✕", Tone.ERROR, headline, event.cause, Link.node(event.node_id))

    def _log_compacted(self, event: ev.LogCompacted) -> None:
        name = f"{event.topic}-{event.partition}"
        key: tuple[object, ...] = ("compacted", event.node_id)
        saved = event.bytes_before - event.bytes_after
        joined = self._join(key, event)
        if joined is None:
            node = self._facts.node_name(event.node_id)
            detail = _dots(
                f"{format_bytes(event.bytes_before)} became {format_bytes(event.bytes_after)}",
                f"{format_count(event.records_dropped)} records dropped",
            )
            row = self._timeline.add(
                event, "▼", Tone.TEXT, f"{name} on {node} compacted", detail, Link.of_partition(event.topic, event.partition)
            )
            self._keep(key, row, name, total=saved)
            return
        joined.names.append(name)
        joined.total += saved
        headline = f"{self._facts.node_name(event.node_id)} compacted {join_names(list(dict.fromkeys(joined.names)))}"
        self._timeline.rewrite(joined.row, headline, f"{format_bytes(joined.total)} saved")

    def _log_uncleanable(self, event: ev.LogUncleanable) -> None:
        name = f"{event.topic}-{event.partition}"
        headline = f"{name} on {self._facts.node_name(event.node_id)} is not compacted any more"
        self._timeline.add(event, "▲", Tone.WARN, headline, event.cause, Link.of_partition(event.topic, event.partition))

    def _segments_deleted(self, event: ev.SegmentsDeleted) -> None:
        name = f"{event.topic}-{event.partition}"
        key: tuple[object, ...] = ("segments deleted", event.node_id, event.cause)
        joined = self._join(key, event)
        if joined is None:
            node = self._facts.node_name(event.node_id)
            headline = f"{name} on {node}: {plural(event.count, 'old segment')} deleted, log start {format_offset(event.log_start_offset)}"
            detail = _dots(event.cause, format_bytes(event.size_bytes))
            row = self._timeline.add(event, "▼", Tone.TEXT, headline, detail, Link.of_partition(event.topic, event.partition))
            self._keep(key, row, name, total=event.size_bytes)
            return
        joined.names.append(name)
        joined.total += event.size_bytes
        headline = f"{self._facts.node_name(event.node_id)} deleted old segments of {join_names(list(dict.fromkeys(joined.names)))}"
        self._timeline.rewrite(joined.row, headline, _dots(event.cause, format_bytes(joined.total)))

    def _first_write(self, event: ev.FirstWriteAcknowledged) -> None:
        who = event.client_id or "a client"
        key: tuple[object, ...] = ("first write", who)
        place = f"{event.topic}-{event.partition} @ {format_offset(event.offset)}"
        joined = self._join(key, event)
        if joined is None:
            since = self._facts.leader_since(TopicPartition(event.topic, event.partition))
            after = f"{format_ms(event.at_ms - since)} after the election" if 0 <= since <= event.at_ms else ""
            row = self._timeline.add(
                event,
                "✓",
                Tone.OK,
                f"{who}: first write acknowledged",
                _dots(place, after),
                Link.of_partition(event.topic, event.partition),
            )
            self._keep(key, row, place)
            return
        joined.names.append(place)
        detail = join_names(joined.names, 3)
        self._timeline.rewrite(joined.row, f"{who}: first writes to {plural(len(joined.names), 'partition')} acknowledged", detail)

    def _coordinator_loaded(self, event: ev.CoordinatorLoaded) -> None:
        key: tuple[object, ...] = ("coordinator", event.node_id)
        name = self._facts.node_name(event.node_id)
        joined = self._join(key, event)
        if joined is None:
            contents = f"{plural(event.groups, 'group')}, {plural(event.offsets, 'offset')} in {format_ms(event.took_ms)}"
            row = self._timeline.add(
                event,
                "✓",
                Tone.MUTED,
                f"{name} coordinates the groups of __consumer_offsets-{event.partition}",
                contents,
                Link.of_partition("__consumer_offsets", event.partition),
            )
            self._keep(key, row, str(event.partition), total=event.groups)
            return
        joined.names.append(str(event.partition))
        joined.total += event.groups
        headline = f"{name} coordinates the groups of {len(joined.names)} partitions of __consumer_offsets"
        self._timeline.rewrite(joined.row, headline, plural(joined.total, "group"))

    # --- clients -------------------------------------------------------------------------------

    def _bad_input(self, event: ev.BadInput) -> None:
        key: tuple[object, ...] = ("bad input", event.node_id, event.reason)
        name = self._facts.node_name(event.node_id)
        joined = self._join(key, event)
        words = event.reason.replace("_", " ")
        if joined is None:
            row = self._timeline.add(event, "▲", Tone.WARN, f"{name} refused {event.peer}: {words}", event.detail, Link.node(event.node_id))
            self._keep(key, row, event.peer)
            return
        joined.total += 1
        self._timeline.rewrite(joined.row, f"{name} refused input {joined.total} times: {words}", event.detail)

    def _request_failed(self, event: ev.RequestFailed) -> None:
        name = self._facts.node_name(event.node_id)
        headline = f"{name} could not answer {event.api}: UNKNOWN_SERVER_ERROR (-1)"
        self._timeline.add(event, "✕", Tone.ERROR, headline, event.detail, Link.node(event.node_id))


def _cut(cut_bytes: int) -> str:
    return f"{format_bytes(cut_bytes)} of torn tail removed" if cut_bytes else "nothing was torn"
