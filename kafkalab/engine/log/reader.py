"""Kafka's files, read and never written: for tools, for the window, for tests.

Everything here may be used on a directory that a node is writing at that moment, this program's or
Apache Kafka's. So a batch at the end that is not whole yet is no error, it is not there yet; a
segment that was deleted between two looks is passed over; the zeros of an index that was made
larger than what is in it are not entries. What is broken in the middle of a file is told as it is
found: readers of whole directories raise, the functions for single files leave judgement to the caller.

>>> for batch in PartitionReader(Path("data/node-1/orders-0")).batches():  # doctest: +SKIP
...     print(batch.header.base_offset, batch.header.record_count, batch.is_valid)
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Final, NamedTuple

from kafkalab.engine.common.errors import ApiError
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.log.checkpoint import (
    HIGH_WATERMARK_FILE,
    LEADER_EPOCH_FILE,
    LOG_START_OFFSET_FILE,
    RECOVERY_POINT_FILE,
    read_leader_epochs,
    read_offsets,
)
from kafkalab.engine.log.meta_properties import META_PROPERTIES_FILE, MetaProperties
from kafkalab.engine.log.partition_metadata import PARTITION_METADATA_FILE, read_topic_id
from kafkalab.engine.log.producer_state import CorruptSnapshot, ProducerEntry, ProducerState
from kafkalab.engine.log.segment import (
    INDEX_SUFFIX,
    LOG_SUFFIX,
    TIME_INDEX_SUFFIX,
    TRANSACTION_INDEX_SUFFIX,
    segment_file_name,
)
from kafkalab.engine.log.storage import FileStorage, StorageError
from kafkalab.engine.record.batch import (
    BATCH_LENGTH_MIN,
    HEADER_BYTES,
    BatchHeader,
    Record,
    read_header,
    records_of,
    validate,
)
from kafkalab.engine.record.control import ControlType, decode_key

CLEANER_OFFSETS_FILE: Final = "cleaner-offset-checkpoint"
CLEAN_SHUTDOWN_FILE: Final = ".kafka_cleanshutdown"
OFFSET_CHECKPOINT_FILES: Final = (RECOVERY_POINT_FILE, LOG_START_OFFSET_FILE, HIGH_WATERMARK_FILE, CLEANER_OFFSETS_FILE)
NOT_PARTITIONS: Final = ("-delete", "-future", "-stray")

_OFFSET_ENTRY: Final = Struct(">ii")
_TIME_ENTRY: Final = Struct(">qi")
_TRANSACTION_ENTRY: Final = Struct(">hqqqq")
_TRANSACTION_VERSION_MAX: Final = 0
_CHUNK_BYTES: Final = 1024 * 1024
_OFFSET_DIGITS: Final = 20


class OffsetEntry(NamedTuple):
    """A batch's last offset, and where in the log file it begins."""

    offset: int
    position: int


class TimeEntry(NamedTuple):
    """The largest timestamp up to an offset."""

    timestamp: int
    offset: int


class AbortedTransaction(NamedTuple):
    """A transaction that readers of committed records leave out; ``last_offset`` is its marker's."""

    version: int
    producer_id: int
    first_offset: int
    last_offset: int
    last_stable_offset: int


