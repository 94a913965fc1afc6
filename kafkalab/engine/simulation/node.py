"""A simulated machine with a node on it: the same node as everywhere, life after life."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.faults.disk import DiskFault
from kafkalab.engine.log.log import Log
from kafkalab.engine.raft.quorum_state import ElectionState
from kafkalab.engine.server.assembly import Node, NodeFailed
from kafkalab.engine.server.machine import Machine
from kafkalab.engine.server.node import GOODBYE_SHARE, NodeSpec
from kafkalab.engine.simulation.loop import SimLoop
from kafkalab.engine.simulation.machine import WALL_START_MS, sim_machine
from kafkalab.engine.simulation.network import SimNetwork
from kafkalab.engine.simulation.scheduler import Scheduler
from kafkalab.engine.simulation.storage import MemoryStorage
from kafkalab.engine.telemetry.events import NodeCrashed, NodeKilled, NodePaused, NodeResumed, NodeStopped
from kafkalab.engine.telemetry.hub import TelemetrySink

log = logging.getLogger(__name__)

CAUSE: Final = "simulation"


class SimNode:
    """See the module.

    :param broken: told of what no node may do: raise where nothing is wrong with its disks.
    """

    def __init__(
        self,
        spec: NodeSpec,
        *,
        scheduler: Scheduler,
        network: SimNetwork,
        rng: Random,
        sink: TelemetrySink,
        broken: Callable[[SimNode, str, BaseException | None], None],
    ) -> None:
        self.spec = spec
        self.node_id = spec.node_id
        self.is_broker = "broker" in spec.roles
        self.is_controller = "controller" in spec.roles
        self._scheduler = scheduler
        self._network = network
        self._rng = rng
        self._sink = sink
        self._broken = broken
        self.offset_ms = 0
        self.storage = MemoryStorage(Random(rng.getrandbits(64)), self._wall_ms)
        self.lives = 0
        self.node: Node | None = None
        """The node of the present life; None where there is none."""
        self.loop: SimLoop | None = None
        self.failure: str | None = None
        """Why the last life ended by itself."""
        self.on_step: Callable[[SimNode], None] | None = None
        self.on_vote: Callable[[SimNode, ElectionState], None] | None = None
        """Told of what the quorum's member puts down, before it is said to anybody."""
        self.is_dark = False
        self.power_losses = 0
        self.is_stopping = False
        """A controlled shutdown is under way."""
        network.add_host(spec.host, spec.node_id)

    def _wall_ms(self) -> int:
        # Files are stamped by the machine's clock, whoever lives on it.
        return WALL_START_MS + int(self._scheduler.now_ms) + self.offset_ms

    @property
    def is_alive(self) -> bool:
        """Whether a life is going on; a paused one is."""
        return self.loop is not None

    @property
    def is_paused(self) -> bool:
        """Whether it was told to do nothing."""
        return self.loop is not None and self.loop.is_paused

    @property
    def is_running(self) -> bool:
        """Alive and not paused."""
        return self.loop is not None and not self.loop.is_paused

    @property
    def metadata_log(self) -> Log | None:
        """The present life's log of the quorum."""
        return None if self.node is None else self.node.metadata_log

    # --- lives -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin a life on what the disks hold."""
        assert self.loop is None, f"node {self.node_id} runs already"
        self.lives += 1
        self.is_stopping = False
        self.failure = None
        if self.is_dark:
            self.is_dark = False
            self._network.power_on(self.node_id)
        loop = self.loop = SimLoop(self._scheduler, self._network, self.node_id, self.spec.host, self._raised)
        if self.on_step is not None:
            loop.on_step = partial(self.on_step, self)
        machine = sim_machine(loop, Random(self._rng.getrandbits(64)), self.storage, self.offset_ms, self.lives, self._voted)
        loop.run(self._boot, (loop, machine))

    def _boot(self, loop: SimLoop, machine: Machine) -> None:
        node = self.node = Node(self.spec, self._sink, loop.as_asyncio, self._give_up, machine)
        task = loop.create_task(self._start(node))
        task.set_name(f"start of node {self.node_id}")

    async def _start(self, node: Node) -> None:
        try:
            await node.start()
        except NodeFailed as e:
            self._give_up(str(e))

    def _voted(self, state: ElectionState) -> None:
        if self.on_vote is not None:
            self.on_vote(self, state)

    def _end(self) -> None:
        loop, self.loop, self.node = self.loop, None, None
        self.storage.background = None
        if loop is not None:
            loop.kill()
            self._network.drop(loop)

    def kill(self) -> None:
        """As SIGKILL does: nothing flushed, sockets reset."""
        if self.loop is None:
            return
        self._abandon()
        self._sink.emit(NodeKilled(at_ms=self._wall_ms(), node_id=self.node_id, cause=CAUSE))

    def power_loss(self, torn_tail_bytes: int | None = 0) -> None:
        """The machine is without power until it is started; what was not synced is gone, or as much of it as said.

        :param torn_tail_bytes: so much of the unsynced end of each file is there all the same; None leaves it to chance.
        """
        self._network.power_off(self.node_id)
        self.is_dark = True
        if self.loop is not None:
            self._abandon()
        self.storage.lose_unsynced(torn_tail_bytes)
        self.power_losses += 1
        self._sink.emit(NodeKilled(at_ms=self._wall_ms(), node_id=self.node_id, cause="power loss"))

    def _abandon(self) -> None:
        node, loop = self.node, self.loop
        assert loop is not None
        loop.is_paused = False
        if node is not None:
            loop.run(node.abandon)
        self._end()

    def stop(self, timeout_ms: float, on_stopped: Callable[[], None] | None = None) -> None:
        """A controlled shutdown; past its time the node is killed."""
        loop, node = self.loop, self.node
        if loop is None or node is None:
            return
        self.resume()
        self.is_stopping = True
        life = self.lives

        def stopped() -> None:
            # Not from within the node's own call.
            self._scheduler.at(self._scheduler.now_ms, self._network.wire, ended)

        def ended() -> None:
            if self.lives == life and self.loop is loop:
                self._end()
                self._sink.emit(NodeStopped(at_ms=self._wall_ms(), node_id=self.node_id, cause=CAUSE))
                if on_stopped is not None:
                    on_stopped()

        def overdue() -> None:
            if self.lives == life and self.loop is loop:
                self.kill()
                if on_stopped is not None:
                    on_stopped()

        self._scheduler.at(self._scheduler.now_ms + timeout_ms, self._network.wire, overdue)
        loop.run(lambda: node.stop(stopped, goodbye_ms=timeout_ms * GOODBYE_SHARE))

    def pause(self) -> None:
        """Do nothing more; sockets stay open."""
        if self.loop is not None and not self.loop.is_paused:
            self.loop.pause()
            self._sink.emit(NodePaused(at_ms=self._wall_ms(), node_id=self.node_id, cause=CAUSE))

    def resume(self) -> None:
        """Go on."""
        if self.loop is not None and self.loop.is_paused:
            self._sink.emit(NodeResumed(at_ms=self._wall_ms(), node_id=self.node_id, cause=CAUSE))
            self.loop.resume()

    # --- faults ----------------------------------------------------------------------------------------

    def jump_clock(self, seconds: float) -> None:
        """Set the wall clock forward, or back with a negative number."""
        self.offset_ms += int(seconds * 1000)
        if self.node is not None:
            self.node.set_clock_offset(self.offset_ms)

    def set_disk_faults(self, faults: tuple[DiskFault, ...]) -> None:
        """From now on these things are wrong with the disks, and no others."""
        self.storage.set_faults(faults)

    # --- what goes wrong -------------------------------------------------------------------------------

    def _give_up(self, why: str) -> None:
        if self.failure is None and self.loop is not None:
            self.failure = why
            self._sink.emit(NodeCrashed(at_ms=self._wall_ms(), node_id=self.node_id, cause=why))
            if not self.storage.faults.active:
                self._broken(self, why, None)
            self._scheduler.at(self._scheduler.now_ms, self._network.wire, self._die, (self.lives,))

    def _die(self, life: int) -> None:
        if self.lives == life and self.loop is not None:
            self._abandon()

    def _raised(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, ApiError) and error.error is Errors.KAFKA_STORAGE_ERROR and self.storage.faults.active:
            # Its disk was told of already, and what follows from that is decided elsewhere.
            return
        self._broken(self, str(context.get("message")), error)


def node_directory(node_id: int) -> Path:
    """Where a node's files are on its machine."""
    return Path(f"/data/node-{node_id}")
