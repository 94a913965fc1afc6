"""``kafkalab simulate``: the cluster from seeds, with everything going wrong that may, as fast as it goes.

Ends with status 1 when a seed went wrong. The same seed with the same options is the same run, on every machine.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kafkalab.engine.cluster.settings import node_settings
from kafkalab.engine.common.config import ConfigError, parse_key_value
from kafkalab.engine.simulation.nemesis import KINDS
from kafkalab.engine.simulation.occasions import OCCASIONS
from kafkalab.engine.simulation.run import Outcomes, RunSettings, run_seed
from kafkalab.engine.simulation.shrink import shrink
from kafkalab.engine.simulation.timeline import TimelineError, lines, read_timeline, write_timeline

EXIT_OK: Final = 0
EXIT_WRONG: Final = 1
EXIT_USAGE: Final = 2
PROGRESS_S: Final = 10.0
DETAIL_LENGTH_MAX: Final = 1_000

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOptions:
    """What was asked for on the command line."""

    first_seed: int
    seeds: int
    settings: RunSettings
    jobs: int = 0
    """Processes; 0 is one for each processor."""
    seconds_max: float = 0.0
    """Begin with no further seed after so long; 0 is no bound."""
    trace: Path | None = None
    shrinks: bool = True


@dataclass(slots=True)
class _Totals:
    seeds: int = 0
    virtual_ms: float = 0.0
    steps: int = 0
    failovers: int = 0
    kills: int = 0
    acknowledged: int = 0
    lost_lawfully: int = 0
    wrong: int = 0

    def add(self, outcomes: Outcomes) -> None:
        self.seeds += 1
        self.virtual_ms += outcomes.virtual_ms
        self.steps += outcomes.steps
        self.failovers += outcomes.failovers
        self.kills += outcomes.kills
        self.acknowledged += outcomes.acknowledged
        self.lost_lawfully += outcomes.lost_lawfully
        self.wrong += not outcomes.is_right

    def line(self, wall_s: float) -> str:
        return (
            f"{self.seeds} seeds, {self.wrong} wrong; {self.virtual_ms / 60_000:.1f} minutes in {wall_s:.1f} s "
            f"({self.virtual_ms / 1000 / max(wall_s, 1e-9):.0f} times as fast); {self.kills} nodes killed, {self.failovers} partitions "
            f"led by another broker, {self.acknowledged} records acknowledged, {self.lost_lawfully} of them lost where that is "
            f"lawful, {self.steps} steps"
        )


def run(
    *,
    seeds: int,
    minutes: float,
    seed: int | None,
    first: int,
    trace: Path | None,
    show: Path | None,
    faults: str | None,
    brokers: int,
    controllers: int,
    partitions: int,
    config: tuple[str, ...],
    is_wide: bool = True,
    jobs: int,
    seconds: float,
    shrinks: bool,
    say: Say,
) -> int:
    """What the command line asks for; the exit status."""
    try:
        if show is not None:
            return show_timeline(show, say)
        kinds = tuple(kind for kind in (faults or "").split(",") if kind)
        unknown = [kind for kind in kinds if kind not in KINDS and kind not in OCCASIONS]
        if unknown:
            say(f"There is no fault {unknown[0]!r}; there are {', '.join((*KINDS, *OCCASIONS))}.")
            return EXIT_USAGE
        settings = RunSettings(
            minutes=minutes,
            brokers=brokers,
            controllers=controllers,
            partitions=partitions,
            kinds=kinds,
            is_wide=is_wide,
            config=_checked(dict(map(parse_key_value, config)), brokers),
        )
    except (ConfigError, TimelineError, OSError) as e:
        say(str(e))
        return EXIT_USAGE
    return simulate(
        SimulateOptions(
            first_seed=first if seed is None else seed,
            seeds=seeds if seed is None else 1,
            settings=settings,
            jobs=jobs,
            seconds_max=seconds,
            trace=trace,
            shrinks=shrinks,
        ),
        say,
    )


def simulate(options: SimulateOptions, say: Say) -> int:
    """Run the seeds, and say what went wrong; the exit status."""
    # What nodes log is in the timeline as far as it matters; thousands of lines of it would only cost time.
    logging.getLogger("kafkalab.engine").setLevel(logging.CRITICAL + 1)
    started_s = told_s = time.monotonic()
    totals = _Totals()
    for outcomes in _run_all(options):
        totals.add(outcomes)
        if not outcomes.is_right:
            _tell_wrong(outcomes, options, say, is_first=totals.wrong == 1)
        elif options.seeds == 1:
            say(_story(outcomes))
            if options.trace is not None:
                write_timeline(options.trace, outcomes, options.settings)
        now_s = time.monotonic()
        if now_s - told_s >= PROGRESS_S:
            told_s = now_s
            say(totals.line(now_s - started_s))
    say(totals.line(time.monotonic() - started_s))
    return EXIT_WRONG if totals.wrong else EXIT_OK


def show_timeline(path: Path, say: Say) -> int:
    """Print a timeline that was written before."""
    for line in lines(read_timeline(path)):
        say(line)
    return EXIT_OK


def _checked(config: dict[str, str], brokers: int) -> dict[str, str]:
    """The settings that were given, all of which nodes know.

    :raises ConfigError: when they do not.
    """
    node_settings(config, brokers)
    return config


def _run_all(options: SimulateOptions) -> Iterator[Outcomes]:
    jobs = min(options.seeds, options.jobs or os.cpu_count() or 1)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    due_s = time.monotonic() + options.seconds_max if options.seconds_max else float("inf")
    if jobs == 1:
        for seed in seeds:
            if time.monotonic() >= due_s:
                return
            yield _run_one((seed, options.settings))
        return

    def asked() -> Iterator[tuple[int, RunSettings]]:
        for seed in seeds:
            if time.monotonic() >= due_s:
                return
            yield seed, options.settings

    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, initializer=_begin_process) as pool:
        if options.seconds_max:
            # A pool takes everything at once that it is given: hand out no more than is under way.
            todo = asked()
            under_way = [pool.apply_async(_run_one, (task,)) for _, task in zip(range(2 * jobs), todo, strict=False)]
            while under_way:
                outcomes = under_way.pop(0).get()
                if (task := next(todo, None)) is not None:
                    under_way.append(pool.apply_async(_run_one, (task,)))
                yield outcomes
        else:
            yield from pool.imap_unordered(_run_one, asked())


def _begin_process() -> None:
    # What is imported stays, and need not be looked at after each run.
    gc.freeze()
    logging.getLogger("kafkalab.engine").setLevel(logging.CRITICAL + 1)


def _run_one(task: tuple[int, RunSettings]) -> Outcomes:
    seed, settings = task
    outcomes = run_seed(seed, settings)
    if outcomes.is_right:
        # Nobody asks for it, and it would have to go from process to process.
        outcomes.happenings = outcomes.happenings[-1:]
    if outcomes.failure is not None:
        outcomes.failure.__cause__ = None
        outcomes.failure.__traceback__ = None
    gc.collect()
    return outcomes


def _tell_wrong(outcomes: Outcomes, options: SimulateOptions, say: Say, *, is_first: bool) -> None:
    say(f"seed {outcomes.seed} went wrong: {outcomes.detail[:DETAIL_LENGTH_MAX]}")
    say(f"  again: kafkalab simulate --seed {outcomes.seed} {_options(options.settings)}".rstrip())
    if not is_first or not options.shrinks:
        if options.trace is not None and is_first:
            write_timeline(options.trace, outcomes, options.settings)
        return
    smallest = shrink(outcomes, options.settings, tell=lambda what: say(f"  {what}"), run=run_seed)
    say("  what it takes:")
    for episode in smallest.episodes:
        say(f"    {episode}")
    if options.trace is not None:
        write_timeline(options.trace, smallest, options.settings)
        say(f"  its timeline is in {options.trace}: kafkalab simulate --show {options.trace}")


def _story(outcomes: Outcomes) -> str:
    notes = [f"{at_ms:12.3f} {what}" for at_ms, what in outcomes.notes]
    return "\n".join([*notes, f"seed {outcomes.seed}: nothing was wrong; {outcomes.sent} records sent, {outcomes.read} read"])


def _options(settings: RunSettings) -> str:
    standard = RunSettings()
    said = [f"--minutes {settings.minutes:g}"]
    for name in ("brokers", "controllers", "partitions"):
        if getattr(settings, name) != getattr(standard, name):
            said.append(f"--{name} {getattr(settings, name)}")
    if not settings.is_wide:
        said.append("--narrow")
    if settings.kinds:
        said.append(f"--faults {','.join(settings.kinds)}")
    said += [f"--config {key}={value}" for key, value in settings.config.items()]
    return " ".join(said)
