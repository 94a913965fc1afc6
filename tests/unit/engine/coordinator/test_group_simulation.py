"""Groups under random members, commits that are slow or refused, and failovers: seeds find what nobody thought of."""

from __future__ import annotations

from random import Random

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.coordinator.group import GroupState
from kafkalab.engine.protocol.apis import ApiKey
from tests.unit.engine.coordinator.lab import Answer, Lab, subscription

STEPS = 300
GROUPS = ("g", "h")
INSTANCES = (None, None, None, "i1", "i2")
REFUSALS = (Errors.NOT_ENOUGH_REPLICAS, Errors.NOT_ENOUGH_REPLICAS_AFTER_APPEND, Errors.NOT_LEADER_OR_FOLLOWER)


class World:
    """Clients that believe what they are told, mostly."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.lab = Lab(group_initial_rebalance_delay_ms=str(self.rng.choice((0, 3_000))), group_max_size=str(self.rng.choice((2, 100))))
        self.answers: list[tuple[str, str | None, Answer]] = []
        self.acknowledged: dict[tuple[str, int], int] = {}
        self.commits: list[tuple[tuple[str, int], int, Answer]] = []
        self.next_offset = 0

    def step(self) -> None:
        lab, rng = self.lab, self.rng
        group = rng.choice(GROUPS)
        known = [
            (a.member_id, a.generation_id, i) for g, i, a in self.answers if g == group and a.is_there and hasattr(a.body, "member_id")
        ]
        member, generation, instance = rng.choice(known[-5:]) if known and rng.random() < 0.9 else ("", 1, rng.choice(INSTANCES))
        match rng.randrange(12):
            case 0 | 1 | 2:
                topics = rng.choice((("orders",), ("orders", "more")))
                more = {"session_ms": rng.choice((6_000, 30_000)), "rebalance_ms": rng.choice((5_000, 60_000))}
                protocols = {"range": subscription(*topics)} | ({"sticky": b""} if rng.random() < 0.5 else {})
                rejoined = member if rng.random() < 0.8 else ""
                answer = lab.join(group, rejoined, instance=instance, protocols=protocols, version=rng.choice((2, 5, 9)), **more)
                self.answers.append((group, instance, answer))
            case 3 | 4 | 5:
                members = [m for m, _, _ in known]
                answer = lab.sync(group, generation, member, dict.fromkeys(members, b"part"), instance=instance)
                self.answers.append((group, instance, answer))
            case 6:
                lab.beat(group, generation, member, instance=instance)
            case 7 if rng.random() < 0.4:
                lab.leave(group, (member, instance))
            case 8:
                self.next_offset += 1
                place = (group, rng.randrange(4))
                answer = lab.commit(group, {("orders", place[1]): self.next_offset}, generation=generation, member=member)
                self.commits.append((place, self.next_offset, answer))
            case 9:
                if lab.log.is_held and rng.random() < 0.3:
                    lab.log.refuse(rng.choice(REFUSALS))
                lab.log.is_held = rng.random() < 0.5
                lab.log.commit()
            case 10:
                lab.clock.advance(rng.choice((0, 10, 1_000, 4_000, 7_000)))
            case 11 if rng.random() < 0.3:
                if rng.random() < 0.5:
                    lab.log.commit()
                    lab.restart()
                else:
                    lab.call(ApiKey.DELETE_GROUPS, 2, {"groups_names": [group]})
            case _:
                lab.call(ApiKey.DESCRIBE_GROUPS, 6, {"groups": list(GROUPS)})

    def check(self) -> None:
        for shard in self.lab.coordinator._shards.values():
            for group in shard.groups.by_id.values():
                members = group.members
                assert group.state is not GroupState.DEAD
                assert group.leader_id in members if members else group.leader_id is None
                assert group.pending_sync <= set(members)
                assert not group.pending_join & set(members)
                assert group._static == {m.instance_id: m.member_id for m in members.values() if m.instance_id is not None}
                assert (group.state is GroupState.EMPTY) <= (not members)
                if group.state is not GroupState.PREPARING_REBALANCE:
                    assert all(m.awaiting_join is None for m in members.values() if not m.is_static)
                if group.state is not GroupState.COMPLETING_REBALANCE:
                    assert all(m.awaiting_sync is None for m in members.values())


@pytest.mark.parametrize("seed", range(60))
def test_groups_stay_sound(seed: int) -> None:
    world = World(seed)
    for _ in range(STEPS):
        world.step()
        world.check()
    lab = world.lab
    lab.log.is_held = False
    lab.log.commit()
    lab.clock.advance(600_000)
    world.check()
    unanswered = [answer for _, _, answer in world.answers if not answer.is_there]
    assert not unanswered, "nobody waits for ever"
    assert all(answer.is_there for _, _, answer in world.commits)
    before = {group: lab.committed(group) for group in GROUPS}
    lab.restart()
    assert {group: lab.committed(group) for group in GROUPS} == before, "memory is what the log says"
    lab.coordinator.shutdown()
    assert lab.clock.next_due_ms() is None
