"""Virtual time: what was asked for happens in its order, what was cancelled does not, and nothing is kept of it."""

from __future__ import annotations

from random import Random

from kafkalab.engine.simulation.loop import SimLoop
from kafkalab.engine.simulation.scheduler import CANCELLED_MAX, Scheduler


def test_cancelled_timers_are_cleared_away_and_the_others_keep_their_order() -> None:
    scheduler = Scheduler(Random(1))
    loops = [SimLoop(scheduler, None, party, "10.0.0.1", lambda context: None) for party in range(3)]
    rng = Random(2)
    done: list[tuple[float, float, int]] = []
    due: list[tuple[float, float, int]] = []
    kept_max = 0
    for number in range(20 * CANCELLED_MAX):
        loop = rng.choice(loops)
        when_ms = float(rng.randrange(50))
        entry = (when_ms, loop.tie, number)
        handle = scheduler.at(when_ms, loop, done.append, (entry,))
        if number % 10:
            handle.cancel()
            handle.cancel()
        else:
            due.append(entry)
        kept_max = max(kept_max, len(scheduler._heap) - len(due))
    assert kept_max <= 2 * CANCELLED_MAX
    while scheduler.step(100.0):
        pass
    assert done == sorted(due)
    assert scheduler.steps == len(due)


def test_what_is_done_counts_as_cancelled_no_more() -> None:
    scheduler = Scheduler(Random(1))
    loop = SimLoop(scheduler, None, 1, "10.0.0.1", lambda context: None)
    handles = [scheduler.at(1.0, loop, int) for _ in range(3)]
    assert scheduler.step(2.0)
    for handle in handles:
        handle.cancel()
    assert scheduler.cancelled == 2
    assert not scheduler.step(2.0)
