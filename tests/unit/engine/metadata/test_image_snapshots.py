"""The image written as records, read back, and taken over by another one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from kafkalab.engine.log.storage import FileStorage
from kafkalab.engine.metadata.image import CONFIG_BROKER, CONFIG_TOPIC, ConfigResource, MetadataDelta, MetadataImage
from kafkalab.engine.metadata.image_writer import image_records
from kafkalab.engine.metadata.loader import MetadataLoader
from kafkalab.engine.metadata.record_versions import encode_for, record_version
from kafkalab.engine.protocol.metadata_records import (
    AccessControlEntryRecord,
    BrokerEndpoint,
    ClientQuotaRecord,
    ConfigRecord,
    DelegationTokenRecord,
    FeatureLevelRecord,
    FeatureRange,
    MetadataRecord,
    PartitionChangeRecord,
    PartitionRecord,
    ProducerIdsRecord,
    QuotaEntity,
    RegisterBrokerRecord,
    RegisterControllerRecord,
    RemoveAccessControlEntryRecord,
    RemoveTopicRecord,
    TopicRecord,
    UserScramCredentialRecord,
    decode_record,
    encode_record,
)
from kafkalab.engine.raft.listener import CommittedBatch, CommittedSnapshot
from kafkalab.engine.raft.snapshot_records import SnapshotReader
from kafkalab.engine.raft.snapshot_store import SnapshotId, SnapshotStore

ORDERS, PAYMENTS = uuid.UUID(int=0x0AAA), uuid.UUID(int=0x0BBB)
DATA = Path(__file__).parents[1] / "raft" / "data"


class Snapshot:
    """A snapshot in memory."""

    def __init__(self, end_offset: int, records: Sequence[MetadataRecord]) -> None:
        self.end_offset = end_offset
        self.epoch = 4
        self.records = records

    def last_contained_ms(self) -> int:
        return 77

    def values(self) -> Iterator[list[bytes]]:
        for record in self.records:
            yield [encode_record(record)]


class Publisher:
    def __init__(self) -> None:
        self.deltas: list[MetadataDelta] = []

    def publish(self, delta: MetadataDelta, image: MetadataImage) -> None:
        self.deltas.append(delta)


def everything() -> list[MetadataRecord]:
    """One of all that an image can hold, in a snapshot's order."""
    return [
        FeatureLevelRecord(name="metadata.version", feature_level=30),
        FeatureLevelRecord(name="group.version", feature_level=1),
        RegisterBrokerRecord(
            broker_id=1,
            incarnation_id=uuid.UUID(int=11),
            broker_epoch=5,
            end_points=(BrokerEndpoint(name="PLAINTEXT", host="h1", port=9092, security_protocol=0),),
            features=(FeatureRange(name="metadata.version", min_supported_version=7, max_supported_version=30),),
            rack="r1",
            fenced=False,
            in_controlled_shutdown=True,
            log_dirs=(uuid.UUID(int=101), uuid.UUID(int=102)),
            cordoned_log_dirs=(uuid.UUID(int=102),),
        ),
        RegisterBrokerRecord(broker_id=2, incarnation_id=uuid.UUID(int=12), broker_epoch=6),
        RegisterControllerRecord(
            controller_id=9,
            incarnation_id=uuid.UUID(int=19),
            end_points=(BrokerEndpoint(name="CONTROLLER", host="h9", port=9093, security_protocol=1),),
            features=(FeatureRange(name="kraft.version", min_supported_version=0, max_supported_version=1),),
        ),
        TopicRecord(name="orders", topic_id=ORDERS),
        PartitionRecord(
            partition_id=0,
            topic_id=ORDERS,
            replicas=(1, 2),
            isr=(1,),
            leader=1,
            leader_epoch=3,
            partition_epoch=7,
            adding_replicas=(2,),
            leader_recovery_state=1,
            directories=(uuid.UUID(int=101), uuid.UUID(int=201)),
            eligible_leader_replicas=(2,),
            last_known_elr=(1,),
        ),
        TopicRecord(name="payments", topic_id=PAYMENTS),
        PartitionRecord(partition_id=0, topic_id=PAYMENTS, replicas=(2,), isr=(2,), leader=2, removing_replicas=(1,)),
        PartitionRecord(partition_id=1, topic_id=PAYMENTS, replicas=(1,), isr=(1,), leader=1),
        ConfigRecord(resource_type=CONFIG_TOPIC, resource_name="orders", name="retention.ms", value="5"),
        ConfigRecord(resource_type=CONFIG_BROKER, resource_name="", name="min.insync.replicas", value="2"),
        ClientQuotaRecord(
            entity=(QuotaEntity(entity_type="client-id", entity_name=None), QuotaEntity(entity_type="user", entity_name="bob")),
            key="producer_byte_rate",
            value=1024.5,
        ),
        ProducerIdsRecord(broker_id=-1, broker_epoch=-1, next_producer_id=3000),
        AccessControlEntryRecord(
            id=uuid.UUID(int=31),
            resource_type=2,
            resource_name="al",
            pattern_type=4,
            principal="User:Bob",
            host="*",
            operation=3,
            permission_type=3,
        ),
        UserScramCredentialRecord(name="alice", mechanism=1, salt=b"s", stored_key=b"k", server_key=b"v", iterations=8192),
        DelegationTokenRecord(
            owner="User:a",
            requester="User:b",
            renewers=("User:c",),
            issue_timestamp=1,
            max_timestamp=2,
            expiration_timestamp=3,
            token_id="t",
        ),
    ]


