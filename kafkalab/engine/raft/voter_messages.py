"""Bodies of the requests with which voters are added, removed and changed, and of their responses (KIP-853)."""

from __future__ import annotations

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.raft.messages import Body, listeners
from kafkalab.engine.raft.voters import Address, ReplicaKey, Voter


def add_request(cluster_id: str | None, voter: Voter, *, timeout_ms: int) -> Body:
    """AddRaftVoter by the one that wants to vote; it is content with the leader having appended it."""
    return {
        "cluster_id": cluster_id,
        "timeout": timeout_ms,
        "voter_id": voter.key.id,
        "voter_directory_id": voter.key.directory_id,
        "listeners": listeners(voter.endpoints),
        "ack_when_committed": False,
    }


def remove_request(cluster_id: str | None, key: ReplicaKey) -> Body:
    """RemoveRaftVoter."""
    return {"cluster_id": cluster_id, "voter_id": key.id, "voter_directory_id": key.directory_id}


def update_request(cluster_id: str | None, voter: Voter, *, epoch: int) -> Body:
    """UpdateRaftVoter by the voter itself."""
    return {
        "cluster_id": cluster_id,
        "current_leader_epoch": epoch,
        "voter_id": voter.key.id,
        "voter_directory_id": voter.key.directory_id,
        "listeners": listeners(voter.endpoints),
        "k_raft_version_feature": {"min_supported_version": voter.min_version, "max_supported_version": voter.max_version},
    }


def voter_response(error: Errors, message: str | None = None) -> Body:
    """The answer to AddRaftVoter and RemoveRaftVoter."""
    return {"throttle_time": 0, "error_code": error, "error_message": message}


def update_response(error: Errors, leader_id: int, epoch: int, address: Address | None) -> Body:
    """The answer to UpdateRaftVoter, which says who leads."""
    host, port = ("", 0) if address is None else address
    return {
        "throttle_time": 0,
        "error_code": error,
        "current_leader": {"leader_id": leader_id, "leader_epoch": epoch, "host": host, "port": port},
    }
