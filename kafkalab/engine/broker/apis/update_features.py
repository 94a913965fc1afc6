"""UpdateFeatures, versions 0 to 2: levels of the cluster's features are raised or lowered (KIP-584, KIP-778).

v1 says how a level may be lowered and can be asked to change nothing; v2 has one error for all and
no results by feature (KIP-1022). Brokers pass it on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.broker.services import ControllerServices
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.controller.features import update_features_error


def handle(services: ControllerServices, ctx: RequestContext, request: Any) -> None:
    """Answered by the active controller once all levels are committed, or none."""
    services.controller.handle_update_features(request, ctx.respond, version=ctx.version)


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error."""
    return update_features_error(request, error, message)
