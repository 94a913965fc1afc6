"""A few brokers' replica managers on one manual clock, over real logs, with a controller of few words.

Requests between brokers and from clients go through the codec, so that field names and versions
are tried on the way. The controller here fences, elects and decides ISR changes as Kafka's does,
at once and without a quorum; its metadata reaches each broker a little later.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from kafkalab.engine.broker.apis import delete_records, fetch, list_offsets, offset_for_leader_epoch, produce
from kafkalab.engine.broker.context import ConnectionInfo, RequestContext
from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.manager import LogManager
from kafkalab.engine.log.storage import FileStorage
from kafkalab.engine.metadata.image import MetadataDelta, MetadataImage
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import API_SPECS, ApiKey
from kafkalab.engine.protocol.metadata_records import (
    CONFIG_TOPIC,
    BrokerEndpoint,
    BrokerRegistrationChangeRecord,
    ConfigRecord,
    MetadataRecord,
    PartitionChangeRecord,
    PartitionRecord,
    RegisterBrokerRecord,
    RemoveTopicRecord,
    TopicRecord,
)
from kafkalab.engine.record.batch import Record, build_batch, iter_records
from kafkalab.engine.replica.manager import ReplicaManager
from kafkalab.engine.replica.partition import Partition
from tests.support.recording_sink import RecordingSink

LISTENER = "PLAINTEXT"
_HANDLERS: Mapping[ApiKey, Any] = {
    ApiKey.PRODUCE: produce.handle,
    ApiKey.FETCH: fetch.handle,
    ApiKey.DELETE_RECORDS: delete_records.handle,
    ApiKey.LIST_OFFSETS: list_offsets.handle,
    ApiKey.OFFSET_FOR_LEADER_EPOCH: offset_for_leader_epoch.handle,
}


class Answer:
    """What came back for a client's request, if it has."""

    def __init__(self, on_body: Callable[[Any], None] | None = None) -> None:
        self.body: Any = None
        self.count = 0
        self.closed: tuple[str, str] | None = None
        self.is_settled = False
        self._on_body = on_body

    # The channel's side.
    def send_response(self, ctx: RequestContext, body: Any) -> None:
        self.count += 1
        assert self.count == 1, "a request is answered once"
        self.is_settled = True
        if body is not None:
            raw = codec.encode_response_body(ctx.api_key, ctx.version, body)
            self.body = codec.decode_response(ctx.api_key, ctx.version, raw)
        if self._on_body is not None:
            self._on_body(self.body)

    def send_encoded(self, ctx: RequestContext, frame: bytes) -> None:
        raise AssertionError("nothing is forwarded here")

    def close(self, reason: str, detail: str) -> None:
        self.closed = (reason, detail)
        self.is_settled = True

    def __repr__(self) -> str:
        return f"Answer({self.body!r}, closed={self.closed})"

    @property
    def first(self) -> Any:
        """The only partition of a produce, fetch, offsets or epoch answer."""
        topics = getattr(self.body, "responses", None) or self.body.topics
        return (getattr(topics[0], "partition_responses", None) or topics[0].partitions)[0]

    @property
    def error(self) -> Errors:
        return Errors(self.first.error_code)


