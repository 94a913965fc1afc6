"""DescribeClientQuotas (48), broker listener: which limits clients have (KIP-546).

Versions 0-1: 1 is flexible. Every broker answers from its own copy of the metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.controller.quotas import CLIENT_ID, ENTITY_TYPES, IP, USER
from kafkalab.engine.metadata.image import QuotaEntityKey

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import BrokerServices

VERSIONS = range(2)
_EXACT: Final = 0
_DEFAULT: Final = 1
_SPECIFIED: Final = 2


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """The entities that match every component; a strict request wants them to have no others."""
    exact, specified = _filter(request.components)

    def matches(entity: QuotaEntityKey) -> bool:
        parts = dict(entity)
        if request.strict and len(parts) != len(exact) + len(specified):
            return False
        if any(kind not in parts or parts[kind] != name for kind, name in exact.items()):
            return False
        return specified <= parts.keys()

    entries = [
        {
            "entity": [{"entity_type": kind, "entity_name": name} for kind, name in entity],
            "values": [{"key": key, "value": value} for key, value in sorted(limits.items())],
        }
        for entity, limits in services.image.client_quotas.items()
        if matches(entity)
    ]
    return {"throttle_time": 0, "error_code": 0, "error_message": None, "entries": entries}


def _filter(components: Any) -> tuple[dict[str, str | None], set[str]]:
    """Names by type of entity (None is the default one), and types that may have any name."""
    exact: dict[str, str | None] = {}
    specified: set[str] = set()
    for component in components:
        kind = component.entity_type
        if not kind:
            raise ApiError(Errors.INVALID_REQUEST, "Invalid empty entity type.")
        if kind in exact or kind in specified:
            raise ApiError(Errors.INVALID_REQUEST, f"Entity type {kind} cannot appear more than once in the filter.")
        if kind not in ENTITY_TYPES:
            raise ApiError(Errors.UNSUPPORTED_VERSION, f"Unsupported entity type {kind}")
        if component.match_type == _EXACT:
            if component.match is None:
                raise ApiError(Errors.INVALID_REQUEST, "Request specified MATCH_TYPE_EXACT, but set match string to null.")
            exact[kind] = component.match
        elif component.match_type == _DEFAULT:
            if component.match is not None:
                raise ApiError(Errors.INVALID_REQUEST, "Request specified MATCH_TYPE_DEFAULT, but also specified a match string.")
            exact[kind] = None
        elif component.match_type == _SPECIFIED:
            if component.match is not None:
                raise ApiError(Errors.INVALID_REQUEST, "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.")
            specified.add(kind)
        else:
            raise ApiError(Errors.INVALID_REQUEST, f"Unknown match type {component.match_type}")
    asked = exact.keys() | specified
    if IP in asked and (USER in asked or CLIENT_ID in asked):
        raise ApiError(
            Errors.INVALID_REQUEST,
            "Invalid entity filter component combination. IP filter component should not be used with user or clientId filter component.",
        )
    return exact, specified


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The whole request is refused."""
    return {"throttle_time": 0, "error_code": int(error), "error_message": message, "entries": None}
