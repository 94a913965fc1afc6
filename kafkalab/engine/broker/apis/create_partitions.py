"""CreatePartitions (37), controller listener: more partitions for topics that exist.

Versions 0-3: 1 changed throttling only, 2 is flexible, 3 may answer with a quota error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.controller import responses
from kafkalab.engine.controller.operation import Body

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import ControllerServices

VERSIONS = range(4)


def handle(services: ControllerServices, ctx: RequestContext, request: Any) -> Body | None:
    """Each topic, or why it has no more partitions."""
    services.controller.handle_create_partitions(request, ctx.respond)
    return None


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Body:
    """Every topic is refused."""
    return responses.create_partitions_error(request, error, message)
