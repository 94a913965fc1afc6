"""A quorum in one thread: members on a shared clock, a network that loses and delays, disks that forget.

Every message goes through the real codec. After each step the invariants of the protocol are
checked: one leader and one vote per epoch, committed entries agree everywhere and are never lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from random import Random
from typing import Any, NamedTuple

from kafkalab.engine.common.errors import ApiError
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import API_SPECS, ApiKey
from kafkalab.engine.raft import (
    CommittedBatch,
    CommittedSnapshot,
    ElectionState,
    MemoryQuorumStateStore,
    QuorumStateStore,
    RaftConfig,
    RaftNode,
)
from kafkalab.engine.raft.snapshotted_log import SnapshottedLog
from kafkalab.engine.raft.states import LeaderState
from kafkalab.engine.record.batch import STAMP_BYTES, iter_headers, stamp
from tests.support.recording_sink import RecordingSink

CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"


class Appended(NamedTuple):
    last_offset: int


class StoredBatch(NamedTuple):
    base_offset: int
    next_offset: int
    epoch: int
    data: bytes


class FakeLog:
    """The log's API over a list. What was not flushed is lost in a power cut."""

    def __init__(self) -> None:
        self.batches: list[StoredBatch] = []
        self.flushed = 0
        self.log_start_offset = 0

    @property
    def log_end_offset(self) -> int:
        return self.batches[-1].next_offset if self.batches else 0

    @property
    def latest_epoch(self) -> int:
        return self.batches[-1].epoch if self.batches else -1

    def append_as_leader(self, data: bytes, leader_epoch: int, *, client: bool = True) -> Appended:
        stamped = bytearray(data)
        for pos, _header in list(iter_headers(data)):
            stamp(stamped, pos, self.log_end_offset, leader_epoch)
            assert len(data) > STAMP_BYTES
        return self.append_as_follower(bytes(stamped))

    def append_as_follower(self, data: bytes) -> Appended:
        for pos, header in iter_headers(data):
            assert header.base_offset == self.log_end_offset, "no gap in the log"
            assert header.partition_leader_epoch >= self.latest_epoch, "epochs never fall in the log"
            self.batches.append(
                StoredBatch(header.base_offset, header.next_offset, header.partition_leader_epoch, data[pos : pos + header.size_bytes])
            )
        return Appended(self.log_end_offset - 1)

    def read(self, offset: int, max_bytes: int, *, max_offset: int | None = None) -> bytes:
        out = b""
        for batch in self.batches:
            if batch.next_offset <= offset:
                continue
            if max_offset is not None and batch.next_offset > max_offset:
                break
            if out and len(out) + len(batch.data) > max_bytes:
                break
            out += batch.data
        return out

    def truncate_to(self, offset: int) -> None:
        while self.batches and self.batches[-1].next_offset > offset:
            self.batches.pop()
        self.flushed = min(self.flushed, len(self.batches))

    def end_offset_for_epoch(self, epoch: int) -> tuple[int, int]:
        if not self.batches or epoch > self.latest_epoch:
            return -1, -1
        if epoch == self.latest_epoch:
            return epoch, self.log_end_offset
        if epoch < self.batches[0].epoch:
            return epoch, self.batches[0].base_offset
        floor = max(batch.epoch for batch in self.batches if batch.epoch <= epoch)
        return floor, next(batch.base_offset for batch in self.batches if batch.epoch > floor)

    def flush(self) -> None:
        self.flushed = len(self.batches)

    @property
    def size_bytes(self) -> int:
        return sum(len(batch.data) for batch in self.batches)

    def truncate_fully_and_start_at(self, offset: int) -> None:
        raise AssertionError("this log has no snapshots")

    def increment_log_start_offset(self, offset: int) -> None:
        raise AssertionError("this log has no snapshots")

    def delete_old_segments(self, high_watermark: int) -> int:
        raise AssertionError("this log has no snapshots")

    def cut_power(self, rng: Random) -> None:
        """Lose some or all of what was not flushed."""
        del self.batches[rng.randint(self.flushed, len(self.batches)) :]


