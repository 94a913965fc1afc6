"""Connections over real sockets whose links are cut, late, slow or lossy, on each kind of loop."""

from __future__ import annotations

import asyncio
import os
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from kafkalab.engine.faults import network as rules
from kafkalab.engine.faults.network import CLIENTS, LinkFault
from kafkalab.engine.log.region import REGION_BYTES_MIN
from kafkalab.engine.log.storage import FileStorage
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.server.client import NodeNetwork
from kafkalab.engine.server.links import HELD_BYTES_MAX, NodeLinks, party_of, party_of_first_bytes
from kafkalab.engine.server.loop_clock import LoopClock
from kafkalab.engine.server.node import new_event_loop

from .conftest import Served, serving
from .test_connection import answer, metadata
from .test_file_sender import fetch, frame_of, records_of

WAIT_S = 20
SOON_MS = 60.0
"""How long a test waits for what is not to happen."""
FILE_BYTES = 8 << 20
LOOPS = {"asyncio": asyncio.new_event_loop, "fastest": new_event_loop}


def offsets_of(topic: str) -> dict[str, Any]:
    """What a replica may begin with."""
    return {"replica_id": 2, "isolation_level": 0, "topics": [{"name": topic, "partitions": []}]}


class World:
    """Node 1 that is served, and node 2 that asks it."""

    def __init__(self, served: Served) -> None:
        loop = asyncio.get_running_loop()
        self.served = served
        self.links = NodeLinks(2, loop, LoopClock(loop), Random(2), lambda: self.network.connections)
        self.network = NodeNetwork(loop, "broker-2-fetcher-0", lambda node_id: ("127.0.0.1", served.port), self.links)

    def wrong(self, *faults: LinkFault) -> None:
        self.served.links.set(faults)
        self.links.set(faults)

    async def ask(self, name: str, timeout_ms: float = 10_000) -> Any:
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def take(response: Any) -> None:
            # A test that has ended does not wait any more.
            if not answered.done():
                answered.set_result(None if response is None else response.topics[0].name)

        self.network.send(1, ApiKey.LIST_OFFSETS, offsets_of(name), take, timeout_ms=timeout_ms)
        return await answered

    def close(self) -> None:
        self.network.close()
        self.links.close()


Scenario = Callable[[World], Awaitable[None]]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    """Runs a scenario on a loop of its own."""

    def run_it(scenario: Scenario) -> None:
        async def main() -> None:
            async with serving() as served:
                world = World(served)
                try:
                    async with asyncio.timeout(WAIT_S):
                        await scenario(world)
                finally:
                    world.close()
                    await asyncio.sleep(0)

        loop = LOOPS[request.param]()
        try:
            loop.run_until_complete(main())
            loop.run_until_complete(asyncio.sleep(0))
        finally:
            loop.close()

    return run_it


def cut(*directions: tuple[int, int]) -> list[LinkFault]:
    return [LinkFault(source, target, is_cut=True) for source, target in directions]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def connect(world: World) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", world.served.port)


async def nothing_comes(reader: asyncio.StreamReader) -> bool:
    """Neither a byte nor an end, for a while."""
    with suppress(TimeoutError):
        async with asyncio.timeout(SOON_MS / 1000):
            await reader.read(1)
            return False
    return True


# --- between nodes --------------------------------------------------------------------------------


