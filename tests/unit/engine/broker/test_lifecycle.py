"""A broker's membership, against a controller that answers as told."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from kafkalab.engine.broker.lifecycle import BrokerLifecycle, BrokerState
from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.metadata.image import BrokerRegistration, MetadataDelta, MetadataImage
from kafkalab.engine.protocol.apis import ApiKey

INCARNATION = uuid.UUID(int=7)


class Controller:
    """Keeps what was asked until the test answers it."""

    def __init__(self) -> None:
        self.asked: list[tuple[ApiKey, Mapping[str, Any], Callable[[Any | None], None]]] = []
        self.timeouts_ms: list[float] = []

    def send(self, api_key: ApiKey, body: Mapping[str, Any], on_response: Callable[[Any | None], None], *, timeout_ms: float) -> None:
        self.timeouts_ms.append(timeout_ms)
        self.asked.append((api_key, body, on_response))

    def answer(self, **fields: Any) -> None:
        _, _, on_response = self.asked.pop(0)
        on_response(SimpleNamespace(**({"error_code": 0} | fields)))

    def be_silent(self) -> None:
        _, _, on_response = self.asked.pop(0)
        on_response(None)


class Setting:
    def __init__(self, **config: str) -> None:
        self.clock = ManualClock()
        self.controller = Controller()
        self.image = MetadataImage()
        self.running = 0
        self.failures: list[str] = []
        self.directories = SimpleNamespace(
            live_ids=[uuid.UUID(int=9)], offline_ids=[], ids_of=lambda texts: [uuid.UUID(int=9) for _ in texts]
        )
        self.lifecycle = BrokerLifecycle(
            node_id=2,
            cluster_id="c",
            incarnation_id=INCARNATION,
            directories=self.directories,
            previous_broker_epoch=-1,
            listeners={"PLAINTEXT": ("127.0.0.1", 9093)},
            config=BrokerConfig(config),
            clock=self.clock,
            channel=self.controller,  # type: ignore[arg-type]
            image=self.image,
            on_running=self._on_running,
            on_failed=self.failures.append,
        )
        self.lifecycle.start()

    def _on_running(self) -> None:
        self.running += 1

    def see(self, *, epoch: int, fenced: bool) -> None:
        """The broker's registration as the metadata log has it by now."""
        self.image.brokers[2] = BrokerRegistration(broker_id=2, broker_epoch=epoch, incarnation_id=INCARNATION, listeners={}, fenced=fenced)
        self.image.offset += 1
        self.lifecycle.publish(MetadataDelta(), self.image)

    def serve(self) -> None:
        self.controller.answer(broker_epoch=5)
        self.see(epoch=5, fenced=True)
        while self.controller.asked:
            self.controller.answer(is_fenced=True, should_shut_down=False)
        self.see(epoch=5, fenced=False)


def test_a_broker_registers_catches_up_is_unfenced_and_serves() -> None:
    at = Setting()
    api_key, body, _ = at.controller.asked[0]
    assert (api_key, body["broker_id"], body["incarnation_id"]) == (ApiKey.BROKER_REGISTRATION, 2, INCARNATION)
    at.controller.answer(broker_epoch=5)
    assert at.controller.asked[0][1]["want_fence"] is True
    at.controller.answer(is_fenced=True)
    at.see(epoch=4, fenced=False)
    assert at.lifecycle.state is BrokerState.RECOVERY, "that was the registration of an earlier life"
    at.see(epoch=5, fenced=True)
    assert at.controller.asked[0][1]["want_fence"] is False
    at.see(epoch=5, fenced=False)
    assert (at.lifecycle.state, at.running) == (BrokerState.RUNNING, 1)


def test_heartbeats_come_at_the_interval_and_sooner_after_a_fault() -> None:
    at = Setting()
    at.serve()
    at.clock.advance(1_999)
    assert not at.controller.asked
    at.clock.advance(2)
    at.controller.be_silent()
    at.clock.advance(101)
    assert [api_key for api_key, _, _ in at.controller.asked] == [ApiKey.BROKER_HEARTBEAT]


def test_a_controller_that_vanished_leaves_half_a_session_for_the_next_one() -> None:
    setting = Setting(**{"broker.session.timeout.ms": "6000"})
    setting.serve()
    setting.clock.advance(2_000)
    assert {api_key for api_key, _, _ in setting.controller.asked} == {ApiKey.BROKER_HEARTBEAT}
    assert set(setting.controller.timeouts_ms) == {3_000}


@pytest.mark.expects_warnings
def test_without_a_quorum_it_says_so_tries_again_and_gives_up() -> None:
    at = Setting(**{"initial.broker.registration.timeout.ms": "5000"})
    tries = 0
    while not at.failures:
        tries += 1
        at.controller.be_silent()
        at.clock.advance(1_000)
    assert tries > 3
    assert "Failed to connect to controller quorum" in at.failures[0]
    assert "Start the controllers first" in at.failures[0]
    assert at.lifecycle.state is BrokerState.NOT_RUNNING


@pytest.mark.expects_warnings
def test_a_quorum_that_elects_is_waited_for_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    at = Setting()
    for _ in range(9):
        at.controller.be_silent()
        at.clock.advance(1_000)
    assert not caplog.records
    for _ in range(3):
        at.controller.be_silent()
        at.clock.advance(1_000)
    assert [record.getMessage() for record in caplog.records] == [
        "broker 2: Failed to connect to controller quorum: no controller answers; trying again"
    ]


