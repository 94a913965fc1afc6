"""Brings committed batches of the metadata log into the image, and tells those who depend on it.

The loader is what raft talks to. Each call of :meth:`MetadataLoader.handle_commit` becomes one
delta, published once. Records between a begin record and its end record are held back until the
end record arrives, however many batches later, and dropped at an abort record.

A snapshot becomes one delta too: what differs between the image and the snapshot, so that nobody
has to do anything for what has not changed, and what is not in the snapshot is deleted. It is read
into an image of its own, a few records at a time, while everybody goes on with what the image says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from kafkalab.engine.metadata.image import MetadataDelta, MetadataImage
from kafkalab.engine.protocol.metadata_records import (
    AbortTransactionRecord,
    BeginTransactionRecord,
    EndTransactionRecord,
    MetadataRecord,
    TopicRecord,
    decode_record,
)
from kafkalab.engine.raft.listener import CommittedBatch, CommittedSnapshot

SNAPSHOT_RECORDS_AT_A_TIME: Final = 64

_TRANSACTION_RECORDS: Final = frozenset({BeginTransactionRecord, EndTransactionRecord, AbortTransactionRecord})

Batch = CommittedBatch | tuple[int, int, Sequence[bytes], bool]
"""A committed batch, or the first four things of one."""


class MetadataPublisher(Protocol):
    """Somebody who acts on changed metadata."""

    def publish(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """The image has moved on by the delta."""


class LeadershipListener(Protocol):
    """The controller that becomes active, and stops being it, with raft's leadership."""

    def became_leader(self, epoch: int) -> None:
        """Every committed record has been published; appends are accepted from now on."""

    def resigned(self) -> None:
        """Appends are no longer accepted; those not committed may or may not survive."""


class MetadataLoader:
    """Raft's listener: replays what is committed, in order and once, and publishes it."""

    def __init__(
        self,
        image: MetadataImage,
        *,
        controller: LeadershipListener | None = None,
        on_leader_change: Callable[[int, int], None] | None = None,
    ) -> None:
        self.image = image
        self.controller = controller
        self._on_leader_change = on_leader_change
        self._publishers: list[MetadataPublisher] = []
        # Records since an open begin record, with their offsets; None outside a transaction.
        self._held: list[tuple[MetadataRecord, int]] | None = None
        # Batches committed while a publisher was at work: it may have appended them itself.
        self._waiting: deque[Batch] = deque()
        self._publishing = False
        self.bytes_since_snapshot = 0
        """The size of the batches that came after the last snapshot that was read or written."""
        self.snapshots_read = 0

    def add_publisher(self, publisher: MetadataPublisher) -> None:
        """Let somebody follow. What is already in the image is published to it at once."""
        if self.image.offset >= 0:
            publisher.publish(MetadataDelta.of_everything(self.image), self.image)
        self._publishers.append(publisher)

    @property
    def in_transaction(self) -> bool:
        """Whether records are held back for an end record."""
        return self._held is not None

    def handle_commit(self, batches: Sequence[Batch]) -> None:
        """Apply batches that raft has committed."""
        self._waiting.extend(batches)
        if self._publishing:
            return
        self._publishing = True
        try:
            while self._waiting:
                now = list(self._waiting)
                self._waiting.clear()
                self._apply_and_publish(now)
        finally:
            self._publishing = False

    def handle_snapshot(self, snapshot: CommittedSnapshot) -> Iterator[int]:
        """Apply what the log was worth at an offset, whatever came before: all at once when the last part has been read."""
        assert not self._publishing, "raft hands over one thing at a time"
        last_offset = snapshot.end_offset - 1
        assert last_offset > self.image.offset, f"a snapshot up to {last_offset} comes after offset {self.image.offset}"
        image = MetadataImage()
        position = 0
        scratch = MetadataDelta()
        since = 0
        for values in snapshot.values():
            for value in values:
                record = decode_record(value)
                # Topics keep their order of creation; whoever registered did so before the snapshot's end.
                image.replay(record, scratch, offset=position if isinstance(record, TopicRecord) else last_offset)
                position += 1
                since += 1
                if since == SNAPSHOT_RECORDS_AT_A_TIME:
                    yield since
                    since = 0
        yield since
        image.offset, image.epoch, image.timestamp_ms = last_offset, snapshot.epoch, snapshot.last_contained_ms()
        delta = MetadataDelta()
        yield from self.image.becoming(image, delta)
        self._held = None
        self.bytes_since_snapshot = 0
        self.snapshots_read += 1
        self._publish(delta)

    def _publish(self, delta: MetadataDelta) -> None:
        self._publishing = True
        try:
            for publisher in tuple(self._publishers):
                publisher.publish(delta, self.image)
        finally:
            self._publishing = False

    def _apply_and_publish(self, batches: Sequence[Batch]) -> None:
        delta = MetadataDelta()
        for batch in batches:
            base_offset, epoch, values, is_control, size_bytes, timestamp_ms = CommittedBatch(*batch)
            last_offset = base_offset + max(1, len(values)) - 1
            assert last_offset > self.image.offset, f"offset {last_offset} is handed over twice"
            if not is_control:
                for offset, value in enumerate(values, base_offset):
                    record = decode_record(value)
                    if self._held is None and type(record) not in _TRANSACTION_RECORDS:
                        self.image.replay(record, delta, offset=offset)
                    else:
                        self._apply_in_transaction(record, offset, delta)
            self.bytes_since_snapshot += size_bytes
            if self._held is None:
                self.image.offset, self.image.epoch, self.image.timestamp_ms = last_offset, epoch, timestamp_ms
        for publisher in tuple(self._publishers):
            publisher.publish(delta, self.image)

    def _apply_in_transaction(self, record: MetadataRecord, offset: int, delta: MetadataDelta) -> None:
        if isinstance(record, BeginTransactionRecord):
            assert self._held is None, f"a transaction begins at {offset} within another"
            self._held = []
        elif isinstance(record, EndTransactionRecord):
            assert self._held is not None, f"a transaction ends at {offset} that never began"
            held, self._held = self._held, None
            for held_record, held_offset in held:
                self.image.replay(held_record, delta, offset=held_offset)
        elif isinstance(record, AbortTransactionRecord):
            assert self._held is not None, f"a transaction is aborted at {offset} that never began"
            self._held = None
        else:
            assert self._held is not None, "what is of no transaction is replayed at once"
            self._held.append((record, offset))

    def handle_leader_change(self, leader_id: int, epoch: int) -> None:
        """Somebody else, or nobody (-1), leads the quorum."""
        if self._on_leader_change is not None:
            self._on_leader_change(leader_id, epoch)

    def handle_became_leader(self, epoch: int) -> None:
        """This node leads, and everything committed before has been handed over."""
        if self.controller is not None:
            self.controller.became_leader(epoch)

    def handle_resigned(self) -> None:
        """This node no longer leads."""
        if self.controller is not None:
            self.controller.resigned()
