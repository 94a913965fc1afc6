"""The same produce requests, good and bad, to Apache Kafka and to us: what is answered, and what lies in the log after."""

from __future__ import annotations

import re
import struct
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import cramjam
import pytest

from kafkalab import Lab
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.record.batch import Record, build_batch, iter_headers, read_header, rebuild, records_of
from tests.support import apache_kafka
from tests.support.raw_client import RawClient
from tests.support.waiting import wait_for

NOW: Final = int(time.time() * 1000)
HOUR_MS: Final = 3_600_000
HALF_AN_HOUR_MS: Final = "1800000"
"""What is of now stays so for as long: this file may be read long before its test runs."""
RANGE: Final = re.compile(r"\[-?\d+, -?\d+\]")
OURS_ONLY: Final = frozenset({"codec 5", "codec 7", "gzip broken", "gzip cut", "lz4 broken", "lz4 linked", "snappy broken", "zstd broken"})
"""Where it says UNKNOWN_SERVER_ERROR, which clients try again without end, we say what is wrong."""
NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)

pytestmark = [
    pytest.mark.skipif(apache_kafka.missing() is not None, reason=f"Apache Kafka cannot be run beside: {apache_kafka.missing()}"),
    pytest.mark.timeout(300),
]

TOPICS: Final[Mapping[str, Mapping[str, str]]] = {
    "plain": {},
    "compacted": {"cleanup.policy": "compact"},
    "stamped": {"message.timestamp.type": "LogAppendTime"},
    "recent": {"message.timestamp.before.max.ms": HALF_AN_HOUR_MS, "message.timestamp.after.max.ms": HALF_AN_HOUR_MS},
    "small": {"max.message.bytes": "200"},
    "gzip": {"compression.type": "gzip"},
    "snappy": {"compression.type": "snappy"},
    "lz4": {"compression.type": "lz4"},
    "zstd": {"compression.type": "zstd", "compression.zstd.level": "10"},
    "uncompressed": {"compression.type": "uncompressed"},
    "tight": {"segment.bytes": "1048576"},
    "small-uncompressed": {"max.message.bytes": "200", "compression.type": "uncompressed"},
    "strict": {"cleanup.policy": "compact", "message.timestamp.before.max.ms": HALF_AN_HOUR_MS},
    "stamped-gzip": {"message.timestamp.type": "LogAppendTime", "compression.type": "gzip"},
}


def batch(*values: bytes | None, key: bytes | None = b"k", codec: int = NONE, at: int = NOW, **fields: Any) -> bytes:
    return build_batch([Record(0, at + i, key, value, (("h", b"v"),)) for i, value in enumerate(values)], codec=codec, **fields)


def patched(data: bytes, position: int, content: bytes) -> bytes:
    """Other bytes at a place, with a checksum that fits."""
    changed = data[:position] + content + data[position + len(content) :]
    header = read_header(changed)
    return rebuild(header, changed[61:], attributes=header.attributes, max_timestamp=header.max_timestamp)


def with_payload(payload: bytes, count: int, *, codec: int = NONE) -> bytes:
    header = read_header(batch(*[b"x"] * count))
    return rebuild(header, payload, attributes=codec, max_timestamp=header.max_timestamp)


def with_largest(data: bytes, max_timestamp: int) -> bytes:
    return patched(data, 35, struct.pack(">q", max_timestamp))


def mixed(*pairs: tuple[bytes | None, int], **fields: Any) -> bytes:
    return build_batch([Record(0, at, key, b"v") for key, at in pairs], **fields)


def from_producer(sequence: int, count: int = 1, *, id: int = 700, epoch: int = 0, key: bytes | None = b"k") -> bytes:
    return batch(*[b"p"] * count, key=key, producer_id=id, producer_epoch=epoch, base_sequence=sequence)


def with_attributes(codec: int, bits: int) -> bytes:
    return patched(batch(b"a", b"b", codec=codec), 21, struct.pack(">H", codec | bits))


def of_size(size: int) -> bytes:
    return batch(b"a" * (size - len(batch(b"a" * 1_000_000)) + 1_000_000))


