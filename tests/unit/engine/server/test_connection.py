"""What a connection does with the bytes that come, good and bad."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest

from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.server.connection import Connection
from kafkalab.engine.telemetry.events import BadInput, RequestFailed

from .conftest import MAX_REQUEST_BYTES, Served, serving

WAIT_S = 10


def metadata(correlation_id: int, *names: str) -> bytes:
    return b"".join(codec.encode_request(ApiKey.METADATA, 9, correlation_id, "me", {"topics": [{"name": name} for name in names]}))


async def answer(reader: asyncio.StreamReader) -> tuple[int, Any]:
    async with asyncio.timeout(WAIT_S):
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        frame = await reader.readexactly(size)
    correlation_id, at = codec.read_response_header(ApiKey.METADATA, 9, frame)
    return correlation_id, codec.decode_response(ApiKey.METADATA, 9, frame, at)


async def test_pieces_of_any_size_make_the_same_requests(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    stream = b"".join(metadata(i, f"t{i}", "x" * (i * 40)) for i in range(1, 6))
    for i in range(0, len(stream), 7):
        writer.write(stream[i : i + 7])
        await writer.drain()
        await asyncio.sleep(0)
    for i in range(1, 6):
        correlation_id, response = await answer(reader)
        assert (correlation_id, response.cluster_id) == (i, f"t{i}," + "x" * (i * 40))
    writer.close()


async def test_answers_leave_in_the_order_of_the_requests(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(metadata(1, "wait") + metadata(2, "a") + metadata(3, "wait") + metadata(4, "b"))
    async with asyncio.timeout(WAIT_S):
        while len(served.kept) < 2:
            served.arrived.clear()
            await served.arrived.wait()
    served.kept[1].respond({"cluster_id": "third", "brokers": [], "topics": []})
    served.kept[0].respond({"cluster_id": "first", "brokers": [], "topics": []})
    got = [await answer(reader) for _ in range(4)]
    assert [(correlation_id, response.cluster_id) for correlation_id, response in got] == [(1, "first"), (2, "a"), (3, "third"), (4, "b")]
    writer.close()


async def test_more_requests_than_may_be_under_way_are_all_answered(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    count = 700
    writer.write(metadata(0, "wait") + b"".join(metadata(i, "a") for i in range(1, count)))
    async with asyncio.timeout(WAIT_S):
        await served.arrived.wait()
    served.kept[0].respond({"cluster_id": "first", "brokers": [], "topics": []})
    assert [(await answer(reader))[0] for _ in range(count)] == list(range(count))
    writer.close()


REQUEST = metadata(7, "a")
BAD = {
    "frame_negative": struct.pack(">i", -1),
    "frame_too_long": struct.pack(">i", MAX_REQUEST_BYTES + 1),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + bytes(32),
    "malformed_header": struct.pack(">i", 3) + b"\x00\x03\x00",
    "unknown_api": struct.pack(">ihhih", 10, 9999, 0, 1, -1),
    "unsupported_version": struct.pack(">ihhih", 10, 3, 99, 1, -1),
    "malformed_request": struct.pack(">ihhihi", 14, 3, 1, 1, -1, 0x7FFFFFFF),
}


@pytest.mark.parametrize("reason", BAD)
async def test_bad_input_closes_the_connection_with_a_reason_and_harms_nobody(served: Served, reason: str) -> None:
    other_reader, other_writer = await asyncio.open_connection("127.0.0.1", served.port)
    events = served.hub.open_reader()
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(BAD[reason])
    async with asyncio.timeout(WAIT_S):
        assert await reader.read() == b""
    writer.close()
    happened = [event for event in events.drain()[0] if isinstance(event, BadInput)]
    assert [event.reason for event in happened] == [reason]
    assert served.sampler.bad_input == {reason: 1}
    other_writer.write(REQUEST)
    assert (await answer(other_reader))[0] == 7
    other_writer.close()


async def test_an_empty_frame_is_a_malformed_header(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(bytes(4))
    async with asyncio.timeout(WAIT_S):
        assert await reader.read() == b""
    assert served.sampler.bad_input == {"malformed_header": 1}
    writer.close()


async def test_api_versions_of_the_future_is_told_what_is_spoken_here(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(struct.pack(">ihhih", 10, 18, 99, 5, -1))
    async with asyncio.timeout(WAIT_S):
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        frame = await reader.readexactly(size)
    response = codec.decode_response(ApiKey.API_VERSIONS, 0, frame, 4)
    assert struct.unpack_from(">i", frame) == (5,)
    assert (response.error_code, [(key.api_key, key.max_version) for key in response.api_keys]) == (35, [(18, 4)])
    writer.close()


@pytest.mark.expects_warnings
async def test_a_handler_that_breaks_answers_with_unknown_server_error(served: Served) -> None:
    events = served.hub.open_reader()
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(metadata(1, "break") + metadata(2, "a"))
    _, response = await answer(reader)
    assert response.cluster_id == "UNKNOWN_SERVER_ERROR"
    assert (await answer(reader))[0] == 2
    assert [event.api for event in events.drain()[0] if isinstance(event, RequestFailed)] == ["Metadata"]
    writer.close()


async def test_a_declared_length_costs_no_memory(served: Served) -> None:
    _reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(struct.pack(">i", MAX_REQUEST_BYTES) + b"x" * 10)
    probe_reader, probe_writer = await asyncio.open_connection("127.0.0.1", served.port)
    probe_writer.write(REQUEST)
    await answer(probe_reader)
    held = {sum(map(len, connection._pieces)) for connection in served.listener._connections}
    assert held == {0, 14}
    writer.close()
    probe_writer.close()


async def test_a_connection_that_comes_while_the_listener_closes_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Connection.connection_made

    def made_late(connection: Connection, transport: asyncio.BaseTransport) -> None:
        # It was accepted before, and its turn comes after.
        connection._listener.reset()
        made(connection, transport)

    monkeypatch.setattr(Connection, "connection_made", made_late)
    async with serving() as served, asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        with pytest.raises(ConnectionResetError):
            assert await reader.read(1)
        writer.close()
        assert served.listener is not None and not served.listener.connections
