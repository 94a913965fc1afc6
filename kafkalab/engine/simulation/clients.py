"""Simulated clients: they speak the protocol over the simulated network and write down what they see.

Each is a machine of its own with its own loop. They do what Kafka's clients do where it matters for
the cluster: learn the leaders, send again what may be sent again, in order, up to a deadline; and
they never take a silence for a refusal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.record.batch import Record, build_batch, iter_records
from kafkalab.engine.server.client import NodeNetwork
from kafkalab.engine.simulation.history import History, Outcome, Place, Poll, Send
from kafkalab.engine.simulation.machine import SimClock
from kafkalab.engine.simulation.scheduler import Handle

if TYPE_CHECKING:
    import uuid

    from kafkalab.engine.simulation.world import SimWorld

BACKOFF_MS: Final = 100.0
METADATA_MAX_AGE_MS: Final = 30_000.0
METADATA_TIMEOUT_MS: Final = 5_000.0
REQUEST_TIMEOUT_MS: Final = 10_000.0
DELIVERY_TIMEOUT_MS: Final = 30_000.0
IN_FLIGHT_MAX: Final = 5
FETCH_WAIT_MS: Final = 500
FETCH_BYTES: Final = 1_048_576

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
SESSION_ERRORS: Final = frozenset(
    {Errors.FETCH_SESSION_ID_NOT_FOUND, Errors.INVALID_FETCH_SESSION_EPOCH, Errors.FETCH_SESSION_TOPIC_ID_ERROR}
)
MAY_BE_THERE: Final = frozenset({Errors.REQUEST_TIMED_OUT, Errors.NOT_ENOUGH_REPLICAS_AFTER_APPEND, Errors.KAFKA_STORAGE_ERROR})
"""Refusals after which the records may be in the log all the same."""


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

    def leader_of(self, place: Place) -> int | None:
        """Who leads, as far as is known."""
        known = self.leaders.get(place)
        return None if known is None or known[0] < 0 else known[0]


class _Batch:
    """Records that go together, again and again until they are through."""

    __slots__ = ("base_sequence", "due_ms", "may_be_there", "sends", "was_sent")

    def __init__(self, sends: list[Send], due_ms: float) -> None:
        self.sends = sends
        self.due_ms = due_ms
        self.base_sequence = -1
        self.was_sent = False
        self.may_be_there = False


class _Lane:
    """One partition's way out of a producer."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.queue: deque[_Batch] = deque()
        self.in_flight: list[_Batch] = []
        self.failed: list[_Batch] = []
        self.order = 0
        self.next_sequence = 0
        self.epoch = 0
        self.is_waiting = False
        """A pause before the next attempt."""


