"""A group's settings (KIP-848, KIP-932, KIP-1071): what there is, its defaults, and the bounds that brokers set."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from kafkalab.engine.common.config.broker_config import BrokerConfig
from kafkalab.engine.common.config.broker_definitions import BROKER_CONFIGS
from kafkalab.engine.common.config.definition import (
    ConfigDefinition,
    ConfigError,
    ConfigType,
    ConfigValue,
    OneOf,
    Range,
    UpdateMode,
    Validator,
    index_by_name,
    to_text,
)
from kafkalab.engine.common.errors import ApiError, Errors

# An ISO 8601 duration of days and less, as Java's Duration reads it; at least one part is there.
_DURATION: Final = re.compile(
    r"\+?P(?=.)(?:[+]?\d{1,18}D)?(?:T(?=.)(?:[+]?\d{1,18}H)?(?:[+]?\d{1,18}M)?(?:[+]?\d{1,18}(?:[.,]\d{0,9})?S)?)?\Z",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _OffsetReset:
    """``earliest``, ``latest``, or ``by_duration:`` with a duration that is not negative."""

    name: str

    @property
    def allowed(self) -> str:
        return "earliest, latest, by_duration:PnDTnHnMn.nS"

    def complaint(self, value: ConfigValue) -> str | None:
        assert isinstance(value, str), "a strategy is a string"
        kind, colon, duration = value.partition(":")
        if value in ("earliest", "latest") or (kind == "by_duration" and colon and _DURATION.match(duration)):
            return None
        return (
            f"Invalid value `{value}` for configuration {self.name}. "
            "The value must be either 'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'."
        )


def _g(
    name: str, default: str | None = None, valid: Validator | None = None, doc: str = "", kind: ConfigType = ConfigType.INT
) -> ConfigDefinition:
    broker_name = f"group.{name}"
    if broker_name in BROKER_CONFIGS:
        synonym = BROKER_CONFIGS[broker_name]
        default, doc, kind = synonym.default, synonym.doc, synonym.type
    return ConfigDefinition(name, kind, default, valid, doc, UpdateMode.CLUSTER_WIDE)


GROUP_CONFIGS: Final[Mapping[str, ConfigDefinition]] = MappingProxyType(
    index_by_name(
        (
            _g("consumer.session.timeout.ms", valid=Range(1)),
            _g("consumer.heartbeat.interval.ms", valid=Range(1)),
            _g("consumer.assignment.interval.ms", valid=Range(0)),
            _g("share.session.timeout.ms", valid=Range(1)),
            _g("share.heartbeat.interval.ms", valid=Range(1)),
            _g("share.record.lock.duration.ms", valid=Range(1000)),
            _g("share.delivery.count.limit", valid=Range(2)),
            _g("share.partition.max.record.locks", valid=Range(100)),
            _g(
                "share.auto.offset.reset",
                "latest",
                _OffsetReset("share.auto.offset.reset"),
                "Where a share group starts to read a partition: at its first record, at its end, or a duration before now.",
                ConfigType.STRING,
            ),
            _g(
                "share.isolation.level",
                "read_uncommitted",
                OneOf(("read_committed", "read_uncommitted")),
                "Whether a share group is handed records of transactions that are open or were aborted.",
                ConfigType.STRING,
            ),
            _g(
                "share.renew.acknowledge.enable",
                "true",
                None,
                "Whether members of a share group may renew their hold on a record.",
                ConfigType.BOOLEAN,
            ),
            _g("share.assignment.interval.ms", valid=Range(0)),
            _g("streams.session.timeout.ms", valid=Range(1)),
            _g("streams.heartbeat.interval.ms", valid=Range(1)),
            _g("streams.num.standby.replicas", valid=Range(0)),
            _g("streams.initial.rebalance.delay.ms", valid=Range(0)),
            _g("streams.assignment.interval.ms", valid=Range(0)),
        )
    )
)
"""All settings of a group by name."""

GROUP_SYNONYMS: Final[Mapping[str, str]] = MappingProxyType({n: f"group.{n}" for n in GROUP_CONFIGS if f"group.{n}" in BROKER_CONFIGS})
"""The broker setting that gives a group's setting its default, where there is one."""

