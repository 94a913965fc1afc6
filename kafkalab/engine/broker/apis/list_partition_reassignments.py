"""ListPartitionReassignments (46), controller listener: which replicas are on their way (KIP-455).

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
    """Partitions under way, of all topics or of those asked about."""
    services.controller.handle_list_partition_reassignments(request, ctx.respond)
    return None


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Body:
    """The whole request is refused."""
    return responses.list_partition_reassignments_error(request, error, message)
