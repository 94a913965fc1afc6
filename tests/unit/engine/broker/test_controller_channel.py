"""The way to the active controller: tried again while there is none, given up at the deadline."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from kafkalab.engine.broker.controller_channel import ControllerChannel
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.protocol.apis import ApiKey


class Setting:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.leader_id = -1
        self.sent: list[tuple[int, Callable[[Any | None], None]]] = []
        self.channel = ControllerChannel(clock=self.clock, network=self, raft=self)
        self.answers: list[Any | None] = []

    def send(
        self,
        node_id: int,
        api_key: ApiKey,
        body: Mapping[str, Any],
        on_response: Callable[[Any | None], None],
        *,
        timeout_ms: float,
        version: int | None = None,
    ) -> None:
        self.sent.append((node_id, on_response))

    def ask(self, api_key: ApiKey = ApiKey.BROKER_HEARTBEAT) -> None:
        self.channel.send(api_key, {}, self.answers.append, timeout_ms=1_000)

    def answer(self, response: Any | None) -> None:
        self.sent.pop(0)[1](response)


def test_a_request_waits_for_a_controller_to_be_elected() -> None:
    at = Setting()
    at.ask()
    at.clock.advance(300)
    assert not at.sent
    at.leader_id = 102
    at.clock.advance(50)
    assert [node_id for node_id, _ in at.sent] == [102]
    at.answer(SimpleNamespace(error_code=0))
    assert len(at.answers) == 1


def test_not_controller_and_silence_are_tried_again_elsewhere() -> None:
    at = Setting()
    at.leader_id = 101
    at.ask()
    at.answer(SimpleNamespace(error_code=Errors.NOT_CONTROLLER))
    at.leader_id = 103
    at.clock.advance(50)
    assert at.sent[0][0] == 103
    at.answer(None)
    at.clock.advance(50)
    at.answer(SimpleNamespace(error_code=Errors.STALE_BROKER_EPOCH))
    assert [answer.error_code for answer in at.answers] == [Errors.STALE_BROKER_EPOCH]


def test_topics_that_were_refused_by_a_former_controller_are_sent_again() -> None:
    at = Setting()
    at.leader_id = 101
    at.ask(ApiKey.CREATE_TOPICS)
    at.answer(SimpleNamespace(topics=(SimpleNamespace(error_code=Errors.NOT_CONTROLLER),)))
    at.clock.advance(50)
    assert len(at.sent) == 1
    assert not at.answers


def test_at_the_deadline_the_answer_is_none() -> None:
    at = Setting()
    at.ask()
    at.clock.advance(1_100)
    assert at.answers == [None]


def test_a_closed_channel_says_nothing_more() -> None:
    at = Setting()
    at.leader_id = 101
    at.ask()
    at.channel.close()
    at.answer(SimpleNamespace(error_code=0))
    at.clock.advance(2_000)
    assert at.answers == []


def test_a_request_does_not_wait_for_a_controller_that_was_replaced() -> None:
    # It is cut off, so it says nothing and its connection stays.
    at = Setting()
    at.leader_id = 101
    at.ask()
    at.clock.advance(250)
    at.leader_id = -1
    at.clock.advance(250)
    assert [node_id for node_id, _ in at.sent] == [101]
    at.leader_id = 102
    at.clock.advance(200)
    assert [node_id for node_id, _ in at.sent] == [101, 102]
    silent, replaced_by = (on_response for _, on_response in at.sent)
    silent(SimpleNamespace(error_code=Errors.UNKNOWN_SERVER_ERROR))
    assert at.answers == []
    replaced_by(SimpleNamespace(error_code=0))
    silent(None)
    assert [answer.error_code for answer in at.answers] == [0]
    at.clock.advance(5_000)
    assert len(at.sent) == 2


def test_a_controller_that_resigned_may_say_so_itself() -> None:
    at = Setting()
    at.leader_id = 101
    at.ask()
    at.leader_id = 102
    at.clock.advance(99)
    at.answer(SimpleNamespace(error_code=Errors.NOT_CONTROLLER))
    at.clock.advance(50)
    assert [node_id for node_id, _ in at.sent] == [102]


def header(correlation_id: int) -> bytes:
    return struct.pack(">i", correlation_id) + bytes(1)


@pytest.mark.parametrize("data", [None, b"", b"\x00", header(8), header(7)[:3]], ids=repr)
def test_an_envelope_with_no_answer_in_it_is_refused(data: bytes | None) -> None:
    at = Setting()
    at.leader_id = 101
    refused: list[Errors] = []
    answered: list[bytes] = []
    connection = SimpleNamespace(client_host="127.0.0.1")
    ctx = SimpleNamespace(
        api_key=ApiKey.CREATE_TOPICS, version=7, correlation_id=7, client_id="c", connection=connection, respond_encoded=answered.append
    )
    at.channel.forward(ctx, b"frame", refuse=lambda error, message: refused.append(error))  # type: ignore[arg-type]
    at.answer(SimpleNamespace(error_code=0, response_data=data))
    assert (refused, answered) == ([Errors.UNKNOWN_SERVER_ERROR], [])
    at.channel.forward(ctx, b"frame", refuse=lambda error, message: refused.append(error))  # type: ignore[arg-type]
    at.answer(SimpleNamespace(error_code=0, response_data=header(7)))
    assert answered == [header(7)]
    # A handler that wants to know what it says is told that it says nothing.
    at.channel.forward_body(ctx, {"topics": ()}, on_response=answered.append, refuse=lambda error, message: refused.append(error))  # type: ignore[arg-type]
    at.answer(SimpleNamespace(error_code=0, response_data=header(7)))
    assert (refused[1:], len(answered)) == ([Errors.UNKNOWN_SERVER_ERROR], 1)
    at.channel.forward(ctx, b"frame", refuse=lambda error, message: refused.append(error))  # type: ignore[arg-type]
    at.answer(SimpleNamespace(error_code=9_999, response_data=None))
    assert refused[2:] == [Errors.UNKNOWN_SERVER_ERROR]
