"""``kafkalab format`` beside ``kafka-storage format``: the same words, the same files; and a node of theirs starts on ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kafkalab.cli import commands
from tests.support import apache_kafka
from tests.support.apache_kafka import CLUSTER_ID, free_port
from tests.support.apache_nodes import ApacheNode, ApacheProcess
from tests.support.apache_tools import Tools
from tests.support.waiting import wait_for

pytestmark = [
    pytest.mark.skipif(apache_kafka.missing() is not None, reason=f"Apache Kafka cannot be run beside: {apache_kafka.missing()}"),
    pytest.mark.timeout(240),
]

STATIC = "controller.quorum.voters=7@127.0.0.1:9093"
DYNAMIC = "controller.quorum.bootstrap.servers=127.0.0.1:9093"
TWO = "7@127.0.0.1:9093:JEXY6aqzQY-32P5TStzaFg,8@localhost:9094:MvDxzVmcRsaTz33bUuRU6A"
FORMATS = [
    (STATIC, ()),
    (DYNAMIC, ("--standalone",)),
    (DYNAMIC, ("--initial-controllers", TWO)),
    (DYNAMIC, ("--no-initial-controllers",)),
    (DYNAMIC, ("-s", "-r", "4.0")),
    (DYNAMIC, ("-s", "-r", "3.9", "-f", "kraft.version=1")),
    (DYNAMIC, ("-s", "-f", "group.version=0", "-f", "eligible.leader.replicas.version=0")),
    (STATIC, ("-r", "3.5-IV2")),
    (DYNAMIC, ("-s", "-g")),
]
REFUSED = [
    (DYNAMIC, ()),
    (STATIC, ("--standalone",)),
    (STATIC, ("--initial-controllers", TWO)),
    (DYNAMIC, ("-s", "-N")),
    (DYNAMIC, ("-s", "-f", "no.such.version=1")),
    (DYNAMIC, ("-s", "-f", "group.version=9")),
    (DYNAMIC, ("-s", "-f", "kraft.version=0")),
    (STATIC, ("-f", "kraft.version=1")),
    (DYNAMIC, ("-s", "-r", "9.9")),
    (DYNAMIC, ("-s", "-r", "4.0", "-f", "metadata.version=30")),
    (DYNAMIC, ("--initial-controllers", "7@nowhere")),
]


@pytest.fixture(scope="module")
def tools() -> Iterator[Tools]:
    with Tools() as tools:
        yield tools


def settings(folder: Path, quorum: str, port: int = 9093) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "server.properties"
    shown = f"CONTROLLER://127.0.0.1:{port}"
    file.write_text(
        f"process.roles=controller\nnode.id=7\nlog.dirs={folder}/a,{folder}/b\ncontroller.listener.names=CONTROLLER\n"
        f"listeners={shown}\nadvertised.listeners={shown}\n{quorum}\n"
    )
    return file


def at_both(tools: Tools, root: Path, quorum: str, *arguments: str) -> tuple[tuple[int, str], tuple[int, str]]:
    """Exit status and words of theirs and of ours, each in a folder of its own."""
    file = settings(root / "theirs", quorum)
    said = tools.run("storage", "format", "-t", CLUSTER_ID, "-c", str(file), *arguments)
    theirs = said.code, likened(said.everything, root / "theirs")
    file = settings(root / "ours", quorum)
    result = CliRunner().invoke(commands, ["format", "-t", CLUSTER_ID, "-c", str(file), *arguments])
    return theirs, (result.exit_code, likened(result.stdout + result.stderr, root / "ours"))


def likened(text: str, folder: Path) -> str:
    text = "\n".join(line for line in text.replace(str(folder), "<folder>").splitlines() if not line.startswith("\tat "))
    # They say what kind of exception it was where they had not thought of it.
    text = text.replace("java.lang.IllegalArgumentException: ", "")
    # Ids of directories are made up.
    text = re.sub(r"(?<![\w-])[A-Za-z0-9_-]{22}(?![\w-])", "<id>", text)
    # The usage comes before the complaint there, and what a set holds in no order.
    text = re.sub(r"usage: .*?(?=kafka-storage: error:|$)", "", text, flags=re.DOTALL).replace("kafka-storage: error: ", "")
    text = re.sub(r"not\s+allowed\s+with", "not allowed with", text)
    text = re.sub(r"<folder>/[ab] is already", "<one> is already", text)
    # Directories come in the order of a hash set there, of the settings here.
    return "\n".join(sorted(" ".join(line.split()) for line in text.splitlines() if line))


def files_of(tools: Tools, folder: Path) -> dict[str, str]:
    """What is in a node's folders, records decoded."""
    found = {}
    for path in sorted(path for name in ("a", "b") for path in (folder / name).rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        if path.suffix == ".checkpoint":
            said = tools.succeed("dump-log", "--cluster-metadata-decoder", "--skip-record-metadata", "--files", str(path))
            found[name] = "\n".join(re.findall(r"^\| (.*)$", likened_lines(said), re.MULTILINE))
        else:
            # The date in the head of a properties file.
            found[name] = likened_lines("\n".join(sorted(line for line in path.read_text().splitlines() if not line.startswith("#"))))
    return found


def likened_lines(text: str) -> str:
    text = re.sub(r"(?<![\w-])[A-Za-z0-9_-]{22}(?![\w-])", "<id>", text)
    return re.sub(r"\d{13}", "<time>", text)


@pytest.mark.parametrize(("quorum", "arguments"), FORMATS)
def test_formats_alike(tools: Tools, tmp_path: Path, quorum: str, arguments: tuple[str, ...]) -> None:
    theirs, ours = at_both(tools, tmp_path, quorum, *arguments)
    assert ours == theirs
    assert ours[0] == 0
    assert files_of(tools, tmp_path / "ours") == files_of(tools, tmp_path / "theirs")
    # Once more: refused, or passed over when asked to.
    theirs, ours = at_both(tools, tmp_path, quorum, *arguments)
    assert ours == theirs


@pytest.mark.parametrize(("quorum", "arguments"), REFUSED)
def test_refuses_alike(tools: Tools, tmp_path: Path, quorum: str, arguments: tuple[str, ...]) -> None:
    theirs, ours = at_both(tools, tmp_path, quorum, *arguments)
    assert ours == theirs
    assert ours[0] == 1


def test_their_controller_starts_on_our_directory(tools: Tools, tmp_path: Path) -> None:
    address = "127.0.0.1", free_port()
    asked = f"controller.quorum.bootstrap.servers={address[0]}:{address[1]}"
    node = ApacheNode(7, "controller", {}, {"controller.quorum.bootstrap.servers": f"{address[0]}:{address[1]}"}, address[1])
    process = ApacheProcess(tmp_path, CLUSTER_ID, [node])
    file = settings(tmp_path / "ours", asked, address[1])
    file.write_text(file.read_text() + f"log.dirs={process.log_dir(7)}\n")
    flags = ["--standalone", "-r", "4.2", "-S", "SCRAM-SHA-256=[name=alice,password=secret,iterations=4096]"]
    result = CliRunner().invoke(commands, ["format", "-t", CLUSTER_ID, "-c", str(file), *flags])
    assert result.exit_code == 0, result.output
    with process:
        process.wait_ready()
        words = ("--bootstrap-controller", f"{address[0]}:{address[1]}")

        def led() -> str | None:
            said = tools.run("metadata-quorum", *words, "describe", "--status").out
            return said if "LeaderId:" in said and "<id>" in likened_lines(said) else None

        assert '"id": 7, "directoryId"' in wait_for(led, "their controller leads the quorum that we formatted")
        features = tools.succeed("features", *words, "describe")
        assert re.search(r"metadata.version.*FinalizedVersionLevel: 4.2-IV1", features), features
        assert re.search(r"kraft.version.*FinalizedVersionLevel: 1", features), features
        assert not process.lines(" ERROR ")
