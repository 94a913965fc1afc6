"""Reassignments through the controller: asked for, completed by the ISR, listed, replaced and taken back."""

from __future__ import annotations

from typing import Any

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.telemetry.events import PartitionChanged, ReassignmentChanged
from kafkalab.engine.telemetry.levels import PartitionKey, PartitionLevel
from tests.unit.engine.controller.harness import ControllerHarness


@pytest.fixture
def lab() -> ControllerHarness:
    lab = ControllerHarness()
    lab.start_brokers(1, 2, 3, 4, 5)
    lab.assigned("orders", (1, 2, 3))
    return lab


def reassign(lab: ControllerHarness, replicas: list[int] | None, *, version: int = 1, allow: bool = True, partition: int = 0) -> Any:
    body = {
        "timeout": 1_000,
        "allow_replication_factor_change": allow,
        "topics": [{"name": "orders", "partitions": [{"partition_index": partition, "replicas": replicas}]}],
    }
    answer = lab.ask(ApiKey.ALTER_PARTITION_REASSIGNMENTS, version, body)
    assert answer.error_code == 0
    (topic,) = answer.responses
    (row,) = topic.partitions
    lab.check_invariants()
    return row.error_code, row.error_message


def under_way(lab: ControllerHarness, topics: list[dict[str, Any]] | None = None) -> list[tuple[Any, ...]]:
    answer = lab.ask(ApiKey.LIST_PARTITION_REASSIGNMENTS, 0, {"timeout": 1_000, "topics": topics})
    return [
        (topic.name, row.partition_index, row.replicas, row.adding_replicas, row.removing_replicas)
        for topic in answer.topics
        for row in topic.partitions
    ]


def test_replicas_move_when_the_new_ones_are_in_sync(lab: ControllerHarness) -> None:
    assert under_way(lab) == []
    assert reassign(lab, [4, 5]) == (0, None)
    assert under_way(lab) == [("orders", 0, (4, 5, 1, 2, 3), (4, 5), (1, 2, 3))]
    level = lab.sink.levels[PartitionKey("orders", 0)]
    assert isinstance(level, PartitionLevel) and (level.adding, level.removing) == ((4, 5), (1, 2, 3))
    assert lab.alter_isr("orders", (1, 2, 3, 4)).error_code == 0
    lab.check_invariants()
    answer = lab.alter_isr("orders", (1, 2, 3, 4, 5))
    assert answer.error_code == Errors.NEW_LEADER_ELECTED, "the leader that asked was taken away by it"
    now = lab.partition("orders")
    assert (now.replicas, now.isr, now.leader, now.leader_epoch) == ((4, 5), (4, 5), 4, 1)
    assert now.directories == (lab.image.brokers[4].log_dirs[0], lab.image.brokers[5].log_dirs[0])
    assert under_way(lab) == []
    lab.check_invariants()
    assert [event.state for event in lab.sink.of(ReassignmentChanged)] == ["started", "done"]
    cause = lab.sink.of(PartitionChanged)[-1].cause
    assert cause == "replica 5 caught up, the reassignment is done"


def test_the_leader_that_stays_is_not_told_of_another(lab: ControllerHarness) -> None:
    assert reassign(lab, [1, 4]) == (0, None)
    answer = lab.alter_isr("orders", (1, 2, 3, 4))
    assert (answer.error_code, answer.leader_id, answer.leader_epoch, answer.isr) == (0, 1, 1, (1, 4))


def test_fewer_replicas_or_another_order_need_no_wait(lab: ControllerHarness) -> None:
    assert reassign(lab, [3, 1]) == (0, None)
    now = lab.partition("orders")
    assert (now.replicas, now.isr, now.leader, now.leader_epoch) == ((3, 1), (1, 3), 1, 1)
    assert reassign(lab, [1, 3]) == (0, None)
    assert lab.partition("orders").replicas == (1, 3) and under_way(lab) == []
    offset = lab.image.offset
    assert reassign(lab, [1, 3]) == (0, None)
    assert lab.image.offset == offset, "nothing to do"


def test_a_reassignment_is_taken_back(lab: ControllerHarness) -> None:
    assert reassign(lab, None) == (Errors.NO_REASSIGNMENT_IN_PROGRESS, None)
    reassign(lab, [4, 2, 3])
    lab.alter_isr("orders", (1, 2, 3))
    assert reassign(lab, None) == (0, None)
    now = lab.partition("orders")
    assert (sorted(now.replicas), now.isr, now.adding_replicas, now.removing_replicas) == ([1, 2, 3], (1, 2, 3), (), ())
    assert [event.state for event in lab.sink.of(ReassignmentChanged)] == ["started", "taken back"]


