"""From a frame to the handler that answers it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from kafkalab.engine.broker.context import Channel, ConnectionInfo, RequestContext
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.time import Clock
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import API_SPECS, ApiKey, ApiSpec
from kafkalab.engine.telemetry.events import RequestFailed
from kafkalab.engine.telemetry.hub import TelemetrySink

log = logging.getLogger(__name__)

Handler = Callable[[Any, RequestContext, Any], Mapping[str, Any] | None]
ErrorResponse = Callable[[Any, Errors, str | None, int], Mapping[str, Any]]
Forward = Callable[[RequestContext, bytes, Any], None]
"""Gets the request as it came, and as it was read."""


class Router:
    """Admits requests of one kind of listener and hands them to their handlers."""

    def __init__(
        self,
        services: Any,
        handlers: Mapping[ApiKey, tuple[Handler, ErrorResponse]],
        specs: list[ApiSpec],
        *,
        node_id: int,
        clock: Clock,
        sink: TelemetrySink,
        forward: Forward | None = None,
    ) -> None:
        """``forward`` takes the requests that only the active controller can answer."""
        self._services = services
        self._specs: Final = {int(spec.key): spec for spec in specs}
        self._handlers = handlers
        self._node_id = node_id
        self._clock = clock
        self._sink = sink
        self._forward = forward
        unanswered = [spec.name for spec in specs if spec.key not in handlers and not (forward and spec.forwarded_as_is)]
        assert not unanswered, f"nobody answers {', '.join(unanswered)}"

    def route(self, channel: Channel, connection: ConnectionInfo, frame: bytes, offset: int) -> RequestContext | None:
        """Start to answer the request in ``frame[offset:]``; None when the connection was closed for it.

        Whoever calls must have the returned context in its queue of responses before the handler
        answers, so the context is handed to :meth:`run` separately.
        """
        try:
            header = codec.read_request_header(frame, offset)
        except codec.DecodeError as e:
            channel.close("malformed_header", str(e))
            return None
        spec = self._specs.get(header.api_key)
        if spec is None:
            known = API_SPECS.get(header.api_key)
            name = known.name if known else str(header.api_key)
            channel.close("unknown_api", f"API key {name} is not served on listener {connection.listener_name}")
            return None
        version = header.version
        if not spec.min_version <= version <= spec.max_version and header.api_key != ApiKey.API_VERSIONS:
            channel.close(
                "unsupported_version", f"{spec.name} version {version} is not served, versions {spec.min_version} to {spec.max_version} are"
            )
            return None
        stats = connection.stats
        stats.requests += 1
        used = (header.api_key, version)
        stats.apis[used] = stats.apis.get(used, 0) + 1
        return RequestContext(
            channel, connection, spec.key, version, header.correlation_id, header.client_id, frame, offset, header.body_at
        )

    def run(self, ctx: RequestContext) -> None:
        """Hand the request to its handler."""
        frame, offset, body_at = ctx.frame, ctx.frame_at, ctx.body_at
        ctx.frame = b""
        spec = self._specs[ctx.api_key]
        if ctx.version > spec.max_version:
            # Only ApiVersions comes this far: the client learns what to speak instead (KIP-511).
            ctx.version = 0
            own = {"api_key": spec.key, "min_version": spec.min_version, "max_version": spec.max_version}
            ctx.respond({"error_code": Errors.UNSUPPORTED_VERSION, "api_keys": [own]})
            return
        try:
            request = codec.decode_request(ctx.api_key, ctx.version, frame, body_at)
        except codec.DecodeError as e:
            ctx.close("malformed_request", f"{spec.name} version {ctx.version}: {e}")
            return
        if spec.forwarded_as_is and self._forward is not None:
            self._forward(ctx, frame[offset:] if offset else frame, request)
            return
        handle, error_response = self._handlers[ctx.api_key]
        try:
            body = handle(self._services, ctx, request)
        except ApiError as e:
            body = error_response(request, e.error, e.message, ctx.version)
        except AssertionError:
            # Our own invariant is broken: the node must not go on as if nothing had been.
            raise
        except Exception as e:
            log.exception("%s version %d of client %s failed", spec.name, ctx.version, ctx.client_id)
            self._sink.emit(
                RequestFailed(at_ms=self._clock.wall_ms(), node_id=self._node_id, api=spec.name, detail=f"{type(e).__name__}: {e}")
            )
            body = error_response(request, Errors.UNKNOWN_SERVER_ERROR, None, ctx.version)
        if body is not None:
            ctx.respond(body)
