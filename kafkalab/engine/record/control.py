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
from kafkalab.engine.record.batch import Record, build_batch

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
        _write_uvarint(out, len(voters) + 1)
        for voter_id in voters:
            out += struct.pack(">ib", voter_id, 0)
    out.append(0)
    return bytes(out)


def decode_leader_change(value: bytes | None) -> LeaderChange:
    """
    :raises ApiError: INVALID_RECORD when the bytes are no such value.
    """
    if value is None:
        raise ApiError(Errors.INVALID_RECORD, "A LEADER_CHANGE record has a value")
    try:
        version, leader_id = struct.unpack_from(">hi", value)
        at = 6
        lists: list[tuple[int, ...]] = []
        for _ in range(2):
            count, at = _read_uvarint(value, at)
            if count - 1 > len(value) - at:
                raise ApiError(Errors.INVALID_RECORD, "A LEADER_CHANGE record announces more voters than it holds")
            voters = []
            for _ in range(count - 1):
                (voter_id,) = struct.unpack_from(">i", value, at)
                at += 4
                if version >= 1:
                    at += 16  # The voter's directory id.
                at = _skip_tags(value, at)
                voters.append(voter_id)
            lists.append(tuple(voters))
    except (struct.error, IndexError):
        raise ApiError(Errors.INVALID_RECORD, "A LEADER_CHANGE record ends early") from None
    return LeaderChange(leader_id, lists[0], lists[1])


def encode_end_transaction_marker(coordinator_epoch: int) -> bytes:
    return _MARKER.pack(0, coordinator_epoch)


def decode_end_transaction_marker(value: bytes | None) -> int:
    """The coordinator epoch of an ABORT or COMMIT marker.

    :raises ApiError: INVALID_RECORD when the bytes are no such value.
    """
    if value is None or len(value) < _MARKER.size:
        raise ApiError(Errors.INVALID_RECORD, "A transaction marker has a value of six bytes")
    return int(_MARKER.unpack_from(value)[1])


def leader_change_batch(change: LeaderChange, *, base_offset: int, epoch: int, timestamp_ms: int) -> bytes:
    """The control batch with which a quorum leader opens its epoch."""
    record = Record(base_offset, timestamp_ms, encode_key(ControlType.LEADER_CHANGE), encode_leader_change(change))
    return build_batch([record], base_offset=base_offset, leader_epoch=epoch, control=True)


def _write_uvarint(out: bytearray, value: int) -> None:
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _read_uvarint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ApiError(Errors.INVALID_RECORD, "A number does not end")


def _skip_tags(data: bytes, at: int) -> int:
    count, at = _read_uvarint(data, at)
    for _ in range(count):
        _tag, at = _read_uvarint(data, at)
        size, at = _read_uvarint(data, at)
        at += size
    return at
