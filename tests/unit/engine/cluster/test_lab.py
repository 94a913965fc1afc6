"""Whole clusters in threads: started, broken, described, and found again."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from kafkalab import Lab
from kafkalab.engine.cluster.errors import ClusterStartError, DataDirInUse, HostError, RequestRefused
from kafkalab.engine.cluster.layout import is_port_free
from kafkalab.engine.telemetry.events import NodeCrashed, NodeKilled, NodeStarted, PartitionChanged
from kafkalab.engine.telemetry.levels import Level, LevelKey, PartitionKey, PartitionLevel
from tests.support.consuming import take

QUICK = {"broker.session.timeout.ms": 1_500, "broker.heartbeat.interval.ms": 300}
WAIT_S = 60.0


def produce(lab: Lab, topic: str, count: int) -> None:
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": lab.bootstrap_servers, "acks": "all", "log_level": 0})
    for i in range(count):
        producer.produce(topic, value=f"record {i}", partition=0, on_delivery=lambda error, _: error and failures.append(error))
    assert producer.flush(WAIT_S) == 0
    assert not failures


def consume(lab: Lab, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": lab.bootstrap_servers, "group.id": "test", "log_level": 0})
    consumer.assign([TopicPartition(topic, 0, 0)])
    messages = take(consumer, count)
    consumer.close()
    return [message.value() for message in messages]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(config=QUICK) as lab:
        yield lab


def test_a_cluster_is_ready_and_leaves_nothing_of_its_own_behind(lab: Lab) -> None:
    snapshot = lab.describe()
    assert snapshot.controller in lab.controller_ids
    assert [node.state for node in snapshot.nodes] == ["running"] * 6
    assert not any(node.fenced for node in snapshot.nodes)
    assert lab.bootstrap_servers.count(",") == 2


def test_a_killed_leader_is_replaced_and_comes_back_on_its_address(lab: Lab) -> None:
    lab.create_topic("orders", partitions=1)
    produce(lab, "orders", 50)
    reader = lab.hub.open_reader()
    before = lab.describe()
    leader = before.leader("orders", 0)
    lab.kill(leader)

    def moved(levels: dict[LevelKey, Level]) -> bool:
        level = levels.get(PartitionKey("orders", 0))
        return isinstance(level, PartitionLevel) and level.leader not in (-1, leader)

    while not moved(lab.hub.levels()):
        assert reader.wait_changed(WAIT_S)
        events, _, _ = reader.drain()
        for event in events:
            assert not isinstance(event, NodeCrashed)
    assert lab.describe().node(leader).state == "killed"
    produce(lab, "orders", 50)
    lab.restart(leader)
    lab.wait_until_healthy(WAIT_S)
    after = lab.describe()
    assert after.node(leader).address == before.node(leader).address
    partition = after.partition("orders", 0)
    assert set(partition.isr) == {1, 2, 3}
    assert partition.leader_epoch > before.partition("orders", 0).leader_epoch
    assert consume(lab, "orders", 100) == [f"record {i}".encode() for i in range(50)] * 2


def test_events_tell_the_kill_before_what_came_of_it(lab: Lab) -> None:
    lab.create_topic("orders", partitions=1)
    leader = lab.describe().leader("orders", 0)
    reader = lab.hub.open_reader()
    lab.kill(leader)
    killed_at_ms = moved_at_ms = 0.0
    while not moved_at_ms:
        assert reader.wait_changed(WAIT_S)
        for event in reader.drain()[0]:
            if isinstance(event, NodeKilled):
                killed_at_ms = event.at_ms
            elif isinstance(event, PartitionChanged) and event.topic == "orders" and event.new_leader not in (-1, leader):
                moved_at_ms = event.at_ms
    assert 0 < killed_at_ms < moved_at_ms


def test_a_stopped_broker_hands_over_first(lab: Lab) -> None:
    lab.create_topic("orders", partitions=3)
    lab.stop(1)
    snapshot = lab.describe()
    assert snapshot.node(1).state == "stopped"
    assert all(partition.leader in (2, 3) for partition in snapshot.topics["orders"].partitions)
    lab.restart(1)
    lab.wait_until_healthy(WAIT_S)


def test_a_paused_broker_keeps_its_sockets_and_goes_on(lab: Lab) -> None:
    host, port = lab.describe().node(2).address.split(":")
    lab.pause(2)
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.settimeout(0.3)
        connection.sendall(bytes.fromhex("0000000a 0012 0000 00000001 ffff"))
        with pytest.raises(TimeoutError):
            connection.recv(1)
        lab.resume(2)
        connection.settimeout(WAIT_S)
        assert connection.recv(4)
    lab.wait_until_healthy(WAIT_S)


def test_another_controller_takes_over(lab: Lab) -> None:
    old = lab.describe().controller
    lab.kill(old)
    lab.create_topic("after", partitions=1, timeout=WAIT_S)
    assert lab.describe().controller not in (old, -1)
    lab.restart(old)
    lab.wait_until_healthy(WAIT_S)


def test_a_topic_is_made_and_deleted(lab: Lab) -> None:
    topic = lab.create_topic("orders", 2, 2, {"min.insync.replicas": 2, "preallocate": False})
    assert (len(topic.partitions), topic.replication_factor, topic.min_insync_replicas) == (2, 2, 2)
    with pytest.raises(HostError, match="TOPIC_ALREADY_EXISTS"):
        lab.create_topic("orders")
    with pytest.raises(HostError, match=r"INVALID_REPLICATION_FACTOR \(38\)"):
        lab.create_topic("many", replication_factor=9)
    lab.delete_topic("orders")
    assert "orders" not in lab.describe().topics


def test_what_is_asked_of_a_topic_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with Lab(brokers=1, controllers=1) as lab:
        asked: list[Callable[[], None]] = [
            lambda: lab.delete_topic("nowhere"),
            lambda: lab.alter_topic("nowhere", {"retention.ms": 1000}),
            lambda: lab.reassign("nowhere", 0, (1,)),
        ]
        for ask in asked:
            with pytest.raises(RequestRefused, match=r"nowhere.*: UNKNOWN_TOPIC_OR_PARTITION \(3\): .*nowhere"):
                ask()
        # Of two that wait until a record passes, on one topic, the second finds that the first has tidied up.
        host = lab._host
        monkeypatch.setattr(host._admin, "produce", lambda topic, _batch, timeout_s: host.delete_topic(topic, timeout=timeout_s))
        host.wait_until_ready(WAIT_S)


def test_replicas_move_and_the_preferred_leader_takes_over(lab: Lab) -> None:
    topic = lab.create_topic("moved", 1, 2)
    held = topic.partitions[0].replicas
    free = next(node_id for node_id in lab.broker_ids if node_id not in held)
    wanted = (free, held[0])
    lab.reassign("moved", 0, wanted, timeout=WAIT_S)
    assert lab.describe().topics["moved"].partitions[0].replicas == wanted
    lab.elect_leaders("moved", timeout=WAIT_S)
    assert lab.describe().leader("moved", 0) == free
    with pytest.raises(HostError, match="There is no topic 'nowhere'"):
        lab.elect_leaders("nowhere")
    with pytest.raises(HostError, match="INVALID_REPLICA_ASSIGNMENT"):
        lab.reassign("moved", 0, (free, 99))
    lab.delete_topic("moved")


@pytest.mark.expects_warnings  # Brokers that were killed wait until their old registrations have expired, and say so.
def test_records_are_found_again_after_a_stop_and_after_a_kill_of_everything(tmp_path: Path) -> None:
    with Lab(data_dir=tmp_path, config=QUICK) as lab:
        lab.create_topic("orders", partitions=1)
        produce(lab, "orders", 30)
        addresses = lab.bootstrap_servers
    with Lab(data_dir=tmp_path, config=QUICK) as lab:
        assert lab.bootstrap_servers == addresses
        lab.wait_until_healthy(WAIT_S)
        produce(lab, "orders", 30)
        for node in lab.describe().nodes:
            lab.kill(node.node_id)
    with Lab(data_dir=tmp_path, config=QUICK) as lab:
        lab.wait_until_healthy(WAIT_S)
        assert consume(lab, "orders", 60) == [f"record {i}".encode() for i in range(30)] * 2


@pytest.mark.parametrize(("brokers", "controllers", "combined"), [(1, 1, False), (1, 1, True), (3, 3, True)])
def test_other_shapes(brokers: int, controllers: int, combined: bool) -> None:
    with Lab(brokers=brokers, controllers=controllers, combined=combined) as lab:
        lab.create_topic("orders", partitions=1)
        produce(lab, "orders", 5)
        assert consume(lab, "orders", 5)
        assert len(lab.describe().nodes) == (brokers if combined else brokers + controllers)


@pytest.mark.expects_warnings
def test_a_node_with_a_broken_file_does_not_start_and_says_which(tmp_path: Path) -> None:
    with Lab(data_dir=tmp_path):
        pass
    file = tmp_path / "broker-2" / "meta.properties"
    file.write_text("version=1\ncluster.id\n")
    with pytest.raises(ClusterStartError) as caught, Lab(data_dir=tmp_path):
        pass
    assert list(caught.value.failures) == [2]
    assert str(file) in caught.value.failures[2]


def test_a_folder_serves_one_cluster_at_a_time(tmp_path: Path) -> None:
    with Lab(brokers=1, controllers=1, data_dir=tmp_path), pytest.raises(DataDirInUse, match="in use by process"):
        Lab(brokers=1, controllers=1, data_dir=tmp_path).start()


def test_each_start_is_told() -> None:
    lab = Lab(brokers=1, controllers=1)
    reader = lab.hub.open_reader()
    with lab:
        started = [event.node_id for event in reader.drain()[0] if isinstance(event, NodeStarted)]
    assert sorted(started) == [1, 101]


@pytest.mark.expects_warnings  # As above: where the machine is slow, the end of the test does not come first.
def test_the_port_of_a_killed_node_is_kept_for_it() -> None:
    with Lab(brokers=1, controllers=1) as lab:
        host, port = lab.describe().node(1).address.split(":")
        lab.kill(1)
        assert not is_port_free(host, int(port), unused=True), "another lab could have taken it"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=5).close()
        lab.restart(1)
        assert lab.describe().node(1).address == f"{host}:{port}"
