"""Envelope, version 0: a client's request that a broker passes on to the active controller (KIP-590)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.broker.services import ControllerServices
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import API_SPECS


class _EnvelopeChannel:
    """Puts the answer to the inner request into the answer to the outer one."""

    def __init__(self, outer: RequestContext) -> None:
        self._outer = outer

    def send_response(self, ctx: RequestContext, body: Mapping[str, Any] | None) -> None:
        assert body is not None, "only acks=0 has no answer, and it is not passed on"
        if _says_not_controller(body):
            self._outer.respond({"response_data": None, "error_code": Errors.NOT_CONTROLLER})
            return
        frame = b"".join(codec.encode_response(ctx.api_key, ctx.version, ctx.correlation_id, body))
        self._outer.respond({"response_data": frame[4:], "error_code": Errors.NONE})

    def send_encoded(self, ctx: RequestContext, frame: bytes) -> None:
        self._outer.respond({"response_data": frame, "error_code": Errors.NONE})

    def close(self, reason: str, detail: str) -> None:
        self._outer.respond({"response_data": None, "error_code": Errors.INVALID_REQUEST})


def handle(services: ControllerServices, ctx: RequestContext, request: Any) -> Mapping[str, Any] | None:
    """Unwrap the request and answer it as if the client had asked here."""
    if not services.raft.is_leader:
        return {"response_data": None, "error_code": Errors.NOT_CONTROLLER}
    assert services.router is not None
    try:
        header = codec.read_request_header(request.request_data)
    except codec.DecodeError:
        return error_response(request, Errors.INVALID_REQUEST, None, ctx.version)
    spec = API_SPECS.get(header.api_key)
    if spec is None or not spec.forwarded:
        return error_response(request, Errors.INVALID_REQUEST, None, ctx.version)
    inner = services.router.route(_EnvelopeChannel(ctx), ctx.connection, request.request_data, 0)
    if inner is not None:
        inner.is_forwarded = True
        services.router.run(inner)
    return None


def _says_not_controller(body: Mapping[str, Any]) -> bool:
    """Leadership was lost meanwhile: the broker asks the new controller, the client does not notice."""
    if body.get("error_code") == Errors.NOT_CONTROLLER:
        return True
    parts = [part for name in ("topics", "responses", "results", "entries") for part in body.get(name) or ()]
    return any(part.get("error_code") == Errors.NOT_CONTROLLER for part in parts)


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The response with an error."""
    return {"response_data": None, "error_code": error}
