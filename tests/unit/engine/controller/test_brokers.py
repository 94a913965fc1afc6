"""Registration, heartbeats, fencing and controlled shutdown."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.controller.elections import Elections
from kafkalab.engine.metadata.image import TopicImage
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.metadata_records import BrokerRegistrationChangeRecord, PartitionChangeRecord, RegisterBrokerRecord
from kafkalab.engine.telemetry.events import BrokerFenced, BrokerRegistered, BrokerUnfenced, PartitionChanged
from kafkalab.engine.telemetry.levels import BrokerKey, BrokerLevel, PartitionKey, PartitionLevel
from tests.unit.engine.controller.harness import ControllerHarness


def test_a_broker_registers_fenced_and_is_let_in_when_caught_up() -> None:
    lab = ControllerHarness()
    answer = lab.register(1)
    assert (answer.error_code, answer.broker_epoch) == (0, lab.image.brokers[1].broker_epoch)
    assert lab.image.brokers[1].fenced
    behind = lab.heartbeat(1, current_metadata_offset=lab.image.offset - 1)
    assert (behind.is_caught_up, behind.is_fenced) == (False, True)
    waiting = lab.heartbeat(1, want_fence=True)
    assert (waiting.is_caught_up, waiting.is_fenced) == (True, True)
    ready = lab.heartbeat(1)
    assert (ready.error_code, ready.is_caught_up, ready.is_fenced, ready.should_shut_down) == (0, True, False, False)
    assert not lab.image.brokers[1].fenced
    assert [event.broker_id for event in lab.sink.of(BrokerRegistered)] == [1]
    assert [event.broker_id for event in lab.sink.of(BrokerUnfenced)] == [1]
    level = lab.sink.levels[BrokerKey(1)]
    assert isinstance(level, BrokerLevel) and not level.fenced and level.address == "127.0.0.1:9001"


def test_broker_epochs_grow_with_every_incarnation_and_stay_within_one() -> None:
    lab = ControllerHarness()
    first = lab.register(1).broker_epoch
    assert lab.register(1).broker_epoch == first
    second = lab.register(1, incarnation=2).broker_epoch
    assert second > first
    assert lab.heartbeat(1, broker_epoch=first).error_code == Errors.STALE_BROKER_EPOCH
    assert lab.heartbeat(9).error_code == Errors.STALE_BROKER_EPOCH


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"cluster_id": "another"}, Errors.INCONSISTENT_CLUSTER_ID),
        ({"log_dirs": []}, Errors.INVALID_REGISTRATION),
        ({"log_dirs": [uuid.UUID(int=1)]}, Errors.INVALID_REGISTRATION),
        ({"log_dirs": [uuid.UUID(int=0)]}, Errors.INVALID_REGISTRATION),
        ({"log_dirs": [uuid.UUID(int=1_000_000)]}, Errors.INVALID_REGISTRATION),
        ({"log_dirs": [uuid.UUID(int=77), uuid.UUID(int=77)]}, Errors.INVALID_REGISTRATION),
        ({"incarnation_id": uuid.UUID(int=0)}, Errors.INVALID_REGISTRATION),
        ({"features": []}, Errors.INVALID_REGISTRATION),
        ({"is_migrating_zk_broker": True}, Errors.BROKER_ID_NOT_REGISTERED),
        (
            {"features": [{"name": "metadata.version", "min_supported_version": 7, "max_supported_version": 29}]},
            Errors.UNSUPPORTED_VERSION,
        ),
    ],
)
def test_registrations_that_are_refused(changes: dict[str, Any], error: Errors) -> None:
    lab = ControllerHarness()
    lab.register(1)
    answer = lab.register(2, **changes)
    assert (answer.error_code, answer.broker_epoch) == (error, -1)
    assert 2 not in lab.image.brokers


def test_a_broker_must_know_the_quorums_own_feature_as_well() -> None:
    """kraft.version is no record of the image; raft says it."""
    lab = ControllerHarness()
    features = [
        {"name": "metadata.version", "min_supported_version": 7, "max_supported_version": 30},
        {"name": "eligible.leader.replicas.version", "min_supported_version": 0, "max_supported_version": 1},
    ]
    assert lab.register(1, features=features).error_code == 0
    lab.raft.kraft_version = 1
    assert lab.register(2, features=features).error_code == Errors.UNSUPPORTED_VERSION
    kraft = {"name": "kraft.version", "min_supported_version": 0, "max_supported_version": 1}
    assert lab.register(2, features=[*features, kraft]).error_code == 0


def test_a_second_incarnation_waits_for_the_session_of_the_first() -> None:
    lab = ControllerHarness()
    lab.start_brokers(1, 2)
    lab.clock.advance(8_999)
    assert lab.register(1, incarnation=2).error_code == Errors.DUPLICATE_BROKER_REGISTRATION
    lab.clock.advance(1)
    assert lab.image.brokers[1].fenced
    assert lab.register(1, incarnation=2).error_code == 0


def test_a_silent_broker_is_fenced_at_the_end_of_its_session() -> None:
    lab = ControllerHarness()
    lab.start_brokers(1, 2, 3)
    lab.assigned("orders", (1, 2, 3), (2, 3, 1))
    lab.assigned("alone", (1,))
    lab.clock.advance(5_000)
    lab.heartbeat(2)
    lab.heartbeat(3)
    lab.clock.advance(4_000)
    assert lab.image.brokers[1].fenced and not lab.image.brokers[2].fenced
    first, second, alone = lab.partition("orders", 0), lab.partition("orders", 1), lab.partition("alone")
    assert (first.leader, first.isr, first.leader_epoch, first.partition_epoch) == (2, (2, 3), 1, 1)
    assert (second.leader, second.isr, second.leader_epoch, second.partition_epoch) == (2, (2, 3), 0, 1)
    assert (alone.leader, alone.isr, alone.leader_epoch) == (-1, (), 1)
    assert (alone.eligible_leader_replicas, alone.last_known_elr) == ((1,), (1,))
    lab.check_invariants()

    (fenced,) = lab.sink.of(BrokerFenced)
    assert fenced.cause == "no heartbeat for 9 000 ms (broker.session.timeout.ms)" and fenced.silent_ms == 9_000
    changes = lab.sink.of(PartitionChanged)
    assert {change.cause for change in changes} == {"broker 1 was fenced"}
    assert [(change.old_leader, change.new_leader, change.old_isr, change.new_isr) for change in changes] == [
        (1, 2, (1, 2, 3), (2, 3)),
        (2, 2, (2, 3, 1), (2, 3)),
        (1, -1, (1,), ()),
    ]
    level = lab.sink.levels[PartitionKey("orders", 0)]
    assert isinstance(level, PartitionLevel) and level.leader == 2 and level.isr == (2, 3)
    *partition_records, last = lab.raft.appends[-1]
    assert all(isinstance(record, PartitionChangeRecord) for record in partition_records)
    assert isinstance(last, BrokerRegistrationChangeRecord) and last.fenced == 1

    lab.heartbeat(1)
    alone = lab.partition("alone")
    assert (alone.leader, alone.isr, alone.leader_epoch) == (1, (1,), 2)
    assert lab.partition("orders", 0).leader == 2, "who has a leader keeps it"
    lab.check_invariants()


def test_a_heartbeat_that_waits_in_the_queue_still_counts_from_its_arrival() -> None:
    lab = ControllerHarness()
    lab.start_brokers(1, 2)
    lab.clock.advance(8_000)
    lab.raft.commits_at_once = False
    slow = lab.send(ApiKey.ALLOCATE_PRODUCER_IDS, 0, {"broker_id": 2, "broker_epoch": lab.image.brokers[2].broker_epoch})
    beat = lab.send(ApiKey.BROKER_HEARTBEAT, 1, lab.heartbeat_body(1))
    other = lab.send(ApiKey.BROKER_HEARTBEAT, 1, lab.heartbeat_body(2))
    lab.clock.advance(8_000)
    assert slow == beat == other == []
    lab.raft.commits_at_once = True
    lab.raft.commit()
    assert slow[0].error_code == beat[0].error_code == 0
    assert not lab.image.brokers[1].fenced and not lab.image.brokers[2].fenced


def test_a_controlled_shutdown_moves_leadership_first() -> None:
    lab = ControllerHarness()
    lab.start_brokers(1, 2, 3)
    lab.assigned("orders", (1, 2))
    lab.assigned("alone", (1,))
    for broker_id in (1, 2, 3):
        lab.heartbeat(broker_id)
    answer = lab.heartbeat(1, want_shut_down=True)
    assert (answer.is_fenced, answer.should_shut_down) == (False, False)
    assert lab.image.brokers[1].in_controlled_shutdown
    assert (lab.partition("orders").leader, lab.partition("orders").isr) == (2, (2,))
    assert lab.partition("alone").leader == -1, "nobody else can lead it"
    assert lab.sink.of(PartitionChanged)[0].cause == "broker 1 is shutting down"
    assert not lab.heartbeat(1, want_shut_down=True).should_shut_down, "the others have yet to learn of it"
    assert lab.register(1, incarnation=2).error_code == Errors.DUPLICATE_BROKER_REGISTRATION, "it has not gone yet"
    lab.heartbeat(2)
    assert not lab.heartbeat(1, want_shut_down=True).should_shut_down
    lab.heartbeat(3)
    answer = lab.heartbeat(1, want_shut_down=True)
    assert (answer.is_fenced, answer.should_shut_down) == (True, True)
    assert lab.image.brokers[1].fenced
    assert [event.cause for event in lab.sink.of(BrokerFenced)] == ["controlled shutdown"]
    assert lab.heartbeat(1, want_shut_down=True).should_shut_down, "whoever asks again may still go"
    assert lab.register(1, incarnation=2).error_code == 0, "a restart need not wait for the old session"
    assert not lab.heartbeat(1).is_fenced
    assert lab.partition("alone").leader == 1
    lab.check_invariants()


def test_who_leads_nothing_may_go_at_once() -> None:
    lab = ControllerHarness()
    lab.start_brokers(1, 2)
    assert lab.heartbeat(1, want_shut_down=True).should_shut_down
    assert lab.image.brokers[1].fenced
    lab.clock.advance(60_000)
    assert len(lab.sink.of(BrokerFenced)) == 2, "the other one was silent for a minute"


def test_a_broker_may_ask_to_be_fenced() -> None:
    lab = ControllerHarness()
    lab.start_brokers(1, 2)
    lab.assigned("orders", (1, 2))
    assert lab.heartbeat(1, want_fence=True).is_fenced
    assert lab.partition("orders").isr == (2,)


def test_a_new_incarnation_leaves_what_the_old_one_led() -> None:
    lab = ControllerHarness()
    lab.start_brokers(1, 2)
    lab.assigned("orders", (1, 2))
    lab.assigned("alone", (1,))
    lab.resign()
    lab.raft.leader_id = 1
    lab.lead()
    # Broker 2's first word to the new controller is a heartbeat; broker 1 died meanwhile and is back.
    lab.heartbeat(2)
    lab.clock.advance(8_000)
    lab.heartbeat(2)
    lab.clock.advance(1_000)
    assert lab.register(1, incarnation=2).error_code == 0
    *_, last = lab.raft.appends[-1]
    assert isinstance(last, RegisterBrokerRecord)
    assert lab.partition("orders").leader == 2 and lab.partition("alone").leader == -1
    lab.check_invariants()


def test_unclean_elections_where_the_topic_wants_them() -> None:
    lab = ControllerHarness()
    lab.start_brokers(1, 2)
    lab.assigned("careful", (1, 2))
    lab.assigned("careless", (1, 2), unclean_leader_election_enable="true")
    for topic in ("careful", "careless"):
        lab.alter_isr(topic, (1,))
    lab.clock.advance(5_000)
    lab.heartbeat(2)
    lab.clock.advance(4_000)
    careful, careless = lab.partition("careful"), lab.partition("careless")
    assert (careful.leader, careful.isr, careful.leader_recovery_state) == (-1, (), 0)
    assert careful.eligible_leader_replicas == (1,)
    assert (careless.leader, careless.isr, careless.leader_recovery_state) == (2, (2,), 1)
    answer = lab.alter_isr("careless", (2,))
    assert (answer.error_code, answer.leader_recovery_state) == (0, 0)
    assert lab.partition("careless").leader_recovery_state == 0


def test_leadership_goes_back_to_the_preferred_replica() -> None:
    lab = ControllerHarness()
    lab.start_brokers(1, 2)
    lab.assigned("orders", (1, 2))
    lab.heartbeat(1, want_fence=True)
    lab.heartbeat(1)
    lab.alter_isr("orders", (2, 1))
    assert lab.partition("orders").leader == 2
    for _ in range(100):
        lab.clock.advance(3_000)
        lab.heartbeat(1)
        lab.heartbeat(2)
    assert lab.partition("orders").leader == 1
    assert lab.sink.of(PartitionChanged)[-1].cause == "leadership went back to the preferred replica"
    appends = len(lab.raft.appends)
    for _ in range(200):
        lab.clock.advance(3_000)
        lab.heartbeat(1)
        lab.heartbeat(2)
    assert len(lab.raft.appends) == appends, "nothing to do writes nothing"


def test_a_broker_is_unregistered_for_good() -> None:
    lab = ControllerHarness()
    lab.start_brokers(1, 2, 3)
    lab.assigned("orders", (1, 2, 3))
    lab.assigned("alone", (1,))
    epoch = lab.image.brokers[1].broker_epoch
    answer = lab.ask(ApiKey.UNREGISTER_BROKER, 0, {"broker_id": 1})
    assert (answer.error_code, answer.error_message) == (0, None)
    assert 1 not in lab.image.brokers and lab.sink.levels[BrokerKey(1)] is None
    orders, alone = lab.partition("orders"), lab.partition("alone")
    assert (orders.leader, orders.isr, orders.replicas) == (2, (2, 3), (1, 2, 3))
    assert (alone.leader, alone.eligible_leader_replicas) == (-1, (1,))
    lab.check_invariants()
    again = lab.ask(ApiKey.UNREGISTER_BROKER, 0, {"broker_id": 1})
    assert (again.error_code, again.error_message) == (Errors.BROKER_ID_NOT_REGISTERED, "Broker ID 1 is not currently registered")
    stale = lab.ask(ApiKey.BROKER_HEARTBEAT, 1, lab.heartbeat_body(1, broker_epoch=epoch))
    assert stale.error_code == Errors.STALE_BROKER_EPOCH
    # It may register again, as a stranger: nobody knows what it did meanwhile.
    assert lab.register(1, incarnation=2, previous_broker_epoch=epoch).error_code == 0
    assert lab.partition("alone").eligible_leader_replicas == ()


def test_brokers_whose_directories_are_all_cordoned_get_no_new_replicas() -> None:
    """KIP-1066."""
    lab = ControllerHarness()
    a, b = uuid.UUID(int=91), uuid.UUID(int=92)
    lab.start_brokers(1, 2)
    lab.start_brokers(3, log_dirs=[a, b])

    def cordon(*directories: uuid.UUID) -> None:
        lab.ask(ApiKey.BROKER_HEARTBEAT, 2, lab.heartbeat_body(3, cordoned_log_dirs=list(directories)))

    cordon(a)
    assert lab.image.brokers[3].cordoned_log_dirs == (a,)
    offset = lab.image.offset
    cordon(a)
    assert lab.image.offset == offset, "the same news is no news"
    assert lab.create("three", replication_factor=3).error_code == 0
    cordon(a, b)
    refused = lab.create("more", replication_factor=3)
    assert refused.error_code == Errors.INVALID_REPLICATION_FACTOR
    assigned = {"num_partitions": -1, "replication_factor": -1, "assignments": [{"partition_index": 0, "broker_ids": [1, 3]}]}
    refused = lab.create("chosen", **assigned)
    assert (refused.error_code, refused.error_message) == (
        Errors.INVALID_REPLICA_ASSIGNMENT,
        "The manual partition assignment includes broker 3, but all its log directories are cordoned.",
    )
    assert lab.create("two", num_partitions=6, replication_factor=2).error_code == 0
    topic = lab.image.topic("two")
    assert topic is not None and not any(3 in partition.replicas for partition in topic.partitions.values())
    cordon()
    assert lab.create("more", replication_factor=3).error_code == 0


def test_a_controller_registers() -> None:
    lab = ControllerHarness()
    body = {
        "controller_id": 2,
        "incarnation_id": uuid.UUID(int=5),
        "zk_migration_ready": False,
        "listeners": [{"name": "CONTROLLER", "host": "127.0.0.1", "port": 9093, "security_protocol": 0}],
        "features": [{"name": "metadata.version", "min_supported_version": 7, "max_supported_version": 30}],
    }
    assert lab.ask(ApiKey.CONTROLLER_REGISTRATION, 0, body).error_code == 0
    controller = lab.image.controllers[2]
    assert controller.listeners == {"CONTROLLER": ("127.0.0.1", 9093)} and controller.features == {"metadata.version": (7, 30)}
    assert lab.ask(ApiKey.CONTROLLER_REGISTRATION, 0, body | {"incarnation_id": None}).error_code == Errors.INVALID_REQUEST
    lab.resign()
    assert lab.ask(ApiKey.CONTROLLER_REGISTRATION, 0, body).error_code == Errors.NOT_CONTROLLER


def test_a_topics_rules_are_asked_for_once_however_many_partitions_change(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = ControllerHarness()
    lab.start_brokers(1, 2, 3)
    lab.assigned("orders", *[(1, 2, 3)] * 20, min_insync_replicas="2")
    lab.assigned("bold", *[(1,)] * 20, unclean_leader_election_enable="true")
    asked: list[str] = []
    min_isr = Elections.min_isr

    def counted(self: Elections, topic: TopicImage) -> int:
        asked.append(topic.name)
        return min_isr(self, topic)

    monkeypatch.setattr(Elections, "min_isr", counted)
    lab.heartbeat(1, want_fence=True)
    assert sorted(asked) == ["bold", "orders"]
    assert {lab.partition("orders", index).leader for index in range(20)} == {2}
    monkeypatch.undo()
    lab.check_invariants()
