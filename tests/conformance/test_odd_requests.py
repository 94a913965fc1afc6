"""Requests of every API in every version whose fields lie at the edges of their types, or whose bytes were changed on the way.

What they say is chosen by a seed. Whatever it is, each is answered or its connection closed, no handler breaks, and both nodes
go on.
"""

from __future__ import annotations

import struct
import time
import uuid
from collections.abc import Iterator
from random import Random
from typing import Any, Final

import pytest
from kio.index import load_request_schema

from kafkalab import Lab
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.record.batch import Record, build_batch
from kafkalab.engine.telemetry.events import RequestFailed
from tests.support.raw_client import RawClient, exchange

REQUESTS: Final = 2_500
ANSWER_S: Final = 10.0
WAIT_MAX_MS: Final = 20
"""No request shall wait for longer, whatever is being waited for."""
GOOD: Final = build_batch([Record(0, 1_700_000_000_000, b"k", b"v", ())])

EDGES: Final[dict[str, tuple[Any, ...]]] = {
    "int8": (-(1 << 7), -2, -1, 0, 1, 2, (1 << 7) - 1),
    "int16": (-(1 << 15), -2, -1, 0, 1, 2, (1 << 15) - 1),
    "error_code": (-1, 0, 1, 42),
    "uint16": (0, 1, (1 << 16) - 1),
    "int32": (-(1 << 31), -2, -1, 0, 0, 1, 1, 2, 100, (1 << 31) - 1),
    "uint32": (0, 1, (1 << 32) - 1),
    "int64": (-(1 << 63), -2, -1, 0, 1, 2, 5, 1 << 31, (1 << 63) - 1),
    "float64": (0.0, -1.0, float("nan"), float("inf")),
    "bool": (False, True),
    "bytes": (b"", b"\x00", bytes(20)),
    "records": (None, b"", b"x", GOOD, GOOD[:-1], GOOD + GOOD, bytes(80)),
    "string": (
        *("a", "b", "", "nowhere", "__consumer_offsets", "__cluster_metadata", "x" * 249, "x" * 250, "..", "a b", "é", "1", "-1", "*"),
        *("consumer", "range", "PLAINTEXT", "CONTROLLER", "127.0.0.1", "/", "retention.ms", "compact", "metadata.version", "user"),
    ),
}
_SHORT: Final = {"i8": "int8", "i16": "int16", "u16": "uint16", "i32": "int32", "u32": "uint32", "i64": "int64"}
_TIMES: Final = {"timedelta_i32": "int32", "timedelta_i64": "int64", "datetime_i64": "int64"}
KINDS: Final = {kind: kind for kind in EDGES} | _SHORT | _TIMES
_QUORUM: Final = frozenset({ApiKey.VOTE, ApiKey.BEGIN_QUORUM_EPOCH, ApiKey.END_QUORUM_EPOCH, ApiKey.FETCH, ApiKey.FETCH_SNAPSHOT})
_WAITS: Final = frozenset({"max_wait", "timeout", "rebalance_timeout", "session_timeout"})


