"""Changes of settings: of topics, brokers, all brokers at once, groups, and metrics subscriptions.

Each resource is taken or refused as a whole, and by itself: one that is refused does not hold up
the others of the request. What a request would leave a resource with is checked, not only what it
changes. A broker's settings were checked by that broker before they came here; unchanged ones are
written again, so that it loads files anew that they name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Any, Final

from kafkalab.engine.common.config import (
    BROKER_CONFIGS,
    CLIENT_METRICS_CONFIGS,
    GROUP_CONFIGS,
    TOPIC_CONFIGS,
    BrokerConfig,
    ConfigDefinition,
    ConfigType,
    validate_client_metrics_configs,
    validate_group_configs,
    validate_topic_configs,
)
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.controller.elections import MIN_ISR, Elections
from kafkalab.engine.controller.levels import CORDONED_DIRECTORIES_SINCE, metadata_version_of
from kafkalab.engine.controller.names import validate_topic_name
from kafkalab.engine.controller.operation import RECORDS_PER_REQUEST_MAX, TOO_MANY_RECORDS, Plan
from kafkalab.engine.metadata.image import MetadataImage
from kafkalab.engine.protocol.metadata_records import (
    CONFIG_BROKER,
    CONFIG_CLIENT_METRICS,
    CONFIG_GROUP,
    CONFIG_TOPIC,
    ClearElrRecord,
    ConfigRecord,
)

VALUE_LENGTH_MAX: Final = 32_767
_CORDONED: Final = "cordoned.log.dirs"
_DEFINITIONS: Final[Mapping[int, Mapping[str, ConfigDefinition]]] = {
    CONFIG_TOPIC: TOPIC_CONFIGS,
    CONFIG_BROKER: BROKER_CONFIGS,
    CONFIG_CLIENT_METRICS: CLIENT_METRICS_CONFIGS,
    CONFIG_GROUP: GROUP_CONFIGS,
}


class Operation(IntEnum):
    """What is done to a setting; the number is what goes over the wire."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


Changes = Mapping[str, str | None]
"""What settings are to become; None takes one away."""


def changed_value(definition: ConfigDefinition | None, name: str, operation: int, value: str | None, current: str | None) -> str | None:
    """What one change of IncrementalAlterConfigs makes of a setting.

    :raises ApiError: INVALID_CONFIG when it is no list and the change is one to a list, INVALID_REQUEST for an unknown change.
    """
    if operation == Operation.SET:
        return value
    if operation == Operation.DELETE:
        return None
    if operation not in (Operation.APPEND, Operation.SUBTRACT):
        raise ApiError(Errors.INVALID_REQUEST, f"Unknown operations type {operation}")
    if definition is None or definition.type is not ConfigType.LIST:
        raise ApiError(Errors.INVALID_CONFIG, f"Can't {Operation(operation).name} to key {name} because its type is not LIST.")
    base = definition.default if current is None else current
    parts = [part for part in (base or "").split(",") if part]
    # As Java splits: empty parts at the end do not count, but an empty text is one empty part.
    for item in (value or "").rstrip(",").split(","):
        if operation == Operation.APPEND:
            if item not in parts:
                parts.append(item)
        elif item in parts:
            parts.remove(item)
    return ",".join(parts)


