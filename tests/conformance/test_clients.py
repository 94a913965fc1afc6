"""Clients that others wrote produce to the cluster and read it back."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import TopicPartition as KafkaPythonPartition
from kafka.errors import GroupIdNotFoundError, GroupSubscribedToTopicError, NoError, UnknownTopicOrPartitionError

from kafkalab import Lab
from tests.support import apache_kafka
from tests.support.consuming import take
from tests.support.waiting import wait_for

WAIT_S = 60
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def read_all(lab: Lab, topic: str, count: int, group: str | None = None) -> list[Any]:
    """The first ``count`` messages, by confluent-kafka."""
    consumer = Consumer(
        {"bootstrap.servers": lab.bootstrap_servers, "group.id": group or f"{topic}-reader", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    try:
        messages = take(consumer, count)
        consumer.commit(asynchronous=False)
    finally:
        consumer.close()
    return messages


@pytest.mark.parametrize("codec", CODECS)
def test_confluent_kafka_with_every_codec(lab: Lab, topic: str, codec: str) -> None:
    producer = Producer({"bootstrap.servers": lab.bootstrap_servers, "compression.type": codec, "enable.idempotence": True})
    failed: list[Any] = []

    def report(error: Any, _message: Any) -> None:
        if error is not None:
            failed.append(error)

    for i in range(500):
        producer.produce(topic, f"value {i}", key=f"{i % 7}", headers={"n": str(i)}, on_delivery=report)
    assert producer.flush(WAIT_S) == 0
    assert not failed
    messages = read_all(lab, topic, 500)
    assert {message.value().decode() for message in messages} == {f"value {i}" for i in range(500)}
    assert all(message.headers()[0][0] == "n" for message in messages)


def test_kafka_python_produces_with_acks_all_and_reads_in_a_group(lab: Lab, topic: str) -> None:
    lab.create_topic(topic, partitions=3, replication_factor=3)
    producer = KafkaProducer(bootstrap_servers=lab.bootstrap_servers, acks="all", retries=5)
    sent = [producer.send(topic, key=b"k%d" % (i % 5), value=b"v%d" % i).get(WAIT_S) for i in range(50)]
    producer.close()
    assert {metadata.partition for metadata in sent} <= {0, 1, 2}
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=lab.bootstrap_servers,
        group_id=f"{topic}-group",
        auto_offset_reset="earliest",
        consumer_timeout_ms=WAIT_S * 1_000,
    )
    seen = set()
    for message in consumer:
        seen.add(message.value)
        if len(seen) == 50:
            break
    consumer.commit()
    consumer.close()
    assert seen == {b"v%d" % i for i in range(50)}
    assert sum(lab_committed(lab, f"{topic}-group").values()) == 50


def lab_committed(lab: Lab, group: str) -> dict[Any, int]:
    admin = AdminClient({"bootstrap.servers": lab.bootstrap_servers})
    from confluent_kafka import ConsumerGroupTopicPartitions

    request = [ConsumerGroupTopicPartitions(group)]
    offsets = admin.list_consumer_group_offsets(request)[group].result(WAIT_S)
    return {(tp.topic, tp.partition): tp.offset for tp in offsets.topic_partitions if tp.offset >= 0}


async def test_aiokafka(lab: Lab, topic: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=lab.bootstrap_servers, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        for i in range(30):
            await producer.send_and_wait(topic, b"v%d" % i, key=b"k")
    finally:
        await producer.stop()
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=lab.bootstrap_servers, group_id=f"{topic}-g", auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(WAIT_S):
            values = [(await consumer.getone()).value for _ in range(30)]
    finally:
        await consumer.stop()
    assert values == [b"v%d" % i for i in range(30)]


@pytest.mark.skipif(shutil.which("java") is None or shutil.which("mvn") is None, reason="java or mvn is missing on this machine")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_java_client(lab: Lab, topic: str, codec: str) -> None:
    source = Path(__file__).parent / "java" / "RoundTrip.java"
    command = ["java", "-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", apache_kafka.classpath(), str(source)]
    done = subprocess.run([*command, lab.bootstrap_servers, topic, "1000", codec], capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout.splitlines()[-1:] == ["read 1000"], done.stderr[-3_000:]


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_members_come_and_go_and_every_record_is_read(lab: Lab, topic: str, strategy: str) -> None:
    lab.create_topic(topic, partitions=6, replication_factor=3)
    settings = {
        "bootstrap.servers": lab.bootstrap_servers,
        "group.id": f"{topic}-group",
        "auto.offset.reset": "earliest",
        "partition.assignment.strategy": strategy,
        "session.timeout.ms": 6_000,
        "heartbeat.interval.ms": 200,
    }
    consumers = [Consumer(settings) for _ in range(3)]
    for consumer in consumers:
        consumer.subscribe([topic])
    producer = Producer({"bootstrap.servers": lab.bootstrap_servers})
    seen: set[bytes] = set()

    def poll_until(done: Any) -> None:
        for _ in range(600):
            for consumer in consumers:
                for message in consumer.consume(200, timeout=0.02):
                    if message.error() is None:
                        seen.add(message.value())
            if done():
                return
        raise AssertionError(f"the group did not come to it: {[len(consumer.assignment()) for consumer in consumers]}, {len(seen)} read")

    try:
        poll_until(lambda: sorted(len(consumer.assignment()) for consumer in consumers) == [2, 2, 2])
        for i in range(300):
            producer.produce(topic, b"a%d" % i)
        producer.flush(WAIT_S)
        poll_until(lambda: len(seen) == 300)
        consumers.pop().close()
        poll_until(lambda: sorted(len(consumer.assignment()) for consumer in consumers) == [3, 3])
        for i in range(300):
            producer.produce(topic, b"b%d" % i)
        producer.flush(WAIT_S)
        poll_until(lambda: len(seen) == 600)
    finally:
        for consumer in consumers:
            consumer.close()


def test_admin_requests(lab: Lab, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": lab.bootstrap_servers})
    created = admin.create_topics([NewTopic(topic, 2, 3, config={"retention.ms": "60000"})])
    created[topic].result(WAIT_S)
    admin.create_partitions([NewPartitions(topic, 5)])[topic].result(WAIT_S)
    # Brokers learn of it one after another, as Kafka's do.
    wait_for(lambda: len(admin.list_topics(topic, timeout=WAIT_S).topics[topic].partitions) == 5, "five partitions")
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    entries = wait_for(lambda: admin.describe_configs([resource])[resource].result(WAIT_S), "the topic's settings")
    assert entries["retention.ms"].value == "60000"
    assert entries["cleanup.policy"].value == "delete"
    cluster = admin.describe_cluster().result(WAIT_S)
    assert {node.id for node in cluster.nodes} == {1, 2, 3}
    admin.delete_topics([topic])[topic].result(WAIT_S)
    wait_for(lambda: topic not in admin.list_topics(timeout=WAIT_S).topics, "the topic gone")


def test_offsets_by_time(lab: Lab, topic: str) -> None:
    lab.create_topic(topic, partitions=1, replication_factor=3)
    producer = Producer({"bootstrap.servers": lab.bootstrap_servers, "batch.num.messages": 1})
    for i in range(10):
        producer.produce(topic, str(i), timestamp=1_700_000_000_000 + i * 1_000)
    producer.flush(WAIT_S)
    consumer = Consumer({"bootstrap.servers": lab.bootstrap_servers, "group.id": "by-time"})
    try:
        asked = [TopicPartition(topic, 0, 1_700_000_004_500)]
        found = wait_for(lambda: consumer.offsets_for_times(asked, timeout=WAIT_S), "an offset from a broker that knows the topic")
        assert found[0].offset == 5
        assert consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=WAIT_S) == (0, 10)
    finally:
        consumer.close()


def test_groups_are_listed_described_and_deleted(lab: Lab, topic: str) -> None:
    producer = Producer({"bootstrap.servers": lab.bootstrap_servers})
    producer.produce(topic, b"x")
    producer.flush(WAIT_S)
    group = f"{topic}-group"
    read_all(lab, topic, 1, group)
    admin = AdminClient({"bootstrap.servers": lab.bootstrap_servers})
    listed = admin.list_consumer_groups().result(WAIT_S)
    assert group in {found.group_id for found in listed.valid}
    described = admin.describe_consumer_groups([group])[group].result(WAIT_S)
    assert described.state.name == "EMPTY"
    assert lab_committed(lab, group) == {(topic, 0): 1}
    admin.delete_consumer_groups([group])[group].result(WAIT_S)
    listed = admin.list_consumer_groups().result(WAIT_S)
    assert group not in {found.group_id for found in listed.valid}


def test_offsets_of_a_group_are_deleted_where_nobody_reads(lab: Lab, topic: str) -> None:
    lab.create_topic(topic, partitions=2, replication_factor=3)
    places = [KafkaPythonPartition(topic, partition) for partition in range(2)]
    nowhere = KafkaPythonPartition(topic, 7)
    group = f"{topic}-group"
    consumer = Consumer({"bootstrap.servers": lab.bootstrap_servers, "group.id": group})
    places_of_five = [TopicPartition(topic, partition, 5) for partition in range(2)]
    wait_for(lambda: consumer.commit(offsets=places_of_five, asynchronous=False), "a commit, once the group has its coordinator")
    consumer.subscribe([topic])
    admin = KafkaAdminClient(bootstrap_servers=lab.bootstrap_servers)
    try:
        with pytest.raises(GroupIdNotFoundError):
            admin.delete_group_offsets("nobody", places)
        deadline = time.monotonic() + WAIT_S
        while not consumer.assignment():
            consumer.poll(0.1)
            assert time.monotonic() < deadline, "it was given nothing to read"
        assert admin.delete_group_offsets(group, places) == dict.fromkeys(places, GroupSubscribedToTopicError)
        consumer.close()
        assert admin.delete_group_offsets(group, [places[1], nowhere]) == {places[1]: NoError, nowhere: UnknownTopicOrPartitionError}
        assert lab_committed(lab, group) == {(topic, 0): 5}
    finally:
        admin.close()
