"""Scripts that never fail are none: with a bug in the engine the scenario that tells of it says so, by itself.

The simulator's own watch is off here, so that nobody but the script can find anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from kafkalab.engine.log.directories import LogDirectories
from kafkalab.engine.replica.partition import Partition
from kafkalab.scenarios.catalogue import find
from kafkalab.scenarios.scenario import Verdict, play
from kafkalab.scenarios.sim_stage import SimStage
from tests.simulation.planted import BUGS, planted

pytestmark = pytest.mark.expects_warnings  # nodes that are killed, cut off and broken are warned of


def unwatched(scenario_id: str) -> Verdict:
    scenario = find(scenario_id)
    assert scenario is not None
    return play(scenario, SimStage(scenario.setup, watched=False))


@pytest.mark.parametrize(
    ("scenario_id", "bug", "said"),
    [
        ("R1", "truncate to HW", "keeps what lies above its high watermark"),
        ("R2", "divergence not told", "come to be equal"),
        ("R3", "divergence not told", "come to be equal"),
        ("R4", "epoch check skipped", "answered FENCED_LEADER_EPOCH"),
        ("R6", "divergence not told", "is told where that ended"),
        ("R8", "joins ISR while behind", "joins at the leader's end"),
        ("R9", "ISR joined with stale broker epoch", "INELIGIBLE_REPLICA, not NONE"),
        ("R10", "lost ELR", "is eligible to lead"),
        ("R10", "unclean elections", "which has lost its tail, does not lead"),
        ("R11", "unclean elections", "nobody leads orders-0"),
        ("R12", "followers ignore producers", "answered OUT_OF_ORDER_SEQUENCE_NUMBER"),
        ("R13", "producer id forgotten on restart", "answered NONE at 3"),
        ("R13", "followers ignore producers", "answered NONE at 3"),
        ("R19", "commit acknowledged too early", "whose record was cut is not acknowledged"),
        ("R23", "torn batches accepted", "cut after its last whole batch"),
        ("R24", "commit with the minority", "what a minority was asked is not done"),
        ("R25", "ack before replication", "that another has given away"),
    ],
)
def test_the_script_finds_the_bug(scenario_id: str, bug: str, said: str) -> None:
    with planted(next(one for one in BUGS if one.name == bug)):
        verdict = unwatched(scenario_id)
    assert verdict.violation is not None and said in verdict.violation, verdict.violation


@contextmanager
def replaced(owner: type, name: str, replacement: Any) -> Iterator[None]:
    assert hasattr(owner, name), f"{owner} has no {name} any more"
    with patch.object(owner, name, replacement):
        yield


def test_r5_finds_a_leader_that_knows_only_the_epochs_of_its_records() -> None:
    with replaced(Partition, "end_offset_for_epoch", lambda self, epoch: self.log.end_offset_for_epoch(epoch)):
        verdict = unwatched("R5")
    assert verdict.violation is not None and "nobody wrote: it ends where epoch 0 does" in verdict.violation, verdict.violation


def test_r7_finds_a_high_watermark_that_waits_for_the_next_request() -> None:
    right = Partition.maybe_advance_high_watermark

    def advance(self: Partition, now_ms: float) -> bool:
        return self.maximal_isr != {self.node_id} and right(self, now_ms)

    with replaced(Partition, "maybe_advance_high_watermark", advance):
        verdict = unwatched("R7")
    assert verdict.violation is not None and "acknowledged when 2 has left the ISR" in verdict.violation, verdict.violation


def test_r22_finds_a_broker_that_does_not_tell_of_its_broken_directory() -> None:
    with replaced(LogDirectories, "offline_ids", property(lambda self: [])):
        verdict = unwatched("R22")
    assert verdict.violation is not None and "is led by 2" in verdict.violation, verdict.violation
