"""The real Kafka's cleaner and ours go over copies of one directory, and what they leave is the same, byte for byte.

But for two things: horizons of tombstones and markers are moments, and compressed batches that lost
records are compressed by different libraries.
"""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.log.cleaner import CleanerConfig
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.manager import LogManager
from kafkalab.engine.log.storage import FileStorage
from kafkalab.engine.record.batch import DELETE_HORIZON_BIT, BatchHeader, Record, iter_records
from kafkalab.engine.record.compression import Codec
from kafkalab.engine.telemetry.hub import NullSink
from tests.support import apache_kafka

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
TRANSACTIONS = "transactions"
TOPICS = (*CODECS, TRANSACTIONS)
SEGMENT_BYTES = 1_048_576
ROUNDS = 1200
WAIT_S = 60

pytestmark = [
    pytest.mark.skipif(apache_kafka.missing() is not None, reason=f"Apache Kafka cannot be run beside: {apache_kafka.missing()}"),
    pytest.mark.timeout(300),
]


def write(bootstrap: str) -> None:
    """A few megabytes for each topic: keys that are written again and others, tombstones, transactions that end either way."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for created in admin.create_topics([NewTopic(topic, 1, 1, config={"cleanup.policy": "compact"}) for topic in TOPICS]).values():
        created.result(WAIT_S)
    for topic in TOPICS:
        rng = random.Random(topic)
        settings = {"bootstrap.servers": bootstrap, "linger.ms": 100, "batch.num.messages": 7, "enable.idempotence": True}
        settings |= {"transactional.id": "t"} if topic == TRANSACTIONS else {"compression.type": topic}
        producer = Producer(settings)
        if topic == TRANSACTIONS:
            producer.init_transactions(WAIT_S)
        for number in range(ROUNDS):
            if topic == TRANSACTIONS and number % 20 == 0:
                producer.begin_transaction()
            for _ in range(3):
                key = f"k{rng.randrange(400)}" if rng.random() < 0.9 else f"once-{number}-{rng.random()}"
                value = None if rng.random() < 0.05 else rng.randbytes(rng.randrange(900, 1100))
                headers = [("h", b"x"), ("n", None)] if rng.random() < 0.3 else None
                producer.produce(topic, key=key, value=value, headers=headers, timestamp=1_700_000_000_000 + number * 7)
            if topic == TRANSACTIONS and number % 20 == 19:
                # An abort would take back what was not sent yet.
                assert producer.flush(WAIT_S) == 0
                if number % 60 == 19:
                    producer.abort_transaction(WAIT_S)
                else:
                    producer.commit_transaction(WAIT_S)
        assert producer.flush(WAIT_S) == 0


def compact_with_kafka(directory: Path) -> None:
    config = {
        "log.cleaner.backoff.ms": "100",
        "log.cleaner.min.cleanable.ratio": "0.01",
        "log.segment.bytes": str(SEGMENT_BYTES),
    }
    with apache_kafka.combined_node(directory, config=config):
        deadline = time.monotonic() + WAIT_S
        checkpoint = directory / "cleaner-offset-checkpoint"
        while any(f"{topic} 0 " not in checkpoint.read_text() for topic in TOPICS):
            assert time.monotonic() < deadline, checkpoint.read_text()
            time.sleep(0.2)


def compact_with_ours(directory: Path) -> None:
    clock = ManualClock(wall_ms=time.time_ns() // 1_000_000)
    manager = LogManager([directory], LogConfig(), clock, FileStorage(), NullSink(), 1)
    manager.load()
    ends = {}
    for log in manager.logs():
        ends[log.topic_partition] = log.log_end_offset
        if log.topic_partition.topic in TOPICS:
            log.config = LogConfig(
                cleanup_policy=frozenset({"compact"}),
                segment_bytes=SEGMENT_BYTES,
                min_cleanable_dirty_ratio=0.01,
                index_interval_bytes=4096,
            )
    manager.start(high_watermark=ends.get, cleaner=CleanerConfig(backoff_ms=100))
    clock.advance(1000)
    manager.close(1)


def batches(directory: Path, topic: str) -> list[tuple[BatchHeader, bytes]]:
    storage = FileStorage()
    log = Log.open(directory / f"{topic}-0", TopicPartition(topic, 0), LogConfig(), ManualClock(), storage=storage, clean=True)
    try:
        return list(log.iter_batches(0))
    finally:
        log.abandon()
        storage.close()


def timeless(header: BatchHeader, data: bytes) -> tuple[object, list[Record]]:
    """All that a batch says, but for the moment of its horizon, and how it is compressed."""
    with_horizon = bool(header.attributes & DELETE_HORIZON_BIT)
    fixed = header._replace(crc=0, batch_length=0, base_timestamp=0 if with_horizon else header.base_timestamp)
    return fixed, list(iter_records(data))


def test_both_cleaners_leave_the_same(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    still = {"log.segment.bytes": str(SEGMENT_BYTES), "log.cleaner.min.cleanable.ratio": "1.0", "offsets.topic.num.partitions": "1"}
    with apache_kafka.combined_node(source, config=still | {"transaction.state.log.num.partitions": "1"}) as bootstrap:
        write(bootstrap)
    before = {topic: sum(header.record_count for header, _ in batches(source, topic)) for topic in TOPICS}
    theirs, ours = (Path(shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns(".lock"))) for name in ("theirs", "ours"))
    compact_with_kafka(theirs)
    compact_with_ours(ours)

    def checkpoint(directory: Path) -> list[str]:
        return sorted(line for line in (directory / "cleaner-offset-checkpoint").read_text().splitlines() if line.startswith(TOPICS))

    assert checkpoint(ours) == checkpoint(theirs)
    same_bytes = 0
    for topic in TOPICS:
        expected, found = batches(theirs, topic), batches(ours, topic)
        assert 400 < sum(header.record_count for header, _ in found) < before[topic] * 0.75
        assert [timeless(*batch) for batch in found] == [timeless(*batch) for batch in expected], topic
        for (header, data), (_, expected_data) in zip(found, expected, strict=True):
            if not header.attributes & DELETE_HORIZON_BIT and header.codec == Codec.NONE:
                assert data == expected_data
                same_bytes += len(data)
        names = [
            sorted(path.name for path in (directory / f"{topic}-0").iterdir() if not path.name.endswith(".deleted"))
            for directory in (theirs, ours)
        ]
        assert names[0] == names[1]
        # Where compressed batches lie depends on how well they are compressed.
        kinds = (".index", ".timeindex", ".txnindex") if topic in ("none", TRANSACTIONS) else ()
        for name in names[0]:
            if name.endswith(kinds):
                assert (ours / f"{topic}-0" / name).read_bytes() == (theirs / f"{topic}-0" / name).read_bytes()
    assert same_bytes > 100_000
    # Its tool says the same of both: "non-consecutive" where records went, and nothing that it does not say of its own.
    complaints = []
    for directory in (theirs, ours):
        kinds = (".log", ".index", ".timeindex", ".txnindex")
        files = sorted(path for topic in TOPICS for path in (directory / f"{topic}-0").iterdir() if path.suffix in kinds)
        printed, wrong = apache_kafka.dump_log(files, "--deep-iteration")
        assert "isvalid: false" not in printed
        complaints.append(sorted(wrong.replace(str(directory), "").splitlines()))
    assert complaints[1] == complaints[0]
    assert any("Non-consecutive" in line for line in complaints[1])
