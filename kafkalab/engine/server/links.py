"""Broken links at a node's own sockets: what stands between a connection and its transport while something is wrong.

While nothing is wrong with a node's links nothing stands there, and it costs nothing. When a link is to be cut or made
late, a :class:`FaultyLink` takes the protocol's place at the transport of each connection with that party, and the
transport's place at the protocol; when all is right again and all that it held back has arrived it steps aside.

Between two nodes the receiving end does it: it does not look at what arrives, nor that the other end has gone, be it
closed or killed, and the sender finds out by its timeouts only. What goes to clients is held back here, for clients are
as they are. A client's connection is accepted by the system before anybody can prevent it: a client that is cut off
connects and then hears nothing. A node's connection to a node that is cut off is not made at all.

Who is at the other end of an accepted connection is told by its first request; until then a new connection is not
listened to. The name alone, its client id, says nothing, for a client may call itself ``broker-2`` too. What a node asks
first says it: at a broker's listener only replicas connect, and they ask what only replicas ask; clients begin with the
versions or with the metadata. At a controller's listener nodes ask for versions only of one that wants to vote. Nodes of
Apache Kafka ask for versions first, as clients do: they are no nodes of this cluster's host, and nothing is wrong with
their links.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol, cast

from kafkalab.engine.common.time import Clock
from kafkalab.engine.faults.network import CLIENTS, GIVEN_UP, SYN_FIRST_MS, Chance, LinkFault, LinkFaults, LinkQueue, giving_up_ms
from kafkalab.engine.log.region import FileRegion
from kafkalab.engine.protocol.apis import ApiKey

log = logging.getLogger(__name__)

HELD_BYTES_MAX: Final = 262_144
"""A connection of which more is held back than this is not read from, or not written to, until some has left."""
CLIENT_ID_MAX: Final = 64
_FIRST: Final = struct.Struct(">ihhih")
_REPLICA: Final = re.compile(r"broker-(\d+)-fetcher-\d+")
_REPLICA_ASKS: Final = frozenset({ApiKey.FETCH, ApiKey.LIST_OFFSETS, ApiKey.OFFSET_FOR_LEADER_EPOCH})
_MEMBER: Final = re.compile(r"(?:broker|controller)-(\d+)-[a-z-]+|raft-client-(\d+)")
_CLIENT_ASKS: Final = frozenset({ApiKey.API_VERSIONS, ApiKey.METADATA, ApiKey.DESCRIBE_CLUSTER})


def party_of(client_id: str, api_key: int, *, on_controller: bool) -> int:
    """Which node calls itself so and begins with such a request, or :data:`CLIENTS`."""
    if not on_controller:
        replica = _REPLICA.fullmatch(client_id) if api_key in _REPLICA_ASKS else None
        return CLIENTS if replica is None else int(replica[1])
    member = _MEMBER.fullmatch(client_id)
    if member is None or (api_key in _CLIENT_ASKS and not (member[2] and api_key == ApiKey.API_VERSIONS)):
        return CLIENTS
    return int(member[1] or member[2])


def party_of_first_bytes(data: bytes, *, on_controller: bool) -> int | None:
    """Who has sent these first bytes of a connection; None while they do not suffice."""
    if len(data) < _FIRST.size:
        return None
    _, api_key, *_, length = _FIRST.unpack_from(data)
    if not 0 <= length <= CLIENT_ID_MAX:
        return CLIENTS
    if len(data) < _FIRST.size + length:
        return None
    client_id = data[_FIRST.size : _FIRST.size + length].decode("utf-8", "replace")
    return party_of(client_id, api_key, on_controller=on_controller)


class Subject(Protocol):
    """A protocol whose connection can be made to fail: either end of one."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """Its way to the other end; None when it has none any more."""

    @property
    def party(self) -> int | None:
        """Who is at the other end; None while that is not known."""

    @property
    def is_on_controller(self) -> bool:
        """Whether it was accepted by a controller's listener."""

    @property
    def first_bytes(self) -> bytes:
        """What it has of the first request, while that is not whole."""

    def reroute(self, transport: asyncio.Transport, *, sends_files: bool) -> None:
        """From now on this is its way; whether what it sends may go around it."""

    def data_received(self, data: bytes) -> None:
        """As in asyncio."""

    def connection_lost(self, exc: Exception | None) -> None:
        """As in asyncio."""

    def pause_writing(self) -> None:
        """As in asyncio."""

    def resume_writing(self) -> None:
        """As in asyncio."""


