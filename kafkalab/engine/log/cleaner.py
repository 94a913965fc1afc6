"""The cleaner: compacts one log after the other, the dirtiest first, without holding up its node.

A compaction runs in the node's own loop, a slice of about a millisecond at a time. While clients
are served it takes no more than a fixed share of the time, and sleeps in between; while nobody asks
for anything it goes on at once. What must wait for the disk waits beside the loop.

A log with a batch that cannot be what it says is left alone from then on, with the reason; a disk
that refuses is told to whoever keeps the directory. What was compacted already is in
``cleaner-offset-checkpoint``; when that is lost, everything counts as dirty.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.log.cleanable import LogToClean, log_to_clean
from kafkalab.engine.log.cleaning import READ_BYTES, Cleaning, CleaningAborted, CleaningStats, SyncFiles
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.offset_map import OffsetMap
from kafkalab.engine.log.storage import Storage

SLICE_MS: Final = 1.0
SLICE_MS_MAX: Final = 4.0
"""Of a slice after a pause that the loop's other work drew out."""
SLICE_BYTES_MAX: Final = 4 * 1024 * 1024
BUSY_SHARE: Final = 0.25
"""Of the loop's time, while clients are served."""
IDLE_SHARE: Final = 0.9

_PORTION_SECONDS: Final = 0.1

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanerConfig:
    """The broker's ``log.cleaner.*``; the defaults are Kafka's."""

    enabled: bool = True
    io_max_bytes_per_second: float = 1.7976931348623157e308
    dedupe_buffer_bytes: int = 134_217_728
    load_factor: float = 0.9
    read_bytes: int = READ_BYTES
    backoff_ms: int = 15_000

    @classmethod
    def from_broker(cls, config: BrokerConfig) -> Self:
        """One log is compacted at a time; more threads only divide the memory, none at all is a cleaner that is off."""
        threads = config.get_int("log.cleaner.threads")
        return cls(
            enabled=config.get_boolean("log.cleaner.enable") and threads > 0,
            io_max_bytes_per_second=config.get_double("log.cleaner.io.max.bytes.per.second"),
            dedupe_buffer_bytes=config.get_int("log.cleaner.dedupe.buffer.size") // max(1, threads),
            load_factor=config.get_double("log.cleaner.io.buffer.load.factor"),
            read_bytes=config.get_int("log.cleaner.io.buffer.size") // max(1, threads) // 2,
            backoff_ms=config.get_int("log.cleaner.backoff.ms"),
        )