def mixed_keys(*keys: bytes | None, codec: int = NONE) -> bytes:
    return build_batch([Record(0, NOW, key, b"v") for key in keys], codec=codec)


def wrong_largest(count: int, codec: int, off_by: int) -> bytes:
    return with_largest(mixed(*[(b"k", NOW + i % 70) for i in range(count)], codec=codec), NOW + 69 + off_by)


CASES: Final[Sequence[tuple[str, str, Callable[[], bytes]]]] = [
    *[
        (topic, f"good, codec {codec}", partial(batch, b"a", b"b" * 300, b"c", codec=codec))
        for topic in TOPICS
        if not topic.startswith("small")
        for codec in range(5)
    ],
    ("plain", "no batch", lambda: b""),
    ("plain", "half a header", lambda: batch(b"a")[:40]),
    ("plain", "two batches", lambda: batch(b"a") + batch(b"b")),
    ("plain", "a batch and something", lambda: batch(b"a") + b"rest"),
    ("plain", "a batch and half of one", lambda: batch(b"a") + batch(b"b")[:-1]),
    ("plain", "a batch and a negative one", lambda: batch(b"a") + b"\xff" * 30),
    ("plain", "a batch and zeros", lambda: batch(b"a") + bytes(100)),
    ("plain", "a batch and magic 9", lambda: batch(b"a") + batch(b"b")[:16] + b"\x09" + batch(b"b")[17:]),
    ("plain", "cut", lambda: batch(b"a" * 50)[:-5]),
    ("plain", "wrong checksum", lambda: batch(b"a")[:-1] + b"!"),
    ("plain", "magic 1", lambda: batch(b"a")[:16] + b"\x01" + batch(b"a")[17:]),
    ("plain", "magic 3", lambda: batch(b"a")[:16] + b"\x03" + batch(b"a")[17:]),
    ("plain", "base offset", lambda: batch(b"a", base_offset=7)),
    ("plain", "control", lambda: batch(b"a", control=True)),
    ("plain", "count 0", lambda: patched(batch(b"a"), 57, struct.pack(">i", 0))),
    ("plain", "count -1", lambda: patched(batch(b"a"), 57, struct.pack(">i", -1))),
    ("plain", "count too large", lambda: patched(batch(b"a", b"b"), 57, struct.pack(">i", 3))),
    ("plain", "delta too large", lambda: patched(batch(b"a", b"b"), 23, struct.pack(">i", 5))),
    ("plain", "delta negative", lambda: patched(batch(b"a", b"b"), 23, struct.pack(">i", -1))),
    ("plain", "count and delta too large", lambda: patched(patched(batch(b"a", b"b"), 23, struct.pack(">i", 2)), 57, struct.pack(">i", 3))),
    ("plain", "count and delta too small", lambda: patched(patched(batch(b"a", b"b"), 23, struct.pack(">i", 0)), 57, struct.pack(">i", 1))),
    ("plain", "codec 5", lambda: patched(batch(b"a"), 21, b"\x00\x05")),
    ("plain", "codec 7", lambda: patched(batch(b"a"), 21, b"\x00\x07")),
    ("plain", "append time", lambda: batch(b"a", b"b", timestamp_type=1)),
    ("plain", "producer without sequence", lambda: batch(b"a", producer_id=5, producer_epoch=0)),
    ("plain", "no keys", lambda: batch(b"a", key=None)),
    ("plain", "two hours ahead", lambda: batch(b"a", at=NOW + 2 * HOUR_MS)),
    ("plain", "very old", lambda: batch(b"a", at=1)),
    ("plain", "no timestamp", lambda: batch(b"a", at=-1)),
    ("plain", "gzip broken", lambda: with_payload(zlib.compress(b"x" * 100)[:20], 1, codec=GZIP)),
    ("plain", "gzip cut", lambda: with_payload(batch(b"x" * 400, codec=GZIP)[61:-8], 1, codec=GZIP)),
    ("plain", "lz4 broken", lambda: with_payload(b"\x04\x22\x4d\x18garbage", 1, codec=LZ4)),
    ("plain", "snappy broken", lambda: with_payload(b"\x82SNAPPY\x00garbage-garbage-garbage", 1, codec=SNAPPY)),
    ("plain", "zstd broken", lambda: with_payload(b"garbage-garbage", 1, codec=ZSTD)),
    ("plain", "lz4 linked", lambda: with_payload(bytes(cramjam.lz4.compress(batch(b"x" * 200_000)[61:])), 1, codec=LZ4)),
    *[
        ("plain", f"{count} records, codec {codec}, largest timestamp off by {lie}", partial(wrong_largest, count, codec, lie))
        for count in (3, 100)
        for codec in (NONE, ZSTD)
        for lie in (-NOW - 1, -5, 40, 10**9)
    ],
    ("plain", "hides that it is ahead", lambda: with_largest(mixed((b"k", NOW), (b"k", NOW + 2 * HOUR_MS)), NOW)),
    ("plain", "hides that it is ahead, 100", lambda: with_largest(mixed(*[(b"k", NOW), (b"k", NOW + 2 * HOUR_MS)] * 50), NOW)),
    ("plain", "producer, 5 to 7", lambda: from_producer(5, 3)),
    ("plain", "producer, 5 to 7 again", lambda: from_producer(5, 3)),
    ("plain", "producer, part of it again", lambda: from_producer(5, 2)),
    ("plain", "producer, a gap", lambda: from_producer(9)),
    *[("plain", f"producer, {sequence}", partial(from_producer, sequence)) for sequence in range(8, 14)],
    ("plain", "producer, the fifth last again", lambda: from_producer(9)),
    ("plain", "producer, the sixth last again", lambda: from_producer(8)),
    ("plain", "producer, new epoch amid", lambda: from_producer(14, epoch=1)),
    ("plain", "producer, new epoch", lambda: from_producer(0, epoch=1)),
    ("plain", "producer, old epoch", lambda: from_producer(1)),
    ("stamped", "producer, first", lambda: from_producer(0)),
    ("stamped", "producer, first again", lambda: from_producer(0)),
    ("compacted", "producer", lambda: from_producer(0)),
    ("compacted", "producer, again without key", lambda: from_producer(0, key=None)),
    ("compacted", "producer, gap without key", lambda: from_producer(10, key=None)),
    *[
        (
            "plain",
            f"producer id {producer_id}, epoch {epoch}, from {sequence}",
            partial(from_producer, sequence, id=producer_id, epoch=epoch),
        )
        for producer_id, epoch in ((-5, 0), (-1, 3), (800, -1))
        for sequence in (3, 9, 3)
    ],
    ("plain", "producer id 800, epoch 0 after none", lambda: from_producer(4, id=800)),
    *[
        (topic, f"attributes {bits:#x}, codec {codec}", partial(with_attributes, codec, bits))
        for topic in ("plain", "stamped", "gzip", "stamped-gzip")
        for codec in (NONE, GZIP)
        for bits in (0x40, 0x80, 0x4000)
    ],
    *[("tight", f"a batch of {size} bytes", partial(of_size, size)) for size in (1_048_588, 1_048_577, 1_048_576, 1_048_576)],
    ("small-uncompressed", "too large when it is unpacked", lambda: batch(b"a" * 200, codec=GZIP)),
    ("small-uncompressed", "too large before and after", lambda: batch(b"a" * 9_000, bytes(range(256)), codec=GZIP)),
    ("strict", "no key, then too old", lambda: mixed((None, NOW), (b"k", NOW - HOUR_MS), (None, NOW - HOUR_MS), (b"k", NOW))),
    ("strict", "too old, then no key", lambda: mixed((b"k", NOW - HOUR_MS), (None, NOW))),
    ("strict", "no key and too new", lambda: mixed((None, NOW), (b"k", NOW + 2 * HOUR_MS))),
    ("strict", "append time, too old", lambda: mixed((b"k", NOW - HOUR_MS), timestamp_type=1)),
    ("strict", "append time, in time", lambda: with_largest(mixed((b"k", NOW - HOUR_MS), timestamp_type=1), NOW)),
    ("plain", "record too long", lambda: with_payload(b"\x7e" + b"\x00" * 10, 1)),
    ("plain", "record too short", lambda: with_payload(b"\x02\x00\x00\x00\x01\x01\x00", 1)),
    ("plain", "bytes behind", lambda: with_payload(batch(b"x")[61:] + b"\x00\x00", 1)),
    ("plain", "bytes behind, gzip", lambda: with_payload(bytes(cramjam.gzip.compress(batch(b"x")[61:] + b"\x00\x00")), 1, codec=GZIP)),
    ("compacted", "no key", lambda: batch(b"a", key=None)),
    ("compacted", "some without key", lambda: mixed_keys(b"1", None, b"2", None, None, None, None)),
    ("compacted", "some without key, zstd", lambda: mixed_keys(b"1", None, b"2", None, codec=ZSTD)),
    ("compacted", "empty key", lambda: batch(b"a", key=b"")),
    ("recent", "too old", lambda: batch(b"a", b"b", at=NOW - HOUR_MS)),
    ("recent", "too old, lz4", lambda: batch(b"a", b"b", at=NOW - HOUR_MS, codec=LZ4)),
    ("recent", "too new", lambda: batch(b"a", b"b", at=NOW + HOUR_MS)),
    ("recent", "no timestamp", lambda: batch(b"a", at=-1)),
    ("stamped", "too new", lambda: batch(b"a", at=NOW + 100 * HOUR_MS)),
    ("stamped", "append time", lambda: batch(b"a", timestamp_type=1)),
    ("small", "too large", lambda: batch(b"a" * 200)),
    ("small", "just right", lambda: batch(b"a" * 20)),
    ("plain", "megabytes of zeros, zstd", lambda: batch(bytes(30_000_000), codec=ZSTD)),
    ("plain", "megabytes of zeros, gzip", lambda: batch(bytes(30_000_000), codec=GZIP)),
    ("compacted", "megabytes of zeros, lz4", lambda: batch(bytes(30_000_000), codec=LZ4)),
]


