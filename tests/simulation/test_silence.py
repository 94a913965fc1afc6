"""The watch over silent brokers: who is told of, and who is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from kafkalab.engine.simulation.silence import LOOK_EVERY_MS, MARGIN_MS, SESSION_TIMEOUT, SilenceWatch

LIMIT_MS = 2_000.0 + MARGIN_MS


class _World:
    """One controller that is active all the while, and one broker that is dead."""

    def __init__(self) -> None:
        spec = SimpleNamespace(config={SESSION_TIMEOUT: "2000"})
        raft = SimpleNamespace(epoch=1)
        self.now_ms = 0.0
        self.broker_ids = (1,)
        self.nodes: dict[int, Any] = {
            1: SimpleNamespace(spec=spec, is_running=False, lives=1),
            101: SimpleNamespace(spec=spec, is_running=True, lives=1, node=SimpleNamespace(raft=raft)),
        }

    def active_controller(self) -> int:
        return 101


def watched() -> tuple[_World, SilenceWatch]:
    world: Any = _World()
    return world, SilenceWatch(world)


def look(watch: SilenceWatch, world: _World, for_ms: float, *, fenced: bool) -> list[str | None]:
    image: Any = SimpleNamespace(brokers={1: SimpleNamespace(fenced=fenced)})
    found = []
    end_ms = world.now_ms + for_ms
    while world.now_ms < end_ms:
        world.now_ms += LOOK_EVERY_MS
        found.append(watch.overdue(image))
    return [one for one in found if one is not None]


def test_who_is_dead_for_too_long_and_in_service_is_told_of() -> None:
    world, watch = watched()
    assert not look(watch, world, LIMIT_MS, fenced=False)
    assert look(watch, world, 2 * LOOK_EVERY_MS, fenced=False)


def test_a_late_heartbeat_of_the_dead_lets_it_be_in_service_for_a_session_more() -> None:
    world, watch = watched()
    assert not look(watch, world, 3_000.0, fenced=False)
    assert not look(watch, world, LIMIT_MS, fenced=True)
    assert not look(watch, world, LIMIT_MS, fenced=False)
    assert look(watch, world, 2 * LOOK_EVERY_MS, fenced=False)
