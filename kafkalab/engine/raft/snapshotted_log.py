"""The metadata log with its snapshots: where it may begin, what it is worth, and what of it may go.

A log that begins above 0 rests on a snapshot that reaches its start. Rules kept here:

* The log's prefix goes only up to an older snapshot than the latest (KIP-630).
* A snapshot that is newer than the log's end replaces the log: it was fetched because the leader no
  longer has what is in between.
* A snapshot that cannot be read counts for nothing; a node whose log rests on it does not start.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.log.storage import StorageError
from kafkalab.engine.raft.metadata_log import Appended, ReplicaLog
from kafkalab.engine.raft.snapshot_records import ControlRecord, CorruptSnapshot, SnapshotReader, SnapshotWriter
from kafkalab.engine.raft.snapshot_store import SnapshotFile, SnapshotId, SnapshotStore

log = logging.getLogger(__name__)

_REMEDY: Final = "Put back the snapshot, or move {} away: the node then takes everything from the quorum"


class SnapshottedLog:
    """What raft keeps: batches from the log's start on, and the state before it."""

    def __init__(self, replica_log: ReplicaLog, snapshots: SnapshotStore | None = None) -> None:
        """Put in order what a stop left behind. Without ``snapshots`` there are none, and there will be none.

        :raises StorageError: when log and snapshots do not make a whole.
        """
        self._log: Final = replica_log
        self._snapshots: Final = snapshots
        if snapshots is not None:
            try:
                self._set_corrupt_aside(snapshots)
                self._check_start(snapshots)
                self.truncate_to_latest_snapshot()
            except OSError as error:
                raise StorageError(f"{snapshots.directory}: {error.strerror or error}") from error
            except ApiError as error:
                raise StorageError(f"{snapshots.directory}: {error.message}") from error

    def _set_corrupt_aside(self, snapshots: SnapshotStore) -> None:
        """Until the newest is whole: it is what the node starts from."""
        while (latest := snapshots.latest) is not None:
            try:
                SnapshotReader(snapshots, latest).verify()
            except CorruptSnapshot as corrupt:
                if latest.is_bootstrap:
                    raise
                self._check_without(snapshots, latest, corrupt)
                log.error("%s. It is not used, and is called %s from now on", corrupt, snapshots.set_aside(latest).name)
            else:
                return

    def _check_without(self, snapshots: SnapshotStore, latest: SnapshotId, corrupt: CorruptSnapshot) -> None:
        """A node that has nothing else to rest on stops, and leaves the file as it is for somebody to look at."""
        start_offset = self._log.log_start_offset
        if start_offset > 0 and not any(one.end_offset >= start_offset for one in snapshots.ids if one != latest):
            raise StorageError(
                f"{corrupt}. The metadata log begins at offset {start_offset}, and no other snapshot reaches that far: "
                f"the node cannot start. {_REMEDY.format(snapshots.directory)}"
            )

    def _check_start(self, snapshots: SnapshotStore) -> None:
        start_offset = self._log.log_start_offset
        latest = snapshots.latest
        if start_offset > 0 and (latest is None or latest.end_offset < start_offset):
            raise StorageError(
                f"the metadata log in {snapshots.directory} begins at offset {start_offset}, and no snapshot reaches that far "
                f"(the latest is {latest}): the node cannot start. {_REMEDY.format(snapshots.directory)}"
            )
        for one in snapshots.ids:
            if one.end_offset >= start_offset:
                snapshots.remove_before(one)
                break

    # --- the log -----------------------------------------------------------------------------------

    @property
    def log_start_offset(self) -> int:
        return self._log.log_start_offset

    @property
    def log_end_offset(self) -> int:
        return self._log.log_end_offset

    @property
    def size_bytes(self) -> int:
        """The bytes of the log's segments."""
        return self._log.size_bytes

    @property
    def latest_epoch(self) -> int:
        """The epoch of the last record, be it in the log or in a snapshot; -1 when there is none."""
        epoch = self._log.latest_epoch
        latest = self.latest_snapshot_id
        if epoch < 0 and latest is not None and latest.end_offset == self._log.log_end_offset:
            return latest.epoch
        return epoch

    def append_as_leader(self, data: bytes, leader_epoch: int, *, client: bool = True) -> Appended:
        return self._log.append_as_leader(data, leader_epoch, client=client)

    def append_as_follower(self, data: bytes) -> Appended:
        return self._log.append_as_follower(data)

    def read(self, offset: int, max_bytes: int, *, max_offset: int | None = None) -> bytes:
        return self._log.read(offset, max_bytes, max_offset=max_offset)

    def truncate_to(self, offset: int) -> object:
        return self._log.truncate_to(offset)

    def flush(self) -> None:
        self._log.flush()

    def end_offset_for_epoch(self, epoch: int) -> tuple[int, int]:
        """The largest epoch not above the one asked for and where it ended; (-1, -1) for one that is not known yet."""
        found = self._log.end_offset_for_epoch(epoch)
        if self._snapshots is not None:
            earliest = self._snapshots.earliest
            if found[0] < 0:
                if epoch == self.latest_epoch:
                    return epoch, self._log.log_end_offset
            elif earliest is not None and found == (epoch, earliest.end_offset):
                # The epoch is older than the log: the snapshot before the log knows which was the last.
                return earliest.epoch, earliest.end_offset
        return found

    # --- snapshots ---------------------------------------------------------------------------------

    @property
    def snapshots(self) -> SnapshotStore | None:
        """The files; None for a log that has none."""
        return self._snapshots

    @property
    def latest_snapshot_id(self) -> SnapshotId | None:
        """The newest snapshot, the one that formatting left among them."""
        return None if self._snapshots is None else self._snapshots.latest

    def has_snapshot(self, snapshot_id: SnapshotId) -> bool:
        """Whether it is still there."""
        return self._snapshots is not None and snapshot_id in self._snapshots

    def latest_snapshot(self) -> SnapshotReader | None:
        """The newest snapshot, to be read; None when there is none."""
        latest = self.latest_snapshot_id
        return None if latest is None or self._snapshots is None else SnapshotReader(self._snapshots, latest)

    def snapshot_instead_of(self, offset: int, last_fetched_epoch: int) -> SnapshotId | None:
        """The snapshot that a follower must take instead of reading on at ``offset``; None when it can read on.

        The follower says in which epoch its last record was written.
        """
        snapshots = self._snapshots
        if snapshots is None:
            return None
        latest, earliest = snapshots.latest, snapshots.earliest
        if latest is None or earliest is None or latest.is_bootstrap:
            return None
        start_offset = self._log.log_start_offset
        if offset == 0:
            # One that has nothing is sooner there with a snapshot.
            return latest
        if (
            offset < start_offset
            or (offset == start_offset and last_fetched_epoch != earliest.epoch)
            or last_fetched_epoch < earliest.epoch
        ):
            return latest
        return None

    def create_snapshot(
        self, snapshot_id: SnapshotId, *, last_contained_ms: int, wall_ms: int, controls: Sequence[ControlRecord] = ()
    ) -> SnapshotWriter | None:
        """Begin a snapshot of what is committed; None when there is one already, or when it would not be the newest.

        :raises OSError: as the disk gives it.
        """
        file = self._create(snapshot_id)
        if file is None:
            return None
        try:
            return SnapshotWriter(file, last_contained_ms=last_contained_ms, wall_ms=wall_ms, controls=controls)
        except OSError:
            file.discard()
            raise

    def _create(self, snapshot_id: SnapshotId) -> SnapshotFile | None:
        latest = self.latest_snapshot_id
        if self._snapshots is None or (latest is not None and snapshot_id <= latest) or snapshot_id.end_offset < self.log_start_offset:
            return None
        return self._snapshots.create(snapshot_id)

    def receive_snapshot(self, snapshot_id: SnapshotId) -> SnapshotFile | None:
        """Begin a snapshot that the leader has; None when there is nothing in it that is not here.

        :raises OSError: as the disk gives it.
        """
        return self._create(snapshot_id) if self._is_beyond_log(snapshot_id) else None

    def _is_beyond_log(self, snapshot_id: SnapshotId) -> bool:
        return snapshot_id > SnapshotId(epoch=max(0, self._log.latest_epoch), end_offset=self._log.log_end_offset)

    def truncate_to_latest_snapshot(self) -> bool:
        """Begin the log anew at the end of the latest snapshot, if that is newer than the whole log; whether it was.

        :raises OSError: as the disk gives it.
        :raises ApiError: when the log cannot be cut.
        """
        snapshots, latest = self._snapshots, self.latest_snapshot_id
        if snapshots is None or latest is None or latest.is_bootstrap or not self._is_beyond_log(latest):
            return False
        self._log.truncate_fully_and_start_at(latest.end_offset)
        snapshots.remove_before(latest)
        return True

    def delete_before(self, snapshot_id: SnapshotId) -> bool:
        """Let go of the log's prefix and of the snapshots that are contained in this one; whether there was anything.

        :raises OSError: as the disk gives it.
        :raises ApiError: when the log cannot be cut.
        """
        snapshots = self._snapshots
        if snapshots is None or snapshot_id not in snapshots or snapshot_id.end_offset <= self._log.log_start_offset:
            return False
        self._log.increment_log_start_offset(snapshot_id.end_offset)
        # Only what lies before the log's start goes: time and size are not for the segments of this log.
        self._log.delete_old_segments(snapshot_id.end_offset)
        snapshots.remove_before(snapshot_id)
        return True

    def snapshot_chunk(self, snapshot_id: SnapshotId, position: int, max_bytes: int) -> tuple[int, bytes]:
        """The size of a snapshot, and some of its bytes.

        :raises ApiError: SNAPSHOT_NOT_FOUND, or POSITION_OUT_OF_RANGE.
        """
        snapshots = self._snapshots
        # What formatting left is each node's own.
        if snapshots is None or snapshot_id not in snapshots or snapshot_id.is_bootstrap:
            raise ApiError(Errors.SNAPSHOT_NOT_FOUND, f"There is no snapshot {snapshot_id}")
        try:
            size = snapshots.size_bytes(snapshot_id)
            if not 0 <= position < size:
                raise ApiError(Errors.POSITION_OUT_OF_RANGE, f"Snapshot {snapshot_id} has {size} bytes, none at {position}")
            return size, snapshots.read(snapshot_id, position, max_bytes)
        except OSError as error:
            log.error("Snapshot %s cannot be read: %s", snapshot_id, error)
            raise ApiError(Errors.SNAPSHOT_NOT_FOUND, f"Snapshot {snapshot_id} cannot be read") from error