class SimProducer(SimClient):
    """Sends values at a steady pace, and knows of each what became of it.

    :param rate: records a second, over all partitions.
    :param acks: -1 is all.
    """

    def __init__(
        self,
        world: SimWorld,
        name: str,
        history: History,
        places: list[Place],
        *,
        rate: float,
        is_idempotent: bool = True,
        acks: int = -1,
        batch_max: int = 3,
        delivery_timeout_ms: float = DELIVERY_TIMEOUT_MS,
    ) -> None:
        super().__init__(world, name)
        self.history = history
        self.is_idempotent = is_idempotent
        self.acks = acks
        self.delivery_timeout_ms = delivery_timeout_ms
        self._interval_ms = 1000.0 / rate
        self._batch_max = batch_max
        self._places = places
        self._lanes = {place: _Lane(place) for place in places}
        self.topics = tuple(sorted({topic for topic, _ in places}))
        self._producer_id = -1 if not is_idempotent else None
        self._sent = 0
        self._is_stopped = False
        self.unexpected: list[str] = []
        """Refusals that no producer may get."""

    def start(self) -> None:
        """Begin."""
        self.loop.run(lambda: self.refresh(self._begin))

    def stop(self) -> None:
        """Give up nothing more; what was given up is still sent."""
        self._is_stopped = True

    @property
    def is_done(self) -> bool:
        """Whether of everything is known what became of it."""
        return self._is_stopped and not any(lane.queue or lane.in_flight or lane.failed for lane in self._lanes.values())

    def _begin(self) -> None:
        if self._producer_id is None:
            body = {"transactional_id": None, "transaction_timeout": 60_000, "producer_id": -1, "producer_epoch": -1}
            self.ask(self.some_broker(), ApiKey.INIT_PRODUCER_ID, body, self._got_id, REQUEST_TIMEOUT_MS)
            return
        self._tick()

    def _got_id(self, response: Any | None) -> None:
        if response is None or response.error_code:
            self.later(BACKOFF_MS, lambda: self.refresh(self._begin))
            return
        self._producer_id = response.producer_id
        self._tick()

    def _tick(self) -> None:
        if self._is_stopped:
            return
        count = self.rng.randint(1, self._batch_max)
        lane = self._lanes[self._places[self.rng.randrange(len(self._places))]]
        now_ms = self.clock.now_ms()
        sends = []
        for _ in range(count):
            self._sent += 1
            value = f"{self.name}:{self._sent}".encode()
            sends.append(
                self.history.sent(self.name, lane.place, value, lane.order, now_ms, is_idempotent=self.is_idempotent, acks=self.acks)
            )
            lane.order += 1
        lane.queue.append(_Batch(sends, now_ms + self.delivery_timeout_ms))
        self._push(lane)
        self.later(self._interval_ms * count * (0.5 + self.rng.random()), self._tick)

    def _push(self, lane: _Lane) -> None:
        if lane.is_waiting or lane.failed:
            return
        limit = IN_FLIGHT_MAX if self.is_idempotent else 1
        while lane.queue and len(lane.in_flight) < limit:
            batch = lane.queue[0]
            if batch.due_ms <= self.clock.now_ms():
                if lane.in_flight:
                    return
                self._expire(lane)
                continue
            leader = self.leader_of(lane.place)
            if leader is None:
                self._wait(lane)
                return
            lane.queue.popleft()
            self._send(lane, batch, leader)

    def _send(self, lane: _Lane, batch: _Batch, leader: int) -> None:
        if self.is_idempotent and batch.base_sequence < 0:
            batch.base_sequence = lane.next_sequence
            lane.next_sequence += len(batch.sends)
        timestamp = self.clock.wall_ms()
        assert self._producer_id is not None
        records = build_batch(
            [Record(index, timestamp, None, send.value, ()) for index, send in enumerate(batch.sends)],
            producer_id=self._producer_id,
            producer_epoch=lane.epoch if self.is_idempotent else -1,
            base_sequence=batch.base_sequence,
        )
        batch.was_sent = True
        lane.in_flight.append(batch)
        topic, partition = lane.place
        body = {
            "transactional_id": None,
            "acks": self.acks,
            "timeout": int(REQUEST_TIMEOUT_MS),
            "topic_data": [{"name": topic, "partition_data": [{"index": partition, "records": records}]}],
        }

        def answered(response: Any | None) -> None:
            self._answered(lane, batch, response)

        self.ask(leader, ApiKey.PRODUCE, body, answered, REQUEST_TIMEOUT_MS + 2_000.0)

    def _answered(self, lane: _Lane, batch: _Batch, response: Any | None) -> None:
        lane.in_flight.remove(batch)
        if response is None:
            batch.may_be_there = True
            lane.failed.append(batch)
        else:
            result = response.responses[0].partition_responses[0]
            error = Errors(result.error_code)
            if error is Errors.NONE or error is Errors.DUPLICATE_SEQUENCE_NUMBER:
                self._succeeded(batch, result.base_offset if error is Errors.NONE else -1)
            elif error in RETRIABLE:
                batch.may_be_there |= error in MAY_BE_THERE
                lane.failed.append(batch)
            elif error is Errors.OUT_OF_ORDER_SEQUENCE_NUMBER and self._is_behind(lane, batch):
                # One before it was refused and is sent again first.
                lane.failed.append(batch)
            else:
                self.unexpected.append(f"{error.name} for {batch.sends[0].value!r} of {lane.place[0]}-{lane.place[1]}")
                self._settle(batch, Outcome.UNKNOWN if batch.may_be_there else Outcome.FAILED)
        if lane.failed and not lane.in_flight:
            self._retry(lane)
        elif not lane.failed:
            self._push(lane)

    @staticmethod
    def _is_behind(lane: _Lane, batch: _Batch) -> bool:
        return any(other.base_sequence < batch.base_sequence for other in (*lane.failed, *lane.in_flight))

    def _retry(self, lane: _Lane) -> None:
        failed, lane.failed = sorted(lane.failed, key=lambda one: one.sends[0].order), []
        lane.queue.extendleft(reversed(failed))
        self._wait(lane)

    def _wait(self, lane: _Lane) -> None:
        if lane.is_waiting:
            return
        lane.is_waiting = True

        def again() -> None:
            lane.is_waiting = False
            if lane.queue and lane.queue[0].due_ms <= self.clock.now_ms() and not lane.in_flight:
                self._expire(lane)
            self._push(lane)

        def learned() -> None:
            self.later(BACKOFF_MS * (0.5 + self.rng.random()), again)

        if lane.queue and lane.queue[0].due_ms <= self.clock.now_ms():
            self.later(0.0, again)
        else:
            self.refresh(learned)
            # Somebody has to look at the deadline when nobody answers.
            left_ms = lane.queue[0].due_ms - self.clock.now_ms() + 1.0 if lane.queue else BACKOFF_MS
            self.later(max(1.0, left_ms), lambda: self._overdue(lane))

    def _overdue(self, lane: _Lane) -> None:
        if lane.is_waiting and not lane.in_flight and lane.queue and lane.queue[0].due_ms <= self.clock.now_ms():
            self._expire(lane)

    def _expire(self, lane: _Lane) -> None:
        """The first in the line is too old. What was sent of the line may be there, and its sequence numbers are used up."""
        now_ms = self.clock.now_ms()
        if any(batch.was_sent for batch in lane.queue):
            sent = [batch for batch in lane.queue if batch.was_sent]
            for batch in sent:
                self._settle(batch, Outcome.UNKNOWN if batch.may_be_there else Outcome.FAILED)
            lane.queue = deque(batch for batch in lane.queue if not batch.was_sent)
            # The broker may have seen them or not: a new epoch begins with sequence 0 either way (KIP-360).
            lane.epoch += 1
            lane.next_sequence = 0
        while lane.queue and lane.queue[0].due_ms <= now_ms:
            self._settle(lane.queue.popleft(), Outcome.FAILED)

    def _succeeded(self, batch: _Batch, base_offset: int) -> None:
        for index, send in enumerate(batch.sends):
            send.outcome = Outcome.OK
            send.offset = base_offset + index if base_offset >= 0 else -1
            send.done_ms = self.clock.now_ms()

    def _settle(self, batch: _Batch, outcome: Outcome) -> None:
        for send in batch.sends:
            send.outcome = outcome
            send.done_ms = self.clock.now_ms()


