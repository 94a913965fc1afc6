"""DeleteGroups, versions 0 to 2: forget groups without members, and their offsets.

v1 says that it throttles, v2 is flexible.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import BrokerServices


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> None:
    """Delete each group named, once."""
    services.group_coordinator.delete_groups(request.groups_names, ctx.respond)


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error for each group."""
    return {"results": [{"group_id": group_id, "error_code": error} for group_id in dict.fromkeys(request.groups_names)]}
