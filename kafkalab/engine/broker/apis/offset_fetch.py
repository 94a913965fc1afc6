"""OffsetFetch, versions 1 to 10: how far groups have read.

v2 can ask for all partitions and has an error for the whole group, v3 adds the throttle time, v4
says that it throttles, v5 adds leader epochs (KIP-320), v6 is flexible, v7 can ask for offsets
that no transaction may still change (KIP-447), v8 asks for many groups at once (KIP-709), v9 adds
member id and epoch of the new consumer protocol, v10 names topics by their ids (both KIP-848).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.metadata.image import MetadataImage
from kafkalab.engine.protocol.coordinator_records import OffsetCommitValue

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import BrokerServices

GROUP_ERROR_FROM: Final = 2
BATCHED_FROM: Final = 8
TOPIC_IDS_FROM: Final = 10

_Offsets = Mapping[TopicPartition, OffsetCommitValue]
_SEEN_BY_FETCHERS: Final = {Errors.COORDINATOR_NOT_AVAILABLE: Errors.NOT_COORDINATOR}
"""Older consumers do not expect the one; the other makes them look for the coordinator again."""


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> None:
    """Answer when every group asked for has."""
    is_batched = ctx.version >= BATCHED_FROM
    groups = request.groups if is_batched else (request,)
    if len(groups) == 1:
        ctx.connection.stats.group_id = groups[0].group_id
    answers: list[Mapping[str, Any] | None] = [None] * len(groups)
    due = len(groups)

    def answered(index: int, answer: Mapping[str, Any]) -> None:
        nonlocal due
        answers[index] = answer
        due -= 1
        if not due:
            body = {"groups": answers} if is_batched else answers[0]
            assert body is not None, "every group has its answer"
            ctx.respond(body)

    if not groups:
        ctx.respond({"groups": ()})
    for index, group in enumerate(groups):
        _fetch_group(services, ctx, group, bool(request.require_stable), partial(answered, index))


def _fetch_group(
    services: BrokerServices, ctx: RequestContext, group: Any, require_stable: bool, respond: Callable[[Mapping[str, Any]], None]
) -> None:
    image = services.image
    names = None if group.topics is None else [_name_of(image, topic, ctx.version) for topic in group.topics]
    wanted: Sequence[TopicPartition] | None = None
    if names is not None:
        wanted = [
            TopicPartition(name, index)
            for name, topic in zip(names, group.topics, strict=True)
            if name is not None
            for index in topic.partition_indexes
        ]

    def answer(error: Errors, offsets: _Offsets) -> None:
        if error:
            respond(_group_error(group, _SEEN_BY_FETCHERS.get(error, error), ctx.version))
        elif names is None:
            respond(_group(group, _all_topics(image, offsets, ctx.version)))
        else:
            topics = [_topic(topic, name, offsets, ctx.version) for topic, name in zip(group.topics, names, strict=True)]
            respond(_group(group, topics))

    try:
        services.group_coordinator.fetch_offsets(group.group_id, wanted, require_stable=require_stable, answer=answer)
    except ApiError as refusal:
        respond(_group_error(group, refusal.error, ctx.version))


def _name_of(image: MetadataImage, topic: Any, version: int) -> str | None:
    name: str | None = image.topic_name(topic.topic_id) if version >= TOPIC_IDS_FROM else topic.name
    return name


def _partition(index: int, value: OffsetCommitValue | None, error: Errors = Errors.NONE) -> dict[str, Any]:
    return {
        "partition_index": index,
        "committed_offset": -1 if value is None else value.offset,
        "committed_leader_epoch": -1 if value is None else value.leader_epoch,
        "metadata": "" if value is None else value.metadata,
        "error_code": error,
    }


def _topic(topic: Any, name: str | None, offsets: _Offsets, version: int) -> dict[str, Any]:
    by_id = version >= TOPIC_IDS_FROM
    topic_id: uuid.UUID | None = topic.topic_id if by_id else None
    partitions = []
    for index in topic.partition_indexes:
        if name is None:
            partitions.append(_partition(index, None, Errors.UNKNOWN_TOPIC_ID))
            continue
        value = offsets.get(TopicPartition(name, index))
        if value is not None and topic_id is not None and value.topic_id not in (None, topic_id):
            # Committed for a topic of the same name that is gone.
            value = None
        partitions.append(_partition(index, value))
    return {"topic_id": topic_id, "name": "" if by_id else name, "partitions": partitions}


def _all_topics(image: MetadataImage, offsets: _Offsets, version: int) -> list[dict[str, Any]]:
    by_id = version >= TOPIC_IDS_FROM
    topics: dict[str, dict[str, Any]] = {}
    for tp, value in sorted(offsets.items()):
        topic_id = image.topic_id(tp.topic)
        if by_id and topic_id is None:
            continue
        topic = topics.setdefault(tp.topic, {"topic_id": topic_id if by_id else None, "name": "" if by_id else tp.topic, "partitions": []})
        topic["partitions"].append(_partition(tp.partition, value))
    return list(topics.values())


def _group(group: Any, topics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"group_id": group.group_id, "topics": topics, "error_code": Errors.NONE}


def _group_error(group: Any, error: Errors, version: int) -> dict[str, Any]:
    if version >= GROUP_ERROR_FROM:
        return {"group_id": group.group_id, "topics": (), "error_code": error}
    topics = [
        {"name": topic.name, "partitions": [_partition(index, None, error) for index in topic.partition_indexes]} for topic in group.topics
    ]
    return {"topics": topics}


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error for each group."""
    if version >= BATCHED_FROM:
        return {"groups": [_group_error(group, error, version) for group in request.groups]}
    return _group_error(request, error, version)
