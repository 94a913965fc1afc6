"""The metadata log that Apache Kafka 4.3.1 wrote: read, written back byte for byte, and replayed."""

from __future__ import annotations

from kafkalab.engine.metadata.image import MetadataImage
from kafkalab.engine.metadata.loader import Batch, MetadataLoader
from kafkalab.engine.protocol.metadata_records import decode_record, encode_record
from kafkalab.engine.record.batch import iter_headers, iter_records
from tests.unit.engine.metadata.golden import CLUSTER_METADATA_LOG


def golden_batches() -> list[Batch]:
    batches: list[Batch] = []
    for position, header in iter_headers(CLUSTER_METADATA_LOG):
        whole = CLUSTER_METADATA_LOG[position : position + header.size_bytes]
        values = [bytes(record.value or b"") for record in iter_records(whole)]
        batches.append((header.base_offset, header.partition_leader_epoch, values, header.is_control))
    return batches


def test_every_record_is_read_and_written_back_byte_for_byte() -> None:
    values = [value for _, _, values, is_control in golden_batches() if not is_control for value in values]
    assert len(values) > 200
    for value in values:
        version = value[2]
        assert encode_record(decode_record(value), version) == value


def test_the_image_is_what_kafka_had() -> None:
    loader = MetadataLoader(MetadataImage())
    image = loader.image
    batches = golden_batches()
    loader.handle_commit([batch for batch in batches if batch[0] < 150])
    assert image.features["metadata.version"] == 30
    assert image.next_producer_id == 1_000
    assert not image.brokers[1].fenced and image.brokers[1].listeners["PLAINTEXT"][1] == 9092
    assert image.topic_config("rolled") == {"segment.bytes": "1048576", "index.interval.bytes": "1024"}
    for name, count in (("txn", 2), ("rolled", 1), ("__consumer_offsets", 2)):
        assert sorted(image.topics_by_name[name].partitions) == list(range(count))
    assert all(partition.leader == 1 and partition.isr == (1,) for _, partition in image.partitions())

    loader.handle_commit([batch for batch in batches if batch[0] >= 150])
    assert image.brokers[1].fenced
    for _, partition in image.partitions():
        assert (partition.leader, partition.isr, partition.eligible_leader_replicas, partition.last_known_elr) == (-1, (), (1,), (1,))
