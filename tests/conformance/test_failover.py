"""Nodes are killed under load; what was acknowledged stays, once and in order."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from kafkalab import Lab
from kafkalab.engine.telemetry.events import BrokerFenced, Event, NodeStopped, PartitionChanged, QuorumLeaderElected
from tests.support.consuming import take
from tests.support.steady_load import WAIT_S, Load, check
from tests.support.waiting import wait_for

from .conftest import FAST_FAILOVER, PATIENT_FAILOVER


@contextmanager
def fast_lab(**options: Any) -> Iterator[Lab]:
    with Lab(config=FAST_FAILOVER, **options) as lab:
        yield lab


class Happened:
    """What happens in a cluster from here on."""

    def __init__(self, lab: Lab) -> None:
        self._reader = lab.hub.open_reader()
        self.events: list[Event] = []

    def fenced(self) -> list[int]:
        """The brokers that were fenced until now."""
        self.events += self._reader.drain(100_000)[0]
        return [event.broker_id for event in self.events if isinstance(event, BrokerFenced)]

    def wait_until_fenced(self, broker_id: int) -> None:
        wait_for(lambda: broker_id in self.fenced(), f"broker {broker_id} fenced", WAIT_S)


@pytest.mark.expects_warnings
@pytest.mark.timeout(240)
def test_every_broker_is_killed_in_turn_under_load() -> None:
    with Lab(config=PATIENT_FAILOVER) as lab:
        lab.create_topic("orders", partitions=3, replication_factor=3, config={"min.insync.replicas": 2})
        happened = Happened(lab)
        with Load(lab.bootstrap_servers, "orders") as load:
            load.wait_for(200)
            for broker_id in lab.broker_ids:
                lab.kill(broker_id)
                happened.wait_until_fenced(broker_id)
                load.wait_for(200)
                lab.restart(broker_id)
                lab.wait_until_healthy(WAIT_S)
            load.wait_for(200)
        check(lab.bootstrap_servers, "orders", load)
        assert happened.fenced() == list(lab.broker_ids)
        moved = [event for event in happened.events if isinstance(event, PartitionChanged) and "fenced" in event.cause]
        assert moved
        assert all(f"broker {event.old_leader} was fenced" in event.cause for event in moved if event.new_leader != event.old_leader)


@pytest.mark.expects_warnings
@pytest.mark.timeout(240)
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_kill_9_from_outside_loses_nothing() -> None:
    with fast_lab(isolation="process") as lab:
        lab.create_topic("orders", partitions=3, replication_factor=3, config={"min.insync.replicas": 2})
        happened = Happened(lab)
        with Load(lab.bootstrap_servers, "orders") as load:
            load.wait_for(200)
            for broker_id in lab.broker_ids:
                pid = lab.describe().node(broker_id).pid
                assert pid is not None and pid != os.getpid()
                os.kill(pid, signal.SIGKILL)
                happened.wait_until_fenced(broker_id)
                load.wait_for(200)
                assert lab.describe().node(broker_id).state == "killed"
                lab.restart(broker_id)
                lab.wait_until_healthy(WAIT_S)
        check(lab.bootstrap_servers, "orders", load)


@pytest.mark.expects_warnings
@pytest.mark.timeout(120)
def test_active_controllers_are_killed_and_produce_goes_on() -> None:
    with fast_lab() as lab:
        lab.create_topic("orders", partitions=3, replication_factor=3)
        events = lab.hub.open_reader()
        with Load(lab.bootstrap_servers, "orders") as load:
            load.wait_for(200)
            first = lab.describe().controller
            assert first != -1
            lab.kill(first)
            lab.create_topic("after", partitions=1, replication_factor=3, timeout=WAIT_S)
            load.wait_for(200)
            elected = [event.node_id for event in events.drain(100_000)[0] if isinstance(event, QuorumLeaderElected)]
            assert elected and first not in elected
            # Of the one that is left nobody can be elected: what is acknowledged now needs no controller.
            second = lab.describe().controller
            lab.kill(second)
            load.wait_for(200)
            assert lab.describe().controller == -1
            lab.restart(first)
            lab.restart(second)
            lab.create_topic("later", partitions=1, replication_factor=3, timeout=WAIT_S)
            load.wait_for(200)
        check(lab.bootstrap_servers, "orders", load)
        lab.wait_until_healthy(WAIT_S)


@pytest.mark.expects_warnings
@pytest.mark.timeout(180)
def test_all_nodes_are_killed_and_start_again() -> None:
    with fast_lab() as lab:
        lab.create_topic("orders", partitions=3, replication_factor=3)
        with Load(lab.bootstrap_servers, "orders") as load:
            load.wait_for(500)
        for node_id in (*lab.broker_ids, *lab.controller_ids):
            lab.kill(node_id)
        for node_id in (*lab.controller_ids, *lab.broker_ids):
            lab.restart(node_id)
        lab.wait_until_healthy(WAIT_S)
        check(lab.bootstrap_servers, "orders", load)


@pytest.mark.timeout(180)
def test_a_stopped_cluster_is_found_again_with_its_records(tmp_path: Any) -> None:
    with fast_lab(data_dir=tmp_path) as lab:
        lab.create_topic("orders", partitions=3, replication_factor=3)
        before = lab.bootstrap_servers
        with Load(lab.bootstrap_servers, "orders") as load:
            load.wait_for(200)
    with fast_lab(data_dir=tmp_path) as lab:
        assert lab.bootstrap_servers == before
        lab.wait_until_healthy(WAIT_S)
        check(lab.bootstrap_servers, "orders", load)


@pytest.mark.expects_warnings
@pytest.mark.timeout(180)
def test_a_paused_broker_is_fenced_and_comes_back() -> None:
    with fast_lab() as lab:
        lab.create_topic("orders", partitions=3, replication_factor=3)
        with Load(lab.bootstrap_servers, "orders") as load:
            load.wait_for(200)
            paused = lab.describe().leader("orders", 0)
            lab.pause(paused)
            load.wait_for(600)
            lab.resume(paused)
            lab.wait_until_healthy(WAIT_S)
            load.wait_for(100)
        check(lab.bootstrap_servers, "orders", load)


@pytest.mark.timeout(120)
def test_a_controlled_stop_moves_leadership_first() -> None:
    with fast_lab() as lab:
        lab.create_topic("orders", partitions=3, replication_factor=3)
        reader = lab.hub.open_reader()
        with Load(lab.bootstrap_servers, "orders") as load:
            load.wait_for(200)
            leader = lab.describe().leader("orders", 0)
            lab.stop(leader)
            load.wait_for(200)
            assert lab.describe().leader("orders", 0) not in (-1, leader)
            events = reader.drain(100_000)[0]
            stopped = next(place for place, event in enumerate(events) if isinstance(event, NodeStopped) and event.node_id == leader)
            changes = [event for event in events[:stopped] if isinstance(event, PartitionChanged) and event.old_leader == leader]
            moved = [event for event in changes if event.new_leader != leader]
            # At once to another, because it asked: nobody waited for its session.
            assert moved and {event.cause for event in moved} == {f"broker {leader} is shutting down"}
            assert all(event.new_leader != -1 for event in moved)
            lab.restart(leader)
            lab.wait_until_healthy(WAIT_S)
        check(lab.bootstrap_servers, "orders", load)


@pytest.mark.expects_warnings
@pytest.mark.timeout(180)
def test_a_new_coordinator_knows_the_committed_offsets() -> None:
    with fast_lab() as lab:
        lab.create_topic("orders", partitions=1, replication_factor=3)
        producer = Producer({"bootstrap.servers": lab.bootstrap_servers})
        for i in range(100):
            producer.produce("orders", str(i))
        assert producer.flush(WAIT_S) == 0
        settings = {"bootstrap.servers": lab.bootstrap_servers, "group.id": "readers", "auto.offset.reset": "earliest", "log_level": 0}
        consumer = Consumer({**settings, "enable.auto.commit": False})
        consumer.subscribe(["orders"])
        assert len(take(consumer, 60)) == 60
        consumer.commit(asynchronous=False)
        consumer.close()
        group = lab.describe().groups["readers"]
        lab.kill(group.coordinator)
        consumer = Consumer(settings)
        consumer.subscribe(["orders"])
        rest = take(consumer, 40)
        consumer.close()
        assert [int(message.value()) for message in rest] == list(range(60, 100))
