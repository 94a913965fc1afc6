"""Bytes of the metadata records: known vectors, round trips, and bytes that lie."""

from __future__ import annotations

import uuid
from dataclasses import MISSING, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkalab.engine.protocol.metadata_records import (
    RECORDS_BY_KEY,
    BeginTransactionRecord,
    BrokerRegistrationChangeRecord,
    FeatureLevelRecord,
    MetadataRecord,
    NoOpRecord,
    PartitionChangeRecord,
    RecordDecodeError,
    RegisterBrokerRecord,
    decode_record,
    encode_record,
)

_INT_BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}


def _values(metadata: Any) -> st.SearchStrategy[Any]:
    kafka_type: str = metadata["kafka_type"].removeprefix("[]")
    value: st.SearchStrategy[Any]
    if bits := _INT_BITS.get(kafka_type):
        value = st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    elif kafka_type == "uint16":
        value = st.integers(0, 65535)
    elif kafka_type == "bool":
        value = st.booleans()
    elif kafka_type == "float64":
        value = st.floats(allow_nan=False)
    elif kafka_type == "uuid":
        value = st.uuids()
    elif kafka_type == "string":
        value = st.text(max_size=20)
    elif kafka_type == "bytes":
        value = st.binary(max_size=20)
    else:
        value = _entities(metadata["of"])
    if metadata["kafka_type"].startswith("[]"):
        value = st.lists(value, max_size=4).map(tuple)
    return st.none() | value if metadata["nullable"] else value


def _entities(entity: type[Any]) -> st.SearchStrategy[Any]:
    return st.builds(entity, **{declared.name: _values(declared.metadata) for declared in fields(entity)})


def test_known_vectors() -> None:
    assert encode_record(FeatureLevelRecord(name="metadata.version", feature_level=29)) == bytes.fromhex(
        "010c00116d657461646174612e76657273696f6e001d00"
    )
    assert encode_record(NoOpRecord()) == bytes.fromhex("01140000")
    assert encode_record(BeginTransactionRecord(name="Bootstrap records")) == b"\x01\x17\x00\x01\x00\x12\x12Bootstrap records"
    assert encode_record(BrokerRegistrationChangeRecord(broker_id=1, broker_epoch=2, fenced=-1)) == bytes.fromhex(
        "011103" + "00000001" + "0000000000000002" + "01" + "0001ff"
    )


@given(st.sampled_from(list(RECORDS_BY_KEY.values())).flatmap(_entities))
def test_what_is_written_is_read(record: MetadataRecord) -> None:
    assert decode_record(encode_record(record)) == record


@given(st.binary(max_size=64), st.sampled_from(sorted(RECORDS_BY_KEY)))
def test_arbitrary_bytes_are_a_record_or_refused(data: bytes, key: int) -> None:
    try:
        decode_record(b"\x01" + bytes([key, 0]) + data)
    except RecordDecodeError:
        pass


def test_a_length_that_lies_is_refused_before_anything_is_allocated() -> None:
    huge = bytes.fromhex("010200") + b"\xff\xff\xff\xff\x0f"
    with pytest.raises(RecordDecodeError, match="length"):
        decode_record(huge)


def test_cut_and_trailing_bytes_are_refused() -> None:
    whole = encode_record(PartitionChangeRecord(partition_id=0, topic_id=uuid.UUID(int=9), isr=(1, 2), leader=1))
    for cut in range(len(whole)):
        with pytest.raises(RecordDecodeError):
            decode_record(whole[:cut])
    with pytest.raises(RecordDecodeError, match="unread"):
        decode_record(whole + b"\x00")


def test_unknown_tags_are_stepped_over_and_unknown_records_refused() -> None:
    plain = bytes.fromhex("010c00" + "0261" + "0001")
    assert decode_record(plain + bytes.fromhex("01" + "6303" + "aabbcc")) == FeatureLevelRecord(name="a", feature_level=1)
    for unknown in ("017f00", "010c09", "020c00"):
        with pytest.raises(RecordDecodeError):
            decode_record(bytes.fromhex(unknown))


def test_older_versions_lack_newer_fields() -> None:
    record = RegisterBrokerRecord(broker_id=1, incarnation_id=uuid.UUID(int=5), broker_epoch=9, log_dirs=(uuid.UUID(int=6),))
    old = decode_record(encode_record(record, 2))
    assert isinstance(old, RegisterBrokerRecord)
    assert old.log_dirs == () and old.broker_epoch == 9


def test_every_tagged_field_has_a_default() -> None:
    for kind in RECORDS_BY_KEY.values():
        for declared in fields(kind):  # type: ignore[arg-type]
            if declared.metadata["tag"] is not None:
                assert declared.default is not MISSING
