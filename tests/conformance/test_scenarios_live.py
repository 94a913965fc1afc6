"""The scenarios that take a few seconds only, on real nodes; ``kafkalab scenario all --live`` plays all of them."""

from __future__ import annotations

import pytest

from kafkalab.scenarios.catalogue import find
from kafkalab.scenarios.live_stage import LiveStage
from kafkalab.scenarios.scenario import play

pytestmark = [pytest.mark.timeout(120), pytest.mark.expects_warnings]


@pytest.mark.parametrize("scenario_id", ["R4", "R5", "R6", "R7", "R9", "R10", "R13", "R19", "R22", "R25"])
def test_the_promise_holds(scenario_id: str) -> None:
    scenario = find(scenario_id)
    assert scenario is not None
    verdict = play(scenario, LiveStage(scenario.setup))
    told = "\n".join(f"{step.at_s:9.3f} s  {step.text}" for step in verdict.steps)
    assert verdict.is_held, f"{verdict.violation}\n{told}"


def test_nodes_in_processes_too() -> None:
    scenario = find("R10")
    assert scenario is not None
    verdict = play(scenario, LiveStage(scenario.setup, isolation="process"))
    assert verdict.is_held, verdict.violation
