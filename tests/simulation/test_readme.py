"""What the README of this folder says is so: it names every bug, every misfortune and every check."""

from __future__ import annotations

import re
from pathlib import Path

import kafkalab.engine.simulation
from kafkalab.engine.simulation.history import SEVERITY
from kafkalab.engine.simulation.nemesis import KINDS
from kafkalab.engine.simulation.occasions import OCCASIONS
from tests.simulation.planted import BUGS

README = Path(__file__).with_name("README.md").read_text()
SAID = re.compile(r'[._]fail\(\s*"([a-z ]+)"')


def test_each_planted_bug_has_its_row() -> None:
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| [\d.]+ \| ", README, re.MULTILINE)
    assert rows == [bug.name for bug in BUGS]
    assert f"has {len(BUGS)} bugs" in README
    assert not [bug.name for bug in BUGS if f"| {bug.name} | {bug.what} |" not in README]


def test_each_misfortune_is_named() -> None:
    assert not [kind for kind in (*KINDS, *OCCASIONS) if f"`{kind}`" not in README]


def test_each_check_is_named() -> None:
    folder = Path(kafkalab.engine.simulation.__file__).parent
    said = {kind for path in folder.glob("*.py") for kind in SAID.findall(path.read_text())}
    assert len(said) > 25, "they are found in the source"
    wanted = said | set(SEVERITY) | {kind for bug in BUGS for kind in bug.found_by}
    assert not sorted(kind for kind in wanted if f"`{kind}`" not in README)
