"""Nodes over real sockets and files whose voters are in the metadata log: formatted, joined, left, and moved (KIP-853)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.ids import METADATA_TOPIC
from kafkalab.engine.log.meta_properties import MetaProperties
from kafkalab.engine.log.storage import FileStorage
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.raft.initial_voters import parse_initial_voters
from kafkalab.engine.raft.snapshot_records import SnapshotReader
from kafkalab.engine.raft.snapshot_store import SnapshotId, SnapshotStore, parse_snapshot_name
from kafkalab.engine.raft.voters import VoterSet
from kafkalab.engine.record.control import ControlType
from kafkalab.engine.server.formatter import Formatter
from tests.support.apache_kafka import free_port
from tests.support.lab_nodes import LabNodes
from tests.support.raw_client import RawClient
from tests.support.waiting import wait_for

CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"
DIRECTORIES = {101: "JEXY6aqzQY-32P5TStzaFg", 102: "MvDxzVmcRsaTz33bUuRU6A", 103: "07R5amHmR32VDA6jHkGbTA"}


class Quorum:
    """Controllers 101 to 104 of which the first three are formatted as voters, and a broker."""

    def __init__(self, directory: Path, first: tuple[int, ...] = (101, 102, 103), *, config: Mapping[str, str] | None = None) -> None:
        self.ports = {node_id: free_port() for node_id in (101, 102, 103, 104)}
        self.nodes = LabNodes(directory, CLUSTER_ID, config={"offsets.topic.replication.factor": "1", **(config or {})})
        self.everybody = [("127.0.0.1", port) for port in self.ports.values()]
        for node_id, port in self.ports.items():
            self.nodes.add(node_id, "controller", {}, port=port, bootstrap_servers=self.everybody)
        self.nodes.add(1, "broker", {}, bootstrap_servers=self.everybody)
        self.voters = parse_initial_voters(
            ",".join(f"{node_id}@127.0.0.1:{self.ports[node_id]}:{DIRECTORIES[node_id]}" for node_id in first), "CONTROLLER"
        )

    def format(self, *node_ids: int, voters: VoterSet | None) -> None:
        for node_id in node_ids:
            path = self.nodes.data_dir(node_id)
            Formatter(
                cluster_id=CLUSTER_ID,
                node_id=node_id,
                directories=[path],
                metadata_directory=path,
                has_dynamic_quorum=True,
                initial_voters=voters,
            ).run(FileStorage(), rng=Random(node_id), wall_ms=1_700_000_000_000, tell=lambda _line: None)

    def ask(self, node_id: int, api_key: ApiKey, version: int, body: dict[str, Any]) -> Any:
        with RawClient(f"127.0.0.1:{self.ports[node_id]}") as client:
            return client.ask(api_key, version, body)

    def described(self) -> tuple[int, Any] | None:
        """The leader and what it says of the quorum."""
        body = {"topics": [{"topic_name": METADATA_TOPIC, "partitions": [{"partition_index": 0}]}]}
        for node_id in self.ports:
            try:
                response = self.ask(node_id, ApiKey.DESCRIBE_QUORUM, 2, body)
            except OSError:
                continue
            partition = response.topics[0].partitions[0]
            if partition.error_code == Errors.NONE and partition.high_watermark > 0:
                return node_id, response
        return None

    def voter_ids(self) -> list[int]:
        _, response = wait_for(self.described, "a leader")
        return [voter.replica_id for voter in response.topics[0].partitions[0].current_voters]

    def leader(self) -> int:
        return int(wait_for(self.described, "a leader")[0])

    def is_caught_up(self, node_id: int) -> bool:
        found = self.described()
        observers = () if found is None else found[1].topics[0].partitions[0].observers
        return any(one.replica_id == node_id and one.last_caught_up_timestamp > 0 for one in observers)

    def add(self, node_id: int) -> Errors:
        wait_for(lambda: self.is_caught_up(node_id), f"observer {node_id} at the log's end")
        meta = MetaProperties.read(self.nodes.data_dir(node_id) / "meta.properties")
        body = {
            "cluster_id": CLUSTER_ID,
            "timeout": 5_000,
            "voter_id": node_id,
            "voter_directory_id": meta.directory_id,
            "listeners": [{"name": "CONTROLLER", "host": "127.0.0.1", "port": self.ports[node_id]}],
            "ack_when_committed": True,
        }
        return Errors(self.ask(self.leader(), ApiKey.ADD_RAFT_VOTER, 1, body).error_code)

    def remove(self, node_id: int) -> Errors:
        meta = MetaProperties.read(self.nodes.data_dir(node_id) / "meta.properties")
        body = {"cluster_id": CLUSTER_ID, "voter_id": node_id, "voter_directory_id": meta.directory_id}
        return Errors(self.ask(self.leader(), ApiKey.REMOVE_RAFT_VOTER, 0, body).error_code)

    def broker_features(self) -> dict[str, int]:
        try:
            with RawClient(self.nodes.bootstrap_servers) as client:
                response = client.ask(ApiKey.API_VERSIONS, 4, {"client_software_name": "test", "client_software_version": "1"})
        except OSError:
            # It is not in service yet.
            return {}
        return {one.name: one.max_version_level for one in response.finalized_features}


@pytest.fixture
def quorum(tmp_path: Path) -> Iterator[Quorum]:
    quorum = Quorum(tmp_path)
    with quorum.nodes:
        yield quorum


def test_formatted_voters_elect_and_others_join_and_leave(quorum: Quorum) -> None:
    quorum.format(101, 102, 103, 1, voters=quorum.voters)
    quorum.nodes.start(101, 102, 103, 1)
    first = quorum.leader()
    assert quorum.voter_ids() == [101, 102, 103]
    _, response = wait_for(quorum.described, "the leader")
    own = next(one for one in response.topics[0].partitions[0].current_voters if one.replica_id == 101)
    assert own.replica_directory_id == MetaProperties.read(quorum.nodes.data_dir(101) / "meta.properties").directory_id
    assert {node.node_id: node.listeners[0].port for node in response.nodes} == {one: quorum.ports[one] for one in (101, 102, 103)}
    wait_for(lambda: quorum.broker_features().get("kraft.version") == 1, "a broker that knows the level")
    assert quorum.broker_features()["group.version"] == 1, "as the bootstrap file has it"
    # The fourth was never formatted: it starts on an empty folder, observes, and is added.
    quorum.nodes.start(104)
    assert quorum.add(104) is Errors.NONE
    assert quorum.voter_ids() == [101, 102, 103, 104]
    assert quorum.remove(first) is Errors.NONE
    wait_for(lambda: (found := quorum.described()) is not None and found[0] != first, "another leader")
    assert quorum.voter_ids() == sorted({101, 102, 103, 104} - {first})
    # Who was removed starts again as an observer, and everybody else finds each other from the log.
    for node_id in (first, 1):
        quorum.nodes.stop(node_id)
        quorum.nodes.start(node_id)
    wait_for(lambda: quorum.is_caught_up(first), "the former leader as an observer")


def test_one_that_stands_alone_grows_to_three(tmp_path: Path) -> None:
    quorum = Quorum(tmp_path, first=(101,))
    with quorum.nodes:
        quorum.format(101, voters=quorum.voters)
        quorum.format(102, 103, voters=None)
        quorum.nodes.start(101, 102, 103)
        for node_id in (102, 103):
            assert quorum.add(node_id) is Errors.NONE
        quorum.nodes.kill(101)
        wait_for(lambda: (found := quorum.described()) is not None and found[0] != 101, "another leader")
        quorum.nodes.start(101)
        assert quorum.voter_ids() == [101, 102, 103]


def test_a_controller_whose_disk_is_new_takes_its_place_again(tmp_path: Path) -> None:
    settings = {"controller.quorum.auto.join.enable": "true", "controller.quorum.fetch.timeout.ms": "500"}
    quorum = Quorum(tmp_path, config=settings)
    quorum.format(101, 102, 103, voters=quorum.voters)
    with quorum.nodes:
        quorum.nodes.start(101, 102, 103)
        lost = next(one for one in (101, 102, 103) if one != quorum.leader())
        quorum.nodes.kill(lost)
        path = quorum.nodes.data_dir(lost)
        path.rename(path.with_suffix(".lost"))
        quorum.format(lost, voters=None)
        directory_id = MetaProperties.read(path / "meta.properties").directory_id
        quorum.nodes.start(lost)

        def has_place() -> bool:
            found = quorum.described()
            voters = () if found is None else found[1].topics[0].partitions[0].current_voters
            return any(one.replica_id == lost and one.replica_directory_id == directory_id for one in voters)

        wait_for(has_place, "the new disk among the voters")


def test_one_that_comes_late_learns_the_voters_from_a_snapshot(tmp_path: Path) -> None:
    quorum = Quorum(tmp_path, config={"metadata.log.max.record.bytes.between.snapshots": "1"})
    quorum.format(101, 102, 103, voters=quorum.voters)

    def snapshots(node_id: int) -> list[SnapshotId]:
        # A store of its own would take what is being written for what a stop left behind.
        names = (quorum.nodes.data_dir(node_id) / "__cluster_metadata-0").glob("*.checkpoint")
        found = sorted(parsed[0] for path in names if (parsed := parse_snapshot_name(path.name)) is not None)
        return [one for one in found if not one.is_bootstrap]

    with quorum.nodes:
        quorum.nodes.start(101, 102, 103, 1)
        first = quorum.leader()
        wait_for(lambda: snapshots(first) or None, "a snapshot at the leader")
        quorum.nodes.start(104)
        assert quorum.add(104) is Errors.NONE
        wait_for(lambda: snapshots(104) or None, "a snapshot at the one that came late")
        # It votes, and its next life finds who else does in what is on its disk.
        quorum.nodes.kill(first)
        quorum.nodes.kill(104)
        directory = quorum.nodes.data_dir(104) / "__cluster_metadata-0"
        reader = SnapshotReader(SnapshotStore(FileStorage(), directory), snapshots(104)[-1])
        assert [kind for kind, _value in reader.controls()] == [ControlType.KRAFT_VERSION, ControlType.KRAFT_VOTERS]
        quorum.nodes.start(104)
        wait_for(lambda: (found := quorum.described()) is not None and found[0] != first, "a leader by the votes of three")
        assert quorum.voter_ids() == [101, 102, 103, 104]
