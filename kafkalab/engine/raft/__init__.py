"""The metadata quorum: Kafka's Raft with static voters."""

from kafkalab.engine.raft.config import RaftConfig
from kafkalab.engine.raft.listener import CommittedBatch, CommittedSnapshot, RaftListener
from kafkalab.engine.raft.node import RaftNode
from kafkalab.engine.raft.quorum_state import (
    ElectionState,
    FileQuorumStateStore,
    MemoryQuorumStateStore,
    QuorumStateError,
    QuorumStateStore,
)
from kafkalab.engine.raft.states import VALID_NEXT, RaftState

__all__ = [
    "VALID_NEXT",
    "CommittedBatch",
    "CommittedSnapshot",
    "ElectionState",
    "FileQuorumStateStore",
    "MemoryQuorumStateStore",
    "QuorumStateError",
    "QuorumStateStore",
    "RaftConfig",
    "RaftListener",
    "RaftNode",
    "RaftState",
]
