"""Brings ISR changes to the controller, one request at a time, as many partitions in it as there are.

A change that the controller answered is settled by its answer or by the metadata, whichever comes
first. A request that got no answer is sent again: applying it twice is refused by its epochs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey

if TYPE_CHECKING:
    from kafkalab.engine.common.time import Clock, Timer
    from kafkalab.engine.replica.partition import Partition

log = logging.getLogger(__name__)

RETRY_BACKOFF_MS: Final = 50.0
REQUEST_TIMEOUT_MS: Final = 10_000.0

# The controller says that nothing was applied and nothing ever will be.
_REFUSED: Final = frozenset({Errors.OPERATION_NOT_ATTEMPTED, Errors.INELIGIBLE_REPLICA})
# The metadata has moved on, or will: it settles the change.
_SETTLED_BY_METADATA: Final = frozenset(
    {
        Errors.UNKNOWN_TOPIC_OR_PARTITION,
        Errors.UNKNOWN_TOPIC_ID,
        Errors.FENCED_LEADER_EPOCH,
        Errors.INVALID_UPDATE_VERSION,
        Errors.INVALID_REQUEST,
        Errors.NEW_LEADER_ELECTED,
    }
)


class IsrProposal:
    """An ISR that was proposed to the controller and not yet decided."""

    __slots__ = ("broker_epochs", "isr", "joining", "leader_epoch", "partition_epoch")

    def __init__(
        self, isr: tuple[int, ...], broker_epochs: tuple[int, ...], joining: int | None, leader_epoch: int, partition_epoch: int
    ) -> None:
        self.isr = isr
        self.broker_epochs = broker_epochs
        """Parallel to the ISR; -1 where the replica's epoch is not known."""
        self.joining = joining
        """The broker that is to join, None when members are to leave."""
        self.leader_epoch = leader_epoch
        self.partition_epoch = partition_epoch


class ControllerSender(Protocol):
    """The way to the active controller."""

    def send(self, api_key: ApiKey, body: Mapping[str, Any], on_response: Callable[[Any | None], None], *, timeout_ms: float = ...) -> None:
        """Send a request; None comes back when no controller took it in time."""


class IsrChanges:
    """The queue of ISR proposals of one broker."""

    def __init__(self, *, node_id: int, clock: Clock, channel: ControllerSender, broker_epoch: Callable[[], int]) -> None:
        self._node_id = node_id
        self._clock = clock
        self._channel = channel
        self._broker_epoch = broker_epoch
        self._waiting: dict[Partition, IsrProposal] = {}
        self._in_flight: dict[Partition, IsrProposal] = {}
        self._timer: Timer | None = None
        self._is_closed = False

    def propose(self, partition: Partition, proposal: IsrProposal) -> None:
        """Send the proposal with the next request."""
        self._waiting[partition] = proposal
        # The next turn of the loop sends what all fetches and timers of this one proposed.
        if not self._in_flight and self._timer is None:
            self._arm(0.0)

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
        if self._is_closed:
            return
        # Proposals that their partition has given up are not worth sending.
        batch = {partition: proposal for partition, proposal in self._waiting.items() if partition.pending is proposal}
        self._waiting = {}
        if not batch:
            return
        self._in_flight = batch
        topics: dict[Any, list[dict[str, Any]]] = {}
        for partition, proposal in batch.items():
            topics.setdefault(partition.topic_id, []).append(
                {
                    "partition_index": partition.topic_partition.partition,
                    "leader_epoch": proposal.leader_epoch,
                    "new_isr_with_epochs": [
                        {"broker_id": broker_id, "broker_epoch": epoch}
                        for broker_id, epoch in zip(proposal.isr, proposal.broker_epochs, strict=True)
                    ],
                    "leader_recovery_state": 0,
                    "partition_epoch": proposal.partition_epoch,
                }
            )
        body = {
            "broker_id": self._node_id,
            "broker_epoch": self._broker_epoch(),
            "topics": [{"topic_id": topic_id, "partitions": partitions} for topic_id, partitions in topics.items()],
        }
        self._channel.send(ApiKey.ALTER_PARTITION, body, self._answered, timeout_ms=REQUEST_TIMEOUT_MS)

    def _answered(self, response: Any | None) -> None:
        if self._is_closed:
            return
        batch, self._in_flight = self._in_flight, {}
        again: dict[Partition, IsrProposal] = {}
        if response is None or response.error_code != Errors.NONE:
            if response is not None:
                log.info("the controller refuses ISR changes: %s", Errors.name_of(response.error_code))
            again = batch
        else:
            by_key = {(p.topic_id, p.topic_partition.partition): p for p in batch}
            now_ms = self._clock.now_ms()
            for topic in response.topics:
                for answer in topic.partitions:
                    partition = by_key.pop((topic.topic_id, answer.partition_index), None)
                    if partition is None:
                        continue
                    proposal = batch[partition]
                    error = answer.error_code
                    if error == Errors.NONE:
                        partition.isr_decided(tuple(answer.isr), answer.leader_epoch, answer.partition_epoch, now_ms)
                    elif error in _REFUSED:
                        partition.isr_refused(proposal, now_ms)
                    elif error not in _SETTLED_BY_METADATA:
                        again[partition] = proposal
            for partition in by_key.values():
                again[partition] = batch[partition]
        for partition, proposal in again.items():
            if partition.pending is proposal:
                self._waiting.setdefault(partition, proposal)
        if self._waiting and self._timer is None:
            self._arm(RETRY_BACKOFF_MS if again else 0.0)
