"""The tables of settings, and how values are read and refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kafkalab.engine.common.config import (
    BROKER_CONFIGS,
    TOPIC_CONFIGS,
    TOPIC_SYNONYMS,
    BrokerConfig,
    ConfigDefinition,
    ConfigEntry,
    ConfigError,
    ConfigType,
    UpdateMode,
    broker_config_view,
    to_text,
    topic_config_view,
)
from kafkalab.engine.common.config.definition import ListOf, OneOf, Range

ORACLE = Path(os.environ.get("KAFKALAB_ORACLE") or Path(__file__).parents[5] / "shared" / "oracle")
needs_oracle = pytest.mark.skipif(not ORACLE.is_dir(), reason=f"Apache Kafka's own answers are not at {ORACLE}")

# What the oracle's node was started with; the rest is Kafka's default.
STARTED_WITH = {
    "node.id": "1",
    "broker.id": "1",
    "process.roles": "broker,controller",
    "listeners": "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:19093",
    "advertised.listeners": "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:19093",
    "controller.listener.names": "CONTROLLER",
    "controller.quorum.bootstrap.servers": "127.0.0.1:19093",
    "default.replication.factor": "1",
    "group.initial.rebalance.delay.ms": "0",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "min.insync.replicas": "1",
    "num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.replication.factor": "1",
}
# With eligible leader replicas on, Kafka keeps this one as the default of all brokers.
DYNAMIC_DEFAULT = {"min.insync.replicas": "1"}


def told(entries: tuple[ConfigEntry, ...]) -> dict[str, str]:
    """The entries as Kafka's tool prints them."""
    lines = {}
    for entry in entries:
        synonyms = ", ".join(f"{one.source.name}:{one.name}={one.value}" for one in entry.synonyms)
        value = "null" if entry.value is None else entry.value
        lines[entry.name] = f"{entry.name}={value} sensitive={str(entry.is_sensitive).lower()} synonyms={{{synonyms}}}"
    return lines


def golden(name: str) -> dict[str, str]:
    lines = (ORACLE / "golden" / name).read_text().splitlines()
    return {line.partition("=")[0]: line for line in lines if line}


@needs_oracle
def test_a_broker_describes_itself_as_apache_kafka_does() -> None:
    ours = told(broker_config_view(BrokerConfig(STARTED_WITH).with_dynamic(DYNAMIC_DEFAULT, {})))
    theirs = golden("configs-broker.txt")
    # The folders were taken out of Kafka's answer.
    assert set(ours) - set(theirs) == {"log.dir", "log.dirs"}
    assert {name: ours[name] for name in theirs} == theirs


@needs_oracle
def test_a_topic_is_described_as_apache_kafka_does() -> None:
    ours = told(topic_config_view(BrokerConfig(STARTED_WITH).with_dynamic(DYNAMIC_DEFAULT, {}), {}))
    assert ours == golden("configs-topic.txt")


def test_every_public_setting_has_a_sentence_and_a_default_that_is_allowed() -> None:
    for definition in (*BROKER_CONFIGS.values(), *TOPIC_CONFIGS.values()):
        assert definition.is_internal or definition.doc.endswith("."), definition.name
        if definition.default is not None:
            assert definition.parse(definition.default) == definition.parsed_default(), definition.name
            assert to_text(definition.parsed_default()) == definition.default, definition.name
        assert definition.allowed


def test_the_settings_behind_a_topics_defaults_exist_and_agree() -> None:
    for name, chain in TOPIC_SYNONYMS.items():
        topic = TOPIC_CONFIGS[name]
        for synonym in chain:
            assert synonym.broker_name in BROKER_CONFIGS
        assert BrokerConfig().topic_default(name) == topic.parsed_default(), name


def test_identity_and_quorum_are_read_only_and_log_settings_are_not() -> None:
    for name in ("node.id", "process.roles", "log.dirs", "controller.quorum.voters", "broker.session.timeout.ms"):
        assert BROKER_CONFIGS[name].update_mode is UpdateMode.READ_ONLY
    assert BROKER_CONFIGS["log.retention.ms"].update_mode is UpdateMode.CLUSTER_WIDE
    assert BROKER_CONFIGS["listeners"].update_mode is UpdateMode.PER_BROKER


@pytest.mark.parametrize(
    ("kind", "text", "value", "shown"),
    [
        (ConfigType.INT, " 5 ", 5, "5"),
        (ConfigType.INT, "+5", 5, "5"),
        (ConfigType.LONG, "-9223372036854775808", -(2**63), "-9223372036854775808"),
        (ConfigType.BOOLEAN, "TRUE", True, "true"),
        (ConfigType.DOUBLE, "1e-1", 0.1, "0.1"),
        (ConfigType.DOUBLE, "0.5f", 0.5, "0.5"),
        (ConfigType.DOUBLE, "1.7976931348623157E308", 1.7976931348623157e308, "1.7976931348623157E308"),
        (ConfigType.DOUBLE, "12345678", 12345678.0, "1.2345678E7"),
        (ConfigType.DOUBLE, "0.0001", 0.0001, "1.0E-4"),
        (ConfigType.LIST, "a, b,a", ("a", "b"), "a,b"),
        (ConfigType.LIST, "", (), ""),
        (ConfigType.STRING, " x ", "x", "x"),
    ],
)
def test_values_are_read_as_kafka_reads_them(kind: ConfigType, text: str, value: object, shown: str) -> None:
    definition = ConfigDefinition("some.setting", kind, None)
    assert definition.parse(text) == value
    assert to_text(definition.parse(text)) == shown


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (ConfigType.SHORT, "32768"),
        (ConfigType.INT, "2147483648"),
        (ConfigType.INT, "1.5"),
        (ConfigType.INT, ""),
        (ConfigType.INT, "0x10"),
        (ConfigType.INT, "1_000"),
        (ConfigType.INT, "٣"),
        (ConfigType.LONG, "9" * 1_000_000),
        (ConfigType.BOOLEAN, "yes"),
        (ConfigType.DOUBLE, "x"),
        (ConfigType.DOUBLE, "1_0.5"),
    ],
)
def test_values_of_another_type_are_refused(kind: ConfigType, text: str) -> None:
    with pytest.raises(ConfigError, match=r"^Invalid value .* for configuration some\.setting: (Not a number|Expected)"):
        ConfigDefinition("some.setting", kind, None).parse(text)


def test_an_error_names_the_key_the_value_and_what_is_allowed() -> None:
    definition = ConfigDefinition("some.bytes", ConfigType.INT, "1", Range(1, 10))
    with pytest.raises(ConfigError) as refused:
        definition.parse("11")
    assert refused.value.key == "some.bytes" and refused.value.value == "11"
    assert str(refused.value) == (
        "Invalid value 11 for configuration some.bytes: Value must be no more than 10 (allowed: a whole number of 32 bits, 1 to 10)"
    )


def test_words_and_lists_are_checked() -> None:
    word = ConfigDefinition("w", ConfigType.STRING, "a", OneOf(("A", "B"), ignore_case=True))
    assert word.parse("b") == "b"
    with pytest.raises(ConfigError, match="case insensitive"):
        word.parse("c")
    some = ConfigDefinition("l", ConfigType.LIST, "a", ListOf(("a", "b"), may_be_empty=False))
    with pytest.raises(ConfigError, match="must not be empty"):
        some.parse("")
    with pytest.raises(ConfigError, match="Invalid value c for configuration l: String must be one of: a, b"):
        some.parse("a,c")
