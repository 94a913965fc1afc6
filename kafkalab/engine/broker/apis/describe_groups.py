"""DescribeGroups, versions 0 to 6: a classic group's state and its members.

v1 adds the throttle time, v2 says that it throttles, v3 can tell what the asker may do, v4 adds
static members (KIP-345), v5 is flexible, v6 answers GROUP_ID_NOT_FOUND with a message for a group
that is not there (KIP-1043); before, such a group is Dead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kafkalab.engine.broker.authorized_operations import GROUP_OPERATIONS, NOT_ASKED
from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import BrokerServices


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> None:
    """Describe each group asked for."""

    def respond(body: Mapping[str, Any]) -> None:
        groups = [
            {
                **group,
                "authorized_operations": GROUP_OPERATIONS
                if request.include_authorized_operations and not group["error_code"]
                else NOT_ASKED,
            }
            for group in body["groups"]
        ]
        ctx.respond({"groups": groups})

    services.group_coordinator.describe_groups(request.groups, ctx.version, respond)


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error for each group."""
    groups = [
        {"group_id": group_id, "error_code": error, "error_message": message, "authorized_operations": NOT_ASKED}
        for group_id in request.groups
    ]
    return {"groups": groups}
