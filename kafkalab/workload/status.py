"""What the traffic tells of itself; apart from it, so that the window need not load the client library."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadStatus:
    """What the traffic has done since it was made, over all its starts."""

    running: bool
    rate_per_s: float
    acks: str
    sent: int  # handed to the client library
    acknowledged: int
    failed: int  # given up by the client library
    consumed: int
    last_error: str  # empty while nothing went wrong
