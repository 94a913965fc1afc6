"""Replicas move between our brokers and Apache Kafka's under load, by its own tools, under controllers of either kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import apache_kafka
from tests.support.apache_tools import Tools
from tests.support.mixed_cluster import THEIR_BROKER, MixedCluster, Quorum, assert_replicas_agree, mixed_cluster
from tests.support.steady_load import Load, check
from tests.support.waiting import wait_for

pytestmark = [
    pytest.mark.skipif(apache_kafka.missing() is not None, reason=f"Apache Kafka cannot be run beside: {apache_kafka.missing()}"),
    pytest.mark.timeout(400),
    pytest.mark.expects_warnings,
]


def reassign(cluster: MixedCluster, tools: Tools, file: Path, assignments: Sequence[Sequence[int]], *flags: str) -> None:
    """Move each partition of ``orders`` to these replicas, and wait until it has been done."""
    partitions = [{"topic": "orders", "partition": number, "replicas": list(replicas)} for number, replicas in enumerate(assignments)]
    file.write_text(json.dumps({"version": 1, "partitions": partitions}))
    words = ("--bootstrap-server", cluster.bootstrap_servers, "--reassignment-json-file", str(file))
    tools.succeed("reassign-partitions", *words, "--execute", *flags)

    def moved() -> bool:
        return tools.succeed("reassign-partitions", *words, "--verify").count("is completed") == len(assignments)

    wait_for(lambda: moved() or None, f"moved to {assignments}")
    tools.succeed("leader-election", *words[:2], "--election-type", "preferred", "--all-topic-partitions")
    wait_for(lambda: cluster.leaders("orders") == {n: replicas[0] for n, replicas in enumerate(assignments)} or None, "preferred leaders")


@pytest.mark.parametrize("quorum", ["ours", "theirs"])
def test_replicas_move_between_both_kinds_under_load(tmp_path: Path, quorum: Quorum) -> None:
    # Theirs has two log directories, and tells the controllers in which of them its replicas are.
    directories = [tmp_path / f"apache-{THEIR_BROKER}", tmp_path / f"apache-{THEIR_BROKER}-second"]
    their_config = {"log.dirs": ",".join(map(str, directories))}
    with Tools() as tools, mixed_cluster(tmp_path, quorum, config={"min.insync.replicas": "1"}, their_config=their_config) as cluster:
        cluster.create_topic("orders", [[1, 2], [2, 1]])
        file = tmp_path / "plan.json"
        with Load(cluster.bootstrap_servers, "orders") as load:
            load.wait_for(200)
            reassign(cluster, tools, file, [[3], [3]])
            load.wait_for(200)
            # Led by theirs alone: it stops in order and comes back, and the partitions with it.
            cluster.theirs.stop()
            cluster.theirs.start()
            cluster.theirs.wait_ready()
            load.wait_for(200)
            reassign(cluster, tools, file, [[1, 3], [3, 2]], "--throttle", "10000000")
            load.wait_for(200)
            reassign(cluster, tools, file, [[2, 1], [1, 3, 2]])
            load.wait_for(200)
        cluster.wait_in_sync("orders")
        check(cluster.bootstrap_servers, "orders", load)
        assert set(load.acked) == {0, 1}
        wait_for(lambda: not any((directory / "orders-0").exists() for directory in directories), "theirs has let orders-0 go")
        assert any((directory / "orders-1").exists() for directory in directories)
        topics = tools.succeed("log-dirs", "--bootstrap-server", cluster.bootstrap_servers, "--describe", "--topic-list", "orders")
        found = {
            broker["broker"]: [part["partition"] for log_dir in broker["logDirs"] for part in log_dir["partitions"]]
            for line in topics.splitlines()
            if line.startswith("{")
            for broker in json.loads(line)["brokers"]
        }
        assert {broker_id: sorted(partitions) for broker_id, partitions in found.items()} == {
            1: ["orders-0", "orders-1"],
            2: ["orders-0", "orders-1"],
            THEIR_BROKER: ["orders-1"],
        }
    assert_replicas_agree(cluster, "orders", 2)
