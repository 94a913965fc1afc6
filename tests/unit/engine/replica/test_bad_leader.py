"""A follower whose leader says what cannot be: it goes on with everything else, and with that partition when it has another leader."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import API_SPECS, ApiKey
from kafkalab.engine.record.batch import Record, build_batch
from tests.unit.engine.replica.world import World

LONG_MIN, LONG_MAX = -(1 << 63), (1 << 63) - 1
INT_MIN, INT_MAX = -(1 << 31), (1 << 31) - 1
GARBAGE_ROUNDS = 300

Change = Callable[[Any], None]


class LyingLeader:
    """Broker 1, whose answers to broker 2 can be changed on their way."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.changes: dict[ApiKey, Change] = {}
        self.asked: list[ApiKey] = []
        inner = world.carry

        def carry(sender: Any, node_id: int, api_key: ApiKey, body: Any, on_response: Any) -> None:
            def answered(response: Any) -> None:
                change = self.changes.get(api_key)
                if change is not None and response is not None and node_id == 1:
                    response = thawed(response)
                    change(response)
                    response = over_the_wire(api_key, response)
                on_response(response)

            if sender.node_id == 2 and node_id == 1:
                self.asked.append(api_key)
            inner(sender, node_id, api_key, body, answered if sender.node_id == 2 else on_response)

        world.carry = carry  # type: ignore[method-assign]

    def says(self, **fields: Any) -> None:
        """With each fetch of the first topic, until it is told to be honest."""

        def change(response: Any) -> None:
            for topic in response.responses:
                for row in topic.partitions:
                    if topic.topic_id == self.world.topic_ids["orders"]:
                        vars(row).update(fields)

        self.changes[ApiKey.FETCH] = change
        # An answer to a full request tells of every partition.
        self.world.brokers[2].manager._fetchers.leader_began_anew(1)

    def is_honest(self) -> None:
        self.changes.clear()


def thawed(value: Any) -> Any:
    """A copy of a decoded message that can be changed."""
    if isinstance(value, tuple):
        return tuple(map(thawed, value))
    if hasattr(value, "__slots__") and type(value).__module__.startswith("kafkalab"):
        return SimpleNamespace(**{name: thawed(getattr(value, name)) for name in value.__slots__})
    return value


def over_the_wire(api_key: ApiKey, response: Any) -> Any:
    """What arrives; None where it cannot even be said."""
    version = API_SPECS[api_key].max_version
    try:
        return codec.decode_response(api_key, version, codec.encode_response_body(api_key, version, as_body(response)))
    except (struct.error, AttributeError):
        return None


def as_body(value: Any) -> Any:
    if isinstance(value, tuple):
        return [as_body(one) for one in value]
    return {name: as_body(field) for name, field in vars(value).items()} if isinstance(value, SimpleNamespace) else value


@pytest.fixture
def liar(world: World) -> LyingLeader:
    """Broker 1 leads both topics; broker 2 has four records of the first, and knows that they are committed."""
    liar = LyingLeader(world)
    world.create("orders", (1, 2, 3))
    world.create("parcels", (1, 2, 3))
    world.settle(300)
    for number in range(4):
        world.produce(1, "orders", b"%d" % number)
        world.settle(20)
    world.until(lambda: world.ends("orders")[2] == (4, 4))
    return liar


def goes_on(world: World) -> None:
    """Everything else is copied all the same, and so is that partition from its next leader."""
    answer = world.produce(1, "parcels", b"x")
    world.until(lambda: answer.is_settled, limit_ms=40_000)
    assert answer.error == Errors.NONE
    world.until(lambda: world.ends("parcels")[2][1] == world.ends("parcels")[1][1], limit_ms=40_000)
    world.elect("orders", 0, 3)
    world.settle(100)
    world.produce(3, "orders", b"new")
    world.until(lambda: world.values(2, "orders") == world.values(3, "orders"), limit_ms=40_000)


def diverging(epoch: int, end_offset: int) -> SimpleNamespace:
    return SimpleNamespace(epoch=epoch, end_offset=end_offset)


@pytest.mark.expects_warnings
def test_a_leader_may_have_less_than_what_was_committed(world: World, liar: LyingLeader, caplog: pytest.LogCaptureFixture) -> None:
    liar.says(diverging_epoch=diverging(0, 1), records=b"")
    world.until(lambda: world.ends("orders")[2] == (1, 1))
    assert "orders-0 is cut at 1, below its high watermark 4" in caplog.text
    liar.is_honest()
    world.until(lambda: world.ends("orders")[2] == (4, 4))
    assert world.values(2, "orders") == world.values(1, "orders")
    goes_on(world)


