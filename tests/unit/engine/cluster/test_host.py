"""The host over nodes that do nothing: orders, states, and what it tells of them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from kafkalab.engine.cluster.errors import ClusterStartError, DataDirInUse, HostError
from kafkalab.engine.cluster.host import MANY_LOGS, ClusterHost
from kafkalab.engine.cluster.layout import is_port_free
from kafkalab.engine.common.config import ConfigError
from kafkalab.engine.telemetry.events import NodeCrashed, NodeKilled, NodePaused, NodeResumed, NodeStopped
from kafkalab.engine.telemetry.hub import Reader
from kafkalab.engine.telemetry.levels import (
    BrokerKey,
    BrokerLevel,
    Level,
    LevelKey,
    PartitionKey,
    PartitionLevel,
    QuorumKey,
    ReplicaKey,
    ReplicaLevel,
    TopicKey,
    TopicLevel,
)
from tests.support.fake_nodes import FakeCluster, FakeRunner


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def host(cluster: FakeCluster, tmp_path: Path) -> Iterator[ClusterHost]:
    host = ClusterHost(data_dir=tmp_path / "data", runner_factory=cluster)
    yield host
    host.close()


def test_controllers_start_before_brokers(host: ClusterHost, cluster: FakeCluster) -> None:
    host.start()
    assert [runner.spec.node_id for runner in cluster.lives] == [101, 102, 103, 1, 2, 3]
    assert host.broker_ids == (1, 2, 3)
    assert host.controller_ids == (101, 102, 103)
    assert all(node.state == "running" for node in host.describe().nodes)


@pytest.mark.parametrize("logs", [MANY_LOGS - 1, MANY_LOGS])
def test_brokers_with_many_logs_wait_for_an_active_controller(
    logs: int, host: ClusterHost, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(logs):
        (tmp_path / "data" / "broker-2" / f"t-{number}").mkdir(parents=True)
    waited: list[list[int]] = []
    open_reader = host.hub.open_reader

    def opened(**options: int) -> Reader:
        waited.append([runner.spec.node_id for runner in cluster.lives])
        # Whoever becomes active tells of the brokers that it knows.
        level = BrokerLevel(broker_epoch=7, fenced=False, in_controlled_shutdown=False, address="127.0.0.1:1", rack=None)
        cluster.runners[101].sink.level(BrokerKey(2), level)
        return open_reader(**options)

    monkeypatch.setattr(host.hub, "open_reader", opened)
    host.start()
    assert waited == ([[101, 102, 103]] if logs == MANY_LOGS else [])
    assert [runner.spec.node_id for runner in cluster.lives] == [101, 102, 103, 1, 2, 3]


@pytest.mark.skipif(sys.platform != "linux", reason="this system lets nobody listen on a port that is held")
def test_a_port_is_nobody_elses_from_the_plan_on(host: ClusterHost, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clusters that start at the same time must not choose the same one: between choice and listener may lie seconds."""
    free: list[tuple[bool, bool]] = []
    start = FakeRunner.start

    def look(runner: FakeRunner) -> None:
        port = runner.spec.broker_port or runner.spec.controller_port
        assert port is not None
        free.append((is_port_free(runner.spec.host, port), is_port_free(runner.spec.host, port, unused=True)))
        start(runner)

    monkeypatch.setattr(FakeRunner, "start", look)
    host.start()
    assert free == [(True, False)] * 6, "its node can listen there, and others look elsewhere"
    ports = [runner.spec.broker_port or runner.spec.controller_port or 0 for runner in cluster.lives]
    assert all(is_port_free("127.0.0.1", port, unused=True) for port in ports), "whoever listens needs nobody to hold it"


def test_brokers_stop_before_controllers(host: ClusterHost, cluster: FakeCluster) -> None:
    host.start()
    host.close()
    assert sorted(cluster.order_of_ends[:3]) == [1, 2, 3]
    assert all("stop" in cluster.runners[node_id].steps for node_id in (1, 2, 3, 101))
    assert all("end" in cluster.runners[node_id].steps for node_id in (102, 103)), "nobody is left to take over from them"


def test_all_nodes_are_told_the_same_quorum_and_the_labs_settings(cluster: FakeCluster, tmp_path: Path) -> None:
    host = ClusterHost(brokers=2, controllers=1, data_dir=tmp_path, config={"min.insync.replicas": "2"}, runner_factory=cluster)
    host.start()
    specs = [runner.spec for runner in cluster.lives]
    assert {tuple(spec.voters) for spec in specs} == {(101,)}
    assert specs[0].config["default.replication.factor"] == "2"
    assert specs[0].config["min.insync.replicas"] == "2"
    assert host.bootstrap_servers == ",".join(f"127.0.0.1:{spec.broker_port}" for spec in specs if spec.broker_port)
    host.close()


