"""The log of one replica: what is appended is read, found, cut and kept."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.log import storage as storage_module
from kafkalab.engine.log.config import LONG_MAX, LogConfig
from kafkalab.engine.log.log import Log, UnexpectedOffset
from kafkalab.engine.log.storage import FileStorage, StorageError
from kafkalab.engine.log.validator import InvalidRecords
from kafkalab.engine.record.batch import Record, build_batch, iter_headers, iter_records, read_header, rebuild, validate
from kafkalab.engine.record.compression import CODEC_BY_NAME, Codec
from kafkalab.engine.record.control import ControlType, LeaderChange, encode_leader_change
from kafkalab.engine.record.quorum_records import control_batch

NOW = 1_700_000_000_000
OpenLog = Callable[..., Log]


def batch(*values: bytes, timestamp: int = NOW, **options: int) -> bytes:
    return build_batch([Record(0, timestamp, b"k", value) for value in values], **options)  # type: ignore[arg-type]


def idempotent(sequence: int, count: int = 1, *, epoch: int = 0, producer_id: int = 7) -> bytes:
    values = [b"%d" % (sequence + index) for index in range(count)]
    return batch(*values, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence)


def values_of(data: bytes) -> list[bytes | None]:
    return [record.value for record in iter_records(data)]


def refusal(log: Log, data: bytes, **options: bool) -> Errors:
    before = (log.log_end_offset, log.size_bytes)
    with pytest.raises(ApiError) as error:
        log.append_as_leader(data, 0, **options)
    assert (log.log_end_offset, log.size_bytes) == before, "a refused batch leaves nothing"
    return error.value.error


# --- append as leader -----------------------------------------------------------------------------


def test_a_leader_gives_offsets_and_its_epoch(open_log: OpenLog) -> None:
    log = open_log()
    first = log.append_as_leader(batch(b"a", b"b"), 3)
    assert (first.first_offset, first.last_offset, first.record_count, first.duplicate) == (0, 1, 2, False)
    assert first.append_time_ms == -1
    second = log.append_as_leader(batch(b"c"), 3)
    assert (second.first_offset, second.last_offset) == (2, 2)
    assert log.log_end_offset == 3 and log.latest_epoch == 3
    data = log.read(0, 1 << 20)
    assert [(header.base_offset, header.partition_leader_epoch) for _, header in iter_headers(data)] == [(0, 3), (2, 3)]
    assert [(record.offset, record.value) for record in iter_records(data)] == [(0, b"a"), (1, b"b"), (2, b"c")]


def test_what_clients_may_not_send(open_log: OpenLog) -> None:
    log = open_log(max_message_bytes=500, segment_bytes=400)
    log.append_as_leader(batch(b"good"), 0)
    good = batch(b"x")
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    assert refusal(log, flipped) == Errors.CORRUPT_MESSAGE
    assert refusal(log, b"") == Errors.INVALID_RECORD
    assert refusal(log, good + good) == Errors.INVALID_RECORD
    assert refusal(log, good[:-1]) == Errors.INVALID_RECORD
    assert refusal(log, good[:16] + b"\x01" + good[17:]) == Errors.INVALID_RECORD
    assert refusal(log, batch(b"x" * 600)) == Errors.MESSAGE_TOO_LARGE
    assert refusal(log, batch(b"x" * 380)) == Errors.RECORD_LIST_TOO_LARGE
    assert refusal(log, batch(b"x", codec=Codec.ZSTD), zstd_allowed=False) == Errors.UNSUPPORTED_COMPRESSION_TYPE
    control = control_batch(
        [(ControlType.LEADER_CHANGE, encode_leader_change(LeaderChange(1, (1,), (1,))))], base_offset=0, epoch=0, timestamp_ms=NOW
    )
    assert refusal(log, control) == Errors.INVALID_RECORD


def test_compressed_records_are_looked_into(open_log: OpenLog) -> None:
    log = open_log()
    good = batch(b"x" * 100, codec=Codec.GZIP)
    header = read_header(good)
    broken = rebuild(header, good[61:-4], attributes=header.attributes, max_timestamp=NOW)
    assert refusal(log, broken) == Errors.INVALID_RECORD
    no_records = rebuild(header, b"nonsense", attributes=0, max_timestamp=NOW)
    assert refusal(log, no_records) == Errors.INVALID_RECORD


def test_a_compacted_topic_wants_keys(open_log: OpenLog) -> None:
    log = open_log(cleanup_policy=frozenset({"compact"}))
    log.append_as_leader(batch(b"with a key"), 0)
    keyless = build_batch([Record(0, NOW, b"k", b""), Record(0, NOW, None, b"")])
    with pytest.raises(InvalidRecords) as error:
        log.append_as_leader(keyless, 0)
    assert error.value.error == Errors.INVALID_RECORD
    assert [index for index, _ in error.value.record_errors] == [1]


def test_timestamps_must_be_within_bounds(open_log: OpenLog) -> None:
    log = open_log(message_timestamp_before_max_ms=1000, message_timestamp_after_max_ms=500)
    log.append_as_leader(batch(b"now"), 0)
    log.append_as_leader(batch(b"no timestamp", timestamp=-1), 0)
    for timestamp in (NOW + 501, NOW - 1001):
        with pytest.raises(InvalidRecords) as error:
            log.append_as_leader(batch(b"x", b"y", timestamp=timestamp), 0)
        assert error.value.error == Errors.INVALID_TIMESTAMP
        assert [index for index, _ in error.value.record_errors] == [0, 1]


def test_all_that_is_wrong_with_records_is_told_and_a_timestamp_names_it(open_log: OpenLog) -> None:
    log = open_log(cleanup_policy=frozenset({"compact"}), message_timestamp_after_max_ms=500)
    records = [Record(0, NOW, None, b""), Record(0, NOW + 501, b"k", b""), Record(0, NOW + 501, None, b""), Record(0, NOW, b"k", b"")]
    for lie in (NOW + 501, NOW):
        data = build_batch(records)
        header = read_header(data)
        with pytest.raises(InvalidRecords) as error:
            log.append_as_leader(rebuild(header, data[61:], attributes=0, max_timestamp=lie), 0)
        assert error.value.error == Errors.INVALID_TIMESTAMP
        told = error.value.record_errors
        assert [index for index, _ in told] == [0, 1, 2]
        assert ["without key" in sentence for _, sentence in told] == [True, False, True]


@pytest.mark.parametrize("count", [2, 40])
@pytest.mark.parametrize("codec", [Codec.NONE, Codec.ZSTD])
def test_the_largest_timestamp_is_that_of_the_records(open_log: OpenLog, count: int, codec: Codec) -> None:
    log = open_log()
    data = build_batch([Record(0, NOW + index % 30, b"k", b"v") for index in range(count)], codec=codec)
    header = read_header(data)
    for told in (-1, NOW - 1, NOW + 5_000, NOW + 10**12):
        log.append_as_leader(rebuild(header, data[61:], attributes=header.attributes, max_timestamp=told), 0)
    for header, stored in log.iter_batches(0):
        validate(stored, 0, header)
        assert header.max_timestamp == NOW + min(count, 30) - 1
    far = build_batch([Record(0, NOW + index * 10**6, b"k", b"v") for index in range(count)], codec=codec)
    header = read_header(far)
    if count > 2:
        assert refusal(log, rebuild(header, far[61:], attributes=header.attributes, max_timestamp=NOW)) == Errors.INVALID_TIMESTAMP


@pytest.mark.parametrize(("settings", "kept"), [({"message_timestamp_type": "LogAppendTime"}, 0x48), ({"compression_type": "gzip"}, 1)])
def test_a_batch_that_is_changed_keeps_no_attribute_that_means_nothing(open_log: OpenLog, settings: dict[str, str], kept: int) -> None:
    log = open_log(**settings)
    data = batch(b"x")
    log.append_as_leader(rebuild(read_header(data), data[61:], attributes=0x40C0, max_timestamp=NOW), 0)
    assert read_header(log.read(0, 1000)).attributes == kept


def test_a_client_cannot_give_append_times(open_log: OpenLog) -> None:
    log = open_log(message_timestamp_type="LogAppendTime")
    with pytest.raises(InvalidRecords) as error:
        log.append_as_leader(batch(b"x", b"y", timestamp_type=1), 0)
    assert error.value.error == Errors.INVALID_TIMESTAMP and [index for index, _ in error.value.record_errors] == [0, 1]
    log.config = LogConfig()
    log.append_as_leader(batch(b"x", timestamp_type=1), 0)
    assert not read_header(log.read(0, 1000)).is_log_append_time, "where records keep their times the bit is cleared"


@pytest.mark.parametrize("rest", [b"rest", batch(b"b")[:-1]])
def test_what_lies_behind_a_batch_and_is_none_is_left_out(open_log: OpenLog, rest: bytes) -> None:
    log = open_log()
    log.append_as_leader(batch(b"a") + rest, 0)
    assert log.size_bytes == len(batch(b"a"))
    assert refusal(log, batch(b"a") + batch(b"b")) == Errors.INVALID_RECORD
    assert refusal(log, batch(b"a") + bytes(100)) == Errors.CORRUPT_MESSAGE


def test_append_time_replaces_the_records_own(open_log: OpenLog, clock: ManualClock) -> None:
    log = open_log(message_timestamp_type="LogAppendTime")
    clock.advance(123)
    info = log.append_as_leader(batch(b"a", b"b", timestamp=5), 0)
    assert info.append_time_ms == NOW + 123
    assert {record.timestamp for record in iter_records(log.read(0, 1000))} == {NOW + 123}


@pytest.mark.parametrize("name", list(CODEC_BY_NAME))
def test_the_topics_compression_is_applied(open_log: OpenLog, name: str) -> None:
    log = open_log(compression_type=name)
    for codec in Codec:
        log.append_as_leader(
            batch(b"some value " * 50, b"another", codec=codec, producer_id=9, producer_epoch=0, base_sequence=2 * codec), 0
        )
    data = log.read(0, 1 << 20)
    assert {header.codec for _, header in iter_headers(data)} == {CODEC_BY_NAME[name]}
    assert values_of(data) == [b"some value " * 50, b"another"] * 5
    assert [header.base_sequence for _, header in iter_headers(data)] == [0, 2, 4, 6, 8]


def test_own_batches_are_stamped_and_taken_as_they_are(open_log: OpenLog) -> None:
    log = open_log(max_message_bytes=10)
    control = control_batch(
        [(ControlType.LEADER_CHANGE, encode_leader_change(LeaderChange(1, (1, 2, 3), (1, 2))))], base_offset=99, epoch=99, timestamp_ms=NOW
    )
    info = log.append_as_leader(control + batch(b"a", b"b"), 4, client=False)
    assert (info.first_offset, info.last_offset, info.record_count) == (0, 2, 3)
    headers = [header for header, _ in log.iter_batches(0)]
    assert [(header.base_offset, header.partition_leader_epoch, header.is_control) for header in headers] == [(0, 4, True), (1, 4, False)]


# --- idempotence ----------------------------------------------------------------------------------


def test_a_repeat_is_acknowledged_at_its_old_offset(open_log: OpenLog) -> None:
    log = open_log()
    log.append_as_leader(batch(b"before"), 0)
    for sequence in range(0, 12, 2):
        log.append_as_leader(idempotent(sequence, 2), 0)
    end = log.log_end_offset
    again = log.append_as_leader(idempotent(4, 2), 0)
    assert again.duplicate and (again.first_offset, again.last_offset) == (5, 6)
    assert log.log_end_offset == end
    # Five batches are remembered, the sixth last is not.
    assert refusal(log, idempotent(0, 2)) == Errors.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_a_repeat_is_told_the_time_that_lies_in_the_log(open_log: OpenLog, clock: ManualClock) -> None:
    log = open_log()
    log.append_as_leader(idempotent(0, 2), 0)
    assert log.append_as_leader(idempotent(0, 2), 0).append_time_ms == NOW
    log.config = LogConfig(message_timestamp_type="LogAppendTime")
    stamped_ms = log.append_as_leader(idempotent(2, 2), 0).append_time_ms
    clock.advance(5_000)
    assert log.append_as_leader(idempotent(2, 2), 0).append_time_ms == stamped_ms == clock.wall_ms() - 5_000


def test_records_are_looked_at_before_sequences(open_log: OpenLog) -> None:
    log = open_log()
    keyless = build_batch([Record(0, NOW, None, b"")], producer_id=7, producer_epoch=0, base_sequence=0)
    log.append_as_leader(keyless, 0)
    log.config = LogConfig(cleanup_policy=frozenset({"compact"}))
    assert refusal(log, keyless) == Errors.INVALID_RECORD
    log.config = LogConfig(compression_type="gzip", max_message_bytes=1)
    assert refusal(log, idempotent(5)) == Errors.MESSAGE_TOO_LARGE


def test_gaps_and_replaced_producers_are_refused(open_log: OpenLog) -> None:
    log = open_log()
    log.append_as_leader(idempotent(5, 2, epoch=1), 0)
    assert refusal(log, idempotent(8, epoch=1)) == Errors.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert refusal(log, idempotent(7, epoch=0)) == Errors.INVALID_PRODUCER_EPOCH
    assert refusal(log, idempotent(7, epoch=2)) == Errors.OUT_OF_ORDER_SEQUENCE_NUMBER
    log.append_as_leader(idempotent(0, epoch=2), 0)
    log.append_as_leader(idempotent(1, epoch=2), 0)


def test_without_a_producer_id_or_an_epoch_no_order_is_asked_for(open_log: OpenLog) -> None:
    log = open_log()
    for sequence in (3, 9, 3):
        assert not log.append_as_leader(idempotent(sequence, producer_id=-5), 0).duplicate
    assert not log.producer_state.entries
    for sequence in (3, 9, 5):
        assert not log.append_as_leader(idempotent(sequence, epoch=-1), 0).duplicate
    assert log.append_as_leader(idempotent(9, epoch=-1), 0).duplicate
    log.append_as_leader(idempotent(4, epoch=0), 0)
    assert refusal(log, idempotent(7, epoch=0)) == Errors.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_sequences_wrap(open_log: OpenLog) -> None:
    log = open_log()
    log.append_as_leader(idempotent(2**31 - 2, 2), 0)
    log.append_as_leader(idempotent(0, 3), 0)
    assert log.append_as_leader(idempotent(2**31 - 2, 2), 0).duplicate


def test_a_silent_producer_is_forgotten(open_log: OpenLog, clock: ManualClock) -> None:
    log = open_log()
    log.append_as_leader(idempotent(0), 0)
    clock.advance(1000)
    log.expire_producers(1001)
    assert 7 in log.producer_state.entries
    log.expire_producers(1000)
    assert 7 not in log.producer_state.entries


# --- append as follower ---------------------------------------------------------------------------


def test_a_follower_takes_the_leaders_batches(open_log: OpenLog, tmp_path: Path, clock: ManualClock, storage: FileStorage) -> None:
    leader = open_log()
    for number in range(50):
        leader.append_as_leader(idempotent(number), number // 10)
    follower = Log.open(tmp_path / "copy-0", TopicPartition("orders", 0), LogConfig(segment_bytes=1000), clock, storage=storage)
    data = leader.read(0, 1 << 20)
    info = follower.append_as_follower(data + data[:69])
    assert (info.first_offset, info.last_offset, info.record_count) == (0, 49, 50)
    assert follower.log_end_offset == 50
    assert follower.leader_epochs == leader.leader_epochs == [(epoch, epoch * 10) for epoch in range(5)]
    assert follower.segment_count > 1
    assert b"".join(content for _, content in follower.iter_batches(0)) == data
    assert follower.append_as_leader(idempotent(48), 9).duplicate


def test_a_follower_takes_nothing_broken(open_log: OpenLog) -> None:
    log = open_log()
    good = build_batch([Record(0, NOW, None, b"a")], base_offset=0, leader_epoch=1)
    later = build_batch([Record(0, NOW, None, b"b")], base_offset=1, leader_epoch=1)
    flipped = later[:-1] + bytes([later[-1] ^ 1])
    with pytest.raises(ApiError) as error:
        log.append_as_follower(good + flipped)
    assert error.value.error == Errors.CORRUPT_MESSAGE
    assert log.log_end_offset == 0, "as in Kafka all of it is looked at first"
    log.append_as_follower(good)
    for unexpected in (good, later + later, build_batch([Record(0, NOW, None, b"a")], base_offset=LONG_MAX, leader_epoch=1)):
        with pytest.raises(UnexpectedOffset):
            log.append_as_follower(unexpected)
        assert log.log_end_offset == 1
    log.append_as_follower(later)
    assert values_of(log.read(0, 1000)) == [b"a", b"b"]


def test_gaps_that_compaction_left_are_kept(open_log: OpenLog) -> None:
    log = open_log()
    for offset in (0, 10, 5_000_000_000):
        log.append_as_follower(build_batch([Record(0, NOW, b"k", b"%d" % offset)], base_offset=offset, leader_epoch=0))
    assert log.log_end_offset == 5_000_000_001
    assert values_of(log.read(1, 100)) == [b"10"]
    assert values_of(log.read(11, 100)) == [b"5000000000"]
    assert log.segments()[-1].base_offset == 5_000_000_000


def test_nothing_appended_is_nothing(open_log: OpenLog) -> None:
    log = open_log()
    info = log.append_as_follower(b"")
    assert (info.first_offset, info.last_offset, info.record_count, log.log_end_offset) == (0, -1, 0, 0)


# --- read -----------------------------------------------------------------------------------------


def fill(log: Log, count: int = 300, size: int = 200) -> None:
    for number in range(count):
        log.append_as_leader(batch(b"%d" % number, b"y" * size, timestamp=NOW + number), number // 100)


@pytest.mark.parametrize("segment_bytes", [1 << 30, 20_000])
def test_every_offset_is_read_from_its_batch_on(open_log: OpenLog, segment_bytes: int) -> None:
    log = open_log(segment_bytes=segment_bytes, index_interval_bytes=1000)
    fill(log)
    for reopened in (False, True):
        if reopened:
            log.close()
            log = open_log(clean=True, segment_bytes=segment_bytes, index_interval_bytes=1000)
        for offset in range(600):
            data = log.read(offset, 1)
            headers = [header for _, header in iter_headers(data)]
            assert [header.base_offset for header in headers] == [offset // 2 * 2]
            bounded = log.read(offset, 5000, max_offset=min(600, offset + 8))
            found = [header for _, header in iter_headers(bounded)]
            assert sum(header.size_bytes for header in found) == len(bounded) <= 5000, "whole batches only"
            assert found[0].base_offset == offset // 2 * 2
            assert found[-1].next_offset <= offset + 8


def test_the_end_and_beyond(open_log: OpenLog) -> None:
    log = open_log()
    fill(log, 3)
    assert log.read(6, 100) == b""
    assert log.read(2, 100, max_offset=2) == b""
    assert log.read(2, 1000, max_offset=3) == b"", "a batch is seen as a whole or not at all"
    assert log.read(0, 10, min_one=False) == b""
    for offset in (-1, 7):
        with pytest.raises(ApiError) as error:
            log.read(offset, 100)
        assert error.value.error == Errors.OFFSET_OUT_OF_RANGE


def test_batches_are_iterated_from_any_offset(open_log: OpenLog) -> None:
    log = open_log(segment_bytes=5000)
    fill(log, 60)
    for offset in (0, 1, 47, 119):
        assert [header.base_offset for header, _ in log.iter_batches(offset)] == list(range(offset // 2 * 2, 120, 2))
    assert list(log.iter_batches(120)) == []


def test_records_are_found_by_timestamp(open_log: OpenLog) -> None:
    log = open_log(segment_bytes=20_000, index_interval_bytes=500)
    fill(log)
    for number in (0, 1, 57, 150, 299):
        assert log.offset_for_timestamp(NOW + number) == (NOW + number, 2 * number, number // 100)
    assert log.offset_for_timestamp(0) == (NOW, 0, 0)
    assert log.offset_for_timestamp(NOW + 300) is None
    assert log.max_timestamp() == (NOW + 299, 598, 2)
    log.append_as_leader(build_batch([Record(0, NOW, b"", b""), Record(0, NOW + 1000, b"", b""), Record(0, NOW + 1000, b"", b"")]), 2)
    log.append_as_leader(batch(b"older"), 2)
    assert log.max_timestamp() == (NOW + 1000, 601, 2)
    assert log.offset_for_timestamp(NOW + 300) == (NOW + 1000, 601, 2)


def test_an_empty_log_has_no_timestamps(open_log: OpenLog) -> None:
    log = open_log()
    assert log.max_timestamp() is None and log.offset_for_timestamp(0) is None
    assert log.end_offset_for_epoch(0) == (-1, -1)
    assert log.segments() == [(0, 0, -1)]


# --- segments -------------------------------------------------------------------------------------


def test_segments_roll_by_size_age_and_on_demand(open_log: OpenLog) -> None:
    log = open_log(segment_ms=1000, segment_bytes=10_000)
    log.roll()
    assert log.segment_count == 1, "an empty segment is not rolled"
    log.append_as_leader(batch(b"a"), 0)
    log.append_as_leader(batch(b"b", timestamp=NOW + 1000), 0)
    assert log.segment_count == 1
    log.append_as_leader(batch(b"c", timestamp=NOW + 1001), 0)
    assert [segment.base_offset for segment in log.segments()] == [0, 2]
    log.append_as_leader(batch(b"d" * 9_900, timestamp=NOW + 1001), 0)
    log.roll()
    assert [segment.base_offset for segment in log.segments()] == [0, 2, 3, 4]
    assert log.size_bytes == sum(segment.size_bytes for segment in log.segments())


def test_a_full_index_rolls(open_log: OpenLog) -> None:
    log = open_log(index_interval_bytes=10, segment_index_bytes=36)
    # Of one time, so that the time index has one entry whatever comes.
    for _ in range(12):
        log.append_as_leader(batch(b"x" * 10, b"y"), 0)
    assert [segment.base_offset for segment in log.segments()] == [0, 10, 20]


def test_retention_by_size_and_age(open_log: OpenLog, clock: ManualClock) -> None:
    log = open_log(segment_bytes=1000, retention_bytes=2500, retention_ms=-1)
    fill(log, 12)
    assert log.delete_old_segments(0) == 0, "nothing above the high watermark goes"
    count = log.segment_count
    removed = log.delete_old_segments(log.log_end_offset)
    assert removed > 0 and log.segment_count == count - removed
    assert log.log_start_offset == log.segments()[0].base_offset > 0
    assert 2500 <= log.size_bytes < 3500
    log.config = LogConfig(retention_ms=1000, segment_bytes=1000)
    clock.advance(1011)
    log.delete_old_segments(log.log_end_offset)
    assert log.log_start_offset == log.segments()[-1].base_offset == 18, "its newest record is 1000 ms old, no more"
    clock.advance(1)
    log.delete_old_segments(log.log_end_offset)
    assert log.log_start_offset == log.log_end_offset == 24
    assert log.append_as_leader(batch(b"goes on"), 5).first_offset == 24


def test_records_before_the_log_start_are_gone(open_log: OpenLog) -> None:
    log = open_log(segment_bytes=1000)
    fill(log, 20)
    log.increment_log_start_offset(11)
    assert log.starts_inside_segment
    with pytest.raises(ApiError):
        log.read(10, 100)
    assert next(iter_records(log.read(11, 100))).offset == 10, "the batch is shared with the record before"
    assert log.leader_epochs == [(0, 11)]
    log.close()
    assert open_log(clean=True, log_start_offset=11).log_start_offset == 11


# --- epochs and truncation ------------------------------------------------------------------------


def test_where_epochs_end(open_log: OpenLog) -> None:
    log = open_log()
    for epoch in (2, 2, 5):
        log.append_as_leader(batch(b"x"), epoch)
    answers = {epoch: log.end_offset_for_epoch(epoch) for epoch in range(-1, 7)}
    assert answers == {-1: (-1, -1), 0: (0, 0), 1: (1, 0), 2: (2, 2), 3: (2, 2), 4: (2, 2), 5: (5, 3), 6: (-1, -1)}
    assert [log.epoch_at(offset) for offset in range(4)] == [2, 2, 5, 5]


@pytest.mark.parametrize("offset", [0, 1, 2, 57, 100, 118, 119, 120, 500])
def test_truncation_leaves_a_log_that_goes_on(open_log: OpenLog, offset: int) -> None:
    log = open_log(segment_bytes=3000, index_interval_bytes=500)
    for number in range(60):
        log.append_as_leader(idempotent(2 * number, 2), number // 20)
    log.flush()
    end = log.truncate_to(offset)
    assert end == log.log_end_offset == min(offset // 2 * 2, 120)
    assert log.recovery_point == min(offset, end)
    assert all(start < max(end, 1) for _, start in log.leader_epochs)
    assert [record.offset for _, data in log.iter_batches(0) for record in iter_records(data)] == list(range(end))
    info = log.append_as_leader(idempotent(end, 2), 7)
    assert (info.first_offset, info.duplicate) == (end, False)
    assert next(iter_records(log.read(end, 10))).offset == end
    log.close()
    assert open_log(clean=True).log_end_offset == end + 2


def test_starting_over_at_another_offset(open_log: OpenLog) -> None:
    log = open_log(segment_bytes=1000)
    fill(log, 20)
    log.truncate_fully_and_start_at(1000)
    assert (log.log_start_offset, log.log_end_offset, log.segment_count, log.leader_epochs) == (1000, 1000, 1, [])
    assert log.append_as_leader(batch(b"x"), 1).first_offset == 1000
    log.truncate_to(500)
    assert (log.log_start_offset, log.log_end_offset) == (500, 500)


# --- the disk -------------------------------------------------------------------------------------


def test_flushing_moves_the_recovery_point_and_is_idle_when_clean(open_log: OpenLog, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs: list[int] = []
    monkeypatch.setattr(storage_module, "sync_data", syncs.append)
    log = open_log(segment_bytes=1000)
    log.flush()
    assert not syncs
    fill(log, 10)
    # What was rolled is on the disk already; here nothing is put off.
    rolled = 3 * (log.segment_count - 1)
    assert len(syncs) == rolled, "a segment and its two indexes"
    assert log.recovery_point == log.segments()[-1].base_offset
    log.flush_inactive()
    assert len(syncs) == rolled
    log.flush()
    assert len(syncs) == rolled + 1 and log.recovery_point == 20
    log.flush()
    log.flush_inactive()
    assert len(syncs) == rolled + 1


def test_flush_messages_and_flush_ms(open_log: OpenLog, clock: ManualClock) -> None:
    log = open_log(flush_messages=3)
    log.append_as_leader(batch(b"a", b"b"), 0)
    assert log.recovery_point == 0
    log.append_as_leader(batch(b"c"), 0)
    assert log.recovery_point == 3
    log.config = LogConfig(flush_ms=100)
    log.append_as_leader(batch(b"d"), 0)
    clock.advance(99)
    assert log.recovery_point == 3
    clock.advance(1)
    assert log.recovery_point == 4, "its own timer flushes it"


def test_a_full_disk_is_a_storage_error_and_nothing_stays(open_log: OpenLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_log()
    log.append_as_leader(batch(b"a"), 0)
    written = log.size_bytes

    def half(self: storage_module.OpenableFile, head: bytes, body: bytes) -> None:
        original(self, head, bytes(body)[:5])
        raise OSError(28, "No space left on device")

    original = storage_module.OpenableFile.append
    with monkeypatch.context() as patch:
        patch.setattr(storage_module.OpenableFile, "append", half)
        assert refusal(log, batch(b"b")) == Errors.KAFKA_STORAGE_ERROR
    assert (log.directory / "00000000000000000000.log").stat().st_size == written
    assert log.append_as_leader(batch(b"c"), 0).first_offset == 1
    assert values_of(log.read(0, 1000)) == [b"a", b"c"]


def test_deleting_renames_first(open_log: OpenLog) -> None:
    log = open_log()
    fill(log, 3)
    old = log.directory
    renamed = log.rename_for_delete()
    assert not old.exists() and renamed.exists()
    assert renamed.name.startswith("orders-0.") and renamed.name.endswith("-delete") and len(renamed.name) == len("orders-0.-delete") + 32
    assert values_of(log.read(0, 10)) == [b"0", b"y" * 200], "a reader under way still reads"
    log.delete()
    assert not renamed.exists()


def test_long_names_stay_within_what_a_file_system_takes(tmp_path: Path, clock: ManualClock, storage: FileStorage) -> None:
    tp = TopicPartition("t" * 249, 12)
    log = Log.open(tmp_path / str(tp), tp, LogConfig(), clock, storage=storage)
    assert len(log.rename_for_delete().name) == 255


def test_a_directory_belongs_to_one_topic(tmp_path: Path, clock: ManualClock, storage: FileStorage) -> None:
    tp, topic_id = TopicPartition("orders", 0), uuid.UUID(int=1234567)

    def open_it(topic_id: uuid.UUID | None) -> Log:
        return Log.open(tmp_path / "orders-0", tp, LogConfig(), clock, storage=storage, topic_id=topic_id)

    log = open_it(None)
    assert log.topic_id is None
    log.claim(topic_id)
    log.claim(topic_id)
    assert (tmp_path / "orders-0" / "partition.metadata").read_text() == "version: 0\ntopic_id: AAAAAAAAAAAAAAAAABLWhw"
    with pytest.raises(StorageError):
        log.claim(uuid.UUID(int=5))
    assert open_it(None).topic_id == topic_id
    with pytest.raises(StorageError, match=r"orders-0.partition\.metadata: the directory belongs to topic id AAAAAAAAAAAAAAAAABLWhw"):
        open_it(uuid.UUID(int=5))
    (tmp_path / "orders-0" / "partition.metadata").write_text("version: 0\ntopic_id: nonsense")
    log.append_as_leader(batch(b"x"), 0)
    with pytest.raises(StorageError, match="malformed"):
        open_it(topic_id)


def test_few_files_are_open_at_a_time(tmp_path: Path, clock: ManualClock) -> None:
    storage = FileStorage(open_files_max=3)
    logs = [Log.open(tmp_path / f"t-{n}", TopicPartition("t", n), LogConfig(), clock, storage=storage) for n in range(10)]
    for round_number in range(3):
        for number, log in enumerate(logs):
            log.append_as_leader(batch(b"%d/%d" % (round_number, number)), 0)
            log.flush()
    open_now = {path for path in Path("/proc/self/fd").iterdir() if str(tmp_path) in str(path.resolve())} if Path("/proc").exists() else ()
    assert len(open_now) <= 3
    for number, log in enumerate(logs):
        assert values_of(log.read(0, 1000)) == [b"%d/%d" % (round_number, number) for round_number in range(3)]
        log.close()
    storage.close()


def test_the_timestamp_in_the_header_does_not_refuse_good_records(open_log: OpenLog) -> None:
    log = open_log()
    good = batch(b"x")
    header = read_header(good)
    lying = rebuild(header, good[61:], attributes=0, max_timestamp=NOW + 10**10)
    assert struct.unpack_from(">q", lying, 35) == (NOW + 10**10,)
    assert log.append_as_leader(lying, 0).first_offset == 0
