"""One run from one seed: a cluster, its clients, what goes wrong, and what is right at the end all the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from kafkalab.engine.cluster.collector import collecting_rarely
from kafkalab.engine.simulation.clients import SimConsumer, SimMember, SimProducer
from kafkalab.engine.simulation.extras import (
    COMPACTED,
    HOUSEKEEPING,
    PARTITIONS,
    SHORT_LIVED,
    UNCLEAN,
    ExtraTopic,
    extra_topics,
    start_clients,
)
from kafkalab.engine.simulation.history import Anomaly, History, Outcome, Place, check_history
from kafkalab.engine.simulation.invariants import Invariants
from kafkalab.engine.simulation.nemesis import KINDS, Episode, plan
from kafkalab.engine.simulation.occasions import OCCASIONS, WiderNemesis, plan_occasions
from kafkalab.engine.simulation.telemetry import Happening
from kafkalab.engine.simulation.world import SimulationFailed, SimWorld
from kafkalab.engine.telemetry.events import LogCompacted

TOPIC: Final = "orders"
GROUP: Final = "readers"
BASE_CONFIG: Final[Mapping[str, str]] = {
    "min.insync.replicas": "2",
    # A broker gives up where it finds no quorum for long, as Kafka's does. Here quorums come back.
    "initial.broker.registration.timeout.ms": "600000",
}
SETTLE_WITHIN_MS: Final = 120_000.0
READ_WITHIN_MS: Final = 60_000.0


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What is run. Two runs of one seed with the same settings are the same run."""

    minutes: float = 5.0
    """Of virtual time under load."""
    brokers: int = 3
    controllers: int = 3
    partitions: int = 20
    producers: int = 3
    members: int = 2
    """Of a group that reads along."""
    rate: float = 12.0
    """Records a second and producer."""
    kinds: tuple[str, ...] = ()
    """What goes wrong; empty leaves that to the seed."""
    config: Mapping[str, str] = field(default_factory=dict)
    """Broker settings over those that the seed chooses."""
    varies_config: bool = True
    """Whether the seed chooses settings at all."""
    is_wide: bool = False
    """Whether there is more than one topic in which nothing may be lost: topics that are compacted, short-lived or led
    uncleanly, members that commit late, and the misfortunes of :data:`OCCASIONS`."""


@dataclass(slots=True)
class Outcomes:
    """What a run came to."""

    seed: int
    failure: SimulationFailed | None = None
    anomalies: list[Anomaly] = field(default_factory=list)
    episodes: list[Episode] = field(default_factory=list)
    virtual_ms: float = 0.0
    wall_s: float = 0.0
    steps: int = 0
    failovers: int = 0
    """Partitions that got another leader than they had."""
    kills: int = 0
    sent: int = 0
    acknowledged: int = 0
    unknown: int = 0
    read: int = 0
    lost_lawfully: int = 0
    """Acknowledged, and not there in the end, of partitions that were led uncleanly because their topic allows it."""
    unclean_elections: int = 0
    deletions: int = 0
    """How often a broker deleted records for their age or because they were too much."""
    compactions: int = 0
    digest: int = 0
    happenings: list[Happening] = field(default_factory=list)
    notes: list[tuple[float, str]] = field(default_factory=list)
    """What the nemesis did, and when."""

    @property
    def is_right(self) -> bool:
        """Whether nothing was wrong."""
        return self.failure is None and not self.anomalies

    @property
    def verdict(self) -> str:
        """What was wrong, in a word; empty where nothing was."""
        if self.failure is not None:
            return self.failure.kind
        return self.anomalies[0].kind if self.anomalies else ""

    @property
    def detail(self) -> str:
        """What was wrong, in words."""
        if self.failure is not None:
            return str(self.failure)
        return "; ".join(map(str, self.anomalies))


