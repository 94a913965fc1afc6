"""Who leads: the choice as a function of a partition and of who may lead."""

from __future__ import annotations

import uuid
from dataclasses import replace

from kafkalab.engine.controller.elections import partition_change
from kafkalab.engine.metadata.image import PartitionRegistration
from kafkalab.engine.protocol.metadata_records import LEADER_UNCHANGED, NO_LEADER

TOPIC_ID = uuid.UUID(int=1_000)


def registration(**changes: object) -> PartitionRegistration:
    made = PartitionRegistration(
        replicas=(1, 2, 3), isr=(1, 2, 3), leader=1, leader_epoch=4, partition_epoch=9, removing_replicas=(), adding_replicas=()
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_one_of_the_eligible_replicas_leads_when_apache_kafka_left_the_isr_empty() -> None:
    waiting = registration(isr=(), leader=NO_LEADER, eligible_leader_replicas=(2, 3), last_known_elr=(1,))
    record = partition_change(TOPIC_ID, 0, waiting, is_acceptable=lambda broker_id: broker_id in (1, 3))
    assert record is not None
    assert (record.leader, record.isr) == (3, (3,))
    assert (record.eligible_leader_replicas, record.last_known_elr) == ((), ())
    assert partition_change(TOPIC_ID, 0, waiting, is_acceptable=lambda broker_id: broker_id == 1) is None


def test_eligible_replicas_do_not_count_while_there_is_an_isr() -> None:
    held = registration(isr=(1,), eligible_leader_replicas=(2,))
    record = partition_change(TOPIC_ID, 0, held, is_acceptable=lambda broker_id: broker_id == 2)
    assert record is not None
    assert (record.leader, record.isr, record.eligible_leader_replicas) == (NO_LEADER, None, None)


def test_a_partition_that_is_well_is_left_alone() -> None:
    assert partition_change(TOPIC_ID, 0, registration(), is_acceptable=lambda _: True) is None
    moved = partition_change(TOPIC_ID, 0, registration(), is_acceptable=lambda broker_id: broker_id != 1)
    assert moved is not None and moved.leader == 2 != LEADER_UNCHANGED
