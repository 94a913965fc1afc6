"""DescribeConfigs, versions 1 to 4: the settings of topics, brokers, groups and client metrics, with where each comes from.

v1 adds the source and synonyms of each setting, v3 its type and documentation; v4 is flexible.
A broker describes itself, or with an empty name what was set for all brokers at once. Groups and client
metrics subscriptions have their settings whether they are there or not. Values of sensitive settings are never told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.broker.services import Services
from kafkalab.engine.common.config import (
    ConfigEntry,
    broker_config_view,
    client_metrics_config_view,
    dynamic_default_view,
    group_config_view,
    topic_config_view,
)
from kafkalab.engine.common.errors import ApiError, Errors


class ResourceType(IntEnum):
    """What settings belong to."""

    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8
    CLIENT_METRICS = 16
    GROUP = 32


def handle(services: Services, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """Describe each resource, or say why not."""
    return {"throttle_time": 0, "results": [_result(services, request, resource) for resource in request.resources]}


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error for each resource."""
    return {"throttle_time": 0, "results": [_failed(resource, error, message) for resource in request.resources]}


def _result(services: Services, request: Any, resource: Any) -> Mapping[str, Any]:
    try:
        entries = _entries(services, resource.resource_type, resource.resource_name)
    except ApiError as error:
        return _failed(resource, error.error, error.message)
    wanted = frozenset(resource.configuration_keys or ())
    return {
        "error_code": Errors.NONE,
        "error_message": None,
        "resource_type": resource.resource_type,
        "resource_name": resource.resource_name,
        "configs": [_config(entry, request) for entry in entries if not wanted or entry.name in wanted],
    }


def _failed(resource: Any, error: Errors, message: str | None) -> Mapping[str, Any]:
    return {
        "error_code": error,
        "error_message": message,
        "resource_type": resource.resource_type,
        "resource_name": resource.resource_name,
        "configs": [],
    }


def _entries(services: Services, resource_type: int, name: str) -> Iterable[ConfigEntry]:
    dynamic_default = _dynamic(services, ResourceType.BROKER, "")
    dynamic = _dynamic(services, ResourceType.BROKER, str(services.node_id))
    if resource_type == ResourceType.TOPIC:
        if not name:
            raise ApiError(Errors.INVALID_REQUEST, "Default topic resources are not allowed.")
        if name not in services.image.topics_by_name:
            raise ApiError(Errors.UNKNOWN_TOPIC_OR_PARTITION, "This server does not host this topic-partition.")
        overrides = _dynamic(services, ResourceType.TOPIC, name)
        return topic_config_view(services.config, overrides, dynamic=dynamic, dynamic_default=dynamic_default)
    if resource_type == ResourceType.BROKER:
        if not name:
            return dynamic_default_view(services.config, dynamic_default)
        if _broker_id(name) != services.node_id:
            raise ApiError(
                Errors.INVALID_REQUEST, f"Unexpected broker id, expected {services.node_id} or empty string, but received {name}"
            )
        return broker_config_view(services.config, dynamic=dynamic, dynamic_default=dynamic_default)
    if resource_type == ResourceType.GROUP:
        if not name:
            raise ApiError(Errors.INVALID_REQUEST, "Group name must not be empty")
        overrides = _dynamic(services, ResourceType.GROUP, name)
        return group_config_view(services.config, overrides, dynamic=dynamic, dynamic_default=dynamic_default)
    if resource_type == ResourceType.CLIENT_METRICS:
        if not name:
            raise ApiError(Errors.INVALID_REQUEST, "Client metrics subscription name must not be empty")
        return client_metrics_config_view(_dynamic(services, ResourceType.CLIENT_METRICS, name))
    known = {int(kind): kind.name for kind in ResourceType}
    raise ApiError(Errors.INVALID_REQUEST, f"Unsupported resource type: {known.get(resource_type, resource_type)}")


def _broker_id(name: str) -> int:
    # Bounded before the conversion: the name may be a million digits.
    if len(name) <= 11 and name.isascii() and name.removeprefix("-").isdigit():
        return int(name)
    raise ApiError(Errors.INVALID_REQUEST, f"Broker id must be an integer, but it is: {name}")


def _dynamic(services: Services, kind: ResourceType, name: str) -> Mapping[str, str]:
    return services.image.config(int(kind), name)


def _config(entry: ConfigEntry, request: Any) -> Mapping[str, Any]:
    synonyms = entry.synonyms if request.include_synonyms else ()
    return {
        "name": entry.name,
        "value": entry.value,
        "read_only": entry.is_read_only,
        "config_source": entry.source,
        "is_sensitive": entry.is_sensitive,
        "synonyms": [{"name": synonym.name, "value": synonym.value, "source": synonym.source} for synonym in synonyms],
        "config_type": entry.type,
        "documentation": entry.doc if request.include_documentation else None,
    }
