"""What the records of Kafka's own topics hold, for those who want to read and not to act on them.

Tools show every record that Kafka 4.3 may have written, also those of protocols that nobody here
serves. So their fields are data, in a notation of one line each: ``name type`` fields apart by
semicolons; ``[]`` before an array's element, ``?`` before what may be null, parentheses around a
struct; then the versions that have the field (``3+``, ``1-1``) and its number when it is tagged
(``#0``). Values come out as JSON has them: ids in Kafka's text form, bytes in base64.

A tagged field is shown when the bytes have it, which is when its writer found it different from the default.
"""

from __future__ import annotations

import base64
import re
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from kafkalab.engine.common.ids import uuid_to_text
from kafkalab.engine.protocol.codec import DecodeError, read_uvarint
from kafkalab.engine.protocol.metadata_records import decode_record

Json = Any
"""Dictionaries, lists, text, numbers, truth values and None."""

NEVER: Final = 99
_VERSION_MAX: Final = 99


@dataclass(frozen=True, slots=True)
class MessageSchema:
    """One message: the versions that are known, and from which on it is flexible."""

    fields: str
    versions: tuple[int, int] = (0, 0)
    flexible_since: int = 0


_TOPIC_PARTITIONS: Final = "[](topicId uuid; partitions []int32)"
_EPOCHED_PARTITIONS: Final = "[](topicId uuid; partitions []int32; assignmentEpochs ?[]int32 #0)"
_TASKS: Final = "[](subtopologyId string; partitions []int32)"
_EPOCHED_TASKS: Final = "[](subtopologyId string; partitions []int32; assignmentEpochs ?[]int32 #0)"
_PAIRS: Final = "[](key string; value string)"
_TOPIC_INFOS: Final = f"[](name string; partitions int32; replicationFactor int16; topicConfigs {_PAIRS})"
_NAMED_PARTITIONS: Final = "[](topicId uuid; topicName string; partitions []int32)"
_STATE_BATCHES: Final = "[](firstOffset int64; lastOffset int64; deliveryState int8; deliveryCount int16)"
_GROUP: Final = MessageSchema("groupId string", flexible_since=NEVER)
_GROUP_MEMBER: Final = MessageSchema("groupId string; memberId string", flexible_since=NEVER)
_OFFSET_KEY: Final = MessageSchema("group string; topic string; partition int32", flexible_since=NEVER)
_SHARE_KEY: Final = MessageSchema("groupId string; topicId uuid; partition int32", flexible_since=NEVER)
_TARGET_EPOCH: Final = MessageSchema("assignmentEpoch int32; assignmentTimestamp int64 #0")

RecordSchemas = Mapping[int, tuple[MessageSchema, MessageSchema]]
"""Key and value by the record type with which a key opens."""

