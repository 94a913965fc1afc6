"""One replica's log: segments, indexes, leader epochs and producers, in Kafka's files.

A leader appends what clients send after checking it and stamps offsets and epoch; a follower
appends what the leader has. Every append is one write, so that a killed process has lost nothing it
acknowledged; :meth:`Log.flush` makes it outlast the machine and moves the recovery point, from
which :meth:`Log.open` validates again after an unclean stop.

Whether a record may be seen is not decided here: the high watermark belongs to the partition.
"""

from __future__ import annotations

import contextlib
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import Clock
from kafkalab.engine.log.config import LONG_MAX, LogConfig
from kafkalab.engine.log.deleted_segments import DeletedSegments
from kafkalab.engine.log.epoch_file import LeaderEpochFile
from kafkalab.engine.log.flusher import LogFlusher
from kafkalab.engine.log.partition_metadata import TopicIdFile
from kafkalab.engine.log.producer_state import ProducerState
from kafkalab.engine.log.recovery import load_log, producers_from
from kafkalab.engine.log.region import NO_REGIONS, FileRegion
from kafkalab.engine.log.retention import Cause, expired_segments
from kafkalab.engine.log.segment import (
    RELATIVE_OFFSET_MAX,
    SNAPSHOT_SUFFIX,
    SWAP_SUFFIX,
    Segment,
    SegmentInfo,
    segment_file_name,
)
from kafkalab.engine.log.segments import LogSegments, TimestampOffset
from kafkalab.engine.log.storage import Storage, StorageError
from kafkalab.engine.log.txn_index import AbortedTransaction
from kafkalab.engine.log.validator import BytesBehind, check_client_batch, prepare_client_batch
from kafkalab.engine.record.batch import (
    HEADER_BYTES,
    NO_PRODUCER_ID,
    STAMP_BYTES,
    BatchHeader,
    iter_headers,
    stamp,
    stamped_head,
    validate,
)

DELETE_SUFFIX: Final = "-delete"
FUTURE_SUFFIX: Final = "-future"
STRAY_SUFFIX: Final = "-stray"
_NAME_LENGTH_MAX: Final = 255


class UnexpectedOffset(ApiError):
    """What a leader sent does not follow what is here. To ask for it again gives the same."""

    def __init__(self, message: str) -> None:
        super().__init__(Errors.CORRUPT_MESSAGE, message)


class AppendInfo(NamedTuple):
    """What an append did. ``append_time_ms`` is -1 where records keep their own timestamps, but for those that came again."""

    first_offset: int
    last_offset: int
    append_time_ms: int
    log_start_offset: int
    duplicate: bool
    size_bytes: int
    record_count: int


