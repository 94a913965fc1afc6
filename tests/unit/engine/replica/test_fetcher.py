"""One fetcher against leaders that answer as the test wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.replica.manager import ReplicaManager
from tests.unit.engine.replica.world import World


class Wire:
    """Keeps what broker 2 sends, and answers by hand or as broker 1 would."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sent: list[tuple[ApiKey, Any]] = []
        self.faults: list[Any] = []
        inner = world.carry

        def carry(sender: Any, node_id: int, api_key: ApiKey, body: Any, on_response: Any) -> None:
            if sender.node_id == 2:
                self.sent.append((api_key, body))
                if self.faults:
                    fault = self.faults.pop(0)
                    life = sender.manager
                    world.clock.call_later(0.1, lambda: on_response(fault) if sender.manager is life else None)
                    return
            inner(sender, node_id, api_key, body, on_response)

        world.carry = carry  # type: ignore[method-assign]

    def fetches(self) -> list[Any]:
        return [body for key, body in self.sent if key is ApiKey.FETCH]


class Refused:
    """A whole fetch response that is an error."""

    def __init__(self, error: Errors) -> None:
        self.error_code = error


@pytest.fixture
def wire(world: World) -> Wire:
    return Wire(world)


def test_requests_say_only_what_changed(world: World, wire: Wire) -> None:
    world.create("orders", (1, 2), (1, 2))
    world.settle(1_200)
    full, *rest = wire.fetches()
    assert (full["session_id"], full["session_epoch"]) == (0, 0)
    assert [part["partition"] for part in full["topics"][0]["partitions"]] == [0, 1]
    assert full["replica_state"] == {"replica_id": 2, "replica_epoch": world.brokers[2].epoch}
    assert [body["session_epoch"] for body in rest] == list(range(1, len(rest) + 1))
    assert all(not body["topics"] for body in rest)
    count = len(wire.sent)
    world.produce(1, "orders", b"a", index=1)
    world.settle(10)
    (changed,) = wire.fetches()[count:]
    (part,) = changed["topics"][0]["partitions"]
    assert (part["partition"], part["fetch_offset"], part["last_fetched_epoch"]) == (1, 1, 0)


@pytest.mark.parametrize(
    "fault",
    [
        None,
        Refused(Errors.FETCH_SESSION_ID_NOT_FOUND),
        Refused(Errors.INVALID_FETCH_SESSION_EPOCH),
        Refused(Errors.FETCH_SESSION_TOPIC_ID_ERROR),
        Refused(Errors.UNKNOWN_SERVER_ERROR),
    ],
)
def test_after_a_failed_request_everything_is_asked_for_anew(world: World, wire: Wire, fault: Any) -> None:
    world.create("orders", (1, 2), (1, 2))
    world.settle(100)
    wire.faults = [fault]
    world.produce(1, "orders", b"a")
    world.settle(5)
    world.produce(1, "orders", b"b", index=1)
    world.settle(700)
    fulls = [body for body in wire.fetches() if body["session_epoch"] == 0]
    assert len(fulls) == 2
    assert [part["partition"] for part in fulls[1]["topics"][0]["partitions"]] == [0, 1]
    assert world.values(2, "orders") == [b"a"] and world.values(2, "orders", 1) == [b"b"]
    # The session that was given up does not stay with the leader.
    assert len(world.brokers[1].manager.sessions) <= 2


def test_an_unreachable_leader_is_tried_ever_more_slowly(world: World, wire: Wire) -> None:
    world.create("orders", (1, 2))
    world.settle(100)
    before = len(wire.sent)
    wire.faults = [None] * 1_000
    world.settle(20_000)
    assert 15 < len(wire.sent) - before < 40


def test_a_topic_that_goes_leaves_the_session(world: World, wire: Wire) -> None:
    world.create("one", (1, 2))
    world.create("two", (1, 2))
    world.settle(1_000)
    gone = world.topic_ids["one"]
    world.delete("one")
    world.settle(1_500)
    forgotten = [topic for body in wire.fetches() for topic in body["forgotten_topics_data"]]
    assert forgotten == [{"topic_id": gone, "partitions": [0]}]
    world.produce(1, "two", b"a")
    world.settle(10)
    assert world.values(2, "two") == [b"a"]


def test_when_nothing_is_left_nothing_is_asked(world: World, wire: Wire) -> None:
    world.create("one", (1, 2))
    world.settle(100)
    world.delete("one")
    world.settle(2_000)
    count = len(wire.sent)
    world.settle(5_000)
    assert len(wire.sent) == count
    world.create("two", (1, 2))
    world.settle(100)
    answer = world.produce(1, "two", b"a")
    world.settle(100)
    assert answer.error == Errors.NONE


