"""ElectLeaders through the controller, with every answer that a partition can get."""

from __future__ import annotations

from typing import Any

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.telemetry.events import PartitionChanged
from tests.unit.engine.controller.harness import ControllerHarness

PREFERRED, UNCLEAN = 0, 1


@pytest.fixture
def lab() -> ControllerHarness:
    lab = ControllerHarness()
    lab.start_brokers(1, 2, 3)
    lab.assigned("orders", (1, 2), (2, 1), (1, 2))
    lab.heartbeat(1, want_fence=True)
    lab.heartbeat(1)
    lab.alter_isr("orders", (2, 1))
    lab.assigned("lost", (3, 1))
    lab.alter_isr("lost", (3,))
    lab.heartbeat(3, want_fence=True)
    return lab


def elect(lab: ControllerHarness, kind: int, asked: dict[str, list[int]] | None, *, version: int = 2) -> dict[tuple[str, int], Any]:
    topics = None if asked is None else [{"topic": name, "partitions": ids} for name, ids in asked.items()]
    answer = lab.ask(ApiKey.ELECT_LEADERS, version, {"election_type": kind, "topic_partitions": topics, "timeout": 1_000})
    lab.check_invariants()
    rows = {}
    for topic in answer.replica_election_results:
        for row in topic.partition_result:
            rows[topic.topic, row.partition_id] = (row.error_code, row.error_message)
    return rows


def test_leadership_goes_to_the_first_replica(lab: ControllerHarness) -> None:
    assert [lab.partition("orders", index).leader for index in range(3)] == [2, 2, 2]
    rows = elect(lab, PREFERRED, {"orders": [0, 1, 2, 3], "no": [0]})
    assert rows == {
        ("orders", 0): (0, None),
        ("orders", 1): (Errors.ELECTION_NOT_NEEDED, "Leader election not needed for topic partition."),
        ("orders", 2): (Errors.PREFERRED_LEADER_NOT_AVAILABLE, "The preferred leader was not available."),
        ("orders", 3): (Errors.UNKNOWN_TOPIC_OR_PARTITION, "No such partition as orders-3"),
        ("no", 0): (Errors.UNKNOWN_TOPIC_OR_PARTITION, "No such topic as no"),
    }
    assert [lab.partition("orders", index).leader for index in range(3)] == [1, 2, 2]
    event = lab.sink.of(PartitionChanged)[-1]
    assert (event.election, event.cause) == ("preferred", "a preferred election was asked for")


def test_version_0_knows_preferred_elections(lab: ControllerHarness) -> None:
    assert elect(lab, PREFERRED, {"orders": [0]}, version=0) == {("orders", 0): (0, None)}


def test_all_partitions_are_meant_without_any_and_those_that_need_nothing_left_out(lab: ControllerHarness) -> None:
    rows = elect(lab, PREFERRED, None)
    assert rows == {
        ("orders", 0): (0, None),
        ("orders", 2): (Errors.PREFERRED_LEADER_NOT_AVAILABLE, "The preferred leader was not available."),
        ("lost", 0): (Errors.PREFERRED_LEADER_NOT_AVAILABLE, "The preferred leader was not available."),
    }


def test_an_unclean_election_is_for_partitions_without_a_leader(lab: ControllerHarness) -> None:
    rows = elect(lab, UNCLEAN, {"orders": [0], "lost": [0]})
    assert rows == {
        ("orders", 0): (Errors.ELECTION_NOT_NEEDED, "Leader election not needed for topic partition."),
        ("lost", 0): (0, None),
    }
    now = lab.partition("lost")
    assert (now.leader, now.isr, now.leader_recovery_state, now.eligible_leader_replicas) == (1, (1,), 1, ())
    assert lab.sink.of(PartitionChanged)[-1].election == "unclean"


def test_nobody_to_elect(lab: ControllerHarness) -> None:
    lab.assigned("alone", (1,))
    lab.heartbeat(1, want_fence=True)
    assert elect(lab, UNCLEAN, {"alone": [0]}) == {
        ("alone", 0): (Errors.ELIGIBLE_LEADERS_NOT_AVAILABLE, "Eligible topic partition leaders are not available."),
    }


def test_an_unknown_kind_of_election(lab: ControllerHarness) -> None:
    body = {"election_type": 7, "topic_partitions": [{"topic": "orders", "partitions": [0]}], "timeout": 1_000}
    answer = lab.ask(ApiKey.ELECT_LEADERS, 2, body)
    assert answer.error_code == Errors.INVALID_REQUEST
    row = answer.replica_election_results[0].partition_result[0]
    assert (row.error_code, row.error_message) == (Errors.INVALID_REQUEST, "Unknown election type 7")
