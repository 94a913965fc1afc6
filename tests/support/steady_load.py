"""A steady load of numbered records, and whether what was acknowledged is there: once and in order."""

from __future__ import annotations

import threading
import time
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

WAIT_S = 60
RATE = 200


class Load:
    """A paced idempotent producer; remembers what was acknowledged, and where.

    :param config: settings of the producer beside ours.
    """

    def __init__(self, bootstrap: str, topic: str, **config: Any) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 0,
                "retry.backoff.ms": 20,
                "topic.metadata.refresh.interval.ms": 1_000,
                "reconnect.backoff.max.ms": 200,
                "log_level": 0,
                **config,
            }
        )
        self._topic = topic
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.acked: dict[int, list[tuple[int, int | None]]] = {}
        """(number, offset) by partition, in order of acknowledgement.

        Where the answer to a request was lost and the next one succeeded, librdkafka knows from the sequence numbers that
        its records are there, but not at which offsets: None.
        """
        self.failed: list[Any] = []
        self.count = 0
        self.longest_gap_s = 0.0
        self._last_at = 0.0

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _report(self, error: Any, message: Any) -> None:
        if error is not None:
            self.failed.append(error)
            return
        now = time.monotonic()
        if self._last_at:
            self.longest_gap_s = max(self.longest_gap_s, now - self._last_at)
        self._last_at = now
        self.count += 1
        self.acked.setdefault(message.partition(), []).append((int(message.value()), message.offset()))

    def _run(self) -> None:
        number = 0
        next_at = time.monotonic()
        while not self._done.is_set():
            self._producer.produce(self._topic, str(number), key=str(number % 13), on_delivery=self._report)
            number += 1
            next_at += 1 / RATE
            while (left := next_at - time.monotonic()) > 0:
                self._producer.poll(left)
        assert self._producer.flush(WAIT_S) == 0

    def wait_for(self, more: int) -> None:
        """Until so many more are acknowledged."""
        target = self.count + more
        deadline = time.monotonic() + WAIT_S
        while self.count < target:
            assert time.monotonic() < deadline, f"{self.count} of {target} acknowledged, {self.failed[:3]}"
            self._done.wait(0.01)


def end_of(consumer: Consumer, partition: TopicPartition) -> int:
    """The high watermark, asked for again where the answer was that the leader has just moved."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return int(consumer.get_watermark_offsets(partition, timeout=WAIT_S)[1])
        except KafkaException as e:
            if e.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION or time.monotonic() > deadline:
                raise
            consumer.list_topics(partition.topic, timeout=WAIT_S)


def read_partition(bootstrap: str, topic: str, partition: int) -> list[tuple[int, int]]:
    """(number, offset) of everything in a partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "check", "enable.auto.commit": False, "log_level": 0})
    try:
        end = end_of(consumer, TopicPartition(topic, partition))
        consumer.assign([TopicPartition(topic, partition, 0)])
        records: list[tuple[int, int]] = []
        while not records or records[-1][1] < end - 1:
            # Asked for more than there is, it would wait out its time.
            got = consumer.consume(min(1_000, end - (records[-1][1] + 1 if records else 0)), timeout=WAIT_S)
            assert got, f"{len(records)} records of {end} came"
            records += [(int(message.value()), message.offset()) for message in got]
        return records
    finally:
        consumer.close()


def check(bootstrap: str, topic: str, load: Load) -> None:
    """Nothing lost, nothing twice, order kept."""
    assert not load.failed, load.failed[:3]
    for partition, acked in load.acked.items():
        records = read_partition(bootstrap, topic, partition)
        at_offset = {offset: number for number, offset in records}
        there = set(at_offset.values())
        lost = [
            (number, offset) for number, offset in acked if (number not in there if offset is None else at_offset.get(offset) != number)
        ]
        assert not lost, f"{topic}-{partition}: acknowledged and not there: {lost[:5]}"
        numbers = [number for number, _ in records]
        assert len(set(numbers)) == len(numbers), "a record is there twice"
        by_key: dict[int, int] = {}
        for number in numbers:
            assert by_key.get(number % 13, -1) < number, "records of one key changed places"
            by_key[number % 13] = number
