"""Changes of settings, as the controller takes or refuses them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.controller.configs import RECORDS_PER_REQUEST_MAX, VALUE_LENGTH_MAX
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.metadata_records import ConfigRecord
from kafkalab.engine.telemetry.events import PartitionChanged
from kafkalab.engine.telemetry.levels import TopicKey, TopicLevel
from tests.unit.engine.controller.harness import ControllerHarness

TOPIC, BROKER, METRICS, GROUP = 2, 4, 16, 32
SET, DELETE, APPEND, SUBTRACT = range(4)
NO_LIST = "Can't {} to key {} because its type is not LIST."


@pytest.fixture
def lab() -> ControllerHarness:
    harness = ControllerHarness()
    harness.start_brokers(1, 2, 3)
    harness.assigned("orders", [1, 2], retention_ms="5", cleanup_policy="delete")
    return harness


def alter(lab: ControllerHarness, *resources: tuple[int, str, list[tuple[str, int, str | None]]], version: int = 1, **more: Any) -> Any:
    rows = [
        {
            "resource_type": kind,
            "resource_name": name,
            "configs": [{"name": key, "config_operation": operation, "value": value} for key, operation, value in changes],
        }
        for kind, name, changes in resources
    ]
    body = {"resources": rows, "validate_only": False} | more
    return [(row.error_code, row.error_message) for row in lab.ask(ApiKey.INCREMENTAL_ALTER_CONFIGS, version, body).responses]


def replace(lab: ControllerHarness, kind: int, name: str, settings: dict[str, str | None], *, version: int = 2) -> Any:
    configs = [{"name": key, "value": value} for key, value in settings.items()]
    body = {"resources": [{"resource_type": kind, "resource_name": name, "configs": configs}], "validate_only": False}
    (row,) = lab.ask(ApiKey.ALTER_CONFIGS, version, body).responses
    return row.error_code, row.error_message


@pytest.mark.parametrize("version", [0, 1])
def test_settings_are_set_and_taken_back_one_by_one(lab: ControllerHarness, version: int) -> None:
    changes = [("min.insync.replicas", SET, "2"), ("retention.ms", DELETE, None)]
    assert alter(lab, (TOPIC, "orders", changes), version=version) == [(0, None)]
    assert lab.image.topic_config("orders") == {"cleanup.policy": "delete", "min.insync.replicas": "2"}
    level = lab.sink.levels[TopicKey("orders")]
    assert isinstance(level, TopicLevel) and level.min_insync_replicas == 2


def test_lists_grow_and_shrink_from_what_they_are(lab: ControllerHarness) -> None:
    for operation, value, expected in (
        (APPEND, "compact", "delete,compact"),
        (APPEND, "compact", "delete,compact"),
        (SUBTRACT, "delete", "compact"),
        (SUBTRACT, "delete", "compact"),
    ):
        assert alter(lab, (TOPIC, "orders", [("cleanup.policy", operation, value)])) == [(0, None)]
        assert lab.image.topic_config("orders")["cleanup.policy"] == expected
    # Where the topic says nothing, from the default.
    assert alter(lab, (TOPIC, "orders", [("cleanup.policy", DELETE, None)])) == [(0, None)]
    assert alter(lab, (TOPIC, "orders", [("cleanup.policy", APPEND, "compact")])) == [(0, None)]
    assert lab.image.topic_config("orders")["cleanup.policy"] == "delete,compact"


@pytest.mark.parametrize("version", [0, 1, 2])
def test_the_older_request_says_all_there_is(lab: ControllerHarness, version: int) -> None:
    assert replace(lab, TOPIC, "orders", {"segment.ms": "7", "retention.ms": "5"}, version=version) == (0, None)
    assert lab.image.topic_config("orders") == {"segment.ms": "7", "retention.ms": "5"}
    # What is as it was is not written again.
    last = [record for record in lab.raft.appends[-1] if isinstance(record, ConfigRecord)]
    assert [(record.name, record.value) for record in last] == [("segment.ms", "7"), ("cleanup.policy", None)]
    assert replace(lab, TOPIC, "orders", {}) == (0, None)
    assert not lab.image.topic_config("orders")


def test_a_resource_is_taken_or_refused_as_a_whole_and_the_others_by_themselves(lab: ControllerHarness) -> None:
    answers = alter(
        lab,
        (TOPIC, "orders", [("segment.ms", SET, "7"), ("nonsense", SET, "1")]),
        (BROKER, "", [("log.retention.ms", SET, "7")]),
        (GROUP, "readers", [("consumer.session.timeout.ms", SET, "50000")]),
        (METRICS, "all", [("interval.ms", SET, "1000")]),
    )
    assert answers == [(Errors.INVALID_CONFIG, "Unknown topic config name: nonsense"), (0, None), (0, None), (0, None)]
    assert "segment.ms" not in lab.image.topic_config("orders")
    assert lab.image.config(BROKER, "") == {"min.insync.replicas": "1", "log.retention.ms": "7"}
    assert lab.image.config(GROUP, "readers") == {"consumer.session.timeout.ms": "50000"}
    assert lab.image.config(METRICS, "all") == {"interval.ms": "1000"}


def test_nothing_is_written_when_only_to_be_checked(lab: ControllerHarness) -> None:
    appended = len(lab.raft.appends)
    assert alter(lab, (TOPIC, "orders", [("segment.ms", SET, "7")]), validate_only=True) == [(0, None)]
    assert alter(lab, (TOPIC, "orders", [("segment.ms", SET, "x")]), validate_only=True)[0][0] == Errors.INVALID_CONFIG
    assert len(lab.raft.appends) == appended


def test_a_brokers_settings_are_written_again_even_when_they_are_as_they_were(lab: ControllerHarness) -> None:
    for _ in range(2):
        assert alter(lab, (BROKER, "1", [("log.retention.ms", SET, "7")])) == [(0, None)]
        (record,) = lab.raft.appends[-1]
        assert isinstance(record, ConfigRecord) and (record.resource_name, record.value) == ("1", "7")


@pytest.mark.parametrize(
    ("resource", "error", "message"),
    [
        ((TOPIC, "missing", [("segment.ms", SET, "7")]), Errors.UNKNOWN_TOPIC_OR_PARTITION, "The topic 'missing' does not exist."),
        ((TOPIC, "", [("segment.ms", SET, "7")]), Errors.INVALID_REQUEST, "Default topic resources are not allowed."),
        (
            (TOPIC, "orders", [("segment.ms", APPEND, "7")]),
            Errors.INVALID_CONFIG,
            NO_LIST.format("APPEND", "segment.ms"),
        ),
        (
            (TOPIC, "orders", [("nonsense", SUBTRACT, "7")]),
            Errors.INVALID_CONFIG,
            NO_LIST.format("SUBTRACT", "nonsense"),
        ),
        ((TOPIC, "orders", [("segment.ms", 9, "7")]), Errors.INVALID_REQUEST, "Unknown operations type 9"),
        (
            (TOPIC, "orders", [("retention.ms", SET, "1" * (VALUE_LENGTH_MAX - 1)), ("cleanup.policy", APPEND, "delete" * 6000)]),
            Errors.INVALID_CONFIG,
            "The configuration value cannot be added because it exceeds the maximum value size of 32767 bytes.",
        ),
        ((BROKER, "x", []), Errors.INVALID_REQUEST, "Unable to parse broker name as a base 10 number."),
        ((BROKER, "9" * 5000, []), Errors.INVALID_REQUEST, "Unable to parse broker name as a base 10 number."),
        ((BROKER, "-1", []), Errors.INVALID_REQUEST, "Invalid negative broker ID."),
        ((BROKER, "9", []), Errors.BROKER_ID_NOT_REGISTERED, "No node with id 9 found."),
        ((GROUP, "", []), Errors.INVALID_REQUEST, "Default group resources are not allowed."),
        ((METRICS, "all", [("metrics", APPEND, "a")]), Errors.INVALID_CONFIG, NO_LIST.format("APPEND", "metrics")),
        ((METRICS, "", []), Errors.INVALID_REQUEST, "Subscription name can't be empty"),
        ((99, "x", []), Errors.UNSUPPORTED_VERSION, "Unknown resource type 99."),
    ],
)
def test_refusals(lab: ControllerHarness, resource: Any, error: Errors, message: str) -> None:
    assert alter(lab, resource) == [(error, message)]


def test_a_controller_by_itself_only_takes_directories_off_the_cordoned_ones(lab: ControllerHarness) -> None:
    refused = "When updating cordoned.log.dirs via controllers,  the new value must be a subset of the current configuration value."
    assert alter(lab, (BROKER, "1", [("cordoned.log.dirs", SET, "/a")])) == [(Errors.INVALID_CONFIG, refused)]
    assert replace(lab, BROKER, "1", {"cordoned.log.dirs": "/a"}) == (Errors.INVALID_CONFIG, refused)
    configs = [{"name": "cordoned.log.dirs", "config_operation": SET, "value": "/a, /b"}]
    checked = {"resources": [{"resource_type": BROKER, "resource_name": "1", "configs": configs}], "validate_only": False}
    answers: list[Any] = []
    request = codec.decode_request(
        ApiKey.INCREMENTAL_ALTER_CONFIGS, 1, codec.encode_request_body(ApiKey.INCREMENTAL_ALTER_CONFIGS, 1, checked)
    )
    lab.controller.handle_incremental_alter_configs(request, answers.append, is_forwarded=True)
    lab.raft.commit()
    assert answers[0]["responses"][0]["error_code"] == 0
    assert alter(lab, (BROKER, "1", [("cordoned.log.dirs", SET, "/b,/c")])) == [(Errors.INVALID_CONFIG, refused)]
    for fewer in ("/b", " "):
        assert alter(lab, (BROKER, "1", [("cordoned.log.dirs", SET, fewer)])) == [(0, None)]


def test_a_resource_that_is_named_twice_is_refused_once(lab: ControllerHarness) -> None:
    twice = (TOPIC, "orders", [("segment.ms", SET, "7")])
    assert alter(lab, twice, (BROKER, "", []), twice) == [(Errors.INVALID_REQUEST, "Duplicate resource."), (0, None)]


def test_a_request_that_is_too_large_is_refused_whole(lab: ControllerHarness) -> None:
    changes = [(f"of.a.plugin.{number}", SET, "1") for number in range(RECORDS_PER_REQUEST_MAX + 1)]
    assert alter(lab, (BROKER, "", changes)) == [(Errors.POLICY_VIOLATION, "Unable to perform excessively large batch operation.")]


def test_partitions_without_a_leader_get_one_when_an_unclean_election_becomes_allowed(lab: ControllerHarness) -> None:
    lab.alter_isr("orders", [1])
    lab.clock.advance(8_000)
    lab.heartbeat(2)
    lab.heartbeat(3)
    lab.clock.advance(2_000)
    assert lab.partition("orders").leader == -1
    lab.sink.events.clear()
    assert alter(lab, (TOPIC, "orders", [("unclean.leader.election.enable", SET, "true")])) == [(0, None)]
    assert (lab.partition("orders").leader, lab.partition("orders").isr) == (2, (2,))
    (change,) = lab.sink.of(PartitionChanged)
    assert change.cause == "an unclean election became allowed"


@pytest.mark.parametrize("api_key", [ApiKey.INCREMENTAL_ALTER_CONFIGS, ApiKey.ALTER_CONFIGS])
def test_without_the_broker_no_further_directories_are_cordoned(lab: ControllerHarness, api_key: ApiKey) -> None:
    """KIP-1066: the broker alone knows its directories."""

    def cordon(value: str, *, is_forwarded: bool = False) -> tuple[int, str | None]:
        operation = {"config_operation": SET} if api_key is ApiKey.INCREMENTAL_ALTER_CONFIGS else {}
        resource = {"resource_type": BROKER, "resource_name": "1", "configs": [{"name": "cordoned.log.dirs", "value": value, **operation}]}
        body = {"resources": [resource], "validate_only": False}
        request = codec.decode_request(api_key, 1, codec.encode_request_body(api_key, 1, body))
        answers: list[Any] = []
        getattr(lab.controller, f"handle_{api_key.name.lower()}")(request, answers.append, is_forwarded=is_forwarded)
        (row,) = answers[0]["responses"]
        return row["error_code"], row["error_message"]

    message = "When updating cordoned.log.dirs via controllers,  the new value must be a subset of the current configuration value."
    assert cordon("/a") == (Errors.INVALID_CONFIG, message)
    assert cordon("/a, /b", is_forwarded=True) == (0, None)
    assert cordon("/b,/c") == (Errors.INVALID_CONFIG, message)
    assert cordon("/b") == (0, None)
    assert cordon("") == (0, None)


def test_a_controllers_own_settings_come_before_those_of_the_whole_cluster() -> None:
    lab = ControllerHarness(elr=False)
    lab.start_brokers(1, 2)
    lab.assigned("orders", [1, 2])
    elections, topic = lab.controller.elections, lab.image.topics_by_name["orders"]
    unclean, minimum = "unclean.leader.election.enable", "min.insync.replicas"
    assert alter(lab, (BROKER, "", [(unclean, SET, "true"), (minimum, SET, "2")])) == [(0, None)]
    assert elections.unclean_allowed("orders") and elections.min_isr(topic) == 2
    assert alter(lab, (BROKER, "1", [(unclean, SET, "false"), (minimum, SET, "1")])) == [(0, None)]
    assert not elections.unclean_allowed("orders") and elections.min_isr(topic) == 1
    assert alter(lab, (TOPIC, "orders", [(unclean, SET, "true"), (minimum, SET, "2")])) == [(0, None)]
    assert elections.unclean_allowed("orders") and elections.min_isr(topic) == 2


def test_a_controller_that_is_none_sends_elsewhere(lab: ControllerHarness) -> None:
    lab.resign()
    assert alter(lab, (TOPIC, "orders", []))[0][0] == Errors.NOT_CONTROLLER
    assert replace(lab, TOPIC, "orders", {})[0] == Errors.NOT_CONTROLLER


def test_controllers_that_registered_have_settings_too(lab: ControllerHarness) -> None:
    assert alter(lab, (BROKER, "77", [("log.cleaner.threads", SET, "2")]))[0][0] == Errors.BROKER_ID_NOT_REGISTERED
    body = {"controller_id": 77, "incarnation_id": uuid.UUID(int=5), "zk_migration_ready": False, "listeners": [], "features": []}
    assert lab.ask(ApiKey.CONTROLLER_REGISTRATION, 0, body).error_code == 0
    assert alter(lab, (BROKER, "77", [("log.cleaner.threads", SET, "2")])) == [(0, None)]
