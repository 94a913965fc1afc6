"""A topic's settings: Kafka's refusals, and what holds in the end."""

from __future__ import annotations

import pytest

from kafkalab.engine.common.config import (
    BrokerConfig,
    ConfigSource,
    topic_config_map,
    topic_config_values,
    topic_config_view,
    validate_topic_configs,
)
from kafkalab.engine.common.errors import ApiError, Errors


# Each message is Apache Kafka 4.3.1's own.
@pytest.mark.parametrize("text", ["*", "*,", "0:1", "0:1, 1:1", "0:1,", ",", ""])
def test_replicas_to_be_throttled_are_taken_as_kafka_takes_them(text: str) -> None:
    validate_topic_configs({"leader.replication.throttled.replicas": text})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("retention.ms", "abc", "Invalid value abc for configuration retention.ms: Not a number of type LONG"),
        ("retention.ms", "-5", "Invalid value -5 for configuration retention.ms: Value must be at least -1"),
        ("retention.ms", "", "Invalid value  for configuration retention.ms: Not a number of type LONG"),
        ("segment.bytes", "5", "Invalid value 5 for configuration segment.bytes: Value must be at least 1048576"),
        ("segment.bytes", "99999999999", "Invalid value 99999999999 for configuration segment.bytes: Not a number of type INT"),
        ("foo", "1", "Unknown topic config name: foo"),
        ("cleanup.policy", "x", "Invalid value x for configuration cleanup.policy: String must be one of: compact, delete"),
        ("cleanup.policy", "delete,,compact", "Configuration 'cleanup.policy' values must not be empty."),
        ("cleanup.policy", "x,", "Invalid value x for configuration cleanup.policy: String must be one of: compact, delete"),
        ("retention.ms", " a ", "Invalid value  a  for configuration retention.ms: Not a number of type LONG"),
        ("preallocate", "yes", "Invalid value yes for configuration preallocate: Expected value to be either true or false"),
        (
            "compression.type",
            "brotli",
            (
                "Invalid value brotli for configuration compression.type: "
                "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer"
            ),
        ),
        ("min.cleanable.dirty.ratio", "2", "Invalid value 2.0 for configuration min.cleanable.dirty.ratio: Value must be no more than 1"),
        (
            "compression.gzip.level",
            "0",
            "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
        ),
        (
            "leader.replication.throttled.replicas",
            "*,1:2",
            (
                "Invalid value [*, 1:2] for configuration leader.replication.throttled.replicas: leader.replication.throttled.replicas "
                "must be the literal '*' or a list of replicas in the following format: "
                "[partitionId]:[brokerId],[partitionId]:[brokerId],..."
            ),
        ),
    ],
)
def test_a_wrong_setting_is_refused_in_kafkas_words(name: str, value: str, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        validate_topic_configs({name: value})
    assert (refused.value.error, refused.value.message) == (Errors.INVALID_CONFIG, message)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retention.ms", " 5 "),
        ("retention.bytes", "-7"),
        ("cleanup.policy", ""),
        ("cleanup.policy", "compact, delete"),
        ("cleanup.policy", "delete,delete"),
        ("preallocate", "TRUE"),
        ("compression.gzip.level", "-1"),
        ("leader.replication.throttled.replicas", "*"),
        ("leader.replication.throttled.replicas", "1:2,3:4"),
        ("internal.segment.bytes", "100"),
    ],
)
def test_what_kafka_takes_is_taken(name: str, value: str) -> None:
    validate_topic_configs({name: value})


def test_null_is_refused() -> None:
    with pytest.raises(ApiError, match=r"Null value not supported for topic configs: retention\.ms"):
        validate_topic_configs({"retention.ms": None, "preallocate": "true"})


def test_settings_that_contradict_each_other_are_refused() -> None:
    message = r"conflict topic config setting min.compaction.lag.ms \(10\) > max.compaction.lag.ms \(5\)"
    with pytest.raises(ApiError, match=message):
        validate_topic_configs({"min.compaction.lag.ms": "10", "max.compaction.lag.ms": "5"})
    with pytest.raises(ApiError, match=message):
        validate_topic_configs({"min.compaction.lag.ms": "10"}, resulting={"max.compaction.lag.ms": "5"})
    with pytest.raises(ApiError, match=message):
        validate_topic_configs({"min.compaction.lag.ms": "10"}, BrokerConfig({"log.cleaner.max.compaction.lag.ms": "5"}))
    with pytest.raises(ApiError, match="Tiered Storage functionality is disabled"):
        validate_topic_configs({"remote.storage.enable": "true"})


def test_a_topics_setting_wins_over_the_nodes_and_the_nodes_over_kafkas() -> None:
    config = BrokerConfig({"log.retention.hours": "1", "log.segment.bytes": "2000000"})
    values = topic_config_values(config, {"retention.ms": "5", "segment.bytes": "unreadable"})
    assert (values["retention.ms"], values["segment.bytes"], values["segment.ms"]) == (5, 2_000_000, 604_800_000)
    assert values["internal.segment.bytes"] is None
    as_text = topic_config_map(config, {"cleanup.policy": "compact, delete"})
    assert (as_text["cleanup.policy"], as_text["retention.ms"]) == ("compact,delete", "3600000")
    assert "internal.segment.bytes" not in as_text


def test_the_view_tells_where_values_come_from() -> None:
    config = BrokerConfig({"min.insync.replicas": "2"})
    view = {entry.name: entry for entry in topic_config_view(config, {"retention.ms": "5"})}
    assert "internal.segment.bytes" not in view
    retention = view["retention.ms"]
    assert (retention.value, retention.source) == ("5", ConfigSource.TOPIC_CONFIG)
    replicas = view["min.insync.replicas"]
    assert (replicas.value, replicas.source) == ("2", ConfigSource.STATIC_BROKER_CONFIG)
    assert [(one.value, one.source) for one in replicas.synonyms] == [
        ("2", ConfigSource.STATIC_BROKER_CONFIG),
        ("1", ConfigSource.DEFAULT_CONFIG),
    ]
    assert view["preallocate"].source is ConfigSource.DEFAULT_CONFIG
