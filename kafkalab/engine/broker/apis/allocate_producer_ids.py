"""AllocateProducerIds (67), controller listener: a block of 1 000 producer ids for a broker.

Version 0 only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.controller import responses
from kafkalab.engine.controller.operation import Body

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import ControllerServices

VERSIONS = range(1)


def handle(services: ControllerServices, ctx: RequestContext, request: Any) -> Body | None:
    """A block that nobody else was or will be given."""
    services.controller.handle_allocate_producer_ids(request, ctx.respond)
    return None


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Body:
    """The whole request is refused."""
    return responses.allocate_producer_ids_error(request, error, message)
