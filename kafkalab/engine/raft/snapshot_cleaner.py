"""Deletes old snapshots, and the log's prefix that they end, when they are too old or all is too much (KIP-630)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from kafkalab.engine.common.errors import ApiError
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.raft.snapshot_records import CorruptSnapshot, SnapshotReader
from kafkalab.engine.raft.snapshot_store import SnapshotId
from kafkalab.engine.raft.snapshotted_log import SnapshottedLog

log = logging.getLogger(__name__)

CLEAN_INTERVAL_MS: Final = 60_000.0


class SnapshotCleaner:
    """Looks every minute. The latest snapshot stays, whatever its size and age."""

    def __init__(self, metadata_log: SnapshottedLog, *, clock: Clock, retention_bytes: int, retention_ms: int) -> None:
        """``retention_bytes`` is for log and snapshots together; -1 sets no bound, to time or to size."""
        self._log = metadata_log
        self._clock = clock
        self._retention_bytes = retention_bytes
        self._retention_ms = retention_ms
        self._timer: Timer | None = None

    def start(self) -> None:
        """Look from now on."""
        if self._log.snapshots is not None:
            self._timer = self._clock.call_later(CLEAN_INTERVAL_MS, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self.start()
        try:
            self.clean()
        except (OSError, ApiError) as error:
            log.error("The metadata log's old snapshots cannot be deleted: %s", error)

    def clean(self) -> None:
        """Delete what the settings say.

        :raises OSError: as the disk gives it.
        :raises ApiError: when the log cannot be cut.
        """
        snapshots = self._log.snapshots
        if snapshots is None:
            return
        if self._retention_bytes >= 0:
            sizes = {one: snapshots.size_bytes(one) for one in snapshots.ids}

            def is_too_much(_: SnapshotId) -> bool:
                return self._log.size_bytes + sum(sizes[one] for one in snapshots.ids) > self._retention_bytes

            self._clean_while(is_too_much)
        if self._retention_ms >= 0:

            def is_too_old(snapshot_id: SnapshotId) -> bool:
                try:
                    contained_ms = SnapshotReader(snapshots, snapshot_id).last_contained_ms()
                except CorruptSnapshot:
                    # Of no use to anybody.
                    return True
                return self._clock.wall_ms() - contained_ms > self._retention_ms

            self._clean_while(is_too_old)

    def _clean_while(self, is_expired: Callable[[SnapshotId], bool]) -> None:
        snapshots = self._log.snapshots
        assert snapshots is not None, "there is something to clean"
        while len(snapshots.ids) > 1:
            oldest, following = snapshots.ids[:2]
            if not is_expired(oldest) or not self._log.delete_before(following):
                return
            log.info("Snapshot %s was deleted, and the metadata log begins at offset %d", oldest, self._log.log_start_offset)
