"""Nodes that do not belong: of another cluster, or with the id of one that lives. They are refused by Kafka's code, by either kind."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.support import apache_kafka
from tests.support.apache_kafka import CLUSTER_ID
from tests.support.apache_nodes import ApacheNode, ApacheProcess
from tests.support.lab_nodes import LabNodes
from tests.support.mixed_cluster import OUR_BROKERS, SETTINGS, THEIR_BROKER, mixed_cluster
from tests.support.waiting import wait_for

pytestmark = [
    pytest.mark.skipif(apache_kafka.missing() is not None, reason=f"Apache Kafka cannot be run beside: {apache_kafka.missing()}"),
    pytest.mark.timeout(300),
    pytest.mark.expects_warnings,
]

ANOTHER_CLUSTER = "YW5vdGhlci1jbHVzdGVyLQ"
IMPATIENT = {**SETTINGS, "initial.broker.registration.timeout.ms": "10000"}
ALL = (*OUR_BROKERS, THEIR_BROKER)


def test_our_controllers_refuse_their_strangers(tmp_path: Path) -> None:
    with mixed_cluster(tmp_path, "ours") as cluster:
        stranger = ApacheProcess(tmp_path / "stranger", ANOTHER_CLUSTER, [ApacheNode(4, "broker", cluster.voters, SETTINGS)])
        with stranger:
            wait_for(lambda: stranger.lines("INCONSISTENT_CLUSTER_ID") or None, "the stranger refused")
            stranger.kill()
        twin = ApacheProcess(tmp_path / "twin", CLUSTER_ID, [ApacheNode(OUR_BROKERS[0], "broker", cluster.voters, SETTINGS)])
        with twin:
            wait_for(lambda: twin.lines("DUPLICATE_BROKER_REGISTRATION") or None, "the twin refused")
            twin.kill()
        cluster.wait_brokers(*ALL)
        cluster.create_topic("orders", [list(ALL)])


def test_their_controllers_refuse_our_strangers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with mixed_cluster(tmp_path, "theirs") as cluster:
        with LabNodes(tmp_path / "stranger", ANOTHER_CLUSTER, config=IMPATIENT) as stranger:
            stranger.add(4, "broker", cluster.voters)
            stranger.start()
            failure = failure_of(stranger, 4)
            assert "INCONSISTENT_CLUSTER_ID" in failure and ANOTHER_CLUSTER in failure
            said = [record for record in caplog.records if record.levelno >= logging.ERROR and ANOTHER_CLUSTER in record.getMessage()]
            assert len([record for record in said if "the quorum it asks does not" in record.getMessage()]) == 1
        with LabNodes(tmp_path / "twin", CLUSTER_ID, config=IMPATIENT) as twin:
            twin.add(THEIR_BROKER, "broker", cluster.voters)
            twin.start()
            assert "former process has not expired" in failure_of(twin, THEIR_BROKER)
        cluster.wait_brokers(*ALL)
        cluster.create_topic("orders", [list(ALL)])


def failure_of(lab: LabNodes, node_id: int) -> str:
    """Why a node gave up."""
    runner = lab.runner(node_id)
    return wait_for(lambda: runner.failure if not runner.is_alive else None, f"the end of node {node_id}")
