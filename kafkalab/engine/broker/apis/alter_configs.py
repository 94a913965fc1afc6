"""AlterConfigs (33): says all settings of a resource; those that it had and that are not named go.

Versions 0 to 2; 1 throttles, 2 is flexible. Older than IncrementalAlterConfigs, which clients use now.
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

VERSIONS = range(3)


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> None:
    """On a broker."""
    config_changes.handle(services, ctx, request, is_incremental=False)


def handle_on_controller(services: ControllerServices, ctx: RequestContext, request: Any) -> None:
    """On a controller."""
    services.controller.handle_alter_configs(request, ctx.respond, is_forwarded=ctx.is_forwarded)


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Body:
    """Every resource is refused."""
    return responses.alter_configs_error(request, error, message)
