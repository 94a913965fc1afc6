"""Creating and deleting topics, adding partitions."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.telemetry.events import PartitionsAdded, TopicCreated, TopicDeleted
from kafkalab.engine.telemetry.levels import PartitionKey, TopicKey, TopicLevel
from tests.unit.engine.controller.harness import ControllerHarness


@pytest.fixture
def lab() -> ControllerHarness:
    harness = ControllerHarness()
    harness.start_brokers(1, 2, 3)
    return harness


def manual(*assignments: list[int]) -> dict[str, Any]:
    rows = [{"partition_index": index, "broker_ids": replicas} for index, replicas in enumerate(assignments)]
    return {"num_partitions": -1, "replication_factor": -1, "assignments": rows}


@pytest.mark.parametrize("version", range(2, 8))
def test_a_topic_is_created_in_every_version(lab: ControllerHarness, version: int) -> None:
    settings = [{"name": "min.insync.replicas", "value": "2"}]
    result = lab.create("orders", version=version, num_partitions=6, replication_factor=3, configs=settings)
    assert (result.name, result.error_code, result.error_message) == ("orders", 0, None)
    topic = lab.image.topics_by_name["orders"]
    assert len(topic.partitions) == 6
    assert {len(partition.replicas) for partition in topic.partitions.values()} == {3}
    assert all(partition.isr == partition.replicas and partition.leader == partition.replicas[0] for partition in topic.partitions.values())
    assert all(
        partition.directories == tuple(uuid.UUID(int=replica * 1_000_000) for replica in partition.replicas)
        for partition in topic.partitions.values()
    )
    assert lab.image.topic_config("orders") == {"min.insync.replicas": "2"}
    if version >= 5:
        assert (result.num_partitions, result.replication_factor) == (6, 3)
        described = {entry.name: (entry.value, entry.config_source) for entry in result.configs}
        assert described["min.insync.replicas"] == ("2", 1) and described["cleanup.policy"] == ("delete", 5)
    if version >= 7:
        assert result.topic_id == topic.topic_id
    (created,) = lab.sink.of(TopicCreated)
    assert (created.topic, created.partitions, created.replication_factor) == ("orders", 6, 3)
    level = lab.sink.levels[TopicKey("orders")]
    assert isinstance(level, TopicLevel)
    assert (level.partitions, level.replication_factor, level.min_insync_replicas, level.internal) == (6, 3, 2, False)


def test_defaults_come_from_the_controllers_settings() -> None:
    lab = ControllerHarness(num_partitions="4", default_replication_factor="2")
    lab.start_brokers(1, 2, 3)
    result = lab.create("orders", num_partitions=-1, replication_factor=-1)
    assert (result.error_code, result.num_partitions, result.replication_factor) == (0, 4, 2)


def test_validating_creates_nothing(lab: ControllerHarness) -> None:
    appends = len(lab.raft.appends)
    assert lab.create("orders", validate_only=True, num_partitions=2).num_partitions == 2
    assert lab.create("..", validate_only=True).error_code == Errors.INVALID_TOPIC_EXCEPTION
    assert len(lab.raft.appends) == appends and lab.image.topics_by_name == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "Topic name is invalid: the empty string is not allowed"),
        (".", "Topic name is invalid: '.' is not allowed"),
        ("..", "Topic name is invalid: '..' is not allowed"),
        ("a" * 250, f"Topic name is invalid: the length of '{'a' * 250}' is longer than the max allowed length 249"),
        ("bad name", "Topic name is invalid: 'bad name' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"),
        ("naïve", "Topic name is invalid: 'naïve' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"),
        ("line\n", "Topic name is invalid: 'line\n' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"),
        ("web_clicks", "Topic 'web_clicks' collides with existing topic: web.clicks"),
    ],
)
def test_names_that_are_refused(lab: ControllerHarness, name: str, message: str) -> None:
    lab.create("web.clicks")
    result = lab.create(name)
    assert (result.error_code, result.error_message) == (Errors.INVALID_TOPIC_EXCEPTION, message)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"num_partitions": 0}, Errors.INVALID_PARTITIONS, "Number of partitions was set to an invalid non-positive value."),
        ({"num_partitions": -2}, Errors.INVALID_PARTITIONS, "Number of partitions was set to an invalid non-positive value."),
        (
            {"replication_factor": 0},
            Errors.INVALID_REPLICATION_FACTOR,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        ),
        (
            {"replication_factor": 4},
            Errors.INVALID_REPLICATION_FACTOR,
            (
                "Unable to replicate the partition 4 time(s): The target replication factor of 4 cannot be reached "
                "because only 3 broker(s) are registered or some brokers have all their log directories cordoned."
            ),
        ),
        (
            {**manual([1, 2]), "replication_factor": 2},
            Errors.INVALID_REQUEST,
            "A manual partition assignment was specified, but replication factor was not set to -1.",
        ),
        (
            {**manual([1, 2]), "num_partitions": 1},
            Errors.INVALID_REQUEST,
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        ),
        (manual([1, 1]), Errors.INVALID_REPLICA_ASSIGNMENT, "The manual partition assignment includes the broker 1 more than once."),
        (
            manual([1, 9]),
            Errors.INVALID_REPLICA_ASSIGNMENT,
            "The manual partition assignment includes broker 9, but no such broker is registered.",
        ),
        (manual([]), Errors.INVALID_REPLICA_ASSIGNMENT, "The manual partition assignment includes an empty replica list."),
        (
            manual([1, 2], [3]),
            Errors.INVALID_REPLICA_ASSIGNMENT,
            (
                "The manual partition assignment includes a partition with 1 replica(s), but this is not "
                "consistent with previous partitions, which have 2 replica(s)."
            ),
        ),
        (
            {**manual([]), "assignments": [{"partition_index": 1, "broker_ids": [1]}]},
            Errors.INVALID_REPLICA_ASSIGNMENT,
            "partitions should be a consecutive 0-based integer sequence",
        ),
        (
            {**manual([]), "assignments": [{"partition_index": 0, "broker_ids": [1]}, {"partition_index": 0, "broker_ids": [2]}]},
            Errors.INVALID_REPLICA_ASSIGNMENT,
            "Found multiple manual partition assignments for partition 0",
        ),
        ({"configs": [{"name": "no.such", "value": "1"}]}, Errors.INVALID_CONFIG, "Unknown topic config name: no.such"),
        ({"num_partitions": 10_001}, Errors.POLICY_VIOLATION, "Excessively large number of partitions per request."),
        # With the topic itself that is one record too many.
        ({"num_partitions": 10_000}, Errors.POLICY_VIOLATION, "Unable to perform excessively large batch operation."),
        ({"name": "__cluster_metadata"}, Errors.INVALID_REQUEST, "Creation of internal topic __cluster_metadata is prohibited."),
    ],
)
def test_creations_that_are_refused(lab: ControllerHarness, changes: dict[str, Any], error: Errors, message: str) -> None:
    result = lab.create(**{"name": "orders", **changes})
    assert (Errors(result.error_code), result.error_message) == (error, message)
    assert lab.image.topics_by_name == {}


def test_no_value_and_bad_values_for_settings(lab: ControllerHarness) -> None:
    for value in (None, "soon"):
        assert lab.create("orders", configs=[{"name": "retention.ms", "value": value}]).error_code == Errors.INVALID_CONFIG


def test_a_topic_exists_once(lab: ControllerHarness) -> None:
    lab.create("orders")
    result = lab.create("orders")
    assert (result.error_code, result.error_message) == (Errors.TOPIC_ALREADY_EXISTS, "Topic 'orders' already exists.")
    assert lab.create("__cluster_metadata").error_code == Errors.INVALID_REQUEST


def test_topics_of_one_request_succeed_and_fail_by_themselves(lab: ControllerHarness) -> None:
    topics = [{"name": name, "num_partitions": 1, "replication_factor": 1} for name in ("a", "b", "..", "b", "c")]
    body = {"topics": topics, "timeout": 1_000, "validate_only": False}
    answer = lab.ask(ApiKey.CREATE_TOPICS, 7, body)
    assert {topic.name: Errors(topic.error_code) for topic in answer.topics} == {
        "a": Errors.NONE,
        "b": Errors.INVALID_REQUEST,
        "..": Errors.INVALID_TOPIC_EXCEPTION,
        "c": Errors.NONE,
    }
    assert len(answer.topics) == 4
    assert set(lab.image.topics_by_name) == {"a", "c"}


def test_fenced_brokers_may_hold_replicas_but_neither_lead_nor_count(lab: ControllerHarness) -> None:
    lab.heartbeat(3, want_fence=True)
    assert lab.create("orders", replication_factor=3).error_code == 0
    partition = lab.partition("orders")
    assert 3 in partition.replicas and partition.leader != 3 and 3 not in partition.isr
    assert lab.create("lonely", **manual([3])).error_code == Errors.INVALID_REPLICA_ASSIGNMENT
    lab.heartbeat(1, want_fence=True)
    lab.heartbeat(2, want_fence=True)
    refused = lab.create("nobody")
    assert refused.error_code == Errors.INVALID_REPLICATION_FACTOR
    assert refused.error_message == (
        "Unable to replicate the partition 1 time(s): All brokers are currently fenced, or have all their log directories cordoned."
    )
    lab.check_invariants()


# --- deleting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(1, 7))
def test_topics_are_deleted_by_name_in_every_version(lab: ControllerHarness, version: int) -> None:
    topic_id = lab.create("orders", num_partitions=2).topic_id
    body: dict[str, Any] = {"timeout": 1_000}
    if version >= 6:
        body["topics"] = [{"name": "orders", "topic_id": None}, {"name": "missing", "topic_id": None}]
    else:
        body["topic_names"] = ["orders", "missing"]
    answer = lab.ask(ApiKey.DELETE_TOPICS, version, body)
    assert [(row.name, Errors(row.error_code)) for row in answer.responses] == [
        ("orders", Errors.NONE),
        ("missing", Errors.UNKNOWN_TOPIC_OR_PARTITION),
    ]
    if version >= 6:
        assert answer.responses[0].topic_id == topic_id
    assert lab.image.topics_by_name == {}
    assert [event.topic for event in lab.sink.of(TopicDeleted)] == ["orders"]
    assert lab.sink.levels[TopicKey("orders")] is None and lab.sink.levels[PartitionKey("orders", 1)] is None


def test_topics_are_deleted_by_id_and_ambiguity_is_refused(lab: ControllerHarness) -> None:
    ids = {name: lab.create(name).topic_id for name in ("a", "b", "c", "d")}
    unknown = uuid.UUID(int=0xABCDEF0123)
    body = {
        "timeout": 1_000,
        "topics": [
            {"name": None, "topic_id": ids["a"]},
            {"name": "b", "topic_id": ids["b"]},
            {"name": None, "topic_id": None},
            {"name": "c", "topic_id": None},
            {"name": "c", "topic_id": None},
            {"name": None, "topic_id": unknown},
            {"name": None, "topic_id": ids["d"]},
            {"name": "d", "topic_id": None},
        ],
    }
    rows = lab.ask(ApiKey.DELETE_TOPICS, 6, body).responses
    assert [(row.name, row.topic_id, Errors(row.error_code), row.error_message) for row in rows] == [
        ("a", ids["a"], Errors.NONE, None),
        ("b", ids["b"], Errors.INVALID_REQUEST, "You may not specify both topic name and topic id."),
        (None, None, Errors.INVALID_REQUEST, "Neither topic name nor id were specified."),
        ("c", None, Errors.INVALID_REQUEST, "Duplicate topic name."),
        (None, unknown, Errors.UNKNOWN_TOPIC_ID, "This server does not host this topic ID."),
        ("d", ids["d"], Errors.INVALID_REQUEST, "The provided topic name maps to an ID that was already supplied."),
    ]
    assert set(lab.image.topics_by_name) == {"b", "c", "d"}


def test_a_topic_whose_id_is_supplied_twice_or_with_another_name_is_left_alone(lab: ControllerHarness) -> None:
    ids = {name: lab.create(name).topic_id for name in ("a", "b")}
    body = {
        "timeout": 1_000,
        "topics": [
            {"name": None, "topic_id": ids["a"]},
            {"name": None, "topic_id": ids["a"]},
            {"name": "a", "topic_id": None},
            {"name": "b", "topic_id": ids["b"]},
            {"name": "b", "topic_id": None},
        ],
    }
    rows = lab.ask(ApiKey.DELETE_TOPICS, 6, body).responses
    assert [(row.name, row.topic_id, Errors(row.error_code), row.error_message) for row in rows] == [
        (None, ids["a"], Errors.INVALID_REQUEST, "Duplicate topic id."),
        ("a", ids["a"], Errors.INVALID_REQUEST, "The provided topic name maps to an ID that was already supplied."),
        ("b", ids["b"], Errors.INVALID_REQUEST, "You may not specify both topic name and topic id."),
        ("b", ids["b"], Errors.NONE, None),
    ]
    assert set(lab.image.topics_by_name) == {"a"}


def test_a_name_is_free_again_after_deletion(lab: ControllerHarness) -> None:
    first = lab.create("web.clicks").topic_id
    lab.ask(ApiKey.DELETE_TOPICS, 6, {"timeout": 1_000, "topics": [{"name": "web.clicks", "topic_id": None}]})
    second = lab.create("web_clicks")
    assert second.error_code == 0 and second.topic_id != first


# --- adding partitions ---------------------------------------------------------------------------


def add(
    lab: ControllerHarness, name: str, count: int, assignments: Any = None, *, validate_only: bool = False
) -> tuple[Errors, str | None]:
    body = {
        "topics": [{"name": name, "count": count, "assignments": assignments}],
        "timeout": 1_000,
        "validate_only": validate_only,
    }
    (row,) = lab.ask(ApiKey.CREATE_PARTITIONS, 3, body).results
    assert row.name == name
    return Errors(row.error_code), row.error_message


def test_partitions_are_added(lab: ControllerHarness) -> None:
    lab.create("orders", num_partitions=2, replication_factor=2)
    assert add(lab, "orders", 4, validate_only=True) == (Errors.NONE, None)
    assert len(lab.image.topics_by_name["orders"].partitions) == 2
    assert add(lab, "orders", 4) == (Errors.NONE, None)
    assert sorted(lab.image.topics_by_name["orders"].partitions) == [0, 1, 2, 3]
    assert len(lab.partition("orders", 3).replicas) == 2
    (added,) = lab.sink.of(PartitionsAdded)
    assert (added.topic, added.old_count, added.new_count) == ("orders", 2, 4)
    level = lab.sink.levels[TopicKey("orders")]
    assert isinstance(level, TopicLevel) and level.partitions == 4
    assert add(lab, "orders", 5, [{"broker_ids": [3, 1]}]) == (Errors.NONE, None)
    assert lab.partition("orders", 4).replicas == (3, 1)


def test_partitions_that_are_not_added(lab: ControllerHarness) -> None:
    lab.create("orders", num_partitions=2, replication_factor=2)
    assert add(lab, "missing", 4) == (Errors.UNKNOWN_TOPIC_OR_PARTITION, None)
    assert add(lab, "orders", 2) == (Errors.INVALID_PARTITIONS, "Topic already has 2 partition(s).")
    assert add(lab, "orders", 1) == (
        Errors.INVALID_PARTITIONS,
        "The topic orders currently has 2 partition(s); 1 would not be an increase.",
    )
    assert add(lab, "orders", -5)[0] == Errors.INVALID_PARTITIONS
    assert add(lab, "orders", 4, [{"broker_ids": [1, 2]}]) == (
        Errors.INVALID_REPLICA_ASSIGNMENT,
        "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
    )
    assert add(lab, "orders", 3, [{"broker_ids": [1]}])[0] == Errors.INVALID_REPLICA_ASSIGNMENT
    assert add(lab, "orders", 2**31 - 1)[0] == Errors.POLICY_VIOLATION
    lab.ask(ApiKey.UNREGISTER_BROKER, 0, {"broker_id": 3})
    lab.ask(ApiKey.UNREGISTER_BROKER, 0, {"broker_id": 2})
    assert add(lab, "orders", 3) == (
        Errors.INVALID_REPLICATION_FACTOR,
        (
            "The target replication factor of 2 cannot be reached because only 1 broker(s) are registered "
            "or some brokers have all their log directories cordoned."
        ),
    )
    twice = {"topics": [{"name": "orders", "count": 3}, {"name": "orders", "count": 4}], "timeout": 1, "validate_only": False}
    (row,) = lab.ask(ApiKey.CREATE_PARTITIONS, 3, twice).results
    assert (row.error_code, row.error_message) == (Errors.INVALID_REQUEST, "Duplicate topic name.")
    assert len(lab.image.topics_by_name["orders"].partitions) == 2