@pytest.mark.expects_warnings
def test_a_log_is_cut_before_its_start_where_the_leaders_ends_before_it(world: World, liar: LyingLeader) -> None:
    answer = world.brokers[1].handle(
        ApiKey.DELETE_RECORDS, {"timeout": 1_000, "topics": [{"name": "orders", "partitions": [{"partition_index": 0, "offset": 3}]}]}, 2
    )
    world.until(lambda: answer.is_settled)
    follower = world.brokers[2].partition(("orders", 0))
    assert follower.log.log_start_offset == 3
    liar.says(diverging_epoch=diverging(0, 1), records=b"")
    world.until(lambda: world.ends("orders")[2] == (1, 1))
    assert follower.log.log_start_offset == 1
    liar.is_honest()
    # Now it is the leader's log that begins after the end of this one.
    world.until(lambda: world.ends("orders")[2] == (4, 4), limit_ms=40_000)
    assert follower.log.log_start_offset == 3
    goes_on(world)


@pytest.mark.expects_warnings
@pytest.mark.parametrize("end_offset", [-2, LONG_MIN])
def test_a_log_that_ends_before_offset_0_is_not_followed(
    world: World, liar: LyingLeader, end_offset: int, caplog: pytest.LogCaptureFixture
) -> None:
    liar.says(diverging_epoch=diverging(0, end_offset), records=b"")
    world.settle(600)
    assert "orders-0 is not copied any more until it has another leader epoch" in caplog.text
    assert world.ends("orders")[2] == (4, 4)
    goes_on(world)


def batch(offset: int, *values: bytes, epoch: int = 0, **fields: Any) -> bytes:
    return build_batch(
        [Record(offset + i, 0, None, value) for i, value in enumerate(values)], base_offset=offset, leader_epoch=epoch, **fields
    )


def long_batch(offset: int, last_offset_delta: int) -> bytes:
    """As compaction leaves them: fewer records than offsets."""
    from crc32c import crc32c

    data = bytearray(batch(offset, b"x"))
    data[23:27] = last_offset_delta.to_bytes(4, "big", signed=True)
    data[17:21] = crc32c(bytes(data[21:])).to_bytes(4, "big")
    return bytes(data)


UNEXPECTED = {
    "what is here already": batch(2, b"x"),
    "a batch that spans the end": long_batch(3, 5),
    "the same batch twice": batch(4, b"x") * 2,
    "going back": batch(4, b"x", b"y") + batch(5, b"z"),
    "before offset 0": batch(-9, b"x"),
    "beyond the last offset": batch(LONG_MAX - 1, b"x", b"y"),
}


