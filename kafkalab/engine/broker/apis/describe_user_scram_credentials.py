"""DescribeUserScramCredentials (50), broker listener: who has a password, and how it is salted (KIP-554).

Version 0 only. Every broker answers from its own copy of the metadata; no key or salt leaves it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors

if TYPE_CHECKING:
    from kafkalab.engine.broker.services import BrokerServices

VERSIONS = range(1)


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """The users asked about, or all who have a credential."""
    by_user: dict[str, list[dict[str, int]]] = {}
    for (mechanism, name), credential in sorted(services.image.scram_credentials.items()):
        by_user.setdefault(name, []).append({"mechanism": mechanism, "iterations": credential.iterations})
    counts = Counter([user.name for user in request.users] if request.users else sorted(by_user))
    rows = []
    for name, count in counts.items():
        if count > 1:
            message = f"Cannot describe SCRAM credentials for the same user twice in a single request: {name}"
            rows.append({"user": name, "error_code": int(Errors.DUPLICATE_RESOURCE), "error_message": message, "credential_infos": ()})
        elif name not in by_user:
            message = f"Attempt to describe a user credential that does not exist: {name}"
            rows.append({"user": name, "error_code": int(Errors.RESOURCE_NOT_FOUND), "error_message": message, "credential_infos": ()})
        else:
            rows.append({"user": name, "error_code": 0, "error_message": None, "credential_infos": by_user[name]})
    return {"throttle_time": 0, "error_code": 0, "error_message": None, "results": rows}


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The whole request is refused."""
    return {"throttle_time": 0, "error_code": int(error), "error_message": message, "results": ()}
