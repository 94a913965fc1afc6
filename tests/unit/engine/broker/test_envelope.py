"""A request that a broker passes on, as the controller takes it out of its envelope."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from kafkalab.engine.broker.apis import envelope
from kafkalab.engine.broker.context import Channel, ConnectionInfo, RequestContext
from kafkalab.engine.broker.services import ControllerServices
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey

CONNECTION = ConnectionInfo(1, "CONTROLLER", "127.0.0.1", 5_000)


class StubRouter:
    """Keeps what it is told to run."""

    def __init__(self) -> None:
        self.ran: list[RequestContext] = []

    def route(self, channel: Channel, connection: ConnectionInfo, frame: bytes, offset: int) -> RequestContext:
        header = codec.read_request_header(frame, offset)
        return RequestContext(channel, connection, ApiKey(header.api_key), header.version, header.correlation_id, header.client_id)

    def run(self, ctx: RequestContext) -> None:
        self.ran.append(ctx)


def test_what_was_in_an_envelope_is_known_to_have_been_passed_on() -> None:
    router = StubRouter()
    services = cast(ControllerServices, SimpleNamespace(raft=SimpleNamespace(is_leader=True), router=router))
    answers: list[Any] = []
    channel = cast(Channel, SimpleNamespace(send_response=lambda _ctx, body: answers.append(body)))
    outer = RequestContext(channel, CONNECTION, ApiKey.ENVELOPE, 0, 7, "broker")
    body = {"resources": [], "validate_only": False}
    frame = b"".join(codec.encode_request(ApiKey.INCREMENTAL_ALTER_CONFIGS, 1, 9, "client", body))[4:]
    assert envelope.handle(services, outer, SimpleNamespace(request_data=frame)) is None
    (inner,) = router.ran
    assert (inner.api_key, inner.client_id, inner.is_forwarded, outer.is_forwarded) == (
        ApiKey.INCREMENTAL_ALTER_CONFIGS,
        "client",
        True,
        False,
    )
    inner.respond({"error_code": Errors.NOT_CONTROLLER})
    assert answers == [{"response_data": None, "error_code": Errors.NOT_CONTROLLER}]
