"""The one way from the window to the cluster: commands, carried out beside the Qt thread.

A command returns at once; what came of it arrives as a signal in the Qt thread. What it did to the
cluster is seen on the telemetry like everything else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

from PySide6.QtCore import QObject, Qt, Signal

from kafkalab.engine.cluster.errors import ClusterStartError, DataDirInUse, HostError, PortInUse, RequestRefused
from kafkalab.ui.bridge.fault_commands import Deed, FaultHost
from kafkalab.ui.model.links import Link

_log = logging.getLogger(__name__)

WORKERS: Final = 8
"""A controlled shutdown may take its time; others go on beside it."""

_ADVICE: Final[Mapping[str, str]] = {
    "TOPIC_ALREADY_EXISTS": "Choose another name, or delete the topic first.",
    "INVALID_REPLICATION_FACTOR": "Choose at most as many replicas as there are brokers in service, or restart the brokers that are down.",
    "INVALID_PARTITIONS": "Choose at least one partition.",
    "INVALID_TOPIC_EXCEPTION": "Use letters, digits, dots, dashes and underscores, at most 249 of them.",
    "INVALID_CONFIG": "Correct the setting that the message names.",
    "UNKNOWN_TOPIC_OR_PARTITION": "It is gone already: nothing is left to do.",
    "PREFERRED_LEADER_NOT_AVAILABLE": "Restart the broker that is first among the replicas, or heal its links.",
    "ELIGIBLE_LEADERS_NOT_AVAILABLE": "Restart a broker of the ISR or the ELR; an unclean election takes any that is alive.",
    "INVALID_REPLICA_ASSIGNMENT": "Name brokers that are registered, each once.",
    "NO_REASSIGNMENT_IN_PROGRESS": "It has arrived already: nothing is left to take back.",
    "NOT_CONTROLLER": "No controller leads at the moment. Restart controllers until a majority runs.",
    "REQUEST_TIMED_OUT": "See in the timeline what stands still, restart it, and try again.",
}


class Host(FaultHost, Protocol):
    """What commands are made to: ``engine.cluster.host.ClusterHost``."""

    def start(self) -> None:
        """Start every node."""

    def wait_until_ready(self, timeout: float) -> None:
        """Wait until records can be written."""

    def kill(self, node_id: int) -> None:
        """End a node without a goodbye."""

    def stop(self, node_id: int) -> None:
        """Controlled shutdown."""

    def pause(self, node_id: int) -> None:
        """Let it stop answering."""

    def resume(self, node_id: int) -> None:
        """Let it go on."""

    def restart(self, node_id: int) -> None:
        """Start it again."""

    def create_topic(self, name: str, partitions: int, replication_factor: int, configs: Mapping[str, str] | None = None) -> None:
        """Create a topic."""

    def delete_topic(self, name: str) -> None:
        """Delete a topic."""

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect."""


class Traffic(Protocol):
    """The built-in producer and consumers: ``workload.traffic.Workload``."""

    @property
    def is_running(self) -> bool:
        """Whether records flow."""

    def start(self) -> None:
        """Let records flow."""

    def stop(self) -> None:
        """Let them cease."""

    def close(self) -> object:
        """Stop and wait for the clients to be gone."""

    def set_rate(self, rate_per_s: float) -> None:
        """Records a second."""

    def set_acks(self, acks: str) -> None:
        """Replicas a write waits for."""

    def status(self) -> object:
        """Counters."""


@dataclass(frozen=True, slots=True)
class Command:
    """Something that was asked for."""

    number: int
    name: str  # "kill", "stop", "pause", "resume", "restart", "create_topic", "delete_topic", "start_cluster", "workload…"
    link: Link
    text: str  # "Kill broker 2"


