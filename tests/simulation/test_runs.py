"""Runs from seeds: what may go wrong goes wrong, and nothing is lost. More of them: ``kafkalab simulate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

import kafkalab.cli.simulate
from kafkalab.cli import commands
from kafkalab.engine.simulation import nemesis
from kafkalab.engine.simulation.history import Anomaly
from kafkalab.engine.simulation.nemesis import ALTERATIONS, KINDS, Episode, Nemesis, plan
from kafkalab.engine.simulation.occasions import OCCASIONS
from kafkalab.engine.simulation.run import Outcomes, RunSettings, run_seed
from kafkalab.engine.simulation.shrink import shrink
from kafkalab.engine.simulation.timeline import TimelineError, lines, read_timeline, write_timeline
from kafkalab.engine.simulation.world import SimWorld

pytestmark = pytest.mark.usefixtures("quiet_nodes")

SEEDS = range(1, 11)
SETTINGS = RunSettings(minutes=0.8)
WIDE = RunSettings(minutes=0.5, is_wide=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_goes_wrong_that_may_not(seed: int) -> None:
    outcomes = run_seed(seed, SETTINGS)
    assert outcomes.is_right, f"kafkalab simulate --narrow --seed {seed} --minutes {SETTINGS.minutes}: {outcomes.detail}"
    assert outcomes.acknowledged > 100 and outcomes.read > outcomes.acknowledged


@pytest.mark.parametrize("seed", range(1, 9))
def test_what_vanishes_vanishes_lawfully(seed: int) -> None:
    outcomes = run_seed(seed, WIDE)
    assert outcomes.is_right, f"kafkalab simulate --seed {seed} --minutes {WIDE.minutes}: {outcomes.detail}"


def test_wide_runs_have_all_that_they_are_there_for() -> None:
    settings = replace(WIDE, partitions=4, kinds=("outlive", "delete_records", "kill"))
    found = [run_seed(seed, settings) for seed in range(1, 5)]
    assert not [outcomes.detail for outcomes in found if not outcomes.is_right]
    assert sum(outcomes.unclean_elections for outcomes in found) and sum(outcomes.compactions for outcomes in found)
    assert sum(outcomes.lost_lawfully for outcomes in found) and sum(outcomes.deletions for outcomes in found)


@pytest.mark.parametrize("kind", OCCASIONS)
def test_each_occasion_comes(kind: str) -> None:
    controllers = 5 if kind == "kill_voter" else 3
    settings = RunSettings(minutes=0.4, partitions=3, producers=1, members=2, controllers=controllers, kinds=(kind,), is_wide=True)
    # Some have to wait for others: nobody is killed before it has come.
    for seed in range(5, 11):
        outcomes = run_seed(seed, settings)
        assert outcomes.is_right, f"--seed {seed} --faults {kind}: {outcomes.detail}"
        if any(f": {kind} " in what for _, what in outcomes.notes):
            return
    pytest.fail(f"{kind} never comes")


def test_what_a_wide_run_adds_does_not_change_the_other_plan() -> None:
    narrow, wide = (run_seed(7, RunSettings(minutes=0.1, partitions=2, is_wide=is_wide)).episodes for is_wide in (False, True))
    assert narrow == [episode for episode in wide if episode.kind in KINDS]


@pytest.mark.parametrize("kind", KINDS)
def test_each_misfortune_is_one(kind: str) -> None:
    outcomes = run_seed(5, RunSettings(minutes=0.2, partitions=3, producers=1, members=0, kinds=(kind,)))
    assert outcomes.is_right, f"--narrow --seed 5 --faults {kind}: {outcomes.detail}"
    assert {episode.kind for episode in outcomes.episodes} == {kind}


@pytest.mark.parametrize("setting", ALTERATIONS)
def test_altered_settings_come_to_hold_and_are_taken_back(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nemesis, "ALTERATIONS", {setting: ALTERATIONS[setting]})
    world = SimWorld(1)
    world.start()
    world.create_topic("orders", 1)
    Nemesis(world, [Episode("alter_topic", 10.0, 5_000.0, amount=7.0)], ["orders"], lambda what: None).start()
    world.run(3_000.0)
    image = world.image()
    assert image is not None and image.topic_config("orders").get(setting) in ALTERATIONS[setting]
    world.run(5_000.0)
    assert image.topic_config("orders") == {}


def test_an_alteration_that_is_refused_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nemesis, "ALTERATIONS", {"segment.bytes": ["16384"]})
    outcomes = run_seed(5, RunSettings(minutes=0.2, partitions=1, producers=1, members=0, kinds=("alter_topic",)))
    assert outcomes.failure is not None and outcomes.failure.kind == "unexpected refusal"
    assert "INCREMENTAL_ALTER_CONFIGS: INVALID_CONFIG" in outcomes.detail


def test_a_plan_is_its_seed_and_lies_within_its_time() -> None:
    episodes = plan(Random(3), for_ms=60_000.0, brokers=(1, 2, 3), controllers=(101, 102, 103))
    assert episodes == plan(Random(3), for_ms=60_000.0, brokers=(1, 2, 3), controllers=(101, 102, 103))
    assert episodes == sorted(episodes, key=lambda episode: episode.at_ms)
    assert all(0 < episode.at_ms < 60_000.0 for episode in episodes)
    kinds = {one.kind for seed in range(40) for one in plan(Random(seed), for_ms=60_000.0, brokers=(1, 2), controllers=(101, 102, 103))}
    assert kinds == set(KINDS)


def _failing_with(*needed: Episode) -> tuple[list[Sequence[Episode]], object]:
    """A run that goes wrong when all of these episodes are in it, and the tries that were made."""
    tried: list[Sequence[Episode]] = []

    def run(seed: int, settings: RunSettings, episodes: Sequence[Episode] | None = None) -> Outcomes:
        assert episodes is not None
        tried.append(episodes)
        outcomes = Outcomes(seed, episodes=list(episodes), virtual_ms=100_000.0)
        if all(one in episodes for one in needed):
            outcomes.anomalies = [Anomaly("lost write", "x", 1)]
        return outcomes

    return tried, run


@pytest.mark.parametrize("needed", [(), (7,), (3, 28), (0, 1, 15, 31)])
def test_a_wrong_run_is_shrunk_to_what_it_takes(needed: tuple[int, ...]) -> None:
    episodes = [Episode("kill", float(number), 1.0, (1,)) for number in range(32)]
    tried, run = _failing_with(*(episodes[number] for number in needed))
    failed = Outcomes(9, anomalies=[Anomaly("lost write", "x", 1)], episodes=episodes, virtual_ms=100_000.0)
    smallest = shrink(failed, SETTINGS, run=run)  # type: ignore[arg-type]
    assert smallest.episodes == [episodes[number] for number in needed]
    assert len(tried) <= 60


def test_shrinking_keeps_to_one_fault() -> None:
    episodes = [Episode("kill", float(number), 1.0, (1,)) for number in range(4)]

    def run(seed: int, settings: RunSettings, some: Sequence[Episode] | None = None) -> Outcomes:
        assert some is not None
        kind = "lost write" if len(some) == 4 else "duplicate"
        return Outcomes(seed, episodes=list(some), anomalies=[Anomaly(kind, "x", 1)])

    failed = Outcomes(9, anomalies=[Anomaly("lost write", "x", 1)], episodes=episodes)
    assert shrink(failed, SETTINGS, run=run).episodes == episodes


def test_timelines_are_written_and_read(tmp_path: Path) -> None:
    settings = RunSettings(minutes=0.1, partitions=2, kinds=("kill",))
    outcomes = run_seed(3, settings)
    path = tmp_path / "timeline.json"
    write_timeline(path, outcomes, settings)
    timeline = read_timeline(path)
    assert (timeline.seed, timeline.settings, timeline.episodes) == (3, settings, outcomes.episodes)
    assert [event for _, event in timeline.events] == [happening.event for happening in outcomes.happenings]
    assert list(lines(timeline))[-1] == "seed 3: nothing was wrong"
    for content in (
        "",
        "[]",
        "{}",
        '{"format": "kafkalab-timeline", "version": 2}',
        path.read_text().replace("NodeStarted", "NodeStartled"),
    ):
        path.write_text(content)
        with pytest.raises(TimelineError):
            read_timeline(path)


# --- kafkalab simulate ---------------------------------------------------------------------------------


def test_the_command_tells_what_was_run() -> None:
    result = CliRunner().invoke(commands, ["simulate", "--seeds", "2", "--minutes", "0.05", "--partitions", "2", "--jobs", "1"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("2 seeds, 0 wrong; ")


def test_the_command_tells_a_wrong_seed_what_it_takes_and_where_its_timeline_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = [Episode("kill", 5.0, 10.0, (1,)), Episode("pause", 8.0, 10.0, (2,)), Episode("cut", 9.0, 10.0, (2, 3))]
    _, run = _failing_with(episodes[1])

    def run_with_all(seed: int, settings: RunSettings, some: Sequence[Episode] | None = None) -> Outcomes:
        return run(seed, settings, episodes if some is None else some)  # type: ignore[operator,no-any-return]

    monkeypatch.setattr(kafkalab.cli.simulate, "run_seed", run_with_all)
    path = tmp_path / "wrong.json"
    arguments = ["simulate", "--seed", "41", "--minutes", "2", "--narrow", "--faults", "pause,cut", "--trace", str(path)]
    result = CliRunner().invoke(commands, arguments)
    assert result.exit_code == 1
    assert "seed 41 went wrong: lost write (1): x\n" in result.output
    assert "  again: kafkalab simulate --seed 41 --minutes 2 --narrow --faults pause,cut\n" in result.output
    assert "    8 ms: pause 2 for 10 ms\n" in result.output and "kill 1" not in result.output
    shown = CliRunner().invoke(commands, ["simulate", "--show", str(path)])
    assert shown.exit_code == 0 and shown.output.endswith("seed 41: lost write (1): x\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--faults", "kil"], "There is no fault 'kil'; there are kill,"),
        (["--config", "min.insync.replica=2"], "min.insync.replicas"),
        (["--show", "/nowhere/at/all.json"], "No such file"),
    ],
)
def test_the_command_says_what_it_cannot_do(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(commands, ["simulate", *arguments])
    assert result.exit_code == 2
    assert said in result.output
