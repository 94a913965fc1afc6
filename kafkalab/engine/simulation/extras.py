"""Topics in which records vanish lawfully, beside the one in which none may: each run has some of them, with readers and writers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from kafkalab.engine.simulation.clients import SimConsumer, SimProducer
from kafkalab.engine.simulation.history import History, Place
from kafkalab.engine.simulation.world import SimWorld

COMPACTED: Final = "accounts"
SHORT_LIVED: Final = "clicks"
UNCLEAN: Final = "gauges"
PARTITIONS: Final = 2
RATE: Final = 6.0
"""Records a second to each of these topics."""
KEYS: Final = 12
HOUSEKEEPING: Final[Mapping[str, str]] = {"log.cleaner.backoff.ms": "1000", "log.retention.check.interval.ms": "2000"}
"""Nodes' settings: runs are short."""


@dataclass(frozen=True, slots=True)
class ExtraTopic:
    """One of these topics in one run."""

    name: str
    config: Mapping[str, str]

    @property
    def places(self) -> list[Place]:
        """Its partitions."""
        return [(self.name, index) for index in range(PARTITIONS)]


def extra_topics(rng: Random, kinds: tuple[str, ...]) -> list[ExtraTopic]:
    """Those of a run: what its misfortunes are about, and some by chance."""
    small = {"internal.segment.bytes": rng.choice(("2000", "8000")), "segment.ms": "4000", "file.delete.delay.ms": "1000"}
    configs: dict[str, dict[str, str]] = {
        COMPACTED: {
            **small,
            "cleanup.policy": "compact",
            "min.cleanable.dirty.ratio": rng.choice(("0.01", "0.5")),
            "delete.retention.ms": rng.choice(("100", "3600000")),
        },
        SHORT_LIVED: {
            **small,
            "retention.bytes": rng.choice(("-1", "8000", "30000")),
            "retention.ms": rng.choice(("-1", "5000", "60000")),
        },
        UNCLEAN: {"unclean.leader.election.enable": "true", "min.insync.replicas": "1"},
    }
    needed = {SHORT_LIVED: "delete_records" in kinds, UNCLEAN: "outlive" in kinds}
    chances = {name: rng.random() < 0.6 for name in configs}
    return [ExtraTopic(name, config) for name, config in configs.items() if chances[name] or needed.get(name, False)]


@dataclass(slots=True)
class ExtraClients:
    """Who writes to one of these topics, and who reads it."""

    topic: ExtraTopic
    producer: SimProducer
    consumer: SimConsumer


def start_clients(world: SimWorld, topic: ExtraTopic, history: History) -> ExtraClients:
    """Let somebody write to it and somebody read it."""
    producer = SimProducer(
        world,
        f"producer-of-{topic.name}",
        history,
        topic.places,
        rate=RATE,
        # A log that lost records has lost what it knew of its producers with them.
        is_idempotent=topic.name != UNCLEAN,
        keys=KEYS if topic.name == COMPACTED else 0,
    )
    consumer = SimConsumer(world, f"consumer-of-{topic.name}", history, topic.places, may_reset=topic.name != COMPACTED)
    producer.start()
    consumer.start()
    return ExtraClients(topic, producer, consumer)
