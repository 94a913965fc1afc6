"""What a topic's settings mean to its logs, in typed fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Self

from kafkalab.engine.common.config import BrokerConfig, topic_config_map

LONG_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """The topic settings that a log or its leader looks at; names are Kafka's with underscores.

    The defaults are Kafka's. Values are taken as valid: ``common.config`` refuses the others.
    """

    cleanup_policy: frozenset[str] = frozenset({"delete"})
    compression_type: str = "producer"
    compression_gzip_level: int = -1
    compression_lz4_level: int = 9
    compression_zstd_level: int = 3
    delete_retention_ms: int = 86_400_000
    file_delete_delay_ms: int = 60_000
    flush_messages: int = LONG_MAX
    flush_ms: int = LONG_MAX
    index_interval_bytes: int = 4096
    max_compaction_lag_ms: int = LONG_MAX
    max_message_bytes: int = 1_048_588
    message_timestamp_after_max_ms: int = 3_600_000
    message_timestamp_before_max_ms: int = LONG_MAX
    message_timestamp_type: str = "CreateTime"
    min_cleanable_dirty_ratio: float = 0.5
    min_compaction_lag_ms: int = 0
    min_insync_replicas: int = 1
    preallocate: bool = False
    retention_bytes: int = -1
    retention_ms: int = 604_800_000
    segment_bytes: int = 1_073_741_824
    segment_index_bytes: int = 10_485_760
    segment_jitter_ms: int = 0
    segment_ms: int = 604_800_000
    unclean_leader_election_enable: bool = False

    @property
    def compacted(self) -> bool:
        return "compact" in self.cleanup_policy

    @property
    def deletes_old_segments(self) -> bool:
        return "delete" in self.cleanup_policy

    @property
    def max_segment_ms(self) -> int:
        """How old the active segment may get: what is to be compacted in time must be sealed in time."""
        return min(self.segment_ms, self.max_compaction_lag_ms) if self.compacted else self.segment_ms

    @property
    def log_append_time(self) -> bool:
        return self.message_timestamp_type == "LogAppendTime"

    @classmethod
    def from_map(cls, values: Mapping[str, str], defaults: Self | None = None) -> Self:
        """Topic settings by their Kafka names over ``defaults``; names of no concern to a log are passed over.

        :raises ValueError: naming the setting, when a value does not parse.
        """
        changes: dict[str, Any] = {}
        for name, text in values.items():
            known = _BY_NAME.get(name)
            if known is None:
                continue
            field_name, parse = known
            try:
                changes[field_name] = parse(text)
            except ValueError:
                raise ValueError(f"Invalid value {text!r} for configuration {name}") from None
        base = cls() if defaults is None else defaults
        return replace(base, **changes) if changes else base

    @classmethod
    def from_broker(cls, config: BrokerConfig, overrides: Mapping[str, str] | None = None) -> Self:
        """What holds on a node for a topic with these settings of its own."""
        return cls.from_map(topic_config_map(config, overrides or {}))


def _parse_bool(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered not in ("true", "false"):
        raise ValueError(text)
    return lowered == "true"


def _parse_list(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(",") if part.strip())


_PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "int": int,
    "float": float,
    "bool": _parse_bool,
    "str": str.strip,
    "frozenset[str]": _parse_list,
}
_BY_NAME: Final = {field.name.replace("_", "."): (field.name, _PARSERS[str(field.type)]) for field in fields(LogConfig)} | {
    # For tests of Kafka's own: below the least segment.bytes that a topic may ask for.
    "internal.segment.bytes": ("segment_bytes", int),
}
