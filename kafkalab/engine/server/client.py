"""Requests to other nodes over TCP: one connection per node and lane, answers in order."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import API_SPECS, ApiKey

if TYPE_CHECKING:
    from kafkalab.engine.server.links import NodeLinks

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S: Final = 10.0
RESPONSE_BYTES_MAX: Final = 512 * 1024 * 1024

OnResponse = Callable[[Any | None], None]
AddressOf = Callable[[int], tuple[str, int] | None]
_SIZE: Final = struct.Struct(">i")


class _Waiting:
    """A request whose answer is due."""

    __slots__ = ("api_key", "correlation_id", "on_response", "timer", "version")

    def __init__(self, api_key: int, version: int, correlation_id: int, on_response: OnResponse) -> None:
        self.api_key = api_key
        self.version = version
        self.correlation_id = correlation_id
        self.on_response: OnResponse | None = on_response
        self.timer: asyncio.TimerHandle | None = None

    def finish(self, response: Any | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        on_response, self.on_response = self.on_response, None
        if on_response is not None:
            on_response(response)


class _Link(asyncio.Protocol):
    """One connection to another node. It is made at the first request and dropped at the first fault."""

    is_on_controller = False
    first_bytes = b""

    def __init__(self, network: NodeNetwork, node_id: int, address: tuple[str, int]) -> None:
        self._network = network
        self.party = node_id
        self.address = address
        self._transport: asyncio.Transport | None = None
        self._unsent: list[Any] = []
        self._waiting: deque[_Waiting] = deque()
        self._pieces: list[bytes] = []
        self._have = 0
        self._need = 4
        self.is_gone = False

    @property
    def transport(self) -> asyncio.Transport | None:
        """The way to the other node, once there is one."""
        return self._transport

    def reroute(self, transport: asyncio.Transport, *, sends_files: bool) -> None:
        """From now on this is the way to the other node."""
        self._transport = transport

    def send(self, waiting: _Waiting, chunks: list[Any]) -> None:
        self._waiting.append(waiting)
        if self._transport is None:
            self._unsent.extend(chunks)
        else:
            self._transport.writelines(chunks)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        transport = cast(asyncio.Transport, transport)
        if self.is_gone:
            transport.abort()
            return
        self._transport = transport
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        links = self._network.links
        if links is not None and links.active:
            links.attach(self, is_new=True)
        if self._unsent:
            self._transport.writelines(self._unsent)
            self._unsent = []

    def data_received(self, data: bytes) -> None:
        if self._pieces:
            self._pieces.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        pos = 0
        end = len(data)
        while True:
            left = end - pos
            need = 4
            if left >= 4:
                (size,) = _SIZE.unpack_from(data, pos)
                if not 4 <= size <= RESPONSE_BYTES_MAX:
                    self.fail(f"answered with a frame of {size} bytes")
                    return
                need = 4 + size
            if left < need or left < 4:
                break
            self._answer(data[pos + 4 : pos + need])
            if self.is_gone:
                return
            pos += need
        if left:
            self._pieces.append(data[pos:] if pos else data)
            self._have = left
            self._need = need

    def _answer(self, frame: bytes) -> None:
        if not self._waiting:
            self.fail("answered without having been asked")
            return
        waiting = self._waiting.popleft()
        try:
            correlation_id, at = codec.read_response_header(waiting.api_key, waiting.version, frame)
            if correlation_id != waiting.correlation_id:
                raise codec.DecodeError(f"answer {correlation_id} came where {waiting.correlation_id} was due")
            response = codec.decode_response(waiting.api_key, waiting.version, frame, at)
        except codec.DecodeError as e:
            self.fail(str(e))
            waiting.finish(None)
            return
        waiting.finish(response)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.fail("hung up")

    def overdue(self, api_key: ApiKey, timeout_ms: float) -> None:
        """An answer did not come in time."""
        self.fail(f"did not answer {api_key.name} in {timeout_ms:.0f} ms")

    def fail(self, why: str) -> None:
        """Drop the connection; every request that waits has failed."""
        if self.is_gone:
            return
        self.is_gone = True
        log.debug("node at %s:%d %s", *self.address, why)
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        self._unsent = []
        self._pieces.clear()
        waiting, self._waiting = self._waiting, deque()
        for one in waiting:
            one.finish(None)


class NodeNetwork:
    """A core's way to other nodes (:class:`kafkalab.engine.protocol.network.Network`).

    Fetches wait at the other node for data, so they have a connection of their own: nothing else
    stands behind them.

    :param links: what may be wrong with the way to other nodes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, client_id: str, address_of: AddressOf, links: NodeLinks | None = None) -> None:
        self.links = links
        self._loop = loop
        self._client_id = client_id
        self._address_of = address_of
        self._links: dict[tuple[int, bool], _Link] = {}
        self._connecting: dict[asyncio.Task[None], None] = {}
        self._correlation_id = 0
        self._closed = False

    def send(
        self,
        node_id: int,
        api_key: ApiKey,
        body: Mapping[str, Any],
        on_response: OnResponse,
        *,
        timeout_ms: float,
        version: int | None = None,
    ) -> None:
        """Send a request; see the protocol."""
        if self._closed:
            return
        if version is None:
            version = API_SPECS[api_key].max_version
        self._correlation_id = correlation_id = (self._correlation_id + 1) & 0x7FFFFFFF
        waiting = _Waiting(api_key, version, correlation_id, on_response)
        address = self._address_of(node_id)
        if address is None:
            self._loop.call_soon(waiting.finish, None)
            return
        lane = (node_id, api_key is ApiKey.FETCH)
        link = self._links.get(lane)
        if link is not None and link.address != address:
            self._loop.call_soon(link.fail, "has another address now")
            link = None
        if link is None or link.is_gone:
            link = self._links[lane] = _Link(self, node_id, address)
            task = self._loop.create_task(self._connect(link))
            self._connecting[task] = None
            task.add_done_callback(lambda done: self._connecting.pop(done, None))
        link.send(waiting, codec.encode_request(api_key, version, correlation_id, self._client_id, body))
        waiting.timer = self._loop.call_later(timeout_ms / 1000, link.overdue, api_key, timeout_ms)

    @property
    def connections(self) -> Collection[_Link]:
        """The connections to other nodes, those too that are being made."""
        return self._links.values()

    async def _connect(self, link: _Link) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                if self.links is not None and self.links.active:
                    await self.links.dial(link.party)
                    if link.is_gone:
                        return
                await self._loop.create_connection(lambda: link, *link.address)
        except (OSError, TimeoutError) as e:
            link.fail(f"cannot be reached: {e}")

    def close(self) -> None:
        """Drop all connections; nobody is called back any more."""
        self._closed = True
        for task in self._connecting:
            task.cancel()
        for link in self._links.values():
            for waiting in link._waiting:
                waiting.on_response = None
            link.fail("is not needed any more")
        self._links.clear()
