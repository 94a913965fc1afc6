"""Apache Kafka's broker beside ours, under controllers of ours, of theirs, and of both: either side is killed under load."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import apache_kafka
from tests.support.apache_nodes import ApacheProcess
from tests.support.mixed_cluster import THEIR_BROKER, Quorum, assert_replicas_agree, mixed_cluster
from tests.support.steady_load import Load, check

pytestmark = [
    pytest.mark.skipif(apache_kafka.missing() is not None, reason=f"Apache Kafka cannot be run beside: {apache_kafka.missing()}"),
    pytest.mark.timeout(400),
    pytest.mark.expects_warnings,
]

SESSION_S = 5.0
EXPECTED = ("ControllerApis", "Failed to load metadata from __consumer_offsets")
# Each broker leads one partition and follows the two others.
ASSIGNMENTS = [[1, 2, 3], [2, 3, 1], [3, 1, 2]]


def complaints(process: ApacheProcess) -> list[str]:
    """What Apache Kafka takes for an error. That it is asked before it leads, or loads what it no longer leads, is none."""
    return [line for line in process.lines(" ERROR ") if not any(known in line for known in EXPECTED)]


@pytest.mark.parametrize("quorum", ["ours", "theirs", "mixed"])
def test_either_side_is_killed_under_load_and_nothing_is_lost(tmp_path: Path, quorum: Quorum) -> None:
    with mixed_cluster(tmp_path, quorum) as cluster:
        cluster.create_topic("orders", ASSIGNMENTS)
        assert cluster.leaders("orders") == {0: 1, 1: 2, 2: 3}
        with Load(cluster.bootstrap_servers, "orders") as load:
            load.wait_for(300)
            # When broker 2 goes it leads most, and theirs leads again.
            for broker_id in (THEIR_BROKER, 1, 2):
                cluster.kill(broker_id)
                cluster.wait_led_without("orders", broker_id)
                load.wait_for(300)
                assert broker_id != 2 or THEIR_BROKER in cluster.leaders("orders").values()
                cluster.start(broker_id)
                cluster.wait_in_sync("orders")
            load.wait_for(100)

            # Stopped in order, either side hands over what it leads; nobody waits for a session to run out.
            load.longest_gap_s = 0.0
            for broker_id in (THEIR_BROKER, 1):
                cluster.stop(broker_id)
                cluster.wait_led_without("orders", broker_id)
                load.wait_for(100)
                cluster.start(broker_id)
                cluster.wait_in_sync("orders")
            assert load.longest_gap_s < SESSION_S
        cluster.wait_in_sync("orders")
        check(cluster.bootstrap_servers, "orders", load)
        assert set(load.acked) == {0, 1, 2}
        # Nor did their broker find anything wrong with ours.
        assert not complaints(cluster.theirs)
    assert_replicas_agree(cluster, "orders", len(ASSIGNMENTS))
