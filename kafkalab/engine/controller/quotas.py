"""Client quotas: limits of users, client ids and addresses (KIP-546). Here they are checked and written down."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, Final

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.controller.operation import RECORDS_PER_REQUEST_MAX, TOO_MANY_RECORDS, Plan
from kafkalab.engine.metadata.image import MetadataImage, QuotaEntityKey
from kafkalab.engine.protocol.metadata_records import ClientQuotaRecord, QuotaEntity

USER: Final = "user"
CLIENT_ID: Final = "client-id"
IP: Final = "ip"
ENTITY_TYPES: Final = (USER, CLIENT_ID, IP)

_INT_MAX: Final = 2**31 - 1
_LONG_MAX: Final = 2**63 - 1
_FRACTION_MAX: Final = 1e-6
# The greatest whole number of each limit and its type's name; None where fractions are allowed.
_CLIENT_LIMITS: Final[Mapping[str, tuple[int, str] | None]] = MappingProxyType(
    {
        "producer_byte_rate": (_LONG_MAX, "a LONG"),
        "consumer_byte_rate": (_LONG_MAX, "a LONG"),
        "request_percentage": None,
        "controller_mutation_rate": None,
    }
)
_IP_LIMITS: Final[Mapping[str, tuple[int, str] | None]] = MappingProxyType({"connection_creation_rate": (_INT_MAX, "an INT")})


class QuotaChanges:
    """Plans what clients ask for. Each entity is taken or refused as a whole."""

    def __init__(self, image: MetadataImage) -> None:
        self._image = image

    def alter(self, request: Any) -> Plan:
        """AlterClientQuotas."""
        results: dict[QuotaEntityKey, ApiError | None] = {}
        records: list[ClientQuotaRecord] = []
        for entry in request.entries:
            entity = tuple(sorted({part.entity_type: part.entity_name for part in entry.entity}.items()))
            changes = {op.key: None if op.remove else op.value for op in entry.ops}
            if entity in results or len(changes) < len(entry.ops):
                results[entity] = ApiError(Errors.INVALID_REQUEST, f"Ignoring duplicate entity {_text(entity)}")
                continue
            try:
                records += self._alter_one(entity, changes)
                results[entity] = None
            except ApiError as refusal:
                results[entity] = refusal
        if len(records) > RECORDS_PER_REQUEST_MAX:
            raise ApiError(Errors.POLICY_VIOLATION, TOO_MANY_RECORDS)
        rows = [quota_row(entity, refusal) for entity, refusal in results.items()]
        return Plan(response={"throttle_time": 0, "entries": rows}, records=() if request.validate_only else records)

    def _alter_one(self, entity: QuotaEntityKey, changes: Mapping[str, float | None]) -> list[ClientQuotaRecord]:
        limits = _limits_of(entity)
        current = self._image.client_quotas.get(entity, {})
        parts = tuple(QuotaEntity(entity_type=kind, entity_name=name) for kind, name in entity)
        records = []
        for key, value in changes.items():
            if value is None:
                if key in current:
                    records.append(ClientQuotaRecord(entity=parts, key=key, value=0.0, remove=True))
                continue
            _check_value(limits, key, value)
            if current.get(key) != value:
                records.append(ClientQuotaRecord(entity=parts, key=key, value=value, remove=False))
        return records


def _limits_of(entity: QuotaEntityKey) -> Mapping[str, tuple[int, str] | None]:
    """The limits that an entity can have; refuses what is no entity."""
    if not entity:
        raise ApiError(Errors.INVALID_REQUEST, "Invalid empty client quota entity")
    for kind, name in entity:
        if kind not in ENTITY_TYPES:
            raise ApiError(Errors.INVALID_REQUEST, f"Unhandled client quota entity type: {kind}")
        if name == "":
            raise ApiError(Errors.INVALID_REQUEST, f"Empty {kind} not supported")
    names = dict(entity)
    if IP not in names:
        return _CLIENT_LIMITS
    if len(names) > 1:
        raise ApiError(Errors.INVALID_REQUEST, "Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId")
    address = names[IP]
    if address is not None and not _is_address(address):
        raise ApiError(Errors.INVALID_REQUEST, f"{address} is not a valid IP or resolvable host.")
    return _IP_LIMITS


def _is_address(text: str) -> bool:
    # Names are not looked up: nobody waits for a name server within the controller.
    if text == "localhost":
        return True
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _check_value(limits: Mapping[str, tuple[int, str] | None], key: str, value: float) -> None:
    if key not in limits:
        raise ApiError(Errors.INVALID_REQUEST, f"Invalid configuration key {key}")
    if value <= 0.0:
        raise ApiError(Errors.INVALID_REQUEST, f"Quota {key} must be greater than 0")
    whole = limits[key]
    if whole is None:
        return
    greatest, type_name = whole
    if value > greatest:
        raise ApiError(Errors.INVALID_REQUEST, f"Proposed value for {key} is too large for {type_name}.")
    if not abs(value % 1.0) <= _FRACTION_MAX:
        raise ApiError(Errors.INVALID_REQUEST, f"{key} cannot be a fractional value.")


def quota_row(entity: QuotaEntityKey, refusal: ApiError | None) -> Mapping[str, Any]:
    """What became of one entity."""
    return {
        "error_code": 0 if refusal is None else int(refusal.error),
        "error_message": None if refusal is None else refusal.message,
        "entity": [{"entity_type": kind, "entity_name": name} for kind, name in entity],
    }


def _text(entity: QuotaEntityKey) -> str:
    """As Apache Kafka spells an entity in its messages."""
    parts = ", ".join(f"{kind}={'null' if name is None else name}" for kind, name in entity)
    return f"ClientQuotaEntity(entries={{{parts}}})"