@pytest.mark.expects_warnings
def test_a_former_process_has_to_expire_first() -> None:
    at = Setting()
    at.controller.answer(error_code=Errors.DUPLICATE_BROKER_REGISTRATION)
    at.clock.advance(100)
    assert at.controller.asked[0][0] is ApiKey.BROKER_REGISTRATION
    assert not at.failures


def test_a_registration_for_another_cluster_is_final() -> None:
    at = Setting()
    at.controller.answer(error_code=Errors.INCONSISTENT_CLUSTER_ID)
    assert at.failures == ["the controller refused the registration of broker 2: INCONSISTENT_CLUSTER_ID"]


def test_a_controlled_shutdown_waits_for_the_controllers_word() -> None:
    at = Setting()
    at.serve()
    stopped: list[bool] = []
    at.lifecycle.begin_controlled_shutdown(lambda: stopped.append(True))
    assert at.controller.asked[0][1]["want_shut_down"] is True
    at.controller.answer(should_shut_down=False)
    assert not stopped
    at.clock.advance(20)
    at.controller.answer(should_shut_down=True)
    assert stopped == [True]
    at.clock.advance(60_000)
    assert not at.controller.asked


def test_the_departure_of_another_broker_is_acknowledged_at_once() -> None:
    at = Setting()
    at.serve()
    leaving = BrokerRegistration(
        broker_id=3, broker_epoch=9, incarnation_id=INCARNATION, listeners={}, fenced=False, in_controlled_shutdown=True
    )
    at.image.brokers[3] = leaving
    delta = MetadataDelta()
    delta.changed_brokers[3] = None
    assert not at.controller.asked
    at.lifecycle.publish(delta, at.image)
    assert [api_key for api_key, _, _ in at.controller.asked] == [ApiKey.BROKER_HEARTBEAT]


def test_without_a_quorum_a_broker_leaves_without_leave() -> None:
    at = Setting()
    at.serve()
    stopped: list[bool] = []
    at.lifecycle.begin_controlled_shutdown(lambda: stopped.append(True))
    at.clock.advance(1_499)
    assert not stopped
    at.clock.advance(2)
    assert stopped == [True]


def test_cordoned_directories_are_told_once_the_broker_has_caught_up() -> None:
    """KIP-1066: until then it does not know what the cluster's settings say."""
    at = Setting()
    at.controller.answer(broker_epoch=5)
    assert at.controller.asked[0][1]["cordoned_log_dirs"] is None
    at.controller.answer(is_fenced=True)
    at.see(epoch=5, fenced=True)
    assert at.controller.asked[0][1]["cordoned_log_dirs"] == []


def test_a_broker_tells_its_directories_when_the_cluster_comes_to_know_such() -> None:
    at = Setting()
    at.serve()
    delta = MetadataDelta()
    delta.changed_features.add("metadata.version")
    at.image.features["metadata.version"] = 16
    at.lifecycle.publish(delta, at.image)
    assert not at.controller.asked
    at.image.features["metadata.version"] = 30
    at.lifecycle.publish(delta, at.image)
    at.lifecycle.publish(delta, at.image)
    ((api_key, body, _),) = at.controller.asked
    assert (api_key, body["incarnation_id"], body["log_dirs"]) == (ApiKey.BROKER_REGISTRATION, INCARNATION, [uuid.UUID(int=9)])
    at.controller.answer(broker_epoch=5)
    assert (at.lifecycle.state, at.lifecycle.broker_epoch, at.running) == (BrokerState.RUNNING, 5, 1)


@pytest.mark.parametrize("is_heard", [True, False])
def test_a_broker_that_cannot_tell_of_a_failed_directory_ends(is_heard: bool) -> None:
    at = Setting(**{"log.dir.failure.timeout.ms": "3000"})
    at.serve()
    # This one was under way when the directory failed, and says nothing of it.
    at.clock.advance(2_000)
    at.directories.offline_ids = [uuid.UUID(int=5)]
    at.lifecycle.directories_changed()
    at.controller.answer(should_shut_down=False)
    api_key, body, _ = at.controller.asked[0]
    assert (api_key, body["offline_log_dirs"]) == (ApiKey.BROKER_HEARTBEAT, [uuid.UUID(int=5)])
    if is_heard:
        at.controller.answer(should_shut_down=False)
    at.clock.advance(2_999)
    assert not at.failures
    at.clock.advance(1)
    assert [("AAAAAAAAAAAAAAAAAAAABQ" in why, "log.dir.failure.timeout.ms" in why) for why in at.failures] == [(True, True)] * (
        not is_heard
    )
    at.lifecycle.close()
    assert at.clock.next_due_ms() is None


@pytest.mark.expects_warnings
def test_an_error_from_the_future_is_an_error_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    at = Setting()
    at.controller.answer(error_code=9_999)
    assert "the controller answered the registration with error 9999" in caplog.text
    at.clock.advance(101)
    at.serve()
    at.clock.advance(2_001)
    at.controller.answer(error_code=-9_999)
    assert "the controller answered a heartbeat with error -9999" in caplog.text
    at.clock.advance(101)
    assert [api_key for api_key, _, _ in at.controller.asked] == [ApiKey.BROKER_HEARTBEAT]
