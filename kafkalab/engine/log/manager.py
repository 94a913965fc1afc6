"""All logs of a broker: found at the start, made and deleted as metadata says, checkpointed on the way.

After a clean stop (the marker file says so) logs are opened as they are; after anything else each
is validated from its recovery point on. What the checkpoints say must be believed: a broken one
stops the start with its name and line.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from kafkalab.engine.common.errors import ApiError
from kafkalab.engine.common.ids import METADATA_TOPIC, TopicPartition
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.log.checkpoint import (
    CLEANER_OFFSET_FILE,
    HIGH_WATERMARK_FILE,
    LOG_START_OFFSET_FILE,
    RECOVERY_POINT_FILE,
    read_offsets,
    write_offsets,
)
from kafkalab.engine.log.cleaner import CleanerConfig, LogCleaner
from kafkalab.engine.log.cleaning import CleaningStats
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.directories import LogDirectories
from kafkalab.engine.log.log import FUTURE_SUFFIX, Log
from kafkalab.engine.log.meta_properties import META_PROPERTIES_FILE, MetaProperties
from kafkalab.engine.log.producer_state import PRODUCER_ID_EXPIRATION_MS
from kafkalab.engine.log.retention import Cause
from kafkalab.engine.log.segment import SegmentInfo
from kafkalab.engine.log.storage import Storage, StorageError
from kafkalab.engine.telemetry.events import LogCompacted, LogRecovered, LogUncleanable, SegmentsDeleted
from kafkalab.engine.telemetry.hub import TelemetrySink

CLEAN_SHUTDOWN_FILE: Final = ".kafka_cleanshutdown"
CHECKPOINT_INTERVAL_MS: Final = 60_000
RETENTION_CHECK_INTERVAL_MS: Final = 300_000
PRODUCERS_CHECK_INTERVAL_MS: Final = 600_000
INITIAL_DELAY_MS: Final = 30_000
"""After a start checkpoints and retention are first looked at then, however long their intervals."""

_NOTHING: Final[Mapping[TopicPartition, int]] = {}
# Only what looks as if a broker had renamed it: whatever else lies here is somebody's.
_DELETE_NAME: Final = re.compile(r".+-\d+\.[0-9a-f]{32}-delete")
_FUTURE_NAME: Final = re.compile(r"(?P<replica>.+-\d+)\.[0-9a-f]{32}-future")
_NO_IDS: Final[Mapping[Path, uuid.UUID]] = MappingProxyType({})
_NO_FAILURES: Final[Mapping[Path, str]] = MappingProxyType({})

_log = logging.getLogger(__name__)


class ReplicaTwice(StorageError):
    """A partition's replica is in two directories, and nobody can say which is the right one."""


class DirectoryListener(Protocol):
    """Who must know when a log directory goes out of use."""

    def directory_failed(self, directory: Path, replicas: Collection[TopicPartition], why: str) -> None:
        """Everything in the directory is out of reach; its logs are let go of after this."""


