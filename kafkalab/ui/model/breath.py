"""Work of the Qt thread that is done in one breath.

The engine's threads ask for the interpreter's lock every tenth of a millisecond, so that a request does not wait
behind other nodes. A frame of two milliseconds would be cut into twenty pieces, each of which queues behind every busy
node, and take twenty (measured: 23 ms instead of 4 for the whole stage). For the length of a frame the others are
patient instead: they wait as long as Python lets threads wait anyway.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

BREATH_S: Final = 0.005
"""Python's own switch interval. Work that takes longer lets the others in between."""


@contextmanager
def one_breath() -> Iterator[None]:
    """Do something without being interrupted by every thread that has work. May be nested."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(BREATH_S)
    try:
        yield
    finally:
        # Whoever set another interval meanwhile (a cluster that starts) meant it to last.
        if sys.getswitchinterval() == BREATH_S:
            sys.setswitchinterval(before)
