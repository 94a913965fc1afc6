"""What an open finds after a kill, a power cut, or somebody's hand in the files."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.storage import OpenableFile
from kafkalab.engine.record.batch import Record, build_batch, iter_records

NOW = 1_700_000_000_000
OpenLog = Callable[..., Log]


def append(log: Log, count: int, *, epoch: int = 0) -> None:
    for _ in range(count):
        sequence = log.log_end_offset
        records = [Record(0, NOW + sequence, b"k", b"%d" % sequence)]
        log.append_as_leader(build_batch(records, producer_id=3, producer_epoch=0, base_sequence=sequence), epoch)


def contents(log: Log) -> list[bytes | None]:
    return [record.value for _, data in log.iter_batches(log.log_start_offset) for record in iter_records(data)]


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def files(log: Log) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in log.directory.iterdir()}


def test_a_kill_loses_nothing_that_was_appended(open_log: OpenLog) -> None:
    log = open_log(segment_bytes=1000)
    append(log, 50)
    log.abandon()
    again = open_log(segment_bytes=1000)
    assert again.recovered and again.recovered_cut_bytes == 0
    assert contents(again) == numbers(50)
    assert again.recovery_point == 0, "it is still the page cache that holds the records"
    assert again.append_as_leader(build_batch([Record(0, NOW, b"k", b"")], producer_id=3, producer_epoch=0, base_sequence=49), 0).duplicate
    append(again, 5)
    again.flush()
    assert again.recovery_point == 55


@pytest.mark.parametrize("tail", [b"\0" * 100, b"x", b"\xff" * 61, bytes(61) + b"\x01" * 400])
def test_a_torn_tail_is_cut(open_log: OpenLog, tail: bytes) -> None:
    log = open_log()
    append(log, 10)
    size = log.size_bytes
    log.abandon()
    path = log.directory / "00000000000000000000.log"
    path.write_bytes(path.read_bytes() + tail)
    for clean in (True, False):
        # Even a clean stop's marker is not believed against the file.
        copy = path.read_bytes()
        again = open_log(clean=clean)
        assert again.recovered_cut_bytes == len(tail)
        assert again.recovered and again.log_end_offset == 10 and path.stat().st_size == size
        again.abandon()
        path.write_bytes(copy)


@pytest.mark.parametrize("is_empty", [False, True])
def test_a_segment_that_lost_its_end_whole_batches_long_ends_the_log(open_log: OpenLog, is_empty: bool) -> None:
    """Found by wide seeds 300010 and 300026: the power took it, and left the next segment; the log went on behind a hole."""
    log = open_log(segment_bytes=1000)
    append(log, 50)
    second, third = (segment.base_offset for segment in log.segments()[1:3])
    log.abandon()
    path = log.directory / f"{second:020}.log"
    content = path.read_bytes()
    size = len(content) // (third - second)
    left = 0 if is_empty else third - second - 1
    for compacted_to in (0, second):
        saved = {one: one.read_bytes() for one in log.directory.iterdir()}
        path.write_bytes(content[: left * size])
        again = open_log(segment_bytes=1000, compacted_to=compacted_to)
        assert contents(again) == numbers(second + left) and again.log_end_offset == second + left
        assert again.recovered_cut_bytes > 0
        append(again, 3)
        assert contents(again) == numbers(second + left + 3)
        again.abandon()
        for one in log.directory.iterdir():
            one.unlink()
        for one, data in saved.items():
            one.write_bytes(data)


@pytest.mark.parametrize(
    ("compacted_to", "left_over"),
    [(None, None), (1_000, None), (0, "00000000000000000000.log.deleted"), (0, "00000000000000000000.log.cleaned")],
)
def test_a_gap_where_compaction_may_have_been_is_no_loss(open_log: OpenLog, compacted_to: int | None, left_over: str | None) -> None:
    log = open_log(segment_bytes=1000)
    append(log, 50)
    second, third = (segment.base_offset for segment in log.segments()[1:3])
    log.abandon()
    path = log.directory / f"{second:020}.log"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // (third - second)])
    if left_over is not None:
        (log.directory / left_over).touch()
    again = open_log(segment_bytes=1000, compacted_to=compacted_to)
    assert contents(again) == numbers(50)[: second + 1] + numbers(50)[third:] and again.recovered_cut_bytes == 0


def test_a_gap_that_was_too_wide_for_a_segment_is_no_loss(open_log: OpenLog) -> None:
    """A follower's copy of what its leader had compacted."""
    log = open_log()
    append(log, 3)
    far = 2**31 + 5
    log.append_as_follower(build_batch([Record(0, 1_000, None, b"far")], base_offset=far, leader_epoch=0))
    assert [segment.base_offset for segment in log.segments()] == [0, far]
    log.abandon()
    again = open_log(compacted_to=0)
    assert again.log_end_offset == far + 1 and again.recovered_cut_bytes == 0


