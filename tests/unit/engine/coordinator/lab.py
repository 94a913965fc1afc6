"""A broker with nothing but a group coordinator, asked over the real message formats."""

from __future__ import annotations

import struct
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from random import Random
from types import SimpleNamespace
from typing import Any

from kafkalab.engine.broker.apis import (
    delete_groups,
    describe_groups,
    find_coordinator,
    heartbeat,
    join_group,
    leave_group,
    list_groups,
    offset_commit,
    offset_delete,
    offset_fetch,
    sync_group,
)
from kafkalab.engine.broker.context import ConnectionInfo, RequestContext
from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import OFFSETS_TOPIC, TopicPartition
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.coordinator.group import GroupCoordinator
from kafkalab.engine.metadata.image import BrokerRegistration, MetadataDelta, MetadataImage, PartitionRegistration, TopicImage
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.record.batch import iter_headers, read_header, stamp
from kafkalab.engine.telemetry.events import GroupStateChanged
from tests.support.recording_sink import RecordingSink

HANDLERS: Mapping[ApiKey, Any] = {
    ApiKey.FIND_COORDINATOR: find_coordinator,
    ApiKey.JOIN_GROUP: join_group,
    ApiKey.SYNC_GROUP: sync_group,
    ApiKey.HEARTBEAT: heartbeat,
    ApiKey.LEAVE_GROUP: leave_group,
    ApiKey.OFFSET_COMMIT: offset_commit,
    ApiKey.OFFSET_FETCH: offset_fetch,
    ApiKey.OFFSET_DELETE: offset_delete,
    ApiKey.LIST_GROUPS: list_groups,
    ApiKey.DESCRIBE_GROUPS: describe_groups,
    ApiKey.DELETE_GROUPS: delete_groups,
}
LISTENER = "PLAINTEXT"
OnDone = Callable[[Errors | None, int], None]


class FakeLog:
    """Partitions in memory; batches are committed at once, or when told."""

    def __init__(self) -> None:
        self.is_held = False
        self.error: Errors | None = None
        self._batches: dict[TopicPartition, list[bytes]] = defaultdict(list)
        self._ends: dict[TopicPartition, int] = defaultdict(int)
        self._waiting: list[tuple[TopicPartition, bytes, int, OnDone]] = []
        self.reads = 0
        self.read_error: ApiError | None = None
        self.is_tail_committed = True
        self.awaited: list[Callable[[Errors | None], None]] = []

    def append_internal(self, tp: TopicPartition, batch: bytes, on_done: OnDone) -> None:
        if self.error is not None:
            on_done(self.error, -1)
            return
        data = bytearray(batch)
        offset = self._ends[tp]
        stamp(data, 0, offset, 0)
        self._ends[tp] += read_header(data).last_offset_delta + 1
        self._waiting.append((tp, bytes(data), offset, on_done))
        if not self.is_held:
            self.commit()

    def commit(self, count: int | None = None) -> None:
        """Let the first waiting batches be committed."""
        for _ in range(len(self._waiting) if count is None else count):
            tp, batch, offset, on_done = self._waiting.pop(0)
            self._batches[tp].append(batch)
            on_done(None, offset)

    def refuse(self, error: Errors) -> None:
        """Let every waiting batch fail; those that were appended all the same stay in the log."""
        waiting, self._waiting = self._waiting, []
        for tp, batch, _, on_done in waiting:
            if error is Errors.NOT_ENOUGH_REPLICAS_AFTER_APPEND:
                self._batches[tp].append(batch)
            on_done(error, -1)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def put(self, tp: TopicPartition, data: bytes) -> None:
        """Put in what somebody else wrote."""
        self._batches[tp].append(data)
        for _, header in iter_headers(data):
            self._ends[tp] = header.next_offset

    def read_committed_log(self, tp: TopicPartition) -> Iterator[bytes]:
        self.reads += 1
        if self.read_error is not None:
            raise self.read_error
        yield from list(self._batches[tp])

    def when_committed(self, tp: TopicPartition, on_done: Callable[[Errors | None], None]) -> None:
        if self.is_tail_committed:
            on_done(None)
        else:
            self.awaited.append(on_done)


class Sink(RecordingSink):
    def states(self) -> list[tuple[str, str]]:
        """(new state, cause) of each change of a group."""
        return [(event.new_state, event.cause) for event in self.of(GroupStateChanged)]


class FakeChannel:
    def __init__(self) -> None:
        self.sent: list[tuple[ApiKey, Mapping[str, Any], Callable[[Any], None]]] = []

    def send(self, api_key: ApiKey, body: Mapping[str, Any], on_response: Callable[[Any], None], *, timeout_ms: float) -> None:
        self.sent.append((api_key, body, on_response))


