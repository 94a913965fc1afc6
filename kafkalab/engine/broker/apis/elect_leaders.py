"""ElectLeaders (43), controller listener: preferred and unclean elections that somebody asks for (KIP-183, KIP-460).

Versions 0-2: 0 knows preferred elections only, 1 names the kind and has an error of its own, 2 is flexible.
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
    """Each partition, or why its leader stays."""
    services.controller.handle_elect_leaders(request, ctx.respond)
    return None


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Body:
    """Every partition that was named is refused."""
    return responses.elect_leaders_error(request, error, message)
