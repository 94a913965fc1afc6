"""OffsetDelete, version 0: forget how far a group has read, partition by partition (KIP-496)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.ids import TopicPartition

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import BrokerServices


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> None:
    """Delete the offsets of partitions that exist; the group is looked for even where none of them does."""
    # By topic: the refused first, as Kafka merges them.
    answers: dict[str, list[tuple[int, Errors]]] = {}
    partitions = []
    for topic in request.topics:
        known = services.image.topic(topic.name)
        for partition in topic.partitions:
            index = partition.partition_index
            if known is None or index not in known.partitions:
                answers.setdefault(topic.name, []).append((index, Errors.UNKNOWN_TOPIC_OR_PARTITION))
            else:
                partitions.append(TopicPartition(topic.name, index))

    def respond(error: Errors, results: Mapping[TopicPartition, Errors]) -> None:
        if error:
            ctx.respond({"error_code": error, "topics": ()})
            return
        for tp in partitions:
            answers.setdefault(tp.topic, []).append((tp.partition, results[tp]))
        topics = [
            {"name": topic, "partitions": [{"partition_index": index, "error_code": result} for index, result in results_of_topic]}
            for topic, results_of_topic in answers.items()
        ]
        ctx.respond({"error_code": Errors.NONE, "topics": topics})

    services.group_coordinator.delete_offsets(request.group_id, partitions, respond)


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error for the whole group."""
    return {"error_code": error, "topics": ()}