_ONE, _TWO, _BAD = batch(b"one"), batch(b"two", b"two"), b"bad"
REPEATED: Final[Sequence[Sequence[tuple[str, list[tuple[int, bytes]]]]]] = [
    [("plain", [(0, _ONE), (0, _TWO)])],
    [("plain", [(0, _TWO), (0, _ONE), (0, _TWO)])],
    [("plain", [(0, _TWO)]), ("gzip", [(0, _ONE)]), ("plain", [(0, _ONE)])],
    [("plain", [(0, _BAD), (0, _TWO)])],
    [("plain", [(0, _TWO), (0, _BAD)])],
    [("plain", [(9, _ONE), (9, _TWO), (-1, _ONE)])],
    [("nowhere", [(0, _ONE), (0, _TWO)]), ("plain", [(0, _ONE)])],
    [("plain", []), ("gzip", [(0, _ONE)])],
    [("plain", [])],
    [],
]
"""What is named more than once, or not at all."""


class Server:
    """One of the two, asked in the same way."""

    def __init__(self, client: RawClient) -> None:
        self.client = client
        body = {
            "topics": [
                {
                    "name": name,
                    "num_partitions": 1,
                    "replication_factor": 1,
                    "assignments": (),
                    "configs": [{"name": key, "value": value} for key, value in configs.items()],
                }
                for name, configs in TOPICS.items()
            ],
            "timeout": 30_000,
            "validate_only": False,
        }
        created = self.client.ask(ApiKey.CREATE_TOPICS, 7, body)
        assert [topic.error_code for topic in created.topics] == [0] * len(TOPICS)
        for name in TOPICS:
            wait_for(lambda name=name: not self._fetch(name).error_code, f"{name} led")  # type: ignore[misc]

    def produce(self, topic: str, name: str, records: bytes) -> dict[str, Any]:
        body = {
            "transactional_id": None,
            "acks": -1,
            "timeout": 10_000,
            "topic_data": [{"name": topic, "partition_data": [{"index": 0, "records": records}]}],
        }
        part = self.client.ask(ApiKey.PRODUCE, 9, body).responses[0].partition_responses[0]
        return {
            "error_code": part.error_code,
            "base_offset": part.base_offset,
            "append_time": part.log_append_time if "again" in name and topic == "plain" else part.log_append_time >= 0,
            "log_start_offset": part.log_start_offset,
            "message": part.error_message,
            "record_errors": [(one.batch_index, one.batch_index_error_message) for one in part.record_errors],
        }

    def produce_many(self, *topics: tuple[str, list[tuple[int, bytes]]]) -> list[Any]:
        """Several batches in one request; what is said of each partition, in the order of their names."""
        data = [
            {"name": topic, "partition_data": [{"index": index, "records": records} for index, records in parts]} for topic, parts in topics
        ]
        answer = self.client.ask(ApiKey.PRODUCE, 9, {"transactional_id": None, "acks": -1, "timeout": 10_000, "topic_data": data})
        return sorted(
            (
                topic.name,
                sorted((part.index, part.error_code, part.base_offset, part.log_start_offset) for part in topic.partition_responses),
            )
            for topic in answer.responses
        )

    def delete_records(self, topic: str, *wanted: tuple[int, int]) -> list[tuple[int, int, int]]:
        topics = [{"name": topic, "partitions": [{"partition_index": index, "offset": offset} for index, offset in wanted]}]
        answer = self.client.ask(ApiKey.DELETE_RECORDS, 2, {"topics": topics, "timeout": 10_000})
        return sorted((one.partition_index, one.error_code, one.low_watermark) for topic in answer.topics for one in topic.partitions)

    def log(self, topic: str) -> bytes:
        return bytes(self._fetch(topic).records or b"")

    def _fetch(self, topic: str) -> Any:
        body = {
            "max_wait": 0,
            "min_bytes": 0,
            "max_bytes": 2**25,
            "isolation_level": 0,
            "session_id": 0,
            "session_epoch": -1,
            "topics": [{"topic": topic, "partitions": [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 2**25}]}],
        }
        return self.client.ask(ApiKey.FETCH, 12, body).responses[0].partitions[0]


