"""Messages to bytes and back, for every API in every version, compiled from kio's schemas.

kio knows the fields of each message; this adapter compiles one reader and one writer per message
and version from them. It does not use kio's own reader, which reserves memory for an array's
declared length and takes the process down when that length lies; the readers here check every
length against the bytes that are there before anything is allocated.

What is read comes as small objects with kio's field names and plain values: durations and
timestamps are ints in ms, error codes are ints, ``records`` are bytes, the zero uuid is None.
Fields that the version read does not have carry their defaults. What is written is given as
nested dicts with the names of the newest version: keys that the version written lacks are
ignored, missing keys are filled with defaults, as Kafka's generated classes do.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from functools import cache, lru_cache
from itertools import groupby
from types import EllipsisType, NoneType, UnionType
from typing import Any, Final, Protocol, Union, get_args, get_origin

from kio.index import load_request_schema, load_response_schema

from kafkalab.engine.protocol.apis import API_SPECS, ApiKey

Buffer = bytes | bytearray | memoryview


class Region(Protocol):
    """Bytes of a message that are somewhere else: whoever sends the message knows how to get at them.

    Never smaller than :data:`JOIN_BELOW_BYTES`, so that nobody tries to copy it.
    """

    def __len__(self) -> int: ...


Chunk = Buffer | Region
Body = Mapping[str, Any]
Schema = Any
"""A schema class of kio; mypy does not take ``type[Any]`` for hashable."""
_Reader = Callable[[bytes, int], tuple[Any, int]]
_Writer = Callable[[list[Any], Body], None]

JOIN_BELOW_BYTES: Final = 16_384
"""Chunks smaller than this are copied together; larger ones go to the socket as they are."""
UUIDS_KEPT_MAX: Final = 4096


class DecodeError(Exception):
    """The bytes are not the message that they claim to be."""


def to_ms(value: int | timedelta) -> int:
    """A duration in milliseconds, whichever way it was read."""
    return value if isinstance(value, int) else round(value.total_seconds() * 1000)


# --- primitives --------------------------------------------------------------------------------

_UVARINTS: Final = tuple(bytes([n]) if n < 0x80 else bytes([n & 0x7F | 0x80, n >> 7]) for n in range(0x4000))


def uvarint(value: int) -> bytes:
    """Encode an unsigned varint."""
    if value < 0x4000:
        return _UVARINTS[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_uvarint(data: bytes, pos: int) -> tuple[int, int]:
    """Decode an unsigned varint of at most five bytes.

    :raises DecodeError: when it is longer.
    :raises IndexError: when the data ends within it.
    """
    value = shift = 0
    while True:
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > 0x7FFFFFFF:
                raise DecodeError(f"a length of {value} is out of range")
            return value, pos
        shift += 7
        if shift > 28:
            raise DecodeError("a varint has more than five bytes")


def _skip_tags(data: bytes, pos: int) -> int:
    count, pos = read_uvarint(data, pos)
    last = -1
    for _ in range(count):
        tag, pos = read_uvarint(data, pos)
        if tag <= last:
            raise DecodeError(f"tag {tag} follows tag {last}")
        last = tag
        size, pos = read_uvarint(data, pos)
        pos += size
        if pos > len(data):
            raise DecodeError(f"tag {tag} has {size} bytes, more than there are")
    return pos


@lru_cache(maxsize=UUIDS_KEPT_MAX)
def _uuid(raw: bytes) -> uuid.UUID:
    # Ids of topics come again with each fetch, and making one costs as much as reading a partition.
    return uuid.UUID(bytes=raw)


def _bad_length(what: str, length: int) -> DecodeError:
    return DecodeError(f"{what} has a length of {length}, which its bytes do not bear out")


# --- what kio says of a field ------------------------------------------------------------------

_FIXED: Final[Mapping[str, str]] = {
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint8": "B",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
    "float64": "d",
    "bool": "?",
    "error_code": "h",
    "timedelta_i32": "i",
    "timedelta_i64": "q",
    "datetime_i64": "q",
}


ARRAY_STRUCTS: Final = 16
"""So long arrays of plain numbers have a struct each: replicas, ISRs and partition numbers are short."""


@cache
def _array_structs(letter: str) -> tuple[struct.Struct, ...]:
    return tuple(struct.Struct(f">{n}{letter}") for n in range(ARRAY_STRUCTS))


class _FieldShape:
    """A schema field in the terms that the generated code needs."""

    __slots__ = ("default", "entity", "is_array", "kafka_type", "name", "nullable", "tag")

    def __init__(self, field: Field[Any]) -> None:
        self.name = field.name
        self.tag: int | None = field.metadata.get("tag")
        self.nullable = False
        kind: Any = field.type
        if get_origin(kind) in (UnionType, Union):
            self.nullable = True
            kind = next(arg for arg in get_args(kind) if arg is not NoneType)
        self.is_array = get_origin(kind) is tuple
        if self.is_array:
            kind, more = get_args(kind)
            assert isinstance(more, EllipsisType), "arrays are of one type"
            if get_origin(kind) in (UnionType, Union):
                kind = next(arg for arg in get_args(kind) if arg is not NoneType)
        self.entity: Schema | None = kind if is_dataclass(kind) else None
        self.kafka_type: str = "entity" if self.entity else field.metadata["kafka_type"]
        self.default: Any = self._default(field)

    @property
    def fixed(self) -> str | None:
        """The struct letter of a plain fixed-size field."""
        if self.is_array or self.tag is not None or (self.nullable and self.kafka_type != "datetime_i64"):
            return None
        return _FIXED.get(self.kafka_type)

    def _default(self, field: Field[Any]) -> Any:
        if field.default is not MISSING:
            return _plain(field.default)
        if self.is_array:
            return ()
        if self.nullable or self.kafka_type == "uuid":
            return None
        if self.entity:
            return {shape.name: shape.default for shape in _shapes(self.entity)}
        return {"string": "", "bytes": b"", "records": None, "bool": False, "float64": 0.0}.get(self.kafka_type, 0)


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, IntEnum):
        return int(value)
    if isinstance(value, timedelta):
        return to_ms(value)
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value


@cache
def _shapes(entity: Schema) -> tuple[_FieldShape, ...]:
    return tuple(_FieldShape(field) for field in fields(entity))


# --- readers -----------------------------------------------------------------------------------


class _Source:
    """Lines of a function under generation, with the objects that it refers to by name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {}

    def add(self, depth: int, *lines: str) -> None:
        self.lines.extend("    " * depth + line for line in lines)

    def bind(self, stem: str, value: Any) -> str:
        name = f"{stem}_{len(self.names)}"
        self.names[name] = value
        return name

    def compile(self, function: str) -> Any:
        # The source is built from kio's schemas alone, never from what came over the wire.
        exec("\n".join(self.lines), self.names)
        return self.names[function]


