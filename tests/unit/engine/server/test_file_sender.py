"""Responses whose records lie in files: order, back-pressure, deadlines, and files that change meanwhile."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from kafkalab.engine.log.storage import FileStorage
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.server import connection as connection_module
from kafkalab.engine.server.connection import Connection
from kafkalab.engine.server.node import new_event_loop

from .conftest import Served, serving
from .test_connection import BAD, metadata

pytestmark = pytest.mark.skipif(not hasattr(os, "sendfile"), reason="this system has no sendfile: records are read and written")

WAIT_S = 20
FILE_BYTES = 24 << 20
"""More than any socket's buffers take."""
LOOPS = {"asyncio": asyncio.new_event_loop, "fastest": new_event_loop}
Scenario = Callable[[Served], Awaitable[None]]


@pytest.fixture(scope="module")
def content() -> bytes:
    return os.urandom(1 << 20) * (FILE_BYTES >> 20)


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest, tmp_path: Path, content: bytes) -> Callable[[Scenario], None]:
    """Runs a scenario on a loop of its own, with a file to be fetched from."""

    def run_it(scenario: Scenario) -> None:
        async def main() -> None:
            storage = FileStorage()
            async with serving() as served:
                served.file = storage.open(str(tmp_path / "00000000000000000000.log"))
                served.file.append(b"", content)
                try:
                    async with asyncio.timeout(WAIT_S):
                        await scenario(served)
                finally:
                    storage.close()

        loop = LOOPS[request.param]()
        try:
            loop.run_until_complete(main())
            loop.run_until_complete(asyncio.sleep(0))
        finally:
            loop.close()

    return run_it


def fetch(correlation_id: int, position: int, size: int) -> bytes:
    part = {"partition": 0, "fetch_offset": position, "partition_max_bytes": size}
    body = {"max_wait": 0, "min_bytes": 1, "max_bytes": size, "topics": [{"topic": "t", "partitions": [part]}]}
    return b"".join(codec.encode_request(ApiKey.FETCH, 12, correlation_id, "me", body))


