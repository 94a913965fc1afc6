"""Produce, versions 3 to 13: one record batch for each of some partitions.

v3 batches of magic 2 only; v5 answers with the log start offset; v7 allows zstd; v8 answers with
a message and with the records that are to blame; v9 is flexible; v10 names the current leader to
who asked the wrong broker (KIP-951); v11 and v12 are about transactions (KIP-890); v13 names
topics by id (KIP-516). Versions 0 to 2 are advertised for librdkafka's sake and not served.

Transactions are not served yet: a transactional batch is refused with INVALID_TXN_STATE.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.ids import INTERNAL_TOPICS
from kafkalab.engine.replica.delayed import ProduceResult
from kafkalab.engine.replica.leader_hints import LeaderHints

if TYPE_CHECKING:
    from kafkalab.engine.broker.context import RequestContext
    from kafkalab.engine.broker.services import BrokerServices
    from kafkalab.engine.replica.hosted import PartitionKey

AskedTopic = tuple[Any, Sequence[Any]]
"""A topic, by its name or its id as the version has it, and the partitions of it that have something to append."""

ZSTD_FROM: Final = 7
LEADER_HINTS_FROM: Final = 10
TOPIC_IDS_FROM: Final = 13
ADMIN_CLIENT_ID: Final = "__admin_client"
"""What may write to internal topics, as in Kafka."""

# Where these lie in a record batch.
_BATCH_HEADER_BYTES: Final = 61
_ATTRIBUTES_LOW: Final = 22
_PRODUCER_ID: Final = struct.Struct(">q").unpack_from
_PRODUCER_ID_AT: Final = 43
_CODEC_MASK: Final = 7
_ZSTD: Final = 4
_TRANSACTIONAL: Final = 16

_ACKS: Final = (-1, 0, 1)


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> None:
    """Append; answer when as many replicas have it as ``acks`` asks for."""
    manager = services.replica_manager
    acks = request.acks
    version = ctx.version
    stats = ctx.connection.stats
    stats.acks = acks
    topics: list[AskedTopic] = []
    names: dict[Any, str | None] = {}
    entries: dict[PartitionKey, bytes] = {}
    refused: dict[tuple[Any, int], ProduceResult] = {}
    count = 0
    for topic in request.topic_data:
        if version < TOPIC_IDS_FROM:
            asked = name = topic.name
        else:
            asked = topic.topic_id
            image = services.image.topics_by_id.get(asked)
            name = None if image is None else image.name
        if not topic.partition_data:
            continue
        topics.append((asked, topic.partition_data))
        names[asked] = name
        for part in topic.partition_data:
            records = part.records
            refusal = _refusal(name, records, version, ctx.client_id)
            if refusal is None and acks not in _ACKS:
                is_known = services.image.partition(name or "", part.index) is not None
                refusal = ProduceResult(Errors.INVALID_REQUIRED_ACKS if is_known else Errors.UNKNOWN_TOPIC_OR_PARTITION)
            if refusal is None:
                stats.producer_id = _PRODUCER_ID(records, _PRODUCER_ID_AT)[0]
                entries[name, part.index] = records
            else:
                refused[asked, part.index] = refusal
            count += 1
    if count == len(entries) and len(topics) == len(names):
        respond = partial(_respond, services, ctx, acks, topics)
    else:
        respond = partial(_respond_merged, services, ctx, acks, topics, names, entries, refused)
    manager.append(entries.items(), acks, request.timeout, respond, ctx.client_id)


def _refusal(name: str | None, records: bytes | None, version: int, client_id: str) -> ProduceResult | None:
    """What is refused before the log is asked."""
    if name is None:
        return ProduceResult(Errors.UNKNOWN_TOPIC_ID)
    if records is None or len(records) < _BATCH_HEADER_BYTES:
        return ProduceResult(
            Errors.INVALID_RECORD, message=f"Produce requests with version {version} must have exactly one record batch per partition"
        )
    attributes = records[_ATTRIBUTES_LOW]
    if attributes & _CODEC_MASK == _ZSTD and version < ZSTD_FROM:
        return ProduceResult(
            Errors.UNSUPPORTED_COMPRESSION_TYPE,
            message=f"Produce requests with version {version} are not allowed to use ZStandard compression",
        )
    if attributes & _TRANSACTIONAL:
        return ProduceResult(Errors.INVALID_TXN_STATE, message="Transactions are not served yet")
    if name in INTERNAL_TOPICS and client_id != ADMIN_CLIENT_ID:
        return ProduceResult(Errors.INVALID_TOPIC_EXCEPTION, message=f"Cannot append to internal topic {name}")
    return None


def _respond_merged(
    services: BrokerServices,
    ctx: RequestContext,
    acks: int,
    topics: list[AskedTopic],
    names: Mapping[Any, str | None],
    entries: Iterable[PartitionKey],
    refused: Mapping[tuple[Any, int], ProduceResult],
    appended: list[ProduceResult],
) -> None:
    """Each topic and each partition is answered once, however often it was named.

    As in Kafka the last batch of a partition that can be taken is, and a refusal of another one is what is told.
    """
    merged: dict[Any, dict[int, Any]] = {}
    for asked, parts in topics:
        merged.setdefault(asked, {}).update((part.index, part) for part in parts)
    by_partition = dict(zip(entries, appended, strict=True))
    results = [refused.get((asked, index)) or by_partition[names[asked] or "", index] for asked, parts in merged.items() for index in parts]
    _respond(services, ctx, acks, [(asked, list(parts.values())) for asked, parts in merged.items()], results)


def _respond(services: BrokerServices, ctx: RequestContext, acks: int, topics: list[AskedTopic], results: list[ProduceResult]) -> None:
    """Answer with a result for each of the partitions, in their order."""
    if acks == 0:
        _finish_unanswered(ctx, topics, results)
        return
    version = ctx.version
    stats = ctx.connection.stats
    hints: LeaderHints | None = None
    responses = []
    position = 0
    for asked, wanted in topics:
        parts = []
        for part in wanted:
            result = results[position]
            position += 1
            answer = {
                "index": part.index,
                "error_code": int(result.error),
                "base_offset": result.base_offset,
                "log_append_time": result.append_time_ms,
                "log_start_offset": result.log_start_offset,
            }
            if not result.error:
                # Only what was taken: bytes that are refused time after time are no production.
                stats.produced_bytes += len(part.records)
            else:
                stats.last_error = Errors(result.error).name
                answer["error_message"] = result.message
                if result.record_errors:
                    answer["record_errors"] = [
                        {"batch_index": index, "batch_index_error_message": sentence} for index, sentence in result.record_errors
                    ]
                if result.error == Errors.NOT_LEADER_OR_FOLLOWER and version >= LEADER_HINTS_FROM:
                    if hints is None:
                        hints = LeaderHints(services.image, ctx.connection.listener_name)
                    name = asked if version < TOPIC_IDS_FROM else services.image.topic_name(asked)
                    answer["current_leader"] = hints.leader_of(name or "", part.index)
            parts.append(answer)
        responses.append({"name" if version < TOPIC_IDS_FROM else "topic_id": asked, "partition_responses": parts})
    if hints is None:
        ctx.respond({"responses": responses})
    else:
        ctx.respond({"responses": responses, "node_endpoints": hints.endpoints()})


def _finish_unanswered(ctx: RequestContext, topics: list[AskedTopic], results: list[ProduceResult]) -> None:
    """With acks=0 a client hears of an error only by losing its connection, as in Kafka."""
    failed = [result for result in results if result.error]
    if not failed:
        ctx.connection.stats.produced_bytes += sum(len(part.records) for _, parts in topics for part in parts)
        ctx.respond_none()
        return
    error = Errors(failed[0].error)
    ctx.connection.stats.last_error = error.name
    ctx.close("produce_without_acks_failed", f"{len(failed)} of {len(results)} partitions of a produce request with acks=0: {error.name}")


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The error for every partition that was asked for."""
    return {
        "responses": [
            {
                "name": getattr(topic, "name", ""),
                "topic_id": getattr(topic, "topic_id", None),
                "partition_responses": [
                    {"index": part.index, "error_code": int(error), "base_offset": -1, "log_append_time": -1, "error_message": message}
                    for part in topic.partition_data
                ],
            }
            for topic in request.topic_data
        ]
    }
