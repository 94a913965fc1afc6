"""The fewest misfortunes with which a run still goes wrong in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from kafkalab.engine.simulation.nemesis import Episode
from kafkalab.engine.simulation.run import Outcomes, RunSettings, run_seed

TRIES_MAX: Final = 60


def shrink(
    failed: Outcomes,
    settings: RunSettings,
    *,
    tries_max: int = TRIES_MAX,
    tell: Callable[[str], None] = lambda what: None,
    run: Callable[[int, RunSettings, Sequence[Episode] | None], Outcomes] = run_seed,
) -> Outcomes:
    """Leave out episodes as long as the same thing goes wrong (delta debugging); the smallest run that was found.

    What comes after the failure is left out first, for it cannot matter.
    """
    best = failed
    end_ms = failed.failure.at_ms if failed.failure is not None else failed.virtual_ms
    episodes = [episode for episode in failed.episodes if episode.at_ms <= end_ms]
    tries = 0

    def still_fails(some: list[Episode]) -> bool:
        nonlocal best, tries
        tries += 1
        outcomes = run(failed.seed, settings, some)
        if outcomes.verdict != failed.verdict:
            return False
        best = outcomes
        return True

    if len(episodes) < len(failed.episodes) and not still_fails(episodes):
        episodes = list(failed.episodes)
    parts = 2
    while len(episodes) >= 2 and tries < tries_max:
        size = -(-len(episodes) // parts)
        for start in range(0, len(episodes), size):
            fewer = episodes[:start] + episodes[start + size :]
            if tries < tries_max and still_fails(fewer):
                tell(f"{len(fewer)} of {len(failed.episodes)} misfortunes are enough")
                episodes = fewer
                parts = max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(episodes), parts * 2)
    if len(episodes) == 1 and tries < tries_max and still_fails([]):
        tell("it goes wrong with none at all")
    return best
