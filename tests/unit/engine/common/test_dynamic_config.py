"""Settings of brokers that change while they run, of groups, and of metrics subscriptions."""

from __future__ import annotations

import pytest

from kafkalab.engine.common.config import (
    BROKER_CONFIGS,
    GROUP_CONFIGS,
    BrokerConfig,
    ConfigError,
    UpdateMode,
    applicable,
    is_dynamic,
    validate_client_metrics_configs,
    validate_dynamic_configs,
    validate_group_configs,
)
from kafkalab.engine.common.errors import ApiError, Errors


def refusal(configs: dict[str, str], config: BrokerConfig | None = None, *, per_broker: bool = True) -> str | None:
    try:
        validate_dynamic_configs(configs, config or BrokerConfig(), per_broker=per_broker)
    except ApiError as error:
        assert error.error is Errors.INVALID_REQUEST
        return error.message
    return None


def test_a_brokers_own_wins_over_all_brokers_and_both_over_what_was_given() -> None:
    config = BrokerConfig({"log.retention.hours": "1", "log.segment.bytes": "2000000"})
    told: list[frozenset[str]] = []
    config.subscribe(told.append)
    assert config.topic_default("retention.ms") == 3_600_000
    config.apply_dynamic({"log.retention.ms": "6000", "log.segment.bytes": "3000000"}, {"log.retention.ms": "5000"})
    assert (config.topic_default("retention.ms"), config.get_int("log.segment.bytes")) == (5_000, 3_000_000)
    config.apply_dynamic({"log.retention.ms": "6000"}, {})
    assert (config.topic_default("retention.ms"), config.get_int("log.segment.bytes")) == (6_000, 2_000_000)
    config.apply_dynamic({}, {})
    assert config.topic_default("retention.ms") == 3_600_000
    assert told == [{"log.retention.ms", "log.segment.bytes"}, {"log.retention.ms", "log.segment.bytes"}, {"log.retention.ms"}]
    assert config.apply_dynamic({}, {}) == frozenset() and len(told) == 3


def test_what_cannot_hold_changes_nothing() -> None:
    config = BrokerConfig()
    with pytest.raises(ConfigError):
        config.apply_dynamic({}, {"log.segment.bytes": "5"})
    with pytest.raises(ConfigError):
        config.apply_dynamic({}, {"cordoned.log.dirs": "/nowhere"})
    assert config.get_int("log.segment.bytes") == 1_073_741_824 and not config.dynamic


def test_a_plugins_setting_is_kept_and_means_nothing() -> None:
    config = BrokerConfig()
    assert config.apply_dynamic({"of.a.plugin": "1"}, {}) == frozenset()
    assert config.dynamic_default == {"of.a.plugin": "1"}


def test_stored_settings_that_cannot_be_applied_are_passed_over() -> None:
    stored = {"log.retention.ms": "5", "log.segment.bytes": "x", "node.id": "3", "ssl.keystore.location": "/x", "of.a.plugin": "1"}
    assert applicable(stored, per_broker=True) == {"log.retention.ms": "5", "of.a.plugin": "1"}
    assert applicable({"listeners": "a", "max.connections": "5"}, per_broker=False) == {"max.connections": "5"}


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ({"node.id": "5"}, "Cannot update these configs dynamically: [node.id]"),
        ({"log.dirs": "x", "node.id": "5"}, "Cannot update these configs dynamically: [log.dirs, node.id]"),
        (
            {"ssl.keystore.location": "x"},
            "These security configs can be dynamically updated only per-listener using the listener prefix: [ssl.keystore.location]",
        ),
        ({"log.retention.ms": "x"}, "Invalid value x for configuration log.retention.ms: Not a number of type LONG"),
        ({"listener.name.a.max.connections": "x"}, "Invalid value x for configuration max.connections: Not a number of type INT"),
        ({"log.retention.ms": "0"}, "requirement failed: log.retention.ms must be unlimited (-1) or, greater than or equal to 1"),
        ({"log.roll.ms": "0"}, "requirement failed: log.roll.ms must be greater than or equal to 1"),
        ({"log.roll.jitter.ms": "-1"}, "requirement failed: log.roll.jitter.ms must be greater than or equal to 0"),
        (
            {"log.cleaner.dedupe.buffer.size": "1048576"},
            "requirement failed: log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.",
        ),
        (
            {"max.connections": "0"},
            (
                "Invalid value org.apache.kafka.common.config.ConfigException: Invalid max.connections 0 "
                "for configuration Invalid dynamic configuration"
            ),
        ),
        (
            {"max.connections.per.ip": "0"},
            "requirement failed: max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.",
        ),
        ({"cordoned.log.dirs": "*,/a"}, "requirement failed: When cordoned.log.dirs is set to *, it must not contain other values"),
        ({"log.cleanup.policy": "5,"}, "Invalid value 5 for configuration log.cleanup.policy: String must be one of: compact, delete"),
        ({"log.retention.ms": " x "}, "Invalid value  x  for configuration log.retention.ms: Not a number of type LONG"),
    ],
)
def test_refusals(configs: dict[str, str], message: str) -> None:
    assert refusal(configs) == message


