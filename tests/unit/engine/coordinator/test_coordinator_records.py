"""The records of ``__consumer_offsets`` as bytes."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkalab.engine.protocol.codec import DecodeError
from kafkalab.engine.protocol.coordinator_records import (
    GroupMetadataKey,
    GroupMetadataValue,
    MemberMetadata,
    OffsetCommitKey,
    OffsetCommitValue,
    decode_group_metadata,
    decode_key,
    decode_offset_commit,
    encode_key,
    encode_value,
)

TOPIC_ID = uuid.UUID(int=77)
TEXT = st.text(max_size=20).filter(lambda text: text.isprintable())


def test_keys_are_bit_for_bit_what_kafka_writes() -> None:
    key = OffsetCommitKey("g", "t", 5)
    assert encode_key(key) == b"\0\1\0\1g\0\1t\0\0\0\5"
    assert decode_key(encode_key(key)) == key
    assert decode_key(b"\0\0" + encode_key(key)[2:]) == key, "type 0 is the same key in old logs"
    assert encode_key(GroupMetadataKey("g")) == b"\0\2\0\1g"
    assert decode_key(b"\0\3\0\1g") is None


def test_an_offset_is_written_as_version_4_with_the_topic_id_as_tag() -> None:
    value = OffsetCommitValue(offset=7, leader_epoch=2, metadata="m", commit_timestamp=9, topic_id=TOPIC_ID)
    encoded = encode_value(value)
    assert encoded == b"\0\4" + b"\0" * 7 + b"\7" + b"\0\0\0\2" + b"\2m" + b"\0" * 7 + b"\x09" + b"\1\0\x10" + TOPIC_ID.bytes
    assert decode_offset_commit(encoded) == value


def test_an_offset_with_its_own_expiry_is_written_as_version_1() -> None:
    value = OffsetCommitValue(offset=7, metadata="m", commit_timestamp=9, expire_timestamp=10)
    assert encode_value(value)[:2] == b"\0\1"
    assert decode_offset_commit(encode_value(value)) == value


@pytest.mark.parametrize(
    ("data", "leader_epoch", "expire"),
    [
        (b"\0\0" + b"\0" * 7 + b"\7" + b"\0\1m" + b"\0" * 7 + b"\x09", -1, -1),
        (b"\0\2" + b"\0" * 7 + b"\7" + b"\0\1m" + b"\0" * 7 + b"\x09", -1, -1),
        (b"\0\3" + b"\0" * 7 + b"\7" + b"\0\0\0\2" + b"\0\1m" + b"\0" * 7 + b"\x09", 2, -1),
    ],
)
def test_offsets_of_older_brokers_are_read(data: bytes, leader_epoch: int, expire: int) -> None:
    expected = OffsetCommitValue(offset=7, leader_epoch=leader_epoch, metadata="m", commit_timestamp=9, expire_timestamp=expire)
    assert decode_offset_commit(data) == expected


@given(
    st.builds(
        GroupMetadataValue,
        protocol_type=TEXT,
        generation=st.integers(0, 2**31 - 1),
        protocol=st.none() | TEXT,
        leader=st.none() | TEXT,
        current_state_timestamp=st.integers(-1, 2**62),
        members=st.lists(
            st.builds(
                MemberMetadata,
                member_id=TEXT,
                group_instance_id=st.none() | TEXT,
                client_id=TEXT,
                client_host=TEXT,
                rebalance_timeout=st.integers(-1, 2**31 - 1),
                session_timeout=st.integers(0, 2**31 - 1),
                subscription=st.binary(max_size=20),
                assignment=st.binary(max_size=20),
            ),
            max_size=3,
        ).map(tuple),
    )
)
def test_a_group_comes_back_as_it_was_written(value: GroupMetadataValue) -> None:
    assert decode_group_metadata(encode_value(value)) == value


@given(st.binary(max_size=80), st.integers(-1, 5))
def test_any_bytes_are_refused_or_read(data: bytes, version: int) -> None:
    head = version.to_bytes(2, "big", signed=True)
    for decode in (decode_key, decode_offset_commit, decode_group_metadata):
        try:
            decode(head + data)
        except DecodeError:
            continue


def test_lying_lengths_are_refused() -> None:
    good = encode_value(GroupMetadataValue(protocol_type="consumer", generation=1, protocol=None, leader=None))
    with pytest.raises(DecodeError, match="elements"):
        decode_group_metadata(good[:-4] + b"\x7f\xff\xff\xff")
    with pytest.raises(DecodeError):
        decode_key(b"\0\2\x7f\xffg")


def test_names_too_long_for_the_format_are_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        encode_key(GroupMetadataKey("g" * 40_000))
