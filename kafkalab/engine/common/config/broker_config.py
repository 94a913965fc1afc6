"""A node's own settings: what was given over what Kafka defaults to, checked before anything starts.

Some change while the node runs (KIP-226): what the metadata says for all brokers, and over that
what it says for this one, lies above what was given at the start. Readers ask the same object
each time and see what holds; whoever keeps a value of its own subscribes.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from kafkalab.engine.common.config.broker_definitions import BROKER_CONFIGS, DYNAMIC_ONLY_CONFIGS
from kafkalab.engine.common.config.definition import ConfigDefinition, ConfigError, ConfigType, ConfigValue, to_text
from kafkalab.engine.common.config.topic_definitions import TOPIC_CONFIGS, TOPIC_SYNONYMS

_DEFAULTS: Final[Mapping[str, ConfigValue]] = MappingProxyType(
    {name: d.parsed_default() for name, d in {**BROKER_CONFIGS, **DYNAMIC_ONLY_CONFIGS}.items()}
)
_LISTENER_PREFIX: Final = "listener.name."
_NEAREST_MAX: Final = 3


def nearest_names(key: str, names: Mapping[str, ConfigDefinition] = BROKER_CONFIGS) -> tuple[str, ...]:
    """The public settings whose names look most like the given one."""
    public = [name for name, definition in names.items() if not definition.is_internal]
    near = difflib.get_close_matches(key.strip().lower(), public, n=_NEAREST_MAX, cutoff=0.6)
    synonyms = TOPIC_SYNONYMS.get(key)
    if synonyms is not None and names is BROKER_CONFIGS:
        # A topic's name for it was used where the broker's is wanted.
        near = [synonyms[0].broker_name, *(name for name in near if name != synonyms[0].broker_name)][:_NEAREST_MAX]
    return tuple(near)


def definition_of(key: str) -> ConfigDefinition:
    """The definition of a broker setting, also for ``listener.name.<listener>.<setting>``.

    :raises ConfigError: when there is none; it names the nearest.
    """
    definition = BROKER_CONFIGS.get(key)
    if definition is None and key.startswith(_LISTENER_PREFIX):
        # listener.name.<listener>.[<mechanism>.]<setting> overrides one setting for one listener.
        parts = key.split(".")
        for first in (3, 4):
            definition = definition or BROKER_CONFIGS.get(".".join(parts[first:]))
    if definition is None:
        near = nearest_names(key)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ConfigError(key, None, f"Unknown setting {key}{hint}")
    return definition


OnChanged = Callable[[frozenset[str]], None]
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def dynamic_definition_of(key: str) -> ConfigDefinition | None:
    """The definition of a setting that the metadata names; None for one that no broker knows."""
    definition = DYNAMIC_ONLY_CONFIGS.get(key)
    if definition is None:
        try:
            definition = definition_of(key)
        except ConfigError:
            return None
    return definition


class BrokerConfig:
    """Typed access to a node's settings. Reading one is a dictionary look-up.

    :raises ConfigError: when a key is unknown, a value is not allowed, or two do not go together.
    """

    __slots__ = ("_subscribers", "_values", "dynamic", "dynamic_default", "overrides")

    def __init__(self, overrides: Mapping[str, str] | None = None) -> None:
        self.overrides: Mapping[str, str] = MappingProxyType(dict(overrides or {}))
        """What was given at the start, as it was given."""
        self.dynamic_default: Mapping[str, str] = _NOTHING
        """What the metadata says for all brokers, as far as it can be applied."""
        self.dynamic: Mapping[str, str] = _NOTHING
        """What the metadata says for this broker alone; it wins."""
        self._subscribers: list[OnChanged] = []
        self._values: dict[str, ConfigValue] = dict(_DEFAULTS)
        for key, text in self.overrides.items():
            self._values[key] = definition_of(key).parse(text)
        for check in _CHECKS:
            check(self)

    # --- what changes while the node runs --------------------------------------------------------

    def with_dynamic(self, dynamic_default: Mapping[str, str], dynamic: Mapping[str, str]) -> BrokerConfig:
        """What would hold if the metadata said this. Names that no broker knows are kept and mean nothing.

        :raises ConfigError: when a value is not allowed, or two do not go together.
        """
        other = BrokerConfig(self.overrides)
        other.dynamic_default = MappingProxyType(dict(dynamic_default))
        other.dynamic = MappingProxyType(dict(dynamic))
        for texts in (dynamic_default, dynamic):
            for key, text in texts.items():
                definition = dynamic_definition_of(key)
                if definition is not None:
                    other._values[key] = definition.parse(text)
        for check in _CHECKS:
            check(other)
        return other

    def apply_dynamic(self, dynamic_default: Mapping[str, str], dynamic: Mapping[str, str]) -> frozenset[str]:
        """Let what the metadata says hold from now on, tell the subscribers, and return the names that changed.

        :raises ConfigError: when that cannot be; nothing has changed then.
        """
        other = self.with_dynamic(dynamic_default, dynamic)
        before, self._values = self._values, other._values
        self.dynamic_default, self.dynamic = other.dynamic_default, other.dynamic
        changed = frozenset(
            key for key in (*before, *(k for k in self._values if k not in before)) if before.get(key) != self._values.get(key)
        )
        if changed:
            for subscriber in tuple(self._subscribers):
                subscriber(changed)
        return changed

    def subscribe(self, on_changed: OnChanged) -> None:
        """Be told the names of settings whose values have changed, after they have."""
        self._subscribers.append(on_changed)

    def get(self, key: str) -> ConfigValue:
        """The value, whatever its type; None is Kafka's null."""
        try:
            return self._values[key]
        except KeyError:
            raise AssertionError(f"{key} is not a broker setting") from None

    def get_int(self, key: str) -> int:
        """The value of an INT, SHORT or LONG that is never null."""
        value = self._values[key]
        assert isinstance(value, int), f"{key} has no whole number: {value!r}"
        return value

    get_long = get_int

    def get_double(self, key: str) -> float:
        """The value of a DOUBLE."""
        value = self._values[key]
        assert isinstance(value, float), f"{key} has no number: {value!r}"
        return value

    def get_boolean(self, key: str) -> bool:
        """The value of a BOOLEAN."""
        value = self._values[key]
        assert isinstance(value, bool), f"{key} is neither true nor false: {value!r}"
        return value

    def get_string(self, key: str) -> str:
        """The value of a STRING, CLASS or PASSWORD; null reads as an empty string."""
        value = self._values[key]
        assert value is None or isinstance(value, str), f"{key} is no string: {value!r}"
        return value or ""

    def get_list(self, key: str) -> tuple[str, ...]:
        """The value of a LIST; null reads as an empty one."""
        value = self._values[key]
        assert value is None or isinstance(value, tuple), f"{key} is no list: {value!r}"
        return value or ()

    def is_overridden(self, key: str) -> bool:
        """Whether the value was given, rather than being Kafka's default."""
        return key in self.overrides or key in self.dynamic_default or key in self.dynamic

    def text(self, key: str) -> str | None:
        """The value as DescribeConfigs shows it; None is null."""
        return to_text(self.get(key))

    @property
    def log_dirs(self) -> tuple[str, ...]:
        """``log.dirs``, or ``log.dir`` where it is not set."""
        return self.get_list("log.dirs") or self.get_list("log.dir")

    def _first_of(self, topic_name: str) -> ConfigValue:
        for broker_name, factor in TOPIC_SYNONYMS[topic_name]:
            value = self._values[broker_name]
            if value is not None:
                return value * factor if factor != 1 and isinstance(value, int) else value
        raise AssertionError(f"no broker setting gives {topic_name} a value")

    def topic_default(self, topic_name: str) -> ConfigValue:
        """What a topic setting is on this node while the topic says nothing."""
        if topic_name in TOPIC_SYNONYMS:
            value = self._first_of(topic_name)
            # log.retention.* below zero of any unit means for ever, not minus some hours.
            if topic_name == "retention.ms" and isinstance(value, int) and value < 0:
                return -1
            return value
        return TOPIC_CONFIGS[topic_name].parsed_default()


