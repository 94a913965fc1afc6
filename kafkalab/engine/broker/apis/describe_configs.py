"""DescribeConfigs, versions 1 to 4: the settings of topics, brokers, groups and metrics subscriptions.

v1 adds the source and synonyms of each setting, v3 its type and documentation; v4 is flexible.
A node, broker or controller, describes itself, or with an empty name what was set for all brokers
at once. Values of sensitive settings are never told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from kafkalab.engine.broker.config_resources import ConfigResourceType, broker_id_of
from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.broker.services import Services
from kafkalab.engine.common.config import (
    ConfigEntry,
    broker_config_view,
    client_metrics_view,
    dynamic_default_view,
    group_config_view,
    topic_config_view,
)
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.controller.names import validate_topic_name

UNKNOWN_TYPE: Final = 0
_KNOWN: Final = frozenset(map(int, ConfigResourceType))
_MALFORMED: Final = (
    "This most likely occurs because of a request being malformed by the client library or the message was sent to an "
    "incompatible broker. See the broker logs for more details."
)


def handle(services: Services, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """Describe each resource, or say why not."""
    if any(resource.resource_type not in _KNOWN for resource in request.resources):
        # Kafka answers nothing of such a request, and says no more than this.
        raise ApiError(Errors.INVALID_REQUEST, _MALFORMED)
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
        "error_message": "",
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
    config, image = services.config, services.image
    if resource_type == ConfigResourceType.TOPIC:
        validate_topic_name(name)
        if name not in image.topics_by_name:
            raise ApiError(Errors.UNKNOWN_TOPIC_OR_PARTITION, "")
        return topic_config_view(config, image.topic_config(name))
    if resource_type == ConfigResourceType.BROKER:
        if not name:
            return dynamic_default_view(config)
        if broker_id_of(name, "Broker id") != services.node_id:
            raise ApiError(
                Errors.INVALID_REQUEST, f"Unexpected broker id, expected {services.node_id} or empty string, but received {name}"
            )
        return broker_config_view(config)
    if resource_type == ConfigResourceType.GROUP:
        if not name:
            raise ApiError(Errors.INVALID_REQUEST, "Group name must not be empty")
        return group_config_view(config, image.config(resource_type, name))
    if resource_type == ConfigResourceType.CLIENT_METRICS:
        if not name:
            raise ApiError(Errors.INVALID_REQUEST, "Client metrics subscription name must not be empty")
        return client_metrics_view(image.config(resource_type, name))
    assert resource_type == ConfigResourceType.BROKER_LOGGER, "the others were told apart"
    if not name:
        raise ApiError(Errors.INVALID_REQUEST, "Broker id must not be empty")
    if broker_id_of(name, "Broker id") != services.node_id:
        raise ApiError(Errors.INVALID_REQUEST, f"Unexpected broker id, expected {services.node_id} but received {name}")
    # Nothing here listens to a level for one logger alone.
    return ()


def _config(entry: ConfigEntry, request: Any) -> Mapping[str, Any]:
    synonyms = entry.synonyms if request.include_synonyms else ()
    return {
        "name": entry.name,
        "value": entry.value,
        "read_only": entry.is_read_only,
        "config_source": entry.source,
        "is_sensitive": entry.is_sensitive,
        "synonyms": [{"name": synonym.name, "value": synonym.value, "source": synonym.source} for synonym in synonyms],
        "config_type": UNKNOWN_TYPE if entry.type is None else entry.type,
        "documentation": entry.doc if request.include_documentation else None,
    }