class Answer:
    """A response that may come later; also the channel of its request."""

    def __init__(self) -> None:
        self.body: Any = None

    @property
    def is_there(self) -> bool:
        return self.body is not None

    def send_response(self, ctx: RequestContext, body: Mapping[str, Any] | None) -> None:
        assert body is not None
        assert self.body is None, "a request is answered once"
        encoded = codec.encode_response_body(ctx.api_key, ctx.version, body)
        self.body = codec.decode_response(ctx.api_key, ctx.version, encoded)

    def send_encoded(self, ctx: RequestContext, frame: bytes) -> None:
        raise AssertionError("nothing is forwarded")

    def close(self, reason: str, detail: str) -> None:
        raise AssertionError(f"closed: {reason}: {detail}")

    def __getattr__(self, name: str) -> Any:
        body = self.__dict__["body"]
        assert body is not None, "there is no answer yet"
        return getattr(body, name)


class Lab:
    """One broker that leads every partition of the offsets topic."""

    def __init__(self, **config: str) -> None:
        settings = {"offsets.topic.num.partitions": "4", "group.initial.rebalance.delay.ms": "0"}
        self.config = BrokerConfig(settings | {key.replace("_", "."): value for key, value in config.items()})
        self.clock = ManualClock()
        self.rng = Random(7)
        self.log = FakeLog()
        self.sink = Sink()
        self.channel = FakeChannel()
        self.image = MetadataImage()
        self.image.brokers[1] = BrokerRegistration(
            broker_id=1, broker_epoch=1, incarnation_id=uuid.UUID(int=1000), listeners={LISTENER: ("127.0.0.1", 9092)}, fenced=False
        )
        self.add_topic(OFFSETS_TOPIC, 4)
        self.add_topic("orders", 4)
        self.start()

    def start(self, *, lead: bool = True) -> None:
        """Begin, or begin anew, with what the log holds."""
        self.coordinator = GroupCoordinator(1, self.config, self.clock, self.rng, self.sink, self.log)
        self.coordinator.startup()
        self.coordinator.on_image(MetadataDelta.of_everything(self.image), self.image)
        self.services = SimpleNamespace(group_coordinator=self.coordinator, image=self.image, controller_channel=self.channel)
        if lead:
            for partition in range(4):
                self.coordinator.on_leader(partition, 0)

    def restart(self) -> None:
        self.coordinator.shutdown()
        self.start()

    def add_topic(self, name: str, partitions: int) -> TopicImage:
        topic = TopicImage(name=name, topic_id=uuid.UUID(int=2000 + len(self.image.topics_by_id)), created_offset=0)
        for partition in range(partitions):
            topic.partitions[partition] = PartitionRegistration(replicas=(1,), isr=(1,), leader=1, leader_epoch=0, partition_epoch=0)
        self.image.topics_by_name[name] = self.image.topics_by_id[topic.topic_id] = topic
        return topic

    def delete_topic(self, name: str) -> None:
        topic = self.image.topics_by_name.pop(name)
        del self.image.topics_by_id[topic.topic_id]
        delta = MetadataDelta()
        delta.deleted_topics[topic.topic_id] = topic
        self.coordinator.on_image(delta, self.image)

    def call(self, api_key: ApiKey, version: int, body: Mapping[str, Any], *, client_id: str = "c") -> Answer:
        """Send a request through its handler, as the router does."""
        request = codec.decode_request(api_key, version, codec.encode_request_body(api_key, version, body))
        answer = Answer()
        self.connection = ConnectionInfo(1, LISTENER, "127.0.0.1", 50000)
        ctx = RequestContext(answer, self.connection, api_key, version, 1, client_id)
        handler = HANDLERS[api_key]
        try:
            result = handler.handle(self.services, ctx, request)
        except ApiError as error:
            result = handler.error_response(request, error.error, error.message, version)
        if result is not None:
            ctx.respond(result)
        return answer

    # --- members -------------------------------------------------------------------------------

    def join(
        self,
        group: str = "g",
        member: str = "",
        *,
        version: int = 9,
        client_id: str = "c",
        instance: str | None = None,
        session_ms: int = 10_000,
        rebalance_ms: int = 60_000,
        protocols: Mapping[str, bytes] | None = None,
        protocol_type: str = "consumer",
    ) -> Answer:
        named = {"range": subscription("orders")} if protocols is None else protocols
        body = {
            "group_id": group,
            "session_timeout": session_ms,
            "rebalance_timeout": rebalance_ms,
            "member_id": member,
            "group_instance_id": instance,
            "protocol_type": protocol_type,
            "protocols": [{"name": name, "metadata": metadata} for name, metadata in named.items()],
        }
        return self.call(ApiKey.JOIN_GROUP, version, body, client_id=client_id)

    def join_twice(self, group: str = "g", **more: Any) -> tuple[str, Answer]:
        """Ask for an id, then join with it, as clients do."""
        first = self.join(group, **more)
        assert first.error_code == Errors.MEMBER_ID_REQUIRED
        return first.member_id, self.join(group, first.member_id, **more)

    def sync(
        self,
        group: str,
        generation: int,
        member: str,
        assignments: Mapping[str, bytes] | None = None,
        *,
        version: int = 5,
        instance: str | None = None,
        protocol: str | None = "range",
        protocol_type: str | None = "consumer",
    ) -> Answer:
        body = {
            "group_id": group,
            "generation_id": generation,
            "member_id": member,
            "group_instance_id": instance,
            "protocol_type": protocol_type,
            "protocol_name": protocol,
            "assignments": [{"member_id": who, "assignment": what} for who, what in (assignments or {}).items()],
        }
        return self.call(ApiKey.SYNC_GROUP, version, body)

    def beat(self, group: str, generation: int, member: str, *, version: int = 4, instance: str | None = None) -> Errors:
        body = {"group_id": group, "generation_id": generation, "member_id": member, "group_instance_id": instance}
        return Errors(self.call(ApiKey.HEARTBEAT, version, body).error_code)

    def leave(self, group: str, *members: tuple[str, str | None], version: int = 5) -> Answer:
        body = {
            "group_id": group,
            "member_id": members[0][0],
            "members": [{"member_id": member, "group_instance_id": instance, "reason": "bye"} for member, instance in members],
        }
        return self.call(ApiKey.LEAVE_GROUP, version, body)

    def stable_group(self, group: str = "g", count: int = 2, **more: Any) -> tuple[list[str], int]:
        """A group in which each member has one partition of ``orders``; ids (leader first) and generation."""
        joins = [self.join_twice(group, client_id=f"c{i}", **more) for i in range(count)]
        self.clock.advance(0)
        ids = [member for member, _ in joins]
        generation = joins[0][1].generation_id
        plan = {member: assignment(("orders", [i])) for i, member in enumerate(ids)}
        others = [self.sync(group, generation, member) for member in ids[1:]]
        leader = self.sync(group, generation, ids[0], plan)
        assert leader.assignment == plan[ids[0]]
        assert [other.assignment for other in others] == [plan[member] for member in ids[1:]]
        return ids, generation

    # --- offsets -------------------------------------------------------------------------------

    def commit(
        self,
        group: str,
        offsets: Mapping[tuple[str, int], int],
        *,
        generation: int = -1,
        member: str = "",
        version: int = 9,
        metadata: str | None = "",
        retention_ms: int = -1,
    ) -> Answer:
        topics: dict[str, list[dict[str, Any]]] = {}
        for (topic, partition), offset in offsets.items():
            topics.setdefault(topic, []).append(
                {"partition_index": partition, "committed_offset": offset, "committed_leader_epoch": 3, "committed_metadata": metadata}
            )
        body = {
            "group_id": group,
            "generation_id_or_member_epoch": generation,
            "member_id": member,
            "retention_time": retention_ms,
            "topics": [
                {"name": topic, "topic_id": self.image.topic_id(topic), "partitions": partitions} for topic, partitions in topics.items()
            ],
        }
        return self.call(ApiKey.OFFSET_COMMIT, version, body)

    def committed(self, group: str, *, version: int = 9) -> dict[tuple[str, int], int]:
        """All offsets of a group."""
        answer = self.fetch(group, version=version)
        topics = answer.groups[0].topics if version >= 8 else answer.topics
        return {(topic.name, p.partition_index): p.committed_offset for topic in topics for p in topic.partitions}

    def fetch(self, group: str, wanted: Mapping[str, list[int]] | None = None, *, version: int = 9, require_stable: bool = False) -> Answer:
        topics = None
        if wanted is not None:
            topics = [{"name": name, "topic_id": self.image.topic_id(name), "partition_indexes": what} for name, what in wanted.items()]
        one = {"group_id": group, "topics": topics}
        body = {"groups": [one]} if version >= 8 else one
        return self.call(ApiKey.OFFSET_FETCH, version, body | {"require_stable": require_stable})

    def state(self, group: str) -> str:
        return str(self.call(ApiKey.DESCRIBE_GROUPS, 6, {"groups": [group]}).groups[0].group_state)


def _text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def subscription(*topics: str) -> bytes:
    """What a consumer says it wants to read."""
    return struct.pack(">hi", 0, len(topics)) + b"".join(_text(topic) for topic in topics) + struct.pack(">i", -1)


def assignment(*topics: tuple[str, list[int]]) -> bytes:
    """What a consumer is told to read."""
    parts = [_text(topic) + struct.pack(f">i{len(partitions)}i", len(partitions), *partitions) for topic, partitions in topics]
    return struct.pack(">hi", 0, len(topics)) + b"".join(parts) + struct.pack(">i", -1)
