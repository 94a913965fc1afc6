"""``leader-epoch-checkpoint``: a log's leader epochs on the disk, which may be a little behind those in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from kafkalab.engine.common.time import Clock
from kafkalab.engine.log.checkpoint import LEADER_EPOCH_FILE, write_leader_epochs
from kafkalab.engine.log.epochs import LeaderEpochs
from kafkalab.engine.log.storage import Storage
from kafkalab.engine.log.turns import Turn

EPOCHS_DELAY_MS: Final = 100
"""How long the file of leader epochs may be behind; a log's place within the spread depends on its name."""
EPOCHS_SPREAD_MS: Final = 1_000


class LeaderEpochFile:
    """The file of one log.

    It follows, or a broker that comes to lead a thousand partitions would write a thousand files while their clients
    wait. Until then the batches say it, for a kill; and a flush writes it, for a power cut.

    :param unsynced: what an earlier life wrote may be in the page cache still.
    """

    __slots__ = ("_directory", "_epochs", "_storage", "_turn", "is_unsynced")

    def __init__(self, storage: Storage, clock: Clock, directory: Path, epochs: LeaderEpochs, *, unsynced: bool) -> None:
        self._storage = storage
        self._directory = directory
        self._epochs = epochs
        self.is_unsynced = unsynced
        """A power cut may take what it says."""
        self._turn = Turn(clock, delay_ms=EPOCHS_DELAY_MS, spread_ms=EPOCHS_SPREAD_MS)

    def write_soon(self, write: Callable[[], None]) -> None:
        """An epoch has begun: ``write`` is called in a while, unless the file has been written before."""
        self.is_unsynced = True

        def follow() -> None:
            if self._epochs.dirty:
                write()

        self._turn.come(self._directory.name, follow)

    def write(self, *, sync: bool = False) -> None:
        """Write the entries as they are; without ``sync`` a power cut may take them, for they are in the batches too.

        :raises OSError: as the disk gives it.
        """
        write_leader_epochs(self._storage, self._directory / LEADER_EPOCH_FILE, self._epochs.entries, sync=sync)
        self._epochs.dirty = False
        self.is_unsynced = not sync

    def abandon(self) -> None:
        """Write it no more."""
        self._turn.cancel()

    def moved(self, directory: Path) -> None:
        """The directory has another name."""
        self._directory = directory
