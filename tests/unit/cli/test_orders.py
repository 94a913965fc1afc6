"""Orders to a served cluster: how they are written, and what they are answered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kafkalab.cli.orders import ORDERS, obey, parse
from kafkalab.engine.cluster.host import ClusterHost
from tests.support.fake_nodes import FakeCluster


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ClusterHost]:
    host = ClusterHost(data_dir=tmp_path / "data", runner_factory=FakeCluster())
    host.start()
    yield host
    host.close()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("isolate 1 2", ("isolate", [1, 2], {})),
        ("isolate 1", ("isolate", [1], {})),
        ("cut clients 2", ("cut", ["clients", 2], {})),
        ("delay 1 2 100", ("delay", [1, 2, 100.0], {})),
        ("delay 1 2 100 20 one-way", ("delay", [1, 2, 100.0, 20.0], {"one_way": True})),
        ("slow 1 clients 1e3 one-way", ("slow", [1, "clients", 1000.0], {"one_way": True})),
        ("heal", ("heal", [], {})),
        ("jump-clock 101 -3600.5", ("jump_clock", [101, -3600.5], {})),
        ("power-loss 1 512", ("power_loss", [1, 512], {})),
    ],
)
def test_lines_are_the_hosts_own_commands(line: str, expected: Any) -> None:
    assert parse(line) == expected
    assert callable(getattr(ClusterHost, expected[0]))


@pytest.mark.parametrize(
    "line", ["isolate", "cut 1", "cut 1 2 3", "kill one", "kill clients", "delay 1 2", "lose 1 2 much", "heal 1 2 3", "cut 1 2 one-way"]
)
def test_what_is_written_wrong_is_answered_with_how_it_is_written(line: str) -> None:
    with pytest.raises(ValueError, match="It is written so: " + line.split()[0]):
        parse(line)


def test_a_word_that_is_no_order_is_answered_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="no order 'shout'; there are kill, stop"):
        parse("shout 1")


def test_every_order_is_answered_and_the_next_one_is_heard(host: ClusterHost) -> None:
    answers: list[str] = []
    obey(host, ["\n", "# a remark\n", "isolate  1 2\n", "kill 9\n", "nonsense\n", "kill 1\n", "heal\n"], answers.append)
    assert [answer.split(":")[0] for answer in answers] == ["OK isolate 1 2", "ERROR kill 9", "ERROR nonsense", "OK kill 1", "OK heal"]
    assert "There is no node 9" in answers[1]
    assert host.describe().node(1).state == "killed"


def test_every_order_exists(host: ClusterHost) -> None:
    for verb, order in ORDERS.items():
        assert order.usage.startswith(verb) and hasattr(host, order.method)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process could obey")
def test_a_served_cluster_takes_orders_on_standard_input(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kafkalab", "serve", "--port", "0", "--brokers", "2", "--controllers", "1", "--orders"]
    with subprocess.Popen(
        [*command, "--data-dir", str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        answers = []
        for line in process.stdout:
            if line.startswith("READY"):
                break
        for order in ("isolate 1 2", "heal", "kill 7"):
            process.stdin.write(f"{order}\n")
            process.stdin.flush()
            answers.append(process.stdout.readline().strip())
        assert answers[:2] == ["OK isolate 1 2", "OK heal"] and answers[2].startswith("ERROR kill 7: There is no node 7")
        # Who says no more does not end the cluster.
        process.stdin.close()
        process.stdin = None
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