class Odd:
    """Makes up requests."""

    def __init__(self, seed: int, topic_ids: list[uuid.UUID]) -> None:
        self.rng = Random(seed)
        self._ids = [*topic_ids, None, uuid.UUID(int=1), uuid.UUID(int=(1 << 128) - 1)]

    def body(self, api_key: ApiKey, version: int) -> dict[str, Any]:
        body = self._entity(load_request_schema(api_key, version), api_key)
        if body.get("acks") == 0:
            # That would be answered by nothing at all.
            body["acks"] = 1
        return {name: min(value, WAIT_MAX_MS) if name in _WAITS else value for name, value in body.items()}

    def _entity(self, entity: Any, api_key: ApiKey) -> dict[str, Any]:
        rng = self.rng
        body: dict[str, Any] = {}
        for shape in codec._shapes(entity):
            if shape.tag is not None and rng.random() < 0.5:
                continue
            if shape.nullable and rng.random() < 0.2:
                body[shape.name] = None
            elif shape.is_array:
                rows = [self._value(shape, api_key) for _ in range(rng.choice((0, 1, 1, 1, 1, 1, 2, 2, 3, 30)))]
                body[shape.name] = rows + rows[:1] if rng.random() < 0.15 else rows
            else:
                body[shape.name] = self._value(shape, api_key)
        return body

    def _value(self, shape: Any, api_key: ApiKey) -> Any:
        if shape.entity is not None:
            return self._entity(shape.entity, api_key)
        if shape.kafka_type == "uuid":
            return self.rng.choice(self._ids)
        value = self.rng.choice(EDGES[KINDS[shape.kafka_type]])
        # A quorum whose epoch is the last there is elects nobody any more; Kafka's does not either.
        return value % 10 if api_key in _QUORUM and "epoch" in shape.name else value

    def frame(self, api_key: ApiKey, version: int, number: int) -> tuple[bytes, bool]:
        """A request, and whether it is as it was made: then it must be answered, or hung up on, without further ado."""
        rng = self.rng
        data = bytearray(
            b"".join(bytes(part) for part in codec.encode_request(api_key, version, number, "odd", self.body(api_key, version)))
        )
        after_header = 18
        if len(data) <= after_header or rng.random() >= 0.4:
            return bytes(data), True
        for _ in range(rng.choice((1, 1, 2, 5))):
            data[rng.randrange(after_header, len(data))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        if rng.random() < 0.2:
            del data[rng.randrange(after_header, len(data)) :]
            data[:4] = struct.pack(">i", len(data) - 4)
        return bytes(data), False


@pytest.fixture
def alone() -> Iterator[Lab]:
    """A cluster that nobody else needs."""
    with Lab(brokers=1, controllers=1, config={"offsets.topic.num.partitions": "1"}) as lab:
        for topic in ("a", "b"):
            lab.create_topic(topic, partitions=2, replication_factor=1)
        yield lab


# What Kafka warns of is no error of ours.
@pytest.mark.expects_warnings
@pytest.mark.timeout(180)
def test_whatever_is_asked_nothing_breaks(alone: Lab, caplog: pytest.LogCaptureFixture) -> None:
    events = alone.hub.open_reader()
    addresses = [node.address for node in alone.describe().nodes]
    served: list[tuple[str, ApiKey, int]] = []
    topic_ids: list[uuid.UUID] = []
    for address in addresses:
        with RawClient(address) as client:
            versions = client.ask(ApiKey.API_VERSIONS, 3, {"client_software_name": "odd", "client_software_version": "1"})
            rows = [(ApiKey(row.api_key), row) for row in versions.api_keys]
            # The oldest of Produce are told for the sake of one client, and not served.
            served += [
                (address, key, version)
                for key, row in rows
                for version in range(row.min_version, row.max_version + 1)
                if (key, version) >= (0, 3)
            ]
            if any(key is ApiKey.METADATA for key, _ in rows):
                topic_ids += [topic.topic_id for topic in client.ask(ApiKey.METADATA, 12, {"topics": None}).topics]
    odd = Odd(1, topic_ids)
    unanswered = []
    for number in range(REQUESTS):
        address, api_key, version = odd.rng.choice(served)
        frame, is_whole = odd.frame(api_key, version, number)
        started = time.monotonic()
        if exchange(address, frame, ANSWER_S, ends=not is_whole) is None:
            unanswered.append((api_key.name, version, frame.hex()))
        assert time.monotonic() - started < ANSWER_S, (api_key.name, version, frame.hex())
    assert not unanswered
    failed = [event for event in events.drain()[0] if isinstance(event, RequestFailed)]
    assert not failed, failed[:3]
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR" and record.name.startswith("kafkalab")]
    assert not errors, errors[:3]
    assert all(node.is_running for node in alone.describe().nodes)
