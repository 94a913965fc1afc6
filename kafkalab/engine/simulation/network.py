"""TCP between simulated machines: ordered bytes per connection, with links that are late, cut, lossy or slow.

A piece arrives some tenths of a millisecond after it was sent, now and then much later, and never
before what was sent ahead of it on its connection; connections overtake each other. As with TCP
nothing is lost for good: what a cut holds back arrives some time after it is healed, unless an end
gave the connection up. An end that does so during a cut may have its last words delivered all the
same, for its machine goes on sending them; the other end learns of it only when the link is whole.

A machine whose process was killed resets its connections. One that lost its power says nothing, and
resets what still comes when it is up again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from typing import Any, Final
from zlib import crc32

from kafkalab.engine.faults.network import CLIENTS, LinkFault
from kafkalab.engine.simulation.loop import SimLoop, SimServer
from kafkalab.engine.simulation.scheduler import Scheduler

Address = tuple[str, int]

LATENCY_MIN_MS: Final = 0.1
LATENCY_SPREAD_MS: Final = 0.4
TAIL_PROBABILITY: Final = 0.005
TAIL_MS: Final = 30.0
"""What a piece that is unlucky waits in addition, at most."""
SPLIT_PROBABILITY: Final = 0.01
"""A piece that was sent at once arrives in two."""
SYN_RETRY_MS: Final = 1_000.0
SYN_RETRIES_MAX: Final = 5
RESENT_WITHIN_MS: Final = 2_000.0
"""What a cut held back arrives so long after it is healed, at most."""
FIRST_EPHEMERAL_PORT: Final = 32_768

_DATA: Final = 0
_FIN: Final = 1
_RST: Final = 2


class SimTransport(asyncio.Transport):
    """One end of a connection."""

    def __init__(self, network: SimNetwork, loop: SimLoop, own: Address, peer: Address) -> None:
        super().__init__()
        self._network = network
        self.loop = loop
        self._own = own
        self._peer_address = peer
        self.pipe: _Pipe
        """What is sent goes in here."""
        self._protocol: asyncio.Protocol | None = None
        self._is_reading_paused = False
        self._unread: deque[tuple[int, bytes]] = deque()
        self.is_over = False
        """The machine knows nothing of this end any more."""

    # --- the owner's side ------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peername":
            return self._peer_address
        if name == "sockname":
            return self._own
        return default

    def is_closing(self) -> bool:
        return self.is_over

    def write(self, data: Any) -> None:
        if not self.is_over:
            self.pipe.send(_DATA, data if type(data) is bytes else bytes(data))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        if not self.is_over:
            self.pipe.send(_DATA, b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self._is_reading_paused = True

    def resume_reading(self) -> None:
        if self._is_reading_paused:
            self._is_reading_paused = False
            if self._unread:
                self.loop.call_soon(self._read_on)

    def is_reading(self) -> bool:
        return not self._is_reading_paused and not self.is_over

    def close(self) -> None:
        if not self.is_over:
            self._let_go(None)
            self.pipe.send(_FIN, b"")

    def abort(self) -> None:
        if not self.is_over:
            self._let_go(None)
            self.pipe.give_up()

    # --- the network's side ----------------------------------------------------------------------------

    def opened(self, protocol: asyncio.Protocol) -> None:
        """The connection is made; in the owner's loop."""
        self._protocol = protocol
        protocol.connection_made(self)
        if self._unread:
            self._read_on()

    def arrived(self, kind: int, data: bytes) -> None:
        """Something came by the wire."""
        if self.is_over:
            if kind != _RST:
                # Nobody is here: the machine says so.
                self.pipe.send(_RST, b"")
            return
        if self.loop.is_dead:
            return
        self.loop.run(self._take, (kind, data))

    def _take(self, kind: int, data: bytes) -> None:
        if self.is_over:
            return
        if kind == _RST:
            self._let_go(ConnectionResetError("connection reset by peer"))
            return
        protocol = self._protocol
        if protocol is None or self._is_reading_paused or self._unread:
            self._unread.append((kind, data))
        elif kind == _DATA:
            protocol.data_received(data)
        else:
            self._ended(protocol)

    def _read_on(self) -> None:
        while self._unread and not self._is_reading_paused and not self.is_over:
            kind, data = self._unread.popleft()
            assert self._protocol is not None
            if kind == _DATA:
                self._protocol.data_received(data)
            else:
                self._ended(self._protocol)

    def _ended(self, protocol: asyncio.Protocol) -> None:
        protocol.eof_received()
        self.close()

    def vanish(self) -> None:
        """The machine is without power: the end is gone and says nothing."""
        self.is_over = True
        self._unread.clear()

    def _let_go(self, error: Exception | None) -> None:
        self.is_over = True
        self._unread.clear()
        self._network.forget(self)
        if self._protocol is not None:
            self.loop.call_soon(self._protocol.connection_lost, error)


