"""The same directory under Apache Kafka and under us: what each answers to whoever reads it.

Apache Kafka writes it. Then it serves the directory again, and we serve a copy: every answer to Fetch,
ListOffsets, OffsetForLeaderEpoch and DescribeLogDirs must be the same.

Four things are ours alone. We send whole batches where Kafka cuts the last one, and so perhaps some of another partition.
We name no more aborted transactions than are in what we send, where Kafka goes by entries of its index. We look for a time
beyond a segment all of whose records were let go. And isolation levels that there are not, to which Kafka says
UNKNOWN_SERVER_ERROR, are not tried here.
"""

from __future__ import annotations

import json
import shutil
import time
import zlib
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from kafkalab import Lab
from kafkalab.engine.common.ids import uuid_from_text
from kafkalab.engine.log.reader import LogDirReader
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.record.batch import iter_headers
from tests.support import apache_kafka
from tests.support.raw_client import RawClient

WAIT_S: Final = 30.0
BORN_MS: Final = 1_700_000_000_000
DELETED: Final = 155
"""The offset up to which records of the topic of that name are let go."""
MANY: Final = 1 << 30
INT_MIN, INT_MAX = -(1 << 31), (1 << 31) - 1
LONG_MIN, LONG_MAX = -(1 << 63), (1 << 63) - 1

pytestmark = [
    pytest.mark.skipif(apache_kafka.missing() is not None, reason=f"Apache Kafka cannot be run beside: {apache_kafka.missing()}"),
    pytest.mark.timeout(300),
]

CONFIG: Final = {"offsets.topic.num.partitions": "1", "transaction.state.log.num.partitions": "1"}
TOPICS: Final[Mapping[str, Mapping[str, str]]] = {
    "plain": {},
    "packed": {},
    "stamped": {"message.timestamp.type": "LogAppendTime"},
    "rolled": {"segment.bytes": "1048576", "index.interval.bytes": "1024"},
    "deleted": {"segment.bytes": "1048576"},
    "settled": {"segment.bytes": "1048576"},
    "open": {},
    "empty": {},
}


def write(address: str) -> None:
    """Records of every kind."""
    admin = AdminClient({"bootstrap.servers": address})
    wanted = [NewTopic(name, 1, 1, config={"retention.ms": "-1", **config}) for name, config in TOPICS.items()]
    for created in admin.create_topics(wanted).values():
        created.result(WAIT_S)
    # Times go up and down, so that the largest is in the middle of a batch.
    for topic, codec in (("plain", "none"), ("packed", "lz4"), ("stamped", "none")):
        producer = Producer({"bootstrap.servers": address, "compression.type": codec, "batch.num.messages": 10, "linger.ms": 50})
        for number in range(100):
            at = BORN_MS + number * 1_000 - (15_000 if number % 7 == 0 else 0)
            producer.produce(topic, f"value {number}".encode(), key=b"k", timestamp=at, partition=0)
            if number % 10 == 9:
                assert producer.flush(WAIT_S) == 0
    for topic in ("rolled", "deleted"):
        producer = Producer({"bootstrap.servers": address, "batch.num.messages": 10, "linger.ms": 50})
        for number in range(300):
            producer.produce(topic, bytes(10_000), timestamp=BORN_MS + number * 1_000, partition=0)
        assert producer.flush(WAIT_S) == 0
    first, second = (
        Producer({"bootstrap.servers": address, "transactional.id": name, "transaction.timeout.ms": 900_000}) for name in ("one", "two")
    )
    for producer in (first, second):
        producer.init_transactions(WAIT_S)
    plain = Producer({"bootstrap.servers": address})
    for number in range(12):
        for producer in (first, second):
            producer.begin_transaction()
        for _ in range(4):
            for producer in (first, second, plain):
                producer.produce("settled", bytes(20_000), timestamp=BORN_MS + number, partition=0)
                assert producer.flush(WAIT_S) == 0
        (first.abort_transaction if number % 3 == 0 else first.commit_transaction)(WAIT_S)
        (second.abort_transaction if number % 2 == 0 else second.commit_transaction)(WAIT_S)
    first.begin_transaction()
    for producer in (plain, first, plain):
        producer.produce("open", b"x", timestamp=BORN_MS, partition=0)
        assert producer.flush(WAIT_S) == 0
    with RawClient(address) as client:
        topic = {"name": "deleted", "partitions": [{"partition_index": 0, "offset": DELETED}]}
        answer = client.ask(ApiKey.DELETE_RECORDS, 2, {"topics": [topic], "timeout": 10_000})
        assert answer.topics[0].partitions[0].low_watermark == DELETED


