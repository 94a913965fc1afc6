"""Load by a stranger's client (confluent-kafka), in a process of its own; prints one JSON line.

python load.py create BOOTSTRAP TOPIC PARTITIONS REPLICATION
python load.py batch BOOTSTRAP TOPIC RECORDS SIZE ACKS       batches as the client makes them
python load.py keyed BOOTSTRAP TOPIC RECORDS SIZE KEYS      as batch, acks=1, with keys in a fixed random order
python load.py full BOOTSTRAP TOPIC SECONDS SIZE            as many as go through, acks=1, with little waiting in the client: rate and p99
python load.py consume BOOTSTRAP TOPIC RECORDS              from the beginning, one consumer, without a group's doings
python load.py single BOOTSTRAP TOPIC RECORDS ACKS           one record a request, one request under way
python load.py pipelined BOOTSTRAP TOPIC RECORDS ACKS        one record a request, five requests under way
python load.py paced BOOTSTRAP TOPIC SECONDS RATE            prints "ready", then the acknowledgements' longest gap
python load.py first BOOTSTRAP TOPIC REPLICATION             until the first record is acknowledged, whatever it takes
"""

from __future__ import annotations

import json
import random
import sys
import time
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

CHUNK = 2_000


def say(**values: Any) -> None:
    print(json.dumps(values), flush=True)


def create(bootstrap: str, topic: str, partitions: str, replication: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    created = admin.create_topics([NewTopic(topic, int(partitions), int(replication))])
    created[topic].result(60)
    # The topic is there when every partition has a leader that the client can see.
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = admin.list_topics(topic, timeout=10).topics[topic].partitions
        if len(found) == int(partitions) and all(partition.leader >= 0 for partition in found.values()):
            break
        time.sleep(0.05)
    say(created=topic)


class Tally:
    """Counts delivery reports."""

    def __init__(self) -> None:
        self.acked = 0
        self.failed = 0
        self.last_at = 0.0
        self.longest_gap = 0.0

    def report(self, error: Any, _message: Any) -> None:
        now = time.monotonic()
        if error is not None:
            self.failed += 1
            return
        if self.last_at:
            self.longest_gap = max(self.longest_gap, now - self.last_at)
        self.last_at = now
        self.acked += 1


def batch(bootstrap: str, topic: str, records: str, size: str, acks: str) -> None:
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": acks,
            "linger.ms": 5,
            "batch.size": 1_000_000,
            "batch.num.messages": 10_000,
            "queue.buffering.max.messages": 500_000,
            "queue.buffering.max.kbytes": 262_144,
            "delivery.report.only.error": True,
        }
    )
    tally = Tally()
    value = bytes(i % 251 for i in range(int(size)))
    messages = [{"value": value} for _ in range(CHUNK)]
    producer.list_topics(topic)
    left = int(records)
    started = time.monotonic()
    while left > 0:
        taken = producer.produce_batch(topic, messages[: min(CHUNK, left)], on_delivery=tally.report)
        left -= taken
        producer.poll(0 if taken else 0.002)
    unsent = producer.flush(300)
    seconds = time.monotonic() - started
    say(records_per_second=int(records) / seconds, mb_per_second=int(records) * int(size) / seconds / 1e6, failed=tally.failed + unsent)


def keyed(bootstrap: str, topic: str, records: str, size: str, keys: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "1", "linger.ms": 5, "batch.size": 500_000, "batch.num.messages": 10_000})
    rng = random.Random(7)
    value = rng.randbytes(int(size))
    count = int(keys)
    left = int(records)
    while left > 0:
        messages = [{"key": b"key-%d" % rng.randrange(count), "value": value} for _ in range(min(CHUNK, left))]
        while messages:
            taken = producer.produce_batch(topic, messages)
            left -= taken
            messages = [{"key": m["key"], "value": m["value"]} for m in messages if "_error" in m]
            producer.poll(0.002)
    say(failed=producer.flush(300))


