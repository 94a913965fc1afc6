"""A quorum of controllers over real sockets and files, that can be asked as their peers would ask them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.ids import METADATA_PARTITION, METADATA_TOPIC
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.raft import messages
from tests.support.apache_kafka import free_port
from tests.support.lab_nodes import LabNodes
from tests.support.raw_client import RawClient

CLUSTER_ID: Final = "MkU3OEVBNTcwNTJENDM2Qk"
VOTERS: Final = (101, 102, 103)


class Controllers:
    """Three of them."""

    def __init__(self, directory: Path) -> None:
        self.addresses = {node_id: ("127.0.0.1", free_port()) for node_id in VOTERS}
        self.nodes = LabNodes(directory, CLUSTER_ID)
        for node_id, (_, port) in self.addresses.items():
            self.nodes.add(node_id, "controller", self.addresses, port=port)

    def metadata_dir(self, node_id: int) -> Path:
        """Where a controller keeps its metadata log."""
        return self.nodes.data_dir(node_id) / str(METADATA_PARTITION)

    def ask(self, node_id: int, api_key: ApiKey, version: int, body: Mapping[str, Any]) -> Any:
        """Ask one controller."""
        host, port = self.addresses[node_id]
        with RawClient(f"{host}:{port}") as client:
            return client.ask(api_key, version, body)

    def quorum(self) -> Any | None:
        """What the leader says of the quorum; None while there is none. For waiting: one that ends hangs up."""
        body = {"topics": [{"topic_name": METADATA_TOPIC, "partitions": [{"partition_index": 0}]}]}
        for node_id in VOTERS:
            if self.nodes.runner(node_id).is_alive:
                partition = self.ask(node_id, ApiKey.DESCRIBE_QUORUM, 2, body).topics[0].partitions[0]
                if partition.error_code == Errors.NONE and partition.high_watermark > 0:
                    return partition
        return None


def vote_request(cluster_id: str, epoch: int, candidate_id: int) -> dict[str, Any]:
    """What a candidate asks whose log is longer than any."""
    vote = {
        "replica_epoch": epoch,
        "replica_id": candidate_id,
        "replica_directory_id": None,
        "voter_directory_id": None,
        "last_offset_epoch": epoch - 1,
        "last_offset": 1 << 40,
        "pre_vote": False,
    }
    return messages.partition_request(cluster_id, vote, voter_id=-1)