@dataclass(frozen=True, slots=True)
class CommandFailure:
    """What came back, why, and what to do: the whole text can be copied."""

    tried: str
    answer: str
    error_name: str  # Kafka's name of the error, or empty
    error_code: int | None
    advice: str

    def __str__(self) -> str:
        return "\n".join(part for part in (f"Could not {self.tried[:1].lower()}{self.tried[1:]}.", self.answer, self.advice) if part)


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended."""

    command: Command
    took_ms: float
    failure: CommandFailure | None = None

    @property
    def ok(self) -> bool:
        """It did what was asked."""
        return self.failure is None


class CommandGateway(QObject):
    """Commands of the window. Each method returns the command; ``finished`` tells how it ended."""

    started = Signal(object)  # Command
    finished = Signal(object)  # CommandResult
    busy_changed = Signal(int)  # commands under way

    _settled = Signal(object)

    def __init__(
        self,
        host: Host,
        traffic_factory: Callable[[str], Traffic] | None = None,
        parent: QObject | None = None,
        *,
        node_name: Callable[[int], str] = lambda node_id: f"node {node_id}",
    ) -> None:
        super().__init__(parent)
        self._host = host
        self._traffic_factory = traffic_factory
        self._node_name = node_name
        self._traffic: Traffic | None = None
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="kafkalab-command")
        self._number = 0
        self._under_way: dict[int, Command] = {}
        self._closed = False
        # Workers emit, and the Qt thread hears of it in its own time.
        self._settled.connect(self._settle, Qt.ConnectionType.QueuedConnection)

    # --- the cluster ---------------------------------------------------------------------------

    def start_cluster(self, ready_timeout_s: float = 60.0) -> Command:
        """Start every node and wait until records can be written."""

        def act() -> None:
            self._host.start()
            self._host.wait_until_ready(ready_timeout_s)

        return self._run("start_cluster", Link.cluster(), "Start the cluster", act)

    def bootstrap_servers(self) -> str:
        """Where clients connect; empty before the cluster was started."""
        try:
            return self._host.bootstrap_servers
        except HostError:
            return ""

    # --- nodes ---------------------------------------------------------------------------------

    def kill(self, node_id: int) -> Command:
        """End a node without a goodbye."""
        return self._on_node("kill", node_id, "Kill", self._host.kill)

    def stop(self, node_id: int) -> Command:
        """Kafka's controlled shutdown."""
        return self._on_node("stop", node_id, "Stop", self._host.stop)

    def pause(self, node_id: int) -> Command:
        """Let a node stop answering while its sockets stay open."""
        return self._on_node("pause", node_id, "Pause", self._host.pause)

    def resume(self, node_id: int) -> Command:
        """Let a paused node go on."""
        return self._on_node("resume", node_id, "Resume", self._host.resume)

    def restart(self, node_id: int) -> Command:
        """Start a node again, on its old address and files."""
        return self._on_node("restart", node_id, "Restart", self._host.restart)

    def _on_node(self, name: str, node_id: int, verb: str, act: Callable[[int], None]) -> Command:
        return self._run(name, Link.node(node_id), f"{verb} {self._node_name(node_id)}", lambda: act(node_id))

    # --- topics --------------------------------------------------------------------------------

    def create_topic(self, name: str, partitions: int, replication_factor: int, configs: Mapping[str, str] | None = None) -> Command:
        """Create a topic; -1 takes the broker's default."""
        settings = dict(configs or {})
        return self._run(
            "create_topic",
            Link.topic(name),
            f"Create topic {name}",
            lambda: self._host.create_topic(name, partitions, replication_factor, settings),
        )

    def delete_topic(self, name: str) -> Command:
        """Delete a topic with all its records."""
        return self._run("delete_topic", Link.topic(name), f"Delete topic {name}", lambda: self._host.delete_topic(name))

    # --- faults, elections, moves ----------------------------------------------------------------

    def do(self, deed: Deed) -> Command:
        """Whatever else can be done to the cluster."""
        return self._run(deed.name, deed.link, deed.text, lambda: deed.act(self._host))

    # --- traffic -------------------------------------------------------------------------------

    def start_workload(self) -> Command:
        """Let the built-in producer and its group of three run."""
        return self._run("start_workload", Link.cluster(), "Start the sample traffic", lambda: self._need_traffic().start())

    def stop_workload(self) -> Command:
        """Let them cease."""
        return self._run("stop_workload", Link.cluster(), "Stop the sample traffic", lambda: self._need_traffic().stop())

    def set_workload_rate(self, records_per_s: float) -> Command:
        """Records a second from now on."""
        return self._run(
            "set_workload_rate",
            Link.cluster(),
            "Change the rate of the sample traffic",
            lambda: self._need_traffic().set_rate(records_per_s),
        )

    def set_workload_acks(self, acks: str) -> Command:
        """``0``, ``1`` or ``all`` from now on."""
        return self._run(
            "set_workload_acks", Link.cluster(), "Change acks of the sample traffic", lambda: self._need_traffic().set_acks(acks)
        )

    @property
    def workload_running(self) -> bool:
        """Whether the built-in traffic runs."""
        return self._traffic is not None and self._traffic.is_running

    def workload_status(self) -> object | None:
        """The built-in traffic's counters (``workload.traffic.WorkloadStatus``), None before its first start."""
        return None if self._traffic is None else self._traffic.status()

    def _need_traffic(self) -> Traffic:
        if self._traffic is None:
            if self._traffic_factory is None:
                raise HostError("This window has no sample traffic.")
            self._traffic = self._traffic_factory(self._host.bootstrap_servers)
        return self._traffic

    # --- running -------------------------------------------------------------------------------

    @property
    def under_way(self) -> list[Command]:
        """Commands that have not ended yet, oldest first."""
        return list(self._under_way.values())

    def close(self) -> None:
        """Take no more commands, end the traffic and wait for what is under way."""
        if self._closed:
            return
        self._closed = True
        self._workers.shutdown(wait=True, cancel_futures=True)
        if self._traffic is not None:
            self._traffic.close()

    def _run(self, name: str, link: Link, text: str, act: Callable[[], None]) -> Command:
        self._number += 1
        command = Command(self._number, name, link, text)
        self._under_way[command.number] = command
        self.started.emit(command)
        self.busy_changed.emit(len(self._under_way))
        if self._closed:
            failure = CommandFailure(text, "The window is closing.", "", None, "")
            self._settled.emit(CommandResult(command, 0.0, failure))
        else:
            self._workers.submit(self._carry_out, command, act)
        return command

    def _carry_out(self, command: Command, act: Callable[[], None]) -> None:
        begun = time.perf_counter()
        failure: CommandFailure | None = None
        try:
            act()
        except (HostError, ValueError, OSError) as e:
            failure = describe_failure(command.text, e)
        except Exception as e:  # a mistake of ours: told like any failure, and kept for the log
            _log.exception("%s", command.text)
            failure = CommandFailure(
                command.text, f"{type(e).__name__}: {e}", "", None, "This is a mistake in KafkaLab; the log has the details."
            )
        self._settled.emit(CommandResult(command, (time.perf_counter() - begun) * 1000, failure))

    def _settle(self, result: CommandResult) -> None:
        self._under_way.pop(result.command.number, None)
        self.finished.emit(result)
        self.busy_changed.emit(len(self._under_way))


def describe_failure(tried: str, error: Exception) -> CommandFailure:
    """An error in words: what was tried, what came back, what to do."""
    name, code = "", None
    advice = ""
    match error:
        case RequestRefused():
            name, code = error.error.name, error.error.value
            advice = _ADVICE.get(name, "")
        case PortInUse():
            advice = "" if error.proposed_port is None else f"Start with the port {error.proposed_port}, or end the other program."
        case DataDirInUse() | ClusterStartError():
            advice = "The rest of the cluster runs on." if isinstance(error, ClusterStartError) else ""
        case OSError():
            advice = "See whether the folder can be written to and the disk has room."
        case _:
            pass
    return CommandFailure(tried, str(error), name, code, advice)
