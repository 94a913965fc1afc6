"""What a broker does with a request to change settings before the controller gets it.

A broker alone can tell whether it can take a change of its own settings while it runs. What it
refuses it answers itself; the rest of the request goes to the active controller, and the answers
are put together in the order of the request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.broker.config_resources import ConfigResourceType, broker_id_of
from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.config import BROKER_CONFIGS, ConfigType, applicable, validate_dynamic_configs
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.controller.configs import Operation, result_row

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import BrokerServices

_STORED: Final = (ConfigResourceType.TOPIC, ConfigResourceType.CLIENT_METRICS, ConfigResourceType.GROUP)


def handle(services: BrokerServices, ctx: RequestContext, request: Any, *, is_incremental: bool) -> None:
    """Check each resource, and let the controller do what is left."""
    refusals = _refusals(services, request, is_incremental=is_incremental)
    remaining = [resource for resource, refusal in zip(request.resources, refusals, strict=True) if refusal is None]

    def respond(decided: Callable[[Any], Mapping[str, Any]]) -> None:
        rows = [
            decided(resource) if refusal is None else result_row(resource.resource_type, resource.resource_name, refusal)
            for resource, refusal in zip(request.resources, refusals, strict=True)
        ]
        ctx.respond({"throttle_time": 0, "responses": rows})

    if not remaining:
        respond(lambda resource: result_row(resource.resource_type, resource.resource_name, None))
        return

    def answered(response: Any) -> None:
        rows = {(row.resource_type, row.resource_name): row for row in response.responses}

        def decided(resource: Any) -> Mapping[str, Any]:
            key = (resource.resource_type, resource.resource_name)
            row = rows.get(key)
            if row is None:
                return result_row(*key, ApiError(Errors.UNKNOWN_SERVER_ERROR))
            return {"error_code": row.error_code, "error_message": row.error_message, "resource_type": key[0], "resource_name": key[1]}

        respond(decided)

    def refused(error: Errors, message: str) -> None:
        respond(lambda resource: result_row(resource.resource_type, resource.resource_name, ApiError(error, message)))

    body = {"resources": [_copy(resource, is_incremental) for resource in remaining], "validate_only": request.validate_only}
    services.controller_channel.forward_body(ctx, body, on_response=answered, refuse=refused)


def _copy(resource: Any, is_incremental: bool) -> Mapping[str, Any]:
    configs = [
        {"name": config.name, "value": config.value} | ({"config_operation": config.config_operation} if is_incremental else {})
        for config in resource.configs
    ]
    return {"resource_type": resource.resource_type, "resource_name": resource.resource_name, "configs": configs}


def _refusals(services: BrokerServices, request: Any, *, is_incremental: bool) -> Sequence[ApiError | None]:
    counts = Counter((resource.resource_type, resource.resource_name) for resource in request.resources)
    refusals: list[ApiError | None] = []
    for resource in request.resources:
        try:
            if counts[resource.resource_type, resource.resource_name] > 1:
                raise ApiError(Errors.INVALID_REQUEST, "Each resource must appear at most once.")
            _check(services, resource, is_incremental=is_incremental)
        except ApiError as refusal:
            refusals.append(refusal)
        else:
            refusals.append(None)
    return refusals


def _check(services: BrokerServices, resource: Any, *, is_incremental: bool) -> None:
    names = [config.name for config in resource.configs]
    if len(set(names)) < len(names):
        raise ApiError(Errors.INVALID_REQUEST, "Error due to duplicate config keys")
    nulls = [
        config.name
        for config in resource.configs
        if config.value is None and not (is_incremental and config.config_operation == Operation.DELETE)
    ]
    if nulls:
        raise ApiError(Errors.INVALID_REQUEST, f"Null value not supported for : {', '.join(nulls)}")
    kind, name = resource.resource_type, resource.resource_name
    if kind == ConfigResourceType.BROKER:
        if name and (node_id := broker_id_of(name, "Node id")) != services.node_id:
            raise ApiError(Errors.INVALID_REQUEST, f"Unexpected broker id, expected {services.node_id}, but received {node_id}")
        if is_incremental:
            configs = applicable(services.image.config(kind, name), per_broker=bool(name))
            for config in resource.configs:
                _apply(configs, config)
        else:
            configs = {config.name: config.value for config in resource.configs}
        validate_dynamic_configs(configs, services.config, per_broker=bool(name))
    elif kind == ConfigResourceType.BROKER_LOGGER and is_incremental:
        raise ApiError(Errors.INVALID_REQUEST, "A KafkaLab broker has no loggers whose levels can be changed.")
    elif kind not in _STORED:
        raise ApiError(Errors.INVALID_REQUEST, f"Unknown resource type {kind}")


def _apply(configs: dict[str, str], change: Any) -> None:
    """Do one change to a broker's settings, in the words in which brokers refuse one."""
    name, operation = change.name, change.config_operation
    if operation == Operation.DELETE:
        configs.pop(name, None)
        return
    if operation == Operation.SET:
        configs[name] = change.value
        return
    if operation not in (Operation.APPEND, Operation.SUBTRACT):
        raise ApiError(Errors.INVALID_REQUEST, f"Unknown operations type {operation}")
    definition = BROKER_CONFIGS.get(name)
    if definition is None:
        raise ApiError(Errors.INVALID_CONFIG, f"Unknown config name: {name}")
    if definition.type is not ConfigType.LIST:
        word = Operation(operation).name.lower()
        raise ApiError(Errors.INVALID_CONFIG, f"Config value {word} is not allowed for config key: {name}")
    parts = [part for part in (configs.get(name, definition.default) or "").split(",") if part]
    for item in change.value.split(","):
        if operation == Operation.APPEND:
            if item not in parts:
                parts.append(item)
        elif item in parts:
            parts.remove(item)
    configs[name] = ",".join(parts)
