"""DescribeQuorum: the voters and observers, how far each is and where it listens (KIP-595, KIP-836, KIP-853)."""

from __future__ import annotations

from typing import Any, Protocol

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.time import Clock
from kafkalab.engine.raft import messages
from kafkalab.engine.raft.states import LeaderState, ReplicaProgress, State
from kafkalab.engine.raft.voters import ReplicaKey, VoterSet


class DescribedMember(Protocol):
    """The member that is asked."""

    @property
    def state(self) -> State: ...

    @property
    def high_watermark(self) -> int: ...

    @property
    def log_end_offset(self) -> int: ...

    @property
    def voter_set(self) -> VoterSet: ...


def describe_quorum(member: DescribedMember, request: Any, *, local: ReplicaKey, clock: Clock) -> messages.Body:
    """Answer it; the leader alone knows. Directories are told of voters only where the log names them."""
    if messages.only_partition(request) is None:
        return _no_such_log(request)
    state = member.state
    if not isinstance(state, LeaderState):
        return messages.describe_quorum_response(Errors.NOT_LEADER_OR_FOLLOWER, leader_id=state.leader_id, epoch=state.epoch)
    wall_ms = clock.wall_ms()
    state.forget_silent_observers(clock.now_ms())
    own_voter = member.voter_set.get(local.id) if state.is_voter else None
    own = {
        "replica_id": local.id,
        "replica_directory_id": own_voter.key.directory_id if own_voter is not None else local.directory_id,
        "log_end_offset": member.log_end_offset,
        "last_fetch_timestamp": wall_ms,
        "last_caught_up_timestamp": wall_ms,
    }
    voters = [_replica(ReplicaKey(one, progress.voter_directory_id), progress) for one, progress in state.voters.items()]
    observers = [_replica(key, progress) for key, progress in state.observers.items()]
    (voters if state.is_voter else observers).append(own)
    return messages.describe_quorum_response(
        Errors.NONE,
        leader_id=state.leader_id,
        epoch=state.epoch,
        high_watermark=member.high_watermark,
        voters=sorted(voters, key=_by_id),
        observers=sorted(observers, key=_by_id),
        nodes=[
            {
                "node_id": voter.key.id,
                "listeners": [{"name": name, "host": host, "port": port} for name, (host, port) in voter.endpoints.items()],
            }
            for voter in member.voter_set
        ],
    )


def _no_such_log(request: Any) -> messages.Body:
    """Refuse every partition that was asked for."""
    nothing = {"leader_id": 0, "leader_epoch": 0, "high_watermark": 0, "current_voters": [], "observers": []}
    error = {"error_code": Errors.UNKNOWN_TOPIC_OR_PARTITION, "error_message": "This server does not host this topic-partition."}
    topics = [
        {
            "topic_name": topic.topic_name,
            "partitions": [{"partition_index": one.partition_index, **error, **nothing} for one in topic.partitions],
        }
        for topic in request.topics
    ]
    return {"error_code": Errors.NONE, "error_message": None, "topics": topics, "nodes": []}


def _by_id(replica: messages.Body) -> int:
    return int(replica["replica_id"])


def _replica(key: ReplicaKey, progress: ReplicaProgress) -> messages.Body:
    return {
        "replica_id": key.id,
        "replica_directory_id": key.directory_id,
        "log_end_offset": progress.end_offset,
        "last_fetch_timestamp": progress.last_fetch_wall_ms,
        "last_caught_up_timestamp": progress.last_caught_up_wall_ms,
    }
