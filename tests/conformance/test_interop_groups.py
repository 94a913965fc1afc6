"""A group's coordinator dies, and one of the other kind takes over from its records: Apache Kafka's from ours, ours from theirs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.support import apache_kafka
from tests.support.mixed_cluster import OUR_BROKERS, THEIR_BROKER, MixedCluster, mixed_cluster
from tests.support.waiting import wait_for

pytestmark = [
    pytest.mark.skipif(apache_kafka.missing() is not None, reason=f"Apache Kafka cannot be run beside: {apache_kafka.missing()}"),
    pytest.mark.timeout(300),
    pytest.mark.expects_warnings,
]

TOPIC = "orders"
RECORDS = 600
BATCH = 100
WAIT_S = 40.0


class Member:
    """A consumer in a group that commits each batch when it has it."""

    def __init__(self, bootstrap: str, group: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "session.timeout.ms": 20_000,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        self._consumer.subscribe([TOPIC])
        self.seen: list[tuple[int, int]] = []

    def take_batch(self) -> None:
        """Read so many records and commit what was read."""
        target = len(self.seen) + BATCH
        deadline = time.monotonic() + WAIT_S
        while len(self.seen) < target:
            assert time.monotonic() < deadline, f"{len(self.seen)} of {target} records came"
            for message in self._consumer.consume(target - len(self.seen), timeout=0.5):
                if message.error() is None:
                    self.seen.append((int(message.partition() or 0), int(message.offset() or 0)))
        wait_for(lambda: self._consumer.commit(asynchronous=False), "a commit")

    def committed(self) -> dict[int, int]:
        """What the coordinator has of the group."""
        places = self._consumer.committed([TopicPartition(TOPIC, partition) for partition in range(3)], timeout=WAIT_S)
        return {place.partition: place.offset for place in places if place.offset >= 0}

    def position(self) -> dict[int, int]:
        """One past the last record of each partition that was read."""
        return {partition: max(offset for at, offset in self.seen if at == partition) + 1 for partition, _ in self.seen}

    def close(self) -> None:
        self._consumer.close()


def group_with_coordinator(cluster: MixedCluster, is_wanted: Callable[[int], bool]) -> str:
    """A group's name that makes such a broker its coordinator."""

    def found() -> str | None:
        for number in itertools.count():
            if number == 16:
                return None
            described = cluster.admin.describe_consumer_groups([f"readers-{number}"], request_timeout=WAIT_S)[f"readers-{number}"]
            if is_wanted(described.result(WAIT_S).coordinator.id):
                return f"readers-{number}"
        return None

    return wait_for(found, "a group with such a coordinator")


def test_groups_move_between_both_kinds_of_coordinators(tmp_path: Path) -> None:
    with mixed_cluster(tmp_path, "ours") as cluster:
        cluster.create_topic(TOPIC, [[1, 2, 3], [2, 3, 1], [3, 1, 2]])
        # Of the offsets, each broker leads one partition and theirs succeeds one of ours.
        cluster.create_topic("__consumer_offsets", [[1, 3, 2], [2, 3, 1], [3, 1, 2], [3, 2, 1]], {"cleanup.policy": "compact"})
        producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "acks": "all", "log_level": 0})
        for number in range(RECORDS):
            producer.produce(TOPIC, str(number), partition=number % 3)
        assert producer.flush(WAIT_S) == 0

        group = group_with_coordinator(cluster, lambda broker_id: broker_id == THEIR_BROKER)
        member = Member(cluster.bootstrap_servers, group)
        member.take_batch()
        cluster.theirs.kill()
        cluster.wait_led_without("__consumer_offsets", THEIR_BROKER)
        # Ours read what theirs had written: the same member in the same generation goes on.
        wait_for(lambda: member.committed() == member.position() or None, "what was committed at theirs, at ours")
        member.take_batch()
        member.take_batch()
        expected = member.committed()
        assert expected == member.position()
        member.close()
        cluster.theirs.start()
        cluster.theirs.wait_ready()
        cluster.wait_in_sync("__consumer_offsets")

        group = group_with_coordinator(cluster, lambda broker_id: broker_id in OUR_BROKERS)
        (described,) = cluster.admin.describe_consumer_groups([group], request_timeout=WAIT_S).values()
        coordinator = described.result(WAIT_S).coordinator.id
        member = Member(cluster.bootstrap_servers, group)
        member.take_batch()
        cluster.lab.kill(coordinator)
        cluster.wait_led_without("__consumer_offsets", coordinator)
        wait_for(lambda: member.committed() == member.position() or None, "what was committed at ours")
        member.take_batch()
        assert member.committed() == member.position()
        assert len(set(member.seen)) == len(member.seen), "nothing is read twice"
        member.close()
