"""What the active controller tells of each commit: happenings with their causes, and levels."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from typing import Final

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.ids import uuid_to_text
from kafkalab.engine.common.time import Clock
from kafkalab.engine.controller.elections import MIN_ISR
from kafkalab.engine.controller.operation import Plan
from kafkalab.engine.controller.partition_change import election_kind
from kafkalab.engine.metadata.image import (
    CONFIG_BROKER,
    CONFIG_TOPIC,
    BrokerRegistration,
    MetadataDelta,
    MetadataImage,
    PartitionRegistration,
    TopicImage,
)
from kafkalab.engine.protocol.metadata_records import LEADER_RECOVERING
from kafkalab.engine.telemetry.events import (
    BrokerFenced,
    BrokerRegistered,
    BrokerUnfenced,
    PartitionChanged,
    PartitionsAdded,
    ReassignmentChanged,
    TopicCreated,
    TopicDeleted,
)
from kafkalab.engine.telemetry.hub import TelemetrySink
from kafkalab.engine.telemetry.levels import BrokerKey, BrokerLevel, LevelKey, PartitionKey, PartitionLevel, TopicKey, TopicLevel

GONE_KEPT_MAX: Final = 10_000


class ControllerTelemetry:
    """Turns deltas of the image into events and levels.

    A standby says nothing, but remembers whose levels are to go: the controller that was active
    may have died between a commit and telling of it.
    """

    def __init__(self, *, node_id: int, clock: Clock, sink: TelemetrySink, config: BrokerConfig) -> None:
        self._node_id = node_id
        self._clock = clock
        self._sink = sink
        self._config = config
        self._gone: OrderedDict[LevelKey, None] = OrderedDict()

    def watch(self, delta: MetadataDelta) -> None:
        """As a standby: remember what went."""
        for key in self._gone_keys(delta):
            self._gone[key] = None
            if len(self._gone) > GONE_KEPT_MAX:
                self._gone.popitem(last=False)

    def take_over(self, image: MetadataImage) -> None:
        """As the newly active controller: set every level right."""
        for key in self._gone:
            self._sink.level(key, None)
        self._gone.clear()
        for broker in image.brokers.values():
            self._broker_level(broker)
        for topic in image.topics_by_id.values():
            self._topic_level(topic, image)
            for partition_id, partition in topic.partitions.items():
                self._partition_level(topic.name, partition_id, partition)

    def tell(self, delta: MetadataDelta, image: MetadataImage, plan: Plan) -> None:
        """As the active controller: what a committed operation changed."""
        for key in self._gone_keys(delta):
            self._sink.level(key, None)
        for broker_id, old in delta.changed_brokers.items():
            self._tell_broker(old, image.brokers.get(broker_id), plan)
        at_ms = float(self._clock.wall_ms())
        for topic in delta.deleted_topics.values():
            self._sink.emit(TopicDeleted(at_ms=at_ms, node_id=self._node_id, topic=topic.name))
        touched = dict.fromkeys(delta.created_topics)
        for topic in delta.created_topics.values():
            self._sink.emit(
                TopicCreated(
                    at_ms=at_ms,
                    node_id=self._node_id,
                    topic=topic.name,
                    partitions=len(topic.partitions),
                    replication_factor=_replication_factor(topic),
                )
            )
        self._tell_partitions(delta, image, plan, touched, at_ms)
        self._add_configured(delta, image, touched)
        for topic_id in touched:
            if (topic_now := image.topics_by_id.get(topic_id)) is not None:
                self._topic_level(topic_now, image)

    def _gone_keys(self, delta: MetadataDelta) -> list[LevelKey]:
        keys: list[LevelKey] = []
        for topic in delta.deleted_topics.values():
            keys.append(TopicKey(topic.name))
            keys += [PartitionKey(topic.name, partition_id) for partition_id in topic.partitions]
        return keys

    def _tell_broker(self, old: BrokerRegistration | None, new: BrokerRegistration | None, plan: Plan) -> None:
        at_ms = float(self._clock.wall_ms())
        if new is None:
            assert old is not None, "a broker that changed was there before or is there now"
            self._sink.level(BrokerKey(old.broker_id), None)
            return
        is_new = old is None or old.broker_epoch != new.broker_epoch
        if is_new:
            self._sink.emit(BrokerRegistered(at_ms=at_ms, node_id=self._node_id, broker_id=new.broker_id, broker_epoch=new.broker_epoch))
        was_fenced = old is None or old.fenced
        if new.fenced and not was_fenced:
            self._sink.emit(
                BrokerFenced(at_ms=at_ms, node_id=self._node_id, broker_id=new.broker_id, cause=plan.fence_cause, silent_ms=plan.silent_ms)
            )
        elif was_fenced and not new.fenced:
            self._sink.emit(BrokerUnfenced(at_ms=at_ms, node_id=self._node_id, broker_id=new.broker_id))
        self._broker_level(new)

    def _tell_partitions(
        self, delta: MetadataDelta, image: MetadataImage, plan: Plan, touched: dict[uuid.UUID, None], at_ms: float
    ) -> None:
        added: dict[uuid.UUID, int] = {}
        for (topic_id, partition_id), old in delta.changed_partitions.items():
            topic = image.topics_by_id[topic_id]
            new = topic.partitions[partition_id]
            self._partition_level(topic.name, partition_id, new)
            if old is None:
                if topic_id not in delta.created_topics:
                    added[topic_id] = added.get(topic_id, 0) + 1
            else:
                self._tell_change(topic.name, partition_id, old, new, plan.causes.get((topic_id, partition_id), plan.cause), at_ms)
        for topic_id, count in added.items():
            topic = image.topics_by_id[topic_id]
            touched[topic_id] = None
            new_count = len(topic.partitions)
            self._sink.emit(
                PartitionsAdded(at_ms=at_ms, node_id=self._node_id, topic=topic.name, old_count=new_count - count, new_count=new_count)
            )

    def _tell_change(
        self, topic: str, partition_id: int, old: PartitionRegistration, new: PartitionRegistration, cause: str, at_ms: float
    ) -> None:
        if (old.adding_replicas, old.removing_replicas) != (new.adding_replicas, new.removing_replicas) or old.replicas != new.replicas:
            self._sink.emit(
                ReassignmentChanged(
                    at_ms=at_ms,
                    node_id=self._node_id,
                    topic=topic,
                    partition=partition_id,
                    old_replicas=old.replicas,
                    new_replicas=new.replicas,
                    adding=new.adding_replicas,
                    removing=new.removing_replicas,
                    state=_reassignment_state(old, new),
                    cause=cause,
                )
            )
        old_elr, new_elr = old.eligible_leader_replicas, new.eligible_leader_replicas
        if old.leader_epoch != new.leader_epoch or old.leader != new.leader or old.isr != new.isr or old_elr != new_elr:
            self._sink.emit(
                PartitionChanged(
                    at_ms=at_ms,
                    node_id=self._node_id,
                    topic=topic,
                    partition=partition_id,
                    old_leader=old.leader,
                    new_leader=new.leader,
                    old_leader_epoch=old.leader_epoch,
                    new_leader_epoch=new.leader_epoch,
                    old_isr=old.isr,
                    new_isr=new.isr,
                    cause=cause,
                    election=election_kind(old, new),
                    old_elr=old_elr,
                    new_elr=new_elr,
                )
            )

    def _add_configured(self, delta: MetadataDelta, image: MetadataImage, touched: dict[uuid.UUID, None]) -> None:
        for resource in delta.changed_configs:
            if resource.type == CONFIG_TOPIC and (topic := image.topic(resource.name)) is not None:
                touched[topic.topic_id] = None
            elif resource.type == CONFIG_BROKER and resource.name == "":
                touched.update(dict.fromkeys(image.topics_by_id))

    def _broker_level(self, broker: BrokerRegistration) -> None:
        host, port = next(iter(broker.listeners.values()), ("", 0))
        level = BrokerLevel(
            broker_epoch=broker.broker_epoch,
            fenced=broker.fenced,
            in_controlled_shutdown=broker.in_controlled_shutdown,
            address=f"{host}:{port}" if host else "",
            rack=broker.rack,
        )
        self._sink.level(BrokerKey(broker.broker_id), level)

    def _topic_level(self, topic: TopicImage, image: MetadataImage) -> None:
        text = image.topic_config(topic.name).get(MIN_ISR) or image.config(CONFIG_BROKER, "").get(MIN_ISR)
        level = TopicLevel(
            topic_id=uuid_to_text(topic.topic_id),
            partitions=len(topic.partitions),
            replication_factor=_replication_factor(topic),
            internal=topic.is_internal,
            min_insync_replicas=int(text) if text else self._config.get_int(MIN_ISR),
            order=topic.created_offset,
        )
        self._sink.level(TopicKey(topic.name), level)

    def _partition_level(self, topic: str, partition_id: int, partition: PartitionRegistration) -> None:
        level = PartitionLevel(
            leader=partition.leader,
            leader_epoch=partition.leader_epoch,
            partition_epoch=partition.partition_epoch,
            replicas=partition.replicas,
            isr=partition.isr,
            elr=partition.eligible_leader_replicas,
            last_known_elr=partition.last_known_elr,
            adding=partition.adding_replicas,
            removing=partition.removing_replicas,
            recovering=partition.leader_recovery_state == LEADER_RECOVERING,
        )
        self._sink.level(PartitionKey(topic, partition_id), level)


def _reassignment_state(old: PartitionRegistration, new: PartitionRegistration) -> str:
    if new.is_reassigning:
        return "changed" if old.is_reassigning else "started"
    return "taken back" if old.adding_replicas and not set(old.adding_replicas) & set(new.replicas) else "done"


def _replication_factor(topic: TopicImage) -> int:
    first = topic.partitions.get(0)
    return 0 if first is None else len(first.replicas)
