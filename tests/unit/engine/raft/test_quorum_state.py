"""The file that remembers votes."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from kafkalab.engine.raft import ElectionState, FileQuorumStateStore, QuorumStateError
from kafkalab.engine.raft.quorum_state import QUORUM_STATE_FILE, decode_quorum_state


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = FileQuorumStateStore(tmp_path / "__cluster_metadata-0", (101, 102, 103))
    assert store.read() is None
    for state in (ElectionState(3, -1, 102), ElectionState(3, 101, 102), ElectionState(4, -1, None)):
        store.write(state)
        assert store.read() == state
    assert [path.name for path in (tmp_path / "__cluster_metadata-0").iterdir()] == [QUORUM_STATE_FILE]


def test_the_form_is_kafkas(tmp_path: Path) -> None:
    FileQuorumStateStore(tmp_path, (1,)).write(ElectionState(2, 1, 1))
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
        FileQuorumStateStore(tmp_path).read()


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / QUORUM_STATE_FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(QuorumStateError, match="is not text"):
        FileQuorumStateStore(tmp_path).read()


def test_the_newer_form_remembers_the_disk_of_the_one_voted_for(tmp_path: Path) -> None:
    directory_id = uuid.UUID(int=77)
    state = ElectionState(5, -1, 102, directory_id, 1)
    FileQuorumStateStore(tmp_path).write(state)
    assert json.loads((tmp_path / QUORUM_STATE_FILE).read_text()) == {
        "leaderId": -1,
        "leaderEpoch": 5,
        "votedId": 102,
        "votedDirectoryId": "AAAAAAAAAAAAAAAAAAAATQ",
        "data_version": 1,
    }
    assert FileQuorumStateStore(tmp_path).read() == state
    broken = '{"leaderId":3,"leaderEpoch":9,"votedId":1,"votedDirectoryId":"x","data_version":1}'
    with pytest.raises(QuorumStateError, match="votedDirectoryId = 'x', which is no id"):
        decode_quorum_state(broken)
