"""Disks that fill, break and lose their power under a cluster in use, and what its clients see of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from confluent_kafka import KafkaError, Producer, TopicPartition

from kafkalab import Lab
from kafkalab.engine.cluster.errors import HostError
from kafkalab.engine.cluster.host import Isolation
from kafkalab.engine.cluster.snapshot import NodeSnapshot
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.telemetry.events import LogDirectoryFailed
from tests.conformance.conftest import FAST_FAILOVER
from tests.support.raw_client import RawClient
from tests.support.steady_load import only_once, read_partition
from tests.support.waiting import wait_for

WAIT_S = 60.0
# A broken disk is told of in the log, and more than once.
pytestmark = pytest.mark.expects_warnings


class Writer:
    """Writes numbered records, some hundreds a second to each partition, until it is stopped."""

    def __init__(self, lab: Lab, topic: str, partitions: int, record_bytes: int) -> None:
        self.acknowledged: dict[int, set[int]] = {partition: set() for partition in range(partitions)}
        self.failed: list[KafkaError] = []
        self._producer = Producer(
            {
                "bootstrap.servers": lab.bootstrap_servers,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 1,
                "message.timeout.ms": 60_000,
            }
        )
        self._topic = topic
        self._filling = b"." * record_bytes
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._stopping.is_set():
            for partition in self.acknowledged:
                value = b"%d" % number + self._filling
                self._producer.produce(self._topic, value=value, partition=partition, on_delivery=self._told(partition, number))
            number += 1
            self._producer.poll(0.002)
        self._producer.flush(WAIT_S)

    def _told(self, partition: int, number: int) -> Callable[[KafkaError | None, object], None]:
        def told(error: KafkaError | None, _message: object) -> None:
            if error is None:
                self.acknowledged[partition].add(number)
            else:
                self.failed.append(error)

        return told

    @property
    def count(self) -> int:
        return sum(map(len, self.acknowledged.values()))

    def go_on(self, more: int = 300) -> None:
        """Wait until so many more were acknowledged."""
        goal, deadline = self.count + more, time.monotonic() + WAIT_S
        while self.count < goal:
            assert time.monotonic() < deadline, f"writing stopped at {self.count}: {self.failed[-3:]}"
            time.sleep(0.01)

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()


@contextmanager
def writing(lab: Lab, topic: str, partitions: int, record_bytes: int = 200) -> Iterator[Writer]:
    writer = Writer(lab, topic, partitions, record_bytes)
    try:
        writer.go_on()
        yield writer
        writer.go_on()
    finally:
        writer.stop()
    assert not writer.failed
    for partition, numbers in writer.acknowledged.items():
        found = read_all(lab, topic, partition, at_least=len(numbers))
        assert numbers <= set(found), f"{len(numbers - set(found))} acknowledged records of partition {partition} are lost"


def read_all(lab: Lab, topic: str, partition: int, at_least: int = 0) -> list[int]:
    records = read_partition(lab.bootstrap_servers, topic, partition, at_least)
    return only_once(lab.bootstrap_servers, TopicPartition(topic, partition), records)


def directories(lab: Lab, broker_id: int) -> dict[str, dict[tuple[str, int, bool], int] | Errors]:
    """By directory: the replicas and their lag, or the error."""
    address = next(node.address for node in lab.describe().nodes if node.node_id == broker_id)
    with RawClient(address) as client:
        results = client.ask(ApiKey.DESCRIBE_LOG_DIRS, 4, {"topics": None}).results
    return {
        result.log_dir.rsplit("/", 1)[-1]: Errors(result.error_code)
        if result.error_code
        else {(t.name, p.partition_index, p.is_future_key): p.offset_lag for t in result.topics for p in t.partitions}
        for result in results
    }


def where(lab: Lab, broker_id: int, topic: str, partition: int) -> str:
    """In which directory a broker has a replica, as soon as it has heard of it."""

    def found() -> str | None:
        for name, replicas in directories(lab, broker_id).items():
            if isinstance(replicas, dict) and (topic, partition, False) in replicas:
                return name
        return None

    return wait_for(found, f"{topic}-{partition} on broker {broker_id}")


def is_in(name: str, lab: Lab, broker_id: int, topic: str, partition: int) -> bool:
    return where(lab, broker_id, topic, partition) == name


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_broker_loses_a_directory_and_goes_on(isolation: Isolation) -> None:
    with Lab(brokers=3, controllers=1, log_dirs=2, isolation=isolation, config=FAST_FAILOVER) as lab:
        lab.create_topic("t", 6, 3, {"min.insync.replicas": 2})
        events = lab.hub.open_reader()
        with writing(lab, "t", 6) as writer:
            lost = {i for i in range(6) if where(lab, 2, "t", i) == "dir-2"}
            assert lost and len(lost) < 6, "replicas are spread over both"
            lab.break_disk(2, 2)

            def is_out_of_those() -> bool:
                partitions = lab.describe().topics["t"].partitions
                return {i for i, partition in enumerate(partitions) if 2 not in partition.isr} == lost

            wait_for(is_out_of_those, "broker 2 out of the ISR of what it lost, and of nothing else")
            assert all(partition.leader != 2 for i, partition in enumerate(lab.describe().topics["t"].partitions) if i in lost)
            assert directories(lab, 2)["dir-2"] is Errors.KAFKA_STORAGE_ERROR
            assert next(node for node in lab.describe().nodes if node.node_id == 2).is_running
            writer.go_on()
            lab.heal_disk(2)
            lab.restart(2)
            lab.wait_until_healthy(WAIT_S)
            assert {i for i in range(6) if where(lab, 2, "t", i) == "dir-2"} == lost
        told = [event for event in events.drain(100_000)[0] if isinstance(event, LogDirectoryFailed)]
        assert [(event.node_id, event.directory.rsplit("/", 1)[-1]) for event in told] == [(2, "dir-2")]
        events.close()


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_power_cuts_lose_nothing_that_was_acknowledged(isolation: Isolation) -> None:
    with Lab(brokers=3, controllers=3, isolation=isolation, config=FAST_FAILOVER) as lab:
        lab.create_topic("t", 3, 3, {"min.insync.replicas": 2, "segment.bytes": 1 << 20})
        with writing(lab, "t", 3) as writer:
            for broker_id, torn_tail in ((1, 0), (2, 333), (3, 50_000)):
                lab.power_loss(broker_id, torn_tail)
                writer.go_on()
                lab.restart(broker_id)
                lab.wait_until_healthy(WAIT_S)
            leader = next(node.node_id for node in lab.describe().nodes if node.node_id in lab.controller_ids)
            lab.power_loss(leader)
            writer.go_on()
            lab.restart(leader)
            lab.wait_until_healthy(WAIT_S)


def test_one_replica_keeps_what_was_synced() -> None:
    with Lab(brokers=1, controllers=1, config=FAST_FAILOVER) as lab:
        lab.create_topic("safe", 1, 1, {"flush.messages": 1})
        lab.create_topic("fast", 1, 1)
        for topic in ("safe", "fast"):
            producer = Producer({"bootstrap.servers": lab.bootstrap_servers, "acks": "all"})
            for number in range(100):
                producer.produce(topic, value=b"%d" % number)
            assert producer.flush(WAIT_S) == 0
        lab.power_loss(1)
        lab.restart(1)
        lab.wait_until_healthy(WAIT_S)
        assert read_all(lab, "safe", 0) == list(range(100))
        assert read_all(lab, "fast", 0) == [], "what nobody synced and nobody else had is gone"


def test_a_disk_fills_in_the_middle_of_a_batch() -> None:
    with Lab(brokers=3, controllers=1, log_dirs=2, config=FAST_FAILOVER) as lab:
        lab.create_topic("t", 4, 3, {"min.insync.replicas": 2})
        with writing(lab, "t", 4) as writer:
            lab.fill_disk(3, 2, free_bytes=10_123)
            wait_for(lambda: directories(lab, 3)["dir-2"] is Errors.KAFKA_STORAGE_ERROR, "the directory out of use", WAIT_S)
            writer.go_on()
            lab.heal_disk(3)
            lab.restart(3)
            lab.wait_until_healthy(WAIT_S)


@pytest.mark.parametrize("kind", ["broken", "read_only", "vanished"])
def test_the_last_directory_takes_the_broker_with_it(kind: str) -> None:
    with Lab(brokers=3, controllers=1, config=FAST_FAILOVER) as lab:
        lab.create_topic("t", 1, 3, {"min.insync.replicas": 2})
        with writing(lab, "t", 1) as writer:
            lab.break_disk(2, kind=kind)
            wait_for(lambda: not next(node for node in lab.describe().nodes if node.node_id == 2).is_running, "broker 2 at its end", WAIT_S)
            with pytest.raises(HostError):
                lab.restart(2)
            writer.go_on()
            lab.heal_disk(2)
            lab.restart(2)
            lab.wait_until_healthy(WAIT_S)


@pytest.mark.parametrize("isolation", ["thread", "process"])
@pytest.mark.parametrize("kind", ["full", "broken"])
def test_the_active_controllers_disk_takes_that_controller_alone_with_it(kind: str, isolation: Isolation) -> None:
    with Lab(brokers=2, controllers=3, isolation=isolation, config=FAST_FAILOVER) as lab:
        lab.create_topic("t", 1, 2)
        active = lab.describe().controller
        with writing(lab, "t", 1) as writer:
            if kind == "full":
                lab.fill_disk(active)
            else:
                lab.break_disk(active, kind=kind)
            wait_for(lambda: not node_of(lab, active).is_running, f"controller {active} at its end", WAIT_S)
            failure = node_of(lab, active).failure
            assert failure is not None and str(lab.data_dir / f"controller-{active}") in failure
            wait_for(lambda: lab.describe().controller not in (active, -1), "another active controller", WAIT_S)
            lab.create_topic("u", 1, 2)
            assert all(node.is_running for node in lab.describe().nodes if node.node_id != active)
            writer.go_on()
            lab.heal_disk(active)
            lab.restart(active)
            lab.wait_until_healthy(WAIT_S)


def node_of(lab: Lab, node_id: int) -> NodeSnapshot:
    return next(node for node in lab.describe().nodes if node.node_id == node_id)


def test_a_replica_moves_to_another_directory_while_it_is_written_and_read() -> None:
    with Lab(brokers=2, controllers=1, log_dirs=3, config=FAST_FAILOVER) as lab:
        lab.create_topic("t", 1, 2, {"segment.bytes": 1 << 20})
        # More than a segment, soon.
        with writing(lab, "t", 1, 2_000) as writer:
            writer.go_on(800)
            for broker_id in (1, 2):
                for name in ("dir-3", "dir-2", "dir-2"):
                    assert move(lab, broker_id, "t", 0, name) is Errors.NONE
                    wait_for(partial(is_in, name, lab, broker_id, "t", 0), "the replica in its new directory", WAIT_S)
                    writer.go_on(50)
            assert move(lab, 1, "t", 0, "dir-9") is Errors.LOG_DIR_NOT_FOUND
            assert move(lab, 1, "other", 0, "dir-3") is Errors.UNKNOWN_TOPIC_OR_PARTITION
        lab.create_topic("other", 1, 2)
        assert where(lab, 1, "other", 0) == "dir-3", "as it was wanted before it was made"
        lab.wait_until_healthy(WAIT_S)
        lab.restart(1)
        lab.restart(2)
        lab.wait_until_healthy(WAIT_S)
        assert (where(lab, 1, "t", 0), where(lab, 2, "t", 0)) == ("dir-2", "dir-2")
        assert len(read_all(lab, "t", 0)) == writer.count


def test_a_cordoned_directory_keeps_what_it_has_and_gets_nothing_new() -> None:
    with Lab(brokers=1, controllers=1, log_dirs=3, config=FAST_FAILOVER) as lab:
        lab.create_topic("before", 3, 1)
        paths = [str(lab.data_dir / "broker-1" / name) for name in ("dir-1", "dir-2", "dir-3")]

        def cordon(*directories: str) -> tuple[int, str | None]:
            with RawClient(lab.bootstrap_servers) as client:
                configs = [{"name": "cordoned.log.dirs", "config_operation": 0, "value": ",".join(directories)}]
                body = {"resources": [{"resource_type": 4, "resource_name": "1", "configs": configs}], "validate_only": False}
                (row,) = client.ask(ApiKey.INCREMENTAL_ALTER_CONFIGS, 1, body).responses
                return row.error_code, row.error_message

        def cordoned(version: int = 5) -> list[bool]:
            with RawClient(lab.bootstrap_servers) as client:
                results = client.ask(ApiKey.DESCRIBE_LOG_DIRS, version, {"topics": None}).results
                return [result.is_cordoned for result in sorted(results, key=lambda one: str(one.log_dir))]

        def may_be_created(topic: str) -> bool:
            with RawClient(lab.bootstrap_servers) as client:
                wanted = {"name": topic, "num_partitions": 1, "replication_factor": 1, "assignments": [], "configs": []}
                body = {"topics": [wanted], "timeout": 10_000, "validate_only": True}
                return bool(client.ask(ApiKey.CREATE_TOPICS, 7, body).topics[0].error_code == Errors.NONE)

        assert cordoned() == [False, False, False]
        assert cordon(*paths[:2], "*")[0] == Errors.INVALID_REQUEST
        assert cordon(*paths[:2]) == (0, None)
        wait_for(lambda: cordoned() == [True, True, False], "two cordoned directories", WAIT_S)
        lab.create_topic("after", 4, 1)
        assert {where(lab, 1, "after", number) for number in range(4)} == {"dir-3"}
        assert {where(lab, 1, "before", number) for number in range(3)} == {"dir-1", "dir-2", "dir-3"}
        assert move(lab, 1, "after", 0, "dir-1") is Errors.INVALID_REPLICA_ASSIGNMENT
        assert cordon("*") == (0, None)
        wait_for(lambda: cordoned() == [True, True, True], "all cordoned", WAIT_S)
        # The controller hears of it with a heartbeat.
        wait_for(lambda: not may_be_created("nowhere"), "a controller that knows it")
        with pytest.raises(HostError, match="all their log directories cordoned"):
            lab.create_topic("nowhere", 1, 1)
        assert cordon() == (0, None)
        wait_for(lambda: cordoned() == [False, False, False], "none cordoned", WAIT_S)
        wait_for(lambda: may_be_created("anywhere"), "a controller that knows it")
        lab.create_topic("anywhere", 1, 1)
        assert move(lab, 1, "after", 0, "dir-1") is Errors.NONE


def move(lab: Lab, broker_id: int, topic: str, partition: int, name: str) -> Errors:
    node = next(node for node in lab.describe().nodes if node.node_id == broker_id)
    path = lab.data_dir / f"broker-{broker_id}" / name
    with RawClient(node.address) as client:
        body = {"dirs": [{"path": str(path), "topics": [{"name": topic, "partitions": [partition]}]}]}
        return Errors(client.ask(ApiKey.ALTER_REPLICA_LOG_DIRS, 2, body).results[0].partitions[0].error_code)


def test_what_cannot_be_broken_is_said() -> None:
    with Lab(brokers=1, controllers=1, log_dirs=2) as lab:
        for wrong in (lambda: lab.break_disk(1, 3), lambda: lab.break_disk(1, kind="wet"), lambda: lab.fill_disk(7)):
            with pytest.raises(HostError):
                wrong()
