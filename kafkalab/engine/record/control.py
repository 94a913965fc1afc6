"""Control records: what the log's keepers tell each other inside the log.

A control batch carries one record whose key names its type. Unknown types are skipped by readers,
so decoding returns None for them; broken bytes are refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from kafkalab.engine.common.errors import ApiError, Errors

_KEY: Final = struct.Struct(">hh")
_MARKER: Final = struct.Struct(">hi")


class ControlType(IntEnum):
    """The second field of a control record's key."""

    ABORT = 0
    COMMIT = 1
    LEADER_CHANGE = 2
    SNAPSHOT_HEADER = 3
    SNAPSHOT_FOOTER = 4
    KRAFT_VERSION = 5
    KRAFT_VOTERS = 6


@dataclass(frozen=True, slots=True)
class LeaderChange:
    """The first record of an epoch in the metadata log: who leads, and who made it so."""

    leader_id: int
    voters: tuple[int, ...]
    granting_voters: tuple[int, ...]


def encode_key(control_type: ControlType) -> bytes:
    return _KEY.pack(0, control_type)


def decode_key(key: bytes | None) -> ControlType | None:
    """The type a control record's key names, or None for one from the future.

    :raises ApiError: INVALID_RECORD when it is no such key.
    """
    if key is None or len(key) < _KEY.size:
        raise ApiError(Errors.INVALID_RECORD, "A control record has a key of at least four bytes")
    _version, number = _KEY.unpack_from(key)
    return ControlType(number) if number in ControlType._value2member_map_ else None


def encode_leader_change(change: LeaderChange) -> bytes:
    out = bytearray(struct.pack(">hi", 0, change.leader_id))
    for voters in (change.voters, change.granting_voters):
        put_length(out, len(voters))
        for voter_id in voters:
            out += struct.pack(">ib", voter_id, 0)
    out.append(0)
    return bytes(out)


def encode_end_transaction_marker(coordinator_epoch: int) -> bytes:
    return _MARKER.pack(0, coordinator_epoch)


def decode_end_transaction_marker(value: bytes | None) -> int:
    """The coordinator epoch of an ABORT or COMMIT marker.

    :raises ApiError: INVALID_RECORD when the bytes are no such value.
    """
    if value is None or len(value) < _MARKER.size:
        raise ApiError(Errors.INVALID_RECORD, "A transaction marker has a value of six bytes")
    return int(_MARKER.unpack_from(value)[1])


def put_length(out: bytearray, length: int) -> None:
    """Write a compact length: one more than it is, so that 0 can stand for null."""
    value = length + 1
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
