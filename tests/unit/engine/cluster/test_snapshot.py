"""The frozen picture from levels."""

from __future__ import annotations

import pytest

from kafkalab.engine.cluster.snapshot import NodeFacts, active_controller, build_snapshot, keys_of_node
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.telemetry.levels import (
    BrokerKey,
    BrokerLevel,
    GroupKey,
    GroupLevel,
    GroupMemberLevel,
    GroupOffsetKey,
    GroupOffsetLevel,
    Level,
    LevelKey,
    NodeKey,
    PartitionKey,
    PartitionLevel,
    QuorumKey,
    QuorumLevel,
    ReplicaKey,
    ReplicaLevel,
    TopicKey,
    TopicLevel,
)


def quorum(state: str, epoch: int, leader_id: int) -> QuorumLevel:
    return QuorumLevel(state=state, epoch=epoch, leader_id=leader_id, high_watermark=9, log_end_offset=9)


def replica(*, leader: bool, end: int, high_watermark: int) -> ReplicaLevel:
    return ReplicaLevel(
        is_leader=leader,
        leader_epoch=4,
        log_start_offset=0,
        log_end_offset=end,
        high_watermark=high_watermark,
        size_bytes=end * 10,
        segments=1,
    )


LEVELS: dict[LevelKey, Level] = {
    QuorumKey(101): quorum("leader", 3, 101),
    QuorumKey(1): quorum("observer", 3, 101),
    BrokerKey(1): BrokerLevel(broker_epoch=7, fenced=False, in_controlled_shutdown=False, address="127.0.0.1:9092", rack=None),
    BrokerKey(2): BrokerLevel(broker_epoch=8, fenced=True, in_controlled_shutdown=False, address="127.0.0.1:9093", rack=None),
    TopicKey("late"): TopicLevel(topic_id="b", partitions=0, replication_factor=1, internal=False, min_insync_replicas=1, order=20),
    TopicKey("orders"): TopicLevel(topic_id="a", partitions=1, replication_factor=2, internal=False, min_insync_replicas=2, order=10),
    PartitionKey("orders", 0): PartitionLevel(leader=1, leader_epoch=4, partition_epoch=6, replicas=(2, 1), isr=(1,)),
    ReplicaKey(1, "orders", 0): replica(leader=True, end=12, high_watermark=11),
    ReplicaKey(2, "orders", 0): replica(leader=False, end=5, high_watermark=5),
    GroupKey("billing"): GroupLevel(
        coordinator_id=1,
        state="Stable",
        generation=3,
        protocol_type="consumer",
        protocol="range",
        leader_id="m1",
        members=(GroupMemberLevel(member_id="m1", instance_id=None, client_id="c", client_host="/127.0.0.1", assignment=(("orders", 0),)),),
    ),
    GroupOffsetKey("billing", "orders", 0): GroupOffsetLevel(offset=9, leader_epoch=4, metadata="", commit_ms=1),
}
NODES = [
    NodeFacts(node_id=1, roles=frozenset({"broker"}), state="running", address="127.0.0.1:9092", pid=7, failure=None),
    NodeFacts(node_id=2, roles=frozenset({"broker"}), state="killed", address="127.0.0.1:9093", pid=None, failure=None),
    NodeFacts(node_id=101, roles=frozenset({"controller"}), state="running", address="127.0.0.1:20001", pid=7, failure=None),
]


def test_all_that_is_known_is_in_the_picture() -> None:
    snapshot = build_snapshot(cluster_id="x", bootstrap_servers="b", nodes=NODES, levels=LEVELS)
    assert (snapshot.controller, snapshot.quorum_epoch) == (101, 3)
    assert [node.fenced for node in snapshot.nodes] == [False, True, False]
    assert snapshot.node(1).quorum_state == "observer"
    assert list(snapshot.topics) == ["orders", "late"], "in the order of their creation"
    partition = snapshot.partition("orders", 0)
    assert (partition.leader, partition.leader_epoch, partition.isr, partition.high_watermark) == (1, 4, (1,), 11)
    assert partition.log_end_offsets == {1: 12, 2: 5}
    assert not partition.is_healthy
    assert snapshot.leader("orders", 0) == 1
    group = snapshot.groups["billing"]
    assert (group.state, group.coordinator, group.committed) == ("Stable", 1, {TopicPartition("orders", 0): 9})
    assert group.members[0].assignment == (TopicPartition("orders", 0),)
    with pytest.raises(KeyError):
        snapshot.partition("orders", 1)
    with pytest.raises(KeyError):
        snapshot.node(9)


def test_a_leader_of_an_older_epoch_is_not_the_controller() -> None:
    levels: dict[LevelKey, Level] = {QuorumKey(101): quorum("leader", 3, 101), QuorumKey(102): quorum("candidate", 4, -1)}
    assert active_controller(levels) == (-1, 4)
    levels[QuorumKey(102)] = quorum("leader", 4, 102)
    assert active_controller(levels) == (102, 4)


def test_a_node_takes_with_it_what_it_said_of_itself() -> None:
    assert set(keys_of_node(1, [*LEVELS, NodeKey(1)])) == {NodeKey(1), QuorumKey(1), ReplicaKey(1, "orders", 0)}
