"""The way from a broker to the active controller, whichever node that is at the moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.codec import DecodeError, decode_response, encode_request, read_response_header
from kafkalab.engine.protocol.network import Network

RETRY_BACKOFF_MS: Final = 50.0
LEADER_LOOK_MS: Final = 100.0
"""How often it is looked whether the controller that a request waits for is still the active one. At the second look
that finds another one the request goes there: an old controller that is still there has answered by then that it is none."""
FORWARD_TIMEOUT_MS: Final = 30_000.0
FRAME_SIZE_BYTES: Final = 4
# Version 0 of DefaultPrincipalData: type "User", name "ANONYMOUS", no token, no tags (KIP-590).
_ANONYMOUS: Final = b"\x00\x00" + b"\x05User" + b"\x0aANONYMOUS" + b"\x00" + b"\x00"

OnResponse = Callable[[Any | None], None]


class LeaderSource(Protocol):
    """Who knows the active controller."""

    @property
    def leader_id(self) -> int:
        """Its node id, -1 while there is none."""


class ControllerChannel:
    """Sends requests to the active controller and tries again until their deadline."""

    def __init__(self, *, clock: Clock, network: Network, raft: LeaderSource) -> None:
        self._clock = clock
        self._network = network
        self._raft = raft
        self._closed = False

    def send(self, api_key: ApiKey, body: Mapping[str, Any], on_response: OnResponse, *, timeout_ms: float = 10_000.0) -> None:
        """Send a request; the answer is None when no controller took it before the deadline.

        Errors other than NOT_CONTROLLER are answers. A controller that was replaced without a word may have carried the
        request out all the same.
        """
        self._attempt(api_key, body, on_response, self._clock.now_ms() + timeout_ms)

    def _attempt(self, api_key: ApiKey, body: Mapping[str, Any], on_response: OnResponse, deadline_ms: float) -> None:
        if self._closed:
            return
        left_ms = deadline_ms - self._clock.now_ms()

        def again() -> None:
            if deadline_ms - self._clock.now_ms() <= RETRY_BACKOFF_MS:
                on_response(None)
            else:
                self._attempt(api_key, body, on_response, deadline_ms)

        leader_id = self._raft.leader_id
        if leader_id < 0 or left_ms <= 0:
            self._clock.call_later(RETRY_BACKOFF_MS, again)
            return
        is_over = is_replaced = False
        timer: Timer

        def answered(response: Any | None) -> None:
            nonlocal is_over
            if self._closed or is_over:
                return
            is_over = True
            timer.cancel()
            if response is None or _is_not_controller(api_key, response):
                self._clock.call_later(RETRY_BACKOFF_MS, again)
            else:
                on_response(response)

        def look() -> None:
            nonlocal is_over, is_replaced, timer
            if self._closed or is_over:
                return
            was_replaced, is_replaced = is_replaced, self._raft.leader_id not in (leader_id, -1)
            if was_replaced and is_replaced:
                is_over = True
                again()
            else:
                timer = self._clock.call_later(LEADER_LOOK_MS, look)

        timer = self._clock.call_later(LEADER_LOOK_MS, look)
        self._network.send(leader_id, api_key, body, answered, timeout_ms=max(1.0, left_ms))

    def forward(self, ctx: RequestContext, frame: bytes, *, refuse: Callable[[Errors, str], None]) -> None:
        """Let the active controller answer a client's request as it came (Envelope, KIP-590).

        ``refuse`` is called when no controller takes it before the deadline.
        """
        self._forward(ctx, frame, ctx.respond_encoded, refuse)

    def forward_body(
        self, ctx: RequestContext, body: Mapping[str, Any], *, on_response: Callable[[Any], None], refuse: Callable[[Errors, str], None]
    ) -> None:
        """As :meth:`forward`, for what a handler has left of a client's request, which wants the answer itself."""
        frame = b"".join(encode_request(ctx.api_key, ctx.version, ctx.correlation_id, ctx.client_id, body))[FRAME_SIZE_BYTES:]

        def answered(data: bytes) -> None:
            _, body_at = read_response_header(ctx.api_key, ctx.version, data)
            try:
                response = decode_response(ctx.api_key, ctx.version, data, body_at)
            except DecodeError:
                refuse(Errors.UNKNOWN_SERVER_ERROR, "The active controller's answer cannot be read.")
                return
            on_response(response)

        self._forward(ctx, frame, answered, refuse)

    def _forward(
        self, ctx: RequestContext, frame: bytes, on_answer: Callable[[bytes], None], refuse: Callable[[Errors, str], None]
    ) -> None:
        host = ctx.connection.client_host
        address = bytes(int(part) for part in host.split(".")) if host.count(".") == 3 else bytes(15) + b"\x01"
        body = {"request_data": frame, "request_principal": _ANONYMOUS, "client_host_address": address}

        def answered(response: Any | None) -> None:
            if response is not None and response.error_code == Errors.NONE and not _is_answer(ctx, response.response_data):
                refuse(Errors.UNKNOWN_SERVER_ERROR, "The active controller's answer cannot be read.")
            elif response is None:
                refuse(Errors.REQUEST_TIMED_OUT, "No active controller answered in time.")
            elif response.error_code != Errors.NONE:
                refuse(Errors.of(response.error_code), "The active controller could not read the forwarded request.")
            else:
                on_answer(response.response_data)

        self.send(ApiKey.ENVELOPE, body, answered, timeout_ms=FORWARD_TIMEOUT_MS)

    def close(self) -> None:
        """Forget everything under way; nobody is called back any more."""
        self._closed = True


def _is_answer(ctx: RequestContext, data: bytes | None) -> bool:
    """Whether what came in an envelope is an answer to what was sent in one."""
    try:
        return data is not None and read_response_header(ctx.api_key, ctx.version, data)[0] == ctx.correlation_id
    except DecodeError:
        return False


def _is_not_controller(api_key: ApiKey, response: Any) -> bool:
    if getattr(response, "error_code", Errors.NONE) == Errors.NOT_CONTROLLER:
        return True
    # CreateTopics and DeleteTopics have no error of their own, only their topics do.
    return any(getattr(topic, "error_code", 0) == Errors.NOT_CONTROLLER for topic in _topics(api_key, response))


def _topics(api_key: ApiKey, response: Any) -> tuple[Any, ...]:
    if api_key is ApiKey.CREATE_TOPICS:
        return tuple(response.topics)
    if api_key is ApiKey.DELETE_TOPICS:
        return tuple(response.responses)
    return ()
