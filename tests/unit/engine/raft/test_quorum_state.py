"""The file that remembers votes."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path

import pytest

from kafkalab.engine.faults.disk import DiskFault, DiskFaultKind
from kafkalab.engine.log.faulty_storage import FaultyStorage
from kafkalab.engine.log.storage import FileStorage, StorageError
from kafkalab.engine.raft import ElectionState, FileQuorumStateStore, QuorumStateError
from kafkalab.engine.raft.quorum_state import QUORUM_STATE_FILE, decode_quorum_state


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = FileQuorumStateStore(FileStorage(), tmp_path / "__cluster_metadata-0", (101, 102, 103))
    assert store.read() is None
    for state in (ElectionState(3, -1, 102), ElectionState(3, 101, 102), ElectionState(4, -1, None)):
        store.write(state)
        assert store.read() == state
    assert [path.name for path in (tmp_path / "__cluster_metadata-0").iterdir()] == [QUORUM_STATE_FILE]


def test_the_form_is_kafkas(tmp_path: Path) -> None:
    FileQuorumStateStore(FileStorage(), tmp_path, (1,)).write(ElectionState(2, 1, 1))
    assert json.loads((tmp_path / QUORUM_STATE_FILE).read_text()) == {
        "clusterId": "",
        "leaderId": 1,
        "leaderEpoch": 2,
        "votedId": 1,
        "appliedOffset": 0,
        "currentVoters": [{"voterId": 1}],
        "data_version": 0,
    }
    newer = '{"leaderId":3,"leaderEpoch":9,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}'
    assert decode_quorum_state(newer) == ElectionState(9, 3, None, None, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"data_version":2}',
        '{"data_version":0,"leaderId":"x","leaderEpoch":1,"votedId":1}',
        '{"data_version":0,"leaderId":1,"leaderEpoch":-1,"votedId":1}',
        '{"data_version":0,"leaderId":1,"leaderEpoch":true,"votedId":1}',
        '{"data_version":0,"leaderId":1,"leaderEpoch":99999999999,"votedId":1}',
        "[" * 100_000,
    ],
)
def test_nonsense_is_refused_and_the_file_named(tmp_path: Path, text: str) -> None:
    (tmp_path / QUORUM_STATE_FILE).write_text(text)
    with pytest.raises(QuorumStateError, match=QUORUM_STATE_FILE):
        FileQuorumStateStore(FileStorage(), tmp_path).read()


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / QUORUM_STATE_FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(QuorumStateError, match="is not text"):
        FileQuorumStateStore(FileStorage(), tmp_path).read()


def test_the_newer_form_remembers_the_disk_of_the_one_voted_for(tmp_path: Path) -> None:
    directory_id = uuid.UUID(int=77)
    state = ElectionState(5, -1, 102, directory_id, 1)
    FileQuorumStateStore(FileStorage(), tmp_path).write(state)
    assert json.loads((tmp_path / QUORUM_STATE_FILE).read_text()) == {
        "leaderId": -1,
        "leaderEpoch": 5,
        "votedId": 102,
        "votedDirectoryId": "AAAAAAAAAAAAAAAAAAAATQ",
        "data_version": 1,
    }
    assert FileQuorumStateStore(FileStorage(), tmp_path).read() == state
    broken = '{"leaderId":3,"leaderEpoch":9,"votedId":1,"votedDirectoryId":"x","data_version":1}'
    with pytest.raises(QuorumStateError, match="votedDirectoryId = 'x', which is no id"):
        decode_quorum_state(broken)


def test_a_file_that_is_far_too_large_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / QUORUM_STATE_FILE).write_bytes(b" " * 1_000_001)
    with pytest.raises(QuorumStateError, match="has 1000001 bytes"):
        FileQuorumStateStore(FileStorage(), tmp_path).read()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (DiskFaultKind.FULL, "No space left on device"),
        (DiskFaultKind.BROKEN, "Input/output error"),
        (DiskFaultKind.READ_ONLY, "Read-only file system"),
        (DiskFaultKind.VANISHED, "No such file or directory"),
    ],
)
def test_what_the_disk_refuses_is_told_with_the_files_name(tmp_path: Path, kind: DiskFaultKind, reason: str) -> None:
    storage = FaultyStorage()
    store = FileQuorumStateStore(storage, tmp_path)
    store.write(ElectionState(3, -1, 102))
    storage.set_faults([DiskFault(kind, str(tmp_path))])
    with pytest.raises(StorageError, match=f"{QUORUM_STATE_FILE} cannot be written: {re.escape(reason)}"):
        store.write(ElectionState(4, -1, 101))
    if kind in (DiskFaultKind.BROKEN, DiskFaultKind.VANISHED):
        # A disk that is not there has forgotten nothing.
        with pytest.raises(StorageError, match=f"{QUORUM_STATE_FILE} cannot be read"):
            store.read()
    storage.set_faults([])
    assert store.read() == ElectionState(3, -1, 102)


def test_the_first_vote_outlasts_a_power_cut_before_the_log_has_synced_anything(tmp_path: Path) -> None:
    storage = FaultyStorage()
    directory = tmp_path / "__cluster_metadata-0"
    storage.make_dirs(directory)
    FileQuorumStateStore(storage, directory).write(ElectionState(1, -1, 102))
    storage.lose_unsynced()
    assert FileQuorumStateStore(FaultyStorage(), directory).read() == ElectionState(1, -1, 102)
