"""A real Kafka broker serves what we wrote from a copy of our directory, and we serve what it wrote from its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kafkalab import Lab
from kafkalab.engine.common.ids import uuid_to_text
from kafkalab.engine.log.reader import LogDirReader
from tests.support import apache_kafka
from tests.support.waiting import wait_for

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
PARTITIONS = 2
RECORDS = 400
GROUP = "readers"
WAIT_S = 30

Seen = tuple[int, bytes | None, bytes | None, int, tuple[tuple[str, bytes | None], ...]]

pytestmark = [
    pytest.mark.skipif(apache_kafka.missing() is not None, reason=f"Apache Kafka cannot be run beside: {apache_kafka.missing()}"),
    pytest.mark.timeout(300),
]


def write(bootstrap: str, topics: Iterable[str], *, first: int = 0) -> None:
    """Records of every kind, with the codec in the topic's name."""
    for topic in topics:
        producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "compression.type": topic.partition("-")[2],
                "enable.idempotence": True,
                "batch.num.messages": 25,
            }
        )
        for number in range(first, first + RECORDS):
            producer.produce(
                topic,
                partition=number % PARTITIONS,
                key=f"k{number % 7}" if number % 5 else None,
                value=f"value {number} " * (number % 40) if number % 11 else None,
                headers=[("h", b"x"), ("n", None)] if number % 3 == 0 else None,
                timestamp=1_700_000_000_000 + number * 1_000,
            )
        assert producer.flush(WAIT_S) == 0


def create(bootstrap: str, topics: Iterable[str]) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    # The records are of 2023: retention by time would be right to take them.
    wanted = [NewTopic(topic, PARTITIONS, 1, config={"retention.ms": "-1"}) for topic in topics]
    for created in admin.create_topics(wanted, operation_timeout=WAIT_S).values():
        created.result(WAIT_S)


def commit(bootstrap: str, topic: str, offset: int) -> None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP})
    wait_for(lambda: consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False), "a commit")
    consumer.close()


def read(bootstrap: str, topics: Iterable[str]) -> dict[tuple[str, int], tuple[tuple[int, int], list[Seen]]]:
    """Start and end offset of every partition, and every record between."""
    found = {}
    # Without a wait at the end of one partition before the next is asked for.
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "compare", "enable.auto.commit": False, "fetch.wait.max.ms": 10})
    try:
        for topic in topics:
            for partition in range(PARTITIONS):
                # A broker that has just started takes its partitions over a little later.
                ask = partial(consumer.get_watermark_offsets, TopicPartition(topic, partition), timeout=WAIT_S)
                low, high = wait_for(ask, f"both ends of {topic}-{partition}")
                consumer.assign([TopicPartition(topic, partition, low)])
                records: list[Seen] = []
                while len(records) < high - low:
                    # It waits until there are as many, so no more may be asked for than there are.
                    messages = consumer.consume(high - low - len(records), timeout=WAIT_S)
                    assert messages, f"{topic}-{partition} ended at {records[-1:]} before {high}"
                    for message in messages:
                        assert message.error() is None, message.error()
                        headers = tuple(message.headers() or ())
                        records.append((message.offset(), message.key(), message.value(), message.timestamp()[1], headers))
                found[topic, partition] = ((low, high), records)
    finally:
        consumer.close()
    return found


def committed(bootstrap: str, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP})
    try:
        (place,) = wait_for(lambda: consumer.committed([TopicPartition(topic, 0)], timeout=WAIT_S), "what was committed")
        offset: int = place.offset
        return offset
    finally:
        consumer.close()


TOPICS = [f"codec-{codec}" for codec in CODECS]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_real_broker_goes_on_where_we_ended(tmp_path: Path, end: str) -> None:
    data_dir = tmp_path / "lab"
    with Lab(brokers=1, controllers=1, combined=True, data_dir=data_dir) as lab:
        create(lab.bootstrap_servers, TOPICS)
        write(lab.bootstrap_servers, TOPICS)
        commit(lab.bootstrap_servers, TOPICS[0], 123)
        expected = read(lab.bootstrap_servers, TOPICS)
        if end == "kill":
            lab.kill(1)
    (log_dir,) = [path for path in data_dir.iterdir() if path.is_dir()]
    copy = Path(shutil.copytree(log_dir, tmp_path / "apache", ignore=shutil.ignore_patterns(".lock")))
    with apache_kafka.combined_node(copy) as bootstrap:
        assert read(bootstrap, TOPICS) == expected
        assert committed(bootstrap, TOPICS[0]) == 123
        write(bootstrap, TOPICS, first=RECORDS)
        after = read(bootstrap, TOPICS)
    for place, ((low, high), records) in expected.items():
        assert after[place][0] == (low, high + RECORDS // PARTITIONS)
        assert after[place][1][: len(records)] == records
    # And back: what the real one added is served by us from its copy.
    shutil.rmtree(log_dir)
    shutil.copytree(copy, log_dir, ignore=shutil.ignore_patterns(".lock"))
    with Lab(brokers=1, controllers=1, combined=True, data_dir=data_dir) as lab:
        assert read(lab.bootstrap_servers, TOPICS) == after
        assert committed(lab.bootstrap_servers, TOPICS[0]) == 123


def test_we_go_on_where_a_real_broker_ended(tmp_path: Path) -> None:
    data_dir = tmp_path / "lab"
    data_dir.mkdir()
    log_dir = data_dir / "node-1"
    with apache_kafka.combined_node(log_dir, config={"offsets.topic.num.partitions": "3"}) as bootstrap:
        create(bootstrap, TOPICS)
        write(bootstrap, TOPICS)
        commit(bootstrap, TOPICS[0], 77)
        expected = read(bootstrap, TOPICS)
    for leftover in (*data_dir.glob("node-1.*"), log_dir / ".lock"):
        leftover.unlink(missing_ok=True)
    cluster_id = LogDirReader(log_dir).meta_properties.cluster_id
    ports = {"broker_port": apache_kafka.free_port(), "controller_port": apache_kafka.free_port()}
    plan = {"version": 1, "cluster_id": cluster_id, "host": "127.0.0.1", "nodes": {"1": {"roles": ["broker", "controller"], **ports}}}
    (data_dir / "cluster.json").write_text(json.dumps(plan))
    with Lab(brokers=1, controllers=1, combined=True, data_dir=data_dir, config={"offsets.topic.num.partitions": 3}) as lab:
        assert read(lab.bootstrap_servers, TOPICS) == expected
        assert committed(lab.bootstrap_servers, TOPICS[0]) == 77
        write(lab.bootstrap_servers, TOPICS, first=RECORDS)
        after = read(lab.bootstrap_servers, TOPICS)
    for place, ((low, high), records) in expected.items():
        assert after[place][0] == (low, high + RECORDS // PARTITIONS)
        assert after[place][1][: len(records)] == records
    assert {uuid_to_text(partition.topic_id) for partition in LogDirReader(log_dir).partitions().values() if partition.topic_id}
    copy = Path(shutil.copytree(log_dir, tmp_path / "apache", ignore=shutil.ignore_patterns(".lock")))
    with apache_kafka.combined_node(copy, config={"offsets.topic.num.partitions": "3"}) as bootstrap:
        assert read(bootstrap, TOPICS) == after
