"""Bugs that are planted, to see that the simulator finds them: a judge who never finds anybody guilty is none.

Each replaces methods of the engine's cores while it is planted, and nothing else; the product knows nothing of
it. Where a method is replaced, the replacement does what somebody could well have written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from unittest.mock import patch
from weakref import WeakKeyDictionary

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.controller import partition_change
from kafkalab.engine.controller.brokers import BrokerLifecycles
from kafkalab.engine.controller.controller import QuorumController
from kafkalab.engine.controller.elections import Elections
from kafkalab.engine.controller.isr import IsrChanges
from kafkalab.engine.controller.operation import Plan
from kafkalab.engine.controller.partition_change import Election
from kafkalab.engine.controller.sessions import BrokerSessions
from kafkalab.engine.coordinator import runtime
from kafkalab.engine.coordinator.group.classic import ClassicGroup
from kafkalab.engine.log import log as log_module
from kafkalab.engine.log import recovery, retention
from kafkalab.engine.log.cleaner import LogCleaner
from kafkalab.engine.log.producer_state import ProducerState
from kafkalab.engine.metadata import snapshot_generator
from kafkalab.engine.metadata.image_writer import image_records
from kafkalab.engine.metadata.snapshot_generator import SnapshotGenerator
from kafkalab.engine.protocol.coordinator_records import OffsetCommitKey
from kafkalab.engine.raft.node import RaftNode
from kafkalab.engine.raft.snapshotted_log import SnapshottedLog
from kafkalab.engine.raft.states import LeaderState, ProspectiveState, UnattachedState
from kafkalab.engine.replica.delayed import FetchItem, FetchOperation
from kafkalab.engine.replica.manager import ReplicaManager
from kafkalab.engine.replica.partition import HAS_DATA, NOTHING_NEW, Partition
from kafkalab.engine.simulation.run import Outcomes, RunSettings

Change = tuple[Any, str, Any]
"""Whose attribute is replaced, its name, and by what."""

SHORT: Final = RunSettings(minutes=0.5, partitions=4, producers=2, members=0)
"""Much comes together in little time; what goes wrong is left to the seed."""
GROUPS: Final = RunSettings(minutes=0.5, partitions=4, producers=2, members=2)


@dataclass(frozen=True)
class PlantedBug:
    """One bug.

    :ivar what: what it does, in a sentence.
    :ivar changes: makes the replacements; those of each planting are its own.
    :ivar seed: one that finds it, and is right without it.
    :ivar found_by: what may be said of it: the run is to be wrong in one of these ways.
    """

    name: str
    what: str
    changes: Callable[[], Sequence[Change]]
    seed: int
    found_by: frozenset[str]
    settings: RunSettings = SHORT


def findings(outcomes: Outcomes) -> list[str]:
    """What is wrong with a run, in the words of the invariants and of the history's checker."""
    failed = [] if outcomes.failure is None else [outcomes.failure.kind]
    return failed + [anomaly.kind for anomaly in outcomes.anomalies]


@contextmanager
def planted(bug: PlantedBug) -> Iterator[None]:
    """Have the bug in the engine, for as long as this lasts."""
    with ExitStack() as stack:
        for owner, name, replacement in bug.changes():
            assert hasattr(owner, name), f"{owner} has no {name} any more"
            stack.enter_context(patch.object(owner, name, replacement))
        yield


# --- replication -------------------------------------------------------------------------------------------


def _ack_before_replication() -> Sequence[Change]:
    right = ReplicaManager.append

    def append(self: Any, entries: Any, acks: int, timeout_ms: Any, respond: Any, client_id: str | None = "") -> None:
        right(self, entries, 1 if client_id is not None else acks, timeout_ms, respond, client_id)

    return [(ReplicaManager, "append", append)]


def _truncate_to_high_watermark() -> Sequence[Change]:
    right = Partition.become_follower

    def become_follower(self: Partition, registration: Any) -> bool:
        is_new = right(self, registration)
        if is_new and self.log.log_end_offset > self.high_watermark:
            self.truncate_to(self.high_watermark)
        return is_new

    return [(Partition, "become_follower", become_follower)]