class _FetchSession:
    """What a broker remembers of a consumer's last fetch."""

    __slots__ = ("epoch", "id", "partitions")

    def __init__(self) -> None:
        self.id = 0
        self.epoch = 0
        self.partitions: dict[Place, tuple[int, int]] = {}


class SimConsumer(SimClient):
    """Reads partitions that it was assigned, from their beginning on.

    :param is_committed: whether it reads at read_committed.
    """

    def __init__(self, world: SimWorld, name: str, history: History, places: list[Place], *, is_committed: bool = False) -> None:
        super().__init__(world, name)
        self.history = history
        self.is_committed = is_committed
        self.positions: dict[Place, int] = dict.fromkeys(places, 0)
        self.high_watermarks: dict[Place, int] = {}
        self.topics = tuple(sorted({topic for topic, _ in places}))
        self.is_assigned = True
        self.run_number = 0
        self.out_of_range: list[str] = []
        self._fetching: set[int] = set()
        self._sessions: dict[int, _FetchSession] = {}
        self._is_waiting = False

    def start(self) -> None:
        """Begin."""
        self.loop.run(lambda: self.refresh(self._fetch_all))

    def _fetch_all(self) -> None:
        by_leader: dict[int, dict[Place, tuple[int, int]]] = {}
        leaders = self.leaders
        for place, position in self.positions.items():
            known = leaders.get(place)
            if known is None or known[0] < 0:
                self._wait()
            else:
                by_leader.setdefault(known[0], {})[place] = (position, known[1])
        for leader, wanted in by_leader.items():
            if leader not in self._fetching:
                self._fetch(leader, wanted)

    def _wait(self) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            self.later(BACKOFF_MS * (0.5 + self.rng.random()), lambda: self.refresh(self._go_on))

    def _go_on(self) -> None:
        self._is_waiting = False
        self._fetch_all()

    def _fetch(self, leader: int, wanted: dict[Place, tuple[int, int]]) -> None:
        """``wanted`` is what to read there: position and leader epoch. A session (KIP-227) spares saying it all again."""
        session = self._sessions.setdefault(leader, _FetchSession())
        topics: dict[str, list[dict[str, Any]]] = {}
        forgotten: dict[str, list[int]] = {}
        known = session.partitions
        for place, what in wanted.items():
            if known.get(place) != what:
                topics.setdefault(place[0], []).append(
                    {
                        "partition": place[1],
                        "current_leader_epoch": what[1],
                        "fetch_offset": what[0],
                        "last_fetched_epoch": -1,
                        "log_start_offset": -1,
                        "partition_max_bytes": FETCH_BYTES,
                    }
                )
        for place in known:
            if place not in wanted:
                forgotten.setdefault(place[0], []).append(place[1])
        session.partitions = wanted
        body = {
            "max_wait": FETCH_WAIT_MS,
            "min_bytes": 1,
            "max_bytes": 50 * FETCH_BYTES,
            "isolation_level": int(self.is_committed),
            "session_id": session.id,
            "session_epoch": session.epoch,
            "topics": [{"topic_id": self.topic_ids[topic], "partitions": partitions} for topic, partitions in topics.items()],
            "forgotten_topics_data": [
                {"topic_id": self.topic_ids[topic], "partitions": partitions} for topic, partitions in forgotten.items()
            ],
            "rack_id": "",
        }
        self._fetching.add(leader)
        run = self.run_number

        def answered(response: Any | None) -> None:
            self._fetching.discard(leader)
            if response is None or response.error_code:
                # The next request opens another session.
                del self._sessions[leader]
            else:
                session.id = response.session_id
                session.epoch = (session.epoch + 1) & 0x7FFFFFFF if session.id else 0
                if not session.id:
                    session.partitions = {}
            if run == self.run_number:
                self._fetched(response)

        self.ask(leader, ApiKey.FETCH, body, answered, REQUEST_TIMEOUT_MS)

    def _fetched(self, response: Any | None) -> None:
        if response is None or response.error_code:
            if response is not None and Errors(response.error_code) in SESSION_ERRORS:
                self._fetch_all()
            else:
                self._wait()
            return
        for topic in response.responses:
            name = self.topic_names.get(topic.topic_id, "")
            for partition in topic.partitions:
                place = (name, partition.partition_index)
                error = Errors(partition.error_code)
                if error is Errors.OFFSET_OUT_OF_RANGE:
                    self.out_of_range.append(f"{name}-{place[1]}@{self.positions.get(place)} at {self.clock.now_ms():.0f} ms")
                    self.leaders.pop(place, None)
                    self._wait()
                elif error:
                    # Who leads is to be learned anew.
                    self.leaders.pop(place, None)
                    self._wait()
                elif place in self.positions:
                    self.high_watermarks[place] = partition.high_watermark
                    if partition.records:
                        self._read(place, partition.records)
        self._fetch_all()

    def _read(self, place: Place, data: bytes) -> None:
        position = self.positions[place]
        records = tuple((record.offset, record.value or b"") for record in iter_records(data) if record.offset >= position)
        if records:
            self.positions[place] = records[-1][0] + 1
            self.history.polls.append(Poll(self.name, self.run_number, self.is_assigned, place, self.clock.now_ms(), records))


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
