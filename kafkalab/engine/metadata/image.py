"""The cluster's metadata as the committed part of ``__cluster_metadata`` has it.

One image lives in each node. Only :meth:`MetadataImage.replay` of a committed record changes it,
on the active controller, on its followers, on brokers and at start-up alike. What hangs in it
(registrations, partitions) is immutable: a change puts a new object in the old one's place, so
whoever holds one has a picture of a moment.

A :class:`MetadataDelta` gathers what a run of records touched, with the values before it, so that
publishers do work for what changed and not for what exists.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

from kafkalab.engine.common.config import CLIENT_METRICS_CONFIGS, GROUP_CONFIGS, TOPIC_CONFIGS
from kafkalab.engine.common.features import KRAFT_VERSION_FEATURE
from kafkalab.engine.common.ids import INTERNAL_TOPICS, TopicPartition
from kafkalab.engine.protocol.metadata_records import (
    CONFIG_BROKER,
    CONFIG_CLIENT_METRICS,
    CONFIG_GROUP,
    CONFIG_TOPIC,
    DIRECTORY_LOST,
    DIRECTORY_MIGRATING,
    DIRECTORY_UNASSIGNED,
    LEADER_RECOVERED,
    LEADER_UNCHANGED,
    NO_LEADER,
    AccessControlEntryRecord,
    BrokerRegistrationChangeRecord,
    ClearElrRecord,
    ClientQuotaRecord,
    ConfigRecord,
    DelegationTokenRecord,
    FeatureLevelRecord,
    FenceBrokerRecord,
    MetadataRecord,
    PartitionChangeRecord,
    PartitionRecord,
    ProducerIdsRecord,
    RegisterBrokerRecord,
    RegisterControllerRecord,
    RemoveAccessControlEntryRecord,
    RemoveDelegationTokenRecord,
    RemoveTopicRecord,
    RemoveUserScramCredentialRecord,
    TopicRecord,
    UnfenceBrokerRecord,
    UnregisterBrokerRecord,
    UnregisterControllerRecord,
    UserScramCredentialRecord,
)

__all__ = [
    "CONFIG_BROKER",
    "CONFIG_GROUP",
    "CONFIG_TOPIC",
    "METADATA_VERSION_FEATURE",
    "NO_LEADER",
    "BrokerRegistration",
    "ConfigResource",
    "ControllerRegistration",
    "MetadataDelta",
    "MetadataImage",
    "PartitionRegistration",
    "QuotaEntityKey",
    "TopicImage",
]

METADATA_VERSION_FEATURE: Final = "metadata.version"
COMPARED_AT_A_TIME: Final = 256
"""Partitions of two images."""
_NO_CONFIGS: Final[Mapping[str, str]] = MappingProxyType({})
# Brokers may have any, of plugins and of listeners.
_KNOWN_CONFIGS: Final[Mapping[int, Collection[str]]] = MappingProxyType(
    {CONFIG_TOPIC: TOPIC_CONFIGS, CONFIG_CLIENT_METRICS: CLIENT_METRICS_CONFIGS, CONFIG_GROUP: GROUP_CONFIGS}
)
_Key = TypeVar("_Key")
_new_tuple = tuple.__new__


QuotaEntityKey = tuple[tuple[str, str | None], ...]
"""(type, name) of each part of a quota's entity, sorted by type; no name means the default entity."""

ScramKey = tuple[int, str]
"""(mechanism, user) of a SCRAM credential."""