def test_a_wrong_setting_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"num\.partitons"):
        ClusterHost(data_dir=tmp_path / "data", config={"num.partitons": "3"})
    with pytest.raises(ConfigError, match=r"node\.id cannot be set"):
        ClusterHost(data_dir=tmp_path / "data", config={"node.id": "3"})
    assert not (tmp_path / "data").exists()


@pytest.mark.expects_warnings
def test_a_node_that_does_not_start_leaves_the_others_running(host: ClusterHost, cluster: FakeCluster) -> None:
    cluster.start_failures[2] = "meta.properties, line 3: no directory.id"
    reader = host.hub.open_reader()
    with pytest.raises(ClusterStartError) as caught:
        host.start()
    assert caught.value.failures == {2: "meta.properties, line 3: no directory.id"}
    states = {node.node_id: node.state for node in host.describe().nodes}
    assert states == {1: "running", 2: "crashed", 3: "running", 101: "running", 102: "running", 103: "running"}
    assert [type(event) for event in reader.drain()[0]] == [NodeCrashed]


def test_a_kill_is_told_with_its_cause_and_takes_what_the_node_reported(host: ClusterHost, cluster: FakeCluster) -> None:
    host.start()
    sink = cluster.runners[2].sink
    replica = ReplicaLevel(is_leader=True, leader_epoch=0, log_start_offset=0, log_end_offset=5, high_watermark=5, size_bytes=9, segments=1)
    sink.level(ReplicaKey(2, "orders", 0), replica)
    sink.level(PartitionKey("orders", 0), PartitionLevel(leader=2, leader_epoch=0, partition_epoch=0, replicas=(2,), isr=(2,)))
    reader = host.hub.open_reader()
    reader.drain()
    host.kill(2)
    events, levels, _ = reader.drain()
    assert [(type(event), event.node_id) for event in events] == [(NodeKilled, 2)]
    assert isinstance(events[0], NodeKilled) and events[0].cause == "you"
    assert levels == {ReplicaKey(2, "orders", 0): None}
    assert PartitionKey("orders", 0) in host.hub.levels(), "the controller's word stays"
    # What a dying node still says is not heard.
    sink.level(ReplicaKey(2, "orders", 0), replica)
    assert ReplicaKey(2, "orders", 0) not in host.hub.levels()
    assert cluster.runners[2].steps == ["start", "kill"]


def test_a_controllers_end_takes_its_quorum_level(host: ClusterHost) -> None:
    host.start()
    host.stop(101)
    assert QuorumKey(101) not in host.hub.levels()
    assert host.describe().controller == -1


def test_restart_makes_a_new_life_on_the_old_address(host: ClusterHost, cluster: FakeCluster) -> None:
    host.start()
    old = cluster.runners[1]
    host.kill(1)
    host.restart(1)
    assert cluster.runners[1] is not old
    assert cluster.runners[1].spec == old.spec
    host.restart(1)
    assert [runner.steps for runner in cluster.lives if runner.spec.node_id == 1] == [["start", "kill"], ["start", "stop"], ["start"]]


def test_pause_resume_and_stop_tell_what_they_did(host: ClusterHost, cluster: FakeCluster) -> None:
    host.start()
    reader = host.hub.open_reader()
    host.pause(3)
    assert host.describe().node(3).state == "paused"
    host.resume(3)
    host.pause(3)
    host.stop(3)
    assert [type(event) for event in reader.drain()[0]] == [NodePaused, NodeResumed, NodePaused, NodeResumed, NodeStopped]
    assert cluster.runners[3].steps == ["start", "pause", "resume", "pause", "resume", "stop"]


@pytest.mark.expects_warnings
def test_a_node_that_ends_itself_is_told_as_crashed(host: ClusterHost, cluster: FakeCluster) -> None:
    host.start()
    reader = host.hub.open_reader()
    cluster.runners[3].crash("a broken invariant: offsets run backwards")
    events = reader.drain()[0]
    assert [type(event) for event in events] == [NodeCrashed]
    assert host.describe().node(3).failure == "a broken invariant: offsets run backwards"
    host.restart(3)
    assert host.describe().node(3).failure is None


def test_orders_that_make_no_sense_are_refused_with_the_reason(host: ClusterHost) -> None:
    with pytest.raises(HostError, match="was not started"):
        host.describe()
    host.start()
    host.kill(1)
    for order in (host.kill, host.stop, host.pause, host.resume):
        with pytest.raises(HostError, match=r"Node 1 cannot be .*: it is killed"):
            order(1)
    with pytest.raises(HostError, match="Node 2 cannot be started: it is running"):
        host.start_node(2)
    with pytest.raises(HostError, match=r"no node 9; there are 1, 2, 3, 101, 102, 103"):
        host.kill(9)
    with pytest.raises(HostError, match="started before"):
        host.start()


