"""Who copies what: a fetcher, or some, for each broker that leads replicas of this one.

``num.replica.fetchers`` says how many per leader. A partition always goes to the same one of them, so
that its records come in order; which one depends on its name alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from kafkalab.engine.replica.fetcher import FetcherConfig, FetcherHost, ReplicaFetcher

if TYPE_CHECKING:
    from kafkalab.engine.common.ids import TopicPartition
    from kafkalab.engine.common.time import Clock
    from kafkalab.engine.protocol.network import Network
    from kafkalab.engine.replica.partition import Partition
    from kafkalab.engine.replica.quota import ReplicationQuota


class ReplicaFetchers:
    """All fetchers of one broker."""

    def __init__(
        self,
        *,
        node_id: int,
        clock: Clock,
        network: Network,
        host: FetcherHost,
        config: FetcherConfig,
        quota: ReplicationQuota,
        count_per_leader: int,
    ) -> None:
        self._node_id = node_id
        self._clock = clock
        self._network = network
        self._host = host
        self._config = config
        self._quota = quota
        self._count = count_per_leader
        self._fetchers: dict[tuple[int, int], ReplicaFetcher] = {}

    def _key(self, leader_id: int, tp: TopicPartition) -> tuple[int, int]:
        return leader_id, 0 if self._count == 1 else (crc32(tp.topic.encode()) + tp.partition) % self._count

    def copy(self, partition: Partition) -> None:
        """Copy a partition from its leader, in the leader epoch that it has now."""
        key = self._key(partition.leader_id, partition.topic_partition)
        fetcher = self._fetchers.get(key)
        if fetcher is None:
            fetcher = self._fetchers[key] = ReplicaFetcher(
                node_id=self._node_id,
                leader_id=partition.leader_id,
                clock=self._clock,
                network=self._network,
                host=self._host,
                config=self._config,
                quota=self._quota,
            )
        fetcher.add(partition)

    def stop(self, partition: Partition, leader_id: int) -> None:
        """Copy a partition no longer from that broker."""
        fetcher = self._fetchers.get(self._key(leader_id, partition.topic_partition))
        if fetcher is not None:
            fetcher.remove(partition)

    def leader_began_anew(self, leader_id: int) -> None:
        """The broker has registered again: what is under way to its earlier life will not be answered."""
        for index in range(self._count):
            fetcher = self._fetchers.get((leader_id, index))
            if fetcher is not None:
                fetcher.reset()

    def resize(self, count_per_leader: int) -> None:
        """Spread the partitions over another number of fetchers."""
        if count_per_leader == self._count:
            return
        partitions = [partition for fetcher in self._fetchers.values() for partition in fetcher.partitions()]
        self.close()
        self._fetchers.clear()
        self._count = count_per_leader
        for partition in partitions:
            self.copy(partition)

    def close(self) -> None:
        """Stop all."""
        for fetcher in self._fetchers.values():
            fetcher.close()
