"""A member of the metadata quorum: elections, replication and commits of ``__cluster_metadata``.

The protocol is Kafka's Raft (KIP-595, with KIP-996's pre-vote): voters elect a leader per epoch, the
others fetch from it, and what a majority has on disk is committed. Who votes is said by the settings
while kraft.version is 0, and by the log itself from then on (KIP-853).

Rules kept here:

* What is promised is on disk before it is said: votes and epochs in ``quorum-state``, log entries
  before they count for the high watermark. A member whose disk refuses says nothing more, and ends.
* Epochs only rise; within an epoch neither the vote nor the known leader changes.
* A state's timers and late answers die with it: each names the state it belongs to.
* The listener hears of commits in order and once, and of leadership only when the leader's own
  epoch is committed and all of it handed over.

Brokers are members outside the voters (observers): they fetch and never stand for election.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.log.storage import StorageError
from kafkalab.engine.protocol.network import Network
from kafkalab.engine.raft import messages
from kafkalab.engine.raft.addresses import AddressBook
from kafkalab.engine.raft.commits import CommitFeed
from kafkalab.engine.raft.config import RaftConfig
from kafkalab.engine.raft.describe import describe_quorum
from kafkalab.engine.raft.elections import Elections, names_of
from kafkalab.engine.raft.fetcher import Fetcher
from kafkalab.engine.raft.leading import LeaderDuties
from kafkalab.engine.raft.listener import RaftListener
from kafkalab.engine.raft.membership import Membership
from kafkalab.engine.raft.metadata_log import values_batch
from kafkalab.engine.raft.quorum_state import ElectionState, QuorumStateStore
from kafkalab.engine.raft.reporter import RaftReporter
from kafkalab.engine.raft.requests import QuorumRequests
from kafkalab.engine.raft.serving import FetchServer
from kafkalab.engine.raft.snapshot_cleaner import SnapshotCleaner
from kafkalab.engine.raft.snapshot_records import SnapshotWriter
from kafkalab.engine.raft.snapshot_serving import SnapshotServer
from kafkalab.engine.raft.snapshot_store import SnapshotId
from kafkalab.engine.raft.snapshotted_log import SnapshottedLog
from kafkalab.engine.raft.states import (
    OBSERVER_STATES,
    UNKNOWN_LEADER,
    VALID_NEXT,
    CandidateState,
    FollowerState,
    LeaderState,
    ProspectiveState,
    ResignedState,
    State,
    UnattachedState,
)
from kafkalab.engine.raft.voter_changes import VoterChanges
from kafkalab.engine.raft.voter_history import BOOTSTRAP_OFFSET, VoterHistory, voters_value
from kafkalab.engine.raft.voters import KRAFT_VERSION_MAX, KRAFT_VERSION_MIN, Address, ReplicaKey, Voter, VoterSet
from kafkalab.engine.record.control import ControlType, LeaderChange, encode_leader_change
from kafkalab.engine.record.quorum_records import control_batch, encode_kraft_version
from kafkalab.engine.telemetry.hub import TelemetrySink

if TYPE_CHECKING:
    from random import Random

log = logging.getLogger(__name__)

SHUTDOWN_WAIT_MS: Final = 1_000.0


class RaftNode:
    """One member. Requests of others come in through ``handle_*``; all else is time and answers."""

    def __init__(
        self,
        *,
        node_id: int,
        directory_id: uuid.UUID | None,
        cluster_id: str | None,
        voters: Mapping[int, tuple[str, int]],
        log: SnapshottedLog,
        store: QuorumStateStore,
        clock: Clock,
        rng: Random,
        network: Network,
        sink: TelemetrySink,
        config: RaftConfig,
        listener: RaftListener,
        on_fatal: Callable[[str], None],
        endpoints: Mapping[str, Address] | None = None,
        bootstrap_servers: Sequence[Address] = (),
        can_become_voter: bool = False,
    ) -> None:
        """
        :param voters: the static voters; none where the log says who votes.
        :param on_fatal: told why the member cannot take part any more, such as a file that the disk refused; it does nothing more then.
        :param endpoints: the member's own, by listener name; needed where voters can change.
        :param bootstrap_servers: whom to ask who leads; the voters without them.
        :param can_become_voter: a controller: it may be made a voter any time, and joins by itself when the settings say so.
        """
        assert voters or bootstrap_servers, "a member of the quorum knows somebody to ask"
        self.node_id: Final = node_id
        self._history: Final = VoterHistory(VoterSet.static(voters, config.listener_name))
        self._key: Final = ReplicaKey.of(node_id, directory_id)
        self._local: Final = Voter(key=self._key, endpoints=endpoints or {}, min_version=KRAFT_VERSION_MIN, max_version=KRAFT_VERSION_MAX)
        self._read_voters(log)
        self._cluster_id: Final = cluster_id
        self._log: Final = log
        self._store: Final = store
        self._clock: Final = clock
        self._rng: Final = rng
        self._network: Final = network
        self._config: Final = config
        self._listener: Final = listener
        self._on_fatal: Final = on_fatal
        self._feed: Final = CommitFeed(self, log=log, listener=listener, clock=clock)
        self._server: Final = FetchServer(self, cluster_id=cluster_id, log=log, clock=clock, config=config)
        self._fetcher: Final = Fetcher(
            self,
            node_id=node_id,
            directory_id=directory_id,
            cluster_id=cluster_id,
            log=log,
            network=network,
            clock=clock,
            rng=rng,
            config=config,
            can_become_voter=can_become_voter,
        )
        self._snapshot_server: Final = SnapshotServer(self, cluster_id=cluster_id, log=log, clock=clock, config=config)
        self._cleaner: Final = SnapshotCleaner(log, clock=clock, retention_bytes=config.retention_bytes, retention_ms=config.retention_ms)
        self._reporter: Final = RaftReporter(self, clock=clock, sink=sink, directory_id=self._key.directory_id, log=log)
        self._elections: Final = Elections(
            self, local_key=self._key, cluster_id=cluster_id, network=network, clock=clock, rng=rng, config=config
        )
        self._changes: Final = VoterChanges(
            self, local=self._local, cluster_id=cluster_id, history=self._history, network=network, clock=clock, config=config
        )
        self._addresses: Final = AddressBook(
            local=self._local,
            history=self._history,
            listener_name=config.listener_name,
            bootstrap_servers=bootstrap_servers,
            pending_address=self._changes.pending_address,
        )
        self._duties: Final = LeaderDuties(
            self, cluster_id=cluster_id, endpoints=self._addresses.own_endpoints, network=network, clock=clock, config=config
        )
        self._membership: Final = Membership(
            self,
            local=self._local,
            is_joining=can_become_voter and config.auto_join,
            cluster_id=cluster_id,
            history=self._history,
            network=network,
            clock=clock,
            config=config,
        )
        self._requests: Final = QuorumRequests(
            self, cluster_id=cluster_id, local_key=self._key, history=self._history, reporter=self._reporter, config=config
        )
        self._state: State = UnattachedState(0, voted_id=None, deadline_ms=0.0)
        self._persisted = ElectionState()
        self._high_watermark = -1
        # Timers of the present state.
        self._timers: list[Timer] = []
        self._is_started = False
        self._is_closed = False
        self._on_shutdown: Callable[[], None] | None = None

    # --- what others may know ----------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The present state; replaced at each transition."""
        return self._state

    @property
    def state_name(self) -> str:
        """Its name in the state table, or "observer"."""
        return self._state.kind.value if self.is_voter or self.is_leader else "observer"

    @property
    def is_voter(self) -> bool:
        return self._history.voters.is_voter(self._key)

    @property
    def may_stand(self) -> bool:
        """Whether it may ask for votes: as a voter, or as one whose removal may never have been committed.

        Without the latter nobody may be able to win: who was removed has the record, and the rest
        need its vote (Raft's thesis, 4.2.2).
        """
        return self._history.may_be_voter(self._key, self._high_watermark)

    @property
    def is_closed(self) -> bool:
        """It has ended."""
        return self._is_closed

    @property
    def voter_set(self) -> VoterSet:
        """Who votes as of the end of the log."""
        return self._history.voters

    @property
    def voters(self) -> Mapping[int, Address]:
        """Where each voter listens."""
        return self._history.voters.addresses(self._config.listener_name)

    @property
    def voter_ids(self) -> frozenset[int]:
        """Who votes, whatever disk it does so with."""
        return self._history.voters.ids

    @property
    def kraft_version(self) -> int:
        """The finalized level: 0 for static voters, 1 for voters that the log names."""
        return self._changes.kraft_version

    @property
    def log_position(self) -> tuple[int, int]:
        """The epoch of the log's last record, and where the log ends; who has more has the better log."""
        return max(0, self._log.latest_epoch), self._log.log_end_offset

    @property
    def is_leader(self) -> bool:
        return isinstance(self._state, LeaderState)

    @property
    def is_serving(self) -> bool:
        """False once it is shutting down."""
        return not self._is_closed and self._on_shutdown is None

    @property
    def epoch(self) -> int:
        return self._state.epoch

    @property
    def leader_id(self) -> int:
        """The epoch's leader, -1 while unknown."""
        return self._state.leader_id

    @property
    def is_refused_as_stranger(self) -> bool:
        """Whether the quorum that it looks for a leader in is that of another cluster."""
        return self._fetcher.is_refused_as_stranger

    @property
    def high_watermark(self) -> int:
        """Everything before it is committed; -1 while unknown."""
        return self._high_watermark

    @property
    def log_end_offset(self) -> int:
        return self._log.log_end_offset

    # --- where members are -----------------------------------------------------------------------

    def address_of(self, node_id: int) -> Address | None:
        """Where a member listens, as far as known."""
        return self._addresses.of(node_id, self.leader_id)

    def leader_address(self) -> Address | None:
        """Where the leader listens, as far as known."""
        return self._addresses.of_leader(self.leader_id)

    def ask_around(self) -> list[int]:
        """Whom to ask who leads."""
        return self._addresses.ask_around()

    # --- who votes -------------------------------------------------------------------------------

    def _read_voters(self, log: SnapshottedLog) -> None:
        snapshot = log.latest_snapshot()
        if snapshot is not None:
            self._history.load_snapshot(snapshot.controls(), snapshot.end_offset)
        self._history.catch_up(log)

    def handle_appended(self, data: bytes) -> None:
        """The leader's batches are in the log."""
        if self._history.appended(data, self._log):
            self._handle_voters_changed()

    def _handle_voters_changed(self) -> None:
        """Others vote from now on: in the leader's count, and perhaps this member too, or no more."""
        state = self._state
        log.info("Node %d: the voters are %s from offset %s on", self.node_id, self._history.voters, self._history.voters_offset)
        self._reporter.level_changed()
        if isinstance(state, LeaderState):
            before = set(state.voters)
            state.set_voters(self._history.voters, self._key, self._clock.now_ms())
            self._duties.voters_changed(state, set(state.voters) - before)
        elif isinstance(state, FollowerState):
            self._cancel_timers()
            if self.may_stand:
                state.deadline_ms = self._clock.now_ms() + self._elections.fetch_timeout_ms()
                self._watch_leader(state)

    # --- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take up what the disk remembers, and look for a leader.

        :raises QuorumStateError: when the disk's memory makes no sense.
        :raises StorageError: when it cannot be read.
        :raises ApiError: KAFKA_STORAGE_ERROR when nothing can be written.
        """
        assert not self._is_started, "a member starts once"
        self._is_started = True
        remembered = self._store.read() or ElectionState()
        self._persisted = remembered
        now_ms = self._clock.now_ms()
        last_epoch = max(0, self._log.latest_epoch)
        if last_epoch > remembered.epoch:
            # The log got further than the file, as when only the log was copied here.
            remembered = ElectionState(last_epoch)
        epoch, leader_id, voted_id = remembered.epoch, remembered.leader_id, remembered.voted_id
        state: State
        if leader_id == self.node_id and self.may_stand:
            # It may have told others of entries that it lost in the crash: it must not lead this epoch again, nor vote in it.
            state = ResignedState(
                epoch,
                local_id=self.node_id,
                directory_id=self._key.directory_id,
                others=self._addresses.other_voters,
                preferred_successors=(),
                deadline_ms=now_ms + self._elections.election_wait_ms(),
            )
        elif leader_id in self._history.voters and leader_id != self.node_id:
            # Until it answers, this wait is as short as any at the start.
            state = FollowerState(
                epoch,
                leader_id=leader_id,
                voted_id=voted_id,
                voted_directory_id=remembered.voted_directory_id,
                deadline_ms=now_ms + self._elections.election_wait_ms(),
            )
        else:
            state = UnattachedState(
                epoch,
                voted_id=voted_id,
                voted_directory_id=remembered.voted_directory_id,
                deadline_ms=now_ms + self._elections.election_wait_ms(),
            )
        self._state = state
        self._persist(state)
        self._reporter.start()
        self._cleaner.start()
        snapshot_id = self._log.latest_snapshot_id
        if snapshot_id is not None and snapshot_id.end_offset > 0:
            # What is in a snapshot was committed.
            self._raise_high_watermark(snapshot_id.end_offset)
        if leader_id >= 0 or epoch > 0:
            self._listener.handle_leader_change(state.leader_id, state.epoch)
        if self.is_voter and len(self._history.voters) == 1:
            self._elections.stand("it is the only voter")
        else:
            self.enter(state)

    def shutdown(self, on_done: Callable[[], None]) -> None:
        """Leave in order: a leader hands over first. ``on_done`` comes later, never from within."""
        if self._is_closed:
            self._clock.call_later(0, on_done)
            return
        assert self._on_shutdown is None, "a member shuts down once"
        state = self._state
        self._on_shutdown = on_done
        if isinstance(state, LeaderState) and self._addresses.other_voters:
            # Should nobody answer, the others find out by themselves.
            deadline = self._clock.call_later(SHUTDOWN_WAIT_MS, self._finish_shutdown)
            self.resign("it shuts down")
            self._timers.append(deadline)
        else:
            if isinstance(state, LeaderState):
                self.resign("it shuts down")
            self._finish_shutdown()

    def _finish_shutdown(self) -> None:
        on_done, self._on_shutdown = self._on_shutdown, None
        self.abandon()
        if on_done is not None:
            self._clock.call_later(0, on_done)

    def abandon(self) -> None:
        """Stop here and now, telling nobody."""
        self._is_closed = True
        self._cancel_timers()
        self._elections.stop()
        self._duties.stop()
        self._membership.stop()
        self._fetcher.stop()
        self._server.abandon()
        self._feed.stop()
        self._cleaner.stop()
        self._reporter.stop()

    def handle_disk_failed(self, why: str) -> None:
        """Something that others rely on may not be on the disk: whatever would follow from it is not said any more.

        Kafka's node halts here. Whoever calls leaves what it is doing with an exception.
        """
        self.handle_fatal(why)

    def handle_fatal(self, why: str) -> None:
        """This member cannot take part any more, and its node ends, as Kafka's does; the others go on."""
        self.abandon()
        self._on_fatal(why)

    # --- appending ---------------------------------------------------------------------------------

    def append(self, values: Sequence[bytes], on_commit: Callable[[bool], None]) -> int:
        """Write records as one batch. Only the leader can.

        ``on_commit(True)`` comes after the listener got the batch; ``on_commit(False)`` when this node
        stops leading first, and then nobody knows yet whether the batch will survive.

        :returns: the last record's offset.
        :raises ApiError: NOT_CONTROLLER when this node does not lead.
        """
        state = self._state
        if not isinstance(state, LeaderState) or not self.is_serving:
            raise ApiError(Errors.NOT_CONTROLLER, "This node does not lead the quorum")
        assert values, "a batch has records"
        data = values_batch(values, base_offset=self._log.log_end_offset, epoch=state.epoch, timestamp_ms=self._clock.wall_ms())
        last_offset = self._append_and_flush(state, data)
        self._feed.wait_for(last_offset, on_commit)
        return last_offset

    def append_controls(self, controls: list[tuple[ControlType, bytes]]) -> int:
        """Write control records as one batch, which counts at once; the last record's offset. Only the leader can."""
        state = self._state
        assert isinstance(state, LeaderState), "only a leader appends"
        data = control_batch(controls, base_offset=self._log.log_end_offset, epoch=state.epoch, timestamp_ms=self._clock.wall_ms())
        return self._append_and_flush(state, data, is_control=True)

    def _append_and_flush(self, state: LeaderState, data: bytes, *, is_control: bool = False) -> int:
        appended = self._log.append_as_leader(data, state.epoch, client=False)
        if not is_control:
            self._history.skip_to(self._log.log_end_offset)
        elif self._history.catch_up(self._log):
            self._handle_voters_changed()
        # Followers write to their disks while this node writes to its own. It counts itself only after.
        self._server.release()
        self._log.flush()
        state.flushed_end_offset = self._log.log_end_offset
        self._reporter.level_changed()
        if is_control or not state.voters:
            # Committed already; but whoever appends shall have its offset first.
            self._clock.call_later(0, self._maybe_commit)
        return appended.last_offset

    def _maybe_commit(self) -> None:
        state = self._state
        if isinstance(state, LeaderState) and not self._is_closed:
            end_offset = state.committed_end()
            if end_offset is not None:
                self._raise_high_watermark(end_offset)

    def handle_replica_progress(self) -> None:
        """A voter has more of the log than before."""
        self._maybe_commit()

    def _raise_high_watermark(self, high_watermark: int) -> None:
        if high_watermark <= self._high_watermark:
            return
        assert high_watermark <= self._log.log_end_offset, "only what is here can be known to be committed"
        self._high_watermark = high_watermark
        self._reporter.level_changed()
        self._server.release()
        self._feed.advance(high_watermark)
        if isinstance(self._state, LeaderState) and not self._is_closed:
            self._changes.handle_high_watermark(high_watermark)

    def handle_handed_over(self) -> None:
        """The listener has got more of what is committed; a leader is announced to it when it has what came before its epoch."""
        state = self._state
        is_due = isinstance(state, LeaderState) and not state.is_announced and self._feed.next_offset > state.epoch_start_offset
        if isinstance(state, LeaderState) and is_due and not self._is_closed:
            state.is_announced = True
            self._listener.handle_became_leader(state.epoch)

    # --- what the fetcher brings -------------------------------------------------------------------

    def handle_fetched(self, high_watermark: int) -> None:
        """The leader answered a fetch, and what it sent is in the log."""
        state = self._state
        assert isinstance(state, FollowerState), "fetches of other states are answered to nobody"
        state.has_fetched = True
        state.deadline_ms = self._clock.now_ms() + self._elections.fetch_timeout_ms()
        self._elections.leader_known()
        self._reporter.level_changed()
        self._raise_high_watermark(min(high_watermark, self._log.log_end_offset))

    def handle_truncated(self, from_offset: int, to_offset: int) -> None:
        """The log's tail was never committed and is gone."""
        log.info("Node %d cut its metadata log from %d back to %d", self.node_id, from_offset, to_offset)
        if self._history.truncate_from(to_offset):
            self._handle_voters_changed()
        self._reporter.truncated(from_offset, to_offset)

    def handle_snapshot_chunk(self) -> None:
        """The leader sent a part of a snapshot."""
        state = self._state
        assert isinstance(state, FollowerState), "snapshots are fetched from a leader"
        state.deadline_ms = self._clock.now_ms() + self._elections.fetch_timeout_ms()

    def handle_snapshot_fetched(self, snapshot_id: SnapshotId) -> None:
        """A snapshot took the log's place; what is in it is committed."""
        self.handle_snapshot_chunk()
        voters = self._history.voters
        self._read_voters(self._log)
        if self._history.voters != voters:
            self._handle_voters_changed()
        self._reporter.level_changed()
        self._raise_high_watermark(snapshot_id.end_offset)

    def observe(self, leader_id: int, epoch: int, cause: str, address: Address | None = None) -> None:
        """Somebody said who leads in an epoch, and where that one listens. News make a follower, or at least end older epochs."""
        if leader_id < 0 or (address is None and self.address_of(leader_id) is None):
            # One whom nobody can reach is as good as none.
            leader_id = UNKNOWN_LEADER
        state = self._state
        if self._is_closed or epoch < state.epoch:
            return
        if address is not None and leader_id >= 0 and (epoch > state.epoch or state.leader_id in (leader_id, UNKNOWN_LEADER)):
            self._addresses.note_leader(leader_id, address)
        if epoch > state.epoch:
            if leader_id in (UNKNOWN_LEADER, self.node_id):
                self.become_unattached(epoch, cause)
            else:
                self.become_follower(epoch, leader_id, cause)
        elif leader_id == UNKNOWN_LEADER or leader_id == state.leader_id:
            return
        elif state.leader_id == UNKNOWN_LEADER and leader_id != self.node_id:
            self.become_follower(epoch, leader_id, cause)
        else:
            log.error(
                "Node %d knows %d as the leader of epoch %d and is told that it is %d", self.node_id, state.leader_id, epoch, leader_id
            )

    # --- transitions -------------------------------------------------------------------------------

    def _persist(self, state: State) -> None:
        version = self._history.kraft_version
        remembered = ElectionState(
            state.epoch, state.leader_id, state.voted_id, state.voted_directory_id if version > 0 else None, min(version, 1)
        )
        if remembered != self._persisted:
            try:
                self._store.write(remembered)
            except StorageError as error:
                self.handle_disk_failed(str(error))
                raise ApiError(Errors.KAFKA_STORAGE_ERROR, str(error)) from error
            self._persisted = remembered

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def transition_to(self, state: State, cause: str) -> None:
        """Move to another state. On disk first, then in effect, then told."""
        old = self._state
        assert state.kind in VALID_NEXT[old.kind], f"{state.kind.value} cannot follow {old.kind.value}"
        was_leading = isinstance(old, LeaderState)
        assert self.may_stand or was_leading or state.kind in OBSERVER_STATES, f"an observer cannot be {state.kind.value}"
        assert state.epoch >= old.epoch, "epochs only rise"
        if state.epoch == old.epoch:
            assert old.voted_id is None or state.voted_id == old.voted_id, "a vote is not taken back"
            assert state.leader_id in (old.leader_id, UNKNOWN_LEADER) or old.leader_id == UNKNOWN_LEADER, "an epoch has one leader"
        self._persist(state)
        self._cancel_timers()
        self._elections.stop()
        self._duties.stop()
        self._membership.stop()
        self._fetcher.stop()
        self._state = state
        self._reporter.state_changed(old, state, cause)
        if isinstance(old, LeaderState):
            self._server.refuse_parked()
            self._feed.give_up_waiting()
            self._changes.end()
            if old.is_announced:
                self._listener.handle_resigned()
        if (state.epoch, state.leader_id) != (old.epoch, old.leader_id):
            self._listener.handle_leader_change(state.leader_id, state.epoch)
        if self._on_shutdown is not None and state.epoch > old.epoch:
            # Somebody else takes over. The answer that told of it is still to be sent.
            self._clock.call_later(0, self._finish_shutdown)

    def enter(self, state: State) -> None:
        """Do what a state begins with; its timers belong to it."""
        if isinstance(state, FollowerState):
            if self.may_stand:
                self._watch_leader(state)
            self._fetcher.restart()
            self._membership.begin(state)
        elif isinstance(state, UnattachedState):
            if self.may_stand:
                self._at(state.deadline_ms, lambda: self._elections.stand("no leader is known"))
            if not self.may_stand or self._history.kraft_version > 0:
                # All of its voters may have moved, or it is none any more and does not know.
                self._fetcher.restart()
        elif isinstance(state, ProspectiveState | CandidateState):
            self._elections.begin(state)
        elif isinstance(state, ResignedState):
            self._at(state.deadline_ms, lambda: self.become_unattached(state.epoch + 1, "it resigned from the epoch before"))
            self._duties.say_goodbyes(state)

    def _at(self, deadline_ms: float, action: Callable[[], None]) -> None:
        self._timers.append(self._clock.call_later(max(0.0, deadline_ms - self._clock.now_ms()), action))

    def become_unattached(self, epoch: int, cause: str, *, voted: ReplicaKey | None = None) -> None:
        """Take up a newer epoch, or vote in this one; on disk when this returns.

        A newer epoch alone is no reason to wait longer for a leader. That somebody got the vote is one: it may win.
        """
        old = self._state
        deadline_ms = self._clock.now_ms() + self._elections.election_wait_ms()
        is_lost = isinstance(old, ProspectiveState) and old.is_lost
        if voted is None and not is_lost and isinstance(old, UnattachedState | ProspectiveState | CandidateState | ResignedState):
            deadline_ms = old.deadline_ms
        state = UnattachedState(
            epoch,
            voted_id=None if voted is None else voted.id,
            voted_directory_id=None if voted is None else voted.directory_id,
            deadline_ms=deadline_ms,
        )
        self.transition_to(state, cause)
        self.enter(state)

    def become_follower(self, epoch: int, leader_id: int, cause: str) -> None:
        """Follow whoever leads in that epoch."""
        old = self._state
        is_same_epoch = epoch == old.epoch
        state = FollowerState(
            epoch,
            leader_id=leader_id,
            voted_id=old.voted_id if is_same_epoch else None,
            voted_directory_id=old.voted_directory_id if is_same_epoch else None,
            deadline_ms=self._clock.now_ms() + self._elections.fetch_timeout_ms(),
        )
        self.transition_to(state, cause)
        self.enter(state)

    def _watch_leader(self, state: FollowerState) -> None:
        """Stand for election once the leader has been silent for too long."""
        if not self.may_stand:
            return
        remaining_ms = state.deadline_ms - self._clock.now_ms()
        if remaining_ms > 0:
            self._timers = [self._clock.call_later(remaining_ms, lambda: self._watch_leader(state))]
            return
        timeout = self._config.fetch_timeout_ms
        self._elections.stand(
            f"controller {state.leader_id} answered no fetch for {timeout} ms" if state.has_fetched else "its leader is silent"
        )

    # --- leading -----------------------------------------------------------------------------------

    def become_leader(self, candidate: CandidateState) -> None:
        """The election is won: from now on this member leads."""
        now_ms = self._clock.now_ms()
        voters = self._history.voters
        state = LeaderState(
            candidate.epoch,
            local_id=self.node_id,
            directory_id=self._key.directory_id,
            voters=self._addresses.other_voters,
            epoch_start_offset=self._log.log_end_offset,
            now_ms=now_ms,
        )
        state.set_voters(voters, self._key, now_ms)
        votes = tuple(sorted(candidate.granted))
        self._elections.leader_known()
        self.transition_to(state, f"controllers {names_of(votes)} voted for it")
        self._reporter.elected(state.epoch, votes, candidate.cause)
        self._changes.begin()
        # It is told before this writes: the others begin to fetch meanwhile.
        self._duties.begin(state)
        controls = [(ControlType.LEADER_CHANGE, encode_leader_change(LeaderChange(self.node_id, tuple(sorted(voters.ids)), votes)))]
        self.append_controls(controls + self._voters_for_log(voters))

    def _voters_for_log(self, voters: VoterSet) -> list[tuple[ControlType, bytes]]:
        """What a new leader adds to its first batch: who votes, where only a formatted directory knows that, or knows it otherwise."""
        level, offset = self._history.kraft_version, self._history.voters_offset
        if level == 0 or (offset != BOOTSTRAP_OFFSET and not (self._local.endpoints and voters.needs_change(self._local))):
            return []
        told = (voters.with_changed(self._local) if self._local.endpoints else None) or voters
        return [(ControlType.KRAFT_VERSION, encode_kraft_version(level)), (ControlType.KRAFT_VOTERS, voters_value(told))]

    def resign(self, cause: str) -> None:
        """As the leader: lead no longer, and say who is nearest to succeed."""
        old = self._state
        assert isinstance(old, LeaderState), "only a leader resigns"
        state = ResignedState(
            old.epoch,
            local_id=self.node_id,
            directory_id=self._key.directory_id,
            others=self._addresses.other_voters,
            preferred_successors=old.preferred_successors(),
            deadline_ms=self._clock.now_ms() + self._elections.election_wait_ms(),
        )
        self.transition_to(state, cause)
        self.enter(state)

    def handle_goodbyes_said(self) -> None:
        """All voters know that this member leads no longer."""
        if self._on_shutdown is not None:
            self._finish_shutdown()

    def handle_replica_alive(self, key: ReplicaKey) -> None:
        """As the leader: a voter was heard of, which counts as a fetch."""
        state = self._state
        progress = state.voter(key) if isinstance(state, LeaderState) else None
        if progress is not None:
            progress.last_fetch_ms = self._clock.now_ms()

    # --- requests of other members -----------------------------------------------------------------

    def ask_for_pre_vote(self, state: ProspectiveState, voter_id: int) -> None:
        """Ask a voter once more, who may have changed its mind."""
        self._elections.ask_for_vote(state, voter_id)

    def stand_after(self, backoff_ms: float, cause: str, *, is_successor: bool) -> None:
        """Stand for election after that time, unless somebody else leads by then."""
        self._cancel_timers()
        self._at(self._clock.now_ms() + backoff_ms, lambda: self._elections.stand(cause, is_successor=is_successor))

    def handle_vote(self, request: Any) -> messages.Body:
        """Answer a candidate, or somebody who wonders whether to become one."""
        return self._requests.handle_vote(request)

    def handle_begin_quorum_epoch(self, request: Any) -> messages.Body:
        """A new leader tells that it leads."""
        return self._requests.handle_begin_quorum_epoch(request)

    def handle_end_quorum_epoch(self, request: Any) -> messages.Body:
        """A leader tells that it leads no longer, and who is nearest to succeed it."""
        return self._requests.handle_end_quorum_epoch(request)

    def handle_add_voter(self, request: Any, respond: Callable[[Mapping[str, Any]], None]) -> None:
        """AddRaftVoter."""
        self._changes.handle_add(request, respond)

    def handle_remove_voter(self, request: Any, respond: Callable[[Mapping[str, Any]], None]) -> None:
        """RemoveRaftVoter."""
        self._changes.handle_remove(request, respond)

    def handle_update_voter(self, request: Any) -> messages.Body:
        """UpdateRaftVoter."""
        return self._changes.handle_update(request)

    def upgrade_kraft_version(self, epoch: int, level: int, *, validate_only: bool) -> None:
        """Raise kraft.version.

        :raises ApiError: INVALID_UPDATE_VERSION, or NOT_CONTROLLER where another epoch has come.
        """
        self._changes.upgrade(epoch, level, validate_only=validate_only)

    def handle_fetch(self, request: Any, respond: Callable[[Mapping[str, Any]], None]) -> None:
        """Answer a fetch of the metadata log, now or when there is news."""
        self._server.handle_fetch(request, respond)

    def handle_fetch_snapshot(self, request: Any) -> messages.Body:
        """Answer with a part of a snapshot."""
        return self._snapshot_server.handle(request)

    def create_snapshot(self, snapshot_id: SnapshotId, *, last_contained_ms: int) -> SnapshotWriter | None:
        """Begin a snapshot of what the listener got; None when there is a newer one.

        :raises OSError: as the disk gives it.
        """
        assert snapshot_id.end_offset <= self._high_watermark, "only what is committed is kept for good"
        controls = self._history.controls_at(snapshot_id.end_offset - 1)
        return self._log.create_snapshot(snapshot_id, last_contained_ms=last_contained_ms, wall_ms=self._clock.wall_ms(), controls=controls)

    def handle_describe_quorum(self, request: Any) -> messages.Body:
        """Tell who leads and how far everybody is."""
        return describe_quorum(self, request, local=self._key, clock=self._clock)
