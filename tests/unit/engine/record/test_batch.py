"""Record batches: bytes as Kafka writes them, and refusals of what nobody should write."""

from __future__ import annotations

import struct

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.record.batch import (
    HEADER_BYTES,
    Record,
    build_batch,
    check_record_bounds,
    check_records,
    iter_headers,
    iter_records,
    read_header,
    rebuild,
    records_payload,
    stamp,
    stamped_head,
    validate,
    validate_client_batch,
    values_of,
)
from kafkalab.engine.record.compression import Codec

TIMESTAMP = 1_700_000_000_000

# As Apache Kafka 4.3.1 wrote them: a NoOpRecord of the metadata log, and the ABORT marker of a transaction.
KAFKA_BATCH = bytes.fromhex(
    "000000000000000d0000003c0000000102f953b417000000000000000001a1fc1a55f9000001a1fc1a55f9"
    "ffffffffffffffffffffffffffff000000011400000001080114000000"
)
KAFKA_MARKER = bytes.fromhex(
    "000000000000000500000042000000000265544b9c003000000000000001a1fc1a780a000001a1fc1a780a"
    "00000000000000050000ffffffff000000012000000008000000000c00000000000000"
)


def _sealed(data: bytes) -> bytes:
    """The batch with its length and checksum made right."""
    length = struct.pack(">i", len(data) - 12)
    return data[:8] + length + data[12:17] + struct.pack(">I", crc32c(data[21:])) + data[21:]


def _code(error: pytest.ExceptionInfo[ApiError]) -> Errors:
    return error.value.error


def _batch(count: int = 3, **options: object) -> bytes:
    records = [Record(0, TIMESTAMP + index, b"k%d" % index, b"v" * index, (("h", None),)) for index in range(count)]
    return build_batch(records, **options)  # type: ignore[arg-type]


def test_fields_are_where_kafka_has_them() -> None:
    header = read_header(KAFKA_BATCH)
    validate(KAFKA_BATCH, 0, header)
    assert (header.base_offset, header.partition_leader_epoch, header.magic) == (13, 1, 2)
    assert header.base_timestamp == header.max_timestamp == 1795230946809
    assert (header.producer_id, header.producer_epoch, header.base_sequence, header.record_count) == (-1, -1, -1, 1)
    assert header.size_bytes == len(KAFKA_BATCH)
    assert (header.last_offset, header.next_offset, header.last_sequence) == (13, 14, -1)
    assert list(iter_records(KAFKA_BATCH)) == [Record(13, 1795230946809, None, b"\x01\x14\0\0")]


def test_kafkas_transaction_marker() -> None:
    header = read_header(KAFKA_MARKER)
    validate(KAFKA_MARKER, 0, header)
    assert header.is_control and header.is_transactional and not header.is_log_append_time
    assert (header.producer_id, header.producer_epoch, header.base_sequence, header.last_sequence) == (5, 0, -1, -1)


def test_a_built_batch_has_the_bytes_that_kafka_writes() -> None:
    built = build_batch([Record(0, 1795230946809, None, b"\x01\x14\0\0")], base_offset=13, leader_epoch=1)
    assert built == KAFKA_BATCH
    marker = build_batch(
        [Record(0, 1795230955530, bytes(4), bytes(6))],
        base_offset=5,
        leader_epoch=0,
        producer_id=5,
        producer_epoch=0,
        control=True,
        transactional=True,
    )
    assert marker == KAFKA_MARKER


def test_flags_and_sequences() -> None:
    data = _batch(3, producer_id=5, producer_epoch=2, base_sequence=2**31 - 2, transactional=True, control=True, timestamp_type=1, codec=4)
    header = read_header(data)
    assert header.is_transactional and header.is_control and header.is_log_append_time
    assert header.codec == Codec.ZSTD
    # The third number after 2**31-2: it wraps to 0.
    assert header.last_sequence == 0
    assert {record.timestamp for record in iter_records(data)} == {header.max_timestamp}


def test_headers_stop_before_an_incomplete_tail() -> None:
    one, two = _batch(1), _batch(2)
    data = one + two + _batch(3)[:-1]
    assert [(pos, header.record_count) for pos, header in iter_headers(data)] == [(0, 1), (len(one), 2)]
    assert list(iter_headers(data[: HEADER_BYTES - 1])) == []


