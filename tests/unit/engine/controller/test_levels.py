"""What the controller does not do while the cluster's metadata.version is an old one (KIP-778)."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.controller.partition_change import Circumstances, Target, partition_change
from kafkalab.engine.metadata.image import PartitionRegistration
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.metadata_records import LEADER_UNCHANGED
from tests.unit.engine.controller.harness import ControllerHarness

DIRECTORY = uuid.UUID(int=91)


def at_level(level: int) -> ControllerHarness:
    lab = ControllerHarness(elr=False)
    lab.image.features["metadata.version"] = level
    return lab


@pytest.mark.parametrize(("level", "refused"), [(10, True), (11, False)])
def test_scram_credentials(level: int, refused: bool) -> None:
    change = {"name": "alice", "mechanism": 1, "iterations": 4_096, "salt": b"s", "salted_password": b"p"}
    answer = at_level(level).ask(ApiKey.ALTER_USER_SCRAM_CREDENTIALS, 0, {"deletions": [], "upsertions": [change]})
    assert (answer.results[0].error_code == Errors.UNSUPPORTED_VERSION) is refused


@pytest.mark.parametrize(("level", "refused"), [(14, True), (15, False)])
def test_registrations_of_controllers(level: int, refused: bool) -> None:
    body = {"controller_id": 2, "incarnation_id": DIRECTORY, "zk_migration_ready": False, "listeners": [], "features": []}
    answer = at_level(level).ask(ApiKey.CONTROLLER_REGISTRATION, 0, body)
    assert (answer.error_code == Errors.UNSUPPORTED_VERSION) is refused


def test_directories() -> None:
    lab = at_level(16)
    lab.start_brokers(1, 2, log_dirs=[])
    lab.assigned("t", (1, 2))
    assert lab.partition("t").directories == ()
    body = {"broker_id": 1, "broker_epoch": lab.image.brokers[1].broker_epoch, "directories": []}
    assert lab.ask(ApiKey.ASSIGN_REPLICAS_TO_DIRS, 0, body).error_code == Errors.UNSUPPORTED_VERSION
    lab.heartbeat(1, want_fence=True)
    assert (lab.partition("t").leader, lab.partition("t").isr, lab.partition("t").directories) == (2, (2,), ())
    lab.check_invariants()


def test_cordoned_directories() -> None:
    lab = at_level(29)
    lab.start_brokers(1, log_dirs=[DIRECTORY])
    offset = lab.image.offset
    lab.ask(ApiKey.BROKER_HEARTBEAT, 2, lab.heartbeat_body(1, cordoned_log_dirs=[DIRECTORY]))
    assert lab.image.offset == offset
    config = {"name": "cordoned.log.dirs", "config_operation": 0, "value": "/data"}
    row = {"resource_type": 4, "resource_name": "1", "configs": [config]}
    (answer,) = lab.ask(ApiKey.INCREMENTAL_ALTER_CONFIGS, 1, {"resources": [row], "validate_only": False}).responses
    assert (answer.error_code, answer.error_message) == (
        Errors.INVALID_CONFIG,
        "The cordoned.log.dirs configuration value cannot be set because it requires metadata.version >= 4.3-IV0",
    )


@pytest.mark.parametrize(("level", "raises"), [(11, True), (12, False)])
def test_a_smaller_isr_once_raised_the_leader_epoch(level: int, raises: bool) -> None:
    """KAFKA-15021."""
    partition = PartitionRegistration(replicas=(1, 2, 3), isr=(1, 2, 3), leader=1, leader_epoch=4, partition_epoch=9)
    given = Circumstances(is_acceptable=lambda _: True, metadata_version=level)

    def leader_after(isr: tuple[int, ...], before: PartitionRegistration) -> Any:
        record = partition_change(DIRECTORY, 0, before, given, Target(isr=isr))
        assert record is not None
        return record.leader

    assert leader_after((1, 2), partition) == (1 if raises else LEADER_UNCHANGED)
    smaller = PartitionRegistration(replicas=(1, 2, 3), isr=(1, 2), leader=1, leader_epoch=4, partition_epoch=9)
    assert leader_after((1, 2, 3), smaller) == LEADER_UNCHANGED
