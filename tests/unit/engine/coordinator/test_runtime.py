"""Writes in order, answered after commit; alarms by name."""

from __future__ import annotations

from collections.abc import Callable

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.coordinator.runtime import BATCH_BYTES_MAX, ShardLog, TimerTable
from tests.unit.engine.coordinator.lab import FakeLog

TP = TopicPartition("__consumer_offsets", 0)


def encode(key: str, value: str | None) -> tuple[bytes, bytes | None]:
    if key == "unwritable":
        raise ValueError("too long")
    return key.encode(), None if value is None else value.encode()


class Writer:
    def __init__(self) -> None:
        self.log = FakeLog()
        self.log.is_held = True
        self.clock = ManualClock()
        self.shard = ShardLog[str, str](TP, self.log, self.clock, timeout_ms=5_000, encode=encode)
        self.applied: list[str] = []
        self.answers: list[tuple[str, Errors]] = []

    def write(self, *keys: str, value: str = "v") -> None:
        self.shard.write(
            [(key, value) for key in keys],
            apply=lambda records: self.applied.extend(key for key, _ in records),
            answer=self.answer(keys[0]),
        )

    def answer(self, name: str) -> Callable[[Errors], None]:
        return lambda error: self.answers.append((name, error))


def test_a_write_is_applied_and_answered_when_committed() -> None:
    writer = Writer()
    writer.write("a", "b")
    assert not writer.applied and not writer.answers
    assert set(writer.shard.under_way()) == {"a", "b"}
    writer.log.commit()
    assert writer.applied == ["a", "b"]
    assert writer.answers == [("a", Errors.NONE)]
    assert not list(writer.shard.under_way())


def test_a_slow_write_is_answered_with_an_error_and_applied_all_the_same() -> None:
    writer = Writer()
    writer.write("a")
    writer.clock.advance(5_000)
    assert writer.answers == [("a", Errors.COORDINATOR_NOT_AVAILABLE)]
    writer.log.commit()
    assert writer.applied == ["a"], "the log decides, not the clock"
    assert len(writer.answers) == 1


def test_a_refused_write_is_not_applied() -> None:
    writer = Writer()
    writer.write("a")
    writer.log.refuse(Errors.NOT_LEADER_OR_FOLLOWER)
    assert writer.answers == [("a", Errors.NOT_COORDINATOR)]
    assert not writer.applied


def test_waiting_for_everything_that_is_under_way() -> None:
    writer = Writer()
    writer.shard.when_settled(writer.answer("idle"))
    assert writer.answers == [("idle", Errors.NONE)]
    writer.write("a")
    writer.write("b")
    writer.shard.when_settled(writer.answer("settled"))
    writer.log.commit(1)
    assert writer.answers[-1] == ("a", Errors.NONE)
    writer.log.commit(1)
    assert writer.answers[-1] == ("settled", Errors.NONE)


def test_closing_answers_and_applies_nothing_any_more() -> None:
    writer = Writer()
    writer.write("a")
    writer.shard.close()
    assert writer.answers == [("a", Errors.NOT_COORDINATOR)]
    writer.log.commit()
    assert not writer.applied
    writer.write("b")
    assert writer.answers[-1] == ("b", Errors.NOT_COORDINATOR)
    assert writer.clock.next_due_ms() is None


def test_a_large_write_goes_in_several_batches_and_is_answered_once() -> None:
    writer = Writer()
    writer.write(*(f"k{i}" for i in range(5)), value="x" * (BATCH_BYTES_MAX // 2 - 100))
    assert writer.log.waiting == 3
    writer.log.commit(2)
    assert not writer.answers
    assert writer.applied == ["k0", "k1", "k2", "k3"]
    writer.log.commit()
    assert writer.answers == [("k0", Errors.NONE)]


def test_what_the_format_cannot_hold_is_refused_and_nothing_means_done() -> None:
    writer = Writer()
    writer.write("unwritable")
    assert writer.answers == [("unwritable", Errors.UNKNOWN_SERVER_ERROR)]
    writer.shard.write([], answer=writer.answer("nothing"))
    assert writer.answers[-1] == ("nothing", Errors.NONE)
    assert writer.log.waiting == 0


def test_an_alarm_set_again_moves() -> None:
    clock = ManualClock()
    timers = TimerTable(clock)
    rung: list[str] = []
    timers.schedule(("a",), 10, lambda: rung.append("first"))
    timers.schedule(("a",), 20, lambda: rung.append("second"))
    timers.schedule(("b",), 15, lambda: rung.append("b"))
    timers.cancel(("b",))
    timers.cancel(("unknown",))
    clock.advance(30)
    assert rung == ["second"]
    timers.schedule(("a",), 5, lambda: rung.append("never"))
    timers.cancel_all()
    clock.advance(30)
    assert rung == ["second"]
