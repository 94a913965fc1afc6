"""Produce, Fetch, ListOffsets and OffsetForLeaderEpoch as clients send them, in every version."""

from __future__ import annotations

import struct
import uuid
from typing import Any

import pytest

from kafkalab.engine.broker.apis import fetch, list_offsets, offset_for_leader_epoch, produce
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import API_SPECS, ApiKey
from kafkalab.engine.record.batch import Record, build_batch, iter_headers, iter_records
from tests.unit.engine.replica.world import World


def versions(key: ApiKey) -> range:
    return range(API_SPECS[key].min_version, API_SPECS[key].max_version + 1)


@pytest.fixture
def solo(world: World) -> World:
    world.create("solo", (1,))
    world.settle()
    return world


# --- produce -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", versions(ApiKey.PRODUCE))
def test_produce_in_every_version(solo: World, version: int) -> None:
    for offset in range(2):
        answer = solo.produce(1, "solo", b"a", version=version)
        assert answer.error == Errors.NONE
        assert answer.first.base_offset == offset
        assert answer.first.log_append_time in (None, -1)
    assert solo.brokers[1].manager.produced_bytes == 2 * len(solo.batch(b"a"))


@pytest.mark.parametrize("acks", [2, -2, 5])
def test_other_acks_are_refused(solo: World, acks: int) -> None:
    answer = solo.produce(1, "solo", b"a", acks=acks)
    assert answer.error == Errors.INVALID_REQUIRED_ACKS
    assert solo.ends("solo") == {1: (0, 0)}
    # What is not there is told first.
    assert solo.produce(1, "none", b"a", acks=acks).error == Errors.UNKNOWN_TOPIC_ID
    assert solo.produce(1, "none", b"a", acks=acks, version=12).error == Errors.UNKNOWN_TOPIC_OR_PARTITION


def test_without_acks_nothing_is_answered_and_an_error_closes_the_connection(solo: World) -> None:
    answer = solo.produce(1, "solo", b"a", acks=0)
    assert answer.count == 1 and answer.body is None and answer.closed is None
    answer = solo.produce(2, "solo", b"a", acks=0)
    assert answer.count == 0
    assert answer.closed is not None and "NOT_LEADER_OR_FOLLOWER" in answer.closed[1]


def test_produce_to_what_is_not_there(solo: World) -> None:
    assert solo.produce(1, "none", b"a").error == Errors.UNKNOWN_TOPIC_ID
    assert solo.produce(1, "none", b"a", version=12).error == Errors.UNKNOWN_TOPIC_OR_PARTITION
    assert solo.produce(1, "solo", b"a", index=7).error == Errors.UNKNOWN_TOPIC_OR_PARTITION
    wrong = solo.produce(3, "solo", b"a", version=9)
    assert wrong.error == Errors.NOT_LEADER_OR_FOLLOWER
    wrong = solo.produce(3, "solo", b"a", version=10)
    assert (wrong.first.current_leader.leader_id, wrong.first.current_leader.leader_epoch) == (1, 0)
    assert [(one.node_id, one.host, one.port) for one in wrong.body.node_endpoints] == [(1, "localhost", 9001)]


def test_bad_batches_are_refused_with_kafkas_codes(solo: World) -> None:
    good = solo.batch(b"a")

    def error(batch: bytes, **more: Any) -> Errors:
        return solo.produce(1, "solo", batch=batch, **more).error

    assert error(b"") == Errors.INVALID_RECORD
    assert error(good[:40]) == Errors.INVALID_RECORD
    assert error(good + good) == Errors.INVALID_RECORD
    assert error(good[:-1] + b"\xff") == Errors.CORRUPT_MESSAGE
    assert error(solo.batch(b"a", codec=4), version=6) == Errors.UNSUPPORTED_COMPRESSION_TYPE
    assert error(solo.batch(b"a", codec=4), version=7) == Errors.NONE
    assert error(solo.batch(b"a", control=True)) == Errors.INVALID_RECORD
    transactional = solo.batch(b"a", transactional=True, producer_id=5, producer_epoch=0, base_sequence=0)
    assert error(transactional) == Errors.INVALID_TXN_STATE
    assert solo.ends("solo") == {1: (1, 1)}