@pytest.mark.expects_warnings
@pytest.mark.parametrize("kind", UNEXPECTED)
def test_records_that_do_not_follow_the_log_end_are_asked_for_no_more(
    world: World, liar: LyingLeader, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    liar.says(records=UNEXPECTED[kind])
    world.produce(1, "orders", b"4")
    world.settle(600)
    assert "orders-0 is not copied any more until it has another leader epoch" in caplog.text
    assert world.values(2, "orders")[:4] == [b"0", b"1", b"2", b"3"]
    goes_on(world)


CORRUPT = {
    "a byte": b"\x00",
    "a wrong checksum": batch(4, b"x")[:-1] + b"\x7f",
    "a length below zero": bytes(8) + b"\xff" * 4 + bytes(49),
    "a last offset before the first": long_batch(4, -1),
    "another format": bytes(16) + b"\x01" + bytes(60),
}


@pytest.mark.expects_warnings
@pytest.mark.parametrize("kind", CORRUPT)
def test_corrupt_records_are_asked_for_again(world: World, liar: LyingLeader, kind: str) -> None:
    liar.says(records=CORRUPT[kind])
    world.produce(1, "orders", b"4")
    world.settle(600)
    assert world.values(2, "orders") == [b"0", b"1", b"2", b"3"]
    liar.is_honest()
    world.until(lambda: world.ends("orders")[2][1] == 5, limit_ms=40_000)
    assert world.values(2, "orders") == world.values(1, "orders")


def test_offsets_that_cannot_be_are_not_believed(world: World, liar: LyingLeader) -> None:
    for offset in (LONG_MIN, -1, LONG_MAX):
        liar.says(high_watermark=offset, log_start_offset=offset, last_stable_offset=offset)
        world.produce(1, "parcels", b"x")
        world.settle(700)
        follower = world.brokers[2].partition(("orders", 0))
        assert (follower.high_watermark, follower.log.log_end_offset) == (4, 4)
        assert 0 <= follower.log.log_start_offset <= 4


def test_what_a_full_answer_leaves_out_is_asked_for_again(world: World, liar: LyingLeader) -> None:
    def leave_out(response: Any) -> None:
        response.responses = ()

    liar.says()
    liar.changes[ApiKey.FETCH] = leave_out
    world.produce(1, "orders", b"4")
    world.settle(500)
    count = len(liar.asked)
    world.settle(5_000)
    assert 2 <= len(liar.asked) - count < 12, "ever more slowly"
    liar.is_honest()
    world.until(lambda: world.ends("orders")[2][1] == 5, limit_ms=40_000)


@pytest.mark.parametrize("offset", [LONG_MIN, -1, 4])
def test_a_leader_that_contradicts_itself_is_not_asked_without_end(world: World, liar: LyingLeader, offset: int) -> None:
    def every(response: Any) -> None:
        for topic in response.topics:
            for row in topic.partitions:
                row.offset = offset

    liar.says(error_code=int(Errors.OFFSET_OUT_OF_RANGE))
    liar.changes[ApiKey.LIST_OFFSETS] = every
    world.produce(1, "orders", b"4")
    world.settle(500)
    count = len(liar.asked)
    world.settle(1_000)
    assert len(liar.asked) - count < 40
    assert world.ends("orders")[2] == (4, 4)
    liar.is_honest()
    world.until(lambda: world.ends("orders")[2][1] == 5, limit_ms=40_000)


def another(rng: Random, number: int) -> int:
    edges = (LONG_MIN, LONG_MAX) if rng.random() < 0.02 else (INT_MIN, INT_MAX) if rng.random() < 0.2 else ()
    return rng.choice((*edges, -2, -1, 0, 1, 2, 3, 5, 99, number - 1, number + 1, rng.randrange(-1_000, 1_000)))


def spoilt(value: Any, rng: Random, share: float) -> Any:
    """A message of which some fields say something else, and some rows are missing or told twice."""
    if isinstance(value, tuple):
        rows = [spoilt(one, rng, share) for one in value if rng.random() >= share / 4]
        if rows and rng.random() < share:
            rows.append(rng.choice(rows))
        return tuple(rows)
    if isinstance(value, SimpleNamespace):
        for name, field in vars(value).items():
            setattr(value, name, spoilt(field, rng, share))
        return value
    if rng.random() >= share:
        return value
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return another(rng, value)
    if isinstance(value, bytes) or value is None:
        kinds = [*UNEXPECTED.values(), *CORRUPT.values(), b"", rng.randbytes(rng.randrange(100))]
        return rng.choice(kinds)
    return value


def answers(rng: Random) -> Iterator[float]:
    while True:
        yield rng.choice((0.0, 0.02, 0.1, 0.4))


@pytest.mark.expects_warnings
@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_leader_answers_the_follower_lives_and_catches_up_with_the_next(world: World, liar: LyingLeader, seed: int) -> None:
    rng = Random(seed)
    share = answers(rng)

    def spoil(response: Any) -> None:
        spoilt(response, rng, next(share))

    for api_key in (ApiKey.FETCH, ApiKey.LIST_OFFSETS):
        liar.changes[api_key] = spoil
    for _ in range(GARBAGE_ROUNDS):
        world.produce(1, "orders", b"x", acks=1)
        world.settle(rng.choice((1, 5, 20, 100)))
    liar.is_honest()
    world.elect("orders", 0, 3)
    world.settle(100)
    world.produce(3, "orders", b"new", acks=1)
    world.until(lambda: world.ends("orders")[2][1] == world.ends("orders")[3][1], limit_ms=60_000)


@pytest.mark.expects_warnings
@pytest.mark.parametrize("seed", range(3))
def test_whatever_a_controller_answers_to_isr_changes_the_leader_serves(world: World, liar: LyingLeader, seed: int) -> None:
    rng = Random(seed)
    honest = world._alter

    def alter(request: Any) -> dict[str, Any]:
        answer = spoilt(thawed_body(honest(request)), rng, rng.choice((0.0, 0.1, 0.5)))
        try:
            codec.encode_response_body(ApiKey.ALTER_PARTITION, 3, as_body(answer))
        except (struct.error, AttributeError):
            return {"error_code": 9_999, "topics": ()}
        return dict(as_body(answer))

    world._alter = alter  # type: ignore[method-assign]
    for _ in range(20):
        world.sever(1, rng.choice((2, 3)))
        world.settle(rng.choice((500, 45_000)))
        world.mend()
        world.produce(1, "orders", b"x")
        world.settle(rng.choice((50, 1_000)))
    world._alter = honest  # type: ignore[method-assign]
    goes_on(world)


def thawed_body(value: Any) -> Any:
    if isinstance(value, dict):
        return SimpleNamespace(**{name: thawed_body(field) for name, field in value.items()})
    return tuple(map(thawed_body, value)) if isinstance(value, list | tuple) else value