class SegmentFile(NamedTuple):
    """One segment's log file, as it was when the directory was looked through."""

    base_offset: int
    path: Path
    size_bytes: int
    modified_ms: float


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch, its bytes, and where they stand in the file."""

    position: int
    header: BatchHeader
    data: bytes

    @property
    def is_valid(self) -> bool:
        """Whether checksum and counts are as the header says."""
        try:
            validate(self.data, 0, self.header)
        except ApiError:
            return False
        return True

    def records(self) -> Iterator[Record]:
        """The records, decompressed.

        :raises ApiError: where they are not what the header says.
        """
        return records_of(self.data, 0, self.header)

    @property
    def control_type(self) -> ControlType | None:
        """What a control batch says; None for one of a later version, and for batches of records.

        :raises ApiError: when a control batch holds no control record.
        """
        if not self.header.is_control:
            return None
        first = next(self.records(), None)
        return None if first is None else decode_key(first.key)


# --- single files ----------------------------------------------------------------------------------


def read_batches(path: Path, position: int = 0, *, end: int | None = None) -> Iterator[StoredBatch]:
    """The whole batches of a log file (or a snapshot's), from a batch's position on.

    Stops before what is no batch: an unfinished one, zeros, or bytes of another kind. Where it
    stopped is the end of the last batch that it gave.

    :raises OSError: when the file cannot be read.
    """
    with path.open("rb") as file:
        buffer, start = b"", position  # What was read ahead, and where in the file that begins.
        while True:
            at = position - start
            if len(buffer) - at < HEADER_BYTES:
                buffer, start, at = _refill(file, buffer, at, position, HEADER_BYTES), position, 0
                if len(buffer) < HEADER_BYTES:
                    return
            header = read_header(buffer, at)
            if header.batch_length < BATCH_LENGTH_MIN:
                return
            size = header.size_bytes
            if end is not None and position + size > end:
                return
            if len(buffer) - at < size:
                buffer, start, at = _refill(file, buffer, at, position, size), position, 0
                if len(buffer) < size:
                    return
            yield StoredBatch(position, header, buffer[at : at + size])
            position += size


def _refill(file: BinaryIO, buffer: bytes, at: int, position: int, wanted: int) -> bytes:
    """The bytes from ``position`` on: what is left of the buffer, and more."""
    rest = buffer[at:]
    # A length from a broken header must not make us ask for more than there is.
    file_size = file.seek(0, os.SEEK_END)
    file.seek(position + len(rest))
    missing = min(max(_CHUNK_BYTES, wanted - len(rest)), max(0, file_size - position - len(rest)))
    return rest + file.read(missing)


def read_offset_index(path: Path) -> list[OffsetEntry]:
    """The entries, up to the zeros that a preallocated file ends in; half an entry at the end is left out.

    :raises OSError: when the file cannot be read.
    """
    base_offset = base_offset_of(path)
    content = path.read_bytes()
    entries: list[OffsetEntry] = []
    for relative, position in _OFFSET_ENTRY.iter_unpack(content[: len(content) // _OFFSET_ENTRY.size * _OFFSET_ENTRY.size]):
        if relative == 0 and position == 0:
            break
        entries.append(OffsetEntry(base_offset + relative, position))
    return entries


def read_time_index(path: Path) -> list[TimeEntry]:
    """The entries, up to the zeros that a preallocated file ends in; half an entry at the end is left out.

    :raises OSError: when the file cannot be read.
    """
    base_offset = base_offset_of(path)
    content = path.read_bytes()
    entries: list[TimeEntry] = []
    for timestamp, relative in _TIME_ENTRY.iter_unpack(content[: len(content) // _TIME_ENTRY.size * _TIME_ENTRY.size]):
        if timestamp == 0 and relative == 0:
            break
        entries.append(TimeEntry(timestamp, base_offset + relative))
    return entries


def check_offset_index(path: Path) -> bool:
    """Check what Kafka checks before it trusts an index at a start; False for one in which there is nothing.

    The zeros that a preallocated file ends in count as entries here.

    :raises OSError: when the file cannot be read.
    :raises StorageError: when it would not be trusted.
    """
    base_offset = base_offset_of(path)
    content = path.read_bytes()
    count = len(content) // _OFFSET_ENTRY.size
    if not count:
        return False
    relative, _ = _OFFSET_ENTRY.unpack_from(content, (count - 1) * _OFFSET_ENTRY.size)
    if relative < 0:
        raise StorageError(
            f"Corrupt index found, index file {path.absolute()} has non-zero size but the last offset is {base_offset + relative} "
            f"which is less than the base offset {base_offset}"
        )
    if len(content) % _OFFSET_ENTRY.size:
        raise StorageError(f"Index file {path.absolute()} is corrupt, found {_odd_bytes(content, _OFFSET_ENTRY)}")
    return True


def check_time_index(path: Path) -> None:
    """As :func:`check_offset_index`.

    :raises OSError: when the file cannot be read.
    :raises StorageError: when it would not be trusted.
    """
    base_offset = base_offset_of(path)
    content = path.read_bytes()
    count = len(content) // _TIME_ENTRY.size
    if count:
        what = f"Corrupt time index found, time index file ({path.absolute()}) has non-zero size but the last"
        first_timestamp, _ = _TIME_ENTRY.unpack_from(content)
        timestamp, relative = _TIME_ENTRY.unpack_from(content, (count - 1) * _TIME_ENTRY.size)
        if timestamp < first_timestamp:
            raise StorageError(f"{what} timestamp is {timestamp} which is less than the first timestamp {first_timestamp}")
        if relative < 0:
            raise StorageError(f"{what} offset is {base_offset + relative} which is less than the first offset {base_offset}")
    if len(content) % _TIME_ENTRY.size:
        raise StorageError(f"Time index file {path.absolute()} is corrupt, found {_odd_bytes(content, _TIME_ENTRY)}")


def _odd_bytes(content: bytes, entry: Struct) -> str:
    return f"{len(content)} bytes which is neither positive nor a multiple of {entry.size}"


def read_transaction_index(path: Path) -> list[AbortedTransaction]:
    """The aborted transactions whose markers are in the segment; half an entry at the end is left out.

    :raises OSError: when the file cannot be read.
    :raises StorageError: when it is no index, or one of a version that nobody knows.
    """
    content = path.read_bytes()
    whole = len(content) // _TRANSACTION_ENTRY.size * _TRANSACTION_ENTRY.size
    entries = [AbortedTransaction(*entry) for entry in _TRANSACTION_ENTRY.iter_unpack(content[:whole])]
    for entry in entries:
        if entry.version > _TRANSACTION_VERSION_MAX:
            raise StorageError(
                f"Unexpected aborted transaction version {entry.version} in transaction index {path.absolute()}, "
                f"current version is {_TRANSACTION_VERSION_MAX}"
            )
    return entries


def read_producer_snapshot(path: Path) -> list[ProducerEntry]:
    """What the log knew of its producers at the offset in the file's name.

    :raises OSError: when the file cannot be read.
    :raises StorageError: when it is no snapshot.
    """
    try:
        return list(ProducerState.load(path.read_bytes()).entries.values())
    except CorruptSnapshot as error:
        raise StorageError(f"{path}: {error}") from None


def read_offset_checkpoint(path: Path) -> dict[TopicPartition, int]:
    """Offsets by partition; empty when there is no such file.

    :raises StorageError: naming file and line when it is no checkpoint.
    """
    return read_offsets(FileStorage(), path)


def read_leader_epoch_checkpoint(path: Path) -> list[tuple[int, int]]:
    """Leader epochs and the offsets at which they began; empty when there is no such file.

    :raises StorageError: naming file and line when it is no checkpoint.
    """
    return read_leader_epochs(FileStorage(), path)


def base_offset_of(path: Path) -> int:
    """The offset in a segment file's name.

    :raises StorageError: when the name is not that of a segment's file.
    """
    digits = path.name.split(".", 1)[0]
    if not (digits.isascii() and digits.isdecimal()):
        raise StorageError(f"{path}: files of a segment are named by an offset")
    return int(digits)


def parse_partition_name(name: str) -> TopicPartition | None:
    """The partition whose directory has this name; None for every other."""
    topic, separator, number = name.rpartition("-")
    if not separator or not topic or not (number.isascii() and number.isdecimal()) or name.endswith(NOT_PARTITIONS):
        return None
    return TopicPartition(topic, int(number))


# --- directories -----------------------------------------------------------------------------------


class PartitionReader:
    """One replica's directory. Each call looks at the files anew."""

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)

    @property
    def topic_partition(self) -> TopicPartition | None:
        """By the directory's name."""
        return parse_partition_name(self.directory.name)

    @property
    def topic_id(self) -> uuid.UUID | None:
        """
        :raises StorageError: when ``partition.metadata`` is broken.
        """
        return read_topic_id(FileStorage(), self.directory / PARTITION_METADATA_FILE)

    @property
    def leader_epochs(self) -> list[tuple[int, int]]:
        """Leader epochs and the offsets at which they began.

        :raises StorageError: naming file and line when the checkpoint is none.
        """
        return read_leader_epoch_checkpoint(self.directory / LEADER_EPOCH_FILE)

    @property
    def start_offset(self) -> int:
        """The first offset of the first segment. Records before the log start may still be in the files."""
        segments = self.segments()
        return segments[0].base_offset if segments else 0

    @property
    def end_offset(self) -> int:
        """The offset that the next record will get, as far as the files tell."""
        for segment in reversed(self.segments()):
            end = -1
            for batch in self._batches_of(segment, self._indexed_position(segment, None)):
                end = batch.header.next_offset
            if end >= 0:
                return end
        segments = self.segments()
        return segments[-1].base_offset if segments else 0

    @property
    def size_bytes(self) -> int:
        """Of all log files together."""
        return sum(segment.size_bytes for segment in self.segments())

    def segments(self) -> list[SegmentFile]:
        """The segments by offset; those on their way to deletion are not among them.

        :raises OSError: when the directory cannot be read.
        """
        found = []
        for path in self.directory.iterdir():
            digits = path.name[:_OFFSET_DIGITS]
            if path.name[_OFFSET_DIGITS:] != LOG_SUFFIX or not (digits.isascii() and digits.isdecimal()):
                continue
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.append(SegmentFile(int(digits), path, status.st_size, status.st_mtime * 1_000))
        return sorted(found)

    def batches(self, from_offset: int = 0) -> Iterator[StoredBatch]:
        """Every batch from the one that holds ``from_offset`` on (or the next after a hole), in order.

        :raises OSError: when a file cannot be read.
        """
        segments = self.segments()
        for number, segment in enumerate(segments):
            if number + 1 < len(segments) and segments[number + 1].base_offset <= from_offset:
                continue
            start = self._indexed_position(segment, from_offset) if from_offset > segment.base_offset else 0
            for batch in self._batches_of(segment, start):
                if batch.header.last_offset >= from_offset:
                    yield batch

    def records(self, from_offset: int = 0, *, committed: bool = False) -> Iterator[Record]:
        """Every record from ``from_offset`` on, without control records; ``committed`` leaves out aborted transactions.

        Records of transactions that are still open are among them in either case: where those begin
        only the leader knows for sure.

        :raises OSError: when a file cannot be read.
        :raises ApiError: where a batch's records are not what its header says.
        """
        aborted: dict[int, list[AbortedTransaction]] = {}
        if committed:
            for one in self.aborted_transactions():
                aborted.setdefault(one.producer_id, []).append(one)
        for batch in self.batches(from_offset):
            header = batch.header
            if header.is_control:
                continue
            if header.is_transactional and any(
                one.first_offset <= header.base_offset < one.last_offset for one in aborted.get(header.producer_id, ())
            ):
                continue
            for record in batch.records():
                if record.offset >= from_offset:
                    yield record

    def aborted_transactions(self) -> list[AbortedTransaction]:
        """From the transaction indexes of all segments."""
        found: list[AbortedTransaction] = []
        for segment in self.segments():
            try:
                found += read_transaction_index(self._sibling(segment, TRANSACTION_INDEX_SUFFIX))
            except FileNotFoundError:
                continue
        return found

    def max_timestamp(self, segment: SegmentFile) -> int:
        """The largest timestamp in a segment, -1 when it is empty.

        From the time index as far as that goes, from the batches behind it: cheap even for a large segment.
        """
        timestamp, offset = -1, None
        try:
            entries = read_time_index(self._sibling(segment, TIME_INDEX_SUFFIX))
        except FileNotFoundError:
            entries = []
        if entries:
            timestamp, offset = entries[-1]
        for batch in self._batches_of(segment, self._indexed_position(segment, offset) if offset is not None else 0):
            timestamp = max(timestamp, batch.header.max_timestamp)
        return timestamp

    def _batches_of(self, segment: SegmentFile, position: int) -> Iterator[StoredBatch]:
        try:
            yield from read_batches(segment.path, position)
        except FileNotFoundError:
            # Retention or compaction was quicker.
            return

    def _indexed_position(self, segment: SegmentFile, offset: int | None) -> int:
        """Where to start for an offset, or for the segment's end."""
        try:
            entries = read_offset_index(self._sibling(segment, INDEX_SUFFIX))
        except FileNotFoundError:
            return 0
        position = 0
        for entry in entries:
            if offset is not None and entry.offset > offset:
                break
            if entry.position >= segment.size_bytes:
                break
            position = entry.position
        return position

    def _sibling(self, segment: SegmentFile, suffix: str) -> Path:
        return self.directory / segment_file_name(segment.base_offset, suffix)