# --- settings that must go together --------------------------------------------------------------

_Check = Callable[[BrokerConfig], None]


def _refuse(config: BrokerConfig, key: str, message: str) -> None:
    raise ConfigError(key, config.text(key), message)


def _at_most(low: str, high: str) -> _Check:
    def check(config: BrokerConfig) -> None:
        if config.get_int(low) > config.get_int(high):
            key = low if config.is_overridden(low) else high
            _refuse(config, key, f"{low} ({config.text(low)}) must be at most {high} ({config.text(high)})")

    return check


def _check_heartbeat(config: BrokerConfig) -> None:
    interval, timeout = "broker.heartbeat.interval.ms", "broker.session.timeout.ms"
    if config.get_int(interval) * 2 > config.get_int(timeout):
        _refuse(
            config,
            interval if config.is_overridden(interval) else timeout,
            f"{interval} ({config.text(interval)}) must be less than or equal to half of {timeout} ({config.text(timeout)})",
        )


def _check_times(config: BrokerConfig) -> None:
    for key in (
        "request.timeout.ms",
        "broker.heartbeat.interval.ms",
        "broker.session.timeout.ms",
        "default.replication.factor",
        "replica.fetch.wait.max.ms",
        "replica.lag.time.max.ms",
    ):
        value = config.get(key)
        if isinstance(value, int) and value < 1:
            raise ConfigError(
                key, config.text(key), f"Invalid value {value} for configuration {key}: Value must be at least 1", "at least 1"
            )


