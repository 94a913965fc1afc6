"""Metadata, versions 0 to 13: brokers, topics, leaders; and topics that are created by being asked for.

v1 tells racks, the controller and internal topics; v4 lets the client forbid creation; v5 offline replicas;
v7 leader epochs; v8 authorized operations, of the cluster up to v10 only; v9 is flexible; v10 topic ids;
v12 topics may be asked for by id; v13 has an error for the whole request (KIP-1102).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kafkalab.engine.broker.authorized_operations import CLUSTER_OPERATIONS, NOT_ASKED, TOPIC_OPERATIONS
from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.broker.services import BrokerServices
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import INTERNAL_TOPICS
from kafkalab.engine.common.topic_names import invalid_topic_name
from kafkalab.engine.metadata.image import NO_LEADER, MetadataImage, PartitionRegistration, TopicImage

BY_ID_FROM: Final = 12
"""Two versions before it the field is there already, and must not be used yet."""


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """Describe the cluster as this broker's committed image has it."""
    image = services.image
    listener = ctx.connection.listener_name
    version = ctx.version
    brokers = [
        {"node_id": broker.broker_id, "host": broker.listeners[listener][0], "port": broker.listeners[listener][1], "rack": broker.rack}
        for broker in image.alive_brokers()
        if listener in broker.listeners
    ]
    wanted = request.topics
    # No topics: in version 0 an empty list asks for all of them, later a null one does.
    if wanted is None or (version == 0 and not wanted):
        topics = [_topic(image, topic, listener, version) for topic in sorted(image.topics_by_name.values(), key=lambda topic: topic.name)]
    else:
        topics = _asked_for(services, image, request, listener, version)
    alive = [broker["node_id"] for broker in brokers]
    return {
        "brokers": brokers,
        "cluster_id": services.cluster_id,
        # Controllers are hidden from clients: any broker passes their requests on (KIP-590).
        "controller_id": services.rng.choice(alive) if alive else -1,
        "topics": topics if not request.include_topic_authorized_operations else [_with_operations(topic) for topic in topics],
        "cluster_authorized_operations": CLUSTER_OPERATIONS
        if getattr(request, "include_cluster_authorized_operations", False)
        else NOT_ASKED,
    }


def _with_operations(topic: Mapping[str, Any]) -> Mapping[str, Any]:
    # Kafka tells them also of a topic that is not there, but not of an id that it does not know.
    return topic if topic["name"] is None else {**topic, "topic_authorized_operations": TOPIC_OPERATIONS}


def _asked_for(services: BrokerServices, image: MetadataImage, request: Any, listener: str, version: int) -> list[Mapping[str, Any]]:
    may_create = (version < 4 or request.allow_auto_topic_creation) and services.config.get_boolean("auto.create.topics.enable")
    topics: list[Mapping[str, Any]] = []
    missing: list[str] = []
    seen: set[Any] = set()
    if version < BY_ID_FROM:
        for asked in request.topics:
            if asked.name is None:
                raise ApiError(Errors.INVALID_REQUEST, f"Topic name can not be null for version {version}")
            if getattr(asked, "topic_id", None) is not None:
                raise ApiError(Errors.INVALID_REQUEST, f"Topic IDs are not supported in requests for version {version}")
    for asked in request.topics:
        topic_id = getattr(asked, "topic_id", None)
        key = topic_id if topic_id is not None else asked.name
        if key in seen:
            continue
        seen.add(key)
        if topic_id is not None:
            topic = image.topic_by_id(topic_id)
            topics.append(
                _topic(image, topic, listener, version)
                if topic is not None
                else {"error_code": Errors.UNKNOWN_TOPIC_ID, "name": None, "topic_id": topic_id, "partitions": []}
            )
            continue
        name = asked.name
        if name is None:
            topics.append({"error_code": Errors.INVALID_REQUEST, "name": "", "partitions": []})
            continue
        topic = image.topic(name)
        if topic is not None:
            topics.append(_topic(image, topic, listener, version))
        elif invalid_topic_name(name) is not None:
            topics.append({"error_code": Errors.INVALID_TOPIC_EXCEPTION, "name": name, "partitions": []})
        else:
            if may_create:
                missing.append(name)
            topics.append(
                {
                    "error_code": Errors.UNKNOWN_TOPIC_OR_PARTITION,
                    "name": name,
                    "is_internal": name in INTERNAL_TOPICS,
                    "partitions": [],
                }
            )
    if missing:
        services.topic_creation.create(name for name in missing if name not in INTERNAL_TOPICS)
    return topics


def _topic(image: MetadataImage, topic: TopicImage, listener: str, version: int) -> Mapping[str, Any]:
    # Found once and not for each partition: clients ask for thousands of them whenever a leader has moved.
    reachable = frozenset(broker_id for broker_id in image.brokers if is_reachable(image, broker_id, listener))
    return {
        "error_code": Errors.NONE,
        "name": topic.name,
        "topic_id": topic.topic_id,
        "is_internal": topic.is_internal,
        "partitions": [_partition(image, index, partition, reachable, version) for index, partition in sorted(topic.partitions.items())],
    }


def _partition(
    image: MetadataImage, index: int, partition: PartitionRegistration, reachable: frozenset[int], version: int
) -> Mapping[str, Any]:
    replicas, isr, leader = partition.replicas, partition.isr, partition.leader
    error = Errors.NONE
    if leader == NO_LEADER or leader not in reachable:
        # A leader without this listener cannot be reached by this client, a missing one by nobody.
        known = leader != NO_LEADER and (broker := image.brokers.get(leader)) is not None and not broker.fenced
        error = Errors.LISTENER_NOT_FOUND if known and version >= 6 else Errors.LEADER_NOT_AVAILABLE
        leader = NO_LEADER
    offline = () if reachable.issuperset(replicas) else tuple(broker_id for broker_id in replicas if broker_id not in reachable)
    if version == 0 and offline and not error:
        error = Errors.REPLICA_NOT_AVAILABLE
    if version == 0:
        # The oldest clients take every replica for one that they can reach.
        replicas = tuple(broker_id for broker_id in replicas if broker_id in reachable)
        isr = tuple(broker_id for broker_id in isr if broker_id in reachable)
    return {
        "error_code": error,
        "partition_index": index,
        "leader_id": leader,
        "leader_epoch": partition.leader_epoch,
        "replica_nodes": replicas,
        "isr_nodes": isr,
        "offline_replicas": offline,
    }


def is_reachable(image: MetadataImage, broker_id: int, listener: str) -> bool:
    """Whether clients of a listener can reach the broker."""
    broker = image.brokers.get(broker_id)
    return broker is not None and not broker.fenced and listener in broker.listeners


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """Every topic asked for, with the error."""
    topics: list[Mapping[str, Any]] = [
        {"error_code": error, "name": topic.name or "", "topic_id": getattr(topic, "topic_id", None), "partitions": []}
        for topic in request.topics or ()
    ]
    return {"brokers": [], "cluster_id": None, "controller_id": -1, "topics": topics, "error_code": error}
