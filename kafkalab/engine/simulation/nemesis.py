"""What goes wrong in a run: planned from the seed, so that parts of a plan can be left out and the rest stays as it is.

An *episode* is one misfortune with its end: a kill and the restart, a cut and its healing. What an
episode does at run time depends on nothing but its own numbers, and on guards that keep it within
what the cluster promises to survive: records are safe while fewer brokers than min.insync.replicas go
down uncleanly, and to Kafka a kill is unclean too (KIP-966). Kills alone lose nothing, for what was
written is there after them; so until a broker has back what a power loss took from it, no other is killed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.metadata.image import CONFIG_TOPIC
from kafkalab.engine.protocol.apis import ApiKey

if TYPE_CHECKING:
    from kafkalab.engine.simulation.world import SimWorld

CLOCK_JUMP_MAX_S: Final = 1_200.0
"""Brokers refuse records that are an hour ahead of their clock: two jumps must not add up to that."""
DISK_FREE_MAX: Final = 20_000
VOTERS_MIN: Final = 2
ASK_WITHIN_MS: Final = 20_000.0
ALTERATIONS: Final[Mapping[str, Sequence[str]]] = {
    "segment.ms": ("300", "1000", "5000"),
    "flush.messages": ("1", "10"),
    "index.interval.bytes": ("0", "100"),
    "compression.type": ("gzip", "zstd"),
}
"""Settings of a topic that change what brokers do with the little that is written here, and nothing of what clients were
promised; segment.bytes cannot: a run's logs never come near the least that Kafka takes."""
_SET: Final = 0
_DELETE: Final = 1


@dataclass(frozen=True, slots=True)
class Episode:
    """One misfortune.

    :ivar kind: which.
    :ivar at_ms: when it begins, after the load has begun.
    :ivar for_ms: how long it lasts.
    :ivar nodes: whom it befalls; -1 stands for all clients.
    :ivar amount: how much, where that makes sense: milliseconds, bytes, a probability.
    """

    kind: str
    at_ms: float
    for_ms: float
    nodes: tuple[int, ...] = ()
    amount: float = 0.0

    def __str__(self) -> str:
        who = ",".join("clients" if node == -1 else str(node) for node in self.nodes)
        amount = f" {self.amount:g}" if self.amount else ""
        return f"{self.at_ms:.0f} ms: {self.kind} {who}{amount} for {self.for_ms:.0f} ms"

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return {"kind": self.kind, "at_ms": self.at_ms, "for_ms": self.for_ms, "nodes": list(self.nodes), "amount": self.amount}


KINDS: Final[Mapping[str, float]] = {
    "kill": 4.0,
    "kill_controller": 2.0,
    "stop": 1.0,
    "pause": 2.0,
    "power_loss": 1.5,
    "power_loss_controller": 1.0,
    "isolate": 2.0,
    "cut": 1.5,
    "cut_pair": 1.5,
    "cut_clients": 0.7,
    "delay": 1.0,
    "lose": 0.7,
    "slow": 0.4,
    "jump_clock": 0.7,
    "fill_disk": 0.4,
    "reassign": 1.0,
    "elect": 0.5,
    "alter_topic": 0.5,
    "create_topic": 0.4,
    "voters": 1.5,
}
"""What there is, and how often beside the others."""


def plan(rng: Random, *, for_ms: float, brokers: Sequence[int], controllers: Sequence[int], kinds: Sequence[str] = ()) -> list[Episode]:
    """The misfortunes of a run, in the order of their beginnings.

    Not everything goes wrong in every run: with fewer kinds at a time more of each comes together.

    :param kinds: take these; none takes a choice of its own.
    """
    chosen = list(kinds) or [kind for kind in KINDS if rng.random() < 0.6] or ["kill"]
    weights = [KINDS[kind] * rng.uniform(0.3, 1.0) for kind in chosen]
    mean_gap_ms = rng.choice((1_000.0, 3_000.0, 6_000.0))
    nodes = [*brokers, *(one for one in controllers if one not in brokers)]
    return [
        _episode(rng, kind, at_ms, list(brokers), list(controllers), nodes)
        for at_ms, kind in beginnings(rng, chosen, weights, mean_gap_ms=mean_gap_ms, for_ms=for_ms)
    ]


