"""The records that make an image: what a snapshot holds.

Their order is Kafka's: features first, the metadata version before all others, because it says how
to read the rest; then brokers, controllers, topics with their partitions, settings, quotas,
producer ids, access control entries, SCRAM credentials and delegation tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from kafkalab.engine.metadata.image import (
    METADATA_VERSION_FEATURE,
    BrokerRegistration,
    ControllerRegistration,
    MetadataImage,
    PartitionRegistration,
    TopicImage,
)
from kafkalab.engine.protocol.metadata_records import (
    BrokerEndpoint,
    ClientQuotaRecord,
    ConfigRecord,
    FeatureLevelRecord,
    FeatureRange,
    MetadataRecord,
    PartitionRecord,
    ProducerIdsRecord,
    QuotaEntity,
    RegisterBrokerRecord,
    RegisterControllerRecord,
    TopicRecord,
)

NOBODY: Final = -1
"""The broker to which a snapshot says that the last producer ids went: nobody needs to know any more."""


def image_records(image: MetadataImage) -> Iterator[MetadataRecord]:
    """All records of the image, which must not change meanwhile."""
    yield from _feature_records(image.features)
    for _, broker in sorted(image.brokers.items()):
        yield _broker_record(broker)
    for _, controller in sorted(image.controllers.items()):
        yield _controller_record(controller)
    for topic in sorted(image.topics_by_id.values(), key=_creation):
        yield TopicRecord(name=topic.name, topic_id=topic.topic_id)
        for partition_id, partition in sorted(topic.partitions.items()):
            yield _partition_record(topic, partition_id, partition)
    for resource, settings in image.configs.items():
        for name, value in settings.items():
            yield ConfigRecord(resource_type=resource.type, resource_name=resource.name, name=name, value=value)
    for entity, limits in image.client_quotas.items():
        parts = tuple(QuotaEntity(entity_type=entity_type, entity_name=name) for entity_type, name in entity)
        for key, limit in limits.items():
            yield ClientQuotaRecord(entity=parts, key=key, value=limit)
    if image.next_producer_id > 0:
        yield ProducerIdsRecord(broker_id=NOBODY, broker_epoch=NOBODY, next_producer_id=image.next_producer_id)
    yield from image.acls.values()
    yield from image.scram_credentials.values()
    yield from image.delegation_tokens.values()


def _creation(topic: TopicImage) -> int:
    return topic.created_offset


def _feature_records(features: Mapping[str, int]) -> Iterator[MetadataRecord]:
    if METADATA_VERSION_FEATURE in features:
        yield FeatureLevelRecord(name=METADATA_VERSION_FEATURE, feature_level=features[METADATA_VERSION_FEATURE])
    for name, level in sorted(features.items()):
        if name != METADATA_VERSION_FEATURE:
            yield FeatureLevelRecord(name=name, feature_level=level)


def _end_points(listeners: Mapping[str, tuple[str, int]], protocols: Mapping[str, int]) -> tuple[BrokerEndpoint, ...]:
    return tuple(
        BrokerEndpoint(name=name, host=host, port=port, security_protocol=protocols.get(name, 0))
        for name, (host, port) in listeners.items()
    )


def _ranges(features: Mapping[str, tuple[int, int]]) -> tuple[FeatureRange, ...]:
    return tuple(FeatureRange(name=name, min_supported_version=low, max_supported_version=high) for name, (low, high) in features.items())


def _broker_record(broker: BrokerRegistration) -> MetadataRecord:
    return RegisterBrokerRecord(
        broker_id=broker.broker_id,
        incarnation_id=broker.incarnation_id,
        broker_epoch=broker.broker_epoch,
        end_points=_end_points(broker.listeners, broker.security_protocols),
        features=_ranges(broker.features),
        rack=broker.rack,
        fenced=broker.fenced,
        in_controlled_shutdown=broker.in_controlled_shutdown,
        log_dirs=broker.log_dirs,
        cordoned_log_dirs=broker.cordoned_log_dirs,
    )


def _controller_record(controller: ControllerRegistration) -> MetadataRecord:
    return RegisterControllerRecord(
        controller_id=controller.controller_id,
        incarnation_id=controller.incarnation_id,
        zk_migration_ready=controller.zk_migration_ready,
        end_points=_end_points(controller.listeners, controller.security_protocols),
        features=_ranges(controller.features),
    )


def _partition_record(topic: TopicImage, partition_id: int, partition: PartitionRegistration) -> MetadataRecord:
    return PartitionRecord(
        partition_id=partition_id,
        topic_id=topic.topic_id,
        replicas=partition.replicas,
        isr=partition.isr,
        removing_replicas=partition.removing_replicas,
        adding_replicas=partition.adding_replicas,
        leader=partition.leader,
        leader_recovery_state=partition.leader_recovery_state,
        leader_epoch=partition.leader_epoch,
        partition_epoch=partition.partition_epoch,
        directories=partition.directories,
        eligible_leader_replicas=partition.eligible_leader_replicas or None,
        last_known_elr=partition.last_known_elr or None,
    )
