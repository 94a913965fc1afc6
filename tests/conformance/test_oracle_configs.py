"""Changes of settings, the same ones in the same order, to Apache Kafka and to us: errors, messages, and what is described after.

And records that are let go, in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from confluent_kafka import Producer

from kafkalab import Lab
from kafkalab.engine.protocol.apis import ApiKey
from tests.support import apache_kafka
from tests.support.raw_client import RawClient

TOPIC, BROKER, LOGGER, METRICS, GROUP = 2, 4, 8, 16, 32
SET, DELETE, APPEND, SUBTRACT = range(4)
STATIC = 4
WAIT_S = 30.0

pytestmark = [
    pytest.mark.skipif(apache_kafka.missing() is not None, reason=f"Apache Kafka cannot be run beside: {apache_kafka.missing()}"),
    pytest.mark.timeout(300),
]

Change = tuple[str, int, str | None]
Resource = tuple[int, str, tuple[Change, ...]]


def one(kind: int, name: str, *changes: Change) -> tuple[Resource, ...]:
    return ((kind, name, changes),)


INCREMENTAL: Final[tuple[tuple[Resource, ...], ...]] = (
    one(TOPIC, "orders", ("retention.ms", SET, "1000")),
    one(TOPIC, "orders", ("retention.ms", SET, "abc")),
    one(TOPIC, "orders", ("retention.ms", SET, "-2")),
    one(TOPIC, "orders", ("retention.ms", SET, None)),
    one(TOPIC, "orders", ("retention.ms", SET, "1"), ("retention.ms", DELETE, None)),
    one(TOPIC, "orders", ("no.such.setting", SET, "1")),
    one(TOPIC, "orders", ("no.such.setting", DELETE, None)),
    one(TOPIC, "orders", ("no.such.setting", APPEND, "1")),
    one(TOPIC, "orders", ("retention.ms", APPEND, "1")),
    one(TOPIC, "orders", ("retention.ms", SUBTRACT, "1")),
    one(TOPIC, "orders", ("cleanup.policy", APPEND, "compact")),
    one(TOPIC, "orders", ("cleanup.policy", APPEND, "compact,nonsense")),
    one(TOPIC, "orders", ("cleanup.policy", SUBTRACT, "delete")),
    one(TOPIC, "orders", ("cleanup.policy", SET, "")),
    one(TOPIC, "orders", ("cleanup.policy", SET, "compact, delete")),
    one(TOPIC, "orders", ("cleanup.policy", SET, "compact,,delete")),
    one(TOPIC, "orders", ("cleanup.policy", SET, "delete,delete")),
    one(TOPIC, "orders", ("cleanup.policy", DELETE, None)),
    one(TOPIC, "orders", ("compression.type", SET, "brotli")),
    one(TOPIC, "orders", ("compression.type", SET, "ZSTD")),
    one(TOPIC, "orders", ("compression.zstd.level", SET, "23")),
    one(TOPIC, "orders", ("compression.gzip.level", SET, "0")),
    one(TOPIC, "orders", ("compression.lz4.level", SET, "18")),
    one(TOPIC, "orders", ("delete.retention.ms", SET, "-1")),
    one(TOPIC, "orders", ("min.cleanable.dirty.ratio", SET, "1.5")),
    one(TOPIC, "orders", ("min.cleanable.dirty.ratio", SET, "0.25")),
    one(TOPIC, "orders", ("min.compaction.lag.ms", SET, "10"), ("max.compaction.lag.ms", SET, "5")),
    one(TOPIC, "orders", ("max.compaction.lag.ms", SET, "5")),
    one(TOPIC, "orders", ("min.compaction.lag.ms", SET, "6")),
    one(TOPIC, "orders", ("segment.bytes", SET, "1000")),
    one(TOPIC, "orders", ("segment.bytes", SET, "99999999999")),
    one(TOPIC, "orders", ("segment.ms", SET, "0")),
    one(TOPIC, "orders", ("segment.index.bytes", SET, "3")),
    one(TOPIC, "orders", ("preallocate", SET, "yes")),
    one(TOPIC, "orders", ("preallocate", SET, "TRUE")),
    one(TOPIC, "orders", ("message.timestamp.type", SET, "Sometime")),
    one(TOPIC, "orders", ("message.timestamp.before.max.ms", SET, "-1")),
    one(TOPIC, "orders", ("flush.messages", SET, "0")),
    one(TOPIC, "orders", ("min.insync.replicas", SET, "0")),
    one(TOPIC, "orders", ("cleanup.policy", SET, "5,")),
    one(TOPIC, "orders", ("retention.ms", SET, " ")),
    one(TOPIC, "orders", ("leader.replication.throttled.replicas", SET, "0:1,x")),
    one(TOPIC, "orders", ("leader.replication.throttled.replicas", SET, "0:1,")),
    one(TOPIC, "orders", ("leader.replication.throttled.replicas", SET, "0:1,1:1")),
    one(TOPIC, "orders", ("leader.replication.throttled.replicas", APPEND, "2:1")),
    one(TOPIC, "orders", ("remote.storage.enable", SET, "true")),
    one(TOPIC, "orders", ("retention.bytes", SET, "5"), ("nonsense", SET, "5")),
    one(TOPIC, "missing", ("retention.ms", SET, "1000")),
    one(TOPIC, "missing", ("retention.ms", SET, "abc")),
    one(TOPIC, "", ("retention.ms", SET, "1000")),
    one(TOPIC, "no/name", ("retention.ms", SET, "1000")),
    one(TOPIC, "orders"),
    (
        (TOPIC, "orders", (("retention.ms", SET, "2000"),)),
        (TOPIC, "missing", (("retention.ms", SET, "2000"),)),
        (BROKER, "1", (("log.cleaner.backoff.ms", SET, "4000"),)),
        (GROUP, "readers", (("nonsense", SET, "1"),)),
    ),
    ((TOPIC, "orders", (("retention.ms", SET, "1"),)), (TOPIC, "orders", (("retention.ms", SET, "2"),))),
    one(BROKER, "1", ("log.retention.ms", SET, "5000")),
    one(BROKER, "", ("log.retention.ms", SET, "6000")),
    one(BROKER, "", ("log.cleanup.policy", APPEND, "compact")),
    one(BROKER, "1", ("log.retention.ms", SET, "abc")),
    one(BROKER, "1", ("log.retention.hours", SET, "5")),
    one(BROKER, "1", ("node.id", SET, "5")),
    one(BROKER, "1", ("message.max.bytes", SET, "-1")),
    one(BROKER, "1", ("num.io.threads", SET, "64")),
    one(BROKER, "1", ("num.io.threads", SET, "1")),
    one(BROKER, "1", ("num.io.threads", SET, "16")),
    one(BROKER, "1", ("num.network.threads", SET, "100")),
    one(BROKER, "1", ("log.cleaner.threads", SET, "50")),
    one(BROKER, "1", ("log.cleaner.threads", SET, "2")),
    one(BROKER, "1", ("log.cleaner.min.compaction.lag.ms", SET, "10"), ("log.cleaner.max.compaction.lag.ms", SET, "5")),
    one(BROKER, "1", ("log.local.retention.ms", SET, "9999999999")),
    one(BROKER, "1", ("log.retention.ms", APPEND, "1")),
    one(BROKER, "1", ("no.such.setting", APPEND, "1")),
    one(BROKER, "1", ("of.a.plugin", SET, "1")),
    one(BROKER, "1", ("ssl.keystore.location", SET, "/x")),
    one(BROKER, "", ("listener.name.external.ssl.keystore.location", SET, "/x")),
    one(BROKER, "", ("cordoned.log.dirs", SET, "/x")),
    one(BROKER, "1", ("cordoned.log.dirs", SET, "/x")),
    one(BROKER, "", ("leader.replication.throttled.rate", SET, "1000")),
    one(BROKER, "", ("leader.replication.throttled.rate", SET, "-1")),
    one(BROKER, "2", ("log.retention.ms", SET, "5000")),
    one(BROKER, "one", ("log.retention.ms", SET, "5000")),
    one(BROKER, "1", ("log.retention.ms", SET, None)),
    one(BROKER, "1", ("log.retention.ms", SET, "0")),
    one(BROKER, "1", ("log.retention.ms", SET, " x ")),
    one(BROKER, "1", ("log.retention.ms", SET, "-2")),
    one(BROKER, "", ("log.roll.ms", SET, "0")),
    one(BROKER, "", ("log.roll.jitter.ms", SET, "-1")),
    one(BROKER, "", ("log.cleanup.policy", SET, "5,")),
    one(BROKER, "", ("log.cleaner.dedupe.buffer.size", SET, "1048576")),
    one(BROKER, "1", ("log.cleaner.threads", SET, "1000")),
    one(BROKER, "1", ("max.connections", SET, "0")),
    one(BROKER, "1", ("max.connections.per.ip", SET, "0")),
    one(BROKER, "1", ("cordoned.log.dirs", SET, "*,/x")),
    one(BROKER, "1", ("log.retention.ms", 9, "1")),
    one(GROUP, "readers", ("consumer.session.timeout.ms", SET, "50000")),
    one(GROUP, "readers", ("consumer.session.timeout.ms", SET, "1000")),
    one(GROUP, "readers", ("consumer.session.timeout.ms", SET, "90000")),
    one(GROUP, "readers", ("consumer.heartbeat.interval.ms", SET, "x")),
    one(GROUP, "readers", ("share.auto.offset.reset", SET, "sometime")),
    one(GROUP, "readers", ("share.auto.offset.reset", SET, "by_duration:PT1H30M")),
    one(GROUP, "readers", ("share.auto.offset.reset", SET, "by_duration:1h")),
    one(GROUP, "readers", ("share.isolation.level", SET, "none")),
    one(GROUP, "readers", ("share.delivery.count.limit", SET, "11")),
    one(GROUP, "readers", ("streams.num.standby.replicas", SET, "3")),
    one(GROUP, "readers", ("no.such.setting", SET, "1")),
    one(GROUP, "", ("consumer.session.timeout.ms", SET, "50000")),
    one(METRICS, "all", ("interval.ms", SET, "1000"), ("metrics", SET, "org.apache.kafka"), ("match", SET, "client_id=a.*")),
    one(METRICS, "all", ("interval.ms", SET, "10")),
    one(METRICS, "all", ("match", SET, "client_id")),
    one(METRICS, "all", ("match", SET, "nobody=x")),
    one(METRICS, "all", ("match", SET, "client_id=[")),
    one(METRICS, "all", ("nonsense", SET, "1")),
    one(METRICS, "all", ("metrics", APPEND, "a")),
    one(METRICS, "all", ("match", SUBTRACT, "a")),
    one(METRICS, "", ("interval.ms", SET, "1000")),
    one(99, "x", ("a", SET, "b")),
)
REPLACING: Final[tuple[tuple[Resource, ...], ...]] = (
    one(TOPIC, "orders", ("segment.ms", SET, "77777"), ("retention.ms", SET, "3000")),
    one(TOPIC, "orders", ("segment.ms", SET, None)),
    one(TOPIC, "orders", ("nonsense", SET, "1")),
    one(BROKER, "1", ("log.cleaner.backoff.ms", SET, "1234")),
    one(BROKER, "1", ("broker.rack", SET, "r")),
    one(BROKER, "9", ("log.cleaner.backoff.ms", SET, "1234")),
    one(LOGGER, "1", ("root", SET, "INFO")),
    one(METRICS, "all", ("interval.ms", SET, "2000")),
)
DESCRIBED: Final = ((TOPIC, "orders"), (BROKER, "1"), (BROKER, ""), (GROUP, "readers"), (GROUP, "others"), (METRICS, "all"))
NOT_DESCRIBED: Final = (
    (TOPIC, "missing"),
    (TOPIC, ""),
    (TOPIC, "no/name"),
    (BROKER, "2"),
    (BROKER, "x"),
    (LOGGER, ""),
    (GROUP, ""),
    (METRICS, ""),
)
# Topic, partition, offset; ten records are in each topic.
DELETIONS: Final = (
    ("letters", 0, 5),
    ("letters", 0, 3),
    ("letters", 0, -1),
    ("letters", 0, 11),
    ("letters", 0, -2),
    ("letters", 1, 0),
    ("missing", 0, 0),
    ("states", 0, 5),
)
# The setup of the two nodes differs here, not their rules.
OF_THE_SETUP: Final = frozenset({"min.insync.replicas"})


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Told:
    """All that a node tells of the changes above."""

    def __init__(self, address: str) -> None:
        with RawClient(address) as self._client:
            self._create()
            self.incremental = [self._alter(ApiKey.INCREMENTAL_ALTER_CONFIGS, 1, resources) for resources in INCREMENTAL]
            self.validated = self._alter(
                ApiKey.INCREMENTAL_ALTER_CONFIGS, 1, one(TOPIC, "orders", ("segment.jitter.ms", SET, "5")), validate_only=True
            )
            self._settle()
            self.described = self._describe(DESCRIBED)
            self.listed = self._list()
            self.replaced = [self._alter(ApiKey.ALTER_CONFIGS, 2, resources) for resources in REPLACING]
            self._settle("1234")
            self.described_after = self._describe(DESCRIBED)
            self.not_described = self._describe(NOT_DESCRIBED)
            self.deleted = self._delete(address)
            self.not_even_read = self._describe(((TOPIC, "orders"), (99, "x")))

    def _create(self, name: str = "orders", settings: Mapping[str, str] | None = None) -> None:
        configs = [{"name": key, "value": value} for key, value in (settings or {}).items()]
        topic = {"name": name, "num_partitions": 1, "replication_factor": 1, "configs": configs, "assignments": []}
        body = {"topics": [topic], "timeout": 10_000, "validate_only": False}
        assert self._client.ask(ApiKey.CREATE_TOPICS, 7, body).topics[0].error_code in (0, 36)
        eventually(lambda: self._describe(((TOPIC, name),))[0][0] == 0)

    def _delete(self, address: str) -> list[tuple[int, int]]:
        producer = Producer({"bootstrap.servers": address, "acks": "all"})
        told = []
        for name, policy in (("letters", "delete"), ("states", "compact")):
            self._create(name, {"cleanup.policy": policy})
            for number in range(10):
                producer.produce(name, str(number).encode(), key=b"k", partition=0)
        assert producer.flush(WAIT_S) == 0
        for name, partition, offset in DELETIONS:
            topic = {"name": name, "partitions": [{"partition_index": partition, "offset": offset}]}
            answer = self._client.ask(ApiKey.DELETE_RECORDS, 2, {"topics": [topic], "timeout": 10_000})
            (row,) = answer.topics[0].partitions
            told.append((row.error_code, row.low_watermark))
        return told

    def _settle(self, backoff_ms: str = "4000") -> None:
        """Wait until the broker goes by the last of the changes."""

        def arrived() -> bool:
            (_, _, configs), (_, _, of_metrics) = self._describe(((BROKER, "1"), (METRICS, "all")))
            return configs["log.cleaner.backoff.ms"][0] == backoff_ms and of_metrics["interval.ms"][0] in ("1000", "2000")

        eventually(arrived)

    def _alter(self, api_key: ApiKey, version: int, resources: tuple[Resource, ...], *, validate_only: bool = False) -> Any:
        rows = []
        for kind, name, changes in resources:
            configs = [{"name": setting, "config_operation": operation, "value": value} for setting, operation, value in changes]
            rows.append({"resource_type": kind, "resource_name": name, "configs": configs})
        answer = self._client.ask(api_key, version, {"resources": rows, "validate_only": validate_only})
        return [(row.resource_type, row.resource_name, row.error_code, row.error_message) for row in answer.responses]

    def _describe(self, resources: tuple[tuple[int, str], ...]) -> list[tuple[int, str | None, dict[str, Any]]]:
        rows = [{"resource_type": kind, "resource_name": name, "configuration_keys": None} for kind, name in resources]
        body = {"resources": rows, "include_synonyms": True, "include_documentation": True}
        told = []
        for result in self._client.ask(ApiKey.DESCRIBE_CONFIGS, 4, body).results:
            configs = {}
            for config in result.configs:
                synonyms = tuple((synonym.name, synonym.value, synonym.source) for synonym in config.synonyms)
                configs[config.name] = (
                    config.value,
                    config.config_source,
                    config.config_type,
                    config.read_only,
                    config.is_sensitive,
                    synonyms,
                    config.documentation is None,
                )
            told.append((result.error_code, result.error_message, configs))
        return told

    def _list(self) -> set[tuple[int, str]]:
        answer = self._client.ask(ApiKey.LIST_CONFIG_RESOURCES, 1, {"resource_types": []})
        return {(row.resource_type, row.resource_name) for row in answer.config_resources}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Told:
    with apache_kafka.combined_node(tmp_path_factory.mktemp("apache") / "logs") as address:
        return Told(address)


@pytest.fixture(scope="module")
def ours() -> Told:
    with Lab(brokers=1, controllers=1, combined=True) as lab:
        return Told(lab.bootstrap_servers)


def test_each_change_is_taken_or_refused_in_the_same_words(ours: Told, theirs: Told) -> None:
    asked = (*INCREMENTAL, *REPLACING)
    answers = zip(asked, (*ours.incremental, *ours.replaced), (*theirs.incremental, *theirs.replaced), strict=True)
    different = [(resources, mine, kafkas) for resources, mine, kafkas in answers if mine != kafkas]
    assert not different, "\n".join(f"{str(resources)[:200]}\n  ours   {mine}\n  theirs {kafkas}" for resources, mine, kafkas in different)
    assert ours.validated == theirs.validated


@pytest.mark.parametrize("when", ["described", "described_after"])
def test_what_was_changed_is_described_alike(ours: Told, theirs: Told, when: str) -> None:
    different = []
    for resource, mine, kafkas in zip(DESCRIBED, getattr(ours, when), getattr(theirs, when), strict=True):
        assert mine[:2] == kafkas[:2], resource
        for name in sorted({*mine[2], *kafkas[2]}):
            a, b = mine[2].get(name), kafkas[2].get(name)
            if a != b and name not in OF_THE_SETUP and not any(one and _is_of_the_setup(one) for one in (a, b)):
                different.append(f"{resource} {name}\n  ours   {a}\n  theirs {b}")
    assert not different, "\n".join(different)


def _is_of_the_setup(told: Any) -> bool:
    return any(source == STATIC for _, _, source in told[5])


def test_what_cannot_be_described_is_refused_in_the_same_words(ours: Told, theirs: Told) -> None:
    assert ours.not_described == theirs.not_described
    assert ours.not_even_read == theirs.not_even_read


def test_records_are_let_go_alike(ours: Told, theirs: Told) -> None:
    assert ours.deleted == theirs.deleted == [(0, 5), (0, 5), (0, 10), (1, -1), (1, -1), (3, -1), (3, -1), (44, -1)]


def test_the_same_things_have_settings(ours: Told, theirs: Told) -> None:
    assert ours.listed == theirs.listed