class Recorder:
    """A listener that keeps what it hears and checks the order."""

    def __init__(self, world: World, node_id: int) -> None:
        self.world = world
        self.node_id = node_id
        self.batches: list[CommittedBatch] = []
        self.next_offset = 0
        self.snapshots: list[tuple[int, list[bytes]]] = []
        self.snapshot_parts: list[int] = []
        self.leader_changes: list[tuple[int, int]] = []
        self.leading: int | None = None

    @property
    def values(self) -> list[bytes]:
        return [value for batch in self.batches if not batch.is_control for value in batch.values]

    def handle_commit(self, batches: list[CommittedBatch]) -> None:
        for batch in batches:
            assert batch.base_offset == self.next_offset, "in order, once, without a gap"
            self.next_offset += len(batch.values)
            self.batches.append(batch)
            self.world.committed_somewhere(self.node_id, batch)

    def handle_snapshot(self, snapshot: CommittedSnapshot) -> Iterator[int]:
        assert snapshot.end_offset > self.next_offset, "a snapshot brings news"
        next_offset, taken = self.next_offset, []
        for values in snapshot.values():
            taken += values
            self.snapshot_parts.append(len(values))
            yield len(values)
        assert self.next_offset == next_offset, "nothing comes in between"
        self.next_offset = snapshot.end_offset
        self.snapshots.append((snapshot.end_offset, taken))

    def handle_leader_change(self, leader_id: int, epoch: int) -> None:
        assert not self.leader_changes or epoch >= self.leader_changes[-1][1]
        self.leader_changes.append((leader_id, epoch))

    def handle_became_leader(self, epoch: int) -> None:
        assert self.leading is None, "a leader is announced once"
        state = self.world.nodes[self.node_id].state
        assert isinstance(state, LeaderState) and state.epoch == epoch
        assert self.next_offset > state.epoch_start_offset, "everything before was handed over"
        self.leading = epoch

    def handle_resigned(self) -> None:
        assert self.leading is not None, "only an announced leader resigns"
        self.leading = None


class Store(MemoryQuorumStateStore):
    """Checks that no member votes twice in an epoch, in any of its lives."""

    def __init__(self) -> None:
        super().__init__()
        self.votes: dict[int, int] = {}

    def write(self, state: ElectionState) -> None:
        assert self.state is None or state.epoch >= self.state.epoch, "epochs only rise"
        if state.voted_id is not None:
            assert self.votes.setdefault(state.epoch, state.voted_id) == state.voted_id, "one vote per epoch"
        super().write(state)


