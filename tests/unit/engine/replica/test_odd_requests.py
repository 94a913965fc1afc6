"""Requests that name a partition twice, or say what no client means: answered as Apache Kafka answers them."""

from __future__ import annotations

from typing import Any

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.log.epochs import LeaderEpochs
from kafkalab.engine.protocol.apis import ApiKey
from tests.unit.engine.replica.world import Answer, World

INT_MIN, INT_MAX = -(1 << 31), (1 << 31) - 1
LONG_MIN, LONG_MAX = -(1 << 63), (1 << 63) - 1


@pytest.fixture
def pair(world: World) -> World:
    """Two topics on broker 1, the first with two partitions, three batches in each."""
    world.create("orders", (1,), (1,))
    world.create("parcels", (1,))
    world.settle()
    for topic, index in (("orders", 0), ("orders", 1), ("parcels", 0)):
        for _ in range(3):
            assert world.produce(1, topic, b"a", index=index).error == Errors.NONE
    return world


def produce(
    world: World, *topics: tuple[str, list[tuple[int, bytes]]], version: int = 13
) -> list[tuple[Any, list[tuple[int, Errors, int]]]]:
    names = {topic_id: name for name, topic_id in world.topic_ids.items()}
    data = [
        {
            "name": name,
            "topic_id": world.topic_ids[name],
            "partition_data": [{"index": index, "records": records} for index, records in parts],
        }
        for name, parts in topics
    ]
    answer = world.brokers[1].handle(ApiKey.PRODUCE, {"acks": -1, "timeout": 1_000, "topic_data": data}, version)
    return [
        (
            topic.name if version < 13 else names[topic.topic_id],
            [(part.index, Errors(part.error_code), part.base_offset) for part in topic.partition_responses],
        )
        for topic in answer.body.responses
    ]


@pytest.mark.parametrize("version", [3, 13])
def test_of_a_partition_with_two_batches_the_last_is_appended(pair: World, version: int) -> None:
    one, other = pair.batch(b"one"), pair.batch(b"an", b"other")
    assert produce(pair, ("orders", [(0, one), (0, other)]), version=version) == [("orders", [(0, Errors.NONE, 3)])]
    assert pair.values(1, "orders")[3:] == [b"an", b"other"]
    assert produce(pair, ("orders", [(0, other)]), ("orders", [(0, one)]), version=version) == [("orders", [(0, Errors.NONE, 5)])]
    assert pair.values(1, "orders")[5:] == [b"one"]


def test_a_batch_that_is_refused_is_what_is_told_of_its_partition(pair: World) -> None:
    good = pair.batch(b"good")
    for bad_first in (True, False):
        parts = [(0, b"bad"), (0, good)] if bad_first else [(0, good), (0, b"bad")]
        assert produce(pair, ("orders", parts), version=9) == [("orders", [(0, Errors.INVALID_RECORD, -1)])]
    assert pair.values(1, "orders")[3:] == [b"good", b"good"]


def test_a_topic_named_twice_is_answered_once_and_one_without_partitions_not_at_all(pair: World) -> None:
    one = pair.batch(b"one")
    told = produce(pair, ("orders", [(0, one)]), ("parcels", [(0, one)]), ("orders", [(1, one)]))
    assert told == [("orders", [(0, Errors.NONE, 3), (1, Errors.NONE, 3)]), ("parcels", [(0, Errors.NONE, 3)])]
    assert produce(pair, ("orders", []), ("parcels", [(0, one)])) == [("parcels", [(0, Errors.NONE, 4)])]


def fetch(world: World, *partitions: dict[str, int], version: int = 18, **more: Any) -> Answer:
    parts = [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1 << 20, **one} for one in partitions]
    topic = {"topic": "orders", "topic_id": world.topic_ids["orders"], "partitions": parts}
    body = {"max_wait": 500, "min_bytes": 1, "max_bytes": 1 << 20, "replica_id": -1, "topics": [topic], "forgotten_topics_data": ()}
    return world.brokers[1].handle(ApiKey.FETCH, body | more, version)


def rows(answer: Answer) -> list[tuple[int, Errors, int]]:
    assert answer.is_settled
    return [
        (row.partition_index, Errors(row.error_code), len(row.records or b""))
        for topic in answer.body.responses
        for row in topic.partitions
    ]


@pytest.mark.parametrize("version", [4, 12, 18])
@pytest.mark.parametrize("session", [-1, 0])
def test_a_partition_is_fetched_as_it_was_named_last(pair: World, version: int, session: int) -> None:
    size = len(pair.batch(b"a"))
    answer = fetch(pair, {"fetch_offset": 0}, {"partition": 1}, {"fetch_offset": 2}, version=version, session_id=0, session_epoch=session)
    assert rows(answer) == [(0, Errors.NONE, size), (1, Errors.NONE, 3 * size)]


