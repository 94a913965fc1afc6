"""What DescribeConfigs tells of a topic, broker, group or client metrics subscription: each setting with value, source and synonyms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kafkalab.engine.common.config.broker_config import BrokerConfig, definition_of
from kafkalab.engine.common.config.broker_definitions import BROKER_CONFIGS
from kafkalab.engine.common.config.definition import ConfigDefinition, ConfigSource, ConfigType, UpdateMode, to_text
from kafkalab.engine.common.config.group_definitions import CLIENT_METRICS_CONFIGS, GROUP_CONFIGS, GROUP_SYNONYMS
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
    type: ConfigType
    is_read_only: bool
    is_sensitive: bool
    synonyms: tuple[ConfigSynonym, ...]
    doc: str


# Settings of which one takes the other's place: describing one names them all.
_BROKER_SYNONYMS: dict[str, tuple[str, ...]] = {}
for _chain in TOPIC_SYNONYMS.values():
    if len(_chain) > 1:
        for _synonym in _chain:
            _BROKER_SYNONYMS[_synonym.broker_name] = tuple(synonym.broker_name for synonym in _chain)
# Kafka describes these two by themselves.
_BROKER_SYNONYMS["log.flush.scheduler.interval.ms"] = ("log.flush.scheduler.interval.ms",)


def _broker_synonyms(
    name: str, broker_config: BrokerConfig, dynamic: Mapping[str, str], dynamic_default: Mapping[str, str], *, is_sensitive: bool
) -> tuple[ConfigSynonym, ...]:
    names = _BROKER_SYNONYMS.get(name, (name,))
    found: list[ConfigSynonym] = []

    def add(source: ConfigSource, values: Mapping[str, str | None]) -> None:
        for one in names:
            text = values.get(one)
            if text is not None:
                found.append(ConfigSynonym(one, None if is_sensitive else text, source))

    add(ConfigSource.DYNAMIC_BROKER_CONFIG, dynamic)
    add(ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG, dynamic_default)
    add(ConfigSource.STATIC_BROKER_CONFIG, broker_config.overrides)
    add(ConfigSource.DEFAULT_CONFIG, {one: BROKER_CONFIGS[one].default for one in names if one in BROKER_CONFIGS})
    # Kafka drops what comes before the first synonym of this very name.
    while found and found[0].name != name:
        found.pop(0)
    return tuple(found)


def topic_config_view(
    broker_config: BrokerConfig,
    topic_overrides: Mapping[str, str],
    *,
    dynamic: Mapping[str, str] | None = None,
    dynamic_default: Mapping[str, str] | None = None,
) -> tuple[ConfigEntry, ...]:
    """Every setting of a topic by name, except internal ones that nobody set."""
    values = topic_config_values(broker_config, topic_overrides)
    entries = []
    for name in sorted(TOPIC_CONFIGS):
        definition = TOPIC_CONFIGS[name]
        if definition.is_internal:
            continue
        text = to_text(values[name])
        synonyms: tuple[ConfigSynonym, ...] = ()
        chain: tuple[Synonym, ...] = TOPIC_SYNONYMS.get(name, ())
        if chain:
            synonyms = _broker_synonyms(chain[0].broker_name, broker_config, dynamic or {}, dynamic_default or {}, is_sensitive=False)
        if name in topic_overrides:
            synonyms = (ConfigSynonym(name, text, ConfigSource.TOPIC_CONFIG), *synonyms)
        source = synonyms[0].source if synonyms else ConfigSource.DEFAULT_CONFIG
        entries.append(_entry(definition, name, text, source, synonyms, is_read_only=False))
    return tuple(entries)


def broker_config_view(
    broker_config: BrokerConfig, *, dynamic: Mapping[str, str] | None = None, dynamic_default: Mapping[str, str] | None = None
) -> tuple[ConfigEntry, ...]:
    """Every setting of a broker by name, except internal ones."""
    names: Iterable[str] = {*BROKER_CONFIGS, *broker_config.overrides}
    return tuple(
        broker_entry(name, broker_config, dynamic or {}, dynamic_default or {})
        for name in sorted(names)
        if not definition_of(name).is_internal
    )


def broker_entry(name: str, broker_config: BrokerConfig, dynamic: Mapping[str, str], dynamic_default: Mapping[str, str]) -> ConfigEntry:
    """One setting of a broker."""
    definition = definition_of(name)
    synonyms = _broker_synonyms(name, broker_config, dynamic, dynamic_default, is_sensitive=definition.is_sensitive)
    source = synonyms[0].source if synonyms else ConfigSource.DEFAULT_CONFIG
    text = dynamic.get(name, dynamic_default.get(name, broker_config.text(name)))
    return _entry(definition, name, text, source, synonyms, is_read_only=definition.update_mode is UpdateMode.READ_ONLY)


def dynamic_default_view(broker_config: BrokerConfig, dynamic_default: Mapping[str, str]) -> tuple[ConfigEntry, ...]:
    """The settings that were set for all brokers at once."""
    entries = []
    for name in sorted(dynamic_default):
        definition = BROKER_CONFIGS.get(name)
        if definition is None:
            continue
        text = dynamic_default[name]
        synonym = ConfigSynonym(name, None if definition.is_sensitive else text, ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG)
        entries.append(
            _entry(definition, name, text, synonym.source, (synonym,), is_read_only=definition.update_mode is UpdateMode.READ_ONLY)
        )
    return tuple(entries)


def group_config_view(
    broker_config: BrokerConfig,
    group_overrides: Mapping[str, str],
    *,
    dynamic: Mapping[str, str] | None = None,
    dynamic_default: Mapping[str, str] | None = None,
) -> tuple[ConfigEntry, ...]:
    """Every setting of a group by name, whether there is such a group or not."""
    entries = []
    for name in sorted(GROUP_CONFIGS):
        definition = GROUP_CONFIGS[name]
        if name in GROUP_SYNONYMS:
            synonyms = _broker_synonyms(GROUP_SYNONYMS[name], broker_config, dynamic or {}, dynamic_default or {}, is_sensitive=False)
        else:
            synonyms = (ConfigSynonym(name, definition.default, ConfigSource.DEFAULT_CONFIG),)
        if name in group_overrides:
            synonyms = (ConfigSynonym(name, group_overrides[name], ConfigSource.GROUP_CONFIG), *synonyms)
        entries.append(_entry(definition, name, synonyms[0].value, synonyms[0].source, synonyms, is_read_only=False))
    return tuple(entries)


def client_metrics_config_view(overrides: Mapping[str, str]) -> tuple[ConfigEntry, ...]:
    """Every setting of a client metrics subscription by name, whether there is such a subscription or not."""
    entries = []
    for name, definition in CLIENT_METRICS_CONFIGS.items():
        source = ConfigSource.CLIENT_METRICS_CONFIG if name in overrides else ConfigSource.DEFAULT_CONFIG
        entries.append(_entry(definition, name, overrides.get(name, definition.default), source, (), is_read_only=False))
    return tuple(entries)


def _entry(
    definition: ConfigDefinition,
    name: str,
    text: str | None,
    source: ConfigSource,
    synonyms: tuple[ConfigSynonym, ...],
    *,
    is_read_only: bool,
) -> ConfigEntry:
    is_sensitive = definition.is_sensitive
    return ConfigEntry(name, None if is_sensitive else text, source, definition.type, is_read_only, is_sensitive, synonyms, definition.doc)
