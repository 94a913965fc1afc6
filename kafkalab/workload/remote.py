"""The traffic as the window's process has it: the clients themselves live beside the cluster.

Their callbacks are Python for every record; here they would take turns with the frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kafkalab.engine.cluster.errors import HostError
from kafkalab.engine.cluster.remote_host import RemoteClusterHost
from kafkalab.workload.status import WorkloadStatus

WORKLOAD: Final = "kafkalab.workload.traffic:Workload"


class RemoteWorkload:
    """The same as :class:`kafkalab.workload.traffic.Workload`. Commands wait for their answer, questions for nothing.

    :param host: gives the cluster's present process; after the death of one, the next has new traffic at the old rate.
    """

    def __init__(self, host: Callable[[], RemoteClusterHost]) -> None:
        self._host = host
        self._made_on: RemoteClusterHost | None = None
        self._running_on: RemoteClusterHost | None = None
        self._rate_per_s: float | None = None
        self._acks: str | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped since, and its process lives."""
        return self._running_on is not None and self._running_on.is_alive

    def start(self) -> None:
        """Let records flow; harmless when they do already.

        :raises HostError: when there is no cluster.
        """
        host = self._made()
        host.tell_companion("start")
        self._running_on = host

    def stop(self) -> None:
        """Let them cease."""
        host, self._running_on = self._running_on, None
        if host is not None:
            host.tell_companion("stop")

    def close(self) -> None:
        """Stop and wait for the clients to be gone. Where the process is gone, so are they."""
        host, self._made_on, self._running_on = self._made_on, None, None
        if host is not None:
            try:
                host.tell_companion("close")
            except HostError:
                if host.is_alive:
                    raise

    def set_rate(self, rate_per_s: float) -> None:
        """Records a second from now on.

        :raises ValueError: when it is not from 0 to 50,000.
        """
        self._made().tell_companion("set_rate", rate_per_s)
        self._rate_per_s = rate_per_s

    def set_acks(self, acks: str) -> None:
        """How many replicas a write waits for from now on: ``0``, ``1`` or ``all``.

        :raises ValueError: when it is none of these.
        """
        self._made().tell_companion("set_acks", acks)
        self._acks = acks

    def status(self) -> WorkloadStatus | None:
        """The counters of a moment ago."""
        host = self._made_on
        status: WorkloadStatus | None = host.companion_status if host is not None else None
        return status

    def _made(self) -> RemoteClusterHost:
        host = self._host()
        host.make_companion(WORKLOAD)
        if host is not self._made_on:
            self._made_on = host
            if self._rate_per_s is not None:
                host.tell_companion("set_rate", self._rate_per_s)
            if self._acks is not None:
                host.tell_companion("set_acks", self._acks)
        return host