class Broker:
    def __init__(self, world: World, node_id: int) -> None:
        self.world = world
        self.node_id = node_id
        self.epoch = -1
        self.is_up = False
        self.applied = 0
        self.sink = RecordingSink()
        self.under_way: list[tuple[Callable[[Any], None], list[bool]]] = []

    def boot(self) -> None:
        world = self.world
        self.is_up = True
        self.applied = 0
        self.image = MetadataImage()
        self.under_way = []
        config = self.config = BrokerConfig(world.config)
        self.logs = LogManager([world.path / str(self.node_id)], LogConfig(), world.clock, FileStorage(), self.sink, self.node_id)
        self.logs.load()
        self.manager = ReplicaManager(
            node_id=self.node_id,
            config=config,
            clock=world.clock,
            rng=Random(self.node_id),
            sink=self.sink,
            log_manager=self.logs,
            network=SimpleNamespace(send=self._send),
            controller_channel=SimpleNamespace(send=self._send_controller),
        )
        self.manager.start()
        self.services = SimpleNamespace(
            node_id=self.node_id, clock=world.clock, image=self.image, replica_manager=self.manager, config=config, sink=self.sink
        )

    def partition(self, tp: tuple[str, int]) -> Partition:
        partition = self.manager.partition(tp)
        assert partition is not None
        return partition

    def learn(self, upto: int) -> None:
        """Apply the metadata up to a record."""
        if not self.is_up or upto <= self.applied:
            return
        delta = MetadataDelta()
        for offset in range(self.applied, upto):
            self.image.replay(self.world.metadata[offset], delta, offset=offset)
            self.image.offset = offset
        self.applied = upto
        self.manager.apply(delta, self.image)

    def handle(
        self, api_key: ApiKey, body: Mapping[str, Any], version: int | None = None, on_body: Any = None, client_id: str = "t"
    ) -> Answer:
        """A request, as if it came by a connection."""
        if version is None:
            version = API_SPECS[api_key].max_version
        request = codec.decode_request(api_key, version, codec.encode_request_body(api_key, version, body))
        answer = Answer(on_body)
        connection = ConnectionInfo(1, LISTENER, "127.0.0.1", 1)
        ctx = RequestContext(answer, connection, api_key, version, 1, client_id)
        answer.ctx = ctx  # type: ignore[attr-defined]
        now = _HANDLERS[api_key](self.services, ctx, request)
        if now is not None:
            ctx.respond(now)
        return answer

    def _send(self, node_id: int, api_key: ApiKey, body: Any, on_response: Any, *, timeout_ms: float, version: int | None = None) -> None:
        self.world.carry(self, node_id, api_key, body, on_response)

    def _send_controller(self, api_key: ApiKey, body: Any, on_response: Any, *, timeout_ms: float = 0) -> None:
        assert api_key is ApiKey.ALTER_PARTITION
        self.world.carry_to_controller(self, body, on_response)


