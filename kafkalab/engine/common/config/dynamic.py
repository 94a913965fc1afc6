"""Settings of brokers that change while they run (KIP-226): which may, for whom, and what is refused.

Kafka's rules: a setting is read-only, or may differ from broker to broker, or holds for all
brokers at once (and may then still be set for one). Security settings are changed for one listener
at a time, by ``listener.name.<listener>.<setting>``. A name that no broker knows is taken as it is:
it may be a plugin's. The sizes of thread pools move by a factor of two at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from kafkalab.engine.common.config.broker_config import BrokerConfig
from kafkalab.engine.common.config.broker_definitions import BROKER_CONFIGS, DYNAMIC_ONLY_CONFIGS
from kafkalab.engine.common.config.definition import ConfigDefinition, ConfigError, UpdateMode
from kafkalab.engine.common.errors import ApiError, Errors

_LISTENER_CONFIG: Final = re.compile(r"listener\.name\.[^.]*\.(.*)", re.DOTALL)
_SECURITY_CONFIGS: Final = frozenset(
    {
        "ssl.keystore.type",
        "ssl.keystore.location",
        "ssl.keystore.password",
        "ssl.key.password",
        "ssl.truststore.type",
        "ssl.truststore.location",
        "ssl.truststore.password",
        "ssl.keystore.certificate.chain",
        "ssl.keystore.key",
        "ssl.truststore.certificates",
    }
)
_CLUSTER_LEVEL_LISTENER_CONFIGS: Final = frozenset({"max.connections", "max.connection.creation.rate", "num.network.threads"})
_THREAD_POOLS: Final = (
    "num.io.threads",
    "num.network.threads",
    "num.replica.fetchers",
    "num.recovery.threads.per.data.dir",
    "background.threads",
    "remote.log.reader.threads",
    "remote.log.manager.copier.thread.pool.size",
    "remote.log.manager.expiration.thread.pool.size",
    "remote.log.manager.follower.thread.pool.size",
)
# A node binds its ports once, when it starts.
_FIXED_WHILE_RUNNING: Final = ("listeners", "listener.security.protocol.map")


def is_dynamic(name: str) -> bool:
    """Whether a broker's setting may change while it runs."""
    definition = BROKER_CONFIGS.get(name)
    return name in DYNAMIC_ONLY_CONFIGS or (definition is not None and definition.update_mode is not UpdateMode.READ_ONLY)


def applicable(configs: Mapping[str, str], *, per_broker: bool) -> dict[str, str]:
    """What of a broker's settings in the metadata can be applied; what cannot is passed over, as in Kafka."""
    given = {name: text for name, text in configs.items() if _parses(name, text)}
    dropped = {*_non_dynamic(given), *_unprefixed_security(given), *(() if per_broker else _per_broker(given))}
    return {name: text for name, text in given.items() if name not in dropped}


def validate_dynamic_configs(configs: Mapping[str, str], config: BrokerConfig, *, per_broker: bool) -> None:
    """Check all settings that a broker, or all brokers, would have in the metadata.

    :raises ApiError: INVALID_REQUEST with Kafka's message.
    """
    try:
        _refuse_any(_non_dynamic(configs), "Cannot update these configs dynamically")
        _refuse_any(
            _unprefixed_security(configs), "These security configs can be dynamically updated only per-listener using the listener prefix"
        )
        for name, text in configs.items():
            definition = _typed(name)
            if definition is not None:
                definition.parse(text)
        if not per_broker:
            _refuse_any(_per_broker(configs), "Cannot update these configs at default cluster level, broker id must be specified")
        if per_broker:
            candidate = config.with_dynamic(config.dynamic_default, configs)
        else:
            candidate = config.with_dynamic(configs, config.dynamic)
        complaint = _reconfiguration_complaint(config, candidate)
    except ConfigError as error:
        raise ApiError(Errors.INVALID_REQUEST, error.message) from None
    if complaint is not None:
        # Kafka hands the reason over as if it were a value.
        raise ApiError(
            Errors.INVALID_REQUEST,
            f"Invalid value org.apache.kafka.common.config.ConfigException: {complaint} for configuration Invalid dynamic configuration",
        )


