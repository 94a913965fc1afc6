"""The queue, leadership, and what holds whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import pytest

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.metadata.image import MetadataImage
from kafkalab.engine.metadata.loader import MetadataLoader
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.metadata_records import (
    AbortTransactionRecord,
    BeginTransactionRecord,
    ConfigRecord,
    EndTransactionRecord,
    FeatureLevelRecord,
    NoOpRecord,
    encode_record,
)
from kafkalab.engine.telemetry.levels import BrokerKey, PartitionKey, TopicKey
from tests.unit.engine.controller.harness import ControllerHarness


def test_an_empty_log_is_bootstrapped_once() -> None:
    lab = ControllerHarness()
    assert lab.raft.appends == [
        [
            BeginTransactionRecord(name="Bootstrap records"),
            FeatureLevelRecord(name="metadata.version", feature_level=30),
            FeatureLevelRecord(name="eligible.leader.replicas.version", feature_level=1),
            ConfigRecord(resource_type=4, resource_name="", name="min.insync.replicas", value="1"),
            EndTransactionRecord(),
        ]
    ]
    assert lab.image.features == {"metadata.version": 30, "eligible.leader.replicas.version": 1}
    lab.resign()
    lab.lead()
    assert len(lab.raft.appends) == 1


def test_producer_ids_are_given_once() -> None:
    lab = ControllerHarness()
    lab.start_brokers(1)
    body = {"broker_id": 1, "broker_epoch": lab.image.brokers[1].broker_epoch}
    blocks = [lab.ask(ApiKey.ALLOCATE_PRODUCER_IDS, 0, body) for _ in range(3)]
    assert [(block.error_code, block.producer_id_start, block.producer_id_len) for block in blocks] == [
        (0, 0, 1000),
        (0, 1000, 1000),
        (0, 2000, 1000),
    ]
    assert lab.ask(ApiKey.ALLOCATE_PRODUCER_IDS, 0, body | {"broker_epoch": 0}).error_code == Errors.STALE_BROKER_EPOCH


def test_operations_run_one_at_a_time_and_see_each_other() -> None:
    lab = ControllerHarness()
    lab.start_brokers(1)
    lab.raft.commits_at_once = False
    topic = {"name": "orders", "num_partitions": 1, "replication_factor": 1}
    body = {"topics": [topic], "timeout": 1_000, "validate_only": False}
    first = lab.send(ApiKey.CREATE_TOPICS, 7, body)
    second = lab.send(ApiKey.CREATE_TOPICS, 7, body)
    third = lab.send(ApiKey.DELETE_TOPICS, 6, {"topics": [{"name": "orders", "topic_id": None}], "timeout": 1_000})
    assert first == second == third == [] and lab.controller.queue_length == 3
    lab.raft.commit()
    assert first[0].topics[0].error_code == 0
    assert second[0].topics[0].error_code == Errors.TOPIC_ALREADY_EXISTS
    assert third[0].responses[0].error_code == 0
    assert lab.controller.queue_length == 0
    assert lab.image.topics_by_name == {}


def test_nothing_that_is_not_committed_happened() -> None:
    lab = ControllerHarness()
    lab.start_brokers(1)
    lab.raft.commits_at_once = False
    topic = {"name": "orders", "num_partitions": 1, "replication_factor": 1}
    body = {"topics": [topic], "timeout": 1_000, "validate_only": False}
    pending, queued = lab.send(ApiKey.CREATE_TOPICS, 7, body), lab.send(ApiKey.CREATE_TOPICS, 7, body)
    lab.resign(leader_id=2)
    for answers in (pending, queued):
        (answer,) = answers
        assert answer.topics[0].error_code == Errors.NOT_CONTROLLER
        assert answer.topics[0].error_message == "The active controller appears to be node 2."
    assert lab.image.topics_by_name == {}
    assert lab.ask(ApiKey.CREATE_TOPICS, 7, body).topics[0].error_code == Errors.NOT_CONTROLLER
    assert lab.register(2).error_code == Errors.NOT_CONTROLLER
    assert lab.heartbeat(1).error_code == Errors.NOT_CONTROLLER
    lab.raft.commits_at_once = True
    lab.lead()
    assert lab.ask(ApiKey.CREATE_TOPICS, 7, body).topics[0].error_code == 0


def test_raft_may_know_first_that_it_leads_no_longer() -> None:
    lab = ControllerHarness()
    lab.start_brokers(1)

    def refuse(values: Sequence[bytes], on_commit: Callable[[bool], None]) -> int:
        raise ApiError(Errors.NOT_CONTROLLER, "This node does not lead the quorum")

    lab.raft.append = refuse  # type: ignore[method-assign]
    assert lab.create("orders").error_code == Errors.NOT_CONTROLLER
    assert lab.controller.queue_length == 0


def test_a_request_that_waited_too_long_is_not_carried_out() -> None:
    lab = ControllerHarness()
    lab.start_brokers(1)
    lab.raft.commits_at_once = False
    blocking = lab.send(ApiKey.ALLOCATE_PRODUCER_IDS, 0, {"broker_id": 1, "broker_epoch": lab.image.brokers[1].broker_epoch})
    topic = {"name": "orders", "num_partitions": 1, "replication_factor": 1}
    late = lab.send(ApiKey.CREATE_TOPICS, 7, {"topics": [topic], "timeout": 1_000, "validate_only": False})
    lab.clock.advance(1_001)
    lab.raft.commit()
    assert blocking[0].error_code == 0
    assert late[0].topics[0].error_code == Errors.REQUEST_TIMED_OUT
    assert lab.image.topics_by_name == {}


def test_sessions_start_afresh_with_a_new_controller() -> None:
    lab = ControllerHarness()
    lab.start_brokers(1, 2)
    lab.clock.advance(8_000)
    lab.resign()
    lab.clock.advance(8_000)
    assert not lab.image.brokers[1].fenced
    lab.lead()
    lab.clock.advance(8_999)
    assert not lab.image.brokers[1].fenced
    lab.clock.advance(1)
    assert lab.image.brokers[1].fenced and lab.image.brokers[2].fenced


def test_no_timer_outlives_leadership() -> None:
    lab = ControllerHarness(metadata_max_idle_interval_ms="500")
    lab.start_brokers(1)
    lab.resign()
    assert lab.clock.next_due_ms() is None
    lab.lead()
    lab.controller.close()
    assert lab.clock.next_due_ms() is None


def test_an_idle_controller_writes_that_it_lives_when_asked_to() -> None:
    lab = ControllerHarness(metadata_max_idle_interval_ms="500")
    appends = len(lab.raft.appends)
    lab.clock.advance(2_000)
    assert lab.raft.appends[appends:] and all(records == [NoOpRecord()] for records in lab.raft.appends[appends:])


def test_levels_are_set_right_at_takeover() -> None:
    lab = ControllerHarness()
    lab.start_brokers(1)
    lab.create("orders")
    lab.create("gone")
    lab.raft.commits_at_once = False
    deleting = lab.send(ApiKey.DELETE_TOPICS, 6, {"topics": [{"name": "gone", "topic_id": None}], "timeout": 1_000})
    # The records survive although the leader does not: it never told anybody.
    lab.raft.leader_id = 2
    lab.loader.handle_resigned()
    assert deleting[0].responses[0].error_code == Errors.NOT_CONTROLLER
    lab.raft.commit()
    assert lab.sink.levels[TopicKey("gone")] is not None
    lab.sink.levels.update({TopicKey("orders"): None, BrokerKey(1): None, PartitionKey("orders", 0): None})
    lab.raft.commits_at_once = True
    lab.lead()
    assert lab.sink.levels[TopicKey("gone")] is None and lab.sink.levels[PartitionKey("gone", 0)] is None
    assert None not in [lab.sink.levels[key] for key in (TopicKey("orders"), BrokerKey(1), PartitionKey("orders", 0))]


@pytest.mark.parametrize("seed", range(40))
def test_whatever_brokers_do_partitions_stay_sound(seed: int) -> None:
    rng = Random(seed)
    lab = ControllerHarness(seed=seed)
    incarnation = 1
    broker_ids = (1, 2, 3, 4)
    lab.start_brokers(*broker_ids)
    for index in range(5):
        lab.create(f"topic-{index}", num_partitions=3, replication_factor=rng.choice((1, 2, 3)))
    for _ in range(150):
        broker_id = rng.choice(broker_ids)
        step = rng.randrange(8)
        if step <= 2:
            lab.clock.advance(rng.uniform(0, 3_000))
        elif step == 3:
            lab.heartbeat(broker_id, want_shut_down=rng.random() < 0.2, want_fence=rng.random() < 0.2)
        elif step == 4:
            for other in rng.sample(broker_ids, 3):
                lab.heartbeat(other)
        elif step == 5:
            incarnation += 1
            lab.register(broker_id, incarnation=incarnation)
        elif step == 6:
            topic = f"topic-{rng.randrange(5)}"
            partition = lab.partition(topic)
            if partition.leader >= 0:
                lab.alter_isr(topic, rng.sample(partition.replicas, rng.randint(1, len(partition.replicas))))
        elif rng.random() < 0.3:
            lab.resign()
            lab.lead()
        lab.check_invariants()

    # A controller that reads the same log has the same image.
    copy = MetadataLoader(MetadataImage())
    for offset, value in enumerate(lab.raft.log):
        copy.handle_commit([(offset, 1, [value or b""], value is None)])
    assert copy.image.brokers == lab.image.brokers
    assert dict(copy.image.partitions()) == dict(lab.image.partitions())


def test_a_transaction_that_the_controller_before_left_open_is_aborted() -> None:
    lab = ControllerHarness(start=False)
    lab.raft.log += [encode_record(BeginTransactionRecord(name="Bootstrap records")), encode_record(NoOpRecord())]
    lab.loader.handle_commit([(0, 1, list(lab.raft.log), False)])
    lab.lead()
    records = lab.raft.appends[0]
    assert records[:2] == [AbortTransactionRecord(reason="Controller failover"), BeginTransactionRecord(name="Bootstrap records")]
    assert isinstance(records[-1], EndTransactionRecord) and not lab.loader.in_transaction
    assert lab.image.features["metadata.version"] == 30
