"""The image: what each record does to it, and what the delta says afterwards."""

from __future__ import annotations

import uuid

import pytest

from kafkalab.engine.metadata.image import ConfigResource, MetadataDelta, MetadataImage
from kafkalab.engine.protocol.metadata_records import (
    CONFIG_BROKER,
    CONFIG_CLIENT_METRICS,
    CONFIG_GROUP,
    CONFIG_TOPIC,
    BrokerEndpoint,
    BrokerRegistrationChangeRecord,
    ConfigRecord,
    FeatureLevelRecord,
    MetadataRecord,
    PartitionChangeRecord,
    PartitionRecord,
    ProducerIdsRecord,
    RegisterBrokerRecord,
    RemoveTopicRecord,
    TopicRecord,
    UnregisterBrokerRecord,
)

TOPIC_ID = uuid.UUID(int=0x1234567890)
DIRECTORY = uuid.UUID(int=0x777)


def registration(broker_id: int, epoch: int) -> RegisterBrokerRecord:
    return RegisterBrokerRecord(
        broker_id=broker_id,
        incarnation_id=uuid.UUID(int=1000 + epoch),
        broker_epoch=epoch,
        end_points=(BrokerEndpoint(name="PLAINTEXT", host="127.0.0.1", port=9092),),
        log_dirs=(DIRECTORY,),
    )


def replay(image: MetadataImage, *records: MetadataRecord) -> MetadataDelta:
    delta = MetadataDelta()
    for record in records:
        image.replay(record, delta, offset=image.offset + 1)
        image.offset += 1
    return delta


def image_with_topic() -> MetadataImage:
    image = MetadataImage()
    replay(
        image,
        TopicRecord(name="orders", topic_id=TOPIC_ID),
        PartitionRecord(partition_id=0, topic_id=TOPIC_ID, replicas=(1, 2), isr=(1, 2), leader=1),
        PartitionRecord(partition_id=1, topic_id=TOPIC_ID, replicas=(2, 3), isr=(2, 3), leader=2),
        ConfigRecord(resource_type=CONFIG_TOPIC, resource_name="orders", name="retention.ms", value="5"),
    )
    return image


def test_a_broker_registers_unfences_and_shuts_down() -> None:
    image = MetadataImage()
    delta = replay(image, registration(1, 7))
    assert delta.changed_brokers == {1: None}
    assert image.brokers[1].fenced and image.brokers[1].listeners["PLAINTEXT"] == ("127.0.0.1", 9092)
    assert image.broker_record_offset(1) == 0

    delta = replay(image, BrokerRegistrationChangeRecord(broker_id=1, broker_epoch=7, fenced=-1))
    before = delta.changed_brokers[1]
    assert before is not None and before.fenced
    assert image.brokers[1].is_active

    replay(image, BrokerRegistrationChangeRecord(broker_id=1, broker_epoch=7, in_controlled_shutdown=1))
    stopping = image.brokers[1]
    assert not stopping.fenced and not stopping.is_active
    replay(image, registration(1, 9))
    assert not image.brokers[1].in_controlled_shutdown, "a new registration starts afresh"
    assert [broker.broker_id for broker in image.alive_brokers()] == []
    delta = replay(image, UnregisterBrokerRecord(broker_id=1, broker_epoch=9))
    assert 1 in delta.changed_brokers and image.brokers == {}


def test_a_change_for_another_broker_epoch_is_our_own_mistake() -> None:
    image = MetadataImage()
    replay(image, registration(1, 7))
    with pytest.raises(AssertionError):
        replay(image, BrokerRegistrationChangeRecord(broker_id=1, broker_epoch=8, fenced=-1))


def test_epochs_of_a_partition() -> None:
    image = image_with_topic()
    delta = replay(
        image,
        PartitionChangeRecord(partition_id=0, topic_id=TOPIC_ID, isr=(1,)),
        PartitionChangeRecord(partition_id=0, topic_id=TOPIC_ID, leader=1),
        PartitionChangeRecord(partition_id=0, topic_id=TOPIC_ID, leader=-1),
    )
    partition = image.partition("orders", 0)
    assert partition is not None
    assert (partition.isr, partition.leader, partition.leader_epoch, partition.partition_epoch) == ((1,), -1, 2, 3)
    before = delta.changed_partitions[TOPIC_ID, 0]
    assert before is not None and before.partition_epoch == 0 and before.leader == 1
    assert list(delta.changed_partitions) == [(TOPIC_ID, 0)]


