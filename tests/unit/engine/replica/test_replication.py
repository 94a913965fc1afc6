"""Leaders and followers together: what is acknowledged, what is visible, and what a failover keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.telemetry.events import FirstWriteAcknowledged, LogTruncated
from kafkalab.engine.telemetry.levels import ReplicaKey
from tests.unit.engine.replica.world import World


def test_acks_all_waits_for_every_replica_and_all_get_the_high_watermark(world: World) -> None:
    world.create("orders", (1, 2, 3))
    world.settle()
    answer = world.produce(1, "orders", b"a", b"b")
    assert not answer.is_settled
    took = world.until(lambda: answer.is_settled)
    assert answer.error == Errors.NONE
    assert answer.first.base_offset == 0
    assert took < 10
    assert world.values(2, "orders") == world.values(3, "orders") == [b"a", b"b"]
    world.settle(600)
    assert set(world.ends("orders").values()) == {(2, 2)}


def test_one_replica_commits_at_once(world: World) -> None:
    world.create("solo", (2,))
    world.settle()
    answer = world.produce(2, "solo", b"a")
    assert answer.error == Errors.NONE
    assert world.ends("solo") == {2: (1, 1)}


def test_a_new_topic_takes_writes_within_a_few_round_trips(world: World) -> None:
    world.create("warm", (1, 2, 3))
    world.settle(2_000)
    # Both followers now have a fetch waiting at broker 1 that knows nothing of the new topic.
    world.create("orders", (1, 2, 3))
    world.until(lambda: world.brokers[1].manager.partition(("orders", 0)) is not None)
    answer = world.produce(1, "orders", b"a")
    assert world.until(lambda: answer.is_settled) < 60
    assert answer.error == Errors.NONE


def test_acks_1_is_answered_by_the_leader_alone_and_seen_by_nobody_before_it_is_replicated(world: World) -> None:
    world.create("orders", (1, 2, 3))
    world.settle()
    world.sever(1, 2)
    world.sever(1, 3)
    answer = world.produce(1, "orders", b"a", acks=1)
    assert answer.error == Errors.NONE
    reader = world.fetch(1, "orders", 0)
    world.settle(600)
    assert reader.error == Errors.NONE
    assert not reader.first.records
    assert reader.first.high_watermark == 0
    world.mend()
    reader = world.fetch(1, "orders", 0)
    world.until(lambda: bool(world.ends("orders")[1][0] == 1))
    if not reader.first.records:
        reader = world.fetch(1, "orders", 0)
    assert reader.first.records


def test_a_waiting_produce_times_out(world: World) -> None:
    world.create("orders", (1, 2, 3))
    world.settle()
    world.sever(1, 2)
    answer = world.produce(1, "orders", b"a", timeout_ms=1_000)
    world.settle(999)
    assert not answer.is_settled
    world.settle(2)
    assert answer.error == Errors.REQUEST_TIMED_OUT
    world.mend()
    world.settle(2_000)
    assert world.ends("orders")[1] == (1, 1)


def test_isr_below_min_refuses_before_the_append_and_freezes_the_high_watermark(world: World) -> None:
    world.create("orders", (1, 2, 3), configs={"min.insync.replicas": "2"})
    world.settle()
    for node_id in (2, 3):
        world.kill(node_id)
        world.fence(node_id)
    world.settle()
    assert world.image.partition("orders", 0).isr == (1,)  # type: ignore[union-attr]
    answer = world.produce(1, "orders", b"a")
    assert answer.error == Errors.NOT_ENOUGH_REPLICAS
    assert answer.first.error_message == (
        "The size of the current ISR : 1 is insufficient to satisfy the min.isr requirement of 2 for partition orders-0, "
        "live replica(s) broker.id are : [1]"
    )
    assert world.produce(1, "orders", b"b", acks=1).error == Errors.NONE
    world.settle(1_000)
    assert world.ends("orders") == {1: (0, 1)}
    world.boot(2)
    world.settle(2_000)
    assert world.image.partition("orders", 0).isr == (1, 2)  # type: ignore[union-attr]
    assert world.ends("orders")[1] == (1, 1)


def test_isr_that_falls_below_min_after_the_append_answers_20(world: World) -> None:
    world.create("orders", (1, 2), configs={"min.insync.replicas": "2"})
    world.settle()
    partition = world.brokers[1].partition(("orders", 0))
    answer = world.produce(1, "orders", b"a")
    # The ISR shrinks while the record is on its way; then the setting lets the high watermark go on.
    world.kill(2)
    world.fence(2)
    world.settle()
    assert not answer.is_settled
    assert partition.isr == (1,)
    partition.min_isr = 2
    partition.isr = (1, 2)  # what a change under way to a smaller maximal ISR would look like to the check
    partition.maximal_isr = frozenset({1})
    partition.remotes[2].in_maximal_isr = False
    assert partition.maybe_advance_high_watermark(world.clock.now_ms())
    assert answer.error == Errors.NOT_ENOUGH_REPLICAS_AFTER_APPEND


def test_a_smaller_min_isr_lets_the_high_watermark_go_on(world: World) -> None:
    world.create("orders", (1, 2), configs={"min.insync.replicas": "2"})
    world.settle()
    world.kill(2)
    world.fence(2)
    world.settle()
    assert world.produce(1, "orders", b"a", acks=1).error == Errors.NONE
    assert world.ends("orders")[1] == (0, 1)
    world.configure("orders", "min.insync.replicas", "1")
    world.settle()
    assert world.ends("orders")[1] == (1, 1)


def test_losing_leadership_answers_those_who_wait(world: World) -> None:
    world.create("orders", (1, 2, 3))
    world.settle()
    world.sever(1, 2)
    waiting = world.produce(1, "orders", b"lost")
    reader = world.fetch(1, "orders", 0)
    world.elect("orders", 0, 3)
    world.settle()
    assert waiting.error == Errors.NOT_LEADER_OR_FOLLOWER
    assert waiting.first.current_leader.leader_id == 3
    assert waiting.body.node_endpoints[0].port == 9003
    assert reader.is_settled
    assert world.produce(1, "orders", b"x").error == Errors.NOT_LEADER_OR_FOLLOWER


def test_failover_keeps_what_was_acknowledged_and_cuts_what_was_not(world: World) -> None:
    world.create("orders", (1, 2, 3))
    world.settle()
    acked = world.produce(1, "orders", b"kept")
    world.until(lambda: acked.is_settled)
    world.sever(1, 2)
    world.sever(1, 3)
    lost = world.produce(1, "orders", b"lost", b"lost too")
    world.kill(1)
    world.mend()
    world.fence(1)
    assert world.leader_of("orders") == 2
    world.settle()
    assert not lost.is_settled
    after = world.produce(2, "orders", b"after")
    world.until(lambda: after.is_settled)
    assert after.error == Errors.NONE
    assert after.first.base_offset == 1
    world.boot(1)
    world.settle(3_000)
    assert world.values(1, "orders") == world.values(2, "orders") == world.values(3, "orders") == [b"kept", b"after"]
    (cut,) = world.brokers[1].sink.of(LogTruncated)
    assert (cut.from_offset, cut.to_offset) == (3, 1)
    assert "broker 2, the leader, ended leader epoch 0 at offset 1" in cut.cause
    assert sorted(world.image.partition("orders", 0).isr) == [1, 2, 3]  # type: ignore[union-attr]


def test_a_follower_with_an_old_high_watermark_loses_nothing_when_the_leader_dies(world: World) -> None:
    # KIP-101: the follower has the record and not yet the high watermark; it must not cut to it.
    world.create("orders", (1, 2))
    world.settle()
    acked = world.produce(1, "orders", b"a")
    world.until(lambda: acked.is_settled)
    world.kill(2)
    world.boot(2)
    world.kill(1)
    assert world.brokers[2].partition(("orders", 0)).log.log_end_offset == 1
    world.elect("orders", 0, 2, isr=(2,))
    world.settle()
    assert world.values(2, "orders") == [b"a"]
    reader = world.fetch(2, "orders", 0)
    world.settle()
    assert reader.first.records


def test_logs_do_not_diverge_over_unclean_elections(world: World) -> None:
    # KIP-279: several epochs without common records; pairs of epoch and end offset find the common point.
    world.create("orders", (1, 2))
    world.settle()
    for value in (b"m0", b"m1"):
        world.produce(1, "orders", value)
        world.settle()
    world.sever(1, 2)
    world.produce(1, "orders", b"only 1", acks=1)
    world.kill(1)
    world.elect("orders", 0, 2, isr=(2,))
    world.settle()
    world.produce(2, "orders", b"only 2", acks=1)
    world.produce(2, "orders", b"only 2 too", acks=1)
    world.kill(2)
    world.mend()
    world.boot(1)
    world.elect("orders", 0, 1, isr=(1,))  # unclean
    world.settle()
    world.produce(1, "orders", b"new", acks=1)
    world.boot(2)
    world.settle(3_000)
    assert world.values(1, "orders") == world.values(2, "orders") == [b"m0", b"m1", b"only 1", b"new"]
    assert world.ends("orders") == {1: (4, 4), 2: (4, 4)}


def test_elections_without_data_leave_no_follower_stuck(world: World) -> None:
    world.create("orders", (1, 2, 3))
    world.settle()
    for leader in (2, 3, 1, 2, 3, 1):
        world.elect("orders", 0, leader)
        world.settle(5)
    world.settle(500)
    answer = world.produce(1, "orders", b"a")
    world.until(lambda: answer.is_settled, 1_500)
    assert answer.error == Errors.NONE


def test_a_lagging_follower_leaves_the_isr_and_comes_back(make_world: Callable[..., World]) -> None:
    world = make_world(config={"replica.lag.time.max.ms": "2000"})
    world.create("orders", (1, 2, 3))
    world.settle()
    world.sever(1, 3)
    waiting = world.produce(1, "orders", b"a")
    took = world.until(lambda: waiting.is_settled, 10_000, 10)
    assert waiting.error == Errors.NONE
    assert 1_900 < took < 3_500
    assert world.image.partition("orders", 0).isr == (1, 2)  # type: ignore[union-attr]
    assert world.ends("orders")[1] == (1, 1)
    world.mend()
    world.settle(2_500)
    assert world.image.partition("orders", 0).isr == (1, 2, 3)  # type: ignore[union-attr]


def test_an_idle_follower_that_is_cut_off_stays_as_long_as_nothing_is_written(make_world: Callable[..., World]) -> None:
    world = make_world(config={"replica.lag.time.max.ms": "2000"})
    world.create("orders", (1, 2))
    world.settle()
    world.sever(1, 2)
    world.settle(10_000)
    assert world.image.partition("orders", 0).isr == (1, 2)  # type: ignore[union-attr]


@pytest.mark.parametrize("error", [Errors.INELIGIBLE_REPLICA, Errors.UNKNOWN_SERVER_ERROR, Errors.OPERATION_NOT_ATTEMPTED])
def test_a_refused_isr_change_is_tried_again(world: World, error: Errors) -> None:
    world.create("orders", (1, 2))
    world.settle()
    world.kill(2)
    world.fence(2)
    world.settle()
    world.alter_errors.append(error)
    world.boot(2)
    world.settle(2_000)
    assert error in [decided for _, decided in world.decisions]
    assert world.image.partition("orders", 0).isr == (1, 2)  # type: ignore[union-attr]
    assert world.brokers[1].partition(("orders", 0)).isr == (1, 2)


@pytest.mark.parametrize("seed", range(2, 6))
def test_all_followers_of_an_idle_partition_come_back_though_only_one_can_be_proposed_at_a_time(
    make_world: Callable[..., World], seed: int
) -> None:
    # Found by the simulator: the fetch of the second one was waiting when its turn came.
    world = make_world(brokers=4, seed=seed)
    world.create("orders", (1, 2, 3, 4))
    world.settle()
    for node_id in (2, 3, 4):
        world.kill(node_id)
        world.fence(node_id)
    world.settle()
    for node_id in (2, 3, 4):
        world.boot(node_id)
    world.settle(2_000)
    assert set(world.brokers[1].partition(("orders", 0)).isr) == {1, 2, 3, 4}


def test_a_pending_expansion_holds_the_high_watermark_back(world: World) -> None:
    world.create("orders", (1, 2))
    world.settle()
    world.kill(2)
    world.fence(2)
    world.settle()
    world.boot(2)
    leader = world.brokers[1].partition(("orders", 0))
    world.until(lambda: leader.pending is not None)
    assert leader.maximal_isr == {1, 2}
    assert leader.isr == (1,)
    world.sever(1, 2)
    answer = world.produce(1, "orders", b"a")
    assert not answer.is_settled
    assert leader.high_watermark == 0


def test_a_stale_isr_change_is_given_up_when_the_metadata_says_otherwise(world: World) -> None:
    world.create("orders", (1, 2))
    world.settle()
    world.kill(2)
    world.fence(2)
    world.settle()
    world.boot(2)
    leader = world.brokers[1].partition(("orders", 0))
    world.until(lambda: leader.pending is not None)
    world.elect("orders", 0, 1)
    world.settle(2_000)
    assert world.image.partition("orders", 0).isr == (1, 2)  # type: ignore[union-attr]
    assert leader.pending is None


def test_the_first_write_after_an_election_is_told_once(world: World) -> None:
    world.create("orders", (1, 2))
    world.settle()
    for value in (b"a", b"b"):
        world.produce(1, "orders", value, client_id="shop")
        world.settle()
    world.elect("orders", 0, 2)
    world.settle()
    world.produce(2, "orders", b"c", acks=1, client_id="shop")
    (first,) = world.brokers[1].sink.of(FirstWriteAcknowledged)
    assert (first.offset, first.leader_epoch, first.client_id) == (0, 0, "shop")
    (second,) = world.brokers[2].sink.of(FirstWriteAcknowledged)
    assert (second.offset, second.leader_epoch) == (2, 1)


def test_levels_tell_where_replicas_stand(world: World) -> None:
    world.create("orders", (1, 2))
    world.settle(100)
    world.produce(1, "orders", b"a")
    world.settle(700)
    mine = world.brokers[1].sink.levels[ReplicaKey(1, "orders", 0)]
    other = world.brokers[2].sink.levels[ReplicaKey(2, "orders", 0)]
    assert mine.is_leader and not other.is_leader
    assert mine.log_end_offset == other.log_end_offset == mine.high_watermark == other.high_watermark == 1
    assert mine.size_bytes == other.size_bytes > 0
    world.delete("orders")
    world.settle()
    assert not any(world.brokers[1].sink.levels.values())
    assert not any(world.brokers[2].sink.levels.values())


def test_a_clean_stop_leaves_the_high_watermarks_for_the_next_start(world: World) -> None:
    world.create("orders", (1, 2))
    world.settle()
    world.produce(1, "orders", b"a")
    world.settle(1_000)
    world.stop(2)
    world.settle()
    world.boot(2)
    assert world.brokers[2].partition(("orders", 0)).high_watermark == 1


def test_a_deleted_topic_is_gone_and_one_of_the_same_name_is_new(world: World) -> None:
    world.create("orders", (1, 2))
    world.settle()
    world.produce(1, "orders", b"a")
    waiting = world.fetch(1, "orders", 1)
    world.settle()
    world.kill(2)
    world.delete("orders")
    world.settle()
    assert waiting.is_settled
    assert world.produce(1, "orders", b"x", version=12).error == Errors.UNKNOWN_TOPIC_OR_PARTITION
    world.create("orders", (1, 2))
    world.settle()
    world.boot(2)
    world.settle(1_000)
    assert world.ends("orders") == {1: (0, 0), 2: (0, 0)}


def test_logs_that_no_topic_wants_any_more_go_at_the_start(world: World) -> None:
    world.create("orders", (1, 2))
    world.settle()
    world.kill(2)
    world.delete("orders")
    world.boot(2)
    world.settle()
    assert world.brokers[2].logs.get(TopicPartition("orders", 0)) is None


def test_coordinators_append_load_and_hear_of_leadership(world: World) -> None:
    tp = TopicPartition("__consumer_offsets", 0)
    heard: list[Any] = []

    class Listener:
        def on_leader(self, tp: TopicPartition, leader_epoch: int) -> None:
            heard.append(("leader", tp, leader_epoch))

        def on_resigned(self, tp: TopicPartition) -> None:
            heard.append(("resigned", tp))

    manager = world.brokers[1].manager
    manager.add_leadership_listener(Listener())
    world.create(tp.topic, (1, 2, 3))
    world.settle()
    assert heard == [("leader", tp, 0)]
    done: list[Any] = []
    for value in (b"a", b"b", b"c"):
        manager.append_internal(tp, world.batch(value), lambda error, offset: done.append((error, offset)))
    assert not done
    world.settle()
    assert done == [(None, 0), (None, 1), (None, 2)]
    assert len(b"".join(manager.read_committed_log(tp))) == manager.partition(tp).log.size_bytes  # type: ignore[union-attr]
    world.sever(1, 2)
    manager.append_internal(tp, world.batch(b"d"), lambda error, offset: done.append((error, offset)))
    world.elect(tp.topic, 0, 2)
    world.settle()
    assert done[3:] == [(Errors.NOT_LEADER_OR_FOLLOWER, 3)]
    assert heard[1:] == [("resigned", tp)]
    # A client has no business in it.
    assert world.produce(2, tp.topic, b"x").error == Errors.INVALID_TOPIC_EXCEPTION


def test_many_partitions_copy_in_one_session(world: World) -> None:
    world.create("wide", *[((i % 3) + 1, ((i + 1) % 3) + 1) for i in range(60)])
    world.settle(200)
    answers = [world.produce(world.leader_of("wide", i), "wide", b"%d" % i, index=i) for i in range(60)]
    world.settle(50)
    assert [answer.error for answer in answers] == [Errors.NONE] * 60
    # One session per follower and leader.
    assert [len(broker.manager.sessions) for broker in world.brokers.values()] == [1, 1, 1]


def test_a_replica_that_cannot_say_whose_it_is_says_so_from_now_on(world: World) -> None:
    world.create("orders", (1, 2, 3))
    world.settle(500)
    world.kill(2)
    file = world.path / "2" / "orders-0" / "partition.metadata"
    whose = file.read_bytes()
    file.unlink()
    world.boot(2)
    world.settle(500)
    assert file.read_bytes() == whose, "or it would be taken for a replica of the next topic of this name"


def test_what_lay_in_a_failed_directory_is_not_made_anew_though_the_metadata_does_not_know_where_it_was(world: World) -> None:
    # The controller may hear of the failure before it has written down where the replica was: it is "unassigned" then.
    world.create("orders", (1, 2))
    world.settle()
    answer = world.produce(1, "orders", b"a")
    world.until(lambda: answer.is_settled)
    tp = TopicPartition("orders", 0)
    manager = world.brokers[1].manager
    manager.directory_failed(world.brokers[1].partition(tp).log.directory.parent, [tp], "broken")
    world.elect("orders", 0, 1)
    world.settle()
    assert manager.partition(tp) is None
    assert world.produce(1, "orders", b"b").error == Errors.KAFKA_STORAGE_ERROR
    # Another topic of the same name has nothing to do with it.
    world.delete("orders")
    world.create("orders", (1, 2))
    world.settle()
    assert manager.partition(tp) is not None


def test_strays_are_set_aside_and_not_deleted(world: World) -> None:
    world.create("kept", (1, 2))
    world.create("gone", (1, 2))
    world.create("nameless", (2,))
    world.settle()
    for topic in ("kept", "gone"):
        answer = world.produce(1, topic, b"a record")
        world.until(lambda answer=answer: answer.is_settled)
    answer = world.produce(2, "nameless", b"a record")
    world.until(lambda: answer.is_settled)
    world.settle(600)
    world.kill(2)
    world.delete("gone")
    folder = world.path / "2"
    # What nobody says to be the topic's is not served as the topic's.
    (folder / "nameless-0" / "partition.metadata").unlink()
    world.boot(2)
    world.settle(200_000)
    names = sorted(path.name.partition(".")[0] + path.name[-6:] for path in folder.iterdir() if path.is_dir())
    assert names == ["gone-0-stray", "kept-0kept-0", "nameless-0-stray", "nameless-0less-0"]
    assert world.values(2, "kept") == [b"a record"] and world.values(2, "nameless") == []
