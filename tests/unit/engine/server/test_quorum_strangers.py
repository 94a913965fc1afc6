"""Controllers over real sockets and files that do not belong: of another cluster, or with the id of one that lives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.ids import METADATA_TOPIC
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.raft import messages
from tests.support.lab_nodes import LabNodes
from tests.support.quorum_nodes import CLUSTER_ID, VOTERS, Controllers, vote_request
from tests.support.waiting import wait_for

ANOTHER_CLUSTER = "YW5vdGhlci1jbHVzdGVyLQ"


@pytest.mark.expects_warnings
@pytest.mark.parametrize("cluster_id", [ANOTHER_CLUSTER, CLUSTER_ID], ids=["of another cluster", "a twin"])
def test_a_controller_with_the_id_of_another_changes_no_epoch_and_no_leader(
    controllers: Controllers, tmp_path: Path, cluster_id: str
) -> None:
    before = wait_for(controllers.quorum, "a leader")
    twin_of = next(one for one in VOTERS if one != before.leader_id)
    stranger = LabNodes(tmp_path / "theirs", cluster_id)
    # It is told the same voters, listens elsewhere, and knows nothing.
    stranger.add(twin_of, "controller", controllers.addresses)
    with stranger:
        stranger.start()
        node = stranger.runner(twin_of)._node
        assert node is not None and node.raft is not None
        raft = node.raft
        if cluster_id == CLUSTER_ID:
            wait_for(lambda: raft.leader_id == before.leader_id, "the leader known to the twin")
        else:
            wait_for(lambda: raft.state_name == "prospective", "an election that nobody answers")
        committed = wait_for(controllers.quorum, "the quorum").high_watermark
        wait_for(lambda: (now := controllers.quorum()) is not None and now.high_watermark > committed, "the log going on")
        after = wait_for(controllers.quorum, "the quorum")
        assert (after.leader_id, after.leader_epoch) == (before.leader_id, before.leader_epoch)
        assert not raft.is_leader
    assert all(controllers.nodes.runner(node_id).is_alive for node_id in VOTERS)


def test_whoever_asks_for_another_cluster_is_refused_by_every_controller(controllers: Controllers) -> None:
    quorum = wait_for(controllers.quorum, "a leader")
    epoch = quorum.leader_epoch + 5
    fetch = messages.fetch_request(
        cluster_id=ANOTHER_CLUSTER,
        replica_id=102,
        directory_id=None,
        epoch=epoch,
        offset=0,
        last_fetched_epoch=0,
        high_watermark=-1,
        max_wait_ms=0,
        max_bytes=1_000,
    )
    snapshot = {
        "partition": 0,
        "current_leader_epoch": epoch,
        "snapshot_id": {"end_offset": 1, "epoch": 1},
        "position": 0,
        "replica_directory_id": None,
    }
    claim = {"leader_id": 102, "leader_epoch": epoch}
    asked: list[tuple[ApiKey, int, dict[str, Any]]] = [
        (ApiKey.VOTE, 2, vote_request(ANOTHER_CLUSTER, epoch, 102)),
        (
            ApiKey.BEGIN_QUORUM_EPOCH,
            1,
            messages.partition_request(ANOTHER_CLUSTER, {"voter_directory_id": None, **claim}, voter_id=-1, leader_endpoints=[]),
        ),
        (
            ApiKey.END_QUORUM_EPOCH,
            1,
            messages.partition_request(
                ANOTHER_CLUSTER, {"preferred_successors": [], "preferred_candidates": [], **claim}, leader_endpoints=[]
            ),
        ),
        (ApiKey.FETCH, 17, fetch),
        (
            ApiKey.FETCH_SNAPSHOT,
            1,
            {
                "cluster_id": ANOTHER_CLUSTER,
                "replica_id": 102,
                "max_bytes": 10,
                "topics": [{"name": METADATA_TOPIC, "partitions": [snapshot]}],
            },
        ),
    ]
    for node_id in VOTERS:
        for api_key, version, body in asked:
            assert controllers.ask(node_id, api_key, version, body).error_code == Errors.INCONSISTENT_CLUSTER_ID, api_key.name
    after = wait_for(controllers.quorum, "the quorum")
    assert (after.leader_id, after.leader_epoch) == (quorum.leader_id, quorum.leader_epoch)