def settings_of_seed(rng: Random) -> dict[str, str]:
    """Nodes' settings for a run: Kafka's in most, and such that bring more to pass in the others."""
    config = dict(BASE_CONFIG)
    if rng.random() < 0.6:
        config["broker.session.timeout.ms"] = rng.choice(("2000", "4000", "6000"))
        config["broker.heartbeat.interval.ms"] = "500"
    if rng.random() < 0.6:
        config["replica.lag.time.max.ms"] = rng.choice(("1500", "4000", "10000"))
    if rng.random() < 0.3:
        config["metadata.log.max.record.bytes.between.snapshots"] = rng.choice(("5000", "20000", "100000"))
        # With so little kept a node that was away for a minute takes the leader's snapshot, in many parts.
        config["metadata.max.retention.bytes"] = "20000"
        config["internal.metadata.log.segment.bytes"] = "8192"
        config["controller.quorum.fetch.snapshot.max.bytes"] = "2000"
    if rng.random() < 0.3:
        config["replica.high.watermark.checkpoint.interval.ms"] = rng.choice(("200", "30000"))
    if rng.random() < 0.2:
        config["leader.imbalance.check.interval.seconds"] = "3"
    return config


def run_seed(seed: int, settings: RunSettings = RunSettings(), episodes: Sequence[Episode] | None = None) -> Outcomes:
    """Run a seed.

    :param episodes: what goes wrong, instead of what the seed says: the rest stays the same.
    """
    started_s = time.perf_counter()
    rng = Random(f"{seed}/settings")
    config = {**(settings_of_seed(rng) if settings.varies_config else BASE_CONFIG), **settings.config}
    wide = Random(f"{seed}/wide")
    topics = extra_topics(wide, settings.kinds) if settings.is_wide else []
    if settings.is_wide:
        config = {**HOUSEKEEPING, "replica.lag.time.max.ms": "4000", **config}
    dynamic = "voters" in settings.kinds or (settings.varies_config and rng.random() < 0.4)
    world = SimWorld(
        seed,
        brokers=settings.brokers,
        controllers=settings.controllers + (2 if settings.is_wide and settings.varies_config and wide.random() < 0.25 else 0),
        config=config,
        dynamic=dynamic,
        spare_controllers=int(dynamic and rng.random() < 0.7),
    )
    invariants = Invariants(world)
    history = History()
    outcomes = Outcomes(seed)
    for_ms = settings.minutes * 60_000.0
    planned = _plan(seed, settings, world, for_ms)
    outcomes.episodes = list(planned if episodes is None else episodes)

    def tell(what: str) -> None:
        outcomes.notes.append((world.now_ms, what))

    try:
        with collecting_rarely():
            _run(world, history, outcomes, settings, rng, for_ms, tell, invariants, topics)
        invariants.check_images()
        invariants.check_logs()
    except SimulationFailed as failure:
        outcomes.failure = failure
    history.unclean = invariants.unclean_places
    history.compacted = {place for topic in topics if topic.name == COMPACTED for place in topic.places}
    outcomes.anomalies = check_history(history)
    outcomes.virtual_ms = world.now_ms
    outcomes.steps = world.scheduler.steps
    outcomes.failovers = invariants.partition_leader_changes
    outcomes.sent = len(history.sends)
    outcomes.acknowledged = history.count(Outcome.OK)
    outcomes.unknown = history.count(Outcome.UNKNOWN)
    outcomes.read = sum(len(poll.records) for poll in history.polls)
    outcomes.lost_lawfully = history.lost_lawfully()
    outcomes.unclean_elections = invariants.unclean_elections
    outcomes.deletions = invariants.retention.deletions
    outcomes.compactions = sum(isinstance(happening.event, LogCompacted) for happening in world.sink.happenings)
    outcomes.digest = world.network.digest
    outcomes.happenings = list(world.sink.happenings)
    world.close()
    outcomes.wall_s = time.perf_counter() - started_s
    return outcomes


def _plan(seed: int, settings: RunSettings, world: SimWorld, for_ms: float) -> list[Episode]:
    """What goes wrong: two plans, each from chance of its own, so that one does not change the other."""
    usual = tuple(kind for kind in settings.kinds if kind in KINDS)
    occasions = tuple(kind for kind in settings.kinds if kind in OCCASIONS)
    planned: list[Episode] = []
    if usual or not settings.kinds:
        rng = Random(f"{seed}/nemesis")
        planned += plan(rng, for_ms=for_ms, brokers=world.broker_ids, controllers=world.controller_ids, kinds=usual)
    if occasions or (settings.is_wide and not settings.kinds):
        planned += plan_occasions(Random(f"{seed}/occasions"), for_ms=for_ms, kinds=occasions)
    return sorted(planned, key=lambda episode: episode.at_ms)