def _entity_class(entity: Schema, newest: Schema | None) -> Schema:
    """A class with a slot for each field of this version, and the newest version's other fields as constants."""
    names = [shape.name for shape in _shapes(entity)]
    source = _Source()
    source.add(0, f"def __init__(self, {', '.join(names)}):" if names else "def __init__(self):")
    source.add(1, *([f"self.{name} = {name}" for name in names] or ["pass"]))
    init = source.compile("__init__")

    def show(self: Any) -> str:
        return f"{entity.__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    constants: dict[str, Any] = {"__slots__": tuple(names), "__init__": init, "__repr__": show}
    for shape in _shapes(newest) if newest else ():
        if shape.name not in names:
            value = shape.default
            if shape.entity and not shape.is_array and value is not None:
                value = _from_dict(shape.entity, value)
            constants[shape.name] = value
    return type(entity.__name__, (), constants)


def _from_dict(entity: Schema, values: Mapping[str, Any]) -> Any:
    return _class_of(entity, None)(*(values[shape.name] for shape in _shapes(entity)))


@cache
def _class_of(entity: Schema, newest: Schema | None) -> Schema:
    return _entity_class(entity, newest)


def _read_length(source: _Source, depth: int, shape: _FieldShape, *, flexible: bool, array: bool, nullable: bool) -> None:
    """Leave the length in ``n`` (-1 for null), checked against the bytes that are left."""
    if flexible:
        source.add(depth, "n = data[pos]", "pos += 1", "if n >= 128: n, pos = read_uvarint(data, pos - 1)", "n -= 1")
    elif array or shape.kafka_type in ("bytes", "records"):
        source.add(depth, "n, = INT32(data, pos)", "pos += 4")
    else:
        source.add(depth, "n, = INT16(data, pos)", "pos += 2")
    low = -1 if nullable else 0
    source.add(depth, f"if n > size - pos or n < {low}: raise bad_length({shape.name!r}, n)")


