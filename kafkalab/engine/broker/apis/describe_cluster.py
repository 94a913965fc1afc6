"""DescribeCluster, versions 0 to 2: the cluster's id and its brokers, or its controllers.

v1 adds the type of endpoint that is asked for (KIP-919); v2 fenced brokers (KIP-1073).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kafkalab.engine.broker.authorized_operations import CLUSTER_OPERATIONS, NOT_ASKED
from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.broker.services import ControllerServices, Services
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.controller.levels import CONTROLLERS_REGISTER_SINCE, metadata_version_of

BROKERS: Final = 1
CONTROLLERS: Final = 2
_KINDS: Final = {BROKERS: "BROKER", CONTROLLERS: "CONTROLLER"}


def handle(services: Services, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """List the endpoints of the kind that this listener is of."""
    own = CONTROLLERS if isinstance(services, ControllerServices) else BROKERS
    asked = request.endpoint_type
    if asked not in _KINDS:
        return error_response(request, Errors.UNSUPPORTED_ENDPOINT_TYPE, f"Unsupported endpoint type {asked}", ctx.version)
    if asked != own:
        message = f"The request was sent to an endpoint of type {_KINDS[own]}, but we wanted an endpoint of type {_KINDS[asked]}"
        return error_response(request, Errors.MISMATCHED_ENDPOINT_TYPE, message, ctx.version)
    listener = ctx.connection.listener_name
    if own == CONTROLLERS:
        if metadata_version_of(services.image) < CONTROLLERS_REGISTER_SINCE:
            message = "Direct-to-controller communication is not supported with the current MetadataVersion."
            return error_response(request, Errors.UNSUPPORTED_VERSION, message, ctx.version)
        nodes = [
            {"broker_id": node_id, "host": controller.listeners[listener][0], "port": controller.listeners[listener][1]}
            for node_id, controller in sorted(services.image.controllers.items())
            if listener in controller.listeners
        ]
        controller_id = services.raft.leader_id
    else:
        nodes = [
            {
                "broker_id": broker.broker_id,
                "host": broker.listeners[listener][0],
                "port": broker.listeners[listener][1],
                "rack": broker.rack,
                "is_fenced": broker.fenced,
            }
            for _, broker in sorted(services.image.brokers.items())
            if listener in broker.listeners and (request.include_fenced_brokers or not broker.fenced)
        ]
        assert not isinstance(services, ControllerServices)
        alive = [broker.broker_id for broker in services.image.alive_brokers()]
        controller_id = services.rng.choice(alive) if alive else -1
    return {
        "endpoint_type": own,
        "cluster_id": services.cluster_id,
        "controller_id": controller_id,
        "brokers": nodes,
        "cluster_authorized_operations": CLUSTER_OPERATIONS if request.include_cluster_authorized_operations else NOT_ASKED,
    }


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error."""
    return {
        "error_code": error,
        "error_message": message,
        # Kafka leaves it at its default.
        "endpoint_type": BROKERS,
        "cluster_id": "",
        "controller_id": -1,
        "brokers": [],
        "cluster_authorized_operations": NOT_ASKED,
    }
