"""Requests between members of the quorum: Vote, BeginQuorumEpoch, EndQuorumEpoch, Fetch, DescribeQuorum.

They are answered by the node's raft core alone (KIP-595, KIP-853, KIP-996); nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.broker.services import ControllerServices
from kafkalab.engine.common.errors import Errors


def handle_vote(services: ControllerServices, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """Vote, versions 0 to 2."""
    return services.raft.handle_vote(request)


def handle_begin_quorum_epoch(services: ControllerServices, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """BeginQuorumEpoch, versions 0 and 1."""
    return services.raft.handle_begin_quorum_epoch(request)


def handle_end_quorum_epoch(services: ControllerServices, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """EndQuorumEpoch, versions 0 and 1."""
    return services.raft.handle_end_quorum_epoch(request)


def handle_fetch(services: ControllerServices, ctx: RequestContext, request: Any) -> None:
    """Fetch of the metadata log, versions 4 to 18; it waits for data as any fetch does."""
    services.raft.handle_fetch(request, ctx.respond)


def handle_describe_quorum(services: ControllerServices, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """DescribeQuorum, versions 0 to 2."""
    return services.raft.handle_describe_quorum(request)


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error."""
    return {"error_code": error, "error_message": message, "topics": [], "responses": []}
