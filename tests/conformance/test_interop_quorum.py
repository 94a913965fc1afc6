"""A quorum of two of our controllers and one of Apache Kafka's: it elects, replicates, and takes snapshots from each other."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from kafkalab.engine.common.ids import METADATA_PARTITION
from kafkalab.engine.log.reader import PartitionReader
from tests.support import apache_kafka
from tests.support.apache_kafka import CLUSTER_ID, free_port
from tests.support.apache_nodes import ApacheNode, ApacheProcess
from tests.support.apache_tools import Tools, run_alone
from tests.support.lab_nodes import LabNodes
from tests.support.waiting import wait_for

pytestmark = [
    pytest.mark.skipif(apache_kafka.missing() is not None, reason=f"Apache Kafka cannot be run beside: {apache_kafka.missing()}"),
    pytest.mark.timeout(300),
    pytest.mark.expects_warnings,
]

OURS = (101, 102)
THEIRS = 103
BROKER = 1
PARTITIONS = 20
WAIT_S = 60.0
SETTINGS = {
    # A quorum on a busy machine shall not elect because somebody had no turn for two seconds.
    "controller.quorum.fetch.timeout.ms": "4000",
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "metadata.max.idle.interval.ms": "0",
}
OFTEN = {"metadata.log.max.record.bytes.between.snapshots": "4000"}


@dataclass(frozen=True)
class MixedQuorum:
    """The three controllers and a broker of ours."""

    lab: LabNodes
    theirs: ApacheProcess
    voters: Mapping[int, tuple[str, int]]
    admin: AdminClient
    tools: Tools

    def metadata_dir(self, node_id: int) -> Path:
        """Where a node has its metadata log."""
        log_dir = self.theirs.log_dir(THEIRS) if node_id == THEIRS else self.lab.data_dir(node_id)
        return log_dir / str(METADATA_PARTITION)

    def create_topics(self, prefix: str, count: int, partitions: int = PARTITIONS) -> None:
        """One after the other, so that they do not come in one batch."""
        for number in range(count):
            topic = f"{prefix}{number}"
            self.admin.create_topics([NewTopic(topic, partitions, 1)], operation_timeout=WAIT_S)[topic].result(WAIT_S)

    def status(self) -> dict[str, str]:
        """What ``kafka-metadata-quorum describe --status`` says, as soon as somebody can tell."""
        controllers = ",".join(f"{host}:{port}" for host, port in self.voters.values())
        patience = self.theirs.log_dir(THEIRS).with_name("patience.properties")
        patience.write_text("default.api.timeout.ms=4000\nrequest.timeout.ms=2000\n")
        asked = ("--command-config", str(patience), "--bootstrap-controller", controllers, "describe", "--status")

        def told() -> dict[str, str] | None:
            status = dict(re.findall(r"^(\w+):\s+(.*)$", self.tools.run("metadata-quorum", *asked).out, re.MULTILINE))
            return status if int(status.get("LeaderId", -1)) >= 0 else None

        return wait_for(told, "what the leader of the quorum says")

    def leader(self) -> int:
        """The active controller, as soon as there is one."""
        return int(self.status()["LeaderId"])

    def wait_leader_but(self, former: int) -> int:
        """Until another one leads."""

        def another() -> int | None:
            leader = self.leader()
            return leader if leader != former else None

        return wait_for(another, f"another leader of the quorum than {former}")

    def wait_level(self) -> None:
        """Until all voters have all of the log."""

        def all_level() -> bool:
            status = self.status()
            voters = json.loads(status["CurrentVoters"])
            return status["MaxFollowerLag"] == "0" and len(voters) == len(self.voters)

        wait_for(all_level, "all voters at the end of the log")

    def let_theirs_lead(self) -> None:
        """One of ours falls behind, the other one dies: only theirs can be elected."""
        behind, dies = OURS
        self.lab.stop(behind)
        self.create_topics("only-theirs-has-", 1)
        self.lab.kill(dies)
        self.lab.start(behind)
        assert self.leader() == THEIRS

    def snapshots(self, node_id: int) -> dict[str, Path]:
        """A node's snapshots by their name."""
        return {path.stem: path for path in self.metadata_dir(node_id).glob("*-*.checkpoint") if path.stem[0].isdigit()}


