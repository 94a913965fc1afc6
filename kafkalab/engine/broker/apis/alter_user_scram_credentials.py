"""AlterUserScramCredentials (51), controller listener: who may log in with a password (KIP-554).

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
    """Each user, or why the credential stays."""
    services.controller.handle_alter_user_scram_credentials(request, ctx.respond)
    return None


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Body:
    """Every user is refused."""
    return responses.alter_user_scram_credentials_error(request, error, message)
