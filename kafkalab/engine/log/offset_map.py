"""At which offset each key was written last: what a compaction remembers of the dirty part of a log.

Bounded in bytes: what an entry costs in memory is counted, not what it holds. Keys that are longer
than a digest are kept as digests, so that the bound holds whatever the keys are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

ENTRY_BYTES: Final = 160
"""A slot of the table, the key and the offset as objects, measured over the table's growth."""
KEY_BYTES_MAX: Final = 32
_DIGEST_BYTES: Final = KEY_BYTES_MAX + 1  # No short key is as long, so none can be taken for a digest.
NO_OFFSET: Final = -1


class OffsetMap:
    """The newest offset by key, of at most ``entries_max`` keys."""

    __slots__ = ("_entries", "entries_max", "get", "latest_offset")

    def __init__(self, buffer_bytes: int, load_factor: float) -> None:
        self.entries_max = max(1, int(buffer_bytes * load_factor) // ENTRY_BYTES)
        # Offsets must be put in rising order.
        self._entries: dict[bytes, int] = {}
        self.get: Callable[[bytes], int | None] = self._entries.get
        """The newest offset of a key as :func:`short_keys` gives it."""
        self.latest_offset = NO_OFFSET
        """Up to here every record was looked at."""

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, keys: Sequence[bytes], offsets: Sequence[int]) -> bool:
        """Note where these keys were written; False when that was not possible for all of them."""
        entries = self._entries
        if len(entries) + len(keys) <= self.entries_max:
            entries.update(zip(keys, offsets, strict=True))
            if offsets:
                self.latest_offset = offsets[-1]
            return True
        for key, offset in zip(keys, offsets, strict=True):
            if len(entries) >= self.entries_max and key not in entries:
                return False
            entries[key] = offset
            self.latest_offset = offset
        return True


def short_keys(keys: Sequence[bytes]) -> Sequence[bytes]:
    """The keys as they are looked up: digests of the long ones."""
    if max(map(len, keys), default=0) <= KEY_BYTES_MAX:
        return keys
    return [key if len(key) <= KEY_BYTES_MAX else hashlib.blake2b(key, digest_size=_DIGEST_BYTES).digest() for key in keys]
