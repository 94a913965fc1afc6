"""What the nodes tell of themselves, with the time at which they really did."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from kafkalab.engine.simulation.scheduler import Scheduler
from kafkalab.engine.telemetry.events import Event
from kafkalab.engine.telemetry.levels import Level, LevelKey

EVENTS_KEPT_MAX: Final = 100_000


class Happening(NamedTuple):
    """An event and when it was: nodes' own clocks may be wrong."""

    at_ms: float
    event: Event


class SimSink:
    """Keeps the newest events, and counts what it dropped."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.happenings: deque[Happening] = deque(maxlen=EVENTS_KEPT_MAX)
        self.dropped = 0
        self.levels: dict[LevelKey, Level] | None = None
        """The latest levels, for those who set this to a dict before the start."""
        self.watchers: list[Callable[[Event], None]] = []

    @property
    def keeps_levels(self) -> bool:
        """Whether somebody has asked for them."""
        return self.levels is not None

    def emit(self, event: Event) -> None:
        """Record a happening."""
        if len(self.happenings) == EVENTS_KEPT_MAX:
            self.dropped += 1
        self.happenings.append(Happening(self._scheduler.now_ms, event))
        for watch in self.watchers:
            watch(event)

    def level(self, key: LevelKey, value: Level | None) -> None:
        """Keep the latest value."""
        if self.levels is not None:
            if value is None:
                self.levels.pop(key, None)
            else:
                self.levels[key] = value

    def of(self, kind: type[Event]) -> list[Event]:
        """The events of one kind."""
        return [happening.event for happening in self.happenings if isinstance(happening.event, kind)]