def test_a_folder_in_use_is_refused_with_the_holders_id(cluster: FakeCluster, tmp_path: Path) -> None:
    first = ClusterHost(data_dir=tmp_path, runner_factory=cluster)
    first.start()
    second = ClusterHost(data_dir=tmp_path, runner_factory=cluster)
    with pytest.raises(DataDirInUse, match="in use by process"):
        second.start()
    second.close()
    first.close()
    third = ClusterHost(data_dir=tmp_path, runner_factory=cluster)
    third.start()
    third.close()


def test_a_temporary_folder_goes_with_the_host(cluster: FakeCluster) -> None:
    host = ClusterHost(runner_factory=cluster)
    host.start()
    folder = host.data_dir
    assert folder.is_dir()
    host.close()
    assert not folder.exists()


def test_health_waits_for_the_registration_of_this_life(host: ClusterHost, cluster: FakeCluster) -> None:
    host.start()
    host.wait_until_healthy(timeout=5)
    host.kill(2)
    with pytest.raises(HostError, match="node 2 is killed"):
        host.wait_until_healthy(timeout=0)
    cluster.brokers_register = False
    host.restart(2)
    with pytest.raises(HostError, match="broker 2 is not registered"):
        host.wait_until_healthy(timeout=0)
    cluster.register(2, fenced=True)
    with pytest.raises(HostError, match="broker 2 is fenced"):
        host.wait_until_healthy(timeout=0)
    waiting = threading.Thread(target=host.wait_until_healthy, args=(30,), name="kafkalab-test")
    waiting.start()
    cluster.register(2, fenced=False)
    waiting.join(5)
    assert not waiting.is_alive()


def test_health_wants_every_partition_led_and_in_sync(host: ClusterHost) -> None:
    host.start()
    topic = TopicLevel(topic_id="x", partitions=2, replication_factor=2, internal=False, min_insync_replicas=1, order=1)
    host.hub.level(TopicKey("orders"), topic)
    well = PartitionLevel(leader=1, leader_epoch=0, partition_epoch=0, replicas=(1, 2), isr=(2, 1))
    host.hub.level(PartitionKey("orders", 0), well)
    with pytest.raises(HostError, match="1 of 2 partitions are known"):
        host.wait_until_healthy(timeout=0)
    host.hub.level(PartitionKey("orders", 1), PartitionLevel(leader=1, leader_epoch=0, partition_epoch=1, replicas=(1, 2), isr=(1,)))
    with pytest.raises(HostError, match=r"orders-1 has \[1\] of \[1, 2\] in sync"):
        host.wait_until_healthy(timeout=0)
    host.hub.level(PartitionKey("orders", 1), PartitionLevel(leader=-1, leader_epoch=1, partition_epoch=2, replicas=(1, 2), isr=(1,)))
    with pytest.raises(HostError, match="orders-1 has no leader"):
        host.wait_until_healthy(timeout=0)
    host.hub.level(PartitionKey("orders", 1), well)
    host.wait_until_healthy(timeout=5)


def test_who_waits_for_brokers_does_not_look_through_partitions(host: ClusterHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.start()
    for number in range(100):
        level = PartitionLevel(leader=-1, leader_epoch=0, partition_epoch=0, replicas=(1, 2), isr=())
        host.hub.level(PartitionKey("orders", number), level)
    looked_at: set[type] = set()

    def looked(_nodes: object, levels: Mapping[LevelKey, Level], **_options: bool) -> str:
        looked_at.update(map(type, levels))
        return "broker 1 is fenced"

    monkeypatch.setattr("kafkalab.engine.cluster.host.trouble", looked)
    with pytest.raises(HostError, match="broker 1 is fenced"):
        host.wait_until_ready(timeout=0)
    assert looked_at == {BrokerKey, QuorumKey}


def test_a_level_that_was_taken_away_is_not_waited_on(host: ClusterHost) -> None:
    host.start()
    key = TopicKey("orders")
    host.hub.level(key, TopicLevel(topic_id="x", partitions=1, replication_factor=1, internal=False, min_insync_replicas=1, order=1))
    looks = 0

    def is_gone(levels: Mapping[LevelKey, Level]) -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:
            assert key in levels
            host.hub.level(key, None)
        return key not in levels

    assert host.wait_for_levels(is_gone, timeout=30)
    assert looks == 2


def test_a_wait_ends_with_the_host(host: ClusterHost, cluster: FakeCluster) -> None:
    cluster.brokers_register = False
    host.start()
    said: list[str] = []

    def wait() -> None:
        try:
            host.wait_until_healthy(60)
        except HostError as e:
            said.append(str(e))

    waiting = threading.Thread(target=wait, name="kafkalab-test")
    waiting.start()
    host.close()
    waiting.join(10)
    assert said