@contextmanager
def mixed_quorum(directory: Path, config: Mapping[str, str] | None = None) -> Iterator[MixedQuorum]:
    settings = {**SETTINGS, **(config or {})}
    voters = {node_id: ("127.0.0.1", free_port()) for node_id in (*OURS, THEIRS)}
    theirs = ApacheProcess(directory, CLUSTER_ID, [ApacheNode(THEIRS, "controller", voters, settings, voters[THEIRS][1])])
    with Tools() as tools, LabNodes(directory, CLUSTER_ID, config=settings) as lab, theirs:
        for node_id in OURS:
            lab.add(node_id, "controller", voters, port=voters[node_id][1])
        lab.add(BROKER, "broker", voters)
        lab.start()
        theirs.wait_ready()
        admin = AdminClient({"bootstrap.servers": lab.bootstrap_servers, "log_level": 0, "reconnect.backoff.max.ms": 500})
        quorum = MixedQuorum(lab, theirs, voters, admin, tools)
        wait_for(lambda: list(admin.list_topics(timeout=WAIT_S).brokers) == [BROKER] or None, "the broker in service")
        quorum.wait_level()
        yield quorum


def complaints(process: ApacheProcess) -> list[str]:
    """What Apache Kafka takes for an error. That it is asked before it has come so far, or before it leads, is none."""
    return [line for line in process.lines(" ERROR ") if "ControllerApis" not in line]


def log_of(quorum: MixedQuorum, node_id: int) -> dict[int, bytes]:
    """A node's metadata log: its batches by their offset."""
    return {batch.header.base_offset: batch.data for batch in PartitionReader(quorum.metadata_dir(node_id)).batches()}


def test_each_kind_leads_and_all_have_the_same_log(tmp_path: Path) -> None:
    with mixed_quorum(tmp_path) as quorum:
        first = quorum.leader()
        quorum.create_topics("first-", 3)
        if first in OURS:
            quorum.lab.stop(first)
            second = quorum.wait_leader_but(first)
            quorum.create_topics("second-", 3)
            quorum.lab.start(first)
            quorum.wait_level()
            assert quorum.leader() == second

        quorum.let_theirs_lead()
        quorum.create_topics("theirs-", 3)
        quorum.lab.start(OURS[1])
        quorum.wait_level()
        assert quorum.leader() == THEIRS

        # It says goodbye, and one of ours follows at once.
        quorum.theirs.stop()
        assert quorum.wait_leader_but(THEIRS) in OURS
        quorum.create_topics("ours-", 3)
        quorum.theirs.start()
        quorum.theirs.wait_ready()
        quorum.wait_level()

        expected = {f"{prefix}-{number}" for prefix in ("first", "theirs", "ours") for number in range(3)}
        wait_for(lambda: set(quorum.admin.list_topics(timeout=WAIT_S).topics) >= expected or None, "all topics at the broker")
        assert not complaints(quorum.theirs)
        end = int(quorum.status()["HighWatermark"])
    logs = {node_id: log_of(quorum, node_id) for node_id in (*OURS, THEIRS, BROKER)}
    for node_id, log in logs.items():
        common = {offset: data for offset, data in log.items() if offset < end}
        assert common == {offset: data for offset, data in logs[THEIRS].items() if offset < end}, f"the log of node {node_id}"