def _run(
    world: SimWorld,
    history: History,
    outcomes: Outcomes,
    settings: RunSettings,
    rng: Random,
    for_ms: float,
    tell: Callable[[str], None],
    invariants: Invariants,
    topics: Sequence[ExtraTopic],
) -> None:
    world.start()
    # Small segments, where the run is a wide one: logs are rolled and recovered from more than one.
    own = {"internal.segment.bytes": "16384"} if settings.is_wide and world.rng("segments").random() < 0.5 else None
    world.create_topic(TOPIC, settings.partitions, min(3, settings.brokers), own)
    for topic in topics:
        world.create_topic(topic.name, PARTITIONS, min(3, settings.brokers), topic.config)
    places = [(TOPIC, index) for index in range(settings.partitions)]
    producers = [
        SimProducer(world, f"producer-{number}", history, places, rate=settings.rate, is_idempotent=rng.random() < 0.75)
        for number in range(1, settings.producers + 1)
    ]
    consumers = [
        SimConsumer(world, f"consumer-{number}", history, places, is_committed=bool(number % 2)) for number in range(1, rng.randint(2, 3))
    ]
    for producer in producers:
        producer.start()
    for consumer in consumers:
        consumer.start()
    extras = [start_clients(world, topic, history) for topic in topics]
    members = [
        SimMember(world, f"member-{number}", GROUP, history, places, is_hasty=settings.is_wide) for number in range(1, settings.members + 1)
    ]
    for number, member in enumerate(members):
        world.at(world.now_ms + 3_000.0 * number, member.start)
    nemesis = WiderNemesis(
        world,
        outcomes.episodes,
        (TOPIC,),
        tell,
        invariants=invariants,
        members=members,
        short_lived=[topic.name for topic in topics if topic.name == SHORT_LIVED],
        unclean=[topic.name for topic in topics if topic.name == UNCLEAN],
    )
    nemesis.start()
    world.run(for_ms)
    tell("everything is right again")
    nemesis.finish()
    producers += [extra.producer for extra in extras]
    for producer in producers:
        producer.stop()
    world.run_until(lambda: all(one.is_done for one in producers) and world.is_healthy(), SETTLE_WITHIN_MS, "all in service and in sync")
    outcomes.kills = sum(nemesis.counts.get(kind, 0) for kind in ("kill", "kill_controller", "power_loss", "power_loss_controller"))
    world.check_ends()
    reader = SimConsumer(world, "reader-at-the-end", history, places)
    reader.start()
    ends = {place: world.high_watermark(*place) for place in places}
    everyone = [*consumers, reader]
    for extra in extras:
        reader = SimConsumer(world, f"reader-of-{extra.topic.name}-at-the-end", history, extra.topic.places, may_reset=True)
        history.last_readers.add(reader.name)
        reader.start()
        everyone += [extra.consumer, reader]
    all_ends = {place: world.high_watermark(*place) for consumer in everyone for place in consumer.positions}
    world.run_until(
        lambda: all(position >= all_ends[place] for consumer in everyone for place, position in consumer.positions.items()),
        READ_WITHIN_MS,
        "everything read by everyone",
    )
    for extra in extras:
        if extra.topic.name == SHORT_LIVED:
            history.starts.update({place: world.log_start_offset(*place) for place in extra.topic.places})
    if members:
        world.run_until(lambda: _group_has_read(members, ends), READ_WITHIN_MS, "everything read by the group")
    history.is_complete = True
    for producer in producers:
        if producer.unexpected:
            world.fail("unexpected refusal", f"{producer.name}: {producer.unexpected[0]} (of {len(producer.unexpected)})")
    for member in members:
        if member.unexpected:
            world.fail("unexpected refusal", f"{member.name}: {member.unexpected[0]} (of {len(member.unexpected)})")
    # A member knows of no epoch before its first fetch: it may ask a leader of the past for what that one does not have.
    for consumer in everyone:
        if consumer.out_of_range:
            world.fail("offset out of range", f"{consumer.name}: {consumer.out_of_range[0]} (of {len(consumer.out_of_range)})")
    if world.failure is not None:
        raise world.failure


def _group_has_read(members: Sequence[SimMember], ends: Mapping[Place, int]) -> bool:
    """Whether each partition has a member that is at its end."""
    at_end = {place for member in members for place, position in member.positions.items() if position >= ends[place]}
    return len(at_end) == len(ends)
