"""What is noticed of replicas: whatever is set of them, the ends of their logs, those that come, and nothing else."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.replica.partition import Partition
from kafkalab.engine.simulation.invariants import Invariants
from kafkalab.engine.simulation.node import SimNode
from kafkalab.engine.simulation.run import RunSettings, run_seed
from kafkalab.engine.simulation.watch import ReplicaWatch

BROKER = 7
OUTLIVED = 10
"""A seed in which a replica is of the past for a while, and cannot be checked."""


def replica(index: int) -> Partition:
    log = SimpleNamespace(log_start_offset=0, log_end_offset=10)
    return Partition(TopicPartition("orders", index), uuid.UUID(int=1), BROKER, cast(Any, log), cast(Any, None), high_watermark=0)


def test_those_that_come_are_told_of_once() -> None:
    first, second = replica(0), replica(1)
    replicas = ReplicaWatch().begin_life(BROKER)
    assert replicas.changed([first]) == [first]
    assert replicas.changed([first]) == []
    assert second in replicas.changed([first, second])
    assert replicas.changed([first, second]) == []
    # Another one in its place, as of a topic that was deleted and created again.
    anew = replica(1)
    assert anew in replicas.changed([first, anew])


def test_whatever_is_set_of_a_replica_is_noticed() -> None:
    partitions = [replica(0), replica(1), replica(2)]
    replicas = ReplicaWatch().begin_life(BROKER)
    replicas.changed(partitions)
    for name in ("high_watermark", "leader_epoch", "is_leader", "isr", "partition_epoch", "pending", "maximal_isr", "log"):
        setattr(partitions[1], name, getattr(partitions[1], name))
        assert replicas.changed(partitions) == [partitions[1]], name
        assert replicas.changed(partitions) == []


def test_the_end_of_a_log_is_noticed_together_with_what_is_set() -> None:
    partitions = [replica(0), replica(1), replica(2)]
    replicas = ReplicaWatch().begin_life(BROKER)
    replicas.changed(partitions)
    partitions[2].log.log_end_offset = 9
    partitions[0].high_watermark = 5
    assert replicas.changed(partitions) == [partitions[0], partitions[2]]
    partitions[1].log.log_end_offset = 11
    assert replicas.changed(partitions) == [partitions[1]]
    assert replicas.changed(partitions) == []


def test_what_could_not_be_looked_at_is_told_of_again() -> None:
    partitions = [replica(0), replica(1)]
    replicas = ReplicaWatch().begin_life(BROKER)
    replicas.changed(partitions)
    replicas.note(partitions[1])
    assert replicas.changed(partitions) == [partitions[1]]
    assert replicas.changed(partitions) == []


def test_those_of_a_life_that_is_over_are_nobodys() -> None:
    old, new = replica(0), replica(0)
    watch = ReplicaWatch()
    watch.begin_life(BROKER).changed([old])
    replicas = watch.begin_life(BROKER)
    assert replicas.changed([new]) == [new]
    old.is_leader = True
    assert replicas.changed([new]) == []


@pytest.mark.expects_warnings
def test_whatever_differs_from_what_was_seen_last_is_looked_at_with_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Invariants.check
    unsettled = 0

    def check(self: Invariants, sim: SimNode) -> None:
        nonlocal unsettled
        original(self, sim)
        seen = self._seen.get(sim.node_id)
        manager = None if sim.node is None or sim.node.raft is None else sim.node.replica_manager
        if seen is None or manager is None:
            return
        for one in manager.partitions():
            last = seen.partitions[one]
            is_same = (
                (one.high_watermark, one.log.log_end_offset, one.leader_epoch) == (last.high_watermark, last.log_end, last.epoch)
                and (one.is_leader, one.partition_epoch) == (last.is_leader, last.partition_epoch)
                and one.isr is last.isr
                and one.pending is last.pending
            )
            if not is_same:
                unsettled += 1
                assert one in seen.replicas._noted, f"{one.topic_partition} of broker {sim.node_id} would be passed over"

    monkeypatch.setattr(Invariants, "check", check)
    assert run_seed(OUTLIVED, RunSettings(minutes=0.3, kinds=("outlive",), is_wide=True)).is_right
    assert unsettled