class World:
    """The members, their disks, and the network between them."""

    def __init__(
        self,
        voters: int = 3,
        observers: int = 0,
        *,
        seed: int = 1,
        config: RaftConfig | None = None,
        make_log: Callable[[int, ManualClock], Any] | None = None,
    ) -> None:
        self.rng = Random(seed)
        self.seed = seed
        self.clock = ManualClock()
        self.config = config or RaftConfig()
        self.voter_addresses = {100 + index: ("127.0.0.1", 9090 + index) for index in range(1, voters + 1)}
        self.voter_ids = list(self.voter_addresses)
        self.ids = [*self.voter_ids, *range(1, observers + 1)]
        self.sink = RecordingSink()
        self.delay_ms = (0.1, 2.0)
        self.loss = 0.0
        self.cut: set[tuple[int, int]] = set()
        self.nodes: dict[int, RaftNode] = {}
        self.recorders: dict[int, Recorder] = {}
        self.stores: dict[int, QuorumStateStore] = {node_id: Store() for node_id in self.ids}
        self._make_log = make_log
        self.logs: dict[int, Any] = {node_id: make_log(node_id, self.clock) if make_log else FakeLog() for node_id in self.ids}
        self.leaders: dict[int, int] = {}
        self.committed: dict[int, tuple[int, tuple[bytes, ...]]] = {}
        self.acknowledged: list[bytes] = []
        self.sent: list[tuple[int, int, ApiKey]] = []
        self.disk_failures: dict[int, str] = {}
        """Why members ended by themselves."""
        self.kraft_versions: dict[int, tuple[int, int]] = {}
        """What members say that they can work at; (0, 1) without."""
        self.tamper: Callable[[int, int, ApiKey, Mapping[str, Any]], Mapping[str, Any]] = lambda answerer, asker, api_key, body: body
        """What becomes of an answer on its way."""
        self._incarnation = dict.fromkeys(self.ids, 0)
        self._mail: dict[int, list[tuple[float, int, Callable[[], None]]]] = {}
        self._counter = 0

    # --- members -----------------------------------------------------------------------------------

    def start(self, *node_ids: int) -> None:
        """Start members; all without names."""
        for node_id in node_ids or self.ids:
            self._incarnation[node_id] += 1
            recorder = self.recorders[node_id] = Recorder(self, node_id)
            node = self.nodes[node_id] = RaftNode(
                **self.identity(node_id),
                cluster_id=CLUSTER_ID,
                log=log if isinstance(log := self.logs[node_id], SnapshottedLog) else SnapshottedLog(log),
                store=self.stores[node_id],
                clock=self.clock,
                rng=Random(self.rng.random()),
                network=_Network(self, node_id),
                sink=self.sink,
                config=self.config,
                listener=recorder,
                on_fatal=partial(self._disk_failed, node_id),
            )
            node.start()

    def identity(self, node_id: int) -> dict[str, Any]:
        """Who a member is, and whom it knows."""
        return {"node_id": node_id, "directory_id": None, "voters": self.voter_addresses}

    def reached_by(self, source: int, target: int) -> int:
        """The member that gets what is sent to an id."""
        return target

    def kill(self, node_id: int, *, power_cut: bool = False) -> None:
        """Stop a member where it stands."""
        self.nodes.pop(node_id).abandon()
        self._incarnation[node_id] += 1
        if power_cut:
            self.logs[node_id].cut_power(self.rng)

    def _disk_failed(self, node_id: int, why: str) -> None:
        self.disk_failures[node_id] = why
        self.clock.call_later(0.0, partial(self._end_failed, self.nodes[node_id]))

    def _end_failed(self, node: RaftNode) -> None:
        if self.nodes.get(node.node_id) is node:
            self.kill(node.node_id)

    def restart(self, node_id: int) -> None:
        """Start a killed member again, on what its disk kept."""
        self.start(node_id)

    def isolate(self, *node_ids: int) -> None:
        """Cut a group off from all others."""
        for one in node_ids:
            for other in self.ids:
                if other not in node_ids:
                    self.cut |= {(one, other), (other, one)}

    def heal(self) -> None:
        """Everybody reaches everybody again."""
        self.cut.clear()
        self.loss = 0.0

    # --- time --------------------------------------------------------------------------------------

    def run(self, for_ms: float) -> None:
        """Let time pass, checking after each step."""
        end = self.clock.now_ms() + for_ms
        while (due := self.clock.next_due_ms()) is not None and due <= end:
            self.clock.advance(max(0.0, due - self.clock.now_ms()))
            self.check()
        self.clock.advance(end - self.clock.now_ms())

    def run_until(self, condition: Callable[[], bool], within_ms: float = 20_000.0) -> float:
        """Let time pass until something holds; how long that took."""
        started = self.clock.now_ms()
        while not condition():
            due = self.clock.next_due_ms()
            assert due is not None and due <= started + within_ms, f"not within {within_ms} ms (seed {self.seed}): {self.describe()}"
            self.clock.advance(max(0.0, due - self.clock.now_ms()))
            self.check()
        return self.clock.now_ms() - started

    def describe(self) -> str:
        return "; ".join(
            f"{node_id} {node.state_name} epoch {node.epoch} leader {node.leader_id} hw {node.high_watermark} end {node.log_end_offset}"
            for node_id, node in self.nodes.items()
        )

    # --- what holds --------------------------------------------------------------------------------

    def leader(self) -> RaftNode | None:
        """The announced leader of the newest epoch, if there is one."""
        leading = [self.nodes[one] for one, recorder in self.recorders.items() if one in self.nodes and recorder.leading is not None]
        return max(leading, key=lambda node: node.epoch, default=None)

    def elect(self) -> RaftNode:
        """Wait for a leader."""
        self.run_until(lambda: self.leader() is not None)
        leader = self.leader()
        assert leader is not None
        return leader

    def append(self, value: bytes) -> None:
        """Let the leader append; what it confirms must never be lost."""
        leader = self.leader()
        if leader is None:
            return

        def on_commit(ok: bool) -> None:
            if ok:
                self.acknowledged.append(value)

        try:
            leader.append([value], on_commit)
        except ApiError:
            return

    def committed_somewhere(self, node_id: int, batch: CommittedBatch) -> None:
        """A member handed over a batch: all members hand over the same."""
        entry = (batch.epoch, tuple(batch.values))
        assert self.committed.setdefault(batch.base_offset, entry) == entry, f"committed entries differ (seed {self.seed})"

    def check(self) -> None:
        """The invariants."""
        for node_id, node in self.nodes.items():
            state = node.state
            if isinstance(state, LeaderState):
                known = self.leaders.setdefault(state.epoch, node_id)
                assert known == node_id, f"two leaders in epoch {state.epoch} (seed {self.seed})"
            assert node.high_watermark <= node.log_end_offset
            recorder = self.recorders[node_id]
            assert recorder.next_offset == max(0, node.high_watermark), "what is known to be committed has been handed over"

    def check_converged(self) -> None:
        """After healing: every member has everything that was acknowledged."""
        for node_id in self.nodes:
            values = self.recorders[node_id].values
            lost = [value for value in self.acknowledged if value not in values]
            assert not lost, f"acknowledged and lost at {node_id}: {lost} (seed {self.seed})"
            assert len(set(values)) == len(values), "nothing is committed twice"

    # --- network -----------------------------------------------------------------------------------

    def later(self, action: Callable[[], None]) -> None:
        self.clock.call_later(self.rng.uniform(*self.delay_ms), action)

    def passes(self, source: int, target: int) -> bool:
        return (source, target) not in self.cut and self.rng.random() >= self.loss

    def is_alive(self, node_id: int, incarnation: int) -> bool:
        return node_id in self.nodes and self._incarnation[node_id] == incarnation

    def incarnation(self, node_id: int) -> int:
        return self._incarnation[node_id]


