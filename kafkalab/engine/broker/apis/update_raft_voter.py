"""UpdateRaftVoter, version 0: a voter tells where it listens now and at which levels it can work (KIP-853)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.broker.services import ControllerServices
from kafkalab.engine.common.errors import Errors


def handle(services: ControllerServices, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """Answered by the quorum's leader as soon as it has written it."""
    return services.raft.handle_update_voter(request)


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error."""
    return {"throttle_time": 0, "error_code": error, "current_leader": {"leader_id": -1, "leader_epoch": -1, "host": "", "port": 0}}