OFFSETS_TOPIC_SCHEMAS: Final[RecordSchemas] = MappingProxyType(
    {
        0: (_OFFSET_KEY, MessageSchema("offset int64; metadata string; commitTimestamp int64", flexible_since=NEVER)),
        1: (
            _OFFSET_KEY,
            MessageSchema(
                "offset int64; leaderEpoch int32 3+; metadata string; commitTimestamp int64; expireTimestamp int64 1-1; topicId uuid 4+ #0",
                (0, 4),
                flexible_since=4,
            ),
        ),
        2: (
            MessageSchema("group string", flexible_since=NEVER),
            MessageSchema(
                "protocolType string; generation int32; protocol ?string; leader ?string; currentStateTimestamp int64 2+; "
                "members [](memberId string; groupInstanceId ?string 3+; clientId string; clientHost string; rebalanceTimeout int32 1+; "
                "sessionTimeout int32; subscription bytes; assignment bytes)",
                (0, 4),
                flexible_since=4,
            ),
        ),
        3: (_GROUP, MessageSchema("epoch int32; metadataHash int64 #0")),
        4: (
            _GROUP,
            MessageSchema(
                "topics [](topicId uuid; topicName string; numPartitions int32; partitionMetadata [](partition int32; racks []string))"
            ),
        ),
        5: (
            _GROUP_MEMBER,
            MessageSchema(
                "instanceId ?string; rackId ?string; clientId string; clientHost string; subscribedTopicNames []string; "
                "subscribedTopicRegex ?string; rebalanceTimeoutMs int32; serverAssignor ?string; "
                "classicMemberMetadata ?(sessionTimeoutMs int32; supportedProtocols [](name string; metadata bytes)) #0"
            ),
        ),
        6: (_GROUP, _TARGET_EPOCH),
        7: (_GROUP_MEMBER, MessageSchema(f"topicPartitions {_TOPIC_PARTITIONS}")),
        8: (
            _GROUP_MEMBER,
            MessageSchema(
                "memberEpoch int32; previousMemberEpoch int32; state int8; "
                f"assignedPartitions {_EPOCHED_PARTITIONS}; partitionsPendingRevocation {_EPOCHED_PARTITIONS}"
            ),
        ),
        10: (_GROUP_MEMBER, MessageSchema("rackId ?string; clientId string; clientHost string; subscribedTopicNames []string")),
        11: (_GROUP, MessageSchema("epoch int32; metadataHash int64")),
        12: (_GROUP, _TARGET_EPOCH),
        13: (_GROUP_MEMBER, MessageSchema(f"topicPartitions {_TOPIC_PARTITIONS}")),
        14: (
            _GROUP_MEMBER,
            MessageSchema(f"memberEpoch int32; previousMemberEpoch int32; state int8; assignedPartitions {_TOPIC_PARTITIONS}"),
        ),
        15: (
            _GROUP,
            MessageSchema(
                f"initializingTopics {_NAMED_PARTITIONS}; initializedTopics {_NAMED_PARTITIONS}; "
                "deletingTopics [](topicId uuid; topicName string)"
            ),
        ),
        16: (
            MessageSchema("groupId string; regularExpression string", flexible_since=NEVER),
            MessageSchema("topics []string; version int64; timestamp int64"),
        ),
        17: (
            _GROUP,
            MessageSchema(f"epoch int32; metadataHash int64; validatedTopologyEpoch int32 #0; lastAssignmentConfigs ?{_PAIRS} #1"),
        ),
        19: (
            _GROUP_MEMBER,
            MessageSchema(
                "instanceId ?string; rackId ?string; clientId string; clientHost string; rebalanceTimeoutMs int32; topologyEpoch int32; "
                f"processId string; userEndpoint ?(host string; port uint16); clientTags {_PAIRS}"
            ),
        ),
        20: (_GROUP, _TARGET_EPOCH),
        21: (_GROUP_MEMBER, MessageSchema(f"activeTasks {_TASKS}; standbyTasks {_TASKS}; warmupTasks {_TASKS}")),
        22: (
            _GROUP_MEMBER,
            MessageSchema(
                "memberEpoch int32; previousMemberEpoch int32; state int8; "
                f"activeTasks {_EPOCHED_TASKS}; standbyTasks {_EPOCHED_TASKS}; warmupTasks {_EPOCHED_TASKS}; "
                f"activeTasksPendingRevocation {_EPOCHED_TASKS}; standbyTasksPendingRevocation {_EPOCHED_TASKS}; "
                f"warmupTasksPendingRevocation {_EPOCHED_TASKS}"
            ),
        ),
        23: (
            _GROUP,
            MessageSchema(
                "epoch int32; subtopologies [](subtopologyId string; sourceTopics []string; sourceTopicRegex []string; "
                f"stateChangelogTopics {_TOPIC_INFOS}; repartitionSinkTopics []string; repartitionSourceTopics {_TOPIC_INFOS}; "
                "copartitionGroups [](sourceTopics []int16; sourceTopicRegex []int16; repartitionSourceTopics []int16))"
            ),
        ),
    }
)

TRANSACTIONS_TOPIC_SCHEMAS: Final[RecordSchemas] = MappingProxyType(
    {
        0: (
            MessageSchema("transactionalId string", flexible_since=NEVER),
            MessageSchema(
                "producerId int64; previousProducerId int64 1+ #0; nextProducerId int64 1+ #1; producerEpoch int16; "
                "nextProducerEpoch int16 1+ #3; transactionTimeoutMs int32; transactionStatus int8; "
                "transactionPartitions ?[](topic string; partitionIds []int32); transactionLastUpdateTimestampMs int64; "
                "transactionStartTimestampMs int64; clientTransactionVersion int16 1+ #2",
                (0, 1),
                flexible_since=1,
            ),
        )
    }
)

SHARE_GROUP_STATE_SCHEMAS: Final[RecordSchemas] = MappingProxyType(
    {
        0: (
            _SHARE_KEY,
            MessageSchema(
                "snapshotEpoch int32; stateEpoch int32; leaderEpoch int32; startOffset int64; deliveryCompleteCount int32 #0; "
                f"createTimestamp int64; writeTimestamp int64; stateBatches {_STATE_BATCHES}"
            ),
        ),
        1: (
            _SHARE_KEY,
            MessageSchema(
                f"snapshotEpoch int32; leaderEpoch int32; startOffset int64; deliveryCompleteCount int32 #0; stateBatches {_STATE_BATCHES}"
            ),
        ),
    }
)

