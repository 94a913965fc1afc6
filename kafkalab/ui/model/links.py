"""Links: how one view speaks of a thing so that another view can show it.

A selection, a timeline row's subject, a notice's way on and a hover are all the same small value,
so a click in one place selects the thing everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kafkalab.engine.common.ids import TopicPartition


class LinkKind(StrEnum):
    """What a link points at."""

    CLUSTER = "cluster"
    NODE = "node"
    QUORUM = "quorum"
    TOPIC = "topic"
    PARTITION = "partition"
    REPLICA = "replica"
    GROUP = "group"
    CLIENT = "client"
    CONNECTION = "connection"
    FAILOVER = "failover"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Link:
    """One thing of the cluster by name. Use the named constructors; what a kind lacks keeps its default."""

    kind: LinkKind
    name: str = ""  # topic, group id, or the key of a client in ``ClusterModel.clients``
    partition: int = -1
    node_id: int = -1
    connection_id: int = -1
    other_id: int = -1  # the other end of a network link; -1 there means clients

    @classmethod
    def cluster(cls) -> Link:
        """The cluster as a whole."""
        return cls(LinkKind.CLUSTER)

    @classmethod
    def node(cls, node_id: int) -> Link:
        """A broker or controller."""
        return cls(LinkKind.NODE, node_id=node_id)

    @classmethod
    def quorum(cls) -> Link:
        """The controller quorum as a whole."""
        return cls(LinkKind.QUORUM)

    @classmethod
    def topic(cls, topic: str) -> Link:
        """A topic."""
        return cls(LinkKind.TOPIC, name=topic)

    @classmethod
    def of_partition(cls, topic: str, partition: int) -> Link:
        """A partition."""
        return cls(LinkKind.PARTITION, name=topic, partition=partition)

    @classmethod
    def replica(cls, topic: str, partition: int, node_id: int) -> Link:
        """A partition's replica on one broker."""
        return cls(LinkKind.REPLICA, name=topic, partition=partition, node_id=node_id)

    @classmethod
    def group(cls, group_id: str) -> Link:
        """A consumer group."""
        return cls(LinkKind.GROUP, name=group_id)

    @classmethod
    def client(cls, key: str) -> Link:
        """A client, by its key in ``ClusterModel.clients``."""
        return cls(LinkKind.CLIENT, name=key)

    @classmethod
    def connection(cls, node_id: int, connection_id: int) -> Link:
        """One TCP connection, by the node that accepted it."""
        return cls(LinkKind.CONNECTION, node_id=node_id, connection_id=connection_id)

    @classmethod
    def failover(cls) -> Link:
        """The view of leadership over time."""
        return cls(LinkKind.FAILOVER)

    @classmethod
    def between(cls, node_id: int, other_id: int) -> Link:
        """What two parties send each other; clients, all of them, are -1 and come second."""
        return cls(LinkKind.LINK, node_id=node_id, other_id=other_id)

    @property
    def topic_partition(self) -> TopicPartition | None:
        """The partition meant, for links to partitions and replicas."""
        if self.kind in (LinkKind.PARTITION, LinkKind.REPLICA):
            return TopicPartition(self.name, self.partition)
        return None

    def __str__(self) -> str:
        match self.kind:
            case LinkKind.NODE:
                return f"node {self.node_id}"
            case LinkKind.PARTITION:
                return f"{self.name}-{self.partition}"
            case LinkKind.REPLICA:
                return f"{self.name}-{self.partition} on broker {self.node_id}"
            case LinkKind.TOPIC | LinkKind.GROUP | LinkKind.CLIENT:
                return f"{self.kind.value} {self.name}"
            case LinkKind.LINK:
                other = f"node {self.other_id}" if self.other_id >= 0 else "clients"
                return f"link between node {self.node_id} and {other}"
            case LinkKind.CONNECTION:
                return f"connection {self.connection_id} of node {self.node_id}"
            case _:
                return self.kind.value
