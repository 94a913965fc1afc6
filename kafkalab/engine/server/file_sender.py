"""Sends responses of which parts lie in files, without reading them.

The loop's transports cannot do that, so this writes to the connection's socket beside its
transport, and only while the transport has nothing of its own to send. What is given to it leaves
in order: bytes as they are, regions by ``sendfile``. While something is left here, all that follows
on the connection has to come here too.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from kafkalab.engine.log.region import FileRegion

if TYPE_CHECKING:
    from kafkalab.engine.broker.context import ConnectionStats
    from kafkalab.engine.protocol.codec import Chunk

CALL_BYTES_MAX: Final = 1_048_576
TURN_BYTES_MAX: Final = 4_194_304
"""What one connection sends before the others have their turn."""
# More follows at once: the system need not send a small packet of its own for a header.
_MORE: Final = getattr(socket, "MSG_MORE", 0)
_HAS_SENDFILE: Final = hasattr(os, "sendfile") and sys.platform != "win32"


def can_send_files(transport: asyncio.BaseTransport) -> bool:
    """Whether the system can send from files to the other end: not where what is sent is encrypted first."""
    return _HAS_SENDFILE and transport.get_extra_info("socket") is not None and transport.get_extra_info("sslcontext") is None


class Sent(Protocol):
    """Who is told how the sending goes."""

    def files_blocked(self) -> None:
        """The other end takes nothing for now."""

    def files_sent(self) -> None:
        """All is sent that was given."""

    def files_failed(self, error: Exception) -> None:
        """The rest cannot be sent any more."""


class FileSender:
    """What of a connection's output goes around its transport."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.WriteTransport, stats: ConnectionStats, owner: Sent) -> None:
        self._loop = loop
        self._transport = transport
        self._stats = stats
        self._owner = owner
        self._queue: deque[Any] = deque()
        self._at = 0
        # A descriptor of its own for the same socket: loops do not let anybody watch that of a transport.
        self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        self._socket.setblocking(False)
        self._is_watching = False

    @property
    def is_busy(self) -> bool:
        """Whether something is left to be sent."""
        return bool(self._queue)

    @property
    def queued_bytes(self) -> int:
        """What is left to be sent."""
        return sum(map(len, self._queue)) - self._at

    def send(self, chunks: Sequence[Chunk]) -> None:
        """Send these after all that was given before."""
        was_busy = bool(self._queue)
        self._queue.extend(chunks)
        if not was_busy:
            self._push()
            if self._queue:
                self._owner.files_blocked()

    def take_rest(self) -> list[Any]:
        """What is left to be sent, for somebody else to send.

        :raises OSError: when records have been cut from their file meanwhile.
        """
        rest = list(self._queue)
        if rest and self._at:
            first = rest[0].read() if type(rest[0]) is FileRegion else rest[0]
            rest[0] = memoryview(first)[self._at :]
        self._queue.clear()
        self._at = 0
        return rest

    def discard(self) -> None:
        """Send nothing more and let go of the socket."""
        self._queue.clear()
        self._at = 0
        self._unwatch()
        self._socket.close()

    def _push(self) -> None:
        try:
            # What the transport was given came first.
            blocked = self._transport.get_write_buffer_size() > 0 or not self._send_some()
        except (OSError, ValueError) as error:
            self._queue.clear()
            self._unwatch()
            self._owner.files_failed(error)
            return
        if not blocked:
            self._unwatch()
        elif not self._is_watching:
            self._is_watching = True
            self._loop.add_writer(self._socket.fileno(), self._writable)

    def _writable(self) -> None:
        self._push()
        if not self._queue and self._socket.fileno() >= 0:
            self._owner.files_sent()

    def _send_some(self) -> bool:
        """Send until nothing is left; False when it has to go on later."""
        queue = self._queue
        out = self._socket
        left = TURN_BYTES_MAX
        try:
            while queue:
                chunk = queue[0]
                at = self._at
                if type(chunk) is FileRegion:
                    if not chunk.is_whole:
                        raise OSError("the log was cut below records that were on their way")
                    sent = os.sendfile(out.fileno(), chunk.fd, chunk.position + at, min(chunk.size - at, CALL_BYTES_MAX))
                    if not sent:
                        raise OSError("the file ends before the records that were on their way")
                    self._stats.sendfile_bytes += sent
                else:
                    sent = out.send(memoryview(chunk)[at:] if at else chunk, _MORE if len(queue) > 1 else 0)
                at += sent
                if at == len(chunk):
                    queue.popleft()
                    at = 0
                self._at = at
                left -= sent
                if left <= 0 and queue:
                    return False
        except (BlockingIOError, InterruptedError):
            return False
        return True

    def _unwatch(self) -> None:
        if self._is_watching:
            self._is_watching = False
            self._loop.remove_writer(self._socket.fileno())
