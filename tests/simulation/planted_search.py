"""How many seeds it takes to find each planted bug: ``python -m tests.simulation.planted_search [--only TEXT] [--starts N]``."""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator

from kafkalab.engine.simulation.run import run_seed
from tests.simulation.planted import BUGS, PlantedBug, findings, planted

SEEDS_PER_START = 1_000
"""Starts are that far apart, so that no two of them use the same seeds."""
DETAIL_LENGTH_MAX = 230


def search(bug: PlantedBug, first: int, seeds_max: int) -> tuple[int, str, str] | None:
    """The first seed from there on that finds the bug, what it says, and in which words."""
    with planted(bug):
        for seed in range(first, first + seeds_max):
            outcomes = run_seed(seed, bug.settings)
            if not outcomes.is_right:
                return seed, " + ".join(findings(outcomes)), outcomes.detail
    return None


def table(bugs: list[PlantedBug], starts: int, seeds_max: int, seconds_max: float) -> Iterator[str]:
    """A line for each bug: its name, the median number of seeds, how many starts found it, seconds of a start, the findings, the seeds."""
    for bug in bugs:
        tries: list[int] = []
        found: list[tuple[int, str, str]] = []
        started = time.perf_counter()
        for start in range(starts):
            if start and time.perf_counter() - started > seconds_max:
                break
            first = 1 + start * SEEDS_PER_START
            result = search(bug, first, seeds_max)
            tries.append(seeds_max if result is None else result[0] - first + 1)
            if result is not None:
                found.append(result)
        seconds = (time.perf_counter() - started) / len(tries)
        verdicts = Counter(verdict for _, verdict, _ in found)
        said = ", ".join(f"{verdict} ({count})" for verdict, count in verdicts.most_common())
        seeds = " ".join(str(seed) for seed, _, _ in found)
        median = statistics.median(tries)
        yield f"{bug.name} | {median:g} | {len(found)} of {len(tries)} | {seconds:.1f} s | {said or 'not found'} | {seeds}"
        if found:
            yield f"    {found[0][2][:DETAIL_LENGTH_MAX]}"


def main() -> None:
    """Print the table as it comes to be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="bugs with these words in their names, parted by commas")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=60, help="of one start, at most")
    parser.add_argument("--seconds", type=float, default=60.0, help="begin with no further start of a bug after so long")
    options = parser.parse_args()
    logging.getLogger("kafkalab").setLevel(logging.CRITICAL + 1)
    words = [word for word in options.only.split(",") if word]
    bugs = [bug for bug in BUGS if not words or any(word in bug.name for word in words)]
    for line in table(bugs, options.starts, options.seeds, options.seconds):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
