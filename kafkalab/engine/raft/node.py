"""A member of the metadata quorum: elections, replication and commits of ``__cluster_metadata``.

The protocol is Kafka's Raft (KIP-595, with KIP-996's pre-vote): voters elect a leader per epoch, the
others fetch from it, and what a majority has on disk is committed. Voters are static.

Rules kept here:

* What is promised is on disk before it is said: votes and epochs in ``quorum-state``, log entries
  before they count for the high watermark.
* Epochs only rise; within an epoch neither the vote nor the known leader changes.
* A state's timers and late answers die with it: each names the state it belongs to.
* The listener hears of commits in order and once, and of leadership only when the leader's own
  epoch is committed and all of it handed over.

Brokers are members outside the voters (observers): they fetch and never vote.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.network import Network
from kafkalab.engine.raft import messages
from kafkalab.engine.raft.commits import CommitFeed
from kafkalab.engine.raft.config import RaftConfig
from kafkalab.engine.raft.fetcher import Fetcher
from kafkalab.engine.raft.listener import RaftListener
from kafkalab.engine.raft.metadata_log import values_batch
from kafkalab.engine.raft.quorum_state import ElectionState, QuorumStateStore
from kafkalab.engine.raft.reporter import RaftReporter
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
from kafkalab.engine.record.control import LeaderChange, leader_change_batch
from kafkalab.engine.telemetry.hub import TelemetrySink

if TYPE_CHECKING:
    from random import Random

log = logging.getLogger(__name__)

FETCH_TIMEOUT_JITTER: Final = 0.1
"""Followers that lost their leader together stand for election one after the other."""
CHECK_QUORUM_FACTOR: Final = 1.5
ELECTION_BACKOFF_BASE_MS: Final = 50
RETRY_BACKOFF_MAX_MS: Final = 250.0
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
    ) -> None:
        assert voters, "a quorum has voters"
        self.node_id: Final = node_id
        self.voters: Final[Mapping[int, tuple[str, int]]] = MappingProxyType(dict(sorted(voters.items())))
        self._voter_ids: Final = frozenset(voters)
        self._other_voters: Final = tuple(voter_id for voter_id in self.voters if voter_id != node_id)
        self._directory_id: Final = directory_id
        self._cluster_id: Final = cluster_id
        self._log: Final = log
        self._store: Final = store
        self._clock: Final = clock
        self._rng: Final = rng
        self._network: Final = network
        self._config: Final = config
        self._listener: Final = listener
        self._feed: Final = CommitFeed(log, listener)
        self._server: Final = FetchServer(self, cluster_id=cluster_id, voters=self.voters, log=log, clock=clock, config=config)
        self._fetcher: Final = Fetcher(
            self,
            node_id=node_id,
            directory_id=directory_id,
            cluster_id=cluster_id,
            voters=self.voters,
            log=log,
            network=network,
            clock=clock,
            rng=rng,
            config=config,
        )
        self._snapshot_server: Final = SnapshotServer(self, cluster_id=cluster_id, log=log, clock=clock, config=config)
        self._cleaner: Final = SnapshotCleaner(log, clock=clock, retention_bytes=config.retention_bytes, retention_ms=config.retention_ms)
        self._reporter: Final = RaftReporter(self, clock=clock, sink=sink)
        self._state: State = UnattachedState(0, voted_id=None, deadline_ms=0.0)
        self._persisted = ElectionState()
        self._high_watermark = -1
        # Timers of the present state.
        self._timers: list[Timer] = []
        # How often an election was tried since the start; None once a leader has been known.
        self._boot_attempts: int | None = 0
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
        return self._state.kind.value if self.is_voter else "observer"

    @property
    def is_voter(self) -> bool:
        return self.node_id in self._voter_ids

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
    def high_watermark(self) -> int:
        """Everything before it is committed; -1 while unknown."""
        return self._high_watermark

    @property
    def log_end_offset(self) -> int:
        return self._log.log_end_offset

    # --- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take up what the disk remembers, and look for a leader.

        :raises QuorumStateError: when the disk's memory cannot be read.
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
        if not self.is_voter:
            voted_id = None
        state: State
        if leader_id == self.node_id and self.is_voter:
            # It may have told others of entries that it lost in the crash: it must not lead this epoch again, nor vote in it.
            state = ResignedState(
                epoch,
                local_id=self.node_id,
                others=self._other_voters,
                preferred_successors=(),
                deadline_ms=now_ms + self._election_wait_ms(),
            )
        elif leader_id in self._voter_ids and leader_id != self.node_id:
            # Until it answers, this wait is as short as any at the start.
            state = FollowerState(epoch, leader_id=leader_id, voted_id=voted_id, deadline_ms=now_ms + self._election_wait_ms())
        else:
            state = UnattachedState(epoch, voted_id=voted_id, deadline_ms=now_ms + self._election_wait_ms())
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
        if self._voter_ids == {self.node_id}:
            self._stand("it is the only voter")
        else:
            self._enter(state)

    def shutdown(self, on_done: Callable[[], None]) -> None:
        """Leave in order: a leader hands over first. ``on_done`` comes later, never from within."""
        if self._is_closed:
            self._clock.call_later(0, on_done)
            return
        assert self._on_shutdown is None, "a member shuts down once"
        state = self._state
        self._on_shutdown = on_done
        if isinstance(state, LeaderState) and self._other_voters:
            # Should nobody answer, the others find out by themselves.
            deadline = self._clock.call_later(SHUTDOWN_WAIT_MS, self._finish_shutdown)
            self._resign("it shuts down")
            self._timers.append(deadline)
        else:
            if isinstance(state, LeaderState):
                self._resign("it shuts down")
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
        self._fetcher.stop()
        self._server.abandon()
        self._cleaner.stop()
        self._reporter.stop()

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

    def _append_and_flush(self, state: LeaderState, data: bytes) -> int:
        appended = self._log.append_as_leader(data, state.epoch, client=False)
        # Followers write to their disks while this node writes to its own. It counts itself only after.
        self._server.release()
        self._log.flush()
        state.flushed_end_offset = self._log.log_end_offset
        self._reporter.level_changed()
        if not self._other_voters:
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
        state = self._state
        if isinstance(state, LeaderState) and not state.is_announced and self._feed.next_offset > state.epoch_start_offset:
            state.is_announced = True
            self._listener.handle_became_leader(state.epoch)

    # --- what the fetcher brings -------------------------------------------------------------------

    def handle_fetched(self, high_watermark: int) -> None:
        """The leader answered a fetch, and what it sent is in the log."""
        state = self._state
        assert isinstance(state, FollowerState), "fetches of other states are answered to nobody"
        state.has_fetched = True
        state.deadline_ms = self._clock.now_ms() + self._fetch_timeout_ms()
        self._boot_attempts = None
        self._reporter.level_changed()
        self._raise_high_watermark(min(high_watermark, self._log.log_end_offset))

    def handle_truncated(self, from_offset: int, to_offset: int) -> None:
        """The log's tail was never committed and is gone."""
        log.info("Node %d cut its metadata log from %d back to %d", self.node_id, from_offset, to_offset)
        self._reporter.truncated(from_offset, to_offset)

    def handle_snapshot_chunk(self) -> None:
        """The leader sent a part of a snapshot."""
        state = self._state
        assert isinstance(state, FollowerState), "snapshots are fetched from a leader"
        state.deadline_ms = self._clock.now_ms() + self._fetch_timeout_ms()

    def handle_snapshot_fetched(self, snapshot_id: SnapshotId) -> None:
        """A snapshot took the log's place; what is in it is committed."""
        self.handle_snapshot_chunk()
        self._reporter.level_changed()
        self._raise_high_watermark(snapshot_id.end_offset)

    def observe(self, leader_id: int, epoch: int, cause: str) -> None:
        """Somebody said who leads in an epoch. News make a follower, or at least end older epochs."""
        if leader_id not in self._voter_ids:
            leader_id = UNKNOWN_LEADER
        state = self._state
        if self._is_closed or epoch < state.epoch:
            return
        if epoch > state.epoch:
            if leader_id in (UNKNOWN_LEADER, self.node_id):
                self._become_unattached(epoch, cause)
            else:
                self._become_follower(epoch, leader_id, cause)
        elif leader_id == UNKNOWN_LEADER or leader_id == state.leader_id:
            return
        elif state.leader_id == UNKNOWN_LEADER and leader_id != self.node_id:
            self._become_follower(epoch, leader_id, cause)
        else:
            log.error(
                "Node %d knows %d as the leader of epoch %d and is told that it is %d", self.node_id, state.leader_id, epoch, leader_id
            )

    # --- transitions -------------------------------------------------------------------------------

    def _persist(self, state: State) -> None:
        remembered = ElectionState(state.epoch, state.leader_id, state.voted_id)
        if remembered != self._persisted:
            self._store.write(remembered)
            self._persisted = remembered

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _transition_to(self, state: State, cause: str) -> None:
        """Move to another state. On disk first, then in effect, then told."""
        old = self._state
        assert state.kind in VALID_NEXT[old.kind], f"{state.kind.value} cannot follow {old.kind.value}"
        assert self.is_voter or state.kind in OBSERVER_STATES, f"an observer cannot be {state.kind.value}"
        assert state.epoch >= old.epoch, "epochs only rise"
        if state.epoch == old.epoch:
            assert old.voted_id is None or state.voted_id == old.voted_id, "a vote is not taken back"
            assert state.leader_id in (old.leader_id, UNKNOWN_LEADER) or old.leader_id == UNKNOWN_LEADER, "an epoch has one leader"
        self._persist(state)
        self._cancel_timers()
        self._fetcher.stop()
        self._state = state
        self._reporter.state_changed(old, state, cause)
        if isinstance(old, LeaderState):
            self._server.refuse_parked()
            self._feed.give_up_waiting()
            if old.is_announced:
                self._listener.handle_resigned()
        if (state.epoch, state.leader_id) != (old.epoch, old.leader_id):
            self._listener.handle_leader_change(state.leader_id, state.epoch)
        if self._on_shutdown is not None and state.epoch > old.epoch:
            # Somebody else takes over. The answer that told of it is still to be sent.
            self._clock.call_later(0, self._finish_shutdown)

    def _enter(self, state: State) -> None:
        """Do what a state begins with; its timers belong to it."""
        if isinstance(state, FollowerState):
            if self.is_voter:
                self._watch_leader(state)
            self._fetcher.restart()
        elif isinstance(state, UnattachedState):
            if self.is_voter:
                self._at(state.deadline_ms, lambda: self._stand("no leader is known"))
            else:
                self._fetcher.restart()
        elif isinstance(state, ProspectiveState | CandidateState):
            self._at(state.deadline_ms, lambda: self._handle_election_timeout(state))
            for voter_id in self._other_voters:
                self._ask_for_vote(state, voter_id, 0)
        elif isinstance(state, ResignedState):
            self._at(state.deadline_ms, lambda: self._become_unattached(state.epoch + 1, "it resigned from the epoch before"))
            for voter_id in tuple(state.unacknowledged):
                self._say_goodbye(state, voter_id, 0)

    def _at(self, deadline_ms: float, action: Callable[[], None]) -> None:
        self._timers.append(self._clock.call_later(max(0.0, deadline_ms - self._clock.now_ms()), action))

    def _become_unattached(self, epoch: int, cause: str, *, voted_id: int | None = None) -> None:
        state = UnattachedState(epoch, voted_id=voted_id, deadline_ms=self._clock.now_ms() + self._election_wait_ms())
        self._transition_to(state, cause)
        self._enter(state)

    def _become_follower(self, epoch: int, leader_id: int, cause: str) -> None:
        voted_id = self._state.voted_id if epoch == self._state.epoch else None
        state = FollowerState(epoch, leader_id=leader_id, voted_id=voted_id, deadline_ms=self._clock.now_ms() + self._fetch_timeout_ms())
        self._transition_to(state, cause)
        self._enter(state)

    def _watch_leader(self, state: FollowerState) -> None:
        """Stand for election once the leader has been silent for too long."""
        remaining_ms = state.deadline_ms - self._clock.now_ms()
        if remaining_ms > 0:
            self._timers = [self._clock.call_later(remaining_ms, lambda: self._watch_leader(state))]
            return
        timeout = self._config.fetch_timeout_ms
        self._stand(f"controller {state.leader_id} answered no fetch for {timeout} ms" if state.has_fetched else "its leader is silent")

    # --- elections ---------------------------------------------------------------------------------

    def _election_wait_ms(self) -> float:
        """How long to wait for a leader, or for votes: random, and short at first after the start."""
        wait_ms = self._config.election_timeout_ms * (1.0 + self._rng.random())
        if self._boot_attempts is None:
            return wait_ms
        boot_ms = self._config.boot_election_wait_ms * 2.0 ** min(self._boot_attempts, 16) * (0.5 + self._rng.random())
        return min(wait_ms, boot_ms)

    def _fetch_timeout_ms(self) -> float:
        return self._config.fetch_timeout_ms * (1.0 + FETCH_TIMEOUT_JITTER * self._rng.random())

    def _stand(self, cause: str, *, retries: int = 0, is_successor: bool = False) -> None:
        """Ask whether an election could be won; who was named as the successor need not ask."""
        old = self._state
        if self._boot_attempts is not None:
            self._boot_attempts += 1
        state = ProspectiveState(
            old.epoch,
            local_id=self.node_id,
            voters=self._voter_ids,
            leader_id=old.leader_id,
            voted_id=old.voted_id,
            deadline_ms=self._clock.now_ms() + self._election_wait_ms(),
            retries=retries,
        )
        self._transition_to(state, cause)
        if state.is_won or is_successor:
            self._become_candidate(state, cause)
        else:
            self._enter(state)

    def _become_candidate(self, prospect: ProspectiveState, cause: str) -> None:
        state = CandidateState(
            prospect.epoch + 1,
            local_id=self.node_id,
            voters=self._voter_ids,
            deadline_ms=self._clock.now_ms() + self._election_wait_ms(),
            retries=prospect.retries,
            cause=cause,
        )
        self._transition_to(state, cause)
        if state.is_won:
            self._become_leader(state)
        else:
            self._enter(state)

    def _handle_election_timeout(self, state: ProspectiveState | CandidateState) -> None:
        if self._state is not state:
            return
        if isinstance(state, CandidateState):
            self._stand("its candidacy got no majority", retries=state.retries + 1)
        elif state.leader_id != UNKNOWN_LEADER and state.rejected:
            # Somebody still hears the leader: try to follow it again.
            self._become_follower(state.epoch, state.leader_id, "its pre-vote got no majority")
        else:
            self._stand("nobody answered its pre-vote", retries=state.retries)

    def _ask_for_vote(self, state: ProspectiveState | CandidateState, voter_id: int, attempt: int) -> None:
        if self._state is not state or self._is_closed:
            return
        is_pre_vote = isinstance(state, ProspectiveState)
        body = messages.partition_request(
            self._cluster_id,
            {
                "replica_epoch": state.epoch,
                "replica_id": self.node_id,
                "replica_directory_id": self._directory_id,
                "voter_directory_id": None,
                "last_offset_epoch": max(0, self._log.latest_epoch),
                "last_offset": self._log.log_end_offset,
                "pre_vote": is_pre_vote,
            },
            voter_id=voter_id,
        )
        self._network.send(
            voter_id,
            ApiKey.VOTE,
            body,
            lambda response: self._handle_vote_response(state, voter_id, attempt, response),
            timeout_ms=self._config.request_timeout_ms,
        )

    def _handle_vote_response(self, state: ProspectiveState | CandidateState, voter_id: int, attempt: int, response: Any | None) -> None:
        if self._is_closed:
            return
        partition = messages.only_response_partition(response) if response is not None else None
        if response is not None and Errors.UNSUPPORTED_VERSION in (response.error_code, partition.error_code if partition else 0):
            if self._state is state and isinstance(state, ProspectiveState):
                # A voter older than pre-votes: the election itself must tell.
                self._become_candidate(state, "a voter knows no pre-vote")
            return
        if partition is None or response is None or response.error_code != Errors.NONE:
            if self._state is state and isinstance(state, CandidateState) and voter_id not in state.granted | state.rejected:
                state.unreachable.add(voter_id)
                self._maybe_back_off(state)
            self._retry(attempt, lambda: self._ask_for_vote(state, voter_id, attempt + 1))
            return
        self.observe(partition.leader_id, partition.leader_epoch, f"controller {voter_id} said so when asked for its vote")
        # A late answer to an earlier candidacy says nothing about this one.
        if self._state is not state:
            return
        if partition.error_code != Errors.NONE:
            self._retry(attempt, lambda: self._ask_for_vote(state, voter_id, attempt + 1))
            return
        state.record(voter_id, granted=partition.vote_granted)
        if isinstance(state, CandidateState):
            if state.is_won:
                self._become_leader(state)
            else:
                self._maybe_back_off(state)
        elif state.is_won:
            self._become_candidate(state, f"controllers {_names(state.granted)} would vote for it")
        elif state.leader_id != UNKNOWN_LEADER and (state.is_lost or (voter_id == state.leader_id and not partition.vote_granted)):
            self._become_follower(state.epoch, state.leader_id, "its leader is alive")
        elif state.is_lost and state.leader_id == UNKNOWN_LEADER:
            unattached = UnattachedState(state.epoch, voted_id=state.voted_id, deadline_ms=state.deadline_ms)
            self._transition_to(unattached, "its pre-vote was refused")
            self._enter(unattached)

    def _maybe_back_off(self, state: CandidateState) -> None:
        """A candidacy without hope waits only until it is unlikely to collide again."""
        if not state.is_lost or state.is_backing_off:
            return
        state.is_backing_off = True
        longest_ms = min(ELECTION_BACKOFF_BASE_MS * 2.0 ** min(state.retries + 1, 16), self._config.election_backoff_max_ms)
        wait_ms = self._rng.uniform(min(self._config.retry_backoff_ms, longest_ms), longest_ms)
        self._at(min(state.deadline_ms, self._clock.now_ms() + wait_ms), lambda: self._handle_election_timeout(state))

    def _retry(self, attempt: int, action: Callable[[], None]) -> None:
        delay_ms = min(RETRY_BACKOFF_MAX_MS, self._config.retry_backoff_ms * 2.0 ** min(attempt, 8))
        self._timers.append(self._clock.call_later(delay_ms, action))

    # --- leading -----------------------------------------------------------------------------------

    def _become_leader(self, candidate: CandidateState) -> None:
        now_ms = self._clock.now_ms()
        state = LeaderState(
            candidate.epoch,
            local_id=self.node_id,
            voters=self._voter_ids,
            epoch_start_offset=self._log.log_end_offset,
            now_ms=now_ms,
        )
        votes = tuple(sorted(candidate.granted))
        self._boot_attempts = None
        self._transition_to(state, f"controllers {_names(votes)} voted for it")
        self._reporter.elected(state.epoch, votes, candidate.cause)
        for voter_id in self._other_voters:
            self._announce_epoch(state, voter_id)
        change = LeaderChange(self.node_id, tuple(self.voters), votes)
        self._append_and_flush(
            state,
            leader_change_batch(change, base_offset=state.epoch_start_offset, epoch=state.epoch, timestamp_ms=self._clock.wall_ms()),
        )
        if self._other_voters:
            self._schedule_announcements(state)
            self._check_quorum(state)

    def _schedule_announcements(self, state: LeaderState) -> None:
        """Tell voters that do not fetch, again and again, whom to fetch from."""
        period_ms = self._config.fetch_timeout_ms / 2

        def announce() -> None:
            silent_since_ms = self._clock.now_ms() - period_ms
            for voter_id, progress in state.voters.items():
                if progress.last_fetch_ms <= silent_since_ms:
                    self._announce_epoch(state, voter_id)
            self._timers.append(self._clock.call_later(period_ms, announce))
            self._drop_spent_timers()

        self._timers.append(self._clock.call_later(period_ms, announce))

    def _drop_spent_timers(self) -> None:
        # The list is for cancelling at the end of the state; it must not grow with a long reign.
        if len(self._timers) > 64:
            del self._timers[: len(self._timers) - 32]

    def _announce_epoch(self, state: LeaderState, voter_id: int) -> None:
        body = messages.partition_request(
            self._cluster_id,
            {"voter_directory_id": None, "leader_id": self.node_id, "leader_epoch": state.epoch},
            voter_id=voter_id,
            leader_endpoints=messages.leader_endpoints(self._config.listener_name, self.voters[self.node_id]),
        )
        self._network.send(
            voter_id,
            ApiKey.BEGIN_QUORUM_EPOCH,
            body,
            lambda response: self._handle_announced(response, voter_id),
            timeout_ms=self._config.request_timeout_ms,
        )

    def _handle_announced(self, response: Any | None, voter_id: int) -> None:
        self._handle_epoch_response(response, voter_id)

    def _handle_epoch_response(self, response: Any | None, voter_id: int) -> bool:
        """Note a newer epoch; whether the other side understood."""
        if response is None or self._is_closed:
            return False
        partition = messages.only_response_partition(response)
        if partition is None or response.error_code != Errors.NONE:
            return False
        self.observe(partition.leader_id, partition.leader_epoch, f"controller {voter_id} said so")
        return bool(partition.error_code == Errors.NONE)

    def _check_quorum(self, state: LeaderState) -> None:
        """Lead no longer than a majority follows: it may have another leader by now."""
        limit_ms = self._config.fetch_timeout_ms * CHECK_QUORUM_FACTOR
        remaining_ms = state.majority_fetched_ms() + limit_ms - self._clock.now_ms()
        if remaining_ms <= 0:
            self._resign(f"no majority of the controllers fetched for {limit_ms:.0f} ms")
            return
        self._timers.append(self._clock.call_later(remaining_ms, lambda: self._check_quorum(state)))
        self._drop_spent_timers()

    def _resign(self, cause: str) -> None:
        old = self._state
        assert isinstance(old, LeaderState), "only a leader resigns"
        state = ResignedState(
            old.epoch,
            local_id=self.node_id,
            others=self._other_voters,
            preferred_successors=old.preferred_successors(),
            deadline_ms=self._clock.now_ms() + self._election_wait_ms(),
        )
        self._transition_to(state, cause)
        self._enter(state)

    def _say_goodbye(self, state: ResignedState, voter_id: int, attempt: int) -> None:
        if self._state is not state or self._is_closed:
            return
        body = messages.partition_request(
            self._cluster_id,
            {
                "leader_id": self.node_id,
                "leader_epoch": state.epoch,
                "preferred_successors": state.preferred_successors,
                "preferred_candidates": [
                    {"candidate_id": candidate_id, "candidate_directory_id": None} for candidate_id in state.preferred_successors
                ],
            },
            leader_endpoints=messages.leader_endpoints(self._config.listener_name, self.voters[self.node_id]),
        )

        def on_response(response: Any | None) -> None:
            is_understood = self._handle_epoch_response(response, voter_id)
            if self._state is not state or self._is_closed:
                return
            if not is_understood:
                self._retry(attempt, lambda: self._say_goodbye(state, voter_id, attempt + 1))
                return
            state.unacknowledged.discard(voter_id)
            if self._on_shutdown is not None and not state.unacknowledged:
                self._finish_shutdown()

        self._network.send(voter_id, ApiKey.END_QUORUM_EPOCH, body, on_response, timeout_ms=self._config.request_timeout_ms)

    # --- requests of other members -----------------------------------------------------------------

    def _refusal_of_all(self, request: Any) -> Errors:
        if self._is_closed:
            return Errors.BROKER_NOT_AVAILABLE
        if request.cluster_id is not None and self._cluster_id is not None and request.cluster_id != self._cluster_id:
            return Errors.INCONSISTENT_CLUSTER_ID
        return Errors.NONE if messages.only_partition(request) is not None else Errors.INVALID_REQUEST

    def _partition_response(self, error: Errors, **fields: Any) -> messages.Body:
        return messages.partition_response(self.voters, error, self.leader_id, self.epoch, **fields)

    def _is_voter_key(self, voter_id: int, directory_id: uuid.UUID | None) -> bool:
        """Whether a request that names its receiver means this node and this disk."""
        if voter_id not in (-1, self.node_id):
            return False
        return directory_id is None or self._directory_id is None or directory_id == self._directory_id

    def handle_vote(self, request: Any) -> messages.Body:
        """Answer a candidate, or somebody who wonders whether to become one."""
        error = self._refusal_of_all(request)
        if error is not Errors.NONE:
            return messages.top_level_error(error)
        vote = messages.only_partition(request)
        assert vote is not None, "the request was found well-formed"
        candidate_id, epoch, is_pre_vote = vote.replica_id, vote.replica_epoch, vote.pre_vote
        newest_allowed = epoch if is_pre_vote else epoch - 1
        if epoch < self.epoch:
            return self._partition_response(Errors.FENCED_LEADER_EPOCH, vote_granted=False)
        if candidate_id < 0 or vote.last_offset < 0 or not 0 <= vote.last_offset_epoch <= newest_allowed:
            return self._partition_response(Errors.INVALID_REQUEST, vote_granted=False)
        if not self.is_voter or candidate_id not in self._voter_ids or candidate_id == self.node_id:
            return self._partition_response(Errors.INCONSISTENT_VOTER_SET, vote_granted=False)
        if not self._is_voter_key(request.voter_id, vote.voter_directory_id):
            return self._partition_response(Errors.INVALID_VOTER_KEY, vote_granted=False)
        if epoch > self.epoch:
            self._become_unattached(epoch, f"controller {candidate_id} stands for election")
        own_log = (max(0, self._log.latest_epoch), self._log.log_end_offset)
        is_granted = self._state.grants_vote(
            candidate_id,
            is_log_up_to_date=(vote.last_offset_epoch, vote.last_offset) >= own_log,
            is_pre_vote=is_pre_vote,
        )
        if is_granted and not is_pre_vote and self._state.voted_id is None:
            # On disk when this returns, and only then is it said.
            self._become_unattached(epoch, f"it votes for controller {candidate_id}", voted_id=candidate_id)
        self._reporter.vote_answered(candidate_id, epoch, is_granted=is_granted, is_pre_vote=is_pre_vote)
        state = self._state
        if not is_granted and is_pre_vote and isinstance(state, ProspectiveState) and candidate_id in state.rejected:
            # It refused because it had a leader; now it looks for one, and with the shorter log it cannot be it.
            self._ask_for_vote(state, candidate_id, 0)
        return self._partition_response(Errors.NONE, vote_granted=is_granted)

    def _handle_leader_claim(self, leader_id: int, epoch: int, cause: str) -> Errors:
        """What BeginQuorumEpoch and EndQuorumEpoch have in common: somebody says that it leads, or led."""
        if epoch < self.epoch:
            return Errors.FENCED_LEADER_EPOCH
        if leader_id not in self._voter_ids or leader_id == self.node_id:
            return Errors.INVALID_REQUEST
        if epoch == self.epoch and self.leader_id not in (UNKNOWN_LEADER, leader_id):
            return Errors.INVALID_REQUEST
        self.observe(leader_id, epoch, cause)
        return Errors.NONE

    def handle_begin_quorum_epoch(self, request: Any) -> messages.Body:
        """A new leader tells that it leads."""
        error = self._refusal_of_all(request)
        if error is not Errors.NONE:
            return messages.top_level_error(error)
        partition = messages.only_partition(request)
        assert partition is not None, "the request was found well-formed"
        if not self._is_voter_key(request.voter_id, partition.voter_directory_id):
            return self._partition_response(Errors.INVALID_VOTER_KEY)
        leader_id = partition.leader_id
        return self._partition_response(self._handle_leader_claim(leader_id, partition.leader_epoch, f"controller {leader_id} was elected"))

    def handle_end_quorum_epoch(self, request: Any) -> messages.Body:
        """A leader tells that it leads no longer, and who is nearest to succeed it."""
        error = self._refusal_of_all(request)
        if error is not Errors.NONE:
            return messages.top_level_error(error)
        partition = messages.only_partition(request)
        assert partition is not None, "the request was found well-formed"
        leader_id = partition.leader_id
        claim = self._handle_leader_claim(leader_id, partition.leader_epoch, f"controller {leader_id} led")
        state = self._state
        if claim is Errors.NONE and isinstance(state, FollowerState) and self.is_voter:
            # Having said goodbye it will never lead this epoch again: others may be voted for.
            state.has_fetched = False
            candidates = [candidate.candidate_id for candidate in partition.preferred_candidates]
            candidates = candidates or list(getattr(partition, "preferred_successors", ()))
            backoff_ms = self._succession_backoff_ms(candidates)
            self._cancel_timers()
            is_first = backoff_ms == 0.0
            self._at(self._clock.now_ms() + backoff_ms, lambda: self._stand(f"controller {leader_id} resigned", is_successor=is_first))
        return self._partition_response(claim)

    def _succession_backoff_ms(self, candidates: Sequence[int]) -> float:
        """The first in line stands at once, the others in turn, should it fail."""
        longest_ms = self._config.election_backoff_max_ms
        if self.node_id not in candidates:
            return float(longest_ms)
        position = candidates.index(self.node_id)
        if position == 0:
            return 0.0
        return float(min(longest_ms, (longest_ms >> min(len(candidates) - 1, 31)) << min(position - 1, 31)))

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
        return self._log.create_snapshot(snapshot_id, last_contained_ms=last_contained_ms, wall_ms=self._clock.wall_ms())

    def handle_describe_quorum(self, request: Any) -> messages.Body:
        """Tell who leads and how far everybody is."""
        return self._server.handle_describe_quorum(request, local_id=self.node_id, directory_id=self._directory_id)


def _names(node_ids: Sequence[int] | set[int]) -> str:
    return ", ".join(str(node_id) for node_id in sorted(node_ids))