class _Pipe:
    """One direction of a connection."""

    __slots__ = ("_held", "_last_due_ms", "_line_free_ms", "_link", "_network", "target")

    def __init__(self, network: SimNetwork, link: _Link, target: SimTransport) -> None:
        self._network = network
        self._link = link
        self.target = target
        self._last_due_ms = 0.0
        self._line_free_ms = 0.0
        self._held: deque[tuple[int, bytes]] = deque()

    def send(self, kind: int, data: bytes) -> None:
        """Put something on the wire."""
        link = self._link
        if link.is_blocked or self._held:
            if kind == _RST:
                # Said once; nobody repeats it. Who sends to a machine that knows nothing of him hears of it then.
                return
            self._held.append((kind, data))
            link.holding[self] = None
            return
        network = self._network
        if kind == _DATA and len(data) > 1 and network.rng.random() < SPLIT_PROBABILITY:
            at = network.rng.randrange(1, len(data))
            self._put(kind, data[:at])
            data = data[at:]
        self._put(kind, data)

    def _put(self, kind: int, data: bytes) -> None:
        network = self._network
        due_ms = network.scheduler.now_ms + network.latency_ms()
        network.digest = crc32(data, network.digest ^ int(due_ms * 1000.0) & 0xFFFFFFFF)
        fault = self._link.fault
        if fault is not None:
            rng = network.rng
            if fault.bytes_per_second:
                self._line_free_ms = max(self._line_free_ms, due_ms) + len(data) / fault.bytes_per_second * 1000.0
                due_ms = self._line_free_ms
            due_ms += fault.late_ms(rng)
            if fault.loss:
                resent_ms = fault.resending_ms(rng)
                if resent_ms is None:
                    return
                due_ms += resent_ms
        if due_ms < self._last_due_ms:
            due_ms = self._last_due_ms
        self._last_due_ms = due_ms
        network.scheduler.at(due_ms, network.wire, self.target.arrived, (kind, data))

    def give_up(self) -> None:
        """The sender is not interested any more."""
        if self._held and self._network.rng.random() < 0.5:
            # Its machine goes on sending what it was given.
            self._held.append((_FIN, b""))
            return
        self._held.clear()
        self._link.holding.pop(self, None)
        self.send(_RST, b"")

    def flush(self) -> None:
        """The link is whole again, and TCP sends once more what was not confirmed."""
        if self._link.is_blocked:
            return
        self._link.holding.pop(self, None)
        held, self._held = self._held, deque()
        for kind, data in held:
            self._put(kind, data)

    def drop(self) -> None:
        """The sender's machine has lost its power, and what it was to send."""
        self._held.clear()
        self._link.holding.pop(self, None)


class _Link:
    """What two machines send each other one way, by all connections."""

    __slots__ = ("fault", "holding", "is_blocked", "is_dark")

    def __init__(self) -> None:
        self.fault: LinkFault | None = None
        self.is_dark = False
        """One of the two has no power."""
        self.is_blocked = False
        self.holding: dict[_Pipe, None] = {}


