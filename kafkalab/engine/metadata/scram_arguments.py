"""SCRAM credentials as formatting is told them: ``SCRAM-SHA-256=[name=alice,password=secret]`` (KIP-900, RFC 5802)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final, NamedTuple

from kafkalab.engine.protocol.metadata_records import UserScramCredentialRecord

ITERATIONS_DEFAULT: Final = 4_096
ITERATIONS_MAX: Final = 16_384


class _Mechanism(NamedTuple):
    name: str
    number: int
    digest: str


_MECHANISMS: Final = {
    "SCRAM-SHA-256": _Mechanism("SCRAM_SHA_256", 1, "sha256"),
    "SCRAM-SHA-512": _Mechanism("SCRAM_SHA_512", 2, "sha512"),
}
_KNOWN: Final = ("name", "salt", "iterations", "password", "saltedpassword")


def parse_scram_argument(text: str, *, random_salt: bytes) -> UserScramCredentialRecord:
    """The credential; ``random_salt`` is taken where none is given.

    :raises ValueError: with a sentence that says what is wrong, in the words of Kafka's tool.
    """
    text = text.strip()
    mechanism_text, equals, settings = text.partition("=")
    if not equals:
        raise ValueError(f"Failed to find equals sign in SCRAM argument '{text}'")
    mechanism = _MECHANISMS.get(mechanism_text)
    if mechanism is None:
        raise ValueError(f"The add-scram mechanism {mechanism_text} is not supported.")
    if not settings.startswith("["):
        raise ValueError("Expected configuration string to start with [")
    if not settings.endswith("]"):
        raise ValueError("Expected configuration string to end with ]")
    parts = dict(_component(part) for part in settings[1:-1].split(","))
    if "name" not in parts:
        raise ValueError("You must supply 'name' to add-scram")
    salt = _decoded(parts["salt"], "salt") if "salt" in parts else random_salt
    try:
        iterations = int(parts.get("iterations", str(ITERATIONS_DEFAULT)))
    except ValueError:
        raise ValueError(f"Failed to parse iterations count: {parts['iterations']}") from None
    if "password" not in parts and "saltedpassword" not in parts:
        raise ValueError("You must supply one of 'password' or 'saltedpassword' to add-scram")
    if "password" not in parts and "salt" not in parts:
        raise ValueError("You must supply 'salt' with 'saltedpassword' to add-scram")
    given = None if "password" in parts else _decoded(parts["saltedpassword"], "saltedPassword")
    unknown = sorted(parts.keys() - set(_KNOWN))
    if unknown:
        raise ValueError(f"Unknown SCRAM configurations: {', '.join(unknown)}")
    if iterations < ITERATIONS_DEFAULT:
        raise ValueError(f"The 'iterations' value must be >= {ITERATIONS_DEFAULT} for add-scram using {mechanism.name}")
    if iterations > ITERATIONS_MAX:
        raise ValueError(f"The 'iterations' value must be <= {ITERATIONS_MAX} for add-scram using {mechanism.name}")
    salted = given if given is not None else hashlib.pbkdf2_hmac(mechanism.digest, parts["password"].encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", mechanism.digest)
    return UserScramCredentialRecord(
        name=parts["name"],
        mechanism=mechanism.number,
        salt=salt,
        stored_key=hashlib.new(mechanism.digest, client_key).digest(),
        server_key=hmac.digest(salted, b"Server Key", mechanism.digest),
        iterations=iterations,
    )


def _component(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"No equals sign found in SCRAM component: {text}")
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
    return name, value


def _decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError(f"Failed to decode given {what}: {text}") from None
