"""`make bench`: KafkaLab and, where a JDK and Maven are, Apache Kafka 4.3.1 beside it, in one table.

Each figure is the median of several runs; load comes from another process (see load.py). Kafka's
cluster runs with the same settings, on the same machine, in the same hour, never at the same time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, Self

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks import storage  # noqa: E402  found once the path is set
from tests.benchmarks.table import Table  # noqa: E402
from tests.support import apache_kafka  # noqa: E402

LOAD = Path(__file__).with_name("load.py")
IDLE_S = 5.0
SESSION_TIMEOUT_S = 9.0


class Cluster(Protocol):
    """A running cluster under measurement."""

    bootstrap: str

    def resident_mb(self) -> float: ...

    def cpu_seconds(self) -> float: ...


def load(*arguments: str) -> dict[str, Any]:
    """Run one load to its end."""
    done = subprocess.run([sys.executable, str(LOAD), *arguments], check=True, capture_output=True, text=True, timeout=600)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert not result.get("failed"), f"{arguments}: {result}"
    return result


def cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


class Ours:
    """`kafkalab serve` in a process of its own."""

    def __init__(self, *, brokers: int, config: tuple[str, ...] = ()) -> None:
        layout = ["--combined", "--controllers", "1"] if brokers == 1 else ["--controllers", "3"]
        settings = [word for pair in config for word in ("--config", pair)]
        command = [sys.executable, "-m", "kafkalab", "serve", "--port", "0", "--brokers", str(brokers), *layout, *settings]
        self._started_at = time.monotonic()
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.match(r"READY bootstrap=(\S+)", line):
                self.bootstrap = found[1]
                break
        else:
            raise RuntimeError("kafkalab serve did not become ready")
        self.seconds_to_first_record = time.monotonic() - self._started_at

    def resident_mb(self) -> float:
        return psutil.Process(self._process.pid).memory_info().rss / 1e6

    def cpu_seconds(self) -> float:
        return cpu_seconds(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)


class Theirs:
    """Apache Kafka, with the same interface."""

    def __init__(self, cluster: apache_kafka.ApacheKafka) -> None:
        self._cluster = cluster
        self.bootstrap = cluster.bootstrap_servers

    def resident_mb(self) -> float:
        return sum(psutil.Process(process.pid).memory_info().rss for process in self._cluster.processes.values()) / 1e6

    def cpu_seconds(self) -> float:
        return sum(cpu_seconds(process.pid) for process in self._cluster.processes.values())


@contextmanager
def theirs(brokers: int) -> Iterator[tuple[Theirs, float]]:
    """A started cluster of Apache Kafka, and the seconds until it acknowledged a record."""
    with tempfile.TemporaryDirectory() as directory, apache_kafka.ApacheKafka(Path(directory), brokers=brokers) as cluster:
        load("first", cluster.bootstrap_servers, "first", str(brokers))
        yield Theirs(cluster), cluster.seconds_since_start


@contextmanager
def ours(brokers: int) -> Iterator[tuple[Ours, float]]:
    with Ours(brokers=brokers) as cluster:
        yield cluster, cluster.seconds_to_first_record


Start = Callable[[int], Any]


def measure_throughput(table: Table, start: Start, *, kafka: bool, runs: int, scale: float) -> None:
    for _ in range(runs):
        with start(3) as (cluster, seconds):
            table.add("start of 3 + 3 nodes to the first acknowledged record", "s", "≤ 1.0 s", seconds, kafka=kafka)
            time.sleep(IDLE_S)
            before = cluster.cpu_seconds()
            time.sleep(IDLE_S)
            of_a_core = 100 * (cluster.cpu_seconds() - before) / IDLE_S
            table.add("of a core when idle, 3 + 3 nodes", "%", "≤ 5 %", of_a_core, kafka=kafka)
            table.add("resident when idle, 3 + 3 nodes", "MB", "≤ 150 MB", cluster.resident_mb(), kafka=kafka)
            produce(table, cluster.bootstrap, 3, "all", kafka=kafka, scale=scale)
    for _ in range(runs):
        with start(1) as (cluster, _):
            produce(table, cluster.bootstrap, 1, "1", kafka=kafka, scale=scale)


@dataclass(frozen=True)
class Reach:
    """What producing is to come to."""

    big: str
    small: str
    in_flight_1: str
    pipelined: str = ""
    """Only where it is measured."""


REACH = {
    3: Reach("≥ 40 MB/s and ≥ 2 × Kafka", "≥ 250,000/s and ≥ 1.5 × Kafka", "≥ 1,000/s and ≥ 4 × Kafka"),
    1: Reach("≥ 120 MB/s and ≥ 1.0 × Kafka", "≥ 500,000/s and ≥ 1.0 × Kafka", "≥ 1.5 × Kafka", "≥ 6,000/s and ≥ 2 × Kafka"),
}
"""By the replication factor."""


def produce(table: Table, bootstrap: str, replication: int, acks: str, *, kafka: bool, scale: float) -> None:
    reach = REACH[replication]
    prefix = f"RF {replication}, acks={acks}: "
    load("create", bootstrap, "bench", "3" if replication == 3 else "1", str(replication))
    load("batch", bootstrap, "bench", str(int(100_000 * scale)), "1000", acks)
    result = load("batch", bootstrap, "bench", str(int(300_000 * scale)), "1000", acks)
    table.add(prefix + "1 KB records", "MB/s", reach.big, result["mb_per_second"], kafka=kafka)
    result = load("batch", bootstrap, "bench", str(int(2_000_000 * scale)), "100", acks)
    table.add(prefix + "100 B records", "/s", reach.small, result["records_per_second"], kafka=kafka)
    result = load("single", bootstrap, "bench", str(int(3_000 * scale)), acks)
    table.add(prefix + "one-record requests, in flight 1", "/s", reach.in_flight_1, result["requests_per_second"], kafka=kafka)
    if reach.pipelined:
        result = load("pipelined", bootstrap, "bench", str(int(40_000 * scale)), acks)
        table.add(prefix + "one-record requests, pipelined", "/s", reach.pipelined, result["requests_per_second"], kafka=kafka)


def measure_storage(table: Table, parts: list[str], *, beside: bool, scale: float) -> None:
    """What the log itself costs, one part after another; see storage.py."""
    for kafka in (False, True) if beside else (False,):
        start = theirs if kafka else ours
        if "reading" in parts:
            with start(1) as (cluster, _):
                storage.measure_reading(table, load, cluster.bootstrap, kafka=kafka, scale=scale)
        if "compaction" in parts:
            storage.measure_compaction(table, load, kafka=kafka, scale=scale)
        if "memory" in parts:
            if storage.free_disk_gb() > storage.WRITTEN_GB * scale + 5:
                storage.measure_memory(table, load, start, kafka=kafka, scale=scale)
            else:
                print("the disk is too full to write as much as is to be measured", file=sys.stderr)
        if "start" in parts:
            (storage.measure_their_start if kafka else storage.measure_start)(table, load, scale=scale)


class _OurNodes:
    """Node actions on a Lab."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.bootstrap: str = lab.bootstrap_servers

    def leader(self) -> int:
        self.lab.wait_until_healthy(30)
        leader: int = self.lab.describe().leader("paced", 0)
        return leader

    def controller(self) -> int:
        controller: int = self.lab.describe().controller
        return controller

    def kill(self, node_id: int) -> None:
        self.lab.kill(node_id)

    def stop(self, node_id: int) -> None:
        self.lab.stop(node_id)


