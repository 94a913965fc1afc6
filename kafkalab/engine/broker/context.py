"""What a handler knows of the request that it answers, and by what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from kafkalab.engine.protocol.apis import ApiKey


class ConnectionStats:
    """Counters of one connection, for the screen. Handlers add to them; they only grow."""

    __slots__ = (
        "acks",
        "apis",
        "bytes_in",
        "bytes_out",
        "fetched_bytes",
        "group_id",
        "last_error",
        "peer_node_id",
        "produced_bytes",
        "producer_id",
        "requests",
        "sendfile_bytes",
    )

    def __init__(self) -> None:
        self.bytes_in = 0
        self.bytes_out = 0
        self.sendfile_bytes = 0
        """Of ``bytes_out``: what the system sent straight from files."""
        self.requests = 0
        self.produced_bytes = 0
        self.fetched_bytes = 0
        self.apis: dict[tuple[int, int], int] = {}
        """Requests by API key and version."""
        self.acks: int | None = None
        self.producer_id = -1
        self.last_error = ""
        self.group_id = ""
        self.peer_node_id = -1
        """The broker at the other end of replication, -1 for anybody else."""


class ConnectionInfo:
    """The connection that a request came by."""

    __slots__ = ("client_host", "client_port", "id", "listener_name", "sends_files", "software_name", "software_version", "stats")

    def __init__(self, connection_id: int, listener_name: str, client_host: str, client_port: int) -> None:
        self.id = connection_id
        self.listener_name = listener_name
        self.client_host = client_host
        self.client_port = client_port
        self.sends_files = False
        """Whether a response on this connection may contain regions of files."""
        self.software_name = ""
        self.software_version = ""
        self.stats = ConnectionStats()


class Channel(Protocol):
    """The way back to the client, kept by the connection."""

    def send_response(self, ctx: RequestContext, body: Mapping[str, Any] | None) -> None:
        """Send the response in the order of the requests; None sends nothing (acks=0)."""

    def send_encoded(self, ctx: RequestContext, frame: bytes) -> None:
        """As :meth:`send_response`, for a response that is encoded already, without its size."""

    def close(self, reason: str, detail: str) -> None:
        """Hang up; ``reason`` is the name of the counter that goes up."""


class RequestContext:
    """One request on its way through the node. Exactly one of its answers is used, once."""

    __slots__ = (
        "_channel",
        "api_key",
        "body_at",
        "client_id",
        "connection",
        "correlation_id",
        "frame",
        "frame_at",
        "is_forwarded",
        "response",
        "version",
    )

    def __init__(
        self,
        channel: Channel,
        connection: ConnectionInfo,
        api_key: ApiKey,
        version: int,
        correlation_id: int,
        client_id: str,
        frame: bytes = b"",
        frame_at: int = 0,
        body_at: int = 0,
    ) -> None:
        self._channel = channel
        self.frame = frame
        """The request as it came, from ``frame_at``; empty once it was handed to its handler."""
        self.frame_at = frame_at
        self.body_at = body_at
        self.connection = connection
        self.api_key = api_key
        self.version = version
        self.correlation_id = correlation_id
        self.client_id = client_id
        self.is_forwarded = False
        """Whether a broker passed it on, having checked its own part."""
        self.response: Any = None
        """Kept by the connection until the responses before it are sent."""

    def respond(self, body: Mapping[str, Any]) -> None:
        """Answer, now or after others that came before."""
        self._channel.send_response(self, body)

    def respond_none(self) -> None:
        """Finish a request that has no response (acks=0)."""
        self._channel.send_response(self, None)

    def respond_encoded(self, frame: bytes) -> None:
        """Answer with a frame that another node encoded for this version and correlation id."""
        self._channel.send_encoded(self, frame)

    def close(self, reason: str, detail: str) -> None:
        """Drop the connection."""
        self._channel.close(reason, detail)


Respond = Callable[[Mapping[str, Any]], None]
