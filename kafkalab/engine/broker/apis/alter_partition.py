"""AlterPartition (56), controller listener: a leader changes its ISR.

Versions 2-3: 2 names topics by id, 3 names ISR members with their broker epochs, so that a replica
that restarted in between does not come in unseen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.controller import responses
from kafkalab.engine.controller.operation import Body

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import ControllerServices

VERSIONS = range(2, 4)


def handle(services: ControllerServices, ctx: RequestContext, request: Any) -> Body | None:
    """Each partition's new state, or why it stays as it is."""
    services.controller.handle_alter_partition(request, ctx.respond)
    return None


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Body:
    """The whole request is refused."""
    return responses.alter_partition_error(request, error, message)
