"""The one way from the engine to the screen: the Qt thread fetches, nobody pushes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from PySide6.QtCore import QObject, Qt, QTimer, Signal

from kafkalab.engine.telemetry.events import Event
from kafkalab.engine.telemetry.levels import Level, LevelKey
from kafkalab.ui.bridge.frame_meter import FrameMeter
from kafkalab.ui.model.cluster import ClusterModel

EVENTS_PER_FRAME_MAX: Final = 500
PUMP_INTERVAL_MS: Final = 33
"""Thirty looks a second: half of the 100 ms in which the screen may be behind, with room for a slow frame."""
IDLE_INTERVAL_MS: Final = 80
IDLE_AFTER: Final = 30
"""Looks without news until the pump slows down."""


class HubReader(Protocol):
    """What the pump drains: ``engine.telemetry.hub.Reader``."""

    def drain(self, events_max: int = ..., /) -> tuple[list[Event], Mapping[LevelKey, Level | None], int]:
        """Everything new."""


def wall_ms() -> float:
    """The clock by which events are stamped."""
    return time.time() * 1000.0


class EventPump(QObject):
    """Lives in the Qt thread. At each look, moves what the engine recorded into the model and tells what changed."""

    changed = Signal(object)  # ChangeSet

    def __init__(
        self,
        reader: HubReader,
        model: ClusterModel,
        *,
        meter: FrameMeter | None = None,
        now_ms: Callable[[], float] = wall_ms,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.model = model
        self.meter = meter or FrameMeter()
        self._reader = reader
        self._now_ms = now_ms
        self._quiet = 0
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(PUMP_INTERVAL_MS)
        self._timer.timeout.connect(self.pump_once)

    def start(self) -> None:
        """Begin to look."""
        self._timer.start()

    def stop(self) -> None:
        """Cease to look; what the engine records meanwhile waits in the ring."""
        self._timer.stop()

    @property
    def is_running(self) -> bool:
        """Whether it looks."""
        return self._timer.isActive()

    def pump_once(self) -> None:
        """One look."""
        self.meter.end_frame()
        with self.meter.measure():
            events, levels, dropped = self._reader.drain(EVENTS_PER_FRAME_MAX)
            change = self.model.apply(events, levels, dropped, self._now_ms())
            if change:
                self.changed.emit(change)
        self._pace(bool(events or levels))

    def _pace(self, news: bool) -> None:
        if news:
            self._quiet = 0
            if self._timer.interval() != PUMP_INTERVAL_MS:
                self._timer.setInterval(PUMP_INTERVAL_MS)
            return
        self._quiet += 1
        if self._quiet == IDLE_AFTER:
            self._timer.setInterval(IDLE_INTERVAL_MS)