def test_some_are_for_one_broker_only() -> None:
    configs = {"listener.name.external.ssl.keystore.location": "/x"}
    assert refusal(configs) is None
    assert refusal(configs, per_broker=False) == (
        "Cannot update these configs at default cluster level, broker id must be specified: [listener.name.external.ssl.keystore.location]"
    )
    assert refusal({"listener.name.external.max.connections": "5"}, per_broker=False) is None


@pytest.mark.parametrize(("before", "after", "is_fine"), [(8, 16, True), (8, 17, False), (8, 4, True), (8, 3, False), (9, 4, True)])
def test_thread_pools_move_by_a_factor_of_two(before: int, after: int, is_fine: bool) -> None:
    for name in ("num.io.threads", "log.cleaner.threads", "remote.log.reader.threads"):
        message = refusal({name: str(after)}, BrokerConfig({name: str(before)}))
        assert (message is None) is is_fine
        assert message is None or f"current value {before}" in message


def test_a_node_keeps_its_ports_while_it_runs() -> None:
    message = refusal({"listeners": "PLAINTEXT://:1"})
    assert message is not None and "binds its ports when it starts" in message


def test_what_may_change_is_what_is_not_read_only() -> None:
    assert all(is_dynamic(name) is (one.update_mode is not UpdateMode.READ_ONLY) for name, one in BROKER_CONFIGS.items())
    assert is_dynamic("leader.replication.throttled.rate") and not is_dynamic("of.a.plugin")


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ({"nonsense": "1"}, "Unknown group config name: nonsense"),
        ({"consumer.session.timeout.ms": "x"}, "Invalid value x for configuration consumer.session.timeout.ms: Not a number of type INT"),
        (
            {"consumer.session.timeout.ms": "1000"},
            "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
        ),
        (
            {"share.record.lock.duration.ms": "70000"},
            "share.record.lock.duration.ms must be less than or equal to group.share.max.record.lock.duration.ms",
        ),
    ],
)
def test_a_groups_settings_stay_within_its_brokers_bounds(configs: dict[str, str], message: str) -> None:
    with pytest.raises(ApiError) as caught:
        validate_group_configs(configs, BrokerConfig())
    assert (caught.value.error, caught.value.message) == (Errors.INVALID_CONFIG, message)


def test_a_session_outlasts_a_heartbeat() -> None:
    config = BrokerConfig({"group.consumer.max.heartbeat.interval.ms": "60000"})
    with pytest.raises(ApiError, match=r"consumer\.session\.timeout\.ms must be greater than consumer\.heartbeat\.interval\.ms"):
        validate_group_configs({"consumer.heartbeat.interval.ms": "45000"}, config)
    validate_group_configs({"consumer.heartbeat.interval.ms": "44999"}, config)


@pytest.mark.parametrize("text", ["latest", "earliest", "by_duration:PT5S", "by_duration:P1DT2H3M4.5S", "by_duration:pt1h"])
def test_where_a_share_group_starts(text: str) -> None:
    validate_group_configs({"share.auto.offset.reset": text}, BrokerConfig())


@pytest.mark.parametrize(
    "text", ["", "Latest", "by_duration", "by_duration:", "by_duration:P", "by_duration:PT", "by_duration:-PT5S", "none"]
)
def test_where_a_share_group_cannot_start(text: str) -> None:
    with pytest.raises(ApiError, match="The value must be either 'earliest', 'latest'"):
        validate_group_configs({"share.auto.offset.reset": text}, BrokerConfig())


def test_every_groups_setting_has_a_default_that_is_allowed() -> None:
    validate_group_configs({}, BrokerConfig())
    assert all(definition.default is not None and definition.doc.endswith(".") for definition in GROUP_CONFIGS.values())


@pytest.mark.parametrize(
    ("configs", "error"),
    [
        ({"interval.ms": "100", "match": "client_id=a.*,client_software_name=x"}, None),
        ({"interval.ms": "99"}, Errors.INVALID_REQUEST),
        ({"interval.ms": "x"}, Errors.INVALID_CONFIG),
        ({"match": "client_id=a=b"}, Errors.INVALID_CONFIG),
        ({"match": "client_id="}, Errors.INVALID_CONFIG),
        ({"match": "client_id=("}, Errors.INVALID_CONFIG),
        ({"nonsense": "1"}, Errors.INVALID_REQUEST),
    ],
)
def test_a_subscription_to_metrics(configs: dict[str, str], error: Errors | None) -> None:
    if error is None:
        validate_client_metrics_configs("all", configs)
    else:
        with pytest.raises(ApiError) as caught:
            validate_client_metrics_configs("all", configs)
        assert caught.value.error is error