class _TheirNodes:
    """The same on Apache Kafka's processes."""

    def __init__(self, cluster: apache_kafka.ApacheKafka) -> None:
        self._cluster = cluster
        self.bootstrap = cluster.bootstrap_servers

    def leader(self) -> int:
        from confluent_kafka.admin import AdminClient

        leader: int = (
            AdminClient({"bootstrap.servers": self.bootstrap}).list_topics("paced", timeout=10).topics["paced"].partitions[0].leader
        )
        return leader

    def controller(self) -> int:
        command = apache_kafka.java(
            "org.apache.kafka.tools.MetadataQuorumCommand", "--bootstrap-server", self.bootstrap, "describe", "--status"
        )
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
        found = re.search(r"LeaderId:\s+(\d+)", said)
        assert found, said
        return int(found[1])

    def kill(self, node_id: int) -> None:
        self._cluster.processes[node_id].kill()

    def stop(self, node_id: int) -> None:
        self._cluster.processes[node_id].terminate()


@contextmanager
def _our_nodes(config: Mapping[str, object] | None = None) -> Iterator[_OurNodes]:
    from kafkalab import Lab

    with Lab(brokers=3, controllers=3, config=config) as lab:
        yield _OurNodes(lab)


@contextmanager
def _their_nodes() -> Iterator[_TheirNodes]:
    with tempfile.TemporaryDirectory() as directory, apache_kafka.ApacheKafka(Path(directory), brokers=3) as cluster:
        load("first", cluster.bootstrap_servers, "first", "3")
        yield _TheirNodes(cluster)


