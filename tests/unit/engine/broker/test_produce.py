"""What a produce request counts for on the screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from kafkalab.engine.broker.apis import produce
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.record.batch import Record, build_batch
from kafkalab.engine.replica.delayed import ProduceResult

BATCH = build_batch([Record(0, 0, None, b"value")])


class Context:
    """A request's way back, which remembers the answer."""

    def __init__(self) -> None:
        self.api_key, self.version, self.client_id = ApiKey.PRODUCE, 12, "me"
        stats = SimpleNamespace(produced_bytes=0, producer_id=-1, acks=None, last_error="")
        self.connection = SimpleNamespace(stats=stats, listener_name="PLAINTEXT")
        self.answers: list[Mapping[str, Any] | None] = []
        self.closed = ""

    def respond(self, body: Mapping[str, Any]) -> None:
        self.answers.append(body)

    def respond_none(self) -> None:
        self.answers.append(None)

    def close(self, reason: str, detail: str) -> None:
        self.closed = reason


def handled(acks: int, *outcomes: Errors) -> Context:
    """A batch for each of as many partitions, with what becomes of it."""

    def append(entries: list[Any], _acks: int, _timeout: int, respond: Callable[[list[ProduceResult]], None], _client_id: str) -> None:
        respond([ProduceResult(error) for error in outcomes])

    body = {
        "acks": acks,
        "timeout": 1_000,
        "topic_data": [{"name": "t", "partition_data": [{"index": index, "records": BATCH} for index in range(len(outcomes))]}],
    }
    request = codec.decode_request(ApiKey.PRODUCE, 12, codec.encode_request_body(ApiKey.PRODUCE, 12, body), 0)
    ctx = Context()
    # Both are stand-ins.
    handle: Any = produce.handle
    handle(SimpleNamespace(replica_manager=SimpleNamespace(append=append)), ctx, request)
    return ctx


@pytest.mark.parametrize("acks", [0, 1, -1])
def test_what_was_taken_counts_as_produced(acks: int) -> None:
    assert handled(acks, Errors.NONE, Errors.NONE).connection.stats.produced_bytes == 2 * len(BATCH)


def test_what_was_refused_does_not() -> None:
    stats = handled(-1, Errors.NONE, Errors.NOT_ENOUGH_REPLICAS).connection.stats
    assert stats.produced_bytes == len(BATCH)
    assert stats.last_error == "NOT_ENOUGH_REPLICAS"


def test_without_acks_a_refusal_ends_the_connection_and_nothing_counts() -> None:
    ctx = handled(0, Errors.NOT_ENOUGH_REPLICAS)
    assert ctx.closed == "produce_without_acks_failed"
    assert ctx.connection.stats.produced_bytes == 0