@pytest.mark.parametrize("lost", range(1, 80, 13))
def test_half_a_batch_is_cut(open_log: OpenLog, lost: int) -> None:
    log = open_log()
    append(log, 10)
    log.abandon()
    path = log.directory / "00000000000000000000.log"
    content = path.read_bytes()
    path.write_bytes(content[:-lost])
    again = open_log()
    size = len(content) // 10
    remaining = 10 - (lost + size - 1) // size
    assert contents(again) == numbers(remaining)
    assert again.recovered_cut_bytes == len(content) - lost - remaining * size
    append(again, 3)
    assert contents(again) == numbers(remaining + 3)


def test_a_flipped_bit_ends_the_log_there(open_log: OpenLog) -> None:
    log = open_log(segment_bytes=1000, index_interval_bytes=200)
    append(log, 60, epoch=1)
    append(log, 60, epoch=2)
    log.abandon()
    base = log.segments()[1].base_offset
    path = log.directory / f"{base:020d}.log"
    content = bytearray(path.read_bytes())
    content[80] ^= 0xFF
    path.write_bytes(content)
    before = sum(path.stat().st_size for path in log.directory.glob("*.log"))
    again = open_log(segment_bytes=1000, index_interval_bytes=200)
    assert again.log_end_offset == base + 1
    assert contents(again) == numbers(base + 1)
    assert again.recovered_cut_bytes == before - again.size_bytes
    assert again.leader_epochs == [(1, 0)]
    assert len(list(log.directory.glob("*.log"))) == 2, "later segments are gone"
    assert all(int(path.name[:20]) <= base + 1 for path in log.directory.glob("*.snapshot"))


def test_below_the_recovery_point_nothing_is_validated(open_log: OpenLog) -> None:
    log = open_log(segment_bytes=1000)
    append(log, 60)
    log.flush()
    append(log, 3)
    log.abandon()
    path = log.directory / "00000000000000000000.log"
    content = bytearray(path.read_bytes())
    content[-1] ^= 0xFF
    path.write_bytes(content)
    again = open_log(segment_bytes=1000, recovery_point=60)
    assert again.log_end_offset == 63 and again.recovered_cut_bytes == 0
    again.abandon()
    assert open_log(segment_bytes=1000, recovery_point=0).log_end_offset < 20


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "nonsense", "zeros"])
@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_indexes_are_made_again(open_log: OpenLog, suffix: str, damage: str, clean: bool) -> None:
    settings = {"segment_bytes": 3000, "index_interval_bytes": 200}
    log = open_log(**settings)
    append(log, 100)
    log.close()
    good = files(log)
    for path in log.directory.glob(f"*{suffix}"):
        content = path.read_bytes()
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes({"empty": b"", "cut": content[:-3], "nonsense": b"\x7f" * len(content), "zeros": bytes(480)}[damage])
    again = open_log(clean=clean, **settings)
    assert contents(again) == numbers(100)
    assert [next(iter_records(again.read(offset, 1))).offset for offset in range(100)] == list(range(100))
    assert again.offset_for_timestamp(NOW + 50) == (NOW + 50, 50, 0)
    assert again.max_timestamp() == (NOW + 99, 99, 0)
    again.close()
    if damage not in ("empty", "zeros"):
        assert files(again) == good


def test_clean_close_and_open_change_nothing(open_log: OpenLog) -> None:
    log = open_log(segment_bytes=1000, index_interval_bytes=100)
    append(log, 30)
    log.close()
    before = files(log)
    assert set(before) >= {"00000000000000000030.snapshot", "leader-epoch-checkpoint", "00000000000000000000.timeindex"}
    again = open_log(clean=True, segment_bytes=1000, index_interval_bytes=100)
    assert not again.recovered and again.recovery_point == again.log_end_offset == 30
    again.close()
    assert files(again) == before


@pytest.mark.parametrize("damage", [None, b"", b"\0" * 50, b"\0\1" + bytes(100)])
def test_producers_are_known_whatever_became_of_the_snapshots(open_log: OpenLog, damage: bytes | None) -> None:
    log = open_log(segment_bytes=1000)
    append(log, 40)
    log.close()
    for path in log.directory.glob("*.snapshot"):
        if damage is None:
            path.unlink()
        else:
            path.write_bytes(damage)
    again = open_log(clean=True, segment_bytes=1000)
    (entry,) = again.producer_state.entries.values()
    assert (entry.producer_id, entry.last_sequence, entry.batches[-1].last_offset) == (3, 39, 39)


def test_epochs_whose_last_digits_are_lost_are_made_again(open_log: OpenLog) -> None:
    log = open_log()
    append(log, 17, epoch=0)
    append(log, 3, epoch=1)
    log.close()
    path = log.directory / "leader-epoch-checkpoint"
    assert path.read_bytes() == b"0\n2\n0 0\n1 17\n"
    # As a power cut leaves it, for it is not synced: epoch 1 would have begun at offset 1.
    path.write_bytes(b"0\n2\n0 0\n1 1")
    assert open_log().leader_epochs == [(0, 0), (1, 17)]


