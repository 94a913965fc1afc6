"""A scenario: what goes wrong, what must come out all the same, and the script that plays it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from kafkalab.engine.cluster.errors import HostError
from kafkalab.engine.simulation.world import SimulationFailed
from kafkalab.scenarios.stage import Setup, Stage, Step, Violated

Script = Callable[[Stage], None]


@dataclass(frozen=True, slots=True)
class Scenario:
    """See the module."""

    id: str
    title: str
    source: str
    """The KIP or ticket that tells of it."""
    outcome: str
    """What must come out."""
    script: Script
    setup: Setup = field(default_factory=Setup)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out."""

    scenario: Scenario
    stage: str
    violation: str | None
    """What did not hold; None where everything did."""
    steps: tuple[Step, ...]
    stage_s: float
    """In the stage's own time, from the moment when the cluster was ready."""
    wall_s: float
    kept: str | None = None
    """Where the nodes' folders are."""

    @property
    def is_held(self) -> bool:
        """Whether the promise held."""
        return self.violation is None


def play(scenario: Scenario, stage: Stage, *, keep: bool = False) -> Verdict:
    """Play a scenario on a stage that is new, and close the stage."""
    began_s = time.perf_counter()
    violation = None
    stage_s = 0.0
    kept = None
    try:
        try:
            stage.start()
            scenario.script(stage)
        except (Violated, SimulationFailed, HostError) as e:
            violation = str(e)
        stage_s = stage.now_s
    finally:
        if keep:
            kept = stage.keep()
        stage.close()
    return Verdict(scenario, stage.name, violation, tuple(stage.steps), stage_s, time.perf_counter() - began_s, kept)