def comparable(answer: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """An answer without what differs from one moment to the next, and without what we say and they do not."""
    text = {**answer, "message": None if theirs["message"] is None else answer["message"]}
    return {key: RANGE.sub("[now]", repr(value)) for key, value in text.items()}


def kept(data: bytes) -> list[Any]:
    """What lies in a log: all of it but times that the broker gave, and the bytes that a codec made."""
    found = []
    for position, header in iter_headers(data):
        given = header.is_log_append_time
        fields = header._replace(crc=0, batch_length=0, max_timestamp=0 if given else header.max_timestamp)
        records = list(records_of(data, position, header))
        found.append((fields, [record._replace(timestamp=0) if given else record for record in records]))
    return found


def test_what_is_answered_and_what_is_kept(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("kafka") / "log"
    with (
        Lab(brokers=1, controllers=1) as lab,
        apache_kafka.combined_node(folder) as address,
        RawClient(lab.bootstrap_servers) as our_client,
        RawClient(address) as their_client,
    ):
        ours, theirs = Server(our_client), Server(their_client)
        for topic, name, make in CASES:
            data = make()
            our_answer, their_answer = ours.produce(topic, name, data), theirs.produce(topic, name, data)
            if name in OURS_ONLY:
                assert (our_answer["error_code"], their_answer["error_code"]) == (Errors.INVALID_RECORD, Errors.UNKNOWN_SERVER_ERROR), name
            else:
                assert comparable(our_answer, their_answer) == comparable(their_answer, their_answer), (topic, name)
        for topics in REPEATED:
            assert ours.produce_many(*topics) == theirs.produce_many(*topics), topics
        for topic in TOPICS:
            assert kept(ours.log(topic)) == kept(theirs.log(topic)), topic
        for wanted in [(0, 1), (0, 2)], [(0, 4), (0, 3)], [(0, 5), (0, 10**6)], [(0, 10**6), (0, 6)], [(0, -5), (7, 1), (7, 2)], [(0, 1)]:
            assert ours.delete_records("plain", *wanted) == theirs.delete_records("plain", *wanted), wanted
