"""What consumers put into their subscriptions and assignments, as far as the coordinator looks.

To the group protocol both are opaque bytes. The coordinator reads them only to know which topics
a group is subscribed to (their offsets do not expire) and to show who has what. Every later
version begins as version 0 does, so version 0 is all that is read: i16 version, then for a
subscription an array of topics, for an assignment an array of (topic, array of partitions).
"""

from __future__ import annotations

import struct
from typing import Final

CONSUMER_PROTOCOL_TYPE: Final = "consumer"

_I16 = struct.Struct(">h")
_I32 = struct.Struct(">i")


class _Malformed(Exception):
    """The bytes are not of the consumer protocol."""


def _string(data: bytes, pos: int) -> tuple[str, int]:
    (length,) = _I16.unpack_from(data, pos)
    pos += 2
    if not 0 <= length <= len(data) - pos:
        raise _Malformed
    return data[pos : pos + length].decode(), pos + length


def _count(data: bytes, pos: int, element_size_min: int) -> tuple[int, int]:
    (count,) = _I32.unpack_from(data, pos)
    pos += 4
    if not 0 <= count * element_size_min <= len(data) - pos:
        raise _Malformed
    return count, pos


def subscribed_topics(data: bytes) -> frozenset[str] | None:
    """The topics of a consumer's subscription, or None when the bytes are something else."""
    topics = set()
    try:
        count, pos = _count(data, 2, 2)
        for _ in range(count):
            topic, pos = _string(data, pos)
            topics.add(topic)
    except (_Malformed, struct.error, UnicodeDecodeError):
        return None
    return frozenset(topics)


def assigned_partitions(data: bytes) -> tuple[tuple[str, int], ...]:
    """The (topic, partition) pairs of a consumer's assignment; empty when the bytes are something else."""
    pairs = []
    try:
        count, pos = _count(data, 2, 6)
        for _ in range(count):
            topic, pos = _string(data, pos)
            partitions, pos = _count(data, pos, 4)
            pairs += [(topic, partition) for partition in struct.unpack_from(f">{partitions}i", data, pos)]
            pos += 4 * partitions
    except (_Malformed, struct.error, UnicodeDecodeError):
        return ()
    return tuple(sorted(pairs))
