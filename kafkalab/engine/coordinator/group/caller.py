"""Who asks: what the coordinator wants to know of a request beside its body."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Respond = Callable[[Mapping[str, Any]], None]
"""Answers a request with a response body, once."""


class Caller(NamedTuple):
    """The client behind a request, and the version that it speaks."""

    client_id: str
    client_host: str
    """The client's address as Kafka writes it: ``/127.0.0.1``."""
    version: int
