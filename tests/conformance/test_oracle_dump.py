"""Kafka's DumpLogSegments reads every file that we write, and our dump-log says what Kafka's says."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer

from kafkalab import Lab
from kafkalab.cli.dump_log import EXIT_OK, DumpOptions, run
from kafkalab.engine.log.reader import PartitionReader
from tests.support import apache_kafka
from tests.support.consuming import take
from tests.support.waiting import wait_for

ORACLE = Path(os.environ.get("KAFKALAB_ORACLE", Path(__file__).parents[3] / "shared" / "oracle"))
GOLDEN = ORACLE / "golden" / "kafka-4.3.1-clean.tar.gz"
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
SUFFIXES = (".log", ".index", ".timeindex", ".txnindex", ".snapshot")
DECODERS = {
    "__consumer_offsets-": ("--offsets-decoder", "offsets"),
    "__transaction_state-": ("--transaction-log-decoder", "transactions"),
    "__cluster_metadata-": ("--cluster-metadata-decoder", "metadata"),
}
WAIT_S = 60

pytestmark = [
    pytest.mark.skipif(apache_kafka.missing() is not None, reason=f"Apache Kafka cannot be run beside: {apache_kafka.missing()}"),
    pytest.mark.timeout(300),
]


def dumped(options: DumpOptions) -> tuple[str, str, int]:
    out, errors = io.StringIO(), io.StringIO()
    status = run(options, out, errors)
    return out.getvalue(), errors.getvalue(), status


def files_by_decoder(log_dir: Path) -> dict[tuple[str, str] | None, list[Path]]:
    """All files of all partitions, grouped by how their records are to be decoded."""
    found: dict[tuple[str, str] | None, list[Path]] = {}
    for partition in sorted(path for path in log_dir.iterdir() if path.is_dir()):
        decoder = next((flags for prefix, flags in DECODERS.items() if partition.name.startswith(prefix)), None)
        found.setdefault(decoder, []).extend(sorted(path for path in partition.iterdir() if path.suffix in SUFFIXES))
    return found


def check_with_kafka(log_dir: Path) -> int:
    """Both tools print the same of every file, and find nothing wrong. How many lines that was."""
    lines = 0
    for decoder, files in files_by_decoder(log_dir).items():
        flags = ["--deep-iteration", "--print-data-log", *([decoder[0]] if decoder else [])]
        theirs, complaints = apache_kafka.dump_log(files, *flags)
        ours, our_complaints, status = dumped(
            DumpOptions(files=tuple(files), deep=True, print_data=True, decoder=decoder[1] if decoder else None)
        )
        assert ours.splitlines() == theirs.splitlines()
        assert status == EXIT_OK, our_complaints
        assert "isvalid: false" not in theirs
        assert "invalid bytes" not in theirs
        # It calls the start of every later segment, and every hole that compaction left, non-consecutive.
        assert not [one for one in complaints.splitlines() if "Non-consecutive" not in one and "is followed by" not in one]
        lines += len(theirs.splitlines())
    return lines


@pytest.mark.skipif(not GOLDEN.exists(), reason=f"no golden directories of Apache Kafka in {ORACLE} (KAFKALAB_ORACLE)")
def test_what_kafka_wrote_is_printed_as_kafka_prints_it(tmp_path: Path) -> None:
    with tarfile.open(GOLDEN) as tar:
        tar.extractall(tmp_path, filter="data")
    (log_dir,) = tmp_path.iterdir()
    # Random bytes are no text, and the two languages put different signs in their place.
    for path in (log_dir / "rolled-0").glob("*.log"):
        theirs, _ = apache_kafka.dump_log([path], "--deep-iteration")
        assert dumped(DumpOptions(files=(path,), deep=True))[0].splitlines() == theirs.splitlines()
        path.unlink()
    for path in (log_dir / "rolled-0").glob("*index"):
        path.unlink()
    snapshots = [log_dir / "bootstrap.checkpoint", *(log_dir / "__cluster_metadata-0").glob("*.checkpoint")]
    theirs, _ = apache_kafka.dump_log(snapshots, "--cluster-metadata-decoder")
    assert dumped(DumpOptions(files=tuple(snapshots), decoder="metadata"))[0].splitlines() == theirs.splitlines()
    assert check_with_kafka(log_dir) > 2_000


@pytest.mark.skipif(not GOLDEN.exists(), reason=f"no golden directories of Apache Kafka in {ORACLE} (KAFKALAB_ORACLE)")
def test_what_is_broken_is_told_as_kafka_tells_it(tmp_path: Path) -> None:
    with tarfile.open(GOLDEN) as tar:
        tar.extractall(tmp_path, filter="data")
    (log_dir,) = tmp_path.iterdir()
    first = log_dir / "rolled-0" / f"{0:020}.log"
    index, times = first.with_suffix(".index"), first.with_suffix(".timeindex")
    content = bytearray(index.read_bytes())
    content[3] += 1
    index.write_bytes(content)
    content = bytearray(times.read_bytes())
    content[12:20] = content[0:8]
    content[35] += 1
    times.write_bytes(content)
    content = bytearray(first.read_bytes())
    content[100] ^= 0xFF
    first.write_bytes(content + b"torn")
    files = (first, index, times)
    theirs, complaints = apache_kafka.dump_log(files)
    ours, our_complaints, status = dumped(DumpOptions(files=files))
    assert ours.splitlines() == theirs.splitlines()
    assert sorted(our_complaints.splitlines()) == sorted(complaints.splitlines())
    assert "isvalid: false" in ours
    assert "Found 4 invalid bytes at the end of" in ours
    assert "Mismatches in :" in our_complaints
    assert status != EXIT_OK


SETTINGS = {"log.cleaner.backoff.ms": 200, "log.index.interval.bytes": 512}


def one_node(data_dir: Path) -> Lab:
    """A cluster of one."""
    return Lab(brokers=1, controllers=1, combined=True, data_dir=data_dir, config=SETTINGS)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a cluster of one leaves: records of every codec, idempotent, rolled, with headers, and a group's offsets."""
    data_dir = tmp_path_factory.mktemp("lab")
    with one_node(data_dir) as lab:
        for codec in CODECS:
            lab.create_topic(f"codec-{codec}", config={"segment.bytes": 1_048_576})
            producer = Producer(
                {
                    "bootstrap.servers": lab.bootstrap_servers,
                    "compression.type": codec,
                    "enable.idempotence": True,
                    "batch.num.messages": 40,
                }
            )
            for number in range(3_000):
                producer.produce(
                    f"codec-{codec}",
                    key=f"k{number % 7}" if number % 5 else None,
                    value=f"value {number} " * (number % 90) if number % 11 else None,
                    headers=[("h", b"x"), ("n", None)] if number % 3 == 0 else None,
                    timestamp=1_700_000_000_000 + number * 1_000,
                )
                if number % 200 == 0:
                    producer.flush(WAIT_S)
            assert producer.flush(WAIT_S) == 0
        consumer = Consumer({"bootstrap.servers": lab.bootstrap_servers, "group.id": "readers", "auto.offset.reset": "earliest"})
        consumer.subscribe(["codec-none"])
        take(consumer, 100)
        consumer.commit(asynchronous=False)
        consumer.close()
    return data_dir


