"""One thing that the controller was asked to do, and what it decided to do about it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kafkalab.engine.common.errors import ApiError
from kafkalab.engine.protocol.metadata_records import MetadataRecord

RECORDS_PER_REQUEST_MAX: Final = 10_000
"""What one request of a client may change at once."""
TOO_MANY_RECORDS: Final = "Unable to perform excessively large batch operation."

Body = Mapping[str, Any]
Respond = Callable[[Body], None]


@dataclass(slots=True, kw_only=True)
class Plan:
    """Records to commit, and the answer to give once they are."""

    response: Body = field(default_factory=dict)
    records: Sequence[MetadataRecord] = ()
    cause: str = ""
    """Why partitions change, in words for the timeline."""
    causes: Mapping[tuple[uuid.UUID, int], str] = field(default_factory=dict)
    """Causes of single partitions, where they differ."""
    fence_cause: str = ""
    silent_ms: float = 0.0
    on_committed: Callable[[int], None] | None = None
    """Called with the last record's offset before the answer goes out."""


@dataclass(slots=True, kw_only=True, eq=False)
class Operation:
    """A request in the controller's queue."""

    name: str
    plan: Callable[[], Plan]
    """Computes from the committed image; called when no other operation is under way."""
    respond: Respond
    refuse: Callable[[ApiError], None]
    deadline_ms: float | None = None
    decided: Plan | None = None
    last_offset: int | None = None
    """Metadata offset of its last record, once appended."""