def _read_value(
    source: _Source, depth: int, shape: _FieldShape, target: str, *, flexible: bool, newest: Schema | None, element: bool = False
) -> None:
    """Generate the reading of one value that is not part of a fixed run."""
    kind = shape.kafka_type
    if kind == "entity":
        assert shape.entity is not None
        reader = source.bind("read", _compile_reader(shape.entity, newest))
        if shape.nullable and not element and not shape.is_array:
            source.add(depth, "marker = data[pos]", "pos += 1", f"if marker == 255: {target} = None", "else:")
            depth += 1
        source.add(depth, f"{target}, pos = {reader}(data, pos)")
    elif kind == "uuid":
        source.add(depth, "raw = data[pos:pos + 16]", "if len(raw) != 16: raise bad_length('uuid', len(raw))", "pos += 16")
        source.add(depth, f"{target} = None if raw == ZERO else uuid_of(raw)")
    elif kind in _FIXED:
        letter = _FIXED[kind]
        unpack = source.bind("unpack", struct.Struct(f">{letter}").unpack_from)
        source.add(depth, f"{target}, = {unpack}(data, pos)", f"pos += {struct.calcsize(letter)}")
    else:
        nullable = not element and (shape.nullable or kind == "records" or shape.tag is not None)
        _read_length(source, depth, shape, flexible=flexible, array=False, nullable=nullable)
        if nullable:
            source.add(depth, f"if n < 0: {target} = None", "else:")
            depth += 1
        value = "data[pos:pos + n].decode()" if kind == "string" else "data[pos:pos + n]"
        source.add(depth, f"{target} = {value}", "pos += n")


def _read_field(source: _Source, depth: int, shape: _FieldShape, target: str, *, flexible: bool, newest: Schema | None) -> None:
    if not shape.is_array:
        _read_value(source, depth, shape, target, flexible=flexible, newest=newest)
        return
    _read_length(source, depth, shape, flexible=flexible, array=True, nullable=shape.nullable)
    source.add(depth, f"if n < 0: {target} = None", "else:")
    letter = _FIXED.get(shape.kafka_type)
    if letter is not None:
        unpack = source.bind("unpack", tuple(one.unpack_from for one in _array_structs(letter)))
        source.add(depth + 1, f"{target} = {unpack}[n](data, pos) if n < {ARRAY_STRUCTS} else unpack_from(f'>{{n}}{letter}', data, pos)")
        source.add(depth + 1, f"pos += n * {struct.calcsize(letter)}")
        return
    source.add(depth + 1, "items = []", "for _ in range(n):")
    _read_value(source, depth + 2, shape, "item", flexible=flexible, newest=newest, element=True)
    source.add(depth + 2, "items.append(item)")
    source.add(depth + 1, f"{target} = tuple(items)")


def _runs(shapes: Sequence[_FieldShape]) -> Iterator[tuple[str, list[_FieldShape]]]:
    """Neighbouring fields of fixed size with their ``struct`` format, for one call does them all; the others with none."""
    for is_fixed, group in groupby(shapes, key=lambda shape: shape.fixed is not None):
        run = list(group)
        yield ">" + "".join(shape.fixed or "" for shape in run) if is_fixed else "", run