@pytest.mark.parametrize("damage", [None, b"nonsense", b"0\n1\n5 5\n3 1\n", b"0\n7\n1 0\n"])
def test_epochs_are_made_again_from_the_batches(open_log: OpenLog, damage: bytes | None) -> None:
    log = open_log(segment_bytes=1000)
    for epoch in range(4):
        append(log, 10, epoch=epoch)
    log.close()
    path = log.directory / "leader-epoch-checkpoint"
    good = path.read_bytes()
    assert good == b"0\n4\n0 0\n1 10\n2 20\n3 30\n"
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    again = open_log(clean=True, segment_bytes=1000)
    assert again.leader_epochs == [(epoch, epoch * 10) for epoch in range(4)]
    assert path.read_bytes() == good


def test_leftovers_are_removed(open_log: OpenLog) -> None:
    log = open_log()
    append(log, 3)
    log.close()
    kept = files(log)
    for name in (
        "00000000000000000000.log.deleted",
        "00000000000000000007.log.cleaned",
        "leader-epoch-checkpoint.tmp",
        "00000000000000000009.index",
        "00000000000000000009.timeindex",
        "00000000000000000099.snapshot",
        "00000000000000000002.snapshot",
    ):
        (log.directory / name).write_bytes(b"left")
    (log.directory / "quorum-state.tmp").write_bytes(b"not ours")
    (log.directory / "notes.txt").write_bytes(b"not ours")
    again = open_log(clean=True)
    assert again.log_end_offset == 3
    again.close()
    assert {name: content for name, content in files(again).items() if content != b"not ours"} == kept


def test_a_finished_cleaning_is_put_in_place(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log(segment_bytes=1000)
    append(log, 40)
    log.close()
    bases = [segment.base_offset for segment in log.segments()]
    cleaned = build_batch([Record(0, NOW, b"k", b"kept")], base_offset=bases[2] - 1)
    (log.directory / "00000000000000000000.log.swap").write_bytes(cleaned)
    again = open_log(clean=True, segment_bytes=1000)
    assert [segment.base_offset for segment in again.segments()] == [0, *bases[2:]]
    assert contents(again) == [b"kept", *numbers(40)[bases[2] :]]


def test_records_below_the_log_start_are_not_served_again(open_log: OpenLog) -> None:
    log = open_log()
    append(log, 5)
    log.close()
    again = open_log(clean=True, log_start_offset=100)
    assert (again.log_start_offset, again.log_end_offset, again.size_bytes) == (100, 100, 0)


def test_two_lives_of_one_directory_do_not_mix(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    append(log, 5)
    log.close()
    copy = tmp_path / "copy"
    shutil.copytree(log.directory, copy)
    log = open_log(clean=True)
    append(log, 5)
    log.abandon()
    # A power cut took the new bytes but not the file's length.
    path = log.directory / "00000000000000000000.log"
    path.write_bytes((copy / path.name).read_bytes() + bytes(300))
    again = open_log(recovery_point=5)
    assert again.log_end_offset == 5 and again.recovered_cut_bytes == 300
    assert again.producer_state.entries[3].last_sequence == 4


def test_index_files_have_kafkas_bytes(open_log: OpenLog) -> None:
    log = open_log(index_interval_bytes=100)
    append(log, 5)
    size = log.size_bytes // 5
    assert 50 < size < 100
    log.close()
    content = files(log)
    assert content["00000000000000000000.index"] == struct.pack(">iiii", 2, 2 * size, 4, 4 * size)
    assert content["00000000000000000000.timeindex"] == struct.pack(">qiqi", NOW + 2, 2, NOW + 4, 4)


def test_settings_do_not_outlive_the_log(open_log: OpenLog) -> None:
    log = open_log()
    log.config = LogConfig(segment_bytes=200)
    append(log, 10)
    assert log.segment_count == 5


def test_a_segment_without_producers_is_read_once(open_log: OpenLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_log()
    for number in range(40):
        log.append_as_leader(build_batch([Record(0, NOW + number, b"k", bytes(500))]), 0)
    log.abandon()
    taken = 0
    read = OpenableFile.read

    def counted(file: OpenableFile, position: int, size: int) -> bytes:
        nonlocal taken
        data = read(file, position, size)
        taken += len(data)
        return data

    monkeypatch.setattr(OpenableFile, "read", counted)
    again = open_log()
    assert again.log_end_offset == 40 and again.recovered
    # The end is looked at once more, to append there.
    assert again.size_bytes <= taken < 1.5 * again.size_bytes


def test_producers_among_batches_without_are_found_again(open_log: OpenLog) -> None:
    log = open_log(segment_bytes=1000)
    for number in range(60):
        named = {"producer_id": 3, "producer_epoch": 0, "base_sequence": 0} if number == 41 else {}
        log.append_as_leader(build_batch([Record(0, NOW + number, b"k", b"v")], **named), 0)
    log.abandon()
    again = open_log(segment_bytes=1000)
    assert again.segment_count > 3
    repeated = again.append_as_leader(build_batch([Record(0, NOW, b"k", b"v")], producer_id=3, producer_epoch=0, base_sequence=0), 0)
    assert repeated.duplicate and repeated.first_offset == 41
