"""A member whose peer answers what cannot be: it goes on, or ends alone and says why; the others go on in any case."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import API_SPECS, ApiKey
from kafkalab.engine.raft.metadata_log import values_batch
from kafkalab.engine.raft.states import RaftState
from tests.unit.engine.raft.simulation import World

# What a peer says wrongly is told in the log.
pytestmark = pytest.mark.expects_warnings

Body = Mapping[str, Any]
INT_MAX, LONG_MIN, LONG_MAX = (1 << 31) - 1, -(1 << 63), (1 << 63) - 1
BAD_ROUNDS = 150


def working(**more: Any) -> tuple[World, int, int]:
    """A quorum with something committed, its leader, and one of the others."""
    world = World(**more)
    world.start()
    leader = world.elect()
    for number in range(5):
        world.append(b"%d" % number)
        world.run(50)
    world.run(500)
    victim = next(node_id for node_id in world.voter_ids if node_id != leader.node_id)
    assert world.nodes[victim].high_watermark == world.logs[victim].log_end_offset
    return world, leader.node_id, victim


def lie(world: World, liar: int, victim: int, **fields: Any) -> None:
    """With each answer to a fetch of the one by the other."""

    def tamper(answerer: int, asker: int, api_key: ApiKey, body: Body) -> Body:
        if (answerer, asker, api_key) != (liar, victim, ApiKey.FETCH) or not body["responses"]:
            return body
        (topic,) = body["responses"]
        (row,) = topic["partitions"]
        return {**body, "responses": [{**topic, "partitions": [{**row, **fields}]}]}

    world.tamper = tamper


def works_without(world: World, victim: int) -> None:
    world.append(b"and on")
    world.run_until(lambda: all(b"and on" in world.recorders[node_id].values for node_id in world.voter_ids if node_id != victim))


def test_who_is_told_to_cut_what_is_committed_ends_alone_and_says_why() -> None:
    world, leader, victim = working()
    before = world.logs[victim].log_end_offset
    lie(world, leader, victim, diverging_epoch={"epoch": world.nodes[leader].epoch, "end_offset": 3}, records=b"")
    world.append(b"more")
    world.run_until(lambda: bool(world.disk_failures))
    assert list(world.disk_failures) == [victim]
    assert world.disk_failures[victim] == (
        f"controller {leader}, the leader of epoch {world.nodes[leader].epoch}, asks to cut the metadata log at offset 3, "
        f"below what is committed: the high watermark is {before}"
    )
    world.run(1_000)
    assert victim not in world.nodes and world.logs[victim].log_end_offset == before
    works_without(world, victim)


@pytest.mark.parametrize("end_offset", [-1, LONG_MIN])
def test_so_does_who_is_told_to_cut_before_offset_0(end_offset: int) -> None:
    world, leader, victim = working()
    lie(world, leader, victim, diverging_epoch={"epoch": 0, "end_offset": end_offset}, records=b"")
    world.append(b"more")
    world.run_until(lambda: bool(world.disk_failures))
    works_without(world, victim)


@pytest.mark.parametrize("base_offset", [0, 5, 8, 1_000, LONG_MAX - 1])
@pytest.mark.parametrize("epoch", [0, None])
def test_records_that_leave_a_hole_or_come_again_are_not_taken(base_offset: int, epoch: int | None) -> None:
    world, leader, victim = working()
    end_offset = world.logs[victim].log_end_offset
    said = world.nodes[leader].epoch if epoch is None else epoch
    lie(world, leader, victim, records=values_batch([b"x"], base_offset=base_offset, epoch=said, timestamp_ms=0))
    world.append(b"more")
    world.run(300)
    assert world.logs[victim].log_end_offset == end_offset
    world.tamper = lambda answerer, asker, api_key, body: body
    works_without(world, -1)
    assert not world.disk_failures


def test_records_of_a_later_epoch_are_left_out() -> None:
    world, leader, victim = working()
    end_offset, epoch = world.logs[victim].log_end_offset, world.nodes[leader].epoch
    lie(world, leader, victim, records=values_batch([b"x"], base_offset=end_offset, epoch=epoch + 1, timestamp_ms=0))
    world.append(b"more")
    world.run(300)
    assert world.logs[victim].log_end_offset == end_offset


@pytest.mark.parametrize("leader_id", [-2, -(1 << 31)])
def test_a_leader_that_cannot_be_is_none(leader_id: int) -> None:
    world, leader, victim = working()
    epoch = world.nodes[victim].epoch

    def tamper(answerer: int, asker: int, api_key: ApiKey, body: Body) -> Body:
        if (answerer, asker, api_key) != (leader, victim, ApiKey.FETCH) or not body["responses"]:
            return body
        (topic,) = body["responses"]
        (row,) = topic["partitions"]
        row = {**row, "current_leader": {"leader_id": leader_id, "leader_epoch": epoch + 1}}
        endpoints = [{"node_id": leader_id, "host": "localhost", "port": 9}]
        return {**body, "responses": [{**topic, "partitions": [row]}], "node_endpoints": endpoints}

    world.tamper = tamper
    world.run_until(lambda: world.nodes[victim].epoch > epoch)
    world.tamper = lambda answerer, asker, api_key, body: body
    works_without(world, -1)


def test_a_vote_for_an_older_epoch_is_none() -> None:
    world = World()
    world.start()

    def tamper(answerer: int, asker: int, api_key: ApiKey, body: Body) -> Body:
        if api_key is not ApiKey.VOTE:
            return body
        (topic,) = body["topics"]
        (row,) = topic["partitions"]
        row = {**row, "leader_epoch": row["leader_epoch"] - 1, "vote_granted": True}
        return {**body, "topics": [{**topic, "partitions": [row]}]}

    world.tamper = tamper
    world.run(5_000)
    assert all(node.state.kind is not RaftState.LEADER for node in world.nodes.values())


def spoilt(value: Any, rng: Random, share: float) -> Any:
    """A body of which some fields say something else, and some rows are missing or told twice."""
    if isinstance(value, dict):
        # A leader that gives as committed what is not cannot be told from one that does not.
        return {name: field if name == "high_watermark" else spoilt(field, rng, share) for name, field in value.items()}
    if isinstance(value, list | tuple):
        rows = [spoilt(one, rng, share) for one in value if rng.random() >= share / 4]
        if rows and rng.random() < share:
            rows.append(rng.choice(rows))
        return rows
    if rng.random() >= share:
        return value
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice((-2, -1, 0, 1, 2, 99, 101, 102, 103, value - 1, value + 1, rng.randrange(-100, 100)))
    if isinstance(value, bytes):
        kept = value[: rng.randrange(len(value) + 1)]
        return rng.choice((b"", kept, kept + rng.randbytes(30), value + value, rng.randbytes(rng.randrange(100))))
    if isinstance(value, uuid.UUID):
        return uuid.UUID(int=rng.getrandbits(128))
    return value


@pytest.mark.parametrize("seed", range(6))
def test_whatever_a_peer_answers_the_others_go_on(seed: int) -> None:
    rng = Random(seed)
    world, leader, victim = working(voters=5, seed=seed)
    liar = leader if seed % 2 else next(one for one in world.voter_ids if one not in (leader, victim))

    def tamper(answerer: int, asker: int, api_key: ApiKey, body: Body) -> Body:
        if (answerer, asker) != (liar, victim):
            return body
        changed = spoilt(body, rng, rng.choice((0.0, 0.05, 0.2, 0.5)))
        version = API_SPECS[api_key].max_version
        try:
            codec.encode_response_body(api_key, version, changed)
        except (struct.error, AttributeError, TypeError):
            return body
        return changed if isinstance(changed, dict) else body

    world.tamper = tamper
    for number in range(BAD_ROUNDS):
        if world.leader() is not None and number % 5 == 0:
            world.append(b"round %d" % number)
        world.run(rng.choice((10, 50, 300)))
        if number % 50 == 25:
            # Somebody has to be asked for a vote.
            leading = world.leader()
            world.isolate(liar if leading is None else leading.node_id)
            world.run(4_000)
            world.heal()
    world.tamper = lambda answerer, asker, api_key, body: body
    assert set(world.disk_failures) <= {victim}
    world.run_until(lambda: world.leader() is not None)
    works_without(world, victim)
