"""ListOffsets, versions 1 to 11: offsets by time, or by the names that negative times stand for.

v2 has the isolation level; v4 leader epochs (KIP-320); v5 may answer OFFSET_NOT_AVAILABLE
(KIP-207); v6 is flexible; v7 knows -3, the largest timestamp (KIP-734); v8 -4, the earliest local
offset; v9 -5, the last tiered one; v10 has a timeout for tiered reads; v11 knows -6, the earliest
offset to be tiered next. Nothing is tiered here: -4 is the log start, -5 and -6 find nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.replica.offsets import MIN_VERSIONS, reads_committed

if TYPE_CHECKING:
    from kafkalab.engine.broker.context import RequestContext
    from kafkalab.engine.broker.services import BrokerServices

NOT_AVAILABLE_FROM: Final = 5


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """Look up each partition's offset; one that is asked for twice gets none."""
    read_committed = reads_committed(request.isolation_level)
    topics: dict[str, dict[int, dict[str, Any]]] = {}
    for topic in request.topics:
        for part in topic.partitions:
            index = part.partition_index
            rows = topics.setdefault(topic.name, {})
            if index in rows:
                rows[index] = _failed(index, Errors.INVALID_REQUEST)
            else:
                rows[index] = _find(services, ctx, topic.name, part, request.replica_id, read_committed)
    return {"topics": [{"name": name, "partitions": list(rows.values())} for name, rows in topics.items()]}


def _find(services: BrokerServices, ctx: RequestContext, topic: str, part: Any, replica_id: int, read_committed: bool) -> dict[str, Any]:
    timestamp = part.timestamp
    if timestamp < 0 and MIN_VERSIONS.get(timestamp, ctx.version + 1) > ctx.version:
        return _failed(part.partition_index, Errors.UNSUPPORTED_VERSION)
    try:
        found = services.replica_manager.find_offset(
            (topic, part.partition_index),
            timestamp,
            current_leader_epoch=part.current_leader_epoch,
            replica_id=replica_id,
            read_committed=read_committed,
        )
    except ApiError as e:
        error = e.error
        if error == Errors.OFFSET_NOT_AVAILABLE and ctx.version < NOT_AVAILABLE_FROM:
            error = Errors.LEADER_NOT_AVAILABLE
        ctx.connection.stats.last_error = error.name
        return _failed(part.partition_index, error)
    return {
        "partition_index": part.partition_index,
        "error_code": 0,
        "timestamp": found.timestamp,
        "offset": found.offset,
        "leader_epoch": found.leader_epoch,
    }


def _failed(index: int, error: Errors) -> dict[str, Any]:
    return {"partition_index": index, "error_code": int(error), "timestamp": -1, "offset": -1, "leader_epoch": -1}


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The error for every partition that was asked for."""
    return {
        "topics": [
            {"name": topic.name, "partitions": [_failed(part.partition_index, error) for part in topic.partitions]}
            for topic in request.topics
        ]
    }
