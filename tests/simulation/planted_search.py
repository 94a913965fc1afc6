"""How many seeds it takes to find each planted bug: ``python -m tests.simulation.planted_search [--only TEXT] [--starts N]``.

What it prints are rows of the table in this folder's README.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kafkalab.engine.simulation.run import RunSettings, run_seed
from tests.simulation.planted import BUGS, PlantedBug, findings, planted

SEEDS_PER_START = 1_000
"""Starts are that far apart, so that no two of them use the same seeds."""
AS_SIMULATE = RunSettings(is_wide=True)
"""What ``kafkalab simulate`` runs when nothing else is asked for."""
HEAD = "| bug | median | least–most | starts that found it | CPU s of a start | said (starts) |\n|---|---|---|---|---|---|"


class Found(NamedTuple):
    """The seed that found a bug, and what was wrong there."""

    seed: int
    verdict: str
    detail: str


def search(bug: PlantedBug, first: int, seeds_max: int, settings: RunSettings | None = None) -> Found | None:
    """The first seed from there on that finds the bug; one that is wrong without it, too, has found something else."""
    settings = bug.settings if settings is None else settings
    for seed in range(first, first + seeds_max):
        with planted(bug):
            outcomes = run_seed(seed, settings)
        if outcomes.is_right:
            continue
        said = findings(outcomes)
        expected = [kind for kind in said if kind in bug.found_by]
        if expected or run_seed(seed, settings).is_right:
            return Found(seed, (expected or said)[0], outcomes.detail)
    return None


def row(
    bug: PlantedBug, starts: int, seeds_max: int, seconds_max: float, settings: RunSettings | None = None
) -> tuple[str, Sequence[Found]]:
    """A bug's row in the table, and what was found by each start that found anything."""
    tries: list[int] = []
    found: list[Found] = []
    began_s = time.process_time()
    for start in range(starts):
        if start and time.process_time() - began_s > seconds_max:
            break
        first = 1 + start * SEEDS_PER_START
        result = search(bug, first, seeds_max, settings)
        tries.append(seeds_max if result is None else result.seed - first + 1)
        if result is not None:
            found.append(result)
    seconds = (time.process_time() - began_s) / len(tries)
    said = ", ".join(f"{verdict} ({count})" for verdict, count in Counter(one.verdict for one in found).most_common())
    # A start that found nothing needs more than all of its seeds: a median among those is a least.
    median = f"{'> ' if 2 * len(found) <= len(tries) else ''}{statistics.median(tries):g}"
    least_most = f"{min(tries)}–{'> ' if len(found) < len(tries) else ''}{max(tries)}"
    return f"| {bug.name} | {median} | {least_most} | {len(found)} of {len(tries)} | {seconds:.1f} | {said or 'nothing'} |", found


def table(bugs: Sequence[PlantedBug], options: argparse.Namespace) -> Iterator[str]:
    """The table, row by row."""
    yield HEAD
    for bug in bugs:
        line, found = row(bug, options.starts, options.seeds, options.seconds, AS_SIMULATE if options.as_simulate else None)
        yield line
        if options.details:
            yield from (f"    {one.detail}" for one in found)


def main() -> None:
    """Print the table as it comes to be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="bugs with these words in their names, parted by commas")
    parser.add_argument("--starts", type=int, default=9)
    parser.add_argument("--seeds", type=int, default=60, help="of one start, at most")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the processor; begin with no further start of a bug after so long")
    parser.add_argument("--as-simulate", action="store_true", help="run what kafkalab simulate runs, and not what suits the bug")
    parser.add_argument("--details", action="store_true", help="tell in words what was wrong")
    options = parser.parse_args()
    logging.getLogger("kafkalab").setLevel(logging.CRITICAL + 1)
    words = [word for word in options.only.split(",") if word]
    bugs = [bug for bug in BUGS if not words or any(word in bug.name for word in words)]
    for line in table(bugs, options):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
