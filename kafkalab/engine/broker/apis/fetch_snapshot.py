"""FetchSnapshot, versions 0 and 1 (KIP-630): a part of a snapshot of the metadata log, from the quorum's leader.

Version 1 tells where the leader can be reached, and which of its directories the follower fetches for (KIP-853).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.broker.services import ControllerServices
from kafkalab.engine.common.errors import Errors


def handle(services: ControllerServices, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """The node's raft core alone answers."""
    return services.raft.handle_fetch_snapshot(request)


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error."""
    return {"throttle_time": 0, "error_code": error, "topics": []}
