"""Wall clocks of nodes that were set wrong on purpose."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace

from kafkalab.engine.telemetry.events import ClockJumped, Event
from kafkalab.engine.telemetry.hub import TelemetryHub
from kafkalab.engine.telemetry.levels import ClockKey, ClockLevel

_log = logging.getLogger(__name__)


class ClockControl:
    """How much each node's wall clock is ahead of this machine's."""

    def __init__(self, hub: TelemetryHub, cause: str) -> None:
        self._hub = hub
        self._cause = cause
        self._offsets_ms: dict[int, int] = {}
        self._lock = threading.Lock()

    def offset_ms(self, node_id: int) -> int:
        """How much a node's clock is ahead."""
        return self._offsets_ms.get(node_id, 0)

    def jump(self, node_id: int, seconds: float) -> int:
        """Set a clock forward by so much; how much it is ahead now."""
        with self._lock:
            offset_ms = self._offsets_ms[node_id] = self.offset_ms(node_id) + round(seconds * 1000)
            offset = offset_ms / 1000
            self._hub.level(ClockKey(node_id), ClockLevel(offset_seconds=offset) if offset_ms else None)
            at_ms = time.time() * 1000
            self._hub.emit(ClockJumped(at_ms=at_ms, node_id=-1, node=node_id, seconds=seconds, offset_seconds=offset, cause=self._cause))
        _log.info("the clock of node %s was set by %+g s", node_id, seconds)
        return offset_ms

    def true_time(self, node_id: int, event: Event) -> Event:
        """A node's event with the time of this machine: events of all nodes stand on one time line."""
        offset_ms = self._offsets_ms.get(node_id)
        if not offset_ms:
            return event
        # One from before the jump may come after it.
        now_ms = time.time() * 1000
        at_ms = min(event.at_ms, event.at_ms - offset_ms, key=lambda candidate_ms: abs(candidate_ms - now_ms))
        return event if at_ms == event.at_ms else replace(event, at_ms=at_ms)
