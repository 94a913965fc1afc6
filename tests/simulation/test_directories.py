"""A log directory fails in the very moment in which its replicas were made."""

from __future__ import annotations

import pytest

from kafkalab.engine.protocol.metadata_records import DIRECTORY_UNASSIGNED
from kafkalab.scenarios.client import Place
from kafkalab.scenarios.sim_stage import SimStage
from kafkalab.scenarios.stage import Setup

pytestmark = pytest.mark.expects_warnings  # a disk is full


@pytest.mark.parametrize("seed", range(1, 6))
def test_others_lead_though_the_controller_did_not_know_where_the_replicas_were(seed: int) -> None:
    stage = SimStage(Setup(brokers=2, log_dirs=2), seed=seed)
    stage.start()
    # While what it says of the first topic is under way, what it has to say of the second one waits.
    for controller in stage.controller_ids:
        stage.delay(1, controller, 500.0)
    stage.create_topic("first", ((1, 2),))
    stage.create_topic("orders", ((1, 2),) * 4)
    image = stage.world.image()
    assert image is not None
    told = {one.directory_of(1) for one in image.topics_by_name["orders"].partitions.values()}
    assert told == {DIRECTORY_UNASSIGNED}
    stage.fill_disk(1, 2)
    places = [Place(stage, "orders", index) for index in range(4)]
    for place in places:
        place.send(1, place.values(1), within_s=3.0)
    for place in places:
        # Whoever leads has all that was acknowledged: every step is watched.
        place.write(2)
    assert {place.leader for place in places} == {1, 2}
    assert stage.is_alive(1)
    stage.close()
