"""Whom a quorum member tells what is committed and who leads."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class CommittedBatch(NamedTuple):
    """A batch of the metadata log that is committed."""

    base_offset: int
    epoch: int
    values: list[bytes]
    is_control: bool


class RaftListener(Protocol):
    """The state machine on top of the log."""

    def handle_commit(self, batches: list[CommittedBatch]) -> None:
        """Batches in log order; each is handed over once, also those found on disk at the start."""

    def handle_leader_change(self, leader_id: int, epoch: int) -> None:
        """Another leader (-1: unknown) or epoch."""

    def handle_became_leader(self, epoch: int) -> None:
        """This node leads, its epoch is committed, and everything before has been handed over."""

    def handle_resigned(self) -> None:
        """This node leads no longer. Comes only after :meth:`handle_became_leader`."""