def _divergence_not_told() -> Sequence[Change]:
    return [(Partition, "_diverging", lambda self, item: None)]


def _high_watermark_moves_back() -> Sequence[Change]:
    right = Partition.maybe_advance_high_watermark

    def advance(self: Partition, now_ms: float) -> bool:
        if not self.is_leader or len(self.isr) < self.min_isr:
            return False
        ends = [one.log_end_offset for one in self.remotes.values() if one.log_end_offset >= 0]
        lowest = min([self.log.log_end_offset, *ends])
        if self.log.log_start_offset <= lowest < self.high_watermark:
            self.high_watermark = lowest
            return True
        return right(self, now_ms)

    return [(Partition, "maybe_advance_high_watermark", advance)]


def _joining_replica_not_waited_for() -> Sequence[Change]:
    right = Partition._propose

    def propose(self: Partition, isr: tuple[int, ...], joining: int | None) -> None:
        right(self, isr, joining)
        self._set_maximal(frozenset(self.isr))

    return [(Partition, "_propose", propose), (Partition, "_is_about_to_join", lambda self, replica, log_end, now_ms: False)]


def _joins_isr_while_behind() -> Sequence[Change]:
    def expand(self: Partition, replica: Any, now_ms: float) -> None:
        if self.pending is None and not replica.in_maximal_isr and self._host.is_isr_eligible(replica.broker_id, replica.broker_epoch):
            self._propose((*self.isr, replica.broker_id), replica.broker_id)

    return [(Partition, "maybe_expand_isr", expand)]


def _read_beyond_high_watermark() -> Sequence[Change]:
    right_read, right_note = Partition.read, Partition.note_consumer_fetch

    def read(self: Partition, fetch: FetchOperation, item: FetchItem, max_bytes: int, min_one: bool) -> Any:
        high_watermark = self.high_watermark
        if not fetch.is_follower:
            self.high_watermark = self.log.log_end_offset
        try:
            return right_read(self, fetch, item, max_bytes, min_one)
        finally:
            self.high_watermark = high_watermark

    def note_consumer_fetch(self: Partition, fetch: FetchOperation, item: FetchItem) -> int:
        found = right_note(self, fetch, item)
        return HAS_DATA if found == NOTHING_NEW and item.fetch_offset < self.log.log_end_offset else found

    return [(Partition, "read", read), (Partition, "note_consumer_fetch", note_consumer_fetch)]


def _high_watermark_beyond_log() -> Sequence[Change]:
    def follow(self: Partition, leader_high_watermark: int) -> None:
        if leader_high_watermark > self.high_watermark:
            self.high_watermark = leader_high_watermark
            self._wake_consumers()

    return [(Partition, "follow_high_watermark", follow)]


def _session_forgets_partition() -> Sequence[Change]:
    right = Partition.touch_followers

    def touch(self: Partition) -> list[FetchOperation]:
        away = [item.tracker for item in self.tracked if item.tracker is not None and item.tracker.waiting is None]
        known = [dict(tracker.dirty) for tracker in away]
        waiting = right(self)
        for tracker, dirty in zip(away, known, strict=True):
            tracker.dirty = dirty
        return waiting

    return [(Partition, "touch_followers", touch)]


# --- producers and logs --------------------------------------------------------------------------------------


def _producers_forgotten_on_restart() -> Sequence[Change]:
    right = recovery._load_producers

    def load(storage: Any, directory: Any, loaded: Any) -> None:
        right(storage, directory, loaded)
        loaded.producer_state.clear()

    return [(recovery, "_load_producers", load)]


def _followers_do_not_know_producers() -> Sequence[Change]:
    return [(ProducerState, "update_from", lambda self, header, data, pos=0: None)]


def _producer_ids_given_twice() -> Sequence[Change]:
    right = QuorumController._plan_producer_ids

    def plan(self: QuorumController, request: Any) -> Plan:
        found = right(self, request)
        found.records = []
        return found

    return [(QuorumController, "_plan_producer_ids", plan)]


def _torn_batches_accepted() -> Sequence[Change]:
    return [(recovery, "validate", lambda data, pos, header: None)]


# --- the quorum ------------------------------------------------------------------------------------------------


