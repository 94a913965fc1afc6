"""One accepted connection: bytes to frames, responses in the order of their requests.

A frame is gathered in the pieces that arrive, so a declared length costs nothing until its bytes
are there. Requests of one connection are begun in order and may be under way together; responses
leave in order, as the protocol promises. Records that lie in files go from there to the socket by
way of a :class:`~kafkalab.engine.server.file_sender.FileSender`, everything else through the loop's transport.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from kafkalab.engine.broker.context import ConnectionInfo, RequestContext
from kafkalab.engine.log.region import FileRegion
from kafkalab.engine.protocol import codec
from kafkalab.engine.server.file_sender import FileSender, can_send_files
from kafkalab.engine.server.links import party_of, party_of_first_bytes

if TYPE_CHECKING:
    from kafkalab.engine.server.listener import Listener

log = logging.getLogger(__name__)

CONTROLLER_LISTENER: Final = "CONTROLLER"
REQUESTS_UNDER_WAY_MAX: Final = 256
"""Beyond this a connection is not read from until answers have left."""
FRAME_BASE_MS: Final = 30_000
FRAME_BYTES_PER_MS: Final = 256
"""A frame must be whole within 30 s and the time that its size takes at 256 KB/s, from its first byte."""
WRITE_DEADLINE_MS: Final = 60_000
"""A client that takes nothing for this long while answers wait for it is dropped."""

_SIZE: Final = struct.Struct(">i")
_HTTP: Final = frozenset({b"GET ", b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"HTTP", b"PRI "})
_LINGER_RESET: Final = struct.pack("ii", 1, 0)


def explain_size(prefix: bytes, size: int, max_bytes: int) -> tuple[str, str]:
    """Why the first four bytes of a frame are refused: the counter's name and a sentence."""
    if size < 0:
        return "frame_negative", f"a frame announces {size} bytes"
    if prefix in _HTTP:
        return "http", "this is HTTP: an HTTP client is talking to a Kafka listener"
    if prefix[:2] == b"\x16\x03":
        return "tls", "this is a TLS handshake: the client is set to TLS and the listener is plaintext"
    return "frame_too_long", f"a frame announces {size} bytes, socket.request.max.bytes is {max_bytes}"


