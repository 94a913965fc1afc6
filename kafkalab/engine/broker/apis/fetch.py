"""Fetch, versions 4 to 18: records of some partitions, for consumers and for followers.

v5 has the log start offset; v7 sessions, in which only changes are told (KIP-227); v9 the current
leader epoch (KIP-320); v11 lets consumers ask followers (KIP-392); v12 is flexible and tells
where logs diverge (KIP-595); v13 names topics by id (KIP-516); v15 puts the replica's broker
epoch beside its id (KIP-903); v16 says where the current leader is (KIP-951); v17 has the
replica's directory, v18 the high watermark that a fetcher knows, both for the quorum.

Consumers read up to the high watermark, or up to the last stable offset when they want only what is
committed; then they are told of the aborted transactions among what they get. Followers read up to
the log end. Where the system can, records are sent from the log's files without being read.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.log.region import NO_REGIONS, REGION_BYTES_MIN
from kafkalab.engine.replica.delayed import FetchItem, FetchOperation, PartitionResponse
from kafkalab.engine.replica.fetch_session import FINAL_EPOCH, NO_SESSION, FetchContext, ItemKey
from kafkalab.engine.replica.leader_hints import LeaderHints
from kafkalab.engine.replica.offsets import reads_committed

if TYPE_CHECKING:
    from kafkalab.engine.broker.context import RequestContext
    from kafkalab.engine.broker.services import BrokerServices

FOLLOWERS_SERVE_FROM: Final = 11
TOPIC_IDS_FROM: Final = 13
REPLICA_STATE_FROM: Final = 15
CURRENT_LEADER_FROM: Final = 16

_WRONG_LEADER: Final = frozenset({Errors.NOT_LEADER_OR_FOLLOWER, Errors.FENCED_LEADER_EPOCH})


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> None:
    """Answer when there is enough to tell, or when the client has waited as long as it wants."""
    manager = services.replica_manager
    version = ctx.version
    read_committed = reads_committed(request.isolation_level)
    if version >= REPLICA_STATE_FROM:
        state = request.replica_state
        replica_id, replica_epoch = state.replica_id, state.replica_epoch
    else:
        replica_id, replica_epoch = request.replica_id, -1
    uses_ids = version >= TOPIC_IDS_FROM
    # A partition that is named twice is fetched as it was named last, as in Kafka.
    by_partition: dict[ItemKey, FetchItem] = {}
    for topic in request.topics:
        error = 0
        if uses_ids:
            topic_id = topic.topic_id
            image = services.image.topics_by_id.get(topic_id)
            if image is None:
                name, error = "", int(Errors.UNKNOWN_TOPIC_ID)
            else:
                name = image.name
        else:
            topic_id, name = None, topic.topic
        for part in topic.partitions:
            by_partition[topic_id or name, part.partition] = FetchItem(
                (name, part.partition),
                topic_id,
                part.fetch_offset,
                part.partition_max_bytes,
                part.current_leader_epoch,
                part.last_fetched_epoch,
                part.log_start_offset,
                error,
            )
    items = list(by_partition.values())
    session_epoch = request.session_epoch
    if session_epoch == FINAL_EPOCH and request.session_id == NO_SESSION:
        context = FetchContext(items, None, is_incremental=False)
    else:
        forgotten: list[ItemKey] = [
            (topic.topic_id if uses_ids else topic.topic, index) for topic in request.forgotten_topics_data for index in topic.partitions
        ]
        context = manager.sessions.open(
            request.session_id,
            session_epoch,
            items,
            forgotten,
            uses_topic_ids=uses_ids,
            is_follower=replica_id >= 0,
            now_ms=services.clock.now_ms(),
            replica_id=replica_id if replica_id >= 0 else -1,
            replica_epoch=replica_epoch,
        )
        if context.error:
            ctx.connection.stats.last_error = Errors(context.error).name
            ctx.respond({"error_code": int(context.error), "session_id": NO_SESSION, "responses": ()})
            return
        session = context.session
        if session is not None and uses_ids and session.image_offset != services.image.offset:
            session.image_offset = services.image.offset
            _rename(services, context.items)
    quota = manager.quotas.leader
    # As in Kafka, fetch.max.bytes bounds followers too.
    max_bytes = min(request.max_bytes, manager.fetch_max_bytes)
    min_bytes = request.min_bytes
    if replica_id >= 0:
        ctx.connection.stats.peer_node_id = replica_id
    manager.fetch(
        FetchOperation(
            context.items,
            partial(_respond, services, ctx, context),
            max_wait_ms=request.max_wait,
            min_bytes=min(min_bytes, max_bytes),
            max_bytes=max_bytes,
            replica_id=replica_id,
            replica_epoch=replica_epoch,
            read_committed=read_committed and replica_id < 0,
            needs_leader=replica_id >= 0 or version < FOLLOWERS_SERVE_FROM,
            is_incremental=context.is_incremental,
            rack=request.rack_id if manager.selects_by_rack and replica_id < 0 and version >= FOLLOWERS_SERVE_FROM else "",
            tracker=None if context.session is None else context.session.tracker,
            quota=quota if replica_id >= 0 and quota else None,
            region_from=REGION_BYTES_MIN if ctx.connection.sends_files else NO_REGIONS,
        )
    )


def _rename(services: BrokerServices, items: list[FetchItem]) -> None:
    """A session may hold topics that have come or gone since it heard of them."""
    image = services.image
    for item in items:
        topic = image.topics_by_id.get(item.topic_id)
        if topic is not None:
            if item.error:
                item.key = (topic.name, item.key[1])
                item.error = 0
        elif item.key[0]:
            # It was here once, and its name is still known: nobody has it any more, or another topic does.
            is_taken = item.key[0] in image.topics_by_name
            item.error = int(Errors.INCONSISTENT_TOPIC_ID if is_taken else Errors.UNKNOWN_TOPIC_OR_PARTITION)


def _respond(
    services: BrokerServices, ctx: RequestContext, context: FetchContext, results: list[PartitionResponse | None], size: int
) -> None:
    if not context.settle(results):
        ctx.respond({"error_code": int(Errors.INVALID_FETCH_SESSION_EPOCH), "session_id": context.session_id, "responses": ()})
        return
    stats = ctx.connection.stats
    quota = services.replica_manager.quotas.leader
    if quota and stats.peer_node_id >= 0:
        quota.record(
            sum(len(result["records"]) for item, result in zip(context.items, results, strict=True) if result and item.key in quota)
        )
    if size:
        stats.fetched_bytes += size
        if stats.peer_node_id < 0:
            services.replica_manager.fetched_bytes += size
    version = ctx.version
    hints: LeaderHints | None = None
    responses: list[dict[str, Any]] = []
    last_topic: tuple[str, Any] | None = None
    partitions: list[PartitionResponse] = []
    for item, result in zip(context.items, results, strict=True):
        if result is None:
            continue
        error = result["error_code"]
        name = item.key[0]
        if error:
            stats.last_error = Errors(error).name
            if version >= CURRENT_LEADER_FROM and error in _WRONG_LEADER:
                if hints is None:
                    hints = LeaderHints(services.image, ctx.connection.listener_name)
                result["current_leader"] = hints.leader_of(name, item.key[1])
        if last_topic != (name, item.topic_id):
            last_topic = (name, item.topic_id)
            partitions = []
            responses.append({"topic": name, "topic_id": item.topic_id, "partitions": partitions})
        partitions.append(result)
    body: dict[str, Any] = {"session_id": context.session_id, "responses": responses}
    if hints is not None:
        body["node_endpoints"] = hints.endpoints()
    ctx.respond(body)


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The error for the request, and before version 13 for every partition in it too."""
    responses: list[dict[str, Any]] = []
    if version < TOPIC_IDS_FROM:
        responses = [
            {
                "topic": topic.topic,
                "partitions": [
                    {"partition_index": part.partition, "error_code": int(error), "high_watermark": -1, "records": b""}
                    for part in topic.partitions
                ],
            }
            for topic in request.topics
        ]
    return {"error_code": int(error), "session_id": request.session_id, "responses": responses}