@cache
def _compile_reader(entity: Schema, newest: Schema | None) -> _Reader:
    shapes = _shapes(entity)
    flexible = bool(entity.__flexible__)
    newest_entities = {shape.name: shape.entity for shape in _shapes(newest)} if newest else {}
    source = _Source()
    source.names.update(
        INT16=struct.Struct(">h").unpack_from,
        INT32=struct.Struct(">i").unpack_from,
        unpack_from=struct.unpack_from,
        read_uvarint=read_uvarint,
        bad_length=_bad_length,
        skip_tags=_skip_tags,
        uuid_of=_uuid,
        ZERO=bytes(16),
        DecodeError=DecodeError,
    )
    source.add(0, "def read(data, pos):", "    size = len(data)")
    regular = [shape for shape in shapes if shape.tag is None]
    tagged = [shape for shape in shapes if shape.tag is not None]
    for letters, run in _runs(regular):
        if letters:
            unpack = source.bind("unpack", struct.Struct(letters).unpack_from)
            source.add(1, f"{''.join(f'f_{shape.name}, ' for shape in run)}= {unpack}(data, pos)")
            source.add(1, f"pos += {struct.calcsize(letters)}")
            continue
        for shape in run:
            _read_field(source, 1, shape, f"f_{shape.name}", flexible=flexible, newest=newest_entities.get(shape.name))
    if flexible and not tagged:
        source.add(1, "if data[pos] == 0: pos += 1", "else: pos = skip_tags(data, pos)")
    elif flexible:
        for shape in tagged:
            default = shape.default
            if shape.entity and not shape.is_array and default is not None:
                default = _from_dict(shape.entity, default)
            source.add(1, f"f_{shape.name} = {source.bind('default', default)}")
        # Most messages have none of them.
        source.add(1, "if data[pos] == 0: pos += 1", "else:")
        source.add(2, "count, pos = read_uvarint(data, pos)", "last = -1", "for _ in range(count):")
        source.add(3, "tag, pos = read_uvarint(data, pos)", "if tag <= last: raise DecodeError(f'tag {tag} follows tag {last}')")
        source.add(3, "last = tag", "length, pos = read_uvarint(data, pos)", "end = pos + length")
        source.add(3, "if end > size: raise bad_length(f'tag {tag}', length)")
        for index, shape in enumerate(tagged):
            source.add(3, f"{'el' if index else ''}if tag == {shape.tag}:")
            _read_field(source, 4, shape, f"f_{shape.name}", flexible=True, newest=newest_entities.get(shape.name))
            source.add(4, "if pos != end: raise bad_length(f'tag {tag}', length)")
        source.add(3, "pos = end")
    cls = source.bind("cls", _class_of(entity, newest))
    source.add(1, f"return {cls}({', '.join(f'f_{shape.name}' for shape in shapes)}), pos")
    reader: _Reader = source.compile("read")
    return reader


# --- writers -----------------------------------------------------------------------------------


def _write_value(source: _Source, depth: int, shape: _FieldShape, value: str, *, flexible: bool, element: bool = False) -> None:
    kind = shape.kafka_type
    if kind == "entity":
        assert shape.entity is not None
        writer = source.bind("write", _compile_writer(shape.entity))
        if shape.nullable and not element and not shape.is_array and shape.tag is None:
            source.add(depth, f"if {value} is None: put(NULL_ENTITY)", "else:", "    put(AN_ENTITY)", f"    {writer}(out, {value})")
        else:
            source.add(depth, f"{writer}(out, {value})")
    elif kind == "uuid":
        source.add(depth, f"put(ZERO if {value} is None else {value}.bytes)")
    elif kind in _FIXED:
        pack = source.bind("pack", struct.Struct(f">{_FIXED[kind]}").pack)
        source.add(depth, f"put({pack}({value}))")
    else:
        null = "put(ZERO_LENGTH)" if flexible else "put(NULL16)" if kind == "string" else "put(NULL32)"
        if element or (not shape.nullable and kind != "records"):
            source.add(depth, "if True:")
        else:
            source.add(depth, f"if {value} is None: {null}", "else:")
        depth += 1
        raw = f"{value}.encode()" if kind == "string" else value
        source.add(depth, f"raw = {raw}", "n = len(raw)")
        if flexible:
            source.add(depth, "put(UVARINTS[n + 1] if n < 16000 else uvarint(n + 1))")
        else:
            source.add(depth, f"put({'INT16' if kind == 'string' else 'INT32'}(n))")
        source.add(depth, "put(raw)")


