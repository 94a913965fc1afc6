"""DeleteRecords (21): records before an offset go, on all replicas of a partition.

Versions 0 to 2; 1 throttles, 2 is flexible. Answered by the leader of each partition, when every
live replica has them gone. Offset -1 is the high watermark.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.replica.deletion import INVALID_LOW_WATERMARK, DeletionResult

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import BrokerServices

VERSIONS = range(3)


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> None:
    """Let the records go, and answer when they are gone everywhere."""
    # Of a partition that is named twice the last offset counts, as in Kafka.
    asked = {(topic.name, one.partition_index): one.offset for topic in request.topics for one in topic.partitions}

    def respond(results: list[DeletionResult]) -> None:
        topics: dict[str, list[Mapping[str, Any]]] = {}
        for (name, index), result in zip(asked, results, strict=True):
            topics.setdefault(name, []).append(_row(index, result.error, result.low_watermark))
        ctx.respond({"throttle_time": 0, "topics": [{"name": name, "partitions": rows} for name, rows in topics.items()]})

    services.replica_manager.delete_records(asked.items(), request.timeout, respond)


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """Every partition has the error."""
    topics = [
        {"name": topic.name, "partitions": [_row(one.partition_index, error, INVALID_LOW_WATERMARK) for one in topic.partitions]}
        for topic in request.topics
    ]
    return {"throttle_time": 0, "topics": topics}


def _row(index: int, error: int, low_watermark: int) -> Mapping[str, Any]:
    return {"partition_index": index, "error_code": error, "low_watermark": low_watermark}
