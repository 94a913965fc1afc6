"""A steady load of numbered records, and whether what was acknowledged is there: once and in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.record.batch import iter_headers
from tests.support.raw_client import RawClient
from tests.support.waiting import LOOK_S, wait_for

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

    def wait_until_quiet(self, seconds: float) -> None:
        """Until nothing is acknowledged for so long."""
        deadline = time.monotonic() + WAIT_S
        while True:
            before = self.count
            self._done.wait(seconds)
            if self.count == before:
                return
            assert time.monotonic() < deadline, "it goes on"


def end_of(consumer: Consumer, partition: TopicPartition, at_least: int = 0) -> int:
    """The high watermark, asked for again where the leader has just moved.

    :param at_least: what it was once. A new leader may know less of it until its followers have asked; if it never comes
        to that, the caller is told what there is.
    """
    deadline = time.monotonic() + WAIT_S
    while True:
        is_last = time.monotonic() > deadline
        try:
            found = consumer.get_watermark_offsets(partition, timeout=WAIT_S)
            if found is not None and (found[1] >= at_least or is_last):
                return int(found[1])
        except KafkaException:
            if is_last:
                raise
            with suppress(KafkaException):
                consumer.list_topics(partition.topic, timeout=WAIT_S)
        assert not is_last, f"nobody tells the end of {partition.topic}-{partition.partition}"
        time.sleep(LOOK_S)


def read_partition(bootstrap: str, topic: str, partition: int, at_least: int = 0) -> list[tuple[int, int]]:
    """(number, offset) of everything in a partition, which was once so long."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "check", "enable.auto.commit": False, "log_level": 0})
    try:
        end = end_of(consumer, TopicPartition(topic, partition), at_least)
        consumer.assign([TopicPartition(topic, partition, 0)])
        records: list[tuple[int, int]] = []
        while (after := records[-1][1] + 1 if records else 0) < end:
            # Asked for more than there is, it would wait out its time.
            got = consumer.consume(min(1_000, end - after), timeout=WAIT_S)
            assert got, f"{len(records)} records of {end} came"
            # What comes behind a number fills a record.
            records += [(int(bytes(message.value()).split(b".")[0]), message.offset()) for message in got if message.error() is None]
        return records
    finally:
        consumer.close()


def only_once(bootstrap: str, partition: TopicPartition, records: Sequence[tuple[int, int]]) -> list[int]:
    """The numbers of what :func:`read_partition` has read; none may be there twice.

    But for one thing that no broker can tell: librdkafka that is told OUT_OF_ORDER_SEQUENCE_NUMBER, because the request before
    failed where the leader has just moved, begins a new producer epoch and sends again what it has heard nothing of, whether
    that is there or not (https://github.com/confluentinc/librdkafka/issues/4953).
    """
    first: dict[int, int] = {}
    for number, offset in records:
        if number in first:
            epochs = [_producer_epoch(bootstrap, partition, one) for one in (first[number], offset)]
            assert epochs[0] < epochs[1], f"record {number} is there twice, at {first[number]} and {offset}, by producer epochs {epochs}"
        else:
            first[number] = offset
    return list(first)


def _producer_epoch(bootstrap: str, partition: TopicPartition, offset: int) -> int:
    """That of the batch with an offset, as its leader has it."""
    topic, index = partition.topic, partition.partition
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})

    def fetched() -> int | None:
        metadata = admin.list_topics(topic, timeout=WAIT_S)
        leader = metadata.brokers[metadata.topics[topic].partitions[index].leader]
        wanted = {"partition": index, "fetch_offset": offset, "partition_max_bytes": 1 << 20}
        body = {
            "max_wait": 0,
            "min_bytes": 0,
            "max_bytes": 1 << 20,
            "session_epoch": -1,
            "topics": [{"topic": topic, "partitions": [wanted]}],
        }
        with RawClient(f"{leader.host}:{leader.port}") as client:
            records = client.ask(ApiKey.FETCH, 12, body).responses[0].partitions[0].records
        return next((header.producer_epoch for _, header in iter_headers(bytes(records or b"")) if header.next_offset > offset), None)

    return wait_for(fetched, f"the batch at {offset} of {topic}-{index}")


def check(bootstrap: str, topic: str, load: Load) -> None:
    """Nothing lost, nothing twice, order kept."""
    assert not load.failed, load.failed[:3]
    for partition, acked in load.acked.items():
        end = max((offset + 1 for _, offset in acked if offset is not None), default=0)
        records = read_partition(bootstrap, topic, partition, end)
        at_offset = {offset: number for number, offset in records}
        there = set(at_offset.values())
        lost = [
            (number, offset) for number, offset in acked if (number not in there if offset is None else at_offset.get(offset) != number)
        ]
        assert not lost, f"{topic}-{partition}: acknowledged and not there: {lost[:5]}"
        numbers = only_once(bootstrap, TopicPartition(topic, partition), records)
        by_key: dict[int, int] = {}
        for number in numbers:
            assert by_key.get(number % 13, -1) < number, "records of one key changed places"
            by_key[number % 13] = number