def measure_failover(table: Table, runs: int, *, kafka: bool) -> None:
    """Leaders and controllers go away under a paced load, which is in another process."""
    start = _their_nodes if kafka else _our_nodes
    for _ in range(runs):
        with start() as nodes:
            load("create", nodes.bootstrap, "paced", "1", "3")
            leader = nodes.leader()
            with _paced(nodes.bootstrap, SESSION_TIMEOUT_S + 9) as finished:
                time.sleep(2)
                nodes.kill(leader)
                gap = finished()["longest_gap_seconds"]
            table.add("kill of a leader: longest gap between acknowledgements", "s", "≤ 9.05 s", gap, kafka=kafka)
    for _ in range(runs):
        with start() as nodes:
            load("create", nodes.bootstrap, "paced", "1", "3")
            leader, controller = nodes.leader(), nodes.controller()
            with _paced(nodes.bootstrap, 6) as finished:
                time.sleep(2)
                nodes.stop(leader)
                gap = finished()["longest_gap_seconds"]
            table.add("stop of a leader: longest gap between acknowledgements", "s", "≤ 0.1 s", gap, kafka=kafka)
            with _paced(nodes.bootstrap, 10) as finished, _metadata_commits(nodes.bootstrap) as commits:
                time.sleep(2)
                nodes.kill(controller)
                gap = finished()["longest_gap_seconds"]
            table.add("kill of the active controller: longest gap in metadata commits", "s", "≤ 2.2 s", commits(), kafka=kafka)
            table.add("kill of the active controller: longest gap between acknowledgements", "s", "none", gap, kafka=kafka)


def measure_our_failover(table: Table, runs: int) -> None:
    """What is not measured beside Apache Kafka: a thousand partitions at once, and a shorter time until followers miss their leader."""
    for _ in range(runs):
        with _our_nodes({"controller.quorum.fetch.timeout.ms": 1_000}) as nodes:
            with _metadata_commits(nodes.bootstrap) as commits:
                time.sleep(2)
                nodes.kill(nodes.controller())
                time.sleep(5)
            table.add("the same where controllers miss their leader after 1 s", "s", "≤ 1.5 s", commits(), kafka=False)
        for verb, since in (("kill", "its fencing"), ("stop", "the order")):
            name = f"{verb} of one of three leaders of 1,000 partitions: all of them acknowledge again, after {since}"
            table.add(name, "s", "≤ 1 s", _many_led_again(verb), kafka=False)


def _many_led_again(verb: str) -> float:
    """Seconds until each of 1,000 partitions has acknowledged a record after one of three leaders went away."""
    from confluent_kafka import KafkaError, Message, Producer

    from kafkalab.engine.telemetry.events import BrokerFenced

    count = 1_000
    with _our_nodes() as nodes:
        lab = nodes.lab
        lab.create_topic("many", partitions=count, replication_factor=3, timeout=60)
        lab.wait_until_healthy(60)
        # It asks often who leads: with the usual pauses they are what is measured.
        settings = {"topic.metadata.refresh.interval.ms": 200, "topic.metadata.refresh.fast.interval.ms": 20, "retry.backoff.ms": 20}
        producer = Producer(
            {"bootstrap.servers": lab.bootstrap_servers, "acks": "all", "linger.ms": 0, "retry.backoff.max.ms": 50, **settings}
        )
        acknowledged_at: dict[int, float] = {}

        def answered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                acknowledged_at[message.partition()] = time.monotonic()

        def write_to_each() -> None:
            for partition in range(count):
                producer.produce("many", b"x", partition=partition, on_delivery=answered)

        write_to_each()
        producer.flush(60)
        acknowledged_at.clear()
        if verb == "kill":
            events = lab.hub.open_reader()
            lab.kill(1)
            while not any(isinstance(event, BrokerFenced) and event.broker_id == 1 for event in events.drain(100_000)[0]):
                events.wait_changed(1.0)
            at = time.monotonic()
            write_to_each()
        else:
            at = time.monotonic()
            stopping = threading.Thread(target=nodes.stop, args=(1,))
            stopping.start()
            write_to_each()
        # What is acknowledged is heard of in here.
        producer.flush(60)
        if verb == "stop":
            stopping.join()
        assert len(acknowledged_at) == count
        return max(acknowledged_at.values()) - at


