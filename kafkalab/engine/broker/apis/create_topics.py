"""CreateTopics (19), controller listener: new topics, each by itself.

Versions 2-7: 4 lets partitions and replication factor be -1 for the cluster's defaults, 5 answers
with partitions, replication factor and settings and is flexible, 6 may answer with a quota error,
7 answers with the topic id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.controller import responses
from kafkalab.engine.controller.operation import Body

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import ControllerServices

VERSIONS = range(2, 8)


def handle(services: ControllerServices, ctx: RequestContext, request: Any) -> Body | None:
    """Each topic as it was created, or why it was not."""
    services.controller.handle_create_topics(request, ctx.respond)
    return None


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Body:
    """Every topic is refused."""
    return responses.create_topics_error(request, error, message)
