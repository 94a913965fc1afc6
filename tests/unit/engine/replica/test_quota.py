"""Limits on how fast replicas are copied (KIP-73)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.replica.quota import FOLLOWER_REPLICAS, LEADER_REPLICAS, ReplicationQuota, ReplicationQuotas
from tests.unit.engine.replica.world import World

TOPIC = "orders"
KILOBYTE = b"x" * 1_000
RATE = 20_000
LAG_MS = 2_000


# --- the counting --------------------------------------------------------------------------------


def quota(clock: ManualClock, limit: int = 1_000, samples: int = 3) -> ReplicationQuota:
    return ReplicationQuota(clock, lambda: limit, sample_count=samples, sample_ms=1_000.0)


def test_the_rate_is_the_sum_of_the_samples_over_their_time() -> None:
    clock = ManualClock()
    counted = quota(clock)
    assert counted.rate() == 0
    counted.record(3_000)
    # In less than a sample's time it counts as if that were over, as in Kafka's SimpleRate.
    assert counted.rate() == 3_000
    clock.advance(500)
    assert counted.rate() == 3_000
    clock.advance(1_500)
    assert counted.rate() == 1_500
    counted.record(1_000)
    assert counted.rate() == 2_000
    clock.advance(1_000)
    # The first sample is three seconds old, and gone.
    assert counted.rate() == 1_000


def test_it_is_exceeded_above_its_limit_and_tells_when_that_ends() -> None:
    clock = ManualClock()
    counted = quota(clock, samples=11)
    counted.record(1_000)
    assert not counted.is_exceeded()
    assert counted.wait_ms() == 0
    counted.record(1_500)
    assert counted.is_exceeded()
    assert counted.wait_ms() == 2_500
    clock.advance(2_500)
    assert not counted.is_exceeded()
    # However much it was: with its sample it is forgotten.
    counted.record(1_000_000)
    assert counted.wait_ms() < 11_000


def test_a_limit_of_nothing_lets_nothing_through_while_something_is_remembered() -> None:
    clock = ManualClock()
    counted = quota(clock, limit=0)
    counted.record(1)
    assert counted.wait_ms() == 3_000
    clock.advance(3_000)
    assert counted.wait_ms() == 0


def test_topics_name_the_replicas_that_are_held_back() -> None:
    quotas = ReplicationQuotas(ManualClock(), BrokerConfig())
    assert not quotas.leader
    quotas.topic_configured("a", {LEADER_REPLICAS: "0:1, 2:1,1:2", FOLLOWER_REPLICAS: "*"}, 1)
    assert [index for index in range(4) if ("a", index) in quotas.leader] == [0, 2]
    assert ("a", 77) in quotas.follower
    assert ("b", 0) not in quotas.follower
    quotas.topic_configured("a", {LEADER_REPLICAS: "1:2"}, 1)
    assert not quotas.leader
    assert not quotas.follower
    quotas.topic_configured("a", {FOLLOWER_REPLICAS: "*"}, 1)
    quotas.forget("a")
    assert not quotas.follower


# --- copying --------------------------------------------------------------------------------------


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world(
        config={
            "replica.lag.time.max.ms": str(LAG_MS),
            "replica.fetch.response.max.bytes": "4000",
            "replica.fetch.max.bytes": "4000",
        }
    )


def set_rate(world: World, node_id: int, key: str, rate: int) -> None:
    world.brokers[node_id].config.apply_dynamic({key: str(rate)}, {})


def behind(world: World, kilobytes: int = 200) -> None:
    """Broker 3 is back after having missed so much."""
    world.create(TOPIC, (1, 2, 3))
    world.settle(100)
    world.kill(3)
    world.fence(3)
    world.settle(20)
    for _ in range(kilobytes):
        answer = world.produce(1, TOPIC, KILOBYTE)
        world.until(lambda answer=answer: answer.is_settled)  # type: ignore[misc]


def copied(world: World) -> int:
    partition = world.brokers[3].manager.partition((TOPIC, 0))
    return 0 if partition is None else partition.log.log_end_offset


@pytest.mark.parametrize("side", ["leader", "follower"])
def test_who_comes_back_is_copied_to_no_faster_than_allowed(world: World, side: str) -> None:
    behind(world)
    world.boot(3)
    node_id = 1 if side == "leader" else 3
    set_rate(world, node_id, f"{side}.replication.throttled.rate", RATE)
    world.configure(TOPIC, f"{side}.replication.throttled.replicas", f"0:{node_id}")
    took = world.until(lambda: copied(world) == 200, 30_000, 10)
    # 200 records of a good kilobyte each at 20 kB/s.
    assert 9_000 < took < 13_000
    world.until(lambda: len(world.image.partition(TOPIC, 0).isr) == 3, 2_000)  # type: ignore[union-attr]


def test_without_a_list_nobody_is_held_back(world: World) -> None:
    behind(world)
    for node_id in (1, 3):
        for side in ("leader", "follower"):
            set_rate(world, node_id, f"{side}.replication.throttled.rate", RATE)
    world.configure(TOPIC, LEADER_REPLICAS, "1:1,0:2")
    world.boot(3)
    assert world.until(lambda: copied(world) == 200, 30_000, 10) < 1_000


def test_members_of_the_isr_get_all_they_want_and_what_they_get_counts(world: World) -> None:
    world.create(TOPIC, (1, 2), configs={LEADER_REPLICAS: "*", FOLLOWER_REPLICAS: "*"})
    world.settle(100)
    set_rate(world, 1, "leader.replication.throttled.rate", 1)
    set_rate(world, 2, "follower.replication.throttled.rate", 1)
    for _ in range(20):
        answer = world.produce(1, TOPIC, KILOBYTE)
        assert world.until(lambda answer=answer: answer.is_settled) < 50  # type: ignore[misc]
    assert world.image.partition(TOPIC, 0).isr == (1, 2)  # type: ignore[union-attr]
    assert world.brokers[1].manager.quotas.leader.rate() > 15_000
    assert world.brokers[2].manager.quotas.follower.rate() > 15_000


def test_a_limit_that_is_lifted_lets_the_rest_through_at_once(world: World) -> None:
    behind(world)
    world.boot(3)
    set_rate(world, 1, "leader.replication.throttled.rate", RATE)
    world.configure(TOPIC, LEADER_REPLICAS, "*")
    world.settle(2_000)
    assert 20 < copied(world) < 100
    world.configure(TOPIC, LEADER_REPLICAS, "")
    assert world.until(lambda: copied(world) == 200, 30_000, 10) < 1_500


def test_others_go_on_while_one_is_held_back(world: World) -> None:
    world.create(TOPIC, (1, 3), (1, 3))
    world.settle(100)
    world.kill(3)
    world.fence(3)
    world.settle(20)
    for index in (0, 1):
        for _ in range(100):
            world.produce(1, TOPIC, KILOBYTE, index=index)
    world.boot(3)
    set_rate(world, 3, "follower.replication.throttled.rate", 2_000)
    world.configure(TOPIC, FOLLOWER_REPLICAS, "0:3")
    world.until(lambda: world.ends(TOPIC, 1)[3][1] == 100, 1_500, 10)
    assert world.ends(TOPIC, 0)[3][1] < 60
