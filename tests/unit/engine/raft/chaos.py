"""Random troubles for a simulated quorum: kills, power cuts, partitions, loss; then peace."""

from __future__ import annotations

from random import Random

from tests.unit.engine.raft.simulation import World

STEPS = 60


def run_chaos(seed: int) -> World:
    """One history from one seed. It ends healed, with everything acknowledged everywhere."""
    rng = Random(seed)
    world = World(rng.choice((1, 3, 3, 3, 5)), rng.choice((0, 0, 1, 2)), seed=seed)
    world.delay_ms = rng.choice(((0.1, 1.0), (0.1, 20.0), (1.0, 300.0)))
    counter = 0
    started = rng.sample(world.ids, rng.randint(1, len(world.ids)))
    world.start(*started)
    for _ in range(STEPS):
        world.run(rng.choice((1.0, 10.0, 100.0, 700.0, 3_000.0)))
        trouble = rng.random()
        dead = [node_id for node_id in world.ids if node_id not in world.nodes]
        if trouble < 0.45:
            for _ in range(rng.randint(1, 4)):
                counter += 1
                world.append(b"%d" % counter)
        elif trouble < 0.56 and world.nodes:
            world.kill(rng.choice(sorted(world.nodes)), power_cut=rng.random() < 0.5)
        elif trouble < 0.74 and dead:
            world.restart(rng.choice(dead))
        elif trouble < 0.8:
            world.isolate(*rng.sample(world.ids, rng.randint(1, len(world.ids))))
        elif trouble < 0.83:
            world.loss = rng.choice((0.0, 0.05, 0.3))
        elif trouble < 0.87 and world.nodes and (leader := world.leader()) is not None and leader.is_serving:
            gone = leader.node_id
            leader.shutdown(lambda: None)
            world.run(rng.choice((0.0, 5.0, 2_000.0)))
            if gone in world.nodes:
                world.kill(gone)
        else:
            world.heal()
    settle(world)
    return world


def settle(world: World) -> None:
    """Heal everything, and require that the quorum works again."""
    world.heal()
    world.delay_ms = (0.1, 2.0)
    for node_id in world.ids:
        if node_id not in world.nodes:
            world.restart(node_id)
    world.run_until(lambda: world.leader() is not None, 30_000)
    world.run(500)
    last = b"last"
    deadline = world.clock.now_ms() + 30_000
    while last not in world.acknowledged:
        assert world.clock.now_ms() < deadline, f"no commit after healing (seed {world.seed}): {world.describe()}"
        if world.leader() is not None and not any(last in batch.data for batch in world.logs[world.elect().node_id].batches):
            world.append(last)
        world.run(200)
    world.run_until(lambda: all(last in recorder.values for recorder in world.recorders.values()), 30_000)
    world.check_converged()
