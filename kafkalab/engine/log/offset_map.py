"""At which offset each key was written last: what a compaction remembers of the dirty part of a log.

Bounded in bytes: what an entry costs in memory is counted, not what it holds. Keys that are longer
than a digest are kept as digests, so that the bound holds whatever the keys are.

A place is an offset and whether there is a value, in one number: twice the offset, and one more for
a tombstone. Places are in the order of their offsets.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Final

ENTRY_BYTES: Final = 170
"""A slot of the table, the key, the place as an object and once more among the places; measured over the table's growth."""
KEY_BYTES_MAX: Final = 32
_DIGEST_BYTES: Final = KEY_BYTES_MAX + 1  # No short key is as long, so none can be taken for a digest.
NO_OFFSET: Final = -1
_BUCKET_SHIFT: Final = 11
_STEP_ENTRIES: Final = 4096


def place_of(offset: int, has_value: bool) -> int:
    """A record's place."""
    return offset * 2 if has_value else offset * 2 + 1


class OffsetMap:
    """The newest place by key, of at most ``entries_max`` keys."""

    __slots__ = ("_entries", "entries_max", "get", "latest_offset")

    def __init__(self, buffer_bytes: int, load_factor: float) -> None:
        self.entries_max = max(1, int(buffer_bytes * load_factor) // ENTRY_BYTES)
        # Places must be put in rising order.
        self._entries: dict[bytes, int] = {}
        self.get: Callable[[bytes], int | None] = self._entries.get
        """The newest place of a key as :func:`short_keys` gives it."""
        self.latest_offset = NO_OFFSET
        """Up to here every record was looked at."""

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, keys: Sequence[bytes], places: Sequence[int]) -> bool:
        """Note where these keys were written; False when that was not possible for all of them."""
        entries = self._entries
        if len(entries) + len(keys) <= self.entries_max:
            entries.update(zip(keys, places, strict=True))
            if places:
                self.latest_offset = places[-1] >> 1
            return True
        for key, place in zip(keys, places, strict=True):
            if len(entries) >= self.entries_max and key not in entries:
                return False
            entries[key] = place
            self.latest_offset = place >> 1
        return True

    def places(self) -> Iterator[int]:
        """All places that are remembered, in no order."""
        return iter(self._entries.values())


class Places:
    """Places by offset: which of a batch's records are the newest of their keys, without a look at the keys."""

    __slots__ = ("_buckets", "_sorted", "_sorted_number")

    def __init__(self) -> None:
        self._buckets: dict[int, array[int]] = {}
        self._sorted: list[int] = []
        self._sorted_number = -1

    def fill(self, places: Iterator[int]) -> Iterator[None]:
        """Take them all in, a number of them each step."""
        buckets = self._buckets
        for number, place in enumerate(places):
            bucket = buckets.get(place >> _BUCKET_SHIFT)
            if bucket is None:
                bucket = buckets[place >> _BUCKET_SHIFT] = array("q")
            bucket.append(place)
            if not number % _STEP_ENTRIES:
                yield

    def between(self, first_offset: int, last_offset: int) -> list[int]:
        """The places from one offset to another, both included, in order."""
        first, end = first_offset * 2, last_offset * 2 + 2
        found: list[int] = []
        for number in range(first >> _BUCKET_SHIFT, ((end - 1) >> _BUCKET_SHIFT) + 1):
            # Batches come in order: each bucket is sorted once.
            if number != self._sorted_number:
                self._sorted = sorted(self._buckets.get(number, ()))
                self._sorted_number = number
            found += self._sorted[bisect_left(self._sorted, first) : bisect_left(self._sorted, end)]
        return found


def short_keys(keys: Sequence[bytes]) -> Sequence[bytes]:
    """The keys as they are looked up: digests of the long ones."""
    if max(map(len, keys), default=0) <= KEY_BYTES_MAX:
        return keys
    return [key if len(key) <= KEY_BYTES_MAX else hashlib.blake2b(key, digest_size=_DIGEST_BYTES).digest() for key in keys]
