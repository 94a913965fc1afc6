"""The host's own client against brokers that answer from a script."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from kafkalab.engine.cluster import admin
from kafkalab.engine.cluster.admin import Address, AdminClient
from kafkalab.engine.cluster.errors import HostError, RequestRefused
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.record.batch import Record, build_batch
from tests.support.fake_broker import FakeBroker

BATCH = build_batch([Record(0, 1, None, b"ready")])


def client(*addresses: Address) -> AdminClient:
    return AdminClient(lambda: addresses, threading.Event())


def created(error: Errors, message: str | None = None) -> dict[str, Any]:
    return {"topics": [{"name": "orders", "error_code": error, "error_message": message}]}


def test_a_topic_is_created_as_asked() -> None:
    seen: list[Any] = []

    def answer(request: Any) -> dict[str, Any]:
        seen.append(request)
        return created(Errors.NONE)

    with FakeBroker({ApiKey.CREATE_TOPICS: answer}) as broker:
        client(broker.address).create_topic("orders", 3, 2, {"retention.ms": "1000"}, timeout_s=5)
    topic = seen[0].topics[0]
    assert (topic.name, topic.num_partitions, topic.replication_factor) == ("orders", 3, 2)
    assert [(config.name, config.value) for config in topic.configs] == [("retention.ms", "1000")]


def test_a_refusal_says_what_was_tried_and_what_came_back() -> None:
    answer = created(Errors.INVALID_REPLICATION_FACTOR, "Unable to replicate the partition 5 time(s)")
    with FakeBroker({ApiKey.CREATE_TOPICS: lambda _: answer}) as broker, pytest.raises(RequestRefused) as caught:
        client(broker.address).create_topic("orders", 3, 5, {}, timeout_s=5)
    assert str(caught.value) == ("Creating topic 'orders': INVALID_REPLICATION_FACTOR (38): Unable to replicate the partition 5 time(s)")


def test_what_may_pass_is_tried_again_and_another_broker_is_asked() -> None:
    answers: Iterator[dict[str, Any] | None] = iter([None, created(Errors.NOT_CONTROLLER), created(Errors.NONE)])
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = closed.getsockname()
    with FakeBroker({ApiKey.CREATE_TOPICS: lambda _: next(answers)}) as broker:
        client(nobody, broker.address).create_topic("orders", 1, 1, {}, timeout_s=10)
        assert broker.asked == [ApiKey.CREATE_TOPICS] * 3


def metadata_of(partitions: int, replicas: int, *errors: Errors) -> Callable[[Any], dict[str, Any]]:
    """What a broker tells of the topic, after it has refused some times."""
    refusals = list(errors)

    def tell(_request: Any) -> dict[str, Any]:
        places = [
            {"partition_index": index, "error_code": 0, "leader_id": 1, "replica_nodes": range(replicas), "isr_nodes": range(replicas)}
            for index in range(partitions)
        ]
        error = refusals.pop(0) if refusals else Errors.NONE
        return {"brokers": [], "topics": [{"name": "orders", "error_code": error, "topic_id": None, "partitions": places}]}

    return tell


def configs_of(**own: str) -> Callable[[Any], dict[str, Any]]:
    entries = [{"name": name.replace("_", "."), "value": value, "config_source": 1, "synonyms": []} for name, value in own.items()]
    result = {"error_code": 0, "error_message": None, "resource_type": 2, "resource_name": "orders", "configs": entries}
    return lambda _request: {"results": [result]}


LOST: list[dict[str, Any] | None] = [None, created(Errors.REQUEST_TIMED_OUT)]
"""Answers that leave open what came of a request: none at all, and a broker's that had none from the controller."""


