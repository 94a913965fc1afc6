"""Hands what is committed to the listener: in order, once, and never from within an append."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from kafkalab.engine.raft.listener import RaftListener
from kafkalab.engine.raft.metadata_log import committed_batches
from kafkalab.engine.raft.snapshot_records import SnapshotReader
from kafkalab.engine.raft.snapshotted_log import SnapshottedLog

READ_BYTES_MAX: Final = 1_048_576


class CommitFeed:
    """Remembers how far the listener has been told, and who waits for a commit."""

    def __init__(self, log: SnapshottedLog, listener: RaftListener) -> None:
        self._log = log
        self._listener = listener
        self._is_running = False
        self._has_begun = False
        self._high_watermark = -1
        self._waiting: deque[tuple[int, Callable[[bool], None]]] = deque()
        self.next_offset = 0
        """Everything before it has been handed over."""

    def wait_for(self, last_offset: int, on_commit: Callable[[bool], None]) -> None:
        """Call back once the offset has been handed over, or when it is no longer certain to be."""
        assert not self._waiting or self._waiting[-1][0] < last_offset, "appends come in order"
        self._waiting.append((last_offset, on_commit))

    def advance(self, high_watermark: int) -> None:
        """More is committed. A call from within the listener is served by the outer one."""
        assert high_watermark >= self._high_watermark, "what is committed stays committed"
        self._high_watermark = high_watermark
        if self._is_running:
            return
        self._is_running = True
        try:
            while self.next_offset < self._high_watermark:
                snapshot = self._snapshot_due()
                self._has_begun = True
                if snapshot is not None:
                    self.next_offset = snapshot.end_offset
                    self._listener.handle_snapshot(snapshot)
                    self._tell_waiting()
                    continue
                data = self._log.read(self.next_offset, READ_BYTES_MAX, max_offset=self._high_watermark)
                batches = committed_batches(data)
                assert batches, f"offset {self.next_offset} is committed but not in the log"
                assert batches[0].base_offset == self.next_offset, "no batch is handed over twice or left out"
                last = batches[-1]
                self.next_offset = last.base_offset + max(1, len(last.values))
                self._listener.handle_commit(batches)
                self._tell_waiting()
        finally:
            self._is_running = False

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
