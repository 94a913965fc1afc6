"""Producer ids come from blocks, and no block is used twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from kafkalab.engine.broker.producer_ids import ProducerIds
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey


class Controller:
    def __init__(self) -> None:
        self.asked: list[Callable[[Any | None], None]] = []
        self.next = 1_000

    def send(self, api_key: ApiKey, body: Mapping[str, Any], on_response: Callable[[Any | None], None], *, timeout_ms: float) -> None:
        assert (api_key, body) == (ApiKey.ALLOCATE_PRODUCER_IDS, {"broker_id": 1, "broker_epoch": 3})
        self.asked.append(on_response)

    def answer(self) -> None:
        start, self.next = self.next, self.next + 1_000
        self.asked.pop(0)(SimpleNamespace(error_code=0, producer_id_start=start, producer_id_len=1_000))


def make() -> tuple[Controller, ProducerIds]:
    controller = Controller()
    return controller, ProducerIds(node_id=1, channel=controller, broker_epoch=lambda: 3)  # type: ignore[arg-type]


def test_all_who_wait_for_the_first_block_get_an_id_each() -> None:
    controller, ids = make()
    got: list[int | None] = []
    for _ in range(3):
        ids.next(got.append)
    assert (got, len(controller.asked)) == ([], 1)
    controller.answer()
    assert got == [1_000, 1_001, 1_002]


def test_the_next_block_is_there_before_the_first_ends() -> None:
    controller, ids = make()
    got: list[int | None] = []
    ids.next(got.append)
    controller.answer()
    for _ in range(1_999):
        ids.next(got.append)
        if controller.asked:
            controller.answer()
    assert got == list(range(1_000, 3_000))


def test_no_answer_is_no_id_and_the_next_one_asks_again() -> None:
    controller, ids = make()
    got: list[int | None] = []
    ids.next(got.append)
    controller.asked.pop(0)(None)
    ids.next(got.append)
    controller.asked.pop(0)(SimpleNamespace(error_code=Errors.STALE_BROKER_EPOCH))
    ids.next(got.append)
    controller.answer()
    assert got == [None, None, 1_000]


def test_a_block_without_ids_is_none() -> None:
    controller, ids = make()
    got: list[int | None] = []
    ids.next(got.append)
    for length in (0, -1):
        controller.asked.pop(0)(SimpleNamespace(error_code=0, producer_id_start=5, producer_id_len=length))
        assert got.pop() is None and not controller.asked
        ids.next(got.append)
    controller.answer()
    assert got == [1_000]
