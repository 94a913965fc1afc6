"""The failures that shaped Kafka's replication, each with the ticket or KIP that tells of it.

R-numbers are those of the project's list of scenarios. Everything runs over real logs and the real
codec; the controller is the world's short one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.protocol.metadata_records import BrokerRegistrationChangeRecord, PartitionChangeRecord
from kafkalab.engine.record.batch import Record as Written
from kafkalab.engine.record.batch import build_batch
from kafkalab.engine.replica.partition import Partition
from kafkalab.engine.telemetry.events import LogTruncated
from tests.unit.engine.replica.world import World

TOPIC = "orders"
TP = TopicPartition(TOPIC, 0)
LAG_MS = 1_500


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world(config={"replica.lag.time.max.ms": str(LAG_MS)})


def isr(world: World) -> tuple[int, ...]:
    partition = world.image.partition(TOPIC, 0)
    assert partition is not None
    return tuple(sorted(partition.isr))


def write(world: World, node_id: int, *values: bytes, acks: int = -1) -> None:
    """Write, and wait for the acknowledgement."""
    answer = world.produce(node_id, TOPIC, *values, acks=acks)
    world.until(lambda: answer.is_settled)
    assert answer.error == Errors.NONE


def come_back(world: World, node_id: int) -> None:
    """Start again so fast that nobody has noticed: same broker epoch, ISR as it was."""
    broker = world.brokers[node_id]
    broker.boot()
    broker.learn(len(world.metadata))


def lose_tail(world: World, node_id: int, size_bytes: int) -> None:
    """The power was cut: what was not on the disk yet is gone."""
    path = world.path / str(node_id) / f"{TOPIC}-0" / f"{0:020d}.log"
    os.truncate(path, path.stat().st_size - size_bytes)


def follower_fetch(world: World, follower: int, offset: int, *, epoch: int, last_epoch: int = -1, broker_epoch: int | None = None) -> Any:
    state = {"replica_id": follower, "replica_epoch": world.brokers[follower].epoch if broker_epoch is None else broker_epoch}
    return world.fetch(
        world.leader_of(TOPIC),
        TOPIC,
        offset,
        replica_state=state,
        current_leader_epoch=epoch,
        last_fetched_epoch=last_epoch,
        max_wait=0,
    )


# --- R1, R2, R3: truncation -----------------------------------------------------------------------


def test_r1_kip_101_a_follower_that_restarts_does_not_cut_to_its_high_watermark(world: World) -> None:
    world.create(TOPIC, (1, 2))
    world.settle()
    write(world, 1, b"m1")
    write(world, 1, b"m2")
    # What is committed has not come around to the follower: its high watermark is behind its log end.
    behind, end = world.ends(TOPIC)[2]
    assert behind < end == 2
    world.kill(2)
    come_back(world, 2)
    world.kill(1)
    world.elect(TOPIC, 0, 2, isr=(2,))
    world.settle()
    assert world.values(2, TOPIC) == [b"m1", b"m2"]
    assert world.ends(TOPIC)[2] == (2, 2)
    assert not world.brokers[2].sink.of(LogTruncated)


def test_r2_kip_101_logs_do_not_diverge_when_both_lose_what_was_not_flushed(world: World) -> None:
    world.create(TOPIC, (1, 2))
    world.settle()
    write(world, 1, b"m1")
    size = world.brokers[2].partition(TP).log.size_bytes
    write(world, 1, b"m2")
    size_of_m2 = world.brokers[2].partition(TP).log.size_bytes - size
    for node_id in (1, 2):
        world.kill(node_id)
    lose_tail(world, 2, size_of_m2)
    # The one with less comes back first and leads.
    come_back(world, 2)
    world.elect(TOPIC, 0, 2, isr=(2,))
    world.settle()
    assert world.values(2, TOPIC) == [b"m1"]
    write(world, 2, b"m3")
    come_back(world, 1)
    world.settle(2_000)
    assert world.values(1, TOPIC) == world.values(2, TOPIC) == [b"m1", b"m3"]
    (cut,) = world.brokers[1].sink.of(LogTruncated)
    assert (cut.from_offset, cut.to_offset) == (2, 1)


@pytest.mark.expects_warnings
def test_r3_kip_279_kafka_6361_three_fast_unclean_elections_leave_equal_logs(world: World) -> None:
    world.create(TOPIC, (1, 2, 3))
    world.settle()
    write(world, 1, b"m0")
    world.sever(1, 2)
    world.sever(1, 3)
    world.sever(2, 3)
    # Each leads alone for a while and writes what no other has: epochs 1, 2, 3 and 4.
    for leader, values in ((2, (b"b1", b"b2", b"b3")), (1, (b"a1",)), (3, (b"c1", b"c2")), (1, (b"a2", b"a3"))):
        world.elect(TOPIC, 0, leader, isr=(leader,))
        world.settle(10)
        for value in values:
            write(world, leader, value, acks=1)
    world.mend()
    world.settle(3_000)
    assert world.values(1, TOPIC) == [b"m0", b"a1", b"a2", b"a3"]
    assert world.values(2, TOPIC) == world.values(3, TOPIC) == world.values(1, TOPIC)
    assert set(world.ends(TOPIC).values()) == {(4, 4)}


# --- R4: leader epochs in every request ------------------------------------------------------------


def test_r4_kip_320_stale_and_future_epochs_are_refused_everywhere(world: World) -> None:
    world.create(TOPIC, (1, 2))
    world.settle()
    write(world, 1, b"a")
    world.elect(TOPIC, 0, 1)
    world.elect(TOPIC, 0, 1)
    world.settle(700)
    asks: list[Callable[[int], Errors]] = [
        lambda epoch: world.fetch(1, TOPIC, 0, current_leader_epoch=epoch, max_wait=0).error,
        lambda epoch: world.fetch(2, TOPIC, 0, current_leader_epoch=epoch, max_wait=0).error,
        lambda epoch: follower_fetch(world, 2, 1, epoch=epoch).error,
        lambda epoch: world.list_offsets(1, TOPIC, -1, current_leader_epoch=epoch).error,
        lambda epoch: epoch_end(world, 1, 0, epoch).error,
    ]
    for ask in asks:
        assert ask(1) == Errors.FENCED_LEADER_EPOCH
        assert ask(3) == Errors.UNKNOWN_LEADER_EPOCH
        assert ask(2) == Errors.NONE
        assert ask(-1) == Errors.NONE
    # A stale epoch is told before a wrong broker: who asks can tell that its metadata is old.
    assert world.list_offsets(2, TOPIC, -1, current_leader_epoch=1).error == Errors.FENCED_LEADER_EPOCH
    assert epoch_end(world, 2, 0, 3).error == Errors.UNKNOWN_LEADER_EPOCH
    assert world.list_offsets(2, TOPIC, -1, current_leader_epoch=2).error == Errors.NOT_LEADER_OR_FOLLOWER
    assert epoch_end(world, 2, 0, 2).error == Errors.NOT_LEADER_OR_FOLLOWER


def epoch_end(world: World, node_id: int, epoch: int, current: int) -> Any:
    from kafkalab.engine.protocol.apis import ApiKey

    part = {"partition": 0, "current_leader_epoch": current, "leader_epoch": epoch}
    return world.brokers[node_id].handle(
        ApiKey.OFFSET_FOR_LEADER_EPOCH, {"replica_id": -1, "topics": [{"topic": TOPIC, "partitions": [part]}]}
    )


def test_r4_kip_320_a_consumer_hears_where_its_log_parts(world: World) -> None:
    world.create(TOPIC, (1, 2))
    world.settle()
    write(world, 1, b"a")
    world.sever(1, 2)
    write(world, 1, b"lost", acks=1)
    world.kill(1)
    world.elect(TOPIC, 0, 2, isr=(2,))
    world.settle()
    write(world, 2, b"b")
    # It read "lost" in epoch 0 at offset 1 and comes for offset 2.
    answer = world.fetch(2, TOPIC, 2, current_leader_epoch=1, last_fetched_epoch=0)
    assert (answer.first.diverging_epoch.epoch, answer.first.diverging_epoch.end_offset) == (0, 1)
    ends = epoch_end(world, 2, 0, 1).first
    assert (ends.leader_epoch, ends.end_offset) == (0, 1)


def test_kafka_12153_what_is_gone_is_told_before_where_logs_part(world: World) -> None:
    # Truncation to where the leader has nothing any more helps nobody.
    world.create(TOPIC, (1,))
    world.settle()
    for value in (b"a", b"b", b"c", b"d"):
        write(world, 1, value)
    world.elect(TOPIC, 0, 1)
    world.elect(TOPIC, 0, 1)
    world.settle()
    write(world, 1, b"e")
    assert world.fetch(1, TOPIC, 1, last_fetched_epoch=1, max_wait=0).first.diverging_epoch.end_offset == 4
    world.brokers[1].partition(TP).delete_records(2)
    assert world.fetch(1, TOPIC, 1, last_fetched_epoch=1, max_wait=0).error == Errors.OFFSET_OUT_OF_RANGE


# --- R5, R6 ----------------------------------------------------------------------------------------


def test_r5_kafka_10706_elections_without_data_leave_no_epochs_behind(world: World) -> None:
    world.create(TOPIC, (1, 2, 3))
    world.settle()
    write(world, 1, b"a")
    for leader in (2, 3, 1, 3, 2, 1, 3):
        world.elect(TOPIC, 0, leader)
        world.settle(3)
    write(world, 3, b"b")
    world.settle(1_000)
    for node_id in (1, 2, 3):
        replica_log = world.brokers[node_id].partition(TP).log
        assert replica_log.latest_epoch == 7
        assert replica_log.end_offset_for_epoch(0) == (0, 1)
        # In the epochs between nobody wrote: they are as if they had not been.
        assert replica_log.end_offset_for_epoch(5) == (0, 1)
        assert not world.brokers[node_id].sink.of(LogTruncated)
    assert world.values(1, TOPIC) == world.values(2, TOPIC) == [b"a", b"b"]
    assert isr(world) == (1, 2, 3)


def test_r6_kafka_13141_a_diverging_fetch_moves_nothing_on_the_leader(world: World) -> None:
    world.create(TOPIC, (1, 2))
    world.settle()
    world.elect(TOPIC, 0, 1)
    world.settle()
    write(world, 1, b"a")
    world.sever(1, 2)
    world.produce(1, TOPIC, b"b")
    leader = world.brokers[1].partition(TP)
    before = leader.remotes[2].log_end_offset, leader.remotes[2].last_caught_up_ms, leader.high_watermark
    world.settle(5)
    # It has two records of epoch 0, of which the leader has none.
    answer = follower_fetch(world, 2, 2, epoch=1, last_epoch=0)
    assert (answer.error, answer.first.diverging_epoch.end_offset) == (Errors.NONE, 0)
    assert (leader.remotes[2].log_end_offset, leader.remotes[2].last_caught_up_ms, leader.high_watermark) == before


def test_kafka_14704_a_follower_whose_log_parts_takes_no_high_watermark_before_it_has_cut(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.create(TOPIC, (1, 2))
    world.settle()
    write(world, 1, b"a")
    world.settle(600)
    world.sever(1, 2)
    write(world, 1, b"only 1", b"only 1 too", acks=1)
    world.elect(TOPIC, 0, 2, isr=(2,))
    world.settle(5)
    for value in (b"x", b"y", b"z"):
        write(world, 2, value)
    marks: list[tuple[int, bool]] = []
    follow = Partition.follow_high_watermark

    def watched(partition: Partition, leader_high_watermark: int) -> None:
        follow(partition, leader_high_watermark)
        if partition.node_id == 1:
            marks.append((partition.high_watermark, world.values(1, TOPIC)[1:2] == [b"only 1"]))

    monkeypatch.setattr(Partition, "follow_high_watermark", watched)
    world.mend()
    world.settle(2_000)
    assert world.values(1, TOPIC) == [b"a", b"x", b"y", b"z"]
    assert marks
    assert not any(mark > 1 and had_uncommitted for mark, had_uncommitted in marks)


# --- R7, R8: high watermark and ISR -----------------------------------------------------------------


def test_r7_kafka_13091_the_high_watermark_moves_when_a_shrink_is_decided(world: World) -> None:
    world.create(TOPIC, (1, 2))
    world.settle()
    world.sever(1, 2)
    answer = world.produce(1, TOPIC, b"a")
    leader = world.brokers[1].partition(TP)
    world.until(lambda: leader.pending is not None)
    # Whether it is decided is not known yet: the one that is to leave still counts.
    assert leader.maximal_isr == {1, 2}
    assert leader.high_watermark == 0
    assert not answer.is_settled
    world.until(lambda: leader.pending is None)
    # Nobody fetches any more; the decision alone moves it.
    assert leader.high_watermark == 1
    assert answer.error == Errors.NONE


def test_r7_a_refused_expansion_is_waited_for_no_more(world: World) -> None:
    world.create(TOPIC, (1, 2, 3))
    world.settle()
    world.kill(3)
    world.fence(3)
    world.settle()
    world.alter_errors.append(Errors.INELIGIBLE_REPLICA)
    world.boot(3)
    leader = world.brokers[1].partition(TP)
    world.until(lambda: leader.pending is not None)
    world.sever(1, 3)
    world.commit(BrokerRegistrationChangeRecord(broker_id=3, broker_epoch=world.brokers[3].epoch, fenced=1))
    answer = world.produce(1, TOPIC, b"a")
    world.until(lambda: answer.is_settled, 1_000)
    assert answer.error == Errors.NONE
    assert leader.maximal_isr == {1, 2}


def test_r8_kafka_19996_below_min_isr_a_follower_at_the_old_high_watermark_does_not_join(world: World) -> None:
    world.create(TOPIC, (1, 2), configs={"min.insync.replicas": "2"})
    world.settle()
    write(world, 1, b"a")
    world.kill(2)
    world.fence(2)
    world.settle()
    for number in range(50):
        write(world, 1, b"%d" % number, acks=1)
    # Not visible, whatever acks: the ISR is too small for anything to be committed.
    assert world.ends(TOPIC)[1] == (1, 51)
    leader = world.brokers[1].partition(TP)
    world.sever(1, 2)
    world.settle(LAG_MS)
    world.boot(2)
    world.settle()
    joins: list[tuple[int, ...]] = []
    # It copies one batch at a time, slower than the time that it may lag.
    for offset in range(1, 41):
        follower_fetch(world, 2, offset, epoch=0, last_epoch=0)
        world.settle(LAG_MS / 10)
        joins.append(isr(world))
    assert set(joins) == {(1,)}
    assert leader.high_watermark == 1
    follower_fetch(world, 2, 51, epoch=0, last_epoch=0)
    world.settle()
    assert isr(world) == (1, 2)
    assert leader.high_watermark == 51


def test_kafka_2350_with_enough_in_sync_the_committed_records_suffice_to_join(world: World) -> None:
    world.create(TOPIC, (1, 2, 3))
    world.settle()
    world.kill(3)
    world.fence(3)
    world.settle()
    write(world, 1, b"a")
    world.sever(1, 2)
    world.produce(1, TOPIC, b"b")
    world.sever(1, 3)
    world.boot(3)
    world.settle()
    follower_fetch(world, 3, 1, epoch=0, last_epoch=0)
    world.settle()
    # It has what is committed, and lags behind the leader's end.
    assert isr(world) == (1, 2, 3)


# --- R9: who may join --------------------------------------------------------------------------------


def test_r9_kip_903_a_fetch_of_an_earlier_life_does_not_join(world: World) -> None:
    world.create(TOPIC, (1, 2))
    world.settle()
    world.kill(2)
    world.fence(2)
    world.settle()
    old_epoch = world.brokers[2].epoch
    world.sever(1, 2)
    world.boot(2)
    world.settle()
    assert follower_fetch(world, 2, 0, epoch=0, broker_epoch=old_epoch).error == Errors.NOT_LEADER_OR_FOLLOWER
    world.settle()
    assert isr(world) == (1,)
    assert follower_fetch(world, 2, 0, epoch=0).error == Errors.NONE
    world.settle()
    assert isr(world) == (1, 2)


def test_r9_kip_903_the_controller_refuses_a_stale_epoch_and_the_leader_gives_the_change_up(world: World) -> None:
    world.create(TOPIC, (1, 2))
    world.settle()
    world.kill(2)
    world.fence(2)
    world.settle()
    world.boot(2)
    leader = world.brokers[1].partition(TP)
    world.until(lambda: leader.pending is not None, step_ms=0.02)
    # It begins yet another life before the controller has decided.
    world.kill(2)
    world.boot(2)
    world.until(lambda: bool(world.decisions))
    decided = [error for _, error in world.decisions]
    assert Errors.INELIGIBLE_REPLICA in decided or Errors.INVALID_UPDATE_VERSION in decided
    world.settle(1_000)
    assert isr(world) == (1, 2)
    assert leader.pending is None
    last, error = world.decisions[-1]
    assert error == Errors.NONE
    assert {one.broker_id: one.broker_epoch for one in last.new_isr_with_epochs} == {1: world.brokers[1].epoch, 2: world.brokers[2].epoch}


def test_r9_kip_903_of_a_member_that_has_not_fetched_no_epoch_is_told(world: World) -> None:
    world.create(TOPIC, (1, 2, 3))
    world.settle()
    world.sever(1, 2)
    world.sever(2, 3)
    # The new leader has heard of nobody yet when one of the others must leave.
    world.elect(TOPIC, 0, 2)
    world.settle(5)
    assert world.produce(2, TOPIC, b"a", acks=1).error == Errors.NONE
    world.until(lambda: bool(world.decisions))
    asked, error = world.decisions[0]
    assert error == Errors.NONE
    assert {one.broker_id: one.broker_epoch for one in asked.new_isr_with_epochs} == {2: world.brokers[2].epoch}
    world.mend()
    world.settle(2_000)
    assert isr(world) == (1, 2, 3)


@pytest.mark.parametrize("change", [{"fenced": 1}, {"in_controlled_shutdown": 1}])
def test_kip_841_who_is_fenced_or_shutting_down_does_not_join_and_is_not_waited_for(world: World, change: dict[str, int]) -> None:
    world.create(TOPIC, (1, 2, 3))
    world.settle()
    world.kill(3)
    world.fence(3)
    world.settle()
    world.sever(1, 3)
    world.boot(3)
    world.settle()
    leader = world.brokers[1].partition(TP)
    epoch = world.brokers[3].epoch
    world.commit(BrokerRegistrationChangeRecord(broker_id=3, broker_epoch=epoch, **change))
    world.settle()
    decided = len(world.decisions)
    follower_fetch(world, 3, 0, epoch=0)
    assert leader.pending is None
    answer = world.produce(1, TOPIC, b"a")
    world.until(lambda: answer.is_settled, 500)
    assert answer.error == Errors.NONE
    assert len(world.decisions) == decided
    # A new life ends either.
    world.mend()
    world.kill(3)
    world.boot(3)
    world.settle(1_000)
    assert isr(world) == (1, 2, 3)


# --- R12, R13 ----------------------------------------------------------------------------------------


def idempotent(world: World, sequence: int, value: bytes, producer_id: int = 7, epoch: int = 0) -> bytes:
    return build_batch(
        [Written(0, world.clock.wall_ms(), None, value)], producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence
    )


def test_r12_kip_320_after_an_unclean_election_tails_are_cut_and_producers_known(world: World) -> None:
    world.create(TOPIC, (1, 2, 3))
    world.settle()
    for sequence in range(3):
        answer = world.produce(1, TOPIC, batch=idempotent(world, sequence, b"both %d" % sequence))
        world.until(lambda answer=answer: answer.is_settled)  # type: ignore[misc]
    world.sever(1, 2)
    world.sever(1, 3)
    # Two more that only the leader has.
    for sequence in (3, 4):
        world.produce(1, TOPIC, acks=1, batch=idempotent(world, sequence, b"only 1"))
    world.kill(1)
    world.mend()
    world.elect(TOPIC, 0, 2, isr=(2,))
    world.settle()
    # The new leader knows the producer up to what it has: the next in order is 3.
    assert world.produce(2, TOPIC, batch=idempotent(world, 5, b"gap")).error == Errors.OUT_OF_ORDER_SEQUENCE_NUMBER
    after = world.produce(2, TOPIC, batch=idempotent(world, 3, b"after"))
    # A consumer that had read further hears that this is not there.
    assert world.fetch(2, TOPIC, 5, max_wait=0).error == Errors.OFFSET_OUT_OF_RANGE
    ahead = world.fetch(2, TOPIC, 5, max_wait=0, last_fetched_epoch=0).first.diverging_epoch
    assert (ahead.epoch, ahead.end_offset) == (0, 3)
    world.boot(1)
    world.settle(2_000)
    assert after.error == Errors.NONE
    assert world.values(1, TOPIC) == world.values(2, TOPIC) == world.values(3, TOPIC) == [b"both 0", b"both 1", b"both 2", b"after"]
    # And the one that was cut counts its producers' sequences from there, too.
    world.elect(TOPIC, 0, 1, isr=(1, 2, 3))
    world.settle()
    assert world.produce(1, TOPIC, batch=idempotent(world, 5, b"gap")).error == Errors.OUT_OF_ORDER_SEQUENCE_NUMBER
    again = world.produce(1, TOPIC, batch=idempotent(world, 3, b"after"))
    world.until(lambda: again.is_settled)
    assert (again.error, again.first.base_offset) == (Errors.NONE, 3)


@pytest.mark.parametrize("loses_snapshots", [False, True])
def test_r13_kip_360_a_retry_after_failover_and_restart_is_answered_with_its_first_offset(world: World, loses_snapshots: bool) -> None:
    world.create(TOPIC, (1, 2))
    world.settle()
    write(world, 1, b"before")
    batches = [idempotent(world, sequence, b"%d" % sequence) for sequence in range(4)]
    for batch in batches[:3]:
        answer = world.produce(1, TOPIC, batch=batch)
        world.until(lambda answer=answer: answer.is_settled)  # type: ignore[misc]
    # The last one is appended everywhere; its acknowledgement never comes, for the leader dies.
    unheard = world.produce(1, TOPIC, batch=batches[3])
    world.until(lambda: world.ends(TOPIC)[2][1] == 5)
    world.kill(1)
    assert unheard.count <= 1
    world.kill(2)
    if loses_snapshots:
        for path in (world.path / "2" / f"{TOPIC}-0").glob("*.snapshot"):
            path.unlink()
    come_back(world, 2)
    world.elect(TOPIC, 0, 2, isr=(2,))
    world.settle()
    retried = world.produce(2, TOPIC, batch=batches[3])
    world.until(lambda: retried.is_settled)
    assert (retried.error, retried.first.base_offset) == (Errors.NONE, 4)
    assert world.values(2, TOPIC) == [b"before", b"0", b"1", b"2", b"3"]
    assert world.produce(2, TOPIC, batch=idempotent(world, 5, b"gap")).error == Errors.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert world.produce(2, TOPIC, batch=idempotent(world, 4, b"next")).error == Errors.NONE


# --- R19: what coordinators are told -------------------------------------------------------------------


def test_r19_kafka_20634_a_coordinators_write_is_not_acknowledged_by_another_leaders_records(world: World) -> None:
    world.create(TOPIC, (1, 2, 3))
    world.settle()
    world.sever(1, 2)
    world.sever(1, 3)
    told: list[tuple[Errors | None, int]] = []
    world.brokers[1].manager.append_internal(TP, world.batch(b"commit"), lambda error, offset: told.append((error, offset)))
    assert told == []
    world.elect(TOPIC, 0, 2, isr=(2, 3))
    world.settle(10)
    # It hears that it leads no longer before it copies anything: nothing of its own is waited for then.
    assert told == [(Errors.NOT_LEADER_OR_FOLLOWER, 0)]
    world.mend()
    for value in (b"x", b"y", b"z"):
        write(world, 2, value)
    world.settle(2_000)
    # The offset of the lost write is committed meanwhile, with another record.
    assert world.ends(TOPIC)[1] == (3, 3)
    assert world.values(1, TOPIC) == [b"x", b"y", b"z"]
    assert len(told) == 1


def test_r19_the_coordinator_resigns_in_the_same_turn_in_which_its_writes_fail(world: World) -> None:
    world.create(TOPIC, (1, 2))
    world.settle()
    world.sever(1, 2)
    order: list[str] = []

    class Listener:
        def on_leader(self, tp: TopicPartition, leader_epoch: int) -> None:
            order.append("leads")

        def on_resigned(self, tp: TopicPartition) -> None:
            order.append("resigned")

    world.brokers[1].manager.add_leadership_listener(Listener())
    world.brokers[1].manager.append_internal(TP, world.batch(b"commit"), lambda error, offset: order.append(f"failed at {offset}"))
    world.elect(TOPIC, 0, 2, isr=(2,))
    world.settle(10)
    assert order == ["leads", "failed at 0", "resigned"]


def test_r19_a_new_coordinator_waits_until_what_it_has_read_is_committed(world: World) -> None:
    world.create(TOPIC, (1, 2, 3))
    world.settle()
    write(world, 1, b"a")
    world.sever(2, 3)
    world.sever(2, 1)
    world.elect(TOPIC, 0, 2)
    world.settle(5)
    told: list[Errors | None] = []
    manager = world.brokers[2].manager
    manager.when_committed(TP, told.append)
    # It has the record, and cannot know yet whether the others do.
    assert told == []
    world.mend()
    world.until(lambda: bool(told), 1_500)
    assert told == [None]
    manager.when_committed(TP, told.append)
    assert told == [None, None]
    world.sever(2, 3)
    world.sever(2, 1)
    world.produce(2, TOPIC, b"b")
    manager.when_committed(TP, told.append)
    world.elect(TOPIC, 0, 1, isr=(1, 3))
    world.settle()
    manager.when_committed(TP, told.append)
    assert told == [None, None, Errors.NOT_LEADER_OR_FOLLOWER, Errors.NOT_LEADER_OR_FOLLOWER]


# --- more rules ------------------------------------------------------------------------------------------


def test_a_reassignment_that_only_adds_is_known_when_its_answer_came_before_the_metadata(world: World) -> None:
    world.create(TOPIC, (1, 2), configs={"min.insync.replicas": "3"})
    world.settle()
    leader = world.brokers[1].partition(TP)
    # min.insync.replicas is never more than there are replicas.
    assert leader.min_isr == 2
    topic_id = world.topic_ids[TOPIC]
    before = world.image.partition(TOPIC, 0)
    assert before is not None
    # The controller's answer to a change of ours comes first, and says nothing of the replicas.
    leader.isr_decided((1, 2), before.leader_epoch, before.partition_epoch + 1, world.clock.now_ms())
    world.commit(PartitionChangeRecord(partition_id=0, topic_id=topic_id, replicas=(1, 2, 3)))
    world.settle()
    assert leader.replicas == (1, 2, 3)
    assert set(leader.remotes) == {2, 3}
    assert leader.min_isr == 3


def test_kip_966_nothing_is_committed_below_min_isr_whatever_acks(world: World) -> None:
    world.create(TOPIC, (1, 2, 3), configs={"min.insync.replicas": "2"})
    world.settle()
    for node_id in (2, 3):
        world.kill(node_id)
        world.fence(node_id)
    world.settle()
    for acks in (0, 1):
        world.produce(1, TOPIC, b"x", acks=acks)
    assert world.ends(TOPIC)[1] == (0, 2)
    reader = world.fetch(1, TOPIC, 0, max_wait=100)
    world.settle(200)
    assert (reader.error, reader.first.records) == (Errors.NONE, b"")
    assert world.list_offsets(1, TOPIC, -1).first.offset == 0


def test_kafka_18723_batches_of_a_later_epoch_are_left_out(world: World) -> None:
    world.create(TOPIC, (1, 2))
    world.settle()
    world.sever(1, 2)
    follower = world.brokers[2].partition(TP)

    def stamped(offset: int, epoch: int) -> bytes:
        return build_batch([Written(offset, 0, None, b"v")], base_offset=offset, leader_epoch=epoch)

    info = follower.append_as_follower(stamped(0, 0) + stamped(1, 1) + stamped(2, 0), 3, 0)
    assert (info.last_offset, follower.log.log_end_offset) == (0, 1)
    assert follower.high_watermark == 1


def test_kip_392_a_follower_serves_consumers_up_to_the_high_watermark_that_it_knows(make_world: Callable[..., World]) -> None:
    world = make_world(racks={1: "a", 2: "b", 3: "c"})
    world.create(TOPIC, (1, 2))
    world.settle()
    write(world, 1, b"a")
    known, end = world.ends(TOPIC)[2]
    assert (known, end) == (0, 1)
    early = world.fetch(2, TOPIC, 0, max_wait=2_000)
    assert not early.is_settled
    # The next answer of the leader brings the high watermark, and that wakes the consumer.
    world.until(lambda: early.is_settled, 1_000)
    assert (early.error, early.first.high_watermark, bool(early.first.records)) == (Errors.NONE, 1, True)
    # Beyond the committed end but within the log: nothing yet. Beyond the log: out of range.
    world.sever(1, 2)
    beyond = world.fetch(2, TOPIC, 1, max_wait=0)
    assert (beyond.error, beyond.first.records) == (Errors.NONE, b"")
    assert world.fetch(2, TOPIC, 2, max_wait=0).error == Errors.OFFSET_OUT_OF_RANGE
