"""What of a log is certain to be on the disk, and how it gets there.

The recovery point is where that ends: from there on a start after an unclean stop validates again. A synced
file is lost all the same when its directory does not know it, so names are synced with the bytes.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from kafkalab.engine.common.errors import ApiError
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.log.config import LONG_MAX, LogConfig
from kafkalab.engine.log.epoch_file import LeaderEpochFile
from kafkalab.engine.log.segment import Segment
from kafkalab.engine.log.segments import LogSegments, base_offset
from kafkalab.engine.log.storage import Storage


class FlushedLog(Protocol):
    """The log whose bytes these are, as it is now."""

    @property
    def config(self) -> LogConfig: ...

    @property
    def directory(self) -> Path: ...

    @property
    def log_dir(self) -> Path: ...

    @property
    def log_end_offset(self) -> int: ...


class LogFlusher:
    """Syncs one log.

    :param recovery_point: everything below is on the disk.
    :param failed: told when the disk refuses, what was being done and why; gives what to raise.
    """

    __slots__ = (
        "_clock",
        "_directory_unsynced",
        "_epoch_file",
        "_failed",
        "_flushed_at_ms",
        "_is_closed",
        "_log",
        "_segments",
        "_storage",
        "_timer",
        "_under_way",
        "cuts",
        "names_unsynced",
        "recovery_point",
    )

    def __init__(
        self,
        log: FlushedLog,
        segments: LogSegments,
        epoch_file: LeaderEpochFile,
        storage: Storage,
        clock: Clock,
        *,
        recovery_point: int,
        failed: Callable[[str, OSError], ApiError],
    ) -> None:
        self.recovery_point = recovery_point
        """Everything below was synced; never above the log end."""
        self.names_unsynced = True
        """Files were created whose names a power cut would take."""
        self.cuts = 0
        """Counts truncations: what was under way to the disk before one says nothing after it."""
        self._log = log
        self._segments = segments
        self._epoch_file = epoch_file
        self._storage = storage
        self._clock = clock
        self._failed = failed
        # The first time the directory itself was created.
        self._directory_unsynced = True
        self._flushed_at_ms = clock.now_ms()
        self._timer: Timer | None = None
        # Sealed segments whose bytes go to the disk beside the loop, and after how many cuts that was asked for.
        self._under_way: dict[Segment, int] = {}
        self._is_closed = False

    def flush(self) -> None:
        """Return when everything appended is on the disk; at once when it is there already.

        :raises ApiError: KAFKA_STORAGE_ERROR when the disk refuses.
        """
        end_offset = self._log.log_end_offset
        if self.recovery_point != end_offset:
            self._flush_segments(self._segments)
            self.recovery_point = end_offset
            self._flushed_at_ms = self._clock.now_ms()

    def flush_inactive(self) -> None:
        """Sync all but the active segment, so that little is left to validate after a kill."""
        active_base_offset = self._segments[-1].base_offset
        if self.recovery_point < active_base_offset:
            self._flush_segments(self._segments[:-1])
            self.recovery_point = active_base_offset

    def maybe_flush(self) -> None:
        """Flush when ``flush.ms`` says that it is time."""
        flush_ms = self._log.config.flush_ms
        if flush_ms != LONG_MAX and self._clock.now_ms() - self._flushed_at_ms >= flush_ms:
            self.flush()

    def flush_if_due(self) -> None:
        """After an append: flush when ``flush.messages`` asks for it, or when ``flush.ms`` is over."""
        config = self._log.config
        if self._log.log_end_offset - self.recovery_point >= config.flush_messages:
            self.flush()
        elif config.flush_ms != LONG_MAX and self._timer is None:
            self._timer = self._clock.call_later(config.flush_ms, self._flush_in_time)

    def _flush_in_time(self) -> None:
        self._timer = None
        # The disk's refusal was told to whoever keeps the directory; nobody else waits for this.
        with contextlib.suppress(ApiError):
            self.flush()

    def _flush_segments(self, segments: list[Segment]) -> None:
        try:
            pending = []
            for segment in reversed(segments):
                pending.append(segment)
                if segment.base_offset <= self.recovery_point:
                    break
            # The oldest first: power that goes amid this leaves no hole.
            while pending:
                pending.pop().sync()
            if self.names_unsynced:
                self._sync_names()
        except OSError as error:
            raise self._failed("flushing", error) from error

    def _sync_names(self) -> None:
        if self._epoch_file.is_unsynced:
            # Recovery finds newer epochs in the batches from the recovery point on only.
            self._epoch_file.write(sync=True)
        else:
            self._storage.sync_dir(self._log.directory)
        if self._directory_unsynced:
            self._storage.sync_dir(self._log.log_dir)
            self._directory_unsynced = False
        self.names_unsynced = False

    # --- without waiting ----------------------------------------------------------------------------

    def flush_later(self) -> None:
        """As :meth:`flush_inactive`, without waiting for the disk: the recovery point follows when it is done."""
        segments = self._segments[:-1]
        first = bisect_right(segments, self.recovery_point, key=base_offset) - 1
        for segment in segments[max(0, first) :]:
            # One roll follows the other while a log is copied, and the disk is behind: what it was asked for it need not be asked again.
            if segment.unsynced and self._under_way.get(segment) != self.cuts:
                self._sync_later(segment)

    def _sync_later(self, segment: Segment) -> None:
        files = [segment.file, *segment.index_files()]
        pending = len(files)
        self._under_way[segment] = self.cuts

        def synced(cuts: int, error: OSError | None) -> None:
            nonlocal pending
            # Below zero once one was refused: the others change nothing then.
            pending = -1 if error is not None else pending - 1
            if error is not None or not pending:
                self._synced_later(segment, cuts, error)

        for file in files:
            self._storage.sync_later(file, partial(synced, self.cuts))
            if file is not segment.file:
                file.close()

    def flush_all_later(self, done: Callable[[], None]) -> None:
        """As :meth:`flush`, without waiting for the disk; ``done`` is called, perhaps at once, when what is there now is on it."""
        end_offset, cuts = self._log.log_end_offset, self.cuts
        pending = {segment: segment.size for segment in self._segments if segment.unsynced}

        def synced(segment: Segment, error: OSError | None) -> None:
            size = pending.pop(segment)
            if self._is_closed or cuts != self.cuts:
                return
            if error is not None:
                self._failed("flushing", error)
                return
            if segment.size == size:
                segment.unsynced = False
            if not pending:
                finish()

        def finish() -> None:
            if self._try_to_sync_names():
                self.recovery_point = max(self.recovery_point, end_offset)
                done()

        if not pending:
            finish()
        for segment in list(pending):
            self._storage.sync_later(segment.file, partial(synced, segment))

    def _synced_later(self, segment: Segment, cuts: int, error: OSError | None) -> None:
        if self._is_closed:
            return
        if self._under_way.get(segment) == cuts:
            del self._under_way[segment]
        if error is not None:
            self._failed("flushing", error)
            return
        if cuts != self.cuts:
            return
        segment.unsynced = segment.indexes_unsynced = False
        if not self._try_to_sync_names():
            return
        # Up to the first segment that is not on the disk.
        for one in self._segments:
            if one.unsynced or one is self._segments[-1]:
                self.recovery_point = max(self.recovery_point, one.base_offset)
                break

    def _try_to_sync_names(self) -> bool:
        """Whether all names are on the disk now; nobody waits for this to whom a refusal could be raised."""
        try:
            if self.names_unsynced:
                self._sync_names()
        except OSError as error:
            self._failed("flushing", error)
            return False
        return True

    # --- what becomes of the log --------------------------------------------------------------------

    def cut(self, offset: int) -> None:
        """The log ends at an offset now."""
        self.cuts += 1
        self.recovery_point = min(self.recovery_point, offset)

    def abandon(self) -> None:
        """Sync nothing any more."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
