"""Single nodes of Apache Kafka that join a quorum of somebody else's, or that somebody else joins."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from tests.support.apache_kafka import classpath, free_port

_STARTED: Final = "NODES STARTED"
START_TIMEOUT_S: Final = 150.0
STOP_TIMEOUT_S: Final = 30.0
_SOURCE: Final = Path(__file__).with_name("java") / "Nodes.java"

Voters = Mapping[int, tuple[str, int]]


@dataclass(frozen=True)
class ApacheNode:
    """What one of them is told of itself."""

    node_id: int
    role: str
    """``broker`` or ``controller``."""
    voters: Voters
    config: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def properties(self, log_dir: Path) -> str:
        """Its ``server.properties``; timeouts are Kafka's own unless ``config`` says otherwise."""
        shown = f"{'PLAINTEXT' if self.role == 'broker' else 'CONTROLLER'}://127.0.0.1:{self.port}"
        settings = {
            "process.roles": self.role,
            "node.id": str(self.node_id),
            "log.dirs": str(log_dir),
            "listeners": shown,
            "advertised.listeners": shown,
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "group.initial.rebalance.delay.ms": "0",
            **({"controller.quorum.voters": voters_text(self.voters)} if self.voters else {}),
            **({"inter.broker.listener.name": "PLAINTEXT"} if self.role == "broker" else {}),
            **self.config,
        }
        return "".join(f"{key}={value}\n" for key, value in settings.items())


def voters_text(voters: Voters) -> str:
    """``controller.quorum.voters`` as Kafka reads it."""
    return ",".join(f"{node_id}@{host}:{port}" for node_id, (host, port) in sorted(voters.items()))


class ApacheProcess:
    """Some nodes in one Java process: they start, stop and die together.

    A quorum of three thus needs no three processes, and killing one process may still leave a majority in another.
    What they say goes to ``<directory>/<ids>.log``.
    """

    def __init__(self, directory: Path, cluster_id: str, nodes: Sequence[ApacheNode], *, format_flags: Sequence[str] = ()) -> None:
        self.nodes = tuple(nodes)
        self._directory = directory
        self._cluster_id = cluster_id
        self._format_flags = tuple(format_flags)
        self._process: subprocess.Popen[bytes] | None = None
        self._starts_before = 0
        self._output: IO[bytes] | None = None
        name = "-".join(str(node.node_id) for node in nodes)
        self._log_file = directory / f"{name}.log"

    def log_dir(self, node_id: int) -> Path:
        """Where a node keeps its files."""
        return self._directory / f"apache-{node_id}"

    @property
    def log(self) -> str:
        """All that its nodes have said so far, in all their lives."""
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""

    def lines(self, *words: str) -> list[str]:
        """The lines of the log that have all of these words."""
        return [line for line in self.log.splitlines() if all(word in line for word in words)]

    def start(self) -> None:
        """Start the process; :meth:`wait_ready` waits for its nodes."""
        assert self._process is None, "it runs"
        self._directory.mkdir(parents=True, exist_ok=True)
        files = []
        for node in self.nodes:
            file = self._directory / f"apache-{node.node_id}.properties"
            file.write_text(node.properties(self.log_dir(node.node_id)))
            files.append(str(file))
        # Quick to start rather than fast at length; the class path is of Maven's.
        command = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=info", "-Dorg.slf4j.simpleLogger.showDateTime=true"]
        command += ["-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS", "-cp", classpath(), str(_SOURCE), self._cluster_id, *files]
        if self._format_flags:
            command += ["--", *self._format_flags]
        self._output = self._log_file.open("ab")
        self._starts_before = self.log.count(_STARTED)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=self._output, stderr=self._output)

    def wait_ready(self, timeout: float = START_TIMEOUT_S) -> None:
        """Wait until all its nodes have started: controllers are in the quorum, brokers unfenced."""
        deadline = time.monotonic() + timeout
        while self.log.count(_STARTED) <= self._starts_before:
            assert self._process is not None and self._process.poll() is None, f"Apache Kafka ended:\n{self.log[-6000:]}"
            assert time.monotonic() < deadline, f"Apache Kafka did not start within {timeout:g} s:\n{self.log[-6000:]}"
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL to the process: all its nodes are gone."""
        with self._ending() as process:
            process.kill()

    def stop(self) -> None:
        """Stop its nodes in order: brokers hand over what they lead, a leading controller resigns."""
        with self._ending() as process:
            process.terminate()

    @contextmanager
    def _ending(self) -> Iterator[subprocess.Popen[bytes]]:
        process, self._process = self._process, None
        assert process is not None and process.stdin is not None and self._output is not None, "it does not run"
        yield process
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # Its end would have been a reason to stop; it was held open until now.
        process.stdin.close()
        self._output.close()

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None:
            self.kill() if error is not None else self.stop()
