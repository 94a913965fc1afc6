"""A topic's settings: checking what somebody wants to set, and what holds in the end."""

from __future__ import annotations

from collections.abc import Mapping

from kafkalab.engine.common.config.broker_config import BrokerConfig
from kafkalab.engine.common.config.definition import ConfigError, ConfigValue, to_text
from kafkalab.engine.common.config.topic_definitions import TOPIC_CONFIGS
from kafkalab.engine.common.errors import ApiError, Errors


def validate_topic_configs(
    configs: Mapping[str, str | None], broker_config: BrokerConfig | None = None, *, resulting: Mapping[str, str] | None = None
) -> None:
    """Check the settings that a request wants for a topic.

    :param configs: what the request says; None as a value is an error, as in Kafka.
    :param broker_config: gives the defaults for checks between two settings; Kafka's defaults without.
    :param resulting: all settings that the topic will have, where that is more than ``configs``.
    :raises ApiError: INVALID_CONFIG with Kafka's message.
    """
    missing = [name for name, text in configs.items() if text is None]
    if missing:
        raise ApiError(Errors.INVALID_CONFIG, f"Null value not supported for topic configs: {','.join(missing)}")
    given = {name: text for name, text in configs.items() if text is not None}
    _parse(given)
    values = _parse({**(resulting or {}), **given})

    def effective(name: str) -> ConfigValue:
        if name in values:
            return values[name]
        return broker_config.topic_default(name) if broker_config is not None else TOPIC_CONFIGS[name].parsed_default()

    low, high = effective("min.compaction.lag.ms"), effective("max.compaction.lag.ms")
    assert isinstance(low, int) and isinstance(high, int), "both lags are numbers"
    if low > high:
        raise ApiError(
            Errors.INVALID_CONFIG, f"conflict topic config setting min.compaction.lag.ms ({low}) > max.compaction.lag.ms ({high})"
        )
    if values.get("remote.storage.enable") is True:
        raise ApiError(
            Errors.INVALID_CONFIG,
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.",
        )


def _parse(configs: Mapping[str, str]) -> dict[str, ConfigValue]:
    values: dict[str, ConfigValue] = {}
    for name, text in configs.items():
        definition = TOPIC_CONFIGS.get(name)
        if definition is None:
            raise ApiError(Errors.INVALID_CONFIG, f"Unknown topic config name: {name}")
        try:
            values[name] = definition.parse(text)
        except ConfigError as error:
            raise ApiError(Errors.INVALID_CONFIG, error.message) from None
    return values


def topic_config_values(broker_config: BrokerConfig, topic_overrides: Mapping[str, str]) -> dict[str, ConfigValue]:
    """All settings that hold for a topic on this node, as values.

    Overrides were checked when they were set. One that this version cannot read counts as not set.
    """
    values: dict[str, ConfigValue] = {}
    for name, definition in TOPIC_CONFIGS.items():
        text = topic_overrides.get(name)
        if text is None:
            values[name] = broker_config.topic_default(name)
            continue
        try:
            values[name] = definition.parse(text)
        except ConfigError:
            values[name] = broker_config.topic_default(name)
    return values


def topic_config_map(broker_config: BrokerConfig, topic_overrides: Mapping[str, str]) -> dict[str, str]:
    """All settings that hold for a topic on this node, as text; those without a value are left out."""
    values = topic_config_values(broker_config, topic_overrides)
    return {name: text for name, value in values.items() if (text := to_text(value)) is not None}
