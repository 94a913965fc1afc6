"""What a compaction knows of transactions while it walks through a log.

Compaction stays below the last stable offset, so the end of every transaction that it meets is
known. Records of aborted ones go at once. A marker stays as long as a batch of its transaction
does, and then ``delete.retention.ms`` longer, so that no reader meets the records without it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NamedTuple

from kafkalab.engine.log.txn_index import AbortedTransaction
from kafkalab.engine.record.batch import BatchHeader
from kafkalab.engine.record.control import ControlType


class _Ongoing(NamedTuple):
    entry: AbortedTransaction
    has_batches: bool


class CleanedTransactions:
    """Fed with every batch in order, and before that with the aborted transactions that reach into what comes."""

    __slots__ = ("_aborted", "_committed", "_pending", "retained")

    def __init__(self) -> None:
        # By first offset: aborted transactions that were not reached yet.
        self._pending: list[tuple[int, int, AbortedTransaction]] = []
        self._aborted: dict[int, _Ongoing] = {}
        self._committed: set[int] = set()
        self.retained: list[AbortedTransaction] = []
        """Aborted transactions of which batches were met; the caller writes them to the new index and empties this."""

    def add_aborted(self, transactions: Iterable[AbortedTransaction]) -> None:
        for entry in transactions:
            heapq.heappush(self._pending, (entry.first_offset, entry.producer_id, entry))

    def on_marker(self, header: BatchHeader, control_type: ControlType | None) -> bool:
        """Whether a control batch is of no use any more; ``control_type`` is None for one that is empty already."""
        self._reach(header.last_offset)
        if control_type is None:
            return True
        if control_type is ControlType.ABORT:
            ongoing = self._aborted.pop(header.producer_id, None)
            if ongoing is not None and ongoing.has_batches:
                self.retained.append(ongoing.entry)
                return False
            return True
        if control_type is ControlType.COMMIT:
            if header.producer_id in self._committed:
                self._committed.discard(header.producer_id)
                return False
            return True
        return False

    def on_records(self, header: BatchHeader) -> bool:
        """Whether a batch of records belongs to an aborted transaction."""
        if self._pending:
            self._reach(header.last_offset)
        if not header.is_transactional:
            return False
        ongoing = self._aborted.get(header.producer_id)
        if ongoing is None:
            self._committed.add(header.producer_id)
            return False
        if not ongoing.has_batches:
            self._aborted[header.producer_id] = ongoing._replace(has_batches=True)
        return True

    def _reach(self, offset: int) -> None:
        pending = self._pending
        while pending and pending[0][0] <= offset:
            entry = heapq.heappop(pending)[2]
            # One that spans segments is named with each of them.
            self._aborted.setdefault(entry.producer_id, _Ongoing(entry, False))
