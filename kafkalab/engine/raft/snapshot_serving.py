"""The leader's side of fetching a snapshot: gives out the bytes of what it named in a fetch's answer (KIP-630)."""

from __future__ import annotations

from typing import Any, Final, Protocol

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import METADATA_TOPIC
from kafkalab.engine.common.time import Clock
from kafkalab.engine.raft import messages
from kafkalab.engine.raft.config import RaftConfig
from kafkalab.engine.raft.snapshot_store import SnapshotId
from kafkalab.engine.raft.snapshotted_log import SnapshottedLog
from kafkalab.engine.raft.states import LeaderState, State, leader_refusal
from kafkalab.engine.raft.voters import Address, ReplicaKey

NO_SNAPSHOT: Final[messages.Body] = {"end_offset": 0, "epoch": 0}


class SnapshotOwner(Protocol):
    """The member that is asked."""

    @property
    def state(self) -> State: ...

    def leader_address(self) -> Address | None:
        """Where the leader listens, as far as known."""

    @property
    def is_serving(self) -> bool:
        """False when it is about to end."""


class SnapshotServer:
    """Answers FetchSnapshot."""

    def __init__(self, owner: SnapshotOwner, *, cluster_id: str | None, log: SnapshottedLog, clock: Clock, config: RaftConfig) -> None:
        self._owner = owner
        self._cluster_id = cluster_id
        self._log = log
        self._clock = clock
        self._config = config

    def handle(self, request: Any) -> messages.Body:
        """FetchSnapshot, versions 0 and 1."""
        if messages.is_foreign(request, self._cluster_id):
            return messages.top_level_error(Errors.INCONSISTENT_CLUSTER_ID)
        if len(request.topics) != 1 or len(request.topics[0].partitions) != 1:
            return messages.top_level_error(Errors.INVALID_REQUEST)
        topic, partition = request.topics[0], request.topics[0].partitions[0]
        if topic.name != METADATA_TOPIC or partition.partition != 0:
            return {
                "error_code": Errors.NONE,
                "topics": [{"name": topic.name, "partitions": [_partition(partition.partition, Errors.UNKNOWN_TOPIC_OR_PARTITION)]}],
            }
        error = leader_refusal(self._owner.state, partition.current_leader_epoch, is_serving=self._owner.is_serving)
        if error is not Errors.NONE:
            return self._answer(error)
        state = self._owner.state
        assert isinstance(state, LeaderState), "only a leader serves"
        snapshot_id = SnapshotId(epoch=partition.snapshot_id.epoch, end_offset=partition.snapshot_id.end_offset)
        max_bytes = max(1, min(request.max_bytes, self._config.fetch_snapshot_max_bytes))
        try:
            size, data = self._log.snapshot_chunk(snapshot_id, partition.position, max_bytes)
        except ApiError as refusal:
            return self._answer(refusal.error)
        # Version 0 does not tell the disk; where voters have one, that is nobody's.
        voter = state.voter(ReplicaKey.of(request.replica_id, getattr(partition, "replica_directory_id", None)))
        if voter is not None:
            # It follows, though it does not fetch the log meanwhile.
            voter.last_fetch_ms = self._clock.now_ms()
        return self._answer(
            Errors.NONE,
            snapshot_id={"end_offset": snapshot_id.end_offset, "epoch": snapshot_id.epoch},
            size=size,
            position=partition.position,
            unaligned_records=data,
        )

    def _answer(self, error: Errors, **fields: Any) -> messages.Body:
        state = self._owner.state
        fields["current_leader"] = {"leader_id": state.leader_id, "leader_epoch": state.epoch}
        return {
            "error_code": Errors.NONE,
            "topics": [{"name": METADATA_TOPIC, "partitions": [_partition(0, error, **fields)]}],
            "node_endpoints": messages.node_endpoints(state.leader_id, self._owner.leader_address()),
        }


def _partition(index: int, error: Errors, **fields: Any) -> messages.Body:
    return {
        "index": index,
        "error_code": error,
        "snapshot_id": NO_SNAPSHOT,
        "size": 0,
        "position": 0,
        "unaligned_records": b"",
        **fields,
    }
