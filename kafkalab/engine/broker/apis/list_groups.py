"""ListGroups, versions 0 to 5: the groups that this broker coordinates.

v1 adds the throttle time, v2 says that it throttles, v3 is flexible, v4 filters by state (KIP-518),
v5 filters by type (KIP-848).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import BrokerServices


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> None:
    """List what passes the filters; an empty filter passes everything."""
    services.group_coordinator.list_groups(request.states_filter, request.types_filter, ctx.respond)


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error."""
    return {"error_code": error, "groups": ()}
