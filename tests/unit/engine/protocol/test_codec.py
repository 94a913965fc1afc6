"""Messages to bytes and back, against kio's own serialisation and against bytes that lie."""

from __future__ import annotations

import io
import struct
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kio.index import load_request_schema, load_response_schema
from kio.serial import entity_writer

from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import API_SPECS, ApiKey

EVERY_VERSION = [(spec.key, version) for spec in API_SPECS.values() for version in range(spec.min_version, spec.max_version + 1)]


def filled(entity: type[Any], depth: int = 0) -> dict[str, Any]:
    """A value other than the default for every field of a schema."""
    out: dict[str, Any] = {}
    for shape in codec._shapes(entity):
        value: Any
        if shape.entity is not None:
            value = filled(shape.entity, depth + 1)
        else:
            value = {
                "string": "naïve",
                "bytes": b"\x00\x01",
                "records": b"r" * 300,
                "bool": True,
                "float64": 1.5,
                "uuid": uuid.UUID(int=77),
                "error_code": 3,
            }.get(shape.kafka_type, 5)
        out[shape.name] = (value, value) if shape.is_array else value
    return out


def as_dict(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(as_dict(item) for item in value)
    if hasattr(value, "__slots__") and not isinstance(value, (bytes, str, int, uuid.UUID)):
        return {name: as_dict(getattr(value, name)) for name in value.__slots__}
    return value


@pytest.mark.parametrize(("key", "version"), EVERY_VERSION, ids=lambda v: str(v))
def test_every_message_survives_the_way_there_and_back(key: ApiKey, version: int) -> None:
    request = filled(load_request_schema(key, version))
    assert as_dict(codec.decode_request(key, version, codec.encode_request_body(key, version, request))) == request
    response = filled(load_response_schema(key, version))
    assert as_dict(codec.decode_response(key, version, codec.encode_response_body(key, version, response))) == response


@pytest.mark.parametrize(("key", "version"), EVERY_VERSION, ids=lambda v: str(v))
def test_defaults_are_written_as_kafka_writes_them(key: ApiKey, version: int) -> None:
    """An empty body is every field's default, and what is read back from it is written the same."""
    for encode, decode in (
        (codec.encode_request_body, codec.decode_request),
        (codec.encode_response_body, codec.decode_response),
    ):
        raw = encode(key, version, {})
        assert encode(key, version, as_dict(decode(key, version, raw))) == raw


def test_bytes_are_those_of_an_independent_writer() -> None:
    from kio.schema.metadata.v12.request import MetadataRequest, MetadataRequestTopic

    entity = MetadataRequest(
        topics=(MetadataRequestTopic(topic_id=None, name="orders"),),  # type: ignore[arg-type]
        allow_auto_topic_creation=True,
        include_topic_authorized_operations=False,
    )
    buffer = io.BytesIO()
    entity_writer(MetadataRequest)(buffer, entity)
    body = {"topics": [{"name": "orders"}], "allow_auto_topic_creation": True}
    assert codec.encode_request_body(ApiKey.METADATA, 12, body) == buffer.getvalue()


def test_a_field_of_a_later_version_reads_as_its_default() -> None:
    raw = codec.encode_request_body(ApiKey.FETCH, 4, {"replica_id": -1, "max_wait": 500, "min_bytes": 1})
    request = codec.decode_request(ApiKey.FETCH, 4, raw)
    assert (request.replica_id, request.session_epoch, request.rack_id) == (-1, -1, "")


def test_unknown_tags_are_skipped_and_repeated_ones_refused() -> None:
    raw = codec.encode_request_body(ApiKey.HEARTBEAT, 4, {"group_id": "g", "member_id": "m", "generation_id": 1})
    assert raw[-1] == 0
    request = codec.decode_request(ApiKey.HEARTBEAT, 4, raw[:-1] + b"\x01\x63\x02ab")
    assert request.group_id == "g"
    with pytest.raises(codec.DecodeError, match="tag"):
        codec.decode_request(ApiKey.HEARTBEAT, 4, raw[:-1] + b"\x02\x63\x00\x63\x00")
    with pytest.raises(codec.DecodeError, match="tag"):
        codec.decode_request(ApiKey.HEARTBEAT, 4, raw[:-1] + b"\x01\x63\x7f")


@pytest.mark.parametrize("declared", [-2, 2, 1_000_000, 0x7FFFFFFF])
def test_an_array_length_that_lies_is_refused_before_anything_is_made(declared: int) -> None:
    raw = struct.pack(">i", declared) + b"\x00"
    with pytest.raises(codec.DecodeError):
        codec.decode_request(ApiKey.METADATA, 1, raw)


@pytest.mark.parametrize("count", [0, 1, codec.ARRAY_STRUCTS - 1, codec.ARRAY_STRUCTS, 1_000])
@pytest.mark.parametrize("version", [8, 12])
def test_arrays_of_numbers_have_any_length_and_their_bytes_must_be_there(version: int, count: int) -> None:
    numbers = tuple(range(-3, count - 3))
    partition = {"partition_index": 1, "leader_id": 2, "replica_nodes": numbers, "isr_nodes": numbers, "offline_replicas": ()}
    raw = codec.encode_response_body(ApiKey.METADATA, version, {"topics": [{"name": "t", "partitions": [partition]}]})
    told = codec.decode_response(ApiKey.METADATA, version, raw).topics[0].partitions[0]
    assert (told.replica_nodes, told.isr_nodes, told.offline_replicas) == (numbers, numbers, ())
    with pytest.raises(codec.DecodeError):
        codec.decode_response(ApiKey.METADATA, version, raw[: raw.rindex(struct.pack(f">{count}i", *numbers)) + 4 * count - 1])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(EVERY_VERSION), st.binary(max_size=200), st.data())
