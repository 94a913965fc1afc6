"""Reassignments: a partition's replicas move to other brokers while it is in use (KIP-455, KIP-860).

First the partition has both its old and its new replicas, which are named as those that are removed
and those that are added. When all new ones are in sync the old ones go: that happens with the change
of the ISR that makes it true (:mod:`~kafkalab.engine.controller.partition_change`). Until then the
reassignment can be taken back, or replaced by another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.controller.elections import Elections
from kafkalab.engine.controller.operation import RECORDS_PER_REQUEST_MAX, TOO_MANY_RECORDS, Plan
from kafkalab.engine.controller.partition_change import Target
from kafkalab.engine.controller.placement import check_assignment
from kafkalab.engine.metadata.image import MetadataImage, PartitionRegistration, TopicImage
from kafkalab.engine.protocol.metadata_records import PartitionChangeRecord


class Reassignments:
    """Plans what clients ask for, and tells what is under way. Each partition succeeds or fails by itself."""

    def __init__(self, image: MetadataImage, elections: Elections) -> None:
        self._image = image
        self._elections = elections

    # --- change --------------------------------------------------------------------------------

    def alter(self, request: Any) -> Plan:
        """AlterPartitionReassignments: other replicas, or none at all to take a reassignment back."""
        may_change_count = request.allow_replication_factor_change
        records: list[PartitionChangeRecord] = []
        responses = []
        for topic in request.topics:
            rows = []
            for partition in topic.partitions:
                error, message = Errors.NONE, None
                try:
                    records += self._alter_one(topic.name, partition.partition_index, partition.replicas, may_change_count)
                except ApiError as refusal:
                    error, message = refusal.error, refusal.message
                rows.append({"partition_index": partition.partition_index, "error_code": int(error), "error_message": message})
            responses.append({"name": topic.name, "partitions": rows})
        if len(records) > RECORDS_PER_REQUEST_MAX:
            raise ApiError(Errors.POLICY_VIOLATION, TOO_MANY_RECORDS)
        return Plan(
            response={
                "throttle_time": 0,
                "allow_replication_factor_change": may_change_count,
                "error_code": 0,
                "error_message": None,
                "responses": responses,
            },
            records=records,
            cause="its replicas were reassigned",
        )

    def _alter_one(
        self, name: str, partition_id: int, wanted: tuple[int, ...] | None, may_change_count: bool
    ) -> Iterable[PartitionChangeRecord]:
        topic = self._image.topic(name)
        if topic is None:
            raise ApiError(Errors.UNKNOWN_TOPIC_OR_PARTITION, f"Unable to find a topic named {name}.")
        partition = topic.partitions.get(partition_id)
        if partition is None:
            raise ApiError(Errors.UNKNOWN_TOPIC_OR_PARTITION, f"Unable to find partition {name}:{partition_id}.")
        if wanted is None:
            record = self._cancel(topic, partition_id, partition)
        else:
            record = self._reassign(topic, partition_id, partition, tuple(wanted), may_change_count)
        return () if record is None else (record,)

    def _reassign(
        self, topic: TopicImage, partition_id: int, partition: PartitionRegistration, wanted: tuple[int, ...], may_change_count: bool
    ) -> PartitionChangeRecord | None:
        check_assignment(self._image.brokers, wanted)
        if not may_change_count:
            # What counts is what the one under way would have led to.
            present = {*partition.replicas, *partition.adding_replicas} - {*partition.removing_replicas}
            if len(present) != len(wanted):
                raise ApiError(Errors.INVALID_REPLICATION_FACTOR, f"The replication factor is changed from {len(present)} to {len(wanted)}")
        removing = tuple(sorted(set(partition.replicas) - set(wanted)))
        # Replicas that the one under way adds are still to come, though they are among the present ones (KIP-455).
        adding = tuple(sorted(set(wanted) - (set(partition.replicas) - set(partition.adding_replicas))))
        target = Target(replicas=wanted + removing, removing=removing, adding=adding)
        return self._elections.change(topic, partition_id, target)

    def _cancel(self, topic: TopicImage, partition_id: int, partition: PartitionRegistration) -> PartitionChangeRecord | None:
        if not partition.is_reassigning:
            raise ApiError(Errors.NO_REASSIGNMENT_IN_PROGRESS)
        replicas = tuple(replica for replica in partition.replicas if replica not in partition.adding_replicas)
        isr = tuple(member for member in partition.isr if member not in partition.adding_replicas)
        if not isr:
            # All that are in sync would go: the first that stays may lack records.
            if not replicas:
                raise ApiError(Errors.INVALID_REPLICA_ASSIGNMENT, "Invalid replica assignment: addingReplicas contains all replicas.")
            if not self._elections.unclean_allowed(topic.name):
                raise ApiError(
                    Errors.INVALID_REPLICA_ASSIGNMENT,
                    f"Unable to revert partition assignment for {topic.name}:{partition_id} because "
                    "it would require an unclean leader election.",
                )
            isr = replicas[:1]
        target = Target(isr=isr, replicas=replicas, removing=(), adding=())
        return self._elections.change(topic, partition_id, target, self._elections.election_for(topic.name))

    # --- list ----------------------------------------------------------------------------------

    def list(self, request: Any) -> Plan:
        """ListPartitionReassignments; without topics all that are under way."""
        if request.topics is None:
            asked: Iterable[tuple[str, Iterable[int]]] = [
                (topic.name, sorted(topic.partitions)) for topic in self._image.topics_by_name.values()
            ]
        else:
            asked = [(topic.name, topic.partition_indexes) for topic in request.topics]
        topics = []
        for name, partition_ids in asked:
            topic = self._image.topic(name)
            rows = [] if topic is None else [row for index in partition_ids if (row := _under_way(topic, index)) is not None]
            if rows:
                topics.append({"name": name, "partitions": rows})
        return Plan(response={"throttle_time": 0, "error_code": 0, "error_message": None, "topics": topics})


def _under_way(topic: TopicImage, partition_id: int) -> Mapping[str, Any] | None:
    partition = topic.partitions.get(partition_id)
    if partition is None or not partition.is_reassigning:
        return None
    return {
        "partition_index": partition_id,
        "replicas": partition.replicas,
        "adding_replicas": partition.adding_replicas,
        "removing_replicas": partition.removing_replicas,
    }
