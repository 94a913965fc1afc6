"""What a node takes for granted of the machine that it runs on: a clock, chance, disks, a lock on its folders.

Handed in as one thing, so that the same node runs here and on a machine that there is only in memory.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Protocol

from kafkalab.engine.common.time import Clock
from kafkalab.engine.log.dir_lock import DirLock
from kafkalab.engine.log.faulty_storage import FaultyStorage
from kafkalab.engine.log.storage import Storage
from kafkalab.engine.raft.quorum_state import FileQuorumStateStore, QuorumStateStore
from kafkalab.engine.server.disk_worker import DiskWorker
from kafkalab.engine.server.loop_clock import LoopClock

if TYPE_CHECKING:
    from kafkalab.engine.faults.disk import DiskFault
    from kafkalab.engine.server.node import NodeSpec


class MachineClock(Clock, Protocol):
    """A clock whose wall time can be set."""

    offset_ms: int
    """How much the wall clock is ahead of the right time."""


class MachineStorage(Storage, Protocol):
    """Disks that can be made to fail, and lose their power."""

    def set_faults(self, faults: Iterable[DiskFault]) -> None:
        """From now on these faults and no others."""

    def lose_unsynced(self, torn_tail_bytes: int = 0) -> None:
        """What was not synced is gone, but for so many bytes of each file; nobody uses the storage any more."""


class Worker(Protocol):
    """Who does for the storage what takes its time."""

    def close(self, *, wait: bool) -> None:
        """Call back no more; with ``wait`` what was begun is finished first."""


class Lock(Protocol):
    """A folder that nobody else may use."""

    def release(self) -> None:
        """Let somebody else have it; doing so twice does nothing."""


@dataclass(frozen=True, slots=True)
class Machine:
    """See the module."""

    clock: MachineClock
    rng: Random
    storage: MachineStorage
    disk_worker: Worker
    lock: Callable[[Path], Lock]
    """Locks a folder; raises :class:`~kafkalab.engine.log.dir_lock.DirLocked` when somebody has it."""
    quorum_state_store: Callable[[Path, Collection[int]], QuorumStateStore]
    """By the metadata log's directory and the voters."""
    pid: int


def this_machine(spec: NodeSpec, loop: asyncio.AbstractEventLoop) -> Machine:
    """The machine that we are on."""
    disk_worker = DiskWorker(loop, f"kafkalab-disk-{spec.node_id}")
    storage = FaultyStorage(faults=spec.disk_faults, background=disk_worker)
    return Machine(
        clock=LoopClock(loop, spec.clock_offset_ms),
        rng=SystemRandom(),
        storage=storage,
        disk_worker=disk_worker,
        lock=DirLock,
        quorum_state_store=partial(FileQuorumStateStore, storage),
        pid=os.getpid(),
    )
