"""What the log itself costs: reading back, compaction beside production, starting with many partitions, memory.

Part of bench.py (``--only storage``); the clusters and the table are handed in from there.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psutil

from tests.support import apache_kafka

ROOT = Path(__file__).resolve().parents[2]
COMPACTION_MB = 600
COMPACTION_KEYS = 100_000
START_PARTITIONS = 1_000
START_MB = 1_000  # of all replicas together
WRITTEN_GB = 10
WAIT_S = 300
HOLD_BACK_MS = 3_600_000

Load = Callable[..., dict[str, Any]]


class Table(Protocol):
    def add(self, name: str, unit: str, reach: str, value: float, *, kafka: bool) -> None: ...


# --- reading back ----------------------------------------------------------------------------------


def measure_reading(table: Table, load: Load, bootstrap: str, *, kafka: bool, scale: float) -> None:
    """Everything from the beginning, by one consumer; the data was just written and is in the page cache."""
    for size, records, reach in ((1_000, 500_000, "≥ 1.0 × Kafka"), (100, 3_000_000, "≥ 0.8 × Kafka")):
        topic, count = f"read-{size}", int(records * scale)
        load("create", bootstrap, topic, "1", "1")
        load("batch", bootstrap, topic, str(count), str(size), "1")
        load("consume", bootstrap, topic, str(count))  # Once to warm both up.
        result = load("consume", bootstrap, topic, str(count))
        name = f"consume, {'1 KB' if size == 1_000 else '100 B'} records"
        if size == 1_000:
            table.add(name, "MB/s", reach, result["mb_per_second"], kafka=kafka)
        else:
            table.add(name, "/s", reach, result["records_per_second"], kafka=kafka)


# --- compaction ------------------------------------------------------------------------------------


@contextmanager
def _ours_compacting(data_dir: Path) -> Iterator[tuple[str, Callable[[], float | None]]]:
    """One node of ours in a process of its own; the rate of the compaction once it came to its end."""
    from kafkalab import Lab
    from kafkalab.engine.telemetry.events import LogCompacted

    with Lab(
        brokers=1, controllers=1, combined=True, data_dir=data_dir, isolation="process", config={"log.cleaner.backoff.ms": 200}
    ) as lab:
        reader = lab.hub.open_reader()

        def rate() -> float | None:
            events, _, _ = reader.drain(100_000)
            for event in events:
                if isinstance(event, LogCompacted) and event.topic == "compact" and event.bytes_before > 1_000_000:
                    return event.bytes_before / 1e6 / (event.duration_ms / 1_000)
            return None

        yield lab.bootstrap_servers, rate


@contextmanager
def _theirs_compacting(data_dir: Path) -> Iterator[tuple[str, Callable[[], float | None]]]:
    """One node of Apache Kafka; it writes the cleaner's rate into its log."""
    log_dir = data_dir / "apache"
    with apache_kafka.combined_node(log_dir, config={"log.cleaner.backoff.ms": "200"}) as bootstrap:

        def rate() -> float | None:
            said = (data_dir / "apache.log").read_text(errors="replace")
            found = re.search(r"cleaned log compact-0 .*?\n.*?of log processed in [\d.,]+ seconds \(([\d.,]+) MB/sec\)", said, re.DOTALL)
            return float(found[1].replace(",", "")) if found else None

        yield bootstrap, rate


def measure_compaction(table: Table, load: Load, *, kafka: bool, scale: float) -> None:
    """How fast a log is compacted while a producer writes to another topic, and what the producer notices."""
    from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

    with (
        tempfile.TemporaryDirectory() as directory,
        (_theirs_compacting if kafka else _ours_compacting)(Path(directory)) as (
            bootstrap,
            compaction_rate,
        ),
    ):
        admin = AdminClient({"bootstrap.servers": bootstrap})
        settings = {"cleanup.policy": "compact", "min.compaction.lag.ms": str(HOLD_BACK_MS), "segment.bytes": str(64 * 1024 * 1024)}
        for made in admin.create_topics([NewTopic("compact", 1, 1, config=settings), NewTopic("beside", 1, 1)]).values():
            made.result(30)
        records = int(COMPACTION_MB * 1_000 * scale)
        load("keyed", bootstrap, "compact", str(records), "1000", str(COMPACTION_KEYS))
        seconds = max(4.0, 10.0 * scale)
        load("full", bootstrap, "beside", "3", "1000")
        alone = load("full", bootstrap, "beside", str(seconds), "1000")
        entry = ConfigEntry("min.compaction.lag.ms", "0", incremental_operation=AlterConfigOpType.SET)
        for done in admin.incremental_alter_configs(
            [ConfigResource(ConfigResource.Type.TOPIC, "compact", incremental_configs=[entry])]
        ).values():
            done.result(30)
        during = load("full", bootstrap, "beside", str(seconds), "1000")
        deadline = time.monotonic() + WAIT_S
        while (rate := compaction_rate()) is None:
            assert time.monotonic() < deadline, "nothing was compacted"
            time.sleep(0.2)
    table.add("compaction beside full production", "MB/s", "≥ 50 MB/s", rate, kafka=kafka)
    table.add(
        "  of its rate the producer keeps", "%", "≥ 70 %", during["records_per_second"] / alone["records_per_second"] * 100, kafka=kafka
    )
    table.add("  its p99 grows to", "×", "≤ 3 ×", during["p99_ms"] / alone["p99_ms"], kafka=kafka)


