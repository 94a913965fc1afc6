"""Offsets of a partition's replicas: each broker tells its own at its own time, and they have to agree on show."""

from __future__ import annotations

from kafkalab.ui.model.things import Partition


def refresh_lags(partition: Partition, *, leader_is_gone: bool) -> None:
    """Set right what only seems so because one sample is older than another, and count how far each replica is behind."""
    leader = partition.leader_replica
    if leader is not None and not leader_is_gone:
        # A follower is never ahead of its leader: where it seems so, the leader's sample is the older one.
        epoch = partition.leader_epoch
        for one in partition.replicas.values():
            # One that does not know of this epoch yet may still have records that it will cut off.
            if one.node_id in partition.isr and not 0 <= one.leader_epoch < epoch:
                leader.log_end_offset = max(leader.log_end_offset, one.log_end_offset)
    for node_id in partition.elr:
        eligible = partition.replicas.get(node_id)
        if eligible is not None and eligible.log_end_offset >= 0:
            # It has every committed record: where it seems to lack some, its last sample came before them.
            eligible.log_end_offset = max(eligible.log_end_offset, partition.high_watermark)
    end = partition.log_end_offset
    for replica in partition.replicas.values():
        replica.lag = max(end - replica.log_end_offset, 0) if replica.log_end_offset >= 0 else max(end, 0)
