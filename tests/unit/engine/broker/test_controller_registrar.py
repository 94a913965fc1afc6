"""A controller registers once, again after a failure, and again when somebody registered over it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from kafkalab.engine.broker.controller_registrar import ControllerRegistrar
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.controller.controllers import registration_of_controller
from kafkalab.engine.metadata.image import MetadataDelta, MetadataImage
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.metadata_records import FeatureLevelRecord

OWN = uuid.UUID(int=11)


class FakeChannel:
    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.answers: list[Callable[[Any], None]] = []

    def send(self, api_key: ApiKey, body: Mapping[str, Any], on_response: Callable[[Any], None], *, timeout_ms: float = 0.0) -> None:
        assert api_key is ApiKey.CONTROLLER_REGISTRATION
        self.sent.append(codec.decode_request(api_key, 0, codec.encode_request_body(api_key, 0, body), 0))
        self.answers.append(on_response)


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.channel = FakeChannel()
        self.image = MetadataImage()
        self.registrar = ControllerRegistrar(
            node_id=3, incarnation_id=OWN, listeners={"CONTROLLER": ("127.0.0.1", 9093)}, clock=self.clock, channel=self.channel
        )

    def replay(self, *records: Any) -> None:
        delta = MetadataDelta()
        for record in records:
            self.image.replay(record, delta)
        self.registrar.publish(delta, self.image)

    def commit(self, request: Any) -> None:
        self.replay(*registration_of_controller(self.image, request).records)


def answer(error: Errors) -> Any:
    return SimpleNamespace(error_code=int(error))


def test_it_registers_once_the_metadata_version_is_known() -> None:
    bench = Bench()
    bench.replay()
    assert not bench.channel.sent
    bench.replay(FeatureLevelRecord(name="metadata.version", feature_level=30))
    (request,) = bench.channel.sent
    assert (request.controller_id, request.incarnation_id) == (3, OWN)
    assert [(listener.name, listener.port) for listener in request.listeners] == [("CONTROLLER", 9093)]
    bench.replay()
    assert len(bench.channel.sent) == 1, "one request at a time"
    bench.channel.answers[0](answer(Errors.NONE))
    bench.commit(request)
    bench.clock.advance(10_000)
    assert len(bench.channel.sent) == 1
    assert bench.image.controllers[3].listeners == {"CONTROLLER": ("127.0.0.1", 9093)}
    assert "metadata.version" in bench.image.controllers[3].features


@pytest.mark.expects_warnings
def test_it_tries_again_later_and_later() -> None:
    bench = Bench()
    bench.replay(FeatureLevelRecord(name="metadata.version", feature_level=30))
    bench.channel.answers[0](None)
    bench.replay()
    assert len(bench.channel.sent) == 1, "a retry is due already"
    bench.clock.advance(100)
    assert len(bench.channel.sent) == 2
    bench.channel.answers[1](answer(Errors.UNKNOWN_SERVER_ERROR))
    bench.clock.advance(199)
    assert len(bench.channel.sent) == 2
    bench.clock.advance(1)
    assert len(bench.channel.sent) == 3
    bench.registrar.close()
    bench.channel.answers[2](None)
    bench.clock.advance(1_000_000)
    assert len(bench.channel.sent) == 3


def test_another_life_of_the_same_id_is_registered_over() -> None:
    bench = Bench()
    bench.replay(FeatureLevelRecord(name="metadata.version", feature_level=30))
    request = bench.channel.sent[0]
    bench.channel.answers[0](answer(Errors.NONE))
    bench.commit(request)
    request.incarnation_id = uuid.UUID(int=12)
    bench.commit(request)
    assert len(bench.channel.sent) == 2
