"""AlterClientQuotas (49), controller listener: limits of users, client ids and addresses (KIP-546, KIP-612).

Versions 0-1: 1 is flexible. Limits are kept and described; nothing is held back by them yet.
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
    """Each entity, or why its limits stay."""
    services.controller.handle_alter_client_quotas(request, ctx.respond)
    return None


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Body:
    """Every entity is refused."""
    return responses.alter_client_quotas_error(request, error, message)
