"""AlterPartitionReassignments (45), controller listener: replicas move to other brokers, or a move is taken back (KIP-455).

Versions 0-1: 1 may forbid that the number of replicas changes (KIP-860).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.controller import responses
from kafkalab.engine.controller.operation import Body

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import ControllerServices

VERSIONS = range(2)


def handle(services: ControllerServices, ctx: RequestContext, request: Any) -> Body | None:
    """Each partition, or why its replicas stay where they are."""
    services.controller.handle_alter_partition_reassignments(request, ctx.respond)
    return None


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Body:
    """Every partition is refused."""
    return responses.alter_partition_reassignments_error(request, error, message)
