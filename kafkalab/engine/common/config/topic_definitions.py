"""Every setting of a topic, and the broker settings that give its default."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from kafkalab.engine.common.config.definition import (
    ConfigDefinition,
    ConfigType,
    ListOf,
    OneOf,
    Range,
    RangeOr,
    ThrottledReplicas,
    UpdateMode,
    Validator,
    index_by_name,
)

_BOOLEAN: Final = ConfigType.BOOLEAN
_STRING: Final = ConfigType.STRING
_INT: Final = ConfigType.INT
_LONG: Final = ConfigType.LONG
_DOUBLE: Final = ConfigType.DOUBLE
_LIST: Final = ConfigType.LIST
_LONG_MAX: Final = "9223372036854775807"
_CODECS: Final = ("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer")


def _t(
    name: str, kind: ConfigType, default: str | None, valid: Validator | None = None, *, is_internal: bool = False, doc: str
) -> ConfigDefinition:
    return ConfigDefinition(name, kind, default, valid, doc, UpdateMode.CLUSTER_WIDE, is_internal=is_internal)


TOPIC_DEFINITIONS: Final = (
    _t(
        "cleanup.policy",
        _LIST,
        "delete",
        ListOf(("compact", "delete")),
        doc="What happens to old segments: 'delete' drops them by age or size, 'compact' keeps the last record of each key. "
        "Both may be given; with neither, everything is kept.",
    ),
    _t(
        "compression.type",
        _STRING,
        "producer",
        OneOf(_CODECS),
        doc="The codec of batches in the log. 'producer' keeps whatever the producer chose.",
    ),
    _t(
        "compression.gzip.level", _INT, "-1", RangeOr(1, 9, -1), doc="How hard gzip tries when compression.type is gzip; -1 is its default."
    ),
    _t("compression.lz4.level", _INT, "9", Range(1, 17), doc="How hard lz4 tries when compression.type is lz4."),
    _t("compression.zstd.level", _INT, "3", Range(-131072, 22), doc="How hard zstd tries when compression.type is zstd."),
    _t(
        "delete.retention.ms",
        _LONG,
        "86400000",
        Range(0),
        doc="How long a tombstone of a compacted topic stays readable, so that a consumer reading from the start sees the deletion.",
    ),
    _t("file.delete.delay.ms", _LONG, "60000", Range(0), doc="How long a deleted segment's files stay on disk before they are removed."),
    _t(
        "flush.messages",
        _LONG,
        _LONG_MAX,
        Range(1),
        doc="Force the log to disk after this many records. Left alone, replication protects them.",
    ),
    _t("flush.ms", _LONG, _LONG_MAX, Range(0), doc="Force the log to disk at least this often. Left alone, the operating system decides."),
    _t(
        "follower.replication.throttled.replicas",
        _LIST,
        "",
        ThrottledReplicas(),
        doc="Replicas whose fetching is throttled: a list of partition:broker, or * for all of the topic.",
    ),
    _t(
        "index.interval.bytes",
        _INT,
        "4096",
        Range(0),
        doc="How many bytes of log lie between two entries of the offset index. Smaller finds an offset faster and makes the index larger.",
    ),
    _t(
        "leader.replication.throttled.replicas",
        _LIST,
        "",
        ThrottledReplicas(),
        doc="Replicas whose serving to followers is throttled: a list of partition:broker, or * for all of the topic.",
    ),
    _t(
        "local.retention.bytes",
        _LONG,
        "-2",
        Range(-2),
        doc="With tiered storage: the bytes kept on the broker's own disk; -2 takes retention.bytes.",
    ),
    _t(
        "local.retention.ms",
        _LONG,
        "-2",
        Range(-2),
        doc="With tiered storage: how long segments stay on the broker's own disk; -2 takes retention.ms.",
    ),
    _t("max.compaction.lag.ms", _LONG, _LONG_MAX, Range(1), doc="The longest that a record of a compacted topic may stay uncompacted."),
    _t("max.message.bytes", _INT, "1048588", Range(0), doc="The largest record batch, as it comes over the wire, that is taken."),
    _t(
        "message.timestamp.after.max.ms",
        _LONG,
        "3600000",
        Range(0),
        doc="How far a record's create time may lie after the broker's clock; records beyond are refused.",
    ),
    _t(
        "message.timestamp.before.max.ms",
        _LONG,
        _LONG_MAX,
        Range(0),
        doc="How far a record's create time may lie before the broker's clock; older records are refused.",
    ),
    _t(
        "message.timestamp.type",
        _STRING,
        "CreateTime",
        OneOf(("CreateTime", "LogAppendTime")),
        doc="Whose clock stamps a record: the producer's (CreateTime) or the leader's at the append (LogAppendTime).",
    ),
    _t(
        "min.cleanable.dirty.ratio",
        _DOUBLE,
        "0.5",
        Range(0, 1),
        doc="The share of a log that must be uncompacted before it is compacted again.",
    ),
    _t("min.compaction.lag.ms", _LONG, "0", Range(0), doc="How long a record of a compacted topic stays uncompacted at least."),
    _t(
        "min.insync.replicas",
        _INT,
        "1",
        Range(1),
        doc="How many replicas must be in sync for a write with acks=all; with fewer it fails with NOT_ENOUGH_REPLICAS. "
        "Records become readable only while that many are in sync.",
    ),
    _t("preallocate", _BOOLEAN, "false", doc="Reserve a segment's full size on disk when it is created."),
    _t("remote.log.copy.disable", _BOOLEAN, "false", doc="With tiered storage: stop copying new segments to the remote store."),
    _t(
        "remote.log.delete.on.disable",
        _BOOLEAN,
        "false",
        doc="With tiered storage: delete what is in the remote store when it is turned off for the topic.",
    ),
    _t("remote.storage.enable", _BOOLEAN, "false", doc="Keep old segments of the topic in a remote store (tiered storage)."),
    _t(
        "retention.bytes",
        _LONG,
        "-1",
        doc="The size above which a partition's oldest segments are deleted; -1 sets no limit. It holds for each partition.",
    ),
    _t("retention.ms", _LONG, "604800000", Range(-1), doc="The age after which segments are deleted; -1 keeps them for ever."),
    _t(
        "segment.bytes",
        _INT,
        "1073741824",
        Range(1048576),
        doc="The size at which a new segment file begins. Deletion and compaction work on whole segments, never on the active one.",
    ),
    _t(
        "segment.index.bytes",
        _INT,
        "10485760",
        Range(4),
        doc="The size of a segment's offset index at most; a full index begins a new segment.",
    ),
    _t("segment.jitter.ms", _LONG, "0", Range(0), doc="A random part taken off segment.ms, so that not all partitions roll at once."),
    _t("segment.ms", _LONG, "604800000", Range(1), doc="The age at which a new segment file begins even if the present one is not full."),
    _t(
        "unclean.leader.election.enable",
        _BOOLEAN,
        "false",
        doc="Whether a replica that is not in sync may lead when no other is left. It brings the partition back and loses records.",
    ),
    _t("internal.segment.bytes", _INT, None, is_internal=True, doc="segment.bytes without its lower bound, for tests."),
)

TOPIC_CONFIGS: Final[Mapping[str, ConfigDefinition]] = MappingProxyType(index_by_name(TOPIC_DEFINITIONS))
"""All of them by name."""

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000


class Synonym(NamedTuple):
    """A broker setting that gives a topic setting its default, and the factor between their units."""

    broker_name: str
    factor: int = 1


def _same(*names: str) -> dict[str, tuple[Synonym, ...]]:
    return {name: (Synonym(name),) for name in names}


TOPIC_SYNONYMS: Final[Mapping[str, tuple[Synonym, ...]]] = MappingProxyType(
    {
        **_same(
            "compression.type",
            "compression.gzip.level",
            "compression.lz4.level",
            "compression.zstd.level",
            "min.insync.replicas",
            "unclean.leader.election.enable",
        ),
        "cleanup.policy": (Synonym("log.cleanup.policy"),),
        "delete.retention.ms": (Synonym("log.cleaner.delete.retention.ms"),),
        "file.delete.delay.ms": (Synonym("log.segment.delete.delay.ms"),),
        "flush.messages": (Synonym("log.flush.interval.messages"),),
        "flush.ms": (Synonym("log.flush.interval.ms"), Synonym("log.flush.scheduler.interval.ms")),
        "index.interval.bytes": (Synonym("log.index.interval.bytes"),),
        "local.retention.bytes": (Synonym("log.local.retention.bytes"),),
        "local.retention.ms": (Synonym("log.local.retention.ms"),),
        "max.compaction.lag.ms": (Synonym("log.cleaner.max.compaction.lag.ms"),),
        "max.message.bytes": (Synonym("message.max.bytes"),),
        "message.timestamp.after.max.ms": (Synonym("log.message.timestamp.after.max.ms"),),
        "message.timestamp.before.max.ms": (Synonym("log.message.timestamp.before.max.ms"),),
        "message.timestamp.type": (Synonym("log.message.timestamp.type"),),
        "min.cleanable.dirty.ratio": (Synonym("log.cleaner.min.cleanable.ratio"),),
        "min.compaction.lag.ms": (Synonym("log.cleaner.min.compaction.lag.ms"),),
        "preallocate": (Synonym("log.preallocate"),),
        "retention.bytes": (Synonym("log.retention.bytes"),),
        "retention.ms": (
            Synonym("log.retention.ms"),
            Synonym("log.retention.minutes", MINUTE_MS),
            Synonym("log.retention.hours", HOUR_MS),
        ),
        "segment.bytes": (Synonym("log.segment.bytes"),),
        "segment.index.bytes": (Synonym("log.index.size.max.bytes"),),
        "segment.jitter.ms": (Synonym("log.roll.jitter.ms"), Synonym("log.roll.jitter.hours", HOUR_MS)),
        "segment.ms": (Synonym("log.roll.ms"), Synonym("log.roll.hours", HOUR_MS)),
    }
)
"""For each topic setting its broker settings: the first one that has a value counts (ms before minutes before hours)."""
