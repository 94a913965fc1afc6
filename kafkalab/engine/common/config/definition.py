"""What a setting is: its name, type, default, the values it may have, and how it is read and written.

The tables in :mod:`broker_definitions` and :mod:`topic_definitions` are made of these. Values are
read as Kafka reads them (blanks around them are cut, ``TRUE`` is true, a list is split at commas)
and refused in Kafka's words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final, Protocol

ConfigValue = bool | int | float | str | tuple[str, ...] | None


class ConfigError(Exception):
    """A setting cannot be taken: which one, what it was, and what is allowed."""

    def __init__(self, key: str, value: str | None, message: str, allowed: str = "") -> None:
        super().__init__(f"{message} (allowed: {allowed})" if allowed else message)
        self.key = key
        self.value = value
        self.message = message
        self.allowed = allowed


class ConfigType(IntEnum):
    """The type of a setting; the number is what DescribeConfigs says."""

    BOOLEAN = 1
    STRING = 2
    INT = 3
    SHORT = 4
    LONG = 5
    DOUBLE = 6
    LIST = 7
    CLASS = 8
    PASSWORD = 9


class ConfigSource(IntEnum):
    """Where a value comes from; the number is what DescribeConfigs says."""

    TOPIC_CONFIG = 1
    DYNAMIC_BROKER_CONFIG = 2
    DYNAMIC_DEFAULT_BROKER_CONFIG = 3
    STATIC_BROKER_CONFIG = 4
    DEFAULT_CONFIG = 5
    DYNAMIC_BROKER_LOGGER_CONFIG = 6
    CLIENT_METRICS_CONFIG = 7
    GROUP_CONFIG = 8


class UpdateMode(Enum):
    """Whether a broker's setting can change while it runs, and for whom."""

    READ_ONLY = "read-only"
    PER_BROKER = "per-broker"
    CLUSTER_WIDE = "cluster-wide"


_INTEGER_BOUNDS: Final = {
    ConfigType.SHORT: (-(2**15), 2**15 - 1),
    ConfigType.INT: (-(2**31), 2**31 - 1),
    ConfigType.LONG: (-(2**63), 2**63 - 1),
}
_INTEGER: Final = re.compile(r"[+-]?[0-9]+\Z", re.ASCII)
_DOUBLE: Final = re.compile(r"[+-]?(?:NaN|Infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\Z", re.ASCII)


class Validator(Protocol):
    """Which of the values of a type are allowed."""

    @property
    def allowed(self) -> str:
        """The allowed values in words."""

    def complaint(self, value: ConfigValue) -> str | None:
        """Why a value is refused, in Kafka's words; None when it is fine."""


@dataclass(frozen=True, slots=True)
class Range:
    """A number between bounds, both included; None is no bound."""

    low: int | float | None = None
    high: int | float | None = None

    @property
    def allowed(self) -> str:
        if self.high is None:
            return f"at least {self.low}"
        if self.low is None:
            return f"at most {self.high}"
        return f"{self.low} to {self.high}"

    def complaint(self, value: ConfigValue) -> str | None:
        if value is None:
            return None
        assert isinstance(value, int | float), "a range is for numbers"
        if self.low is not None and value < self.low:
            return f"Value must be at least {self.low}"
        if self.high is not None and value > self.high:
            return f"Value must be no more than {self.high}"
        return None


@dataclass(frozen=True, slots=True)
class RangeOr:
    """A number between bounds, or one that stands outside and means the default."""

    low: int
    high: int
    other: int

    @property
    def allowed(self) -> str:
        return f"{self.low} to {self.high}, or {self.other}"

    def complaint(self, value: ConfigValue) -> str | None:
        assert isinstance(value, int), "a range is for numbers"
        if self.low <= value <= self.high or value == self.other:
            return None
        return f"Value must be between {self.low} and {self.high} or equal to {self.other}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few words."""

    words: tuple[str, ...]
    ignore_case: bool = False

    @property
    def allowed(self) -> str:
        return ", ".join(self.words)

    def complaint(self, value: ConfigValue) -> str | None:
        assert isinstance(value, str), "words are for strings"
        if self.ignore_case:
            if value.upper() in self.words:
                return None
            return f"String must be one of (case insensitive): {self.allowed}"
        return None if value in self.words else f"String must be one of: {self.allowed}"


