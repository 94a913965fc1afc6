"""A controller on a raft that commits when told, with brokers that are played by the test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.controller.activation import feature_records
from kafkalab.engine.controller.controller import QuorumController
from kafkalab.engine.metadata.image import MetadataImage, PartitionRegistration
from kafkalab.engine.metadata.loader import MetadataLoader
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.metadata_records import MetadataRecord, decode_record
from tests.support.recording_sink import RecordingSink

CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"


class ManualRaft:
    """Keeps what is appended; commits at once, or when told."""

    def __init__(self, loader: MetadataLoader) -> None:
        self.loader = loader
        self.leader_id = 1
        self.kraft_version = 0
        self.voter_ids = frozenset({1})
        self.commits_at_once = True
        self.log: list[bytes | None] = []  # None: a control record
        self.appends: list[list[MetadataRecord]] = []
        self._waiting: list[tuple[int, list[bytes], Callable[[bool], None]]] = []

    def upgrade_kraft_version(self, epoch: int, level: int, *, validate_only: bool) -> None:
        if not validate_only:
            self.kraft_version = level

    def append(self, values: Sequence[bytes], on_commit: Callable[[bool], None]) -> int:
        base_offset = len(self.log)
        self.log += values
        self.appends.append([decode_record(value) for value in values])
        self._waiting.append((base_offset, list(values), on_commit))
        last_offset = len(self.log) - 1
        if self.commits_at_once:
            self.commit()
        return last_offset

    def commit(self) -> None:
        while self._waiting:
            base_offset, values, on_commit = self._waiting.pop(0)
            self.loader.handle_commit([(base_offset, 1, values, False)])
            on_commit(True)

    def drop(self) -> None:
        """What was not committed is lost with the leadership."""
        waiting, self._waiting = self._waiting, []
        for base_offset, _values, _on_commit in waiting:
            del self.log[base_offset:]
        for _base_offset, _values, on_commit in waiting:
            on_commit(False)


class ControllerHarness:
    def __init__(self, *, seed: int = 1, start: bool = True, elr: bool = True, **config: str) -> None:
        self.clock = ManualClock()
        self.sink = RecordingSink()
        self.image = MetadataImage()
        self.loader = MetadataLoader(self.image)
        self.raft = ManualRaft(self.loader)
        settings = {"metadata.max.idle.interval.ms": "0"} | {key.replace("_", "."): value for key, value in config.items()}
        self.controller = QuorumController(
            1,
            CLUSTER_ID,
            BrokerConfig(settings),
            self.clock,
            Random(seed),
            self.sink,
            self.raft,
            self.image,
            bootstrap=feature_records({"metadata.version": 30, "eligible.leader.replicas.version": int(elr)}),
            in_transaction=lambda: self.loader.in_transaction,
        )
        self.loader.controller = self.controller
        self.loader.add_publisher(self.controller)
        self.epoch = 0
        if start:
            self.lead()

    def lead(self) -> None:
        """Win an election: a control record, then the news."""
        self.epoch += 1
        self.raft.log.append(None)
        self.loader.handle_commit([(len(self.raft.log) - 1, self.epoch, [b""], True)])
        self.loader.handle_became_leader(self.epoch)

    def resign(self, leader_id: int = 2) -> None:
        self.raft.leader_id = leader_id
        self.loader.handle_resigned()
        self.raft.drop()

    # --- requests ------------------------------------------------------------------------------

    def send(self, api_key: ApiKey, version: int, body: Mapping[str, Any]) -> list[Any]:
        """The answers given so far: a list that fills when the operation is done."""
        request = codec.decode_request(api_key, version, codec.encode_request_body(api_key, version, body), 0)
        answers: list[Any] = []

        def respond(response: Mapping[str, Any]) -> None:
            encoded = codec.encode_response_body(api_key, version, response)
            answers.append(codec.decode_response(api_key, version, encoded, 0))

        getattr(self.controller, f"handle_{api_key.name.lower()}")(request, respond)
        return answers

    def ask(self, api_key: ApiKey, version: int, body: Mapping[str, Any]) -> Any:
        (answer,) = self.send(api_key, version, body)
        return answer

    # --- brokers -------------------------------------------------------------------------------

    def register(self, broker_id: int, *, incarnation: int = 1, version: int = 4, **changes: Any) -> Any:
        body = {
            "broker_id": broker_id,
            "cluster_id": CLUSTER_ID,
            "incarnation_id": uuid.UUID(int=broker_id * 1_000 + incarnation),
            "listeners": [{"name": "PLAINTEXT", "host": "127.0.0.1", "port": 9000 + broker_id, "security_protocol": 0}],
            "features": [
                {"name": "metadata.version", "min_supported_version": 7, "max_supported_version": 30},
                {"name": "eligible.leader.replicas.version", "min_supported_version": 0, "max_supported_version": 1},
            ],
            "rack": None,
            "log_dirs": [uuid.UUID(int=broker_id * 1_000_000)],
        }
        return self.ask(ApiKey.BROKER_REGISTRATION, version, body | changes)

    def heartbeat_body(self, broker_id: int, **changes: Any) -> dict[str, Any]:
        broker = self.image.brokers.get(broker_id)
        body = {
            "broker_id": broker_id,
            "broker_epoch": -1 if broker is None else broker.broker_epoch,
            "current_metadata_offset": self.image.offset,
            "want_fence": False,
            "want_shut_down": False,
        }
        return body | changes

    def heartbeat(self, broker_id: int, **changes: Any) -> Any:
        return self.ask(ApiKey.BROKER_HEARTBEAT, 1, self.heartbeat_body(broker_id, **changes))

    def start_brokers(self, *broker_ids: int, **changes: Any) -> None:
        for broker_id in broker_ids:
            assert self.register(broker_id, **changes).error_code == 0
            assert not self.heartbeat(broker_id).is_fenced

    # --- topics --------------------------------------------------------------------------------

    def create(self, name: str, *, version: int = 7, validate_only: bool = False, **changes: Any) -> Any:
        topic = {"name": name, "num_partitions": 1, "replication_factor": 1, "assignments": [], "configs": []} | changes
        body = {"topics": [topic], "timeout": 30_000, "validate_only": validate_only}
        return self.ask(ApiKey.CREATE_TOPICS, version, body).topics[0]

    def assigned(self, name: str, *assignments: Sequence[int], **configs: str) -> Any:
        rows = [{"partition_index": index, "broker_ids": list(replicas)} for index, replicas in enumerate(assignments)]
        settings = [{"name": key.replace("_", "."), "value": value} for key, value in configs.items()]
        result = self.create(name, num_partitions=-1, replication_factor=-1, assignments=rows, configs=settings)
        assert result.error_code == 0, result.error_message
        return result

    def partition(self, topic: str, partition_id: int = 0) -> PartitionRegistration:
        partition = self.image.partition(topic, partition_id)
        assert partition is not None
        return partition

    def alter_isr(self, topic: str, isr: Sequence[int | tuple[int, int]], *, broker: int | None = None, **changes: Any) -> Any:
        """AlterPartition of partition 0 by its leader, or by whom the test says."""
        partition = self.partition(topic)
        broker_id = partition.leader if broker is None else broker
        members = [{"broker_id": m, "broker_epoch": -1} if isinstance(m, int) else {"broker_id": m[0], "broker_epoch": m[1]} for m in isr]
        data = {
            "partition_index": 0,
            "leader_epoch": partition.leader_epoch,
            "new_isr_with_epochs": members,
            "leader_recovery_state": 0,
            "partition_epoch": partition.partition_epoch,
        } | changes
        body = {
            "broker_id": broker_id,
            "broker_epoch": self.image.brokers[broker_id].broker_epoch,
            "topics": [{"topic_id": self.image.topic_id(topic), "partitions": [data]}],
        }
        return self.ask(ApiKey.ALTER_PARTITION, 3, body).topics[0].partitions[0]

    # --- invariants ----------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """What holds of every committed partition, at all times."""
        for name, partition in self.image.partitions():
            self._check_partition(name, partition)

    def _check_partition(self, name: TopicPartition, partition: PartitionRegistration) -> None:
        elr_enabled = self.image.features.get("eligible.leader.replicas.version", 0) > 0
        isr, elr, replicas = set(partition.isr), set(partition.eligible_leader_replicas), set(partition.replicas)
        assert isr | elr <= replicas and not isr & elr, f"{name}: {partition}"
        assert len(partition.isr) == len(isr), f"{name}: {partition}"
        assert isr or elr_enabled, f"{name}: {partition}"
        assert set(partition.adding_replicas) | set(partition.removing_replicas) <= replicas, f"{name}: {partition}"
        topic = self.image.topic(name.topic)
        assert topic is not None
        if len(isr) >= self.controller.elections.min_isr(topic) or not elr_enabled:
            assert not elr, f"{name}: {partition}"
        active = {broker.broker_id for broker in self.image.brokers.values() if broker.is_active}
        if partition.leader == -1:
            assert not active & (isr or elr), f"{name}: {partition}"
            assert elr_enabled or len(isr) == 1, f"{name}: {partition}"
        else:
            assert partition.leader in partition.isr, f"{name}: {partition}"
            assert set(partition.isr) <= active, f"{name}: {partition}, active {active}"