@pytest.mark.parametrize("lost", LOST)
def test_a_topic_that_an_earlier_request_may_have_made_is_looked_at(lost: dict[str, Any] | None) -> None:
    """On a busy machine an answer may come too late, and the next one then says that the topic is there already."""
    answers: list[dict[str, Any] | None] = []
    scripts = {
        ApiKey.CREATE_TOPICS: lambda _: answers.pop(0),
        ApiKey.METADATA: metadata_of(3, 2, Errors.UNKNOWN_TOPIC_OR_PARTITION),
        ApiKey.DESCRIBE_CONFIGS: configs_of(retention_ms="1000"),
    }
    with FakeBroker(scripts) as broker:
        for partitions, replication_factor, retention_ms, is_ours in (
            (3, 2, "1000", True),
            (-1, -1, "1000", True),
            (4, 2, "1000", False),
            (3, 1, "1000", False),
            (3, 2, "2000", False),
        ):
            answers[:] = [lost, created(Errors.TOPIC_ALREADY_EXISTS)]
            with nullcontext() if is_ours else pytest.raises(RequestRefused, match="TOPIC_ALREADY_EXISTS"):
                client(broker.address).create_topic("orders", partitions, replication_factor, {"retention.ms": retention_ms}, timeout_s=5)


def test_a_topic_that_was_there_before_is_refused_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = closed.getsockname()
    answer = created(Errors.TOPIC_ALREADY_EXISTS)
    with FakeBroker({ApiKey.CREATE_TOPICS: lambda _: answer}) as broker, pytest.raises(RequestRefused, match="TOPIC_ALREADY_EXISTS"):
        client(nobody, broker.address).create_topic("orders", 1, 1, {}, timeout_s=5)
    assert broker.asked == [ApiKey.CREATE_TOPICS]


def test_what_an_earlier_request_may_have_taken_away_need_not_be_there() -> None:
    gone = {"name": "orders", "topic_id": None, "error_code": Errors.UNKNOWN_TOPIC_OR_PARTITION, "error_message": None}
    deletions = iter([None, {"responses": [gone]}, {"responses": [gone]}])
    ended = {"partition_index": 2, "error_code": Errors.NO_REASSIGNMENT_IN_PROGRESS, "error_message": None}
    answer = {"error_code": 0, "error_message": None, "responses": [{"name": "orders", "partitions": [ended]}]}
    cancellations = iter([None, answer, answer])
    scripts = {
        ApiKey.DELETE_TOPICS: lambda _: next(deletions),
        ApiKey.ALTER_PARTITION_REASSIGNMENTS: lambda _: next(cancellations),
    }
    with FakeBroker(scripts) as broker:
        client(broker.address).delete_topic("orders", timeout_s=5)
        with pytest.raises(RequestRefused, match=r"UNKNOWN_TOPIC_OR_PARTITION \(3\): There is no topic 'orders'\."):
            client(broker.address).delete_topic("orders", timeout_s=5)
        client(broker.address).reassign("orders", 2, None, timeout_s=5)
        with pytest.raises(RequestRefused, match="NO_REASSIGNMENT_IN_PROGRESS"):
            client(broker.address).reassign("orders", 2, None, timeout_s=5)


