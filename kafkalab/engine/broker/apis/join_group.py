"""JoinGroup, versions 0 to 9: take part in a group's next generation.

v1 adds the rebalance timeout, v2 the throttle time, v3 says that it throttles, v4 has new members
come back with the id that they were given (KIP-394), v5 adds static members (KIP-345), v6 is
flexible, v7 names the protocol type in the response, v8 adds the reason (KIP-800), v9 lets a
returning static leader skip the assignment (KIP-814).

The answer is held back until every member has joined.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.coordinator.group import Caller

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import BrokerServices

NULLABLE_PROTOCOL_FROM: Final = 7


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> None:
    """Hand the request to the group."""
    ctx.connection.stats.group_id = request.group_id

    def respond(body: Mapping[str, Any]) -> None:
        ctx.respond(_for_version(body, ctx.version))

    services.group_coordinator.join_group(Caller(ctx.client_id, f"/{ctx.connection.client_host}", ctx.version), request, respond)


def _for_version(body: Mapping[str, Any], version: int) -> Mapping[str, Any]:
    if version < NULLABLE_PROTOCOL_FROM and body.get("protocol_name") is None:
        return {**body, "protocol_name": ""}
    return body


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error."""
    return _for_version({"error_code": error, "member_id": request.member_id, "protocol_name": None}, version)
