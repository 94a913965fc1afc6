"""The segments of one log by their offsets, and what is found in them; the last one is the active one.

Sealed segments keep their indexes in memory only while they are searched: of those that were searched
last a few have them, so that memory does not grow with the disk.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from kafkalab.engine.log.segment import Segment
from kafkalab.engine.log.txn_index import AbortedTransaction
from kafkalab.engine.record.batch import BatchHeader, records_of

INDEXED_SEGMENTS_MAX: Final = 2
"""Sealed segments of one log of which the indexes stay in memory: those that were searched last."""


class TimestampOffset(NamedTuple):
    """A record found by its timestamp."""

    timestamp: int
    offset: int
    leader_epoch: int


def base_offset(segment: Segment) -> int:
    """Where it begins: what segments are ordered by."""
    return segment.base_offset


class LogSegments(list[Segment]):
    """The segments in order. There is always one; whoever changes the list keeps it so.

    What the disk refuses comes as OSError.
    """

    __slots__ = ("_indexed",)

    def __init__(self, segments: Iterable[Segment]) -> None:
        super().__init__(segments)
        # Sealed segments of which the indexes are in memory, the last used one last.
        self._indexed: list[Segment] = []
        for segment in self[:-1]:
            segment.forget_indexes()

    def number_of(self, offset: int) -> int:
        """The place of the segment that contains an offset."""
        return max(0, bisect_right(self, offset, key=base_offset) - 1)

    def sealed(self, segment: Segment) -> None:
        """The active segment does not grow any more; its indexes are in memory."""
        self._indexed.append(segment)
        if len(self._indexed) > INDEXED_SEGMENTS_MAX:
            self._indexed.pop(0).forget_indexes()

    def use_indexes(self, segment: Segment) -> None:
        """A segment is about to be searched: of those that were searched before, only a few keep their indexes in memory."""
        indexed = self._indexed
        active = self[-1]
        if segment is active or (indexed and indexed[-1] is segment):
            return
        if segment in indexed:
            indexed.remove(segment)
        indexed.append(segment)
        if len(indexed) > INDEXED_SEGMENTS_MAX:
            oldest = indexed.pop(0)
            if oldest is not active:
                oldest.forget_indexes()

    def batches(self, from_offset: int, log_start_offset: int, end_offset: int) -> Iterator[tuple[BatchHeader, bytes]]:
        """Every batch from the one that contains ``from_offset`` on, up to ``end_offset``."""
        for segment in self[self.number_of(max(from_offset, log_start_offset)) :]:
            position = segment.locate(from_offset) if from_offset > segment.base_offset else 0
            for _, header, data in segment.batches(position):
                if header.base_offset >= end_offset:
                    return
                yield header, data

    def offset_for_timestamp(self, timestamp: int, log_start_offset: int) -> TimestampOffset | None:
        """The first record whose timestamp is at least this."""
        for segment in self:
            if segment.max_timestamp < timestamp:
                continue
            self.use_indexes(segment)
            position = segment.position_before(timestamp)
            for _, header, data in segment.batches(position):
                if header.max_timestamp < timestamp or header.last_offset < log_start_offset:
                    continue
                for record in records_of(data, 0, header):
                    if record.timestamp >= timestamp and record.offset >= log_start_offset:
                        return TimestampOffset(record.timestamp, record.offset, header.partition_leader_epoch)
        return None

    def max_timestamp(self) -> TimestampOffset | None:
        """The first record with the largest timestamp of all."""
        newest = max(self, key=lambda segment: segment.max_timestamp)
        if newest.max_timestamp < 0:
            return None
        self.use_indexes(newest)
        position = newest.locate(newest.max_timestamp_offset)
        for _, header, data in newest.batches(position):
            if header.max_timestamp == newest.max_timestamp:
                for record in records_of(data, 0, header):
                    if record.timestamp == header.max_timestamp:
                        return TimestampOffset(record.timestamp, record.offset, header.partition_leader_epoch)
        return None

    def aborted_between(self, from_offset: int, to_offset: int) -> list[AbortedTransaction]:
        """The aborted transactions with records among these offsets, and perhaps a few others."""
        found: list[AbortedTransaction] = []
        for segment in self[self.number_of(from_offset) :]:
            if segment.transactions.collect(from_offset, to_offset, found):
                break
        return found

    def aborted_among(self, offset: int, size: int, log_end_offset: int) -> list[AbortedTransaction]:
        """The aborted transactions with records in ``size`` bytes that were read at ``offset``, and perhaps a few others."""
        number = self.number_of(offset)
        found: list[AbortedTransaction] = []
        # Most logs know of none, and then it does not matter how far the bytes reach.
        with_any = [segment for segment in self[number:] if segment.transactions.entries]
        if with_any:
            to_offset = self._upper_bound(number, offset, size, log_end_offset)
            for segment in with_any:
                if segment.transactions.collect(offset, to_offset, found):
                    break
        return found

    def _upper_bound(self, number: int, offset: int, size: int, log_end_offset: int) -> int:
        """An offset after all batches in ``size`` bytes that were read at ``offset``."""
        segment = self[number]
        start = segment.locate(offset)
        while start >= segment.size and number + 1 < len(self):
            number += 1
            segment, start = self[number], 0
        bound = segment.upper_bound(start + size)
        if bound is not None:
            return bound
        return self[number + 1].base_offset if number + 1 < len(self) else log_end_offset