@pytest.mark.parametrize("limit", [-1, INT_MIN])
def test_limits_below_zero_are_refused_at_once_where_there_is_something_to_read(pair: World, limit: int) -> None:
    size = len(pair.batch(b"a"))
    refused = (0, Errors.UNKNOWN_SERVER_ERROR, 0)
    assert rows(fetch(pair, {"partition_max_bytes": limit})) == [refused]
    assert rows(fetch(pair, {"partition_max_bytes": limit}, {"partition": 1})) == [refused, (1, Errors.NONE, 3 * size)]
    # To all that come after the first there is nothing left, and the first batch is given all the same.
    assert rows(fetch(pair, {}, {"partition": 1}, max_bytes=limit)) == [refused, (1, Errors.NONE, size)]
    assert rows(fetch(pair, {"fetch_offset": 3}, max_bytes=limit)) == [(0, Errors.NONE, 0)]
    waiting = fetch(pair, {"fetch_offset": 3, "partition_max_bytes": limit})
    assert not waiting.is_settled
    pair.settle(600)
    assert rows(waiting) == [(0, Errors.NONE, 0)]


def test_offsets_and_partitions_at_the_edge_of_their_type(pair: World) -> None:
    for offset in (LONG_MIN, -1, 4, LONG_MAX):
        assert rows(fetch(pair, {"fetch_offset": offset})) == [(0, Errors.OFFSET_OUT_OF_RANGE, 0)]
    for index in (INT_MIN, -1, 2, INT_MAX):
        (row,) = fetch(pair, {"partition": index}).body.responses[0].partitions
        assert (row.partition_index, row.error_code, row.aborted_transactions) == (index, Errors.UNKNOWN_TOPIC_OR_PARTITION, ())
    for wait_ms in (INT_MIN, -1, 0):
        assert rows(fetch(pair, {"fetch_offset": 3}, max_wait=wait_ms)) == [(0, Errors.NONE, 0)]
        assert rows(fetch(pair, {"fetch_offset": 3}, min_bytes=wait_ms)) == [(0, Errors.NONE, 0)]


def test_who_asks_twice_for_an_offset_gets_none(pair: World) -> None:
    parts = [{"partition_index": index, "timestamp": timestamp} for index, timestamp in ((0, -1), (1, -1), (0, -2))]
    topics = [{"name": "orders", "partitions": parts}, {"name": "parcels", "partitions": []}, {"name": "orders", "partitions": parts[1:2]}]
    answer = pair.list_offsets(1, "orders", -1, request={"topics": topics})
    told = [(topic.name, [(row.partition_index, row.error_code) for row in topic.partitions]) for topic in answer.body.topics]
    assert told == [("orders", [(0, Errors.INVALID_REQUEST), (1, Errors.INVALID_REQUEST)])]


@pytest.mark.parametrize(("epoch", "error"), [(-1, Errors.NONE), (-2, Errors.FENCED_LEADER_EPOCH), (INT_MIN, Errors.FENCED_LEADER_EPOCH)])
def test_a_leader_epoch_below_minus_one_is_an_old_one(pair: World, epoch: int, error: Errors) -> None:
    assert pair.list_offsets(1, "orders", -1, current_leader_epoch=epoch).error == error
    part = {"partition": 0, "current_leader_epoch": epoch, "leader_epoch": 0}
    body = {"replica_id": -1, "topics": [{"topic": "orders", "partitions": [part]}]}
    assert pair.brokers[1].handle(ApiKey.OFFSET_FOR_LEADER_EPOCH, body, 4).error == error
    # To a fetch it is none.
    assert pair.fetch(1, "orders", 0, current_leader_epoch=epoch).error == Errors.NONE


@pytest.mark.parametrize("epoch", [-2, INT_MIN])
def test_epochs_below_any_end_where_the_log_begins(pair: World, epoch: int) -> None:
    pair.create("empty", (1,))
    pair.settle()
    for topic in ("orders", "empty"):
        body = {"replica_id": -1, "topics": [{"topic": topic, "partitions": [{"partition": 0, "leader_epoch": epoch}]}]}
        row = pair.brokers[1].handle(ApiKey.OFFSET_FOR_LEADER_EPOCH, body, 4).first
        assert (row.error_code, row.leader_epoch, row.end_offset) == (Errors.NONE, epoch, 0)
    assert LeaderEpochs([]).end_offset(epoch, 7) == (-1, -1)


def test_the_last_offset_of_a_partition_is_the_one_up_to_which_records_go(pair: World) -> None:
    asked = [{"partition_index": 0, "offset": offset} for offset in (2, 99, 1)]
    topics = [{"name": "orders", "partitions": asked}]
    answer = pair.brokers[1].handle(ApiKey.DELETE_RECORDS, {"timeout": 1_000, "topics": topics}, 2)
    (row,) = answer.body.topics[0].partitions
    assert (row.error_code, row.low_watermark) == (Errors.NONE, 1)
    assert pair.brokers[1].partition(("orders", 0)).log.log_start_offset == 1
