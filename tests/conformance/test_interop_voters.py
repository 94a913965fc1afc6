"""A quorum whose voters come and go (KIP-853): it moves from Apache Kafka's controller to ours while it works, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from kafkalab.engine.log.meta_properties import META_PROPERTIES_FILE
from kafkalab.engine.log.reader import LogDirReader
from tests.support import apache_kafka
from tests.support.apache_kafka import CLUSTER_ID, free_port
from tests.support.apache_nodes import ApacheNode, ApacheProcess
from tests.support.apache_tools import Tools
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
WAIT_S = 30.0
SETTINGS = {"default.replication.factor": "1", "offsets.topic.replication.factor": "1"}

Address = tuple[str, int]


class Quorum:
    """What ``kafka-metadata-quorum`` says of a quorum, and does to it."""

    def __init__(self, tools: Tools, addresses: Sequence[Address], directory: Path) -> None:
        self._tools = tools
        self._asked = ("--bootstrap-controller", ",".join(f"{host}:{port}" for host, port in addresses))
        # Who left is still asked, and shall not be waited for.
        self._patience = directory / "patience.properties"
        self._patience.write_text("default.api.timeout.ms=4000\nrequest.timeout.ms=2000\n")

    def status(self) -> dict[str, str]:
        said = self._tools.run("metadata-quorum", "--command-config", str(self._patience), *self._asked, "describe", "--status")
        return dict(re.findall(r"^(\w+):\s+(.*)$", said.out, re.MULTILINE))

    def add(self, properties: Path) -> None:
        """Add the controller that these are the settings of, once it has the log."""

        def is_added() -> bool:
            said = self._tools.run("metadata-quorum", "--command-config", str(properties), *self._asked, "add-controller")
            # The answer to an earlier request may have come too late.
            return said.code == 0 or "already part of the set of voters" in said.everything

        wait_for(is_added, "a controller added")

    def remove(self, node_id: int, log_dir: Path) -> None:
        flags = ("--controller-id", str(node_id), "--controller-directory-id", directory_id(log_dir))
        said = self._tools.run("metadata-quorum", *self._asked, "remove-controller", *flags)
        assert said.code == 0, said.everything

    def wait_voters(self, voters: Collection[int], leaders: Collection[int]) -> None:
        """Until these vote, and one of those leads."""

        def asked() -> bool:
            status = self.status()
            present = {voter["id"] for voter in json.loads(status.get("CurrentVoters", "[]"))}
            return present == set(voters) and int(status["LeaderId"]) in leaders

        wait_for(lambda: asked() or None, f"voters {voters}, led by one of {leaders}")


def directory_id(log_dir: Path) -> str:
    text = (log_dir / META_PROPERTIES_FILE).read_text()
    return text.partition("directory.id=")[2].split()[0].replace("\\", "")


def create(admin: AdminClient, topic: str) -> None:
    admin.create_topics([NewTopic(topic, 3, 1)], operation_timeout=WAIT_S)[topic].result(WAIT_S)


def wait_topics(admin: AdminClient, *topics: str) -> None:
    """Until the broker knows of these; it may hear of one a moment after whoever had it created."""
    wait_for(lambda: set(admin.list_topics(timeout=WAIT_S).topics) >= set(topics) or None, f"topics {topics}")


@pytest.fixture
def tools() -> Iterator[Tools]:
    with Tools() as tools:
        yield tools


def their_controller(directory: Path, address: Address, bootstrap: Address, flag: str, config: dict[str, str]) -> ApacheProcess:
    settings = {**SETTINGS, **config, "controller.quorum.bootstrap.servers": f"{bootstrap[0]}:{bootstrap[1]}"}
    return ApacheProcess(directory, CLUSTER_ID, [ApacheNode(THEIRS, "controller", {}, settings, address[1])], format_flags=[flag])


def test_a_quorum_moves_from_apache_kafka_to_us(tmp_path: Path, tools: Tools) -> None:
    addresses = {node_id: ("127.0.0.1", free_port()) for node_id in (*OURS, THEIRS)}
    theirs = their_controller(tmp_path, addresses[THEIRS], addresses[THEIRS], "--standalone", {})
    with LabNodes(tmp_path, CLUSTER_ID, config=SETTINGS) as lab, theirs:
        everybody = list(addresses.values())
        for node_id in OURS:
            lab.add(node_id, "controller", {}, port=addresses[node_id][1], bootstrap_servers=everybody)
        lab.add(BROKER, "broker", {}, bootstrap_servers=everybody)
        theirs.wait_ready()
        lab.start(BROKER)
        admin = AdminClient({"bootstrap.servers": lab.bootstrap_servers, "log_level": 0, "reconnect.backoff.max.ms": 500})
        wait_for(lambda: BROKER in admin.list_topics(timeout=WAIT_S).brokers or None, "our broker in service")
        create(admin, "under-theirs")
        quorum = Quorum(tools, everybody, tmp_path)
        for node_id in OURS:
            lab.start(node_id)
            quorum.add(lab.properties_file(node_id))
        quorum.wait_voters((*OURS, THEIRS), [THEIRS])
        create(admin, "under-all-three")
        quorum.remove(THEIRS, theirs.log_dir(THEIRS))
        quorum.wait_voters(OURS, OURS)
        create(admin, "under-ours")
        theirs.stop()
        create(admin, "without-theirs")
        # A quorum of two needs both; the one that starts again finds the other.
        lab.stop(OURS[0])
        lab.start(OURS[0])
        quorum.wait_voters(OURS, OURS)
        create(admin, "after-a-restart")
        wait_topics(admin, "under-theirs", "under-all-three", "under-ours", "without-theirs", "after-a-restart")
    for node_id in OURS:
        assert LogDirReader(lab.data_dir(node_id)).meta_properties.cluster_id == CLUSTER_ID


def test_a_quorum_moves_from_us_to_apache_kafka_which_joins_by_itself(tmp_path: Path, tools: Tools) -> None:
    addresses = {node_id: ("127.0.0.1", free_port()) for node_id in (OURS[0], THEIRS)}
    everybody = list(addresses.values())
    ours = OURS[0]
    theirs = their_controller(
        tmp_path, addresses[THEIRS], addresses[ours], "--no-initial-controllers", {"controller.quorum.auto.join.enable": "true"}
    )
    with LabNodes(tmp_path, CLUSTER_ID, config=SETTINGS) as lab:
        lab.add(ours, "controller", {}, port=addresses[ours][1], bootstrap_servers=everybody)
        lab.add(BROKER, "broker", {}, bootstrap_servers=everybody)
        # Formatted by Apache Kafka's tool.
        said = tools.run("storage", "format", "-t", CLUSTER_ID, "-c", str(lab.properties_file(ours)), "--standalone")
        assert said.code == 0, said.everything
        lab.start(ours, BROKER)
        admin = AdminClient({"bootstrap.servers": lab.bootstrap_servers, "log_level": 0, "reconnect.backoff.max.ms": 500})
        wait_for(lambda: BROKER in admin.list_topics(timeout=WAIT_S).brokers or None, "our broker in service")
        create(admin, "under-ours")
        quorum = Quorum(tools, everybody, tmp_path)
        with theirs:
            theirs.wait_ready()
            quorum.wait_voters((ours, THEIRS), [ours])
            create(admin, "under-both")
            quorum.remove(ours, lab.data_dir(ours))
            quorum.wait_voters([THEIRS], [THEIRS])
            create(admin, "under-theirs")
            lab.stop(ours)
            create(admin, "without-ours")
            wait_topics(admin, "under-ours", "under-both", "under-theirs", "without-ours")
            assert not [line for line in theirs.lines(" ERROR ") if "ControllerApis" not in line]
            lab.stop(BROKER)