@pytest.mark.parametrize("version", [7, 8, 13])
def test_the_records_that_are_to_blame_are_told(solo: World, version: int) -> None:
    solo.configure("solo", "cleanup.policy", "compact")
    solo.settle()
    now = solo.clock.wall_ms()
    batch = build_batch([Record(i, now, b"k" if i % 2 else None, b"") for i in range(4)])
    answer = solo.produce(1, "solo", batch=batch, version=version)
    assert (answer.error, answer.first.base_offset, answer.first.log_start_offset) == (Errors.INVALID_RECORD, -1, 0)
    if version < 8:
        return
    sentence = "Compacted topic cannot accept message without key in topic partition solo-0"
    assert [(one.batch_index, one.batch_index_error_message) for one in answer.first.record_errors] == [(0, sentence), (2, sentence)]
    assert answer.first.error_message == (
        "One or more records have been rejected due to 2 record errors in total, and only showing the first three errors at most: "
        f"[RecordError(batchIndex=0, message='{sentence}'), RecordError(batchIndex=2, message='{sentence}')]"
    )


def test_a_repeated_batch_is_acknowledged_at_its_first_offset(solo: World) -> None:
    batch = solo.batch(b"a", producer_id=5, producer_epoch=0, base_sequence=0)
    first = solo.produce(1, "solo", batch=batch)
    solo.produce(1, "solo", batch=solo.batch(b"b", producer_id=5, producer_epoch=0, base_sequence=1))
    again = solo.produce(1, "solo", batch=batch)
    assert first.error == again.error == Errors.NONE
    assert again.first.base_offset == 0
    gap = solo.produce(1, "solo", batch=solo.batch(b"c", producer_id=5, producer_epoch=0, base_sequence=7))
    assert gap.error == Errors.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert gap.ctx.connection.stats.producer_id == 5  # type: ignore[attr-defined]


def test_a_repeated_batch_waits_for_its_first_copy(world: World) -> None:
    world.create("orders", (1, 2))
    world.settle()
    batch = world.batch(b"a", producer_id=5, producer_epoch=0, base_sequence=0)
    first = world.produce(1, "orders", batch=batch)
    second = world.produce(1, "orders", batch=world.batch(b"b", producer_id=5, producer_epoch=0, base_sequence=1))
    again = world.produce(1, "orders", batch=batch)
    assert not (first.is_settled or second.is_settled or again.is_settled)
    world.settle()
    assert [answer.first.base_offset for answer in (first, second, again)] == [0, 1, 0]


def test_several_partitions_in_one_request_are_answered_in_their_order(world: World) -> None:
    world.create("a", (1, 2), (2, 1))
    world.create("b", (1,))
    world.settle()
    batch = world.batch(b"x")
    body = {
        "acks": -1,
        "timeout": 1_000,
        "topic_data": [
            {"name": "a", "partition_data": [{"index": 1, "records": batch}, {"index": 0, "records": batch}]},
            {"name": "__consumer_offsets", "partition_data": [{"index": 0, "records": batch}]},
            {"name": "b", "partition_data": [{"index": 0, "records": batch}]},
        ],
    }
    answer = world.brokers[1].handle(ApiKey.PRODUCE, body, 12)
    assert not answer.is_settled
    world.settle()
    told = [(topic.name, part.index, Errors(part.error_code).name) for topic in answer.body.responses for part in topic.partition_responses]
    assert told == [
        ("a", 1, "NOT_LEADER_OR_FOLLOWER"),
        ("a", 0, "NONE"),
        ("__consumer_offsets", 0, "INVALID_TOPIC_EXCEPTION"),
        ("b", 0, "NONE"),
    ]


def test_log_append_time_is_told(world: World) -> None:
    world.create("stamped", (1,), configs={"message.timestamp.type": "LogAppendTime"})
    world.settle()
    answer = world.produce(1, "stamped", b"a")
    assert answer.first.log_append_time == world.clock.wall_ms()


