"""What is kept for clients: quotas and SCRAM credentials, written on the controller and described on brokers."""

from __future__ import annotations

import hashlib
import hmac
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kafkalab.engine.broker.apis import describe_client_quotas, describe_user_scram_credentials
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey
from tests.unit.engine.controller.harness import ControllerHarness

Entity = dict[str, str | None]
SHA_256, SHA_512 = 1, 2
EXACT, DEFAULT, SPECIFIED = 0, 1, 2


@pytest.fixture
def lab() -> ControllerHarness:
    return ControllerHarness()


def alter_quotas(
    lab: ControllerHarness, *entries: tuple[Entity, dict[str, float | None]], version: int = 1, validate_only: bool = False
) -> list[Any]:
    body = {
        "entries": [
            {
                "entity": [{"entity_type": kind, "entity_name": name} for kind, name in entity.items()],
                "ops": [{"key": key, "value": value or 0.0, "remove": value is None} for key, value in ops.items()],
            }
            for entity, ops in entries
        ],
        "validate_only": validate_only,
    }
    answer = lab.ask(ApiKey.ALTER_CLIENT_QUOTAS, version, body)
    return [(row.error_code, row.error_message) for row in answer.entries]


def describe_quotas(lab: ControllerHarness, *components: tuple[str, int, str | None], strict: bool = False, version: int = 1) -> Any:
    body = {"components": [{"entity_type": kind, "match_type": how, "match": name} for kind, how, name in components], "strict": strict}
    key = ApiKey.DESCRIBE_CLIENT_QUOTAS
    request = codec.decode_request(key, version, codec.encode_request_body(key, version, body), 0)
    services, ctx = cast(Any, SimpleNamespace(image=lab.image)), cast(Any, None)
    try:
        response = describe_client_quotas.handle(services, ctx, request)
    except ApiError as refusal:
        response = describe_client_quotas.error_response(request, refusal.error, refusal.message, version)
    answer = codec.decode_response(key, version, codec.encode_response_body(key, version, response), 0)
    if answer.error_code:
        assert answer.entries is None
        return answer.error_code
    return [
        ({part.entity_type: part.entity_name for part in entry.entity}, {value.key: value.value for value in entry.values})
        for entry in answer.entries
    ]


def test_quotas_are_kept_and_described(lab: ControllerHarness) -> None:
    alice: Entity = {"user": "alice", "client-id": "reports"}
    everybody: Entity = {"user": None}
    address: Entity = {"ip": "10.0.0.1"}
    assert (
        alter_quotas(
            lab,
            (alice, {"producer_byte_rate": 1e6, "request_percentage": 12.5}),
            (everybody, {"consumer_byte_rate": 5e5}),
            (address, {"connection_creation_rate": 3.0}),
        )
        == [(0, None)] * 3
    )
    assert describe_quotas(lab) == [
        ({"client-id": "reports", "user": "alice"}, {"producer_byte_rate": 1e6, "request_percentage": 12.5}),
        ({"user": None}, {"consumer_byte_rate": 5e5}),
        ({"ip": "10.0.0.1"}, {"connection_creation_rate": 3.0}),
    ]
    assert [entity for entity, _ in describe_quotas(lab, ("user", SPECIFIED, None))] == [
        {"client-id": "reports", "user": "alice"},
        everybody,
    ]
    assert [entity for entity, _ in describe_quotas(lab, ("user", SPECIFIED, None), strict=True)] == [everybody]
    assert [entity for entity, _ in describe_quotas(lab, ("user", DEFAULT, None), version=0)] == [everybody]
    assert [entity for entity, _ in describe_quotas(lab, ("ip", EXACT, "10.0.0.1"))] == [address]
    assert describe_quotas(lab, ("user", EXACT, "bob")) == []
    # One goes, one stays, and the same once more is no change.
    assert alter_quotas(lab, (alice, {"producer_byte_rate": None, "request_percentage": 12.5, "consumer_byte_rate": None})) == [(0, None)]
    assert len(lab.raft.appends[-1]) == 1
    assert describe_quotas(lab, ("user", EXACT, "alice"))[0][1] == {"request_percentage": 12.5}
    assert alter_quotas(lab, (everybody, {"consumer_byte_rate": None}), version=0) == [(0, None)]
    assert describe_quotas(lab, ("user", DEFAULT, None)) == []


