"""BrokerHeartbeat (63), controller listener: a broker lives, and asks to be let in or let go.

Versions 0-2: 1 added directories that went offline (KIP-858), 2 directories that are cordoned (KIP-1066).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.controller import responses
from kafkalab.engine.controller.operation import Body

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import ControllerServices

VERSIONS = range(3)


def handle(services: ControllerServices, ctx: RequestContext, request: Any) -> Body | None:
    """Where the broker stands, after the change that it asked for."""
    services.controller.handle_broker_heartbeat(request, ctx.respond)
    return None


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Body:
    """The whole request is refused."""
    return responses.broker_heartbeat_error(request, error, message)