def beginnings(
    rng: Random, kinds: Sequence[str], weights: Sequence[float], *, mean_gap_ms: float, for_ms: float
) -> Iterator[tuple[float, str]]:
    """When something begins, and what, up to the end of a run; chance is asked as the moments are taken."""
    at_ms = rng.expovariate(1.0 / mean_gap_ms)
    while at_ms < for_ms:
        yield at_ms, rng.choices(kinds, weights)[0]
        at_ms += rng.expovariate(1.0 / mean_gap_ms)


def _episode(rng: Random, kind: str, at_ms: float, brokers: list[int], controllers: list[int], nodes: list[int]) -> Episode:
    for_ms = rng.choice((rng.uniform(50.0, 1_000.0), rng.uniform(1_000.0, 6_000.0), rng.uniform(6_000.0, 25_000.0)))
    amount = 0.0
    who: tuple[int, ...]
    if kind in ("kill", "power_loss", "stop"):
        who = (rng.choice(brokers),)
    elif kind in ("kill_controller", "power_loss_controller"):
        who = (rng.choice(controllers),)
    elif kind in ("cut", "cut_pair"):
        who = tuple(rng.sample(nodes, 2))
    elif kind == "cut_clients":
        who = (rng.choice(brokers), -1)
    elif kind in ("delay", "lose", "slow"):
        who = tuple(rng.sample(nodes, 2)) if rng.random() < 0.7 else (rng.choice(brokers), -1)
        amount = {"delay": rng.uniform(5.0, 400.0), "lose": rng.uniform(0.02, 0.4), "slow": rng.uniform(2_000.0, 50_000.0)}[kind]
    elif kind == "jump_clock":
        who, amount = (rng.choice(nodes),), rng.choice((-1, 1)) * rng.uniform(0.05, CLOCK_JUMP_MAX_S)
    elif kind == "fill_disk":
        who, amount = (rng.choice(nodes),), float(rng.randrange(DISK_FREE_MAX))
    elif kind in ("reassign", "elect", "alter_topic", "create_topic", "voters"):
        who, amount = (), float(rng.randrange(1 << 30))
    else:
        who = (rng.choice(nodes),)
    return Episode(kind, round(at_ms, 3), round(for_ms, 3), who, round(amount, 4))


