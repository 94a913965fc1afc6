"""SCRAM credentials: who may log in with a password, and what proves it (KIP-554, RFC 5802).

Clients send a salted password; what is kept are the two keys that follow from it, from which the
password cannot be had again. Nothing of it appears in a log or in an answer.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, Final

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.controller.levels import SCRAM_SINCE, metadata_version_of
from kafkalab.engine.controller.operation import Plan
from kafkalab.engine.metadata.image import MetadataImage
from kafkalab.engine.protocol.metadata_records import MetadataRecord, RemoveUserScramCredentialRecord, UserScramCredentialRecord

MECHANISMS: Final = {1: "sha256", 2: "sha512"}
"""SCRAM-SHA-256 and SCRAM-SHA-512, by their number on the wire."""
ITERATIONS_MIN: Final = 4_096
ITERATIONS_MAX: Final = 16_384
_TWICE: Final = "A user credential cannot be altered twice in the same request"


class ScramChanges:
    """Plans what clients ask for. Each user succeeds or fails by itself."""

    def __init__(self, image: MetadataImage) -> None:
        self._image = image

    def alter(self, request: Any) -> Plan:
        """AlterUserScramCredentials: deletions and upserts, each user at most once."""
        plans: dict[str, MetadataRecord] = {}
        refusals: dict[str, ApiError] = {}
        for change in (*request.deletions, *request.upsertions):
            if change.name in refusals:
                continue
            try:
                if plans.pop(change.name, None) is not None:
                    raise ApiError(Errors.DUPLICATE_RESOURCE, _TWICE)
                if metadata_version_of(self._image) < SCRAM_SINCE:
                    raise ApiError(Errors.UNSUPPORTED_VERSION, "The current metadata.version does not support SCRAM")
                plans[change.name] = self._upsertion(change) if hasattr(change, "salted_password") else self._deletion(change)
            except ApiError as refusal:
                refusals[change.name] = refusal
        rows = [{"user": name, "error_code": 0, "error_message": None} for name in plans]
        rows += [{"user": name, "error_code": int(refusal.error), "error_message": refusal.message} for name, refusal in refusals.items()]
        return Plan(response={"throttle_time": 0, "results": rows}, records=list(plans.values()))

    def _deletion(self, change: Any) -> MetadataRecord:
        _check(change)
        if (change.mechanism, change.name) not in self._image.scram_credentials:
            raise ApiError(Errors.RESOURCE_NOT_FOUND, "Attempt to delete a user credential that does not exist")
        return RemoveUserScramCredentialRecord(name=change.name, mechanism=change.mechanism)

    def _upsertion(self, change: Any) -> MetadataRecord:
        _check(change)
        if change.iterations < ITERATIONS_MIN:
            raise ApiError(Errors.UNACCEPTABLE_CREDENTIAL, "Too few iterations")
        if change.iterations > ITERATIONS_MAX:
            raise ApiError(Errors.UNACCEPTABLE_CREDENTIAL, "Too many iterations")
        digest = MECHANISMS[change.mechanism]
        salted = bytes(change.salted_password)
        client_key = hmac.digest(salted, b"Client Key", digest)
        return UserScramCredentialRecord(
            name=change.name,
            mechanism=change.mechanism,
            salt=bytes(change.salt),
            stored_key=hashlib.new(digest, client_key).digest(),
            server_key=hmac.digest(salted, b"Server Key", digest),
            iterations=change.iterations,
        )


def _check(change: Any) -> None:
    if not change.name:
        raise ApiError(Errors.UNACCEPTABLE_CREDENTIAL, "Username must not be empty")
    if change.mechanism not in MECHANISMS:
        raise ApiError(Errors.UNSUPPORTED_SASL_MECHANISM, "Unknown SCRAM mechanism")
