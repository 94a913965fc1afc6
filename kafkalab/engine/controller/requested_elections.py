"""ElectLeaders: elections that somebody asks for (KIP-183, KIP-460).

A preferred one gives leadership back to the first replica of the assignment; an unclean one gives a
partition without a leader to whom is there, though records may be lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.controller.elections import Elections, is_called_for
from kafkalab.engine.controller.operation import RECORDS_PER_REQUEST_MAX, TOO_MANY_RECORDS, Plan
from kafkalab.engine.controller.partition_change import Election
from kafkalab.engine.metadata.image import MetadataImage
from kafkalab.engine.protocol.metadata_records import PartitionChangeRecord

_KINDS: Final[Mapping[int, Election]] = {0: Election.PREFERRED, 1: Election.UNCLEAN}
_NOT_NEEDED: Final = "Leader election not needed for topic partition."
_NO_PREFERRED: Final = "The preferred leader was not available."
_NO_ELIGIBLE: Final = "Eligible topic partition leaders are not available."


class RequestedElections:
    """Plans what clients ask for. Each partition succeeds or fails by itself."""

    def __init__(self, image: MetadataImage, elections: Elections) -> None:
        self._image = image
        self._elections = elections

    def elect(self, request: Any) -> Plan:
        """ElectLeaders; without partitions all are meant, and those that need no election are left out of the answer."""
        kind = getattr(request, "election_type", 0)  # Version 0 knows preferred elections only.
        election = _KINDS.get(kind)
        if election is None:
            raise ApiError(Errors.INVALID_REQUEST, f"Unknown election type {kind}")
        everything = request.topic_partitions is None
        if everything:
            asked = [(topic.name, sorted(topic.partitions)) for topic in self._image.topics_by_name.values()]
        else:
            asked = [(topic.topic, list(topic.partitions)) for topic in request.topic_partitions]
        records: list[PartitionChangeRecord] = []
        topics = []
        for name, partition_ids in asked:
            rows = []
            for partition_id in partition_ids:
                error, message = Errors.NONE, None
                try:
                    records.append(self._elect_one(name, partition_id, election))
                except ApiError as refusal:
                    error, message = refusal.error, refusal.message
                if not everything or error is not Errors.ELECTION_NOT_NEEDED:
                    rows.append({"partition_id": partition_id, "error_code": int(error), "error_message": message})
            topics.append({"topic": name, "partition_result": rows})
        if len(records) > RECORDS_PER_REQUEST_MAX:
            raise ApiError(Errors.POLICY_VIOLATION, TOO_MANY_RECORDS)
        return Plan(
            response={"throttle_time": 0, "error_code": 0, "replica_election_results": topics},
            records=records,
            cause="a preferred election was asked for" if election is Election.PREFERRED else "an unclean election was asked for",
        )

    def _elect_one(self, name: str, partition_id: int, election: Election) -> PartitionChangeRecord:
        topic = self._image.topic(name)
        if topic is None:
            raise ApiError(Errors.UNKNOWN_TOPIC_OR_PARTITION, f"No such topic as {name}")
        partition = topic.partitions.get(partition_id)
        if partition is None:
            raise ApiError(Errors.UNKNOWN_TOPIC_OR_PARTITION, f"No such partition as {name}-{partition_id}")
        if not is_called_for(election, partition):
            raise ApiError(Errors.ELECTION_NOT_NEEDED, _NOT_NEEDED)
        record = self._elections.change(topic, partition_id, election=election)
        if record is None:
            if election is Election.PREFERRED:
                raise ApiError(Errors.PREFERRED_LEADER_NOT_AVAILABLE, _NO_PREFERRED)
            raise ApiError(Errors.ELIGIBLE_LEADERS_NOT_AVAILABLE, _NO_ELIGIBLE)
        return record
