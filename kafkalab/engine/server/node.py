"""A node in a thread of its own: started, stopped, killed and paused from outside."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.faults.disk import DiskFault
from kafkalab.engine.faults.network import LinkFault
from kafkalab.engine.log.meta_properties import log_directories
from kafkalab.engine.server.assembly import Node, NodeFailed
from kafkalab.engine.telemetry.hub import TelemetrySink

__all__ = ["NodeFailed", "NodeRunner", "NodeSpec"]

log = logging.getLogger(__name__)

GOODBYE_SHARE: Final = 0.7
"""The part of a stop's time that is left to the controller to move leadership away."""
KILL_WAIT_S: Final = 10.0
FILES_WAIT_S: Final = 300.0
FAULT_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What a node is told of itself and of its quorum."""

    node_id: int
    roles: frozenset[str]
    """``broker``, ``controller`` or both."""
    data_dir: Path
    cluster_id: str
    host: str
    broker_port: int | None
    controller_port: int | None
    voters: Mapping[int, tuple[str, int]]
    config: Mapping[str, str] = field(default_factory=dict)
    log_dirs: int = 1
    """How many log directories the node has: its own folder, or folders ``dir-1`` and so on in it."""
    bootstrap_servers: tuple[tuple[str, int], ...] = ()
    """Whom to ask for the quorum, where the metadata log says who votes and ``voters`` is empty."""
    disk_faults: tuple[DiskFault, ...] = ()
    """What is wrong with its disks."""
    link_faults: tuple[LinkFault, ...] = ()
    """What is wrong with its links."""
    clock_offset_ms: int = 0
    """How much its wall clock is ahead of this machine's."""

    @property
    def directories(self) -> tuple[Path, ...]:
        """The log directories; the first one holds the metadata log."""
        return log_directories(self.data_dir, self.log_dirs)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The fastest loop that is installed: uvloop, winloop or asyncio's own."""
    try:
        if sys.platform == "win32":
            import winloop as fast
        else:
            import uvloop as fast
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = fast.new_event_loop()
    return loop