def test_snapshots_are_taken_from_each_other(tmp_path: Path) -> None:
    with mixed_quorum(tmp_path, OFTEN) as quorum:
        quorum.create_topics("before-", 12)
        quorum.wait_level()
        assert quorum.leader() in OURS
        wait_for(lambda: all(quorum.snapshots(node_id) for node_id in (*OURS, THEIRS, BROKER)) or None, "snapshots")

        # Theirs loses its disk, and takes a snapshot from one of ours.
        quorum.theirs.stop()
        shutil.rmtree(quorum.theirs.log_dir(THEIRS))
        quorum.theirs.start()
        quorum.theirs.wait_ready()
        ((name, taken),) = wait_for(lambda: quorum.snapshots(THEIRS) or None, "a snapshot at theirs").items()
        quorum.wait_level()
        assert taken.read_bytes() == quorum.snapshots(quorum.leader())[name].read_bytes()
        assert 0 not in log_of(quorum, THEIRS)

        # What the log grew by since the last one decides when the next is due. What each counts from may differ, but a batch
        # that is large enough alone makes either write one behind it, unless it was busy and took two batches at once.
        leader = quorum.leader()
        numbers = itertools.count()

        def of_both() -> set[str] | None:
            quorum.create_topics(f"more-{next(numbers)}-", 1, 3 * PARTITIONS)
            return set(quorum.snapshots(leader)) & set(quorum.snapshots(THEIRS)) - {name} or None

        both = wait_for(of_both, "a snapshot of both kinds")
        assert_same_image(quorum, max(both), (leader, THEIRS), tmp_path)

        # Ours does, and takes one from theirs.
        quorum.let_theirs_lead()
        quorum.create_topics("theirs-", 6)
        shutil.rmtree(quorum.lab.data_dir(OURS[1]))
        quorum.lab.start(OURS[1])
        ((name, taken),) = wait_for(lambda: quorum.snapshots(OURS[1]) or None, "a snapshot at ours").items()
        quorum.wait_level()
        assert taken.read_bytes() == quorum.snapshots(THEIRS)[name].read_bytes()
        assert 0 not in log_of(quorum, OURS[1])

        # So does our broker, which knows of all topics then.
        quorum.lab.stop(BROKER)
        shutil.rmtree(quorum.metadata_dir(BROKER))
        quorum.lab.start(BROKER)
        wait_for(lambda: "before-0" in quorum.admin.list_topics(timeout=WAIT_S).topics or None, "the broker in service again")
        assert 0 not in log_of(quorum, BROKER)
        # The loss of the whole disk makes a new directory of a voter, which a quorum of static voters does not mind.
        quorum.create_topics("after-", 6)
        quorum.wait_level()
        assert not complaints(quorum.theirs)


def assert_same_image(quorum: MixedQuorum, snapshot: str, nodes: tuple[int, int], directory: Path) -> None:
    """``kafka-dump-log`` and ``kafka-metadata-shell`` find the same in our snapshot and in theirs."""
    found = []
    for node_id in nodes:
        # The shell wants the lock of the directory, which its node has.
        (copies := directory / f"copies-{node_id}").mkdir()
        path = Path(shutil.copy(quorum.snapshots(node_id)[snapshot], copies))
        said = quorum.tools.run("dump-log", "--cluster-metadata-decoder", "--skip-record-metadata", "--files", str(path))
        records = re.findall(r"payload: (\{.*\})$", said.out, re.MULTILINE)
        # On a busy machine the shell answers before it has read further than the header.
        shell = wait_for(partial(_shown, path), f"the shell to have read {path}")
        assert len(records) > PARTITIONS, said.everything
        found.append((sorted(json.dumps(_unordered(json.loads(record)), sort_keys=True) for record in records), shell))
    assert found[0] == found[1]


def _shown(path: Path) -> str | None:
    said = run_alone("metadata-shell", "--snapshot", str(path), "find", "/image")
    return said.out if "/image/topics/byName/before-0" in said.out else None


def _unordered(value: object) -> object:
    """Features are listed in no order."""
    if isinstance(value, dict):
        return {key: sorted(map(json.dumps, inner)) if key == "features" else _unordered(inner) for key, inner in value.items()}
    return value