# Setting, then the broker's bounds, in the order in which Kafka looks.
_BOUNDS: Final = (
    ("consumer.heartbeat.interval.ms", "group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
    ("consumer.session.timeout.ms", "group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
    ("consumer.assignment.interval.ms", "group.consumer.min.assignment.interval.ms", "group.consumer.max.assignment.interval.ms"),
    ("share.heartbeat.interval.ms", "group.share.min.heartbeat.interval.ms", "group.share.max.heartbeat.interval.ms"),
    ("share.session.timeout.ms", "group.share.min.session.timeout.ms", "group.share.max.session.timeout.ms"),
    ("share.record.lock.duration.ms", "group.share.min.record.lock.duration.ms", "group.share.max.record.lock.duration.ms"),
    ("share.delivery.count.limit", "group.share.min.delivery.count.limit", "group.share.max.delivery.count.limit"),
    ("share.partition.max.record.locks", "group.share.min.partition.max.record.locks", "group.share.max.partition.max.record.locks"),
    ("share.assignment.interval.ms", "group.share.min.assignment.interval.ms", "group.share.max.assignment.interval.ms"),
    ("streams.heartbeat.interval.ms", "group.streams.min.heartbeat.interval.ms", "group.streams.max.heartbeat.interval.ms"),
    ("streams.session.timeout.ms", "group.streams.min.session.timeout.ms", "group.streams.max.session.timeout.ms"),
    ("streams.num.standby.replicas", None, "group.streams.max.standby.replicas"),
    ("streams.assignment.interval.ms", "group.streams.min.assignment.interval.ms", "group.streams.max.assignment.interval.ms"),
)
# How far apart assignments are is only checked where the group says it.
_CHECKED_WHEN_SET: Final = frozenset({"consumer.assignment.interval.ms", "share.assignment.interval.ms", "streams.assignment.interval.ms"})
# How a session relates to its heartbeats.
_SESSION_ABOVE_HEARTBEAT: Final = (
    ("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"),
    ("share.session.timeout.ms", "share.heartbeat.interval.ms"),
    ("streams.session.timeout.ms", "streams.heartbeat.interval.ms"),
)


def group_config_values(broker_config: BrokerConfig, overrides: Mapping[str, str]) -> dict[str, ConfigValue]:
    """All settings that hold for a group: its own over what its broker says.

    :raises ConfigError: when one of its own is not allowed.
    """
    values: dict[str, ConfigValue] = {}
    for name, definition in GROUP_CONFIGS.items():
        text = overrides.get(name)
        if text is None:
            synonym = GROUP_SYNONYMS.get(name)
            text = definition.default if synonym is None else to_text(broker_config.get(synonym))
        assert text is not None, f"{name} has a value"
        values[name] = definition.parse(text)
    return values


def validate_group_configs(configs: Mapping[str, str], broker_config: BrokerConfig) -> None:
    """Check all settings that a group would have.

    :raises ApiError: INVALID_CONFIG with Kafka's message.
    """
    for name in configs:
        if name not in GROUP_CONFIGS:
            raise ApiError(Errors.INVALID_CONFIG, f"Unknown group config name: {name}")
    try:
        values = group_config_values(broker_config, configs)
    except ConfigError as error:
        raise ApiError(Errors.INVALID_CONFIG, error.message) from None
    for name, low, high in _BOUNDS:
        value = values[name]
        assert isinstance(value, int), "what is bounded is a number"
        if name in _CHECKED_WHEN_SET and name not in configs:
            continue
        if low is not None and value < broker_config.get_int(low):
            raise ApiError(Errors.INVALID_CONFIG, f"{name} must be greater than or equal to {low}")
        if value > broker_config.get_int(high):
            raise ApiError(Errors.INVALID_CONFIG, f"{name} must be less than or equal to {high}")
    for session, heartbeat in _SESSION_ABOVE_HEARTBEAT:
        timeout, interval = values[session], values[heartbeat]
        assert isinstance(timeout, int) and isinstance(interval, int), "both are numbers"
        if timeout <= interval:
            raise ApiError(Errors.INVALID_CONFIG, f"{session} must be greater than {heartbeat}")
