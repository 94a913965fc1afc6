"""What is committed of a log, as the whole world knows it: put down once, compared ever after."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from kafkalab.engine.record.batch import BatchHeader, Record, iter_headers, iter_records

READ_BYTES: Final = 1 << 28


class Readable(Protocol):
    """A log."""

    log_start_offset: int

    def read(self, offset: int, max_bytes: int, *, max_offset: int | None = None, min_one: bool = True) -> bytes:
        """Whole batches from the one that holds the offset."""


class CommittedLog:
    """The bytes of all batches below the highest high watermark that any leader ever had."""

    __slots__ = ("_bytes", "_ends", "_positions", "by_epoch", "end_offset", "start_offset")

    def __init__(self, start_offset: int = 0) -> None:
        self.start_offset = start_offset
        self.end_offset = start_offset
        self.by_epoch: dict[int, int] = {}
        """How far the leader of each epoch has brought it."""
        self._bytes = bytearray()
        # Of each batch: the offset after it, and where it ends.
        self._ends: list[int] = []
        self._positions: list[int] = []

    def _position(self, offset: int) -> int | None:
        """Where the batch begins that begins with the offset; None when none does."""
        if offset == self.start_offset:
            return 0
        index = bisect_right(self._ends, offset) - 1
        return self._positions[index] if index >= 0 and self._ends[index] == offset else None

    def _start_of(self, offset: int) -> int:
        """Where the batch begins that holds the offset: a log may begin amid one."""
        index = bisect_right(self._ends, offset)
        return self._positions[index - 1] if index else 0

    def differs(self, log: Readable, from_offset: int, to_offset: int) -> str | None:
        """How a log differs from what is committed between two offsets; None when it does not."""
        from_offset = max(from_offset, self.start_offset, log.log_start_offset)
        to_offset = min(to_offset, self.end_offset)
        if from_offset >= to_offset:
            return None
        data = _read(log, from_offset, to_offset)
        start, end = self._start_of(from_offset), self._position(to_offset)
        if end is not None and self._bytes[start:end] == data:
            return None
        return self._first_difference(data, start, from_offset, to_offset)

    def _first_difference(self, data: bytes, start: int, from_offset: int, to_offset: int) -> str | None:
        position = 0
        for at, header in iter_headers(data):
            mine = bytes(self._bytes[start + at : start + at + header.size_bytes])
            if mine != data[at : at + header.size_bytes]:
                return f"has other bytes from offset {header.base_offset} on than are committed there"
            position = at + header.size_bytes
        end = self._position(to_offset)
        if end is None or start + position < end:
            return f"holds only {position} bytes between {from_offset} and {to_offset}, where more are committed"
        return None

    def end_before(self, leader_epoch: int) -> int:
        """What the leaders up to an epoch have committed: a later one may have got further before that one hears of its turn."""
        return max((end for epoch, end in self.by_epoch.items() if epoch <= leader_epoch), default=self.start_offset)

    def whole_before(self, offset: int) -> int:
        """The end of the last batch that lies wholly before an offset."""
        index = bisect_right(self._ends, offset)
        return self._ends[index - 1] if index else self.start_offset

    def extend(self, log: Readable, to_offset: int) -> str | None:
        """A leader says that its log is committed up to there: how that is not one log any more, None when it is."""
        problem = self.differs(log, self.start_offset if not self._ends else self._ends[-1], to_offset)
        if problem is not None or to_offset <= self.end_offset:
            return problem
        if log.log_start_offset > self.end_offset:
            self.forget(log.log_start_offset)
        data = _read(log, self.end_offset, to_offset)
        base = len(self._bytes)
        end_offset = self.end_offset
        for at, header in iter_headers(data):
            if header.base_offset != end_offset:
                return f"goes on with offset {header.base_offset} where {end_offset} is next"
            end_offset = header.next_offset
            self._ends.append(end_offset)
            self._positions.append(base + at + header.size_bytes)
        self._bytes += data
        self.end_offset = end_offset
        return None

    def batches(self, from_offset: int, to_offset: int) -> Iterator[BatchHeader]:
        """The headers of the committed batches that have offsets between these two."""
        last = bisect_left(self._ends, to_offset)
        for _, header in iter_headers(
            bytes(self._bytes[self._start_of(from_offset) : self._positions[last] if last < len(self._ends) else None])
        ):
            yield header

    def forget(self, start_offset: int) -> None:
        """From here on it begins anew: what was before may be lost, or is deleted."""
        self.start_offset = self.end_offset = start_offset
        self.by_epoch.clear()
        self._bytes.clear()
        self._ends.clear()
        self._positions.clear()


class _Kept(NamedTuple):
    """What a record of a compacted log says."""

    key: bytes | None
    value: bytes | None
    timestamp: int

    @classmethod
    def of(cls, record: Record) -> _Kept:
        return cls(record.key, record.value, record.timestamp)


class CompactedLog(CommittedLog):
    """The same of a log that is compacted: every replica does that for itself, so records count, and not bytes.

    A record may be missing when a later one of its key is committed; a tombstone for its age, too. What it deleted may
    then still be with those who were away for as long as tombstones are kept: that is so in Kafka.

    :param keeps_tombstones: they are kept for longer than any run takes.
    """

    __slots__ = ("_keeps_tombstones", "_newest", "_records")

    def __init__(self, start_offset: int = 0, *, keeps_tombstones: bool = False) -> None:
        super().__init__(start_offset)
        self._keeps_tombstones = keeps_tombstones
        self._records: dict[int, _Kept] = {}
        self._newest: dict[bytes | None, int] = {}

    def differs(self, log: Readable, from_offset: int, to_offset: int) -> str | None:
        from_offset = max(from_offset, self.start_offset, log.log_start_offset)
        to_offset = min(to_offset, self.end_offset)
        if from_offset >= to_offset:
            return None
        there: set[int] = set()
        for record in iter_records(_read(log, from_offset, to_offset)):
            if not from_offset <= record.offset < to_offset:
                continue
            if self._records.get(record.offset) != _Kept.of(record):
                return f"has {record} at offset {record.offset}, where {self._records.get(record.offset)} is committed"
            there.add(record.offset)
        for offset in range(from_offset, to_offset):
            kept = self._records.get(offset)
            if kept is None or offset in there or offset < self._newest[kept.key]:
                continue
            if kept.value is not None or self._keeps_tombstones:
                return f"lacks offset {offset}, the newest of the key {kept.key!r}"
        return None

    def extend(self, log: Readable, to_offset: int) -> str | None:
        if to_offset <= self.end_offset:
            return None
        if log.log_start_offset > self.end_offset:
            self.forget(log.log_start_offset)
        for record in iter_records(_read(log, self.end_offset, to_offset)):
            if record.offset >= self.end_offset:
                self._records[record.offset] = _Kept.of(record)
                self._newest[record.key] = record.offset
        self.end_offset = to_offset
        return None

    def forget(self, start_offset: int) -> None:
        super().forget(start_offset)
        self._records.clear()
        self._newest.clear()


def _read(log: Readable, from_offset: int, to_offset: int) -> bytes:
    """All of it, though a log gives no more than a segment at a time."""
    data = b""
    offset = from_offset
    while offset < to_offset and (more := log.read(offset, READ_BYTES, max_offset=to_offset)):
        data += more
        for _, header in iter_headers(more):
            offset = header.next_offset
    return data
