"""DeleteTopics (20), controller listener: topics by name or by id.

Versions 1-6: 2 changed throttling only, 3 knows TOPIC_DELETION_DISABLED, 4 is flexible, 5 answers
with error messages, 6 takes topic ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.controller import responses
from kafkalab.engine.controller.operation import Body

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import ControllerServices

VERSIONS = range(1, 7)


def handle(services: ControllerServices, ctx: RequestContext, request: Any) -> Body | None:
    """Each topic, or why it is still there."""
    if not services.config.get_boolean("delete.topic.enable"):
        # Older clients do not know the code that says so.
        error = Errors.TOPIC_DELETION_DISABLED if ctx.version >= 3 else Errors.INVALID_REQUEST
        raise ApiError(error, "Topic deletion is disabled.")
    services.controller.handle_delete_topics(request, ctx.respond)
    return None


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Body:
    """Every topic is refused."""
    return responses.delete_topics_error(request, error, message)
