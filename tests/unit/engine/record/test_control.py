"""Control records, against vectors derived from Kafka's schemas."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.record.batch import iter_records, read_header
from kafkalab.engine.record.control import (
    ControlType,
    LeaderChange,
    decode_end_transaction_marker,
    decode_key,
    encode_end_transaction_marker,
    encode_key,
    encode_leader_change,
)
from kafkalab.engine.record.quorum_records import control_batch


def test_leader_change_has_kafkas_bytes() -> None:
    assert encode_leader_change(LeaderChange(1, (1,), (1,))).hex() == "00000000000102000000010002000000010000"


def test_end_transaction_markers() -> None:
    assert encode_end_transaction_marker(5).hex() == "000000000005"
    assert decode_end_transaction_marker(b"\0\0\0\0\0\x05") == 5


def test_keys() -> None:
    assert encode_key(ControlType.COMMIT).hex() == "00000001"
    for control_type in ControlType:
        assert decode_key(encode_key(control_type)) == control_type
    assert decode_key(b"\0\0\0\x63") is None


def test_a_leader_change_batch_is_a_control_batch() -> None:
    value = encode_leader_change(LeaderChange(3, (1, 2, 3), (1, 3)))
    data = control_batch([(ControlType.LEADER_CHANGE, value)], base_offset=40, epoch=7, timestamp_ms=1_700_000_000_000)
    header = read_header(data)
    assert header.is_control and not header.is_transactional
    assert (header.base_offset, header.partition_leader_epoch, header.record_count) == (40, 7, 1)
    (record,) = iter_records(data)
    assert decode_key(record.key) == ControlType.LEADER_CHANGE
    assert record.value == value


@pytest.mark.parametrize("decode", [decode_key, decode_end_transaction_marker])
@given(value=st.none() | st.binary(max_size=60))
def test_any_bytes_decode_or_are_refused(decode: object, value: bytes | None) -> None:
    try:
        decode(value)  # type: ignore[operator]
    except ApiError as error:
        assert error.error == Errors.INVALID_RECORD