def _two_votes_in_an_epoch() -> Sequence[Change]:
    return [(UnattachedState, "grants_vote", lambda self, candidate_id, *, is_log_up_to_date, is_pre_vote: is_log_up_to_date)]


def _vote_written_late() -> Sequence[Change]:
    right = RaftNode._persist

    def persist(self: Any, state: Any) -> None:
        if isinstance(state, UnattachedState):
            # Whatever the state is by then.
            self._clock.call_later(5.0, lambda: right(self, self._state))
        else:
            right(self, state)

    return [(RaftNode, "_persist", persist)]


def _votes_for_short_logs() -> Sequence[Change]:
    changes: list[Change] = []
    for state in (UnattachedState, ProspectiveState):
        right = state.grants_vote

        def grants(self: Any, candidate_id: int, *, is_log_up_to_date: bool, is_pre_vote: bool, right: Any = right) -> bool:
            return bool(right(self, candidate_id, is_log_up_to_date=True, is_pre_vote=is_pre_vote))

        changes.append((state, "grants_vote", grants))
    return changes


def _commit_with_the_minority() -> Sequence[Change]:
    def committed_end(self: LeaderState) -> int | None:
        end = max([self.flushed_end_offset, *(one.end_offset for one in self.voters.values())])
        return end if end > self.epoch_start_offset else None

    right = RaftNode._append_and_flush

    def append(self: Any, state: LeaderState, data: bytes, *, is_control: bool = False) -> int:
        last_offset = right(self, state, data, is_control=is_control)
        self._clock.call_later(0, self._maybe_commit)
        return last_offset

    return [(LeaderState, "committed_end", committed_end), (RaftNode, "_append_and_flush", append)]


def _metadata_not_synced() -> Sequence[Change]:
    return [(SnapshottedLog, "flush", lambda self: None)]


def _snapshot_lacks_last_delta() -> Sequence[Change]:
    right_publish, right_begin, right_records = SnapshotGenerator.publish, SnapshotGenerator._begin, image_records
    before: WeakKeyDictionary[SnapshotGenerator, Any] = WeakKeyDictionary()
    writing: list[Any] = []

    def publish(self: SnapshotGenerator, delta: Any, image: Any) -> None:
        right_publish(self, delta, image)
        before[self] = image.copy()

    def begin(self: SnapshotGenerator, image: Any, why: str) -> None:
        writing.append(before.get(self))
        right_begin(self, image, why)
        writing.clear()

    def records(frozen: Any) -> Any:
        return right_records(writing[0] if writing and writing[0] is not None else frozen)

    return [
        (SnapshotGenerator, "publish", publish),
        (SnapshotGenerator, "_begin", begin),
        (snapshot_generator, "image_records", records),
    ]


# --- the controller --------------------------------------------------------------------------------------------


def _fences_too_late() -> Sequence[Change]:
    right = BrokerSessions.__init__

    def init(self: Any, clock: Any, *, timeout_ms: float, on_expired: Any) -> None:
        right(self, clock, timeout_ms=10.0 * timeout_ms, on_expired=on_expired)

    return [(BrokerSessions, "__init__", init)]


def _fenced_stays_in_isr() -> Sequence[Change]:
    right = BrokerLifecycles._fence

    def fence(self: Any, broker: Any, cause: str, silent_ms: float = 0.0) -> Plan:
        plan = right(self, broker, cause, silent_ms)
        plan.records = plan.records[-1:]
        return plan

    return [(BrokerLifecycles, "_fence", fence)]


def _isr_joined_with_stale_epoch() -> Sequence[Change]:
    right = ReplicaManager.is_isr_eligible

    def is_eligible(self: Any, broker_id: int, broker_epoch: int) -> bool:
        return right(self, broker_id, -1)

    return [
        (IsrChanges, "_check_members", lambda self, wanted: None),
        (ReplicaManager, "is_isr_eligible", is_eligible),
        (Partition, "_is_stale", lambda self, fetch: False),
    ]


def _eligible_leaders_lost() -> Sequence[Change]:
    def keep(self: Any) -> None:
        self._elr = ()

    return [(partition_change._Change, "_keep_eligible", keep)]


