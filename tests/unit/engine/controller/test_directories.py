"""Log directories as the controller knows them: reported, lost, and found again."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.metadata_records import DIRECTORY_UNASSIGNED
from kafkalab.engine.telemetry.events import PartitionChanged
from tests.unit.engine.controller.harness import ControllerHarness

A, B, C = (uuid.UUID(int=9_000 + number) for number in range(3))


def lab_with_two_directories_on_broker_1() -> ControllerHarness:
    lab = ControllerHarness()
    lab.start_brokers(1, log_dirs=[A, B])
    lab.start_brokers(2, 3)
    lab.assigned("t", (1, 2, 3), (1, 2, 3), (2, 1, 3))
    return lab


def assign(lab: ControllerHarness, *directories: tuple[uuid.UUID, Sequence[int]], topic: str = "t", **changes: Any) -> Any:
    topic_id = lab.image.topics_by_name[topic].topic_id if topic in lab.image.topics_by_name else uuid.UUID(int=4)
    body = {
        "broker_id": 1,
        "broker_epoch": lab.image.brokers[1].broker_epoch,
        "directories": [
            {"id_": directory, "topics": [{"topic_id": topic_id, "partitions": [{"partition_index": index} for index in indexes]}]}
            for directory, indexes in directories
        ],
        **changes,
    }
    return lab.ask(ApiKey.ASSIGN_REPLICAS_TO_DIRS, 0, body)


def errors(answer: Any) -> list[tuple[uuid.UUID, int, Errors]]:
    return [
        (directory.id_, part.partition_index, Errors(part.error_code))
        for directory in answer.directories
        for topic in directory.topics
        for part in topic.partitions
    ]


def test_a_broker_with_several_directories_reports_where_replicas_are() -> None:
    lab = lab_with_two_directories_on_broker_1()
    assert lab.partition("t").directories[0] == DIRECTORY_UNASSIGNED
    assert lab.partition("t").directories[1:] == tuple(lab.image.brokers[broker].log_dirs[0] for broker in (2, 3))
    before = lab.partition("t")
    answer = assign(lab, (A, [0, 2]), (B, [1]))
    assert answer.error_code == 0
    assert errors(answer) == [(A, 0, Errors.NONE), (A, 2, Errors.NONE), (B, 1, Errors.NONE)]
    assert [lab.partition("t", index).directory_of(1) for index in range(3)] == [A, B, A]
    assert lab.partition("t").leader_epoch == before.leader_epoch, "nobody leads otherwise for that"
    offset = lab.image.offset
    assert errors(assign(lab, (A, [0]))) == [(A, 0, Errors.NONE)]
    assert lab.image.offset == offset, "what is known is not written again"


def test_reports_that_are_refused() -> None:
    lab = lab_with_two_directories_on_broker_1()
    lab.assigned("others", (2, 3))
    assert errors(assign(lab, (A, [9]))) == [(A, 9, Errors.UNKNOWN_TOPIC_OR_PARTITION)]
    assert errors(assign(lab, (A, [0]), topic="none")) == [(A, 0, Errors.UNKNOWN_TOPIC_ID)]
    assert errors(assign(lab, (A, [0]), topic="others")) == [(A, 0, Errors.NOT_LEADER_OR_FOLLOWER)]
    assert assign(lab, (A, [0]), broker_epoch=1).error_code == Errors.STALE_BROKER_EPOCH


def test_a_lost_directory_leads_nothing_and_counts_nowhere() -> None:
    lab = lab_with_two_directories_on_broker_1()
    assign(lab, (A, [0]), (B, [1, 2]))
    lab.heartbeat(1, offline_log_dirs=[B])
    assert lab.image.brokers[1].log_dirs == (A,)
    assert (lab.partition("t", 0).leader, lab.partition("t", 0).isr) == (1, (1, 2, 3))
    assert (lab.partition("t", 1).leader, lab.partition("t", 1).isr) == (2, (2, 3))
    assert (lab.partition("t", 2).leader, lab.partition("t", 2).isr) == (2, (2, 3))
    assert lab.sink.of(PartitionChanged)[-1].cause == "broker 1 lost a log directory"
    offset = lab.image.offset
    lab.heartbeat(1, offline_log_dirs=[B])
    assert lab.image.offset == offset, "the same news is no news"
    # Nor does it come to lead by a preference or by the end of the others.
    assert not lab.controller.elections.toward_preferred()
    lab.check_invariants()


def test_the_last_replica_in_sync_waits_for_its_directory() -> None:
    lab = ControllerHarness()
    lab.start_brokers(1, log_dirs=[A, B])
    lab.assigned("t", (1,))
    assign(lab, (B, [0]))
    lab.heartbeat(1, offline_log_dirs=[B])
    assert (lab.partition("t").leader, lab.partition("t").isr) == (-1, ())
    assert lab.partition("t").eligible_leader_replicas == (1,)
    # Registered anew without it, the replica is as far away as before.
    lab.clock.advance(10_000)
    assert lab.register(1, incarnation=2, log_dirs=[A]).error_code == 0
    lab.heartbeat(1)
    assert lab.partition("t").leader == -1
    lab.clock.advance(10_000)
    assert lab.register(1, incarnation=3, log_dirs=[A, B]).error_code == 0
    lab.heartbeat(1)
    assert (lab.partition("t").leader, lab.partition("t").isr) == (1, (1,))


def test_a_replica_made_anew_elsewhere_may_lead_when_it_is_reported() -> None:
    lab = ControllerHarness()
    lab.start_brokers(1, log_dirs=[A, B])
    lab.assigned("t", (1,))
    assign(lab, (B, [0]))
    lab.heartbeat(1, offline_log_dirs=[B])
    assign(lab, (A, [0]))
    assert (lab.partition("t").leader, lab.partition("t").directory_of(1)) == (1, A)


def test_directories_of_other_brokers_cannot_be_lost_for_them() -> None:
    lab = lab_with_two_directories_on_broker_1()
    foreign = lab.image.brokers[2].log_dirs[0]
    lab.heartbeat(1, offline_log_dirs=[foreign, C])
    assert lab.image.brokers[1].log_dirs == (A, B) and lab.image.brokers[2].log_dirs == (foreign,)


def test_a_replica_that_is_reported_in_a_lost_directory_is_in_sync_no_more() -> None:
    """A directory fails between the placing of a replica and the report of it (KIP-858)."""
    lab = lab_with_two_directories_on_broker_1()
    lab.heartbeat(1, offline_log_dirs=[B])
    assert lab.partition("t").isr == (1, 2, 3), "nobody knew where it is"
    assert errors(assign(lab, (B, [0]))) == [(B, 0, Errors.NONE)]
    now = lab.partition("t")
    assert (now.directory_of(1), now.isr, now.leader) == (B, (2, 3), 2)
    lab.check_invariants()