@pytest.mark.parametrize("message", ["no controller yet", "no controller yet."])
def test_the_deadline_tells_the_last_trouble(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr(admin, "time", SimpleNamespace(monotonic=lambda: now_s[0]))

    def answer(_request: Any) -> dict[str, Any]:
        now_s[0] += 3.0
        return created(Errors.NOT_CONTROLLER, message)

    said = r"did not succeed within 5 s: NOT_CONTROLLER \(41\): no controller yet\.$"
    with FakeBroker({ApiKey.CREATE_TOPICS: answer}) as broker, pytest.raises(HostError, match=said):
        client(broker.address).create_topic("orders", 1, 1, {}, timeout_s=5)
    assert now_s == [6.0]


def test_without_brokers_that_is_what_is_said() -> None:
    with pytest.raises(HostError, match="no broker is running"):
        client().delete_topic("orders", timeout_s=0.05)


def test_a_topic_is_deleted_by_name() -> None:
    seen: list[str] = []

    def answer(request: Any) -> dict[str, Any]:
        seen.append(request.topics[0].name)
        return {"responses": [{"name": "orders", "topic_id": None, "error_code": 0, "error_message": None}]}

    with FakeBroker({ApiKey.DELETE_TOPICS: answer}) as broker:
        client(broker.address).delete_topic("orders", timeout_s=5)
    assert seen == ["orders"]


def test_leaders_are_elected_where_it_is_needed() -> None:
    seen: list[Any] = []

    def answer(request: Any) -> dict[str, Any]:
        seen.append(request)
        none_needed = {"partition_id": 1, "error_code": Errors.ELECTION_NOT_NEEDED.value, "error_message": None}
        results = [{"partition_id": 0, "error_code": 0, "error_message": None}, none_needed]
        return {"error_code": 0, "replica_election_results": [{"topic": "orders", "partition_result": results}]}

    with FakeBroker({ApiKey.ELECT_LEADERS: answer}) as broker:
        client(broker.address).elect_leaders([("orders", 0), ("orders", 1)], unclean=False, timeout_s=5)
        client(broker.address).elect_leaders(None, unclean=True, timeout_s=5)
    assert [(one.topic, tuple(one.partitions)) for one in seen[0].topic_partitions] == [("orders", (0, 1))]
    assert seen[1].topic_partitions is None
    assert [request.election_type for request in seen] == [0, 1]


def test_an_election_that_is_impossible_is_refused() -> None:
    result = {"partition_id": 0, "error_code": Errors.PREFERRED_LEADER_NOT_AVAILABLE.value, "error_message": "it is fenced"}
    answer = {"error_code": 0, "replica_election_results": [{"topic": "orders", "partition_result": [result]}]}
    said = r"Electing leaders: PREFERRED_LEADER_NOT_AVAILABLE \(80\): it is fenced"
    with FakeBroker({ApiKey.ELECT_LEADERS: lambda _: answer}) as broker, pytest.raises(RequestRefused, match=said):
        client(broker.address).elect_leaders([("orders", 0)], unclean=False, timeout_s=5)


def test_a_move_is_asked_for_and_taken_back() -> None:
    seen: list[Any] = []

    def answer(request: Any) -> dict[str, Any]:
        seen.append(request.topics[0].partitions[0].replicas)
        result = {"partition_index": 2, "error_code": 0, "error_message": None}
        return {"error_code": 0, "error_message": None, "responses": [{"name": "orders", "partitions": [result]}]}

    with FakeBroker({ApiKey.ALTER_PARTITION_REASSIGNMENTS: answer}) as broker:
        client(broker.address).reassign("orders", 2, [3, 1], timeout_s=5)
        client(broker.address).reassign("orders", 2, None, timeout_s=5)
    assert seen[0] == (3, 1) and seen[1] is None


def test_a_record_goes_to_the_leader_with_acks_all() -> None:
    seen: list[Any] = []

    def produced(request: Any) -> dict[str, Any]:
        seen.append(request)
        partition = {"index": 0, "error_code": 0, "base_offset": 0}
        return {"responses": [{"name": "orders", "partition_responses": [partition]}]}

    with FakeBroker({ApiKey.PRODUCE: produced}) as leader:

        def metadata(request: Any) -> dict[str, Any]:
            partition = {"partition_index": 0, "error_code": 0, "leader_id": 2, "replica_nodes": [2], "isr_nodes": [2]}
            return {
                "brokers": [{"node_id": 2, "host": leader.address[0], "port": leader.address[1]}],
                "topics": [{"name": "orders", "error_code": 0, "topic_id": None, "partitions": [partition]}],
            }

        with FakeBroker({ApiKey.METADATA: metadata}) as bootstrap:
            client(bootstrap.address).produce("orders", BATCH, timeout_s=5)
    assert seen[0].acks == -1
    assert bytes(seen[0].topic_data[0].partition_data[0].records) == BATCH