_OF_THE_LIST: Final = "Configuration '{name}' "
"""How a complaint begins that is not about a value in a list."""


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of some of a few words, or of any; empty only where that is said."""

    words: tuple[str, ...] = ()
    may_be_empty: bool = True

    @property
    def allowed(self) -> str:
        what = f"a list of {', '.join(self.words)}" if self.words else "a comma-separated list"
        return what if self.may_be_empty else f"{what}, not empty"

    def complaint(self, value: ConfigValue) -> str | None:
        if value is None:
            return None
        assert isinstance(value, tuple), "a list is for lists"
        if not value and not self.may_be_empty:
            words = f"[{', '.join(self.words)}]" if self.words else "any non-empty value"
            return f"{_OF_THE_LIST}must not be empty. Valid values include: {words}"
        for item in value:
            if not item:
                return f"{_OF_THE_LIST}values must not be empty."
            if self.words and item not in self.words:
                return f"String must be one of: {', '.join(self.words)}"
        return None


@dataclass(frozen=True, slots=True)
class NonEmpty:
    """A string with at least one character."""

    @property
    def allowed(self) -> str:
        return "a string that is not empty"

    def complaint(self, value: ConfigValue) -> str | None:
        return "String must be non-empty" if value == "" else None


_THROTTLED_REPLICA: Final = re.compile(r"[0-9]+:[0-9]+\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class ThrottledReplicas:
    """``*``, or a list of ``partition:broker``; as in Kafka, what is empty between two commas says nothing."""

    @property
    def allowed(self) -> str:
        return "*, or a list of partition:broker"

    def complaint(self, value: ConfigValue) -> str | None:
        assert isinstance(value, tuple), "a list is for lists"
        if "".join(value) == "*" or all(not item or _THROTTLED_REPLICA.match(item) for item in value):
            return None
        return (
            "must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],..."
        )


_VOTER: Final = re.compile(r"[0-9]+@[^@\s]+:[0-9]+\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Voters:
    """A list of ``id@host:port``."""

    @property
    def allowed(self) -> str:
        return "a list of id@host:port"

    def complaint(self, value: ConfigValue) -> str | None:
        assert isinstance(value, tuple), "a list is for lists"
        bad = next((item for item in value if not _VOTER.match(item)), None)
        return None if bad is None else f"Each entry should be in the form `{{id}}@{{host}}:{{port}}`, but {bad} is not"


_TYPE_WORDS: Final = {
    ConfigType.BOOLEAN: "true or false",
    ConfigType.SHORT: "a whole number of 16 bits",
    ConfigType.INT: "a whole number of 32 bits",
    ConfigType.LONG: "a whole number of 64 bits",
    ConfigType.DOUBLE: "a number",
    ConfigType.LIST: "a comma-separated list",
    ConfigType.STRING: "a string",
    ConfigType.CLASS: "a class name",
    ConfigType.PASSWORD: "a string",
}


@dataclass(frozen=True, slots=True)
class ConfigDefinition:
    """One setting. ``default`` is as it would stand in a file; None is Kafka's null."""

    name: str
    type: ConfigType
    default: str | None
    valid: Validator | None = None
    doc: str = ""
    update_mode: UpdateMode = UpdateMode.READ_ONLY
    is_required: bool = False
    is_internal: bool = False

    @property
    def is_sensitive(self) -> bool:
        """Its value is never shown."""
        return self.type is ConfigType.PASSWORD

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        words = _TYPE_WORDS[self.type]
        if self.valid is None:
            return words
        if isinstance(self.valid, Range | RangeOr) and self.type is not ConfigType.DOUBLE:
            return f"{words}, {self.valid.allowed}"
        return self.valid.allowed

    def parse(self, text: str) -> ConfigValue:
        """Read a value.

        :raises ConfigError: in Kafka's words, when it is not of the type or not allowed.
        """
        value = self._parse_type(text)
        complaint = self.valid.complaint(value) if self.valid is not None else None
        if complaint is not None:
            if complaint.startswith(_OF_THE_LIST):
                raise ConfigError(self.name, text, complaint.replace("{name}", self.name, 1), self.allowed)
            shown = self._shown_when_refused(value)
            if isinstance(self.valid, ThrottledReplicas):
                complaint = f"{self.name} {complaint}"
            raise ConfigError(self.name, text, f"Invalid value {shown} for configuration {self.name}: {complaint}", self.allowed)
        return value

    def _shown_when_refused(self, value: ConfigValue) -> str:
        if not isinstance(value, tuple):
            return to_text(value) or ""
        if isinstance(self.valid, ListOf) and self.valid.words:
            return next((item for item in value if item not in self.valid.words), "")
        return f"[{', '.join(value)}]"

    def _parse_type(self, given: str) -> ConfigValue:
        text = given.strip()
        kind = self.type
        if kind is ConfigType.BOOLEAN:
            lowered = text.lower()
            if lowered not in ("true", "false"):
                raise self._type_error(given, "Expected value to be either true or false")
            return lowered == "true"
        if kind in _INTEGER_BOUNDS:
            low, high = _INTEGER_BOUNDS[kind]
            # The length is bounded before the conversion: a million digits would take minutes.
            if len(text) > 32 or not _INTEGER.match(text) or not low <= int(text) <= high:
                raise self._type_error(given, f"Not a number of type {kind.name}")
            return int(text)
        if kind is ConfigType.DOUBLE:
            trimmed = text[:-1] if text[-1:] in ("f", "F", "d", "D") else text
            if not _DOUBLE.match(trimmed):
                raise self._type_error(given, f"Not a number of type {kind.name}")
            return float(trimmed)
        if kind is ConfigType.LIST:
            # Kafka keeps each value once, in the order of its first appearance.
            return tuple(dict.fromkeys(item.strip() for item in text.split(","))) if text else ()
        return text

    def _type_error(self, text: str, why: str) -> ConfigError:
        return ConfigError(self.name, text, f"Invalid value {text} for configuration {self.name}: {why}", self.allowed)

    def parsed_default(self) -> ConfigValue:
        """The default as a value."""
        return None if self.default is None else self._parse_type(self.default)


def to_text(value: ConfigValue) -> str | None:
    """A value as DescribeConfigs shows it; None is null."""
    if value is None:
        return None
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, float):
        return _double_text(value)
    return str(value)


def _double_text(value: float) -> str:
    # As Java writes it: 1.0E10, 1.7976931348623157E308, NaN, Infinity.
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    mantissa, _, exponent = f"{value:e}".partition("e")
    digits = repr(value).lower().partition("e")[0].replace(".", "").replace("-", "").strip("0") or "0"
    sign = "-" if mantissa.startswith("-") else ""
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{int(exponent)}"


def index_by_name(definitions: Sequence[ConfigDefinition]) -> dict[str, ConfigDefinition]:
    """The definitions by name; a name stands for one setting only."""
    by_name = {definition.name: definition for definition in definitions}
    assert len(by_name) == len(definitions), "a setting is defined once"
    return by_name
