"""In which version a metadata record is written, given the cluster's ``metadata.version``.

Records are read by every node of the cluster, and an older node does not know a newer version. The
thresholds are Kafka's (kafka-features; KIP-631, KIP-858, KIP-966, KIP-1066).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from kafkalab.engine.protocol.metadata_records import (
    BrokerRegistrationChangeRecord,
    MetadataRecord,
    PartitionChangeRecord,
    PartitionRecord,
    RegisterBrokerRecord,
    encode_record,
)

# (metadata.version from which on, version of the record), newest first; 0 before all of them.
_FROM: Final[Mapping[type[MetadataRecord], tuple[tuple[int, int], ...]]] = MappingProxyType(
    {
        RegisterBrokerRecord: ((30, 4), (17, 3), (8, 2), (7, 1)),
        BrokerRegistrationChangeRecord: ((30, 3), (17, 2), (7, 1)),
        PartitionRecord: ((23, 2), (17, 1)),
        PartitionChangeRecord: ((23, 2), (17, 1)),
    }
)


def record_version(kind: type[MetadataRecord], metadata_version: int) -> int:
    """The newest version that all nodes of such a cluster read."""
    for since, version in _FROM.get(kind, ()):
        if metadata_version >= since:
            return version
    return 0


def encode_for(record: MetadataRecord, metadata_version: int) -> bytes:
    """A record's value; fields that the version lacks are left out."""
    return encode_record(record, record_version(type(record), metadata_version))
