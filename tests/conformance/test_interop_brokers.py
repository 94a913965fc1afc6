"""Apache Kafka's broker beside ours, under controllers of ours, of theirs, and of both: either side is killed under load."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import apache_kafka
from tests.support.mixed_cluster import THEIR_BROKER, Quorum, assert_replicas_agree, mixed_cluster
from tests.support.steady_load import Load, check

pytestmark = [
    pytest.mark.skipif(apache_kafka.missing() is not None, reason=f"Apache Kafka cannot be run beside: {apache_kafka.missing()}"),
    pytest.mark.timeout(240),
    pytest.mark.expects_warnings,
]

# Each broker leads one partition and follows the two others.
ASSIGNMENTS = [[1, 2, 3], [2, 3, 1], [3, 1, 2]]


@pytest.mark.parametrize("quorum", ["ours", "theirs", "mixed"])
def test_either_side_is_killed_under_load_and_nothing_is_lost(tmp_path: Path, quorum: Quorum) -> None:
    with mixed_cluster(tmp_path, quorum) as cluster:
        cluster.create_topic("orders", ASSIGNMENTS)
        assert cluster.leaders("orders") == {0: 1, 1: 2, 2: 3}
        with Load(cluster.bootstrap_servers, "orders") as load:
            load.wait_for(300)

            cluster.theirs.kill()
            cluster.wait_led_without("orders", THEIR_BROKER)
            load.wait_for(300)
            cluster.theirs.start()
            cluster.theirs.wait_ready()
            cluster.wait_in_sync("orders")

            cluster.lab.kill(1)
            cluster.wait_led_without("orders", 1)
            load.wait_for(300)
            cluster.lab.start(1)
            cluster.wait_in_sync("orders")

            # Broker 2 leads most by now; when it goes, theirs leads again.
            cluster.lab.kill(2)
            cluster.wait_led_without("orders", 2)
            assert THEIR_BROKER in cluster.leaders("orders").values()
            load.wait_for(300)
            cluster.lab.start(2)
            cluster.wait_in_sync("orders")
            load.wait_for(100)
        check(cluster.bootstrap_servers, "orders", load)
        # Every broker served some of it at some time.
        assert set(load.acked) == {0, 1, 2}
    assert_replicas_agree(cluster, "orders", len(ASSIGNMENTS))
