"""``kafkalab scenario``: the scenarios, one of them, or all, in the simulator or on a live cluster.

Ends with status 1 when a promise was violated, 2 when there is no such scenario.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from kafkalab.scenarios.catalogue import SCENARIOS, find
from kafkalab.scenarios.live_stage import LiveStage
from kafkalab.scenarios.scenario import Scenario, Verdict, play
from kafkalab.scenarios.sim_stage import SimStage
from kafkalab.scenarios.stage import Stage, Step

EXIT_OK: Final = 0
EXIT_VIOLATED: Final = 1
EXIT_USAGE: Final = 2
ALL: Final = "all"

Say = Callable[[str], None]


def run(scenario_id: str | None, *, live: bool, seed: int, keep: bool, say: Say) -> int:
    """What the command line asks for; the exit status."""
    if scenario_id is None:
        for scenario in SCENARIOS:
            say(f"{scenario.id:4}  {scenario.title} ({scenario.source})")
            say(f"      {scenario.outcome}")
        return EXIT_OK
    if scenario_id == ALL:
        return _run_all(SCENARIOS, live=live, seed=seed, say=say)
    found = find(scenario_id)
    if found is None:
        say(f"There is no scenario {scenario_id!r}; there are {', '.join(scenario.id for scenario in SCENARIOS)}, and all.")
        return EXIT_USAGE
    say(f"{found.id}: {found.title} ({found.source})")
    verdict = _play(found, live=live, seed=seed, keep=keep, tell=lambda step: say(f"{step.at_s:9.3f} s  {step.text}"))
    if verdict.is_held:
        say(f"held: {found.outcome}")
    else:
        say(f"violated: {verdict.violation}")
    if verdict.kept is not None:
        say(f"the nodes' folders are in {verdict.kept}")
    return EXIT_OK if verdict.is_held else EXIT_VIOLATED


def _run_all(scenarios: Sequence[Scenario], *, live: bool, seed: int, say: Say) -> int:
    violated = 0
    for scenario in scenarios:
        verdict = _play(scenario, live=live, seed=seed, keep=False, tell=None)
        violated += not verdict.is_held
        outcome = "held" if verdict.is_held else f"violated: {verdict.violation}"
        say(f"{scenario.id:4} {verdict.stage_s:6.1f} s of the cluster, {verdict.wall_s:5.1f} s of yours  {outcome}")
    return EXIT_VIOLATED if violated else EXIT_OK


def _play(scenario: Scenario, *, live: bool, seed: int, keep: bool, tell: Callable[[Step], None] | None) -> Verdict:
    # What nodes log is what the script does to them; the steps say it better.
    logger = logging.getLogger("kafkalab.engine")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        stage: Stage = LiveStage(scenario.setup, tell=tell, keep=keep) if live else SimStage(scenario.setup, seed=seed, tell=tell)
        return play(scenario, stage, keep=keep)
    finally:
        logger.setLevel(level)
