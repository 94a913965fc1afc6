"""Followers' sessions in which most partitions rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.replica.partition import Partition
from tests.unit.engine.replica.world import World

TOPIC = "wide"
LAG_MS = 2_000


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world(config={"replica.lag.time.max.ms": str(LAG_MS)})


def isr(world: World, index: int = 0) -> tuple[int, ...]:
    partition = world.image.partition(TOPIC, index)
    assert partition is not None
    return tuple(sorted(partition.isr))


def test_a_fetch_looks_at_what_has_happened_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.create(TOPIC, *[(1, 2)] * 50)
    world.settle(2_000)
    looked: list[int] = []
    note = Partition.note_follower_fetch

    def counted(partition: Partition, *args: Any) -> int:
        looked.append(partition.topic_partition.partition)
        return note(partition, *args)

    monkeypatch.setattr(Partition, "note_follower_fetch", counted)
    world.settle(2_000)
    assert looked == []
    answer = world.produce(1, TOPIC, b"a", index=7)
    world.until(lambda: answer.is_settled)
    world.settle(2_000)
    assert set(looked) == {7}
    assert len(looked) <= 3
    assert all(world.ends(TOPIC, index)[2] == (1, 1) if index == 7 else (0, 0) for index in (7, 8))


def test_who_rests_is_caught_up_until_something_is_written(world: World) -> None:
    world.create(TOPIC, (1, 2))
    world.settle(LAG_MS * 10)
    # It had everything with its last fetch, which was a moment ago: only from there on it lags.
    world.sever(1, 2)
    assert world.produce(1, TOPIC, b"a", acks=1).error == Errors.NONE
    world.settle(LAG_MS * 0.7)
    assert isr(world) == (1, 2)
    world.settle(LAG_MS * 2)
    assert isr(world) == (1,)


def test_one_who_rests_joins_when_the_change_before_his_is_decided(world: World) -> None:
    world.create(TOPIC, (1, 2, 3))
    world.settle()
    for node_id in (2, 3):
        world.kill(node_id)
        world.fence(node_id)
    world.settle()
    carry = world.carry_to_controller
    # The controller takes its time, and both followers are back long before it has decided about the first.
    world.carry_to_controller = lambda *args: world.clock.call_later(1_200, lambda: carry(*args)) and None  # type: ignore[method-assign]
    for node_id in (2, 3):
        world.boot(node_id)
    world.until(lambda: len(isr(world)) == 2, 5_000)
    world.until(lambda: len(isr(world)) == 3, 2_500)


def test_who_rests_hears_of_what_others_commit(world: World) -> None:
    world.create(TOPIC, (1, 2, 3))
    world.settle()
    world.sever(1, 3)
    world.produce(1, TOPIC, b"a", acks=1)
    world.settle(1_200)
    assert world.ends(TOPIC)[2] == (0, 1)
    world.until(lambda: isr(world) == (1, 2), LAG_MS * 3)
    world.until(lambda: world.ends(TOPIC)[2] == (1, 1), 600)


def test_who_rests_hears_of_what_a_slower_one_lets_commit(world: World) -> None:
    world.create(TOPIC, (1, 2, 3))
    world.settle()
    world.sever(1, 3)
    world.produce(1, TOPIC, b"a", acks=1)
    world.settle(1_200)
    assert world.ends(TOPIC)[2] == (0, 1)
    world.mend()
    world.until(lambda: world.ends(TOPIC)[1] == (1, 1), 1_500)
    assert isr(world) == (1, 2, 3)
    world.until(lambda: world.ends(TOPIC)[2] == (1, 1), 600)


def test_a_session_that_ends_leaves_nothing_behind(world: World) -> None:
    world.create(TOPIC, *[(1, 2)] * 5)
    world.settle(1_000)
    manager = world.brokers[1].manager
    for _ in range(3):
        world.brokers[2].manager._fetchers.leader_began_anew(1)
        world.settle(1_000)
    for session_id in list(manager.sessions._sessions):
        manager.sessions._end(session_id)
    assert all(not partition.tracked for partition in manager.partitions())
    # The follower begins a new one.
    answer = world.produce(1, TOPIC, b"a", index=3)
    world.until(lambda: answer.is_settled, 2_000)


def test_a_topic_that_goes_is_told_and_leaves_the_list(world: World) -> None:
    world.create(TOPIC, (1, 2))
    world.create("other", (1, 2))
    world.settle(1_000)
    partition = world.brokers[1].partition((TOPIC, 0))
    assert partition.tracked
    world.delete(TOPIC)
    world.settle(1_000)
    assert not partition.tracked
    (session,) = [one for one in world.brokers[1].manager.sessions._sessions.values() if one.replica_id == 2 and len(one.items) == 1]
    assert session.tracker is not None
    assert not session.tracker.dirty
    answer = world.produce(1, "other", b"a")
    world.until(lambda: answer.is_settled)
    assert answer.error == Errors.NONE


def test_another_brokers_session_is_nobodys_business(world: World) -> None:
    world.create(TOPIC, (1, 2, 3))
    world.settle(1_000)
    session = next(one for one in world.brokers[1].manager.sessions._sessions.values() if one.replica_id == 2)
    stranger = world.fetch(
        1,
        TOPIC,
        0,
        session_id=session.session_id,
        session_epoch=session.epoch,
        replica_state={"replica_id": 3, "replica_epoch": world.brokers[3].epoch},
    )
    assert stranger.body.error_code == Errors.FETCH_SESSION_ID_NOT_FOUND
