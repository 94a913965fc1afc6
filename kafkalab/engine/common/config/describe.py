"""What DescribeConfigs tells of a topic or broker: each setting with value, source and synonyms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kafkalab.engine.common.config.broker_config import BrokerConfig, definition_of
from kafkalab.engine.common.config.broker_definitions import BROKER_CONFIGS, DYNAMIC_ONLY_CONFIGS
from kafkalab.engine.common.config.client_metrics_config import CLIENT_METRICS_CONFIGS, client_metrics_values
from kafkalab.engine.common.config.definition import ConfigDefinition, ConfigError, ConfigSource, ConfigType, to_text
from kafkalab.engine.common.config.dynamic import is_dynamic
from kafkalab.engine.common.config.group_config import GROUP_CONFIGS, GROUP_SYNONYMS, group_config_values
from kafkalab.engine.common.config.topic_config import topic_config_values
from kafkalab.engine.common.config.topic_definitions import TOPIC_CONFIGS, TOPIC_SYNONYMS, Synonym


@dataclass(frozen=True, slots=True)
class ConfigSynonym:
    """A place that gives a setting a value, in the order in which they win."""

    name: str
    value: str | None
    source: ConfigSource


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    """One setting as DescribeConfigs tells it."""

    name: str
    value: str | None
    source: ConfigSource
    type: ConfigType | None
    """None for a name that nobody knows."""
    is_read_only: bool
    is_sensitive: bool
    synonyms: tuple[ConfigSynonym, ...]
    doc: str | None


_LISTENER_CONFIG = re.compile(r"listener\.name\.[^.]*\.(.*)", re.DOTALL)
# Settings of which one takes the other's place: describing one names them all.
_BROKER_SYNONYMS: dict[str, tuple[str, ...]] = {}
for _chain in TOPIC_SYNONYMS.values():
    if len(_chain) > 1:
        for _synonym in _chain:
            _BROKER_SYNONYMS[_synonym.broker_name] = tuple(synonym.broker_name for synonym in _chain)
# Kafka describes these two by themselves.
_BROKER_SYNONYMS["log.flush.scheduler.interval.ms"] = ("log.flush.scheduler.interval.ms",)


def _broker_synonyms(name: str, broker_config: BrokerConfig, *, is_sensitive: bool) -> tuple[ConfigSynonym, ...]:
    names = _BROKER_SYNONYMS.get(name, (name,))
    listener = _LISTENER_CONFIG.match(name)
    if listener is not None:
        # A listener's own setting stands before the one for all listeners.
        names = (name, listener.group(1))
    found: list[ConfigSynonym] = []

    def add(source: ConfigSource, values: Mapping[str, str | None]) -> None:
        for one in names:
            text = values.get(one)
            if text is not None:
                found.append(ConfigSynonym(one, None if is_sensitive else text, source))

    add(ConfigSource.DYNAMIC_BROKER_CONFIG, broker_config.dynamic)
    add(ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG, broker_config.dynamic_default)
    add(ConfigSource.STATIC_BROKER_CONFIG, broker_config.overrides)
    add(ConfigSource.DEFAULT_CONFIG, {one: BROKER_CONFIGS[one].default for one in names if one in BROKER_CONFIGS})
    # Kafka drops what comes before the first synonym of this very name.
    while found and found[0].name != name:
        found.pop(0)
    return tuple(found)


def topic_config_view(broker_config: BrokerConfig, topic_overrides: Mapping[str, str]) -> tuple[ConfigEntry, ...]:
    """Every setting of a topic by name, except internal ones that nobody set."""
    values = topic_config_values(broker_config, topic_overrides)
    entries = []
    for name in sorted(TOPIC_CONFIGS):
        definition = TOPIC_CONFIGS[name]
        if definition.is_internal and name not in topic_overrides:
            continue
        text = to_text(values[name])
        synonyms: tuple[ConfigSynonym, ...] = ()
        chain: tuple[Synonym, ...] = TOPIC_SYNONYMS.get(name, ())
        if chain:
            synonyms = _broker_synonyms(chain[0].broker_name, broker_config, is_sensitive=False)
        if name in topic_overrides:
            synonyms = (ConfigSynonym(name, text, ConfigSource.TOPIC_CONFIG), *synonyms)
        entries.append(_entry(definition, name, text, synonyms, is_read_only=False))
    return tuple(entries)


def broker_config_view(broker_config: BrokerConfig) -> tuple[ConfigEntry, ...]:
    """Every setting of a broker by name, except internal ones."""
    names = {*BROKER_CONFIGS, *broker_config.overrides, *broker_config.dynamic_default, *broker_config.dynamic}
    return tuple(entry for name in sorted(names) if (entry := broker_entry(name, broker_config)) is not None)


def broker_entry(name: str, broker_config: BrokerConfig) -> ConfigEntry | None:
    """One setting of a broker; None for an internal one."""
    definition = _definition(name)
    if definition is not None and definition.is_internal:
        return None
    # What nobody knows may be a plugin's password.
    is_sensitive = definition is None or definition.is_sensitive
    synonyms = _broker_synonyms(name, broker_config, is_sensitive=is_sensitive)
    if definition is None:
        return _unknown_entry(name, synonyms)
    return _entry(definition, name, broker_config.text(name), synonyms, is_read_only=not is_dynamic(name))


def dynamic_default_view(broker_config: BrokerConfig) -> tuple[ConfigEntry, ...]:
    """The settings that were set for all brokers at once."""
    entries = []
    for name, text in sorted(broker_config.dynamic_default.items()):
        definition = _definition(name)
        is_sensitive = definition is None or definition.is_sensitive
        synonyms = tuple(
            synonym
            for synonym in _broker_synonyms(name, broker_config, is_sensitive=is_sensitive)
            if synonym.source is ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG
        )
        if definition is None:
            entries.append(_unknown_entry(name, synonyms))
        else:
            entries.append(_entry(definition, name, text, synonyms, is_read_only=not is_dynamic(name)))
    return tuple(entries)


def group_config_view(broker_config: BrokerConfig, group_overrides: Mapping[str, str]) -> tuple[ConfigEntry, ...]:
    """Every setting of a group by name."""
    values = group_config_values(broker_config, group_overrides)
    entries = []
    for name in sorted(GROUP_CONFIGS):
        definition = GROUP_CONFIGS[name]
        text = to_text(values[name])
        broker_name = GROUP_SYNONYMS.get(name)
        if broker_name is not None:
            synonyms = _broker_synonyms(broker_name, broker_config, is_sensitive=False)
        else:
            synonyms = (ConfigSynonym(name, definition.default, ConfigSource.DEFAULT_CONFIG),)
        if name in group_overrides:
            synonyms = (ConfigSynonym(name, text, ConfigSource.GROUP_CONFIG), *synonyms)
        entries.append(_entry(definition, name, text, synonyms, is_read_only=False))
    return tuple(entries)


def client_metrics_view(overrides: Mapping[str, str]) -> tuple[ConfigEntry, ...]:
    """Every setting of a metrics subscription by name."""
    values = client_metrics_values(overrides)
    entries = []
    for name in sorted(CLIENT_METRICS_CONFIGS):
        text = to_text(values[name])
        synonyms = (ConfigSynonym(name, text, ConfigSource.CLIENT_METRICS_CONFIG),) if name in overrides else ()
        entries.append(_entry(CLIENT_METRICS_CONFIGS[name], name, text, synonyms, is_read_only=False))
    return tuple(entries)


def _definition(name: str) -> ConfigDefinition | None:
    if name in DYNAMIC_ONLY_CONFIGS:
        return DYNAMIC_ONLY_CONFIGS[name]
    try:
        return definition_of(name)
    except ConfigError:
        return None


def _entry(
    definition: ConfigDefinition, name: str, text: str | None, synonyms: tuple[ConfigSynonym, ...], *, is_read_only: bool
) -> ConfigEntry:
    source = synonyms[0].source if synonyms else ConfigSource.DEFAULT_CONFIG
    is_sensitive = definition.is_sensitive
    return ConfigEntry(
        name, None if is_sensitive else text, source, definition.type, is_read_only, is_sensitive, synonyms, definition.doc or None
    )


def _unknown_entry(name: str, synonyms: tuple[ConfigSynonym, ...]) -> ConfigEntry:
    source = synonyms[0].source if synonyms else ConfigSource.DEFAULT_CONFIG
    return ConfigEntry(name, None, source, None, not is_dynamic(name), True, synonyms, None)
