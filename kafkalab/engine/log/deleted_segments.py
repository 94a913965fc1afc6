"""Segments that are no part of the log any more, and whose files wait under ``.deleted`` to be removed.

Readers that had begun keep reading; after ``file.delete.delay.ms`` the files go. What a stop leaves
behind the next start removes.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.log.segment import DELETED_SUFFIX, Segment

_log: Final = logging.getLogger(__name__)


class DeletedSegments:
    """Of one log: by base offset, because a place may be taken again before the delay is over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[int, tuple[Segment, Timer]] = {}

    def add(self, segment: Segment, delay_ms: float) -> None:
        """Rename the segment's files and remove them later.

        :raises OSError: when they cannot be renamed.
        """
        earlier = self._waiting.pop(segment.base_offset, None)
        if earlier is not None:
            earlier[1].cancel()
            earlier[0].remove_files()
        segment.change_suffix(DELETED_SUFFIX)
        timer = self._clock.call_later(delay_ms, lambda: self._remove(segment))
        self._waiting[segment.base_offset] = (segment, timer)

    def _remove(self, segment: Segment) -> None:
        del self._waiting[segment.base_offset]
        try:
            segment.remove_files()
        except OSError as error:
            # Nothing depends on it: the next start finds the files and tries again.
            _log.warning("%s: cannot be removed: %s", segment.path(""), error.strerror or error)

    def moved(self, directory: Path) -> None:
        """The log's directory has another name."""
        for segment, _ in self._waiting.values():
            segment.moved(directory)

    def close(self) -> None:
        """Let go: nothing is removed any more."""
        for segment, timer in self._waiting.values():
            timer.cancel()
            segment.close()
        self._waiting.clear()
