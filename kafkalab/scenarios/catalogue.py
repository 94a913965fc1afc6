"""All scenarios, in the order of their numbers."""

from __future__ import annotations

from typing import Final

from kafkalab.scenarios import coordination, disks, elections, quorum, replication
from kafkalab.scenarios.scenario import Scenario

_ALL: Final = (*replication.SCENARIOS, *elections.SCENARIOS, *coordination.SCENARIOS, *disks.SCENARIOS, *quorum.SCENARIOS)

SCENARIOS: Final[tuple[Scenario, ...]] = tuple(sorted(_ALL, key=lambda scenario: int(scenario.id[1:])))


def find(scenario_id: str) -> Scenario | None:
    """A scenario by its id, however it is written."""
    return next((scenario for scenario in SCENARIOS if scenario.id == scenario_id.upper()), None)
