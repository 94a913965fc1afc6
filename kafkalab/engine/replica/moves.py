"""Replicas on their way from one log directory to another, while they are in use (KIP-113, KIP-858).

A copy grows beside the replica, a slice in each turn of the loop, and takes in what is appended
meanwhile. When it has everything it goes to the disk, the controller hears of the new place, and
the copy takes the replica's name; the old files go after a while. A copy that a stop interrupted
goes on with the next start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kafkalab.engine.common.errors import ApiError
from kafkalab.engine.log.storage import StorageError
from kafkalab.engine.record.batch import read_header
from kafkalab.engine.replica.assignments import DirectoryAssignments

if TYPE_CHECKING:
    from kafkalab.engine.common.time import Clock, Timer
    from kafkalab.engine.log.log import Log
    from kafkalab.engine.log.manager import LogManager
    from kafkalab.engine.replica.partition import Partition
    from kafkalab.engine.replica.quota import ReplicationQuota

log = logging.getLogger(__name__)

SLICE_BYTES: Final = 512 * 1024
"""Read, checked and written in some two milliseconds: nobody who waits for the loop notices."""


class _Move:
    __slots__ = ("copy", "is_recorded", "timer")

    def __init__(self, copy: Log) -> None:
        self.copy = copy
        self.timer: Timer | None = None
        self.is_recorded = False
        """The controller knows the new place."""


class ReplicaMoves:
    """The moves of one broker."""

    def __init__(
        self,
        *,
        clock: Clock,
        log_manager: LogManager,
        assignments: DirectoryAssignments,
        on_moved: Callable[[Partition], None],
        quota: ReplicationQuota,
    ) -> None:
        self._clock = clock
        self._log_manager = log_manager
        self._assignments = assignments
        self._on_moved = on_moved
        self._quota = quota
        self._moves: dict[Partition, _Move] = {}
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._moves)

    def start(self, partition: Partition, directory: Path) -> None:
        """Move a replica to another directory, unless it is on its way there or there already.

        :raises StorageError: when the copy cannot be made.
        :raises ApiError: when the copy that was under way to somewhere else cannot be removed.
        """
        move = self._moves.get(partition)
        if move is not None and move.copy.log_dir == directory:
            return
        self.cancel(partition, drop=True)
        if partition.log.log_dir != directory:
            self._begin(partition, self._log_manager.create_future(partition.topic_partition, directory))

    def resume(self, partition: Partition) -> None:
        """Go on with a copy that was found at the start."""
        copy = self._log_manager.future(partition.topic_partition)
        if copy is None or partition in self._moves:
            return
        try:
            _align(partition.log, copy)
        except (ApiError, OSError) as error:
            log.warning("the copy of %s in %s cannot be continued: %s", partition.topic_partition, copy.directory, error)
            return
        self._begin(partition, copy)

    def cancel(self, partition: Partition, *, drop: bool = False) -> None:
        """Move a replica no further; with ``drop`` its copy is given up.

        :raises ApiError: when its disk refuses to remove it.
        """
        move = self._moves.pop(partition, None)
        partition.future_log = None
        if move is None:
            return
        if move.timer is not None:
            move.timer.cancel()
        self._assignments.forget((partition.topic_id, partition.topic_partition.partition))
        if drop:
            self._log_manager.drop_future(partition.topic_partition)

    def directory_failed(self, directory: Path) -> None:
        """What is there does not grow any more."""
        for partition, move in list(self._moves.items()):
            if directory in (move.copy.log_dir, partition.log.log_dir):
                self.cancel(partition)

    def close(self) -> None:
        """Nothing moves any more; copies stay where they are."""
        self._is_closed = True
        for partition in list(self._moves):
            self.cancel(partition)

    # --- copying ------------------------------------------------------------------------------------

    def _begin(self, partition: Partition, copy: Log) -> None:
        log.info("%s is moving to %s", partition.topic_partition, copy.log_dir)
        move = self._moves[partition] = _Move(copy)
        partition.future_log = copy
        self._arm(partition, move)

    def _arm(self, partition: Partition, move: _Move) -> None:
        # Nobody waits for a move: it goes no faster than it may.
        move.timer = self._clock.call_later(self._quota.wait_ms(), partial(self._step, partition, move))

    def _is_current(self, partition: Partition, move: _Move) -> bool:
        return not self._is_closed and self._moves.get(partition) is move

    def _step(self, partition: Partition, move: _Move) -> None:
        move.timer = None
        try:
            if self._copy_slice(partition.log, move.copy):
                self._arm(partition, move)
            elif move.is_recorded:
                self._promote(partition, move)
            else:
                move.copy.flush_all_later(partial(self._flushed, partition, move))
        except (ApiError, StorageError, OSError) as error:
            # The disk's refusal took its directory out of use; anything else leaves the replica where it is.
            log.error("%s cannot be moved to %s: %s", partition.topic_partition, move.copy.log_dir, error)
            self.cancel(partition)

    def _copy_slice(self, replica: Log, copy: Log) -> bool:
        """Whether there was something to copy."""
        position = copy.log_end_offset
        if position < replica.log_start_offset:
            # What the copy has was deleted from the replica meanwhile.
            copy.truncate_fully_and_start_at(replica.log_start_offset)
            position = copy.log_end_offset
        if position >= replica.log_end_offset:
            return False
        batches = replica.read(position, SLICE_BYTES)
        base_offset = read_header(batches).base_offset
        if base_offset < position and copy.log_start_offset == position:
            # The replica's log starts within a batch, because records were deleted. Batches come whole.
            copy.truncate_fully_and_start_at(base_offset)
        copy.append_as_follower(batches)
        self._quota.record(len(batches))
        return True

    def _flushed(self, partition: Partition, move: _Move) -> None:
        if not self._is_current(partition, move):
            return
        directory_id = self._log_manager.directories.id_of(move.copy.log_dir)
        if directory_id is None:
            self._recorded(partition, move)
        else:
            replica = (partition.topic_id, partition.topic_partition.partition)
            self._assignments.report(replica, directory_id, partial(self._recorded, partition, move))

    def _recorded(self, partition: Partition, move: _Move) -> None:
        if self._is_current(partition, move):
            move.is_recorded = True
            # What was appended meanwhile is little; with the last of it the copy takes over in the same turn.
            self._step(partition, move)

    def _promote(self, partition: Partition, move: _Move) -> None:
        assert move.copy.log_end_offset == partition.log.log_end_offset, "a copy takes over when it has everything"
        # Records that were deleted while the copy was made do not come back with it.
        move.copy.increment_log_start_offset(partition.log.log_start_offset)
        partition.log = self._log_manager.promote_future(partition.topic_partition)
        del self._moves[partition]
        partition.future_log = None
        log.info("%s has moved to %s", partition.topic_partition, partition.log.log_dir)
        self._on_moved(partition)


def _align(replica: Log, copy: Log) -> None:
    """Cut a copy from an earlier life where the replica has gone another way since."""
    while (epoch := copy.latest_epoch) >= 0:
        known, end_offset = replica.end_offset_for_epoch(epoch)
        if known == epoch:
            copy.truncate_to(min(copy.log_end_offset, max(end_offset, copy.log_start_offset)))
            return
        own_end = copy.end_offset_for_epoch(known)[1] if known >= 0 else -1
        if not copy.log_start_offset < own_end < copy.log_end_offset:
            break
        copy.truncate_to(own_end)
    copy.truncate_fully_and_start_at(replica.log_start_offset)