def _unclean_elections() -> Sequence[Change]:
    return [(Elections, "election_for", lambda self, topic_name: Election.UNCLEAN)]


def _leader_epochs_not_checked() -> Sequence[Change]:
    right_check, right_note = Partition.check_leader_epoch, Partition.note_follower_fetch

    def note(self: Partition, fetch: FetchOperation, item: FetchItem, now_ms: float) -> int:
        told, item.current_leader_epoch = item.current_leader_epoch, -1
        try:
            return right_note(self, fetch, item, now_ms)
        finally:
            item.current_leader_epoch = told

    def check(self: Partition, current_leader_epoch: int) -> None:
        right_check(self, -1)

    return [
        (Partition, "check_leader_epoch", check),
        (Partition, "note_follower_fetch", note),
        (Partition, "_diverging", lambda self, item: None),
    ]


def _alter_partition_unchecked() -> Sequence[Change]:
    def check(self: IsrChanges, broker_id: int, partition: Any, data: Any, isr: tuple[int, ...]) -> None:
        if broker_id != partition.leader or partition.leader not in isr or not set(isr) <= set(partition.replicas):
            raise ApiError(Errors.INVALID_REQUEST)

    return [(IsrChanges, "_check", check)]


# --- groups ----------------------------------------------------------------------------------------------------


def _commit_acknowledged_before_replication() -> Sequence[Change]:
    right = runtime.ShardLog.write

    def write(self: Any, records: Any, *, apply: Any = None, answer: Any = runtime._nobody) -> None:
        if records and isinstance(records[0][0], OffsetCommitKey) and not self._is_closed:
            right(self, records, apply=apply)
            answer(Errors.NONE)
        else:
            right(self, records, apply=apply, answer=answer)

    return [(runtime.ShardLog, "write", write)]


def _generations_unchecked() -> Sequence[Change]:
    right = ClassicGroup.validate_offset_commit

    def validate(self: ClassicGroup, member_id: str, instance_id: str | None, generation: int) -> None:
        right(self, member_id, instance_id, self.generation if generation >= 0 else generation)

    return [(ClassicGroup, "validate_offset_commit", validate)]


# --- what vanishes lawfully --------------------------------------------------------------------------------------


def _compacted_names_not_synced() -> Sequence[Change]:
    right = LogCleaner._wait_for

    def wait_for(self: Any, step: Any) -> None:
        with patch.object(self._storage, "sync_dir_later", lambda path, done: done(None)):
            right(self, step)

    return [(LogCleaner, "_wait_for", wait_for)]


def _retention_too_short() -> Sequence[Change]:
    right = retention.expired_segments

    def expired(segments: Any, config: Any, **where: Any) -> Any:
        if config.retention_ms > 0:
            config = replace(config, retention_ms=max(0, config.retention_ms - 4_000))
        return right(segments, config, **where)

    return [(log_module, "expired_segments", expired)]


