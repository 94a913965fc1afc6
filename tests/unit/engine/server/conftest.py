"""A listener with a few APIs behind it, on a free port of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
import pytest_asyncio

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.broker.router import Router
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.log.storage import DataFile
from kafkalab.engine.protocol.apis import API_SPECS, ApiKey
from kafkalab.engine.server.levels import LevelSampler
from kafkalab.engine.server.links import NodeLinks
from kafkalab.engine.server.listener import Listener
from kafkalab.engine.server.loop_clock import LoopClock
from kafkalab.engine.telemetry.hub import TelemetryHub
from tests.support.quorum_nodes import Controllers

MAX_REQUEST_BYTES = 1_000_000


@dataclass
class Served:
    """A running listener; requests about topic "wait" are kept until the test answers them."""

    port: int
    hub: TelemetryHub
    sampler: LevelSampler
    listener: Listener
    links: NodeLinks
    kept: list[RequestContext] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    file: DataFile | None = None
    """What fetches are answered from: an offset is a position in it."""


def _fetch(served: Served, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    assert served.file is not None
    part = request.topics[0].partitions[0]
    records: Any = served.file.region(part.fetch_offset, part.partition_max_bytes)
    if not ctx.connection.sends_files:
        records = records.read()
    return {"responses": [{"topic": "t", "partitions": [{"partition_index": 0, "high_watermark": 1, "records": records}]}]}


def _api_versions(served: Served, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    return {"api_keys": [{"api_key": 3, "min_version": 0, "max_version": 13}]}


def _metadata(served: Served, ctx: RequestContext, request: Any) -> Mapping[str, Any] | None:
    names = [topic.name for topic in request.topics or ()]
    if "wait" in names:
        served.kept.append(ctx)
        served.arrived.set()
        return None
    if "break" in names:
        raise RuntimeError("a mistake of ours")
    return {"brokers": [], "cluster_id": ",".join(names), "controller_id": len(names), "topics": []}


def _list_offsets(served: Served, ctx: RequestContext, request: Any) -> Mapping[str, Any] | None:
    names = [topic.name for topic in request.topics]
    if "wait" in names:
        served.kept.append(ctx)
        served.arrived.set()
        return None
    return {"topics": [{"name": name, "partitions": []} for name in names]}


def _error(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    return {"brokers": [], "topics": [], "error_code": error, "cluster_id": error.name}


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    """The listener, on the loop that runs."""
    loop = asyncio.get_running_loop()
    clock = LoopClock(loop)
    hub = TelemetryHub()
    sampler = LevelSampler(1, clock, hub, lambda: (0, 0))
    handlers = {
        ApiKey.API_VERSIONS: (_api_versions, _error),
        ApiKey.METADATA: (_metadata, _error),
        ApiKey.FETCH: (_fetch, _error),
        ApiKey.LIST_OFFSETS: (_list_offsets, _error),
    }
    specs = [API_SPECS[key] for key in handlers]
    links = NodeLinks(1, loop, clock, Random(1), lambda: listener.connections)
    services = Served(0, hub, sampler, None, links)  # type: ignore[arg-type]
    router = Router(services, handlers, specs, node_id=1, clock=clock, sink=hub)
    listener = Listener(
        name="PLAINTEXT",
        node_id=1,
        router=router,
        loop=loop,
        clock=clock,
        sink=hub,
        sampler=sampler,
        max_request_bytes=MAX_REQUEST_BYTES,
        max_idle_ms=600_000,
        links=links,
    )
    services.listener = listener
    await listener.bind("127.0.0.1", 0)
    services.port = listener.port
    yield services
    sampler.stop()
    listener.reset()
    links.close()
    await asyncio.sleep(0)


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    """The listener, for the length of a test."""
    async with serving() as running:
        yield running


@pytest.fixture
def controllers(tmp_path: Path) -> Iterator[Controllers]:
    """Three controllers that run."""
    controllers = Controllers(tmp_path / "ours")
    with controllers.nodes:
        controllers.nodes.start()
        yield controllers