# --- start -----------------------------------------------------------------------------------------


def measure_start(table: Table, load: Load, *, scale: float, partitions: int = START_PARTITIONS) -> None:
    """Starts with many partitions on disk: until a record got through, after a clean stop and after a kill."""
    with tempfile.TemporaryDirectory() as directory:
        data_dir = Path(directory)
        with _serving(data_dir) as (process, bootstrap, _):
            load("create", bootstrap, "many", str(partitions), "3")
            load("batch", bootstrap, "many", str(int(START_MB * 1_000 / 3 * scale)), "1000", "all")
            process.terminate()
            process.wait(120)
        with _serving(data_dir) as (process, bootstrap, seconds):
            table.add(f"start with {partitions} × 3 replicas, clean", "s", "≤ 3 s", seconds, kafka=False)
            load("batch", bootstrap, "many", "1000", "1000", "all")
            process.kill()
            process.wait(30)
        with _serving(data_dir) as (process, bootstrap, seconds):
            table.add(f"start with {partitions} × 3 replicas, after a kill", "s", "≤ 10 s", seconds, kafka=False)


@contextmanager
def _serving(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str, float]]:
    command = [sys.executable, "-m", "kafkalab", "serve", "--port", "0", "--data-dir", str(data_dir), "--log-level", "warning"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.match(r"READY bootstrap=(\S+) seconds=([\d.]+)", line):
                break
        else:
            raise RuntimeError("kafkalab serve did not become ready")
        yield process, found[1], float(found[2])
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(120)


def measure_their_start(table: Table, load: Load, *, scale: float, partitions: int = START_PARTITIONS) -> None:
    """The same with Apache Kafka."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        cluster = apache_kafka.ApacheKafka(place)
        with cluster:
            load("first", cluster.bootstrap_servers, "first", "3")
            load("create", cluster.bootstrap_servers, "many", str(partitions), "3")
            load("batch", cluster.bootstrap_servers, "many", str(int(START_MB * 1_000 / 3 * scale)), "1000", "all")
        for end in ("clean", "after a kill"):
            cluster = apache_kafka.ApacheKafka(place)
            with cluster:
                load("first", cluster.bootstrap_servers, f"again-{end[:5]}", "3")
                seconds = cluster.seconds_since_start
                table.add(f"start with {partitions} × 3 replicas, {end}", "s", "", seconds, kafka=True)
                for process in cluster.processes.values():
                    process.kill()


# --- memory ----------------------------------------------------------------------------------------


def measure_memory(table: Table, load: Load, start: Callable[[int], Any], *, kafka: bool, scale: float) -> None:
    """How much more a node holds in memory after a lot was written, against the moment after a little."""
    with start(1) as (cluster, _):
        load("create", cluster.bootstrap, "much", "3", "1")
        load("batch", cluster.bootstrap, "much", str(int(200_000 * min(1.0, scale * 10))), "1000", "1")
        before = cluster.resident_mb()
        peak = before
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.25):
                peak = max(peak, cluster.resident_mb())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            load("batch", cluster.bootstrap, "much", str(int(WRITTEN_GB * 1_000_000 * scale)), "1000", "1")
        finally:
            done.set()
            watcher.join()
        after = cluster.resident_mb()
    written = WRITTEN_GB * scale
    table.add(f"memory after {written:g} GB written: more by", "MB", "≤ 50 MB", after - before, kafka=kafka)
    table.add("  and at most meanwhile", "MB", "", peak - before, kafka=kafka)


def free_disk_gb() -> float:
    """Where temporary files go."""
    return psutil.disk_usage(tempfile.gettempdir()).free / 1e9
