"""A client that sends what a test says, in the version it says, and decodes what comes back."""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Mapping
from typing import Any, Self

from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey


class RawClient:
    """One connection, one request at a time."""

    def __init__(self, address: str, timeout_s: float = 30.0) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=timeout_s)
        self._stream = self._socket.makefile("rb")
        self._correlation_ids = itertools.count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.close()
        self._socket.close()

    def ask(self, api_key: ApiKey, version: int, body: Mapping[str, Any]) -> Any:
        correlation_id = next(self._correlation_ids)
        self._socket.sendall(b"".join(codec.encode_request(api_key, version, correlation_id, "raw-client", body)))
        (size,) = struct.unpack(">i", self._read(4))
        frame = self._read(size)
        answered, body_at = codec.read_response_header(api_key, version, frame)
        assert answered == correlation_id
        return codec.decode_response(api_key, version, frame, body_at)

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise ConnectionResetError("the node hung up")
        return data


def exchange(address: str, frame: bytes, timeout_s: float, *, ends: bool = False) -> bytes | None:
    """What comes back for some bytes on a connection of their own: an answer, nothing where it is closed; None in silence.

    ``ends`` says that nothing more will be sent, so that nobody waits for the rest of what may not be whole.
    """
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=timeout_s) as sock, sock.makefile("rb") as stream:
        sock.sendall(frame)
        if ends:
            sock.shutdown(socket.SHUT_WR)
        try:
            head = stream.read(4)
            return stream.read(struct.unpack(">i", head)[0]) if len(head) == 4 else b""
        except ConnectionError:
            return b""
        except TimeoutError:
            return None
