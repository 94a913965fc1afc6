"""Which replica a consumer reads from (KIP-392).

With Kafka's rack-aware selector a consumer that says where it stands is sent to a replica in its own
rack, if one there has what it wants; without, everybody reads from the leader.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kafkalab.engine.metadata.image import BrokerRegistration
    from kafkalab.engine.replica.remote import RemoteReplica

RACK_AWARE_SELECTOR: Final = "org.apache.kafka.common.replica.RackAwareReplicaSelector"


def nearest_by_rack(
    brokers: Mapping[int, BrokerRegistration], leader_id: int, rack: str, candidates: Iterable[RemoteReplica]
) -> int | None:
    """The follower in the rack that has most of the log; None when the leader is in the rack, or nobody is."""

    def stands_there(broker_id: int) -> bool:
        broker = brokers.get(broker_id)
        return broker is not None and not broker.fenced and broker.rack == rack

    if stands_there(leader_id):
        return None
    near = [replica for replica in candidates if stands_there(replica.broker_id)]
    if not near:
        return None
    return max(near, key=lambda replica: (replica.log_end_offset, replica.caught_up_at(), replica.broker_id)).broker_id