def test_rubbish_is_a_decode_error_and_nothing_else(which: tuple[ApiKey, int], noise: bytes, data: st.DataObject) -> None:
    key, version = which
    good = codec.encode_request_body(key, version, filled(load_request_schema(key, version)))
    at = data.draw(st.integers(0, len(good)))
    for raw in (noise, good[:at], good[:at] + noise, good[:at] + noise + good[at + len(noise) :]):
        try:
            codec.decode_request(key, version, raw)
        except codec.DecodeError:
            pass


def test_of_what_is_ready_nothing_is_generated_later(monkeypatch: pytest.MonkeyPatch) -> None:
    key, version = ApiKey.DELETE_TOPICS, 6
    for part in (codec._request_writer, codec._request_reader, codec._response_writer, codec._response_reader):
        part.cache_clear()
    codec.make_ready(key, version)
    monkeypatch.setattr(codec, "_compile_writer", None)
    monkeypatch.setattr(codec, "_compile_reader", None)
    request = codec.encode_request_body(key, version, {"topics": [{"name": "orders", "topic_id": None}], "timeout": 5})
    assert codec.decode_request(key, version, request).topics[0].name == "orders"
    response = codec.encode_response_body(key, version, {"throttle_time": 5, "responses": []})
    assert codec.decode_response(key, version, response).throttle_time == 5


def test_frames_carry_size_header_and_large_chunks_uncopied() -> None:
    records = b"x" * 100_000
    body = {"responses": [{"topic": "t", "partitions": [{"partition_index": 0, "records": records}]}]}
    chunks = codec.encode_response(ApiKey.FETCH, 12, 7, body)
    assert any(chunk is records for chunk in chunks)
    frame = b"".join(chunks)
    assert struct.unpack_from(">i", frame)[0] == len(frame) - 4 == codec.frame_size(chunks) - 4
    correlation_id, at = codec.read_response_header(ApiKey.FETCH, 12, frame[4:])
    assert correlation_id == 7
    assert codec.decode_response(ApiKey.FETCH, 12, frame[4:], at).responses[0].partitions[0].records == records


def test_a_request_header_comes_back() -> None:
    frame = b"".join(codec.encode_request(ApiKey.METADATA, 13, 42, "me", {"topics": None}))[4:]
    header = codec.read_request_header(frame)
    assert (header.api_key, header.version, header.correlation_id, header.client_id) == (ApiKey.METADATA, 13, 42, "me")
    assert codec.decode_request(header.api_key, header.version, frame, header.body_at).topics is None


def test_the_answer_to_api_versions_never_has_a_flexible_header() -> None:
    frame = b"".join(codec.encode_response(ApiKey.API_VERSIONS, 4, 1, {"error_code": 0, "api_keys": []}))[4:]
    assert codec.read_response_header(ApiKey.API_VERSIONS, 4, frame) == (1, 4)


@pytest.mark.parametrize(
    "frame", [b"", b"\x00\x03\x00\x01", b"\x00\x03\x00\x01\x00\x00\x00\x01\x00\x05ab", b"\x00\x03\x00\x01\x00\x00\x00\x01\xff\xf0"]
)
def test_a_header_cut_short_is_refused(frame: bytes) -> None:
    with pytest.raises(codec.DecodeError):
        codec.read_request_header(frame)


def test_produce_is_advertised_from_zero_and_served_from_three() -> None:
    spec = API_SPECS[ApiKey.PRODUCE]
    assert (spec.advertised_min_version, spec.min_version, spec.name) == (0, 3, "Produce")


@pytest.mark.parametrize("directories", [None, (), (uuid.UUID(int=4),)])
def test_nothing_and_an_empty_array_are_two_things_where_both_may_be_said(directories: tuple[uuid.UUID, ...] | None) -> None:
    """A broker that has not caught up says nothing of its cordoned directories; later it says that there are none (KIP-1066)."""
    body = {"broker_id": 1, "broker_epoch": 2, "current_metadata_offset": 3, "want_fence": False, "want_shut_down": False}
    raw = codec.encode_request_body(ApiKey.BROKER_HEARTBEAT, 2, body | {"cordoned_log_dirs": directories})
    assert codec.decode_request(ApiKey.BROKER_HEARTBEAT, 2, raw, 0).cordoned_log_dirs == directories