class ConfigChanges:
    """Computes the records of a change from the committed image."""

    def __init__(self, image: MetadataImage, config: BrokerConfig, elections: Elections, controller_ids: frozenset[int]) -> None:
        """``controller_ids`` are nodes that have settings though they may be no brokers."""
        self._image = image
        self._config = config
        self._elections = elections
        self._controller_ids = controller_ids

    def incremental_alter(self, request: Any, *, is_forwarded: bool) -> Plan:
        """IncrementalAlterConfigs: only what is named changes."""
        return self._alter(request, self._incremental_changes, is_forwarded=is_forwarded)

    def alter(self, request: Any, *, is_forwarded: bool) -> Plan:
        """AlterConfigs: what is not named goes."""
        return self._alter(request, self._replacing_changes, is_forwarded=is_forwarded)

    def _alter(self, request: Any, changes_of: Callable[[Any, Mapping[str, str]], Changes], *, is_forwarded: bool) -> Plan:
        counts = Counter((resource.resource_type, resource.resource_name) for resource in request.resources)
        rows: dict[tuple[int, str], Mapping[str, Any]] = {}
        records: list[ConfigRecord | ClearElrRecord] = []
        for resource in request.resources:
            kind, name = key = (resource.resource_type, resource.resource_name)
            if key in rows:
                continue
            refusal: ApiError | None = None
            try:
                if kind not in _DEFINITIONS:
                    raise ApiError(Errors.UNSUPPORTED_VERSION, f"Unknown resource type {kind}.")
                if counts[key] > 1:
                    raise ApiError(Errors.INVALID_REQUEST, "Duplicate resource.")
                current = self._image.config(kind, name)
                changes = changes_of(resource, current)
                if kind == CONFIG_BROKER and not is_forwarded:
                    _check_cordoned(changes.get(_CORDONED), current.get(_CORDONED))
                self._check(kind, name, changes, current)
            except ApiError as error:
                refusal = error
            else:
                records += [
                    ConfigRecord(resource_type=kind, resource_name=name, name=one, value=value)
                    for one, value in changes.items()
                    if kind == CONFIG_BROKER or current.get(one) != value
                ]
            rows[key] = result_row(kind, name, refusal)
        records += self._cleared_elr(records)
        if len(records) > RECORDS_PER_REQUEST_MAX:
            raise ApiError(Errors.POLICY_VIOLATION, TOO_MANY_RECORDS)
        return Plan(
            response={"throttle_time": 0, "responses": list(rows.values())},
            records=() if request.validate_only else records,
        )

    def _cleared_elr(self, records: Iterable[ConfigRecord | ClearElrRecord]) -> list[ClearElrRecord]:
        """Who is eligible to lead was found by another minimum: it does not hold any more (KIP-966)."""
        if not self._elections.elr_enabled:
            return []
        return [
            ClearElrRecord(topic_name=record.resource_name if record.resource_type == CONFIG_TOPIC else "")
            for record in records
            if isinstance(record, ConfigRecord) and record.name == MIN_ISR
        ]

    def _check_min_isr(self, kind: int, name: str, changes: Changes) -> None:
        """With eligible leader replicas all must find the same minimum for a topic: there is one for all, and none of single brokers."""
        if kind != CONFIG_BROKER or MIN_ISR not in changes or not self._elections.elr_enabled:
            return
        if name:
            raise ApiError(Errors.INVALID_CONFIG, f"Broker-level {MIN_ISR} cannot be altered while ELR is enabled.")
        if changes[MIN_ISR] is None:
            raise ApiError(Errors.INVALID_CONFIG, f"Cluster-level {MIN_ISR} cannot be removed while ELR is enabled.")

    def _incremental_changes(self, resource: Any, current: Mapping[str, str]) -> Changes:
        definitions = _DEFINITIONS[resource.resource_type]
        return {
            config.name: changed_value(
                definitions.get(config.name), config.name, config.config_operation, config.value, current.get(config.name)
            )
            for config in resource.configs
        }

    def _replacing_changes(self, resource: Any, current: Mapping[str, str]) -> Changes:
        given = {config.name: config.value for config in resource.configs}
        return {**given, **{name: None for name in current if name not in given}}

    def _check(self, kind: int, name: str, changes: Changes, current: Mapping[str, str]) -> None:
        self._check_min_isr(kind, name, changes)
        if kind == CONFIG_BROKER and _CORDONED in changes and metadata_version_of(self._image) < CORDONED_DIRECTORIES_SINCE:
            raise ApiError(
                Errors.INVALID_CONFIG,
                f"The {_CORDONED} configuration value cannot be set because it requires metadata.version >= 4.3-IV0",
            )
        resulting = dict(current)
        for one, value in changes.items():
            if value is None:
                resulting.pop(one, None)
            elif len(value) > VALUE_LENGTH_MAX:
                raise ApiError(
                    Errors.INVALID_CONFIG,
                    f"The configuration value cannot be added because it exceeds the maximum value size of {VALUE_LENGTH_MAX} bytes.",
                )
            else:
                resulting[one] = value
        if kind == CONFIG_TOPIC:
            if not name:
                raise ApiError(Errors.INVALID_REQUEST, "Default topic resources are not allowed.")
            validate_topic_name(name)
            validate_topic_configs(resulting, self._config)
            if name not in self._image.topics_by_name:
                raise ApiError(Errors.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' does not exist.")
        elif kind == CONFIG_BROKER:
            self._check_node(name)
        elif kind == CONFIG_GROUP:
            if not name:
                raise ApiError(Errors.INVALID_REQUEST, "Default group resources are not allowed.")
            validate_group_configs(resulting, self._config)
        else:
            validate_client_metrics_configs(name, resulting)

    def _check_node(self, name: str) -> None:
        if not name:
            return
        digits = name[1:] if name[:1] in ("+", "-") else name
        if not (len(digits) <= 10 and digits.isascii() and digits.isdigit() and -(2**31) <= int(name) < 2**31):
            raise ApiError(Errors.INVALID_REQUEST, "Unable to parse broker name as a base 10 number.")
        node_id = int(name)
        if node_id < 0:
            raise ApiError(Errors.INVALID_REQUEST, "Invalid negative broker ID.")
        if not any(node_id in nodes for nodes in (self._image.brokers, self._image.controllers, self._controller_ids)):
            raise ApiError(Errors.BROKER_ID_NOT_REGISTERED, f"No node with id {node_id} found.")


def _check_cordoned(wanted: str | None, current: str | None) -> None:
    """Only the broker knows its directories: without it no other ones than before can be cordoned (KIP-1066)."""
    if wanted is None or not wanted.strip():
        return
    if not set(_items(wanted)) <= set(_items(current or "")):
        raise ApiError(
            Errors.INVALID_CONFIG,
            f"When updating {_CORDONED} via controllers,  the new value must be a subset of the current configuration value.",
        )


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")]


def result_row(kind: int, name: str, refusal: ApiError | None) -> Mapping[str, Any]:
    """What became of one resource."""
    return {
        "error_code": 0 if refusal is None else int(refusal.error),
        "error_message": None if refusal is None else refusal.message,
        "resource_type": kind,
        "resource_name": name,
    }
