"""Settings that change and records that go while strangers' clients are at work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource as PyConfigResource
from kafka.admin import ConfigResourceType

from kafkalab import Lab
from kafkalab.engine.cluster.errors import HostError
from kafkalab.engine.protocol.apis import ApiKey
from tests.support.consuming import take
from tests.support.raw_client import RawClient
from tests.support.waiting import wait_for

WAIT_S = 60.0
BROKER = 4


def write(lab: Lab, topic: str, *values: bytes, **settings: Any) -> list[tuple[int, int]]:
    """Offsets and timestamp types of records written to partition 0."""
    told: list[tuple[int, int]] = []
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, message: Any) -> None:
        if error is not None:
            failed.append(error)
        else:
            told.append((message.offset(), message.timestamp()[0]))

    producer = Producer({"bootstrap.servers": lab.bootstrap_servers, "acks": "all"} | settings)
    for value in values:
        producer.produce(topic, value, partition=0, on_delivery=delivered)
    assert producer.flush(WAIT_S) == 0
    if failed:
        raise KafkaException(failed[0])
    return told


def wait_start(lab: Lab, topic: str, offset: int) -> None:
    """Until every replica of partition 0 starts there."""

    def all_do() -> bool:
        found = lab.describe().topics.get(topic)
        if found is None or not found.partitions:
            return False
        replicas, states = found.partitions[0].replicas, found.partitions[0].replica_states
        return {one: state.log_start_offset for one, state in states.items()} == dict.fromkeys(replicas, offset)

    wait_for(all_do, f"all replicas of {topic} from {offset} on")


def default_of_brokers(lab: Lab, name: str, value: str | None) -> None:
    """Set for all brokers at once; few clients can name that resource."""
    change = {"name": name, "config_operation": 1 if value is None else 0, "value": value}
    resource = {"resource_type": BROKER, "resource_name": "", "configs": [change]}
    with RawClient(lab.bootstrap_servers.split(",")[0]) as client:
        (row,) = client.ask(ApiKey.INCREMENTAL_ALTER_CONFIGS, 1, {"resources": [resource], "validate_only": False}).responses
    assert row.error_code == 0, row.error_message


def test_a_topics_settings_hold_from_the_next_record_on(lab: Lab, topic: str) -> None:
    lab.create_topic(topic, partitions=1, replication_factor=3)
    create_time, append_time = 1, 2
    assert write(lab, topic, b"a") == [(0, create_time)]
    lab.alter_topic(topic, {"message.timestamp.type": "LogAppendTime", "max.message.bytes": 1000})
    assert write(lab, topic, b"b") == [(1, append_time)]
    with pytest.raises(KafkaException, match="MSG_SIZE_TOO_LARGE"):
        write(lab, topic, b"x" * 2000)
    lab.alter_topic(topic, {"message.timestamp.type": None, "max.message.bytes": None})
    assert write(lab, topic, b"x" * 2000) == [(2, create_time)]


def test_the_brokers_default_holds_at_once_where_the_topic_says_nothing(lab: Lab, topic: str) -> None:
    lab.create_topic(topic, partitions=1, replication_factor=3)
    lab.create_topic(f"{topic}-own", partitions=1, replication_factor=3, config={"message.timestamp.type": "CreateTime"})
    default_of_brokers(lab, "log.message.timestamp.type", "LogAppendTime")
    wait_for(lambda: write(lab, topic, b"a")[0][1] == 2, "the default of brokers")
    assert write(lab, f"{topic}-own", b"a")[0][1] == 1
    default_of_brokers(lab, "log.message.timestamp.type", None)
    wait_for(lambda: write(lab, topic, b"a")[0][1] == 1, "Kafka's default")


def test_what_is_refused_says_why(lab: Lab, topic: str) -> None:
    lab.create_topic(topic, partitions=1, replication_factor=1)
    with pytest.raises(HostError, match=r"INVALID_CONFIG \(40\): Invalid value x for configuration retention\.ms: Not a number"):
        lab.alter_topic(topic, {"retention.ms": "x"})
    admin = AdminClient({"bootstrap.servers": lab.bootstrap_servers})
    entry = ConfigEntry("cleanup.policy", "nonsense", incremental_operation=AlterConfigOpType.APPEND)
    (refused,) = admin.incremental_alter_configs([ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])]).values()
    with pytest.raises(KafkaException, match="String must be one of: compact, delete"):
        refused.result(WAIT_S)


def test_the_older_request_by_kafka_python(lab: Lab, topic: str) -> None:
    lab.create_topic(topic, partitions=1, replication_factor=1, config={"segment.ms": "7777"})
    admin = KafkaAdminClient(bootstrap_servers=lab.bootstrap_servers)
    try:
        admin.alter_configs([PyConfigResource(ConfigResourceType.TOPIC, topic, configs={"retention.ms": "1234"})], incremental=False)
    finally:
        admin.close()
    client = AdminClient({"bootstrap.servers": lab.bootstrap_servers})

    def described() -> dict[str, Any]:
        (result,) = client.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)]).values()
        return result.result(WAIT_S)  # type: ignore[no-any-return]

    wait_for(lambda: described()["retention.ms"].value == "1234", "what the request set")
    assert described()["segment.ms"].is_default or described()["segment.ms"].value == "7777"


@pytest.mark.expects_warnings
def test_settings_outlive_everything(tmp_path: Path) -> None:
    with Lab(brokers=1, controllers=1, combined=True, data_dir=tmp_path) as lab:
        lab.create_topic("orders", partitions=1)
        lab.alter_topic("orders", {"retention.ms": 5_000_000})
        default_of_brokers(lab, "log.message.timestamp.type", "LogAppendTime")
        lab.kill(1)
        lab.restart(1)
        lab.wait_until_healthy(WAIT_S)
        assert write(lab, "orders", b"a") == [(0, 2)]
    with Lab(brokers=1, controllers=1, combined=True, data_dir=tmp_path) as lab:
        assert write(lab, "orders", b"a") == [(1, 2)]


def test_records_go_on_every_replica_and_stay_away(tmp_path: Path) -> None:
    with Lab(brokers=3, controllers=1, data_dir=tmp_path) as lab:
        lab.create_topic("orders", partitions=1, replication_factor=3)
        write(lab, "orders", *(json.dumps(number).encode() for number in range(100)), **{"batch.num.messages": 10})
        admin = AdminClient({"bootstrap.servers": lab.bootstrap_servers})
        for offset, low_watermark in ((35, 35), (20, 35), (-1, 100)):
            (deleted,) = admin.delete_records([TopicPartition("orders", 0, offset)]).values()
            assert deleted.result(WAIT_S).low_watermark == low_watermark
            wait_start(lab, "orders", low_watermark)
        for offset in (101, -7):
            (refused,) = admin.delete_records([TopicPartition("orders", 0, offset)]).values()
            with pytest.raises(KafkaException, match="OFFSET_OUT_OF_RANGE"):
                refused.result(WAIT_S)
        assert write(lab, "orders", b"next")[0][0] == 100
        consumer = Consumer({"bootstrap.servers": lab.bootstrap_servers, "group.id": "readers", "auto.offset.reset": "earliest"})
        try:
            consumer.assign([TopicPartition("orders", 0, 0)])
            (message,) = take(consumer, 1)
            assert (message.offset(), message.value()) == (100, b"next")
        finally:
            consumer.close()
    # A clean stop writes down where logs start.
    with Lab(brokers=3, controllers=1, data_dir=tmp_path) as lab:
        wait_start(lab, "orders", 100)


def test_a_replica_that_was_away_lets_go_when_it_is_back(tmp_path: Path) -> None:
    fast = {"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "250"}
    with Lab(brokers=3, controllers=1, data_dir=tmp_path, config=fast) as lab:
        lab.create_topic("orders", partitions=1, replication_factor=3)
        write(lab, "orders", *[b"x"] * 50)
        leader = lab.describe().leader("orders", 0)
        away = next(node_id for node_id in lab.broker_ids if node_id != leader)
        lab.kill(away)
        admin = AdminClient({"bootstrap.servers": lab.bootstrap_servers})
        (deleted,) = admin.delete_records([TopicPartition("orders", 0, 25)], request_timeout=WAIT_S).values()
        # Answered when the broker that is away is fenced.
        assert deleted.result(WAIT_S).low_watermark == 25
        lab.restart(away)
        lab.wait_until_healthy(WAIT_S)
        wait_start(lab, "orders", 25)


def test_a_partition_without_a_leader_gets_one_when_losing_records_becomes_allowed(tmp_path: Path) -> None:
    fast = {"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "250"}
    with Lab(brokers=2, controllers=1, data_dir=tmp_path, config=fast) as lab:
        lab.create_topic("orders", partitions=1, replication_factor=2)
        first = lab.describe().leader("orders", 0)
        other = next(node_id for node_id in lab.broker_ids if node_id != first)
        lab.kill(other)
        wait_for(lambda: lab.describe().partition("orders", 0).isr == (first,), f"broker {other} out of the ISR")
        write(lab, "orders", b"lost")
        lab.kill(first)
        lab.restart(other)
        wait_for(lambda: lab.describe().leader("orders", 0) == -1, "nobody to lead")
        lab.alter_topic("orders", {"unclean.leader.election.enable": True})
        wait_for(lambda: lab.describe().leader("orders", 0) == other, f"broker {other} to lead")
        assert write(lab, "orders", b"on") == [(0, 1)]


def test_deleted_records_do_not_come_back_with_a_move(tmp_path: Path) -> None:
    with Lab(brokers=1, controllers=1, combined=True, data_dir=tmp_path, log_dirs=2) as lab:
        lab.create_topic("orders", partitions=1)
        for _ in range(4):
            write(lab, "orders", *[b"x"] * 10)
        (was,) = tmp_path.glob("node-1/*/orders-0")
        (into,) = (one.parent for one in tmp_path.glob("node-1/*/meta.properties") if one.parent != was.parent)
        admin = AdminClient({"bootstrap.servers": lab.bootstrap_servers})
        # Within a batch: the copy begins with the whole of it.
        (deleted,) = admin.delete_records([TopicPartition("orders", 0, 15)]).values()
        assert deleted.result(WAIT_S).low_watermark == 15
        move = {"path": str(into), "topics": [{"name": "orders", "partitions": [0]}]}
        with RawClient(lab.bootstrap_servers) as client:
            answer = client.ask(ApiKey.ALTER_REPLICA_LOG_DIRS, 2, {"dirs": [move]})
        assert answer.results[0].partitions[0].error_code == 0
        wait_for(lambda: [path.parent for path in tmp_path.glob("node-1/*/orders-0")] == [into], "the replica in its new directory")
        lab.alter_topic("orders", {"max.message.bytes": 500})
        with pytest.raises(KafkaException, match="MSG_SIZE_TOO_LARGE"):
            write(lab, "orders", b"x" * 1000)
        consumer = Consumer({"bootstrap.servers": lab.bootstrap_servers, "group.id": "readers"})
        try:
            assert wait_for(lambda: consumer.get_watermark_offsets(TopicPartition("orders", 0), WAIT_S), "both ends") == (15, 40)
        finally:
            consumer.close()