# --- fetch -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", versions(ApiKey.FETCH))
def test_fetch_in_every_version(solo: World, version: int) -> None:
    solo.produce(1, "solo", b"a", b"b")
    answer = solo.fetch(1, "solo", 0, version=version)
    assert answer.error == Errors.NONE
    assert [record.value for record in iter_records(answer.first.records)] == [b"a", b"b"]
    assert answer.first.high_watermark == answer.first.last_stable_offset == 2
    assert answer.first.aborted_transactions is None
    assert solo.brokers[1].manager.fetched_bytes == len(answer.first.records)
    committed = solo.fetch(1, "solo", 0, version=version, isolation_level=1)
    assert committed.first.aborted_transactions == ()


def test_a_fetch_waits_for_data_and_is_answered_by_the_append(solo: World) -> None:
    answer = solo.fetch(1, "solo", 0)
    assert not answer.is_settled
    solo.settle(100)
    solo.produce(1, "solo", b"a")
    assert answer.is_settled
    assert answer.first.records


def test_a_fetch_that_waited_long_enough_is_answered_empty(solo: World) -> None:
    answer = solo.fetch(1, "solo", 0, max_wait=300)
    solo.settle(299)
    assert not answer.is_settled
    solo.settle(1)
    assert answer.is_settled and answer.first.records == b""
    solo.produce(1, "solo", b"a")
    assert answer.count == 1
    assert solo.fetch(1, "solo", 1, max_wait=0).is_settled


def test_a_fetch_waits_for_as_many_bytes_as_it_wants(solo: World) -> None:
    size = len(solo.batch(b"a"))
    answer = solo.fetch(1, "solo", 0, min_bytes=3 * size)
    for _ in range(2):
        solo.produce(1, "solo", b"a")
        assert not answer.is_settled
    solo.produce(1, "solo", b"a")
    assert answer.is_settled
    assert len(answer.first.records) == 3 * size


def test_limits_cut_between_batches_and_let_the_first_one_through(world: World) -> None:
    world.create("wide", (1,), (1,))
    world.settle()
    for index in range(2):
        for _ in range(3):
            world.produce(1, "wide", b"x" * 100, index=index)
    size = len(world.batch(b"x" * 100))

    def batches(answer: Any, at: int = 0) -> int:
        return len(list(iter_headers(answer.body.responses[0].partitions[at].records)))

    assert batches(world.fetch(1, "wide", 0, partition_max_bytes=1)) == 1
    assert batches(world.fetch(1, "wide", 0, partition_max_bytes=2 * size + 1)) == 2
    assert batches(world.fetch(1, "wide", 0, max_bytes=1)) == 1
    parts = [{"partition": i, "fetch_offset": 0, "partition_max_bytes": 1 << 20} for i in range(2)]
    body = {
        "max_wait": 0,
        "min_bytes": 1,
        "max_bytes": 4 * size,
        "topics": [{"topic_id": world.topic_ids["wide"], "partitions": parts}],
        "forgotten_topics_data": (),
    }
    answer = world.brokers[1].handle(ApiKey.FETCH, body)
    assert (batches(answer, 0), batches(answer, 1)) == (3, 1)
    answer = world.brokers[1].handle(ApiKey.FETCH, body | {"max_bytes": 1})
    assert (batches(answer, 0), batches(answer, 1)) == (1, 0)


def test_fetch_errors(world: World) -> None:
    world.create("orders", (1, 2))
    world.settle()
    world.produce(1, "orders", b"a")
    world.elect("orders", 0, 1)
    world.settle(700)
    assert world.fetch(1, "none", 0).error == Errors.UNKNOWN_TOPIC_ID
    assert world.fetch(1, "none", 0, version=12).error == Errors.UNKNOWN_TOPIC_OR_PARTITION
    assert world.fetch(1, "orders", 2).error == Errors.OFFSET_OUT_OF_RANGE
    assert world.fetch(1, "orders", 0, current_leader_epoch=1).error == Errors.NONE
    fenced = world.fetch(1, "orders", 0, current_leader_epoch=0)
    assert fenced.error == Errors.FENCED_LEADER_EPOCH
    assert (fenced.first.current_leader.leader_id, fenced.first.current_leader.leader_epoch) == (1, 1)
    assert [one.port for one in fenced.body.node_endpoints] == [9001]
    assert world.fetch(1, "orders", 0, current_leader_epoch=2).error == Errors.UNKNOWN_LEADER_EPOCH
    assert world.fetch(3, "orders", 0).error == Errors.NOT_LEADER_OR_FOLLOWER
    # Since version 11 a follower answers too, up to the high watermark that it knows.
    assert world.fetch(2, "orders", 0, version=10).error == Errors.NOT_LEADER_OR_FOLLOWER
    assert world.fetch(2, "orders", 0, version=11).first.records
    diverging = world.fetch(1, "orders", 1, last_fetched_epoch=0)
    assert not diverging.is_settled or diverging.error == Errors.NONE


