"""The APIs that KafkaLab serves: their keys, versions, and where they are listened to.

The table is the one truth that ApiVersions answers from, that the router admits requests by, and
that the codec takes flexible versions from (https://kafka.apache.org/protocol#protocol_api_keys).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final


class ApiKey(IntEnum):
    """The number that opens every request."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    DESCRIBE_GROUPS = 15
    LIST_GROUPS = 16
    API_VERSIONS = 18
    CREATE_TOPICS = 19
    DELETE_TOPICS = 20
    DELETE_RECORDS = 21
    INIT_PRODUCER_ID = 22
    OFFSET_FOR_LEADER_EPOCH = 23
    DESCRIBE_CONFIGS = 32
    ALTER_CONFIGS = 33
    ALTER_REPLICA_LOG_DIRS = 34
    DESCRIBE_LOG_DIRS = 35
    CREATE_PARTITIONS = 37
    DELETE_GROUPS = 42
    ELECT_LEADERS = 43
    INCREMENTAL_ALTER_CONFIGS = 44
    ALTER_PARTITION_REASSIGNMENTS = 45
    LIST_PARTITION_REASSIGNMENTS = 46
    OFFSET_DELETE = 47
    DESCRIBE_CLIENT_QUOTAS = 48
    ALTER_CLIENT_QUOTAS = 49
    DESCRIBE_USER_SCRAM_CREDENTIALS = 50
    ALTER_USER_SCRAM_CREDENTIALS = 51
    VOTE = 52
    BEGIN_QUORUM_EPOCH = 53
    END_QUORUM_EPOCH = 54
    DESCRIBE_QUORUM = 55
    ALTER_PARTITION = 56
    UPDATE_FEATURES = 57
    ENVELOPE = 58
    FETCH_SNAPSHOT = 59
    DESCRIBE_CLUSTER = 60
    BROKER_REGISTRATION = 62
    BROKER_HEARTBEAT = 63
    UNREGISTER_BROKER = 64
    ALLOCATE_PRODUCER_IDS = 67
    CONTROLLER_REGISTRATION = 70
    ASSIGN_REPLICAS_TO_DIRS = 73
    LIST_CONFIG_RESOURCES = 74
    DESCRIBE_TOPIC_PARTITIONS = 75
    ADD_RAFT_VOTER = 80
    REMOVE_RAFT_VOTER = 81
    UPDATE_RAFT_VOTER = 82


@dataclass(frozen=True, slots=True)
class ApiSpec:
    """One API: the versions served, and from which on its messages are flexible (KIP-482)."""

    key: ApiKey
    name: str
    """As Kafka spells it, e.g. ``ListOffsets``."""
    min_version: int
    max_version: int
    flexible_from: int
    on_broker: bool
    on_controller: bool
    forwarded: bool
    """Sent on by a broker to the active controller (KIP-590)."""
    forwarded_as_is: bool
    """Sent on unread; otherwise the broker's handler looks at it first."""
    advertised_min_version: int


_B, _C, _BC = (True, False), (False, True), (True, True)
_NEVER: Final = 0x7FFF
"""Above every version: an API whose messages are flexible in none."""

