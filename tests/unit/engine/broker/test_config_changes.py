"""A broker between a client that changes settings and the controller."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from kafkalab.engine.broker.apis import alter_configs, incremental_alter_configs, list_config_resources
from kafkalab.engine.broker.dynamic_config import DynamicConfig
from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.metadata.image import MetadataDelta, MetadataImage
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.metadata_records import ConfigRecord, TopicRecord

TOPIC, BROKER, LOGGER, METRICS, GROUP = 2, 4, 8, 16, 32
SET, DELETE, APPEND, SUBTRACT = range(4)


Resource = tuple[int, str, list[tuple[str, int, str | None]]]


class Controller:
    """Takes everything, except what it is told to refuse."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Any]] = []
        self.refused: Errors | None = None
        self.forgotten = False

    def forward_body(
        self, ctx: Any, body: Mapping[str, Any], *, on_response: Callable[[Any], None], refuse: Callable[[Errors, str], None]
    ) -> None:
        self.asked.append(body)
        if self.refused is not None:
            refuse(self.refused, "not now")
            return
        rows = () if self.forgotten else body["resources"]
        answers = [
            SimpleNamespace(error_code=0, error_message=None, resource_type=row["resource_type"], resource_name=row["resource_name"])
            for row in reversed(rows)
        ]
        on_response(SimpleNamespace(responses=answers))


class Setting:
    def __init__(self) -> None:
        self.controller = Controller()
        self.image = MetadataImage()
        self.config = BrokerConfig({"node.id": "1"})
        self.services: Any = SimpleNamespace(node_id=1, config=self.config, image=self.image, controller_channel=self.controller)

    def store(self, name: str, setting: str, value: str | None) -> None:
        delta = MetadataDelta()
        self.image.replay(ConfigRecord(resource_type=BROKER, resource_name=name, name=setting, value=value), delta, offset=1)
        DynamicConfig(1, self.config).publish(delta, self.image)

    def ask(self, api_key: ApiKey, version: int, *resources: Resource) -> list[tuple[int, str | None]]:
        rows = [
            {
                "resource_type": kind,
                "resource_name": name,
                "configs": [{"name": key, "config_operation": operation, "value": value} for key, operation, value in changes],
            }
            for kind, name, changes in resources
        ]
        raw = codec.encode_request_body(api_key, version, {"resources": rows, "validate_only": False})
        request = codec.decode_request(api_key, version, raw)
        answers: list[Any] = []
        ctx: Any = SimpleNamespace(version=version, respond=answers.append)
        module: Any = incremental_alter_configs if api_key is ApiKey.INCREMENTAL_ALTER_CONFIGS else alter_configs
        module.handle(self.services, ctx, request)
        (answer,) = answers
        told = codec.decode_response(api_key, version, codec.encode_response_body(api_key, version, answer)).responses
        assert [(row.resource_type, row.resource_name) for row in told] == [(kind, name) for kind, name, _ in resources]
        return [(row.error_code, row.error_message) for row in told]

    def change(self, *resources: Resource) -> list[tuple[int, str | None]]:
        return self.ask(ApiKey.INCREMENTAL_ALTER_CONFIGS, 1, *resources)


def test_what_the_broker_refuses_does_not_reach_the_controller_and_answers_come_in_order() -> None:
    at = Setting()
    answers = at.change(
        (TOPIC, "orders", [("retention.ms", SET, "5")]),
        (BROKER, "1", [("node.id", SET, "5")]),
        (GROUP, "readers", []),
        (LOGGER, "1", [("root", SET, "INFO")]),
        (METRICS, "all", [("interval.ms", DELETE, None)]),
    )
    assert [error for error, _ in answers] == [0, Errors.INVALID_REQUEST, 0, Errors.INVALID_REQUEST, 0]
    (asked,) = at.controller.asked
    assert [row["resource_name"] for row in asked["resources"]] == ["orders", "readers", "all"]


def test_nothing_left_to_ask_asks_nobody() -> None:
    at = Setting()
    twice = (TOPIC, "orders", [("retention.ms", SET, "5")])
    assert at.change(twice, twice) == [(Errors.INVALID_REQUEST, "Each resource must appear at most once.")] * 2
    assert at.change() == []
    assert not at.controller.asked


