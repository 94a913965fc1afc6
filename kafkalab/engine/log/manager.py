"""All logs of a broker: found at the start, made and deleted as metadata says, checkpointed on the way.

After a clean stop (the marker file says so) logs are opened as they are; after anything else each
is validated from its recovery point on. What the checkpoints say must be believed: a broken one
stops the start with its name and line.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

from kafkalab.engine.common.errors import ApiError
from kafkalab.engine.common.ids import METADATA_TOPIC, TopicPartition
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.log.checkpoint import (
    HIGH_WATERMARK_FILE,
    LOG_START_OFFSET_FILE,
    RECOVERY_POINT_FILE,
    read_offsets,
    write_offsets,
)
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.log import DELETE_SUFFIX, Log
from kafkalab.engine.log.meta_properties import META_PROPERTIES_FILE, MetaProperties
from kafkalab.engine.log.producer_state import PRODUCER_ID_EXPIRATION_MS
from kafkalab.engine.log.storage import Storage, StorageError
from kafkalab.engine.telemetry.events import LogRecovered
from kafkalab.engine.telemetry.hub import TelemetrySink

CLEAN_SHUTDOWN_FILE: Final = ".kafka_cleanshutdown"
CHECKPOINT_INTERVAL_MS: Final = 60_000
RETENTION_CHECK_INTERVAL_MS: Final = 300_000

_log = logging.getLogger(__name__)


class LogManager:
    """The logs by partition. :meth:`load` comes first, :meth:`close` or :meth:`abandon` last."""

    def __init__(self, dirs: list[Path], defaults: LogConfig, clock: Clock, storage: Storage, sink: TelemetrySink, node_id: int) -> None:
        assert dirs, "a broker has a log directory"
        self._dirs = dirs
        self.defaults = defaults
        self._clock = clock
        self._storage = storage
        self._sink = sink
        self._node_id = node_id
        self._logs: dict[TopicPartition, Log] = {}
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
        for directory in self._dirs:
            try:
                self._storage.make_dirs(directory)
                self._load_dir(directory)
            except OSError as error:
                raise StorageError(f"{error.filename or directory}: {error.strerror or error}") from error

    def _load_dir(self, directory: Path) -> None:
        marker = directory / CLEAN_SHUTDOWN_FILE
        clean = self._storage.exists(marker)
        if clean:
            self.clean_shutdown_epoch = max(self.clean_shutdown_epoch, self._read_marker(marker))
        recovery_points = read_offsets(self._storage, directory / RECOVERY_POINT_FILE)
        start_offsets = read_offsets(self._storage, directory / LOG_START_OFFSET_FILE)
        # From here on a kill must find that this stop was not clean.
        self._storage.remove(marker)
        for name in sorted(self._storage.list_dir(directory)):
            if name.endswith(DELETE_SUFFIX):
                self._storage.remove_tree(directory / name)
                continue
            tp = parse_directory_name(name)
            if tp is None or not self._storage.is_dir(directory / name):
                continue
            if tp in self._logs:
                raise StorageError(f"{directory / name}: the partition is also in {self._logs[tp].directory}")
            recovery_point = recovery_points.get(tp, 0)
            log = self._open(directory / name, tp, self.defaults, None, recovery_point, clean, start_offsets.get(tp, 0))
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
    ) -> Log:
        log = self._logs[tp] = Log.open(
            path,
            tp,
            config,
            self._clock,
            storage=self._storage,
            recovery_point=recovery_point,
            clean=clean,
            topic_id=topic_id,
            log_start_offset=log_start_offset,
        )
        return log

    def start(
        self,
        *,
        high_watermark: Callable[[TopicPartition], int | None],
        checkpoint_interval_ms: float = CHECKPOINT_INTERVAL_MS,
        retention_check_interval_ms: float = RETENTION_CHECK_INTERVAL_MS,
        producer_id_expiration_ms: int = PRODUCER_ID_EXPIRATION_MS,
    ) -> None:
        """Keep house from now on: recovery points, retention below the high watermark, silent producers."""

        def keep_checkpoints() -> None:
            self.checkpoint()
            self._timers["checkpoint"] = self._clock.call_later(checkpoint_interval_ms, keep_checkpoints)

        def keep_retention() -> None:
            self.apply_retention(high_watermark)
            for log in self._logs.values():
                log.expire_producers(producer_id_expiration_ms)
            self._timers["retention"] = self._clock.call_later(retention_check_interval_ms, keep_retention)

        self._timers["checkpoint"] = self._clock.call_later(checkpoint_interval_ms, keep_checkpoints)
        self._timers["retention"] = self._clock.call_later(retention_check_interval_ms, keep_retention)

    # --- the logs -----------------------------------------------------------------------------------

    def get(self, tp: TopicPartition) -> Log | None:
        return self._logs.get(tp)

    def logs(self) -> Collection[Log]:
        return self._logs.values()

    def get_or_create(self, tp: TopicPartition, topic_id: uuid.UUID | None, config: LogConfig) -> Log:
        """The partition's log; a new one goes to the directory with the fewest.

        :raises StorageError: when the files are another topic's, or cannot be made.
        """
        log = self._logs.get(tp)
        if log is not None:
            if topic_id is not None:
                log.claim(topic_id)
            log.config = config
            return log
        counts = dict.fromkeys(self._dirs, 0)
        for other in self._logs.values():
            counts[other.directory.parent] += 1
        directory = min(self._dirs, key=counts.__getitem__)
        return self._open(directory / str(tp), tp, config, topic_id, 0, False, 0)

    def delete(self, tp: TopicPartition) -> None:
        """Take the partition away: its name is free at once, its files go after ``file.delete.delay.ms``."""
        log = self._logs.pop(tp, None)
        if log is None:
            return
        log.rename_for_delete()

        def remove() -> None:
            del self._deleting[log]
            log.delete()

        self._deleting[log] = self._clock.call_later(log.config.file_delete_delay_ms, remove)

    def apply_retention(self, high_watermark: Callable[[TopicPartition], int | None]) -> int:
        """Delete old segments of every log whose high watermark is known; how many went."""
        removed = 0
        for tp, log in self._logs.items():
            limit = high_watermark(tp)
            if limit is not None:
                removed += log.delete_old_segments(limit)
        return removed

    # --- checkpoints --------------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Sync what will not change any more, and write down from where a recovery would have to begin.

        :raises ApiError: KAFKA_STORAGE_ERROR when a log's disk refuses.
        :raises StorageError: when a checkpoint cannot be written.
        """
        for log in self._logs.values():
            log.maybe_flush()
            log.flush_inactive()
        self._write_recovery_points()

    def _write_recovery_points(self) -> None:
        for directory in self._dirs:
            logs = self._logs_in(directory)
            self._write(directory / RECOVERY_POINT_FILE, {log.topic_partition: log.recovery_point for log in logs})
            starts = {log.topic_partition: log.log_start_offset for log in logs if log.starts_inside_segment}
            self._write(directory / LOG_START_OFFSET_FILE, starts)

    def read_high_watermarks(self) -> dict[TopicPartition, int]:
        """The high watermarks as last written, at the start.

        :raises StorageError: naming file and line when it is no checkpoint.
        """
        high_watermarks: dict[TopicPartition, int] = {}
        for directory in self._dirs:
            high_watermarks.update(read_offsets(self._storage, directory / HIGH_WATERMARK_FILE))
        return high_watermarks

    def write_high_watermarks(self, high_watermarks: Mapping[TopicPartition, int]) -> None:
        """
        :raises StorageError: when a checkpoint cannot be written.
        """
        for directory in self._dirs:
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
            raise StorageError(f"{path}: {error.strerror or error}") from error
        self._written[path] = offsets

    def _logs_in(self, directory: Path) -> Iterable[Log]:
        return [log for log in self._logs.values() if log.directory.parent == directory]

    # --- the end ------------------------------------------------------------------------------------

    def close(self, broker_epoch: int) -> None:
        """A clean stop: flush and close everything, and leave the marker that says so.

        :raises StorageError: naming the logs that could not be closed; the marker is missing then.
        """
        self._cancel_timers()
        failed = []
        for log in self._logs.values():
            try:
                log.close()
            except ApiError as error:
                failed.append(error.message or str(error))
        self._write_recovery_points()
        if failed:
            raise StorageError("; ".join(failed))
        marker = json.dumps({"version": 0, "brokerEpoch": broker_epoch}, separators=(",", ":")).encode()
        for directory in self._dirs:
            try:
                self._storage.replace(directory / CLEAN_SHUTDOWN_FILE, marker)
            except OSError as error:
                raise StorageError(f"{directory / CLEAN_SHUTDOWN_FILE}: {error.strerror or error}") from error
        self._storage.close()

    def abandon(self) -> None:
        """Let go of everything as a killed process does."""
        self._cancel_timers()
        for log in self._logs.values():
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
