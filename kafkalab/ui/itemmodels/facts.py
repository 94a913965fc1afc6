"""The painted views' facts as plain tables: what a picture shows can also be read, sorted and kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from PySide6.QtCore import QObject

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.ui.itemmodels.tables import Column, TableModel
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link
from kafkalab.ui.model.states import REPLICA_SIGNS
from kafkalab.ui.model.things import Band, Group, GroupPartition, Partition, Replica
from kafkalab.ui.theme.formats import format_date


class ReplicaRow(NamedTuple):
    """One replica of one partition."""

    partition: Partition
    replica: Replica


class BandRow(NamedTuple):
    """Who led what, from when to when."""

    row: str
    partition: TopicPartition | None
    band: Band
    now_ms: float


REPLICAS: Final[tuple[Column[ReplicaRow], ...]] = (
    Column("Topic", lambda one: one.partition.topic),
    Column("Partition", lambda one: str(one.partition.partition)),
    Column("Broker", lambda one: str(one.replica.node_id)),
    Column("Role", lambda one: REPLICA_SIGNS[one.replica.role].word),
    Column("Leader", lambda one: str(one.partition.serving_leader)),
    Column("Leader epoch", lambda one: str(one.partition.leader_epoch)),
    Column("ISR", lambda one: " ".join(map(str, one.partition.isr))),
    Column("ELR", lambda one: " ".join(map(str, one.partition.elr))),
    Column("Elected", lambda one: one.partition.election.right if one.partition.election is not None else ""),
    Column("Log start offset", lambda one: str(one.replica.log_start_offset)),
    Column("Log end offset", lambda one: str(one.replica.log_end_offset)),
    Column("High watermark", lambda one: str(one.partition.high_watermark)),
    Column("Lag", lambda one: str(one.replica.lag)),
    Column("Size bytes", lambda one: str(one.replica.size_bytes)),
    Column("Segments", lambda one: str(one.replica.segments)),
)

GROUP_PARTITIONS: Final[tuple[Column[GroupPartition], ...]] = (
    Column("Topic", lambda one: one.topic),
    Column("Partition", lambda one: str(one.partition)),
    Column("Member", lambda one: one.member_id),
    Column("Committed offset", lambda one: str(one.committed)),
    Column("Committed at", lambda one: format_date(one.commit_ms) if one.commit_ms > 0 else ""),
    Column("Lag records", lambda one: str(one.lag)),
    Column("Lag ms", lambda one: f"{one.lag_ms:.0f}"),
)

BANDS: Final[tuple[Column[BandRow], ...]] = (
    Column("Row", lambda one: one.row),
    Column("Leader", lambda one: "none" if one.band.is_gap else str(one.band.leader)),
    Column("Epoch", lambda one: str(one.band.epoch)),
    Column("From", lambda one: format_date(one.band.start_ms)),
    Column("To", lambda one: format_date(one.band.end_ms) if one.band.end_ms >= 0 else ""),
    Column("Length ms", lambda one: f"{one.band.length_ms(one.now_ms):.1f}"),
)


def text_table(headers: Sequence[str], rows: Sequence[Sequence[str]], parent: QObject | None = None) -> TableModel[Sequence[str]]:
    """A table of plain texts."""
    columns = [Column[Sequence[str]](header, lambda row, at=at: row[at]) for at, header in enumerate(headers)]  # type: ignore[misc]
    model: TableModel[Sequence[str]] = TableModel(columns, tuple, lambda _: None, parent)
    model.set_rows(rows)
    return model


def replica_table(cluster: ClusterModel, topic_name: str, parent: QObject | None = None) -> TableModel[ReplicaRow]:
    """A topic's replicas."""
    topic = cluster.topics.get(topic_name)
    partitions = [] if topic is None else topic.sorted_partitions
    rows = [ReplicaRow(partition, replica) for partition in partitions for replica in partition.replicas.values()]
    model: TableModel[ReplicaRow] = TableModel(
        REPLICAS,
        lambda one: (one.partition.topic, one.partition.partition, one.replica.node_id),
        lambda one: Link.replica(one.partition.topic, one.partition.partition, one.replica.node_id),
        parent,
    )
    model.set_rows(rows)
    return model


def group_table(group: Group, parent: QObject | None = None) -> TableModel[GroupPartition]:
    """A group's partitions with offsets and lag."""
    model: TableModel[GroupPartition] = TableModel(
        GROUP_PARTITIONS,
        lambda one: (one.topic, one.partition),
        lambda one: Link.of_partition(one.topic, one.partition),
        parent,
    )
    model.set_rows([entry for _, entry in sorted(group.partitions.items())])
    return model


def band_table(cluster: ClusterModel, parent: QObject | None = None) -> TableModel[BandRow]:
    """Leadership over time, the quorum's first."""
    rows = [BandRow("quorum", None, band, cluster.now_ms) for band in cluster.failover.quorum]
    for tp, bands in sorted(cluster.failover.bands.items()):
        rows += [BandRow(str(tp), tp, band, cluster.now_ms) for band in bands]
    model: TableModel[BandRow] = TableModel(
        BANDS,
        lambda one: (one.row, one.band.start_ms, one.band.leader),
        lambda one: Link.quorum() if one.partition is None else Link.of_partition(*one.partition),
        parent,
    )
    model.set_rows(rows)
    return model
