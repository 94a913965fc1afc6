"""Eligible leader replicas through the controller: fencing, unclean stops, minimum changes (KIP-966)."""

from __future__ import annotations

from typing import Any

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.metadata.image import ConfigResource
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.metadata_records import ClearElrRecord
from kafkalab.engine.telemetry.events import PartitionChanged
from kafkalab.engine.telemetry.levels import PartitionKey, PartitionLevel
from tests.unit.engine.controller.harness import ControllerHarness

TOPIC, BROKER = 2, 4
SET, DELETE = 0, 1


@pytest.fixture
def lab() -> ControllerHarness:
    lab = ControllerHarness()
    lab.start_brokers(1, 2, 3)
    return lab


def fence(lab: ControllerHarness, broker_id: int) -> None:
    lab.heartbeat(broker_id, want_fence=True)
    lab.check_invariants()


def come_back(lab: ControllerHarness, broker_id: int, *, clean: bool, incarnation: int) -> None:
    """A new life of a broker that was fenced."""
    lab.controller.sessions.remove(broker_id)
    previous = lab.image.brokers[broker_id].broker_epoch if clean else -1
    assert lab.register(broker_id, incarnation=incarnation, previous_broker_epoch=previous).error_code == 0
    lab.check_invariants()
    assert not lab.heartbeat(broker_id).is_fenced
    lab.check_invariants()


def alter(lab: ControllerHarness, kind: int, name: str, operation: int, value: str | None) -> tuple[int, str | None]:
    row = {
        "resource_type": kind,
        "resource_name": name,
        "configs": [{"name": "min.insync.replicas", "config_operation": operation, "value": value}],
    }
    (answer,) = lab.ask(ApiKey.INCREMENTAL_ALTER_CONFIGS, 1, {"resources": [row], "validate_only": False}).responses
    return answer.error_code, answer.error_message


def test_the_last_replica_standing_is_not_replaced_by_one_that_lacks_records(lab: ControllerHarness) -> None:
    """R10 (KIP-966): two replicas leave the ISR, the last one loses its power; whoever has every record leads."""
    lab.assigned("orders", (1, 2, 3), min_insync_replicas="2")
    fence(lab, 2)
    fence(lab, 3)
    now = lab.partition("orders")
    assert (now.leader, now.isr, now.eligible_leader_replicas) == (1, (1,), (3,))
    fence(lab, 1)
    now = lab.partition("orders")
    assert (now.leader, now.isr, now.eligible_leader_replicas, now.last_known_elr) == (-1, (), (1, 3), (1,))
    # 1 comes back without what it had not synced: it does not lead, and neither does 2, which left first.
    come_back(lab, 1, clean=False, incarnation=2)
    come_back(lab, 2, clean=True, incarnation=2)
    now = lab.partition("orders")
    assert (now.leader, now.eligible_leader_replicas) == (-1, (3,))
    come_back(lab, 3, clean=True, incarnation=2)
    now = lab.partition("orders")
    assert (now.leader, now.isr, now.leader_recovery_state, now.last_known_elr) == (3, (3,), 0, ())
    last = lab.sink.of(PartitionChanged)[-1]
    assert (last.election, last.old_elr, last.new_elr, last.cause) == ("elr", (3,), (), "broker 3 was unfenced")


def test_the_last_known_leader_leads_when_nobody_is_eligible(lab: ControllerHarness) -> None:
    lab.assigned("orders", (1,))
    fence(lab, 1)
    level = lab.sink.levels[PartitionKey("orders", 0)]
    assert isinstance(level, PartitionLevel) and (level.elr, level.last_known_elr, level.isr) == ((1,), (1,), ())
    come_back(lab, 1, clean=False, incarnation=2)
    now = lab.partition("orders")
    assert (now.leader, now.isr, now.leader_recovery_state) == (1, (1,), 1)
    assert lab.sink.of(PartitionChanged)[-1].election == "last known leader"
    level = lab.sink.levels[PartitionKey("orders", 0)]
    assert isinstance(level, PartitionLevel) and level.recovering