class World:
    """The brokers, their controller, and the wires between them."""

    def __init__(
        self,
        path: Path,
        *,
        brokers: int = 3,
        seed: int = 0,
        config: Mapping[str, str] | None = None,
        racks: Mapping[int, str] | None = None,
    ) -> None:
        self.path = path
        self.racks = racks or {}
        self.config = dict(config or {})
        self.clock = ManualClock()
        self.rng = Random(seed)
        self.image = MetadataImage()
        self.metadata: list[MetadataRecord] = []
        self.metadata_delay_ms: Callable[[], float] = lambda: self.rng.uniform(0.5, 3.0)
        self.latency_ms: Callable[[], float] = lambda: self.rng.uniform(0.05, 0.5)
        self.cut: set[frozenset[int]] = set()
        self.deaf: set[int] = set()
        """Brokers whose ISR changes do not reach the controller, nor its metadata them."""
        self.topic_ids: dict[str, uuid.UUID] = {}
        self.alter_errors: list[Errors] = []
        self.decisions: list[tuple[Any, Errors]] = []
        self.brokers = {node_id: Broker(self, node_id) for node_id in range(1, brokers + 1)}
        for node_id in self.brokers:
            self.boot(node_id)
        self.settle()

    # --- time ----------------------------------------------------------------------------------

    def settle(self, ms: float = 50.0) -> None:
        self.clock.advance(ms)

    def until(self, condition: Callable[[], bool], limit_ms: float = 5_000.0, step_ms: float = 1.0) -> float:
        """Let time pass until something holds; how long it took."""
        start = self.clock.now_ms()
        while not condition():
            assert self.clock.now_ms() - start < limit_ms, "it never came to be"
            self.clock.advance(step_ms)
        return self.clock.now_ms() - start

    # --- the controller --------------------------------------------------------------------------

    def commit(self, *records: MetadataRecord) -> None:
        for record in records:
            self.image.replay(record, offset=len(self.metadata))
            self.metadata.append(record)
        upto = len(self.metadata)
        for broker in self.brokers.values():
            self._tell(broker, upto)

    def _tell(self, broker: Broker, upto: int) -> None:
        def told() -> None:
            if broker.node_id not in self.deaf:
                broker.learn(upto)

        self.clock.call_later(self.metadata_delay_ms(), told)

    def hear_again(self, node_id: int) -> None:
        self.deaf.discard(node_id)
        self._tell(self.brokers[node_id], len(self.metadata))

    def boot(self, node_id: int) -> None:
        broker = self.brokers[node_id]
        broker.boot()
        self.fence(node_id)
        broker.epoch = len(self.metadata)
        self.commit(
            RegisterBrokerRecord(
                broker_id=node_id,
                incarnation_id=uuid.UUID(int=1000 + len(self.metadata)),
                broker_epoch=broker.epoch,
                end_points=(BrokerEndpoint(name=LISTENER, host="localhost", port=9000 + node_id),),
                rack=self.racks.get(node_id),
            ),
        )
        broker.learn(len(self.metadata))
        self.unfence(node_id)

    def kill(self, node_id: int) -> None:
        """The process is gone; the page cache is not."""
        broker = self.brokers[node_id]
        broker.is_up = False
        broker.manager.abandon()
        broker.logs.abandon()
        broker.under_way.clear()
        for other in self.brokers.values():
            for on_response, done in [one for one in other.under_way if one[1][1] == node_id]:
                self._finish(other, on_response, done, None)

    def stop(self, node_id: int) -> None:
        broker = self.brokers[node_id]
        broker.manager.shutdown()
        broker.logs.close(broker.epoch)
        broker.is_up = False

    def fence(self, node_id: int) -> None:
        registration = self.image.brokers.get(node_id)
        if registration is None or registration.fenced:
            return
        records: list[MetadataRecord] = []
        for topic in self.image.topics_by_id.values():
            for index, partition in topic.partitions.items():
                if node_id not in partition.isr:
                    continue
                isr = tuple(one for one in partition.isr if one != node_id) or partition.isr
                leader = partition.leader
                if leader == node_id:
                    leader = next(
                        (one for one in partition.replicas if one in isr and one != node_id and not self.image.brokers[one].fenced), -1
                    )
                records.append(
                    PartitionChangeRecord(
                        partition_id=index,
                        topic_id=topic.topic_id,
                        isr=isr,
                        leader=leader if leader != partition.leader else -2,
                    )
                )
        records.append(BrokerRegistrationChangeRecord(broker_id=node_id, broker_epoch=registration.broker_epoch, fenced=1))
        self.commit(*records)

    def unfence(self, node_id: int) -> None:
        registration = self.image.brokers[node_id]
        records: list[MetadataRecord] = [
            BrokerRegistrationChangeRecord(broker_id=node_id, broker_epoch=registration.broker_epoch, fenced=-1)
        ]
        for topic in self.image.topics_by_id.values():
            for index, partition in topic.partitions.items():
                if partition.leader == -1 and node_id in partition.isr:
                    records.append(PartitionChangeRecord(partition_id=index, topic_id=topic.topic_id, leader=node_id))
        self.commit(*records)

    def create(self, topic: str, *replicas: tuple[int, ...], configs: Mapping[str, str] | None = None) -> None:
        """A topic with a partition per tuple of replicas."""
        topic_id = self.topic_ids[topic] = uuid.UUID(int=self.rng.getrandbits(128), version=4)
        records: list[MetadataRecord] = [TopicRecord(name=topic, topic_id=topic_id)]
        for name, value in (configs or {}).items():
            records.append(ConfigRecord(resource_type=CONFIG_TOPIC, resource_name=topic, name=name, value=value))
        for index, assigned in enumerate(replicas):
            isr = tuple(one for one in assigned if not self.image.brokers[one].fenced)
            records.append(PartitionRecord(partition_id=index, topic_id=topic_id, replicas=assigned, isr=isr, leader=isr[0]))
        self.commit(*records)

    def delete(self, topic: str) -> None:
        self.commit(RemoveTopicRecord(topic_id=self.topic_ids.pop(topic)))

    def elect(self, topic: str, index: int, leader: int, isr: tuple[int, ...] | None = None) -> None:
        self.commit(PartitionChangeRecord(partition_id=index, topic_id=self.topic_ids[topic], leader=leader, isr=isr))

    def configure(self, topic: str, name: str, value: str) -> None:
        self.commit(ConfigRecord(resource_type=CONFIG_TOPIC, resource_name=topic, name=name, value=value))

    def _alter(self, request: Any) -> dict[str, Any]:
        sender = self.image.brokers[request.broker_id]
        if request.broker_epoch != sender.broker_epoch:
            return {"error_code": Errors.STALE_BROKER_EPOCH, "topics": ()}
        topics = []
        for asked in request.topics:
            topic = self.image.topics_by_id.get(asked.topic_id)
            parts = []
            for part in asked.partitions:
                error = self._judge(request.broker_id, topic, part)
                if error == Errors.NONE and self.alter_errors:
                    error = self.alter_errors.pop(0)
                self.decisions.append((part, error))
                answer: dict[str, Any] = {"partition_index": part.partition_index, "error_code": int(error), "leader_id": -1}
                if error == Errors.NONE:
                    assert topic is not None
                    isr = tuple(one.broker_id for one in part.new_isr_with_epochs)
                    self.commit(PartitionChangeRecord(partition_id=part.partition_index, topic_id=topic.topic_id, isr=isr))
                    now = topic.partitions[part.partition_index]
                    answer |= {
                        "leader_id": now.leader,
                        "leader_epoch": now.leader_epoch,
                        "isr": now.isr,
                        "partition_epoch": now.partition_epoch,
                    }
                parts.append(answer)
            topics.append({"topic_id": asked.topic_id, "partitions": parts})
        return {"error_code": 0, "topics": topics}

    def _judge(self, broker_id: int, topic: Any, part: Any) -> Errors:
        if topic is None:
            return Errors.UNKNOWN_TOPIC_ID
        now = topic.partitions[part.partition_index]
        if part.leader_epoch < now.leader_epoch:
            return Errors.FENCED_LEADER_EPOCH
        if now.leader != broker_id or broker_id not in [one.broker_id for one in part.new_isr_with_epochs]:
            return Errors.INVALID_REQUEST
        if part.partition_epoch < now.partition_epoch:
            return Errors.INVALID_UPDATE_VERSION
        for one in part.new_isr_with_epochs:
            broker = self.image.brokers.get(one.broker_id)
            if broker is None or not broker.is_active or one.broker_epoch not in (-1, broker.broker_epoch):
                return Errors.INELIGIBLE_REPLICA
        return Errors.NONE

    # --- the wires -----------------------------------------------------------------------------

    def _finish(self, sender: Broker, on_response: Any, done: list[Any], response: Any) -> None:
        if done[0]:
            return
        done[0] = True
        sender.under_way = [one for one in sender.under_way if one[1] is not done]
        life = sender.manager

        def deliver() -> None:
            if sender.is_up and sender.manager is life:
                on_response(response)

        self.clock.call_later(self.latency_ms(), deliver)

    def carry(self, sender: Broker, node_id: int, api_key: ApiKey, body: Any, on_response: Any) -> None:
        done: list[Any] = [False, node_id]
        sender.under_way.append((on_response, done))
        target = self.brokers[node_id]

        def arrive() -> None:
            if done[0]:
                return
            if not target.is_up or frozenset((sender.node_id, node_id)) in self.cut:
                self._finish(sender, on_response, done, None)
                return
            target.handle(api_key, body, on_body=lambda answer: self._finish(sender, on_response, done, answer))

        self.clock.call_later(self.latency_ms(), arrive)

    def sever(self, one: int, other: int) -> None:
        """Cut two brokers off from each other; requests under way fail."""
        self.cut.add(frozenset((one, other)))
        for sender, target in ((one, other), (other, one)):
            broker = self.brokers[sender]
            for on_response, done in [way for way in broker.under_way if way[1][1] == target]:
                self._finish(broker, on_response, done, None)

    def mend(self) -> None:
        self.cut.clear()

    def carry_to_controller(self, sender: Broker, body: Any, on_response: Any) -> None:
        request = codec.decode_request(ApiKey.ALTER_PARTITION, 3, codec.encode_request_body(ApiKey.ALTER_PARTITION, 3, body))
        life = sender.manager

        def arrive() -> None:
            response = None
            if sender.node_id not in self.deaf and sender.is_up:
                raw = codec.encode_response_body(ApiKey.ALTER_PARTITION, 3, self._alter(request))
                response = codec.decode_response(ApiKey.ALTER_PARTITION, 3, raw)

            def deliver() -> None:
                if sender.is_up and sender.manager is life:
                    on_response(None if sender.node_id in self.deaf else response)

            self.clock.call_later(self.latency_ms(), deliver)

        self.clock.call_later(self.latency_ms(), arrive)

    # --- clients -------------------------------------------------------------------------------

    def leader_of(self, topic: str, index: int = 0) -> int:
        partition = self.image.partition(topic, index)
        assert partition is not None
        return partition.leader

    def produce(
        self,
        node_id: int,
        topic: str,
        *values: bytes,
        index: int = 0,
        acks: int = -1,
        timeout_ms: int = 30_000,
        version: int = 13,
        batch: bytes | None = None,
        client_id: str = "t",
    ) -> Answer:
        data = batch if batch is not None else self.batch(*values)
        return self.brokers[node_id].handle(
            ApiKey.PRODUCE,
            {
                "acks": acks,
                "timeout": timeout_ms,
                "topic_data": [
                    {
                        "name": topic,
                        "topic_id": self.topic_ids.get(topic, uuid.UUID(int=77)),
                        "partition_data": [{"index": index, "records": data}],
                    }
                ],
            },
            version,
            client_id=client_id,
        )

    def batch(self, *values: bytes, **more: Any) -> bytes:
        return build_batch([Record(0, self.clock.wall_ms(), None, value) for value in values], **more)

    def fetch(self, node_id: int, topic: str, offset: int, *, index: int = 0, version: int = 18, **more: Any) -> Answer:
        part = {
            "partition": index,
            "fetch_offset": offset,
            "partition_max_bytes": more.pop("partition_max_bytes", 1 << 20),
            "current_leader_epoch": more.pop("current_leader_epoch", -1),
            "last_fetched_epoch": more.pop("last_fetched_epoch", -1),
        }
        body = {
            "max_wait": 500,
            "min_bytes": 1,
            "max_bytes": 1 << 24,
            "replica_id": -1,
            "topics": [{"topic": topic, "topic_id": self.topic_ids.get(topic, uuid.UUID(int=77)), "partitions": [part]}],
            "forgotten_topics_data": (),
        }
        return self.brokers[node_id].handle(ApiKey.FETCH, body | more, version)

    def list_offsets(self, node_id: int, topic: str, timestamp: int, *, index: int = 0, version: int = 11, **more: Any) -> Answer:
        asked = more.pop("request", {})
        part = {"partition_index": index, "timestamp": timestamp} | more
        body = {"replica_id": -1, "isolation_level": 0, "topics": [{"name": topic, "partitions": [part]}]} | asked
        return self.brokers[node_id].handle(ApiKey.LIST_OFFSETS, body, version)

    def values(self, node_id: int, topic: str, index: int = 0) -> list[bytes]:
        """Every record's value in a replica's log."""
        log = self.brokers[node_id].partition((topic, index)).log
        offset, values = log.log_start_offset, []
        while offset < log.log_end_offset:
            chunk = log.read(offset, 1 << 20)
            for record in iter_records(chunk):
                values.append(record.value or b"")
                offset = record.offset + 1
        return values

    def ends(self, topic: str, index: int = 0) -> dict[int, tuple[int, int]]:
        """(high watermark, log end) by broker."""
        found = {}
        for node_id, broker in self.brokers.items():
            if broker.is_up and (partition := broker.manager.partition((topic, index))) is not None:
                found[node_id] = (partition.high_watermark, partition.log.log_end_offset)
        return found

    def close(self) -> None:
        for broker in self.brokers.values():
            if broker.is_up:
                broker.manager.abandon()
                broker.logs.abandon()
