"""AddRaftVoter, versions 0 and 1: an observer of the metadata quorum becomes a voter (KIP-853).

v1 may be answered when the leader has written the change, before it is committed (KIP-1186).
Brokers pass it on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.broker.services import ControllerServices
from kafkalab.engine.common.errors import Errors


def handle(services: ControllerServices, ctx: RequestContext, request: Any) -> None:
    """Answered by the quorum's leader once the change is committed."""
    services.raft.handle_add_voter(request, ctx.respond)


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error."""
    return {"throttle_time": 0, "error_code": error, "error_message": message}