def _base_name(name: str) -> str:
    listener = _LISTENER_CONFIG.match(name)
    return name if listener is None else listener.group(1)


def _typed(name: str) -> ConfigDefinition | None:
    """The definition by which Kafka checks a value's type: of dynamic settings only."""
    base = _base_name(name)
    if not is_dynamic(base):
        return None
    return DYNAMIC_ONLY_CONFIGS.get(base) or BROKER_CONFIGS[base]


def _parses(name: str, text: str) -> bool:
    definition = _typed(name)
    if definition is not None:
        try:
            definition.parse(text)
        except ConfigError:
            return False
    return True


def _non_dynamic(configs: Iterable[str]) -> list[str]:
    return [name for name in configs if name in BROKER_CONFIGS and not is_dynamic(name)]


def _unprefixed_security(configs: Iterable[str]) -> list[str]:
    return [name for name in configs if name in _SECURITY_CONFIGS]


def _per_broker(configs: Iterable[str]) -> list[str]:
    found = []
    for name in configs:
        definition = BROKER_CONFIGS.get(name)
        base = _base_name(name)
        is_of_listener = base != name and base not in _CLUSTER_LEVEL_LISTENER_CONFIGS
        if is_of_listener or (definition is not None and definition.update_mode is UpdateMode.PER_BROKER):
            found.append(name)
    return found


def _refuse_any(names: Iterable[str], message: str) -> None:
    refused = sorted(names)
    if refused:
        raise ConfigError(refused[0], None, f"{message}: [{', '.join(refused)}]")


def _reconfiguration_complaint(old: BrokerConfig, new: BrokerConfig) -> str | None:
    return (
        _pool_complaint(old, new)
        or _cleaner_complaint(old, new)
        or _retention_complaint(new)
        or _connections_complaint(old, new)
        or _fixed_complaint(old, new)
    )


def _pool_complaint(old: BrokerConfig, new: BrokerConfig) -> str | None:
    for name in _THREAD_POOLS:
        before, after = old.get_int(name), new.get_int(name)
        if before == after:
            continue
        what = f"Dynamic thread count update validation failed for {name}={after}"
        if after < before // 2:
            return f"{what}, value should be at least half the current value {before}"
        if after > before * 2:
            return f"{what}, value should not be greater than double the current value {before}"
    return None


def _cleaner_complaint(old: BrokerConfig, new: BrokerConfig) -> str | None:
    before, after = old.get_int("log.cleaner.threads"), new.get_int("log.cleaner.threads")
    if before == after:
        return None
    if after < 1:
        return "Log cleaner threads should be at least 1"
    if after < before // 2:
        return f"Log cleaner threads cannot be reduced to less than half the current value {before}"
    if after > before * 2:
        return f"Log cleaner threads cannot be increased to more than double the current value {before}"
    return None


def _retention_complaint(new: BrokerConfig) -> str | None:
    for local_name, whole_name, topic_name in (
        ("log.local.retention.ms", "log.retention.ms", "retention.ms"),
        ("log.local.retention.bytes", "log.retention.bytes", "retention.bytes"),
    ):
        local, whole = new.get_int(local_name), new.topic_default(topic_name)
        assert isinstance(whole, int), "retention is a number"
        if whole > -1 and local != -2:
            if local == -1:
                return f"Invalid value -1 for configuration {local_name}: Value must not be -1 as {whole_name} value is set as {whole}."
            if local > whole:
                return (
                    f"Invalid value {local} for configuration {local_name}: "
                    f"Value must not be more than {whole_name} property value: {whole}"
                )
    return None


def _connections_complaint(old: BrokerConfig, new: BrokerConfig) -> str | None:
    for name in ("max.connections", "max.connection.creation.rate"):
        value = new.get_int(name)
        if value != old.get_int(name) and value <= 0:
            return f"Invalid {name} {value}"
    return None


def _fixed_complaint(old: BrokerConfig, new: BrokerConfig) -> str | None:
    for name in _FIXED_WHILE_RUNNING:
        if old.get(name) != new.get(name):
            return f"{name} cannot change while a KafkaLab node runs: it binds its ports when it starts"
    return None
