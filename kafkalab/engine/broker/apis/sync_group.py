"""SyncGroup, versions 0 to 5: the leader hands in the assignment, everybody gets their part.

v1 adds the throttle time, v2 says that it throttles, v3 adds static members (KIP-345), v4 is
flexible, v5 names the protocol and its type, which must agree with the group's (KIP-559).

The answer is held back until the leader's assignment is committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import ApiError, Errors

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import BrokerServices

PROTOCOL_REQUIRED_FROM: Final = 5


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> None:
    """Hand the request to the group."""
    ctx.connection.stats.group_id = request.group_id
    if ctx.version >= PROTOCOL_REQUIRED_FROM and (request.protocol_type is None or request.protocol_name is None):
        raise ApiError(Errors.INCONSISTENT_GROUP_PROTOCOL)
    services.group_coordinator.sync_group(request, ctx.respond)


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error."""
    return {"error_code": error}