def test_a_batch_shorter_than_its_header_is_corrupt() -> None:
    data = bytearray(_batch())
    struct.pack_into(">i", data, 8, 48)
    with pytest.raises(ApiError) as error:
        list(iter_headers(data))
    assert _code(error) == Errors.CORRUPT_MESSAGE


def test_stamping_leaves_the_checksum_right() -> None:
    data = bytearray(b"before" + _batch())
    stamp(data, 6, 1234, 9)
    header = read_header(data, 6)
    assert (header.base_offset, header.partition_leader_epoch) == (1234, 9)
    validate(data, 6, header)
    original = _batch()
    assert stamped_head(read_header(original), 1234, 9) + original[16:] == bytes(data[6:])


def test_rebuilding_changes_what_is_asked_and_seals_it() -> None:
    data = _batch(codec=Codec.NONE)
    header = read_header(data)
    again = rebuild(header, data[HEADER_BYTES:], attributes=header.attributes | 8, max_timestamp=TIMESTAMP + 99)
    changed = read_header(again)
    validate(again, 0, changed)
    assert changed.is_log_append_time
    assert [record.timestamp for record in iter_records(again)] == [TIMESTAMP + 99] * 3


def test_a_flipped_bit_is_a_corrupt_message() -> None:
    data = bytearray(_batch())
    data[-1] ^= 1
    with pytest.raises(ApiError) as error:
        validate(data, 0, read_header(data))
    assert _code(error) == Errors.CORRUPT_MESSAGE


def test_bounds_magic_and_counts() -> None:
    data = _batch()
    with pytest.raises(ApiError) as error:
        validate(data[:-1], 0, read_header(data))
    assert _code(error) == Errors.CORRUPT_MESSAGE
    old = bytearray(data)
    old[16] = 1
    with pytest.raises(ApiError) as error:
        validate(old, 0, read_header(old))
    assert _code(error) == Errors.INVALID_RECORD
    negative = bytearray(data)
    struct.pack_into(">i", negative, 57, -1)
    sealed = _sealed(bytes(negative))
    with pytest.raises(ApiError) as error:
        validate(sealed, 0, read_header(sealed))
    assert _code(error) == Errors.INVALID_RECORD


@pytest.mark.parametrize(
    "changes",
    [
        {"base_offset": 1},
        {"record_count": 0},
        {"record_count": 2},
        {"last_offset_delta": 5},
        {"attributes": 0x20},
        {"producer_id": 4, "base_sequence": -1},
    ],
    ids=str,
)
def test_what_a_client_may_not_say(changes: dict[str, int]) -> None:
    header = read_header(_batch())
    validate_client_batch(header)
    with pytest.raises(ApiError) as error:
        validate_client_batch(header._replace(**changes))
    assert _code(error) == Errors.INVALID_RECORD


