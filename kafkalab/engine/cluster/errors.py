"""What the cluster host refuses or could not do, in sentences for a person."""

from __future__ import annotations

from collections.abc import Mapping

from kafkalab.engine.common.errors import Errors


class HostError(Exception):
    """A command to the cluster that could not be carried out; the message says what was tried and why not."""


class PortInUse(HostError):
    """A port that a broker should listen on belongs to another program."""

    def __init__(self, host: str, port: int, proposed_port: int | None, count: int) -> None:
        way_out = "No run of free ports was found near it."
        if proposed_port is not None:
            last = proposed_port + count - 1
            free = f"Port {proposed_port} is" if count == 1 else f"Ports {proposed_port} to {last} are"
            way_out = f"{free} free: start with port {proposed_port}."
        super().__init__(f"Port {port} on {host} is in use by another program. {way_out}")
        self.port = port
        self.proposed_port = proposed_port


class DataDirInUse(HostError):
    """Another process works on this data folder."""

    def __init__(self, path: str, pid: int | None) -> None:
        holder = f"process {pid}" if pid is not None else "another process"
        super().__init__(f"The data folder {path} is in use by {holder}. Stop that process or choose another folder.")
        self.pid = pid


class ClusterStartError(HostError):
    """Some nodes did not start; the others run on."""

    def __init__(self, failures: Mapping[int, str]) -> None:
        super().__init__("; ".join(f"node {node_id}: {message}" for node_id, message in sorted(failures.items())))
        self.failures = dict(failures)


class RequestRefused(HostError):
    """The cluster answered with an error."""

    def __init__(self, what: str, error: Errors, message: str | None) -> None:
        super().__init__(f"{what}: {error.name} ({error.value})" + (f": {message}" if message else ""))
        self.error = error
