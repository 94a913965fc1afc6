"""The metadata of a whole cluster goes through snapshots: cut logs, nodes that were away, power that goes."""

from __future__ import annotations

import pytest

from kafkalab.engine.metadata.image_writer import image_records
from kafkalab.engine.simulation.world import SimWorld

OFTEN = {
    "metadata.log.max.record.bytes.between.snapshots": 3_000,
    "internal.metadata.log.segment.bytes": 6_000,
    "metadata.max.retention.bytes": 9_000,
    "controller.quorum.fetch.snapshot.max.bytes": 700,
}
CLEANED_AFTER_MS = 61_000.0


def change_much(world: SimWorld, first: int) -> None:
    """More than the retention keeps; some of it deleted again."""
    for number in range(first, first + 6):
        world.create_topic(f"topic-{number}", partitions=4)
    for number in range(first, first + 6, 2):
        world.delete_topic(f"topic-{number}")
    world.run(CLEANED_AFTER_MS)


def assert_same_metadata(world: SimWorld) -> None:
    images = {node_id: sorted(map(repr, image_records(node.node.image))) for node_id, node in world.nodes.items() if node.node is not None}
    assert len(images) == len(world.nodes)
    expected = next(iter(images.values()))
    for node_id, records in images.items():
        assert records == expected, f"node {node_id} knows something else"


def log_start(world: SimWorld, node_id: int) -> int:
    log = world.nodes[node_id].metadata_log
    assert log is not None
    return log.log_start_offset


def log_end(world: SimWorld, node_id: int) -> int:
    log = world.nodes[node_id].metadata_log
    assert log is not None
    return log.log_end_offset


def test_nodes_that_were_away_come_back_over_the_leaders_snapshot() -> None:
    world = SimWorld(seed=5, config=OFTEN)
    world.start()
    world.create_topic("orders", partitions=3)
    world.run_until(world.is_healthy)
    controller = next(node_id for node_id in world.controller_ids if node_id != world.active_controller())
    ends = {node_id: log_end(world, node_id) for node_id in (1, controller)}
    world.kill(1)
    world.kill(controller)
    for turn in range(3):
        change_much(world, first=10 * turn)
    active = world.active_controller()
    assert active is not None
    for node_id, end in ends.items():
        assert log_start(world, active) > end, f"what node {node_id} lacks is no longer in the log"
        world.restart(node_id)
    world.run_until(world.is_healthy)
    for node_id, end in ends.items():
        assert log_start(world, node_id) > end, f"node {node_id} began its log at a snapshot"
    assert_same_metadata(world)
    image = world.image()
    assert image is not None
    assert set(image.topics_by_name) == {"orders", *(f"topic-{10 * turn + number}" for turn in range(3) for number in (1, 3, 5))}
    assert world.nodes[1].node is not None and world.nodes[1].node.replica_manager is not None
    assert world.nodes[1].node.replica_manager.partition(("topic-0", 0)) is None
    world.close()


@pytest.mark.expects_warnings
def test_a_cluster_that_loses_its_power_starts_from_snapshots() -> None:
    world = SimWorld(seed=6, config=OFTEN)
    world.start()
    for turn in range(2):
        change_much(world, first=10 * turn)
    world.run_until(world.is_healthy)
    before = world.image()
    assert before is not None
    topics, producer_ids = set(before.topics_by_name), before.next_producer_id
    for node_id in world.nodes:
        assert log_start(world, node_id) > 0
        world.power_loss(node_id, torn_tail=None)
    for node_id in world.nodes:
        world.restart(node_id)
    world.run_until(world.is_healthy)
    after = world.image()
    assert after is not None
    assert set(after.topics_by_name) == topics and after.next_producer_id == producer_ids
    assert_same_metadata(world)
    world.close()