def image_of(records: Sequence[MetadataRecord]) -> MetadataImage:
    image = MetadataImage()
    for offset, record in enumerate(records):
        image.replay(record, offset=offset)
    return image


def loader_with(records: Sequence[MetadataRecord]) -> tuple[MetadataLoader, Publisher]:
    loader = MetadataLoader(MetadataImage())
    publisher = Publisher()
    loader.add_publisher(publisher)
    if records:
        loader.handle_commit([CommittedBatch(0, 1, [encode_record(record) for record in records], False, 100, 5)])
    publisher.deltas.clear()
    return loader, publisher


def test_an_image_is_written_as_the_records_that_make_it() -> None:
    assert list(image_records(image_of(everything()))) == everything()


def test_the_image_of_a_snapshot_that_kafka_wrote_is_written_as_the_same_records() -> None:
    store = SnapshotStore(FileStorage(), DATA)
    reader = SnapshotReader(store, SnapshotId(epoch=1, end_offset=353))
    theirs = [value for values in reader.values() for value in values]
    ours = [encode_for(record, 30) for record in image_records(image_of([decode_record(value) for value in theirs]))]
    # Kafka orders features, topics and settings as its hash tables do.
    assert sorted(ours) == sorted(theirs)
    kinds = [type(decode_record(value)) for value in theirs]
    assert list(dict.fromkeys(type(decode_record(value)) for value in ours)) == list(dict.fromkeys(kinds)), (
        "the same sections in the same order"
    )


def test_records_are_written_as_the_oldest_node_of_the_cluster_can_read_them() -> None:
    versions = [
        (record_version(RegisterBrokerRecord, level), record_version(PartitionRecord, level), record_version(PartitionChangeRecord, level))
        for level in (7, 8, 17, 23, 30)
    ]
    assert versions == [(1, 0, 0), (2, 0, 0), (3, 1, 1), (3, 2, 2), (4, 2, 2)]
    registration, partition = everything()[2], everything()[6]
    old = decode_record(encode_for(registration, 16))
    assert isinstance(old, RegisterBrokerRecord) and old.log_dirs == () and old.in_controlled_shutdown
    old_partition = decode_record(encode_for(partition, 17))
    assert isinstance(old_partition, PartitionRecord)
    assert old_partition.directories and old_partition.eligible_leader_replicas is None


def take_up(loader: MetadataLoader, snapshot: CommittedSnapshot) -> list[int]:
    """All of it; the parts in which it went."""
    return list(loader.handle_snapshot(snapshot))


def test_a_snapshot_makes_the_image_of_one_that_knew_nothing() -> None:
    loader, publisher = loader_with([])
    take_up(loader, Snapshot(40, everything()))
    assert list(image_records(loader.image)) == everything()
    assert (loader.image.offset, loader.image.epoch, loader.image.timestamp_ms) == (39, 4, 77)
    (delta,) = publisher.deltas
    assert set(delta.created_topics) == {ORDERS, PAYMENTS}
    assert delta.changed_partitions == {(ORDERS, 0): None, (PAYMENTS, 0): None, (PAYMENTS, 1): None}
    assert delta.changed_brokers == {1: None, 2: None} and delta.changed_controllers == {9}
    assert delta.producer_ids_changed and delta.changed_tokens == {"t"} and delta.changed_scram_credentials == {(1, "alice")}
    assert set(loader.image.replicas_of(2)) == {(ORDERS, 0), (PAYMENTS, 0)}
    assert loader.image.broker_record_offset(1) == 39, "they registered before the snapshot's end, nobody knows when"


def test_a_snapshot_that_says_what_is_known_changes_nothing() -> None:
    loader, publisher = loader_with(everything())
    topic = loader.image.topics_by_id[ORDERS]
    take_up(loader, Snapshot(40, everything()))
    (delta,) = publisher.deltas
    assert delta.is_empty
    assert loader.image.topics_by_id[ORDERS] is topic
    assert loader.image.broker_record_offset(1) == 2


