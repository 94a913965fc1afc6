"""LeaveGroup, versions 0 to 5: members go, or are sent.

v1 adds the throttle time, v2 says that it throttles, v3 removes many members at once, also static
ones by their instance id (KIP-345), v4 is flexible, v5 adds the reason (KIP-800).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import BrokerServices

BATCHED_FROM: Final = 3


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> None:
    """Hand the request to the group."""
    ctx.connection.stats.group_id = request.group_id
    if ctx.version >= BATCHED_FROM:
        members = [(member.member_id, member.group_instance_id, member.reason) for member in request.members]
        services.group_coordinator.leave_group(request.group_id, members, ctx.respond)
        return

    def respond(body: Mapping[str, Any]) -> None:
        # One member, and its error is the response's.
        ctx.respond({"error_code": body["error_code"] or body["members"][0]["error_code"]})

    services.group_coordinator.leave_group(request.group_id, [(request.member_id, None, None)], respond)


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error."""
    return {"error_code": error, "members": ()}
