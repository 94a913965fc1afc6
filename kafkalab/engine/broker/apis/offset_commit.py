"""OffsetCommit, versions 2 to 10: how far a group has read.

v2 to v4 may say how long the offsets are kept, v3 adds the throttle time, v4 says that it
throttles, v5 drops the retention, v6 adds leader epochs (KIP-320), v7 static members (KIP-345), v8
is flexible, v9 knows the new consumer protocol's errors (KIP-848), v10 names topics by their ids
(KIP-848).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.coordinator.group import OffsetCommit, PartitionOffset

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import BrokerServices

TOPIC_IDS_FROM: Final = 10


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> Mapping[str, Any] | None:
    """Commit what is committed for partitions that exist; the others are refused one by one."""
    ctx.connection.stats.group_id = request.group_id
    image = services.image
    by_id = ctx.version >= TOPIC_IDS_FROM
    refused: dict[tuple[Any, int], Errors] = {}
    partitions = []
    for topic in request.topics:
        asked = topic.topic_id if by_id else topic.name
        known = image.topic_by_id(asked) if by_id else image.topic(asked)
        for partition in topic.partitions:
            index = partition.partition_index
            if known is None:
                refused[asked, index] = Errors.UNKNOWN_TOPIC_ID if by_id else Errors.UNKNOWN_TOPIC_OR_PARTITION
            elif index not in known.partitions:
                refused[asked, index] = Errors.UNKNOWN_TOPIC_OR_PARTITION
            else:
                offset = PartitionOffset(
                    topic_partition=TopicPartition(known.name, index),
                    topic_id=known.topic_id,
                    offset=partition.committed_offset,
                    leader_epoch=partition.committed_leader_epoch,
                    metadata=partition.committed_metadata,
                )
                partitions.append(offset)

    def body(results: Mapping[TopicPartition, Errors]) -> Mapping[str, Any]:
        topics = []
        for topic in request.topics:
            if not topic.partitions:
                continue
            asked = topic.topic_id if by_id else topic.name
            name = names.get(asked, "")
            topics.append(
                {
                    "topic_id": topic.topic_id if by_id else None,
                    "name": "" if by_id else asked,
                    "partitions": [
                        {
                            "partition_index": partition.partition_index,
                            "error_code": refused.get((asked, partition.partition_index))
                            or results.get(TopicPartition(name, partition.partition_index), Errors.NONE),
                        }
                        for partition in topic.partitions
                    ],
                }
            )
        return {"topics": topics}

    names = {(offset.topic_id if by_id else offset.topic_partition.topic): offset.topic_partition.topic for offset in partitions}
    if not partitions:
        return body({})
    commit = OffsetCommit(
        group_id=request.group_id,
        member_id=request.member_id,
        group_instance_id=request.group_instance_id,
        generation=request.generation_id_or_member_epoch,
        retention_ms=getattr(request, "retention_time", -1),
        partitions=partitions,
        version=ctx.version,
    )
    services.group_coordinator.commit_offsets(commit, lambda results: ctx.respond(body(results)))
    return None


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error for each partition."""
    by_id = version >= TOPIC_IDS_FROM
    return {
        "topics": [
            {
                "topic_id": topic.topic_id if by_id else None,
                "name": "" if by_id else topic.name,
                "partitions": [{"partition_index": partition.partition_index, "error_code": error} for partition in topic.partitions],
            }
            for topic in request.topics
        ]
    }
