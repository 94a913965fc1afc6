"""A quorum whose voters are in its log: members that join and leave, each with a disk of its own."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import API_SPECS, ApiKey
from kafkalab.engine.raft import RaftConfig, RaftNode
from kafkalab.engine.raft.voter_history import voters_value
from kafkalab.engine.raft.voters import ReplicaKey, Voter, VoterSet
from kafkalab.engine.record.control import ControlType
from kafkalab.engine.record.quorum_records import control_batch, encode_kraft_version
from tests.unit.engine.raft.simulation import CLUSTER_ID, FakeLog, Store, World

LISTENER = "CONTROLLER"
SPARE_FIRST = 201


class DynamicWorld(World):
    """Voters from 101 on, spare controllers from 201 on, brokers from 1 on. A new disk makes another voter of a node."""

    def __init__(
        self,
        voters: int = 3,
        spares: int = 1,
        brokers: int = 0,
        *,
        seed: int = 1,
        config: RaftConfig | None = None,
        auto_join: bool = False,
        kraft_version: int = 1,
    ) -> None:
        super().__init__(voters, brokers, seed=seed, config=replace(config or RaftConfig(), auto_join=auto_join))
        self.is_static = kraft_version == 0
        for index in range(spares):
            node_id = SPARE_FIRST + index
            self.ids.append(node_id)
            self.stores[node_id] = Store()
            self.logs[node_id] = FakeLog()
            self._incarnation[node_id] = 0
        self.addresses = {node_id: ("127.0.0.1", 9_000 + node_id) for node_id in self.ids}
        self.voter_addresses = {node_id: self.addresses[node_id] for node_id in self.voter_ids}
        self.directories = {node_id: uuid.UUID(int=1_000_000 + node_id) for node_id in self.ids}
        if not self.is_static:
            first = VoterSet(self.voter(node_id) for node_id in self.voter_ids)
            controls = [(ControlType.KRAFT_VERSION, encode_kraft_version(1)), (ControlType.KRAFT_VOTERS, voters_value(first))]
            for node_id in self.voter_ids:
                self.logs[node_id].append_as_leader(control_batch(controls, base_offset=0, epoch=1, timestamp_ms=1), 1)
                self.logs[node_id].flush()

    def key(self, node_id: int) -> ReplicaKey:
        return ReplicaKey(node_id, self.directories[node_id])

    def voter(self, node_id: int) -> Voter:
        return Voter(key=self.key(node_id), endpoints={LISTENER: self.addresses[node_id]}, min_version=0, max_version=1)

    def identity(self, node_id: int) -> dict[str, Any]:
        is_static = self.is_static and node_id < SPARE_FIRST
        return {
            "node_id": node_id,
            "directory_id": self.directories[node_id],
            "voters": self.voter_addresses if is_static else {},
            "endpoints": {LISTENER: self.addresses[node_id]} if node_id > 100 else {},
            "bootstrap_servers": () if is_static else tuple(self.voter_addresses.values()),
            "can_become_voter": node_id > 100,
        }

    def reached_by(self, source: int, target: int) -> int:
        address = self.nodes[source].address_of(target)
        return next((one for one, own in self.addresses.items() if own == address), -1)

    def new_disk(self, node_id: int) -> None:
        """A member that does not run loses all it had."""
        assert node_id not in self.nodes, "disks are changed with the machine off"
        self.directories[node_id] = uuid.UUID(int=self.directories[node_id].int + 1_000_000)
        self.logs[node_id] = FakeLog()
        self.stores[node_id] = Store()

    def move(self, node_id: int) -> None:
        """A member that does not run gets another address."""
        host, port = self.addresses[node_id]
        self.addresses[node_id] = (host, port + 1_000)

    def ask(self, node: RaftNode, api_key: ApiKey, **fields: Any) -> list[Any]:
        """Send a request; the answer is in the list once it has come."""
        version = API_SPECS[api_key].max_version
        request = codec.decode_request(api_key, version, codec.encode_request_body(api_key, version, fields))
        answers: list[Any] = []

        def respond(body: Mapping[str, Any]) -> None:
            answers.append(codec.decode_response(api_key, version, codec.encode_response_body(api_key, version, body)))

        if api_key is ApiKey.ADD_RAFT_VOTER:
            node.handle_add_voter(request, respond)
        elif api_key is ApiKey.REMOVE_RAFT_VOTER:
            node.handle_remove_voter(request, respond)
        else:
            assert api_key is ApiKey.UPDATE_RAFT_VOTER
            respond(node.handle_update_voter(request))
        return answers

    def add(self, node_id: int, leader: RaftNode | None = None, **fields: Any) -> list[Any]:
        """Ask for a new voter."""
        host, port = self.addresses[node_id]
        asked = {
            "cluster_id": CLUSTER_ID,
            "timeout": 1_000,
            "voter_id": node_id,
            "voter_directory_id": self.directories[node_id],
            "listeners": [{"name": LISTENER, "host": host, "port": port}],
            "ack_when_committed": True,
        }
        return self.ask(leader or self.elect(), ApiKey.ADD_RAFT_VOTER, **{**asked, **fields})

    def remove(self, node_id: int, leader: RaftNode | None = None, **fields: Any) -> list[Any]:
        """Ask for a voter to go."""
        asked = {"cluster_id": CLUSTER_ID, "voter_id": node_id, "voter_directory_id": self.directories[node_id]}
        return self.ask(leader or self.elect(), ApiKey.REMOVE_RAFT_VOTER, **{**asked, **fields})

    def answer(self, answers: list[Any]) -> tuple[Errors, str | None]:
        """Wait for the answer; its error and message."""
        self.run_until(lambda: bool(answers))
        return Errors(answers[0].error_code), answers[0].error_message

    def settled_voters(self) -> set[int]:
        """Who votes according to the leader, all others agreeing."""
        sets = {node.voter_set for node in self.nodes.values() if node.node_id > 100}
        return set(next(iter(sets)).ids) if len(sets) == 1 else set()
