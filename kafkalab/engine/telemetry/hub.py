"""The hub: the one object that two threads touch.

Nodes emit into it and never wait, fail or see a reader; readers drain it when they like. Levels
keep the latest value by key and a version, so that each reader sees what changed since it last
looked. Events go into one bounded ring per reader, which counts what it dropped.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from kafkalab.engine.telemetry.events import Event
from kafkalab.engine.telemetry.levels import Level, LevelKey

EVENTS_KEPT_MAX: Final = 65_536


class TelemetrySink(Protocol):
    """Where the engine puts what it noticed. Neither call waits or raises."""

    @property
    def keeps_levels(self) -> bool:
        """Whether anybody can ever look at a level: where nobody can, whoever samples many need not."""

    def emit(self, event: Event) -> None:
        """Record a happening."""

    def level(self, key: LevelKey, value: Level | None) -> None:
        """Set the latest value of a level; None takes it away."""


class NullSink:
    """A sink for cores under test that nobody watches."""

    keeps_levels = False

    def emit(self, event: Event) -> None:
        """Forget it."""

    def level(self, key: LevelKey, value: Level | None) -> None:
        """Forget it."""


class Reader:
    """One consumer's place in the hub. Drained by one thread."""

    def __init__(self, hub: TelemetryHub, events_kept_max: int) -> None:
        self._hub = hub
        self._events: deque[Event] = deque(maxlen=events_kept_max)
        self._dropped = 0
        self._changed: set[LevelKey] = set()
        self._news = threading.Condition(hub._lock)
        self._waiting = False

    def wait_changed(self, timeout_s: float) -> bool:
        """Wait until there is something to drain; False when nothing came in time."""
        with self._news:
            if not self._events and not self._changed:
                self._waiting = True
                self._news.wait(timeout_s)
                self._waiting = False
            return bool(self._events or self._changed)

    def wake(self) -> None:
        """End a wait in another thread without news."""
        with self._news:
            self._news.notify_all()

    def drain(self, events_max: int = 1_000) -> tuple[list[Event], Mapping[LevelKey, Level | None], int]:
        """Everything new: events in order (at most ``events_max``), changed levels, and how many
        events have been dropped since the reader was opened."""
        with self._hub._lock:
            count = min(events_max, len(self._events))
            events = [self._events.popleft() for _ in range(count)]
            levels = {key: self._hub._levels.get(key) for key in self._changed}
            self._changed.clear()
            return events, levels, self._dropped

    def close(self) -> None:
        """Stop being fed."""
        with self._hub._lock:
            self._hub._readers.discard(self)


class TelemetryHub:
    """Collects events and levels of all nodes and hands them to readers."""

    keeps_levels = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._levels: dict[LevelKey, Level] = {}
        self._readers: set[Reader] = set()

    def emit(self, event: Event) -> None:
        """Record a happening for every reader."""
        with self._lock:
            for reader in self._readers:
                if len(reader._events) == reader._events.maxlen:
                    reader._dropped += 1
                reader._events.append(event)
                if reader._waiting:
                    reader._news.notify()

    def level(self, key: LevelKey, value: Level | None) -> None:
        """Set or take away the latest value of a level."""
        with self._lock:
            if value is None:
                if self._levels.pop(key, None) is None:
                    return
            else:
                self._levels[key] = value
            for reader in self._readers:
                reader._changed.add(key)
                if reader._waiting:
                    reader._news.notify()

    def take_in(self, events: Sequence[Event], levels: Mapping[LevelKey, Level | None], dropped: int) -> None:
        """What another hub's reader drained: this one stands for it in this process. What it dropped is dropped here too."""
        with self._lock:
            for key, value in levels.items():
                if value is None:
                    self._levels.pop(key, None)
                else:
                    self._levels[key] = value
            for reader in self._readers:
                reader._changed.update(levels)
                reader._dropped += dropped
                for event in events:
                    if len(reader._events) == reader._events.maxlen:
                        reader._dropped += 1
                    reader._events.append(event)
                if reader._waiting:
                    reader._news.notify()

    def open_reader(self, events_kept_max: int = EVENTS_KEPT_MAX) -> Reader:
        """A new reader: all present levels count as changed, events start now."""
        reader = Reader(self, events_kept_max)
        with self._lock:
            reader._changed.update(self._levels)
            self._readers.add(reader)
        return reader

    def levels(self) -> dict[LevelKey, Level]:
        """A copy of all present levels."""
        with self._lock:
            return dict(self._levels)

    def forget(self, keys: Iterable[LevelKey]) -> None:
        """Take several levels away, as when a node is gone."""
        for key in keys:
            self.level(key, None)