@pytest.fixture
def data_dir(stock: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stock, tmp_path / "lab"))


def log_dir_of(data_dir: Path) -> Path:
    (log_dir,) = [path for path in data_dir.iterdir() if path.is_dir()]
    return log_dir


def test_kafka_reads_what_a_clean_stop_left(data_dir: Path) -> None:
    assert check_with_kafka(log_dir_of(data_dir)) > 5 * 3_000


def test_kafka_reads_what_a_kill_left(data_dir: Path) -> None:
    with one_node(data_dir) as lab:
        producer = Producer({"bootstrap.servers": lab.bootstrap_servers, "acks": "all"})
        for number in range(500):
            producer.produce("codec-none", f"before the kill {number}")
        assert producer.flush(WAIT_S) == 0
        lab.kill(1)
        # Indexes may be behind the log then; what is in them has to be right.
        assert check_with_kafka(log_dir_of(data_dir)) > 5 * 3_000


def test_kafka_reads_what_compaction_left(tmp_path: Path) -> None:
    settings = {
        "cleanup.policy": "compact",
        "segment.bytes": 1_048_576,
        "segment.ms": 100,
        "min.cleanable.dirty.ratio": 0.01,
        "delete.retention.ms": 60_000,
    }
    with one_node(tmp_path) as lab:
        lab.create_topic("compacted", config=settings)
        producer = Producer({"bootstrap.servers": lab.bootstrap_servers, "enable.idempotence": True, "batch.num.messages": 50})
        directory = PartitionReader(log_dir_of(tmp_path) / "compacted-0")
        rounds = itertools.count(1)

        def compacted() -> bool:
            number = next(rounds)
            for key in range(500):
                producer.produce("compacted", f"value {number} of {key}" if number % 6 or key % 10 else None, key=f"key-{key}")
            assert producer.flush(WAIT_S) == 0
            # A segment may go while it is looked at; that is asked again.
            kept = sum(batch.header.record_count for batch in directory.batches())
            return number > 8 and kept < number * 500

        wait_for(compacted, "records compacted away")
    assert check_with_kafka(log_dir_of(tmp_path)) > 1_000
