"""Answers of controller APIs when the whole request is refused: the error in every place Kafka puts it."""

from __future__ import annotations

from typing import Any

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.controller.operation import Body


def broker_registration_error(request: Any, error: Errors, message: str | None = None) -> Body:
    """BrokerRegistration."""
    return {"throttle_time": 0, "error_code": int(error), "broker_epoch": -1}


def broker_heartbeat_error(request: Any, error: Errors, message: str | None = None) -> Body:
    """BrokerHeartbeat."""
    return {"throttle_time": 0, "error_code": int(error), "is_caught_up": False, "is_fenced": True, "should_shut_down": False}


def alter_partition_error(request: Any, error: Errors, message: str | None = None) -> Body:
    """AlterPartition."""
    return {"throttle_time": 0, "error_code": int(error), "topics": ()}


def allocate_producer_ids_error(request: Any, error: Errors, message: str | None = None) -> Body:
    """AllocateProducerIds."""
    return {"throttle_time": 0, "error_code": int(error), "producer_id_start": -1, "producer_id_len": 0}


def assign_replicas_to_dirs_error(request: Any, error: Errors, message: str | None = None) -> Body:
    """AssignReplicasToDirs."""
    return {"throttle_time": 0, "error_code": int(error), "directories": ()}


def create_topics_error(request: Any, error: Errors, message: str | None = None) -> Body:
    """CreateTopics: each topic has the error."""
    topics = [topic_error(topic.name, ApiError(error, message)) for topic in request.topics]
    return {"throttle_time": 0, "topics": topics}


def topic_error(name: str, refusal: ApiError) -> dict[str, Any]:
    """One topic of CreateTopics that is refused."""
    return {"name": name, "topic_id": None, "error_code": int(refusal.error), "error_message": refusal.message, "configs": ()}


def delete_topics_error(request: Any, error: Errors, message: str | None = None) -> Body:
    """DeleteTopics: each topic has the error, under the name or id by which it was asked for."""
    asked = [(topic.name, topic.topic_id) for topic in request.topics]
    asked += [(name, None) for name in getattr(request, "topic_names", ())]
    rows = [{"name": name, "topic_id": topic_id, "error_code": int(error), "error_message": message} for name, topic_id in asked]
    return {"throttle_time": 0, "responses": rows}


def create_partitions_error(request: Any, error: Errors, message: str | None = None) -> Body:
    """CreatePartitions: each topic has the error."""
    rows = [{"name": topic.name, "error_code": int(error), "error_message": message} for topic in request.topics]
    return {"throttle_time": 0, "results": rows}


def alter_configs_error(request: Any, error: Errors, message: str | None = None) -> Body:
    """AlterConfigs and IncrementalAlterConfigs: each resource has the error."""
    rows = [
        {
            "error_code": int(error),
            "error_message": message,
            "resource_type": resource.resource_type,
            "resource_name": resource.resource_name,
        }
        for resource in request.resources
    ]
    return {"throttle_time": 0, "responses": rows}


def plain_error(request: Any, error: Errors, message: str | None = None) -> Body:
    """UnregisterBroker and ControllerRegistration: nothing but the error."""
    return {"throttle_time": 0, "error_code": int(error), "error_message": message}


def elect_leaders_error(request: Any, error: Errors, message: str | None = None) -> Body:
    """ElectLeaders: the error itself, and each partition that was named has it."""
    topics = [
        {
            "topic": topic.topic,
            "partition_result": [
                {"partition_id": partition_id, "error_code": int(error), "error_message": message} for partition_id in topic.partitions
            ],
        }
        for topic in request.topic_partitions or ()
    ]
    return {"throttle_time": 0, "error_code": int(error), "replica_election_results": topics}


def alter_partition_reassignments_error(request: Any, error: Errors, message: str | None = None) -> Body:
    """AlterPartitionReassignments: the error itself, and each partition has it."""
    topics = [
        {
            "name": topic.name,
            "partitions": [
                {"partition_index": partition.partition_index, "error_code": int(error), "error_message": message}
                for partition in topic.partitions
            ],
        }
        for topic in request.topics
    ]
    return {"throttle_time": 0, "error_code": int(error), "error_message": message, "responses": topics}


def list_partition_reassignments_error(request: Any, error: Errors, message: str | None = None) -> Body:
    """ListPartitionReassignments: the error, beside the partitions that were asked about."""
    topics = [
        {"name": topic.name, "partitions": [{"partition_index": index} for index in topic.partition_indexes]}
        for topic in request.topics or ()
    ]
    return {"throttle_time": 0, "error_code": int(error), "error_message": message, "topics": topics}


def alter_client_quotas_error(request: Any, error: Errors, message: str | None = None) -> Body:
    """AlterClientQuotas: each entity has the error."""
    rows = [
        {
            "error_code": int(error),
            "error_message": message,
            "entity": [{"entity_type": part.entity_type, "entity_name": part.entity_name} for part in entry.entity],
        }
        for entry in request.entries
    ]
    return {"throttle_time": 0, "entries": rows}


def alter_user_scram_credentials_error(request: Any, error: Errors, message: str | None = None) -> Body:
    """AlterUserScramCredentials: each user has the error, by name."""
    names = sorted({change.name for change in (*request.deletions, *request.upsertions)})
    return {"throttle_time": 0, "results": [{"user": name, "error_code": int(error), "error_message": message} for name in names]}