_VOTER_IDS: Final = "[](voterId int32; voterDirectoryId uuid 1+)"
LEADER_CHANGE: Final = MessageSchema(f"version int16; leaderId int32; voters {_VOTER_IDS}; grantingVoters {_VOTER_IDS}", (0, 1))
SNAPSHOT_HEADER: Final = MessageSchema("version int16; lastContainedLogTimestamp int64")
SNAPSHOT_FOOTER: Final = MessageSchema("version int16")
KRAFT_VERSION: Final = MessageSchema("version int16; kRaftVersion int16")
KRAFT_VOTERS: Final = MessageSchema(
    "version int16; voters [](voterId int32; voterDirectoryId uuid; endpoints [](name string; host string; port uint16); "
    "kRaftVersionFeature (minSupportedVersion int16; maxSupportedVersion int16))"
)
"""A control record's value repeats its version as its first field."""

_SUBSCRIPTION: Final = MessageSchema(
    "topics []string; userData ?bytes; ownedPartitions [](topic string; partitions []int32) 1+; generationId int32 2+; rackId ?string 3+",
    (0, 3),
    flexible_since=NEVER,
)
_ASSIGNMENT: Final = MessageSchema("assignedPartitions [](topic string; partitions []int32); userData ?bytes", (0, 3), flexible_since=NEVER)
_CONSUMER_PROTOCOL: Final = "consumer"


# --- the notation --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    type: str  # A plain type, or "struct".
    array: bool
    nullable: bool
    since: int
    until: int
    tag: int | None
    struct: tuple[_Field, ...]


_TOKENS: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9]*|\[\]|[?();]|#\d+|\d+\+|\d+-\d+)")


@cache
def _parse(text: str) -> tuple[_Field, ...]:
    tokens = _TOKENS.findall(text)
    parsed, at = _parse_fields(tokens, 0)
    assert at == len(tokens) and "".join(tokens) == re.sub(r"\s", "", text), f"not in the notation: {text}"
    return parsed


def _parse_fields(tokens: list[str], at: int) -> tuple[tuple[_Field, ...], int]:
    found: list[_Field] = []
    while True:
        name = tokens[at]
        at += 1
        nullable = tokens[at] == "?"
        at += nullable
        array = tokens[at] == "[]"
        at += array
        inner: tuple[_Field, ...] = ()
        kind = tokens[at]
        if kind == "(":
            inner, at = _parse_fields(tokens, at + 1)
            kind = "struct"
        at += 1
        since, until, tag = 0, _VERSION_MAX, None
        while at < len(tokens) and tokens[at] not in (";", ")"):
            word = tokens[at]
            at += 1
            if word[0] == "#":
                tag = int(word[1:])
            elif word[-1] == "+":
                since = int(word[:-1])
            else:
                since, until = map(int, word.split("-"))
        found.append(_Field(name, kind, array, nullable, since, until, tag, inner))
        if at == len(tokens) or tokens[at] == ")":
            return tuple(found), at
        at += 1


# --- reading -------------------------------------------------------------------------------------

_FIXED: Final[Mapping[str, struct.Struct]] = MappingProxyType(
    {
        "bool": struct.Struct(">?"),
        "int8": struct.Struct(">b"),
        "int16": struct.Struct(">h"),
        "uint16": struct.Struct(">H"),
        "int32": struct.Struct(">i"),
        "int64": struct.Struct(">q"),
        "float64": struct.Struct(">d"),
    }
)
_UUID_BYTES: Final = 16