def test_a_fetch_from_a_log_that_parts_hears_where(world: World) -> None:
    world.create("orders", (1,))
    world.settle()
    world.produce(1, "orders", b"a")
    world.elect("orders", 0, 1)
    world.settle()
    world.produce(1, "orders", b"b")
    answer = world.fetch(1, "orders", 2, last_fetched_epoch=0)
    assert answer.error == Errors.NONE
    assert (answer.first.diverging_epoch.epoch, answer.first.diverging_epoch.end_offset) == (0, 1)
    assert not answer.first.records
    beyond = world.fetch(1, "orders", 5, last_fetched_epoch=1)
    assert (beyond.first.diverging_epoch.epoch, beyond.first.diverging_epoch.end_offset) == (1, 2)
    assert world.fetch(1, "orders", 2, last_fetched_epoch=9).error == Errors.OFFSET_OUT_OF_RANGE


def test_only_registered_replicas_of_the_present_move_the_high_watermark(world: World) -> None:
    world.create("orders", (1, 2))
    world.settle()
    world.sever(1, 2)
    world.produce(1, "orders", b"a")
    epoch = world.brokers[2].epoch

    def spoof(replica_id: int, replica_epoch: int, **more: Any) -> Errors:
        return world.fetch(
            1, "orders", 1, replica_state={"replica_id": replica_id, "replica_epoch": replica_epoch}, max_wait=0, **more
        ).error

    assert spoof(2, epoch - 1) == Errors.NOT_LEADER_OR_FOLLOWER
    assert spoof(2, -1) == Errors.NOT_LEADER_OR_FOLLOWER
    assert spoof(3, world.brokers[3].epoch) == Errors.NOT_LEADER_OR_FOLLOWER
    assert spoof(3, world.brokers[3].epoch, current_leader_epoch=0) == Errors.UNKNOWN_LEADER_EPOCH
    assert spoof(99, 5) == Errors.NOT_LEADER_OR_FOLLOWER
    assert world.fetch(1, "orders", 1, version=12, replica_id=2, max_wait=0).error == Errors.NOT_LEADER_OR_FOLLOWER
    assert world.ends("orders")[1] == (0, 1)
    assert spoof(2, epoch) == Errors.NONE
    assert world.ends("orders")[1] == (1, 1)


def test_a_diverging_follower_does_not_move_the_leaders_view(world: World) -> None:
    # KAFKA-13141.
    world.create("orders", (1, 2))
    world.settle()
    world.elect("orders", 0, 1)
    world.settle()
    world.produce(1, "orders", b"a")
    world.settle()
    world.sever(1, 2)
    world.produce(1, "orders", b"b")
    world.elect("orders", 0, 1)
    world.settle()
    leader = world.brokers[1].partition(("orders", 0))
    state = {"replica_id": 2, "replica_epoch": world.brokers[2].epoch}
    answer = world.fetch(1, "orders", 2, replica_state=state, last_fetched_epoch=0, current_leader_epoch=2)
    assert answer.first.diverging_epoch.end_offset == 0
    assert leader.remotes[2].log_end_offset < 2
    assert leader.high_watermark == 1


# --- sessions ----------------------------------------------------------------------------------


def session_fetch(world: World, session_id: int, epoch: int, parts: list[Any], forgotten: Any = (), version: int = 18, **more: Any) -> Any:
    topic_id = world.topic_ids["wide"]
    body = {
        "max_wait": 0,
        "min_bytes": 1,
        "max_bytes": 1 << 20,
        "replica_id": -1,
        "session_id": session_id,
        "session_epoch": epoch,
        "topics": [{"topic": "wide", "topic_id": topic_id, "partitions": parts}] if parts else [],
        "forgotten_topics_data": [{"topic": "wide", "topic_id": topic_id, "partitions": forgotten}] if forgotten else [],
    }
    return world.brokers[1].handle(ApiKey.FETCH, body | more, version).body