def test_what_a_cut_link_holds_back_arrives_when_it_is_healed(run: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        assert await world.ask("a") == "a"
        world.wrong(*cut((1, 2), (2, 1)))
        asking = [asyncio.create_task(world.ask(name)) for name in "bcd"]
        done, _ = await asyncio.wait(asking, timeout=SOON_MS / 1000)
        assert not done
        world.wrong()
        assert await asyncio.gather(*asking) == ["b", "c", "d"]
        assert len(world.served.listener.connections) == 1

    run(scenario)


def test_one_way_only_requests_arrive_and_answers_do_not(run: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        assert await world.ask("a") == "a"
        world.wrong(*cut((1, 2)))
        asking = asyncio.create_task(world.ask("wait", SOON_MS))
        await world.served.arrived.wait()
        world.served.kept[0].respond({"topics": [{"name": "too late", "partitions": []}]})
        assert await asking is None

    run(scenario)


def test_who_gives_a_cut_connection_up_is_not_heard_of_at_the_other_end(run: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        assert await world.ask("a") == "a"
        (accepted,) = world.served.listener.connections
        world.wrong(*cut((2, 1)))
        assert await world.ask("b", SOON_MS) is None
        # The one that gave up has reset it; it is not the end of the other's half.
        assert set(world.served.listener.connections) == {accepted} and accepted.transport is not None
        world.wrong()
        await until(lambda: not world.served.listener.connections)
        assert await world.ask("c") == "c"

    run(scenario)


def test_an_end_that_the_system_told_of_is_hidden_while_the_link_is_cut(run: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        asking = asyncio.create_task(world.ask("wait"))
        await world.served.arrived.wait()
        world.wrong(*cut((1, 2)))
        for connection in list(world.served.listener.connections):
            connection.reset()
        # What is sent now meets a socket that is gone, and the system says so.
        for _ in range(3):
            again = asyncio.create_task(world.ask("b"))
            await asyncio.wait([asking, again], timeout=SOON_MS / 3000)
            assert not asking.done() and not again.done()
        world.wrong()
        assert await asking is None

    run(scenario)


def test_no_connection_comes_about_over_a_cut_link(run: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        for direction in ((1, 2), (2, 1)):
            world.wrong(*cut(direction))
            assert await world.ask("a", SOON_MS) is None
            assert not world.served.listener.connections
        asking = asyncio.create_task(world.ask("b"))
        await asyncio.wait([asking], timeout=SOON_MS / 1000)
        world.wrong()
        assert await asking == "b"

    run(scenario)


def test_other_links_go_on(run: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        assert await world.ask("a") == "a"
        world.wrong(*cut((1, 3), (3, 1), (CLIENTS, 1), (1, CLIENTS)))
        assert await world.ask("b") == "b"

    run(scenario)


def test_a_late_link_takes_both_ways_and_keeps_the_order(run: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        assert await world.ask("a") == "a"
        world.wrong(LinkFault(1, 2, delay_ms=40, jitter_ms=30), LinkFault(2, 1, delay_ms=40, jitter_ms=30))
        begun = time.monotonic()
        # An answer out of its order would end the connection.
        names = [f"t{i}" for i in range(50)]
        assert await asyncio.gather(*(world.ask(name) for name in names)) == names
        assert time.monotonic() - begun >= 0.02
        world.wrong(LinkFault(1, 2, delay_ms=40), LinkFault(2, 1, delay_ms=40))
        begun = time.monotonic()
        assert await world.ask("b") == "b"
        assert time.monotonic() - begun >= 0.08

    run(scenario)


def test_a_new_connection_over_a_late_link_takes_a_turn_more(run: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        world.wrong(LinkFault(1, 2, delay_ms=30), LinkFault(2, 1, delay_ms=30))
        begun = time.monotonic()
        assert await world.ask("a") == "a"
        assert time.monotonic() - begun >= 0.12

    run(scenario)


def test_a_slow_link_takes_its_time(run: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        assert await world.ask("a") == "a"
        world.wrong(LinkFault(2, 1, bytes_per_second=50_000))
        begun = time.monotonic()
        assert await world.ask("b" * 10_000) == "b" * 10_000
        assert time.monotonic() - begun >= 0.2

    run(scenario)


def test_a_lost_piece_costs_the_time_after_which_tcp_sends_it_again(run: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        assert await world.ask("a") == "a"
        chances = [0.0, 0.9]
        world.served.links.chance.random = lambda: chances.pop(0) if chances else 1.0
        world.wrong(LinkFault(2, 1, loss=0.5))
        begun = time.monotonic()
        assert await world.ask("b") == "b"
        assert time.monotonic() - begun >= 0.2

    run(scenario)


def test_what_is_always_lost_ends_the_connection_at_last(run: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "RETRANSMIT_MAX_MS", 0.5)

    async def scenario(world: World) -> None:
        assert await world.ask("a") == "a"
        world.wrong(LinkFault(2, 1, loss=1.0))
        assert await world.ask("b") is None
        await until(lambda: not world.served.listener.connections)

    run(scenario)


def test_what_is_not_looked_at_fills_the_senders_side(run: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        assert await world.ask("a") == "a"
        world.wrong(*cut((2, 1)))
        names = [f"{i:07}" * 100_000 for i in range(20)]
        asking = [asyncio.create_task(world.ask(name)) for name in names]
        await asyncio.wait(asking, timeout=SOON_MS / 1000)
        (faulty,) = world.served.links._faulty
        assert faulty._incoming.held_bytes <= HELD_BYTES_MAX
        world.wrong()
        assert await asyncio.gather(*asking) == names

    run(scenario)


def test_when_all_is_right_again_nothing_stands_between(run: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        assert await world.ask("a") == "a"
        (accepted,), (made,) = world.served.listener.connections, world.network.connections
        before = accepted.transport, made.transport
        world.wrong(*cut((1, 2), (2, 1)))
        assert accepted.transport is not before[0] and made.transport is not before[1]
        asking = asyncio.create_task(world.ask("b"))
        await asyncio.sleep(0)
        world.wrong()
        assert await asking == "b"
        assert (accepted.transport, made.transport) == before
        assert not world.served.links._faulty and not world.links._faulty
        assert await world.ask("c") == "c"

    run(scenario)


# --- clients ----------------------------------------------------------------------------------------


def test_a_client_that_is_cut_off_connects_and_hears_nothing(run: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        old_reader, old_writer = await connect(world)
        old_writer.write(metadata(1, "a"))
        assert (await answer(old_reader))[0] == 1
        world.wrong(*cut((CLIENTS, 1)))
        reader, writer = await connect(world)
        writer.write(metadata(1, "wait"))
        old_writer.write(metadata(2, "wait"))
        assert await nothing_comes(reader) and await nothing_comes(old_reader)
        assert not world.served.kept
        # A node is no client, though it comes by the same door.
        assert await world.ask("b") == "b"
        world.wrong()
        await until(lambda: len(world.served.kept) == 2)
        for one in world.served.kept:
            one.respond({"cluster_id": "at last", "brokers": [], "topics": []})
        assert [(await answer(one))[1].cluster_id for one in (old_reader, reader)] == ["at last"] * 2
        writer.close()
        old_writer.close()

    run(scenario)


def test_a_client_that_answers_do_not_reach_is_not_told_of_the_end_either(run: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        reader, writer = await connect(world)
        writer.write(metadata(1, "wait"))
        await world.served.arrived.wait()
        world.wrong(*cut((1, CLIENTS)))
        world.served.kept[0].respond({"cluster_id": "a", "brokers": [], "topics": []})
        (accepted,) = world.served.listener.connections
        accepted.end()
        await until(lambda: not world.served.listener.connections)
        assert await nothing_comes(reader)
        world.wrong()
        assert (await answer(reader))[1].cluster_id == "a"
        assert await reader.read() == b""
        writer.close()

    run(scenario)


def test_a_node_that_ends_lets_go_of_what_it_held_back(run: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        reader, writer = await connect(world)
        writer.write(metadata(1, "a"))
        await answer(reader)
        world.wrong(*cut((1, CLIENTS)))
        world.served.listener.reset()
        assert await nothing_comes(reader)
        world.served.links.close()
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()

    run(scenario)


def test_bad_input_is_refused_behind_a_broken_link_too(run: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        world.wrong(LinkFault(CLIENTS, 1, delay_ms=5), LinkFault(1, CLIENTS, delay_ms=5))
        reader, writer = await connect(world)
        writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert await reader.read() == b""
        assert world.served.sampler.bad_input["http"] == 1
        writer.close()
        # One that leaves before it has said who it is.
        _, other = await connect(world)
        await until(lambda: len(world.served.listener.connections) == 1)
        other.write(b"\0\0")
        other.close()
        await until(lambda: not world.served.listener.connections)

    run(scenario)


def test_a_node_amid_its_first_request_is_known_when_the_link_is_cut(run: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        request = b"".join(codec.encode_request(ApiKey.LIST_OFFSETS, 6, 1, "broker-2-fetcher-0", offsets_of("a")))
        for part in (3, 20, len(request) - 3):
            reader, writer = await connect(world)
            writer.write(request[:part])
            while [one.info.stats.bytes_in for one in world.served.listener.connections] != [part]:
                await asyncio.sleep(0.001)
            world.wrong(*cut((2, 1)))
            writer.write(request[part:])
            assert await nothing_comes(reader)
            world.wrong()
            assert (await frame_of(reader)).endswith(b"a\x01\0\0")
            writer.close()
            await until(lambda: not world.served.listener.connections)

    run(scenario)


@pytest.mark.skipif(
    not hasattr(os, "sendfile") or sys.platform == "win32", reason="this system has no sendfile: records are read and written"
)
@pytest.mark.parametrize("fault", [LinkFault(1, CLIENTS, is_cut=True), LinkFault(1, CLIENTS, delay_ms=5, jitter_ms=5)], ids=["cut", "late"])
def test_records_that_were_leaving_from_a_file_arrive_whole(run: Callable[[Scenario], None], tmp_path: Path, fault: LinkFault) -> None:
    content = os.urandom(FILE_BYTES)
    storage = FileStorage()

    async def scenario(world: World) -> None:
        world.served.file = storage.open(str(tmp_path / "00000000000000000000.log"))
        world.served.file.append(b"", content)
        reader, writer = await asyncio.open_connection("127.0.0.1", world.served.port, limit=1024)
        writer.write(fetch(1, 0, FILE_BYTES) + fetch(2, 100, REGION_BYTES_MIN * 2))
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        (accepted,) = world.served.listener.connections
        assert accepted.info.stats.sendfile_bytes
        world.wrong(fault)
        assert not accepted.info.sends_files
        if fault.is_cut:
            # What had left is still on its way.
            have = b""
            with suppress(TimeoutError):
                while len(have) < size:
                    async with asyncio.timeout(SOON_MS / 1000):
                        have += await reader.read(1 << 20)
            assert len(have) < size
            world.wrong()
            frame = have + await reader.readexactly(size - len(have))
        else:
            frame = await reader.readexactly(size)
        assert records_of(frame) == content
        assert records_of(await frame_of(reader)) == content[100 : 100 + REGION_BYTES_MIN * 2]
        world.wrong()
        assert accepted.info.sends_files
        writer.write(fetch(3, 7, FILE_BYTES - 7))
        assert records_of(await frame_of(reader)) == content[7:]
        writer.close()

    try:
        run(scenario)
    finally:
        storage.close()


# --- who is who ---------------------------------------------------------------------------------------


def test_a_client_that_calls_itself_like_a_node_is_a_client(run: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        talks = []
        for client_id in ("broker-2", "broker-2-fetcher-0", "raft-client-2"):
            reader, writer = await connect(world)
            writer.write(b"".join(codec.encode_request(ApiKey.METADATA, 9, 1, client_id, {"topics": [{"name": "a"}]})))
            assert (await answer(reader))[0] == 1
            talks.append((reader, writer))
        world.wrong(*cut((1, 2), (2, 1)))
        reader, writer = await connect(world)
        writer.write(b"".join(codec.encode_request(ApiKey.API_VERSIONS, 0, 1, "broker-2", {})))
        assert await frame_of(reader)
        talks.append((reader, writer))
        for reader, writer in talks:
            writer.write(metadata(2, "b"))
            assert (await answer(reader))[1].cluster_id == "b"
        asking = asyncio.create_task(world.ask("c"))
        done, _ = await asyncio.wait([asking], timeout=SOON_MS / 1000)
        assert not done, "the node itself is cut off"
        world.wrong()
        assert await asking == "c"
        for _, writer in talks:
            writer.close()

    run(scenario)


@pytest.mark.parametrize(
    ("client_id", "api_key", "party", "on_controller"),
    [
        ("broker-12-fetcher-0", ApiKey.FETCH, 12, CLIENTS),
        ("broker-12-fetcher-3", ApiKey.OFFSET_FOR_LEADER_EPOCH, 12, CLIENTS),
        ("broker-12-fetcher-0", ApiKey.API_VERSIONS, CLIENTS, CLIENTS),
        ("broker-12-fetcher-0", ApiKey.METADATA, CLIENTS, CLIENTS),
        ("broker-12-fetcher-0", ApiKey.PRODUCE, CLIENTS, CLIENTS),
        ("broker-2", ApiKey.FETCH, CLIENTS, CLIENTS),
        ("broker-2-heartbeat", ApiKey.BROKER_HEARTBEAT, CLIENTS, 2),
        ("broker-2-alter-partition", ApiKey.ALTER_PARTITION, CLIENTS, 2),
        ("broker-2-forwarding", ApiKey.CREATE_TOPICS, CLIENTS, 2),
        ("broker-2-forwarding", ApiKey.API_VERSIONS, CLIENTS, CLIENTS),
        ("controller-101-registration", ApiKey.CONTROLLER_REGISTRATION, CLIENTS, 101),
        ("raft-client-101", ApiKey.FETCH, CLIENTS, 101),
        ("raft-client-101", ApiKey.API_VERSIONS, CLIENTS, 101),
        ("raft-client-101", ApiKey.DESCRIBE_CLUSTER, CLIENTS, CLIENTS),
        ("3", ApiKey.BROKER_HEARTBEAT, CLIENTS, CLIENTS),
        ("my-broker-2-heartbeat", ApiKey.BROKER_HEARTBEAT, CLIENTS, CLIENTS),
        ("", ApiKey.FETCH, CLIENTS, CLIENTS),
    ],
)
def test_nodes_are_known_by_what_they_ask_first(client_id: str, api_key: ApiKey, party: int, on_controller: int) -> None:
    assert party_of(client_id, api_key, on_controller=False) == party
    assert party_of(client_id, api_key, on_controller=True) == on_controller


def test_the_first_bytes_tell_who_it_is_as_soon_as_they_can() -> None:
    first = struct.pack(">ihhih", 100, ApiKey.FETCH, 4, 1, 18) + b"broker-7-fetcher-0" + b"more"
    known = [party_of_first_bytes(first[:size], on_controller=False) for size in range(len(first))]
    assert known[:32] == [None] * 32 and set(known[32:]) == {7}
    nobody = struct.pack(">ihhih", 100, 3, 4, 1, -1)
    assert party_of_first_bytes(nobody, on_controller=False) == CLIENTS
    assert party_of_first_bytes(b"GET / HTTP/1.1\r\n", on_controller=False) == CLIENTS
