"""Heartbeat, versions 0 to 4: a member lives, and learns whether a rebalance is under way.

v1 adds the throttle time, v2 says that it throttles, v3 adds static members (KIP-345), v4 is
flexible.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import BrokerServices


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> None:
    """Hand the request to the group."""
    ctx.connection.stats.group_id = request.group_id
    services.group_coordinator.heartbeat(request, ctx.respond)


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error."""
    return {"error_code": error}