def part(index: int, offset: int = 0) -> dict[str, int]:
    return {"partition": index, "fetch_offset": offset, "partition_max_bytes": 1 << 20}


def told(body: Any) -> list[int]:
    return [one.partition_index for topic in body.responses for one in topic.partitions]


@pytest.mark.parametrize("version", [7, 12, 13, 18])
def test_a_session_tells_only_what_changed(world: World, version: int) -> None:
    world.create("wide", (1,), (1,), (1,))
    world.settle()
    first = session_fetch(world, 0, 0, [part(0), part(1), part(2)], version=version)
    session_id = first.session_id
    assert session_id > 0
    assert told(first) == [0, 1, 2]
    assert told(session_fetch(world, session_id, 1, [], version=version)) == []
    world.produce(1, "wide", b"a", index=1)
    second = session_fetch(world, session_id, 2, [], version=version)
    assert told(second) == [1] and second.session_id == session_id
    # Until its offset moves on it is told again.
    assert told(session_fetch(world, session_id, 3, [], version=version)) == [1]
    assert told(session_fetch(world, session_id, 4, [part(1, 1)], version=version)) == []
    world.produce(1, "wide", b"b", index=2)
    assert told(session_fetch(world, session_id, 5, [], [2], version=version)) == []


def test_session_errors(world: World) -> None:
    world.create("wide", (1,), (1,))
    world.settle()
    assert session_fetch(world, 77, 1, []).error_code == Errors.FETCH_SESSION_ID_NOT_FOUND
    assert session_fetch(world, 0, -5, [part(0)]).error_code == Errors.FETCH_SESSION_ID_NOT_FOUND
    session_id = session_fetch(world, 0, 0, [part(0)]).session_id
    assert session_fetch(world, session_id, 7, []).error_code == Errors.INVALID_FETCH_SESSION_EPOCH
    assert session_fetch(world, session_id, -5, []).error_code == Errors.INVALID_FETCH_SESSION_EPOCH
    assert session_fetch(world, session_id, 1, [], version=12).error_code == Errors.FETCH_SESSION_TOPIC_ID_ERROR
    assert session_fetch(world, session_id, 1, []).error_code == Errors.NONE
    closed = session_fetch(world, session_id, -1, [part(0)])
    assert closed.session_id == 0 and told(closed) == [0]
    assert session_fetch(world, session_id, 2, []).error_code == Errors.FETCH_SESSION_ID_NOT_FOUND
    # A full request that names a session ends it and begins another.
    one = session_fetch(world, 0, 0, [part(0)]).session_id
    other = session_fetch(world, one, 0, [part(0)]).session_id
    assert other not in (0, one)
    assert len(world.brokers[1].manager.sessions) == 1
    # Forgetting the last partition ends it too; what is named beside is answered.
    last = session_fetch(world, other, 1, [part(0)], [0])
    assert last.session_id == 0 and told(last) == [0]
    assert len(world.brokers[1].manager.sessions) == 0


def test_a_session_hears_of_a_topic_that_goes_and_of_one_that_takes_its_name(world: World) -> None:
    world.create("wide", (1,), (1,))
    world.create("other", (1,))
    world.settle()
    gone = world.topic_ids["wide"]

    def errors(epoch: int, parts: list[dict[str, int]]) -> list[int]:
        world.topic_ids["wide"] = gone
        body = session_fetch(world, session_id, epoch, parts)
        return [one.error_code for topic in body.responses for one in topic.partitions]

    session_id = session_fetch(world, 0, 0, [part(0), part(1)]).session_id
    world.delete("wide")
    world.settle()
    # The session knows what it was called; who asks for it anew does not.
    assert errors(1, []) == [Errors.UNKNOWN_TOPIC_OR_PARTITION] * 2
    assert errors(2, [part(0)]) == [Errors.UNKNOWN_TOPIC_OR_PARTITION] * 2
    assert [one.error_code for one in session_fetch(world, 0, 0, [part(0)]).responses[0].partitions] == [Errors.UNKNOWN_TOPIC_ID]
    world.create("wide", (1,))
    world.settle()
    assert errors(3, []) == [Errors.INCONSISTENT_TOPIC_ID] * 2


