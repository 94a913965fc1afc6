"""What every coordinator stands on: state that is the replay of one partition's log.

A shard is the part of a coordinator's state that belongs to one partition of its internal topic,
and it lives on that partition's leader. Whoever becomes leader replays the log and then answers
for it; whoever resigns forgets everything.

The rules:

* What it finds in the log may not be committed yet. It answers when that is: nobody is told of what
  the next leader may not have.
* A write is appended with acks=all and applied when it is committed, in the order of the log. What
  clients are told of it, they are told after that.
* An append that takes longer than the timeout is answered with an error, yet still applied should
  it be committed later: the log decides, not the clock.
* On resignation everything under way is answered and nothing is applied any more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.record.batch import Record, build_batch

Answer = Callable[[Errors], None]
"""Hears how a write ended: NONE, or the error as clients should see it."""
K = TypeVar("K")
V = TypeVar("V")

LOAD_SLICE_BYTES: Final = 262_144
"""How much of the log is replayed before the node's other work gets a turn."""
BATCH_BYTES_MAX: Final = 524_288
"""A write with more than this is appended in several batches: below max.message.bytes with room to spare."""


class CoordinatorLog(Protocol):
    """What a coordinator needs of the replica manager."""

    def append_internal(self, tp: TopicPartition, batch: bytes, on_done: Callable[[Errors | None, int], None]) -> None:
        """Append one batch with acks=all; ``on_done(error, base offset)`` when it is committed or never will be.

        Batches of one partition are reported in the order of their offsets.
        """

    def read_committed_log(self, tp: TopicPartition) -> Iterator[bytes]:
        """The partition's record batches from its log start, as chunks of whole batches.

        :raises ApiError: when the partition is not led here (any more).
        """

    def when_committed(self, tp: TopicPartition, on_done: Callable[[Errors | None], None]) -> None:
        """Call ``on_done`` when all that is in the partition's log now is committed, or with an error when this broker stops leading."""


_SEEN_BY_CLIENTS: Final = {
    Errors.UNKNOWN_TOPIC_OR_PARTITION: Errors.COORDINATOR_NOT_AVAILABLE,
    Errors.NOT_ENOUGH_REPLICAS: Errors.COORDINATOR_NOT_AVAILABLE,
    Errors.NOT_ENOUGH_REPLICAS_AFTER_APPEND: Errors.COORDINATOR_NOT_AVAILABLE,
    Errors.REQUEST_TIMED_OUT: Errors.COORDINATOR_NOT_AVAILABLE,
    Errors.NOT_LEADER_OR_FOLLOWER: Errors.NOT_COORDINATOR,
    Errors.FENCED_LEADER_EPOCH: Errors.NOT_COORDINATOR,
    Errors.KAFKA_STORAGE_ERROR: Errors.NOT_COORDINATOR,
    Errors.MESSAGE_TOO_LARGE: Errors.UNKNOWN_SERVER_ERROR,
    Errors.RECORD_LIST_TOO_LARGE: Errors.UNKNOWN_SERVER_ERROR,
    Errors.INVALID_FETCH_SIZE: Errors.UNKNOWN_SERVER_ERROR,
}


def seen_by_clients(error: Errors) -> Errors:
    """A log's error in the terms of those who asked a coordinator."""
    return _SEEN_BY_CLIENTS.get(error, error)


class TimerTable:
    """Named alarms: setting one again moves it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timers: dict[tuple[str, ...], Timer] = {}

    def schedule(self, key: tuple[str, ...], delay_ms: float, callback: Callable[[], None]) -> None:
        """Run the callback once after the delay, unless it is cancelled or moved before."""
        self.cancel(key)

        def fire() -> None:
            del self._timers[key]
            callback()

        self._timers[key] = self._clock.call_later(delay_ms, fire)

    def cancel(self, key: tuple[str, ...]) -> None:
        """Forget one alarm; harmless when it is not set."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def cancel_all(self) -> None:
        """Forget everything."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()


class _Write:
    """One batch under way."""

    __slots__ = ("answers", "apply", "records", "timer")

    def __init__(self, records: Sequence[tuple[Any, Any]], apply: Callable[[Any], None] | None, answer: Answer) -> None:
        self.records = records
        self.apply = apply
        self.answers = [answer]
        self.timer: Timer | None = None

    def finish(self, error: Errors) -> None:
        """Tell everybody who waits, once."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        answers, self.answers = self.answers, []
        for answer in answers:
            answer(error)