class LogDirReader:
    """One of a node's log directories."""

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)

    @property
    def meta_properties(self) -> MetaProperties:
        """
        :raises StorageError: when the file is missing or broken.
        """
        return MetaProperties.read(self.directory / META_PROPERTIES_FILE)

    def partitions(self) -> dict[TopicPartition, PartitionReader]:
        """All partitions, the metadata log among them.

        :raises OSError: when the directory cannot be read.
        """
        found = {}
        for path in sorted(self.directory.iterdir()):
            tp = parse_partition_name(path.name)
            if tp is not None and path.is_dir():
                found[tp] = PartitionReader(path)
        return found

    @property
    def recovery_points(self) -> dict[TopicPartition, int]:
        """
        :raises StorageError: naming file and line when the checkpoint is none.
        """
        return read_offset_checkpoint(self.directory / RECOVERY_POINT_FILE)

    @property
    def log_start_offsets(self) -> dict[TopicPartition, int]:
        """Only of partitions that start inside a segment.

        :raises StorageError: naming file and line when the checkpoint is none.
        """
        return read_offset_checkpoint(self.directory / LOG_START_OFFSET_FILE)

    @property
    def high_watermarks(self) -> dict[TopicPartition, int]:
        """
        :raises StorageError: naming file and line when the checkpoint is none.
        """
        return read_offset_checkpoint(self.directory / HIGH_WATERMARK_FILE)

    @property
    def cleaner_offsets(self) -> dict[TopicPartition, int]:
        """Up to where compacted partitions have been cleaned.

        :raises StorageError: naming file and line when the checkpoint is none.
        """
        return read_offset_checkpoint(self.directory / CLEANER_OFFSETS_FILE)

    @property
    def clean_shutdown_epoch(self) -> int | None:
        """The broker epoch that a clean stop left, -1 when it left none; None while running and after a kill."""
        try:
            content = json.loads((self.directory / CLEAN_SHUTDOWN_FILE).read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            return -1
        epoch = content.get("brokerEpoch", -1) if isinstance(content, dict) else -1
        return epoch if isinstance(epoch, int) else -1
