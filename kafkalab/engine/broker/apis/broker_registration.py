"""BrokerRegistration (62), controller listener: a broker joins the cluster.

Versions 0-4: 1 added the migration from ZooKeeper (ignored here), 2 the log directories, 3 allows
feature ranges that start at 0, 4 the previous broker epoch. Without directories a registration is
refused, as any metadata version since 3.7 does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.controller import responses
from kafkalab.engine.controller.operation import Body

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import ControllerServices

VERSIONS = range(5)


def handle(services: ControllerServices, ctx: RequestContext, request: Any) -> Body | None:
    """The broker epoch, once the registration is committed."""
    services.controller.handle_broker_registration(request, ctx.respond)
    return None


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Body:
    """The whole request is refused."""
    return responses.broker_registration_error(request, error, message)