class _Gather:
    """Answers once for several batches: with the first error, or NONE when all are committed."""

    __slots__ = ("_answer", "_due")

    def __init__(self, answer: Answer, due: int) -> None:
        self._answer: Answer | None = answer
        self._due = due

    def __call__(self, error: Errors) -> None:
        self._due -= 1
        if self._answer is not None and (error or not self._due):
            answer, self._answer = self._answer, None
            answer(error)


def _nobody(error: Errors) -> None:
    """For writes that nobody waits for."""


class ShardLog(Generic[K, V]):
    """The writing side of one shard: what is on its way into the log, in order."""

    def __init__(
        self,
        tp: TopicPartition,
        log: CoordinatorLog,
        clock: Clock,
        *,
        timeout_ms: float,
        encode: Callable[[K, V | None], tuple[bytes, bytes | None]],
    ) -> None:
        """``encode`` raises ValueError for what the record format cannot hold."""
        self.topic_partition: Final = tp
        self._log = log
        self._clock = clock
        self._timeout_ms = timeout_ms
        self._encode = encode
        self._writes: OrderedDict[int, _Write] = OrderedDict()
        self._next_number = 0
        self._is_closed = False

    def under_way(self) -> Iterator[K]:
        """Keys of records that are appended and neither committed nor refused: whoever deletes must count with them."""
        return (key for write in self._writes.values() for key, _ in write.records)

    def write(
        self,
        records: Sequence[tuple[K, V | None]],
        *,
        apply: Callable[[Sequence[tuple[K, V | None]]], None] | None = None,
        answer: Answer = _nobody,
    ) -> None:
        """Append records, ``apply`` them when they are committed, then ``answer``.

        ``apply`` is called for each batch that the records were put into; ``answer`` once, and
        possibly before this returns.
        """
        if self._is_closed:
            answer(Errors.NOT_COORDINATOR)
            return
        try:
            batches = self._build(records)
        except ValueError:
            # A name that a request can carry is too long for the record's format.
            answer(Errors.UNKNOWN_SERVER_ERROR)
            return
        if not batches:
            answer(Errors.NONE)
            return
        gather = _Gather(answer, len(batches))
        for part, batch in batches:
            self._append(part, batch, apply, gather)

    def when_settled(self, answer: Answer) -> None:
        """Answer once everything appended so far is committed; at once when nothing is under way."""
        if not self._writes:
            answer(Errors.NONE)
        else:
            next(reversed(self._writes.values())).answers.append(answer)

    def close(self) -> None:
        """Answer everything under way with NOT_COORDINATOR and apply nothing any more."""
        self._is_closed = True
        writes, self._writes = self._writes, OrderedDict()
        for write in writes.values():
            write.finish(Errors.NOT_COORDINATOR)

    def _build(self, records: Sequence[tuple[K, V | None]]) -> list[tuple[Sequence[tuple[K, V | None]], bytes]]:
        now_ms = self._clock.wall_ms()
        batches: list[tuple[Sequence[tuple[K, V | None]], bytes]] = []
        encoded: list[Record] = []
        size = first = 0
        for i, (key, value) in enumerate(records):
            key_bytes, value_bytes = self._encode(key, value)
            record_size = len(key_bytes) + len(value_bytes or b"")
            if encoded and size + record_size > BATCH_BYTES_MAX:
                batches.append((records[first:i], build_batch(encoded)))
                encoded, size, first = [], 0, i
            encoded.append(Record(len(encoded), now_ms, key_bytes, value_bytes))
            size += record_size
        if encoded:
            batches.append((records[first:], build_batch(encoded)))
        return batches

    def _append(
        self,
        records: Sequence[tuple[K, V | None]],
        batch: bytes,
        apply: Callable[[Sequence[tuple[K, V | None]]], None] | None,
        answer: Answer,
    ) -> None:
        number = self._next_number
        self._next_number += 1
        write = self._writes[number] = _Write(records, apply, answer)
        write.timer = self._clock.call_later(self._timeout_ms, lambda: write.finish(seen_by_clients(Errors.REQUEST_TIMED_OUT)))
        self._log.append_internal(self.topic_partition, batch, lambda error, _offset: self._done(number, error))

    def _done(self, number: int, error: Errors | None) -> None:
        write = self._writes.pop(number, None)
        if write is None:
            return
        # Too few replicas after the append: the records are in the log and will be committed, or
        # replayed by whoever loads it. What is remembered must not differ from that.
        is_in_log = not error or error is Errors.NOT_ENOUGH_REPLICAS_AFTER_APPEND
        if is_in_log and write.apply is not None:
            write.apply(write.records)
        write.finish(seen_by_clients(error) if error else Errors.NONE)