class LogCleaner:
    """Works on the logs of ``logs`` whose ``cleanup.policy`` has ``compact``, from :meth:`start` to :meth:`stop`.

    :param moving: logs that are left as they are, because they are being copied: a copy of which the first part was made
        before a compaction and the rest after it would pass for compacted, and its first part never be compacted again.
    """

    def __init__(
        self,
        logs: Mapping[TopicPartition, Log],
        clock: Clock,
        storage: Storage,
        config: CleanerConfig,
        *,
        moving: Container[TopicPartition] = frozenset(),
    ) -> None:
        self.config = config
        """May be replaced at any time; a compaction that is under way ends with what it began with, but for the rate."""
        self.uncleanable: dict[TopicPartition, str] = {}
        """Logs that are not compacted any more in this life, and why."""
        self.on_compacted: Callable[[Log, CleaningStats], None] | None = None
        """Told of each compaction, when ``first_dirty_offset`` has moved: to write it down."""
        self.on_uncleanable: Callable[[Log, str], None] | None = None
        self._logs = logs
        self._moving = moving
        self._clock = clock
        self._storage = storage
        self._last_stable_offset: Callable[[Log], int | None] = lambda log: None
        self._delete_old: Callable[[Log], None] = lambda log: None
        self._activity: Callable[[], int] | None = None
        self._seen_activity = -1
        self._cleaning: Cleaning | None = None
        self._steps: Iterator[int | SyncFiles] = iter(())
        self._timer: Timer | None = None
        self._debt_ms = 0.0
        self._debt_at_ms = 0.0
        self._began_ms = 0.0
        self._due_ms = 0.0
        self._share = BUSY_SHARE
        self._credit_ms = 0.0
        # Counts compactions, so that a late answer of the disk finds only its own.
        self._run = 0

    def start(
        self,
        *,
        last_stable_offset: Callable[[Log], int | None],
        delete_old: Callable[[Log], None],
        activity: Callable[[], int] | None = None,
    ) -> None:
        """Begin to look for dirty logs.

        :param last_stable_offset: up to where a log's records are committed and decided; None while that is not known.
        :param delete_old: applies retention to a log; called for compacted logs whenever dirty ones were looked for.
        :param activity: a number that changes as long as clients are served.
        """
        self._last_stable_offset = last_stable_offset
        self._delete_old = delete_old
        self._activity = activity
        self._later(self.config.backoff_ms, self._look_for_work)

    def stop(self) -> None:
        """Give up what is under way; nothing of it stays."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._give_up()

    def abandon(self) -> None:
        """Stop as a killed process does: the files stay as they are."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._cleaning = None
        self._steps = iter(())
        self._run += 1

    def forget(self, tp: TopicPartition) -> None:
        """A log is about to be deleted, or its place to be taken by another."""
        self.uncleanable.pop(tp, None)
        self.interrupt(tp)

    def interrupt(self, tp: TopicPartition) -> None:
        """A log is to be left as it is from now on: what is under way on it is given up, and nothing of it stays."""
        if self._cleaning is not None and self._cleaning.log.topic_partition == tp:
            self._give_up()
            self._later(0.0, self._look_for_work)

    @property
    def is_cleaning(self) -> TopicPartition | None:
        """The log that is being compacted now."""
        return None if self._cleaning is None else self._cleaning.log.topic_partition

    # --- choice -------------------------------------------------------------------------------------

    def _later(self, delay_ms: float, action: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(delay_ms, action)

    def _look_for_work(self) -> None:
        self._timer = None
        dirtiest = self._dirtiest() if self.config.enabled else None
        if self.config.enabled:
            for log in [log for tp, log in self._logs.items() if self._may_touch(tp, log)]:
                if dirtiest is None or log is not dirtiest.log:
                    # The disk's refusal was told to whoever keeps the directory.
                    with contextlib.suppress(ApiError):
                        self._delete_old(log)
        if dirtiest is None:
            self._later(self.config.backoff_ms, self._look_for_work)
            return
        log = dirtiest.log
        _log.info(
            "%s: compacting from offset %d to %d", log.topic_partition, dirtiest.first_dirty_offset, dirtiest.first_uncleanable_offset
        )
        config = self.config
        self._cleaning = Cleaning(
            log,
            self._storage,
            first_dirty_offset=dirtiest.first_dirty_offset,
            first_uncleanable_offset=dirtiest.first_uncleanable_offset,
            offset_map=OffsetMap(config.dedupe_buffer_bytes, config.load_factor),
            wall_ms=self._clock.wall_ms(),
            read_bytes=config.read_bytes,
        )
        self._steps = self._cleaning.steps()
        self._run += 1
        self._debt_ms = 0.0
        self._debt_at_ms = self._began_ms = self._due_ms = self._clock.now_ms()
        self._later(0.0, self._work)

    def _may_touch(self, tp: TopicPartition, log: Log) -> bool:
        return log.config.compacted and tp not in self.uncleanable and tp not in self._moving

    def _dirtiest(self) -> LogToClean | None:
        found: LogToClean | None = None
        wall_ms = self._clock.wall_ms()
        for tp, log in self._logs.items():
            if not self._may_touch(tp, log):
                continue
            last_stable_offset = self._last_stable_offset(log)
            if last_stable_offset is None:
                continue
            try:
                candidate = log_to_clean(log, last_stable_offset, wall_ms)
            except OSError as error:
                self._disk_refused(log, error)
                continue
            if candidate.is_due and (found is None or candidate.cleanable_ratio > found.cleanable_ratio):
                found = candidate
        return found

    # --- work ---------------------------------------------------------------------------------------

    def _work(self) -> None:
        """One slice: steps until the time is over, the work is done or the disk is waited for."""
        self._timer = None
        cleaning = self._cleaning
        if cleaning is None:
            return
        log = cleaning.log
        if self._logs.get(log.topic_partition) is not log or not log.config.compacted:
            # Gone, or not to be compacted any more.
            self._finish()
            return
        began_ms = self._clock.now_ms()
        # A pause that came out longer than it was meant to be has been paid for already.
        earned_ms = max(0.0, began_ms - self._due_ms) * self._share / (1.0 - self._share)
        self._credit_ms = min(earned_ms, SLICE_MS_MAX - SLICE_MS)
        slice_ms = SLICE_MS + self._credit_ms
        moved = 0
        # A slow rate is kept in small portions.
        portion = min(SLICE_BYTES_MAX, self.config.io_max_bytes_per_second * _PORTION_SECONDS)
        try:
            for step in self._steps:
                if isinstance(step, SyncFiles):
                    self._wait_for(step)
                    return
                moved += step
                if moved >= portion or self._clock.now_ms() - began_ms >= slice_ms:
                    self._rest(moved, began_ms)
                    return
        except CleaningAborted as why:
            _log.info("compaction given up: %s", why)
            self._finish()
        except OSError as error:
            self._disk_refused(log, error)
            self._finish()
        except ApiError as error:
            if error.error is not Errors.KAFKA_STORAGE_ERROR:
                self._leave_alone(log, error.message or error.error.name)
            self._finish()
        else:
            self._done(cleaning)

    def _rest(self, moved: int, began_ms: float) -> None:
        """Leave the loop to others for as long as the share and the rate ask for."""
        now_ms = self._clock.now_ms()
        share = IDLE_SHARE
        if self._activity is not None:
            activity = self._activity()
            if activity != self._seen_activity:
                self._seen_activity = activity
                share = BUSY_SHARE
        worked_ms = now_ms - began_ms
        unpaid_ms = max(0.0, worked_ms - self._credit_ms)
        pause_ms = unpaid_ms * (1.0 - share) / share if share < IDLE_SHARE else 0.0
        self._debt_ms = max(0.0, self._debt_ms - (now_ms - self._debt_at_ms)) + 1000.0 * moved / self.config.io_max_bytes_per_second
        self._debt_at_ms = now_ms
        delay_ms = max(pause_ms, self._debt_ms)
        self._share = share
        self._due_ms = now_ms + delay_ms
        self._later(delay_ms, self._work)

    def _wait_for(self, step: SyncFiles) -> None:
        run = self._run
        left = len(step.files) + 1

        def synced(error: OSError | None) -> None:
            nonlocal left
            if run != self._run or self._cleaning is None:
                return
            if error is not None:
                self._disk_refused(self._cleaning.log, error)
                self._finish()
                return
            left -= 1
            if not left:
                self._later(0.0, self._work)

        for file in step.files:
            self._storage.sync_later(file, synced)
        self._storage.sync_dir_later(step.directory, synced)

    def _done(self, cleaning: Cleaning) -> None:
        log, stats = cleaning.log, cleaning.stats
        stats.duration_ms = self._clock.now_ms() - self._began_ms
        log.first_dirty_offset = cleaning.end_offset
        self._cleaning = None
        _log.info(
            "%s: compacted up to offset %d: %d bytes are %d now, %d records went, %d keys were remembered",
            log.topic_partition,
            cleaning.end_offset,
            stats.bytes_before,
            stats.bytes_after,
            stats.records_dropped,
            stats.keys,
        )
        if stats.records_without_key:
            _log.warning("%s: %d records had no key and went", log.topic_partition, stats.records_without_key)
        if self.on_compacted is not None:
            self.on_compacted(log, stats)
        # There may be more; and what is compacted may be old enough to be deleted.
        self._later(0.0, self._look_for_work)

    def _finish(self) -> None:
        """The compaction came to no good end; the next look comes after a while."""
        self._give_up()
        self._later(self.config.backoff_ms, self._look_for_work)

    def _give_up(self) -> None:
        self._run += 1
        cleaning, self._cleaning = self._cleaning, None
        self._steps = iter(())
        if cleaning is not None:
            # What is not removed now the next start removes.
            with contextlib.suppress(OSError):
                cleaning.discard()

    def _disk_refused(self, log: Log, error: OSError) -> None:
        if log.on_storage_error is not None:
            log.on_storage_error(log, error)
        else:
            self._leave_alone(log, f"{error.filename or log.directory}: {error.strerror or error}")

    def _leave_alone(self, log: Log, why: str) -> None:
        self.uncleanable[log.topic_partition] = why
        _log.warning("%s: not compacted any more: %s", log.topic_partition, why)
        if self.on_uncleanable is not None:
            self.on_uncleanable(log, why)
