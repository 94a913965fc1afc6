"""OffsetForLeaderEpoch, versions 2 to 4: where a leader epoch ends, so that a log can be cut there (KIP-101).

v2 has the leader epoch that the client believes current (KIP-320); v3 the replica id, -1 for
consumers and -2 for those that debug; v4 is flexible.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kafkalab.engine.common.errors import ApiError, Errors

if TYPE_CHECKING:
    from kafkalab.engine.broker.context import RequestContext
    from kafkalab.engine.broker.services import BrokerServices


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """Look up each partition's epoch."""
    return {
        "topics": [
            {"topic": topic.topic, "partitions": [_find(services, ctx, topic.topic, part) for part in topic.partitions]}
            for topic in request.topics
        ]
    }


def _find(services: BrokerServices, ctx: RequestContext, topic: str, part: Any) -> dict[str, int]:
    try:
        epoch, end_offset = services.replica_manager.end_offset_for_epoch(
            (topic, part.partition), part.leader_epoch, current_leader_epoch=part.current_leader_epoch
        )
    except ApiError as e:
        ctx.connection.stats.last_error = e.error.name
        return _failed(part.partition, e.error)
    return {"error_code": 0, "partition": part.partition, "leader_epoch": epoch, "end_offset": end_offset}


def _failed(index: int, error: Errors) -> dict[str, int]:
    return {"error_code": int(error), "partition": index, "leader_epoch": -1, "end_offset": -1}


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The error for every partition that was asked for."""
    return {
        "topics": [
            {"topic": topic.topic, "partitions": [_failed(part.partition, error) for part in topic.partitions]} for topic in request.topics
        ]
    }
