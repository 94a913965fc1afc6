"""What trouble costs: records lost, writes refused, writes that wait. Counted from the same things that views show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.ui.model.faults import CLIENTS, Faults
from kafkalab.ui.model.things import Partition, Topic


def below_min_isr(topics: Mapping[str, Topic], partitions: Iterable[TopicPartition]) -> int:
    """How many of these have too few replicas in sync for acks=all."""
    count = 0
    for tp in partitions:
        topic = topics[tp.topic]
        partition = topic.partitions[tp.partition]
        count += len(partition.isr) < min(topic.min_insync_replicas, len(partition.replica_ids))
    return count


def waiting_for_the_cut_off(topics: Mapping[str, Topic], hosted: Mapping[int, set[TopicPartition]], faults: Faults) -> int:
    """How many partitions have a leader that is cut off from one of those in sync: acks=all waits for it."""
    found: set[TopicPartition] = set()
    for link in faults.cuts:
        for tp in hosted.get(link.a, set()) & hosted.get(link.b, set()):
            partition = topics[tp.topic].partitions[tp.partition]
            if partition.serving_leader in (link.a, link.b) and {link.a, link.b} <= set(partition.isr):
                found.add(tp)
    return len(found)


def unreached(topics: Mapping[str, Topic], hosted: Mapping[int, set[TopicPartition]], faults: Faults) -> int:
    """How many partitions are led by a broker that is cut off from all clients."""
    found = [node_id for node_id in hosted if faults.is_cut(node_id, CLIENTS)]
    return sum(topics[tp.topic].partitions[tp.partition].serving_leader == node_id for node_id in found for tp in hosted[node_id])


def could_lead(topics: Mapping[str, Topic], leaderless: Iterable[TopicPartition]) -> Counter[int]:
    """How many of the partitions that nobody leads each broker could lead without a loss if it was back."""
    found: Counter[int] = Counter()
    for tp in leaderless:
        partition = topics[tp.topic].partitions[tp.partition]
        found.update({*partition.isr, *partition.elr} or partition.last_known_elr)
    return found


def lost_records(partition: Partition, new_leader: int) -> int:
    """Committed records that a new leader does not have, by what was told last; -1 where that is not known."""
    replica = partition.replicas.get(new_leader)
    if replica is None or replica.log_end_offset < 0:
        return -1
    committed = max((one.high_watermark for one in partition.replicas.values()), default=-1)
    return max(committed - replica.log_end_offset, 0) if committed >= 0 else -1


def cut_records(partition: Partition, node_id: int, from_offset: int, to_offset: int) -> int:
    """Committed records among those that a replica cut off its log: what it had up to its high watermark was committed."""
    replica = partition.replicas.get(node_id)
    committed = min(from_offset, replica.high_watermark) if replica is not None else -1
    return max(committed - to_offset, 0) if committed >= 0 else 0


def without_majority(leader_id: int, voters: Sequence[int], faults: Faults, gone: Container[int]) -> bool:
    """Whether a controller is cut off from so many voters that it cannot commit anything, whatever it still believes."""
    cut_off = faults.cut_off_from(leader_id, voters)
    if not cut_off:
        return False
    reached = [voter for voter in voters if voter not in cut_off and voter not in gone]
    return len(reached) <= len(voters) // 2
