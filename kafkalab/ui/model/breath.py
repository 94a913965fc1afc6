"""Work of the Qt thread that is done in one breath.

The engine's threads ask for the interpreter's lock every tenth of a millisecond, so that a request does not wait
behind other nodes. A frame would be cut into pieces, each of which queues behind every busy node. For the length of a
frame the others are a little more patient: long enough for a usual frame, and not so long that a frame which lost the
lock all the same waits long to have it back. (Single runs beside a full load, on two cores that had other work too:
p99 of 40 and 51 ms with half a millisecond, 100 without, 69 with two, 58 and 68 with Python's own five.)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

BREATH_US: Final = 500
"""Microseconds. Work that takes longer lets the others in between."""


@contextmanager
def one_breath() -> Iterator[None]:
    """Do something without being interrupted by every thread that has work. May be nested."""
    before = _switch_interval_us()
    _set_switch_interval_us(BREATH_US)
    try:
        yield
    finally:
        # Whoever set another interval meanwhile (a cluster that starts) meant it to last.
        if _switch_interval_us() == BREATH_US:
            _set_switch_interval_us(before)


def _switch_interval_us() -> int:
    return round(sys.getswitchinterval() * 1e6)


def _set_switch_interval_us(interval_us: int) -> None:
    # Python cuts off what is below a microsecond: 0.0001 given back as it was read becomes 0.000099, and with each
    # frame it would be less.
    sys.setswitchinterval((interval_us + 0.5) / 1e6)
