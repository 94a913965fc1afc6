"""Tells the controller in which of its log directories this broker has its replicas (KIP-858).

One request at a time, as many replicas in it as there are; what got no answer is told again, since
telling it twice changes nothing.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey

if TYPE_CHECKING:
    from kafkalab.engine.common.time import Clock, Timer
    from kafkalab.engine.replica.isr import ControllerSender

log = logging.getLogger(__name__)

RETRY_BACKOFF_MS: Final = 100.0
REQUEST_TIMEOUT_MS: Final = 10_000.0
ASSIGNMENTS_PER_REQUEST_MAX: Final = 2_250

# The replica is not this broker's (any more), or will never have been: metadata says so, or will.
_SETTLED: Final = frozenset({Errors.NONE, Errors.UNKNOWN_TOPIC_ID, Errors.UNKNOWN_TOPIC_OR_PARTITION, Errors.NOT_LEADER_OR_FOLLOWER})

Replica = tuple[uuid.UUID, int]
"""Topic id and partition."""


class _Assignment:
    __slots__ = ("directory", "on_recorded")

    def __init__(self, directory: uuid.UUID, on_recorded: Callable[[], None] | None) -> None:
        self.directory = directory
        self.on_recorded = on_recorded


class DirectoryAssignments:
    """The queue of one broker's reports."""

    def __init__(self, *, node_id: int, clock: Clock, channel: ControllerSender, broker_epoch: Callable[[], int]) -> None:
        self._node_id = node_id
        self._clock = clock
        self._channel = channel
        self._broker_epoch = broker_epoch
        self._waiting: dict[Replica, _Assignment] = {}
        self._in_flight: dict[Replica, _Assignment] = {}
        self._timer: Timer | None = None
        self._is_closed = False

    def report(self, replica: Replica, directory: uuid.UUID, on_recorded: Callable[[], None] | None = None) -> None:
        """A replica is in this directory, or is to be; the last word counts. ``on_recorded`` is called when the controller has it."""
        under_way = self._in_flight.get(replica)
        if on_recorded is None and under_way is not None and under_way.directory == directory and replica not in self._waiting:
            return
        self._waiting[replica] = _Assignment(directory, on_recorded)
        if not self._in_flight and self._timer is None:
            self._arm(0.0)

    def forget(self, replica: Replica) -> None:
        """Nobody needs to know any more."""
        self._waiting.pop(replica, None)
        self._in_flight.pop(replica, None)

    def close(self) -> None:
        """Send nothing any more and listen to no answer."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, delay_ms: float) -> None:
        self._timer = self._clock.call_later(delay_ms, self._send)

    def _send(self) -> None:
        self._timer = None
        if self._is_closed or not self._waiting:
            return
        batch = dict(islice(self._waiting.items(), ASSIGNMENTS_PER_REQUEST_MAX))
        for replica in batch:
            del self._waiting[replica]
        self._in_flight = batch
        tree: dict[uuid.UUID, dict[uuid.UUID, list[int]]] = {}
        for (topic_id, index), assignment in batch.items():
            tree.setdefault(assignment.directory, {}).setdefault(topic_id, []).append(index)
        body = {
            "broker_id": self._node_id,
            "broker_epoch": self._broker_epoch(),
            "directories": [
                {
                    "id_": directory,
                    "topics": [
                        {"topic_id": topic_id, "partitions": [{"partition_index": index} for index in indexes]}
                        for topic_id, indexes in topics.items()
                    ],
                }
                for directory, topics in tree.items()
            ],
        }
        self._channel.send(ApiKey.ASSIGN_REPLICAS_TO_DIRS, body, self._answered, timeout_ms=REQUEST_TIMEOUT_MS)

    def _answered(self, response: Any | None) -> None:
        if self._is_closed:
            return
        batch, self._in_flight = self._in_flight, {}
        recorded: list[_Assignment] = []
        if response is not None and response.error_code == Errors.NONE:
            for directory in response.directories:
                for topic in directory.topics:
                    for answer in topic.partitions:
                        if answer.error_code in _SETTLED and (done := batch.pop((topic.topic_id, answer.partition_index), None)):
                            recorded.append(done)
        elif response is not None:
            log.info(
                "the controller refuses what broker %d says of its directories: %s", self._node_id, Errors.name_of(response.error_code)
            )
        for replica, assignment in batch.items():
            self._waiting.setdefault(replica, assignment)
        for assignment in recorded:
            if assignment.on_recorded is not None:
                assignment.on_recorded()
        if self._waiting and self._timer is None and not self._in_flight:
            self._arm(RETRY_BACKOFF_MS if batch else 0.0)