class _Walk:
    """A place in bytes from outside. Nothing is taken that is not there."""

    __slots__ = ("data", "flexible", "pos", "version")

    def __init__(self, data: bytes, version: int, flexible: bool) -> None:
        self.data = data
        self.pos = 0
        self.version = version
        self.flexible = flexible

    def take(self, size: int) -> bytes:
        end = self.pos + size
        if size < 0 or end > len(self.data):
            raise DecodeError(f"{size} bytes are wanted at {self.pos} of {len(self.data)}")
        raw = self.data[self.pos : end]
        self.pos = end
        return raw

    def number(self, kind: str) -> Json:
        form = _FIXED[kind]
        return form.unpack(self.take(form.size))[0]

    def uvarint(self) -> int:
        try:
            value, self.pos = read_uvarint(self.data, self.pos)
        except IndexError:
            raise DecodeError("the bytes end within a number") from None
        return value

    def length(self, kind: str) -> int:
        return self.uvarint() - 1 if self.flexible else int(self.number(kind))

    def struct(self, declared: tuple[_Field, ...]) -> dict[str, Json]:
        present = [field for field in declared if field.since <= self.version <= field.until]
        values = {field.name: self.field(field) for field in present if field.tag is None}
        if self.flexible:
            by_tag = {field.tag: field for field in present if field.tag is not None}
            for _ in range(self.uvarint()):
                tag, size = self.uvarint(), self.uvarint()
                end = self.pos + size
                known = by_tag.get(tag)
                if known is not None:
                    values[known.name] = self.field(known)
                    if self.pos != end:
                        raise DecodeError(f"{known.name} does not take the {size} bytes that were announced")
                else:
                    self.take(size)
        # In the order of the schema, as the tags stand anywhere.
        return {field.name: values[field.name] for field in present if field.name in values}

    def field(self, field: _Field) -> Json:
        if not field.array:
            return self.element(field)
        count = self.length("int32")
        if count < 0 and field.nullable:
            return None
        # An element takes a byte at least.
        if not 0 <= count <= len(self.data) - self.pos:
            raise DecodeError(f"{field.name} claims {count} elements")
        return [self.element(field) for _ in range(count)]

    def element(self, field: _Field) -> Json:
        kind = field.type
        if kind in _FIXED:
            return self.number(kind)
        if kind == "uuid":
            return uuid_to_text(uuid.UUID(bytes=self.take(_UUID_BYTES)))
        if kind == "struct":
            # Null is -1, but 0 as the content of a tag; 1 says that the struct follows.
            if field.nullable and not field.array and self.number("int8") <= 0:
                return None
            return self.struct(field.struct)
        size = self.length("int16" if kind == "string" else "int32")
        if size < 0 and field.nullable and not field.array:
            return None
        raw = self.take(size)
        return raw.decode("utf-8", "replace") if kind == "string" else base64.b64encode(raw).decode()


def decode_message(schema: MessageSchema, data: bytes, version: int) -> dict[str, Json]:
    """A message's fields.

    :raises DecodeError: when the version is unknown or the bytes are not the message.
    """
    lowest, highest = schema.versions
    if not lowest <= version <= highest:
        raise DecodeError(f"version {version} is none of {lowest} to {highest}")
    return _Walk(data, version, version >= schema.flexible_since).struct(_parse(schema.fields))


class UnknownRecordType(DecodeError):
    """A key names a type that is not in the table."""

    def __init__(self, record_type: int) -> None:
        super().__init__(f"record type {record_type} is unknown")
        self.record_type = record_type


def decode_coordinator_record(schemas: RecordSchemas, key: bytes | None, value: bytes | None) -> tuple[Json, Json]:
    """A record of a coordinator's topic: key and value with their types and versions; None for a tombstone's value.

    :raises DecodeError: when the bytes are not such a record.
    """
    if key is None:
        raise DecodeError("a coordinator's record has a key")
    record_type = _leading_int16(key)
    if record_type not in schemas:
        raise UnknownRecordType(record_type)
    key_schema, value_schema = schemas[record_type]
    shown_key = {"type": str(record_type), "data": decode_message(key_schema, key[2:], 0)}
    if value is None:
        return shown_key, None
    version = _leading_int16(value)
    content = decode_message(value_schema, value[2:], version)
    if schemas is OFFSETS_TOPIC_SCHEMAS and record_type == 2 and content["protocolType"] == _CONSUMER_PROTOCOL:
        for member in content["members"]:
            _open_blob(member, "subscription", _SUBSCRIPTION)
            _open_blob(member, "assignment", _ASSIGNMENT)
    return shown_key, {"version": str(version), "data": content}


def decode_metadata_record(data: bytes) -> Json:
    """A record of the metadata log, with its type and version.

    :raises RecordDecodeError: when the bytes are no record known here.
    """
    record = decode_record(data)
    # The frame: its own version, the record's key, the record's version. All of it was read once.
    _, at = read_uvarint(data, 0)
    _, at = read_uvarint(data, at)
    version, _ = read_uvarint(data, at)
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(record).__name__).upper()
    return {"type": name, "version": version, "data": _plain(record, version)}


def _plain(value: Any, version: int) -> Json:
    if is_dataclass(value):
        shown: dict[str, Json] = {}
        for declared in fields(value):
            content = getattr(value, declared.name)
            about = declared.metadata
            if version < about["since"] or (about["tag"] is not None and content == declared.default):
                continue
            shown[_camel(declared.name)] = _plain(content, version)
        return shown
    if isinstance(value, tuple):
        return [_plain(one, version) for one in value]
    if isinstance(value, uuid.UUID):
        return uuid_to_text(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _leading_int16(data: bytes) -> int:
    if len(data) < 2:
        raise DecodeError("two bytes say the type or version, they are missing")
    return int.from_bytes(data[:2], "big", signed=True)


def _open_blob(holder: dict[str, Json], name: str, schema: MessageSchema) -> None:
    raw = base64.b64decode(holder[name])
    version = _leading_int16(raw)
    # Newer versions only add to what is known.
    holder[name] = decode_message(schema, raw[2:], min(version, schema.versions[1]))