class Log:
    """The log of one replica. Offsets rise; the log end offset is the next one to be given.

    Made by :meth:`open`. After :meth:`close`, :meth:`abandon` or :meth:`delete` it is not used again.
    """

    def __init__(
        self,
        *,
        directory: Path,
        topic_partition: TopicPartition,
        topic_id_file: TopicIdFile,
        config: LogConfig,
        clock: Clock,
        storage: Storage,
        recovery_point: int,
        clean: bool,
        log_start_offset: int,
        compacted_to: int | None,
    ) -> None:
        loaded = load_log(
            storage,
            directory,
            config,
            wall_ms=clock.wall_ms(),
            recovery_point=recovery_point,
            clean=clean,
            log_start_offset=log_start_offset,
            compacted_to=compacted_to,
        )
        self.topic_partition = topic_partition
        self.directory = directory
        self.log_dir = directory.parent
        """The broker's log directory in which it lies, under whatever name. Asked for at each change of a leader."""
        self.config = config
        self.log_start_offset = max(log_start_offset, loaded.segments[0].base_offset)
        self.log_end_offset = loaded.end_offset
        self.recovered = loaded.recovered
        """The log was validated again because its last stop was unclean."""
        self.recovered_cut_bytes = loaded.cut_bytes
        """What that removed from its tail."""
        self.producer_state: ProducerState = loaded.producer_state
        self._clock = clock
        self._storage = storage
        self._segments = LogSegments(loaded.segments)
        self._active = self._segments[-1]
        self._deleted = DeletedSegments(clock)
        self.first_dirty_offset: int | None = None
        """Up to here the log was compacted; None when it never was."""
        self._epochs = loaded.epochs
        self._snapshots = loaded.snapshots
        self._epoch_file = LeaderEpochFile(storage, clock, directory, loaded.epochs, unsynced=loaded.recovered)
        self._flusher = LogFlusher(
            self,
            self._segments,
            self._epoch_file,
            storage,
            clock,
            recovery_point=loaded.end_offset if clean and not loaded.recovered else min(recovery_point, loaded.end_offset),
            failed=self._storage_error,
        )
        if config.preallocate:
            self._active.reserve(config.segment_bytes)
        self.on_storage_error: Callable[[Log, OSError], None] | None = None
        """Told of every error of the disk, besides the one who asked."""
        self.on_cut: Callable[[Log], None] | None = None
        """Told when the log was truncated, before anything else is appended: what was written down of it may say too much."""
        self._topic_id_file = topic_id_file
        if self._epochs.dirty:
            self._write_epochs()

    @classmethod
    def open(
        cls,
        directory: Path,
        tp: TopicPartition,
        config: LogConfig,
        clock: Clock,
        *,
        storage: Storage,
        recovery_point: int = 0,
        clean: bool = False,
        topic_id: uuid.UUID | None = None,
        log_start_offset: int = 0,
        compacted_to: int | None = None,
    ) -> Log:
        """Create the log or load it; recovers from ``recovery_point`` on unless the last stop was ``clean``.

        :param compacted_to: only segments that begin before it may have been compacted; None where nobody knows.
        :raises StorageError: when the directory is another topic's, cannot be read or written, or has batches that are none.
        """
        try:
            storage.make_dirs(directory)
            topic_id_file = TopicIdFile(storage, clock, directory, topic_id)
            log = cls(
                directory=directory,
                topic_partition=tp,
                topic_id_file=topic_id_file,
                config=config,
                clock=clock,
                storage=storage,
                recovery_point=recovery_point,
                clean=clean,
                log_start_offset=log_start_offset,
                compacted_to=compacted_to,
            )
            # After a kill it may be that what is there was not synced yet; where there are records it was.
            if log.topic_id is not None and not (topic_id_file.was_there and (clean or log.size_bytes)):
                topic_id_file.sync_soon(lambda error: log._storage_error("writing the topic id of", error))
            return log
        except OSError as error:
            raise StorageError(f"{directory}: {error.strerror or error}") from error
        except ApiError as error:
            # What it knows of its producers is lost, and cannot be read again.
            raise StorageError(f"{directory}: {error.message}") from error

    # --- what there is ----------------------------------------------------------------------------

    @property
    def topic_id(self) -> uuid.UUID | None:
        """Which topic the records belong to; None when nobody has said so."""
        return self._topic_id_file.topic_id

    @property
    def recovery_point(self) -> int:
        """Everything below was synced; never above the log end."""
        return self._flusher.recovery_point

    @property
    def latest_epoch(self) -> int:
        """The newest leader epoch of which the log knows, -1 for none."""
        return self._epochs.latest

    @property
    def size_bytes(self) -> int:
        return sum(segment.size for segment in self._segments)

    @property
    def segment_count(self) -> int:
        return len(self._segments)

    @property
    def leader_epochs(self) -> list[tuple[int, int]]:
        """Each leader epoch and the offset at which it began."""
        return self._epochs.entries

    @property
    def starts_inside_segment(self) -> bool:
        """Records were deleted before the log start, so that the files alone do not say where it is."""
        return self.log_start_offset > self._segments[0].base_offset

    def claim(self, topic_id: uuid.UUID) -> None:
        """Say which topic the records belong to, if that is not known yet.

        :raises StorageError: when they are another topic's.
        """
        self._topic_id_file.claim(topic_id)

    def segments(self) -> list[SegmentInfo]:
        return [segment.info() for segment in self._segments]

    # --- append -------------------------------------------------------------------------------------

    def append_as_leader(self, data: bytes, leader_epoch: int, *, client: bool = True, zstd_allowed: bool = True) -> AppendInfo:
        """Give offsets to what came and append it.

        From a client: exactly one batch, checked in every respect. Otherwise: whole batches of our
        own making, control batches among them, which are only stamped.

        :raises ApiError: with the code that the client is to see; nothing was appended then.
        """
        if not client:
            return self._append_own(data, leader_epoch)
        config = self.config
        try:
            header = check_client_batch(data, config, zstd_allowed=zstd_allowed)
        except BytesBehind as behind:
            data = data[: behind.size]
            header = check_client_batch(data, config, zstd_allowed=zstd_allowed)
        now_ms = self._clock.wall_ms()
        data, header = prepare_client_batch(data, header, config, now_ms, self.topic_partition)
        size = len(data)
        if size > config.segment_bytes:
            raise self._larger_than_segment(size)
        has_producer = header.producer_id > NO_PRODUCER_ID
        if has_producer:
            repeated = self.producer_state.check(header, self.topic_partition)
            if repeated is not None:
                # As in Kafka the time is told that lies in the log, whoever gave it.
                return AppendInfo(
                    repeated.first_offset,
                    repeated.last_offset,
                    repeated.timestamp,
                    self.log_start_offset,
                    True,
                    header.size_bytes,
                    header.record_count,
                )
        first_offset = self.log_end_offset
        last_offset = first_offset + header.last_offset_delta
        segment = self._segment_for_append(size, first_offset, last_offset, header.max_timestamp, now_ms)
        self._write(segment, stamped_head(header, first_offset, leader_epoch), memoryview(data)[STAMP_BYTES:])
        segment.note_batch(last_offset, header.max_timestamp, size, config.index_interval_bytes)
        if leader_epoch != self._epochs.latest:
            self._assign_epoch(leader_epoch, first_offset)
        if has_producer:
            self.producer_state.update(header, first_offset)
        self.log_end_offset = last_offset + 1
        if config.flush_messages != LONG_MAX or config.flush_ms != LONG_MAX:
            self._flusher.flush_if_due()
        append_time_ms = now_ms if header.is_log_append_time else -1
        return AppendInfo(first_offset, last_offset, append_time_ms, self.log_start_offset, False, size, header.record_count)

    def _append_own(self, data: bytes, leader_epoch: int) -> AppendInfo:
        stamped = bytearray(data)
        next_offset = self.log_end_offset
        for pos, header in iter_headers(data):
            stamp(stamped, pos, next_offset, leader_epoch)
            next_offset += header.last_offset_delta + 1
        data = bytes(stamped)
        return self._append_stamped(data, iter_headers(data))

    def append_as_follower(self, data: bytes) -> AppendInfo:
        """Append the leader's batches with their offsets and epochs; an incomplete one at the end is left out.

        :raises ApiError: CORRUPT_MESSAGE when a checksum is wrong; nothing was appended then.
        :raises UnexpectedOffset: when offsets do not rise; nothing was appended then.
        """
        return self._append_stamped(data, self._checked(data))

    def _checked(self, data: bytes) -> list[tuple[int, BatchHeader]]:
        batches = []
        next_offset = self.log_end_offset
        for pos, header in iter_headers(data):
            validate(data, pos, header)
            if header.base_offset < next_offset:
                raise UnexpectedOffset(f"{self.topic_partition}: offset {header.base_offset} follows offset {next_offset - 1}")
            next_offset = header.next_offset
            if next_offset > LONG_MAX:
                raise UnexpectedOffset(f"{self.topic_partition}: after offset {header.last_offset} there is none")
            batches.append((pos, header))
        return batches

    def _append_stamped(self, data: bytes, batches: Iterable[tuple[int, BatchHeader]]) -> AppendInfo:
        """Append batches that carry their offsets, by where they lie: as many as fit into a segment with one write."""
        config = self.config
        first_offset = -1
        record_count = 0
        now_ms = self._clock.wall_ms()
        run: list[tuple[int, BatchHeader]] = []
        run_start = run_end = 0
        segment = self._active
        try:
            for pos, header in batches:
                if run and segment.size + run_end - run_start + header.size_bytes > config.segment_bytes:
                    self._append_run(segment, data, run_start, run_end, run)
                    run, run_start = [], run_end
                if not run:
                    segment = self._segment_for_append(
                        header.size_bytes, header.base_offset, header.last_offset, header.max_timestamp, now_ms
                    )
                elif header.last_offset - segment.base_offset > RELATIVE_OFFSET_MAX:
                    self._append_run(segment, data, run_start, run_end, run)
                    run, run_start = [], run_end
                    segment = self._segment_for_append(
                        header.size_bytes, header.base_offset, header.last_offset, header.max_timestamp, now_ms
                    )
                run.append((pos, header))
                run_end = pos + header.size_bytes
                if first_offset < 0:
                    first_offset = header.base_offset
                record_count += header.record_count
        finally:
            if run:
                self._append_run(segment, data, run_start, run_end, run)
        if config.flush_messages != LONG_MAX or config.flush_ms != LONG_MAX:
            self._flusher.flush_if_due()
        if first_offset < 0:
            first_offset = self.log_end_offset
        return AppendInfo(first_offset, self.log_end_offset - 1, -1, self.log_start_offset, False, run_end, record_count)

    def _append_run(self, segment: Segment, data: bytes, start: int, end: int, run: list[tuple[int, BatchHeader]]) -> None:
        view = memoryview(data)
        self._write(segment, b"", view[start:end] if end - start != len(data) else data)
        interval = self.config.index_interval_bytes
        for pos, header in run:
            segment.note_batch(header.last_offset, header.max_timestamp, header.size_bytes, interval)
            if header.partition_leader_epoch > self._epochs.latest:
                self._assign_epoch(header.partition_leader_epoch, header.base_offset)
            if header.producer_id > NO_PRODUCER_ID:
                aborted = self.producer_state.update_from(header, data, pos)
                if aborted is not None:
                    self._note_aborted(segment, aborted)
        self.log_end_offset = run[-1][1].next_offset

    def _note_aborted(self, segment: Segment, aborted: AbortedTransaction) -> None:
        try:
            segment.add_aborted(aborted)
        except OSError as error:
            raise self._storage_error("writing the transaction index of", error) from error
        self._flusher.names_unsynced = True

    def _write(self, segment: Segment, head: bytes, body: bytes | memoryview) -> None:
        if self._topic_id_file.is_unsynced:
            self._sync_topic_id()
        try:
            segment.write(head, body)
        except OSError as error:
            raise self._storage_error("writing to", error) from error

    def _segment_for_append(self, size: int, first_offset: int, last_offset: int, max_timestamp: int, now_ms: int) -> Segment:
        """The active segment, rolled before if this append does not fit or the segment is too old."""
        segment = self._active
        config = self.config
        if last_offset - segment.base_offset > RELATIVE_OFFSET_MAX:
            return self._roll_to(first_offset)
        if not segment.size:
            return segment
        first_timestamp = segment.first_timestamp
        age_ms = max_timestamp - first_timestamp if first_timestamp >= 0 else now_ms - segment.created_ms
        if (
            segment.size + size > config.segment_bytes
            or age_ms > config.max_segment_ms - self._jitter_ms(segment)
            or segment.index_is_full(config.segment_index_bytes)
        ):
            return self._roll_to(self.log_end_offset)
        return segment

    def _jitter_ms(self, segment: Segment) -> int:
        jitter_ms = self.config.segment_jitter_ms
        if not jitter_ms:
            return 0
        # Any spread will do as long as it stays the same for this segment.
        spread = zlib.crc32(f"{self.topic_partition}/{segment.base_offset}".encode())
        return spread % min(jitter_ms, self.config.segment_ms)

    def roll(self) -> None:
        """Begin a new segment, unless the active one is still empty."""
        if self._active.size:
            self._roll_to(self.log_end_offset)

    def _roll_to(self, base_offset: int) -> Segment:
        old = self._active
        try:
            if old.size:
                old.become_inactive()
                self._segments.sealed(old)
                self._write_snapshot(base_offset)
            else:
                # Nothing was written since its base was chosen, and now the base lies too far back.
                old.remove_files()
                self._segments.pop()
            segment = Segment(self._storage, self.directory, base_offset, size=0, created_ms=self._clock.wall_ms())
            # A segment is a file from its beginning, so that the next start knows of it.
            segment.file.truncate(0)
            if self.config.preallocate:
                segment.reserve(self.config.segment_bytes)
        except OSError as error:
            raise self._storage_error("rolling", error) from error
        self._segments.append(segment)
        self._active = segment
        self._flusher.names_unsynced = True
        if old.unsynced and len(self._segments) > 1:
            # What will not change any more goes to the disk now, so that little is left to validate after a kill.
            self.flush_later()
        return segment

    # --- read ---------------------------------------------------------------------------------------

    def read(self, offset: int, max_bytes: int, *, max_offset: int | None = None, min_one: bool = True) -> bytes:
        """Whole batches from the one that contains ``offset`` on, of one segment.

        Batches that reach ``max_offset`` are left out. The first comes even when it alone is larger
        than ``max_bytes``, unless ``min_one`` is off.

        :raises ApiError: OFFSET_OUT_OF_RANGE outside the log.
        """
        chunk = self.read_chunk(offset, max_bytes, max_offset=max_offset, min_one=min_one)
        assert isinstance(chunk, bytes), "regions are given to those who ask for them"
        return chunk

    def read_chunk(
        self, offset: int, max_bytes: int, *, max_offset: int | None = None, min_one: bool = True, region_from: int = NO_REGIONS
    ) -> bytes | FileRegion:
        """As :meth:`read`; ``region_from`` bytes and more are not read, but told where they lie.

        :raises ApiError: OFFSET_OUT_OF_RANGE outside the log.
        """
        if not self.log_start_offset <= offset <= self.log_end_offset:
            raise ApiError(
                Errors.OFFSET_OUT_OF_RANGE,
                f"Received request for offset {offset} for partition {self.topic_partition}, but we only have log segments "
                f"from offset {self.log_start_offset} to {self.log_end_offset}.",
            )
        if offset == self.log_end_offset or (max_offset is not None and offset >= max_offset):
            return b""
        segment = self._active
        number = len(self._segments) - 1
        if offset < segment.base_offset:
            number = self._segments.number_of(offset)
            segment = self._segments[number]
            self._segments.use_indexes(segment)
        try:
            start = segment.locate(offset)
            while start >= segment.size:
                # Compaction may have taken the segment's last batches.
                number += 1
                if number == len(self._segments):
                    return b""
                segment = self._segments[number]
                start = 0
            limit = segment.size
            if max_offset is not None and max_offset < self.log_end_offset:
                limit = segment.locate(max_offset)
            return segment.read(start, limit, max_bytes, min_one, region_from)
        except OSError as error:
            raise self._storage_error("reading", error) from error

    def last_stable_offset(self, high_watermark: int) -> int:
        """Where the oldest transaction begins of which the end is not committed yet; the high watermark when there is none."""
        return self.producer_state.last_stable_offset(high_watermark)

    def aborted_transactions(self, offset: int, chunk: bytes | FileRegion) -> list[AbortedTransaction]:
        """The aborted transactions with records among those that were just read at ``offset``, and perhaps a few others."""
        try:
            return self._segments.aborted_among(offset, len(chunk), self.log_end_offset)
        except OSError as error:
            raise self._storage_error("reading the transaction index of", error) from error

    def iter_batches(self, from_offset: int) -> Iterator[tuple[BatchHeader, bytes]]:
        """Every batch from the one that contains ``from_offset`` on, up to the end as it is now."""
        end_offset = self.log_end_offset
        if from_offset < end_offset:
            yield from self._segments.batches(from_offset, self.log_start_offset, end_offset)

    def offset_for_timestamp(self, timestamp: int) -> TimestampOffset | None:
        """The first record whose timestamp is at least this."""
        return self._segments.offset_for_timestamp(timestamp, self.log_start_offset)

    def max_timestamp(self) -> TimestampOffset | None:
        """The first record with the largest timestamp of all."""
        return self._segments.max_timestamp()

    # --- epochs -------------------------------------------------------------------------------------

    def end_offset_for_epoch(self, epoch: int) -> tuple[int, int]:
        """The largest epoch not above the one asked for, and the offset at which it ended; (-1, -1) when unknown."""
        return self._epochs.end_offset(epoch, self.log_end_offset)

    def epoch_at(self, offset: int) -> int:
        """The leader epoch in which the record at ``offset`` was (or would be) written; -1 when unknown."""
        return self._epochs.epoch_at(offset)

    def _sync_topic_id(self) -> None:
        try:
            self._topic_id_file.sync()
        except OSError as error:
            raise self._storage_error("writing the topic id of", error) from error

    def _assign_epoch(self, epoch: int, start_offset: int) -> None:
        self._epochs.assign(epoch, start_offset)
        self._epoch_file.write_soon(self._write_epochs_late)
        self._flusher.names_unsynced = True

    def _write_epochs_late(self) -> None:
        # As with a flush in time: the disk's refusal was told to whoever keeps the directory.
        with contextlib.suppress(ApiError):
            self._write_epochs()

    def _write_epochs(self) -> None:
        try:
            self._epoch_file.write()
        except OSError as error:
            raise self._storage_error("writing the leader epochs of", error) from error
        self._flusher.names_unsynced = True

    # --- cut ----------------------------------------------------------------------------------------

    def truncate_to(self, offset: int) -> int:
        """Remove what is at ``offset`` and after it; the new log end offset.

        A batch that spans the offset goes as a whole.
        """
        if offset >= self.log_end_offset:
            return self.log_end_offset
        if offset < self._segments[0].base_offset:
            self.truncate_fully_and_start_at(offset)
            return offset
        try:
            keep = self._segments.number_of(offset) + 1
            for segment in self._segments[keep:]:
                segment.remove_files()
            del self._segments[keep:]
            active = self._active = self._segments[-1]
            end_offset = offset
            position = active.locate(offset)
            for _, header in active.headers(position, chunk_bytes=HEADER_BYTES):
                end_offset = min(offset, header.base_offset)
                break
            active.truncate(position)
            active.truncate_transactions(end_offset)
            active.prepare_to_append(end_offset)
            self.producer_state, self._snapshots = producers_from(
                self._storage, self.directory, self._segments, self._snapshots, end_offset
            )
        except OSError as error:
            raise self._storage_error("truncating", error) from error
        self._end_at(end_offset)
        self._epochs.truncate_from_end(end_offset)
        if self._epochs.dirty:
            self._write_epochs()
        self._tell_cut()
        return end_offset

    def truncate_fully_and_start_at(self, offset: int) -> None:
        """Remove everything; the next record gets ``offset``."""
        try:
            for segment in self._segments:
                segment.remove_files()
            for snapshot in self._snapshots:
                self._storage.remove(self.directory / segment_file_name(snapshot, SNAPSHOT_SUFFIX))
            active = Segment(self._storage, self.directory, offset, size=0, created_ms=self._clock.wall_ms())
            active.file.truncate(0)
        except OSError as error:
            raise self._storage_error("truncating", error) from error
        self._segments[:] = [active]
        self._active = active
        self._flusher.names_unsynced = True
        self._snapshots = []
        self.producer_state.clear()
        self.log_start_offset = offset
        self._end_at(offset)
        self._epochs.clear()
        if self._epochs.dirty:
            self._write_epochs()
        self._tell_cut()

    def _tell_cut(self) -> None:
        if self.on_cut is not None:
            self.on_cut(self)

    def _end_at(self, offset: int) -> None:
        self.log_end_offset = offset
        self.log_start_offset = min(self.log_start_offset, offset)
        self._flusher.cut(offset)
        if self.first_dirty_offset is not None:
            self.first_dirty_offset = min(self.first_dirty_offset, offset)

    def increment_log_start_offset(self, offset: int) -> None:
        """Records before ``offset`` are gone for readers; whole segments before it go with the next look at what is old."""
        assert offset <= self.log_end_offset, "a log does not start after its end"
        if offset > self.log_start_offset:
            self.log_start_offset = offset
            self._epochs.truncate_from_start(offset)
            if self._epochs.dirty:
                self._write_epochs()

    def delete_old_segments(self, high_watermark: int, on_deleted: Callable[[Cause, list[SegmentInfo]], None] | None = None) -> int:
        """Delete what lies before the log start, is too much or too old, as ``cleanup.policy`` says; how many segments went."""
        try:
            expired = expired_segments(
                self._segments,
                self.config,
                log_start_offset=self.log_start_offset,
                log_end_offset=self.log_end_offset,
                high_watermark=high_watermark,
                wall_ms=self._clock.wall_ms(),
            )
        except OSError as error:
            raise self._storage_error("reading", error) from error
        count = sum(number for number, _ in expired)
        if not count:
            return 0
        if count == len(self._segments):
            self.roll()
        self.increment_log_start_offset(self._segments[count].base_offset)
        for number, cause in expired:
            gone = self._segments[:number]
            infos = [segment.info() for segment in gone]
            self._delete_segments(gone)
            if on_deleted is not None:
                on_deleted(cause, infos)
        return count

    def _delete_segments(self, gone: list[Segment]) -> None:
        """Take sealed segments out of the log; their files go after a while."""
        leaving = set(gone)
        self._segments[:] = [segment for segment in self._segments if segment not in leaving]
        try:
            for segment in gone:
                self._deleted.add(segment, self.config.file_delete_delay_ms)
            self._remove_snapshots({segment.base_offset for segment in gone})
        except OSError as error:
            raise self._storage_error("deleting segments of", error) from error

    def _remove_snapshots(self, bases: set[int]) -> None:
        first_base = self._segments[0].base_offset
        for snapshot in [snapshot for snapshot in self._snapshots if snapshot in bases or snapshot < first_base]:
            self._storage.remove(self.directory / segment_file_name(snapshot, SNAPSHOT_SUFFIX))
            self._snapshots.remove(snapshot)

    # --- compaction ---------------------------------------------------------------------------------

    @property
    def active_base_offset(self) -> int:
        """Where the segment begins that still grows."""
        return self._active.base_offset

    def sealed_segments(self) -> list[Segment]:
        """All segments but the active one; their files do not change any more, except by truncation."""
        return self._segments[:-1]

    def aborted_between(self, from_offset: int, to_offset: int) -> list[AbortedTransaction]:
        """The aborted transactions with records among these offsets, and perhaps a few others."""
        return self._segments.aborted_between(from_offset, to_offset)

    @property
    def truncations(self) -> int:
        """How often the log was cut in this life; what was learnt of its segments before one may not hold after it."""
        return self._flusher.cuts

    def is_sealed(self, segment: Segment) -> bool:
        """Whether this very segment is still part of the log and does not grow."""
        number = self._segments.number_of(segment.base_offset)
        return self._segments[number] is segment and segment is not self._active

    def replace_segments(self, cleaned: Segment, replaced: list[Segment]) -> None:
        """Put a compacted segment, complete and synced with its names, in the place of neighbouring sealed ones.

        From the first renaming on the new segment is what counts: a start after a kill goes on with it.
        """
        first = self._segments.index(replaced[0])
        assert self._segments[first : first + len(replaced)] == replaced, "neighbours of this log are replaced"
        assert first + len(replaced) < len(self._segments), "the active segment is not compacted"
        try:
            cleaned.change_suffix(SWAP_SUFFIX)
            self._segments[first : first + len(replaced)] = [cleaned]
            for segment in replaced:
                self._deleted.add(segment, self.config.file_delete_delay_ms)
            cleaned.change_suffix("")
            self._remove_snapshots({segment.base_offset for segment in replaced[1:]})
        except OSError as error:
            raise self._storage_error("replacing segments of", error) from error

    # --- to the disk --------------------------------------------------------------------------------

    def flush(self) -> None:
        """Return when everything appended is on the disk; at once when it is there already.

        :raises ApiError: KAFKA_STORAGE_ERROR when the disk refuses.
        """
        self._flusher.flush()

    def flush_inactive(self) -> None:
        """Sync all but the active segment, so that little is left to validate after a kill."""
        self._flusher.flush_inactive()

    def maybe_flush(self) -> None:
        """Flush when ``flush.ms`` says that it is time."""
        self._flusher.maybe_flush()

    def flush_later(self) -> None:
        """As :meth:`flush_inactive`, without waiting for the disk: the recovery point follows when it is done."""
        self._flusher.flush_later()

    def flush_all_later(self, done: Callable[[], None]) -> None:
        """As :meth:`flush`, without waiting for the disk; ``done`` is called, perhaps at once, when what is there now is on it."""
        self._flusher.flush_all_later(done)

    def expire_producers(self, expiration_ms: int) -> None:
        """Forget producers that have been silent that long."""
        self.producer_state.expire(self._clock.wall_ms(), expiration_ms)

    def _write_snapshot(self, offset: int) -> None:
        if offset in self._snapshots:
            return
        self._storage.replace(self.directory / segment_file_name(offset, SNAPSHOT_SUFFIX), self.producer_state.dump(), sync=False)
        self._snapshots.append(offset)

    # --- the end ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Flush, complete the indexes, write the producers' snapshot, let go of the files."""
        self.flush()
        if self._epochs.dirty:
            self._write_epochs()
        if self._topic_id_file.is_unsynced:
            self._sync_topic_id()
        try:
            if not self._active.size:
                # A log that was never written to still has its files.
                self._active.file.truncate(0)
            self._active.release()
            for segment in self._segments:
                if segment is self._active or segment.indexes_dirty:
                    segment.write_indexes()
            if self.log_end_offset > self._segments[0].base_offset:
                self._write_snapshot(self.log_end_offset)
            bases = {segment.base_offset for segment in self._segments}
            for snapshot in self._snapshots[:]:
                if snapshot != self.log_end_offset and snapshot not in bases:
                    self._storage.remove(self.directory / segment_file_name(snapshot, SNAPSHOT_SUFFIX))
                    self._snapshots.remove(snapshot)
        except OSError as error:
            raise self._storage_error("closing", error) from error
        self.abandon()

    def abandon(self) -> None:
        """Let go of the files as a killed process does: nothing is written."""
        self._deleted.close()
        self._flusher.abandon()
        self._epoch_file.abandon()
        self._topic_id_file.abandon()
        for segment in self._segments:
            segment.close()

    def rename_for_delete(self) -> Path:
        """Move the directory out of the way; the topic's name is free again at once. The new directory."""
        return self._move_away(DELETE_SUFFIX)

    def rename_as_stray(self) -> Path:
        """As :meth:`rename_for_delete`, for records that nobody has told to delete."""
        return self._move_away(STRAY_SUFFIX)

    def _move_away(self, kind: str) -> Path:
        self.abandon()
        unique = uuid.uuid5(self.topic_id or _NO_TOPIC_ID, f"{self.directory}/{self.log_end_offset}/{self._clock.wall_ms()}").hex
        suffix = f"-{self.topic_partition.partition}.{unique}{kind}"
        renamed = self.directory.with_name(self.topic_partition.topic[: _NAME_LENGTH_MAX - len(suffix)] + suffix)
        self._rename(renamed)
        return renamed

    def take_its_place(self) -> None:
        """A copy that was made under another name becomes the replica: its directory gets the partition's name."""
        for segment in self._segments:
            # Windows renames no directory in which a file is open; each is opened again when it is needed.
            segment.close()
        self._rename(self.directory.with_name(str(self.topic_partition)))

    def _rename(self, renamed: Path) -> None:
        try:
            self._storage.rename(self.directory, renamed)
            self._storage.sync_dir(renamed.parent)
        except OSError as error:
            raise self._storage_error("renaming", error) from error
        self.directory = renamed
        self._topic_id_file.moved(renamed)
        self._epoch_file.moved(renamed)
        for segment in self._segments:
            segment.moved(renamed)

    def delete(self) -> None:
        """Remove the directory and everything in it."""
        self.abandon()
        try:
            self._storage.remove_tree(self.directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._storage_error("deleting", error) from error

    def _storage_error(self, doing: str, error: OSError) -> ApiError:
        if self.on_storage_error is not None:
            self.on_storage_error(self, error)
        return ApiError(Errors.KAFKA_STORAGE_ERROR, f"Error while {doing} the log {self.directory.name}: {error.strerror or error}")

    def _larger_than_segment(self, size: int) -> ApiError:
        return ApiError(
            Errors.RECORD_LIST_TOO_LARGE,
            f"Message batch size is {size} bytes in append to partition {self.topic_partition}, "
            f"which exceeds the maximum configured segment size of {self.config.segment_bytes}.",
        )


_NO_TOPIC_ID: Final = uuid.UUID(int=0)