RECORDS = st.lists(
    st.builds(
        Record,
        st.just(0),
        st.integers(0, 2**41),
        st.none() | st.binary(max_size=200),
        st.none() | st.binary(max_size=200),
        st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=40,
)


@given(records=RECORDS, codec=st.sampled_from(list(Codec)), base_offset=st.integers(0, 2**60))
def test_what_is_built_is_read_again(records: list[Record], codec: Codec, base_offset: int) -> None:
    data = build_batch(records, base_offset=base_offset, codec=codec)
    header = read_header(data)
    validate(data, 0, header)
    assert list(iter_records(data)) == [record._replace(offset=base_offset + index) for index, record in enumerate(records)]
    assert values_of(data, 0, header) == [record.value or b"" for record in records]
    payload = records_payload(data, 0, header)
    largest = max(record.timestamp for record in records)
    assert header.max_timestamp == largest
    assert check_records(payload, header) == (max(-1, largest), False)
    assert check_record_bounds(payload, header) == max(-1, largest)


@given(records=RECORDS, data=st.data())
def test_broken_records_are_refused_and_nothing_else_happens(records: list[Record], data: st.DataObject) -> None:
    batch = build_batch(records)
    at = data.draw(st.integers(HEADER_BYTES, len(batch) - 1))
    broken = batch[:at] + bytes([batch[at] ^ data.draw(st.integers(1, 255))]) + batch[at + 1 :]
    for read in (
        lambda: list(iter_records(broken)),
        lambda: values_of(broken, 0, read_header(broken)),
        lambda: check_records(broken[HEADER_BYTES:], read_header(broken)),
        lambda: check_record_bounds(broken[HEADER_BYTES:], read_header(broken)),
    ):
        try:
            read()
        except ApiError as error:
            assert error.error == Errors.INVALID_RECORD


@given(payload=st.binary(max_size=200), count=st.integers(-1, 2**31 - 1))
def test_any_bytes_as_records(payload: bytes, count: int) -> None:
    header = read_header(_batch())._replace(record_count=count)
    for check in (check_records, check_record_bounds):
        try:
            check(payload, header)
        except ApiError as error:
            assert error.error == Errors.INVALID_RECORD
        else:
            assert count <= len(payload)


def test_the_walks_agree_on_how_records_end() -> None:
    records = [Record(0, TIMESTAMP, None, b"x" * 90) for _ in range(300)]
    data = build_batch(records)
    payload, header = data[HEADER_BYTES:], read_header(data)
    check_record_bounds(payload, header)
    for bad, wrong_header in (
        (payload[:-1], header),
        (payload + b"\0", header),
        (payload, header._replace(record_count=299)),
        (payload, header._replace(record_count=301)),
    ):
        for check in (check_records, check_record_bounds):
            with pytest.raises(ApiError) as error:
                check(bad, wrong_header)
            assert _code(error) == Errors.INVALID_RECORD


@pytest.mark.parametrize("size", [10, 63, 64, 90, 9000])
def test_strides_follow_records_of_one_size_and_of_many(size: int) -> None:
    for sizes in ([size] * 200, [size + index % 2 for index in range(200)], [size] * 100 + [size + 1] + [size] * 99):
        data = build_batch([Record(0, TIMESTAMP, None, b"x" * length) for length in sizes])
        assert check_record_bounds(data[HEADER_BYTES:], read_header(data)) == TIMESTAMP


@given(
    deltas=st.lists(
        st.one_of(st.integers(-70, 70), st.integers(-9000, 9000), st.integers(-(10**7), 10**7), st.just(2**40)), min_size=1, max_size=60
    ),
    times=st.integers(1, 9),
    fill=st.integers(0, 1),
)
def test_the_largest_timestamp_is_found_wherever_it_is(deltas: list[int], times: int, fill: int) -> None:
    records = [Record(0, TIMESTAMP + delta, None, b"x" * (40 + fill * (index % 7 == 0))) for index, delta in enumerate(deltas * times)]
    data = build_batch(records)
    payload, header = data[HEADER_BYTES:], read_header(data)
    assert check_record_bounds(payload, header) == check_records(payload, header)[0] == TIMESTAMP + max(deltas)


@pytest.mark.parametrize("width", range(1, 10))
def test_the_largest_of_timestamps_that_have_as_many_bytes(width: int) -> None:
    least, most = (1 << 7 * (width - 1)) >> 1, (1 << (7 * width - 1)) - 1
    spread = [least + (most - least) * index // 99 for index in range(100)]
    for deltas in (spread, spread[::-1], [-delta - 1 for delta in spread], [delta ^ -(delta & 1) for delta in spread]):
        records = [Record(0, delta, None, b"x" * 40) for delta in (0, *deltas)]
        data = build_batch(records)
        assert check_record_bounds(data[HEADER_BYTES:], read_header(data)) == max(0, *deltas)


def test_records_shorter_than_any_are_refused() -> None:
    header = read_header(_batch())._replace(record_count=30)
    with pytest.raises(ApiError) as error:
        check_record_bounds(b"\x08\x00\x00\x00\x01" * 30, header)
    assert _code(error) == Errors.INVALID_RECORD


def test_keys_and_timestamps_are_looked_at_where_asked() -> None:
    records = [Record(0, TIMESTAMP, b"k", b"v"), Record(0, TIMESTAMP - 5, None, b"v"), Record(0, TIMESTAMP + 5, b"", None)]
    data = build_batch(records)
    header = read_header(data)
    payload = data[HEADER_BYTES:]
    assert check_records(payload, header) == (TIMESTAMP + 5, False)
    assert check_records(payload, header, keys_required=True) == (TIMESTAMP + 5, True)
    assert check_records(payload, header, timestamp_min=TIMESTAMP - 5) == (TIMESTAMP + 5, False)
    assert check_records(payload, header, timestamp_min=TIMESTAMP - 4) == (TIMESTAMP + 5, True)
    timeless = build_batch([Record(0, -1, b"k", b"v")])
    assert check_records(timeless[HEADER_BYTES:], read_header(timeless), timestamp_min=TIMESTAMP) == (-1, False)
