"""Seeds of trouble: brokers killed, fenced, cut off and brought back while records are written.

After each step the invariants hold: no acknowledged record is lost or moved, logs are equal up to
the lower high watermark of any two, a leader's high watermark never moves back in its epoch, and
what a running ISR member lacks is not committed. A failure prints its seed; the seed fails again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kafkalab.engine.common.errors import Errors
from tests.unit.engine.replica.world import Answer, World

STEPS = 60
TOPIC = "orders"


class Chaos:
    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = world.rng
        self.seed = seed
        self.pending: list[tuple[bytes, Answer]] = []
        self.acked: dict[int, bytes] = {}
        self.written = 0
        self.marks: dict[tuple[int, int], int] = {}
        world.create(TOPIC, (1, 2, 3), configs={"min.insync.replicas": "2"})
        world.settle(100)

    def up(self) -> list[int]:
        return [node_id for node_id, broker in self.world.brokers.items() if broker.is_up]

    def step(self) -> None:
        world, rng = self.world, self.rng
        action = rng.choice(("write", "write", "write", "write", "kill", "boot", "boot", "cut", "mend", "deaf", "hear", "elect", "wait"))
        if action == "write":
            for node_id in self.up():
                partition = world.brokers[node_id].manager.partition((TOPIC, 0))
                # Also to those who wrongly believe that they lead.
                if partition is not None and partition.is_leader:
                    value = b"%d" % self.written
                    self.written += 1
                    self.pending.append((value, world.produce(node_id, TOPIC, value, acks=rng.choice((-1, -1, 1)), timeout_ms=2_000)))
        elif action == "kill" and len(self.up()) > 1:
            node_id = rng.choice(self.up())
            world.kill(node_id)
            if rng.random() < 0.7:
                world.settle(rng.uniform(0, 20))
            self.fence(node_id)
        elif action == "boot":
            for node_id, broker in world.brokers.items():
                if not broker.is_up:
                    world.deaf.discard(node_id)
                    world.boot(node_id)
                    break
        elif action == "cut":
            world.sever(*rng.sample((1, 2, 3), 2))
        elif action == "mend":
            world.mend()
        elif action == "deaf" and not world.deaf:
            node_id = rng.choice(self.up())
            world.deaf.add(node_id)
            self.fence(node_id)
        elif action == "hear":
            for node_id in list(world.deaf):
                world.hear_again(node_id)
                world.unfence(node_id)
        elif action == "elect":
            partition = world.image.partition(TOPIC, 0)
            assert partition is not None
            alive = [one for one in partition.isr if not world.image.brokers[one].fenced]
            if alive:
                world.elect(TOPIC, 0, rng.choice(alive))
        world.settle(rng.choice((0.3, 2, 30, 600)))

    def fence(self, node_id: int) -> None:
        world = self.world
        world.fence(node_id)

    def check(self) -> None:
        world = self.world
        still: list[tuple[bytes, Answer]] = []
        for value, answer in self.pending:
            if not answer.is_settled:
                still.append((value, answer))
            elif answer.error == Errors.NONE and answer.ctx.connection.stats.acks == -1:  # type: ignore[attr-defined]
                offset = answer.first.base_offset
                assert offset not in self.acked, "an offset is acknowledged once"
                self.acked[offset] = value
        self.pending = still
        logs: dict[int, tuple[int, list[bytes]]] = {}
        registration = world.image.partition(TOPIC, 0)
        assert registration is not None
        for node_id in self.up():
            partition = world.brokers[node_id].manager.partition((TOPIC, 0))
            if partition is None:
                continue
            assert partition.high_watermark <= partition.log.log_end_offset
            if partition.is_leader:
                key = (node_id, partition.leader_epoch)
                assert partition.high_watermark >= self.marks.get(key, 0), "a leader's high watermark went back"
                self.marks[key] = partition.high_watermark
                assert set(partition.isr) <= partition.maximal_isr or partition.pending is None
            logs[node_id] = (partition.high_watermark, world.values(node_id, TOPIC))
        for one, (high_watermark, values) in logs.items():
            for other, (other_mark, other_values) in logs.items():
                common = min(high_watermark, other_mark)
                assert values[:common] == other_values[:common], f"the logs of {one} and {other} differ below {common}"
        for node_id in registration.isr:
            # Committed is what every member of the ISR has, whoever will lead next.
            if node_id in logs:
                values = logs[node_id][1]
                for offset, value in self.acked.items():
                    assert len(values) > offset and values[offset] == value, f"ISR member {node_id} lacks acknowledged offset {offset}"

    def heal(self) -> None:
        world = self.world
        world.mend()
        for node_id, broker in world.brokers.items():
            if node_id in world.deaf:
                world.hear_again(node_id)
                world.unfence(node_id)
            if not broker.is_up:
                world.boot(node_id)
        world.settle(8_000)
        registration = world.image.partition(TOPIC, 0)
        assert registration is not None
        assert registration.leader > 0, "nobody leads after everything healed"
        last = world.produce(registration.leader, TOPIC, b"last")
        world.settle(3_000)
        assert last.is_settled and last.error == Errors.NONE, f"a write is not acknowledged after everything healed: {last}"
        self.check()
        registration = world.image.partition(TOPIC, 0)
        assert registration is not None
        assert sorted(registration.isr) == [1, 2, 3], f"the ISR is {registration.isr} after everything healed"
        ends = set(world.ends(TOPIC).values())
        assert len(ends) == 1, f"replicas end at {ends} after everything healed"
        assert world.values(1, TOPIC) == world.values(2, TOPIC) == world.values(3, TOPIC)


def run(make_world: Callable[..., World], seed: int, steps: int = STEPS) -> Chaos:
    world: Any = make_world(seed=seed, config={"replica.lag.time.max.ms": "1500"})
    chaos = Chaos(world, seed)
    try:
        for _ in range(steps):
            chaos.step()
            chaos.check()
        chaos.heal()
    except AssertionError as e:
        raise AssertionError(f"seed {seed}: {e}") from e
    return chaos


@pytest.mark.parametrize("block", range(8))
def test_nothing_acknowledged_is_lost(make_world: Callable[..., World], block: int) -> None:
    acked = 0
    for seed in range(block * 5, block * 5 + 5):
        acked += len(run(make_world, seed).acked)
    assert acked > 10, "the trouble left no room for a single write"
