"""Raising and lowering the levels of the cluster's features (KIP-584, KIP-778, KIP-1022).

All updates of a request happen together or none does. A level must be one that every registered
node can work at. metadata.version is lowered only where nothing in the metadata could get lost;
kraft.version is raised by raft, in a batch of its own, and never lowered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from functools import partial
from typing import Any, Final, Protocol

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.features import (
    KRAFT_VERSION_FEATURE,
    METADATA_VERSION_FEATURE,
    SUPPORTED_FEATURES,
    unmet_dependency,
)
from kafkalab.engine.common.metadata_versions import METADATA_VERSIONS, changes_metadata, metadata_version
from kafkalab.engine.controller.elections import ELR_FEATURE, MIN_ISR
from kafkalab.engine.controller.operation import Body, Plan
from kafkalab.engine.metadata.image import MetadataImage
from kafkalab.engine.protocol.metadata_records import CONFIG_BROKER, ConfigRecord, FeatureLevelRecord, MetadataRecord, NoOpRecord

log = logging.getLogger(__name__)

CONTROLLERS_REGISTER_SINCE: Final = 15
_NOT_SUPPORTED: Final = (0, 0)


class UpgradeType(IntEnum):
    """Which way a level may go."""

    UNKNOWN = 0
    UPGRADE = 1
    SAFE_DOWNGRADE = 2
    UNSAFE_DOWNGRADE = 3


class KRaftVersions(Protocol):
    """Raft, which keeps kraft.version."""

    @property
    def kraft_version(self) -> int: ...

    @property
    def voter_ids(self) -> frozenset[int]: ...

    def upgrade_kraft_version(self, epoch: int, level: int, *, validate_only: bool) -> None:
        """
        :raises ApiError: INVALID_UPDATE_VERSION, or NOT_CONTROLLER where another epoch has come.
        """


class FeatureChanges:
    """Answers UpdateFeatures from the committed image."""

    def __init__(self, image: MetadataImage, raft: KRaftVersions, config: BrokerConfig, node_id: int) -> None:
        self._image = image
        self._config = config
        self._raft = raft
        self._node_id = node_id

    def update(self, request: Any, *, version: int, epoch: int) -> Plan:
        """The records for all updates of a request.

        :raises ApiError: INVALID_UPDATE_VERSION for the first update that cannot be.
        """
        updates = {one.feature: one for one in request.feature_updates}
        proposed = {**self._image.features, **{name: one.max_version_level for name, one in updates.items()}}
        records: list[MetadataRecord] = []
        raises: list[Callable[[], None]] = []
        for name, one in updates.items():
            upgrade_type = _upgrade_type(one, version)
            self._check(name, one.max_version_level, upgrade_type)
            if name == METADATA_VERSION_FEATURE:
                records.append(self._metadata_version_record(one.max_version_level, upgrade_type))
            elif name == KRAFT_VERSION_FEATURE:
                if upgrade_type is UpgradeType.UPGRADE:
                    self._raft.upgrade_kraft_version(epoch, one.max_version_level, validate_only=True)
                    raises.append(partial(self._raft.upgrade_kraft_version, epoch, one.max_version_level, validate_only=False))
                    # Something of this batch must be waited for.
                    records.append(NoOpRecord())
                elif one.max_version_level != self._raft.kraft_version:
                    raise _invalid(name, one.max_version_level, "Can't downgrade the version of this feature.")
            else:
                unmet = unmet_dependency(name, one.max_version_level, proposed)
                if unmet is not None:
                    raise _invalid(name, one.max_version_level, unmet)
                if name == ELR_FEATURE and one.max_version_level > 0:
                    records[:0] = self._one_minimum_for_all()
                records.append(FeatureLevelRecord(name=name, feature_level=one.max_version_level))
        response = _response(request, Errors.NONE, None, with_results=version <= 1)
        if request.validate_only:
            return Plan(response=response)
        for raise_level in raises:
            # Only now that nothing else stands against it.
            raise_level()
        return Plan(response=response, records=records)

    def _check(self, name: str, level: int, upgrade_type: UpgradeType) -> None:
        if upgrade_type is UpgradeType.UNKNOWN:
            raise _invalid(name, level, "The controller does not support the given upgrade type.")
        present = self._raft.kraft_version if name == KRAFT_VERSION_FEATURE else self._image.features.get(name, 0)
        if level < 0:
            raise _invalid(name, level, "A feature version cannot be less than 0.")
        reason = self._reason_not_supported(name, level)
        if reason is not None:
            raise _invalid(name, level, reason)
        if level < present and upgrade_type is UpgradeType.UPGRADE:
            message = "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade."
            raise _invalid(name, level, message)
        if level > present and upgrade_type is not UpgradeType.UPGRADE:
            raise _invalid(name, level, "Can't downgrade to a newer version.")

    def _ranges(self, name: str) -> Iterator[tuple[str, tuple[int, int]]]:
        yield f"Local controller {self._node_id}", SUPPORTED_FEATURES.get(name, _NOT_SUPPORTED)
        for broker_id, broker in self._image.brokers.items():
            yield f"Broker {broker_id}", broker.features.get(name, _NOT_SUPPORTED)
        for controller_id, controller in self._image.controllers.items():
            if controller_id != self._node_id:
                yield f"Controller {controller_id}", controller.features.get(name, _NOT_SUPPORTED)

    def _reason_not_supported(self, name: str, level: int) -> str | None:
        for who, (low, high) in self._ranges(name):
            if not low <= level <= high:
                supported = str(low) if low == high else f"{low}-{high}"
                return f"{who} does not support this feature." if high == 0 else f"{who} only supports versions {supported}"
        if self._image.features.get(METADATA_VERSION_FEATURE, 0) >= CONTROLLERS_REGISTER_SINCE:
            for voter_id in sorted(self._raft.voter_ids):
                if voter_id != self._node_id and voter_id not in self._image.controllers:
                    return f"controller {voter_id} has not registered, and may not support this feature"
        return None

    def _one_minimum_for_all(self) -> list[MetadataRecord]:
        """Before there are eligible leaders: every controller must find the same min.insync.replicas, and no broker one of its own."""
        records: list[MetadataRecord] = []
        if MIN_ISR not in self._image.config(CONFIG_BROKER, ""):
            minimum = str(self._config.get_int(MIN_ISR))
            records.append(ConfigRecord(resource_type=CONFIG_BROKER, resource_name="", name=MIN_ISR, value=minimum))
        for resource, settings in self._image.configs.items():
            if resource.type == CONFIG_BROKER and resource.name != "" and MIN_ISR in settings:
                records.append(ConfigRecord(resource_type=CONFIG_BROKER, resource_name=resource.name, name=MIN_ISR, value=None))
        return records

    def _metadata_version_record(self, level: int, upgrade_type: UpgradeType) -> MetadataRecord:
        present = self._image.features.get(METADATA_VERSION_FEATURE, 0)
        if metadata_version(level) is None:
            message = f"Valid versions are from {METADATA_VERSIONS[0].level} to {METADATA_VERSIONS[-1].level}."
            raise ApiError(Errors.INVALID_UPDATE_VERSION, f"Invalid metadata.version {level}. {message}")
        if level < present and changes_metadata(level, present):
            why = (
                "Unsafe metadata downgrade is not supported in this version."
                if upgrade_type is UpgradeType.UNSAFE_DOWNGRADE
                else "Refusing to perform the requested downgrade because it might delete metadata information."
            )
            raise ApiError(Errors.INVALID_UPDATE_VERSION, f"Unsupported metadata.version downgrade from {present} to {level}. {why}")
        log.info("metadata.version goes from %d to %d", present, level)
        return FeatureLevelRecord(name=METADATA_VERSION_FEATURE, feature_level=level)


def _upgrade_type(update: Any, version: int) -> UpgradeType:
    if version == 0:
        return UpgradeType.SAFE_DOWNGRADE if getattr(update, "allow_downgrade", False) else UpgradeType.UPGRADE
    code = update.upgrade_type
    return UpgradeType(code) if code in UpgradeType._value2member_map_ else UpgradeType.UNKNOWN


def _invalid(name: str, level: int, why: str) -> ApiError:
    return ApiError(Errors.INVALID_UPDATE_VERSION, f"Invalid update version {level} for feature {name}. {why}")


def _response(request: Any, error: Errors, message: str | None, *, with_results: bool) -> Body:
    results: list[Mapping[str, Any]] = []
    if with_results and error is Errors.NONE:
        # Kafka's message of no error.
        results = [{"feature": one.feature, "error_code": error, "error_message": "NONE"} for one in request.feature_updates]
    return {"throttle_time": 0, "error_code": error, "error_message": message, "results": results}


def update_features_error(request: Any, error: Errors, message: str | None) -> Body:
    """The response with an error, which is one for all updates."""
    if error is Errors.INVALID_UPDATE_VERSION:
        message = f"The update failed for all features since the following feature had an error: {message}"
    return _response(request, error, message, with_results=False)
