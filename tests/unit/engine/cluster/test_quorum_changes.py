"""Controllers that come and go while a cluster of the lab works (KIP-853)."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafkalab.engine.cluster.errors import HostError
from kafkalab.engine.cluster.lab import Lab
from kafkalab.engine.cluster.quorum_admin import QuorumAdmin

QUICK = {"controller.quorum.fetch.timeout.ms": "300", "controller.quorum.election.timeout.ms": "300"}


def voters(lab: Lab) -> set[int]:
    return set(QuorumAdmin(lab._host._admin).members(10.0).voters)


def test_a_controller_joins_another_leaves_and_all_is_remembered(tmp_path: Path) -> None:
    with Lab(brokers=1, controllers=3, data_dir=tmp_path, config=QUICK) as lab:
        lab.create_topic("before", 1, 1)
        added = lab.add_controller()
        assert added == 104 and added in lab.controller_ids
        assert voters(lab) == {101, 102, 103, 104}
        leader = lab.describe().controller
        lab.remove_controller(leader)
        assert leader not in lab.controller_ids and voters(lab) == {101, 102, 103, 104} - {leader}
        lab.create_topic("after", 1, 1)
        left = next(one for one in (101, 102, 103) if one != leader)
        lab.kill(left)
        lab.create_topic("by-two-of-three", 1, 1)
        lab.remove_controller(left)
        lab.create_topic("by-both-of-two", 1, 1)
        with pytest.raises(HostError, match="only a node that is nothing but a controller"):
            lab.remove_controller(1)
    with Lab(brokers=1, controllers=3, data_dir=tmp_path, config=QUICK) as lab:
        assert set(lab.controller_ids) == voters(lab) == {101, 102, 103, 104} - {leader, left}
        assert {"before", "after", "by-two-of-three", "by-both-of-two"} <= set(lab.describe().topics)
