"""A segment's transaction index: the aborted transactions whose markers are in the segment.

Whoever reads committed records only is told of them, because the records themselves say nothing
(``.txnindex``: 34 bytes each, in the order of their markers; no file where there are none). Each
entry also keeps the last stable offset at the time of the marker: no transaction that was still
open then began below it, so a search through the indexes knows where it may end.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

TRANSACTION_ENTRY_BYTES: Final = 34
_ENTRY: Final = struct.Struct(">hqqqq")
_VERSION: Final = 0


class AbortedTransaction(NamedTuple):
    """A transaction that was taken back; ``last_offset`` is its marker's."""

    producer_id: int
    first_offset: int
    last_offset: int
    last_stable_offset: int


class CorruptTransactionIndex(Exception):
    """A file's bytes are no transaction index of its segment."""


class TransactionIndex:
    """The entries of one segment, in the order of their markers."""

    __slots__ = ("entries",)

    def __init__(self, entries: Iterable[AbortedTransaction] = ()) -> None:
        self.entries = list(entries)

    def __len__(self) -> int:
        return len(self.entries)

    def collect(self, from_offset: int, to_offset: int, found: list[AbortedTransaction]) -> bool:
        """Add what concerns the offsets in between; whether no later segment can know of more."""
        for entry in self.entries:
            if entry.last_offset >= from_offset and entry.first_offset < to_offset:
                found.append(entry)
            if entry.last_stable_offset >= to_offset:
                return True
        return False

    def kept_before(self, offset: int) -> int:
        """How many entries have their marker before ``offset``."""
        count = len(self.entries)
        while count and self.entries[count - 1].last_offset >= offset:
            count -= 1
        return count

    def dump(self) -> bytes:
        return b"".join(map(encode_entry, self.entries))

    @classmethod
    def load(cls, content: bytes, base_offset: int) -> TransactionIndex:
        """The index in a file's bytes.

        :raises CorruptTransactionIndex: when they cannot be right.
        """
        if len(content) % TRANSACTION_ENTRY_BYTES:
            raise CorruptTransactionIndex(f"{len(content)} bytes are not a multiple of {TRANSACTION_ENTRY_BYTES}")
        entries: list[AbortedTransaction] = []
        last_offset = base_offset - 1
        for version, *fields in _ENTRY.iter_unpack(content):
            entry = AbortedTransaction(*fields)
            if version > _VERSION:
                raise CorruptTransactionIndex(f"an entry has version {version}, {_VERSION} is known")
            if entry.last_offset <= last_offset:
                raise CorruptTransactionIndex(f"a marker at offset {entry.last_offset} follows offset {last_offset}")
            last_offset = entry.last_offset
            entries.append(entry)
        return cls(entries)


def encode_entry(entry: AbortedTransaction) -> bytes:
    return _ENTRY.pack(_VERSION, *entry)
