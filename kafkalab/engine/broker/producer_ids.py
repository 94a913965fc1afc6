"""Producer ids, given out from blocks that the controller hands to this broker."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from kafkalab.engine.broker.controller_channel import ControllerChannel
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey

PREFETCH_AT: Final = 0.9
"""The next block is asked for when this part of the current one is used."""
ALLOCATE_TIMEOUT_MS: Final = 5_000.0

OnId = Callable[[int | None], None]


class ProducerIds:
    """Unique ids across the cluster: every block is given to one broker, once (KIP-730)."""

    def __init__(self, *, node_id: int, channel: ControllerChannel, broker_epoch: Callable[[], int]) -> None:
        self._node_id = node_id
        self._channel = channel
        self._broker_epoch = broker_epoch
        self._next = 0
        self._end = 0
        self._prefetch_from = 0
        self._following: tuple[int, int] | None = None
        self._asking = False
        self._waiting: deque[OnId] = deque()

    def next(self, on_id: OnId) -> None:
        """Give an id, now or when the controller has answered; None when it did not in time."""
        if self._next >= self._end and self._following is not None:
            self._use(*self._following)
            self._following = None
        if self._next < self._end:
            value = self._next
            self._next += 1
            if self._next >= self._prefetch_from and self._following is None:
                self._ask()
            on_id(value)
        else:
            self._waiting.append(on_id)
            self._ask()

    def _use(self, start: int, length: int) -> None:
        self._next, self._end = start, start + length
        self._prefetch_from = start + int(length * PREFETCH_AT)

    def _ask(self) -> None:
        if self._asking:
            return
        self._asking = True
        body = {"broker_id": self._node_id, "broker_epoch": self._broker_epoch()}
        self._channel.send(ApiKey.ALLOCATE_PRODUCER_IDS, body, self._answered, timeout_ms=ALLOCATE_TIMEOUT_MS)

    def _answered(self, response: Any | None) -> None:
        self._asking = False
        if response is not None and response.error_code == Errors.NONE and response.producer_id_len > 0:
            block = (response.producer_id_start, response.producer_id_len)
            if self._next < self._end:
                self._following = block
            else:
                self._use(*block)
            waiting, self._waiting = self._waiting, deque()
            for on_id in waiting:
                self.next(on_id)
        else:
            waiting, self._waiting = self._waiting, deque()
            for on_id in waiting:
                on_id(None)
