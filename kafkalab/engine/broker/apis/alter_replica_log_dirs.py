"""AlterReplicaLogDirs, versions 1 and 2: replicas of this broker are to be in other log directories (KIP-113).

v2 is flexible. The answer says that a move has begun; DescribeLogDirs tells how far it is. A replica
that is not here yet is answered REPLICA_NOT_AVAILABLE, or UNKNOWN_TOPIC_OR_PARTITION where there is no such
partition yet, and will be made in that directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kafkalab.engine.common.errors import ApiError, Errors

if TYPE_CHECKING:
    from kafkalab.engine.broker.context import RequestContext
    from kafkalab.engine.broker.services import BrokerServices

VERSIONS = range(1, 3)


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """Begin each move, or say why not."""
    topics: dict[str, list[Mapping[str, Any]]] = {}
    for directory in request.dirs:
        for topic in directory.topics:
            for index in topic.partitions:
                error = Errors.NONE
                try:
                    services.replica_manager.move_replica((topic.name, index), directory.path)
                except ApiError as refusal:
                    error = refusal.error
                topics.setdefault(topic.name, []).append({"partition_index": index, "error_code": int(error)})
    return {"throttle_time": 0, "results": [{"topic_name": name, "partitions": rows} for name, rows in topics.items()]}


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The error for every replica that was named."""
    topics: dict[str, list[Mapping[str, Any]]] = {}
    for directory in request.dirs:
        for topic in directory.topics:
            rows = [{"partition_index": index, "error_code": int(error)} for index in topic.partitions]
            topics.setdefault(topic.name, []).extend(rows)
    return {"throttle_time": 0, "results": [{"topic_name": name, "partitions": rows} for name, rows in topics.items()]}
