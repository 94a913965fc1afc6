"""What a log knows of its idempotent producers: enough to recognise a repeat and to see a gap.

Of each producer the last five batches are kept in memory; the snapshot files (Kafka's format) hold
the newest only. The state follows from the log: whatever snapshot is missing is made again by
reading the batches after an older one.
"""

from __future__ import annotations

import contextlib
import struct
from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from crc32c import crc32c

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.log.txn_index import AbortedTransaction
from kafkalab.engine.record.batch import NO_SEQUENCE, SEQUENCE_MAX, BatchHeader, Buffer, records_of
from kafkalab.engine.record.control import ControlType, decode_end_transaction_marker, decode_key

BATCHES_KEPT: Final = 5
NO_EPOCH: Final = -1
PRODUCER_ID_EXPIRATION_MS: Final = 86_400_000

_SNAPSHOT_VERSION: Final = 1
_SNAPSHOT_HEAD: Final = struct.Struct(">hI")
_SNAPSHOT_COUNT: Final = struct.Struct(">i")
_SNAPSHOT_ENTRY: Final = struct.Struct(">qhiqiqiq")


class BatchMetadata(NamedTuple):
    """One remembered batch."""

    first_sequence: int
    last_sequence: int
    first_offset: int
    last_offset: int
    timestamp: int


class ProducerEntry:
    """One producer id on one partition."""

    __slots__ = ("batches", "coordinator_epoch", "epoch", "last_timestamp", "producer_id", "transaction_first_offset")

    def __init__(self, producer_id: int, epoch: int) -> None:
        self.producer_id = producer_id
        self.epoch = epoch
        self.batches: deque[BatchMetadata] = deque(maxlen=BATCHES_KEPT)
        self.coordinator_epoch = -1
        self.transaction_first_offset = -1
        self.last_timestamp = -1

    @property
    def last_sequence(self) -> int:
        return self.batches[-1].last_sequence if self.batches else NO_SEQUENCE


class CorruptSnapshot(Exception):
    """A snapshot file's bytes are none."""


