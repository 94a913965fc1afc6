"""The records of ``__cluster_metadata``: what they hold, and their bytes.

A record's value is a frame version (1), the record's key and version, all as unsigned varints, and
then a flexible message without trailing bytes. Fields are declared on the dataclasses in the
manner of kio's schemas (``kafka_type``, ``tag``) with the first version that has them; readers and
writers are put together from those declarations once per class and version. Every length is
checked against the bytes that are there before anything is allocated.

Unlike in requests, ids stay what they are: a directory id of zero means something.
"""

# A declaration by _f is a field, as dataclasses.field is; nothing mutable is shared by it.
# ruff: noqa: RUF009

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, Final

from kafkalab.engine.common.ids import ZERO_UUID

FRAME_VERSION: Final = 1

NO_LEADER: Final = -1
LEADER_UNCHANGED: Final = -2
"""``PartitionChangeRecord.leader`` that leaves leader and leader epoch alone."""

DIRECTORY_MIGRATING: Final = ZERO_UUID
DIRECTORY_UNASSIGNED: Final = uuid.UUID(int=1)
DIRECTORY_LOST: Final = uuid.UUID(int=2)

LEADER_RECOVERED: Final = 0
LEADER_RECOVERING: Final = 1

CONFIG_TOPIC: Final = 2
CONFIG_BROKER: Final = 4
CONFIG_CLIENT_METRICS: Final = 16
CONFIG_GROUP: Final = 32


class RecordDecodeError(Exception):
    """The bytes are not the metadata record that they claim to be."""


