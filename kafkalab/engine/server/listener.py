"""A TCP listener: accepts connections within the caps and counts what it had to refuse."""

from __future__ import annotations

import asyncio
import errno
import logging
import sys
from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from kafkalab.engine.broker.router import Router
from kafkalab.engine.common.time import Clock
from kafkalab.engine.server.connection import Connection
from kafkalab.engine.server.levels import LevelSampler
from kafkalab.engine.telemetry.events import BadInput
from kafkalab.engine.telemetry.hub import TelemetrySink

if TYPE_CHECKING:
    from kafkalab.engine.server.links import NodeLinks

log = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 5_000
CONNECTIONS_PER_HOST_MAX: Final = 1_000
BACKLOG: Final = 128
# On POSIX this lets a restarted node have its port back while old connections linger; on Windows it
# would let two programs share a port.
REUSE_ADDRESS: Final = sys.platform != "win32"


class PortBusy(Exception):
    """Another program listens on the address."""


class Listener:
    """One bound address with its router and its live connections."""

    def __init__(
        self,
        *,
        name: str,
        node_id: int,
        router: Router,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        sink: TelemetrySink,
        sampler: LevelSampler,
        max_request_bytes: int,
        max_idle_ms: float,
        first_connection_id: int = 1,
        links: NodeLinks | None = None,
    ) -> None:
        """``links`` is what may be wrong with the way to those who connect."""
        self.name = name
        self.router = router
        self.loop = loop
        self.clock = clock
        self.max_request_bytes = max_request_bytes
        self._node_id = node_id
        self._sink = sink
        self._sampler = sampler
        self._max_idle_ms = max_idle_ms
        # In the order in which they came, so that what is done to all is done in the same order each time.
        self._connections: dict[Connection, None] = {}
        self._by_host: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._is_closed = False
        self._serving: asyncio.Task[None] | None = None
        self._next_id = first_connection_id
        self._links = links

    async def bind(self, host: str, port: int, *, serve: bool = True) -> None:
        """Take the address; until :meth:`serve` connections are refused, unless ``serve`` says to begin at once.

        :raises PortBusy: when the address is taken.
        """
        try:
            self._server = await self.loop.create_server(
                self._accept, host, port, backlog=BACKLOG, reuse_address=REUSE_ADDRESS, start_serving=serve
            )
        except OSError as e:
            if e.errno in (errno.EADDRINUSE, errno.EACCES):
                raise PortBusy(f"port {port} on {host} is taken: {e.strerror}") from e
            raise

    def serve(self) -> None:
        """Begin to accept."""
        if self._server is not None and not self._server.is_serving():
            self._serving = self.loop.create_task(self._server.start_serving())

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._server is not None, "not bound yet"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def _accept(self) -> Connection:
        connection_id = self._next_id
        self._next_id += 1
        return Connection(self, connection_id)

    def connected(self, connection: Connection) -> None:
        """A connection was made; one too many is closed again at once."""
        self._connections[connection] = None
        host = connection.info.client_host
        self._by_host[host] += 1
        self._sampler.opened(connection)
        if self._is_closed:
            # Accepted in the turn in which the listener closed: nobody else would let go of it.
            connection.reset()
            return
        if len(self._connections) > CONNECTIONS_MAX or self._by_host[host] > CONNECTIONS_PER_HOST_MAX:
            connection.close("too_many_connections", f"{len(self._connections)} connections, {self._by_host[host]} of them from {host}")
        elif self._max_idle_ms > 0:
            self._watch_idle(connection, self._max_idle_ms)
        if self._links is not None and self._links.active:
            self._links.attach(connection, is_new=True)

    @property
    def connections(self) -> Collection[Connection]:
        """The live connections."""
        return self._connections

    def disconnected(self, connection: Connection) -> None:
        """A connection is gone."""
        self._connections.pop(connection, None)
        host = connection.info.client_host
        self._by_host[host] -= 1
        if not self._by_host[host]:
            del self._by_host[host]
        self._sampler.closed(connection)

    def active(self, connection: Connection) -> None:
        """A connection sent something."""
        connection.last_active_ms = self.clock.now_ms()
        if not connection.is_dirty:
            self._sampler.touched(connection)

    def _watch_idle(self, connection: Connection, wait_ms: float) -> None:
        def look() -> None:
            if connection not in self._connections:
                return
            idle_ms = self.clock.now_ms() - connection.last_active_ms
            if idle_ms >= self._max_idle_ms and not connection.in_flight:
                connection.end()
            else:
                self._watch_idle(connection, max(1_000.0, self._max_idle_ms - idle_ms))

        self.clock.call_later(wait_ms, look)

    def bad_input(self, connection: Connection, reason: str, detail: str) -> None:
        """Count and tell why a connection is closed."""
        info = connection.info
        peer = f"{info.client_host}:{info.client_port}"
        self._sampler.bad_input[reason] += 1
        log.info("node %d closes the connection of %s on %s (%s): %s", self._node_id, peer, self.name, reason, detail)
        self._sink.emit(BadInput(at_ms=self.clock.wall_ms(), node_id=self._node_id, peer=peer, reason=reason, detail=detail))

    def stop_accepting(self) -> None:
        """Close the listening socket; connections stay."""
        self._is_closed = True
        if self._server is not None:
            self._server.close()
            self._server = None

    def end(self) -> None:
        """Close all connections in order."""
        self.stop_accepting()
        for connection in list(self._connections):
            connection.end()

    def reset(self) -> None:
        """Drop everything at once, as a killed process does."""
        self.stop_accepting()
        for connection in list(self._connections):
            connection.reset()