class SimNetwork:
    """All machines' addresses, connections and links."""

    def __init__(self, scheduler: Scheduler, rng: Random) -> None:
        self.scheduler = scheduler
        self.rng = rng
        self.wire = SimLoop(scheduler, None, CLIENTS, "0.0.0.0", _raise)
        self._hosts: dict[str, int] = {}
        self._servers: dict[Address, SimServer] = {}
        self._links: dict[tuple[int, int], _Link] = {}
        self._transports: dict[SimTransport, None] = {}
        self._dark: set[int] = set()
        self._next_port = FIRST_EPHEMERAL_PORT
        self.digest = 0
        """Of everything that was ever sent, and when: two runs of one seed have the same."""

    def latency_ms(self) -> float:
        """What one piece takes."""
        random = self.rng.random
        r = random()
        if r < TAIL_PROBABILITY:
            return LATENCY_MIN_MS + random() * TAIL_MS
        return LATENCY_MIN_MS + LATENCY_SPREAD_MS * r

    # --- machines --------------------------------------------------------------------------------------

    def add_host(self, ip: str, party: int) -> None:
        """A machine with its address; a client's party is :data:`CLIENTS`."""
        self._hosts[ip] = party

    def bind(self, server: SimServer) -> bool:
        """Let a server have its address; False when somebody has it."""
        if server.address in self._servers:
            return False
        self._servers[server.address] = server
        return True

    def unbind(self, server: SimServer) -> None:
        """The address is free again."""
        if self._servers.get(server.address) is server:
            del self._servers[server.address]

    def drop(self, loop: SimLoop) -> None:
        """A process has ended: the machine resets the connections that it left open."""
        for transport in [one for one in self._transports if one.loop is loop]:
            transport.abort()
        for server in [one for one in self._servers.values() if one.loop is loop]:
            self.unbind(server)

    def power_off(self, party: int) -> None:
        """A machine goes dark: its ends of connections vanish, and nothing reaches it."""
        self._dark.add(party)
        for transport in list(self._transports):
            if transport.loop.party == party:
                transport.vanish()
                transport.pipe.drop()
                self.forget(transport)
        for (source, target), link in self._links.items():
            if party in (source, target):
                link.is_dark = link.is_blocked = True

    def power_on(self, party: int) -> None:
        """A machine is there again; it knows of no connection."""
        if party not in self._dark:
            return
        self._dark.discard(party)
        for (source, target), link in self._links.items():
            if party in (source, target):
                link.is_dark = source in self._dark or target in self._dark
                self._unblock(link)

    # --- links -----------------------------------------------------------------------------------------

    def link(self, source: int, target: int) -> _Link:
        link = self._links.get((source, target))
        if link is None:
            link = self._links[(source, target)] = _Link()
            link.is_dark = link.is_blocked = source in self._dark or target in self._dark
        return link

    def impair(self, source: int, target: int, **what: Any) -> None:
        """Something is wrong from now on with what one party sends another (:class:`LinkFault`'s fields)."""
        link = self.link(source, target)
        fault = replace(link.fault or LinkFault(source, target), **what)
        link.fault = None if fault.is_none else fault
        link.is_blocked = link.is_dark or fault.is_cut
        self._unblock(link)

    def heal(self, party: int | None = None, other: int | None = None) -> None:
        """The links between two parties, of one, or all are right again."""
        wanted = {one for one in (party, other) if one is not None}
        for direction, link in self._links.items():
            if link.fault is not None and wanted <= set(direction):
                link.fault = None
                self._unblock(link)

    @property
    def faults(self) -> list[LinkFault]:
        """What is wrong at present."""
        return [link.fault for _, link in sorted(self._links.items()) if link.fault is not None]

    def _unblock(self, link: _Link) -> None:
        link.is_blocked = link.is_dark or (link.fault is not None and link.fault.is_cut)
        if not link.is_blocked:
            for pipe in list(link.holding):
                self.scheduler.at(self.scheduler.now_ms + self.rng.random() * RESENT_WITHIN_MS, self.wire, pipe.flush)

    # --- connections -----------------------------------------------------------------------------------

    def connect(
        self, loop: SimLoop, factory: Callable[[], asyncio.Protocol], address: Address, connected: asyncio.Future[Any], attempt: int = 0
    ) -> None:
        """Ask for a connection; the future gets the transport and the protocol, or an OSError."""
        if connected.done() or loop.is_dead:
            return
        target = self._hosts.get(address[0])
        if target is None:
            self._refuse(loop, connected, OSError(f"no route to {address[0]}"))
            return
        source = loop.party
        there, back = self.link(source, target), self.link(target, source)
        again = (loop, factory, address, connected, attempt + 1)
        if there.is_blocked or back.is_blocked or self._is_lost(there) or self._is_lost(back):
            if attempt < SYN_RETRIES_MAX:
                self.scheduler.at(self.scheduler.now_ms + SYN_RETRY_MS * 2**attempt, self.wire, self.connect, again)
            return
        self.scheduler.at(self.scheduler.now_ms + self._late_ms(there), self.wire, self._accept, (again, source, target))

    def _is_lost(self, link: _Link) -> bool:
        return link.fault is not None and link.fault.loss > 0 and self.rng.random() < link.fault.loss

    def _late_ms(self, link: _Link) -> float:
        return self.latency_ms() + (link.fault.late_ms(self.rng) if link.fault is not None else 0.0)

    def _refuse(self, loop: SimLoop, connected: asyncio.Future[Any], error: OSError) -> None:
        def tell() -> None:
            if not connected.done():
                connected.set_exception(error)

        self.scheduler.at(self.scheduler.now_ms + self.latency_ms(), loop, tell)

    def _accept(self, again: tuple[Any, ...], source: int, target: int) -> None:
        loop, factory, address, connected, _ = again
        if target in self._dark:
            self.connect(*again)
            return
        server = self._servers.get(address)
        if server is None or not server.is_serving() or server.loop.is_dead:
            self._refuse(loop, connected, ConnectionRefusedError(f"nobody listens on {address[0]}:{address[1]}"))
            return
        self._next_port += 1
        own = (loop.ip, self._next_port)
        client_end = SimTransport(self, loop, own, address)
        server_end = SimTransport(self, server.loop, address, own)
        client_end.pipe = _Pipe(self, self.link(source, target), server_end)
        server_end.pipe = _Pipe(self, self.link(target, source), client_end)
        self._transports[client_end] = None
        self._transports[server_end] = None

        def accepted() -> None:
            if not server_end.is_over:
                server_end.opened(server.protocol_factory())

        server.loop.run(accepted)
        due_ms = self.scheduler.now_ms + self._late_ms(self.link(target, source))
        self.scheduler.at(due_ms, self.wire, self._established, (client_end, factory, connected))

    def _established(self, end: SimTransport, factory: Callable[[], asyncio.Protocol], connected: asyncio.Future[Any]) -> None:
        if end.is_over:
            return
        if end.loop.is_dead:
            end.vanish()
            self.forget(end)
            end.pipe.send(_RST, b"")
            return

        def tell() -> None:
            if connected.done():
                end.abort()
                return
            protocol = factory()
            end.opened(protocol)
            connected.set_result((end, protocol))

        end.loop.run(tell)

    def forget(self, transport: SimTransport) -> None:
        """An end is gone."""
        self._transports.pop(transport, None)

    @property
    def open_ends(self) -> int:
        """Ends of connections that somebody has."""
        return len(self._transports)


def _raise(context: dict[str, Any]) -> None:
    raise context["exception"]