def test_a_follower_of_a_topic_that_is_gone_tells_nothing_of_the_one_that_took_its_name(world: World) -> None:
    world.create("wide", (1, 2))
    world.settle()
    gone, epoch = world.topic_ids["wide"], world.brokers[1].manager.registered_epoch(2)
    follower = {"replica_id": 2, "replica_epoch": epoch}
    session_id = session_fetch(world, 0, 0, [part(0)], replica_state=follower).session_id
    world.delete("wide")
    world.settle()
    world.sever(1, 2)
    world.create("wide", (1, 2))
    world.settle()
    world.topic_ids["wide"] = gone
    body = session_fetch(world, session_id, 1, [part(0)], replica_state=follower)
    assert [one.error_code for one in body.responses[0].partitions] == [Errors.INCONSISTENT_TOPIC_ID]
    assert world.brokers[1].partition(("wide", 0)).remotes[2].log_end_offset == -1


# --- offsets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", versions(ApiKey.LIST_OFFSETS))
def test_list_offsets_in_every_version(solo: World, version: int) -> None:
    start = solo.clock.wall_ms()
    for value in (b"a", b"b", b"c"):
        solo.produce(1, "solo", value)
        solo.settle(10)

    def ask(timestamp: int) -> tuple[Errors, int, int]:
        found = solo.list_offsets(1, "solo", timestamp, version=version)
        return found.error, found.first.timestamp, found.first.offset

    assert ask(-1) == (Errors.NONE, -1, 3)
    assert ask(-2) == (Errors.NONE, -1, 0)
    assert ask(start + 5) == (Errors.NONE, start + 10, 1)
    assert ask(start + 500) == (Errors.NONE, -1, -1)
    unsupported = (Errors.UNSUPPORTED_VERSION, -1, -1)
    assert ask(-3) == ((Errors.NONE, start + 20, 2) if version >= 7 else unsupported)
    assert ask(-4) == ((Errors.NONE, -1, 0) if version >= 8 else unsupported)
    assert ask(-5) == ((Errors.NONE, -1, -1) if version >= 9 else unsupported)
    assert ask(-6) == ((Errors.NONE, -1, -1) if version >= 11 else unsupported)
    assert ask(-7) == unsupported
    epoch = solo.list_offsets(1, "solo", -1, version=version).first.leader_epoch
    assert epoch == (0 if version >= 4 else -1)


def test_list_offsets_sees_what_is_committed_and_followers_all(world: World) -> None:
    world.create("orders", (1, 2))
    world.settle()
    world.sever(1, 2)
    world.produce(1, "orders", b"a")
    assert world.list_offsets(1, "orders", -1).first.offset == 0
    assert world.list_offsets(1, "orders", 0).first.offset == -1
    for sees_all in (2, -2):
        body = {"replica_id": sees_all, "topics": [{"name": "orders", "partitions": [{"partition_index": 0, "timestamp": -1}]}]}
        assert world.brokers[1].handle(ApiKey.LIST_OFFSETS, body).first.offset == 1
    assert world.list_offsets(2, "orders", -1).error == Errors.NOT_LEADER_OR_FOLLOWER
    assert world.list_offsets(1, "orders", -1, current_leader_epoch=4).error == Errors.UNKNOWN_LEADER_EPOCH
    assert world.list_offsets(1, "none", -1).error == Errors.UNKNOWN_TOPIC_OR_PARTITION
    twice = {"replica_id": -1, "topics": [{"name": "orders", "partitions": [{"partition_index": 0, "timestamp": -1}] * 2}]}
    assert world.brokers[1].handle(ApiKey.LIST_OFFSETS, twice).error == Errors.INVALID_REQUEST


