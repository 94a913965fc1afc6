"""A segment's two indexes: by offset, and by timestamp.

Both are sparse. Those of the segment that grows live in memory, others are loaded to be searched; their
files are written when the segment becomes inactive or closes, and can always be made again from the log. Offsets are relative to the
segment's first, as in the files.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from operator import le, lt
from typing import Final

OFFSET_ENTRY_BYTES: Final = 8
TIME_ENTRY_BYTES: Final = 12

_TIME_ENTRY: Final = struct.Struct(">qi")


class OffsetIndex:
    """From the last offset of some batches to the positions at which these batches begin."""

    __slots__ = ("_offsets", "_positions")

    def __init__(self) -> None:
        # Both rise strictly.
        self._offsets = array("i")
        self._positions = array("i")

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def size_bytes(self) -> int:
        """As a file without preallocated space."""
        return OFFSET_ENTRY_BYTES * len(self._offsets)

    @property
    def last_relative_offset(self) -> int:
        return self._offsets[-1] if self._offsets else -1

    @property
    def last_position(self) -> int:
        return self._positions[-1] if self._positions else 0

    def append(self, relative_offset: int, position: int) -> None:
        self._offsets.append(relative_offset)
        self._positions.append(position)

    def lookup(self, relative_offset: int) -> int:
        """Where to start looking for an offset: no batch before that position can hold it."""
        at = bisect_right(self._offsets, relative_offset) - 1
        return self._positions[at] if at >= 0 else 0

    def entry_before(self, relative_offset: int) -> tuple[int, int]:
        """The last entry that is not beyond an offset: that offset and its position; (-1, 0) without one."""
        at = bisect_right(self._offsets, relative_offset) - 1
        return (self._offsets[at], self._positions[at]) if at >= 0 else (-1, 0)

    def floor_entry(self, position: int) -> tuple[int, int]:
        """The last entry whose batch does not begin beyond ``position``: its offset and where it begins; (-1, 0) without one."""
        at = bisect_right(self._positions, position) - 1
        return (self._offsets[at], self._positions[at]) if at >= 0 else (-1, 0)

    def ceiling_offset(self, position: int) -> int | None:
        """The last offset of the first known batch that begins at ``position`` or after it."""
        at = bisect_left(self._positions, position)
        return self._offsets[at] if at < len(self._offsets) else None

    def truncate(self, position: int) -> None:
        """Forget the batches from ``position`` on."""
        at = bisect_left(self._positions, position)
        del self._offsets[at:]
        del self._positions[at:]

    def dump(self) -> bytes:
        both = array("i", bytes(OFFSET_ENTRY_BYTES * len(self._offsets)))
        both[0::2] = self._offsets
        both[1::2] = self._positions
        if sys.byteorder == "little":
            both.byteswap()
        return both.tobytes()

    @classmethod
    def load(cls, content: bytes, log_size: int, *, is_trusted: bool = False) -> OffsetIndex | None:
        """The index in a file's bytes, without the zeros of a preallocated tail; None when it cannot be right.

        The order of entries is not looked at when the file was found right before (``is_trusted``).
        """
        if len(content) % OFFSET_ENTRY_BYTES:
            return None
        both = array("i", content)
        if sys.byteorder == "little":
            both.byteswap()
        index = cls()
        offsets, positions = both[0::2], both[1::2]
        # No batch but the first stands at position 0, and the first is never indexed.
        count = len(positions)
        if count and positions[-1] == 0:
            count = _nonzero_prefix(positions)
            del offsets[count:], positions[count:]
        if not is_trusted and (any(map(le, offsets[1:], offsets)) or any(map(le, positions[1:], positions))):
            return None
        if count and (offsets[0] < 0 or positions[0] < 0 or positions[-1] >= log_size):
            return None
        index._offsets, index._positions = offsets, positions
        return index


class TimeIndex:
    """The largest timestamp up to an offset, wherever the offset index has an entry and it grew."""

    __slots__ = ("_offsets", "_timestamps")

    def __init__(self) -> None:
        # Both rise strictly.
        self._timestamps = array("q")
        self._offsets = array("i")

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def size_bytes(self) -> int:
        """As a file without preallocated space."""
        return TIME_ENTRY_BYTES * len(self._offsets)

    @property
    def last_timestamp(self) -> int:
        return self._timestamps[-1] if self._timestamps else -1

    @property
    def last_relative_offset(self) -> int:
        return self._offsets[-1] if self._offsets else 0

    def maybe_append(self, timestamp: int, relative_offset: int) -> None:
        if timestamp > self.last_timestamp:
            self._timestamps.append(timestamp)
            self._offsets.append(relative_offset)

    def lookup(self, timestamp: int) -> int:
        """The relative offset up to which every record is older than ``timestamp``; 0 when unknown."""
        return max(0, self.entry_before(timestamp)[1])

    def entry_before(self, timestamp: int) -> tuple[int, int]:
        """The last entry that is older than a timestamp: that time, and the relative offset; (-1, -1) without one."""
        at = bisect_left(self._timestamps, timestamp) - 1
        return (self._timestamps[at], self._offsets[at]) if at >= 0 else (-1, -1)

    def truncate(self, relative_offset: int) -> None:
        """Forget the entries at and after an offset."""
        at = bisect_left(self._offsets, relative_offset)
        del self._timestamps[at:]
        del self._offsets[at:]

    def dump(self) -> bytes:
        return b"".join(map(_TIME_ENTRY.pack, self._timestamps, self._offsets))

    @classmethod
    def load(cls, content: bytes, *, is_trusted: bool = False) -> TimeIndex | None:
        """The index in a file's bytes, without the zeros of a preallocated tail; None when it cannot be right.

        The order of entries is not looked at when the file was found right before (``is_trusted``).
        """
        if len(content) % TIME_ENTRY_BYTES:
            return None
        triples = array("i", content)
        # The bytes of the timestamps, put side by side, in the file's order still.
        halves = array("i", bytes(len(triples) // 3 * 8))
        halves[0::2], halves[1::2], offsets = triples[0::3], triples[1::3], triples[2::3]
        timestamps = array("q", halves.tobytes())
        if sys.byteorder == "little":
            timestamps.byteswap()
            offsets.byteswap()
        if timestamps and timestamps[-1] == 0:
            at = timestamps.index(0)
            if at + 1 < len(timestamps) and offsets[at] != 0:
                at += 1
            del timestamps[at:], offsets[at:]
        if timestamps and (timestamps[0] < 0 or offsets[0] < 0):
            return None
        if not is_trusted and (any(map(le, timestamps[1:], timestamps)) or any(map(lt, offsets[1:], offsets))):
            return None
        index = cls()
        index._timestamps, index._offsets = timestamps, offsets
        return index


def _nonzero_prefix(values: array[int]) -> int:
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        if values[middle]:
            low = middle + 1
        else:
            high = middle
    return low
