"""The simulated cluster: Lab's verbs, and that a run is its seed and nothing else."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from kafkalab.engine.faults.disk import DiskFault, DiskFaultKind
from kafkalab.engine.simulation.clients import SimConsumer, SimProducer
from kafkalab.engine.simulation.history import History, Outcome, check_history
from kafkalab.engine.simulation.invariants import Invariants
from kafkalab.engine.simulation.run import RunSettings, run_seed
from kafkalab.engine.simulation.world import SimulationFailed, SimWorld
from kafkalab.engine.telemetry.events import BrokerFenced, LinkCut, NodeKilled, PartitionChanged
from kafkalab.engine.telemetry.levels import ConnectionKey, NodeKey, ReplicaKey

pytestmark = pytest.mark.expects_warnings  # nodes that are killed and cut off are warned of


class Watched(SimWorld):
    """A world with its invariants."""

    def __init__(self, seed: int = 1, **options: object) -> None:
        super().__init__(seed, **options)  # type: ignore[arg-type]
        self.invariants = Invariants(self)
        self.start()


def test_a_cluster_starts_within_a_second_of_its_own_time() -> None:
    world = SimWorld(1)
    world.start()
    assert world.now_ms < 1_000.0
    assert world.active_controller() in world.controller_ids
    world.run_until(world.is_healthy)


def test_levels_are_sampled_for_those_who_ask_and_change_nothing() -> None:
    watched, unwatched = SimWorld(1), SimWorld(1)
    levels = watched.sink.levels = {}
    for world in (watched, unwatched):
        world.start()
        world.create_topic("t", 2)
        world.run(2_000.0)
    assert {ConnectionKey, NodeKey, ReplicaKey} <= {type(key) for key in levels}
    assert watched.network.digest == unwatched.network.digest
    assert watched.scheduler.steps == unwatched.scheduler.steps


def test_a_combined_node_alone() -> None:
    world = Watched(brokers=1, controllers=1, combined=True)
    world.create_topic("t", 2)
    assert world.leader("t", 1) == 1


def test_a_killed_leader_is_replaced_after_its_session() -> None:
    world = Watched(config={"min.insync.replicas": 2})
    world.create_topic("t", assignments={0: (1, 2, 3)})
    history = History()
    producer = SimProducer(world, "p", history, [("t", 0)], rate=200.0)
    consumer = SimConsumer(world, "c", history, [("t", 0)])
    producer.start()
    consumer.start()
    world.run(2_000.0)
    world.kill(1)
    killed_ms = world.now_ms
    assert not world.nodes[1].is_alive
    world.run_until(lambda: world.leader("t", 0) == 2)
    assert 6_900.0 < world.now_ms - killed_ms < 9_200.0, "the session counts from the last heartbeat"
    world.run(2_000.0)
    world.restart(1)
    producer.stop()
    world.run_until(lambda: world.is_healthy() and producer.is_done)
    world.check_ends()
    world.run_until(lambda: consumer.positions["t", 0] == world.high_watermark("t", 0))
    history.is_complete = True
    assert check_history(history) == []
    assert history.count(Outcome.OK) == len(history.sends) > 500
    assert {type(happening.event) for happening in world.sink.happenings} >= {NodeKilled, BrokerFenced, PartitionChanged}


def test_a_controlled_stop_moves_leaders_at_once() -> None:
    world = Watched()
    world.create_topic("t", assignments={0: (1, 2, 3)})
    world.run_until(world.is_healthy)
    before_ms = world.now_ms
    world.stop(1)
    assert world.leader("t", 0) == 2
    assert world.now_ms - before_ms < 1_000.0


def test_a_replica_that_stays_and_had_fallen_behind_ends_a_reassignment_and_takes_over_from_who_goes() -> None:
    """Found by wide seed 4: no unclean election, though the new leader was in no ISR before the change that elects it."""
    world = Watched(brokers=4, config={"min.insync.replicas": 1})
    world.create_topic("t", assignments={0: (4, 1, 2)})
    world.run_until(world.is_healthy)
    world.kill(1)
    world.run_until(lambda: world.isr("t", 0) == (4, 2), 20_000.0)
    world.reassign("t", 0, [1, 2])
    world.run(2_000.0)
    assert world.leader("t", 0) == 4, "broker 1 is waited for"
    world.restart(1)
    world.run_until(lambda: world.leader("t", 0) == 1, 20_000.0)
    world.run_until(world.is_healthy)
    assert set(world.isr("t", 0)) == {1, 2}


@pytest.mark.parametrize("seed", [2, 5])  # in which it does
def test_a_high_watermark_on_disk_may_lie_amid_a_batch_of_what_came_after_a_loss(seed: int) -> None:
    """Found by wide seed 70023: what was lost had its batches elsewhere, and its high watermark is what the disk still has."""
    world = Watched(seed, brokers=1, controllers=1)
    world.create_topic("t", 1, config={"unclean.leader.election.enable": "true"})
    world.run_until(world.is_healthy)

    def write(name: str, batch_max: int, until: int) -> None:
        producer = SimProducer(world, name, History(), [("t", 0)], rate=500.0, acks=1, batch_max=batch_max)
        producer.start()
        world.run_until(lambda: world.high_watermark("t", 0) >= until)
        producer.stop()
        world.run_until(lambda: producer.is_done)

    write("a", 1, 100)
    kept = world.high_watermark("t", 0)
    world.run(6_000.0)  # the checkpoint is written every five seconds
    world.power_loss(1)
    world.restart(1)
    world.run_until(lambda: world.high_watermark("t", 0) == 0, what="nothing had been synced")
    write("b", 3, kept + 1)
    world.kill(1)
    world.restart(1)
    world.run_until(world.is_healthy)
    assert world.high_watermark("t", 0) > kept


def test_a_replica_of_the_past_may_know_of_more_than_the_last_known_leader() -> None:
    """Found by wide seed 200021: that one lost its power and what it had not synced, and leads all the same (KIP-966)."""
    world = Watched(config={"min.insync.replicas": 1})
    world.create_topic("t", assignments={0: (3, 2)})
    world.run_until(world.is_healthy)
    producer = SimProducer(world, "p", History(), [("t", 0)], rate=200.0)
    producer.start()
    world.run_until(lambda: world.high_watermark("t", 0) > 20)
    producer.stop()
    world.run_until(lambda: producer.is_done)
    world.stop(2)
    world.power_loss(3)
    world.restart(2)
    world.run_until(lambda: world.leader("t", 0) is None, 20_000.0)
    world.restart(3)
    world.run_until(world.is_healthy)
    assert (world.leader("t", 0), world.high_watermark("t", 0)) == (3, 0)
    assert world.invariants.unclean_places == {("t", 0)}


def test_a_leader_may_commit_more_in_the_step_in_which_it_hears_of_its_successor() -> None:
    """Found by wide seed 300005: all who were left in sync had more, and who was missing had gone before the next leader came."""
    world = Watched(config={"min.insync.replicas": 2})
    world.create_topic("t", assignments={0: (2, 1, 3)})
    world.run_until(world.is_healthy)
    producer = SimProducer(world, "p", History(), [("t", 0)], rate=200.0)
    producer.start()
    world.run_until(lambda: world.high_watermark("t", 0) > 20)
    world.kill(3)
    world.run(3_000.0)  # It falls silent before the other does.
    committed = world.high_watermark("t", 0)
    world.pause(2)
    registrations = []
    for leader, isr in ((2, (2, 1)), (1, (1,))):
        world.run_until(lambda isr=isr: world.isr("t", 0) == isr, 20_000.0)  # type: ignore[misc]
        assert world.leader("t", 0) == leader
        registrations.append(world.invariants.image.topics_by_name["t"].partitions[0])
    assert world.high_watermark("t", 0) == committed, "one replica is not enough"
    sim = world.nodes[2]
    assert sim.node is not None and sim.node.replica_manager is not None
    partition = sim.node.replica_manager.partition(("t", 0))
    assert partition is not None and partition.is_leader
    # With one answer of the controller's, and so late that nobody waits for who is missing.
    partition.become_leader(registrations[0], world.now_ms + 60_000.0)
    partition.become_follower(registrations[1])
    assert partition.high_watermark > committed
    world.invariants.check(sim)
    assert world.failure is None


def test_who_goes_on_is_looked_at_after_each_turn() -> None:
    """Found by wide seed 300042: a reader had what a leader committed as it went on, before anybody had looked at that."""
    world = Watched()
    world.pause(1)
    world.run(1_000.0)
    looked_at: list[int] = []
    world.checks.append(lambda sim: looked_at.append(sim.node_id))
    world.resume(1)
    assert len(looked_at) > 1 and set(looked_at) == {1}


def test_who_pauses_longer_than_the_session_leads_no_longer() -> None:
    world = Watched()
    world.create_topic("t", assignments={0: (1, 2, 3)})
    world.run_until(world.is_healthy)
    world.pause(1)
    world.run_until(lambda: world.leader("t", 0) == 2, 20_000.0)
    world.resume(1)
    world.run_until(world.is_healthy)


def test_a_leader_that_is_cut_from_all_others_is_fenced_and_comes_back() -> None:
    world = Watched()
    world.create_topic("t", assignments={0: (1, 2, 3)})
    world.run_until(world.is_healthy)
    world.isolate(1)
    assert any(isinstance(happening.event, LinkCut) for happening in world.sink.happenings)
    world.run_until(lambda: world.leader("t", 0) == 2, 20_000.0)
    world.heal()
    world.run_until(world.is_healthy)


def test_all_lose_their_power_and_the_metadata_is_all_there() -> None:
    world = Watched()
    world.create_topic("t", 3)
    world.run_until(world.is_healthy)
    for node_id in world.controller_ids:
        world.power_loss(node_id)
    for node_id in world.controller_ids:
        world.restart(node_id)
    world.run_until(world.is_healthy)
    world.create_topic("u", 1)
    assert world.leader("t", 2) is not None


def test_settings_of_topics_and_deletion() -> None:
    world = Watched()
    world.create_topic("t", 1)
    world.alter_topic("t", {"retention.ms": 1234})
    image = world.image()
    assert image is not None and image.topic_config("t") == {"retention.ms": "1234"}
    world.alter_topic("t", {"retention.ms": None})
    assert image.topic_config("t") == {}
    world.delete_topic("t")
    assert "t" not in image.topics_by_name


def test_a_full_disk_stops_the_node_and_nothing_else() -> None:
    world = Watched(config={"min.insync.replicas": 2})
    world.create_topic("t", assignments={0: (1, 2, 3)})
    history = History()
    producer = SimProducer(world, "p", history, [("t", 0)], rate=100.0)
    producer.start()
    world.fill_disk(1, free_bytes=2_000)
    world.run_until(lambda: not world.nodes[1].is_alive, 30_000.0)
    world.heal_disk(1)
    world.restart(1)
    world.run_until(world.is_healthy)


@pytest.mark.parametrize("kind", [DiskFaultKind.FULL, DiskFaultKind.BROKEN])
def test_a_controller_that_cannot_put_down_its_epoch_ends_and_the_others_elect(kind: DiskFaultKind) -> None:
    world = Watched()
    world.create_topic("t", 1)
    active = world.active_controller()
    assert active is not None
    spoiled = next(one for one in world.controller_ids if one != active)
    node = world.nodes[spoiled]
    file = node.spec.directories[0] / "__cluster_metadata-0" / "quorum-state"
    node.set_disk_faults((DiskFault(kind, str(file)),))
    # The leader falls silent, and whoever votes or stands has to put it down.
    world.pause(active)
    world.run_until(lambda: not node.is_alive, 30_000.0, "the controller's end")
    assert node.failure is not None and node.failure.startswith(f"{file} cannot be written: ")
    world.resume(active)
    world.run_until(lambda: world.active_controller() is not None, 30_000.0)
    world.create_topic("u", 1)
    world.heal_disk(spoiled)
    world.restart(spoiled)
    world.run_until(world.is_healthy)


def test_a_clock_that_jumps_is_its_own() -> None:
    world = Watched()
    world.jump_clock(1, -600.0)
    assert world.nodes[1].storage.wall_ms() == world.nodes[2].storage.wall_ms() - 600_000
    world.run(30_000.0)
    assert world.is_healthy(), "nothing goes by the wall clock"


def test_what_does_not_come_to_be_fails_with_the_seed() -> None:
    world = SimWorld(77)
    with pytest.raises(SimulationFailed, match=r"not in time: pigs did not come to be within 10 ms \(seed 77"):
        world.run_until(lambda: False, 10.0, "pigs")


SETTINGS = RunSettings(minutes=0.25, partitions=6)


def test_a_seed_is_a_run() -> None:
    one, again, other = run_seed(11, SETTINGS), run_seed(11, SETTINGS), run_seed(12, SETTINGS)
    assert one.is_right, one.detail
    assert (one.digest, one.steps, one.virtual_ms) == (again.digest, again.steps, again.virtual_ms)
    assert one.digest != other.digest


def test_neither_hashes_nor_addresses_nor_the_time_of_day_matter(tmp_path: Path) -> None:
    program = tmp_path / "digest.py"
    program.write_text(
        "import logging, sys\n"
        "logging.disable(logging.CRITICAL)\n"
        "from kafkalab.engine.simulation.run import RunSettings, run_seed\n"
        "litter = [object() for _ in range(int(sys.argv[1]))]\n"
        "outcomes = run_seed(21, RunSettings(minutes=0.5, partitions=8))\n"
        "print(outcomes.digest, outcomes.steps, outcomes.virtual_ms, outcomes.verdict)\n",
        encoding="utf-8",
    )
    root = Path(__file__).parents[2]

    def start(hash_seed: int) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(root)}
        return subprocess.Popen([sys.executable, str(program), str(hash_seed * 997)], stdout=subprocess.PIPE, text=True, env=environment)

    running = [start(hash_seed) for hash_seed in (1, 2, 3)]
    told = [process.communicate()[0] for process in running]
    assert told[0].split()[3:] == [], f"the run itself went wrong: {told[0]}"
    assert len(set(told)) == 1, told


def test_what_went_wrong_travels_between_processes() -> None:
    failed = pickle.loads(pickle.dumps(SimulationFailed("lost", "record 7", seed=3, at_ms=12.5)))
    assert (failed.kind, failed.detail, failed.seed, failed.at_ms) == ("lost", "record 7", 3, 12.5)