def _check_log_times(config: BrokerConfig) -> None:
    for topic_name, low, may_be_endless, words in (
        ("segment.ms", 1, False, "log.roll.ms must be greater than or equal to 1"),
        ("segment.jitter.ms", 0, False, "log.roll.jitter.ms must be greater than or equal to 0"),
        ("retention.ms", 1, True, "log.retention.ms must be unlimited (-1) or, greater than or equal to 1"),
    ):
        value = config.topic_default(topic_name)
        assert isinstance(value, int), "a time is a number"
        if value < low and not (may_be_endless and value == -1):
            # Whichever of the units it was given in.
            key = next(name for name, _ in TOPIC_SYNONYMS[topic_name] if config.get(name) is not None)
            _refuse(config, key, f"requirement failed: {words}")


def _check_cleaner_buffer(config: BrokerConfig) -> None:
    key = "log.cleaner.dedupe.buffer.size"
    threads = config.get_int("log.cleaner.threads")
    if threads and config.get_long(key) // threads <= 1024 * 1024:
        _refuse(config, key, f"requirement failed: {key} must be at least 1MB per cleaner thread.")


def _check_queued_bytes(config: BrokerConfig) -> None:
    key = "queued.max.request.bytes"
    if 0 < config.get_long(key) < config.get_int("socket.request.max.bytes"):
        _refuse(config, key, f"{key} ({config.text(key)}) must be at least socket.request.max.bytes, or 0 or less for no limit")


def _check_connections_per_ip(config: BrokerConfig) -> None:
    key, overrides = "max.connections.per.ip", "max.connections.per.ip.overrides"
    if config.get_int(key) == 0 and not config.get_string(overrides):
        _refuse(config, key, f"requirement failed: {key} can be set to zero only if {overrides} property is set.")


def _check_cordoned(config: BrokerConfig) -> None:
    key = "cordoned.log.dirs"
    cordoned = config.get_list(key)
    if "*" in cordoned:
        # All of them.
        if len(cordoned) > 1:
            _refuse(config, key, f"requirement failed: When {key} is set to *, it must not contain other values")
        return
    missing = [directory for directory in cordoned if directory not in config.log_dirs]
    if missing:
        _refuse(
            config,
            key,
            f"requirement failed: All entries in {key} must be present in log.dirs or log.dir. Missing entries : {', '.join(missing)}",
        )


def _check_group_bounds(kind: str) -> _Check:
    def check(config: BrokerConfig) -> None:
        prefix = f"group.{kind}."
        for name in ("session.timeout.ms", "heartbeat.interval.ms", "assignment.interval.ms"):
            low, value, high = f"{prefix}min.{name}", f"{prefix}{name}", f"{prefix}max.{name}"
            for smaller, larger, words in (
                (low, high, f"{high} must be greater than or equal to {low}"),
                (low, value, f"{value} must be greater than or equal to {low}"),
                (value, high, f"{value} must be less than or equal to {high}"),
            ):
                if config.get_int(smaller) > config.get_int(larger):
                    _refuse(config, next((one for one in (value, low, high) if config.is_overridden(one)), value), words)

    return check


_CHECKS: Final[tuple[_Check, ...]] = (
    _check_times,
    _check_log_times,
    _check_cleaner_buffer,
    _check_heartbeat,
    _at_most("replica.fetch.wait.max.ms", "replica.lag.time.max.ms"),
    _at_most("replica.fetch.wait.max.ms", "replica.socket.timeout.ms"),
    _at_most("group.min.session.timeout.ms", "group.max.session.timeout.ms"),
    _check_queued_bytes,
    _check_connections_per_ip,
    _check_cordoned,
    _check_group_bounds("consumer"),
    _check_group_bounds("share"),
    _check_group_bounds("streams"),
)

assert all(BROKER_CONFIGS[s.broker_name].type is not ConfigType.PASSWORD for many in TOPIC_SYNONYMS.values() for s in many)