class _Network:
    def __init__(self, world: World, node_id: int) -> None:
        self._world = world
        self._node_id = node_id

    def send(
        self,
        node_id: int,
        api_key: ApiKey,
        body: Mapping[str, Any],
        on_response: Callable[[Any | None], None],
        *,
        timeout_ms: float,
        version: int | None = None,
    ) -> None:
        world, source = self._world, self._node_id
        target = world.reached_by(source, node_id)
        used = API_SPECS[api_key].max_version if version is None else version
        data = codec.encode_request_body(api_key, used, body)
        own_incarnation = world.incarnation(source)
        world.sent.append((source, target, api_key))
        answered = False

        def finish(response: Any | None) -> None:
            nonlocal answered
            if answered:
                return
            answered = True
            timer.cancel()
            if world.is_alive(source, own_incarnation):
                on_response(response)

        timer = world.clock.call_later(timeout_ms, lambda: finish(None))

        def arrive() -> None:
            node = world.nodes.get(target)
            if not world.passes(source, target):
                return
            if node is None:
                # Nobody listens there: the connection is refused.
                world.later(lambda: finish(None))
                return
            incarnation = world.incarnation(target)

            def respond(response: Mapping[str, Any]) -> None:
                encoded = codec.encode_response_body(api_key, used, world.tamper(target, source, api_key, response))
                if not world.is_alive(target, incarnation) or not world.passes(target, source):
                    return
                world.later(lambda: finish(codec.decode_response(api_key, used, encoded)))

            request = codec.decode_request(api_key, used, data)
            if api_key is ApiKey.FETCH:
                node.handle_fetch(request, respond)
            elif api_key is ApiKey.VOTE:
                respond(node.handle_vote(request))
            elif api_key is ApiKey.BEGIN_QUORUM_EPOCH:
                respond(node.handle_begin_quorum_epoch(request))
            elif api_key is ApiKey.FETCH_SNAPSHOT:
                respond(node.handle_fetch_snapshot(request))
            elif api_key is ApiKey.ADD_RAFT_VOTER:
                node.handle_add_voter(request, respond)
            elif api_key is ApiKey.REMOVE_RAFT_VOTER:
                node.handle_remove_voter(request, respond)
            elif api_key is ApiKey.UPDATE_RAFT_VOTER:
                respond(node.handle_update_voter(request))
            elif api_key is ApiKey.API_VERSIONS:
                low, high = world.kraft_versions.get(target, (0, 1))
                feature = {"name": "kraft.version", "min_version": low, "max_version": high}
                respond({"error_code": 0, "api_keys": [], "supported_features": [feature]})
            else:
                assert api_key is ApiKey.END_QUORUM_EPOCH
                respond(node.handle_end_quorum_epoch(request))

        world.later(arrive)


__all__ = ["CLUSTER_ID", "FakeLog", "Recorder", "Store", "World"]
