"""Controllers first: what a broker says and does when they are not there."""

from __future__ import annotations

import logging
import time

import pytest

from kafkalab import Lab
from kafkalab.engine.cluster.errors import HostError
from kafkalab.engine.cluster.host import Isolation
from kafkalab.engine.telemetry.events import NodeCrashed, NodeStarted

WAIT_S = 60


@pytest.mark.expects_warnings
@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_broker_that_finds_no_quorum_says_so_and_gives_up(isolation: Isolation, caplog: pytest.LogCaptureFixture) -> None:
    with Lab(brokers=1, controllers=1, isolation=isolation, config={"initial.broker.registration.timeout.ms": 5_000}) as lab:
        lab.kill(1)
        lab.kill(101)
        events = lab.hub.open_reader()
        lab.restart(1)
        deadline = time.monotonic() + WAIT_S
        crashed: list[NodeCrashed] = []
        while not crashed and time.monotonic() < deadline:
            events.wait_changed(1.0)
            crashed = [event for event in events.drain()[0] if isinstance(event, NodeCrashed)]
        assert len(crashed) == 1
        assert "Failed to connect to controller quorum" in crashed[0].cause
        assert "Start the controllers first" in crashed[0].cause
        assert lab.describe().node(1).state == "crashed"


@pytest.mark.expects_warnings
def test_brokers_that_wait_go_on_when_the_controllers_come() -> None:
    with Lab(brokers=2, controllers=3, config={"broker.session.timeout.ms": 2_000, "broker.heartbeat.interval.ms": 250}) as lab:
        lab.create_topic("orders", partitions=2, replication_factor=2)
        for node_id in (*lab.broker_ids, *lab.controller_ids):
            lab.kill(node_id)
        events = lab.hub.open_reader()
        for node_id in lab.broker_ids:
            lab.restart(node_id)
        with pytest.raises(HostError):
            lab.wait_until_healthy(1.0)
        for node_id in lab.controller_ids:
            lab.restart(node_id)
        lab.wait_until_healthy(WAIT_S)
        started = [event.node_id for event in events.drain()[0] if isinstance(event, NodeStarted)]
        assert started[:2] == list(lab.broker_ids)


@pytest.mark.expects_warnings
def test_a_corrupt_file_stops_its_node_and_no_other(tmp_path: object, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "confluent_kafka")
    with Lab(brokers=3, controllers=1, config={"broker.session.timeout.ms": 2_000, "broker.heartbeat.interval.ms": 250}) as lab:
        lab.create_topic("orders", partitions=1, replication_factor=3)
        lab.stop(2)
        checkpoint = next(lab.data_dir.glob("*broker-2*/recovery-point-offset-checkpoint"))
        checkpoint.write_text("0\n1\norders zero nonsense\n")
        with pytest.raises(HostError, match="recovery-point-offset-checkpoint"):
            lab.restart(2)
        assert lab.describe().node(2).state == "crashed"
        meta = next(lab.data_dir.glob("*broker-3*/meta.properties"))
        lab.stop(3)
        meta.write_text("version=1\ncluster.id=somebody-elses\nnode.id=3\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAw\n")
        with pytest.raises(HostError, match=r"meta\.properties"):
            lab.restart(3)
        assert lab.describe().node(1).is_running
        assert lab.describe().leader("orders", 0) == 1
