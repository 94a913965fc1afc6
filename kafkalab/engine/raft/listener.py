"""Whom a quorum member tells what is committed and who leads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol


class CommittedBatch(NamedTuple):
    """A batch of the metadata log that is committed."""

    base_offset: int
    epoch: int
    values: Sequence[bytes]
    is_control: bool
    size_bytes: int = 0
    """As it lies in the log."""
    timestamp_ms: int = -1
    """When its leader wrote it, by that one's wall clock."""


class CommittedSnapshot(Protocol):
    """The state as the log had brought it about at an offset."""

    @property
    def end_offset(self) -> int:
        """Everything before it is contained."""

    @property
    def epoch(self) -> int:
        """The epoch of the last record that is contained."""

    def last_contained_ms(self) -> int:
        """When that record was written."""

    def values(self) -> Iterator[list[bytes]]:
        """The records of the state, in batches."""


class RaftListener(Protocol):
    """The state machine on top of the log."""

    def handle_commit(self, batches: list[CommittedBatch]) -> None:
        """Batches in log order; each is handed over once, also those found on disk at the start."""

    def handle_snapshot(self, snapshot: CommittedSnapshot) -> Iterator[int]:
        """Everything up to an offset, instead of batches that are not here; what was handed over before is contained too.

        It is taken up a part at a time, as the iterator is called, which tells how many records the part had. None of
        it is to be seen before the last. No batches come in between; another snapshot may, and then this one is forgotten.
        """

    def handle_leader_change(self, leader_id: int, epoch: int) -> None:
        """Another leader (-1: unknown) or epoch."""

    def handle_became_leader(self, epoch: int) -> None:
        """This node leads, its epoch is committed, and everything before has been handed over."""

    def handle_resigned(self) -> None:
        """This node leads no longer. Comes only after :meth:`handle_became_leader`."""
