"""Writes a snapshot of the image when the log has grown enough since the last one, or long enough has passed.

Every node writes its own, of what it has applied. The image is copied in one go, which costs little,
and its records are written a few at a time, so that whatever else the node has to do is not held up.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice
from typing import Final, Protocol

from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.metadata.image import METADATA_VERSION_FEATURE, MetadataDelta, MetadataImage
from kafkalab.engine.metadata.image_writer import image_records
from kafkalab.engine.metadata.loader import MetadataLoader
from kafkalab.engine.metadata.record_versions import encode_for
from kafkalab.engine.protocol.metadata_records import MetadataRecord
from kafkalab.engine.raft.snapshot_records import RECORDS_PER_BATCH_MAX, SnapshotWriter
from kafkalab.engine.raft.snapshot_store import SnapshotId

log = logging.getLogger(__name__)


class SnapshotTarget(Protocol):
    """The part of raft that keeps snapshots."""

    def create_snapshot(self, snapshot_id: SnapshotId, *, last_contained_ms: int) -> SnapshotWriter | None:
        """Begin one; None when there is a newer one."""


class SnapshotGenerator:
    """Follows the image as a publisher; it should be the last of them."""

    def __init__(
        self,
        loader: MetadataLoader,
        target: SnapshotTarget,
        *,
        node_id: int,
        clock: Clock,
        max_bytes: int,
        max_interval_ms: int,
    ) -> None:
        """``max_bytes`` of the log between snapshots, ``max_interval_ms`` of time, of which 0 sets no bound."""
        self._loader: Final = loader
        self._target: Final = target
        self._node_id: Final = node_id
        self._clock: Final = clock
        self._max_bytes: Final = max_bytes
        self._max_interval_ms: Final = max_interval_ms
        self._last_ms = clock.now_ms()
        self._snapshots_read = loader.snapshots_read
        self._writer: SnapshotWriter | None = None
        self._timer: Timer | None = None

    @property
    def is_writing(self) -> bool:
        """Whether a snapshot is under way."""
        return self._writer is not None

    def stop(self) -> None:
        """Write no more; what is half written is removed."""
        writer = self._writer
        self.abandon()
        if writer is not None:
            writer.discard()

    def abandon(self) -> None:
        """Write no more, and leave the files as they are."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._writer = None

    def publish(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """The image has moved on."""
        if self._snapshots_read != self._loader.snapshots_read:
            # A newer one came from elsewhere.
            self._snapshots_read = self._loader.snapshots_read
            self._last_ms = self._clock.now_ms()
            self.stop()
            return
        if self._writer is not None or self._loader.in_transaction or METADATA_VERSION_FEATURE not in image.features:
            return
        if self._loader.bytes_since_snapshot >= self._max_bytes:
            self._begin(image, f"the metadata log grew by {self._loader.bytes_since_snapshot} bytes")
        elif self._max_interval_ms and self._clock.now_ms() - self._last_ms >= self._max_interval_ms:
            self._begin(image, f"{self._max_interval_ms} ms have passed since the last one")

    def _begin(self, image: MetadataImage, why: str) -> None:
        self._loader.bytes_since_snapshot = 0
        self._last_ms = self._clock.now_ms()
        snapshot_id = SnapshotId(epoch=image.epoch, end_offset=image.offset + 1)
        try:
            self._writer = self._target.create_snapshot(snapshot_id, last_contained_ms=image.timestamp_ms)
        except OSError as error:
            self._failed(snapshot_id, error)
            return
        if self._writer is not None:
            log.info("Node %d writes snapshot %s: %s", self._node_id, snapshot_id, why)
            frozen = image.copy()
            self._later(image_records(frozen), frozen.features[METADATA_VERSION_FEATURE])

    def _later(self, records: Iterator[MetadataRecord], metadata_version: int) -> None:
        self._timer = self._clock.call_later(0.0, lambda: self._write_some(records, metadata_version))

    def _write_some(self, records: Iterator[MetadataRecord], metadata_version: int) -> None:
        writer = self._writer
        assert writer is not None, "the timer goes with the snapshot"
        self._timer = None
        if not writer.file.is_open:
            # The leader's has been fetched meanwhile and is newer.
            self._writer = None
            return
        try:
            values = [encode_for(record, metadata_version) for record in islice(records, RECORDS_PER_BATCH_MAX)]
            if values:
                writer.append(values)
                self._later(records, metadata_version)
            else:
                writer.freeze(lambda error: self._frozen(writer, error))
        except OSError as error:
            self._failed(writer.snapshot_id, error)

    def _frozen(self, writer: SnapshotWriter, error: OSError | None) -> None:
        if writer is not self._writer:
            return
        self._writer = None
        if error is not None:
            writer.discard()
            self._failed(writer.snapshot_id, error)
        else:
            log.info("Node %d wrote snapshot %s, %d bytes", self._node_id, writer.snapshot_id, writer.file.size_bytes)

    def _failed(self, snapshot_id: SnapshotId, error: OSError) -> None:
        log.error("Node %d could not write snapshot %s: %s", self._node_id, snapshot_id, error.strerror or error)
        self.stop()