class ProducerState:
    """The entries by producer id; :meth:`check` before the append, :meth:`update` after it."""

    __slots__ = ("_ended", "_open", "entries")

    def __init__(self) -> None:
        self.entries: dict[int, ProducerEntry] = {}
        # Open transactions' producers by first offset, oldest first.
        self._open: dict[int, int] = {}
        # First and last offset of transactions that have ended, as long as nobody has seen their markers committed.
        self._ended: list[tuple[int, int]] = []

    def last_stable_offset(self, high_watermark: int) -> int:
        """Up to where the outcome of every transaction is known and committed."""
        if not self._open and not self._ended:
            return high_watermark
        if self._ended:
            self._ended = [ended for ended in self._ended if ended[1] >= high_watermark]
        stable = min((first for first, _ in self._ended), default=high_watermark)
        return min(stable, next(iter(self._open), stable), high_watermark)

    def check(self, header: BatchHeader, where: object) -> BatchMetadata | None:
        """Whether a client's batch may come next; the remembered batch when it came before. Who gave no epoch is not asked for an order.

        :raises ApiError: INVALID_PRODUCER_EPOCH for a producer that was replaced, OUT_OF_ORDER_SEQUENCE_NUMBER for a gap.
        """
        entry = self.entries.get(header.producer_id)
        if entry is None:
            # Its state may have expired or been deleted with the records: any start is taken.
            return None
        first_sequence = header.base_sequence
        if header.producer_epoch == entry.epoch:
            last_sequence = header.last_sequence
            for batch in entry.batches:
                if batch.first_sequence == first_sequence and batch.last_sequence == last_sequence:
                    return batch
            if entry.epoch == NO_EPOCH:
                return None
            expected_after = entry.last_sequence
            if first_sequence != (expected_after + 1) & SEQUENCE_MAX:
                raise ApiError(
                    Errors.OUT_OF_ORDER_SEQUENCE_NUMBER,
                    f"Out of order sequence number for producer {header.producer_id} in partition {where}: "
                    f"{first_sequence} (incoming seq. number), {expected_after} (current end sequence number)",
                )
        elif header.producer_epoch < entry.epoch:
            raise ApiError(
                Errors.INVALID_PRODUCER_EPOCH,
                f"Epoch of producer {header.producer_id} in {where} is {header.producer_epoch}, "
                f"which is smaller than the last seen epoch {entry.epoch}",
            )
        elif first_sequence != 0 and entry.epoch != NO_EPOCH:
            raise ApiError(
                Errors.OUT_OF_ORDER_SEQUENCE_NUMBER,
                f"Invalid sequence number for new epoch of producer {header.producer_id} in partition {where}: "
                f"{header.producer_epoch} (request epoch), {first_sequence} (seq. number), {entry.epoch} (current producer epoch)",
            )
        return None

    def update(self, header: BatchHeader, first_offset: int) -> None:
        """A batch of this producer is in the log, with its first record at ``first_offset``."""
        entry = self.entries.get(header.producer_id)
        if entry is None:
            entry = self.entries[header.producer_id] = ProducerEntry(header.producer_id, header.producer_epoch)
        elif entry.epoch != header.producer_epoch:
            entry.epoch = header.producer_epoch
            entry.batches.clear()
        entry.last_timestamp = header.max_timestamp
        if header.is_control:
            # A marker ends the transaction, whichever way.
            if entry.transaction_first_offset >= 0:
                self._open.pop(entry.transaction_first_offset, None)
                self._ended.append((entry.transaction_first_offset, first_offset))
                entry.transaction_first_offset = -1
            return
        last_offset = first_offset + header.last_offset_delta
        entry.batches.append(BatchMetadata(header.base_sequence, header.last_sequence, first_offset, last_offset, header.max_timestamp))
        if header.is_transactional and entry.transaction_first_offset < 0:
            entry.transaction_first_offset = first_offset
            self._open[first_offset] = header.producer_id

    def update_from(self, header: BatchHeader, data: Buffer, pos: int = 0) -> AbortedTransaction | None:
        """Account for a stored batch, of which ``data`` holds the bytes at ``pos``; the transaction that it aborts, if it does."""
        if not header.is_control:
            self.update(header, header.base_offset)
            return None
        entry = self.entries.get(header.producer_id)
        first_offset = entry.transaction_first_offset if entry is not None else -1
        self.update(header, header.base_offset)
        aborted: AbortedTransaction | None = None
        # The marker says which coordinator wrote it; a broken one is as good as an unknown one.
        with contextlib.suppress(ApiError, StopIteration):
            marker = next(records_of(data, pos, header))
            if first_offset >= 0 and decode_key(marker.key) is ControlType.ABORT:
                last_offset = header.base_offset
                stable = next(iter(self._open), last_offset + 1)
                aborted = AbortedTransaction(header.producer_id, first_offset, last_offset, stable)
            self.entries[header.producer_id].coordinator_epoch = decode_end_transaction_marker(marker.value)
        return aborted

    def expire(self, wall_ms: int, expiration_ms: int = PRODUCER_ID_EXPIRATION_MS) -> None:
        """Forget producers that have been silent too long and have no transaction open."""
        gone = [
            producer_id
            for producer_id, entry in self.entries.items()
            if entry.transaction_first_offset < 0 and wall_ms - entry.last_timestamp >= expiration_ms
        ]
        for producer_id in gone:
            del self.entries[producer_id]

    def clear(self) -> None:
        self.entries.clear()
        self._open.clear()
        self._ended.clear()

    def dump(self) -> bytes:
        """The snapshot file's bytes."""
        parts = [_SNAPSHOT_COUNT.pack(len(self.entries))]
        for entry in self.entries.values():
            last = entry.batches[-1] if entry.batches else None
            parts.append(
                _SNAPSHOT_ENTRY.pack(
                    entry.producer_id,
                    entry.epoch,
                    last.last_sequence if last else NO_SEQUENCE,
                    last.last_offset if last else -1,
                    last.last_offset - last.first_offset if last else 0,
                    entry.last_timestamp,
                    entry.coordinator_epoch,
                    entry.transaction_first_offset,
                )
            )
        content = b"".join(parts)
        return _SNAPSHOT_HEAD.pack(_SNAPSHOT_VERSION, crc32c(content)) + content

    @classmethod
    def load(cls, content: bytes) -> ProducerState:
        """The state in a snapshot file's bytes.

        :raises CorruptSnapshot: when they are none.
        """
        head = _SNAPSHOT_HEAD.size
        if len(content) < head + _SNAPSHOT_COUNT.size:
            raise CorruptSnapshot(f"{len(content)} bytes are too few for a snapshot")
        version, checksum = _SNAPSHOT_HEAD.unpack_from(content)
        if version != _SNAPSHOT_VERSION:
            raise CorruptSnapshot(f"Snapshot contained an unknown file version {version}")
        computed = crc32c(memoryview(content)[head:])
        if computed != checksum:
            raise CorruptSnapshot(f"Snapshot is corrupt (CRC is no longer valid). Stored crc: {checksum}. Computed crc: {computed}")
        (count,) = _SNAPSHOT_COUNT.unpack_from(content, head)
        start = head + _SNAPSHOT_COUNT.size
        if count < 0 or start + count * _SNAPSHOT_ENTRY.size > len(content):
            raise CorruptSnapshot(f"it announces {count} entries and has {len(content) - start} bytes of them")
        state = cls()
        state._restore(_SNAPSHOT_ENTRY.iter_unpack(content[start : start + count * _SNAPSHOT_ENTRY.size]))
        return state

    def _restore(self, rows: Iterable[tuple[int, ...]]) -> None:
        for producer_id, epoch, last_sequence, last_offset, delta, timestamp, coordinator_epoch, transaction_first_offset in rows:
            entry = ProducerEntry(producer_id, epoch)
            entry.coordinator_epoch = coordinator_epoch
            entry.transaction_first_offset = transaction_first_offset
            entry.last_timestamp = timestamp
            # What a coordinator writes for a producer has an offset and no sequence.
            if last_offset >= 0:
                first_sequence = (last_sequence - delta) & SEQUENCE_MAX
                entry.batches.append(BatchMetadata(first_sequence, last_sequence, last_offset - delta, last_offset, timestamp))
            self.entries[producer_id] = entry
        self._open = {
            entry.transaction_first_offset: entry.producer_id
            for entry in sorted(self.entries.values(), key=lambda one: one.transaction_first_offset)
            if entry.transaction_first_offset >= 0
        }