def _f(
    kafka_type: str,
    default: Any = MISSING,
    *,
    since: int = 0,
    tag: int | None = None,
    nullable: bool = False,
    of: type[Any] | None = None,
) -> Any:
    """Declare a field; ``kafka_type`` starts with ``[]`` for an array, ``of`` is its entity."""
    metadata = {"kafka_type": kafka_type, "since": since, "tag": tag, "nullable": nullable, "of": of}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerEndpoint:
    """A listener of a broker or controller."""

    name: str = _f("string")
    host: str = _f("string")
    port: int = _f("uint16")
    security_protocol: int = _f("int16", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRange:
    """The levels of a feature that a node supports."""

    name: str = _f("string")
    min_supported_version: int = _f("int16")
    max_supported_version: int = _f("int16")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaEntity:
    """One part of the entity that a quota is for; no name means the default entity."""

    entity_type: str = _f("string")
    entity_name: str | None = _f("string", nullable=True)


class MetadataRecord:
    """Base of all records: its key, and the newest version, which metadata.version 4.3-IV0 writes."""

    __slots__ = ()
    KEY: ClassVar[int]
    VERSION: ClassVar[int] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterBrokerRecord(MetadataRecord):
    """A broker's registration; replaces an earlier one of the same id."""

    KEY = 0
    VERSION = 4
    broker_id: int = _f("int32")
    is_migrating_zk_broker: bool = _f("bool", False, since=2)
    incarnation_id: uuid.UUID = _f("uuid")
    broker_epoch: int = _f("int64")
    end_points: tuple[BrokerEndpoint, ...] = _f("[]entity", (), of=BrokerEndpoint)
    features: tuple[FeatureRange, ...] = _f("[]entity", (), of=FeatureRange)
    rack: str | None = _f("string", None, nullable=True)
    fenced: bool = _f("bool", True)
    in_controlled_shutdown: bool = _f("bool", False, since=1)
    log_dirs: tuple[uuid.UUID, ...] = _f("[]uuid", (), since=3, tag=0)
    cordoned_log_dirs: tuple[uuid.UUID, ...] | None = _f("[]uuid", None, since=4, tag=1, nullable=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnregisterBrokerRecord(MetadataRecord):
    """A broker's registration is gone."""

    KEY = 1
    broker_id: int = _f("int32")
    broker_epoch: int = _f("int64")


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRecord(MetadataRecord):
    """A topic exists, so far without partitions."""

    KEY = 2
    name: str = _f("string")
    topic_id: uuid.UUID = _f("uuid")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRecord(MetadataRecord):
    """A partition in full."""

    KEY = 3
    VERSION = 2
    partition_id: int = _f("int32")
    topic_id: uuid.UUID = _f("uuid")
    replicas: tuple[int, ...] = _f("[]int32")
    isr: tuple[int, ...] = _f("[]int32")
    removing_replicas: tuple[int, ...] = _f("[]int32", ())
    adding_replicas: tuple[int, ...] = _f("[]int32", ())
    leader: int = _f("int32", NO_LEADER)
    leader_recovery_state: int = _f("int8", LEADER_RECOVERED, tag=0)
    leader_epoch: int = _f("int32", 0)
    partition_epoch: int = _f("int32", 0)
    directories: tuple[uuid.UUID, ...] = _f("[]uuid", (), since=1)
    eligible_leader_replicas: tuple[int, ...] | None = _f("[]int32", None, since=2, tag=1, nullable=True)
    last_known_elr: tuple[int, ...] | None = _f("[]int32", None, since=2, tag=2, nullable=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRecord(MetadataRecord):
    """One setting of a topic, broker, client-metrics subscription or group; no value takes it away."""

    KEY = 4
    resource_type: int = _f("int8")
    resource_name: str = _f("string")
    name: str = _f("string")
    value: str | None = _f("string", nullable=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionChangeRecord(MetadataRecord):
    """What changed of a partition. Always raises the partition epoch; any leader raises the leader epoch."""

    KEY = 5
    VERSION = 2
    partition_id: int = _f("int32")
    topic_id: uuid.UUID = _f("uuid")
    isr: tuple[int, ...] | None = _f("[]int32", None, tag=0, nullable=True)
    leader: int = _f("int32", LEADER_UNCHANGED, tag=1)
    replicas: tuple[int, ...] | None = _f("[]int32", None, tag=2, nullable=True)
    removing_replicas: tuple[int, ...] | None = _f("[]int32", None, tag=3, nullable=True)
    adding_replicas: tuple[int, ...] | None = _f("[]int32", None, tag=4, nullable=True)
    leader_recovery_state: int = _f("int8", -1, tag=5)
    directories: tuple[uuid.UUID, ...] | None = _f("[]uuid", None, since=1, tag=8, nullable=True)
    eligible_leader_replicas: tuple[int, ...] | None = _f("[]int32", None, since=2, tag=6, nullable=True)
    last_known_elr: tuple[int, ...] | None = _f("[]int32", None, since=2, tag=7, nullable=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceBrokerRecord(MetadataRecord):
    """A broker is fenced; written by old metadata versions only."""

    KEY = 7
    id: int = _f("int32")
    epoch: int = _f("int64")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfenceBrokerRecord(MetadataRecord):
    """A broker is unfenced; written by old metadata versions only."""

    KEY = 8
    id: int = _f("int32")
    epoch: int = _f("int64")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveTopicRecord(MetadataRecord):
    """A topic is gone, with its partitions and settings."""

    KEY = 9
    topic_id: uuid.UUID = _f("uuid")


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegationTokenRecord(MetadataRecord):
    """A delegation token."""

    KEY = 10
    owner: str = _f("string")
    requester: str = _f("string")
    renewers: tuple[str, ...] = _f("[]string", ())
    issue_timestamp: int = _f("int64")
    max_timestamp: int = _f("int64")
    expiration_timestamp: int = _f("int64")
    token_id: str = _f("string")


@dataclass(frozen=True, slots=True, kw_only=True)
class UserScramCredentialRecord(MetadataRecord):
    """A user's SCRAM credential."""

    KEY = 11
    name: str = _f("string")
    mechanism: int = _f("int8")
    salt: bytes = _f("bytes")
    stored_key: bytes = _f("bytes")
    server_key: bytes = _f("bytes")
    iterations: int = _f("int32")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureLevelRecord(MetadataRecord):
    """A finalized feature level; level 0 takes the feature away."""

    KEY = 12
    name: str = _f("string")
    feature_level: int = _f("int16")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientQuotaRecord(MetadataRecord):
    """A quota of a client entity."""

    KEY = 14
    entity: tuple[QuotaEntity, ...] = _f("[]entity", (), of=QuotaEntity)
    key: str = _f("string")
    value: float = _f("float64")
    remove: bool = _f("bool", False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerIdsRecord(MetadataRecord):
    """A block of producer ids was given to a broker."""

    KEY = 15
    broker_id: int = _f("int32")
    broker_epoch: int = _f("int64")
    next_producer_id: int = _f("int64")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerRegistrationChangeRecord(MetadataRecord):
    """What changed of a broker's registration; ``fenced`` is 1 to fence, -1 to unfence, 0 to leave."""

    KEY = 17
    VERSION = 3
    broker_id: int = _f("int32")
    broker_epoch: int = _f("int64")
    fenced: int = _f("int8", 0, tag=0)
    in_controlled_shutdown: int = _f("int8", 0, since=1, tag=1)
    log_dirs: tuple[uuid.UUID, ...] = _f("[]uuid", (), since=2, tag=2)
    cordoned_log_dirs: tuple[uuid.UUID, ...] | None = _f("[]uuid", None, since=3, tag=3, nullable=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessControlEntryRecord(MetadataRecord):
    """An access control entry."""

    KEY = 18
    id: uuid.UUID = _f("uuid")
    resource_type: int = _f("int8")
    resource_name: str = _f("string")
    pattern_type: int = _f("int8")
    principal: str = _f("string")
    host: str = _f("string")
    operation: int = _f("int8")
    permission_type: int = _f("int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveAccessControlEntryRecord(MetadataRecord):
    """An access control entry is gone."""

    KEY = 19
    id: uuid.UUID = _f("uuid")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOpRecord(MetadataRecord):
    """Nothing; it moves the log's end, so that followers see that the quorum lives."""

    KEY = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ZkMigrationStateRecord(MetadataRecord):
    """State of a migration from ZooKeeper; always 0 nowadays."""

    KEY = 21
    zk_migration_state: int = _f("int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveUserScramCredentialRecord(MetadataRecord):
    """A user's SCRAM credential is gone."""

    KEY = 22
    name: str = _f("string")
    mechanism: int = _f("int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginTransactionRecord(MetadataRecord):
    """What follows is applied all at once at the end record, or not at all."""

    KEY = 23
    name: str | None = _f("string", None, tag=0, nullable=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndTransactionRecord(MetadataRecord):
    """Apply what came since the begin record."""

    KEY = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class AbortTransactionRecord(MetadataRecord):
    """Forget what came since the begin record."""

    KEY = 25
    reason: str | None = _f("string", None, tag=0, nullable=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveDelegationTokenRecord(MetadataRecord):
    """A delegation token is gone."""

    KEY = 26
    token_id: str = _f("string")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterControllerRecord(MetadataRecord):
    """A controller's registration."""

    KEY = 27
    controller_id: int = _f("int32")
    incarnation_id: uuid.UUID = _f("uuid")
    zk_migration_ready: bool = _f("bool", False)
    end_points: tuple[BrokerEndpoint, ...] = _f("[]entity", (), of=BrokerEndpoint)
    features: tuple[FeatureRange, ...] = _f("[]entity", (), of=FeatureRange)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearElrRecord(MetadataRecord):
    """Forget the eligible leader replicas of a topic, or of all topics when the name is empty."""

    KEY = 28
    topic_name: str = _f("string")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnregisterControllerRecord(MetadataRecord):
    """A controller's registration is gone."""

    KEY = 29
    controller_id: int = _f("int32")


_RECORD_CLASSES: Final[tuple[type[MetadataRecord], ...]] = (
    RegisterBrokerRecord,
    UnregisterBrokerRecord,
    TopicRecord,
    PartitionRecord,
    ConfigRecord,
    PartitionChangeRecord,
    FenceBrokerRecord,
    UnfenceBrokerRecord,
    RemoveTopicRecord,
    DelegationTokenRecord,
    UserScramCredentialRecord,
    FeatureLevelRecord,
    ClientQuotaRecord,
    ProducerIdsRecord,
    BrokerRegistrationChangeRecord,
    AccessControlEntryRecord,
    RemoveAccessControlEntryRecord,
    NoOpRecord,
    ZkMigrationStateRecord,
    RemoveUserScramCredentialRecord,
    BeginTransactionRecord,
    EndTransactionRecord,
    AbortTransactionRecord,
    RemoveDelegationTokenRecord,
    RegisterControllerRecord,
    ClearElrRecord,
    UnregisterControllerRecord,
)

RECORDS_BY_KEY: Final[Mapping[int, type[MetadataRecord]]] = MappingProxyType({record.KEY: record for record in _RECORD_CLASSES})
"""Every record that may stand in the metadata log, by its key."""


# --- bytes -------------------------------------------------------------------------------------

_Writer = Callable[[bytearray, Any], None]
_Reader = Callable[[bytes, int], tuple[Any, int]]

_FIXED: Final[Mapping[str, struct.Struct]] = MappingProxyType(
    {
        "int8": struct.Struct(">b"),
        "int16": struct.Struct(">h"),
        "int32": struct.Struct(">i"),
        "int64": struct.Struct(">q"),
        "uint16": struct.Struct(">H"),
        "float64": struct.Struct(">d"),
        "bool": struct.Struct(">?"),
    }
)
_UUID_SIZE_BYTES: Final = 16
_UVARINT_BYTES_MAX: Final = 5
# The least that an element of each type takes: an array cannot have more elements than that fit.
_ELEMENT_BYTES_MIN: Final = 1
# Replicas, ISRs and the like: so many broker ids are ready to be read.
_FEW_ELEMENTS: Final = 8
# Frame version, key and version, as long as each is one byte.
_HEAD_BYTES: Final = 3
RECORDS_KEPT: Final = 8192
"""Decoded records that are remembered: some six megabytes, in clusters that have so many."""
# Readers of the records known, by those three bytes.
_READERS: Final[dict[bytes, _Reader]] = {}


def _put_uvarint(out: bytearray, value: int) -> None:
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _take_uvarint(data: bytes, pos: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * _UVARINT_BYTES_MAX, 7):
        if pos >= len(data):
            raise RecordDecodeError("the record ends within a varint")
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, pos
    raise RecordDecodeError(f"a varint has more than {_UVARINT_BYTES_MAX} bytes")


def _take_length(data: bytes, pos: int, *, nullable: bool, what: str) -> tuple[int, int]:
    """A compact length: -1 for null, never more than the bytes that are left."""
    if pos < len(data) and data[pos] < 0x80:
        # Nearly all lengths are of one byte.
        raw, pos = data[pos], pos + 1
    else:
        raw, pos = _take_uvarint(data, pos)
    if raw == 0 and not nullable:
        raise RecordDecodeError(f"{what} is null, which it must not be")
    if raw - 1 > (len(data) - pos) // _ELEMENT_BYTES_MIN:
        raise RecordDecodeError(f"{what} has a length of {raw - 1}, which its bytes do not bear out")
    return raw - 1, pos


def _fixed_writer(form: struct.Struct) -> _Writer:
    def write(out: bytearray, value: Any) -> None:
        out += form.pack(value)

    return write


def _fixed_reader(form: struct.Struct, what: str) -> _Reader:
    def read(data: bytes, pos: int) -> tuple[Any, int]:
        end = pos + form.size
        if end > len(data):
            raise RecordDecodeError(f"the record ends within {what}")
        return form.unpack_from(data, pos)[0], end

    return read


def _write_uuid(out: bytearray, value: uuid.UUID) -> None:
    out += value.bytes


@lru_cache(maxsize=1024)
def _uuid_of(raw: bytes) -> uuid.UUID:
    # Topics and directories are named again and again.
    return uuid.UUID(bytes=raw)


def _uuid_reader(what: str) -> _Reader:
    def read(data: bytes, pos: int) -> tuple[Any, int]:
        end = pos + _UUID_SIZE_BYTES
        if end > len(data):
            raise RecordDecodeError(f"the record ends within {what}")
        return _uuid_of(data[pos:end]), end

    return read


def _write_text(out: bytearray, value: str | None) -> None:
    if value is None:
        out.append(0)
    else:
        raw = value.encode()
        _put_uvarint(out, len(raw) + 1)
        out += raw


def _write_bytes(out: bytearray, value: bytes | None) -> None:
    if value is None:
        out.append(0)
    else:
        _put_uvarint(out, len(value) + 1)
        out += value


def _text_reader(what: str, nullable: bool, text: bool) -> _Reader:
    def read(data: bytes, pos: int) -> tuple[Any, int]:
        size, pos = _take_length(data, pos, nullable=nullable, what=what)
        if size < 0:
            return None, pos
        raw = data[pos : pos + size]
        try:
            return (raw.decode() if text else raw), pos + size
        except UnicodeDecodeError as error:
            raise RecordDecodeError(f"{what} is not UTF-8") from error

    return read


def _array_writer(write_element: _Writer) -> _Writer:
    def write(out: bytearray, values: Any) -> None:
        if values is None:
            out.append(0)
            return
        _put_uvarint(out, len(values) + 1)
        for value in values:
            write_element(out, value)

    return write


def _array_reader(read_element: _Reader, what: str, nullable: bool) -> _Reader:
    def read(data: bytes, pos: int) -> tuple[Any, int]:
        count, pos = _take_length(data, pos, nullable=nullable, what=what)
        if count < 0:
            return None, pos
        values = []
        for _ in range(count):
            value, pos = read_element(data, pos)
            values.append(value)
        return tuple(values), pos

    return read


def _fixed_array_reader(form: struct.Struct, what: str, nullable: bool) -> _Reader:
    """All elements at once."""
    code = form.format[1:]
    few = [struct.Struct(f">{count}{code}") for count in range(_FEW_ELEMENTS)]

    def read(data: bytes, pos: int) -> tuple[Any, int]:
        count, pos = _take_length(data, pos, nullable=nullable, what=what)
        if count < 0:
            return None, pos
        if count < _FEW_ELEMENTS and pos + few[count].size <= len(data):
            return few[count].unpack_from(data, pos), pos + few[count].size
        end = pos + count * form.size
        if end > len(data):
            raise RecordDecodeError(f"the record ends within {what}")
        return struct.unpack_from(f">{count}{code}", data, pos), end

    return read


def _codec_of(metadata: Mapping[str, Any], what: str, version: int) -> tuple[_Writer, _Reader]:
    kafka_type: str = metadata["kafka_type"]
    is_array = kafka_type.startswith("[]")
    element_type = kafka_type.removeprefix("[]")
    nullable = metadata["nullable"] and not is_array
    write: _Writer
    read: _Reader
    if element_type in _FIXED:
        write, read = _fixed_writer(_FIXED[element_type]), _fixed_reader(_FIXED[element_type], what)
    elif element_type == "uuid":
        write, read = _write_uuid, _uuid_reader(what)
    elif element_type == "string":
        write, read = _write_text, _text_reader(what, nullable, text=True)
    elif element_type == "bytes":
        write, read = _write_bytes, _text_reader(what, nullable, text=False)
    else:
        assert element_type == "entity", f"{what} has a type that no record uses"
        write, read = _entity_codec(metadata["of"], version)
    if is_array and element_type in _FIXED:
        return _array_writer(write), _fixed_array_reader(_FIXED[element_type], what, metadata["nullable"])
    if is_array:
        return _array_writer(write), _array_reader(read, what, metadata["nullable"])
    return write, read


@cache
def _entity_codec(entity: type[Any], version: int) -> tuple[_Writer, _Reader]:
    """Writer and reader of a flexible struct: its plain fields in order, then its tagged ones."""
    plain: list[tuple[str, _Writer, _Reader]] = []
    tagged: list[tuple[int, str, Any, _Writer, _Reader]] = []
    for declared in fields(entity):
        if version < declared.metadata["since"]:
            continue
        write_field, read_field = _codec_of(declared.metadata, f"{entity.__name__}.{declared.name}", version)
        tag = declared.metadata["tag"]
        if tag is None:
            plain.append((declared.name, write_field, read_field))
        else:
            tagged.append((tag, declared.name, declared.default, write_field, read_field))
    tagged.sort(key=lambda row: row[0])
    readers_by_tag = {tag: (name, read_field) for tag, name, _, _, read_field in tagged}

    def write(out: bytearray, value: Any) -> None:
        for name, write_field, _ in plain:
            write_field(out, getattr(value, name))
        present = [row for row in tagged if getattr(value, row[1]) != row[2]]
        _put_uvarint(out, len(present))
        for tag, name, _, write_field, _ in present:
            body = bytearray()
            write_field(body, getattr(value, name))
            _put_uvarint(out, tag)
            _put_uvarint(out, len(body))
            out += body

    def read(data: bytes, pos: int) -> tuple[Any, int]:
        values: dict[str, Any] = {}
        for name, _, read_field in plain:
            values[name], pos = read_field(data, pos)
        if pos < len(data) and data[pos] == 0:
            return entity(**values), pos + 1
        count, pos = _take_uvarint(data, pos)
        last_tag = -1
        length = len(data)
        for _ in range(count):
            if pos + 1 < length and data[pos] < 0x80 and data[pos + 1] < 0x80:
                # Nearly all are of one byte each.
                tag, size = data[pos], data[pos + 1]
                pos += 2
            else:
                tag, pos = _take_uvarint(data, pos)
                size, pos = _take_uvarint(data, pos)
            if tag <= last_tag:
                raise RecordDecodeError(f"{entity.__name__}: tag {tag} follows tag {last_tag}")
            last_tag = tag
            end = pos + size
            if end > length:
                raise RecordDecodeError(f"{entity.__name__}: tag {tag} has {size} bytes, more than there are")
            # A tag that this version does not know is somebody's later addition: step over it.
            if (known := readers_by_tag.get(tag)) is not None:
                name, read_field = known
                values[name], read_to = read_field(data, pos)
                if read_to != end:
                    raise RecordDecodeError(f"{entity.__name__}.{name} takes {read_to - pos} bytes where {size} were announced")
            pos = end
        return entity(**values), pos

    return write, read


def encode_record(record: MetadataRecord, version: int | None = None) -> bytes:
    """The value of a record in the metadata log; without a version, the newest."""
    wanted = record.VERSION if version is None else version
    assert 0 <= wanted <= record.VERSION, f"{type(record).__name__} has no version {wanted}"
    out = bytearray()
    _put_uvarint(out, FRAME_VERSION)
    _put_uvarint(out, record.KEY)
    _put_uvarint(out, wanted)
    kind: Any = type(record)
    _entity_codec(kind, wanted)[0](out, record)
    return bytes(out)


@lru_cache(maxsize=RECORDS_KEPT)
def decode_record(data: bytes) -> MetadataRecord:
    """The inverse of :func:`encode_record`.

    The nodes of a cluster read the same records at much the same time; those that share an interpreter share
    what comes of it, which nobody can change.

    :raises RecordDecodeError: when the bytes are no record known here.
    """
    head = data[:_HEAD_BYTES]
    read = _READERS.get(head)
    if read is not None:
        pos = _HEAD_BYTES
    else:
        read, pos = _reader_of(data)
        if pos == _HEAD_BYTES:
            _READERS[head] = read
    record: MetadataRecord
    record, pos = read(data, pos)
    if pos != len(data):
        raise RecordDecodeError(f"{type(record).__name__} leaves {len(data) - pos} bytes unread")
    return record


def _reader_of(data: bytes) -> tuple[_Reader, int]:
    frame_version, pos = _take_uvarint(data, 0)
    if frame_version != FRAME_VERSION:
        raise RecordDecodeError(f"frame version {frame_version}, only {FRAME_VERSION} is known")
    key, pos = _take_uvarint(data, pos)
    version, pos = _take_uvarint(data, pos)
    kind: Any = RECORDS_BY_KEY.get(key)
    if kind is None:
        raise RecordDecodeError(f"there is no metadata record with key {key}")
    if version > kind.VERSION:
        raise RecordDecodeError(f"{kind.__name__} version {version} is newer than {kind.VERSION}")
    return _entity_codec(kind, version)[1], pos
