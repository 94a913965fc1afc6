"""Apache Kafka's command line tools, by their names without ``kafka-`` and ``.sh``."""

from __future__ import annotations

import base64
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

from tests.support.apache_kafka import classpath

TIMEOUT_S: Final = 120.0
_SOURCE: Final = Path(__file__).with_name("java") / "Tools.java"
_TOOLS: Final = "org.apache.kafka.tools."
MAIN_CLASSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "broker-api-versions": _TOOLS + "BrokerApiVersionsCommand",
        "cluster": _TOOLS + "ClusterTool",
        "configs": "kafka.admin.ConfigCommand",
        "console-consumer": _TOOLS + "consumer.ConsoleConsumer",
        "console-producer": _TOOLS + "ConsoleProducer",
        "consumer-groups": _TOOLS + "consumer.group.ConsumerGroupCommand",
        "delete-records": _TOOLS + "DeleteRecordsCommand",
        "dump-log": _TOOLS + "DumpLogSegments",
        "features": _TOOLS + "FeatureCommand",
        "get-offsets": _TOOLS + "GetOffsetShell",
        "groups": _TOOLS + "GroupsCommand",
        "leader-election": _TOOLS + "LeaderElectionCommand",
        "log-dirs": _TOOLS + "LogDirsCommand",
        "metadata-quorum": _TOOLS + "MetadataQuorumCommand",
        "metadata-shell": "org.apache.kafka.shell.MetadataShell",
        "reassign-partitions": _TOOLS + "reassign.ReassignPartitionsCommand",
        "replica-verification": _TOOLS + "ReplicaVerificationTool",
        "storage": "kafka.tools.StorageTool",
        "topics": _TOOLS + "TopicCommand",
        "verifiable-producer": _TOOLS + "VerifiableProducer",
    }
)


@dataclass(frozen=True)
class Said:
    """What a tool printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def everything(self) -> str:
        return self.out + self.err


def run_alone(name: str, *arguments: str, timeout: float = TIMEOUT_S) -> Said:
    """Run a tool in a process of its own: some print only when that ends."""
    command = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off"]
    done = subprocess.run(
        [*command, "-cp", classpath(), MAIN_CLASSES[name], *arguments], capture_output=True, text=True, timeout=timeout, check=False
    )
    return Said(done.returncode, done.stdout, done.stderr)


class Tools:
    """One Java process in which they run one after the other: a second for the first, a fraction of it for the rest."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]
        command += ["-cp", classpath(), str(_SOURCE)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        process, self._process = self._process, None
        assert process is not None and process.stdin is not None and process.stdout is not None, "they are ended once"
        process.kill()
        process.wait(TIMEOUT_S)
        process.stdin.close()
        process.stdout.close()

    def run(self, name: str, *arguments: str, stdin: str = "", timeout: float = TIMEOUT_S) -> Said:
        """Run a tool to its end. One that takes longer is ended, and all others with it."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None, "it is a context manager"
        words = [MAIN_CLASSES[name], stdin, *arguments]
        process.stdin.write(b" ".join(base64.b64encode(word.encode()) for word in words) + b"\n")
        process.stdin.flush()
        late = threading.Timer(timeout, process.kill)
        late.start()
        try:
            answer = process.stdout.readline()
        finally:
            late.cancel()
            late.join()
        assert answer, f"{name} {' '.join(arguments)} did not end within {timeout:g} s"
        code, out, err = answer.rstrip(b"\n").split(b" ")
        return Said(int(code), base64.b64decode(out).decode(), base64.b64decode(err).decode())

    def succeed(self, name: str, *arguments: str, stdin: str = "") -> str:
        """Run a tool that must succeed; what it printed."""
        said = self.run(name, *arguments, stdin=stdin)
        assert said.code == 0, f"{name} {' '.join(arguments)} ended with {said.code}:\n{said.everything}"
        return said.out

    def fail(self, name: str, *arguments: str, stdin: str = "") -> str:
        """Run a tool that must not succeed; what it said of that."""
        said = self.run(name, *arguments, stdin=stdin)
        assert said.code != 0, f"{name} {' '.join(arguments)} succeeded:\n{said.everything}"
        return said.everything
