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