def test_without_a_controller_what_was_left_is_refused() -> None:
    at = Setting()
    at.controller.refused = Errors.REQUEST_TIMED_OUT
    assert at.change((TOPIC, "orders", []), (BROKER, "2", [])) == [
        (Errors.REQUEST_TIMED_OUT, "not now"),
        (Errors.INVALID_REQUEST, "Unexpected broker id, expected 1, but received 2"),
    ]
    at.controller.refused, at.controller.forgotten = None, True
    assert at.change((TOPIC, "orders", [])) == [(Errors.UNKNOWN_SERVER_ERROR, None)]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ([("log.retention.ms", SET, None)], Errors.INVALID_REQUEST, "Null value not supported for : log.retention.ms"),
        ([("a", SET, "1"), ("a", SET, "2")], Errors.INVALID_REQUEST, "Error due to duplicate config keys"),
        ([("a", APPEND, "1")], Errors.INVALID_CONFIG, "Unknown config name: a"),
        ([("num.io.threads", SUBTRACT, "1")], Errors.INVALID_CONFIG, "Config value subtract is not allowed for config key: num.io.threads"),
        ([("a", 7, "1")], Errors.INVALID_REQUEST, "Unknown operations type 7"),
        ([("log.cleanup.policy", APPEND, "nonsense")], Errors.INVALID_REQUEST, None),
        ([("log.cleanup.policy", APPEND, "compact")], Errors.NONE, None),
    ],
)
def test_a_brokers_own_settings_are_checked_by_it(changes: Any, error: Errors, message: str | None) -> None:
    ((code, told),) = Setting().change((BROKER, "1", changes))
    assert code == error
    assert message is None or told == message


def test_a_change_is_checked_together_with_what_is_there() -> None:
    at = Setting()
    at.store("", "log.retention.ms", "1000")
    ((error, message),) = at.change((BROKER, "1", [("log.local.retention.ms", SET, "2000")]))
    assert error == Errors.INVALID_REQUEST and message is not None
    assert "Value must not be more than log.retention.ms property value: 1000" in message
    # It is the broker's own that counts, where it has one.
    at.store("1", "log.retention.ms", "3000")
    assert at.change((BROKER, "1", [("log.local.retention.ms", SET, "2000")])) == [(0, None)]
    # The older request leaves nothing but what it says.
    ((error, _),) = at.ask(ApiKey.ALTER_CONFIGS, 2, (BROKER, "1", [("log.local.retention.ms", SET, "2000")]))
    assert error == Errors.INVALID_REQUEST


def test_settings_hold_when_their_metadata_comes() -> None:
    at = Setting()
    at.store("", "log.cleaner.backoff.ms", "7")
    assert at.config.get_int("log.cleaner.backoff.ms") == 7
    at.store("1", "log.cleaner.backoff.ms", "8")
    at.store("2", "log.cleaner.backoff.ms", "9")
    assert at.config.get_int("log.cleaner.backoff.ms") == 8
    at.store("1", "log.cleaner.backoff.ms", "unreadable")
    assert at.config.get_int("log.cleaner.backoff.ms") == 7
    at.store("", "log.cleaner.backoff.ms", None)
    assert at.config.get_int("log.cleaner.backoff.ms") == 15_000


def test_settings_that_do_not_go_together_here_are_left_as_they_were(caplog: pytest.LogCaptureFixture) -> None:
    at = Setting()
    at.store("", "log.cleaner.backoff.ms", "7")
    with caplog.at_level("ERROR"):
        at.store("1", "cordoned.log.dirs", "/somewhere/else")
    assert "cannot be applied" in caplog.text
    caplog.clear()
    assert at.config.get_int("log.cleaner.backoff.ms") == 7 and not at.config.get_list("cordoned.log.dirs")


@pytest.mark.parametrize(
    ("version", "kinds", "expected"),
    [
        (0, [], [("all", 16)]),
        (1, [], [("readers", 32), ("all", 16), ("orders", 2)]),
        (1, [TOPIC], [("orders", 2)]),
        (1, [TOPIC, 3], None),
    ],
)
def test_what_has_settings_is_listed(version: int, kinds: list[int], expected: list[tuple[str, int]] | None) -> None:
    at = Setting()
    for kind, name, setting in ((GROUP, "readers", "consumer.session.timeout.ms"), (METRICS, "all", "interval.ms")):
        at.image.replay(ConfigRecord(resource_type=kind, resource_name=name, name=setting, value="1"), MetadataDelta(), offset=1)
    at.image.replay(TopicRecord(name="orders", topic_id=uuid.UUID(int=5)), MetadataDelta(), offset=2)
    request = SimpleNamespace(resource_types=tuple(kinds))
    ctx: Any = SimpleNamespace(version=version)
    answer = list_config_resources.handle(at.services, ctx, request)
    raw = codec.encode_response_body(ApiKey.LIST_CONFIG_RESOURCES, version, answer)
    told = codec.decode_response(ApiKey.LIST_CONFIG_RESOURCES, version, raw)
    if expected is None:
        assert told.error_code == Errors.UNSUPPORTED_VERSION and not told.config_resources
    else:
        assert [(row.resource_name, row.resource_type) for row in told.config_resources] == expected
