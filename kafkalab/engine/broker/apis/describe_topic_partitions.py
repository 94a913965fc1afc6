"""DescribeTopicPartitions, version 0: topics page by page, with their eligible leader replicas (KIP-966).

What may be done to a topic is told unasked, also of one that is not there, as in Kafka.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafkalab.engine.broker.apis.metadata import is_reachable
from kafkalab.engine.broker.authorized_operations import TOPIC_OPERATIONS
from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.broker.services import BrokerServices
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.topic_names import invalid_topic_name
from kafkalab.engine.metadata.image import NO_LEADER, MetadataImage, PartitionRegistration


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """Describe topics in order of name, from the cursor on, up to the limit of partitions."""
    image = services.image
    listener = ctx.connection.listener_name
    left = min(services.config.get_int("max.request.partition.size.limit"), request.response_partition_limit)
    if left <= 0:
        raise ApiError(Errors.INVALID_REQUEST, f"The response partition limit must be positive, not {request.response_partition_limit}")
    cursor = request.cursor
    if cursor is not None and cursor.partition_index < 0:
        raise ApiError(Errors.INVALID_REQUEST, f"DescribeTopicPartitionsRequest cursor partition must be valid: {cursor.partition_index}")
    every = not request.topics
    names = sorted(image.topics_by_name if every else {topic.name for topic in request.topics})
    if cursor is not None:
        names = [name for name in names if name >= cursor.topic_name]
        if not every and cursor.topic_name not in names:
            names.insert(0, cursor.topic_name)
    topics: list[Mapping[str, Any]] = []
    next_cursor: Mapping[str, Any] | None = None
    for name in names:
        if left <= 0:
            next_cursor = {"topic_name": name, "partition_index": 0}
            break
        topic = image.topic(name)
        if topic is None:
            error = Errors.INVALID_TOPIC_EXCEPTION if invalid_topic_name(name) else Errors.UNKNOWN_TOPIC_OR_PARTITION
            topics.append({"error_code": error, "name": name, "partitions": [], "topic_authorized_operations": TOPIC_OPERATIONS})
            continue
        first = cursor.partition_index if cursor is not None and cursor.topic_name == name else 0
        indexes = [index for index in sorted(topic.partitions) if index >= first]
        page, rest = indexes[:left], indexes[left:]
        left -= len(page)
        topics.append(
            {
                "error_code": Errors.NONE,
                "name": name,
                "topic_id": topic.topic_id,
                "is_internal": topic.is_internal,
                "partitions": [_partition(image, index, topic.partitions[index], listener) for index in page],
                "topic_authorized_operations": TOPIC_OPERATIONS,
            }
        )
        if rest:
            next_cursor = {"topic_name": name, "partition_index": rest[0]}
            break
    return {"topics": topics, "next_cursor": next_cursor}


def _partition(image: MetadataImage, index: int, partition: PartitionRegistration, listener: str) -> Mapping[str, Any]:
    leads = partition.leader != NO_LEADER and is_reachable(image, partition.leader, listener)
    return {
        "error_code": Errors.NONE if leads else Errors.LEADER_NOT_AVAILABLE,
        "partition_index": index,
        "leader_id": partition.leader if leads else NO_LEADER,
        "leader_epoch": partition.leader_epoch,
        "replica_nodes": partition.replicas,
        "isr_nodes": partition.isr,
        "eligible_leader_replicas": partition.eligible_leader_replicas,
        "last_known_elr": partition.last_known_elr,
        "offline_replicas": [broker_id for broker_id in partition.replicas if not is_reachable(image, broker_id, listener)],
    }


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """Every topic asked for, with the error."""
    return {"topics": [{"error_code": error, "name": topic.name, "partitions": []} for topic in request.topics]}
