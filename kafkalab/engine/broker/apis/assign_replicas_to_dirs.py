"""AssignReplicasToDirs (73), controller listener: a broker tells in which of its directories replicas are.

Version 0 only (KIP-858).
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
    """An answer for each partition, once what was reported is committed."""
    services.controller.handle_assign_replicas_to_dirs(request, ctx.respond)
    return None


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Body:
    """The whole request is refused."""
    return responses.assign_replicas_to_dirs_error(request, error, message)