def test_replicas_are_found_by_broker_as_assignments_change() -> None:
    image = image_with_topic()
    assert set(image.replicas_of(2)) == {(TOPIC_ID, 0), (TOPIC_ID, 1)}
    replay(image, PartitionChangeRecord(partition_id=0, topic_id=TOPIC_ID, replicas=(1, 4)))
    assert set(image.replicas_of(2)) == {(TOPIC_ID, 1)}
    assert set(image.replicas_of(4)) == {(TOPIC_ID, 0)}


def test_a_topic_goes_with_its_partitions_and_settings() -> None:
    image = image_with_topic()
    topic = image.topics_by_id[TOPIC_ID]
    delta = replay(image, PartitionChangeRecord(partition_id=0, topic_id=TOPIC_ID, isr=(1,)), RemoveTopicRecord(topic_id=TOPIC_ID))
    assert delta.deleted_topics == {TOPIC_ID: topic}
    assert delta.changed_partitions == {}
    assert delta.changed_configs == {ConfigResource(CONFIG_TOPIC, "orders")}
    assert image.topics_by_name == {} and image.topic_config("orders") == {} and not set(image.replicas_of(1))


def test_a_topic_created_and_deleted_in_one_run_shows_up_nowhere() -> None:
    delta = replay(
        MetadataImage(),
        TopicRecord(name="brief", topic_id=TOPIC_ID),
        PartitionRecord(partition_id=0, topic_id=TOPIC_ID, replicas=(1,), isr=(1,), leader=1),
        RemoveTopicRecord(topic_id=TOPIC_ID),
    )
    assert delta.is_empty


def test_settings_features_and_producer_ids() -> None:
    image = image_with_topic()
    held = image.topic_config("orders")
    delta = replay(
        image,
        ConfigRecord(resource_type=CONFIG_TOPIC, resource_name="orders", name="retention.ms", value=None),
        FeatureLevelRecord(name="metadata.version", feature_level=30),
        FeatureLevelRecord(name="group.version", feature_level=0),
        ProducerIdsRecord(broker_id=1, broker_epoch=1, next_producer_id=1000),
    )
    assert held == {"retention.ms": "5"}, "what was handed out does not change"
    assert image.topic_config("orders") == {}
    assert image.features == {"metadata.version": 30}
    assert image.next_producer_id == 1000 and delta.producer_ids_changed


def test_what_only_older_versions_knew_is_left_out() -> None:
    """Else every later change of the topic would be refused for a setting that nobody can name (KAFKA-18979 for the feature)."""
    image = MetadataImage()
    for kind, name in ((CONFIG_TOPIC, "message.format.version"), (CONFIG_GROUP, "gone"), (CONFIG_CLIENT_METRICS, "gone"), (8, "INFO")):
        replay(image, ConfigRecord(resource_type=kind, resource_name="orders", name=name, value="1"))
    replay(image, FeatureLevelRecord(name="kraft.version", feature_level=1))
    assert image.configs == {} and image.features == {}
    replay(image, ConfigRecord(resource_type=CONFIG_TOPIC, resource_name="orders", name="retention.ms", value="5"))
    replay(image, ConfigRecord(resource_type=CONFIG_GROUP, resource_name="readers", name="consumer.session.timeout.ms", value="45000"))
    replay(image, ConfigRecord(resource_type=CONFIG_CLIENT_METRICS, resource_name="all", name="interval.ms", value="1000"))
    replay(image, ConfigRecord(resource_type=CONFIG_BROKER, resource_name="1", name="of.a.plugin", value="x"))
    assert sum(len(settings) for settings in image.configs.values()) == 4


def test_the_delta_of_everything() -> None:
    image = image_with_topic()
    replay(image, registration(1, 7))
    delta = MetadataDelta.of_everything(image)
    assert set(delta.created_topics) == {TOPIC_ID}
    assert delta.changed_partitions == {(TOPIC_ID, 0): None, (TOPIC_ID, 1): None}
    assert delta.changed_brokers == {1: None}
    assert delta.changed_configs == {ConfigResource(CONFIG_TOPIC, "orders")}
