"""What the host asks of a node, whether it lives in a thread of this process or in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from kafkalab.engine.faults.disk import DiskFault
    from kafkalab.engine.faults.network import LinkFault
    from kafkalab.engine.server.node import NodeSpec
    from kafkalab.engine.telemetry.hub import TelemetrySink


class Runner(Protocol):
    """A node that can be started, stopped and broken. Each lives once: a restart makes a new one."""

    on_exit: Callable[[str | None], None] | None
    """Called once, from any thread, when the node is gone: None after a stop or a kill, else why it ended itself."""

    @property
    def failure(self) -> str | None:
        """Why the node ended itself or could not start."""

    @property
    def is_alive(self) -> bool:
        """Whether it still runs, paused or not."""

    def start(self) -> None:
        """Set it going and return at once."""

    def wait_ready(self, timeout: float) -> None:
        """Wait until it listens.

        :raises NodeFailed: when it could not start.
        """

    def stop(self, timeout: float, *, hands_over: bool = True) -> None:
        """Controlled shutdown; past the timeout the node is ended anyway.

        :param hands_over: leaderships move to other nodes first; not where all end at the same time.
        """

    def kill(self) -> None:
        """End it without flush or goodbye; its sockets are reset."""

    def power_loss(self, torn_tail_bytes: int = 0) -> None:
        """End it as a power cut would: of what was not synced only so many bytes of each file are left."""

    def set_disk_faults(self, faults: tuple[DiskFault, ...]) -> None:
        """From now on these things are wrong with its disks and no others; returns when that is so."""

    def set_link_faults(self, faults: tuple[LinkFault, ...]) -> None:
        """From now on these things are wrong with its links and no others; returns when it goes by that, unless it is paused."""

    def set_clock_offset(self, offset_ms: int) -> None:
        """From now on its wall clock is so much ahead of this machine's; returns when that is so, unless it is paused."""

    def pause(self) -> None:
        """Stop answering, with sockets open."""

    def resume(self) -> None:
        """Answer again."""


RunnerFactory = Callable[["NodeSpec", "TelemetrySink"], Runner]
