"""FindCoordinator, versions 0 to 6: which broker to talk to about a group.

v1 adds the kind of coordinator and an error message, v2 says that it throttles, v3 is flexible,
v4 asks for many keys at once (KIP-699), v5 may answer TRANSACTION_ABORTABLE (KIP-890), v6 knows the
kind "share" (KIP-932). Groups are the one kind that is served. ``__consumer_offsets`` is created
when the first group is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.ids import OFFSETS_TOPIC

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import BrokerServices

GROUP: Final = 0
TRANSACTION: Final = 1
SHARE: Final = 2
BATCHED_FROM: Final = 4
SHARE_FROM: Final = 6
NOT_AVAILABLE_MESSAGE: Final = "The coordinator is not available."


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """Answer for each key; the offsets topic is asked for when it is missing."""
    if ctx.version >= BATCHED_FROM:
        keys = request.coordinator_keys
        return {"coordinators": [{"key": key, **_find(services, ctx, request.key_type, key)} for key in keys]}
    return _find(services, ctx, request.key_type, request.key)


def _find(services: BrokerServices, ctx: RequestContext, key_type: int, key: str) -> dict[str, Any]:
    if key_type == TRANSACTION:
        return _none(Errors.COORDINATOR_NOT_AVAILABLE, "Transactions are not served yet: no broker coordinates them.")
    if key_type == SHARE and ctx.version >= SHARE_FROM:
        return _none(Errors.COORDINATOR_NOT_AVAILABLE, "Share groups are not served yet: no broker coordinates them.")
    if key_type != GROUP:
        return _none(Errors.INVALID_REQUEST, f"There is no coordinator of type {key_type}.")
    coordinator = services.group_coordinator
    if OFFSETS_TOPIC not in services.image.topics_by_name:
        coordinator.create_offsets_topic(services.controller_channel)
        return _none(Errors.COORDINATOR_NOT_AVAILABLE, NOT_AVAILABLE_MESSAGE)
    partition = services.image.partition(OFFSETS_TOPIC, coordinator.partition_for(key))
    broker = services.image.brokers.get(partition.leader) if partition is not None else None
    address = broker.listeners.get(ctx.connection.listener_name) if broker is not None and not broker.fenced else None
    if broker is None or address is None:
        return _none(Errors.COORDINATOR_NOT_AVAILABLE, NOT_AVAILABLE_MESSAGE)
    return {"error_code": Errors.NONE, "error_message": None, "node_id": broker.broker_id, "host": address[0], "port": address[1]}


def _none(error: Errors, message: str | None) -> dict[str, Any]:
    return {"error_code": error, "error_message": message, "node_id": -1, "host": "", "port": -1}


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error for each key."""
    if version >= BATCHED_FROM:
        return {"coordinators": [{"key": key, **_none(error, message)} for key in request.coordinator_keys]}
    return _none(error, message)
