"""A node's event loop as the simulator has it: the part of asyncio's that shells use, on virtual time.

Each life of a node has a loop of its own. Closing it ends that life: nothing that waits ever runs.
A paused loop keeps what falls due and does it all when it goes on, as a process does that was stopped.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, cast

from kafkalab.engine.simulation.scheduler import Handle, Scheduler

if TYPE_CHECKING:
    from kafkalab.engine.simulation.network import SimNetwork

ExceptionHandler = Callable[[dict[str, Any]], None]


class SimLoop:
    """See the module.

    :param party: whose loop it is for the network: a node's id, or -1 for all clients.
    :param ip: the machine's address.
    """

    def __init__(self, scheduler: Scheduler, network: SimNetwork | None, party: int, ip: str, on_error: ExceptionHandler) -> None:
        self.scheduler = scheduler
        self.network = network
        self.party = party
        self.ip = ip
        self.on_step: Callable[[], None] | None = None
        """Called by whoever steps through time after this loop has done something."""
        self.tie = scheduler.tie()
        self.as_asyncio = cast(asyncio.AbstractEventLoop, self)
        """Itself, for those who ask for asyncio's."""
        self.is_dead = False
        self.is_paused = False
        self._on_error = on_error
        self._ready: deque[Handle] = deque()
        self._is_running = False
        self._put_off: list[Handle] = []
        self._tasks: dict[asyncio.Task[Any], None] = {}

    # --- the simulator's side --------------------------------------------------------------------------

    def run(self, callback: Callable[..., object], args: tuple[Any, ...] = ()) -> None:
        """Do something in this loop now, and everything that it has done soon."""
        if self.is_dead:
            return
        if self.is_paused:
            self.put_off(Handle(self.scheduler.now_ms, self, callback, args))
            return
        self.scheduler.touched = self
        was_running, self._is_running = self._is_running, True
        try:
            callback(*args)
        except Exception as error:
            self.call_exception_handler({"message": f"in {callback!r}", "exception": error})
        if self._ready:
            self._drain()
        self._is_running = was_running

    def _drain(self) -> None:
        # Only tasks ask which loop it is that runs.
        if self._work_off(with_tasks=False):
            return
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self.as_asyncio)
        try:
            self._work_off(with_tasks=True)
        finally:
            asyncio._set_running_loop(outer)

    def _work_off(self, *, with_tasks: bool) -> bool:
        """Do all that is to be done soon; False when there is more, and tasks among it perhaps."""
        ready = self._ready
        while ready:
            if self._tasks and not with_tasks:
                return False
            handle = ready.popleft()
            callback = handle.callback
            if callback is None:
                continue
            handle.callback = None
            try:
                callback(*handle.args)
            except Exception as error:
                self.call_exception_handler({"message": f"in {callback!r}", "exception": error})
            if self.is_dead or self.is_paused:
                return True
        return True

    def put_off(self, handle: Handle) -> None:
        """Do it when the loop goes on."""
        self._put_off.append(handle)

    def pause(self) -> None:
        """Do nothing from now on."""
        self.is_paused = True

    def resume(self) -> None:
        """Do what fell due meanwhile, and go on."""
        if not self.is_paused:
            return
        self.is_paused = False
        put_off, self._put_off = self._put_off, []
        self.run(self._drain)
        self._look()
        for index, handle in enumerate(put_off):
            if self.is_paused:
                self._put_off[:0] = put_off[index:]
                return
            callback, args = handle.callback, handle.args
            if callback is not None:
                handle.callback = None
                self.run(callback, args)
                self._look()

    def _look(self) -> None:
        # Each turn is a step of its own, and whoever lets several nodes go on has touched more than the last of them.
        if self.on_step is not None:
            self.on_step()

    def kill(self) -> None:
        """End the life: tasks are cancelled so that they leave nothing behind, and nothing else runs any more."""
        if self.is_dead:
            return
        self._ready.clear()
        self._put_off.clear()
        self._on_error = _ignore
        self.is_paused = False
        for task in list(self._tasks):
            task.cancel()
        self.run(_nothing)
        self.is_dead = True
        self._ready.clear()
        self._tasks.clear()

    # --- asyncio's side --------------------------------------------------------------------------------

    def time(self) -> float:
        return self.scheduler.now_ms / 1000.0

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self.is_dead

    def is_closed(self) -> bool:
        return self.is_dead

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        handle = Handle(self.scheduler.now_ms, self, callback, args)
        if not self._ready and not self._is_running:
            # Asked for from outside of the loop: in its own turn.
            self.scheduler.at(self.scheduler.now_ms, self, _nothing)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        return self.call_soon(callback, *args)

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        return self.scheduler.at(self.scheduler.now_ms + max(0.0, delay) * 1000.0, self, callback, args)

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        return self.scheduler.at(max(self.scheduler.now_ms, when * 1000.0), self, callback, args)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self.as_asyncio)

    def create_task(self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Any = None) -> Any:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self.as_asyncio, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.call_exception_handler({"message": f"in {task.get_name()}", "exception": error})

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._on_error(context)

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        assert self.network is not None, "no network to connect by"
        connected = self.create_future()
        self.network.connect(self, protocol_factory, (host, port), connected)
        return await connected

    async def create_server(
        self, protocol_factory: Any, host: Any = None, port: Any = None, *, start_serving: bool = True, **_: Any
    ) -> Any:
        assert self.network is not None, "no network to listen in"
        server = SimServer(self, protocol_factory, (host, port))
        if not self.network.bind(server):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        if start_serving:
            await server.start_serving()
        return server


class SimServer:
    """A bound address; what asyncio's Server is to a listener."""

    def __init__(self, loop: SimLoop, protocol_factory: Callable[[], asyncio.Protocol], address: tuple[str, int]) -> None:
        self.loop = loop
        self.protocol_factory = protocol_factory
        self.address = address
        self.sockets = (self,)
        self._is_serving = False

    def getsockname(self) -> tuple[str, int]:
        """The address, as a socket tells it."""
        return self.address

    def is_serving(self) -> bool:
        """Whether connections are accepted."""
        return self._is_serving

    async def start_serving(self) -> None:
        """Accept from now on."""
        self._is_serving = True

    def close(self) -> None:
        """Let go of the address; connections stay."""
        self._is_serving = False
        assert self.loop.network is not None
        self.loop.network.unbind(self)


def _nothing() -> None:
    pass


def _ignore(_context: dict[str, Any]) -> None:
    pass