def test_quotas_that_are_only_checked(lab: ControllerHarness) -> None:
    offset = lab.image.offset
    assert alter_quotas(lab, ({"user": "alice"}, {"producer_byte_rate": 1.0}), validate_only=True) == [(0, None)]
    assert lab.image.offset == offset


@pytest.mark.parametrize(
    ("entity", "ops", "message"),
    [
        ({}, {"producer_byte_rate": 1.0}, "Invalid empty client quota entity"),
        ({"group": "x"}, {"producer_byte_rate": 1.0}, "Unhandled client quota entity type: group"),
        ({"user": ""}, {"producer_byte_rate": 1.0}, "Empty user not supported"),
        (
            {"ip": "10.0.0.1", "user": "x"},
            {"producer_byte_rate": 1.0},
            "Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId",
        ),
        ({"ip": "300.0.0.1"}, {"connection_creation_rate": 1.0}, "300.0.0.1 is not a valid IP or resolvable host."),
        ({"user": "x"}, {"connection_creation_rate": 1.0}, "Invalid configuration key connection_creation_rate"),
        ({"user": "x"}, {"producer_byte_rate": -1.0}, "Quota producer_byte_rate must be greater than 0"),
        ({"user": "x"}, {"producer_byte_rate": 1.5}, "producer_byte_rate cannot be a fractional value."),
        ({"user": "x"}, {"producer_byte_rate": float("nan")}, "producer_byte_rate cannot be a fractional value."),
        ({"user": "x"}, {"producer_byte_rate": float("inf")}, "Proposed value for producer_byte_rate is too large for a LONG."),
        ({"ip": None}, {"connection_creation_rate": 3e9}, "Proposed value for connection_creation_rate is too large for an INT."),
    ],
)
def test_quotas_that_are_refused(lab: ControllerHarness, entity: Entity, ops: dict[str, float | None], message: str) -> None:
    good: tuple[Entity, dict[str, float | None]] = ({"user": "good"}, {"producer_byte_rate": 1.0})
    assert alter_quotas(lab, (entity, ops), good) == [(Errors.INVALID_REQUEST, message), (0, None)]
    assert list(lab.image.client_quotas) == [(("user", "good"),)]


def test_an_entity_is_named_once(lab: ControllerHarness) -> None:
    entry: tuple[Entity, dict[str, float | None]] = ({"user": "x", "client-id": None}, {"producer_byte_rate": 1.0})
    message = "Ignoring duplicate entity ClientQuotaEntity(entries={client-id=null, user=x})"
    assert alter_quotas(lab, entry, entry) == [(Errors.INVALID_REQUEST, message)]


@pytest.mark.parametrize(
    ("components", "error"),
    [
        ([("", EXACT, "x")], Errors.INVALID_REQUEST),
        ([("user", EXACT, "x"), ("user", DEFAULT, None)], Errors.INVALID_REQUEST),
        ([("group", EXACT, "x")], Errors.UNSUPPORTED_VERSION),
        ([("user", EXACT, None)], Errors.INVALID_REQUEST),
        ([("user", DEFAULT, "x")], Errors.INVALID_REQUEST),
        ([("user", SPECIFIED, "x")], Errors.INVALID_REQUEST),
        ([("user", 9, None)], Errors.INVALID_REQUEST),
        ([("user", EXACT, "x"), ("ip", DEFAULT, None)], Errors.INVALID_REQUEST),
    ],
)
def test_questions_for_quotas_that_are_refused(lab: ControllerHarness, components: list[Any], error: Errors) -> None:
    assert describe_quotas(lab, *components) == error


# --- SCRAM ---------------------------------------------------------------------------------------


def salted(password: bytes, salt: bytes, iterations: int, digest: str = "sha256") -> bytes:
    return hashlib.pbkdf2_hmac(digest, password, salt, iterations)


def upsertion(name: str, *, mechanism: int = SHA_256, iterations: int = 4_096, password: bytes = b"secret") -> dict[str, Any]:
    digest = "sha512" if mechanism == SHA_512 else "sha256"
    return {
        "name": name,
        "mechanism": mechanism,
        "iterations": iterations,
        "salt": b"salt",
        "salted_password": salted(password, b"salt", max(1, iterations), digest),
    }