class Nemesis:
    """Carries out a plan in a world.

    :param topics: what reassignments and elections are about.
    :param tell: told of each thing that is done, for the timeline.
    """

    def __init__(self, world: SimWorld, episodes: Sequence[Episode], topics: Sequence[str], tell: Callable[[str], None]) -> None:
        self._world = world
        self._episodes = episodes
        self._topics = topics
        self._tell = tell
        self._is_over = False
        self._lost_power: set[int] = set()
        self._held: dict[int, int] = {}
        """How many episodes keep a node down."""
        self.counts: dict[str, int] = {}

    def start(self) -> None:
        """Begin now."""
        start_ms = self._world.now_ms
        for episode in self._episodes:
            self._world.at(start_ms + episode.at_ms, lambda episode=episode: self._begin(episode))  # type: ignore[misc]

    def finish(self) -> None:
        """Let everything be right again: all nodes run, all links and disks are whole."""
        self._is_over = True
        world = self._world
        world.heal()
        for node_id, node in world.nodes.items():
            world.heal_disk(node_id)
            world.resume(node_id)
            if not node.is_alive or node.is_stopping or node.failure is not None:
                world.restart(node_id)

    def _begin(self, episode: Episode) -> None:
        if self._is_over:
            return
        undo = self._act(episode)
        if undo is None:
            return
        self.counts[episode.kind] = self.counts.get(episode.kind, 0) + 1
        self._tell(str(episode))

        def end() -> None:
            if not self._is_over:
                undo()

        self._world.at(self._world.now_ms + episode.for_ms, end)

    def _act(self, episode: Episode) -> Callable[[], None] | None:
        """Do it; what ends it is returned, None when it cannot be now."""
        undo: Callable[[], None] | None = getattr(self, f"_{episode.kind}")(episode)
        return undo

    # --- nodes -----------------------------------------------------------------------------------------

    def _down(self, node_id: int) -> Callable[[], None]:
        """A node stays down until all who put it there have ended."""
        self._held[node_id] = self._held.get(node_id, 0) + 1

        def up() -> None:
            self._held[node_id] -= 1
            if not self._held[node_id] and not self._world.nodes[node_id].is_alive:
                self._world.restart(node_id)

        return up

    def _is_protected(self, node_id: int) -> bool:
        """Whether a broker must not go down uncleanly now: another one needs it."""
        self._lost_power = {one for one in self._lost_power if not self._has_recovered(one)}
        return node_id in self._world.broker_ids and bool(self._lost_power - {node_id})

    def _kill(self, episode: Episode) -> Callable[[], None] | None:
        if self._is_protected(episode.nodes[0]):
            return None
        self._world.kill(episode.nodes[0])
        return self._down(episode.nodes[0])

    _kill_controller = _kill

    def _stop(self, episode: Episode) -> Callable[[], None] | None:
        node_id = episode.nodes[0]
        if not self._world.nodes[node_id].is_running or self._is_protected(node_id):
            return None
        self._world.stop(node_id, wait=False)
        return self._down(node_id)

    def _power_loss(self, episode: Episode) -> Callable[[], None] | None:
        node_id = episode.nodes[0]
        world = self._world
        if self._is_protected(node_id) or not self._is_dispensable(node_id):
            return None
        self._lost_power.add(node_id)
        world.power_loss(node_id, torn_tail=None)
        return self._down(node_id)

    def _power_loss_controller(self, episode: Episode) -> Callable[[], None] | None:
        node_id = episode.nodes[0]
        if node_id in self._world.broker_ids:
            return self._power_loss(episode)
        # What a controller has told anybody is synced: any number of them may lose their power.
        self._world.power_loss(node_id, torn_tail=None)
        return self._down(node_id)

    def _is_dispensable(self, broker_id: int) -> bool:
        """Whether everything that a broker has a replica of is in sync on another one that lives: it is nobody's last hope."""
        image = self._world.image()
        if image is None:
            return False
        return all(
            any(other != broker_id and self._is_in_service(other) for other in registration.isr)
            for topic in image.topics_by_id.values()
            for registration in topic.partitions.values()
            if broker_id in registration.replicas
        )

    def _is_in_service(self, broker_id: int) -> bool:
        image, node = self._world.image(), self._world.nodes.get(broker_id)
        if image is None or node is None or node.node is None or not node.is_running:
            return False
        broker = image.brokers.get(broker_id)
        return broker is not None and not broker.fenced and broker.broker_epoch == node.node.broker_epoch

    def _has_recovered(self, broker_id: int) -> bool:
        """Whether a broker has everything again that it should have."""
        image = self._world.image()
        if image is None or not self._is_in_service(broker_id):
            return False
        return all(
            broker_id in registration.isr
            for topic in image.topics_by_id.values()
            for registration in topic.partitions.values()
            if broker_id in registration.replicas
        )

    def _pause(self, episode: Episode) -> Callable[[], None] | None:
        node_id = episode.nodes[0]
        if not self._world.nodes[node_id].is_running:
            return None
        self._world.pause(node_id)
        return lambda: self._world.resume(node_id)

    # --- links -----------------------------------------------------------------------------------------

    def _isolate(self, episode: Episode) -> Callable[[], None]:
        node_id = episode.nodes[0]
        self._world.isolate(node_id)
        return lambda: self._world.heal(node_id)

    def _cut(self, episode: Episode) -> Callable[[], None]:
        source, target = episode.nodes
        self._world.cut(source, target)
        return lambda: self._world.heal(source, target)

    def _cut_pair(self, episode: Episode) -> Callable[[], None]:
        source, target = episode.nodes
        self._world.isolate(source, target)
        return lambda: self._world.heal(source, target)

    _cut_clients = _cut_pair

    def _delay(self, episode: Episode) -> Callable[[], None]:
        source, target = episode.nodes
        self._world.delay(source, target, episode.amount, episode.amount / 2)
        return lambda: self._world.heal(source, target)

    def _lose(self, episode: Episode) -> Callable[[], None]:
        source, target = episode.nodes
        self._world.lose(source, target, episode.amount)
        return lambda: self._world.heal(source, target)

    def _slow(self, episode: Episode) -> Callable[[], None]:
        source, target = episode.nodes
        self._world.slow(source, target, episode.amount)
        return lambda: self._world.heal(source, target)

    # --- machines --------------------------------------------------------------------------------------

    def _jump_clock(self, episode: Episode) -> Callable[[], None]:
        node_id = episode.nodes[0]
        self._world.jump_clock(node_id, episode.amount)
        return lambda: self._world.jump_clock(node_id, -episode.amount)

    def _fill_disk(self, episode: Episode) -> Callable[[], None] | None:
        node_id = episode.nodes[0]
        if self._is_protected(node_id):
            return None
        world = self._world
        world.fill_disk(node_id, free_bytes=int(episode.amount))
        up = self._down(node_id)

        def undo() -> None:
            # A node that met with a full disk is of no use any more: somebody makes room and starts it again.
            world.heal_disk(node_id)
            world.kill(node_id)
            up()

        return undo

    # --- administration --------------------------------------------------------------------------------

    def _ask(self, api_key: ApiKey, body: Mapping[str, Any], code: Callable[[Any], int], expected: frozenset[Errors]) -> None:
        """Ask for something; a refusal that nothing explains is a failure."""

        def answered(response: Any) -> bool:
            return self._is_final(api_key.name, Errors(code(response)), expected)

        self._world.admin.request(api_key, body, answered, within_ms=ASK_WITHIN_MS)

    def _is_final(self, asked: str, error: Errors, expected: frozenset[Errors]) -> bool:
        if error not in expected and error not in TRY_AGAIN:
            self._world.fail("unexpected refusal", f"{asked}: {error.name}")
        return error not in TRY_AGAIN

    def _reassign(self, episode: Episode) -> Callable[[], None] | None:
        rng = Random(int(episode.amount))
        image = self._world.image()
        topic = None if image is None else image.topics_by_name.get(rng.choice(self._topics))
        if topic is None:
            return None
        index = rng.choice(sorted(topic.partitions))
        size = len(topic.partitions[index].replicas)
        target = rng.sample(self._world.broker_ids, min(size, len(self._world.broker_ids)))

        def answered(error: Errors) -> bool:
            return self._is_final("ALTER_PARTITION_REASSIGNMENTS", error, REASSIGN_EXPECTED)

        def ask(replicas: list[int] | None) -> None:
            self._world.reassign(topic.name, index, replicas, answered, within_ms=ASK_WITHIN_MS)

        ask(target)
        is_cancelled = rng.random() < 0.3
        return (lambda: ask(None)) if is_cancelled else _nothing

    def _elect(self, episode: Episode) -> Callable[[], None] | None:
        body = {"election_type": 0, "topic_partitions": None, "timeout": 10_000}
        self._ask(ApiKey.ELECT_LEADERS, body, lambda response: response.error_code, frozenset({Errors.NONE}))
        return _nothing

    def _voters(self, episode: Episode) -> Callable[[], None] | None:
        """A controller joins the voters, or one leaves them; later the other way round."""
        world, rng = self._world, Random(int(episode.amount))
        voters = world.voter_ids()
        others = sorted(set(world.controller_ids) - voters)
        if not world.is_dynamic or not voters:
            return None

        def answered(error: Errors) -> None:
            if error not in _VOTERS_EXPECTED:
                world.fail("unexpected refusal", f"changing voters: {error.name}")

        def change(is_joining: bool, node_id: int) -> None:
            if is_joining:
                world.add_controller(node_id, answered)
            elif len(world.voter_ids()) > VOTERS_MIN:
                world.remove_controller(node_id, answered)

        is_joining = bool(others) and (len(voters) <= VOTERS_MIN or rng.random() < 0.5)
        node_id = rng.choice(others if is_joining else sorted(voters))
        change(is_joining, node_id)
        return lambda: change(not is_joining, node_id)

    def _alter_topic(self, episode: Episode) -> Callable[[], None]:
        rng = Random(int(episode.amount))
        topic = rng.choice(self._topics)
        setting = rng.choice(list(ALTERATIONS))
        value = rng.choice(ALTERATIONS[setting])

        def alter(operation: int, value: str | None) -> None:
            configs = [{"name": setting, "config_operation": operation, "value": value}]
            body = {"resources": [{"resource_type": CONFIG_TOPIC, "resource_name": topic, "configs": configs}], "validate_only": False}
            self._ask(ApiKey.INCREMENTAL_ALTER_CONFIGS, body, lambda response: response.responses[0].error_code, frozenset({Errors.NONE}))

        alter(_SET, value)
        return lambda: alter(_DELETE, None)

    def _create_topic(self, episode: Episode) -> Callable[[], None]:
        rng = Random(int(episode.amount))
        name = f"made-{int(episode.at_ms)}"
        topic = {"name": name, "num_partitions": rng.randint(1, 4), "replication_factor": -1, "assignments": [], "configs": []}
        body = {"topics": [topic], "timeout": 10_000, "validate_only": False}
        self._ask(
            ApiKey.CREATE_TOPICS,
            body,
            lambda response: response.topics[0].error_code,
            frozenset({Errors.NONE, Errors.TOPIC_ALREADY_EXISTS, Errors.INVALID_REPLICATION_FACTOR}),
        )

        def undo() -> None:
            away = {"topics": [{"name": name, "topic_id": None}], "topic_names": [name], "timeout": 10_000}
            self._ask(
                ApiKey.DELETE_TOPICS,
                away,
                lambda response: response.responses[0].error_code,
                frozenset({Errors.NONE, Errors.UNKNOWN_TOPIC_OR_PARTITION}),
            )

        return undo


def _nothing() -> None:
    pass


TRY_AGAIN: Final = frozenset(
    # The last of them where a controller's disk is full.
    {Errors.NOT_CONTROLLER, Errors.REQUEST_TIMED_OUT, Errors.COORDINATOR_NOT_AVAILABLE, Errors.KAFKA_STORAGE_ERROR}
)
_VOTERS_EXPECTED: Final = frozenset(
    {
        Errors.NONE,
        Errors.REQUEST_TIMED_OUT,
        Errors.DUPLICATE_VOTER,
        Errors.VOTER_NOT_FOUND,
        Errors.NOT_LEADER_OR_FOLLOWER,
        Errors.UNKNOWN_SERVER_ERROR,
    }
)
REASSIGN_EXPECTED: Final = frozenset(
    {
        Errors.NONE,
        Errors.INVALID_REPLICA_ASSIGNMENT,
        Errors.NO_REASSIGNMENT_IN_PROGRESS,
        Errors.UNKNOWN_TOPIC_OR_PARTITION,
        Errors.INELIGIBLE_REPLICA,
    }
)
