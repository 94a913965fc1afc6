"""One segment: a file of batches from a base offset on, and its two indexes.

The newest batches of the active segment are remembered one by one, so that an append's bytes are
found again without reading anything: followers and most consumers read there. Older ones are found
through the sparse index and a short walk over headers.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Final, NamedTuple

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.log.index import OFFSET_ENTRY_BYTES, TIME_ENTRY_BYTES, OffsetIndex, TimeIndex
from kafkalab.engine.log.region import FileRegion
from kafkalab.engine.log.storage import DataFile, Storage
from kafkalab.engine.log.txn_index import AbortedTransaction, CorruptTransactionIndex, TransactionIndex, encode_entry
from kafkalab.engine.record.batch import HEADER_BYTES, BatchHeader, iter_headers, read_header

RECENT_BATCHES_MAX: Final = 512
RELATIVE_OFFSET_MAX: Final = 2**31 - 1
REPAIR_INTERVAL_BYTES: Final = 4096
_WALK_BYTES: Final = 16 * 1024
_SCAN_BYTES: Final = 1024 * 1024

LOG_SUFFIX: Final = ".log"
INDEX_SUFFIX: Final = ".index"
TIME_INDEX_SUFFIX: Final = ".timeindex"
TRANSACTION_INDEX_SUFFIX: Final = ".txnindex"
SNAPSHOT_SUFFIX: Final = ".snapshot"
SEGMENT_SUFFIXES: Final = (LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX, TRANSACTION_INDEX_SUFFIX)
CLEANED_SUFFIX: Final = ".cleaned"
SWAP_SUFFIX: Final = ".swap"
DELETED_SUFFIX: Final = ".deleted"


def segment_file_name(offset: int, suffix: str) -> str:
    return f"{offset:020d}{suffix}"


class SegmentInfo(NamedTuple):
    """What the outside may know of a segment."""

    base_offset: int
    size_bytes: int
    max_timestamp: int


class Segment:
    """Batches from ``base_offset`` on. Whoever owns the log sees to the order of what is appended."""

    __slots__ = (
        "_index",
        "_lasts",
        "_max_timestamp",
        "_max_timestamp_offset",
        "_recent_from",
        "_starts",
        "_storage",
        "_time_index",
        "_transactions",
        "_transactions_unsynced",
        "base_offset",
        "bytes_since_index",
        "created_ms",
        "directory",
        "file",
        "first_timestamp",
        "indexes_dirty",
        "indexes_unsynced",
        "is_reserved",
        "size",
        "suffix",
        "unsynced",
    )

    def __init__(self, storage: Storage, directory: Path, base_offset: int, *, size: int, created_ms: int, suffix: str = "") -> None:
        self.base_offset = base_offset
        self.directory = directory
        # What its files' names end in while it is not, or not any more, part of the log.
        self.suffix = suffix
        self.size = size
        self.created_ms = created_ms
        self.file = storage.open(f"{directory}/{segment_file_name(base_offset, LOG_SUFFIX)}{suffix}")
        self.bytes_since_index = 0
        self.first_timestamp = -1
        # The index files are behind what is in memory.
        self.indexes_dirty = size == 0
        # What is left of an index after a power cut may look like a whole one.
        self.indexes_unsynced = False
        self.unsynced = False
        self.is_reserved = False
        self._storage = storage
        self._index: OffsetIndex | None = OffsetIndex() if size == 0 else None
        self._time_index: TimeIndex | None = TimeIndex() if size == 0 else None
        self._transactions: TransactionIndex | None = TransactionIndex() if size == 0 else None
        self._transactions_unsynced = False
        self._max_timestamp = -1
        self._max_timestamp_offset = base_offset
        # The last offsets and positions of the newest batches; they answer for offsets from _recent_from on.
        self._lasts = array("q")
        self._starts = array("q")
        self._recent_from = base_offset if size == 0 else RELATIVE_OFFSET_MAX + base_offset + 1

    # --- what there is --------------------------------------------------------------------------

    @property
    def index(self) -> OffsetIndex:
        index = self._index
        if index is None:
            # It was in order when it was forgotten. Without it a search begins with the segment.
            index = self._index = self._load_index(is_trusted=True) or OffsetIndex()
        return index

    @property
    def time_index(self) -> TimeIndex:
        index = self._time_index
        if index is None:
            index = self._time_index = self._load_time_index(is_trusted=True) or TimeIndex()
        return index

    def forget_indexes(self) -> None:
        """Keep in memory only what the files do not have; whoever needs them loads them again."""
        if not self.indexes_dirty and self.max_timestamp >= 0:
            self._index = self._time_index = None

    @property
    def transactions(self) -> TransactionIndex:
        """The aborted transactions that end in the segment. What cannot be right is as good as nothing."""
        if self._transactions is None:
            try:
                self._transactions = TransactionIndex.load(self._storage.read(self.path(TRANSACTION_INDEX_SUFFIX)), self.base_offset)
            except (FileNotFoundError, CorruptTransactionIndex):
                self._transactions = TransactionIndex()
        return self._transactions

    def transactions_are_sane(self) -> bool:
        """Whether the transaction index is one, if there is any."""
        if self._transactions is None:
            try:
                self._transactions = TransactionIndex.load(self._storage.read(self.path(TRANSACTION_INDEX_SUFFIX)), self.base_offset)
            except FileNotFoundError:
                self._transactions = TransactionIndex()
            except CorruptTransactionIndex:
                return False
        return True

    @property
    def max_timestamp(self) -> int:
        """The largest timestamp in the segment, -1 when it is empty."""
        if self._max_timestamp < 0 and self.size:
            time_index = self.time_index
            if len(time_index) and self._max_timestamp < 0:
                self._max_timestamp = time_index.last_timestamp
                self._max_timestamp_offset = self.base_offset + time_index.last_relative_offset
        return self._max_timestamp

    @property
    def max_timestamp_offset(self) -> int:
        """The last offset of the first batch that has the largest timestamp."""
        return self._max_timestamp_offset if self.max_timestamp >= 0 else self.base_offset

    def info(self) -> SegmentInfo:
        return SegmentInfo(self.base_offset, self.size, self.max_timestamp)

    def index_is_full(self, index_bytes_max: int) -> bool:
        """Whether either index is. The last place of the time index is kept for the entry that sealing adds."""
        return len(self.index) >= index_bytes_max // OFFSET_ENTRY_BYTES or len(self.time_index) >= index_bytes_max // TIME_ENTRY_BYTES - 1

    # --- append -----------------------------------------------------------------------------------

    def write(self, head: bytes, body: bytes | memoryview) -> None:
        """Put bytes at the end; :meth:`note_batch` for each batch of them follows.

        :raises OSError: as the system gives it; nothing of the bytes stays then.
        """
        try:
            self.file.append(head, body)
        except OSError:
            self.file.truncate(self.size)
            raise
        self.unsynced = True

    def note_batch(self, last_offset: int, max_timestamp: int, size: int, index_interval_bytes: int) -> None:
        """Account for a batch that was written at the end."""
        position = self.size
        if max_timestamp > self._max_timestamp:
            self._max_timestamp = max_timestamp
            self._max_timestamp_offset = last_offset
        if self.first_timestamp < 0:
            self.first_timestamp = max_timestamp
        if self.bytes_since_index > index_interval_bytes:
            base_offset = self.base_offset
            self.index.append(last_offset - base_offset, position)
            self.time_index.maybe_append(self._max_timestamp, self._max_timestamp_offset - base_offset)
            self.bytes_since_index = 0
            self.indexes_dirty = True
        self.bytes_since_index += size
        lasts = self._lasts
        if len(lasts) >= RECENT_BATCHES_MAX:
            half = RECENT_BATCHES_MAX // 2
            self._recent_from = lasts[half - 1] + 1
            del lasts[:half], self._starts[:half]
        lasts.append(last_offset)
        self._starts.append(position)
        self.size = position + size

    def add_aborted(self, transaction: AbortedTransaction) -> None:
        """Note an aborted transaction; its marker is the newest batch."""
        transactions = self.transactions
        file = self._storage.open(str(self.path(TRANSACTION_INDEX_SUFFIX)))
        if not transactions.entries:
            # Whatever is there from before is of no use.
            file.truncate(0)
        file.append(encode_entry(transaction), b"")
        file.close()
        transactions.entries.append(transaction)
        self._transactions_unsynced = True

    def truncate_transactions(self, offset: int) -> None:
        """Forget the aborted transactions whose markers are at ``offset`` or after it."""
        transactions = self.transactions
        kept = transactions.kept_before(offset)
        if kept == len(transactions):
            return
        del transactions.entries[kept:]
        if kept:
            self._storage.replace(self.path(TRANSACTION_INDEX_SUFFIX), transactions.dump(), sync=False)
            self._transactions_unsynced = True
        else:
            self._storage.remove(self.path(TRANSACTION_INDEX_SUFFIX))

    def clear_transactions(self) -> None:
        """Forget all of them; they are about to be found again."""
        self._transactions = TransactionIndex()
        self._storage.remove(self.path(TRANSACTION_INDEX_SUFFIX))

    # --- find and read ----------------------------------------------------------------------------

    def locate(self, offset: int) -> int:
        """Where the first batch begins that ends at or after ``offset``; the segment's size when none does."""
        if offset >= self._recent_from:
            at = bisect_left(self._lasts, offset)
            return self._starts[at] if at < len(self._starts) else self.size
        try:
            return self._walk_to(offset)
        except ApiError:
            # Perhaps it is only the index that does not fit to the batches.
            self.repair_indexes()
            return self._walk_to(offset)

    def _walk_to(self, offset: int) -> int:
        indexed, start = self.index.entry_before(offset - self.base_offset)
        for position, header in self.headers(start, chunk_bytes=_WALK_BYTES):
            if position == start and indexed >= 0 and not self.base_offset <= header.last_offset <= self.base_offset + indexed:
                raise ApiError(Errors.CORRUPT_MESSAGE, f"{self.directory.name}, segment {self.base_offset}: its index is corrupt")
            if header.last_offset >= offset:
                return position
        return self.size

    def position_before(self, timestamp: int) -> int:
        """Where the search for a timestamp may begin: everything before it is older."""
        if not self._knows_older(timestamp):
            self.repair_indexes()
        return self.index.lookup(self.time_index.lookup(timestamp))

    def _knows_older(self, timestamp: int) -> bool:
        """Whether what the time index says of an older record is so."""
        older, relative = self.time_index.entry_before(timestamp)
        if relative < 0:
            return True
        position = self.locate(self.base_offset + relative)
        return any(header.max_timestamp == older for _, header in islice(self.headers(position, chunk_bytes=HEADER_BYTES), 1))

    def repair_indexes(self) -> None:
        """Make both indexes again from the batches, if these are in order.

        :raises ApiError: CORRUPT_MESSAGE when they are not; nothing was changed then.
        """
        for _ in self.headers():
            pass
        lasts, starts, recent_from = self._lasts, self._starts, self._recent_from
        self.rebuild_indexes(REPAIR_INTERVAL_BYTES)
        self._lasts, self._starts, self._recent_from = lasts, starts, recent_from

    def read(self, start: int, limit: int, max_bytes: int, min_one: bool, region_from: int) -> bytes | FileRegion:
        """Whole batches from ``start``, as many as fit; the first even if it does not, when ``min_one``.

        From ``region_from`` bytes on it is told where they lie instead.
        """
        if limit - start > max_bytes:
            limit = self._floor_boundary(start, start + max_bytes, min_one)
        size = limit - start
        if size <= 0:
            return b""
        return self.file.read(start, size) if size < region_from else self.file.region(start, size)

    def upper_bound(self, position: int) -> int | None:
        """An offset after all batches that begin before ``position``, as near as is known without reading; None: the segment's end."""
        starts = self._starts
        if starts and position >= starts[0]:
            at = bisect_left(starts, position) - 1
            return self._lasts[max(at, 0)] + 1
        relative = self.index.ceiling_offset(position)
        return None if relative is None else self.base_offset + relative

    def _floor_boundary(self, start: int, limit: int, min_one: bool) -> int:
        starts = self._starts
        if starts and start >= starts[0]:
            at = bisect_right(starts, limit) - 1
            if starts[at] > start or not min_one:
                return starts[at]
            return starts[at + 1] if at + 1 < len(starts) else self.size
        indexed, boundary = self.index.floor_entry(limit)
        if boundary > start and self._is_batch(boundary, indexed):
            return boundary
        boundary = start
        for position, header in self.headers(start, chunk_bytes=_WALK_BYTES):
            end = position + header.size_bytes
            if end > limit and not (min_one and position == start):
                break
            boundary = end
            if end >= limit:
                break
        return boundary

    def _is_batch(self, position: int, indexed: int) -> bool:
        """Whether what the offset index says is so: otherwise a reader might get a piece of a batch again and again."""
        try:
            _, header = next(self.headers(position, chunk_bytes=HEADER_BYTES))
        except (ApiError, StopIteration):
            return False
        return self.base_offset <= header.last_offset <= self.base_offset + indexed

    def headers(self, position: int = 0, *, chunk_bytes: int = _SCAN_BYTES) -> Iterator[tuple[int, BatchHeader]]:
        """The positions and headers of the batches that are there now, from a batch's position on.

        :raises ApiError: CORRUPT_MESSAGE where the bytes are no batches.
        """
        limit = self.size
        while position + HEADER_BYTES <= limit:
            chunk = self.file.read(position, min(chunk_bytes, limit - position))
            if len(chunk) < HEADER_BYTES:
                return
            at = 0
            while at + HEADER_BYTES <= len(chunk):
                header = read_header(chunk, at)
                size = header.size_bytes
                if size < HEADER_BYTES or position + at + size > limit:
                    raise ApiError(
                        Errors.CORRUPT_MESSAGE, f"{self.directory.name}, segment {self.base_offset}: no batch at position {position + at}"
                    )
                yield position + at, header
                at += size
            position += at

    def batches(self, position: int = 0, *, data_from: int = -1) -> Iterator[tuple[int, BatchHeader, bytes]]:
        """The batches with their bytes, from a batch's position on; stops before what is no whole batch.

        Bytes of batches that end before the offset ``data_from`` are left out, unless their header tells nonsense.
        """
        limit = self.size
        while position + HEADER_BYTES <= limit:
            chunk = self.file.read(position, min(_SCAN_BYTES, limit - position))
            if len(chunk) < HEADER_BYTES:
                return
            first_size = read_header(chunk).size_bytes
            if first_size < HEADER_BYTES or position + first_size > limit:
                return
            if first_size > len(chunk):
                chunk = self.file.read(position, first_size)
            used = 0
            for at, header in iter_headers(chunk):
                used = at + header.size_bytes
                is_left_out = header.last_offset < data_from and header.last_offset_delta >= 0
                yield position + at, header, b"" if is_left_out else chunk[at:used]
            position += used

    def last_offset(self) -> int:
        """The offset of the last record, or the one before the base when there is none."""
        last = self.base_offset - 1
        for _, header in self.headers(self.index.last_position, chunk_bytes=_WALK_BYTES):
            last = header.last_offset
        return last

    # --- change -------------------------------------------------------------------------------------

    def truncate(self, position: int) -> None:
        """Cut the file at a batch's position, and the indexes with it."""
        index, time_index = self.index, self.time_index
        self.file.truncate(position)
        self.size = position
        self.unsynced = True
        index.truncate(position)
        last_kept = self.base_offset - 1
        bytes_since_index = 0
        max_timestamp, max_timestamp_offset = -1, self.base_offset
        # What the time index says up to the last indexed batch, and what the batches after it say.
        time_index.truncate(index.last_relative_offset + 1)
        if len(time_index):
            max_timestamp, max_timestamp_offset = time_index.last_timestamp, self.base_offset + time_index.last_relative_offset
        for at, header in self.headers(index.last_position, chunk_bytes=_WALK_BYTES):
            last_kept = header.last_offset
            if header.max_timestamp > max_timestamp:
                max_timestamp, max_timestamp_offset = header.max_timestamp, header.last_offset
            bytes_since_index = at + header.size_bytes - index.last_position
        self._max_timestamp, self._max_timestamp_offset = max_timestamp, max_timestamp_offset
        self.bytes_since_index = bytes_since_index
        self.indexes_dirty = True
        self._lasts, self._starts = array("q"), array("q")
        self._recent_from = last_kept + 1 if position else self.base_offset
        if position == 0:
            self.first_timestamp = -1

    def prepare_to_append(self, next_offset: int) -> None:
        """Make a loaded segment the active one: its size and indexes are settled, ``next_offset`` comes next."""
        index = self.index
        self._recent_from = next_offset
        max_timestamp, max_timestamp_offset = self.max_timestamp, self.max_timestamp_offset
        for at, header in self.headers(index.last_position, chunk_bytes=_WALK_BYTES):
            if header.max_timestamp > max_timestamp:
                max_timestamp, max_timestamp_offset = header.max_timestamp, header.last_offset
            self.bytes_since_index = at + header.size_bytes - index.last_position
        self._max_timestamp, self._max_timestamp_offset = max_timestamp, max_timestamp_offset
        if self.size and self.first_timestamp < 0:
            for _, header in self.headers(0, chunk_bytes=HEADER_BYTES):
                self.first_timestamp = header.max_timestamp
                break

    def rebuild_indexes(self, index_interval_bytes: int) -> None:
        """Make both indexes again from the batches."""
        found = self.headers()
        first = next(found, None)
        self.start_over()
        for _, header in found if first is None else chain((first,), found):
            self.note_batch(header.last_offset, header.max_timestamp, header.size_bytes, index_interval_bytes)

    def start_over(self) -> None:
        """Forget what is known of the batches, as if the file were empty; the caller notes them anew."""
        self.size = 0
        self._index, self._time_index = OffsetIndex(), TimeIndex()
        self._max_timestamp, self._max_timestamp_offset = -1, self.base_offset
        self.first_timestamp = -1
        self.bytes_since_index = 0
        self.indexes_dirty = True
        self._lasts, self._starts = array("q"), array("q")
        self._recent_from = self.base_offset

    def reserve(self, size: int) -> None:
        """Keep space on the disk for the whole segment."""
        self.file.reserve(size)
        self.is_reserved = True

    def release(self) -> None:
        """Give back what was reserved and not used."""
        if self.is_reserved:
            self.file.truncate(self.size)
            self.is_reserved = False

    def become_inactive(self) -> None:
        """No append will follow: complete the time index, write both files, forget the newest batches."""
        self.release()
        self.write_indexes()
        self._sync_transactions()
        self._lasts, self._starts = array("q"), array("q")
        self._recent_from = RELATIVE_OFFSET_MAX + self.base_offset + 1

    def write_indexes(self) -> None:
        """Bring the index files up to date, with the last entry of the time index that closing adds."""
        time_index = self.time_index
        if self._max_timestamp > time_index.last_timestamp:
            time_index.maybe_append(self._max_timestamp, self._max_timestamp_offset - self.base_offset)
            self.indexes_dirty = True
        if self.indexes_dirty:
            self._storage.replace(self.path(INDEX_SUFFIX), self.index.dump(), sync=False)
            self._storage.replace(self.path(TIME_INDEX_SUFFIX), time_index.dump(), sync=False)
            self.indexes_dirty = False
            self.indexes_unsynced = True

    def index_files(self) -> list[DataFile]:
        """The files of both indexes, when they are not known to be on the disk."""
        if not self.indexes_unsynced:
            return []
        return [self._storage.open(str(self.path(suffix))) for suffix in (INDEX_SUFFIX, TIME_INDEX_SUFFIX)]

    def sync(self) -> None:
        if self.unsynced:
            self.file.sync()
            self.unsynced = False
        for file in self.index_files():
            file.sync()
            file.close()
        self.indexes_unsynced = False
        self._sync_transactions()

    def _sync_transactions(self) -> None:
        """Unlike the other indexes this one is not missed when it is lost: its absence says that nothing was aborted."""
        if self._transactions_unsynced:
            file = self._storage.open(str(self.path(TRANSACTION_INDEX_SUFFIX)))
            file.sync()
            file.close()
            self._transactions_unsynced = False

    def close(self) -> None:
        self.file.close()

    def moved(self, directory: Path) -> None:
        self.directory = directory
        self.file.moved(str(self.path(LOG_SUFFIX)))

    def change_suffix(self, suffix: str) -> None:
        """Give the files other names; they are closed before, because not every system renames open ones."""
        self.file.close()
        for kind in SEGMENT_SUFFIXES:
            old = self.path(kind)
            if self._storage.exists(old):
                self._storage.rename(old, self.directory / (segment_file_name(self.base_offset, kind) + suffix))
        self.suffix = suffix
        self.file.moved(str(self.path(LOG_SUFFIX)))

    def largest_timestamp(self) -> int:
        """The largest timestamp in the segment; where no record has one, when its file was last written to."""
        largest = self.max_timestamp
        return largest if largest >= 0 else self._storage.modified_ms(self.path(LOG_SUFFIX))

    def remove_files(self) -> None:
        self.file.close()
        for suffix in SEGMENT_SUFFIXES:
            self._storage.remove(self.path(suffix))

    def path(self, suffix: str) -> Path:
        return self.directory / (segment_file_name(self.base_offset, suffix) + self.suffix)

    def load_indexes(self) -> bool:
        """Read both files, if that was not done; False when one is missing or cannot be right."""
        if self._index is None:
            self._index = self._load_index()
        if self._time_index is None:
            self._time_index = self._load_time_index()
        # Closing a segment with records always writes the largest timestamp.
        return self._index is not None and self._time_index is not None and (self.size == 0 or len(self._time_index) > 0)

    def _load_index(self, *, is_trusted: bool = False) -> OffsetIndex | None:
        try:
            return OffsetIndex.load(self._storage.read(self.path(INDEX_SUFFIX)), self.size, is_trusted=is_trusted)
        except FileNotFoundError:
            return None

    def _load_time_index(self, *, is_trusted: bool = False) -> TimeIndex | None:
        try:
            return TimeIndex.load(self._storage.read(self.path(TIME_INDEX_SUFFIX)), is_trusted=is_trusted)
        except FileNotFoundError:
            return None
