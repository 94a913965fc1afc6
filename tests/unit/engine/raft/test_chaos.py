"""Histories of random troubles keep every promise, and a quorum with a planted fault does not.

``KAFKALAB_RAFT_SEEDS`` asks for more of them. A failure names its seed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from kafkalab.engine.raft import states
from tests.unit.engine.raft import simulation
from tests.unit.engine.raft.chaos import run_chaos

SEEDS = int(os.environ.get("KAFKALAB_RAFT_SEEDS", "150"))
FAULTS_FOUND_WITHIN = 200


def test_random_troubles_break_no_promise() -> None:
    committed = 0
    for seed in range(SEEDS):
        committed += len(run_chaos(seed).acknowledged)
    assert committed > SEEDS * 5, "the histories must get something done"


def _any_log_will_do(self: states.UnattachedState, candidate_id: int, *, is_log_up_to_date: bool, is_pre_vote: bool) -> bool:
    return is_pre_vote or self.voted_id in (None, candidate_id)


def _everybody_gets_a_vote(self: states.UnattachedState, candidate_id: int, *, is_log_up_to_date: bool, is_pre_vote: bool) -> bool:
    return is_log_up_to_date


def _one_copy_is_enough(self: states.LeaderState) -> int | None:
    end = max(self.flushed_end_offset, *(progress.end_offset for progress in self.voters.values()), 0)
    return end if end > self.epoch_start_offset else None


@pytest.mark.parametrize(
    ("target", "name", "fault"),
    [
        (states.UnattachedState, "grants_vote", _any_log_will_do),
        (states.UnattachedState, "grants_vote", _everybody_gets_a_vote),
        (states.LeaderState, "committed_end", _one_copy_is_enough),
        (simulation.FakeLog, "flush", lambda self: None),
    ],
    ids=["votes for shorter logs", "votes twice", "commits a single copy", "does not flush"],
)
@pytest.mark.expects_warnings
def test_planted_faults_are_found(monkeypatch: pytest.MonkeyPatch, target: type, name: str, fault: Callable[..., Any]) -> None:
    monkeypatch.setattr(target, name, fault)
    with pytest.raises(AssertionError):
        for seed in range(FAULTS_FOUND_WITHIN):
            run_chaos(seed)


@pytest.mark.expects_warnings
def test_a_leader_that_sees_no_divergence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafkalab.engine.raft.serving.divergence", lambda *_: None)
    with pytest.raises(AssertionError):
        for seed in range(FAULTS_FOUND_WITHIN):
            run_chaos(seed)
