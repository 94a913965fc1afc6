"""InitProducerId, versions 0 to 5: an id for an idempotent producer.

v2 is flexible; v3 lets a producer name the id and epoch that it had (KIP-360), which matters to
transactional ones only: an idempotent one gets a new id each time, as in Kafka.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.broker.services import BrokerServices
from kafkalab.engine.common.errors import Errors


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> Mapping[str, Any] | None:
    """Give an id from this broker's block."""
    transactional_id = request.transactional_id
    if transactional_id == "":
        return error_response(request, Errors.INVALID_REQUEST, None, ctx.version)
    if transactional_id is not None:
        # No broker of this cluster coordinates transactions, so this one does not either.
        return error_response(request, Errors.NOT_COORDINATOR, None, ctx.version)
    if (request.producer_id >= 0) != (request.producer_epoch >= 0):
        return error_response(request, Errors.INVALID_REQUEST, None, ctx.version)

    def answer(producer_id: int | None) -> None:
        if producer_id is None:
            ctx.respond(error_response(request, Errors.COORDINATOR_LOAD_IN_PROGRESS, None, ctx.version))
        else:
            ctx.respond({"producer_id": producer_id, "producer_epoch": 0})

    services.producer_ids.next(answer)
    return None


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error."""
    return {"error_code": error, "producer_id": -1, "producer_epoch": -1}
