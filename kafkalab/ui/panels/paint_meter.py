"""The frame meter fed by views that time their own painting."""

from __future__ import annotations

from time import perf_counter

from kafkalab.ui.bridge.frame_meter import FrameMeter


class PaintMeter(FrameMeter):
    """Counts a painted picture that took so long to the present frame."""

    def add_paint(self, took_ms: float) -> None:
        """A view has painted."""
        self._busy_ms += took_ms
        self._paint_times.append(perf_counter())