def test_a_new_leader_does_not_guess_its_end(world: World) -> None:
    world.create("orders", (1, 2, 3))
    world.settle()
    answer = world.produce(1, "orders", b"a")
    world.until(lambda: answer.is_settled)
    world.sever(2, 3)
    world.kill(1)
    world.fence(1)
    world.settle(5)
    leader = world.brokers[2].partition(("orders", 0))
    assert leader.is_leader and leader.high_watermark < leader.log.log_end_offset
    assert world.list_offsets(2, "orders", -1).error == Errors.OFFSET_NOT_AVAILABLE
    assert world.list_offsets(2, "orders", -1, version=4).error == Errors.LEADER_NOT_AVAILABLE
    assert world.list_offsets(2, "orders", -2).error == Errors.NONE


def test_a_leader_knows_the_epoch_of_its_log_start_before_a_record_is_there(world: World) -> None:
    world.create("orders", (1,))
    world.settle()
    assert world.list_offsets(1, "orders", -2).first.leader_epoch == 0
    world.produce(1, "orders", b"a")
    world.elect("orders", 0, 1)
    world.settle()
    assert world.list_offsets(1, "orders", -2).first.leader_epoch == 0
    world.brokers[1].partition(("orders", 0)).delete_records(-1)
    assert world.list_offsets(1, "orders", -2).first.leader_epoch == 1


@pytest.mark.parametrize("version", versions(ApiKey.OFFSET_FOR_LEADER_EPOCH))
def test_offset_for_leader_epoch(world: World, version: int) -> None:
    world.create("orders", (1,))
    world.settle()
    world.produce(1, "orders", b"a")
    for _ in range(2):
        world.elect("orders", 0, 1)
    world.settle()
    world.produce(1, "orders", b"b")
    world.elect("orders", 0, 1)
    world.settle()

    def ask(epoch: int, current: int = -1, topic: str = "orders") -> tuple[Errors, int, int]:
        partition = {"partition": 0, "leader_epoch": epoch, "current_leader_epoch": current}
        answer = world.brokers[1].handle(
            ApiKey.OFFSET_FOR_LEADER_EPOCH, {"replica_id": -1, "topics": [{"topic": topic, "partitions": [partition]}]}, version
        )
        return answer.error, answer.first.leader_epoch, answer.first.end_offset

    assert ask(0) == (Errors.NONE, 0, 1)
    assert ask(1) == (Errors.NONE, 0, 1)
    assert ask(2) == (Errors.NONE, 2, 2)
    # The leader knows its own epoch before the first record in it.
    assert ask(3) == (Errors.NONE, 3, 2)
    assert ask(4) == (Errors.NONE, -1, -1)
    assert ask(0, current=2) == (Errors.FENCED_LEADER_EPOCH, -1, -1)
    assert ask(0, topic="none") == (Errors.UNKNOWN_TOPIC_OR_PARTITION, -1, -1)


# --- errors at large ---------------------------------------------------------------------------


def test_error_responses_can_be_written_in_every_version() -> None:
    batch = struct.pack(">q", 1)
    topic_id = uuid.UUID(int=9)
    requests: list[tuple[ApiKey, Any, dict[str, Any]]] = [
        (
            ApiKey.PRODUCE,
            produce,
            {
                "topic_data": [{"name": "t", "topic_id": topic_id, "partition_data": [{"index": 1, "records": batch}]}],
                "acks": 1,
                "timeout": 1,
            },
        ),
        (
            ApiKey.FETCH,
            fetch,
            {
                "topics": [{"topic": "t", "topic_id": topic_id, "partitions": [part(1)]}],
                "max_wait": 1,
                "min_bytes": 1,
                "replica_id": -1,
                "forgotten_topics_data": (),
            },
        ),
        (
            ApiKey.LIST_OFFSETS,
            list_offsets,
            {"replica_id": -1, "topics": [{"name": "t", "partitions": [{"partition_index": 1, "timestamp": -1}]}]},
        ),
        (
            ApiKey.OFFSET_FOR_LEADER_EPOCH,
            offset_for_leader_epoch,
            {"topics": [{"topic": "t", "partitions": [{"partition": 1, "leader_epoch": 1}]}]},
        ),
    ]
    for key, module, body in requests:
        for version in versions(key):
            request = codec.decode_request(key, version, codec.encode_request_body(key, version, body))
            answer = module.error_response(request, Errors.UNKNOWN_SERVER_ERROR, None, version)
            raw = codec.encode_response_body(key, version, answer)
            assert b"\xff\xff" in raw
            codec.decode_response(key, version, raw)
