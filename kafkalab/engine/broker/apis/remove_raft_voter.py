"""RemoveRaftVoter, version 0: a voter of the metadata quorum becomes an observer (KIP-853). Brokers pass it on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.broker.services import ControllerServices
from kafkalab.engine.common.errors import Errors


def handle(services: ControllerServices, ctx: RequestContext, request: Any) -> None:
    """Answered by the quorum's leader once the change is committed."""
    services.raft.handle_remove_voter(request, ctx.respond)


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error."""
    return {"throttle_time": 0, "error_code": error, "error_message": message}
