"""A node's settings: typed access, precedence, and refusals that help."""

from __future__ import annotations

import pytest

from kafkalab.engine.common.config import BrokerConfig, ConfigError, parse_key_value, parse_properties


def test_kafkas_defaults_hold_where_nothing_is_given() -> None:
    config = BrokerConfig()
    assert config.get_int("broker.session.timeout.ms") == 9_000
    assert config.get_long("log.flush.interval.messages") == 2**63 - 1
    assert config.get_boolean("auto.create.topics.enable") is True
    assert config.get_double("log.cleaner.min.cleanable.ratio") == 0.5
    assert config.get_string("compression.type") == "producer"
    assert config.get_string("broker.rack") == "" and config.get("broker.rack") is None
    assert config.get_list("group.consumer.assignors") == ("uniform", "range")
    assert config.get_list("advertised.listeners") == ()
    assert config.log_dirs == ("/tmp/kafka-logs",)


def test_what_is_given_wins_and_is_remembered_as_it_was() -> None:
    config = BrokerConfig({"num.partitions": " 7 "})
    assert config.get_int("num.partitions") == 7
    assert config.is_overridden("num.partitions") and not config.is_overridden("num.io.threads")


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({}, "retention.ms", 604_800_000),
        ({"log.retention.hours": "1"}, "retention.ms", 3_600_000),
        ({"log.retention.hours": "1", "log.retention.minutes": "2"}, "retention.ms", 120_000),
        ({"log.retention.minutes": "2", "log.retention.ms": "3"}, "retention.ms", 3),
        ({"log.retention.hours": "-1"}, "retention.ms", -1),
        ({"log.roll.hours": "2"}, "segment.ms", 7_200_000),
        ({"log.roll.hours": "2", "log.roll.ms": "5"}, "segment.ms", 5),
        ({"log.roll.jitter.hours": "1"}, "segment.jitter.ms", 3_600_000),
        ({"log.flush.scheduler.interval.ms": "9"}, "flush.ms", 9),
        ({"message.max.bytes": "100"}, "max.message.bytes", 100),
    ],
)
def test_a_finer_unit_wins_over_a_coarser(given: dict[str, str], name: str, value: int) -> None:
    assert BrokerConfig(given).topic_default(name) == value


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"brokr.session.timeout.ms": "1"}, "did you mean broker.session.timeout.ms"),
        ({"retention.ms": "1"}, "Unknown setting retention.ms; did you mean log.retention.ms"),
        ({"qqqq": "1"}, "^Unknown setting qqqq$"),
        ({"num.partitions": "many"}, "num.partitions: Not a number of type INT"),
        ({"num.partitions": "0"}, r"at least 1 \(allowed: a whole number of 32 bits, at least 1\)"),
        ({"broker.session.timeout.ms": "1000"}, r"broker.heartbeat.interval.ms \(2000\) must be less than or equal to half"),
        ({"replica.fetch.wait.max.ms": "40000"}, r"must be at most replica.lag.time.max.ms \(30000\)"),
        ({"replica.socket.timeout.ms": "100"}, "must be at most replica.socket.timeout.ms"),
        ({"log.retention.ms": "0"}, "log.retention.ms must be unlimited"),
        ({"log.cleaner.threads": "200", "log.cleaner.dedupe.buffer.size": "200000000"}, "at least 1MB per cleaner thread"),
        ({"queued.max.request.bytes": "5"}, "socket.request.max.bytes"),
        ({"group.consumer.session.timeout.ms": "1"}, "must be greater than or equal to group.consumer.min.session.timeout.ms"),
        ({"controller.quorum.voters": "1@host"}, "id@host:port"),
        ({"process.roles": "boss"}, "String must be one of: broker, controller"),
    ],
)
def test_a_wrong_setting_is_refused_in_words_that_help(given: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        BrokerConfig(given)
    assert refused.value.key in str(refused.value)


def test_a_setting_for_one_listener_is_known_by_what_it_overrides() -> None:
    config = BrokerConfig({"listener.name.internal.max.connections": "5"})
    assert config.get_int("listener.name.internal.max.connections") == 5
    assert config.get_int("max.connections") == 2**31 - 1
    with pytest.raises(ConfigError, match="Unknown setting"):
        BrokerConfig({"listener.name.internal.nonsense": "5"})


def test_key_and_value_are_parted_at_the_first_equals_sign() -> None:
    assert parse_key_value("a.b=c=d") == ("a.b", "c=d")
    assert parse_key_value(" a = ") == ("a", "")
    for wrong in ("a", "=b", ""):
        with pytest.raises(ConfigError, match="KEY=VALUE"):
            parse_key_value(wrong)


def test_a_properties_file_is_read_as_java_reads_it() -> None:
    text = "\n".join(
        (
            "# a comment",
            "  ! another",
            "",
            "a=1",
            "b : 2",
            "c 3",
            "d",
            "long=one,\\",
            "    two",
            "path=C\\:\\\\logs",
            "key\\ with\\ blanks=x",
            "greek=\\u03b1",
            "tab=\\tx",
            "a=last",
            "e==x",
        )
    )
    assert parse_properties(text) == {
        "a": "last",
        "b": "2",
        "c": "3",
        "d": "",
        "long": "one,two",
        "path": "C:\\logs",
        "key with blanks": "x",
        "greek": "α",
        "tab": "\tx",
        "e": "=x",
    }
    assert parse_properties("x=1\r\ny=2\\\r\n 3\r\n") == {"x": "1", "y": "23"}
    assert parse_properties("last=1\\") == {"last": "1"}


def test_a_line_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ConfigError, match=r"my\.properties, line 2: .* four hexadecimal digits"):
        parse_properties("a=1\nb=\\u12", "my.properties")
    with pytest.raises(ConfigError, match=r"line 1: .* has no key"):
        parse_properties("=x")
