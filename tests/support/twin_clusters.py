"""Two clusters of three brokers and three controllers, alike but for who made them: Apache Kafka's and ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kafkalab.engine.protocol.apis import ApiKey
from tests.support.apache_kafka import CLUSTER_ID, free_port
from tests.support.apache_nodes import ApacheNode, ApacheProcess
from tests.support.apache_tools import Said, Tools
from tests.support.lab_nodes import LabNodes
from tests.support.raw_client import RawClient
from tests.support.waiting import wait_for

BROKERS: Final = (1, 2, 3)
CONTROLLERS: Final = (101, 102, 103)
AT_BROKERS: Final = "@brokers"
AT_CONTROLLERS: Final = "@controllers"
SETTINGS: Final = {
    "default.replication.factor": "3",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "3",
    "offsets.topic.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    # Nobody dies here, and on a busy machine nobody is to be thought dead.
    "broker.session.timeout.ms": "60000",
    "controller.quorum.fetch.timeout.ms": "10000",
}
_SECRET: Final = re.compile(r"(?<![\w-])[A-Za-z0-9_-]{22}(?![\w-])")
"""Ids of topics, directories, incarnations."""


@dataclass(frozen=True)
class Cluster:
    """Where one of the two can be reached."""

    directory: Path
    folder: str
    """What the nodes' folders in it are called before the id."""
    brokers: Mapping[int, int]
    controllers: Mapping[int, int]

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.brokers.values())

    @property
    def bootstrap_controllers(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.controllers.values())

    def log_dir(self, node_id: int) -> Path:
        """Where a node keeps its files."""
        return self.directory / f"{self.folder}-{node_id}"

    def likened(self, text: str) -> str:
        """What a tool said, without what must differ between two clusters."""
        for node_id, port in (*self.brokers.items(), *self.controllers.items()):
            text = text.replace(str(self.log_dir(node_id)), f"<dir of {node_id}>")
            text = re.sub(rf"(?<!\d){port}(?!\d)", f"<port of {node_id}>", text)
        text = _SECRET.sub("<id>", text)
        text = re.sub(r"adminclient-\d+", "adminclient", text)
        text = re.sub(r"Epoch: \d+", "Epoch: <n>", text)
        text = re.sub(r"Local controller \d+", "Local controller <id>", text)
        # A set has no order.
        text = re.sub(r"Isr: ([\d,]+)", lambda found: "Isr: " + ",".join(sorted(found[1].split(","))), text)
        # Columns are as wide as the widest word in them, and some of the words have just been replaced.
        text = re.sub(r" +", " ", text)
        return "\n".join(line.rstrip() for line in text.splitlines() if not line.startswith("\tat "))


@dataclass(frozen=True)
class Twins:
    """The two, and the tools."""

    apache: Cluster
    ours: Cluster
    tools: Tools

    def each(self, tool: str, *arguments: str, stdin: str = "") -> tuple[Said, Said]:
        """Run a tool at both, Apache Kafka's first; ``@brokers`` and ``@controllers`` stand for where to ask."""
        said = []
        for cluster in (self.apache, self.ours):
            words: list[str] = []
            for word in arguments:
                match word:
                    case "@brokers":
                        words += ["--bootstrap-server", cluster.bootstrap_servers]
                    case "@controllers":
                        words += ["--bootstrap-controller", cluster.bootstrap_controllers]
                    case _:
                        words.append(word)
            one = self.tools.run(tool, *words, stdin=stdin)
            said.append(Said(one.code, cluster.likened(one.out), cluster.likened(one.err)))
        apache, ours = said
        return apache, ours

    def settled(self, wanted: str, tool: str, *arguments: str) -> Said:
        """What both come to say alike, with something in it: their brokers hear of a change one after another."""

        def asked() -> Said | None:
            apache, ours = self.each(tool, *arguments)
            return ours if ours == apache and re.search(wanted, ours.out) else None

        return wait_for(asked, f"both to say {wanted} to {tool} {' '.join(arguments)}")

    def alike(self, tool: str, *arguments: str, stdin: str = "") -> Said:
        """Both must say the same and end the same way; what ours said."""
        apache, ours = self.each(tool, *arguments, stdin=stdin)
        assert ours == apache, f"{tool} {' '.join(arguments)}"
        return ours


def _in_service(port: int) -> set[int]:
    with RawClient(f"127.0.0.1:{port}") as client:
        answer = client.ask(ApiKey.METADATA, 12, {"topics": [], "allow_auto_topic_creation": False})
        return {one.node_id for one in answer.brokers}


@contextmanager
def twin_clusters(directory: Path, tools: Tools) -> Iterator[Twins]:
    """Start both with the same settings."""
    clusters = [
        Cluster(directory, folder, {node_id: free_port() for node_id in BROKERS}, {node_id: free_port() for node_id in CONTROLLERS})
        for folder in ("apache", "lab")
    ]
    apache, ours = clusters
    their_voters, our_voters = ({node_id: ("127.0.0.1", port) for node_id, port in one.controllers.items()} for one in clusters)
    nodes = [ApacheNode(node_id, "controller", their_voters, SETTINGS, port) for node_id, port in apache.controllers.items()]
    nodes += [ApacheNode(node_id, "broker", their_voters, SETTINGS, port) for node_id, port in apache.brokers.items()]
    with ApacheProcess(directory, CLUSTER_ID, nodes) as process, LabNodes(directory, CLUSTER_ID, config=SETTINGS) as lab:
        for node_id, port in ours.controllers.items():
            lab.add(node_id, "controller", our_voters, port=port)
        for node_id, port in ours.brokers.items():
            lab.add(node_id, "broker", our_voters, port=port)
        lab.start()
        process.wait_ready()
        for cluster in clusters:
            for port in cluster.brokers.values():
                wait_for(lambda port=port: _in_service(port) == set(BROKERS), "all brokers in service")  # type: ignore[misc]
        yield Twins(apache, ours, tools)