class _End:
    """A connection's end on its way through a queue: an orderly one, a sudden one, or one that came from the other side."""

    def __init__(self, kind: str, error: Exception | None = None) -> None:
        self.kind = kind
        self.error = error


class FaultyLink(asyncio.Protocol):
    """One connection with whose link something is wrong."""

    def __init__(self, links: NodeLinks, subject: Subject, transport: asyncio.Transport, *, is_new: bool) -> None:
        self._links = links
        self._subject = subject
        self._transport: asyncio.Transport | None = transport
        self._party = subject.party
        self._had_before = subject.first_bytes
        self._first_bytes = b""
        self._incoming = LinkQueue(links.chance)
        self._outgoing = LinkQueue(links.chance)
        self._timer: asyncio.TimerHandle | None = None
        # The loop begins to read in the turn after a connection was made.
        self._subject_reads = is_new or transport.is_reading()
        self._has_begun = not is_new
        self._subject_has_ended = False
        self._transport_is_full = False
        self._subject_was_stopped = False
        self._is_reading = self._subject_reads
        self._files_allowed: bool | None = None
        self._is_moving = False
        self.way = _Way(self, transport)
        if is_new:
            links.loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._has_begun = True
        self._move()

    # --- rules ---------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Go by the faults that there are now."""
        faults, now_ms = self._links.faults, self._links.clock.now_ms()
        party = self._party
        self._incoming.set_fault(None if party is None else faults.incoming(party), now_ms)
        # What goes to nodes is held back by them.
        self._outgoing.set_fault(faults.outgoing(CLIENTS) if party == CLIENTS else None, now_ms)
        if not self._subject_has_ended:
            allowed = party is not None and self._outgoing.fault is None and not len(self._outgoing)
            if allowed is not self._files_allowed:
                self._files_allowed = allowed
                self._subject.reroute(self.way, sends_files=allowed)
        self._move()

    def _move(self) -> None:
        """Pass on what has arrived, and see to what comes next."""
        if self._is_moving:
            # From within what the subject does with a piece: the loop that gave it goes on itself.
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now_ms = self._links.clock.now_ms()
        self._is_moving = True
        try:
            self._deliver(now_ms)
            self._send(now_ms)
        finally:
            self._is_moving = False
        if self._has_begun and self._is_done():
            self._step_aside()
            return
        self._regulate()
        nexts = [at_ms for at_ms in (self._next_delivery_ms(), self._next_sending_ms()) if at_ms is not None]
        if nexts and self._timer is None:
            self._timer = self._links.loop.call_later(max(0.0, min(nexts) - now_ms) / 1000, self._move)

    def _next_delivery_ms(self) -> float | None:
        return self._incoming.next_ms() if self._subject_reads and not self._subject_has_ended else None

    def _next_sending_ms(self) -> float | None:
        return self._outgoing.next_ms() if not self._transport_is_full else None

    def _deliver(self, now_ms: float) -> None:
        while self._subject_reads and not self._subject_has_ended:
            item = self._incoming.take(now_ms)
            if item is None:
                return
            if item is GIVEN_UP:
                self._abort_transport()
                self._tell_end(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
            elif isinstance(item, _End):
                self._tell_end(item.error)
            else:
                self._subject.data_received(cast(bytes, item))

    def _tell_end(self, error: Exception | None) -> None:
        self._subject_has_ended = True
        self._incoming.clear()
        self._subject.connection_lost(error)

    def _send(self, now_ms: float) -> None:
        while self._transport is not None and not self._transport_is_full:
            item = self._outgoing.take(now_ms)
            if item is None:
                return
            if item is GIVEN_UP:
                self._abort_transport()
            elif isinstance(item, _End):
                if item.kind == "close":
                    self._transport.close()
                else:
                    self._abort_transport()
            else:
                self._transport.write(cast(bytes, item))

    def _abort_transport(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _regulate(self) -> None:
        """Read and let write only as far as what is held back allows."""
        fault = self._incoming.fault
        is_cut = fault is not None and fault.is_cut
        reads = self._subject_reads and not self._subject_has_ended and not is_cut and self._incoming.held_bytes < HELD_BYTES_MAX
        if self._transport is not None and self._has_begun and reads is not self._is_reading:
            self._is_reading = reads
            if reads:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()
        stop = self._transport_is_full or self._outgoing.held_bytes >= HELD_BYTES_MAX
        if stop is not self._subject_was_stopped and not self._subject_has_ended:
            self._subject_was_stopped = stop
            if stop:
                self._subject.pause_writing()
            else:
                self._subject.resume_writing()

    def _is_done(self) -> bool:
        if self._subject_has_ended:
            return self._transport is None
        right = self._party is not None and self._incoming.fault is None and self._outgoing.fault is None
        return right and not len(self._incoming) and not len(self._outgoing)

    def _step_aside(self) -> None:
        self._links.left(self)
        if self._transport is None or self._subject_has_ended:
            return
        self._transport.set_protocol(cast(asyncio.BaseProtocol, self._subject))
        self._subject.reroute(self._transport, sends_files=True)
        if self._subject_was_stopped and not self._transport_is_full:
            self._subject_was_stopped = False
            self._subject.resume_writing()
        if self._transport is not None and self._subject_reads is not self._is_reading:
            if self._subject_reads:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def end_now(self) -> None:
        """The node is gone: so are its sockets."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._incoming.clear()
        self._outgoing.clear()
        self._abort_transport()

    # --- the transport's side ------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._subject_has_ended:
            return
        if self._party is None:
            data = self._first_bytes = self._first_bytes + data
            self._party = party_of_first_bytes(self._had_before + data, on_controller=self._subject.is_on_controller)
            if self._party is None:
                return
            self._first_bytes = b""
            faults, now_ms = self._links.faults, self._links.clock.now_ms()
            self._incoming.set_fault(faults.incoming(self._party), now_ms)
            self._take_in(data)
            self.refresh()
        else:
            self._take_in(data)
            self._move()

    def _take_in(self, data: bytes) -> None:
        now_ms = self._links.clock.now_ms()
        for piece in self._incoming.pieces(data):
            self._incoming.put(piece, len(piece), now_ms)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._outgoing.clear()
        if not self._subject_has_ended:
            # What was there before it was known whose it is goes first, to be refused as ever.
            if self._first_bytes:
                self._take_in(self._first_bytes)
                self._first_bytes = b""
            self._incoming.put(_End("lost", exc), 0, self._links.clock.now_ms())
        self._move()

    def pause_writing(self) -> None:
        self._transport_is_full = True
        self._regulate()

    def resume_writing(self) -> None:
        self._transport_is_full = False
        self._move()

    # --- the subject's side --------------------------------------------------------------------

    def write(self, data: Any) -> None:
        """Send bytes after all that was sent before."""
        if self._transport is None or self._subject_has_ended:
            return
        if self._outgoing.fault is None and not len(self._outgoing):
            self._transport.write(data)
            return
        now_ms = self._links.clock.now_ms()
        for piece in self._outgoing.pieces(bytes(data)):
            self._outgoing.put(piece, len(piece), now_ms)
        self._move()

    def end(self, kind: str) -> None:
        """The subject wants no more of the connection; the other end learns of it when the link lets it."""
        if self._subject_has_ended:
            return
        self._subject_has_ended = True
        self._incoming.clear()
        self._links.loop.call_soon(self._subject.connection_lost, None)
        if kind == "abort":
            self._outgoing.clear()
        self._outgoing.put(_End(kind), 0, self._links.clock.now_ms())
        self._move()

    def read(self, reads: bool) -> None:
        """Whether the subject wants to be given anything."""
        self._subject_reads = reads
        if reads:
            # Not from within what the subject is doing.
            self._links.loop.call_soon(self._move)
        else:
            self._regulate()

    @property
    def held_bytes(self) -> int:
        """What was sent and has not left."""
        waiting = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return waiting + self._outgoing.held_bytes

    @property
    def is_ended(self) -> bool:
        """Whether the subject is done with it, or it with the subject."""
        return self._subject_has_ended

    @property
    def subject(self) -> Subject:
        """Whose connection it is."""
        return self._subject

    @property
    def reads(self) -> bool:
        """Whether the subject wants to be given anything."""
        return self._subject_reads


class _Way(asyncio.Transport):
    """What a subject has in place of its transport. It works on when the link has stepped aside."""

    def __init__(self, link: FaultyLink, transport: asyncio.Transport) -> None:
        super().__init__()
        self._link = link
        self._real = transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._real.get_extra_info(name, default)

    def write(self, data: Any) -> None:
        self._link.write(data)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        try:
            data = b"".join(part.read() if type(part) is FileRegion else part for part in list_of_data)
        except OSError as e:
            log.info("a connection is dropped: %s", e)
            self.abort()
            return
        self.write(data)

    def close(self) -> None:
        self._link.end("close")

    def abort(self) -> None:
        self._link.end("abort")

    def is_closing(self) -> bool:
        return self._link.is_ended

    def pause_reading(self) -> None:
        self._link.read(False)

    def resume_reading(self) -> None:
        self._link.read(True)

    def is_reading(self) -> bool:
        return self._link.reads

    def get_write_buffer_size(self) -> int:
        return self._link.held_bytes


class NodeLinks:
    """A node's links to all others, and what is wrong with them.

    :param subjects: all connections that the node has, made by it or accepted.
    """

    def __init__(
        self,
        node_id: int,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        chance: Chance,
        subjects: Callable[[], Iterable[Subject]],
        faults: Sequence[LinkFault] = (),
    ) -> None:
        self.loop = loop
        self.clock = clock
        self.chance = chance
        self.faults = LinkFaults(node_id, faults)
        self.active = self.faults.active
        """Whether anybody has to ask."""
        self._subjects = subjects
        self._faulty: dict[FaultyLink, None] = {}
        self._dialling: list[asyncio.Future[None]] = []

    def set(self, faults: Sequence[LinkFault]) -> None:
        """From now on these faults and no others."""
        self.faults.set(faults)
        self.active = self.faults.active
        for link in list(self._faulty):
            link.refresh()
        if self.active:
            seen = {id(link.subject) for link in self._faulty}
            for subject in list(self._subjects()):
                if id(subject) not in seen:
                    self.attach(subject)
        dialling, self._dialling = self._dialling, []
        for waiting in dialling:
            if not waiting.done():
                waiting.set_result(None)

    def attach(self, subject: Subject, *, is_new: bool = False) -> None:
        """Stand between a connection and its transport if something is wrong with its link, or may be.

        :param is_new: the connection was made in this turn of the loop.
        """
        transport, party = subject.transport, subject.party
        if transport is None or transport.is_closing():
            return
        if party is not None and self.faults.incoming(party) is None and (party != CLIENTS or self.faults.outgoing(CLIENTS) is None):
            return
        link = FaultyLink(self, subject, transport, is_new=is_new)
        self._faulty[link] = None
        transport.set_protocol(link)
        link.refresh()

    def left(self, link: FaultyLink) -> None:
        """Nothing is wrong with a connection any more, or it is gone."""
        self._faulty.pop(link, None)

    async def dial(self, node_id: int) -> None:
        """Wait as long as it takes until a connection to a node comes about; for ever while the link is cut."""
        while True:
            directions = [fault for fault in (self.faults.outgoing(node_id), self.faults.incoming(node_id)) if fault is not None]
            if any(fault.is_cut for fault in directions):
                changed: asyncio.Future[None] = self.loop.create_future()
                self._dialling.append(changed)
                await changed
                continue
            wait_ms = 0.0
            for fault in directions:
                resent_ms = fault.resending_ms(self.chance, SYN_FIRST_MS)
                wait_ms += fault.late_ms(self.chance) + (giving_up_ms() if resent_ms is None else resent_ms)
            if not wait_ms:
                return
            await asyncio.sleep(wait_ms / 1000)
            if not any(fault is not None and fault.is_cut for fault in (self.faults.outgoing(node_id), self.faults.incoming(node_id))):
                return

    def close(self) -> None:
        """The node is gone, and what it held back with it."""
        for link in list(self._faulty):
            link.end_now()
        self._faulty.clear()
        self._dialling.clear()
