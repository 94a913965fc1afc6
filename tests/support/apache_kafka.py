"""Apache Kafka 4.3.1 itself, from Maven, to compare with: its servers and its tools."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from kafkalab.engine.cluster.layout import hold_port

VERSION: Final = "4.3.1"
CLUSTER_ID: Final = "S2Fma2FMYWJCZW5jaG1hcg"
_WORKER: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8
_PORTS: Final = range(12_000 + 1_000 * _WORKER, 13_000 + 1_000 * _WORKER)
"""Each worker has its own: between the choice of a port and a server on it lie seconds."""
START_TIMEOUT_S: Final = 150.0
_given: Final[dict[int, int]] = {}
"""Ports, and the descriptors of sockets that hold them, where the system lets a server listen beside those: nobody else is given one."""
_POM: Final = Path(__file__).with_name("kafka-pom.xml")
_CACHE_DIR: Final = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "kafkalab"


def missing() -> str | None:
    """What is not on this machine to run it, None when all is there."""
    absent = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    return f"{' and '.join(absent)} not found" if absent else None


def classpath() -> str:
    """Its jars, fetched by Maven the first time, and again when other ones are asked for."""
    asked_for = hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]
    cache = _CACHE_DIR / f"apache-kafka-{VERSION}-{asked_for}.classpath"
    jars = cache.read_text().strip().split(os.pathsep) if cache.exists() else []
    if not jars or not all(os.path.exists(jar) for jar in jars):
        cache.parent.mkdir(parents=True, exist_ok=True)
        command = ["mvn", "-q", "-f", str(_POM), "dependency:build-classpath", f"-Dmdep.outputFile={cache}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        jars = cache.read_text().strip().split(os.pathsep)
    return os.pathsep.join(jar for jar in jars if "log4j-slf4j" not in jar)


def java(main: str, *arguments: str, heap: str = "256m") -> list[str]:
    """The command line of one of its programs."""
    return ["java", f"-Xmx{heap}", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", classpath(), main, *arguments]


def free_port() -> int:
    """A port below those that the system gives to outgoing connections: nothing takes it before the server starts."""
    if len(_given) > len(_PORTS) // 2:
        for held in _given.values():
            if held >= 0:
                os.close(held)
        _given.clear()
    for port in random.sample(_PORTS, len(_PORTS)):
        if port in _given:
            continue
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        held_port = hold_port("127.0.0.1", port) if sys.platform == "linux" else None
        _given[port] = -1 if held_port is None else held_port.detach()
        return port
    raise RuntimeError("no port is free")


@dataclass
class ApacheKafka:
    """A cluster of it: one combined node, or three controllers and three brokers."""

    directory: Path
    brokers: int = 3
    config: Mapping[str, str] = field(default_factory=dict)
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[int, int] = field(default_factory=dict)
    _started_at: float = 0.0

    def __enter__(self) -> Self:
        combined = self.brokers == 1
        self.ports = {node_id: free_port() for node_id in range(1, self.brokers + 1)}
        controllers = {1: free_port()} if combined else {node_id: free_port() for node_id in (101, 102, 103)}
        voters = ",".join(f"{node_id}@127.0.0.1:{port}" for node_id, port in controllers.items())
        nodes = dict.fromkeys(controllers, "controller") | dict.fromkeys(self.ports, "broker,controller" if combined else "broker")
        for node_id, roles in nodes.items():
            self._format(node_id, roles, voters, controllers.get(node_id))
        self._started_at = time.monotonic()
        for node_id in nodes:
            command = java("kafka.Kafka", str(self.directory / f"{node_id}.properties"))
            self.processes[node_id] = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def _format(self, node_id: int, roles: str, voters: str, controller_port: int | None) -> None:
        listeners = []
        if "broker" in roles:
            listeners.append(f"PLAINTEXT://127.0.0.1:{self.ports[node_id]}")
        if controller_port is not None:
            listeners.append(f"CONTROLLER://127.0.0.1:{controller_port}")
        replication = "1" if self.brokers == 1 else "3"
        settings = {
            "process.roles": roles,
            "node.id": str(node_id),
            "log.dirs": str(self.directory / f"node-{node_id}"),
            "listeners": ",".join(listeners),
            "advertised.listeners": ",".join(listeners),
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": voters,
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "offsets.topic.replication.factor": replication,
            "default.replication.factor": replication,
            "group.initial.rebalance.delay.ms": "0",
            **self.config,
        }
        if roles != "controller":
            settings["inter.broker.listener.name"] = "PLAINTEXT"
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / f"{node_id}.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        if (self.directory / f"node-{node_id}" / "meta.properties").exists():
            return
        command = java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(path))
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.ports.values())

    @property
    def seconds_since_start(self) -> float:
        """Since its processes were started; formatting is not in it."""
        return time.monotonic() - self._started_at

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def dump_log(files: Sequence[Path], *flags: str, cwd: Path | None = None) -> tuple[str, str]:
    """What its DumpLogSegments prints of these files: standard output, and what is wrong with them."""
    command = java("org.apache.kafka.tools.DumpLogSegments", "--files", ",".join(map(str, files)), *flags)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@contextmanager
def combined_node(log_dir: Path, *, node_id: int = 1, config: Mapping[str, str] | None = None) -> Iterator[str]:
    """One node of it, broker and controller, over a log directory that may have been written by others; its address.

    A directory without ``meta.properties`` is formatted first. What the node says goes to ``<log_dir>.log``.
    """
    port, controller_port = free_port(), free_port()
    shown = f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}"
    settings = {
        "process.roles": "broker,controller",
        "node.id": str(node_id),
        "log.dirs": str(log_dir),
        "listeners": shown,
        "advertised.listeners": shown,
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"{node_id}@127.0.0.1:{controller_port}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        **(config or {}),
    }
    properties = log_dir.parent / f"{log_dir.name}.properties"
    properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    if not (log_dir / "meta.properties").exists():
        command = java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties))
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    said = log_dir.parent / f"{log_dir.name}.log"
    command = java("kafka.Kafka", str(properties))
    command.insert(1, "-Dorg.slf4j.simpleLogger.defaultLogLevel=info")
    command = [word for word in command if not word.endswith("defaultLogLevel=error")]
    with said.open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while "Kafka Server started" not in said.read_text(errors="replace"):
            assert process.poll() is None, f"Apache Kafka ended:\n{said.read_text(errors='replace')[-4000:]}"
            assert time.monotonic() < deadline, f"Apache Kafka did not start:\n{said.read_text(errors='replace')[-4000:]}"
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
