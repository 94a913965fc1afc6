"""ApiVersions, versions 0 to 4: what this listener serves.

v1 adds the throttle time; v3 is flexible, names the client's software and tells of features
(KIP-511, KIP-584); v4 may name features whose lowest level is 0 (KIP-1076 raised it for them).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.broker.services import ControllerServices, Services
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.features import KRAFT_VERSION_FEATURE, SUPPORTED_FEATURES
from kafkalab.engine.protocol.apis import served

_SOFTWARE: Final = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")


def _api_keys(*, on_controller: bool) -> list[dict[str, int]]:
    return [
        {"api_key": spec.key, "min_version": spec.advertised_min_version, "max_version": spec.max_version}
        for spec in served(on_controller=on_controller)
    ]


_ON_BROKER: Final = _api_keys(on_controller=False)
_ON_CONTROLLER: Final = _api_keys(on_controller=True)


def handle(services: Services, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """List the APIs of the listener that was asked."""
    if ctx.version >= 3:
        name, version = request.client_software_name, request.client_software_version
        if not _SOFTWARE.fullmatch(name) or not _SOFTWARE.fullmatch(version):
            return error_response(request, Errors.INVALID_REQUEST, None, ctx.version)
        ctx.connection.software_name = name
        ctx.connection.software_version = version
    lowest = 0 if ctx.version >= 4 else 1
    features = [
        {"name": name, "min_version": low, "max_version": high} for name, (low, high) in SUPPORTED_FEATURES.items() if low >= lowest
    ]
    levels = dict(services.image.features)
    if services.raft.kraft_version > 0:
        # Its level is in the log, but not among the records that make the image.
        levels[KRAFT_VERSION_FEATURE] = services.raft.kraft_version
    finalized = [{"name": name, "max_version_level": level, "min_version_level": level} for name, level in sorted(levels.items())]
    return {
        "api_keys": _ON_CONTROLLER if isinstance(services, ControllerServices) else _ON_BROKER,
        "supported_features": features,
        "finalized_features_epoch": services.image.offset,
        "finalized_features": finalized,
    }


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error."""
    return {"error_code": error, "api_keys": []}
