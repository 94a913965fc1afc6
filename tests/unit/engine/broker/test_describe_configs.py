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
        self.configs = {
            (TOPIC, "orders"): {"retention.ms": "5"},
            (BROKER, ""): {"log.retention.ms": "7"},
            (GROUP, "set"): {"consumer.session.timeout.ms": "50000"},
        }

    def config(self, resource_type: int, name: str) -> Mapping[str, str]:
        return self.configs.get((resource_type, name), {})


def describe(*resources: tuple[int, str], version: int = 4, keys: list[str] | None = None, synonyms: bool = True) -> Any:
    services: Any = SimpleNamespace(node_id=1, config=BrokerConfig({"node.id": "1", "ssl.key.password": "secret"}), image=Image())
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
        ("log.retention.ms", "7", ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG)
    ]


def test_a_group_has_its_settings_before_it_is_there() -> None:
    unset, given = describe((GROUP, "nobody"), (GROUP, "set"))
    configs = {config.name: config for config in unset.configs}
    assert len(configs) == 17
    timeout = configs["consumer.session.timeout.ms"]
    assert (timeout.value, timeout.config_source, timeout.read_only) == ("45000", ConfigSource.DEFAULT_CONFIG, False)
    assert [(one.name, one.value) for one in timeout.synonyms] == [("group.consumer.session.timeout.ms", "45000")]
    own = configs["share.auto.offset.reset"]
    assert (own.value, [one.name for one in own.synonyms]) == ("latest", ["share.auto.offset.reset"])
    timeout = next(config for config in given.configs if config.name == "consumer.session.timeout.ms")
    assert (timeout.value, timeout.config_source, len(timeout.synonyms)) == ("50000", ConfigSource.GROUP_CONFIG, 2)


def test_a_client_metrics_subscription_has_its_settings_before_it_is_there() -> None:
    (result,) = describe((CLIENT_METRICS, "nobody"))
    assert [(config.name, config.value, config.config_type, config.synonyms) for config in result.configs] == [
        ("interval.ms", "300000", ConfigType.INT, ()),
        ("match", "", ConfigType.LIST, ()),
        ("metrics", "", ConfigType.LIST, ()),
    ]


@pytest.mark.parametrize(
    ("resource", "error", "message"),
    [
        ((TOPIC, "missing"), Errors.UNKNOWN_TOPIC_OR_PARTITION, "This server does not host this topic-partition."),
        ((TOPIC, ""), Errors.INVALID_REQUEST, "Default topic resources are not allowed."),
        ((BROKER, "2"), Errors.INVALID_REQUEST, "Unexpected broker id, expected 1 or empty string, but received 2"),
        ((BROKER, "x"), Errors.INVALID_REQUEST, "Broker id must be an integer, but it is: x"),
        ((GROUP, ""), Errors.INVALID_REQUEST, "Group name must not be empty"),
        ((CLIENT_METRICS, ""), Errors.INVALID_REQUEST, "Client metrics subscription name must not be empty"),
        ((99, "x"), Errors.INVALID_REQUEST, "Unsupported resource type: 99"),
    ],
)
def test_what_cannot_be_described_says_why_and_the_rest_is_answered(resource: tuple[int, str], error: Errors, message: str) -> None:
    failed, fine = describe(resource, (TOPIC, "orders"))
    assert (failed.error_code, failed.error_message, failed.configs) == (error, message, ())
    assert fine.error_code == Errors.NONE