def _write_field(source: _Source, depth: int, shape: _FieldShape, value: str, *, flexible: bool) -> None:
    if not shape.is_array:
        _write_value(source, depth, shape, value, flexible=flexible)
        return
    null = "put(ZERO_LENGTH)" if flexible else "put(NULL32)"
    source.add(depth, f"if {value} is None: {null}", "else:")
    source.add(depth + 1, f"n = len({value})")
    source.add(depth + 1, "put(UVARINTS[n + 1] if n < 16000 else uvarint(n + 1))" if flexible else "put(INT32(n))")
    letter = _FIXED.get(shape.kafka_type)
    if letter is not None:
        pack = source.bind("pack", tuple(one.pack for one in _array_structs(letter)))
        source.add(depth + 1, f"put({pack}[n](*{value}) if n < {ARRAY_STRUCTS} else pack(f'>{{n}}{letter}', *{value}))")
        return
    source.add(depth + 1, f"for item in {value}:")
    _write_value(source, depth + 2, shape, "item", flexible=flexible, element=True)


def _value_of(source: _Source, shape: _FieldShape) -> str:
    default = source.bind("default", shape.default) if isinstance(shape.default, dict) else repr(shape.default)
    got = f"get({shape.name!r}, {default})"
    if shape.kafka_type == "datetime_i64" and shape.nullable:
        return f"null_time({got})"
    return got


@cache
def _compile_writer(entity: Schema) -> _Writer:
    flexible = bool(entity.__flexible__)
    shapes = _shapes(entity)
    source = _Source()
    source.names.update(
        INT16=struct.Struct(">h").pack,
        INT32=struct.Struct(">i").pack,
        pack=struct.pack,
        uvarint=uvarint,
        UVARINTS=_UVARINTS,
        ZERO=bytes(16),
        ZERO_LENGTH=b"\x00",
        NULL16=b"\xff\xff",
        NULL32=b"\xff\xff\xff\xff",
        NULL_ENTITY=b"\xff",
        AN_ENTITY=b"\x01",
        null_time=lambda value: -1 if value is None else value,
        write_tag=_write_tag,
    )
    source.add(0, "def write(out, body):", "    put = out.append", "    get = body.get")
    regular = [shape for shape in shapes if shape.tag is None]
    tagged = sorted((shape for shape in shapes if shape.tag is not None), key=lambda shape: shape.tag or 0)
    has_end = not flexible or bool(tagged)
    for letters, run in _runs(regular):
        if letters:
            if not has_end and run[-1] is regular[-1]:
                # What says that no tags follow is a zero, as padding is.
                letters += "x"
                has_end = True
            pack = source.bind("pack", struct.Struct(letters).pack)
            source.add(1, f"put({pack}({', '.join(_value_of(source, shape) for shape in run)}))")
            continue
        for shape in run:
            source.add(1, f"value = {_value_of(source, shape)}")
            _write_field(source, 1, shape, "value", flexible=flexible)
    if not has_end:
        source.add(1, "put(ZERO_LENGTH)")
    elif flexible and tagged:
        source.add(1, "tags = []")
        for shape in tagged:
            default = source.bind("default", shape.default)
            inner = _Source()
            inner.names.update(source.names)
            inner.add(0, "def write(out, value):", "    put = out.append")
            _write_field(inner, 1, shape, "value", flexible=True)
            writer = source.bind("write", inner.compile("write"))
            source.add(1, f"value = get({shape.name!r}, {default})")
            # An empty array is what is left out, but where null is.
            given = (
                ("value is not None" if shape.default is None else "value")
                if shape.is_array
                else f"value is not {default} and value != {default}"
            )
            source.add(1, f"if {given}: write_tag(tags, {shape.tag}, {writer}, value)")
        source.add(1, "if tags:", "    put(uvarint(len(tags)))", "    out.extend(tags)", "else: put(ZERO_LENGTH)")
    writer_function: _Writer = source.compile("write")
    return writer_function