class ConfigResource(NamedTuple):
    """What settings belong to: a ``CONFIG_…`` type and a name ("" is the default of all brokers)."""

    type: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerRegistration:
    """A broker as it registered, and whether it may lead and serve."""

    broker_id: int
    broker_epoch: int
    incarnation_id: uuid.UUID
    listeners: Mapping[str, tuple[str, int]]
    """(host, port) by listener name, in the broker's order."""
    fenced: bool = True
    in_controlled_shutdown: bool = False
    rack: str | None = None
    log_dirs: tuple[uuid.UUID, ...] = ()
    cordoned_log_dirs: tuple[uuid.UUID, ...] | None = None
    """Directories that get no new replicas (KIP-1066); None while the broker has not told."""
    features: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """(lowest, highest) supported level by feature."""
    security_protocols: Mapping[str, int] = field(default_factory=dict)
    """Security protocol id by listener name."""

    @property
    def is_active(self) -> bool:
        """Unfenced and staying: it may lead and may stand in an ISR."""
        return not self.fenced and not self.in_controlled_shutdown

    @property
    def has_uncordoned_directory(self) -> bool:
        """Whether it may get new replicas: not when all its directories are cordoned."""
        if not self.log_dirs or self.cordoned_log_dirs is None:
            return True
        return any(directory not in self.cordoned_log_dirs for directory in self.log_dirs)

    def has_online_directory(self, directory: uuid.UUID | None) -> bool:
        """Whether a replica that is recorded in this directory can be used; one that is recorded nowhere can."""
        if directory in self.log_dirs or directory in (None, DIRECTORY_UNASSIGNED, DIRECTORY_MIGRATING):
            return True
        return not self.log_dirs and directory != DIRECTORY_LOST


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerRegistration:
    """A controller as it registered."""

    controller_id: int
    incarnation_id: uuid.UUID
    listeners: Mapping[str, tuple[str, int]]
    features: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """(lowest, highest) supported level by feature."""
    security_protocols: Mapping[str, int] = field(default_factory=dict)
    """Security protocol id by listener name."""
    zk_migration_ready: bool = False


class PartitionRegistration(NamedTuple):
    """A partition's committed state. A tuple, because every change makes a new one, and failovers change thousands."""

    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    leader: int
    """``NO_LEADER`` (-1) while nobody leads."""
    leader_epoch: int
    """Raised by every record that names a leader, even the same one."""
    partition_epoch: int
    """Raised by every change."""
    directories: tuple[uuid.UUID, ...] = ()
    """Parallel to the replicas."""
    removing_replicas: tuple[int, ...] = ()
    adding_replicas: tuple[int, ...] = ()
    leader_recovery_state: int = LEADER_RECOVERED
    eligible_leader_replicas: tuple[int, ...] = ()
    last_known_elr: tuple[int, ...] = ()

    @property
    def is_reassigning(self) -> bool:
        """Whether its replicas are on their way elsewhere."""
        return bool(self.adding_replicas or self.removing_replicas)

    def directory_of(self, broker_id: int) -> uuid.UUID | None:
        """The log directory of a replica, None where the broker holds none or none is recorded."""
        if broker_id not in self.replicas:
            return None
        place = self.replicas.index(broker_id)
        return self.directories[place] if place < len(self.directories) else None

    def changed_by(self, record: PartitionChangeRecord) -> PartitionRegistration:
        """The partition after the record."""
        names_leader = record.leader != LEADER_UNCHANGED
        elr, last_elr = record.eligible_leader_replicas, record.last_known_elr
        return _new_tuple(
            PartitionRegistration,
            (
                self.replicas if record.replicas is None else record.replicas,
                self.isr if record.isr is None else record.isr,
                record.leader if names_leader else self.leader,
                self.leader_epoch + names_leader,
                self.partition_epoch + 1,
                self.directories if record.directories is None else record.directories,
                self.removing_replicas if record.removing_replicas is None else record.removing_replicas,
                self.adding_replicas if record.adding_replicas is None else record.adding_replicas,
                self.leader_recovery_state if record.leader_recovery_state < 0 else record.leader_recovery_state,
                self.eligible_leader_replicas if elr is None else elr,
                self.last_known_elr if last_elr is None else last_elr,
            ),
        )


@dataclass(slots=True, kw_only=True, eq=False)
class TopicImage:
    """A topic and its partitions; the dict is the image's own, replaced values are not."""

    name: str
    topic_id: uuid.UUID
    created_offset: int
    """Metadata offset of its record: topics sort by it in order of creation."""
    partitions: dict[int, PartitionRegistration] = field(default_factory=dict)

    @property
    def is_internal(self) -> bool:
        """One of the topics that the cluster keeps for itself."""
        return self.name in INTERNAL_TOPICS


