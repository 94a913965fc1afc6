"""In which log directory each broker has its replicas (KIP-858).

The controller does not choose: a broker with one directory is known to use it, one with several
places a replica itself and reports where. A replica in a directory that its broker has lost may
not lead.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.controller.brokers import check_broker_epoch
from kafkalab.engine.controller.elections import Elections
from kafkalab.engine.controller.levels import DIRECTORIES_SINCE, metadata_version_of
from kafkalab.engine.controller.operation import Plan
from kafkalab.engine.metadata.image import BrokerRegistration, MetadataImage
from kafkalab.engine.protocol.metadata_records import MetadataRecord


class DirectoryAssignments:
    """Plans what brokers report."""

    def __init__(self, image: MetadataImage, elections: Elections) -> None:
        self._image = image
        self._elections = elections

    def assign(self, request: Any) -> Plan:
        """AssignReplicasToDirs: each partition of the request is recorded or refused by itself."""
        if metadata_version_of(self._image) < DIRECTORIES_SINCE:
            raise ApiError(Errors.UNSUPPORTED_VERSION, "Directory assignment is not supported yet.")
        broker = check_broker_epoch(self._image, request.broker_id, request.broker_epoch)
        records: list[MetadataRecord] = []
        directories = []
        for directory in request.directories:
            topics = []
            for topic in directory.topics:
                rows = [self._assign_one(broker, directory.id_, topic.topic_id, part.partition_index, records) for part in topic.partitions]
                topics.append({"topic_id": topic.topic_id, "partitions": rows})
            directories.append({"id_": directory.id_, "topics": topics})
        return Plan(
            response={"throttle_time": 0, "error_code": 0, "directories": directories},
            records=records,
            cause=f"broker {broker.broker_id} reported where its replicas are",
        )

    def _assign_one(
        self,
        broker: BrokerRegistration,
        directory: uuid.UUID | None,
        topic_id: uuid.UUID | None,
        partition_id: int,
        records: list[MetadataRecord],
    ) -> Mapping[str, Any]:
        try:
            topic = self._image.topic_by_id(topic_id)
            if topic is None:
                raise ApiError(Errors.UNKNOWN_TOPIC_ID)
            partition = topic.partitions.get(partition_id)
            if partition is None:
                raise ApiError(Errors.UNKNOWN_TOPIC_OR_PARTITION)
            if broker.broker_id not in partition.replicas or directory is None:
                raise ApiError(Errors.NOT_LEADER_OR_FOLLOWER)
        except ApiError as refusal:
            return {"partition_index": partition_id, "error_code": int(refusal.error)}
        record = self._elections.with_directory(topic, partition_id, broker.broker_id, directory)
        if record is not None:
            records.append(record)
        return {"partition_index": partition_id, "error_code": 0}
