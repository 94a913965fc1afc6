"""The simulator finds what it is there to find: each planted bug, by a seed that is right without it."""

from __future__ import annotations

from functools import cache
from itertools import chain

import pytest

from kafkalab.engine.simulation.run import RunSettings, run_seed
from tests.simulation.planted import BUGS, PlantedBug, findings, planted

pytestmark = pytest.mark.usefixtures("quiet_nodes")

SEEDS_MAX = 40
"""When the engine has changed a recorded seed may be another run than it was: then others are tried, so many."""


class _Settings:
    """Settings as a key: they are equal when they are the same."""

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings

    def __hash__(self) -> int:
        return hash(repr(self.settings))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Settings) and other.settings == self.settings


@cache
def _detail_without_bugs(seed: int, settings: _Settings) -> str:
    """What is wrong with a seed when nothing is planted; empty when nothing is."""
    return run_seed(seed, settings.settings).detail


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "-"))
def test_planted_bug_is_found(bug: PlantedBug) -> None:
    for seed in chain([bug.seed], range(1, SEEDS_MAX + 1)):
        with planted(bug):
            outcomes = run_seed(seed, bug.settings)
        if not outcomes.is_right:
            break
    else:
        pytest.fail(f"{SEEDS_MAX} seeds do not find that {bug.what}")
    assert bug.found_by & set(findings(outcomes)), f"seed {seed}: {outcomes.detail}"
    assert _detail_without_bugs(seed, _Settings(bug.settings)) == "", f"seed {seed} is wrong without the bug, too"


def test_bugs_are_gone_when_nobody_plants_them() -> None:
    for bug in BUGS:
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in bug.changes()]
        with planted(bug):
            assert all(getattr(owner, name) is not was for owner, name, was in before)
        assert all(getattr(owner, name) is was for owner, name, was in before)
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 12