class NodeRunner:
    """Runs one node from start to end in one thread. Its methods may be called from any other thread."""

    def __init__(self, spec: NodeSpec, sink: TelemetrySink) -> None:
        self.spec = spec
        self.on_exit: Callable[[str | None], None] | None = None
        self.failure: str | None = None
        self._sink = sink
        self._loop = new_event_loop()
        self._node: Node | None = None
        self._ready: Future[None] = Future()
        self._awake = threading.Event()
        self._awake.set()
        self._dying = False
        self._early: list[Callable[[Node], None]] = []
        """What was ordered before there was a node."""
        self._torn_tail_bytes: int | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"kafkalab-node-{spec.node_id}", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the node has not ended yet; a paused one has not."""
        return self._thread.is_alive() and not self._ended.is_set()

    def start(self) -> None:
        """Start the thread and return at once."""
        self._thread.start()

    def wait_ready(self, timeout: float) -> None:
        """Wait until the node has its files and its ports.

        :raises NodeFailed: when it could not get them, or not in time.
        """
        try:
            self._ready.result(timeout)
        except TimeoutError as e:
            raise NodeFailed(f"node {self.spec.node_id} did not start within {timeout:g} s") from e

    def stop(self, timeout: float, *, hands_over: bool = True) -> None:
        """Controlled shutdown; past the timeout the node is killed.

        :param hands_over: leaderships move to other nodes first; not where all end at the same time.
        """
        self.resume()
        self._post(lambda: self._begin_stop(timeout * 1000 * GOODBYE_SHARE if hands_over else 0.0))
        if not self._ended.wait(timeout) and not self._is_through_with_its_files():
            log.warning("node %d did not stop within %g s and is killed", self.spec.node_id, timeout)
            self.kill()
        self._thread.join(KILL_WAIT_S)

    def _is_through_with_its_files(self) -> bool:
        """A node that writes its logs down for a clean end is waited for: a kill would not come before that is over."""
        if self._node is None or not self._node.is_ended:
            return False
        log.info("node %d is still writing its logs", self.spec.node_id)
        return self._ended.wait(FILES_WAIT_S)

    def kill(self) -> None:
        """End the node as SIGKILL would: nothing flushed, no goodbye, sockets reset."""
        self._dying = True
        self._post(self._die)
        self._awake.set()
        self._ended.wait(KILL_WAIT_S)
        self._thread.join(KILL_WAIT_S)

    def power_loss(self, torn_tail_bytes: int = 0) -> None:
        """End the node as a power cut would: as killed, and what was not synced is not on its disks."""
        self._torn_tail_bytes = torn_tail_bytes
        self.kill()

    def set_disk_faults(self, faults: tuple[DiskFault, ...]) -> None:
        """From now on these things are wrong with the node's disks and no others; returns when that is so."""
        self._carry_out(lambda node: node.set_disk_faults(faults))

    def set_link_faults(self, faults: tuple[LinkFault, ...]) -> None:
        """From now on these things are wrong with the node's links and no others; returns when that is so."""
        self._carry_out(lambda node: node.set_link_faults(faults))

    def set_clock_offset(self, offset_ms: int) -> None:
        """From now on the node's wall clock is so much ahead of this machine's; returns when that is so."""
        self._carry_out(lambda node: node.set_clock_offset(offset_ms))

    def _carry_out(self, command: Callable[[Node], None]) -> None:
        """Have something done in the node's thread; a paused node does it when it goes on."""
        done: Future[None] = Future()

        def apply() -> None:
            if self._node is not None:
                command(self._node)
            else:
                self._early.append(command)
            done.set_result(None)

        self._post(apply)
        while not self._ended.is_set() and self._awake.is_set():
            try:
                done.result(FAULT_POLL_S)
            except TimeoutError:
                continue
            return

    def pause(self) -> None:
        """Stop answering; sockets stay open. Who is told of a pause must not see one more answer, so this waits until it is so."""
        asleep = threading.Event()

        def sleep() -> None:
            asleep.set()
            self._awake.wait()
            if self._dying:
                self._die()

        self._awake.clear()
        self._post(sleep)
        while self.is_alive and not self._awake.is_set() and not asleep.wait(FAULT_POLL_S):
            pass

    def resume(self) -> None:
        """Answer again."""
        self._awake.set()

    # --- in the node's thread ------------------------------------------------------------------

    def _post(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            pass  # the loop is closed: the node is gone already

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(self._broken)
        self._loop.create_task(self._boot())
        try:
            self._loop.run_forever()
        finally:
            try:
                # Transports that were closed or aborted let go of their sockets in one more turn.
                self._turn()
                for task in asyncio.all_tasks(self._loop):
                    task.cancel()
                self._turn()
                # What was accepted or connected meanwhile was dropped as it came.
                self._turn()
            finally:
                self._loop.close()
                if not self._ready.done():
                    self._ready.set_exception(NodeFailed(self.failure or "the node was ended while it started"))
                self._ended.set()
        if self.on_exit is not None:
            self.on_exit(self.failure)

    def _turn(self) -> None:
        """Let everything that is due run once."""
        while True:
            turn = self._loop.create_task(asyncio.sleep(0))
            try:
                self._loop.run_until_complete(turn)
            except RuntimeError:
                if not turn.done():
                    continue  # a kill that came while the node closed its files stops a loop that ended already
            return

    async def _boot(self) -> None:
        try:
            self._node = Node(self.spec, self._sink, self._loop, self._give_up)
            for command in self._early:
                command(self._node)
            await self._node.start()
        except NodeFailed as e:
            self._give_up(str(e))
        except Exception as e:
            log.exception("node %d could not start", self.spec.node_id)
            self._give_up(f"{type(e).__name__}: {e}")
        else:
            self._ready.set_result(None)

    def _give_up(self, why: str) -> None:
        """The node cannot go on; it leaves its files as a crash would."""
        if self.failure is None and not self._dying:
            self.failure = why
            log.error("node %d stops: %s", self.spec.node_id, why)
            self._die()

    def _broken(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback raised. A broken invariant stops the node; anything else is told and the node goes on."""
        error = context.get("exception")
        if isinstance(error, ApiError) and error.error is Errors.KAFKA_STORAGE_ERROR:
            # Its disk was told of already, and what follows from that is decided elsewhere.
            log.error("node %d: %s", self.spec.node_id, error)
            return
        log.error("node %d: %s", self.spec.node_id, context.get("message"), exc_info=error)
        if isinstance(error, AssertionError):
            self._give_up(f"a broken invariant: {error}")

    def _begin_stop(self, goodbye_ms: float) -> None:
        if self._node is None:
            self._loop.stop()
        else:
            self._node.stop(self._loop.stop, goodbye_ms=goodbye_ms)

    def _die(self) -> None:
        self._dying = True
        if self._node is not None:
            self._node.abandon(torn_tail_bytes=self._torn_tail_bytes)
        self._loop.stop()
