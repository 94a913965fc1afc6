"""The command line: what it refuses before anything runs, and what it must not load."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kafkalab.cli.serve import ServeOptions, run


def options(**changes: object) -> ServeOptions:
    values: dict[str, object] = {
        "brokers": 3,
        "controllers": 3,
        "combined": False,
        "port": 0,
        "data_dir": None,
        "config": (),
        "config_file": None,
        "isolation": "thread",
        **changes,
    }
    return ServeOptions(**values)  # type: ignore[arg-type]


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"config": ("num.partitons=3",)}, "num.partitons"),
        ({"config": ("num.partitions",)}, "KEY=VALUE"),
        ({"config": ("num.partitions=many",)}, "many"),
        ({"brokers": 0}, "The number of brokers was 0; it can be 1 to 99."),
        ({"log_dirs": 17}, "The number of log directories was 17; it can be 1 to 16."),
        ({"isolation": "fibre"}, "The isolation was 'fibre'; it can be 'thread' or 'process'."),
    ],
)
def test_what_cannot_be_is_refused_with_status_2(
    changes: dict[str, object], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir = tmp_path / "data"
    assert run(options(data_dir=data_dir, **changes)) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert not data_dir.exists()


def test_a_busy_port_is_named_on_standard_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        done = python("-m", "kafkalab", "serve", "--port", str(port), "--brokers", "1", "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 1
    assert f"Port {port} on 127.0.0.1 is in use by another program." in done.stderr
    assert done.stdout == ""


def test_serving_loads_neither_qt_nor_the_client_library() -> None:
    code = "import sys, kafkalab.cli.serve; print([m for m in sys.modules if m.split('.')[0] in ('PySide6', 'confluent_kafka', 'qasync')])"
    done = python("-c", code)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_package_alone_loads_nothing_heavy_and_gives_lab() -> None:
    code = "import sys, kafkalab; before = 'kio' in sys.modules; print(before, kafkalab.Lab.__name__, 'PySide6' in sys.modules)"
    done = python("-c", code)
    assert done.stdout.strip() == "False Lab False", done.stderr


def test_help_and_version_are_quick_and_whole() -> None:
    done = python("-m", "kafkalab", "serve", "--help")
    options = "--brokers --controllers --combined --port --data-dir --config --config-file --isolation --log-dirs --orders"
    for option in options.split():
        assert option in done.stdout
    assert python("-m", "kafkalab", "--version").stdout.startswith("kafkalab 0.")