def test_what_a_snapshot_lacks_is_deleted_and_what_differs_is_changed() -> None:
    loader, publisher = loader_with(everything())
    old = loader.image.topics_by_id[ORDERS].partitions[0]
    again = uuid.UUID(int=0x0CCC)
    kept = [
        record
        for record in everything()
        if isinstance(record, FeatureLevelRecord | RegisterBrokerRecord | TopicRecord | PartitionRecord)
        and getattr(record, "broker_id", 1) == 1
        and getattr(record, "topic_id", ORDERS) == ORDERS
        and getattr(record, "name", "") != "group.version"
    ]
    image = image_of(kept)
    image.replay(PartitionChangeRecord(partition_id=0, topic_id=ORDERS, isr=(1, 2), leader=2))
    snapshot = [*image_records(image), TopicRecord(name="payments", topic_id=again)]
    take_up(loader, Snapshot(60, snapshot))
    (delta,) = publisher.deltas
    assert set(delta.deleted_topics) == {PAYMENTS} and set(delta.deleted_topics[PAYMENTS].partitions) == {0, 1}
    assert set(delta.created_topics) == {again} and loader.image.topic_id("payments") == again, "deleted, and created anew under its name"
    assert delta.changed_partitions == {(ORDERS, 0): old}
    assert loader.image.topics_by_id[ORDERS].partitions[0].leader == 2
    assert set(delta.changed_brokers) == {2} and 2 not in loader.image.brokers
    assert delta.changed_controllers == {9} and not loader.image.controllers
    assert delta.changed_configs == {ConfigResource(CONFIG_TOPIC, "orders"), ConfigResource(CONFIG_BROKER, "")}
    assert delta.changed_features == {"group.version"}
    assert delta.changed_acls and delta.changed_quotas and delta.changed_scram_credentials and delta.changed_tokens
    assert set(loader.image.replicas_of(1)) == {(ORDERS, 0)} and not set(loader.image.replicas_of(2)) - {(ORDERS, 0)}
    loader.handle_commit([CommittedBatch(60, 4, [encode_record(RemoveTopicRecord(topic_id=ORDERS))], False)])
    assert set(loader.image.topics_by_name) == {"payments"}


def test_a_large_snapshot_is_taken_up_bit_by_bit_and_seen_as_a_whole() -> None:
    known = everything()
    loader, publisher = loader_with(known)
    many = [TopicRecord(name=f"topic-{number}", topic_id=uuid.UUID(int=1_000 + number)) for number in range(1_000)]
    partitions = [
        PartitionRecord(partition_id=index, topic_id=many[0].topic_id, replicas=(1,), isr=(1,), leader=1, directories=(uuid.UUID(int=7),))
        for index in range(1_000)
    ]
    given_up = loader.handle_snapshot(Snapshot(50, [*known, *many]))
    next(given_up)
    steps = loader.handle_snapshot(Snapshot(60, [*known, *many, *partitions]))
    parts = []
    while (part := next(steps, None)) is not None:
        parts.append(part)
        assert list(image_records(loader.image)) == known and loader.image.offset < 40 and not publisher.deltas
        assert set(loader.image.replicas_of(1)) == {(ORDERS, 0), (PAYMENTS, 1)} and loader.snapshots_read == 0
    assert max(parts) <= 256 and sum(parts) >= 2_000
    (delta,) = publisher.deltas
    assert len(delta.created_topics) == 1_000 and len(delta.changed_partitions) == 1_000
    assert loader.image.offset == 59 and len(set(loader.image.replicas_of(1))) == 1_002
    loader.handle_commit([CommittedBatch(60, 4, [encode_record(RemoveTopicRecord(topic_id=many[0].topic_id))], False)])
    assert set(loader.image.replicas_of(1)) == {(ORDERS, 0), (PAYMENTS, 1)}


def test_a_snapshot_ends_a_transaction_that_was_under_way() -> None:
    from kafkalab.engine.protocol.metadata_records import BeginTransactionRecord

    loader, _ = loader_with([BeginTransactionRecord(name="x"), TopicRecord(name="lost", topic_id=uuid.UUID(int=5))])
    assert loader.in_transaction
    take_up(loader, Snapshot(9, everything()))
    assert not loader.in_transaction and loader.image.topic("lost") is None


def test_a_copy_does_not_change_with_its_original() -> None:
    image = image_of(everything())
    copied = image.copy()
    before = list(image_records(copied))
    image.replay(PartitionChangeRecord(partition_id=0, topic_id=ORDERS, leader=-1))
    image.replay(RemoveTopicRecord(topic_id=PAYMENTS))
    image.replay(ConfigRecord(resource_type=CONFIG_BROKER, resource_name="", name="min.insync.replicas", value=None))
    image.replay(RemoveAccessControlEntryRecord(id=uuid.UUID(int=31)))
    image.replay(ClientQuotaRecord(entity=(QuotaEntity(entity_type="user", entity_name="eve"),), key="k", value=1.0))
    assert list(image_records(copied)) == before
    assert list(image_records(image)) != before