async def frame_of(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


def records_of(frame: bytes) -> bytes:
    _, at = codec.read_response_header(ApiKey.FETCH, 12, frame)
    records = codec.decode_response(ApiKey.FETCH, 12, frame, at).responses[0].partitions[0].records
    assert isinstance(records, bytes)
    return records


def held_by_this_process(port: int, file: Path) -> list[object]:
    """Sockets and files of a scenario that are open still; other tests' may close at any time."""
    process = psutil.Process()
    sockets = [one for one in process.net_connections("tcp") if port in (one.laddr.port, one.raddr.port if one.raddr else 0)]
    return [*sockets, *(one for one in process.open_files() if Path(one.path) == file)]


def only_connection(served: Served) -> Connection:
    (connection,) = served.listener._connections
    return connection


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def blocked(served: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that has asked for the whole file and takes nothing of it yet."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", served.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=65_536)
    writer.write(fetch(1, 0, FILE_BYTES))
    await until(lambda: served.listener._connections and only_connection(served)._files_are_blocked)
    return reader, writer


def test_records_go_from_the_file_to_the_socket_in_the_order_of_the_requests(
    run: Callable[[Scenario], None], content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_pread(*_: object) -> bytes:
        raise AssertionError("nothing is read on the way")

    async def scenario(served: Served) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        monkeypatch.setattr(os, "pread", no_pread)
        asked = [(position * 4096, 20_000 + position * 150_000) for position in range(20)]
        stream = b""
        for number, (position, size) in enumerate(asked):
            stream += metadata(2 * number, f"t{number}") + fetch(2 * number + 1, position, size)
        writer.write(stream + metadata(99, "last"))
        for number, (position, size) in enumerate(asked):
            frame = await frame_of(reader)
            assert codec.read_response_header(ApiKey.METADATA, 9, frame)[0] == 2 * number
            frame = await frame_of(reader)
            assert codec.read_response_header(ApiKey.FETCH, 12, frame)[0] == 2 * number + 1
            assert records_of(frame) == content[position : position + size]
        assert codec.read_response_header(ApiKey.METADATA, 9, await frame_of(reader))[0] == 99
        stats = only_connection(served).info.stats
        assert stats.sendfile_bytes == sum(size for _, size in asked)
        writer.close()

    run(scenario)


def test_a_slow_client_gets_everything_and_is_not_read_from_meanwhile(run: Callable[[Scenario], None], content: bytes) -> None:
    async def scenario(served: Served) -> None:
        reader, writer = await blocked(served)
        connection = only_connection(served)
        assert connection._reading_paused
        writer.write(metadata(2, "a"))
        assert records_of(await frame_of(reader)) == content
        assert codec.read_response_header(ApiKey.METADATA, 9, await frame_of(reader))[0] == 2
        assert not connection._reading_paused
        writer.close()

    run(scenario)


def test_a_client_that_takes_nothing_is_dropped(run: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "WRITE_DEADLINE_MS", 100)

    async def scenario(served: Served) -> None:
        _reader, writer = await blocked(served)
        await until(lambda: not served.listener._connections)
        assert served.sampler.bad_input == {"not_reading": 1}
        writer.close()

    run(scenario)


def test_a_client_that_takes_a_little_is_waited_for(run: Callable[[Scenario], None], content: bytes) -> None:
    async def scenario(served: Served) -> None:
        reader, writer = await blocked(served)
        connection = only_connection(served)
        left = FILE_BYTES
        for _ in range(4):
            before = connection._taken_bytes()
            while connection._taken_bytes() == before:
                left -= len(await reader.read(1 << 20))
                await asyncio.sleep(0)
            # However little it took until its deadline, the next one begins.
            connection._write_overdue()
        assert left > 0, "it must have been slow"
        while left > 0:
            data = await reader.read(1 << 20)
            assert data
            left -= len(data)
        assert served.sampler.bad_input == {}
        writer.close()

    run(scenario)


def test_what_was_answered_leaves_before_a_connection_closes(run: Callable[[Scenario], None], content: bytes) -> None:
    async def scenario(served: Served) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(fetch(1, 0, FILE_BYTES) + BAD["frame_negative"])
        assert records_of(await frame_of(reader)) == content
        assert await reader.read() == b""
        assert served.sampler.bad_input == {"frame_negative": 1}
        writer.close()

    run(scenario)


def test_a_reset_drops_what_waits_and_lets_go_of_the_socket(run: Callable[[Scenario], None], tmp_path: Path) -> None:
    ports: list[int] = []

    async def scenario(served: Served) -> None:
        ports.append(served.port)
        reader, writer = await blocked(served)
        connection = only_connection(served)
        connection.reset()
        with pytest.raises(ConnectionResetError):
            while await reader.read(1 << 20):
                pass
        await until(lambda: not served.listener._connections)
        writer.close()

    run(scenario)
    assert held_by_this_process(ports[0], tmp_path / "00000000000000000000.log") == []


def test_a_client_that_goes_leaves_no_descriptor(run: Callable[[Scenario], None], tmp_path: Path) -> None:
    ports: list[int] = []

    async def scenario(served: Served) -> None:
        ports.append(served.port)
        _reader, writer = await blocked(served)
        writer.transport.abort()
        await until(lambda: not served.listener._connections)

    run(scenario)
    assert held_by_this_process(ports[0], tmp_path / "00000000000000000000.log") == []


def test_a_file_that_is_deleted_meanwhile_is_sent_whole(run: Callable[[Scenario], None], content: bytes, tmp_path: Path) -> None:
    async def scenario(served: Served) -> None:
        reader, writer = await blocked(served)
        assert served.file is not None
        served.file.close()
        (tmp_path / "00000000000000000000.log").unlink()
        assert records_of(await frame_of(reader)) == content
        writer.close()

    run(scenario)


def test_bytes_written_in_place_of_others_are_never_sent(run: Callable[[Scenario], None], content: bytes) -> None:
    async def scenario(served: Served) -> None:
        reader, writer = await blocked(served)
        assert served.file is not None
        served.file.truncate(FILE_BYTES - 1)
        served.file.append(b"", b"\xff" * 10)
        received = b""
        try:
            while data := await reader.read(1 << 20):
                received += data
        except ConnectionResetError:
            pass
        # The response has begun, so the connection ends; what came is what the file had.
        assert 0 < len(received) < FILE_BYTES
        assert content[: len(received) - 100] in received
        writer.close()

    run(scenario)


def test_a_cut_beyond_what_is_on_its_way_harms_nobody(run: Callable[[Scenario], None], content: bytes) -> None:
    async def scenario(served: Served) -> None:
        reader, writer = await blocked(served)
        assert served.file is not None
        served.file.append(b"", b"torn")
        served.file.truncate(FILE_BYTES)
        assert records_of(await frame_of(reader)) == content
        writer.close()

    run(scenario)
