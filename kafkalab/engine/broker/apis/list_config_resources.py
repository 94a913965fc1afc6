"""ListConfigResources (74), versions 0 and 1: what there is that has settings.

v0 was ListClientMetricsResources and lists metrics subscriptions; v1 asks for kinds, none of them
meaning all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.broker.config_resources import ConfigResourceType
from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.metadata.image import MetadataImage

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import BrokerServices

VERSIONS = range(2)
_KINDS: Final[Mapping[int, tuple[ConfigResourceType, ...]]] = {
    0: (ConfigResourceType.CLIENT_METRICS,),
    1: (
        ConfigResourceType.GROUP,
        ConfigResourceType.CLIENT_METRICS,
        ConfigResourceType.BROKER_LOGGER,
        ConfigResourceType.BROKER,
        ConfigResourceType.TOPIC,
    ),
}


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """List the kinds asked for."""
    served = _KINDS[ctx.version]
    wanted = frozenset(request.resource_types) or frozenset(served)
    if not wanted <= frozenset(served):
        return error_response(request, Errors.UNSUPPORTED_VERSION, None, ctx.version)
    found = [{"resource_name": name, "resource_type": kind} for kind in served if kind in wanted for name in _names(services.image, kind)]
    return {"throttle_time": 0, "error_code": Errors.NONE, "config_resources": found}


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error."""
    return {"throttle_time": 0, "error_code": error, "config_resources": ()}


def _names(image: MetadataImage, kind: ConfigResourceType) -> list[str]:
    if kind is ConfigResourceType.TOPIC:
        return list(image.topics_by_name)
    if kind in (ConfigResourceType.BROKER, ConfigResourceType.BROKER_LOGGER):
        # As Metadata has it: brokers that are in service.
        return [str(broker.broker_id) for broker in image.brokers.values() if not broker.fenced]
    return [resource.name for resource in image.configs if resource.type == kind]
