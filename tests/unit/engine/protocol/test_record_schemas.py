"""Records of Kafka's own topics as JSON: against our own encoders, Kafka's bytes, and bytes that are none of it."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkalab.engine.protocol import coordinator_records as cr
from kafkalab.engine.protocol import metadata_records as mr
from kafkalab.engine.protocol.codec import DecodeError
from kafkalab.engine.protocol.record_schemas import (
    KRAFT_VOTERS,
    LEADER_CHANGE,
    OFFSETS_TOPIC_SCHEMAS,
    SHARE_GROUP_STATE_SCHEMAS,
    TRANSACTIONS_TOPIC_SCHEMAS,
    UnknownRecordType,
    decode_coordinator_record,
    decode_message,
    decode_metadata_record,
)
from kafkalab.engine.record.control import LeaderChange, encode_leader_change

TOPIC_ID = uuid.UUID("b5599a5c-aee2-4e65-aa2c-93fc44850396")


def test_an_offset_commit_as_kafka_prints_it() -> None:
    key = cr.encode_key(cr.OffsetCommitKey("group-classic", "rolled", 0))
    value = cr.encode_value(cr.OffsetCommitValue(offset=50, leader_epoch=0, commit_timestamp=7, topic_id=TOPIC_ID))
    assert decode_coordinator_record(OFFSETS_TOPIC_SCHEMAS, key, value) == (
        {"type": "1", "data": {"group": "group-classic", "topic": "rolled", "partition": 0}},
        {
            "version": "4",
            "data": {"offset": 50, "leaderEpoch": 0, "metadata": "", "commitTimestamp": 7, "topicId": "tVmaXK7iTmWqLJP8RIUDlg"},
        },
    )
    assert decode_coordinator_record(OFFSETS_TOPIC_SCHEMAS, key, None)[1] is None


def test_members_of_a_consumer_group_are_opened_and_others_left_as_bytes() -> None:
    subscription = bytes.fromhex("0001000000010006") + b"rolled" + bytes.fromhex("ffffffff00000000")
    assignment = bytes.fromhex("0000000000010006") + b"rolled" + bytes.fromhex("0000000100000000ffffffff")
    member = cr.MemberMetadata(
        member_id="m", client_id="c", client_host="/127.0.0.1", session_timeout=5, subscription=subscription, assignment=assignment
    )
    key = cr.encode_key(cr.GroupMetadataKey("g"))
    for protocol_type, opened in (("consumer", True), ("connect", False)):
        content = cr.GroupMetadataValue(protocol_type=protocol_type, generation=1, protocol="range", leader="m", members=(member,))
        _, value = decode_coordinator_record(OFFSETS_TOPIC_SCHEMAS, key, cr.encode_value(content))
        (shown,) = value["data"]["members"]
        if opened:
            assert shown["subscription"] == {"topics": ["rolled"], "userData": None, "ownedPartitions": []}
            assert shown["assignment"] == {"assignedPartitions": [{"topic": "rolled", "partitions": [0]}], "userData": None}
        else:
            assert isinstance(shown["subscription"], str)


def test_tagged_and_nullable_structs() -> None:
    key = bytes.fromhex("00050001") + b"g" + bytes.fromhex("0001") + b"m"
    head = bytes.fromhex("0000000002") + b"c" + bytes.fromhex("02") + b"h" + bytes.fromhex("0100000493e000")
    _, absent = decode_coordinator_record(OFFSETS_TOPIC_SCHEMAS, key, head + b"\x00")
    assert "classicMemberMetadata" not in absent["data"]
    _, null = decode_coordinator_record(OFFSETS_TOPIC_SCHEMAS, key, head + bytes.fromhex("01000100"))
    assert null["data"]["classicMemberMetadata"] is None
    _, there = decode_coordinator_record(OFFSETS_TOPIC_SCHEMAS, key, head + bytes.fromhex("020007010000000a01000901ff"))
    assert there["data"]["classicMemberMetadata"] == {"sessionTimeoutMs": 10, "supportedProtocols": []}
    with pytest.raises(DecodeError, match="announced"):
        decode_coordinator_record(OFFSETS_TOPIC_SCHEMAS, key, head + bytes.fromhex("010009010000000a01000000"))


def test_metadata_records_show_what_their_version_has() -> None:
    record = mr.PartitionChangeRecord(
        partition_id=1, topic_id=TOPIC_ID, isr=(), leader=-1, eligible_leader_replicas=(1,), directories=(TOPIC_ID,)
    )
    assert decode_metadata_record(mr.encode_record(record)) == {
        "type": "PARTITION_CHANGE_RECORD",
        "version": 2,
        "data": {
            "partitionId": 1,
            "topicId": "tVmaXK7iTmWqLJP8RIUDlg",
            "isr": [],
            "leader": -1,
            "directories": ["tVmaXK7iTmWqLJP8RIUDlg"],
            "eligibleLeaderReplicas": [1],
        },
    }
    shown = decode_metadata_record(mr.encode_record(mr.BrokerRegistrationChangeRecord(broker_id=1, broker_epoch=2, fenced=-1), 0))
    assert shown == {"type": "BROKER_REGISTRATION_CHANGE_RECORD", "version": 0, "data": {"brokerId": 1, "brokerEpoch": 2, "fenced": -1}}


def test_control_records() -> None:
    value = encode_leader_change(LeaderChange(3, (1, 2, 3), (2, 3)))
    assert decode_message(LEADER_CHANGE, value, 0) == {
        "version": 0,
        "leaderId": 3,
        "voters": [{"voterId": 1}, {"voterId": 2}, {"voterId": 3}],
        "grantingVoters": [{"voterId": 2}, {"voterId": 3}],
    }
    with pytest.raises(DecodeError, match="version 2 is none of 0 to 1"):
        decode_message(LEADER_CHANGE, value, 2)


@pytest.mark.parametrize("schemas", [OFFSETS_TOPIC_SCHEMAS, TRANSACTIONS_TOPIC_SCHEMAS, SHARE_GROUP_STATE_SCHEMAS])
@given(record_type=st.integers(0, 30), key=st.binary(max_size=60), version=st.integers(0, 5), value=st.binary(max_size=200))
def test_any_bytes_are_a_record_or_refused(schemas: object, record_type: int, key: bytes, version: int, value: bytes) -> None:
    framed = record_type.to_bytes(2, "big") + key, version.to_bytes(2, "big") + value
    try:
        decode_coordinator_record(schemas, *framed)  # type: ignore[arg-type]
    except UnknownRecordType as error:
        assert error.record_type == record_type
    except DecodeError:
        pass


@given(st.binary(max_size=200))
def test_any_bytes_are_a_metadata_record_or_refused(data: bytes) -> None:
    try:
        decode_metadata_record(data)
    except (mr.RecordDecodeError, DecodeError):
        pass
    try:
        decode_message(KRAFT_VOTERS, data, 0)
    except DecodeError:
        pass
