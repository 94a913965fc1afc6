"""Which handler answers which API, on each kind of listener."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kafkalab.engine.broker.apis import (
    allocate_producer_ids,
    alter_partition,
    api_versions,
    broker_heartbeat,
    broker_registration,
    create_partitions,
    create_topics,
    delete_groups,
    delete_topics,
    describe_cluster,
    describe_configs,
    describe_groups,
    describe_topic_partitions,
    envelope,
    fetch,
    find_coordinator,
    heartbeat,
    init_producer_id,
    join_group,
    leave_group,
    list_groups,
    list_offsets,
    metadata,
    offset_commit,
    offset_fetch,
    offset_for_leader_epoch,
    produce,
    quorum,
    sync_group,
)
from kafkalab.engine.broker.router import ErrorResponse, Handler
from kafkalab.engine.protocol.apis import ApiKey

BROKER_HANDLERS: Final[Mapping[ApiKey, tuple[Handler, ErrorResponse]]] = {
    ApiKey.PRODUCE: (produce.handle, produce.error_response),
    ApiKey.FETCH: (fetch.handle, fetch.error_response),
    ApiKey.LIST_OFFSETS: (list_offsets.handle, list_offsets.error_response),
    ApiKey.METADATA: (metadata.handle, metadata.error_response),
    ApiKey.OFFSET_COMMIT: (offset_commit.handle, offset_commit.error_response),
    ApiKey.OFFSET_FETCH: (offset_fetch.handle, offset_fetch.error_response),
    ApiKey.FIND_COORDINATOR: (find_coordinator.handle, find_coordinator.error_response),
    ApiKey.JOIN_GROUP: (join_group.handle, join_group.error_response),
    ApiKey.HEARTBEAT: (heartbeat.handle, heartbeat.error_response),
    ApiKey.LEAVE_GROUP: (leave_group.handle, leave_group.error_response),
    ApiKey.SYNC_GROUP: (sync_group.handle, sync_group.error_response),
    ApiKey.DESCRIBE_GROUPS: (describe_groups.handle, describe_groups.error_response),
    ApiKey.LIST_GROUPS: (list_groups.handle, list_groups.error_response),
    ApiKey.DELETE_GROUPS: (delete_groups.handle, delete_groups.error_response),
    ApiKey.API_VERSIONS: (api_versions.handle, api_versions.error_response),
    ApiKey.INIT_PRODUCER_ID: (init_producer_id.handle, init_producer_id.error_response),
    ApiKey.OFFSET_FOR_LEADER_EPOCH: (offset_for_leader_epoch.handle, offset_for_leader_epoch.error_response),
    ApiKey.DESCRIBE_CONFIGS: (describe_configs.handle, describe_configs.error_response),
    ApiKey.DESCRIBE_CLUSTER: (describe_cluster.handle, describe_cluster.error_response),
    ApiKey.DESCRIBE_TOPIC_PARTITIONS: (describe_topic_partitions.handle, describe_topic_partitions.error_response),
    # Forwarded to the controller; these say what the client hears when none takes them.
    ApiKey.CREATE_TOPICS: (create_topics.handle, create_topics.error_response),
    ApiKey.DELETE_TOPICS: (delete_topics.handle, delete_topics.error_response),
    ApiKey.CREATE_PARTITIONS: (create_partitions.handle, create_partitions.error_response),
    ApiKey.DESCRIBE_QUORUM: (quorum.handle_describe_quorum, quorum.error_response),
}

CONTROLLER_HANDLERS: Final[Mapping[ApiKey, tuple[Handler, ErrorResponse]]] = {
    ApiKey.FETCH: (quorum.handle_fetch, quorum.error_response),
    ApiKey.VOTE: (quorum.handle_vote, quorum.error_response),
    ApiKey.BEGIN_QUORUM_EPOCH: (quorum.handle_begin_quorum_epoch, quorum.error_response),
    ApiKey.END_QUORUM_EPOCH: (quorum.handle_end_quorum_epoch, quorum.error_response),
    ApiKey.DESCRIBE_QUORUM: (quorum.handle_describe_quorum, quorum.error_response),
    ApiKey.API_VERSIONS: (api_versions.handle, api_versions.error_response),
    ApiKey.CREATE_TOPICS: (create_topics.handle, create_topics.error_response),
    ApiKey.DELETE_TOPICS: (delete_topics.handle, delete_topics.error_response),
    ApiKey.CREATE_PARTITIONS: (create_partitions.handle, create_partitions.error_response),
    ApiKey.ALTER_PARTITION: (alter_partition.handle, alter_partition.error_response),
    ApiKey.ENVELOPE: (envelope.handle, envelope.error_response),
    ApiKey.DESCRIBE_CLUSTER: (describe_cluster.handle, describe_cluster.error_response),
    ApiKey.BROKER_REGISTRATION: (broker_registration.handle, broker_registration.error_response),
    ApiKey.BROKER_HEARTBEAT: (broker_heartbeat.handle, broker_heartbeat.error_response),
    ApiKey.ALLOCATE_PRODUCER_IDS: (allocate_producer_ids.handle, allocate_producer_ids.error_response),
}