def alter_scram(
    lab: ControllerHarness, *, deletions: list[dict[str, Any]] | None = None, upsertions: list[dict[str, Any]] | None = None
) -> Any:
    answer = lab.ask(ApiKey.ALTER_USER_SCRAM_CREDENTIALS, 0, {"deletions": deletions or [], "upsertions": upsertions or []})
    return {row.user: (row.error_code, row.error_message) for row in answer.results}


def describe_scram(lab: ControllerHarness, *names: str) -> Any:
    key = ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS
    body = {"users": [{"name": name} for name in names] if names else None}
    request = codec.decode_request(key, 0, codec.encode_request_body(key, 0, body), 0)
    response = describe_user_scram_credentials.handle(cast(Any, SimpleNamespace(image=lab.image)), cast(Any, None), request)
    answer = codec.decode_response(key, 0, codec.encode_response_body(key, 0, response), 0)
    return {row.user: row.error_code or [(info.mechanism, info.iterations) for info in row.credential_infos] for row in answer.results}


def test_credentials_are_kept_as_keys_and_described_without_them(lab: ControllerHarness) -> None:
    both = [upsertion("alice"), upsertion("bob", mechanism=SHA_512, iterations=8_192)]
    assert alter_scram(lab, upsertions=both) == {"alice": (0, None), "bob": (0, None)}
    assert describe_scram(lab) == {"alice": [(SHA_256, 4_096)], "bob": [(SHA_512, 8_192)]}
    assert alter_scram(lab, upsertions=[upsertion("alice", mechanism=SHA_512)]) == {"alice": (0, None)}
    assert describe_scram(lab, "alice") == {"alice": [(SHA_256, 4_096), (SHA_512, 4_096)]}

    # What a server does with a client's proof (RFC 5802) holds for what is kept.
    kept = lab.image.scram_credentials[SHA_256, "alice"]
    message = b"n=alice,r=nonce,r=nonce2,s=c2FsdA==,i=4096,c=biws,r=nonce2"
    client_key = hmac.digest(salted(b"secret", b"salt", 4_096), b"Client Key", "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256"), strict=True))
    found = bytes(a ^ b for a, b in zip(proof, hmac.digest(kept.stored_key, message, "sha256"), strict=True))
    assert hashlib.sha256(found).digest() == kept.stored_key
    assert kept.salt == b"salt" and len(kept.server_key) == 32

    assert alter_scram(lab, deletions=[{"name": "alice", "mechanism": SHA_256}]) == {"alice": (0, None)}
    assert describe_scram(lab, "alice", "nobody", "bob", "bob") == {
        "alice": [(SHA_512, 4_096)],
        "nobody": Errors.RESOURCE_NOT_FOUND,
        "bob": Errors.DUPLICATE_RESOURCE,
    }


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (upsertion("", iterations=4_096), Errors.UNACCEPTABLE_CREDENTIAL, "Username must not be empty"),
        (upsertion("x", iterations=4_095), Errors.UNACCEPTABLE_CREDENTIAL, "Too few iterations"),
        (upsertion("x", iterations=16_385), Errors.UNACCEPTABLE_CREDENTIAL, "Too many iterations"),
        (upsertion("x", mechanism=7), Errors.UNSUPPORTED_SASL_MECHANISM, "Unknown SCRAM mechanism"),
    ],
)
def test_credentials_that_are_refused(lab: ControllerHarness, change: dict[str, Any], error: Errors, message: str) -> None:
    assert alter_scram(lab, upsertions=[change, upsertion("good")]) == {change["name"]: (error, message), "good": (0, None)}


def test_a_user_is_altered_once_and_must_exist_to_be_deleted(lab: ControllerHarness) -> None:
    twice = (Errors.DUPLICATE_RESOURCE, "A user credential cannot be altered twice in the same request")
    alter_scram(lab, upsertions=[upsertion("alice")])
    deletion = {"name": "alice", "mechanism": SHA_256}
    assert alter_scram(lab, deletions=[deletion], upsertions=[upsertion("alice")]) == {"alice": twice}
    assert alter_scram(lab, upsertions=[upsertion("bob"), upsertion("bob")]) == {"bob": twice}
    missing = (Errors.RESOURCE_NOT_FOUND, "Attempt to delete a user credential that does not exist")
    assert alter_scram(lab, deletions=[deletion | {"mechanism": SHA_512}]) == {"alice": missing}
    assert describe_scram(lab) == {"alice": [(SHA_256, 4_096)]}
