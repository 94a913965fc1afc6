"""The records of ``__consumer_offsets``: who is in which group, and how far each group has read.

A key opens with its record type (i16) and a value with its version (i16); a record without a value
is a tombstone. The types written here:

* 1, OffsetCommit: versions 0 to 4 are read; 4 is written (it carries the topic's id), or 1 where
  the commit came with its own expiry. Type 0 is the same key as brokers before 0.9 wrote it.
* 2, GroupMetadata of a classic group: versions 0 to 4 are read, 3 is written.

Other types belong to group protocols that are not served; their keys decode to None. Bytes come
from disk and from other brokers: every length is checked against what is there.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from typing import Final

from kafkalab.engine.protocol.codec import DecodeError, read_uvarint, uvarint

LEGACY_OFFSET_COMMIT_TYPE: Final = 0
OFFSET_COMMIT_TYPE: Final = 1
GROUP_METADATA_TYPE: Final = 2

_OFFSET_COMMIT_VERSION: Final = 4
_OFFSET_COMMIT_EXPIRING_VERSION: Final = 1
_GROUP_METADATA_VERSION: Final = 3
_FLEXIBLE_FROM: Final = 4
"""Both values became flexible in the same version."""
_TOPIC_ID_TAG: Final = 0

_I16 = struct.Struct(">h")
_I32 = struct.Struct(">i")
_I64 = struct.Struct(">q")


@dataclass(frozen=True, slots=True)
class OffsetCommitKey:
    """Which group's place in which partition."""

    group: str
    topic: str
    partition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetCommitValue:
    """The place: the next offset that the group will read."""

    offset: int
    leader_epoch: int = -1
    metadata: str = ""
    commit_timestamp: int
    expire_timestamp: int = -1
    """When the commit itself asked to be forgotten; -1 where the broker's retention decides."""
    topic_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class GroupMetadataKey:
    """Which classic group."""

    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberMetadata:
    """A member as the generation that was persisted knew it."""

    member_id: str
    group_instance_id: str | None = None
    client_id: str
    client_host: str
    rebalance_timeout: int = -1
    session_timeout: int
    subscription: bytes
    assignment: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMetadataValue:
    """A classic group's generation: the protocol it agreed on and what each member was assigned."""

    protocol_type: str
    generation: int
    protocol: str | None
    leader: str | None
    current_state_timestamp: int = -1
    members: tuple[MemberMetadata, ...] = ()


CoordinatorKey = OffsetCommitKey | GroupMetadataKey
CoordinatorValue = OffsetCommitValue | GroupMetadataValue


# --- writing -----------------------------------------------------------------------------------


