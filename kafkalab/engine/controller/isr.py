"""AlterPartition: a partition's leader says who is in sync, the controller says whether that may be.

The leader names the partition epoch from which it starts, so that it never overwrites a change that
it has not seen. A change of the ISR may complete a reassignment; where that moves leadership away, the
leader that asked is told so by an error, though what it asked for was done (KIP-841, KIP-903).
"""

from __future__ import annotations

import uuid
from functools import lru_cache
from typing import Any, Final

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.controller.brokers import check_broker_epoch
from kafkalab.engine.controller.elections import Elections
from kafkalab.engine.controller.operation import Plan
from kafkalab.engine.controller.partition_change import Election, Target
from kafkalab.engine.metadata.image import MetadataImage, PartitionRegistration, TopicImage
from kafkalab.engine.protocol.metadata_records import LEADER_RECOVERED, LEADER_RECOVERING, MetadataRecord

CAUSES_KEPT: Final = 256
"""Where one replica has caught up, it mostly has in hundreds of partitions."""


def _wanted_isr(data: Any) -> tuple[tuple[int, int], ...]:
    """(broker id, broker epoch or -1) of the members; version 2 has ids only."""
    if hasattr(data, "new_isr"):
        return tuple((broker_id, -1) for broker_id in data.new_isr)
    return tuple((member.broker_id, member.broker_epoch) for member in data.new_isr_with_epochs)


class IsrChanges:
    """Plans what leaders ask for."""

    def __init__(self, image: MetadataImage, config: BrokerConfig, elections: Elections) -> None:
        self._image = image
        self._elections = elections
        self._lag_ms = config.get_int("replica.lag.time.max.ms")

    def alter(self, request: Any) -> Plan:
        """Judge every partition of the request by itself."""
        check_broker_epoch(self._image, request.broker_id, request.broker_epoch)
        records: list[MetadataRecord] = []
        causes: dict[tuple[uuid.UUID, int], str] = {}
        topics = []
        seen: set[tuple[uuid.UUID, int]] = set()
        rules = self._elections.rules()
        for topic_data in request.topics:
            topic = self._image.topic_by_id(topic_data.topic_id)
            rows = []
            for data in topic_data.partitions:
                try:
                    if topic is None:
                        raise ApiError(Errors.UNKNOWN_TOPIC_ID)
                    key = (topic.topic_id, data.partition_index)
                    if key in seen:
                        raise ApiError(Errors.INVALID_REQUEST)
                    seen.add(key)
                    rows.append(self._alter_one(request.broker_id, topic, data, rules(topic), records, causes))
                except ApiError as refusal:
                    rows.append({"partition_index": data.partition_index, "error_code": int(refusal.error)})
            topics.append({"topic_id": topic_data.topic_id, "partitions": rows})
        return Plan(response={"throttle_time": 0, "error_code": 0, "topics": topics}, records=records, causes=causes)

    def _alter_one(
        self,
        broker_id: int,
        topic: TopicImage,
        data: Any,
        rules: tuple[Election, int],
        records: list[MetadataRecord],
        causes: dict[tuple[uuid.UUID, int], str],
    ) -> dict[str, Any]:
        partition = topic.partitions.get(data.partition_index)
        if partition is None:
            raise ApiError(Errors.UNKNOWN_TOPIC_OR_PARTITION)
        wanted = _wanted_isr(data)
        isr = tuple(member for member, _ in wanted)
        self._check(broker_id, partition, data, isr)
        self._check_members(wanted)
        target = Target(isr=isr, recovery_state=data.leader_recovery_state)
        election, min_isr = rules
        record = self._elections.change(topic, data.partition_index, target, election, min_isr=min_isr)
        after = partition
        if record is not None:
            after = partition.changed_by(record)
            records.append(record)
            causes[topic.topic_id, data.partition_index] = _cause(
                partition.isr, isr, self._lag_ms, partition.is_reassigning and not after.is_reassigning
            )
            if after.leader != broker_id:
                raise ApiError(Errors.NEW_LEADER_ELECTED)
        return {
            "partition_index": data.partition_index,
            "error_code": 0,
            "leader_id": after.leader,
            "leader_epoch": after.leader_epoch,
            "isr": after.isr,
            "leader_recovery_state": after.leader_recovery_state,
            "partition_epoch": after.partition_epoch,
        }

    def _check(self, broker_id: int, partition: PartitionRegistration, data: Any, isr: tuple[int, ...]) -> None:
        """What the leader knows must be what is; in Kafka's order."""
        if data.leader_epoch > partition.leader_epoch or data.partition_epoch > partition.partition_epoch:
            # It knows more than we do: somebody else must be the active controller by now.
            raise ApiError(Errors.NOT_CONTROLLER)
        if data.leader_epoch < partition.leader_epoch:
            raise ApiError(Errors.FENCED_LEADER_EPOCH)
        if broker_id != partition.leader:
            raise ApiError(Errors.INVALID_REQUEST)
        if data.partition_epoch < partition.partition_epoch:
            raise ApiError(Errors.INVALID_UPDATE_VERSION)
        if not isr or len(set(isr)) != len(isr) or not set(isr) <= set(partition.replicas) or partition.leader not in isr:
            raise ApiError(Errors.INVALID_REQUEST)
        if data.leader_recovery_state not in (LEADER_RECOVERED, LEADER_RECOVERING):
            raise ApiError(Errors.INVALID_REQUEST)
        if data.leader_recovery_state == LEADER_RECOVERING and (len(isr) > 1 or partition.leader_recovery_state == LEADER_RECOVERED):
            raise ApiError(Errors.INVALID_REQUEST)

    def _check_members(self, wanted: tuple[tuple[int, int], ...]) -> None:
        """Members must be active, and those that the leader heard of the ones that are registered."""
        for broker_id, broker_epoch in wanted:
            broker = self._image.brokers.get(broker_id)
            if broker is None or not broker.is_active or broker_epoch not in (-1, broker.broker_epoch):
                raise ApiError(Errors.INELIGIBLE_REPLICA)


@lru_cache(maxsize=CAUSES_KEPT)
def _cause(before: tuple[int, ...], isr: tuple[int, ...], lag_ms: int, is_reassigned: bool) -> str:
    parts = []
    if joined := [str(member) for member in isr if member not in before]:
        parts.append(f"{_replicas(joined)} caught up")
    if left := [str(member) for member in before if member not in isr]:
        lag = f"{lag_ms:,}".replace(",", " ")
        parts.append(f"{_replicas(left)} fell behind for {lag} ms")
    if is_reassigned:
        parts.append("the reassignment is done")
    return ", ".join(parts) or "the leader has recovered"


def _replicas(members: list[str]) -> str:
    return f"replica{'s' if len(members) > 1 else ''} {' and '.join(members)}"
