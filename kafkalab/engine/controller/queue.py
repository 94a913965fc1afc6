"""The controller's queue: operations one at a time, each on what the one before has committed.

An operation computes from the committed image which records it wants and what to answer, the records
are appended as one batch, and when they are committed and replayed the answer goes out and the next
operation starts. Nothing but replay changes the image, so what was not committed never happened. An
operation without records is answered at once.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.features import METADATA_VERSION
from kafkalab.engine.common.time import Clock
from kafkalab.engine.controller.operation import Operation, Plan
from kafkalab.engine.metadata.image import METADATA_VERSION_FEATURE, MetadataImage
from kafkalab.engine.metadata.record_versions import encode_for

log = logging.getLogger(__name__)


class MetadataWriter(Protocol):
    """What the controller needs of raft."""

    def append(self, values: Sequence[bytes], on_commit: Callable[[bool], None]) -> int:
        """Append one batch as the leader and return its last offset; False when it will not be known to commit."""

    @property
    def leader_id(self) -> int:
        """The node id of the quorum's leader, -1 while unknown."""


class OperationQueue:
    """Runs operations against one image and one log."""

    def __init__(self, clock: Clock, raft: MetadataWriter, image: MetadataImage, refusal: Callable[[], ApiError]) -> None:
        """``refusal`` makes what is answered when a batch is not known to commit."""
        self._clock = clock
        self._raft = raft
        self._image = image
        self._refusal = refusal
        self._waiting: deque[Operation] = deque()
        self._pending: Operation | None = None  # the one whose records are appended and not yet replayed
        self._draining = False

    def __len__(self) -> int:
        """Operations that wait or are under way."""
        return len(self._waiting) + (self._pending is not None)

    @property
    def decided(self) -> Plan | None:
        """What the operation under way decided to do."""
        return None if self._pending is None else self._pending.decided

    def add(self, operation: Operation) -> None:
        """Run an operation when those before it are done; at once if there are none."""
        self._waiting.append(operation)
        self._drain()

    def clear(self) -> list[Operation]:
        """Forget everything; what waited or was under way, for the caller to refuse."""
        forgotten = [] if self._pending is None else [self._pending]
        forgotten += self._waiting
        self._pending = None
        self._waiting.clear()
        return forgotten

    def _drain(self) -> None:
        # A quorum of one commits within append, and answers may ask for more: one loop, no recursion.
        if self._draining:
            return
        self._draining = True
        try:
            while self._waiting and self._pending is None:
                self._start(self._waiting.popleft())
        finally:
            self._draining = False

    def _start(self, operation: Operation) -> None:
        if operation.deadline_ms is not None and self._clock.now_ms() > operation.deadline_ms:
            operation.refuse(ApiError(Errors.REQUEST_TIMED_OUT, "The controller had no time for the request before its timeout."))
            return
        try:
            plan = operation.decided = operation.plan()
        except ApiError as refusal:
            operation.refuse(refusal)
            return
        except AssertionError:
            raise
        except Exception:
            log.exception("%s failed", operation.name)
            operation.refuse(ApiError(Errors.UNKNOWN_SERVER_ERROR))
            return
        if not plan.records:
            if plan.on_committed is not None:
                plan.on_committed(self._image.offset)
            operation.respond(plan.response)
            return
        self._pending = operation
        try:
            level = self._image.features.get(METADATA_VERSION_FEATURE, METADATA_VERSION)
            operation.last_offset = self._raft.append(
                [encode_for(record, level) for record in plan.records], partial(self._appended, operation)
            )
        except ApiError as refusal:
            # Raft leads no longer, and is about to say so.
            self._pending = None
            operation.refuse(refusal)
            return
        self.complete()

    def _appended(self, operation: Operation, committed: bool) -> None:
        # Success is known by replay, which also has to have happened before anybody is answered.
        if not committed and self._pending is operation:
            self._pending = None
            operation.refuse(self._refusal())
            self._drain()

    def complete(self) -> None:
        """The image has moved on: perhaps far enough for the operation under way."""
        operation = self._pending
        if operation is None or operation.last_offset is None or self._image.offset < operation.last_offset:
            return
        self._pending = None
        plan = operation.decided
        assert plan is not None, "an operation with records was decided"
        if plan.on_committed is not None:
            plan.on_committed(operation.last_offset)
        operation.respond(plan.response)
        self._drain()
