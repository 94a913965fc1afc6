"""Topics and partitions: creating, deleting and adding them, with every reason to refuse."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.common.config import BrokerConfig, topic_config_view, validate_topic_configs
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import METADATA_TOPIC, METADATA_TOPIC_ID, ZERO_UUID, random_uuid
from kafkalab.engine.common.topic_names import collision_key
from kafkalab.engine.controller.elections import MIN_ISR, Elections
from kafkalab.engine.controller.names import validate_topic_name
from kafkalab.engine.controller.operation import RECORDS_PER_REQUEST_MAX, TOO_MANY_RECORDS, Plan
from kafkalab.engine.controller.placement import check_assignment, place_replicas
from kafkalab.engine.controller.responses import topic_error
from kafkalab.engine.metadata.image import MetadataImage
from kafkalab.engine.protocol.metadata_records import (
    CONFIG_TOPIC,
    ClearElrRecord,
    ConfigRecord,
    MetadataRecord,
    PartitionRecord,
    RemoveTopicRecord,
    TopicRecord,
)

if TYPE_CHECKING:
    from random import Random

PARTITIONS_PER_REQUEST_MAX: Final = 10_000
_DUPLICATE_NAME: Final = "Duplicate topic name."
_UNKNOWN_TOPIC: Final = "This server does not host this topic-partition."
_UNKNOWN_TOPIC_ID: Final = "This server does not host this topic ID."


class TopicChanges:
    """Plans what clients ask for. Each topic of a request succeeds or fails by itself."""

    def __init__(self, image: MetadataImage, config: BrokerConfig, elections: Elections, rng: Random) -> None:
        self._image = image
        self._config = config
        self._elections = elections
        self._rng = rng

    # --- create --------------------------------------------------------------------------------

    def create(self, request: Any) -> Plan:
        """CreateTopics."""
        default_partitions = self._config.get_int("num.partitions")
        total = sum(
            len(topic.assignments) or (default_partitions if topic.num_partitions == -1 else max(0, topic.num_partitions))
            for topic in request.topics
        )
        _check_partition_count(total)
        counts = Counter(topic.name for topic in request.topics)
        by_collision_key: dict[str, list[str]] = {}
        for existing in self._image.topics_by_name:
            if (key := collision_key(existing)) is not None:
                by_collision_key.setdefault(key, []).append(existing)

        rows: list[Mapping[str, Any]] = []
        records: list[MetadataRecord] = []
        refused_twice: set[str] = set()
        for topic in request.topics:
            try:
                if counts[topic.name] > 1:
                    if topic.name in refused_twice:
                        continue
                    refused_twice.add(topic.name)
                    raise ApiError(Errors.INVALID_REQUEST, _DUPLICATE_NAME)
                self._check_name(topic.name, by_collision_key)
                topic_records, row = self._create_one(topic, default_partitions)
            except ApiError as refusal:
                rows.append(topic_error(topic.name, refusal))
            else:
                records += topic_records
                rows.append(row)
        if len(records) > RECORDS_PER_REQUEST_MAX:
            raise ApiError(Errors.POLICY_VIOLATION, TOO_MANY_RECORDS)
        return Plan(response={"throttle_time": 0, "topics": rows}, records=() if request.validate_only else records)

    def _check_name(self, name: str, by_collision_key: Mapping[str, list[str]]) -> None:
        if name == METADATA_TOPIC:
            raise ApiError(Errors.INVALID_REQUEST, f"Creation of internal topic {METADATA_TOPIC} is prohibited.")
        validate_topic_name(name)
        if name in self._image.topics_by_name:
            raise ApiError(Errors.TOPIC_ALREADY_EXISTS, f"Topic '{name}' already exists.")
        if colliding := by_collision_key.get(collision_key(name) or ""):
            raise ApiError(Errors.INVALID_TOPIC_EXCEPTION, f"Topic '{name}' collides with existing topic: {', '.join(sorted(colliding))}")

    def _create_one(self, topic: Any, default_partitions: int) -> tuple[list[MetadataRecord], Mapping[str, Any]]:
        configs = {config.name: config.value for config in topic.configs}
        validate_topic_configs(configs, self._config)
        placements = self._placements(topic, default_partitions)
        topic_id = self._new_topic_id()
        records: list[MetadataRecord] = [TopicRecord(name=topic.name, topic_id=topic_id)]
        records += [
            ConfigRecord(resource_type=CONFIG_TOPIC, resource_name=topic.name, name=name, value=value)
            for name, value in sorted(configs.items())
        ]
        if MIN_ISR in configs and self._elections.elr_enabled:
            records.append(ClearElrRecord(topic_name=topic.name))
        records += [self._partition_record(topic_id, partition_id, replicas) for partition_id, replicas in enumerate(placements)]
        row = {
            "name": topic.name,
            "topic_id": topic_id,
            "error_code": 0,
            "error_message": None,
            "num_partitions": len(placements),
            "replication_factor": len(placements[0]),
            "configs": self._described_configs({name: value for name, value in configs.items() if value is not None}),
        }
        return records, row

    def _described_configs(self, configs: Mapping[str, str]) -> list[Mapping[str, Any]]:
        entries = topic_config_view(self._config, configs)
        return [
            {
                "name": entry.name,
                "value": None if entry.is_sensitive else entry.value,
                "read_only": entry.is_read_only,
                "config_source": int(entry.source),
                "is_sensitive": entry.is_sensitive,
            }
            for entry in entries
        ]

    def _placements(self, topic: Any, default_partitions: int) -> list[tuple[int, ...]]:
        if topic.assignments:
            return self._manual_placements(topic)
        if topic.replication_factor < -1 or topic.replication_factor == 0:
            raise ApiError(Errors.INVALID_REPLICATION_FACTOR, "Replication factor must be larger than 0, or -1 to use the default value.")
        if topic.num_partitions < -1 or topic.num_partitions == 0:
            raise ApiError(Errors.INVALID_PARTITIONS, "Number of partitions was set to an invalid non-positive value.")
        partitions = default_partitions if topic.num_partitions == -1 else topic.num_partitions
        replication_factor = topic.replication_factor
        if replication_factor == -1:
            replication_factor = self._config.get_int("default.replication.factor")
        try:
            return self._automatic_placements(partitions, replication_factor)
        except ApiError as refusal:
            # Kafka says so of new topics, and not of partitions that are added.
            raise ApiError(refusal.error, f"Unable to replicate the partition {replication_factor} time(s): {refusal.message}") from None

    def _automatic_placements(self, partitions: int, replication_factor: int) -> list[tuple[int, ...]]:
        placements = place_replicas(
            self._image.brokers.values(), partitions=partitions, replication_factor=replication_factor, rng=self._rng
        )
        if not all(any(map(self._elections.is_active, replicas)) for replicas in placements):
            raise ApiError(Errors.INVALID_REPLICATION_FACTOR, "All brokers are currently fenced or in controlled shutdown.")
        return placements

    def _manual_placements(self, topic: Any) -> list[tuple[int, ...]]:
        for given, what in ((topic.replication_factor, "replication factor"), (topic.num_partitions, "numPartitions")):
            if given != -1:
                raise ApiError(Errors.INVALID_REQUEST, f"A manual partition assignment was specified, but {what} was not set to -1.")
        placements: dict[int, tuple[int, ...]] = {}
        replication_factor: int | None = None
        for assignment in topic.assignments:
            partition_id = assignment.partition_index
            if partition_id in placements:
                raise ApiError(
                    Errors.INVALID_REPLICA_ASSIGNMENT, f"Found multiple manual partition assignments for partition {partition_id}"
                )
            placements[partition_id] = self._checked_assignment(partition_id, assignment.broker_ids, replication_factor)
            replication_factor = len(assignment.broker_ids)
        if set(placements) != set(range(len(placements))):
            raise ApiError(Errors.INVALID_REPLICA_ASSIGNMENT, "partitions should be a consecutive 0-based integer sequence")
        return [placements[partition_id] for partition_id in range(len(placements))]

    def _checked_assignment(self, partition_id: int, broker_ids: Sequence[int], replication_factor: int | None) -> tuple[int, ...]:
        check_assignment(self._image.brokers, broker_ids, replication_factor)
        if not any(map(self._elections.is_active, broker_ids)):
            raise ApiError(
                Errors.INVALID_REPLICA_ASSIGNMENT,
                f"All brokers specified in the manual partition assignment for partition {partition_id} "
                "are fenced or in controlled shutdown.",
            )
        return tuple(broker_ids)

    def _new_topic_id(self) -> uuid.UUID:
        while (topic_id := random_uuid(self._rng)) in self._image.topics_by_id or topic_id in (ZERO_UUID, METADATA_TOPIC_ID):
            continue
        return topic_id

    def _partition_record(self, topic_id: uuid.UUID, partition_id: int, replicas: tuple[int, ...]) -> PartitionRecord:
        isr = tuple(filter(self._elections.is_active, replicas))
        directories = tuple(map(self._elections.default_directory, replicas))
        return PartitionRecord(
            partition_id=partition_id, topic_id=topic_id, replicas=replicas, isr=isr, leader=isr[0], directories=directories
        )

    # --- delete --------------------------------------------------------------------------------

    def delete(self, request: Any) -> Plan:
        """DeleteTopics, by name or by id."""
        asked = [(topic.name, topic.topic_id) for topic in request.topics]
        # Versions before 6 have names only, in a field of their own.
        asked += [(name, None) for name in getattr(request, "topic_names", ())]
        rows: list[Mapping[str, Any]] = []
        records: list[MetadataRecord] = []
        name_counts = Counter(name for name, topic_id in asked if name is not None and topic_id is None)
        id_counts = Counter(topic_id for name, topic_id in asked if name is None and topic_id is not None)
        named = {name: found.topic_id for name in name_counts if name_counts[name] == 1 and (found := self._image.topic(name)) is not None}
        named_ids = set(named.values())
        answered: set[tuple[str | None, uuid.UUID | None]] = set()
        for name, topic_id in asked:
            # What was asked for by name and by id is not done, and answered by name alone.
            if (name, topic_id) in answered or (name is None and id_counts[topic_id] == 1 and topic_id in named_ids):
                continue
            answered.add((name, topic_id))
            is_ambiguous = name is not None and topic_id is None and named.get(name) in id_counts
            row = {"name": name, "topic_id": named[name] if is_ambiguous else topic_id, "error_code": 0, "error_message": None}
            try:
                topic = self._topic_to_delete(name, topic_id, name_counts, id_counts)
            except ApiError as refusal:
                row |= {"error_code": int(refusal.error), "error_message": refusal.message}
            else:
                row |= {"name": topic[0], "topic_id": topic[1]}
                records.append(RemoveTopicRecord(topic_id=topic[1]))
            rows.append(row)
        return Plan(response={"throttle_time": 0, "responses": rows}, records=records)

    def _topic_to_delete(
        self, name: str | None, topic_id: uuid.UUID | None, name_counts: Counter[str], id_counts: Counter[uuid.UUID]
    ) -> tuple[str, uuid.UUID]:
        if name is not None:
            if topic_id is not None:
                raise ApiError(Errors.INVALID_REQUEST, "You may not specify both topic name and topic id.")
            if name_counts[name] > 1:
                raise ApiError(Errors.INVALID_REQUEST, _DUPLICATE_NAME)
            topic = self._image.topic(name)
            if topic is None:
                raise ApiError(Errors.UNKNOWN_TOPIC_OR_PARTITION, _UNKNOWN_TOPIC)
            if topic.topic_id in id_counts:
                raise ApiError(Errors.INVALID_REQUEST, "The provided topic name maps to an ID that was already supplied.")
            return topic.name, topic.topic_id
        if topic_id is None:
            raise ApiError(Errors.INVALID_REQUEST, "Neither topic name nor id were specified.")
        if id_counts[topic_id] > 1:
            raise ApiError(Errors.INVALID_REQUEST, "Duplicate topic id.")
        topic = self._image.topic_by_id(topic_id)
        if topic is None:
            raise ApiError(Errors.UNKNOWN_TOPIC_ID, _UNKNOWN_TOPIC_ID)
        return topic.name, topic.topic_id

    # --- add partitions ------------------------------------------------------------------------

    def create_partitions(self, request: Any) -> Plan:
        """CreatePartitions."""
        growth = 0
        for wanted in request.topics:
            topic = self._image.topic(wanted.name)
            growth += max(0, wanted.count - len(topic.partitions)) if topic is not None else 0
        _check_partition_count(growth)
        counts = Counter(topic.name for topic in request.topics)
        rows = []
        records: list[MetadataRecord] = []
        for name in dict.fromkeys(topic.name for topic in request.topics):
            wanted = next(topic for topic in request.topics if topic.name == name)
            row: dict[str, Any] = {"name": name, "error_code": 0, "error_message": None}
            try:
                if counts[name] > 1:
                    raise ApiError(Errors.INVALID_REQUEST, _DUPLICATE_NAME)
                records += self._more_partitions(wanted)
            except ApiError as refusal:
                row |= {"error_code": int(refusal.error), "error_message": refusal.message}
            rows.append(row)
        return Plan(response={"throttle_time": 0, "results": rows}, records=() if request.validate_only else records)

    def _more_partitions(self, wanted: Any) -> Iterable[MetadataRecord]:
        topic = self._image.topic(wanted.name)
        if topic is None:
            raise ApiError(Errors.UNKNOWN_TOPIC_OR_PARTITION)
        present = len(topic.partitions)
        additional = wanted.count - present
        if additional == 0:
            raise ApiError(Errors.INVALID_PARTITIONS, f"Topic already has {present} partition(s).")
        if additional < 0:
            raise ApiError(
                Errors.INVALID_PARTITIONS,
                f"The topic {topic.name} currently has {present} partition(s); {wanted.count} would not be an increase.",
            )
        replication_factor = len(topic.partitions[0].replicas)
        if wanted.assignments is None:
            placements = self._automatic_placements(additional, replication_factor)
        else:
            if len(wanted.assignments) != additional:
                raise ApiError(
                    Errors.INVALID_REPLICA_ASSIGNMENT,
                    f"Attempted to add {additional} additional partition(s), "
                    f"but only {len(wanted.assignments)} assignment(s) were specified.",
                )
            placements = [
                self._checked_assignment(present + index, assignment.broker_ids, replication_factor)
                for index, assignment in enumerate(wanted.assignments)
            ]
        return [self._partition_record(topic.topic_id, present + index, replicas) for index, replicas in enumerate(placements)]


def _check_partition_count(count: int) -> None:
    if count > PARTITIONS_PER_REQUEST_MAX:
        raise ApiError(Errors.POLICY_VIOLATION, "Excessively large number of partitions per request.")