@contextmanager
def _paced(bootstrap: str, seconds: float) -> Iterator[Callable[[], dict[str, Any]]]:
    command = [sys.executable, str(LOAD), "paced", bootstrap, "paced", str(seconds), "200"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()

    def finished() -> dict[str, Any]:
        assert process.stdout is not None
        result: dict[str, Any] = json.loads(process.stdout.readline())
        assert not result["failed"], result
        return result

    yield finished
    process.wait(60)


@contextmanager
def _metadata_commits(bootstrap: str) -> Iterator[Callable[[], float]]:
    """Creates topics one after another; the longest time between two that were there."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    done = threading.Event()
    gaps = [0.0]

    def run() -> None:
        last_at = time.monotonic()
        number = 0
        while not done.is_set():
            number += 1
            try:
                admin.create_topics([NewTopic(f"commit-{number}", 1, 1)], operation_timeout=0, request_timeout=10)[
                    f"commit-{number}"
                ].result()
            except KafkaException:
                continue
            now = time.monotonic()
            gaps[0] = max(gaps[0], now - last_at)
            last_at = now
            time.sleep(0.02)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield lambda: gaps[0]
    finally:
        done.set()
        thread.join()


def measure_window(table: Table) -> None:
    """The window over its cluster and its own traffic: memory, and how evenly it draws."""
    probe = Path(__file__).with_name("window_probe.py")
    done = subprocess.run([sys.executable, str(probe)], capture_output=True, text=True, timeout=180, cwd=ROOT, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    table.add("resident when idle, with window", "MB", "≤ 400 MB", result["idle_resident_mb"], kafka=False)
    table.add("Qt frame time under load, p99", "ms", "≤ 20 ms", result["frame_p99_ms"], kafka=False)


def machine() -> str:
    return (
        f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, {platform.system()}, CPython {platform.python_version()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="part of the usual number of records")
    parser.add_argument("--only", choices=["throughput", "storage", "failover", "window"])
    parser.add_argument("--parts", default="reading,compaction,start,memory", help="of storage")
    parser.add_argument("--no-kafka", action="store_true", help="do not start Apache Kafka beside it")
    parser.add_argument("--write", type=Path, help="put the table into this file")
    options = parser.parse_args()
    table = Table()
    absent = "not asked for" if options.no_kafka else apache_kafka.missing()
    beside = absent is None
    if not beside:
        print(f"Apache Kafka was not run beside it: {absent}", file=sys.stderr)
    if options.only in (None, "throughput"):
        measure_throughput(table, ours, kafka=False, runs=options.runs, scale=options.scale)
        if beside:
            measure_throughput(table, theirs, kafka=True, runs=options.runs, scale=options.scale)
    if options.only in (None, "storage"):
        for _ in range(options.runs):
            measure_storage(table, options.parts.split(","), beside=beside, scale=options.scale)
    if options.only in (None, "failover"):
        measure_failover(table, options.runs, kafka=False)
        measure_our_failover(table, options.runs)
        if beside:
            measure_failover(table, options.runs, kafka=True)
    if options.only in (None, "window"):
        for _ in range(options.runs):
            measure_window(table)
    text = f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}; medians.\n\n{table.markdown()}\n"
    print(text)
    for line in table.missed():
        print(f"not reached: {line}", file=sys.stderr)
    if options.write:
        options.write.write_text(f"# Benchmarks\n\nMade by `make bench`.\n\n{text}")


if __name__ == "__main__":
    main()
