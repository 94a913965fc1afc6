"""How records get from the logs to strangers' consumers: from files, and from the rack they stand in."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from kafkalab import Lab
from kafkalab.engine.replica.selector import RACK_AWARE_SELECTOR
from kafkalab.engine.telemetry.levels import NodeKey, NodeLevel

WAIT_S = 60.0


def fill(lab: Lab, topic: str, count: int, size: int) -> bytes:
    value = os.urandom(size)
    producer = Producer({"bootstrap.servers": lab.bootstrap_servers, "acks": "all", "linger.ms": 20, "batch.size": 1_000_000})
    for number in range(count):
        producer.produce(topic, number.to_bytes(4, "big") + value, partition=0)
    assert producer.flush(WAIT_S) == 0
    return value


def read(lab: Lab, topic: str, count: int, value: bytes, **settings: Any) -> None:
    """Consume the whole partition, and see that it is what was written."""
    consumer = Consumer({"bootstrap.servers": lab.bootstrap_servers, "group.id": "reader", "check.crcs": True, **settings})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    seen = 0
    deadline = time.monotonic() + WAIT_S
    while seen < count:
        assert time.monotonic() < deadline
        for message in consumer.consume(1_000, 1.0):
            assert message.error() is None
            assert message.value() == seen.to_bytes(4, "big") + value
            assert message.offset() == seen
            seen += 1
    consumer.close()


@pytest.mark.skipif(not hasattr(os, "sendfile"), reason="this system has no sendfile: records are read and written")
@pytest.mark.parametrize("isolation_level", ["read_uncommitted", "read_committed"])
def test_records_reach_a_consumer_by_sendfile_and_are_not_read_on_the_way(
    lab: Lab, topic: str, isolation_level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.create_topic(topic, partitions=1, replication_factor=1)
    value = fill(lab, topic, 5_000, 2_000)
    sent = reads = 0
    sendfile, pread = os.sendfile, os.pread

    def counting_sendfile(*arguments: Any) -> int:
        nonlocal sent
        sent += (done := sendfile(*arguments))
        return done

    def counting_pread(fd: int, size: int, position: int) -> bytes:
        nonlocal reads
        reads += size
        return pread(fd, size, position)

    monkeypatch.setattr(os, "sendfile", counting_sendfile)
    monkeypatch.setattr(os, "pread", counting_pread)
    read(lab, topic, 5_000, value, **{"isolation.level": isolation_level})
    # Only headers are read, to find where a fetch begins.
    assert sent >= 5_000 * 2_000 * 0.9
    assert reads < sent / 10


def test_a_consumer_reads_from_the_replica_in_its_rack() -> None:
    config = {"replica.selector.class": RACK_AWARE_SELECTOR}
    with Lab(brokers=3, controllers=1, config=config, racks=("north", "south", "east")) as lab:
        lab.create_topic("orders", partitions=1, replication_factor=3)
        value = fill(lab, "orders", 3_000, 1_000)
        lab.wait_until_healthy(WAIT_S)
        leader = lab.describe().leader("orders", 0)

        def fetched() -> dict[int, int]:
            levels = {node_id: lab.hub.levels().get(NodeKey(node_id)) for node_id in lab.broker_ids}
            return {node_id: level.fetched_bytes for node_id, level in levels.items() if isinstance(level, NodeLevel)}

        def wait_for(node_id: int, before: dict[int, int]) -> dict[int, int]:
            deadline = time.monotonic() + WAIT_S
            while (now := fetched()).get(node_id, 0) < before.get(node_id, 0) + 3_000_000:
                assert time.monotonic() < deadline, now
                time.sleep(0.05)
            return now

        before = fetched()
        for node_id, rack in zip(lab.broker_ids, ("north", "south", "east"), strict=True):
            read(lab, "orders", 3_000, value, **{"client.rack": rack})
            after = wait_for(node_id, before)
            # The figures are from a moment ago: the last of what somebody served before may be in them now only.
            assert all(after[one] - before.get(one, 0) < 300_000 for one in after if one not in (node_id, leader))
            if node_id != leader:
                # At most what had been asked for before the first answer came.
                assert after[leader] - before.get(leader, 0) < 3_000_000
            before = after
        # Nobody stands in the west, and somebody does not say where it stands: the leader serves both.
        read(lab, "orders", 3_000, value, **{"client.rack": "west"})
        wait_for(leader, before)
