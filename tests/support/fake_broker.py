"""A broker that answers from a script: for tests of what talks to brokers."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Mapping
from typing import Any, Self

from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.codec import decode_request, encode_response, read_request_header

Answer = Callable[[Any], Mapping[str, Any] | None]


class FakeBroker:
    """Listens on a free port; each API has a function from request to response body, None hangs up."""

    def __init__(self, answers: Mapping[ApiKey, Answer]) -> None:
        self.answers = dict(answers)
        self.asked: list[ApiKey] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="kafkalab-fake-broker", daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *exc: object) -> None:
        # A thread that waits in accept or recv is woken by a shutdown, not by a close.
        for each in (self._listener, *self._connections):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), name="kafkalab-fake-broker", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while len(head := stream.read(4)) == 4:
                frame = stream.read(struct.unpack(">i", head)[0])
                header = read_request_header(frame)
                api_key = ApiKey(header.api_key)
                request = decode_request(api_key, header.version, frame, header.body_at)
                self.asked.append(api_key)
                body = self.answers[api_key](request)
                if body is None:
                    return
                connection.sendall(b"".join(encode_response(api_key, header.version, header.correlation_id, body)))