def _write_tag(tags: list[bytes], tag: int, write: Callable[[list[Buffer], Any], None], value: Any) -> None:
    out: list[Buffer] = []
    write(out, value)
    raw = b"".join(out)
    tags.append(uvarint(tag) + uvarint(len(raw)) + raw)


# --- frames ------------------------------------------------------------------------------------

_REQUEST_HEADER: Final = struct.Struct(">hhih")
_CORRELATION: Final = struct.Struct(">i")


class RequestHeader:
    """What stands before every request's body."""

    __slots__ = ("api_key", "body_at", "client_id", "correlation_id", "version")

    def __init__(self, api_key: int, version: int, correlation_id: int, client_id: str, body_at: int) -> None:
        self.api_key = api_key
        self.version = version
        self.correlation_id = correlation_id
        self.client_id = client_id
        self.body_at = body_at
        """Where in the frame the body starts."""


@cache
def _request_entity(api_key: int, version: int) -> Schema:
    return load_request_schema(api_key, version)


@cache
def _response_entity(api_key: int, version: int) -> Schema:
    return load_response_schema(api_key, version)


@cache
def _request_reader(api_key: int, version: int) -> _Reader:
    newest = _request_entity(api_key, API_SPECS[ApiKey(api_key)].max_version)
    return _compile_reader(_request_entity(api_key, version), newest)


@cache
def _response_reader(api_key: int, version: int) -> _Reader:
    newest = _response_entity(api_key, API_SPECS[ApiKey(api_key)].max_version)
    return _compile_reader(_response_entity(api_key, version), newest)


@cache
def _request_writer(api_key: int, version: int) -> _Writer:
    return _compile_writer(_request_entity(api_key, version))


@cache
def _response_writer(api_key: int, version: int) -> _Writer:
    return _compile_writer(_response_entity(api_key, version))


def make_ready(api_key: int, version: int) -> None:
    """Have all that reads and writes an API's messages, which else the first of them waits for: some ten milliseconds."""
    for part in (_request_writer, _request_reader, _response_writer, _response_reader):
        part(api_key, version)


@cache
def _flexible_request(api_key: int, version: int) -> bool:
    return version >= API_SPECS[ApiKey(api_key)].flexible_from


@cache
def _flexible_response_header(api_key: int, version: int) -> bool:
    # A client must be able to read the answer to ApiVersions before it knows what the broker speaks (KIP-511).
    return api_key != ApiKey.API_VERSIONS and _flexible_request(api_key, version)


def read_request_header(frame: bytes, offset: int = 0) -> RequestHeader:
    """Read the header of a request frame (its size is not part of it). API key and version may be unknown ones.

    :raises DecodeError: when the frame ends within the header.
    """
    try:
        api_key, version, correlation_id, n = _REQUEST_HEADER.unpack_from(frame, offset)
        pos = offset + _REQUEST_HEADER.size
        if n < -1 or n > len(frame) - pos:
            raise _bad_length("client_id", n)
        client_id = ""
        if n > 0:
            client_id = frame[pos : pos + n].decode()
            pos += n
        spec = API_SPECS.get(api_key)
        # The body of an ApiVersions request in a version of the future is not read, so neither are its tags.
        if spec is not None and spec.flexible_from <= version <= spec.max_version:
            pos = pos + 1 if frame[pos] == 0 else _skip_tags(frame, pos)
        return RequestHeader(api_key, version, correlation_id, client_id, pos)
    except (struct.error, IndexError) as e:
        raise DecodeError(f"a frame of {len(frame)} bytes ends within its header") from e
    except UnicodeDecodeError as e:
        raise DecodeError("the client id is not UTF-8") from e


