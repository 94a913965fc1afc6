"""A simulated client's machine: its connections, and what it knows of the cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.server.client import NodeNetwork
from kafkalab.engine.simulation.history import Place
from kafkalab.engine.simulation.machine import SimClock
from kafkalab.engine.simulation.scheduler import Handle

if TYPE_CHECKING:
    import uuid

    from kafkalab.engine.simulation.world import SimWorld

BACKOFF_MS: Final = 100.0
METADATA_TIMEOUT_MS: Final = 5_000.0
REQUEST_TIMEOUT_MS: Final = 10_000.0

VERSIONS: Final[Mapping[ApiKey, int]] = {
    ApiKey.METADATA: 12,
    ApiKey.PRODUCE: 12,
    ApiKey.FETCH: 17,
    ApiKey.INIT_PRODUCER_ID: 4,
    ApiKey.LIST_OFFSETS: 8,
}
RETRIABLE: Final = frozenset(
    {
        Errors.UNKNOWN_TOPIC_OR_PARTITION,
        Errors.LEADER_NOT_AVAILABLE,
        Errors.NOT_LEADER_OR_FOLLOWER,
        Errors.REQUEST_TIMED_OUT,
        Errors.NOT_ENOUGH_REPLICAS,
        Errors.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        Errors.KAFKA_STORAGE_ERROR,
        Errors.FENCED_LEADER_EPOCH,
        Errors.UNKNOWN_LEADER_EPOCH,
        Errors.UNKNOWN_TOPIC_ID,
        Errors.COORDINATOR_LOAD_IN_PROGRESS,
        Errors.COORDINATOR_NOT_AVAILABLE,
        Errors.OFFSET_NOT_AVAILABLE,
    }
)


class SimClient:
    """A client's connections and what it knows of the cluster."""

    def __init__(self, world: SimWorld, name: str) -> None:
        self.world = world
        self.name = name
        self.loop = world.client_loop()
        self.clock = SimClock(self.loop, 0)
        self.rng: Random = world.rng(f"client {name}")
        self.network = NodeNetwork(self.loop.as_asyncio, name, self._address_of)
        self._bootstrap = {-1 - index: address for index, address in enumerate(world.bootstrap)}
        self._brokers: dict[int, tuple[str, int]] = {}
        self.leaders: dict[Place, tuple[int, int]] = {}
        """Leader and leader epoch."""
        self.topic_ids: dict[str, uuid.UUID] = {}
        self.topic_names: dict[uuid.UUID, str] = {}
        self.topics: tuple[str, ...] = ()
        self._metadata_under_way = False
        self._metadata_at_ms = float("-inf")
        self._metadata_waiters: list[Callable[[], None]] = []
        self.is_closed = False
        world.clients.append(self)

    def _address_of(self, node_id: int) -> tuple[str, int] | None:
        return self._brokers.get(node_id) or self._bootstrap.get(node_id)

    def close(self) -> None:
        """Gone, without a goodbye."""
        if not self.is_closed:
            self.is_closed = True
            self.loop.run(self.network.close)
            self.loop.kill()
            self.world.network.drop(self.loop)

    def later(self, delay_ms: float, action: Callable[[], None]) -> Handle:
        """Do something in a while."""
        scheduler = self.world.scheduler
        return scheduler.at(scheduler.now_ms + delay_ms, self.loop, action)

    def some_broker(self) -> int:
        """Any broker that is known."""
        known = sorted(self._brokers) or list(self._bootstrap)
        return self.rng.choice(known)

    def ask(
        self, node_id: int, api_key: ApiKey, body: Mapping[str, Any], on_response: Callable[[Any | None], None], timeout_ms: float
    ) -> None:
        """Send one request; None comes back where no answer came in time."""
        self.network.send(node_id, api_key, body, on_response, timeout_ms=timeout_ms, version=VERSIONS.get(api_key))

    # --- metadata --------------------------------------------------------------------------------------

    def refresh(self, then: Callable[[], None] | None = None, *, delay_ms: float = 0.0) -> None:
        """Learn who leads; ``then`` is called when something was learned."""
        if then is not None:
            self._metadata_waiters.append(then)
        if self._metadata_under_way:
            return
        self._metadata_under_way = True
        self.later(delay_ms, self._ask_metadata)

    def _ask_metadata(self) -> None:
        body = {"topics": [{"topic_id": None, "name": topic} for topic in self.topics], "allow_auto_topic_creation": False}
        # When nobody answers, somebody who may be elsewhere by now is asked as well.
        if self.rng.random() < 0.2:
            self._brokers.clear()
        self.ask(self.some_broker(), ApiKey.METADATA, body, self._learned, METADATA_TIMEOUT_MS)

    def _learned(self, response: Any | None) -> None:
        if response is None or not response.brokers:
            self._brokers.clear()
            self.later(BACKOFF_MS * (0.5 + self.rng.random()), self._ask_metadata)
            return
        self._metadata_under_way = False
        self._metadata_at_ms = self.clock.now_ms()
        self._brokers = {broker.node_id: (broker.host, broker.port) for broker in response.brokers}
        for topic in response.topics:
            if topic.error_code:
                continue
            if self.topic_ids.get(topic.name) != topic.topic_id:
                self.topic_ids[topic.name] = topic.topic_id
                self.topic_names[topic.topic_id] = topic.name
                for place in [place for place in self.leaders if place[0] == topic.name]:
                    del self.leaders[place]
            for partition in topic.partitions:
                place = (topic.name, partition.partition_index)
                known = self.leaders.get(place)
                # An older leader than the one that is known is no news.
                if known is None or partition.leader_epoch >= known[1]:
                    self.leaders[place] = (partition.leader_id, partition.leader_epoch)
        waiters, self._metadata_waiters = self._metadata_waiters, []
        for then in waiters:
            then()

    def forget_leader(self, place: Place) -> None:
        """Who leads is to be learned anew; who led before is not asked again."""
        known = self.leaders.get(place)
        if known is not None:
            self.leaders[place] = (-1, known[1])

    def leader_of(self, place: Place) -> int | None:
        """Who leads, as far as is known."""
        known = self.leaders.get(place)
        return None if known is None or known[0] < 0 else known[0]


class SimAdmin(SimClient):
    """Asks any broker, again and again until an answer says that it is done."""

    def __init__(self, world: SimWorld, name: str = "admin") -> None:
        super().__init__(world, name)
        self._pending = 0

    def request(
        self,
        api_key: ApiKey,
        body: Mapping[str, Any],
        on_answer: Callable[[Any], bool],
        *,
        version: int | None = None,
        within_ms: float = 60_000.0,
        on_given_up: Callable[[], None] | None = None,
    ) -> None:
        """Ask until ``on_answer`` says that the answer settles it, or the time is over."""
        due_ms = self.clock.now_ms() + within_ms

        def attempt() -> None:
            if self.clock.now_ms() >= due_ms:
                if on_given_up is not None:
                    on_given_up()
                return
            self.network.send(
                self.rng.choice(list(self._bootstrap)), api_key, body, answered, timeout_ms=REQUEST_TIMEOUT_MS, version=version
            )

        def answered(response: Any | None) -> None:
            if response is None or not on_answer(response):
                self.later(BACKOFF_MS * (0.5 + self.rng.random()), attempt)

        self.loop.run(attempt)
