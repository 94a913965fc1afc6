"""IncrementalAlterConfigs (44): settings are set, taken back, or lists of them made longer or shorter.

Versions 0 and 1; 1 is flexible. Each resource is taken or refused as a whole. A broker checks what
is asked of itself and passes the rest on; on the controller's listener everything is the controller's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafkalab.engine.broker import config_changes
from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.controller import responses
from kafkalab.engine.controller.operation import Body

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import BrokerServices, ControllerServices

VERSIONS = range(2)


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> None:
    """On a broker."""
    config_changes.handle(services, ctx, request, is_incremental=True)


def handle_on_controller(services: ControllerServices, ctx: RequestContext, request: Any) -> None:
    """On a controller."""
    services.controller.handle_incremental_alter_configs(request, ctx.respond, is_forwarded=ctx.is_forwarded)


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Body:
    """Every resource is refused."""
    return responses.alter_configs_error(request, error, message)
