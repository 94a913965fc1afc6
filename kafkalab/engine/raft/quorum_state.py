"""What a member must not forget: its epoch, its vote, its leader.

Kept in ``quorum-state`` beside the metadata log, one line of JSON in Kafka's form: version 0 for a
static quorum, version 1, which knows the disks of voters, once kraft.version is 1. A vote is on disk
before it is told to anybody: forgotten votes elect two leaders.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from kafkalab.engine.common.ids import ZERO_UUID, uuid_from_text, uuid_to_text
from kafkalab.engine.log.storage import Storage, StorageError

QUORUM_STATE_FILE: Final = "quorum-state"
_SIZE_BYTES_MAX: Final = 1_000_000
_NONE: Final = -1


class QuorumStateError(Exception):
    """The quorum-state file does not say what it must; the sentence names file and fault."""


@dataclass(frozen=True, slots=True)
class ElectionState:
    """An epoch, who leads it, and whom this member voted for; -1 and None where nobody."""

    epoch: int = 0
    leader_id: int = _NONE
    voted_id: int | None = None
    voted_directory_id: uuid.UUID | None = None
    """The disk of whom it voted for; kept with kraft.version 1 only."""
    kraft_version: int = 0
    """Which form the file has."""


class QuorumStateStore(Protocol):
    """Where the election state survives a crash."""

    def read(self) -> ElectionState | None:
        """What was written last, or None when nothing ever was.

        :raises QuorumStateError: when it cannot be understood.
        :raises StorageError: when it cannot be read.
        """

    def write(self, state: ElectionState) -> None:
        """Replace it; on disk when this returns.

        :raises StorageError: when it may not be there; which of the two a later life finds is open.
        """


def encode_quorum_state(state: ElectionState, voters: Collection[int]) -> str:
    """The file's text."""
    voted_id = _NONE if state.voted_id is None else state.voted_id
    fields: dict[str, Any]
    if state.kraft_version == 0:
        fields = {
            "clusterId": "",
            "leaderId": state.leader_id,
            "leaderEpoch": state.epoch,
            "votedId": voted_id,
            "appliedOffset": 0,
            "currentVoters": [{"voterId": voter_id} for voter_id in sorted(voters)],
            "data_version": 0,
        }
    else:
        fields = {
            "leaderId": state.leader_id,
            "leaderEpoch": state.epoch,
            "votedId": voted_id,
            "votedDirectoryId": uuid_to_text(state.voted_directory_id or ZERO_UUID),
            "data_version": 1,
        }
    return json.dumps(fields, separators=(",", ":"))


def decode_quorum_state(text: str, source: str = QUORUM_STATE_FILE) -> ElectionState:
    """Read the file's text, of either version that Kafka writes.

    :raises QuorumStateError: naming the source.
    """
    try:
        fields: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise QuorumStateError(f"{source} is not valid JSON: {error}") from None
    if not isinstance(fields, dict):
        raise QuorumStateError(f"{source} is no JSON object")
    if fields.get("data_version") not in (0, 1):
        raise QuorumStateError(f"{source} has data_version {fields.get('data_version')!r}; 0 and 1 are known")

    def number(name: str, low: int) -> int:
        value = fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value < 2**31:
            raise QuorumStateError(f"{source} has {name} = {value!r}, a number of at least {low} is needed")
        return value

    epoch, leader_id, voted_id = number("leaderEpoch", 0), number("leaderId", _NONE), number("votedId", _NONE)
    directory_id = None
    if fields["data_version"] == 1 and voted_id != _NONE:
        try:
            directory_id = uuid_from_text(fields.get("votedDirectoryId", uuid_to_text(ZERO_UUID)))
        except (ValueError, TypeError):
            raise QuorumStateError(f"{source} has votedDirectoryId = {fields.get('votedDirectoryId')!r}, which is no id") from None
    return ElectionState(
        epoch,
        leader_id,
        None if voted_id == _NONE else voted_id,
        None if directory_id == ZERO_UUID else directory_id,
        fields["data_version"],
    )


class FileQuorumStateStore:
    """The file ``quorum-state`` in the metadata log's directory. ``voters`` are written along for people to read."""

    def __init__(self, storage: Storage, directory: Path, voters: Collection[int] = ()) -> None:
        self._storage = storage
        self._directory = directory
        self._path = directory / QUORUM_STATE_FILE
        self._voters = tuple(voters)
        self._is_directory_certain = False

    def read(self) -> ElectionState | None:
        try:
            # Asked first: of a disk that is gone every file is said not to be there.
            if not self._storage.exists(self._path):
                return None
            size = self._storage.size(self._path)
            if size > _SIZE_BYTES_MAX:
                raise QuorumStateError(f"{self._path} has {size} bytes, which no quorum-state has")
            text = self._storage.read(self._path).decode()
        except OSError as error:
            raise StorageError(f"{self._path} cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError:
            raise QuorumStateError(f"{self._path} is not text") from None
        return decode_quorum_state(text, str(self._path))

    def write(self, state: ElectionState) -> None:
        try:
            self._storage.make_dirs(self._directory)
            self._storage.replace(self._path, encode_quorum_state(state, self._voters).encode())
            if not self._is_directory_certain:
                # The first vote may come before the log has anything to sync, its directory's name included.
                self._storage.sync_dir(self._directory.parent)
                self._is_directory_certain = True
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {error.strerror or error}") from error


class MemoryQuorumStateStore:
    """For tests: what survives a restart of the node that is handed it again."""

    def __init__(self, state: ElectionState | None = None) -> None:
        self.state = state

    def read(self) -> ElectionState | None:
        return self.state

    def write(self, state: ElectionState) -> None:
        self.state = state
