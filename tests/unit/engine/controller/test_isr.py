"""AlterPartition, in every way it can be refused."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.telemetry.events import PartitionChanged
from tests.unit.engine.controller.harness import ControllerHarness


@pytest.fixture
def lab() -> ControllerHarness:
    harness = ControllerHarness()
    harness.start_brokers(1, 2, 3, 4)
    harness.assigned("orders", (1, 2, 3))
    return harness


def test_the_isr_shrinks_and_grows(lab: ControllerHarness) -> None:
    answer = lab.alter_isr("orders", (1, 2))
    assert (answer.error_code, answer.isr, answer.leader_id, answer.leader_epoch, answer.partition_epoch) == (0, (1, 2), 1, 0, 1)
    assert lab.partition("orders").isr == (1, 2)
    epoch = lab.image.brokers[3].broker_epoch
    answer = lab.alter_isr("orders", ((1, -1), (2, -1), (3, epoch)))
    assert (answer.error_code, answer.isr, answer.partition_epoch) == (0, (1, 2, 3), 2)
    causes = [event.cause for event in lab.sink.of(PartitionChanged)]
    assert causes == ["replica 3 fell behind for 30 000 ms", "replica 3 caught up"]


def test_an_isr_that_is_what_it_was_changes_nothing(lab: ControllerHarness) -> None:
    appends = len(lab.raft.appends)
    answer = lab.alter_isr("orders", (1, 2, 3))
    assert (answer.error_code, answer.partition_epoch) == (0, 0)
    assert len(lab.raft.appends) == appends


@pytest.mark.parametrize(
    ("isr", "changes", "error"),
    [
        ((1, 2), {"leader_epoch": 1}, Errors.NOT_CONTROLLER),
        ((1, 2), {"partition_epoch": 9}, Errors.NOT_CONTROLLER),
        ((1, 2), {"leader_epoch": -1}, Errors.FENCED_LEADER_EPOCH),
        ((1, 2), {"broker": 2}, Errors.INVALID_REQUEST),
        ((1, 2), {"partition_epoch": -1}, Errors.INVALID_UPDATE_VERSION),
        ((2, 3), {}, Errors.INVALID_REQUEST),
        ((), {}, Errors.INVALID_REQUEST),
        ((1, 1), {}, Errors.INVALID_REQUEST),
        ((1, 4), {}, Errors.INVALID_REQUEST),
        ((1, 2), {"leader_recovery_state": 1}, Errors.INVALID_REQUEST),
        ((1,), {"leader_recovery_state": 1}, Errors.INVALID_REQUEST),
        ((1,), {"leader_recovery_state": 5}, Errors.INVALID_REQUEST),
        ((1, (2, 1)), {}, Errors.INELIGIBLE_REPLICA),
        ((1, 2), {"partition_index": 7}, Errors.UNKNOWN_TOPIC_OR_PARTITION),
    ],
)
def test_changes_that_are_refused(lab: ControllerHarness, isr: tuple[Any, ...], changes: dict[str, Any], error: Errors) -> None:
    appends = len(lab.raft.appends)
    assert Errors(lab.alter_isr("orders", isr, **changes).error_code) == error
    assert len(lab.raft.appends) == appends


def test_fenced_and_leaving_replicas_do_not_come_in(lab: ControllerHarness) -> None:
    lab.heartbeat(2, want_fence=True)
    assert lab.partition("orders").isr == (1, 3)
    assert lab.alter_isr("orders", (1, 2, 3)).error_code == Errors.INELIGIBLE_REPLICA
    lab.assigned("led-by-3", (3, 1))
    lab.heartbeat(3, want_shut_down=True)
    assert lab.image.brokers[3].in_controlled_shutdown
    assert lab.alter_isr("orders", (1, 3)).error_code == Errors.INELIGIBLE_REPLICA


def test_unknown_topics_and_stale_brokers(lab: ControllerHarness) -> None:
    data = {"partition_index": 0, "leader_epoch": 0, "new_isr": [1], "partition_epoch": 0}
    body = {
        "broker_id": 1,
        "broker_epoch": lab.image.brokers[1].broker_epoch,
        "topics": [{"topic_id": uuid.UUID(int=0xFFFF), "partitions": [data]}],
    }
    answer = lab.ask(ApiKey.ALTER_PARTITION, 2, body)
    assert answer.error_code == 0 and answer.topics[0].partitions[0].error_code == Errors.UNKNOWN_TOPIC_ID
    assert lab.ask(ApiKey.ALTER_PARTITION, 2, body | {"broker_epoch": 0}).error_code == Errors.STALE_BROKER_EPOCH


def test_version_2_names_members_by_id(lab: ControllerHarness) -> None:
    data = {"partition_index": 0, "leader_epoch": 0, "new_isr": [1, 2], "partition_epoch": 0}
    topic_id = lab.image.topic_id("orders")
    body = {
        "broker_id": 1,
        "broker_epoch": lab.image.brokers[1].broker_epoch,
        "topics": [{"topic_id": topic_id, "partitions": [data, data]}],
    }
    first, second = lab.ask(ApiKey.ALTER_PARTITION, 2, body).topics[0].partitions
    assert (first.error_code, first.isr) == (0, (1, 2))
    assert second.error_code == Errors.INVALID_REQUEST, "a partition is changed once in a request"