CONTROLLERS: Final = replace(
    SHORT,
    partitions=2,
    producers=1,
    kinds=("kill_controller", "power_loss_controller", "pause", "isolate", "cut", "cut_pair", "delay", "kill", "create_topic"),
)
"""Trouble for the quorum, with something to write down."""
CONTROLLER_POWER: Final = replace(CONTROLLERS, kinds=("power_loss_controller",))
LAGGING: Final = replace(SHORT, partitions=2, rate=60.0, kinds=("kill", "delay", "slow", "pause", "power_loss", "cut_pair"))
"""Followers that are behind for a while."""
IN_SMALL_PIECES: Final = replace(LAGGING, config={"replica.fetch.max.bytes": "200", "replica.fetch.response.max.bytes": "400"})
PARTITIONED: Final = replace(
    SHORT,
    partitions=2,
    kinds=("isolate", "cut_pair", "kill", "pause"),
    config={"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "500"},
)
"""Leaders that go on writing what nobody copies, and are succeeded."""
POWER: Final = replace(SHORT, kinds=("power_loss", "kill", "delay", "cut_pair"))
SNAPSHOTS: Final = replace(
    SHORT,
    config={
        "metadata.log.max.record.bytes.between.snapshots": "5000",
        "metadata.max.retention.bytes": "20000",
        "internal.metadata.log.segment.bytes": "8192",
    },
)
SESSIONS: Final = replace(
    SHORT, kinds=("kill", "stop", "power_loss"), config={"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "500"}
)

CATCHING_UP: Final = replace(SHORT, partitions=2, rate=20.0, kinds=("kill", "kill_controller", "delay", "slow", "pause"))
QUIET: Final = replace(
    SHORT,
    partitions=8,
    rate=1.0,
    kinds=("power_loss", "cut_pair", "delay", "slow"),
    config={"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "500"},
)
"""Partitions in which nothing is written for a while."""

VOTES: Final = replace(SHORT, partitions=2, producers=1, controllers=5, kinds=("kill_voter",))
"""Voters that die with their answer."""
CLOSE_RACES: Final = replace(VOTES, kinds=("race_votes",))
"""Several who stand in one epoch."""
ISR_RACES: Final = replace(SHORT, partitions=4, producers=1, kinds=("race_isr",), config={"replica.lag.time.max.ms": "2000"})
"""Partitions that change while their leaders' wishes are on their way."""
LATE_COMMITS: Final = replace(GROUPS, is_wide=True, kinds=("stall_member", "kill"))
VANISHING: Final = replace(SHORT, partitions=2, producers=1, is_wide=True, kinds=("kill", "pause", "delete_records"))
VANISHING_POWER: Final = replace(VANISHING, kinds=("power_loss", "cut_pair"))

_UNSAFE_LEADER: Final = frozenset({"candidate lacks committed records", "committed records lost"})
_TWO_HISTORIES: Final = frozenset({"lost write", "inconsistent offset", "unseen"})
_PRODUCER_UNKNOWN: Final = frozenset({"duplicate", "reordered"})
_LOGS_PART: Final = frozenset({"logs differ"})
_STAYS_APART: Final = _LOGS_PART | {"not in time"}
"""Followers write on behind what is not their leader's, or cannot: then they never catch up."""
_METADATA_PARTS: Final = frozenset({"metadata logs differ", "committed metadata lost"})

BUGS: Final = (
    PlantedBug("ack before replication", "acks=all is answered as acks=1 is", _ack_before_replication, 1, _TWO_HISTORIES),
    PlantedBug(
        "truncate to HW",
        "a new follower cuts its log at its own high watermark (before KIP-101)",
        _truncate_to_high_watermark,
        2,
        _UNSAFE_LEADER,
        PARTITIONED,
    ),
    PlantedBug(
        "epoch check skipped",
        "no leader epochs are compared, neither of a fetch nor of what it fetched last",
        _leader_epochs_not_checked,
        2,
        _STAYS_APART,
    ),
    PlantedBug(
        "divergence not told",
        "a follower whose log parts from the leader's is not told (KIP-595)",
        _divergence_not_told,
        15,
        _STAYS_APART,
        PARTITIONED,
    ),
    PlantedBug(
        "HW moves back",
        "the high watermark falls to the slowest follower",
        _high_watermark_moves_back,
        1,
        frozenset({"high watermark moved back", "uncommitted read"}),
    ),
    PlantedBug(
        "joining replica not waited for",
        "commits do not wait for who is about to be in the ISR (KIP-497)",
        _joining_replica_not_waited_for,
        1,
        _UNSAFE_LEADER | {"isr not waited for"},
        CATCHING_UP,
    ),
    PlantedBug(
        "joins ISR while behind",
        "any follower that fetches is proposed for the ISR",
        _joins_isr_while_behind,
        1,
        _UNSAFE_LEADER,
        IN_SMALL_PIECES,
    ),
    PlantedBug("read beyond HW", "consumers read up to the log end", _read_beyond_high_watermark, 1, frozenset({"uncommitted read"})),
    PlantedBug(
        "HW beyond the log",
        "a follower takes the leader's high watermark as it is",
        _high_watermark_beyond_log,
        1,
        frozenset({"high watermark beyond the log"}),
        IN_SMALL_PIECES,
    ),
    PlantedBug(
        "session forgets a partition",
        "what happens between two fetches of a session is not told with the next",
        _session_forgets_partition,
        6,
        frozenset({"not in time"}),
    ),
    PlantedBug(
        "producer id forgotten on restart", "a log that is loaded knows no producers", _producers_forgotten_on_restart, 3, _PRODUCER_UNKNOWN
    ),
    PlantedBug(
        "followers ignore producers",
        "what was copied tells nothing of its producers",
        _followers_do_not_know_producers,
        3,
        _PRODUCER_UNKNOWN,
    ),
    PlantedBug("producer ids given twice", "blocks of producer ids are not written down", _producer_ids_given_twice, 2, _TWO_HISTORIES),
    PlantedBug(
        "torn batches accepted", "recovery does not look at checksums", _torn_batches_accepted, 4, _LOGS_PART | _METADATA_PARTS, POWER
    ),
    PlantedBug(
        "two votes in an epoch",
        "who has voted votes again",
        _two_votes_in_an_epoch,
        1,
        frozenset({"two votes", "two quorum leaders"}),
        CLOSE_RACES,
    ),
    PlantedBug("votes for short logs", "candidates' logs are not compared", _votes_for_short_logs, 6, _METADATA_PARTS, CONTROLLERS),
    PlantedBug("commit with the minority", "what one voter has is committed", _commit_with_the_minority, 8, _METADATA_PARTS, SHORT),
    PlantedBug(
        "fsync left out",
        "the metadata log is not synced before it is spoken of",
        _metadata_not_synced,
        1,
        _METADATA_PARTS,
        CONTROLLER_POWER,
    ),
    PlantedBug(
        "snapshot without the last delta",
        "a snapshot holds the image before the change that it is named after",
        _snapshot_lacks_last_delta,
        1,
        frozenset({"metadata differs"}),
        SNAPSHOTS,
    ),
    PlantedBug(
        "fences too late", "silent brokers stay in service ten times as long", _fences_too_late, 2, frozenset({"fenced too late"}), SESSIONS
    ),
    PlantedBug(
        "fenced stays in ISR",
        "a broker is fenced and its partitions are left as they are",
        _fenced_stays_in_isr,
        1,
        frozenset({"fenced in isr"}),
    ),
    PlantedBug(
        "ISR joined with stale broker epoch",
        "no broker epochs are compared (before KIP-903)",
        _isr_joined_with_stale_epoch,
        5,
        _UNSAFE_LEADER,
        QUIET,
    ),
    PlantedBug("lost ELR", "who leaves a small ISR is not eligible to lead", _eligible_leaders_lost, 3, frozenset({"lost elr"})),
    PlantedBug("unclean elections", "any replica leads rather than nobody", _unclean_elections, 3, frozenset({"unclean election"})),
    PlantedBug(
        "vote written late",
        "a vote and its epoch are written down a moment after they were told",
        _vote_written_late,
        1,
        frozenset({"two votes", "two quorum leaders"}),
        VOTES,
    ),
    PlantedBug(
        "AlterPartition unchecked",
        "the controller looks neither at the leader epoch nor at the partition epoch of what a leader asks for",
        _alter_partition_unchecked,
        1,
        frozenset({"isr not waited for"}) | _UNSAFE_LEADER,
        ISR_RACES,
    ),
    PlantedBug(
        "generations unchecked",
        "members commit for generations that are over",
        _generations_unchecked,
        1,
        frozenset({"commit of the past"}),
        LATE_COMMITS,
    ),
    PlantedBug(
        "compacted names not synced",
        "compacted segments take their places, and their directory is not synced",
        _compacted_names_not_synced,
        1,
        _LOGS_PART | _TWO_HISTORIES | {"deleted too much"},
        VANISHING_POWER,
    ),
    PlantedBug(
        "retention too short",
        "segments go four seconds too early",
        _retention_too_short,
        9,
        frozenset({"deleted too much"}),
        VANISHING,
    ),
    PlantedBug(
        "commit acknowledged too early",
        "an offset commit is answered before it is replicated",
        _commit_acknowledged_before_replication,
        2,
        frozenset({"lost commit"}),
        GROUPS,
    ),
)