class MetadataDelta:
    """What a run of replayed records touched, and what stood there before.

    The new values are in the image. Partitions of topics that were deleted are not among the
    changed ones; a topic created and deleted within one run shows up nowhere.
    """

    __slots__ = (
        "changed_acls",
        "changed_brokers",
        "changed_configs",
        "changed_controllers",
        "changed_features",
        "changed_partitions",
        "changed_quotas",
        "changed_scram_credentials",
        "changed_tokens",
        "created_topics",
        "deleted_topics",
        "producer_ids_changed",
    )

    def __init__(self) -> None:
        self.created_topics: dict[uuid.UUID, TopicImage] = {}
        self.deleted_topics: dict[uuid.UUID, TopicImage] = {}
        """With the partitions that they had last."""
        self.changed_partitions: dict[tuple[uuid.UUID, int], PartitionRegistration | None] = {}
        """The value before; None for a partition that is new."""
        self.changed_brokers: dict[int, BrokerRegistration | None] = {}
        """The value before; None for a broker that is new."""
        self.changed_controllers: set[int] = set()
        self.changed_configs: set[ConfigResource] = set()
        self.changed_features: set[str] = set()
        self.changed_quotas: set[QuotaEntityKey] = set()
        self.changed_acls: set[uuid.UUID] = set()
        self.changed_scram_credentials: set[ScramKey] = set()
        self.changed_tokens: set[str] = set()
        self.producer_ids_changed = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing was touched."""
        return not (
            self.created_topics
            or self.deleted_topics
            or self.changed_partitions
            or self.changed_brokers
            or self.changed_controllers
            or self.changed_configs
            or self.changed_features
            or self.changed_quotas
            or self.changed_acls
            or self.changed_scram_credentials
            or self.changed_tokens
            or self.producer_ids_changed
        )

    @classmethod
    def of_everything(cls, image: MetadataImage) -> MetadataDelta:
        """The delta from an empty image to this one, for a publisher that joins late."""
        delta = cls()
        for topic in image.topics_by_id.values():
            delta.created_topics[topic.topic_id] = topic
            for partition_id in topic.partitions:
                delta.changed_partitions[topic.topic_id, partition_id] = None
        delta.changed_brokers = dict.fromkeys(image.brokers)
        delta.changed_controllers = set(image.controllers)
        delta.changed_configs = set(image.configs)
        delta.changed_features = set(image.features)
        delta.changed_quotas = set(image.client_quotas)
        delta.changed_acls = set(image.acls)
        delta.changed_scram_credentials = set(image.scram_credentials)
        delta.changed_tokens = set(image.delegation_tokens)
        delta.producer_ids_changed = image.next_producer_id > 0
        return delta


class MetadataImage:
    """The committed metadata of the cluster, and how each record changes it."""

    def __init__(self) -> None:
        self.brokers: dict[int, BrokerRegistration] = {}
        self.controllers: dict[int, ControllerRegistration] = {}
        self.topics_by_name: dict[str, TopicImage] = {}
        self.topics_by_id: dict[uuid.UUID, TopicImage] = {}
        self.configs: dict[ConfigResource, dict[str, str]] = {}
        self.features: dict[str, int] = {}
        self.client_quotas: dict[QuotaEntityKey, dict[str, float]] = {}
        self.acls: dict[uuid.UUID, AccessControlEntryRecord] = {}
        self.scram_credentials: dict[ScramKey, UserScramCredentialRecord] = {}
        self.delegation_tokens: dict[str, DelegationTokenRecord] = {}
        self.next_producer_id = 0
        self.offset = -1
        """Offset of the last record applied; records of an unfinished transaction do not count."""
        self.epoch = -1
        """Raft epoch in which that record was written."""
        self.timestamp_ms = -1
        """When it was written, by its leader's wall clock."""
        self._broker_records: dict[int, int] = {}
        self._replicas_of: dict[int, set[tuple[uuid.UUID, int]]] = {}
        self._handlers: dict[type[MetadataRecord], Callable[[Any, MetadataDelta, int], None]] = {
            RegisterBrokerRecord: self._replay_register_broker,
            UnregisterBrokerRecord: self._replay_unregister_broker,
            BrokerRegistrationChangeRecord: self._replay_broker_change,
            FenceBrokerRecord: self._replay_fence_broker,
            UnfenceBrokerRecord: self._replay_unfence_broker,
            TopicRecord: self._replay_topic,
            PartitionRecord: self._replay_partition,
            PartitionChangeRecord: self._replay_partition_change,
            RemoveTopicRecord: self._replay_remove_topic,
            ConfigRecord: self._replay_config,
            FeatureLevelRecord: self._replay_feature,
            ProducerIdsRecord: self._replay_producer_ids,
            RegisterControllerRecord: self._replay_register_controller,
            UnregisterControllerRecord: self._replay_unregister_controller,
            ClearElrRecord: self._replay_clear_elr,
            ClientQuotaRecord: self._replay_client_quota,
            AccessControlEntryRecord: self._replay_acl,
            RemoveAccessControlEntryRecord: self._replay_remove_acl,
            UserScramCredentialRecord: self._replay_scram_credential,
            RemoveUserScramCredentialRecord: self._replay_remove_scram_credential,
            DelegationTokenRecord: self._replay_token,
            RemoveDelegationTokenRecord: self._replay_remove_token,
        }

    # --- questions -----------------------------------------------------------------------------

    def topic(self, name: str) -> TopicImage | None:
        """A topic by name."""
        return self.topics_by_name.get(name)

    def topic_by_id(self, topic_id: uuid.UUID | None) -> TopicImage | None:
        """A topic by id."""
        return None if topic_id is None else self.topics_by_id.get(topic_id)

    def topic_id(self, name: str) -> uuid.UUID | None:
        """The id of a topic."""
        topic = self.topics_by_name.get(name)
        return None if topic is None else topic.topic_id

    def topic_name(self, topic_id: uuid.UUID | None) -> str | None:
        """The name of a topic."""
        topic = self.topic_by_id(topic_id)
        return None if topic is None else topic.name

    def partition(self, name: str, partition_id: int) -> PartitionRegistration | None:
        """A partition by its topic's name."""
        topic = self.topics_by_name.get(name)
        return None if topic is None else topic.partitions.get(partition_id)

    def config(self, resource_type: int, name: str) -> Mapping[str, str]:
        """The settings recorded for a resource; never None."""
        return self.configs.get(ConfigResource(resource_type, name), _NO_CONFIGS)

    def topic_config(self, name: str) -> Mapping[str, str]:
        """The settings recorded for a topic."""
        return self.configs.get(ConfigResource(CONFIG_TOPIC, name), _NO_CONFIGS)

    def alive_brokers(self) -> Iterator[BrokerRegistration]:
        """Brokers that are not fenced, by id."""
        return (broker for _, broker in sorted(self.brokers.items()) if not broker.fenced)

    def replicas_of(self, broker_id: int) -> Iterable[tuple[uuid.UUID, int]]:
        """(topic id, partition) of every replica that is assigned to a broker."""
        return self._replicas_of.get(broker_id, ())

    def broker_record_offset(self, broker_id: int) -> int:
        """Metadata offset of a broker's latest registration record, -1 without one."""
        return self._broker_records.get(broker_id, -1)

    def partitions(self) -> Iterator[tuple[TopicPartition, PartitionRegistration]]:
        """Every partition."""
        for topic in self.topics_by_id.values():
            for partition_id, partition in topic.partitions.items():
                yield TopicPartition(topic.name, partition_id), partition

    # --- replay --------------------------------------------------------------------------------

    def replay(self, record: MetadataRecord, delta: MetadataDelta | None = None, *, offset: int = -1) -> None:
        """Apply one committed record; what it touches goes into the delta.

        Records that say nothing of the cluster (idle records, a migration's state) leave the image as it is.
        """
        handler = self._handlers.get(type(record))
        if handler is not None:
            handler(record, MetadataDelta() if delta is None else delta, offset)

    def _broker(self, broker_id: int, broker_epoch: int, what: str) -> BrokerRegistration:
        broker = self.brokers.get(broker_id)
        assert broker is not None, f"{what} names broker {broker_id}, which is not registered"
        assert broker.broker_epoch == broker_epoch, (
            f"{what} names epoch {broker_epoch} of broker {broker_id}, which has {broker.broker_epoch}"
        )
        return broker

    def _put_broker(self, broker: BrokerRegistration, delta: MetadataDelta) -> None:
        delta.changed_brokers.setdefault(broker.broker_id, self.brokers.get(broker.broker_id))
        self.brokers[broker.broker_id] = broker

    def _replay_register_broker(self, record: RegisterBrokerRecord, delta: MetadataDelta, offset: int) -> None:
        self._broker_records[record.broker_id] = offset
        self._put_broker(
            BrokerRegistration(
                broker_id=record.broker_id,
                broker_epoch=record.broker_epoch,
                incarnation_id=record.incarnation_id,
                listeners=MappingProxyType({point.name: (point.host, point.port) for point in record.end_points}),
                fenced=record.fenced,
                in_controlled_shutdown=record.in_controlled_shutdown,
                rack=record.rack,
                log_dirs=record.log_dirs,
                cordoned_log_dirs=record.cordoned_log_dirs,
                features=MappingProxyType({f.name: (f.min_supported_version, f.max_supported_version) for f in record.features}),
                security_protocols=MappingProxyType({point.name: point.security_protocol for point in record.end_points}),
            ),
            delta,
        )

    def _replay_unregister_broker(self, record: UnregisterBrokerRecord, delta: MetadataDelta, offset: int) -> None:
        broker = self._broker(record.broker_id, record.broker_epoch, "an unregistration")
        delta.changed_brokers.setdefault(record.broker_id, broker)
        del self.brokers[record.broker_id]
        self._broker_records.pop(record.broker_id, None)

    def _replay_broker_change(self, record: BrokerRegistrationChangeRecord, delta: MetadataDelta, offset: int) -> None:
        broker = self._broker(record.broker_id, record.broker_epoch, "a registration change")
        self._put_broker(
            replace(
                broker,
                fenced=broker.fenced if record.fenced == 0 else record.fenced > 0,
                in_controlled_shutdown=broker.in_controlled_shutdown or record.in_controlled_shutdown > 0,
                log_dirs=record.log_dirs or broker.log_dirs,
                cordoned_log_dirs=broker.cordoned_log_dirs if record.cordoned_log_dirs is None else record.cordoned_log_dirs,
            ),
            delta,
        )

    def _replay_fence_broker(self, record: FenceBrokerRecord, delta: MetadataDelta, offset: int) -> None:
        self._put_broker(replace(self._broker(record.id, record.epoch, "a fencing"), fenced=True), delta)

    def _replay_unfence_broker(self, record: UnfenceBrokerRecord, delta: MetadataDelta, offset: int) -> None:
        self._put_broker(replace(self._broker(record.id, record.epoch, "an unfencing"), fenced=False), delta)

    def _replay_topic(self, record: TopicRecord, delta: MetadataDelta, offset: int) -> None:
        assert record.name not in self.topics_by_name, f"topic {record.name} is created twice"
        topic = TopicImage(name=record.name, topic_id=record.topic_id, created_offset=offset)
        self.topics_by_name[topic.name] = topic
        self.topics_by_id[topic.topic_id] = topic
        delta.created_topics[topic.topic_id] = topic

    def _topic_or_fail(self, topic_id: uuid.UUID, what: str) -> TopicImage:
        topic = self.topics_by_id.get(topic_id)
        assert topic is not None, f"{what} names topic id {topic_id}, which does not exist"
        return topic

    def _put_partition(self, topic: TopicImage, partition_id: int, new: PartitionRegistration, delta: MetadataDelta) -> None:
        key = (topic.topic_id, partition_id)
        old = topic.partitions.get(partition_id)
        delta.changed_partitions.setdefault(key, old)
        topic.partitions[partition_id] = new
        if old is None or old.replicas != new.replicas:
            for broker_id in old.replicas if old is not None else ():
                self._replicas_of[broker_id].discard(key)
            for broker_id in new.replicas:
                self._replicas_of.setdefault(broker_id, set()).add(key)

    def _replay_partition(self, record: PartitionRecord, delta: MetadataDelta, offset: int) -> None:
        topic = self._topic_or_fail(record.topic_id, "a partition")
        partition = PartitionRegistration(
            replicas=record.replicas,
            isr=record.isr,
            leader=record.leader,
            leader_epoch=record.leader_epoch,
            partition_epoch=record.partition_epoch,
            directories=record.directories,
            removing_replicas=record.removing_replicas,
            adding_replicas=record.adding_replicas,
            leader_recovery_state=record.leader_recovery_state,
            eligible_leader_replicas=record.eligible_leader_replicas or (),
            last_known_elr=record.last_known_elr or (),
        )
        self._put_partition(topic, record.partition_id, partition, delta)

    def _replay_partition_change(self, record: PartitionChangeRecord, delta: MetadataDelta, offset: int) -> None:
        # Failovers and starts replay thousands of these in every node.
        topic = self._topic_or_fail(record.topic_id, "a partition change")
        old = topic.partitions.get(record.partition_id)
        assert old is not None, f"a change names partition {topic.name}-{record.partition_id}, which does not exist"
        new = old.changed_by(record)
        if record.replicas is None:
            delta.changed_partitions.setdefault((record.topic_id, record.partition_id), old)
            topic.partitions[record.partition_id] = new
        else:
            self._put_partition(topic, record.partition_id, new, delta)

    def _replay_remove_topic(self, record: RemoveTopicRecord, delta: MetadataDelta, offset: int) -> None:
        topic = self._topic_or_fail(record.topic_id, "a removal")
        self._drop_topic(topic)
        resource = ConfigResource(CONFIG_TOPIC, topic.name)
        if self.configs.pop(resource, None) is not None:
            delta.changed_configs.add(resource)
        for partition_id in topic.partitions:
            delta.changed_partitions.pop((topic.topic_id, partition_id), None)
        if delta.created_topics.pop(topic.topic_id, None) is None:
            delta.deleted_topics[topic.topic_id] = topic

    def _replay_config(self, record: ConfigRecord, delta: MetadataDelta, offset: int) -> None:
        known = _KNOWN_CONFIGS.get(record.resource_type, ())
        if record.resource_type != CONFIG_BROKER and record.name not in known:
            # An older version knew it, and its log still has it: kept, it would have every later change of the resource refused.
            return
        resource = ConfigResource(record.resource_type, record.resource_name)
        delta.changed_configs.add(resource)
        # A new dict each time: whoever holds the old one keeps what it read.
        settings = dict(self.configs.get(resource, _NO_CONFIGS))
        if record.value is None:
            settings.pop(record.name, None)
        else:
            settings[record.name] = record.value
        if settings:
            self.configs[resource] = settings
        else:
            self.configs.pop(resource, None)

    def _replay_feature(self, record: FeatureLevelRecord, delta: MetadataDelta, offset: int) -> None:
        if record.name == KRAFT_VERSION_FEATURE:
            # Raft keeps it in control records; Kafka 4.0 wrote it here as well (KAFKA-18979).
            return
        delta.changed_features.add(record.name)
        if record.feature_level == 0:
            self.features.pop(record.name, None)
        else:
            self.features[record.name] = record.feature_level

    def _replay_producer_ids(self, record: ProducerIdsRecord, delta: MetadataDelta, offset: int) -> None:
        assert record.next_producer_id > self.next_producer_id, "producer ids are given out once"
        self.next_producer_id = record.next_producer_id
        delta.producer_ids_changed = True

    def _replay_register_controller(self, record: RegisterControllerRecord, delta: MetadataDelta, offset: int) -> None:
        delta.changed_controllers.add(record.controller_id)
        self.controllers[record.controller_id] = ControllerRegistration(
            controller_id=record.controller_id,
            incarnation_id=record.incarnation_id,
            listeners=MappingProxyType({point.name: (point.host, point.port) for point in record.end_points}),
            features=MappingProxyType({f.name: (f.min_supported_version, f.max_supported_version) for f in record.features}),
            security_protocols=MappingProxyType({point.name: point.security_protocol for point in record.end_points}),
            zk_migration_ready=record.zk_migration_ready,
        )

    def _replay_unregister_controller(self, record: UnregisterControllerRecord, delta: MetadataDelta, offset: int) -> None:
        delta.changed_controllers.add(record.controller_id)
        self.controllers.pop(record.controller_id, None)

    def _replay_clear_elr(self, record: ClearElrRecord, delta: MetadataDelta, offset: int) -> None:
        for topic in self.topics_by_id.values():
            if record.topic_name in ("", topic.name):
                for partition_id, old in list(topic.partitions.items()):
                    if old.eligible_leader_replicas or old.last_known_elr:
                        cleared = old._replace(eligible_leader_replicas=(), last_known_elr=(), partition_epoch=old.partition_epoch + 1)
                        self._put_partition(topic, partition_id, cleared, delta)

    def _replay_client_quota(self, record: ClientQuotaRecord, delta: MetadataDelta, offset: int) -> None:
        entity = tuple((part.entity_type, part.entity_name) for part in sorted(record.entity, key=lambda part: part.entity_type))
        delta.changed_quotas.add(entity)
        limits = dict(self.client_quotas.get(entity, {}))
        if record.remove:
            limits.pop(record.key, None)
        else:
            limits[record.key] = record.value
        if limits:
            self.client_quotas[entity] = limits
        else:
            self.client_quotas.pop(entity, None)

    def _replay_acl(self, record: AccessControlEntryRecord, delta: MetadataDelta, offset: int) -> None:
        delta.changed_acls.add(record.id)
        self.acls[record.id] = record

    def _replay_remove_acl(self, record: RemoveAccessControlEntryRecord, delta: MetadataDelta, offset: int) -> None:
        delta.changed_acls.add(record.id)
        assert self.acls.pop(record.id, None) is not None, f"a removal names access control entry {record.id}, which does not exist"

    def _replay_scram_credential(self, record: UserScramCredentialRecord, delta: MetadataDelta, offset: int) -> None:
        key = (record.mechanism, record.name)
        delta.changed_scram_credentials.add(key)
        self.scram_credentials[key] = record

    def _replay_remove_scram_credential(self, record: RemoveUserScramCredentialRecord, delta: MetadataDelta, offset: int) -> None:
        key = (record.mechanism, record.name)
        delta.changed_scram_credentials.add(key)
        self.scram_credentials.pop(key, None)

    def _replay_token(self, record: DelegationTokenRecord, delta: MetadataDelta, offset: int) -> None:
        delta.changed_tokens.add(record.token_id)
        self.delegation_tokens[record.token_id] = record

    def _replay_remove_token(self, record: RemoveDelegationTokenRecord, delta: MetadataDelta, offset: int) -> None:
        delta.changed_tokens.add(record.token_id)
        self.delegation_tokens.pop(record.token_id, None)

    # --- copies --------------------------------------------------------------------------------

    def copy(self) -> MetadataImage:
        """The image as it is now, which later records do not change. Costs as much as there are topics and partitions, not more."""
        copied = MetadataImage()
        copied.brokers = dict(self.brokers)
        copied.controllers = dict(self.controllers)
        for topic in self.topics_by_id.values():
            kept = TopicImage(
                name=topic.name, topic_id=topic.topic_id, created_offset=topic.created_offset, partitions=dict(topic.partitions)
            )
            copied.topics_by_id[kept.topic_id] = kept
            copied.topics_by_name[kept.name] = kept
        # What hangs in these is replaced when it changes, never changed.
        copied.configs = dict(self.configs)
        copied.features = dict(self.features)
        copied.client_quotas = dict(self.client_quotas)
        copied.acls = dict(self.acls)
        copied.scram_credentials = dict(self.scram_credentials)
        copied.delegation_tokens = dict(self.delegation_tokens)
        copied.next_producer_id = self.next_producer_id
        copied.offset, copied.epoch, copied.timestamp_ms = self.offset, self.epoch, self.timestamp_ms
        copied._broker_records = dict(self._broker_records)
        copied._replicas_of = {broker_id: set(replicas) for broker_id, replicas in self._replicas_of.items()}
        return copied

    def becoming(self, other: MetadataImage, delta: MetadataDelta) -> Iterator[int]:
        """Take over the content of another image, which is not used afterwards; what differs goes into the delta.

        The two are compared some partitions at a time, and how many is told in between. Nothing changes before the
        last of them, and nobody else may change the image until then. Topics and partitions that both have stay the
        objects that they are here.
        """
        new_topics: list[TopicImage] = []
        changed: list[tuple[TopicImage, int, PartitionRegistration]] = []
        compared = 0
        for theirs in other.topics_by_id.values():
            ours = self.topics_by_id.get(theirs.topic_id)
            if ours is None:
                new_topics.append(theirs)
                delta.created_topics[theirs.topic_id] = theirs
            for partition_id, partition in theirs.partitions.items():
                old = None if ours is None else ours.partitions.get(partition_id)
                if old != partition:
                    delta.changed_partitions[theirs.topic_id, partition_id] = old
                    if ours is not None:
                        changed.append((ours, partition_id, partition))
                compared += 1
                if compared == COMPARED_AT_A_TIME:
                    yield compared
                    compared = 0
        yield compared
        for topic in [topic for topic in self.topics_by_id.values() if topic.topic_id not in other.topics_by_id]:
            self._drop_topic(topic)
            delta.deleted_topics[topic.topic_id] = topic
        for topic in new_topics:
            self.topics_by_id[topic.topic_id] = topic
            self.topics_by_name[topic.name] = topic
        for topic, partition_id, partition in changed:
            topic.partitions[partition_id] = partition
        # All partitions are the other's by now, and so is where their replicas are.
        self._replicas_of = other._replicas_of
        for broker_id in changed_keys(self.brokers, other.brokers):
            delta.changed_brokers[broker_id] = self.brokers.get(broker_id)
            self._broker_records[broker_id] = other._broker_records.get(broker_id, -1)
        self._broker_records = {broker_id: offset for broker_id, offset in self._broker_records.items() if broker_id in other.brokers}
        delta.changed_controllers.update(changed_keys(self.controllers, other.controllers))
        delta.changed_configs.update(changed_keys(self.configs, other.configs))
        delta.changed_features.update(changed_keys(self.features, other.features))
        delta.changed_quotas.update(changed_keys(self.client_quotas, other.client_quotas))
        delta.changed_acls.update(changed_keys(self.acls, other.acls))
        delta.changed_scram_credentials.update(changed_keys(self.scram_credentials, other.scram_credentials))
        delta.changed_tokens.update(changed_keys(self.delegation_tokens, other.delegation_tokens))
        delta.producer_ids_changed = self.next_producer_id != other.next_producer_id
        self.brokers, self.controllers = other.brokers, other.controllers
        self.configs, self.features = other.configs, other.features
        self.client_quotas, self.acls = other.client_quotas, other.acls
        self.scram_credentials, self.delegation_tokens = other.scram_credentials, other.delegation_tokens
        self.next_producer_id = other.next_producer_id
        self.offset, self.epoch, self.timestamp_ms = other.offset, other.epoch, other.timestamp_ms

    def _drop_topic(self, topic: TopicImage) -> None:
        del self.topics_by_id[topic.topic_id]
        if self.topics_by_name.get(topic.name) is topic:
            del self.topics_by_name[topic.name]
        for partition_id, partition in topic.partitions.items():
            for broker_id in partition.replicas:
                self._replicas_of[broker_id].discard((topic.topic_id, partition_id))


def changed_keys(old: Mapping[_Key, object], new: Mapping[_Key, object]) -> list[_Key]:
    """Keys with another value, or on one side only; in the new mapping's order, what is gone last."""
    changed = [key for key, value in new.items() if key not in old or old[key] != value]
    return changed + [key for key in old if key not in new]
