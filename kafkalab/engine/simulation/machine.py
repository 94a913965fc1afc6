"""A simulated machine: a clock that can be set, disks in memory, and a process that lives on it or does not."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from random import Random
from typing import Final, cast

from kafkalab.engine.common.time import Timer
from kafkalab.engine.raft.quorum_state import ElectionState, FileQuorumStateStore, QuorumStateStore
from kafkalab.engine.server.machine import Machine, MachineStorage
from kafkalab.engine.simulation.loop import SimLoop
from kafkalab.engine.simulation.storage import MemoryStorage

WALL_START_MS: Final = 1_767_225_600_000
"""Runs begin on 2026-01-01."""
SYNC_MIN_MS: Final = 0.2
SYNC_SPREAD_MS: Final = 3.0
"""What a sync beside the loop takes."""


class SimClock:
    """One life's clock."""

    def __init__(self, loop: SimLoop, offset_ms: int) -> None:
        self._loop = loop
        self._scheduler = loop.scheduler
        self.offset_ms = offset_ms

    def now_ms(self) -> float:
        return self._scheduler.now_ms

    def wall_ms(self) -> int:
        return WALL_START_MS + int(self._scheduler.now_ms) + self.offset_ms

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> Timer:
        scheduler = self._scheduler
        return scheduler.at(scheduler.now_ms + max(0.0, delay_ms), self._loop, callback)


class SimDiskWorker:
    """Does what takes its time a little later."""

    def __init__(self, loop: SimLoop, rng: Random) -> None:
        self._loop = loop
        self._rng = rng
        self._is_closed = False
        self._free_ms = 0.0
        self._waiting: dict[int, Callable[[], None]] = {}
        self._next = 0

    def __call__(self, work: Callable[[], None], done: Callable[[OSError | None], None]) -> None:
        """One thing after another, as the one thread of a node does."""
        scheduler = self._loop.scheduler
        self._free_ms = max(self._free_ms, scheduler.now_ms) + SYNC_MIN_MS + self._rng.random() * SYNC_SPREAD_MS
        self._next += 1
        number = self._next
        self._waiting[number] = work

        def due() -> None:
            if self._waiting.pop(number, None) is None:
                return
            error: OSError | None = None
            try:
                work()
            except OSError as e:
                error = e
            if not self._is_closed:
                done(error)

        scheduler.at(self._free_ms, self._loop, due)

    def close(self, *, wait: bool) -> None:
        """Call back no more; with ``wait`` what was begun is finished first."""
        self._is_closed = True
        waiting, self._waiting = self._waiting, {}
        if wait:
            for work in waiting.values():
                work()


class WatchedQuorumStateStore(FileQuorumStateStore):
    """The node's own store; it tells of what was put down."""

    def __init__(self, storage: MemoryStorage, directory: Path, voters: Collection[int], on_write: Callable[[ElectionState], None]) -> None:
        super().__init__(storage, directory, voters)
        self._on_write = on_write

    def write(self, state: ElectionState) -> None:
        super().write(state)
        self._on_write(state)


class SimLock:
    """A folder is never in use by another process here: a machine runs one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def release(self) -> None:
        """Let somebody else have it."""


def sim_machine(
    loop: SimLoop, rng: Random, storage: MemoryStorage, offset_ms: int, life: int, on_vote: Callable[[ElectionState], None]
) -> Machine:
    """What one life of a node is given."""
    worker = SimDiskWorker(loop, rng)
    storage.background = worker

    def quorum_state_store(directory: Path, voters: Collection[int]) -> QuorumStateStore:
        return WatchedQuorumStateStore(storage, directory, voters, on_vote)

    return Machine(
        clock=SimClock(loop, offset_ms),
        rng=rng,
        storage=cast(MachineStorage, storage),
        disk_worker=worker,
        lock=SimLock,
        quorum_state_store=quorum_state_store,
        pid=life,
    )