# key: versions, flexible from, listeners, forwarded
_TABLE: Final[Mapping[ApiKey, tuple[int, int, int, tuple[bool, bool], bool]]] = {
    ApiKey.PRODUCE: (3, 13, 9, _B, False),
    ApiKey.FETCH: (4, 18, 12, _BC, False),
    ApiKey.LIST_OFFSETS: (1, 11, 6, _B, False),
    ApiKey.METADATA: (0, 13, 9, _B, False),
    ApiKey.OFFSET_COMMIT: (2, 10, 8, _B, False),
    ApiKey.OFFSET_FETCH: (1, 10, 6, _B, False),
    ApiKey.FIND_COORDINATOR: (0, 6, 3, _B, False),
    ApiKey.JOIN_GROUP: (0, 9, 6, _B, False),
    ApiKey.HEARTBEAT: (0, 4, 4, _B, False),
    ApiKey.LEAVE_GROUP: (0, 5, 4, _B, False),
    ApiKey.SYNC_GROUP: (0, 5, 4, _B, False),
    ApiKey.DESCRIBE_GROUPS: (0, 6, 5, _B, False),
    ApiKey.LIST_GROUPS: (0, 5, 3, _B, False),
    ApiKey.API_VERSIONS: (0, 4, 3, _BC, False),
    ApiKey.CREATE_TOPICS: (2, 7, 5, _BC, True),
    ApiKey.DELETE_TOPICS: (1, 6, 4, _BC, True),
    ApiKey.DELETE_RECORDS: (0, 2, 2, _B, False),
    # Version 6 is unstable in 4.3, and hidden there too.
    ApiKey.INIT_PRODUCER_ID: (0, 5, 2, _B, False),
    ApiKey.OFFSET_FOR_LEADER_EPOCH: (2, 4, 4, _B, False),
    ApiKey.DESCRIBE_CONFIGS: (1, 4, 4, _BC, False),
    ApiKey.ALTER_CONFIGS: (0, 2, 2, _BC, True),
    ApiKey.ALTER_REPLICA_LOG_DIRS: (1, 2, 2, _B, False),
    ApiKey.DESCRIBE_LOG_DIRS: (1, 5, 2, _B, False),
    ApiKey.CREATE_PARTITIONS: (0, 3, 2, _BC, True),
    ApiKey.DELETE_GROUPS: (0, 2, 2, _B, False),
    ApiKey.ELECT_LEADERS: (0, 2, 2, _BC, True),
    ApiKey.INCREMENTAL_ALTER_CONFIGS: (0, 1, 1, _BC, True),
    ApiKey.ALTER_PARTITION_REASSIGNMENTS: (0, 1, 0, _BC, True),
    ApiKey.LIST_PARTITION_REASSIGNMENTS: (0, 0, 0, _BC, True),
    ApiKey.OFFSET_DELETE: (0, 0, _NEVER, _B, False),
    ApiKey.DESCRIBE_CLIENT_QUOTAS: (0, 1, 1, _B, False),
    ApiKey.ALTER_CLIENT_QUOTAS: (0, 1, 1, _BC, True),
    ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS: (0, 0, 0, _B, False),
    ApiKey.ALTER_USER_SCRAM_CREDENTIALS: (0, 0, 0, _BC, True),
    ApiKey.VOTE: (0, 2, 0, _C, False),
    ApiKey.BEGIN_QUORUM_EPOCH: (0, 1, 1, _C, False),
    ApiKey.END_QUORUM_EPOCH: (0, 1, 1, _C, False),
    ApiKey.DESCRIBE_QUORUM: (0, 2, 0, _BC, True),
    ApiKey.ALTER_PARTITION: (2, 3, 0, _C, False),
    ApiKey.UPDATE_FEATURES: (0, 2, 0, _BC, True),
    ApiKey.ENVELOPE: (0, 0, 0, _C, False),
    ApiKey.FETCH_SNAPSHOT: (0, 1, 0, _C, False),
    ApiKey.DESCRIBE_CLUSTER: (0, 2, 0, _BC, False),
    ApiKey.BROKER_REGISTRATION: (0, 4, 0, _C, False),
    ApiKey.BROKER_HEARTBEAT: (0, 2, 0, _C, False),
    ApiKey.UNREGISTER_BROKER: (0, 0, 0, _BC, True),
    ApiKey.ALLOCATE_PRODUCER_IDS: (0, 0, 0, _C, False),
    ApiKey.CONTROLLER_REGISTRATION: (0, 0, 0, _C, False),
    ApiKey.ASSIGN_REPLICAS_TO_DIRS: (0, 0, 0, _C, False),
    ApiKey.LIST_CONFIG_RESOURCES: (0, 1, 0, _B, False),
    ApiKey.DESCRIBE_TOPIC_PARTITIONS: (0, 0, 0, _B, False),
    ApiKey.ADD_RAFT_VOTER: (0, 1, 0, _BC, True),
    ApiKey.REMOVE_RAFT_VOTER: (0, 0, 0, _BC, True),
    ApiKey.UPDATE_RAFT_VOTER: (0, 0, 0, _C, False),
}

# The broker checks what concerns itself, and passes on the rest in a request of its own.
_LOOKED_INTO: Final = frozenset({ApiKey.ALTER_CONFIGS, ApiKey.INCREMENTAL_ALTER_CONFIGS})


def _name(key: ApiKey) -> str:
    return "".join(word.capitalize() for word in key.name.split("_"))


API_SPECS: Final[Mapping[int, ApiSpec]] = MappingProxyType(
    {
        key: ApiSpec(
            key,
            _name(key),
            low,
            high,
            flexible_from,
            *listeners,
            forwarded,
            forwarded and key not in _LOOKED_INTO,
            # librdkafka takes a broker without Produce v0 for one that has no message format it knows (KAFKA-18659).
            0 if key is ApiKey.PRODUCE else low,
        )
        for key, (low, high, flexible_from, listeners, forwarded) in _TABLE.items()
    }
)


def served(*, on_controller: bool) -> list[ApiSpec]:
    """The APIs of one kind of listener, by key."""
    return [spec for spec in API_SPECS.values() if (spec.on_controller if on_controller else spec.on_broker)]
