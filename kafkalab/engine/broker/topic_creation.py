"""Topics that come into being because a client asked for their metadata."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from kafkalab.engine.broker.controller_channel import ControllerChannel
from kafkalab.engine.protocol.apis import ApiKey

TIMEOUT_MS: Final = 30_000.0


class TopicCreation:
    """Asks the controller for missing topics, once for each while the answer is due."""

    def __init__(self, channel: ControllerChannel) -> None:
        self._channel = channel
        self._asked: set[str] = set()

    def create(self, names: Iterable[str]) -> None:
        """Ask for topics with the cluster's default partitions and replication factor."""
        wanted = [name for name in dict.fromkeys(names) if name not in self._asked]
        if not wanted:
            return
        self._asked.update(wanted)
        body = {
            "topics": [{"name": name, "num_partitions": -1, "replication_factor": -1} for name in wanted],
            "timeout": int(TIMEOUT_MS),
            "validate_only": False,
        }

        def answered(_response: Any | None) -> None:
            self._asked.difference_update(wanted)

        self._channel.send(ApiKey.CREATE_TOPICS, body, answered, timeout_ms=TIMEOUT_MS)