class Connection(asyncio.Protocol):
    """The protocol of one accepted connection, and the channel that answers go back by."""

    def __init__(self, listener: Listener, connection_id: int) -> None:
        self._listener = listener
        self._router = listener.router
        self._id = connection_id
        self._max_bytes = listener.max_request_bytes
        self._pieces: list[bytes] = []
        self._have = 0
        self._need = 4
        self._queue: deque[RequestContext] = deque()
        self._reading_paused = False
        # What is full: the transport's buffer, the way around it.
        self._transport_is_full = False
        self._files_are_blocked = False
        self._backlog: bytes | None = None
        self._frame_deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self._taken_at_deadline = 0
        self._transport: asyncio.Transport | None = None
        self._files: FileSender | None = None
        self._closing: asyncio.Transport | None = None
        """Closes once what waits in ``_files`` has left."""
        self.last_active_ms = 0.0
        self.info: ConnectionInfo
        self.client_id = ""
        self.is_dirty = False
        """Counters have changed since they were last sampled."""

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return len(self._queue)

    @property
    def is_peer(self) -> bool:
        """Another node is at the other end."""
        return self.info.stats.peer_node_id >= 0 or self.info.listener_name == CONTROLLER_LISTENER

    # --- links with which something is wrong ---------------------------------------------------

    @property
    def transport(self) -> asyncio.Transport | None:
        """The way back; None once the connection is being closed."""
        return self._transport

    @property
    def party(self) -> int | None:
        """Which node is at the other end, or that none is; None while nothing has come that would tell."""
        if self.info.stats.requests:
            # Counted in the order in which they first came.
            first_api_key, _ = next(iter(self.info.stats.apis))
            return party_of(self.client_id, first_api_key, on_controller=self.is_on_controller)
        return party_of_first_bytes(self.first_bytes, on_controller=self.is_on_controller)

    @property
    def first_bytes(self) -> bytes:
        """What has come of the first request; nothing any more once it is whole."""
        return b"" if self.info.stats.requests else b"".join(self._pieces)

    @property
    def is_on_controller(self) -> bool:
        """Whether a controller's listener accepted it."""
        return self.info.listener_name == CONTROLLER_LISTENER

    def reroute(self, transport: asyncio.Transport, *, sends_files: bool) -> None:
        """From now on this is the way back; without ``sends_files`` nothing may go around it."""
        if self._transport is not None:
            self._transport = transport
        elif self._closing is not None:
            self._closing = transport
        self.info.sends_files = sends_files and can_send_files(transport)
        files = self._files
        if files is None or sends_files:
            return
        self._files = None
        rest = files.take_rest()
        files.discard()
        if rest:
            transport.writelines(rest)
        self.files_sent()

    # --- asyncio's side ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        host, port = (transport.get_extra_info("peername") or ("?", 0))[:2]
        self.info = ConnectionInfo(self._id, self._listener.name, host, port)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.info.sends_files = can_send_files(transport)
        self.last_active_ms = self._listener.clock.now_ms()
        self._listener.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = self._closing = None
        if self._files is not None:
            self._files.discard()
            self._files = None
        self._queue.clear()
        self._pieces.clear()
        self._backlog = None
        for deadline in (self._frame_deadline, self._write_deadline):
            if deadline is not None:
                deadline.cancel()
        self._listener.disconnected(self)

    def data_received(self, data: bytes) -> None:
        n = len(data)
        self.info.stats.bytes_in += n
        if self._backlog is not None:
            # Reading was paused but the loop had more in hand.
            self._backlog += data
            return
        if self._pieces:
            self._pieces.append(data)
            self._have += n
            if self._have < self._need:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
            if self._frame_deadline is not None:
                self._frame_deadline.cancel()
                self._frame_deadline = None
        self._take_frames(data)

    def pause_writing(self) -> None:
        self._transport_is_full = True
        self._writing_stopped()

    def resume_writing(self) -> None:
        self._transport_is_full = False
        self._writing_goes_on()

    # --- files ---------------------------------------------------------------------------------

    def files_blocked(self) -> None:
        """Records from files wait for the client to take what was sent before."""
        self._files_are_blocked = True
        self._writing_stopped()

    def files_sent(self) -> None:
        """The way around the transport is free again."""
        self._files_are_blocked = False
        closing, self._closing = self._closing, None
        if closing is not None:
            closing.close()
        self._writing_goes_on()

    def files_failed(self, error: Exception) -> None:
        """A response has begun that cannot be finished: nothing can follow it."""
        log.info("connection %d of %s is dropped: %s", self._id, self.info.client_host, error)
        self._drop()

    def _writing_stopped(self) -> None:
        self._pause_reading()
        if self._write_deadline is None:
            self._watch_writing()

    def _writing_goes_on(self) -> None:
        if self._transport_is_full or self._files_are_blocked:
            return
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None
        self._resume_reading()

    def _watch_writing(self) -> None:
        self._taken_at_deadline = self._taken_bytes()
        self._write_deadline = self._listener.loop.call_later(WRITE_DEADLINE_MS / 1000, self._write_overdue)

    def _taken_bytes(self) -> int:
        """What of the answers has left for the client so far."""
        transport = self._transport or self._closing
        waiting = 0 if transport is None else transport.get_write_buffer_size()
        if self._files is not None:
            waiting += self._files.queued_bytes
        return self.info.stats.bytes_out - waiting

    # --- frames --------------------------------------------------------------------------------

    def _take_frames(self, data: bytes) -> None:
        pos = 0
        end = len(data)
        queue = self._queue
        router = self._router
        while True:
            left = end - pos
            if left < 4:
                need = 4
                break
            (size,) = _SIZE.unpack_from(data, pos)
            if size < 0 or size > self._max_bytes:
                self.close(*explain_size(data[pos : pos + 4], size, self._max_bytes))
                return
            need = 4 + size
            if left < need:
                break
            if self._reading_paused and left:
                self._backlog = data[pos:]
                return
            if left == need:
                frame, offset = data, pos + 4
            else:
                frame, offset = data[pos + 4 : pos + need], 0
            pos += need
            ctx = router.route(self, self.info, frame, offset)
            if ctx is None:
                return
            self.client_id = ctx.client_id
            queue.append(ctx)
            if len(queue) >= REQUESTS_UNDER_WAY_MAX:
                self._pause_reading()
            router.run(ctx)
            if self._transport is None:
                return
        self._listener.active(self)
        if left:
            self._pieces.append(data[pos:] if pos else data)
            self._have = left
            self._need = need
            allowed_ms = FRAME_BASE_MS + need / FRAME_BYTES_PER_MS
            self._frame_deadline = self._listener.loop.call_later(allowed_ms / 1000, self._frame_overdue)

    def _frame_overdue(self) -> None:
        self.close("frame_overdue", f"a frame of {self._need} bytes stopped at {self._have}")

    def _write_overdue(self) -> None:
        if self._taken_bytes() > self._taken_at_deadline:
            # Slow, but it takes something.
            self._watch_writing()
            return
        self._write_deadline = None
        if self._transport is not None:
            self._listener.bad_input(self, "not_reading", f"answers waited {WRITE_DEADLINE_MS} ms for the client to take them")
        self._drop()

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if (
            not self._reading_paused
            or self._transport_is_full
            or self._files_are_blocked
            or len(self._queue) >= REQUESTS_UNDER_WAY_MAX
            or self._transport is None
        ):
            return
        self._reading_paused = False
        if self._backlog is not None:
            # Not from within an answer: a long backlog would be worked off in ever deeper calls.
            self._listener.loop.call_soon(self._work_off_backlog)
        else:
            self._transport.resume_reading()

    def _work_off_backlog(self) -> None:
        backlog, self._backlog = self._backlog, None
        if backlog is not None and self._transport is not None:
            self._take_frames(backlog)
            if self._transport is not None and not self._reading_paused:
                self._transport.resume_reading()

    # --- the channel ---------------------------------------------------------------------------

    def send_response(self, ctx: RequestContext, body: Mapping[str, Any] | None) -> None:
        """Send the response of a request in its turn; None for a request that has none."""
        if self._transport is None:
            return
        if body is None:
            chunks: Any = ()
        else:
            chunks = codec.encode_response(ctx.api_key, ctx.version, ctx.correlation_id, body)
        self._send_in_turn(ctx, chunks)

    def send_encoded(self, ctx: RequestContext, frame: bytes) -> None:
        """Send a response that is encoded already."""
        if self._transport is not None:
            self._send_in_turn(ctx, (_SIZE.pack(len(frame)) + frame,))

    def _send_in_turn(self, ctx: RequestContext, chunks: Any) -> None:
        queue = self._queue
        if queue[0] is not ctx:
            ctx.response = chunks
            return
        queue.popleft()
        out = chunks
        while queue and queue[0].response is not None:
            out = [*out, *queue.popleft().response]
        transport = self._transport
        assert transport is not None
        if out:
            self.info.stats.bytes_out += codec.frame_size(out)
            files = self._files
            if files is not None and files.is_busy:
                files.send(out)
            elif len(out) == 1:
                transport.write(out[0])
            elif FileRegion in map(type, out) and self.info.sends_files:
                if files is None:
                    files = self._files = FileSender(self._listener.loop, transport, self.info.stats, self)
                files.send(out)
            else:
                transport.writelines(out)
        if self._reading_paused:
            self._resume_reading()

    def close(self, reason: str, detail: str) -> None:
        """Hang up because of what the client did; what was answered before still leaves."""
        if self._transport is None:
            return
        self._listener.bad_input(self, reason, detail)
        self.end()

    def _drop(self) -> None:
        """Let go of the connection at once, whatever waits."""
        transport = self._transport or self._closing
        self._transport = self._closing = None
        if self._files is not None:
            # The socket is not closed before both of its descriptors are.
            self._files.discard()
            self._files = None
        if transport is not None:
            transport.abort()

    def reset(self) -> None:
        """Drop the connection as a killed process does: RST, nothing flushed."""
        transport = self._transport or self._closing
        if transport is None:
            return
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self._drop()

    def end(self) -> None:
        """Close in order: what was written leaves first."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        if self._files is not None and self._files.is_busy:
            if not self._reading_paused:
                transport.pause_reading()
            self._closing = transport
        else:
            transport.close()