Answers = dict[str, Any]


def seen(records: bytes, aborted: Sequence[Any]) -> tuple[int, int, tuple[int, ...], int]:
    """What a consumer that goes by the aborted transactions gets of this: from offset, to offset, those left out, a checksum.

    Kafka cuts the last batch where the limit lies; we leave it out.
    """
    pending = sorted((one.first_offset, one.producer_id) for one in aborted)
    is_aborted: set[int] = set()
    first = end = -1
    whole = 0
    left_out = []
    for at, header in iter_headers(records):
        while pending and pending[0][0] <= header.last_offset:
            is_aborted.add(pending.pop(0)[1])
        if header.is_control:
            is_aborted.discard(header.producer_id)
        elif header.is_transactional and header.producer_id in is_aborted:
            left_out.append(header.base_offset)
        first = header.base_offset if first < 0 else first
        end, whole = header.next_offset, at + header.size_bytes
    return first, end, tuple(left_out), zlib.crc32(records[:whole])


class Reading:
    """Asks one of the two, and notes what it says."""

    def __init__(self, client: RawClient, topic_ids: Mapping[str, Any], log_dir: Path) -> None:
        self._client = client
        self._ids = topic_ids
        self._names = {topic_id: name for name, topic_id in topic_ids.items()}
        self._log_dir = log_dir
        self.answers: Answers = {}

    def ask(self) -> Answers:
        """Everything."""
        deadline = time.monotonic() + WAIT_S
        while self._offset("plain", -1)[0] or self._offset("open", -1)[0]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self._list_offsets()
        self._epochs()
        self._fetches()
        self._sessions()
        self._log_dirs()
        return self.answers

    # --- offsets --------------------------------------------------------------------------------

    def _offset(self, topic: str, timestamp: int, version: int = 11, **fields: Any) -> tuple[Any, ...]:
        partition = {"partition_index": fields.pop("partition", 0), "current_leader_epoch": fields.pop("epoch", -1), "timestamp": timestamp}
        body = {
            "replica_id": -1,
            "isolation_level": 0,
            "timeout": 1_000,
            "topics": [{"name": topic, "partitions": [partition] * fields.pop("times", 1)}],
            **fields,
        }
        rows = self._client.ask(ApiKey.LIST_OFFSETS, version, body).topics[0].partitions
        return rows[0].error_code, rows[0].timestamp, rows[0].offset, getattr(rows[0], "leader_epoch", None), len(rows)

    def _list_offsets(self) -> None:
        said = self.answers
        times = (0, BORN_MS - 1, BORN_MS, BORN_MS + 5_500, BORN_MS + 55_000, BORN_MS + 99_000, BORN_MS + 299_000, BORN_MS + 10**9, 1 << 62)
        for topic, timestamp, isolation in product((*TOPICS, "missing"), (*range(-8, 0), *times), (0, 1)):
            if topic == "deleted" and 0 <= timestamp < BORN_MS + DELETED * 1_000:
                # Where a whole segment waits for its deletion, Kafka looks into that and no further: it finds nothing.
                continue
            said[f"offset of {topic} at {timestamp}, isolation {isolation}"] = self._offset(topic, timestamp, isolation_level=isolation)
        for version, timestamp in product(range(1, 12), (-6, -5, -4, -3, -2, -1, BORN_MS)):
            said[f"offset v{version} at {timestamp}"] = self._offset("plain", timestamp, version)
        for epoch, replica, timestamp in product((0, 1, 2), (-1, -2, 1, 7), (-1, -2, BORN_MS)):
            key = f"offset in epoch {epoch} for replica {replica} at {timestamp}"
            said[key] = self._offset("open", timestamp, epoch=epoch, replica_id=replica, isolation_level=1)
        said["offset of another partition"] = self._offset("plain", -1, partition=1)
        for times in (2, 3):
            said[f"offset of a partition asked for {times} times"] = self._offset("plain", -1, times=times)
        for epoch, partition, timestamp in product((INT_MIN, -2, INT_MAX), (INT_MIN, -1, 0, INT_MAX), (LONG_MIN, -2, LONG_MAX)):
            key = f"offset of partition {partition} in epoch {epoch} at {timestamp}"
            said[key] = self._offset("plain", timestamp, epoch=epoch, partition=partition)

    def _epochs(self) -> None:
        for topic, epoch, current, replica in product(
            ("plain", "empty", "deleted", "missing"), (INT_MIN, -1, 0, 1, 2, 3, INT_MAX), (INT_MIN, -2, -1, 0, 1, 2, INT_MAX), (-1, -2, 1)
        ):
            partition = {"partition": 0, "current_leader_epoch": current, "leader_epoch": epoch}
            body = {"replica_id": replica, "topics": [{"topic": topic, "partitions": [partition]}]}
            (row,) = self._client.ask(ApiKey.OFFSET_FOR_LEADER_EPOCH, 4, body).topics[0].partitions
            key = f"end of epoch {epoch} of {topic} in {current} for replica {replica}"
            self.answers[key] = (row.error_code, row.leader_epoch, row.end_offset)

    # --- records --------------------------------------------------------------------------------

    def fetch(self, *wanted: Any, version: int = 17, **fields: Any) -> Any:
        """``wanted`` are topics with fields of their partition."""
        topics = []
        for name, of_partition in wanted:
            partition = {
                "partition": 0,
                "current_leader_epoch": -1,
                "fetch_offset": 0,
                "last_fetched_epoch": -1,
                "log_start_offset": -1,
                "partition_max_bytes": MANY,
                **of_partition,
            }
            topics.append({"topic": name, "topic_id": self._ids.get(name, self._ids["nobody's"]), "partitions": [partition]})
        body = {
            "replica_id": -1,
            "max_wait": 0,
            "min_bytes": 1,
            "max_bytes": MANY,
            "isolation_level": 0,
            "session_id": 0,
            "session_epoch": -1,
            "topics": topics,
            "forgotten_topics_data": [],
            "rack_id": "",
            **fields,
        }
        return self._client.ask(ApiKey.FETCH, version, body)

    def _told(self, answer: Any) -> Any:
        rows = []
        for topic in answer.responses:
            for row in topic.partitions:
                diverging = getattr(row, "diverging_epoch", None)
                current = getattr(row, "current_leader", None)
                rows.append(
                    (
                        getattr(topic, "topic", None) or self._names.get(getattr(topic, "topic_id", None)),
                        row.partition_index,
                        row.error_code,
                        row.high_watermark,
                        getattr(row, "last_stable_offset", None),
                        getattr(row, "log_start_offset", None),
                        getattr(row, "preferred_read_replica", None),
                        row.aborted_transactions is None,
                        (diverging.epoch, diverging.end_offset) if diverging is not None else None,
                        (current.leader_id, current.leader_epoch) if current is not None else None,
                        *seen(bytes(row.records or b""), row.aborted_transactions or ()),
                    )
                )
        return getattr(answer, "error_code", 0), sorted(rows, key=lambda row: (row[0] or "", *row[1:]))

    def _note(self, key: str, *wanted: Any, **fields: Any) -> None:
        self.answers[key] = self._told(self.fetch(*wanted, **fields))

    def _fetches(self) -> None:
        for topic, offset, isolation in product((*TOPICS, "missing"), (-1, 0, 1, 13, 99, 100, 101, 154, 155, 156, 300, 301, 10**6), (0, 1)):
            self._note(f"fetch {topic} from {offset}, isolation {isolation}", (topic, {"fetch_offset": offset}), isolation_level=isolation)
        for offset, limit in product(range(0, 190, 7), (0, 30_000, 200_000, MANY)):
            key = f"fetch settled from {offset}, at most {limit}"
            self._note(key, ("settled", {"fetch_offset": offset, "partition_max_bytes": limit}), isolation_level=1)
        for version in range(4, 18):
            self._note(f"fetch v{version}", ("plain", {}), ("missing", {}), version=version, isolation_level=1)
        for of_one, of_all in product((0, 1, 100_000, 150_000, MANY), (0, 1, 60_000, MANY)):
            limit = {"partition_max_bytes": of_one}
            wanted = (("rolled", limit), ("empty", limit), ("deleted", {**limit, "fetch_offset": 155}), ("plain", limit))
            self._note(f"fetch at most {of_one} each and {of_all} of all", *wanted, max_bytes=of_all)
        for current, last, offset in product((-1, 0, 1, 2), (-1, 0, 1, 2), (0, 50, 100, 101)):
            key = f"fetch in epoch {current} after {last} from {offset}"
            self._note(key, ("plain", {"current_leader_epoch": current, "last_fetched_epoch": last, "fetch_offset": offset}))
        for replica, epoch in product((-2, 1, 7), (-1, 5)):
            state = {"replica_id": replica, "replica_epoch": epoch}
            self._note(f"fetch as replica {replica} of epoch {epoch}", ("open", {}), replica_state=state, isolation_level=1)
            self._note(f"fetch v14 as replica {replica}", ("open", {}), replica_id=replica, isolation_level=1, version=14)
        self._note("fetch another partition", ("plain", {"partition": 3}))
        self._note("fetch nothing")
        for limit, version in product((INT_MIN, -1, INT_MAX), (4, 12, 17)):
            of_one = {"partition_max_bytes": limit}
            self._note(f"fetch v{version} at most {limit} of one", ("plain", of_one), ("packed", {}), version=version)
            self._note(f"fetch v{version} at most {limit} of all", ("plain", {}), ("packed", {}), version=version, max_bytes=limit)
            self._note(f"fetch v{version} at most {limit} at the end", ("plain", {**of_one, "fetch_offset": 100}), version=version)
            self._note(f"fetch v{version} at least {limit}", ("plain", {"fetch_offset": 100}), version=version, min_bytes=limit)
            self._note(f"fetch v{version} partition {limit}", ("plain", {"partition": limit}), version=version)
            twice = (("plain", {"fetch_offset": 3}), ("packed", {}), ("plain", {"fetch_offset": 50}))
            self._note(f"fetch v{version} one twice", *twice, version=version)
            self._note(f"fetch v{version} one that is not there twice", ("missing", {}), ("missing", {}), version=version)
        for offset, epoch in product((LONG_MIN, LONG_MAX), (INT_MIN, -2, -1, INT_MAX)):
            self._note(f"fetch from {offset} in {epoch}", ("plain", {"fetch_offset": offset, "current_leader_epoch": epoch}))
            self._note(f"fetch from {offset} after {epoch}", ("plain", {"fetch_offset": offset, "last_fetched_epoch": epoch}))
        self._note("fetch without waiting", ("plain", {"fetch_offset": 100}), max_wait=INT_MIN)

    def _sessions(self) -> None:
        said = self.answers
        for version in (12, 17):

            def note(key: str, *wanted: Any, version: int = version, **fields: Any) -> int:
                answer = self.fetch(*wanted, version=version, **fields)
                said[f"session v{version}: {key}"] = (*self._told(answer), bool(answer.session_id))
                return int(answer.session_id)

            limits = {"partition_max_bytes": 400}
            session = note("first", ("plain", limits), ("packed", limits), ("empty", {}), ("missing", {}), session_epoch=0)
            note("nothing new", session_id=session, session_epoch=1)
            note("one at its end", ("plain", {"fetch_offset": 100}), session_id=session, session_epoch=2)
            note("the same epoch again", session_id=session, session_epoch=2)
            gone = {"topic": "packed", "topic_id": self._ids["packed"], "partitions": [0]}
            note("one forgotten", session_id=session, session_epoch=3, forgotten_topics_data=[gone])
            note("out of range", ("plain", {"fetch_offset": 1_000}), session_id=session, session_epoch=4)
            note("still out of range", session_id=session, session_epoch=5)
            note("back", ("plain", {"fetch_offset": 100}), session_id=session, session_epoch=6)
            note("the other way of naming", session_id=session, session_epoch=7, version=29 - version)
            note("another one's", session_id=session ^ 1, session_epoch=7)
            note("one more", ("rolled", {"partition_max_bytes": 10}), session_id=session, session_epoch=7)
            every = [
                {"topic": name, "topic_id": self._ids.get(name, self._ids["nobody's"]), "partitions": [0]}
                for name in ("plain", "empty", "missing", "rolled")
            ]
            note("all forgotten", session_id=session, session_epoch=8, forgotten_topics_data=every)
            note("after the end", session_id=session, session_epoch=9)
            session = note("of nothing", session_epoch=0)
            note("no more than nothing", session_id=session, session_epoch=1)
            session = note("again", ("plain", limits), ("packed", limits), session_epoch=0)
            # Whoever got something waits behind the others.
            note("a turn", session_id=session, session_epoch=1, max_bytes=400)
            note("another turn", session_id=session, session_epoch=2, max_bytes=400)
            note("closed", session_id=session, session_epoch=-1)
            note("and gone", session_id=session, session_epoch=3)

    # --- directories ----------------------------------------------------------------------------

    def _log_dirs(self) -> None:
        for version, asked in product(range(1, 6), (None, ("plain",), ("missing", "deleted"), ())):
            topics = None if asked is None else [{"topic": name, "partitions": [0, 1]} for name in asked]
            answer = self._client.ask(ApiKey.DESCRIBE_LOG_DIRS, version, {"topics": topics})
            rows = []
            for one in answer.results:
                replicas = sorted(
                    (topic.name, row.partition_index, row.partition_size, row.offset_lag, row.is_future_key)
                    for topic in one.topics
                    for row in topic.partitions
                    if not topic.name.startswith("__")
                )
                sizes = (getattr(one, "total_bytes", None), getattr(one, "is_cordoned", None))
                rows.append((one.error_code, one.log_dir == str(self._log_dir), replicas, *sizes))
            self.answers[f"directories v{version} of {asked}"] = (getattr(answer, "error_code", 0), rows)
        for path, topic, partition in product((str(self._log_dir), "/nowhere", "logs"), ("plain", "missing"), (0, 1)):
            moves = [{"path": path, "topics": [{"name": topic, "partitions": [partition]}]}]
            answer = self._client.ask(ApiKey.ALTER_REPLICA_LOG_DIRS, 2, {"dirs": moves})
            told = [(row.topic_name, [(one.partition_index, one.error_code) for one in row.partitions]) for row in answer.results]
            self.answers[f"{topic}-{partition} to {path.replace(str(self._log_dir), 'where it is')}"] = told


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Answers, Answers]:
    directory = tmp_path_factory.mktemp("both")
    theirs = directory / "apache"
    with apache_kafka.combined_node(theirs, config=CONFIG) as address:
        write(address)
    data_dir = directory / "lab"
    data_dir.mkdir()
    mine = Path(shutil.copytree(theirs, data_dir / "node-1", ignore=shutil.ignore_patterns(".lock")))
    reader = LogDirReader(mine)
    ids = {tp.topic: partition.topic_id for tp, partition in reader.partitions().items()}
    ids["nobody's"] = uuid_from_text("AAAAAAAAAAAAAAAAAAAAZA")
    with apache_kafka.combined_node(theirs, config=CONFIG) as address, RawClient(address) as client:
        kafkas = Reading(client, ids, theirs).ask()
    ports = {"broker_port": apache_kafka.free_port(), "controller_port": apache_kafka.free_port()}
    cluster_id = reader.meta_properties.cluster_id
    plan = {"version": 1, "cluster_id": cluster_id, "host": "127.0.0.1", "nodes": {"1": {"roles": ["broker", "controller"], **ports}}}
    (data_dir / "cluster.json").write_text(json.dumps(plan))
    with (
        Lab(brokers=1, controllers=1, combined=True, data_dir=data_dir, config=CONFIG) as lab,
        RawClient(lab.bootstrap_servers) as client,
    ):
        return Reading(client, ids, mine).ask(), kafkas


def test_whoever_reads_hears_the_same(both: tuple[Answers, Answers]) -> None:
    mine, kafkas = both
    assert mine.keys() == kafkas.keys() and len(mine) > 1_000
    different = [f"{key}\n  ours   {str(mine[key])[:400]}\n  theirs {str(kafkas[key])[:400]}" for key in mine if mine[key] != kafkas[key]]
    assert not different, f"{len(different)} of {len(mine)}\n" + "\n".join(different)
