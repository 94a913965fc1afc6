"""Controllers register too (KIP-919): where they listen, and which levels of features they support."""

from __future__ import annotations

from typing import Any

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.controller.levels import CONTROLLERS_REGISTER_SINCE, metadata_version_of
from kafkalab.engine.controller.operation import Plan
from kafkalab.engine.metadata.image import MetadataImage
from kafkalab.engine.protocol.metadata_records import BrokerEndpoint, FeatureRange, RegisterControllerRecord


def registration_of_controller(image: MetadataImage, request: Any) -> Plan:
    """ControllerRegistration: written down as it came, in place of an earlier one."""
    if metadata_version_of(image) < CONTROLLERS_REGISTER_SINCE:
        raise ApiError(Errors.UNSUPPORTED_VERSION, "The current MetadataVersion is too old to support controller registrations.")
    if request.incarnation_id is None:
        raise ApiError(Errors.INVALID_REQUEST, "A registration needs an incarnation id")
    record = RegisterControllerRecord(
        controller_id=request.controller_id,
        incarnation_id=request.incarnation_id,
        end_points=tuple(
            BrokerEndpoint(name=listener.name, host=listener.host, port=listener.port, security_protocol=listener.security_protocol)
            for listener in request.listeners
        ),
        features=tuple(
            FeatureRange(
                name=feature.name,
                min_supported_version=feature.min_supported_version,
                max_supported_version=feature.max_supported_version,
            )
            for feature in sorted(request.features, key=lambda feature: feature.name)
        ),
    )
    return Plan(response={"throttle_time": 0, "error_code": 0, "error_message": None}, records=[record])
