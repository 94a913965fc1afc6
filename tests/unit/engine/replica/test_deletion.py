"""DeleteRecords: records go on all live replicas, and settings of the broker reach open logs."""

from __future__ import annotations

import pytest

from kafkalab.engine.broker.apis import delete_records
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey
from tests.unit.engine.replica.world import Answer, World


def delete(world: World, node_id: int, offset: int, *, topic: str = "orders", timeout: int = 5_000, version: int = 2) -> Answer:
    partitions = [{"partition_index": 0, "offset": offset}]
    body = {"topics": [{"name": topic, "partitions": partitions}], "timeout": timeout}
    return world.brokers[node_id].handle(ApiKey.DELETE_RECORDS, body, version)


def starts(world: World, topic: str = "orders") -> dict[int, int]:
    found = {}
    for node_id, broker in world.brokers.items():
        partition = broker.manager.partition((topic, 0)) if broker.is_up else None
        if partition is not None:
            found[node_id] = partition.log.log_start_offset
    return found


@pytest.fixture
def full(world: World) -> World:
    """Ten records on three brokers, led by 1."""
    world.create("orders", (1, 2, 3))
    world.settle()
    answer = world.produce(1, "orders", *(str(number).encode() for number in range(10)))
    world.until(lambda: answer.is_settled)
    world.settle(600)
    return world


@pytest.mark.parametrize("version", [0, 1, 2])
def test_records_go_everywhere_before_the_answer(full: World, version: int) -> None:
    answer = delete(full, 1, 4, version=version)
    assert not answer.is_settled
    # Followers whose fetches wait hear of it at once.
    assert full.until(lambda: answer.is_settled) < 10
    assert (answer.error, answer.first.low_watermark) == (Errors.NONE, 4)
    assert starts(full) == {1: 4, 2: 4, 3: 4}
    reader = full.fetch(1, "orders", 3)
    full.settle(1)
    assert reader.error == Errors.OFFSET_OUT_OF_RANGE


def test_what_is_gone_already_is_answered_at_once(full: World) -> None:
    first = delete(full, 1, 4)
    full.until(lambda: first.is_settled)
    again = delete(full, 1, 2)
    assert again.is_settled and again.first.low_watermark == 4


def test_minus_one_is_all_that_is_committed(full: World) -> None:
    answer = delete(full, 1, -1)
    full.until(lambda: answer.is_settled)
    assert answer.first.low_watermark == 10
    assert starts(full) == {1: 10, 2: 10, 3: 10}
    written = full.produce(1, "orders", b"on")
    full.until(lambda: written.is_settled)
    assert written.first.base_offset == 10


@pytest.mark.parametrize(
    ("node_id", "topic", "offset", "error"),
    [
        (1, "orders", 11, Errors.OFFSET_OUT_OF_RANGE),
        (1, "orders", -2, Errors.OFFSET_OUT_OF_RANGE),
        (2, "orders", 4, Errors.NOT_LEADER_OR_FOLLOWER),
        (1, "missing", 4, Errors.UNKNOWN_TOPIC_OR_PARTITION),
        (1, "__consumer_offsets", 0, Errors.INVALID_TOPIC_EXCEPTION),
        (1, "states", 0, Errors.POLICY_VIOLATION),
    ],
)
def test_refusals(full: World, node_id: int, topic: str, offset: int, error: Errors) -> None:
    full.create("__consumer_offsets", (1,))
    full.create("states", (1,), configs={"cleanup.policy": "compact"})
    full.settle()
    answer = delete(full, node_id, offset, topic=topic)
    assert answer.is_settled and (answer.error, answer.first.low_watermark) == (error, -1)
    assert starts(full) == {1: 0, 2: 0, 3: 0}


def test_compacted_and_deleted_may_lose_records(full: World) -> None:
    full.create("both", (1,))
    full.settle()
    full.produce(1, "both", b"a", b"b")
    full.configure("both", "cleanup.policy", "compact,delete")
    full.settle()
    answer = delete(full, 1, 1, topic="both")
    assert (answer.error, answer.first.low_watermark) == (Errors.NONE, 1)


def test_what_is_not_committed_does_not_go(full: World) -> None:
    full.sever(1, 2)
    full.produce(1, "orders", b"open", acks=1)
    assert delete(full, 1, 11).error == Errors.OFFSET_OUT_OF_RANGE


def test_a_live_replica_is_waited_for_until_the_time_is_over(full: World) -> None:
    full.sever(1, 3)
    answer = delete(full, 1, 4, timeout=700)
    full.settle(600)
    assert not answer.is_settled
    full.settle(200)
    assert answer.error == Errors.REQUEST_TIMED_OUT
    # It goes there too, when it can.
    full.mend()
    full.until(lambda: starts(full)[3] == 4)


