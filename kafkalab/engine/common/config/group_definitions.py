"""The settings of groups and of client metrics subscriptions.

Most of a group's settings hold the place of a broker's own, as a topic's do; those that do not have a default here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from kafkalab.engine.common.config.broker_definitions import BROKER_CONFIGS
from kafkalab.engine.common.config.definition import ConfigDefinition, ConfigType, ListOf, OneOf, Range

GROUP_SYNONYMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        name: f"group.{name}"
        for name in (
            "consumer.assignment.interval.ms",
            "consumer.heartbeat.interval.ms",
            "consumer.session.timeout.ms",
            "share.assignment.interval.ms",
            "share.delivery.count.limit",
            "share.heartbeat.interval.ms",
            "share.partition.max.record.locks",
            "share.record.lock.duration.ms",
            "share.session.timeout.ms",
            "streams.assignment.interval.ms",
            "streams.heartbeat.interval.ms",
            "streams.initial.rebalance.delay.ms",
            "streams.num.standby.replicas",
            "streams.session.timeout.ms",
        )
    }
)
"""A group's setting, and the broker's that holds while the group says nothing."""

_OWN: Final = (
    ConfigDefinition(
        "share.auto.offset.reset", ConfigType.STRING, "latest", doc="Where a share group starts in a partition that it is new to."
    ),
    ConfigDefinition(
        "share.isolation.level",
        ConfigType.STRING,
        "read_uncommitted",
        OneOf(("read_committed", "read_uncommitted")),
        "Whether a share group is given the records of transactions that are not committed.",
    ),
    ConfigDefinition(
        "share.renew.acknowledge.enable",
        ConfigType.BOOLEAN,
        "true",
        doc="Whether members of a share group may prolong their hold on records.",
    ),
)

GROUP_CONFIGS: Final[Mapping[str, ConfigDefinition]] = MappingProxyType(
    {
        **{definition.name: definition for definition in _OWN},
        **{
            name: ConfigDefinition(name, broker.type, broker.default, broker.valid, broker.doc)
            for name, broker in ((name, BROKER_CONFIGS[broker_name]) for name, broker_name in GROUP_SYNONYMS.items())
        },
    }
)

CLIENT_METRICS_CONFIGS: Final[Mapping[str, ConfigDefinition]] = MappingProxyType(
    {
        definition.name: definition
        for definition in (
            ConfigDefinition("interval.ms", ConfigType.INT, "300000", Range(100, 3_600_000), "How often clients send their metrics."),
            ConfigDefinition("match", ConfigType.LIST, "", ListOf(), "Which clients are meant: a list of name=pattern."),
            ConfigDefinition("metrics", ConfigType.LIST, "", ListOf(), "Which metrics are wanted: a list of how their names begin."),
        )
    }
)
