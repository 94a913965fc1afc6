"""The settings of a subscription to clients' metrics (KIP-714)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from kafkalab.engine.common.config.definition import (
    ConfigDefinition,
    ConfigError,
    ConfigType,
    ConfigValue,
    ListOf,
    UpdateMode,
    index_by_name,
)
from kafkalab.engine.common.errors import ApiError, Errors

INTERVAL_MS_MIN: Final = 100
INTERVAL_MS_MAX: Final = 3_600_000
_MATCHED: Final = frozenset(
    {"client_instance_id", "client_id", "client_software_name", "client_software_version", "client_source_address", "client_source_port"}
)


def _m(name: str, kind: ConfigType, default: str, valid: ListOf | None, doc: str) -> ConfigDefinition:
    return ConfigDefinition(name, kind, default, valid, doc, UpdateMode.CLUSTER_WIDE)


CLIENT_METRICS_CONFIGS: Final[Mapping[str, ConfigDefinition]] = MappingProxyType(
    index_by_name(
        (
            _m("metrics", ConfigType.LIST, "", ListOf(), "With what the names of the metrics begin that clients send; * is all of them."),
            _m("interval.ms", ConfigType.INT, "300000", None, "How often clients send their metrics."),
            _m("match", ConfigType.LIST, "", ListOf(), "Which clients: a list of property=pattern; an empty one matches all."),
        )
    )
)
"""All of them by name."""


def client_metrics_values(configs: Mapping[str, str]) -> dict[str, ConfigValue]:
    """All settings of a subscription.

    :raises ConfigError: when one is not allowed.
    """
    return {
        name: definition.parsed_default() if name not in configs else definition.parse(configs[name])
        for name, definition in CLIENT_METRICS_CONFIGS.items()
    }


def validate_client_metrics_configs(name: str, configs: Mapping[str, str]) -> None:
    """Check all settings that a subscription would have.

    :raises ApiError: INVALID_REQUEST or INVALID_CONFIG, as Kafka has it, with its message.
    """
    if not name:
        raise ApiError(Errors.INVALID_REQUEST, "Subscription name can't be empty")
    for key in configs:
        if key not in CLIENT_METRICS_CONFIGS:
            raise ApiError(Errors.INVALID_REQUEST, f"Unknown client metrics configuration: {key}")
    try:
        values = client_metrics_values(configs)
    except ConfigError as error:
        raise ApiError(Errors.INVALID_CONFIG, error.message) from None
    interval_ms, patterns = values["interval.ms"], values["match"]
    assert isinstance(interval_ms, int) and isinstance(patterns, tuple), "values have their types"
    if not INTERVAL_MS_MIN <= interval_ms <= INTERVAL_MS_MAX:
        raise ApiError(
            Errors.INVALID_REQUEST, f"Invalid value {interval_ms} for interval.ms, interval must be between 100 and 3600000 (1 hour)"
        )
    for pattern in patterns:
        if not _is_pattern(pattern):
            raise ApiError(Errors.INVALID_CONFIG, f"Illegal client matching pattern: {pattern}")


def _is_pattern(text: str) -> bool:
    # As Java splits: empty parts at the end do not count.
    parts = text.rstrip("=").split("=")
    if len(parts) != 2 or parts[0].strip() not in _MATCHED:
        return False
    try:
        re.compile(parts[1].strip())
    except re.error:
        return False
    return True
