"""Requests from node to node: answers, faults, deadlines."""

from __future__ import annotations

import asyncio
from typing import Any

from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.server.client import NodeNetwork

from .conftest import Served

WAIT_S = 10


async def ask(network: NodeNetwork, *names: str, node_id: int = 1, timeout_ms: float = 5_000) -> Any:
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    body = {"topics": [{"name": name} for name in names]}
    network.send(node_id, ApiKey.METADATA, body, answered.set_result, timeout_ms=timeout_ms)
    assert not answered.done(), "never called back from within the call"
    async with asyncio.timeout(WAIT_S):
        return await answered


def network_to(served: Served) -> NodeNetwork:
    return NodeNetwork(asyncio.get_running_loop(), "node-1", lambda node_id: ("127.0.0.1", served.port) if node_id == 1 else None)


async def test_requests_are_answered_over_one_connection(served: Served) -> None:
    network = network_to(served)
    responses = await asyncio.gather(*(ask(network, f"t{i}") for i in range(20)))
    assert [response.cluster_id for response in responses] == [f"t{i}" for i in range(20)]
    assert len(served.listener._connections) == 1
    network.close()


async def test_a_node_without_an_address_does_not_answer(served: Served) -> None:
    network = network_to(served)
    assert await ask(network, "a", node_id=2) is None
    network.close()


async def test_a_node_that_nobody_runs_does_not_answer(served: Served) -> None:
    port = served.port
    served.listener.reset()
    network = NodeNetwork(asyncio.get_running_loop(), "node-1", lambda node_id: ("127.0.0.1", port))
    assert await ask(network, "a") is None
    network.close()


async def test_a_deadline_fails_the_request_and_the_next_one_has_a_new_connection(served: Served) -> None:
    network = network_to(served)
    assert await ask(network, "wait", timeout_ms=20) is None
    assert (await ask(network, "a")).cluster_id == "a"
    network.close()


async def test_a_connection_that_is_reset_fails_what_waits(served: Served) -> None:
    network = network_to(served)
    asking = asyncio.create_task(ask(network, "wait"))
    async with asyncio.timeout(WAIT_S):
        await served.arrived.wait()
    for connection in list(served.listener._connections):
        connection.reset()
    assert await asking is None
    assert (await ask(network, "a")).cluster_id == "a"
    network.close()
