"""DescribeConfigs, as it comes over the wire in each version."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from kafkalab.engine.broker.apis import describe_configs
from kafkalab.engine.common.config import BrokerConfig, ConfigSource, ConfigType
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import API_SPECS, ApiKey

TOPIC, BROKER, CLIENT_METRICS, GROUP = 2, 4, 16, 32


class Image:
    """As much of the metadata image as is asked for."""

    def __init__(self) -> None:
        self.topics_by_name = {"orders": object()}
        self.configs = {(TOPIC, "orders"): {"retention.ms": "5"}, (GROUP, "readers"): {"consumer.session.timeout.ms": "50000"}}

    def topic_config(self, name: str) -> Mapping[str, str]:
        return self.config(TOPIC, name)

    def config(self, resource_type: int, name: str) -> Mapping[str, str]:
        return self.configs.get((resource_type, name), {})


def describe(*resources: tuple[int, str], version: int = 4, keys: list[str] | None = None, synonyms: bool = True) -> Any:
    config = BrokerConfig({"node.id": "1", "ssl.key.password": "secret"}).with_dynamic(
        {"log.retention.ms": "7", "of.a.plugin": "told nobody"}, {"log.cleaner.backoff.ms": "3"}
    )
    services: Any = SimpleNamespace(node_id=1, config=config, image=Image())
    body = {
        "resources": [{"resource_type": kind, "resource_name": name, "configuration_keys": keys} for kind, name in resources],
        "include_synonyms": synonyms,
        "include_documentation": True,
    }
    request = codec.decode_request(ApiKey.DESCRIBE_CONFIGS, version, codec.encode_request_body(ApiKey.DESCRIBE_CONFIGS, version, body))
    answer = describe_configs.handle(services, SimpleNamespace(version=version), request)  # type: ignore[arg-type]
    data = codec.encode_response_body(ApiKey.DESCRIBE_CONFIGS, version, answer)
    return codec.decode_response(ApiKey.DESCRIBE_CONFIGS, version, data).results


@pytest.mark.parametrize("version", range(1, API_SPECS[ApiKey.DESCRIBE_CONFIGS].max_version + 1))
def test_a_topic_is_described_in_every_version(version: int) -> None:
    (result,) = describe((TOPIC, "orders"), version=version)
    assert (result.error_code, result.resource_type, result.resource_name) == (Errors.NONE, TOPIC, "orders")
    configs = {config.name: config for config in result.configs}
    assert len(configs) == 33
    retention = configs["retention.ms"]
    assert (retention.value, retention.config_source, retention.read_only) == ("5", ConfigSource.TOPIC_CONFIG, False)
    assert [(one.name, one.value, one.source) for one in retention.synonyms] == [
        ("retention.ms", "5", ConfigSource.TOPIC_CONFIG),
        ("log.retention.ms", "7", ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG),
        ("log.retention.hours", "168", ConfigSource.DEFAULT_CONFIG),
    ]
    if version >= 3:
        assert retention.config_type == ConfigType.LONG and retention.documentation.endswith(".")


def test_only_the_keys_asked_for_come() -> None:
    (result,) = describe((TOPIC, "orders"), keys=["segment.bytes", "nonsense"], synonyms=False)
    assert [(config.name, config.value, config.synonyms) for config in result.configs] == [("segment.bytes", "1073741824", ())]
    (result,) = describe((TOPIC, "orders"), keys=[])
    assert len(result.configs) == 33


def test_a_broker_describes_itself_and_keeps_its_secrets() -> None:
    (result,) = describe((BROKER, "1"))
    configs = {config.name: config for config in result.configs}
    assert (configs["node.id"].value, configs["node.id"].config_source) == ("1", ConfigSource.STATIC_BROKER_CONFIG)
    assert configs["node.id"].read_only and not configs["log.segment.bytes"].read_only
    secret = configs["ssl.key.password"]
    assert (secret.value, secret.is_sensitive) == (None, True)
    assert [one.value for one in secret.synonyms] == [None]


def test_an_empty_broker_name_asks_for_what_all_brokers_were_given() -> None:
    (result,) = describe((BROKER, ""))
    assert [(config.name, config.value, config.config_source) for config in result.configs] == [
        ("log.retention.ms", "7", ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG),
        ("of.a.plugin", None, ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG),
    ]
    assert [config.is_sensitive for config in result.configs] == [False, True]


def test_what_was_set_while_the_broker_runs_is_what_it_goes_by() -> None:
    (result,) = describe((BROKER, "1"))
    configs = {config.name: config for config in result.configs}
    assert (configs["log.cleaner.backoff.ms"].value, configs["log.cleaner.backoff.ms"].config_source) == (
        "3",
        ConfigSource.DYNAMIC_BROKER_CONFIG,
    )
    assert [(one.value, one.source) for one in configs["log.cleaner.backoff.ms"].synonyms] == [
        ("3", ConfigSource.DYNAMIC_BROKER_CONFIG),
        ("15000", ConfigSource.DEFAULT_CONFIG),
    ]
    assert configs["log.retention.ms"].value == "7"
    assert (configs["of.a.plugin"].config_type, configs["of.a.plugin"].read_only) == (0, True)


def test_a_group_has_its_brokers_settings_under_its_own() -> None:
    (result,) = describe((GROUP, "readers"))
    configs = {config.name: config for config in result.configs}
    timeout = configs["consumer.session.timeout.ms"]
    assert [(one.name, one.value, one.source) for one in timeout.synonyms] == [
        ("consumer.session.timeout.ms", "50000", ConfigSource.GROUP_CONFIG),
        ("group.consumer.session.timeout.ms", "45000", ConfigSource.DEFAULT_CONFIG),
    ]
    assert (configs["share.isolation.level"].value, configs["share.isolation.level"].config_source) == (
        "read_uncommitted",
        ConfigSource.DEFAULT_CONFIG,
    )
    assert len(configs) == 17


def test_a_subscription_to_metrics_has_three_settings() -> None:
    (result,) = describe((CLIENT_METRICS, "all"))
    assert [(config.name, config.value) for config in result.configs] == [("interval.ms", "300000"), ("match", ""), ("metrics", "")]


@pytest.mark.parametrize(
    ("resource", "error", "message"),
    [
        ((TOPIC, "missing"), Errors.UNKNOWN_TOPIC_OR_PARTITION, ""),
        ((TOPIC, ""), Errors.INVALID_TOPIC_EXCEPTION, "Topic name is invalid: the empty string is not allowed"),
        ((GROUP, ""), Errors.INVALID_REQUEST, "Group name must not be empty"),
        ((CLIENT_METRICS, ""), Errors.INVALID_REQUEST, "Client metrics subscription name must not be empty"),
        ((BROKER, "2"), Errors.INVALID_REQUEST, "Unexpected broker id, expected 1 or empty string, but received 2"),
        ((BROKER, "x"), Errors.INVALID_REQUEST, "Broker id must be an integer, but it is: x"),
        ((8, ""), Errors.INVALID_REQUEST, "Broker id must not be empty"),
    ],
)
def test_what_cannot_be_described_says_why_and_the_rest_is_answered(resource: tuple[int, str], error: Errors, message: str) -> None:
    failed, fine = describe(resource, (TOPIC, "orders"))
    assert (failed.error_code, failed.error_message, failed.configs) == (error, message, ())
    assert fine.error_code == Errors.NONE
