"""Broker sessions: exact, once per silence, and fair after a stall."""

from __future__ import annotations

from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.controller.sessions import STALL_GRACE_MS, BrokerSessions


def sessions() -> tuple[ManualClock, BrokerSessions, list[tuple[float, int, int]]]:
    clock = ManualClock()
    expired: list[tuple[float, int, int]] = []

    def note(broker_id: int, broker_epoch: int) -> None:
        expired.append((clock.now_ms(), broker_id, broker_epoch))

    return clock, BrokerSessions(clock, timeout_ms=9_000, on_expired=note), expired


def test_a_session_ends_at_the_instant_it_has_to() -> None:
    clock, known, expired = sessions()
    known.touch(1, 7)
    clock.advance(4_000)
    known.touch(1, 7)
    clock.advance(8_999)
    assert known.is_valid(1, 7) and expired == []
    clock.advance(1)
    assert not known.is_valid(1, 7)
    assert expired == [(13_000, 1, 7)]
    clock.advance(60_000)
    assert len(expired) == 1, "one silence is told once"
    known.touch(1, 7)
    clock.advance(9_000)
    assert len(expired) == 2


def test_another_epoch_is_another_session() -> None:
    clock, known, expired = sessions()
    known.touch(1, 7)
    clock.advance(5_000)
    known.touch(1, 8)
    assert not known.is_valid(1, 7)
    clock.advance(8_000)
    assert known.is_valid(1, 8) and expired == []
    known.remove(1)
    clock.advance(60_000)
    assert expired == [] and clock.next_due_ms() is None


def test_brokers_are_not_blamed_for_a_stall_of_this_node() -> None:
    class StallingClock(ManualClock):
        def stall(self, delta_ms: float) -> None:
            """Time goes by while no timer can run."""
            self._now_ms += delta_ms

    clock = StallingClock()
    expired: list[int] = []
    known = BrokerSessions(clock, timeout_ms=9_000, on_expired=lambda broker_id, _epoch: expired.append(broker_id))
    known.touch(1, 7)
    known.touch(2, 7)
    clock.stall(20_000)
    clock.advance(0)
    assert expired == []
    known.touch(1, 7)
    clock.advance(STALL_GRACE_MS)
    assert expired == [2]
