"""Which partitions change when brokers come and go, and when somebody asks for elections.

What becomes of each is decided in :mod:`~kafkalab.engine.controller.partition_change`; here are the
circumstances, all of them from the committed image: who is active, which directories can be used,
how small an ISR may be, and whether losing records is allowed.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable
from functools import cache
from typing import Final

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.controller.levels import metadata_version_of
from kafkalab.engine.controller.partition_change import AS_IT_IS, Circumstances, Election, Target, partition_change
from kafkalab.engine.metadata.image import CONFIG_BROKER, MetadataImage, PartitionRegistration, TopicImage
from kafkalab.engine.protocol.metadata_records import (
    DIRECTORY_MIGRATING,
    DIRECTORY_UNASSIGNED,
    NO_LEADER,
    PartitionChangeRecord,
)

ELECTIONS_PER_PASS_MAX: Final = 1_000
ELR_FEATURE: Final = "eligible.leader.replicas.version"
MIN_ISR: Final = "min.insync.replicas"
UNCLEAN_ELECTION: Final = "unclean.leader.election.enable"


class Elections:
    """Partition changes that follow from what happens to brokers, computed from the committed image."""

    def __init__(self, image: MetadataImage, config: BrokerConfig, node_id: int) -> None:
        """``node_id`` is this controller's, whose own settings come before those of the whole cluster."""
        self._image = image
        self._node_name = str(node_id)
        self._config = config

    # --- circumstances -------------------------------------------------------------------------

    @property
    def elr_enabled(self) -> bool:
        """Whether the cluster keeps eligible leader replicas."""
        return self._image.features.get(ELR_FEATURE, 0) > 0

    def is_active(self, broker_id: int) -> bool:
        """Whether a broker may lead and be in an ISR."""
        broker = self._image.brokers.get(broker_id)
        return broker is not None and broker.is_active

    def default_directory(self, broker_id: int) -> uuid.UUID:
        """Where a broker will put a new replica: its only directory, or it has yet to say."""
        broker = self._image.brokers.get(broker_id)
        if broker is None:
            return DIRECTORY_UNASSIGNED
        if not broker.log_dirs:
            return DIRECTORY_MIGRATING
        return broker.log_dirs[0] if len(broker.log_dirs) == 1 else DIRECTORY_UNASSIGNED

    def may_lead(self, partition: PartitionRegistration, *, but: int = NO_LEADER, also: int = NO_LEADER) -> Callable[[int], bool]:
        """Whether a broker may lead this partition: active, with its replica in a directory that can be used.

        :param but: a broker that may not, whatever it looks like.
        :param also: a broker that is about to become active.
        """

        brokers = self._image.brokers

        def is_acceptable(broker_id: int) -> bool:
            broker = brokers.get(broker_id)
            if broker is None or broker_id == but or not (broker_id == also or broker.is_active):
                return False
            return broker.has_online_directory(partition.directory_of(broker_id))

        return is_acceptable

    def _dynamic(self, topic_name: str, name: str) -> str | None:
        """A setting as the log has it: the topic's own, this node's, or the cluster's; None where it has none."""
        chain = (
            self._image.topic_config(topic_name),
            self._image.config(CONFIG_BROKER, self._node_name),
            self._image.config(CONFIG_BROKER, ""),
        )
        return next((settings[name] for settings in chain if settings.get(name)), None)

    def min_isr(self, topic: TopicImage) -> int:
        """Members that the ISRs of a topic must have; never more than it has replicas."""
        text = self._dynamic(topic.name, MIN_ISR)
        wanted = int(text) if text else self._config.get_int(MIN_ISR)
        first = topic.partitions.get(0)
        return wanted if first is None else min(wanted, len(first.replicas))

    def unclean_allowed(self, topic_name: str) -> bool:
        """Whether losing records is better than having no leader, for this topic."""
        text = self._dynamic(topic_name, UNCLEAN_ELECTION)
        return self._config.get_boolean(UNCLEAN_ELECTION) if text is None else text.strip().lower() == "true"

    def election_for(self, topic_name: str) -> Election:
        """How far elections may go that nobody asked for."""
        return Election.UNCLEAN if self.unclean_allowed(topic_name) else Election.ONLINE

    # --- one partition -------------------------------------------------------------------------

    def change(
        self,
        topic: TopicImage,
        partition_id: int,
        target: Target = AS_IT_IS,
        election: Election = Election.ONLINE,
        *,
        is_acceptable: Callable[[int], bool] | None = None,
        min_isr: int | None = None,
    ) -> PartitionChangeRecord | None:
        """The change of one partition under the present circumstances.

        :param min_isr: of its topic, from whoever knows it already.
        """
        partition = topic.partitions[partition_id]
        given = Circumstances(
            is_acceptable=self.may_lead(partition) if is_acceptable is None else is_acceptable,
            min_isr=self.min_isr(topic) if min_isr is None else min_isr,
            elr_enabled=self.elr_enabled,
            metadata_version=metadata_version_of(self._image),
            directory_of_new=self.default_directory,
        )
        return partition_change(topic.topic_id, partition_id, partition, given, target, election)

    def rules(self) -> Callable[[TopicImage], tuple[Election, int]]:
        """How far elections of a topic go and its smallest ISR, found out once for each topic of a pass over many partitions."""

        @cache
        def rules_of(topic_id: uuid.UUID) -> tuple[Election, int]:
            topic = self._image.topics_by_id[topic_id]
            return self.election_for(topic.name), self.min_isr(topic)

        return lambda topic: rules_of(topic.topic_id)

    # --- brokers that go -----------------------------------------------------------------------

    def without(self, broker_id: int) -> list[PartitionChangeRecord]:
        """Changes that take a broker out of every ISR and every leadership, as far as possible."""
        return self._without(broker_id, _is_in_use_by(broker_id))

    def without_directories(self, broker_id: int, directories: Collection[uuid.UUID]) -> list[PartitionChangeRecord]:
        """Changes that take a broker's replicas in these directories out of every ISR and every leadership, as far as possible."""
        is_in_use = _is_in_use_by(broker_id)
        return self._without(broker_id, lambda partition: is_in_use(partition) and partition.directory_of(broker_id) in directories)

    def without_lost(self, broker_id: int) -> list[PartitionChangeRecord]:
        """Changes that take a broker out of ISRs and eligible leaders, because it stopped without a word and may lack records."""
        is_in_use = _is_in_use_by(broker_id)
        return self._without(
            broker_id, lambda partition: is_in_use(partition) or broker_id in partition.eligible_leader_replicas, lost_by=broker_id
        )

    def _without(
        self, broker_id: int, is_concerned: Callable[[PartitionRegistration], bool], *, lost_by: int = NO_LEADER
    ) -> list[PartitionChangeRecord]:
        records = []
        rules = self.rules()
        for topic, partition_id, partition in self._partitions_of(broker_id):
            if is_concerned(partition):
                election, min_isr = rules(topic)
                record = self.change(
                    topic,
                    partition_id,
                    Target(isr=_but(partition.isr, broker_id), lost_by=lost_by),
                    election,
                    is_acceptable=self.may_lead(partition, but=broker_id),
                    min_isr=min_isr,
                )
                if record is not None:
                    records.append(record)
        return records

    # --- brokers that come ---------------------------------------------------------------------

    def with_unfenced(self, broker_id: int) -> list[PartitionChangeRecord]:
        """Changes that give a leader to partitions that waited for this broker."""
        records = []
        rules = self.rules()
        for topic, partition_id, partition in self._partitions_of(broker_id):
            if partition.leader == NO_LEADER:
                election, min_isr = rules(topic)
                record = self.change(
                    topic,
                    partition_id,
                    election=election,
                    is_acceptable=self.may_lead(partition, also=broker_id),
                    min_isr=min_isr,
                )
                if record is not None:
                    records.append(record)
        return records

    def with_directory(self, topic: TopicImage, partition_id: int, broker_id: int, directory: uuid.UUID) -> PartitionChangeRecord | None:
        """The change that records where a broker has its replica; one that can be used now may lead, one that cannot is out of sync."""
        partition = topic.partitions[partition_id]
        recorded = partition.directories or (DIRECTORY_MIGRATING,) * len(partition.replicas)
        directories = tuple(directory if replica == broker_id else old for replica, old in zip(partition.replicas, recorded, strict=True))
        broker = self._image.brokers.get(broker_id)
        is_offline = broker is None or not broker.has_online_directory(directory)
        return self.change(
            topic,
            partition_id,
            Target(isr=_but(partition.isr, broker_id) if is_offline else None, directories={broker_id: directory}),
            self.election_for(topic.name),
            is_acceptable=self.may_lead(partition._replace(directories=directories)),
        )

    # --- passes --------------------------------------------------------------------------------

    def toward_preferred(self) -> list[PartitionChangeRecord]:
        """Changes that give leadership back to first replicas that may have it, a bounded number of them."""
        return self._pass(self._image.topics_by_id.values(), Election.PREFERRED)

    def of_leaderless(self) -> list[PartitionChangeRecord]:
        """Changes that give a leader to partitions that have none, where the topic allows an unclean one; a bounded number."""
        return self._pass((topic for topic in self._image.topics_by_id.values() if self.unclean_allowed(topic.name)), Election.UNCLEAN)

    def _pass(self, topics: Iterable[TopicImage], election: Election) -> list[PartitionChangeRecord]:
        records: list[PartitionChangeRecord] = []
        for topic in topics:
            for partition_id, partition in topic.partitions.items():
                if is_called_for(election, partition):
                    record = self.change(topic, partition_id, election=election)
                    if record is not None:
                        records.append(record)
                        if len(records) == ELECTIONS_PER_PASS_MAX:
                            return records
        return records

    def leads_anything(self, broker_id: int) -> bool:
        """Whether a broker leads a partition."""
        topics = self._image.topics_by_id
        return any(topics[topic_id].partitions[partition].leader == broker_id for topic_id, partition in self._image.replicas_of(broker_id))

    def _partitions_of(self, broker_id: int) -> Iterable[tuple[TopicImage, int, PartitionRegistration]]:
        """A broker's partitions in the order of the topics' creation: the same on every run."""
        found = [(self._image.topics_by_id[topic_id], partition_id) for topic_id, partition_id in self._image.replicas_of(broker_id)]
        found.sort(key=lambda row: (row[0].created_offset, row[1]))
        return ((topic, partition_id, topic.partitions[partition_id]) for topic, partition_id in found)


def is_called_for(election: Election, partition: PartitionRegistration) -> bool:
    """Whether an election of that kind has a purpose: a preferred one to give leadership back, any other to give a leader at all."""
    if election is Election.PREFERRED:
        return partition.leader != partition.replicas[0]
    return partition.leader == NO_LEADER


def _is_in_use_by(broker_id: int) -> Callable[[PartitionRegistration], bool]:
    return lambda partition: broker_id in partition.isr or partition.leader == broker_id


def _but(isr: tuple[int, ...], broker_id: int) -> tuple[int, ...]:
    return tuple(member for member in isr if member != broker_id)
