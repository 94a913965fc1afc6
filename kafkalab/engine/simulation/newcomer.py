"""A broker that joins a running cluster, is given replicas, and leaves it again: as operators do it, by the book.

It comes on empty disks, takes replicas over by reassignment, gives all of them back before it goes, stops, and is
unregistered. Only who has no replica left is unregistered: the controller would not ask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from random import Random
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.simulation.nemesis import ASK_WITHIN_MS, REASSIGN_EXPECTED, TRY_AGAIN

if TYPE_CHECKING:
    from kafkalab.engine.metadata.image import PartitionRegistration
    from kafkalab.engine.simulation.world import SimWorld

NEWCOMER_ID: Final = 4
LOOK_MS: Final = 500.0
MOVES_MAX: Final = 6


class _Stage(Enum):
    AWAY = "away"
    HERE = "here"
    LEAVING = "leaving"
    STOPPING = "stopping"
    LEFT = "left, and still registered"


class Newcomer:
    """See the module.

    :param topics: whose replicas it takes over.
    :param tell: told of its steps.
    """

    def __init__(self, world: SimWorld, topics: Sequence[str], tell: Callable[[str], None]) -> None:
        self._world = world
        self._topics = topics
        self._tell = tell
        self._founders = world.broker_ids
        self._stage = _Stage.AWAY
        self._is_over = False
        self._asking = 0

    @property
    def is_here(self) -> bool:
        """Whether it is a broker like any other."""
        return self._stage in (_Stage.HERE, _Stage.LEAVING)

    def come(self, rng: Random) -> Callable[[], None] | None:
        """Join, and take over some replicas; what is returned lets it leave. None when it cannot come now."""
        if self._stage is not _Stage.AWAY or NEWCOMER_ID in self._founders:
            return None
        self._stage = _Stage.HERE
        self._world.add_broker(NEWCOMER_ID)
        self._look(lambda: self._take_over(rng))

        def leave() -> None:
            if self._stage is _Stage.HERE:
                self._stage = _Stage.LEAVING
                self._look(self._give_back)

        return leave

    def restart(self) -> None:
        """Let it go on where it was killed."""
        if self.is_here and not self._world.nodes[NEWCOMER_ID].is_alive:
            self._world.restart(NEWCOMER_ID)

    def finish(self) -> None:
        """Nobody comes or goes any more: where it has not left yet it stays."""
        self._is_over = True
        if self._stage in (_Stage.LEAVING, _Stage.STOPPING):
            self._stage = _Stage.HERE

    # --- what it does ----------------------------------------------------------------------------------

    def _look(self, step: Callable[[], bool]) -> None:
        """Take a step again and again until it is done, or everything is over."""

        def again() -> None:
            if not step():
                self._world.at(self._world.now_ms + LOOK_MS, again)

        again()

    def _take_over(self, rng: Random) -> bool:
        image = self._world.image()
        broker = None if image is None else image.brokers.get(NEWCOMER_ID)
        if self._is_over or self._stage is not _Stage.HERE:
            return True
        if image is None or broker is None or broker.fenced:
            return False
        topic = image.topics_by_name.get(rng.choice(list(self._topics)))
        if topic is not None:
            for index in rng.sample(sorted(topic.partitions), min(MOVES_MAX, len(topic.partitions))):
                replicas = list(topic.partitions[index].replicas)
                replicas[rng.randrange(len(replicas))] = NEWCOMER_ID
                self.ask_reassignment(topic.name, index, list(dict.fromkeys(replicas)))
        return True

    def _give_back(self) -> bool:
        """One step of leaving; True when it is over."""
        world = self._world
        if self._stage is _Stage.LEAVING:
            if not self._asking and not self._move_away() and world.nodes[NEWCOMER_ID].is_running:
                self._stage = _Stage.STOPPING
                world.stop(NEWCOMER_ID, wait=False)
        elif self._stage is _Stage.STOPPING:
            if not world.nodes[NEWCOMER_ID].is_alive:
                if self._replicas():
                    # Somebody made a topic in the meantime.
                    self._stage = _Stage.LEAVING
                    world.restart(NEWCOMER_ID)
                else:
                    self._stage = _Stage.LEFT
                    world.remove_broker(NEWCOMER_ID)
                    self._unregister()
        return self._stage in (_Stage.AWAY, _Stage.HERE, _Stage.LEFT)

    def _replicas(self) -> list[tuple[str, int, PartitionRegistration]]:
        """The partitions it has a replica of, or is to have one of."""
        image = self._world.image()
        return [
            (topic.name, index, registration)
            for topic in (() if image is None else image.topics_by_id.values())
            for index, registration in sorted(topic.partitions.items())
            if NEWCOMER_ID in registration.replicas
        ]

    def _move_away(self) -> int:
        """Ask for its replicas to be elsewhere; how many there are."""
        found = self._replicas()
        for name, index, registration in found:
            size = len(set(registration.replicas) - set(registration.adding_replicas)) or 1
            others = [one for one in registration.replicas if one != NEWCOMER_ID]
            others += [one for one in self._founders if one not in others]
            self.ask_reassignment(name, index, others[: min(size, len(self._founders))])
        return len(found)

    def _unregister(self) -> None:
        def answered(response: Any) -> bool:
            error = Errors(response.error_code)
            if error in (Errors.NONE, Errors.BROKER_ID_NOT_REGISTERED):
                self._stage = _Stage.AWAY
                self._tell(f"broker {NEWCOMER_ID} is unregistered")
                return True
            if error not in TRY_AGAIN:
                self._world.fail("unexpected refusal", f"UNREGISTER_BROKER: {error.name}")
            return False

        self._world.admin.request(ApiKey.UNREGISTER_BROKER, {"broker_id": NEWCOMER_ID}, answered, within_ms=600_000.0)

    def ask_reassignment(self, topic: str, index: int, replicas: list[int]) -> None:
        """Ask for a partition to have these replicas; a refusal that nothing explains is a failure."""
        self._asking += 1

        def settled() -> None:
            self._asking -= 1

        def answered(error: Errors) -> bool:
            if error in TRY_AGAIN:
                return False
            if error not in REASSIGN_EXPECTED:
                self._world.fail("unexpected refusal", f"ALTER_PARTITION_REASSIGNMENTS: {error.name}")
            settled()
            return True

        self._world.reassign(topic, index, replicas, answered, within_ms=ASK_WITHIN_MS, on_given_up=settled)