def test_a_follower_out_of_range_starts_over_where_the_leader_does(world: World) -> None:
    world.create("orders", (1, 2))
    world.settle()
    for _ in range(3):
        world.produce(1, "orders", b"old")
        world.settle(10)
    world.kill(2)
    world.fence(2)
    world.settle()
    leader_log = world.brokers[1].partition(("orders", 0)).log
    leader_log.truncate_fully_and_start_at(10)
    world.produce(1, "orders", b"new")
    world.boot(2)
    world.settle(3_000)
    follower_log = world.brokers[2].partition(("orders", 0)).log
    assert (follower_log.log_start_offset, follower_log.log_end_offset) == (10, 11)
    assert world.values(2, "orders") == [b"new"]


def test_a_leader_that_began_a_new_life_is_asked_at_once(world: World, wire: Wire) -> None:
    world.create("orders", (1, 2))
    world.create("other", (2, 1))
    world.settle(100)
    world.kill(1)
    world.boot(1)
    world.elect("orders", 0, 1)
    world.settle(50)
    answer = world.produce(1, "orders", b"a")
    assert world.until(lambda: answer.is_settled) < 300
    assert answer.error == Errors.NONE


def test_more_partitions_than_a_response_holds_all_get_their_turn(make_world: Callable[..., World]) -> None:
    world = make_world(config={"replica.fetch.response.max.bytes": "2000", "replica.fetch.max.bytes": "2000"})
    world.create("wide", *[(1, 2)] * 10)
    world.settle(100)
    world.sever(1, 2)
    for index in range(10):
        for _ in range(10):
            world.produce(1, "wide", b"x" * 500, index=index, acks=1)
    world.mend()
    world.settle(2_500)
    assert all(world.ends("wide", index)[2][1] == 10 for index in range(10))


def test_metadata_of_former_lives_is_not_acted_upon(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.create("orders", (1, 2))
    world.settle()
    world.produce(1, "orders", b"a")
    world.settle()
    world.kill(2)
    ready: list[bool] = []
    init = ReplicaManager.__init__

    def gated(self: ReplicaManager, **more: Any) -> None:
        init(self, **more, is_caught_up=lambda image: bool(ready))

    monkeypatch.setattr(ReplicaManager, "__init__", gated)
    broker = world.brokers[2]
    broker.boot()
    for upto in range(1, len(world.metadata) + 1):
        # One record at a time: at first there is no topic at all.
        broker.learn(upto)
    assert not list(broker.manager.partitions())
    assert len(broker.logs.logs()) == 1
    ready.append(True)
    world.boot(2)
    world.settle(1_000)
    assert world.values(2, "orders") == [b"a"]


def test_a_clean_stop_answers_those_who_wait(world: World) -> None:
    world.create("orders", (1, 2))
    world.settle()
    world.sever(1, 2)
    waiting = world.produce(1, "orders", b"a")
    reader = world.fetch(1, "orders", 0)
    world.stop(1)
    assert waiting.error == reader.error == Errors.NOT_LEADER_OR_FOLLOWER
    assert (
        world.brokers[1]
        .handle(
            ApiKey.LIST_OFFSETS, {"replica_id": -1, "topics": [{"name": "orders", "partitions": [{"partition_index": 0, "timestamp": -1}]}]}
        )
        .error
        == Errors.NOT_LEADER_OR_FOLLOWER
    )


def test_a_follower_in_an_old_epoch_waits_for_the_metadata(world: World, wire: Wire) -> None:
    world.create("orders", (1, 2))
    world.settle(100)
    world.deaf.add(2)
    world.elect("orders", 0, 1)
    world.settle(600)
    before = len(wire.sent)
    # It was fenced once and asks no more: nothing that it could do alone would help.
    world.settle(10_000)
    assert len(wire.sent) == before
    world.hear_again(2)
    answer = world.produce(1, "orders", b"a")
    world.until(lambda: answer.is_settled, 1_000)
    assert answer.error == Errors.NONE


def test_several_fetchers_share_the_partitions_of_a_leader(make_world: Callable[..., World]) -> None:
    world = make_world(config={"num.replica.fetchers": "3"})
    wire = Wire(world)
    world.create("wide", *[(1, 2)] * 6)
    world.settle(100)
    fulls = [body for body in wire.fetches() if body["session_epoch"] == 0]
    parts = [sorted(part["partition"] for topic in body["topics"] for part in topic["partitions"]) for body in fulls]
    assert sorted(map(len, parts)) == [2, 2, 2]
    assert sorted(index for one in parts for index in one) == list(range(6))
    for index in range(6):
        world.produce(1, "wide", b"a", index=index)
    world.settle(50)
    # Fewer, while it runs: each goes on where it was.
    broker = world.brokers[2]
    broker.config.apply_dynamic({"num.replica.fetchers": "1"}, {})
    broker.manager.broker_config_changed()
    del wire.sent[:]
    for index in range(6):
        world.produce(1, "wide", b"b", index=index)
    world.settle(1_000)
    assert all(world.values(2, "wide", index) == [b"a", b"b"] for index in range(6))
    (full,) = [body for body in wire.fetches() if body["session_epoch"] == 0]
    assert sum(len(topic["partitions"]) for topic in full["topics"]) == 6
    assert world.image.partition("wide", 0).isr == (1, 2)  # type: ignore[union-attr]
