"""Bodies of the quorum's requests and responses: exactly one topic with one partition in each."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.ids import METADATA_TOPIC, METADATA_TOPIC_ID
from kafkalab.engine.raft.snapshot_store import SnapshotId
from kafkalab.engine.raft.voters import Address

Body = dict[str, Any]


def is_foreign(request: Any, cluster_id: str | None) -> bool:
    """Whether a request was meant for another cluster; one that names none, as old versions do, is taken for ours."""
    return request.cluster_id is not None and cluster_id is not None and request.cluster_id != cluster_id


def only_partition(request: Any) -> Any | None:
    """The request's one partition, or None unless it names just the metadata log's."""
    topics = request.topics
    if len(topics) != 1:
        return None
    topic = topics[0]
    if getattr(topic, "topic_name", METADATA_TOPIC) != METADATA_TOPIC or len(topic.partitions) != 1:
        return None
    partition = topic.partitions[0]
    return partition if partition.partition_index == 0 else None


def only_fetch_partition(request: Any) -> Any | None:
    """The same for Fetch, whose topics have an id, or a name in its old versions."""
    topics = request.topics
    if len(topics) != 1 or len(topics[0].partitions) != 1:
        return None
    topic = topics[0]
    named = topic.topic_id == METADATA_TOPIC_ID or getattr(topic, "topic", None) == METADATA_TOPIC
    partition = topic.partitions[0]
    return partition if named and partition.partition == 0 else None


def only_response_partition(response: Any) -> Any | None:
    """The one partition of a Vote, BeginQuorumEpoch or EndQuorumEpoch response; None where there is none."""
    if len(response.topics) != 1 or len(response.topics[0].partitions) != 1:
        return None
    return response.topics[0].partitions[0]


def partition_request(cluster_id: str | None, partition: Body, **fields: Any) -> Body:
    """A Vote, BeginQuorumEpoch or EndQuorumEpoch request."""
    return {
        "cluster_id": cluster_id,
        "topics": [{"topic_name": METADATA_TOPIC, "partitions": [{"partition_index": 0, **partition}]}],
        **fields,
    }


def top_level_error(error: Errors) -> Body:
    """A response that says only what is wrong."""
    return {"error_code": error, "topics": []}


def partition_response(leader_address: Address | None, error: Errors, leader_id: int, epoch: int, **fields: Any) -> Body:
    """A Vote, BeginQuorumEpoch or EndQuorumEpoch response."""
    return {
        "error_code": Errors.NONE,
        "topics": [
            {
                "topic_name": METADATA_TOPIC,
                "partitions": [{"partition_index": 0, "error_code": error, "leader_id": leader_id, "leader_epoch": epoch, **fields}],
            }
        ],
        "node_endpoints": node_endpoints(leader_id, leader_address),
    }


def listeners(endpoints: Mapping[str, Address]) -> list[Body]:
    """Where a node listens, as requests have it in which it speaks of itself."""
    return [{"name": name, "host": host, "port": port} for name, (host, port) in endpoints.items()]


def node_endpoints(leader_id: int, address: Address | None) -> list[Body]:
    """Where the leader can be reached, when that is known."""
    return [] if address is None or leader_id < 0 else [{"node_id": leader_id, "host": address[0], "port": address[1]}]


def told_address(response: Any, leader_id: int) -> Address | None:
    """Where a response says that the leader can be reached."""
    for node in response.node_endpoints:
        if node.node_id == leader_id and node.host and node.port > 0:
            return node.host, node.port
    return None


def claimed_address(request: Any, listener_name: str) -> Address | None:
    """Where a leader says itself that it can be reached, in BeginQuorumEpoch and EndQuorumEpoch."""
    for endpoint in request.leader_endpoints:
        if endpoint.name == listener_name and endpoint.host and endpoint.port > 0:
            return endpoint.host, endpoint.port
    return None


def fetch_request(
    *,
    cluster_id: str | None,
    replica_id: int,
    directory_id: uuid.UUID | None,
    epoch: int,
    offset: int,
    last_fetched_epoch: int,
    high_watermark: int,
    max_wait_ms: int,
    max_bytes: int,
) -> Body:
    """A follower's fetch, without a session."""
    return {
        "cluster_id": cluster_id,
        "replica_state": {"replica_id": replica_id, "replica_epoch": -1},
        "max_wait": max_wait_ms,
        "min_bytes": 0,
        "max_bytes": max_bytes,
        "session_id": 0,
        "session_epoch": -1,
        "topics": [
            {
                "topic": METADATA_TOPIC,
                "topic_id": METADATA_TOPIC_ID,
                "partitions": [
                    {
                        "partition": 0,
                        "current_leader_epoch": epoch,
                        "fetch_offset": offset,
                        "last_fetched_epoch": last_fetched_epoch,
                        "log_start_offset": 0,
                        "partition_max_bytes": max_bytes,
                        "replica_directory_id": directory_id,
                        "high_watermark": high_watermark,
                    }
                ],
            }
        ],
        "forgotten_topics_data": [],
        "rack_id": "",
    }


def fetch_response(
    leader_address: Address | None,
    error: Errors,
    leader_id: int,
    epoch: int,
    *,
    high_watermark: int = -1,
    log_start_offset: int = -1,
    records: bytes = b"",
    diverging: tuple[int, int] | None = None,
    snapshot_id: SnapshotId | None = None,
) -> Body:
    """The answer to a follower's fetch. It always says who leads."""
    partition: Body = {
        "partition_index": 0,
        "error_code": error,
        "high_watermark": high_watermark,
        "last_stable_offset": high_watermark,
        "log_start_offset": log_start_offset,
        "aborted_transactions": None,
        "preferred_read_replica": -1,
        "current_leader": {"leader_id": leader_id, "leader_epoch": epoch},
        "records": records,
    }
    if diverging is not None:
        partition["diverging_epoch"] = {"epoch": diverging[0], "end_offset": diverging[1]}
    if snapshot_id is not None:
        partition["snapshot_id"] = {"epoch": snapshot_id.epoch, "end_offset": snapshot_id.end_offset}
    return {
        "throttle_time": 0,
        "error_code": Errors.NONE,
        "session_id": 0,
        "responses": [{"topic": METADATA_TOPIC, "topic_id": METADATA_TOPIC_ID, "partitions": [partition]}],
        "node_endpoints": node_endpoints(leader_id, leader_address),
    }


def fetch_error(error: Errors) -> Body:
    """A fetch response that says only what is wrong."""
    return {"throttle_time": 0, "error_code": error, "session_id": 0, "responses": []}


def describe_quorum_response(
    error: Errors,
    *,
    message: str | None = None,
    leader_id: int = -1,
    epoch: int = -1,
    high_watermark: int = -1,
    voters: Iterable[Body] = (),
    observers: Iterable[Body] = (),
    nodes: Iterable[Body] = (),
) -> Body:
    """The quorum as its leader sees it."""
    return {
        "error_code": Errors.NONE,
        "error_message": None,
        "topics": [
            {
                "topic_name": METADATA_TOPIC,
                "partitions": [
                    {
                        "partition_index": 0,
                        "error_code": error,
                        "error_message": message,
                        "leader_id": leader_id,
                        "leader_epoch": epoch,
                        "high_watermark": high_watermark,
                        "current_voters": list(voters),
                        "observers": list(observers),
                    }
                ],
            }
        ],
        "nodes": list(nodes),
    }
