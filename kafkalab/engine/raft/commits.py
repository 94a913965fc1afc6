"""Hands what is committed to the listener: in order, once, never from within an append, and not all in one go.

A node that comes late, or back, has a long log or a large snapshot to take up, and in the same loop it
answers fetches and votes and sends heartbeats. So a bounded number of records is handed over in a
turn, and the rest in later ones; what is committed meanwhile waits its turn in the log. Kafka has a
thread for this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.raft.listener import RaftListener
from kafkalab.engine.raft.metadata_log import committed_batches
from kafkalab.engine.raft.snapshot_records import CorruptSnapshot, SnapshotReader
from kafkalab.engine.raft.snapshotted_log import SnapshottedLog

RECORDS_PER_TURN_MAX: Final = 256
"""A turn ends with the step in which so many are reached: some 5 ms. Small quorums never get as far in one."""
READ_BYTES_MAX: Final = 16_384
"""One step; a batch that is larger is a step of its own, for it is one change."""


class FeedOwner(Protocol):
    """The member whose log it is."""

    def handle_handed_over(self) -> None:
        """The listener has got something; it may be all there is."""

    def handle_fatal(self, why: str) -> None:
        """The member cannot take part any more."""

    def handle_disk_failed(self, why: str) -> None:
        """What is committed cannot be read."""


class CommitFeed:
    """Remembers how far the listener has been told, and who waits for a commit."""

    def __init__(self, owner: FeedOwner, *, log: SnapshottedLog, listener: RaftListener, clock: Clock) -> None:
        self._owner = owner
        self._log = log
        self._listener = listener
        self._clock = clock
        self._is_running = False
        self._is_stopped = False
        self._has_begun = False
        self._high_watermark = -1
        self._waiting: deque[tuple[int, Callable[[bool], None]]] = deque()
        # A snapshot that the listener has a part of, and what it does with the rest.
        self._loading: tuple[SnapshotReader, Iterator[int]] | None = None
        # Set while a turn is to come.
        self._next_turn: Timer | None = None
        self.next_offset = 0
        """Everything before it has been handed over."""

    def wait_for(self, last_offset: int, on_commit: Callable[[bool], None]) -> None:
        """Call back once the offset has been handed over, or when it is no longer certain to be."""
        assert not self._waiting or self._waiting[-1][0] < last_offset, "appends come in order"
        self._waiting.append((last_offset, on_commit))

    def advance(self, high_watermark: int) -> None:
        """More is committed. A call from within the listener is served by the outer one, one between two turns by the next."""
        assert high_watermark >= self._high_watermark, "what is committed stays committed"
        self._high_watermark = high_watermark
        if not self._is_running and self._next_turn is None:
            self._take_turn()

    def stop(self) -> None:
        """Hand over nothing more; half a snapshot is forgotten."""
        self._is_stopped = True
        self._loading = None
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None

    def _take_turn(self) -> None:
        self._next_turn = None
        self._is_running = True
        records = 0
        try:
            while not self._is_stopped and self.next_offset < self._high_watermark:
                if records >= RECORDS_PER_TURN_MAX:
                    self._next_turn = self._clock.call_later(0.0, self._take_turn)
                    break
                records += self._hand_over_some()
        finally:
            self._is_running = False
        self._owner.handle_handed_over()

    def _hand_over_some(self) -> int:
        """One step; how many records it took."""
        loading = self._loading
        if loading is None or not self._log.has_snapshot(loading[0].snapshot_id):
            # Where it is gone the log begins after it, and a newer one is there to be begun with.
            self._loading = None
            snapshot = self._snapshot_due()
            self._has_begun = True
            if snapshot is None:
                return self._hand_over_batches()
            loading = self._loading = snapshot, self._listener.handle_snapshot(snapshot)
        snapshot, parts = loading
        try:
            records = next(parts, None)
        except CorruptSnapshot as corrupt:
            # It was whole when it was taken or when the node started.
            self._owner.handle_disk_failed(str(corrupt))
            raise ApiError(Errors.KAFKA_STORAGE_ERROR, str(corrupt)) from corrupt
        if records is not None:
            return records
        self._loading = None
        self.next_offset = snapshot.end_offset
        self._tell_waiting()
        return 0

    def _hand_over_batches(self) -> int:
        data = self._log.read(self.next_offset, READ_BYTES_MAX, max_offset=self._high_watermark)
        try:
            batches = committed_batches(data)
        except ApiError as error:
            why = f"the metadata log cannot be understood after offset {self.next_offset - 1}: {error.message}"
            self._owner.handle_fatal(why)
            raise ApiError(Errors.KAFKA_STORAGE_ERROR, why) from error
        assert batches, f"offset {self.next_offset} is committed but not in the log"
        assert batches[0].base_offset == self.next_offset, "no batch is handed over twice or left out"
        first, last = self.next_offset, batches[-1]
        self.next_offset = last.base_offset + max(1, len(last.values))
        self._listener.handle_commit(batches)
        self._tell_waiting()
        return self.next_offset - first

    def _snapshot_due(self) -> SnapshotReader | None:
        """What the listener gets in place of batches: at the start, and when the log begins after what it knows."""
        if self._has_begun and self.next_offset >= self._log.log_start_offset:
            return None
        snapshot = self._log.latest_snapshot()
        if snapshot is None or snapshot.end_offset <= self.next_offset or snapshot.end_offset > self._high_watermark:
            assert self.next_offset >= self._log.log_start_offset, (
                f"the log begins after {self.next_offset}, and no snapshot says what was before"
            )
            return None
        return snapshot

    def _tell_waiting(self) -> None:
        while self._waiting and self._waiting[0][0] < self.next_offset:
            self._waiting.popleft()[1](True)

    def give_up_waiting(self) -> None:
        """This node leads no longer: what was appended may or may not survive."""
        waiting, self._waiting = self._waiting, deque()
        for _, on_commit in waiting:
            on_commit(False)
