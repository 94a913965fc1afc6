"""``kafkalab serve`` as scripts see it: its lines, its signals, its exit status."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import wait_for

NODE = re.compile(r"NODE (controller|broker|broker,controller) (\d+) 127\.0\.0\.1:(\d+) pid=(\d+)")
READY = re.compile(r"READY bootstrap=([\d.:,]+) seconds=(\d+\.\d\d)")


def serve(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kafkalab", "serve", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def until_ready(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if line.startswith("READY"):
            return lines
    process.wait(60)
    assert process.stderr is not None
    raise AssertionError(f"never ready: {process.stderr.read()}")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_its_lines_its_ports_and_an_orderly_end(number: int, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with serve("--port", "0", "--data-dir", str(data_dir)) as process:
        *nodes, ready = until_ready(process)
        found = [NODE.fullmatch(line) for line in nodes]
        assert [(match[1], match[2]) for match in found if match] == [
            ("controller", "101"),
            ("controller", "102"),
            ("controller", "103"),
            ("broker", "1"),
            ("broker", "2"),
            ("broker", "3"),
        ]
        assert {int(match[4]) for match in found if match} == {process.pid}
        match = READY.fullmatch(ready)
        assert match and match[1] == ",".join(f"127.0.0.1:{node[3]}" for node in found[3:] if node)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == ""
    assert "ERROR" not in err and "Traceback" not in err
    assert (data_dir / "broker-1" / ".kafka_cleanshutdown").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_signal_while_it_starts_ends_it_too(tmp_path: Path) -> None:
    with serve("--port", "0", "--isolation", "process", "--data-dir", str(tmp_path / "data")) as process:
        assert process.stderr is not None
        wait_for(lambda: process.poll() is not None or (tmp_path / "data" / "cluster.json").exists(), "a start that has begun")
        assert process.poll() is None
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_temporary_folder_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with serve("--port", "0", "--brokers", "1", "--controllers", "1", "--combined") as process:
        lines = until_ready(process)
        assert [line.split()[1] for line in lines[:-1]] == ["broker,controller"]
        assert list(tmp_path.glob("kafkalab-*"))
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert not list(tmp_path.glob("kafkalab-*"))


def test_the_settings_of_a_file_hold(tmp_path: Path) -> None:
    file = tmp_path / "server.properties"
    file.write_text("process.roles=broker\nnum.partitions=4\n")
    with serve("--port", "0", "--brokers", "1", "--controllers", "1", "--config-file", str(file)) as process:
        until_ready(process)
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert "passed over process.roles" in err


def test_a_folder_in_use_is_refused_with_the_holders_id(tmp_path: Path) -> None:
    arguments = ("--port", "0", "--brokers", "1", "--controllers", "1", "--data-dir", str(tmp_path))
    with serve(*arguments) as first:
        until_ready(first)
        with serve(*arguments) as second:
            out, err = second.communicate(timeout=60)
        first.terminate()
        first.communicate(timeout=60)
    assert second.returncode == 1
    assert out == ""
    assert f"The data folder {tmp_path} is in use by process {first.pid}." in err


def test_brokers_listen_from_the_port_that_was_given(tmp_path: Path) -> None:
    # A port outside the ranges that systems give to outgoing connections, found free a moment ago.
    for port in range(18_000, 19_000, 10):
        try:
            with socket.create_server(("127.0.0.1", port)), socket.create_server(("127.0.0.1", port + 1)):
                break
        except OSError:
            continue
    with serve("--port", str(port), "--brokers", "2", "--controllers", "1") as process:
        ready = until_ready(process)[-1]
        process.terminate()
        process.communicate(timeout=60)
    assert f"bootstrap=127.0.0.1:{port},127.0.0.1:{port + 1} " in ready


def test_nodes_have_as_many_log_directories_as_asked_for(tmp_path: Path) -> None:
    arguments = ("--port", "0", "--brokers", "1", "--controllers", "1", "--combined", "--data-dir", str(tmp_path))
    for count in (2, 3):
        with serve(*arguments, "--log-dirs", str(count)) as process:
            until_ready(process)
            process.terminate()
            _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        found = sorted(path.parent.name for path in (tmp_path / "node-1").glob("*/meta.properties"))
        assert found == [f"dir-{number}" for number in range(1, count + 1)]
    with serve(*arguments) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "holds nodes with 3 log directories each; asked for was 1." in err
