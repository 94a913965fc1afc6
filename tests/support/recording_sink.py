"""A telemetry sink that keeps everything it is told."""

from __future__ import annotations

from typing import TypeVar

from kafkalab.engine.telemetry.events import Event
from kafkalab.engine.telemetry.levels import Level, LevelKey

Kind = TypeVar("Kind", bound=Event)


class RecordingSink:
    """Events in their order, and of each level the last word: None where it was taken away."""

    keeps_levels = True

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.levels: dict[LevelKey, Level | None] = {}

    def emit(self, event: Event) -> None:
        """Note an event."""
        self.events.append(event)

    def level(self, key: LevelKey, value: Level | None) -> None:
        """Note a level."""
        self.levels[key] = value

    def of(self, kind: type[Kind]) -> list[Kind]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]
