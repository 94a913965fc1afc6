"""The dump of files: lines, decoders, what is broken, and the command line around it."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from kafkalab.cli import commands
from kafkalab.cli.dump_log import EXIT_BROKEN, EXIT_OK, DumpOptions, run
from kafkalab.engine.common.ids import TopicPartition, random_uuid, uuid_to_text
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.storage import FileStorage
from kafkalab.engine.protocol.metadata_records import TopicRecord, encode_record
from kafkalab.engine.record.batch import Record, build_batch
from kafkalab.engine.record.control import ControlType, LeaderChange, encode_leader_change
from kafkalab.engine.record.quorum_records import control_batch


def written(directory: Path, *batches: bytes, client: bool = False, **settings: object) -> Path:
    storage = FileStorage()
    name, _, number = directory.name.rpartition("-")
    log = Log.open(directory, TopicPartition(name, int(number)), LogConfig(**settings), ManualClock(), storage=storage)  # type: ignore[arg-type]
    for data in batches:
        log.append_as_leader(data, 3, client=client)
    log.close()
    storage.close()
    return directory / f"{0:020}.log"


def dumped(*files: Path, **options: object) -> tuple[list[str], list[str], int]:
    out, errors = io.StringIO(), io.StringIO()
    status = run(DumpOptions(files=files, **options), out, errors)  # type: ignore[arg-type]
    return out.getvalue().splitlines(), errors.getvalue().splitlines(), status


RECORDS = [Record(0, 1_000, b"k", b"v", (("h", b"x"), ("n", None))), Record(1, 1_005, None, None)]


def test_batches_and_records_in_kafkas_words(tmp_path: Path) -> None:
    path = written(tmp_path / "orders-0", build_batch(RECORDS, producer_id=7, producer_epoch=1, base_sequence=2**31 - 1))
    lines, errors, status = dumped(path, print_data=True)
    assert lines[1] == "Log starting offset: 0"
    assert lines[2].startswith(
        "baseOffset: 0 lastOffset: 1 count: 2 baseSequence: 2147483647 lastSequence: 0 producerId: 7 producerEpoch: 1"
    )
    assert "partitionLeaderEpoch: 3 isTransactional: false isControl: false deleteHorizonMs: OptionalLong.empty position: 0" in lines[2]
    assert lines[2].endswith("isvalid: true")
    assert lines[3:] == [
        "| offset: 0 CreateTime: 1000 keySize: 1 valueSize: 1 sequence: 2147483647 headerKeys: [h,n] key: k payload: v",
        "| offset: 1 CreateTime: 1005 keySize: -1 valueSize: -1 sequence: 0 headerKeys: []",
    ]
    assert (errors, status) == ([], EXIT_OK)
    assert len(dumped(path)[0]) == 3
    assert dumped(path, print_data=True, skip_record_metadata=True)[0][3:] == ["| key: k payload: v", ""]
    assert dumped(path, max_bytes=20)[0][2:] == []


def test_the_metadata_log_is_decoded_by_its_name(tmp_path: Path) -> None:
    topic_id = random_uuid(Random(1))
    opening = control_batch(
        [(ControlType.LEADER_CHANGE, encode_leader_change(LeaderChange(1, (1,), (1,))))], base_offset=0, epoch=3, timestamp_ms=5
    )
    topic = build_batch([Record(0, 6, None, encode_record(TopicRecord(name="orders", topic_id=topic_id)))])
    path = written(tmp_path / "__cluster_metadata-0", opening, topic)
    lines, _, _ = dumped(path, print_data=True)
    assert lines[3].endswith('LeaderChange: {"version":0,"leaderId":1,"voters":[{"voterId":1}],"grantingVoters":[{"voterId":1}]}')
    expected = f'payload: {{"type":"TOPIC_RECORD","version":0,"data":{{"name":"orders","topicId":"{uuid_to_text(topic_id)}"}}}}'
    assert lines[5].endswith(expected)
    other, _, _ = dumped(path, decoder="offsets")
    assert "skipping" in other[5]


def test_broken_files_are_told_and_the_others_still_read(tmp_path: Path) -> None:
    path = written(
        tmp_path / "orders-0", *[build_batch([Record(0, 1_000 + n, None, bytes(300))]) for n in range(9)], index_interval_bytes=500
    )
    assert dumped(tmp_path)[2] == EXIT_OK
    index = path.with_suffix(".index")
    content = bytearray(index.read_bytes())
    content[3] += 1
    index.write_bytes(content)
    log = bytearray(path.read_bytes())
    log[200] ^= 1
    path.write_bytes(log + b"torn")
    lines, errors, status = dumped(index, path, tmp_path / "absent.log", tmp_path / "orders-0" / "x.index")
    assert status == EXIT_BROKEN
    assert sum("isvalid: false" in line for line in lines) == 1
    assert f"Found 4 invalid bytes at the end of {path.name}" in lines
    assert errors[0].startswith(f"{tmp_path / 'absent.log'}: ")
    assert f"Mismatches in :{index}" in errors
    assert "files of a segment are named by an offset" in errors[1]


def test_indexes_alone(tmp_path: Path) -> None:
    path = written(
        tmp_path / "orders-0", *[build_batch([Record(0, 1_000 + n, None, bytes(300))]) for n in range(9)], index_interval_bytes=500
    )
    index, times = path.with_suffix(".index"), path.with_suffix(".timeindex")
    lines, errors, _ = dumped(index, times)
    assert any(line.startswith("offset: ") for line in lines) and any(line.startswith("timestamp: ") for line in lines)
    assert dumped(index, times, verify_indexes_only=True)[0] == [f"Dumping {index}", f"Dumping {times}"]
    assert [line.endswith("passed sanity check.") for line in dumped(index, times, sanity_check_only=True)[0][1::2]] == [True, True]
    assert errors == []
    index.write_bytes(b"")
    assert f"{index} is empty." in dumped(index)[0]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("index", b"", "is empty."),
        ("index", bytes(7), "is empty."),
        # What a killed broker leaves of an index that it had laid out.
        ("index", bytes(64), "passed sanity check."),
        ("index", struct.pack(">ii", 3, 100), "passed sanity check."),
        ("index", struct.pack(">ii", -1, 100), "the last offset is 49 which is less than the base offset 50"),
        ("index", bytes(9), "found 9 bytes which is neither positive nor a multiple of 8"),
        ("timeindex", b"", "passed sanity check."),
        ("timeindex", bytes(48), "passed sanity check."),
        ("timeindex", struct.pack(">qi", 5, 3) + bytes(12), "the last timestamp is 0 which is less than the first timestamp 5"),
        ("timeindex", struct.pack(">qi", 5, -3), "the last offset is 47 which is less than the first offset 50"),
        ("timeindex", bytes(13), "found 13 bytes which is neither positive nor a multiple of 12"),
    ],
)
def test_indexes_are_trusted_as_kafka_trusts_them(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / f"{50:020}.{name}"
    path.write_bytes(content)
    lines, errors, status = dumped(path, sanity_check_only=True)
    is_fine = says.endswith(".")
    assert lines[1:] == ([f"{path} {says}"] if is_fine else [])
    assert [one.endswith(says) for one in errors] == ([] if is_fine else [True])
    assert status == (EXIT_OK if is_fine else EXIT_BROKEN)


def test_an_entry_of_an_unknown_version_is_no_aborted_transaction(tmp_path: Path) -> None:
    path = tmp_path / f"{0:020}.txnindex"
    good = struct.pack(">hqqqq", 0, 7, 1, 2, 3)
    path.write_bytes(good + b"half")
    assert dumped(path)[0][1:] == ["version: 0 producerId: 7 firstOffset: 1 lastOffset: 2 lastStableOffset: 3"]
    path.write_bytes(good + struct.pack(">hqqqq", 78, 7, 1, 2, 3))
    lines, errors, status = dumped(path)
    assert (lines[1:], status) == ([], EXIT_BROKEN)
    assert errors == [f"Unexpected aborted transaction version 78 in transaction index {path}, current version is 0"]


def test_small_files_of_a_log_directory(tmp_path: Path) -> None:
    (tmp_path / "recovery-point-offset-checkpoint").write_text("0\n1\norders 0 5\n")
    (tmp_path / "leader-epoch-checkpoint").write_text("0\n1\n3 17\n")
    (tmp_path / "meta.properties").write_text("#\nversion=1\n")
    lines, errors, status = dumped(tmp_path)
    assert lines[1::2] == ["epoch: 3 startOffset: 17", "#", f"Dumping {tmp_path / 'recovery-point-offset-checkpoint'}"]
    assert "topic: orders partition: 0 offset: 5" in lines
    (tmp_path / "leader-epoch-checkpoint").write_text("0\n2\n3 17\n")
    (tmp_path / "notes.txt").write_text("foreign")
    _, errors, status = dumped(tmp_path, tmp_path / "notes.txt")
    assert status == EXIT_BROKEN
    assert "2 entries are announced" in errors[0]
    assert errors[-1] == f"Ignoring unknown file {tmp_path / 'notes.txt'}"


def test_snapshots_are_told_by_their_names(tmp_path: Path) -> None:
    content = build_batch([Record(0, 5, None, b"\x01\x14\x00\x00")])
    for name, first in (
        ("bootstrap.checkpoint", "KRaft bootstrap snapshot"),
        ("00000000000000000042-0000000007.checkpoint", "Snapshot end offset: 42, epoch: 7"),
    ):
        (tmp_path / name).write_bytes(content)
        lines, _, _ = dumped(tmp_path / name, print_data=True)
        assert lines[1] == first
        assert lines[-1].endswith('payload: {"type":"NO_OP_RECORD","version":0,"data":{}}')
    (tmp_path / "odd.checkpoint").write_bytes(content)
    assert dumped(tmp_path / "odd.checkpoint")[2] == EXIT_BROKEN


@pytest.mark.parametrize("flags", [[], ["--offsets-decoder", "--transaction-log-decoder", "--files", "x.log"]])
def test_the_command_line_refuses_what_makes_no_sense(flags: list[str]) -> None:
    assert CliRunner().invoke(commands, ["dump-log", *flags]).exit_code == 2


def test_the_command_line_dumps(tmp_path: Path) -> None:
    path = written(tmp_path / "orders-0", build_batch(RECORDS))
    done = CliRunner().invoke(commands, ["dump-log", "--files", f"{path},{path.with_suffix('.index')}", "--deep-iteration"])
    assert done.exit_code == EXIT_OK
    assert f"{path.with_suffix('.index')} is empty." in done.output
