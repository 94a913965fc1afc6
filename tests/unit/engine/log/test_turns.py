"""Turns of many logs: each once, at a time of its own."""

from __future__ import annotations

from functools import partial

from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.log.turns import Turn


def test_logs_that_were_begun_together_take_turns() -> None:
    clock = ManualClock()
    done: dict[str, float] = {}

    def note(name: str) -> None:
        done[name] = clock.now_ms()

    names = [f"orders-{number}" for number in range(100)]
    for name in names:
        turn = Turn(clock, delay_ms=100, spread_ms=1_000)
        turn.come(name, partial(note, name))
    clock.advance(99)
    assert not done
    clock.advance(1_001)
    assert set(done) == set(names) and len(set(done.values())) > 60


def test_what_is_awaited_is_done_once_and_what_is_cancelled_never() -> None:
    clock = ManualClock()
    done: list[str] = []
    turn = Turn(clock, delay_ms=100, spread_ms=1)
    turn.come("orders-0", lambda: done.append("first"))
    clock.advance(50)
    turn.come("orders-0", lambda: done.append("second"))
    assert turn.is_awaited
    clock.advance(50)
    assert done == ["first"] and not turn.is_awaited
    turn.come("orders-0", lambda: done.append("third"))
    turn.cancel()
    turn.cancel()
    clock.advance(1_000)
    assert done == ["first"] and not turn.is_awaited and clock.next_due_ms() is None
