"""Every scenario in the simulator, whose own invariants watch each step of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from kafkalab.cli.scenario import EXIT_OK, EXIT_USAGE, EXIT_VIOLATED, run
from kafkalab.scenarios import catalogue
from kafkalab.scenarios.scenario import Scenario, play
from kafkalab.scenarios.sim_stage import SimStage
from kafkalab.scenarios.stage import Stage

pytestmark = pytest.mark.expects_warnings  # nodes that are killed, cut off and broken are warned of


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("scenario", catalogue.SCENARIOS, ids=lambda scenario: scenario.id)
def test_the_promise_holds(scenario: Scenario, seed: int) -> None:
    verdict = play(scenario, SimStage(scenario.setup, seed=seed))
    assert verdict.is_held, verdict.violation
    assert len(verdict.steps) >= 2, "a script tells what it does"


@pytest.mark.parametrize(("scenario_id", "seed"), [("R22", 30)])
def test_seeds_that_have_found_something(scenario_id: str, seed: int) -> None:
    scenario = catalogue.find(scenario_id)
    assert scenario is not None
    verdict = play(scenario, SimStage(scenario.setup, seed=seed))
    assert verdict.is_held, verdict.violation


def test_each_has_a_number_a_source_and_a_promise() -> None:
    assert len({scenario.id for scenario in catalogue.SCENARIOS}) == len(catalogue.SCENARIOS)
    for scenario in catalogue.SCENARIOS:
        assert scenario.id[0] == "R" and scenario.id[1:].isdigit()
        assert scenario.source and scenario.outcome.endswith(".")
        assert catalogue.find(scenario.id.lower()) is scenario


def breaks_its_promise(stage: Stage) -> None:
    stage.tell("nobody is asked")
    stage.check(False, "pigs can fly")


def test_a_violation_is_told_and_is_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Scenario("R99", "Pigs", "no ticket", "They fly.", breaks_its_promise)
    monkeypatch.setattr(catalogue, "SCENARIOS", (broken,))
    said: list[str] = []
    assert run("r99", live=False, seed=1, keep=False, say=said.append) == EXIT_VIOLATED
    assert said[-1] == "violated: pigs can fly"
    assert "nobody is asked" in said[1]


def test_what_nodes_had_on_their_disks_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    said: list[str] = []
    assert run("R4", live=False, seed=1, keep=True, say=said.append) == EXIT_OK
    (folder,) = tmp_path.iterdir()
    assert said[-1] == f"the nodes' folders are in {folder}"
    (log,) = folder.glob("data/node-2/orders-0/*.log")
    assert b"orders-4" in log.read_bytes()


def test_all_are_played_in_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    some = tuple(scenario for scenario in catalogue.SCENARIOS if scenario.id in ("R6", "R7"))
    monkeypatch.setattr("kafkalab.cli.scenario.SCENARIOS", some)
    said: list[str] = []
    assert run("all", live=False, seed=1, keep=False, say=said.append) == EXIT_OK
    assert [line.split()[0] for line in said] == ["R6", "R7"]
    assert all(line.endswith("held") for line in said)


def test_what_the_command_says() -> None:
    said: list[str] = []
    assert run("R7", live=False, seed=1, keep=False, say=said.append) == EXIT_OK
    assert said[0].startswith("R7: ") and said[-1].startswith("held: ")
    assert run("R98", live=False, seed=1, keep=False, say=said.append) == EXIT_USAGE
    assert "There is no scenario 'R98'" in said[-1]
    said.clear()
    assert run(None, live=False, seed=1, keep=False, say=said.append) == EXIT_OK
    assert len(said) == 2 * len(catalogue.SCENARIOS)