def full(bootstrap: str, topic: str, seconds: str, size: str) -> None:
    producer = Producer(
        {"bootstrap.servers": bootstrap, "acks": "1", "linger.ms": 1, "batch.num.messages": 500, "queue.buffering.max.messages": 2_000}
    )
    waits: list[float] = []
    failed = 0

    def report(error: Any, message: Any) -> None:
        nonlocal failed
        if error is not None:
            failed += 1
        else:
            waits.append(message.latency())

    value = bytes(i % 251 for i in range(int(size)))
    producer.list_topics(topic)
    started = time.monotonic()
    end_at = started + float(seconds)
    while time.monotonic() < end_at:
        try:
            producer.produce(topic, value, partition=0, on_delivery=report)
        except BufferError:
            producer.poll(0.01)
    unsent = producer.flush(60)
    elapsed = time.monotonic() - started
    waits.sort()
    say(records_per_second=len(waits) / elapsed, p99_ms=waits[int(len(waits) * 0.99)] * 1_000, failed=failed + unsent)


def consume(bootstrap: str, topic: str, records: str) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench",
            "enable.auto.commit": False,
            "queued.min.messages": 1_000_000,
            "queued.max.messages.kbytes": 65_536,
            "fetch.message.max.bytes": 4_194_304,
            "check.crcs": False,
            # Else the client rests for a second whenever its queue is full: the faster the broker, the more often.
            "fetch.queue.backoff.ms": 10,
        }
    )
    low, _ = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)
    wanted = int(records)
    consumer.assign([TopicPartition(topic, 0, low)])
    got = 0
    size = 0
    # From the first record on: connecting and looking the topic up is not reading.
    started = 0.0
    while got < wanted:
        messages = consumer.consume(min(10_000, wanted - got), timeout=30)
        if not messages:
            break
        if not started:
            started = time.monotonic()
            continue_from = len(messages)
        got += len(messages)
        size += sum(map(len, messages))
    seconds = time.monotonic() - started
    consumer.close()
    say(
        records_per_second=(got - continue_from) / seconds,
        mb_per_second=size * (got - continue_from) / got / seconds / 1e6,
        failed=wanted - got,
    )


def single(bootstrap: str, topic: str, records: str, acks: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": acks, "linger.ms": 0, "max.in.flight": 1})
    tally = Tally()
    producer.list_topics(topic)
    for _ in range(20):
        producer.produce(topic, b"warm", partition=0, on_delivery=tally.report)
        producer.flush()
    started = time.monotonic()
    for _ in range(int(records)):
        producer.produce(topic, b"x" * 100, partition=0, on_delivery=tally.report)
        producer.flush()
    seconds = time.monotonic() - started
    say(requests_per_second=int(records) / seconds, failed=tally.failed)


def pipelined(bootstrap: str, topic: str, records: str, acks: str) -> None:
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": acks,
            "linger.ms": 0,
            "batch.num.messages": 1,
            "max.in.flight": 5,
            "delivery.report.only.error": True,
        }
    )
    tally = Tally()
    producer.list_topics(topic)
    started = time.monotonic()
    for _ in range(int(records)):
        producer.produce(topic, b"x" * 100, partition=0, on_delivery=tally.report)
    unsent = producer.flush(120)
    seconds = time.monotonic() - started
    say(requests_per_second=int(records) / seconds, failed=tally.failed + unsent)


def paced(bootstrap: str, topic: str, seconds: str, rate: str) -> None:
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 0,
            # Asked often: what is measured is when the cluster can answer, not when the client asks.
            "topic.metadata.refresh.interval.ms": 50,
            "retry.backoff.ms": 20,
            "retry.backoff.max.ms": 50,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 50,
        }
    )
    tally = Tally()
    producer.produce(topic, b"first", partition=0, on_delivery=tally.report)
    producer.flush(30)
    say(ready=True)
    tally.last_at = 0.0
    step = 1 / float(rate)
    next_at = time.monotonic()
    end_at = next_at + float(seconds)
    sent = 0
    while next_at < end_at:
        producer.produce(topic, str(sent), partition=0, on_delivery=tally.report)
        sent += 1
        next_at += step
        while (left := next_at - time.monotonic()) > 0:
            producer.poll(left)
    unsent = producer.flush(60)
    say(longest_gap_seconds=tally.longest_gap, acked=tally.acked, failed=tally.failed + unsent)


def first(bootstrap: str, topic: str, replication: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap, "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 100, "log_level": 0})
    while True:
        try:
            admin.create_topics([NewTopic(topic, 1, int(replication))], request_timeout=5)[topic].result(10)
            break
        except KafkaException:
            time.sleep(0.05)
    tally = Tally()
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    producer.produce(topic, b"first", on_delivery=tally.report)
    producer.flush(60)
    say(acked=tally.acked)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
