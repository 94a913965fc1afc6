"""What a newcomer copies from the README works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from kafkalab.cli import commands

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS: dict[str, Any] = vars(typer.main.get_command(commands))["commands"]
SECTIONS = {
    heading.group(1): README[heading.end() :].split("\n## ")[0].split("\n### ")[0]
    for heading in re.finditer(r"^### .*`kafkalab (\S+)`$", README, re.MULTILINE)
}


def options_of(command: str) -> set[str]:
    """The long ones."""
    parameters = COMMANDS[command].params
    return {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("--")} - {"--help"}


@pytest.mark.expects_warnings  # A broker that was killed waits until its old registration has expired, and says so.
def test_the_example_of_the_lab_runs(capsys: pytest.CaptureFixture[str]) -> None:
    example = re.search(r"```python\n(from kafkalab import Lab\n.*?)```", README, re.DOTALL)
    assert example is not None
    exec(example[1], {})
    bootstrap_servers, partition = capsys.readouterr().out.splitlines()
    assert bootstrap_servers.count(":") == 3 and "topic='orders', partition=0" in partition


@pytest.mark.parametrize("command", SECTIONS)
def test_options_that_are_named_exist(command: str) -> None:
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", SECTIONS[command])) <= options_of(command) | options_of("serve")


def test_all_commands_have_their_section_and_serve_all_of_its_options() -> None:
    # The first is what runs without a command, the second a line of another's section.
    assert set(COMMANDS) - set(SECTIONS) == {"app", "random-uuid"}
    rows = re.findall(r"^\| (`--.*?) \|", SECTIONS["serve"].replace("\\|", "/"), re.MULTILINE)
    assert {option for row in rows for option in re.findall(r"--[a-z-]+", row)} == options_of("serve")


def test_the_window_takes_the_options_of_serve_but_one() -> None:
    assert options_of("app") == options_of("serve") - {"--orders"}


def test_targets_of_make_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md", "tests/benchmarks/README.md", "tests/conformance/README.md"):
        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)) <= targets, page
