"""A simulated producer, idempotent or not: it sends in order, again and again, until its time is over."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.record.batch import Record, build_batch
from kafkalab.engine.simulation.client import BACKOFF_MS, REQUEST_TIMEOUT_MS, RETRIABLE, SimClient
from kafkalab.engine.simulation.history import History, Outcome, Place, Send

if TYPE_CHECKING:
    from kafkalab.engine.simulation.world import SimWorld

DELIVERY_TIMEOUT_MS: Final = 30_000.0
IN_FLIGHT_MAX: Final = 5
BACKOFF_MAX_MS: Final = 1_000.0
TOMBSTONE_PROBABILITY: Final = 0.15
NOT_THERE: Final = frozenset({Errors.NOT_ENOUGH_REPLICAS, Errors.LEADER_NOT_AVAILABLE, Errors.UNKNOWN_TOPIC_ID})
"""Refusals that come before anything is appended; with all others the records may be in the log all the same."""


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
        self.first_taken: tuple[int, int] | None = None
        """Epoch and sequence number of what the log took first of the producer: it takes any when it knows nothing of it."""
        self.attempts = 0
        """In vain, one after another."""
        self.is_waiting = False
        """A pause before the next attempt."""


class SimProducer(SimClient):
    """Sends values at a steady pace, and knows of each what became of it.

    :param rate: records a second, over all partitions.
    :param acks: -1 is all.
    :param keys: so many keys, by turns of chance, and now and then a tombstone; 0 sends records without keys.
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
        keys: int = 0,
    ) -> None:
        super().__init__(world, name)
        self.history = history
        self.is_idempotent = is_idempotent
        self.acks = acks
        self.delivery_timeout_ms = delivery_timeout_ms
        self._interval_ms = 1000.0 / rate
        self._batch_max = batch_max
        self._keys = keys
        self._places = places
        self._lanes = {place: _Lane(place) for place in places}
        self.topics = tuple(sorted({topic for topic, _ in places}))
        self._producer_id = -1 if not is_idempotent else None
        self._sent = 0
        self._open_batches = 0
        """Of which it is not known what became of them."""
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
        return self._is_stopped and not self._open_batches

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
            send = self.history.sent(self.name, lane.place, value, lane.order, now_ms, is_idempotent=self.is_idempotent, acks=self.acks)
            if self._keys:
                send.key = b"key-%d" % self.rng.randrange(self._keys)
                send.is_tombstone = self.rng.random() < TOMBSTONE_PROBABILITY
            sends.append(send)
            lane.order += 1
        lane.queue.append(_Batch(sends, now_ms + self.delivery_timeout_ms))
        self._open_batches += 1
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
            [_record(index, timestamp, send) for index, send in enumerate(batch.sends)],
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
                lane.attempts = 0
                if lane.first_taken is None:
                    lane.first_taken = lane.epoch, batch.base_sequence
                self._succeeded(batch, result.base_offset if error is Errors.NONE else -1)
            elif error in RETRIABLE:
                batch.may_be_there |= error not in NOT_THERE
                lane.failed.append(batch)
            elif error is Errors.OUT_OF_ORDER_SEQUENCE_NUMBER and self._is_behind(lane, batch):
                # One before it was refused and is sent again first.
                lane.failed.append(batch)
            elif error is Errors.OUT_OF_ORDER_SEQUENCE_NUMBER and batch.may_be_there:
                # A broker that has restarted knows only the last batch of each producer: this may be a repeat of an older one.
                self._settle(batch, Outcome.UNKNOWN)
            elif error is Errors.OUT_OF_ORDER_SEQUENCE_NUMBER and (lane.epoch, batch.base_sequence) < (lane.first_taken or (-1, -1)):
                # A later one was taken as the first, while this one was refused: there were too few replicas then.
                self._settle(batch, Outcome.FAILED)
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
            lane.attempts += 1
            self.later(min(BACKOFF_MS * 2.0**lane.attempts, BACKOFF_MAX_MS) * (0.5 + self.rng.random()), again)

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
        self._open_batches -= 1
        for index, send in enumerate(batch.sends):
            send.outcome = Outcome.OK
            send.offset = base_offset + index if base_offset >= 0 else -1
            send.done_ms = self.clock.now_ms()

    def _settle(self, batch: _Batch, outcome: Outcome) -> None:
        self._open_batches -= 1
        for send in batch.sends:
            send.outcome = outcome
            send.done_ms = self.clock.now_ms()


def _record(index: int, timestamp: int, send: Send) -> Record:
    """A tombstone has no value that it could be told apart by: a header holds that."""
    if send.is_tombstone:
        return Record(index, timestamp, send.key, None, (("value", send.value),))
    return Record(index, timestamp, send.key, send.value, ())
