"""Who leads a partition, and who is in its ISR, when brokers come and go.

A leader must be active: unfenced and not shutting down. A leader that still is one stays. Else the
first replica in order of assignment that is in the ISR leads; else, where the topic allows an
unclean election, the first active replica, with an ISR of itself alone and its log declared
recovering; else nobody. The ISR never becomes empty: its last member stays in it while it is away,
because it alone is known to have every committed record. Controllers of Apache Kafka let it become
empty and write such members down as eligible leader replicas; in a directory of theirs one of those leads.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Final

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.metadata.image import CONFIG_BROKER, MetadataImage, PartitionRegistration, TopicImage
from kafkalab.engine.protocol.metadata_records import (
    DIRECTORY_UNASSIGNED,
    LEADER_RECOVERED,
    LEADER_RECOVERING,
    LEADER_UNCHANGED,
    NO_LEADER,
    PartitionChangeRecord,
)

IMBALANCED_PER_PASS_MAX: Final = 1_000
UNCLEAN_ELECTION: Final = "unclean.leader.election.enable"


def partition_change(
    topic_id: uuid.UUID,
    partition_id: int,
    partition: PartitionRegistration,
    *,
    is_acceptable: Callable[[int], bool],
    target_isr: tuple[int, ...] | None = None,
    unclean: bool = False,
    prefer_first: bool = False,
    recovery_state: int | None = None,
    directories: tuple[uuid.UUID, ...] | None = None,
) -> PartitionChangeRecord | None:
    """The record that gives a partition its target ISR and an acceptable leader; None when all is well.

    :param is_acceptable: whether a broker may lead.
    :param target_isr: the ISR to have; the present one without.
    :param unclean: whether a replica outside the ISR may lead when none inside it can.
    :param prefer_first: move leadership to the first replica if that may lead.
    :param recovery_state: what the leader says of its recovery, if it said something.
    :param directories: where the replicas are, in their order; as it is without.
    """
    isr = partition.isr if target_isr is None else target_isr
    eligible = isr or partition.eligible_leader_replicas

    def may_lead(broker_id: int) -> bool:
        return broker_id in eligible and is_acceptable(broker_id)

    was_unclean = False
    if prefer_first and may_lead(partition.replicas[0]):
        leader = partition.replicas[0]
    elif may_lead(partition.leader):
        leader = partition.leader
    else:
        leader = next((replica for replica in partition.replicas if may_lead(replica)), NO_LEADER)
        if leader == NO_LEADER and unclean:
            leader = next((replica for replica in partition.replicas if is_acceptable(replica)), NO_LEADER)
            was_unclean = leader != NO_LEADER

    state = partition.leader_recovery_state if recovery_state is None else recovery_state
    if was_unclean:
        isr, state = (leader,), LEADER_RECOVERING
    elif leader != NO_LEADER and not isr:
        isr = (leader,)
    # With a leader there is an ISR again, and that is enough to choose the next one from.
    settles = leader != NO_LEADER and bool(partition.eligible_leader_replicas or partition.last_known_elr)
    record = PartitionChangeRecord(
        partition_id=partition_id,
        topic_id=topic_id,
        isr=isr if isr and isr != partition.isr else None,
        leader=leader if leader != partition.leader else LEADER_UNCHANGED,
        leader_recovery_state=state if state != partition.leader_recovery_state else -1,
        directories=directories if directories is not None and directories != partition.directories else None,
        eligible_leader_replicas=() if settles and partition.eligible_leader_replicas else None,
        last_known_elr=() if settles and partition.last_known_elr else None,
    )
    is_no_op = record.isr is None and record.leader == LEADER_UNCHANGED and record.leader_recovery_state < 0 and record.directories is None
    return None if is_no_op else record


class Elections:
    """Partition changes that follow from what happens to brokers, computed from the committed image."""

    def __init__(self, image: MetadataImage, config: BrokerConfig) -> None:
        self._image = image
        self._config = config

    def is_active(self, broker_id: int) -> bool:
        """Whether a broker may lead and be in an ISR."""
        broker = self._image.brokers.get(broker_id)
        return broker is not None and broker.is_active

    def may_lead(self, partition: PartitionRegistration, *, but: int = NO_LEADER, also: int = NO_LEADER) -> Callable[[int], bool]:
        """Whether a broker may lead this partition: active, with its replica in a directory that can be used.

        :param but: a broker that may not, whatever it looks like.
        :param also: a broker that is about to become active.
        """

        def is_acceptable(broker_id: int) -> bool:
            if broker_id == but or not (broker_id == also or self.is_active(broker_id)):
                return False
            broker = self._image.brokers.get(broker_id)
            return broker is not None and broker.has_online_directory(partition.directory_of(broker_id))

        return is_acceptable

    def unclean_allowed(self, topic_name: str) -> bool:
        """Whether losing records is better than having no leader, for this topic."""
        text = self._image.topic_config(topic_name).get(UNCLEAN_ELECTION) or self._image.config(CONFIG_BROKER, "").get(UNCLEAN_ELECTION)
        return self._config.get_boolean(UNCLEAN_ELECTION) if text is None else text.strip().lower() == "true"

    def without(self, broker_id: int) -> list[PartitionChangeRecord]:
        """Changes that take a broker out of every ISR and every leadership, as far as possible."""
        return self._without(broker_id, lambda partition: True)

    def without_directories(self, broker_id: int, directories: Collection[uuid.UUID]) -> list[PartitionChangeRecord]:
        """Changes that take a broker's replicas in these directories out of every ISR and every leadership, as far as possible."""
        return self._without(broker_id, lambda partition: partition.directory_of(broker_id) in directories)

    def _without(self, broker_id: int, is_concerned: Callable[[PartitionRegistration], bool]) -> list[PartitionChangeRecord]:
        records = []
        for topic, partition_id, partition in self._partitions_of(broker_id):
            if (broker_id not in partition.isr and partition.leader != broker_id) or not is_concerned(partition):
                continue
            record = partition_change(
                topic.topic_id,
                partition_id,
                partition,
                is_acceptable=self.may_lead(partition, but=broker_id),
                target_isr=tuple(member for member in partition.isr if member != broker_id),
                unclean=self.unclean_allowed(topic.name),
            )
            if record is not None:
                records.append(record)
        return records

    def with_unfenced(self, broker_id: int) -> list[PartitionChangeRecord]:
        """Changes that give a leader to partitions that waited for this broker."""
        records = []
        for topic, partition_id, partition in self._partitions_of(broker_id):
            if partition.leader == NO_LEADER:
                unclean = self.unclean_allowed(topic.name)
                is_acceptable = self.may_lead(partition, also=broker_id)
                record = partition_change(topic.topic_id, partition_id, partition, is_acceptable=is_acceptable, unclean=unclean)
                if record is not None:
                    records.append(record)
        return records

    def toward_preferred(self) -> list[PartitionChangeRecord]:
        """Changes that give leadership back to first replicas that may have it, a bounded number of them."""
        records = []
        for topic in self._image.topics_by_id.values():
            for partition_id, partition in topic.partitions.items():
                if partition.leader == partition.replicas[0]:
                    continue
                is_acceptable = self.may_lead(partition)
                record = partition_change(topic.topic_id, partition_id, partition, is_acceptable=is_acceptable, prefer_first=True)
                if record is not None and record.leader == partition.replicas[0]:
                    records.append(record)
                    if len(records) == IMBALANCED_PER_PASS_MAX:
                        return records
        return records

    def of_leaderless(self) -> list[PartitionChangeRecord]:
        """Changes that give a leader to partitions that have none, where the topic allows an unclean one."""
        records = []
        for topic in self._image.topics_by_id.values():
            if not self.unclean_allowed(topic.name):
                continue
            for partition_id, partition in topic.partitions.items():
                if partition.leader == NO_LEADER:
                    record = partition_change(topic.topic_id, partition_id, partition, is_acceptable=self.may_lead(partition), unclean=True)
                    if record is not None:
                        records.append(record)
        return records

    def with_directory(
        self, topic: TopicImage, partition_id: int, partition: PartitionRegistration, broker_id: int, directory: uuid.UUID
    ) -> PartitionChangeRecord | None:
        """The change that records where a broker has its replica; one that can be used now may lead at once."""
        known = partition.directories or (DIRECTORY_UNASSIGNED,) * len(partition.replicas)
        directories = tuple(directory if replica == broker_id else old for replica, old in zip(partition.replicas, known, strict=True))
        moved = replace(partition, directories=directories)
        return partition_change(
            topic.topic_id,
            partition_id,
            partition,
            is_acceptable=self.may_lead(moved),
            unclean=self.unclean_allowed(topic.name),
            directories=directories,
        )

    def leads_anything(self, broker_id: int) -> bool:
        """Whether a broker leads a partition."""
        return any(partition.leader == broker_id for _, _, partition in self._partitions_of(broker_id))

    def _partitions_of(self, broker_id: int) -> Iterable[tuple[TopicImage, int, PartitionRegistration]]:
        """A broker's partitions in the order of the topics' creation: the same on every run."""
        found = [(self._image.topics_by_id[topic_id], partition_id) for topic_id, partition_id in self._image.replicas_of(broker_id)]
        found.sort(key=lambda row: (row[0].created_offset, row[1]))
        return ((topic, partition_id, topic.partitions[partition_id]) for topic, partition_id in found)


__all__ = ["IMBALANCED_PER_PASS_MAX", "LEADER_RECOVERED", "UNCLEAN_ELECTION", "Elections", "partition_change"]
