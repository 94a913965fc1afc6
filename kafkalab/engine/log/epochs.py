"""At which offset each leader epoch began.

The followers' truncation rests on this: after a change of leader, the epochs' end offsets tell
where two logs part. Epochs and start offsets rise. The entries are also in
``leader-epoch-checkpoint``; a lost or broken file is made again from the batches.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final

UNDEFINED_EPOCH: Final = -1
UNDEFINED_OFFSET: Final = -1


class LeaderEpochs:
    """The entries, and the questions asked of them. ``dirty`` says that the file is behind."""

    __slots__ = ("_epochs", "_starts", "dirty", "latest")

    def __init__(self, entries: list[tuple[int, int]]) -> None:
        self._epochs = [epoch for epoch, _ in entries]
        self._starts = [start for _, start in entries]
        self.latest = self._epochs[-1] if entries else UNDEFINED_EPOCH
        self.dirty = False

    @property
    def entries(self) -> list[tuple[int, int]]:
        return list(zip(self._epochs, self._starts, strict=True))

    def assign(self, epoch: int, start_offset: int) -> None:
        """The epoch begins at that offset; entries that contradict this came from a log that was cut."""
        if epoch == self.latest:
            return
        keep = min(bisect_left(self._epochs, epoch), bisect_left(self._starts, start_offset))
        del self._epochs[keep:]
        del self._starts[keep:]
        self._epochs.append(epoch)
        self._starts.append(start_offset)
        self.latest = epoch
        self.dirty = True

    def end_offset(self, epoch: int, log_end_offset: int) -> tuple[int, int]:
        """The largest epoch not above the one asked for, and where it ended; (-1, -1) when unknown."""
        if epoch == UNDEFINED_EPOCH or epoch > self.latest or not self._epochs:
            return UNDEFINED_EPOCH, UNDEFINED_OFFSET
        if epoch == self.latest:
            return epoch, log_end_offset
        above = bisect_right(self._epochs, epoch)
        if above == 0:
            return epoch, self._starts[0]
        return self._epochs[above - 1], self._starts[above]

    def epoch_at(self, offset: int) -> int:
        at = bisect_right(self._starts, offset) - 1
        return self._epochs[at] if at >= 0 else UNDEFINED_EPOCH

    def truncate_from_end(self, end_offset: int) -> None:
        """Forget the epochs that began at or after ``end_offset``."""
        keep = bisect_left(self._starts, end_offset)
        if keep < len(self._starts):
            del self._epochs[keep:]
            del self._starts[keep:]
            self.latest = self._epochs[-1] if self._epochs else UNDEFINED_EPOCH
            self.dirty = True

    def truncate_from_start(self, start_offset: int) -> None:
        """Forget what lies before ``start_offset``; the epoch of that offset begins there now."""
        at = bisect_right(self._starts, start_offset) - 1
        if at > 0 or (at == 0 and self._starts[0] < start_offset):
            del self._epochs[:at]
            del self._starts[:at]
            self._starts[0] = start_offset
            self.dirty = True

    def clear(self) -> None:
        if self._epochs:
            self._epochs.clear()
            self._starts.clear()
            self.latest = UNDEFINED_EPOCH
            self.dirty = True
