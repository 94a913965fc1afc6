"""DescribeGroups, versions 0 to 6: a classic group's state and its members.

v1 adds the throttle time, v2 says that it throttles, v3 can tell what the asker may do, v4 adds
static members (KIP-345), v5 is flexible, v6 answers GROUP_ID_NOT_FOUND with a message for a group
that is not there (KIP-1043); before, such a group is Dead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import BrokerServices

OPERATIONS_NOT_ASKED: Final = -(2**31)
GROUP_OPERATIONS: Final = sum(1 << operation for operation in (3, 6, 8, 10, 11))
"""Read, Delete, Describe, DescribeConfigs, AlterConfigs: without access control everybody may do it all."""


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> None:
    """Describe each group asked for."""

    def respond(body: Mapping[str, Any]) -> None:
        groups = [
            {
                **group,
                "authorized_operations": GROUP_OPERATIONS
                if request.include_authorized_operations and not group["error_code"]
                else OPERATIONS_NOT_ASKED,
            }
            for group in body["groups"]
        ]
        ctx.respond({"groups": groups})

    services.group_coordinator.describe_groups(request.groups, ctx.version, respond)


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error for each group."""
    groups = [
        {"group_id": group_id, "error_code": error, "error_message": message, "authorized_operations": OPERATIONS_NOT_ASKED}
        for group_id in request.groups
    ]
    return {"groups": groups}
