"""DescribeLogDirs, versions 1 to 5: what lies in each of this broker's log directories.

v2 is flexible; v3 has an error for the whole; v4 tells the disks' sizes (KIP-827); v5 which
directories get no new replicas (KIP-1066), in clusters whose version knows of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.controller.levels import CORDONED_DIRECTORIES_SINCE, metadata_version_of

if TYPE_CHECKING:
    from kafkalab.engine.broker.context import RequestContext
    from kafkalab.engine.broker.services import BrokerServices
    from kafkalab.engine.replica.hosted import PartitionKey

VERSIONS = range(1, 6)


def handle(services: BrokerServices, ctx: RequestContext, request: Any) -> Mapping[str, Any]:
    """The replicas of the topics that were asked for, or of all."""
    wanted: set[PartitionKey] | None = None
    if request.topics is not None:
        wanted = {(topic.topic, index) for topic in request.topics for index in topic.partitions}
    knows_cordoned = metadata_version_of(services.image) >= CORDONED_DIRECTORIES_SINCE
    results = []
    for directory in services.replica_manager.describe_log_dirs():
        topics: dict[str, list[Mapping[str, Any]]] = {}
        for replica in directory.replicas:
            if wanted is None or replica.key in wanted:
                topics.setdefault(replica.key[0], []).append(
                    {
                        "partition_index": replica.key[1],
                        "partition_size": replica.size_bytes,
                        "offset_lag": replica.offset_lag,
                        "is_future_key": replica.is_future,
                    }
                )
        results.append(
            {
                "error_code": int(directory.error),
                "log_dir": directory.path,
                "topics": [{"name": name, "partitions": partitions} for name, partitions in topics.items()],
                "total_bytes": directory.total_bytes,
                "usable_bytes": directory.usable_bytes,
                "is_cordoned": directory.is_cordoned and knows_cordoned,
            }
        )
    return {"throttle_time": 0, "error_code": 0, "results": results}


def error_response(request: Any, error: Errors, message: str | None, version: int) -> Mapping[str, Any]:
    """The whole request is refused."""
    return {"throttle_time": 0, "error_code": int(error), "results": []}