def test_taking_back_does_not_lose_records_unasked(lab: ControllerHarness) -> None:
    reassign(lab, [4, 5])
    lab.alter_isr("orders", (1, 4))
    lab.heartbeat(1, want_fence=True)
    assert lab.partition("orders").isr == (4,)
    error, message = reassign(lab, None)
    assert error == Errors.INVALID_REPLICA_ASSIGNMENT
    assert message == "Unable to revert partition assignment for orders:0 because it would require an unclean leader election."


def test_a_reassignment_is_replaced_by_another(lab: ControllerHarness) -> None:
    reassign(lab, [1, 2, 4])
    assert reassign(lab, [1, 2, 5]) == (0, None)
    assert under_way(lab) == [("orders", 0, (1, 2, 5, 3, 4), (5,), (3, 4))]
    # Back to where it came from: what was added is no obstacle.
    assert reassign(lab, [1, 2, 3]) == (0, None)
    assert under_way(lab) == [] and lab.partition("orders").replicas == (1, 2, 3)
    reassign(lab, [1, 2, 4])
    assert reassign(lab, [1, 2, 4, 5]) == (0, None)
    assert under_way(lab) == [("orders", 0, (1, 2, 4, 5, 3), (4, 5), (3,))]


@pytest.mark.parametrize(
    ("replicas", "allow", "error", "message"),
    [
        ([], True, Errors.INVALID_REPLICA_ASSIGNMENT, "The manual partition assignment includes an empty replica list."),
        ([1, 1], True, Errors.INVALID_REPLICA_ASSIGNMENT, "The manual partition assignment includes the broker 1 more than once."),
        (
            [1, 9],
            True,
            Errors.INVALID_REPLICA_ASSIGNMENT,
            "The manual partition assignment includes broker 9, but no such broker is registered.",
        ),
        ([1, 2], False, Errors.INVALID_REPLICATION_FACTOR, "The replication factor is changed from 3 to 2"),
    ],
)
def test_reassignments_that_are_refused(lab: ControllerHarness, replicas: list[int], allow: bool, error: Errors, message: str) -> None:
    assert reassign(lab, replicas, allow=allow) == (error, message)
    assert lab.partition("orders").replicas == (1, 2, 3)


def test_the_number_of_replicas_may_be_held(lab: ControllerHarness) -> None:
    """KIP-860."""
    assert reassign(lab, [1, 2, 4], allow=False) == (0, None)
    assert reassign(lab, [1, 2, 5], allow=False) == (0, None), "what is under way counts, not what is there"
    assert reassign(lab, [1, 2], version=0)[0] == 0, "version 0 cannot hold it"


def test_partitions_that_are_not_there(lab: ControllerHarness) -> None:
    assert reassign(lab, [1], partition=7) == (Errors.UNKNOWN_TOPIC_OR_PARTITION, "Unable to find partition orders:7.")
    body = {"timeout": 1, "topics": [{"name": "no", "partitions": [{"partition_index": 0, "replicas": [1]}]}]}
    (topic,) = lab.ask(ApiKey.ALTER_PARTITION_REASSIGNMENTS, 0, body).responses
    assert topic.partitions[0].error_message == "Unable to find a topic named no."
    reassign(lab, [4, 5, 1])
    assert under_way(lab, [{"name": "no", "partition_indexes": [0]}]) == []
    assert under_way(lab, [{"name": "orders", "partition_indexes": [1]}]) == []
    assert len(under_way(lab, [{"name": "orders", "partition_indexes": [0, 1]}])) == 1


def test_nobody_is_asked_but_the_active_controller(lab: ControllerHarness) -> None:
    lab.resign()
    body = {"timeout": 1, "topics": [{"name": "orders", "partitions": [{"partition_index": 0, "replicas": [1]}]}]}
    answer = lab.ask(ApiKey.ALTER_PARTITION_REASSIGNMENTS, 1, body)
    assert answer.error_code == Errors.NOT_CONTROLLER == answer.responses[0].partitions[0].error_code
    listed = lab.ask(ApiKey.LIST_PARTITION_REASSIGNMENTS, 0, {"timeout": 1, "topics": None})
    assert listed.error_code == Errors.NOT_CONTROLLER
