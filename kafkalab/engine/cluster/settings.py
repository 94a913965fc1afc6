"""The settings that nodes of a local cluster start with: Kafka's, but for a few that would only be in the way."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from kafkalab.engine.common.config import BrokerConfig, ConfigError, parse_key_value, parse_properties

_log = logging.getLogger(__name__)

REPLICATION_FACTOR_MAX: Final = 3

OWNED_KEYS: Final = frozenset(
    {
        "advertised.listeners",
        "broker.id",
        "controller.listener.names",
        "controller.quorum.bootstrap.servers",
        "controller.quorum.voters",
        "inter.broker.listener.name",
        "listener.security.protocol.map",
        "listeners",
        "log.dir",
        "log.dirs",
        "metadata.log.dir",
        "node.id",
        "process.roles",
        "security.inter.broker.protocol",
    }
)
"""Who a node is, where it listens and where it keeps its files is the host's to say."""


def lab_defaults(brokers: int) -> dict[str, str]:
    """What differs from Kafka's own defaults; the README lists these."""
    replication_factor = str(min(REPLICATION_FACTOR_MAX, brokers))
    return {
        "default.replication.factor": replication_factor,
        "offsets.topic.replication.factor": replication_factor,
        "group.initial.rebalance.delay.ms": "0",
    }


def node_settings(config: Mapping[str, str], brokers: int) -> dict[str, str]:
    """The settings of every node: the lab's defaults under what was asked for.

    :raises ConfigError: when a key is unknown or the host's own, or a value is not allowed.
    """
    for key in sorted(OWNED_KEYS & config.keys()):
        raise ConfigError(key, config[key], f"{key} cannot be set: KafkaLab gives each node its own")
    settings = {**lab_defaults(brokers), **config}
    BrokerConfig(settings)
    return settings


def read_settings(pairs: Iterable[str], config_file: Path | None) -> dict[str, str]:
    """Settings as the command line gives them: a ``server.properties``, and ``KEY=VALUE`` over it.

    What such a file says of one node's identity, listeners and folders is passed over, with a word in the log.

    :raises ConfigError: when the file or a pair cannot be read.
    """
    settings: dict[str, str] = {}
    if config_file is not None:
        try:
            text = config_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            raise ConfigError("", None, f"{config_file} cannot be read: {e}") from e
        settings = parse_properties(text, str(config_file))
        passed_over = sorted(OWNED_KEYS & settings.keys())
        if passed_over:
            _log.info("%s: passed over %s, which KafkaLab gives each node itself", config_file, ", ".join(passed_over))
        settings = {key: value for key, value in settings.items() if key not in OWNED_KEYS}
    settings.update(parse_key_value(pair) for pair in pairs)
    return settings