class LogManager:
    """The logs by partition. :meth:`load` comes first, :meth:`close` or :meth:`abandon` last.

    :param directory_ids: what the directories' ``meta.properties`` say.
    :param failures: directories that turned out to be unusable before they came here, and why.
    """

    def __init__(
        self,
        dirs: list[Path],
        defaults: LogConfig,
        clock: Clock,
        storage: Storage,
        sink: TelemetrySink,
        node_id: int,
        *,
        directory_ids: Mapping[Path, uuid.UUID] = _NO_IDS,
        failures: Mapping[Path, str] = _NO_FAILURES,
    ) -> None:
        assert dirs, "a broker has a log directory"
        self.directories = LogDirectories(dirs, directory_ids, failures)
        self.directory_listener: DirectoryListener | None = None
        self._dirs = dirs
        # One object for each: what is kept by directory is looked up at each change of a leader, and equal paths are slow to compare.
        self._one_path = {directory: directory for directory in dirs}
        # Copies on their way to another directory.
        self._futures: dict[TopicPartition, Log] = {}
        self.defaults = defaults
        self._clock = clock
        self._storage = storage
        self._sink = sink
        self._node_id = node_id
        self._logs: dict[TopicPartition, Log] = {}
        self.cleaner = LogCleaner(self._logs, clock, storage, CleanerConfig(), moving=self._futures)
        self.cleaner.on_compacted = self._compacted
        self.cleaner.on_uncleanable = self._uncleanable
        self.on_segments_changed: Callable[[TopicPartition], None] | None = None
        """Called when retention or compaction changed what segments a log has."""
        # Renamed logs, and when the files go.
        self._deleting: dict[Log, Timer] = {}
        self._timers: dict[str, Timer] = {}
        self._written: dict[Path, dict[TopicPartition, int]] = {}
        self.clean_shutdown_epoch = -1
        """The broker epoch that the last stop wrote down; -1 when that stop was not clean."""

    @property
    def directory_id(self) -> uuid.UUID:
        """The id of the first log directory.

        :raises StorageError: when its ``meta.properties`` cannot be read.
        """
        return MetaProperties.read(self._dirs[0] / META_PROPERTIES_FILE, self._storage).directory_id

    # --- start --------------------------------------------------------------------------------------

    def load(self) -> None:
        """Open every partition found on the disk.

        :raises StorageError: naming the file that cannot be believed.
        """
        for directory in self.directories.live:
            try:
                self._storage.make_dirs(directory)
                self._load_dir(directory)
            except ReplicaTwice:
                raise
            except (OSError, StorageError) as error:
                self._could_not_load(directory, error)

    def _could_not_load(self, directory: Path, error: OSError | StorageError) -> None:
        why = str(error)
        if isinstance(error, OSError):
            why = f"{error.filename or directory}: {error.strerror or error}"
        if self.directories.live == [directory]:
            raise StorageError(why) from error
        # The others go on without it.
        _log.error("log directory %s is not used: %s", directory, why)
        self.directories.fail(directory, why)
        for logs in (self._logs, self._futures):
            for tp in [tp for tp, log in logs.items() if log.log_dir == directory]:
                logs.pop(tp).abandon()

    def _load_dir(self, directory: Path) -> None:
        marker = directory / CLEAN_SHUTDOWN_FILE
        clean = self._storage.exists(marker)
        if clean:
            self.clean_shutdown_epoch = max(self.clean_shutdown_epoch, self._read_marker(marker))
        recovery_points = read_offsets(self._storage, directory / RECOVERY_POINT_FILE)
        self._written[directory / RECOVERY_POINT_FILE] = recovery_points
        start_offsets = read_offsets(self._storage, directory / LOG_START_OFFSET_FILE)
        first_dirty_offsets = self._read_first_dirty_offsets(directory / CLEANER_OFFSET_FILE)
        # From here on a kill, and a power cut, must find that this stop was not clean.
        self._storage.remove(marker)
        if clean:
            self._storage.sync_dir(directory)
        for name in sorted(self._storage.list_dir(directory)):
            if _DELETE_NAME.fullmatch(name) and self._storage.is_dir(directory / name):
                self._storage.remove_tree(directory / name)
                continue
            future = _FUTURE_NAME.fullmatch(name)
            tp = parse_directory_name(name if future is None else future["replica"])
            if tp is None or not self._storage.is_dir(directory / name):
                continue
            known = (self._logs if future is None else self._futures).get(tp)
            if known is not None:
                raise ReplicaTwice(
                    f"Duplicate log directories for {tp} are found in both {directory / name} and {known.directory}. It is likely because "
                    "log directory failure happened while broker was replacing current replica with future replica. Recover broker from "
                    "this failure by manually deleting one of the two directories for this partition. It is recommended to delete the "
                    "partition in the log directory that is known to have failed recently."
                )
            if future is not None:
                # How much of a copy was synced is not written down anywhere.
                self._open(directory / name, tp, self.defaults, None, 0, clean, 0, future=True)
                continue
            recovery_point = recovery_points.get(tp, 0)
            compacted_to = None if first_dirty_offsets is None else first_dirty_offsets.get(tp, 0)
            start_offset = start_offsets.get(tp, 0)
            log = self._open(directory / name, tp, self.defaults, None, recovery_point, clean, start_offset, compacted_to=compacted_to)
            if first_dirty_offsets is not None and tp in first_dirty_offsets:
                log.first_dirty_offset = min(first_dirty_offsets[tp], log.log_end_offset)
            if log.recovered and (log.recovered_cut_bytes or log.log_end_offset > recovery_point):
                self._sink.emit(
                    LogRecovered(
                        at_ms=self._clock.wall_ms(),
                        node_id=self._node_id,
                        topic=tp.topic,
                        partition=tp.partition,
                        log_end_offset=log.log_end_offset,
                        cut_bytes=log.recovered_cut_bytes,
                    )
                )
        logs = self._logs_in(directory)
        # The disk's refusal was told to whoever keeps the directory.
        with contextlib.suppress(StorageError):
            if any(log.recovery_point < recovery_points.get(log.topic_partition, 0) for log in logs):
                self._write_recovery_points_of(directory)
            written = first_dirty_offsets or {}
            if any((log.first_dirty_offset or 0) < written.get(log.topic_partition, 0) for log in logs):
                self._write_first_dirty_offsets(directory)

    def _read_first_dirty_offsets(self, path: Path) -> dict[TopicPartition, int] | None:
        """How far each log is compacted; None when that cannot be read."""
        try:
            offsets = read_offsets(self._storage, path)
        except StorageError as error:
            # Without it everything counts as dirty, and may be compacted all the same: more work, and nothing else.
            _log.warning("%s", error)
            return None
        self._written[path] = offsets
        return offsets

    def _read_marker(self, marker: Path) -> int:
        try:
            epoch = json.loads(self._storage.read(marker)).get("brokerEpoch", -1)
        except (ValueError, AttributeError):
            # Its being there is what counts; the epoch only spares the controller a doubt.
            _log.warning("%s: no broker epoch in it", marker)
            return -1
        return epoch if isinstance(epoch, int) else -1

    def _open(
        self,
        path: Path,
        tp: TopicPartition,
        config: LogConfig,
        topic_id: uuid.UUID | None,
        recovery_point: int,
        clean: bool,
        log_start_offset: int,
        *,
        future: bool = False,
        compacted_to: int | None = None,
    ) -> Log:
        log = Log.open(
            path,
            tp,
            config,
            self._clock,
            storage=self._storage,
            recovery_point=recovery_point,
            clean=clean,
            topic_id=topic_id,
            log_start_offset=log_start_offset,
            compacted_to=compacted_to,
        )
        log.log_dir = self._one_path.get(log.log_dir, log.log_dir)
        log.on_storage_error = self._log_failed
        log.on_cut = self._check_checkpoints
        (self._futures if future else self._logs)[tp] = log
        return log

    def start(
        self,
        *,
        high_watermark: Callable[[TopicPartition], int | None],
        checkpoint_interval_ms: float = CHECKPOINT_INTERVAL_MS,
        start_offsets_interval_ms: float = CHECKPOINT_INTERVAL_MS,
        retention_check_interval_ms: float = RETENTION_CHECK_INTERVAL_MS,
        producers_check_interval_ms: float = PRODUCERS_CHECK_INTERVAL_MS,
        initial_delay_ms: float = INITIAL_DELAY_MS,
        producer_id_expiration_ms: int = PRODUCER_ID_EXPIRATION_MS,
        cleaner: CleanerConfig | None = None,
        activity: Callable[[], int] | None = None,
    ) -> None:
        """Keep house from now on: recovery points, retention below the high watermark, compaction, silent producers.

        :param activity: a number that changes as long as clients are served; compaction makes room for them.
        """
        self.producer_id_expiration_ms = producer_id_expiration_ms
        if cleaner is not None:
            self.cleaner.config = cleaner

        def last_stable_offset(log: Log) -> int | None:
            limit = high_watermark(log.topic_partition)
            return None if limit is None else log.producer_state.last_stable_offset(limit)

        def delete_old(log: Log) -> None:
            self._delete_old(log, high_watermark(log.topic_partition))

        self.cleaner.start(last_stable_offset=last_stable_offset, delete_old=delete_old, activity=activity)

        def keep_checkpoints() -> None:
            # A disk that refuses was told of: its directory goes out of use.
            with contextlib.suppress(ApiError, StorageError):
                self.checkpoint()

        def keep_start_offsets() -> None:
            with contextlib.suppress(StorageError):
                self._write_start_offsets()

        def keep_producers() -> None:
            for log in self._logs.values():
                log.expire_producers(self.producer_id_expiration_ms)

        # Those that were silent for too long before the stop are forgotten with it.
        keep_producers()
        self._every("checkpoint", checkpoint_interval_ms, initial_delay_ms, keep_checkpoints)
        self._every("start offsets", start_offsets_interval_ms, initial_delay_ms, keep_start_offsets)
        self._every("retention", retention_check_interval_ms, initial_delay_ms, lambda: self.apply_retention(high_watermark))
        self._every("producers", producers_check_interval_ms, producers_check_interval_ms, keep_producers)

    def _every(self, name: str, interval_ms: float, first_ms: float, work: Callable[[], object]) -> None:
        """Do something time and again, or once when there is no interval."""

        def run() -> None:
            work()
            if interval_ms > 0:
                self._timers[name] = self._clock.call_later(interval_ms, run)

        self._timers[name] = self._clock.call_later(min(first_ms, interval_ms) if interval_ms > 0 else first_ms, run)

    # --- the logs -----------------------------------------------------------------------------------

    def get(self, tp: TopicPartition) -> Log | None:
        return self._logs.get(tp)

    def logs(self) -> Collection[Log]:
        return self._logs.values()

    def get_or_create(
        self, tp: TopicPartition, topic_id: uuid.UUID | None, config: LogConfig, *, directory_id: uuid.UUID | None = None
    ) -> Log:
        """The partition's log; a new one goes where somebody wants it, else to ``directory_id``, else to the directory with the fewest.

        :raises StorageError: when the files are another topic's, or cannot be made.
        """
        log = self._logs.get(tp)
        if log is not None:
            if topic_id is not None:
                log.claim(topic_id)
            log.config = config
            return log
        directory = self.directories.preferred.pop(tp, None)
        if directory is None and directory_id is not None:
            directory = self.directories.live_path(directory_id)
        if directory is None or directory in self.directories.failures:
            directory = self._least_used()
        try:
            log = self._open(directory / str(tp), tp, config, topic_id, 0, False, 0)
            # One of this name that was deleted may have had more on the disk.
            self._check_checkpoints(log)
            return log
        except StorageError as error:
            if isinstance(error.__cause__, OSError):
                self.fail_directory(directory, str(error))
            raise

    def _least_used(self) -> Path:
        live = {str(path): path for path in self.directories.live}
        if not live:
            raise StorageError("No log directory is in use any more")
        open_ones = {text: path for text, path in live.items() if path not in self.directories.cordoned}
        if len(live) == 1 or not open_ones:
            # What the controller has placed here before it heard that all are cordoned must go somewhere.
            return next(iter(live.values()))
        # This is asked for each replica of a new topic, about all there are: strings are ten times faster here than paths.
        counts = dict.fromkeys(open_ones, 0)
        for other in (*self._logs.values(), *self._futures.values()):
            parent = os.path.dirname(str(other.directory))
            if parent in counts:
                counts[parent] += 1
        return live[min(counts, key=counts.__getitem__)]

    # --- copies in another directory ------------------------------------------------------------------

    def future(self, tp: TopicPartition) -> Log | None:
        """The copy of a replica that is on its way to another directory."""
        return self._futures.get(tp)

    def futures(self) -> Collection[Log]:
        return self._futures.values()

    def space(self, directory: Path) -> tuple[int, int]:
        """The size of a directory's disk and what can still be written; -1 where the system does not tell."""
        try:
            return self._storage.space(directory)
        except OSError:
            return -1, -1

    def create_future(self, tp: TopicPartition, directory: Path) -> Log:
        """Begin a copy of a replica in another directory, from the log start on.

        :raises StorageError: when it cannot be made.
        """
        log = self._logs[tp]
        assert tp not in self._futures, "a replica moves to one place at a time"
        assert log.log_dir != directory, "a replica moves somewhere else"
        unique = uuid.uuid5(log.topic_id or uuid.UUID(int=0), f"{directory}/{self._clock.wall_ms()}").hex
        path = directory / f"{tp}.{unique}{FUTURE_SUFFIX}"
        try:
            copy = self._open(path, tp, log.config, log.topic_id, 0, False, log.log_start_offset, future=True)
        except StorageError as error:
            self.fail_directory(directory, str(error))
            raise
        self.cleaner.interrupt(tp)
        return copy

    def drop_future(self, tp: TopicPartition) -> None:
        """Give a copy up.

        :raises ApiError: KAFKA_STORAGE_ERROR when its disk refuses.
        """
        log = self._futures.pop(tp, None)
        if log is not None:
            self._delete_later(log)

    def promote_future(self, tp: TopicPartition) -> Log:
        """Put a complete copy in the place of the replica, whose files go after a while.

        :raises ApiError: KAFKA_STORAGE_ERROR when a disk refuses.
        """
        old, new = self._logs[tp], self._futures[tp]
        self.cleaner.forget(tp)
        assert new.log_end_offset == old.log_end_offset, "a copy is complete before it is used"
        new.increment_log_start_offset(old.log_start_offset)
        new.take_its_place()
        del self._futures[tp]
        self._logs[tp] = new
        new.config = old.config
        if old.first_dirty_offset is not None:
            # A copy has what the original has, which was not compacted since the copy was begun.
            new.first_dirty_offset = min(old.first_dirty_offset, new.log_end_offset)
        self._check_checkpoints(new)
        # From here on two directories hold it until the old one is renamed, which a start after a crash refuses to guess about.
        self._delete_later(old)
        # How far it is compacted moves with it. The disk's refusal was told to whoever keeps the directory.
        with contextlib.suppress(StorageError):
            self._write_first_dirty_offsets(old.log_dir)
            self._write_first_dirty_offsets(new.log_dir)
        return new

    # --- directories that fail --------------------------------------------------------------------------

    def _log_failed(self, log: Log, error: OSError) -> None:
        self.fail_directory(log.log_dir, f"{error.filename or log.directory}: {error.strerror or error}")

    def fail_directory(self, directory: Path, why: str) -> None:
        """A disk refused: its directory is used no longer. What that means for others is told in the next turn of the loop."""
        if self.directories.fail(directory, why):
            _log.error("log directory %s is out of use: %s", directory, why)
            self._clock.call_later(0.0, partial(self._leave_directory, directory, why))

    def _leave_directory(self, directory: Path, why: str) -> None:
        replicas = [tp for tp, log in self._logs.items() if log.log_dir == directory]
        copies = [tp for tp, log in self._futures.items() if log.log_dir == directory]
        if self.directory_listener is not None:
            self.directory_listener.directory_failed(directory, replicas, why)
        for tp in copies:
            self._futures.pop(tp).abandon()
        for tp in replicas:
            self.cleaner.forget(tp)
            self._logs.pop(tp).abandon()
        for log in [log for log in self._deleting if log.log_dir == directory]:
            self._deleting.pop(log).cancel()

    # --- deleting -------------------------------------------------------------------------------------

    def delete(self, tp: TopicPartition) -> None:
        """Take the partition away: its name is free at once, its files go after ``file.delete.delay.ms``."""
        self.directories.preferred.pop(tp, None)
        self.cleaner.forget(tp)
        try:
            self.drop_future(tp)
        finally:
            log = self._logs.pop(tp, None)
            if log is not None:
                self._delete_later(log)

    def set_aside(self, tp: TopicPartition) -> Path:
        """Take a stray away whose topic nobody knows: its name is free at once, its files stay for a person to decide. Where they are.

        :raises ApiError: KAFKA_STORAGE_ERROR when the disk refuses.
        """
        self.cleaner.forget(tp)
        try:
            self.drop_future(tp)
        finally:
            directory = self._logs.pop(tp).rename_as_stray()
        return directory

    def _delete_later(self, log: Log) -> None:
        log.rename_for_delete()

        def remove() -> None:
            del self._deleting[log]
            # A disk that refuses goes out of use; what is left of the files goes with the next start.
            with contextlib.suppress(ApiError):
                log.delete()

        self._deleting[log] = self._clock.call_later(log.config.file_delete_delay_ms, remove)

    def apply_retention(self, high_watermark: Callable[[TopicPartition], int | None]) -> int:
        """Delete old segments of every log whose high watermark is known, but of compacted ones; how many went.

        In compacted logs the cleaner does it, between one compaction and the next.
        """
        removed = 0
        for tp, log in list(self._logs.items()):
            if not log.config.compacted:
                # The disk's refusal was told: its directory goes out of use.
                with contextlib.suppress(ApiError):
                    removed += self._delete_old(log, high_watermark(tp))
        return removed

    def _delete_old(self, log: Log, high_watermark: int | None) -> int:
        if high_watermark is None or log.log_dir in self.directories.failures:
            return 0
        return log.delete_old_segments(high_watermark, partial(self._segments_deleted, log))

    def _segments_deleted(self, log: Log, cause: Cause, segments: list[SegmentInfo]) -> None:
        size_bytes = sum(segment.size_bytes for segment in segments)
        _log.info("%s: %d segments with %d bytes go because of %s", log.topic_partition, len(segments), size_bytes, cause.value)
        self._sink.emit(
            SegmentsDeleted(
                at_ms=self._clock.wall_ms(),
                node_id=self._node_id,
                topic=log.topic_partition.topic,
                partition=log.topic_partition.partition,
                count=len(segments),
                size_bytes=size_bytes,
                log_start_offset=log.log_start_offset,
                cause=cause.value,
            )
        )
        if self.on_segments_changed is not None:
            self.on_segments_changed(log.topic_partition)

    # --- compaction -----------------------------------------------------------------------------------

    def _compacted(self, log: Log, stats: CleaningStats) -> None:
        directory = log.log_dir
        if directory not in self.directories.failures:
            # The disk's refusal was told: its directory goes out of use.
            with contextlib.suppress(StorageError):
                self._write_first_dirty_offsets(directory)
        self._sink.emit(
            LogCompacted(
                at_ms=self._clock.wall_ms(),
                node_id=self._node_id,
                topic=log.topic_partition.topic,
                partition=log.topic_partition.partition,
                bytes_before=stats.bytes_before,
                bytes_after=stats.bytes_after,
                records_dropped=stats.records_dropped,
                first_dirty_offset=log.first_dirty_offset or 0,
                duration_ms=stats.duration_ms,
            )
        )
        if self.on_segments_changed is not None:
            self.on_segments_changed(log.topic_partition)

    def _uncleanable(self, log: Log, cause: str) -> None:
        self._sink.emit(
            LogUncleanable(
                at_ms=self._clock.wall_ms(),
                node_id=self._node_id,
                topic=log.topic_partition.topic,
                partition=log.topic_partition.partition,
                cause=cause,
            )
        )

    def _write_first_dirty_offsets(self, directory: Path) -> None:
        offsets = {log.topic_partition: log.first_dirty_offset for log in self._logs_in(directory) if log.first_dirty_offset is not None}
        self._write(directory / CLEANER_OFFSET_FILE, offsets)

    # --- checkpoints --------------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Sync what will not change any more, and write down from where a recovery would have to begin.

        :raises ApiError: KAFKA_STORAGE_ERROR when a log's disk refuses.
        :raises StorageError: when a checkpoint cannot be written.
        """
        for log in list(self._logs.values()):
            if log.log_dir not in self.directories.failures:
                log.maybe_flush()
                log.flush_inactive()
        self._write_recovery_points()

    def _write_recovery_points(self) -> None:
        for directory in self.directories.live:
            self._write_recovery_points_of(directory)
            # Truncation and deletion may have moved them.
            self._write_first_dirty_offsets(directory)

    def _write_start_offsets(self) -> None:
        for directory in self.directories.live:
            logs = self._logs_in(directory)
            starts = {log.topic_partition: log.log_start_offset for log in logs if log.starts_inside_segment}
            self._write(directory / LOG_START_OFFSET_FILE, starts)

    def _write_recovery_points_of(self, directory: Path) -> None:
        self._write(directory / RECOVERY_POINT_FILE, {log.topic_partition: log.recovery_point for log in self._logs_in(directory)})

    def _check_checkpoints(self, log: Log) -> None:
        """What the checkpoints say is on the disk must be, or a recovery would not look at what has come in its place;
        and what they say is compacted must be, or it would never be."""
        # The disk's refusal was told to whoever keeps the directory.
        with contextlib.suppress(StorageError):
            if self._written_of(log, RECOVERY_POINT_FILE) > log.recovery_point:
                self._write_recovery_points_of(log.log_dir)
            if self._written_of(log, CLEANER_OFFSET_FILE) > (log.first_dirty_offset or 0):
                self._write_first_dirty_offsets(log.log_dir)

    def _written_of(self, log: Log, checkpoint: str) -> int:
        return self._written.get(log.log_dir / checkpoint, _NOTHING).get(log.topic_partition, 0)

    def read_high_watermarks(self) -> dict[TopicPartition, int]:
        """The high watermarks as last written, at the start.

        :raises StorageError: naming file and line when it is no checkpoint.
        """
        high_watermarks: dict[TopicPartition, int] = {}
        for directory in self.directories.live:
            try:
                high_watermarks.update(read_offsets(self._storage, directory / HIGH_WATERMARK_FILE))
            except StorageError as error:
                if self.directories.live == [directory]:
                    raise
                self.fail_directory(directory, str(error))
        return high_watermarks

    def write_high_watermarks(self, high_watermarks: Mapping[TopicPartition, int]) -> None:
        """
        :raises StorageError: when a checkpoint cannot be written.
        """
        for directory in self.directories.live:
            if len(self._dirs) == 1:
                own = dict(high_watermarks)
            else:
                here = {log.topic_partition for log in self._logs_in(directory)}
                own = {tp: offset for tp, offset in high_watermarks.items() if tp in here}
            self._write(directory / HIGH_WATERMARK_FILE, own)

    def _write(self, path: Path, offsets: dict[TopicPartition, int]) -> None:
        if self._written.get(path) == offsets:
            return
        try:
            write_offsets(self._storage, path, offsets)
        except OSError as error:
            why = f"{path}: {error.strerror or error}"
            self.fail_directory(path.parent, why)
            raise StorageError(why) from error
        self._written[path] = offsets

    def _logs_in(self, directory: Path) -> Iterable[Log]:
        return [log for log in self._logs.values() if log.log_dir == directory]

    # --- the end ------------------------------------------------------------------------------------

    def close(self, broker_epoch: int) -> None:
        """A clean stop: flush and close everything, and leave the marker that says so.

        :raises StorageError: naming the logs that could not be closed; the marker is missing then.
        """
        self.cleaner.stop()
        self._cancel_timers()
        failed = []
        for log in (*self._logs.values(), *self._futures.values()):
            if log.log_dir in self.directories.failures:
                log.abandon()
                continue
            try:
                log.close()
            except ApiError as error:
                failed.append(error.message or str(error))
        self._write_recovery_points()
        self._write_start_offsets()
        if failed:
            raise StorageError("; ".join(failed))
        marker = json.dumps({"version": 0, "brokerEpoch": broker_epoch}, separators=(",", ":")).encode()
        for directory in self.directories.live:
            try:
                self._storage.replace(directory / CLEAN_SHUTDOWN_FILE, marker)
            except OSError as error:
                raise StorageError(f"{directory / CLEAN_SHUTDOWN_FILE}: {error.strerror or error}") from error
        self._storage.close()

    def abandon(self) -> None:
        """Let go of everything as a killed process does."""
        self.cleaner.abandon()
        self._cancel_timers()
        for log in (*self._logs.values(), *self._futures.values()):
            log.abandon()
        self._storage.close()

    def _cancel_timers(self) -> None:
        for timer in (*self._timers.values(), *self._deleting.values()):
            timer.cancel()
        self._timers.clear()
        self._deleting.clear()


def parse_directory_name(name: str) -> TopicPartition | None:
    """The partition whose directory this is; None for every other name, and for the metadata log."""
    topic, separator, number = name.rpartition("-")
    if not separator or not topic or not (number.isascii() and number.isdecimal()) or topic == METADATA_TOPIC:
        return None
    return TopicPartition(topic, int(number))