def test_a_dead_replica_is_not_waited_for_and_catches_up_later(full: World) -> None:
    full.kill(3)
    answer = delete(full, 1, 4, timeout=20_000)
    full.settle(600)
    assert not answer.is_settled
    full.fence(3)
    full.until(lambda: answer.is_settled)
    assert (answer.error, answer.first.low_watermark) == (Errors.NONE, 4)
    full.boot(3)
    full.until(lambda: starts(full).get(3) == 4)


def test_a_replica_that_is_wholly_behind_starts_where_the_leader_does(full: World) -> None:
    full.kill(3)
    full.fence(3)
    full.settle(100)
    written = full.produce(1, "orders", *(str(number).encode() for number in range(10, 20)))
    full.until(lambda: written.is_settled)
    answer = delete(full, 1, 15)
    full.until(lambda: answer.is_settled)
    full.boot(3)
    full.until(lambda: full.ends("orders")[3][0] == 20)
    full.until(lambda: starts(full)[3] == 15)
    # Batches are kept whole; who reads leaves out what lies before the start.
    assert full.values(3, "orders") == [str(number).encode() for number in range(10, 20)]


def test_a_leader_that_is_none_any_more_says_so(full: World) -> None:
    full.sever(1, 3)
    answer = delete(full, 1, 4)
    full.settle(100)
    full.elect("orders", 0, 2)
    full.until(lambda: answer.is_settled)
    assert answer.error == Errors.NOT_LEADER_OR_FOLLOWER
    # The new leader may have let go already, or not; nobody has less than it says.
    full.mend()
    full.settle(1_500)
    again = delete(full, 2, 4)
    full.until(lambda: again.is_settled)
    assert starts(full) == {1: 4, 2: 4, 3: 4}


def test_a_deleted_topic_ends_the_wait(full: World) -> None:
    full.sever(1, 3)
    answer = delete(full, 1, 4)
    full.settle(100)
    full.delete("orders")
    full.until(lambda: answer.is_settled)
    assert answer.error == Errors.UNKNOWN_TOPIC_OR_PARTITION


def test_several_partitions_are_answered_together(full: World) -> None:
    full.create("two", (1, 2), (2, 1))
    full.settle()
    body = {
        "topics": [
            {"name": "two", "partitions": [{"partition_index": 0, "offset": 0}, {"partition_index": 1, "offset": 0}]},
            {"name": "orders", "partitions": [{"partition_index": 0, "offset": 3}]},
        ],
        "timeout": 1_000,
    }
    answer = full.brokers[1].handle(ApiKey.DELETE_RECORDS, body)
    full.until(lambda: answer.is_settled)
    told = [(topic.name, [(row.partition_index, row.error_code) for row in topic.partitions]) for topic in answer.body.topics]
    assert told == [("two", [(0, 0), (1, Errors.NOT_LEADER_OR_FOLLOWER)]), ("orders", [(0, 0)])]


def test_a_request_refused_as_a_whole_names_each_partition() -> None:
    body = {"topics": [{"name": "orders", "partitions": [{"partition_index": 3, "offset": 0}]}], "timeout": 1}
    request = codec.decode_request(ApiKey.DELETE_RECORDS, 2, codec.encode_request_body(ApiKey.DELETE_RECORDS, 2, body))
    answer = delete_records.error_response(request, Errors.UNKNOWN_SERVER_ERROR, None, 2)
    told = codec.decode_response(ApiKey.DELETE_RECORDS, 2, codec.encode_response_body(ApiKey.DELETE_RECORDS, 2, answer))
    (row,) = told.topics[0].partitions
    assert (row.partition_index, row.error_code, row.low_watermark) == (3, -1, -1)


def test_a_brokers_settings_reach_open_logs_at_once_where_the_topic_has_none(full: World) -> None:
    full.create("own", (1,), configs={"retention.ms": "5"})
    full.settle()
    broker = full.brokers[1]
    config = broker.services.config
    config.subscribe(lambda changed: broker.manager.broker_config_changed())
    config.apply_dynamic({"log.retention.ms": "7000", "min.insync.replicas": "2"}, {"message.max.bytes": "5000"})
    log = broker.partition(("orders", 0)).log
    assert (log.config.retention_ms, log.config.max_message_bytes, broker.partition(("orders", 0)).min_isr) == (7_000, 5_000, 2)
    assert broker.partition(("own", 0)).log.config.retention_ms == 5
    full.create("later", (1,))
    full.settle()
    assert broker.partition(("later", 0)).log.config.retention_ms == 7_000
    config.apply_dynamic({}, {})
    assert (log.config.retention_ms, broker.partition(("orders", 0)).min_isr) == (604_800_000, 1)