def _decode(reader: _Reader, data: bytes, offset: int) -> Any:
    try:
        entity, _ = reader(data, offset)
    except (struct.error, IndexError) as e:
        raise DecodeError("the message ends before its last field") from e
    except UnicodeDecodeError as e:
        raise DecodeError("a string is not UTF-8") from e
    return entity


def decode_request(api_key: int, version: int, data: bytes, offset: int = 0) -> Any:
    """Read a request's body. Bytes that follow it are ignored, as Kafka ignores them.

    :raises DecodeError: when the bytes are not such a body.
    """
    return _decode(_request_reader(api_key, version), data, offset)


def decode_response(api_key: int, version: int, data: bytes, offset: int = 0) -> Any:
    """Read a response's body; see :func:`decode_request`."""
    return _decode(_response_reader(api_key, version), data, offset)


def read_response_header(api_key: int, version: int, frame: bytes) -> tuple[int, int]:
    """The correlation id, and where the body starts.

    :raises DecodeError: when the frame ends within the header.
    """
    try:
        (correlation_id,) = _CORRELATION.unpack_from(frame, 0)
        pos = 4
        if _flexible_response_header(api_key, version):
            pos = 5 if frame[4] == 0 else _skip_tags(frame, 4)
    except (struct.error, IndexError) as e:
        raise DecodeError("a response ends within its header") from e
    return correlation_id, pos


def _frame(out: list[Any]) -> list[Any]:
    """Put the size in front, and copy small chunks together."""
    size = sum(map(len, out))
    out[0] = _CORRELATION.pack(size)
    if size < JOIN_BELOW_BYTES or not any(len(chunk) >= JOIN_BELOW_BYTES for chunk in out):
        return [b"".join(out)]
    joined: list[Any] = []
    small: list[Any] = []
    for chunk in out:
        if len(chunk) >= JOIN_BELOW_BYTES:
            joined.append(b"".join(small))
            joined.append(chunk)
            small = []
        else:
            small.append(chunk)
    if small:
        joined.append(b"".join(small))
    return joined


def encode_response(api_key: int, version: int, correlation_id: int, body: Body) -> list[Any]:
    """A whole response frame, its size included, as chunks (:data:`Chunk`) to be sent in order."""
    header = _CORRELATION.pack(correlation_id)
    out: list[Any] = [b"", header + b"\x00" if _flexible_response_header(api_key, version) else header]
    _response_writer(api_key, version)(out, body)
    return _frame(out)


def encode_request(api_key: int, version: int, correlation_id: int, client_id: str, body: Body) -> list[Buffer]:
    """A whole request frame, its size included, as chunks to be sent in order."""
    name = client_id.encode()
    header = _REQUEST_HEADER.pack(api_key, version, correlation_id, len(name)) + name
    out: list[Any] = [b"", header + b"\x00" if _flexible_request(api_key, version) else header]
    _request_writer(api_key, version)(out, body)
    return _frame(out)


def encode_request_body(api_key: int, version: int, body: Body) -> bytes:
    """A request's body alone."""
    out: list[Buffer] = []
    _request_writer(api_key, version)(out, body)
    return b"".join(out)


def encode_response_body(api_key: int, version: int, body: Body) -> bytes:
    """A response's body alone."""
    out: list[Buffer] = []
    _response_writer(api_key, version)(out, body)
    return b"".join(out)


def frame_size(chunks: Sequence[Chunk]) -> int:
    """Bytes of a frame given as chunks."""
    return sum(map(len, chunks))