def _string(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > 0x7FFF:
        raise ValueError(f"a string of {len(raw)} bytes does not fit in a record")
    return _I16.pack(len(raw)) + raw


def _nullable_string(text: str | None) -> bytes:
    return _I16.pack(-1) if text is None else _string(text)


def _bytes(raw: bytes) -> bytes:
    return _I32.pack(len(raw)) + raw


def encode_key(key: CoordinatorKey) -> bytes:
    """The bytes of a record's key.

    :raises ValueError: when a name is too long for the format.
    """
    if isinstance(key, OffsetCommitKey):
        return _I16.pack(OFFSET_COMMIT_TYPE) + _string(key.group) + _string(key.topic) + _I32.pack(key.partition)
    return _I16.pack(GROUP_METADATA_TYPE) + _string(key.group)


def encode_value(value: CoordinatorValue) -> bytes:
    """The bytes of a record's value, in the version that Kafka 4.3 writes.

    :raises ValueError: when a text is too long for the format.
    """
    return _encode_offset(value) if isinstance(value, OffsetCommitValue) else _encode_group(value)


def _encode_offset(value: OffsetCommitValue) -> bytes:
    if value.expire_timestamp >= 0:
        return b"".join(
            (
                _I16.pack(_OFFSET_COMMIT_EXPIRING_VERSION),
                _I64.pack(value.offset),
                _string(value.metadata),
                _I64.pack(value.commit_timestamp),
                _I64.pack(value.expire_timestamp),
            )
        )
    metadata = value.metadata.encode()
    tags = b"\x00"
    if value.topic_id is not None:
        tags = b"\x01" + uvarint(_TOPIC_ID_TAG) + uvarint(16) + value.topic_id.bytes
    return b"".join(
        (
            _I16.pack(_OFFSET_COMMIT_VERSION),
            _I64.pack(value.offset),
            _I32.pack(value.leader_epoch),
            uvarint(len(metadata) + 1),
            metadata,
            _I64.pack(value.commit_timestamp),
            tags,
        )
    )


def _encode_group(value: GroupMetadataValue) -> bytes:
    parts = [
        _I16.pack(_GROUP_METADATA_VERSION),
        _string(value.protocol_type),
        _I32.pack(value.generation),
        _nullable_string(value.protocol),
        _nullable_string(value.leader),
        _I64.pack(value.current_state_timestamp),
        _I32.pack(len(value.members)),
    ]
    for member in value.members:
        parts += (
            _string(member.member_id),
            _nullable_string(member.group_instance_id),
            _string(member.client_id),
            _string(member.client_host),
            _I32.pack(member.rebalance_timeout),
            _I32.pack(member.session_timeout),
            _bytes(member.subscription),
            _bytes(member.assignment),
        )
    return b"".join(parts)


# --- reading -----------------------------------------------------------------------------------


class _Reader:
    """Walks over bytes, and past their end never."""

    __slots__ = ("_data", "_pos")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._pos = 0

    def take(self, size: int) -> bytes:
        end = self._pos + size
        if size < 0 or end > len(self._data):
            raise DecodeError(f"{size} bytes are wanted at {self._pos} of {len(self._data)}")
        raw = self._data[self._pos : end]
        self._pos = end
        return raw

    def i16(self) -> int:
        value: int = _I16.unpack(self.take(2))[0]
        return value

    def i32(self) -> int:
        value: int = _I32.unpack(self.take(4))[0]
        return value

    def i64(self) -> int:
        value: int = _I64.unpack(self.take(8))[0]
        return value

    def uvarint(self) -> int:
        try:
            value, self._pos = read_uvarint(self._data, self._pos)
        except IndexError:
            raise DecodeError("the bytes end within a length") from None
        return value

    def nullable_string(self, *, flexible: bool) -> str | None:
        length = self.uvarint() - 1 if flexible else self.i16()
        if length == -1:
            return None
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise DecodeError(f"a string is not UTF-8: {error}") from None

    def string(self, *, flexible: bool = False) -> str:
        text = self.nullable_string(flexible=flexible)
        if text is None:
            raise DecodeError("a string is null that may not be")
        return text

    def blob(self, *, flexible: bool) -> bytes:
        return self.take(self.uvarint() - 1 if flexible else self.i32())

    def count(self, *, flexible: bool) -> int:
        """An array's length; each element has at least one byte, which bounds it."""
        count = self.uvarint() - 1 if flexible else self.i32()
        if not 0 <= count <= len(self._data) - self._pos:
            raise DecodeError(f"an array claims {count} elements")
        return count

    def tags(self) -> dict[int, bytes]:
        return {self.uvarint(): self.take(self.uvarint()) for _ in range(self.uvarint())}


def decode_key(data: bytes) -> CoordinatorKey | None:
    """A record's key; None for a type that belongs to a protocol not served here.

    :raises DecodeError: when the bytes are not what they claim to be.
    """
    reader = _Reader(data)
    kind = reader.i16()
    if kind in (LEGACY_OFFSET_COMMIT_TYPE, OFFSET_COMMIT_TYPE):
        return OffsetCommitKey(reader.string(), reader.string(), reader.i32())
    if kind == GROUP_METADATA_TYPE:
        return GroupMetadataKey(reader.string())
    return None


def decode_offset_commit(data: bytes) -> OffsetCommitValue:
    """An OffsetCommit value of any version up to 4.

    :raises DecodeError: when the bytes are not one.
    """
    reader = _Reader(data)
    version = reader.i16()
    if not 0 <= version <= _OFFSET_COMMIT_VERSION:
        raise DecodeError(f"an offset commit has version {version}")
    offset = reader.i64()
    leader_epoch = reader.i32() if version >= 3 else -1
    metadata = reader.string(flexible=version >= _FLEXIBLE_FROM)
    commit_timestamp = reader.i64()
    expire_timestamp = reader.i64() if version == _OFFSET_COMMIT_EXPIRING_VERSION else -1
    topic_id = None
    if version >= _FLEXIBLE_FROM and (raw := reader.tags().get(_TOPIC_ID_TAG)) is not None:
        if len(raw) != 16:
            raise DecodeError(f"a topic id has {len(raw)} bytes")
        topic_id = uuid.UUID(bytes=raw) if any(raw) else None
    return OffsetCommitValue(
        offset=offset,
        leader_epoch=leader_epoch,
        metadata=metadata,
        commit_timestamp=commit_timestamp,
        expire_timestamp=expire_timestamp,
        topic_id=topic_id,
    )


def decode_group_metadata(data: bytes) -> GroupMetadataValue:
    """A GroupMetadata value of any version up to 4.

    :raises DecodeError: when the bytes are not one.
    """
    reader = _Reader(data)
    version = reader.i16()
    if not 0 <= version <= _FLEXIBLE_FROM:
        raise DecodeError(f"a group's metadata has version {version}")
    flexible = version >= _FLEXIBLE_FROM
    protocol_type = reader.string(flexible=flexible)
    generation = reader.i32()
    protocol = reader.nullable_string(flexible=flexible)
    leader = reader.nullable_string(flexible=flexible)
    timestamp = reader.i64() if version >= 2 else -1
    members = []
    for _ in range(reader.count(flexible=flexible)):
        member = MemberMetadata(
            member_id=reader.string(flexible=flexible),
            group_instance_id=reader.nullable_string(flexible=flexible) if version >= 3 else None,
            client_id=reader.string(flexible=flexible),
            client_host=reader.string(flexible=flexible),
            rebalance_timeout=reader.i32() if version >= 1 else -1,
            session_timeout=reader.i32(),
            subscription=reader.blob(flexible=flexible),
            assignment=reader.blob(flexible=flexible),
        )
        if flexible:
            reader.tags()
        members.append(member)
    if flexible:
        reader.tags()
    return GroupMetadataValue(
        protocol_type=protocol_type,
        generation=generation,
        protocol=protocol,
        leader=leader,
        current_state_timestamp=timestamp,
        members=tuple(members),
    )