def test_a_restart_within_the_session_that_was_unclean_takes_the_broker_out_of_isrs(lab: ControllerHarness) -> None:
    lab.assigned("orders", (1, 2, 3), min_insync_replicas="3")
    lab.clock.advance(8_000)
    lab.heartbeat(2)
    lab.heartbeat(3)
    lab.clock.advance(1_000)  # 1 is fenced
    now = lab.partition("orders")
    assert (now.isr, now.eligible_leader_replicas, now.leader) == ((2, 3), (1,), 2)
    come_back(lab, 1, clean=False, incarnation=2)
    assert lab.partition("orders").eligible_leader_replicas == ()


def test_another_minimum_ends_eligibility(lab: ControllerHarness) -> None:
    lab.assigned("orders", (1, 2, 3), min_insync_replicas="3")
    lab.assigned("other", (1, 2, 3), min_insync_replicas="3")
    fence(lab, 3)
    assert lab.partition("orders").eligible_leader_replicas == (3,)
    epoch = lab.partition("orders").partition_epoch
    assert alter(lab, TOPIC, "orders", SET, "2") == (0, None)
    assert lab.raft.appends[-1][-1] == ClearElrRecord(topic_name="orders")
    assert (lab.partition("orders").eligible_leader_replicas, lab.partition("orders").partition_epoch) == ((), epoch + 1)
    assert lab.partition("other").eligible_leader_replicas == (3,)
    assert alter(lab, BROKER, "", SET, "2") == (0, None)
    assert lab.raft.appends[-1][-1] == ClearElrRecord(topic_name="")
    assert lab.partition("other").eligible_leader_replicas == ()
    lab.check_invariants()


def test_the_minimum_is_one_for_all(lab: ControllerHarness) -> None:
    assert alter(lab, BROKER, "1", SET, "2") == (
        Errors.INVALID_CONFIG,
        "Broker-level min.insync.replicas cannot be altered while ELR is enabled.",
    )
    assert alter(lab, BROKER, "", DELETE, None) == (
        Errors.INVALID_CONFIG,
        "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.",
    )
    row = {"resource_type": BROKER, "resource_name": "", "configs": [{"name": "log.retention.ms", "value": "7"}]}
    (answer,) = lab.ask(ApiKey.ALTER_CONFIGS, 2, {"resources": [row], "validate_only": False}).responses
    assert answer.error_code == Errors.INVALID_CONFIG, "what is not named would go"
    without = ControllerHarness(elr=False)
    without.start_brokers(1)
    assert alter(without, BROKER, "1", SET, "2") == (0, None)
    assert not any(isinstance(record, ClearElrRecord) for record in without.raft.appends[-1])


def test_the_minimum_is_never_more_than_there_are_replicas(lab: ControllerHarness) -> None:
    lab.assigned("orders", (1, 2), min_insync_replicas="5")
    topic = lab.image.topic("orders")
    assert topic is not None and lab.controller.elections.min_isr(topic) == 2
    assert alter(lab, BROKER, "", SET, "2") == (0, None)
    lab.assigned("plain", (1, 2, 3))
    topic = lab.image.topic("plain")
    assert topic is not None and lab.controller.elections.min_isr(topic) == 2


def test_unclean_leaders_are_looked_for_now_and_then() -> None:
    lab = ControllerHarness(unclean_leader_election_interval_ms="1000")
    lab.start_brokers(1, 2)
    lab.assigned("orders", (1, 2))
    lab.alter_isr("orders", (1,))
    fence(lab, 1)
    assert lab.partition("orders").leader == -1
    lab.clock.advance(3_000)
    assert lab.partition("orders").leader == -1, "the topic does not allow it"
    # As if by a standby's setting: no change of settings sets off the election.
    lab.image.configs[ConfigResource(BROKER, "")] = {"unclean.leader.election.enable": "true"}
    lab.heartbeat(2)
    lab.clock.advance(1_000)
    now = lab.partition("orders")
    assert (now.leader, now.isr, now.eligible_leader_replicas, now.leader_recovery_state) == (2, (2,), (), 1)


def registration_features(**changes: Any) -> list[dict[str, Any]]:
    levels = {"metadata.version": (7, 30), "eligible.leader.replicas.version": (0, 1)} | changes
    return [{"name": name, "min_supported_version": low, "max_supported_version": high} for name, (low, high) in levels.items()]


def test_a_broker_that_does_not_know_the_feature_is_refused(lab: ControllerHarness) -> None:
    answer = lab.register(4, features=registration_features(**{"eligible.leader.replicas.version": (0, 0)}))
    assert answer.error_code == Errors.UNSUPPORTED_VERSION
