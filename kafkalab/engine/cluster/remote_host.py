"""The cluster host as the window's process has it: a proxy for one that runs in a child process.

It offers what :class:`kafkalab.engine.cluster.host.ClusterHost` does, with the same errors, and loads none of the
engine itself. Commands wait in the thread that gives them; addresses and ids are known here since the start, and the
local hub has all that the child's hub had when it answered.
"""

from __future__ import annotations

import itertools
import json
import logging
import pickle
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.cluster.child import read_frame, spawn
from kafkalab.engine.cluster.errors import HostError
from kafkalab.engine.cluster.layout import roles_of_nodes
from kafkalab.engine.telemetry.events import Event, NodeCrashed, NodeKilled, NodeStarted, NodeStopped
from kafkalab.engine.telemetry.hub import TelemetryHub
from kafkalab.engine.telemetry.levels import ClockKey, ConnectionKey, LinksKey, NodeKey, QuorumKey, ReplicaKey, SegmentsKey

if TYPE_CHECKING:
    from kafkalab.engine.cluster.host import Isolation
    from kafkalab.engine.cluster.links import Party
    from kafkalab.engine.cluster.snapshot import ClusterSnapshot

_log = logging.getLogger(__name__)

EXIT_WAIT_S: Final = 10.0
_OF_ONE_LIFE: Final = NodeKey | QuorumKey | ReplicaKey | SegmentsKey | ConnectionKey | LinksKey | ClockKey
KILL_WAIT_S: Final = 5.0
"""A process that does not even kill its nodes in this time is killed itself."""


def spawn_host_process() -> subprocess.Popen[bytes]:
    """Start the child; it loads the engine while its parent does something else, and ends when the parent does."""
    return spawn("kafkalab.engine.cluster.host_process")


def dismiss(process: subprocess.Popen[bytes]) -> None:
    """Let a child go that nobody wants anything of."""
    assert process.stdin is not None and process.stdout is not None
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(EXIT_WAIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


class RemoteClusterHost:
    """A cluster in a child process. Parameters and errors are those of :class:`ClusterHost`.

    :param process: a child that was started before.
    :param hub: where its telemetry goes; a host that takes the place of one that died goes on with the old hub.
    :param on_ended: told when the child ended although nobody closed it, from a thread of this host.
    """

    def __init__(
        self,
        brokers: int = 3,
        controllers: int = 3,
        combined: bool = False,
        port: int = 0,
        data_dir: Path | None = None,
        config: Mapping[str, str] | None = None,
        isolation: Isolation | str = "thread",
        host: str = "127.0.0.1",
        *,
        log_dirs: int = 1,
        process: subprocess.Popen[bytes] | None = None,
        hub: TelemetryHub | None = None,
        on_ended: Callable[[str], None] | None = None,
    ) -> None:
        self.hub = hub if hub is not None else TelemetryHub()
        self.failure: str | None = None
        """Why the child is gone."""
        self.companion_status: Any = None
        """What the companion last said of itself."""
        self._on_ended = on_ended
        self._plan: Mapping[str, Any] | None = None
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._answers: dict[int, Future[Any]] = {0: Future()}
        self._gone_nodes: set[int] = set()
        self._started = False
        self._closing = threading.Event()
        self._process = process if process is not None else spawn_host_process()
        options = {
            "cluster": {
                "brokers": brokers,
                "controllers": controllers,
                "combined": combined,
                "port": port,
                "config": dict(config or {}),
                "isolation": isolation,
                "host": host,
                "log_dirs": log_dirs,
            },
            "data_dir": str(data_dir) if data_dir is not None else None,
            "log_levels": _log_levels(),
        }
        ready = self._answers[0]
        self._frames = threading.Thread(target=self._read_frames, name="kafkalab-host-frames", daemon=True)
        self._frames.start()
        self._write(options)
        try:
            ready.result()
            self._known_nodes = tuple(roles_of_nodes(brokers, controllers, combined=combined))
        except BaseException:
            self._closing.set()
            self._let_go()
            raise

    # --- the cluster as a whole ------------------------------------------------------------------

    def start(self) -> None:
        """Start every node, and return when each listens.

        :raises ClusterStartError: when some did not; the others run.
        :raises HostError: when nothing was started: a busy port, a folder in use, a broken file.
        """
        self._started = True
        self._ask("start")

    def wait_until_ready(self, timeout: float) -> None:
        """Wait until every broker that runs is in service and a record could be produced with acks=all.

        :raises HostError: when it did not come to that in time; it says what is missing.
        """
        self._ask("wait_until_ready", timeout)

    def wait_until_healthy(self, timeout: float) -> None:
        """Wait until all nodes run, all brokers are in service, and all partitions are led and fully in sync.

        :raises HostError: when it did not come to that in time; it says what is missing.
        """
        self._ask("wait_until_healthy", timeout)

    def wait_until_all_gone(self, timeout: float | None = None) -> bool:
        """Wait until no node is alive any more; False when the time was over before."""
        try:
            return bool(self._ask("wait_until_all_gone", timeout))
        except HostError:
            return self.failure is not None

    def close(self) -> None:
        """Stop the brokers in order, then the controllers, tidy up, and end the child. Harmless when closed already."""
        self._closing.set()
        with suppress(HostError):
            self._ask("close")
        self._let_go()

    def kill_all(self) -> None:
        """Kill every node at once, as a power cut does to a machine."""
        try:
            self._ask("kill_all", answer_within_s=KILL_WAIT_S)
        except TimeoutError:
            _log.error("process %s does not answer: killing it", self._process.pid)
            self._process.kill()
        except HostError:
            if self.failure is None:
                raise

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the child runs."""
        return self.failure is None and not self._closing.is_set()

    @property
    def is_closing(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closing.is_set()

    @property
    def bootstrap_servers(self) -> str:
        """The addresses of all brokers, as clients want them."""
        return str(self._planned()["bootstrap_servers"])

    @property
    def cluster_id(self) -> str:
        """The cluster's id in Kafka's text form."""
        return str(self._planned()["cluster_id"])

    @property
    def data_dir(self) -> Path:
        """Where the nodes' folders are."""
        return Path(self._planned()["data_dir"])

    @property
    def node_ids(self) -> tuple[int, ...]:
        """All nodes, by id; there are none before the start."""
        return self._ids_of("node_ids")

    @property
    def broker_ids(self) -> tuple[int, ...]:
        """The nodes that serve clients."""
        return self._ids_of("broker_ids")

    @property
    def controller_ids(self) -> tuple[int, ...]:
        """The nodes that vote."""
        return self._ids_of("controller_ids")

    def describe(self) -> ClusterSnapshot:
        """The cluster as it is now, frozen."""
        snapshot: ClusterSnapshot = self._ask("describe")
        return snapshot

    # --- nodes ---------------------------------------------------------------------------------------

    def kill(self, node_id: int) -> None:
        """End a node without flush or goodbye.

        :raises HostError: when it is not there, or does not run.
        """
        self._ask("kill", node_id)

    def stop(self, node_id: int) -> None:
        """Kafka's controlled shutdown; a paused node is let go on first.

        :raises HostError: when it is not there, or does not run.
        """
        self._ask("stop", node_id)

    def start_node(self, node_id: int) -> None:
        """Start a node that is gone, on its old address and files, and return when it listens.

        :raises HostError: when it runs, or does not start.
        """
        self._ask("start_node", node_id)

    def restart(self, node_id: int) -> None:
        """Start a node again, on its old address and files; one that runs is stopped in order first.

        :raises HostError: when it is not there, or does not start.
        """
        self._ask("restart", node_id)

    def pause(self, node_id: int) -> None:
        """Let a node stop answering while its sockets stay open.

        :raises HostError: when it is not there, or does not run.
        """
        self._ask("pause", node_id)

    def resume(self, node_id: int) -> None:
        """Let a paused node go on.

        :raises HostError: when it is not there, or is not paused.
        """
        self._ask("resume", node_id)

    # --- the quorum ------------------------------------------------------------------------------------

    def add_controller(self) -> int:
        """Start one more controller and let it vote; its id. See :meth:`ClusterHost.add_controller`.

        :raises HostError: when that was not possible in time.
        """
        return int(self._ask("add_controller"))

    def remove_controller(self, node_id: int) -> None:
        """Let a controller vote no more, stop it and forget it. See :meth:`ClusterHost.remove_controller`.

        :raises HostError: when it is none, or that was not possible in time.
        """
        self._ask("remove_controller", node_id)

    # --- links and clocks ------------------------------------------------------------------------------

    def isolate(self, a: Party, b: Party | None = None) -> None:
        """Cut the link between two parties both ways; without ``b`` a node from all other nodes. See :meth:`ClusterHost.isolate`.

        :raises HostError: when there is no such link.
        """
        self._ask("isolate", a, b)

    def cut(self, a: Party, b: Party) -> None:
        """Cut one way: what ``a`` sends does not reach ``b``.

        :raises HostError: when there is no such link.
        """
        self._ask("cut", a, b)

    def delay(self, a: Party, b: Party, ms: float, jitter: float = 0.0, *, one_way: bool = False) -> None:
        """Let what two parties send each other arrive later by ``ms`` ± ``jitter``.

        :raises HostError: when there is no such link.
        """
        self._ask("delay", a, b, ms, jitter, one_way=one_way)

    def lose(self, a: Party, b: Party, probability: float, *, one_way: bool = False) -> None:
        """Let each piece be lost with this probability, and be sent again as TCP would. See :meth:`ClusterHost.lose`.

        :raises HostError: when there is no such link.
        """
        self._ask("lose", a, b, probability, one_way=one_way)

    def slow(self, a: Party, b: Party, bytes_per_second: float, *, one_way: bool = False) -> None:
        """Let each connection pass on only so many bytes.

        :raises HostError: when there is no such link.
        """
        self._ask("slow", a, b, bytes_per_second, one_way=one_way)

    def heal(self, a: Party | None = None, b: Party | None = None) -> None:
        """Let the link between two parties be right again, or all links of one, or all links.

        :raises HostError: when there is no such party.
        """
        self._ask("heal", a, b)

    def jump_clock(self, node_id: int, seconds: float) -> None:
        """Set a node's wall clock forward or back. See :meth:`ClusterHost.jump_clock`.

        :raises HostError: when there is no such node.
        """
        self._ask("jump_clock", node_id, seconds)

    # --- disks -----------------------------------------------------------------------------------------

    def power_loss(self, node_id: int, torn_tail_bytes: int = 0) -> None:
        """End a node, and with it everything that it had written and not synced. See :meth:`ClusterHost.power_loss`.

        :raises HostError: when it is not there, or does not run.
        """
        self._ask("power_loss", node_id, torn_tail_bytes)

    def fill_disk(self, node_id: int, directory: int | None = None, free_bytes: int = 0) -> None:
        """Let a node's disk be full after so many more bytes. See :meth:`ClusterHost.fill_disk`.

        :raises HostError: when there is no such node or directory.
        """
        self._ask("fill_disk", node_id, directory, free_bytes)

    def break_disk(self, node_id: int, directory: int | None = None, kind: str = "broken") -> None:
        """Let a node's disk fail, be read-only or be gone. See :meth:`ClusterHost.break_disk`.

        :raises HostError: when there is no such node, directory or kind.
        """
        self._ask("break_disk", node_id, directory, kind)

    def heal_disk(self, node_id: int) -> None:
        """Let a node's disks be right again. See :meth:`ClusterHost.heal_disk`.

        :raises HostError: when there is no such node.
        """
        self._ask("heal_disk", node_id)

    # --- topics ----------------------------------------------------------------------------------------

    def create_topic(self, name: str, partitions: int = -1, replication_factor: int = -1, configs: Mapping[str, str] | None = None) -> None:
        """Create a topic; -1 takes the broker's default.

        :raises HostError: when the controller refuses, or nobody answers in time.
        """
        self._ask("create_topic", name, partitions, replication_factor, dict(configs or {}))

    def delete_topic(self, name: str) -> None:
        """Delete a topic.

        :raises HostError: when the controller refuses, or nobody answers in time.
        """
        self._ask("delete_topic", name)

    def elect_leaders(self, partitions: Sequence[tuple[str, int]] | None = None, *, unclean: bool = False) -> None:
        """Elect the preferred leaders of some partitions or of all. See :meth:`ClusterHost.elect_leaders`.

        :raises HostError: when the controller refuses, or nobody answers in time.
        """
        self._ask("elect_leaders", None if partitions is None else list(partitions), unclean=unclean)

    def reassign(self, topic: str, partition: int, replicas: Sequence[int] | None) -> None:
        """Begin to move a partition's replicas to these brokers; None takes a move back. See :meth:`ClusterHost.reassign`.

        :raises HostError: when the controller refuses, or nobody answers in time.
        """
        self._ask("reassign", topic, partition, None if replicas is None else list(replicas))

    # --- a client that lives beside the cluster --------------------------------------------------------

    def make_companion(self, address: str) -> None:
        """Have ``module:Class`` made in the child, with the bootstrap servers; once. Its ``status()`` is looked at
        now and then, and it is closed before the cluster."""
        self._ask("make_companion", address)

    def tell_companion(self, verb: str, *args: Any) -> Any:
        """Call a method of it."""
        return self._ask("tell_companion", verb, *args)

    # --- inside ----------------------------------------------------------------------------------------

    def _planned(self) -> Mapping[str, Any]:
        if self._plan is None:
            raise HostError("The cluster was not started.")
        return self._plan

    def _ids_of(self, name: str) -> tuple[int, ...]:
        return tuple(self._plan[name]) if self._plan is not None else ()

    def _ask(self, verb: str, *args: Any, answer_within_s: float | None = None, **named: Any) -> Any:
        answer: Future[Any] = Future()
        with self._lock:
            if self.failure is not None:
                raise HostError(self.failure)
            number = next(self._ids)
            self._answers[number] = answer
        self._write({"id": number, "do": verb, "args": args, "named": named})
        return answer.result(answer_within_s)

    def _write(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        line = json.dumps(message).encode() + b"\n"
        with self._lock, suppress(OSError, ValueError):  # It ended meanwhile: the end of its frames says so.
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _let_go(self) -> None:
        process = self._process
        assert process.stdin is not None
        with self._lock, suppress(OSError):
            process.stdin.close()
        self._frames.join(EXIT_WAIT_S)
        if self._frames.is_alive():
            _log.error("process %s did not end: killing it", process.pid)
            process.kill()
            self._frames.join()

    def _read_frames(self) -> None:
        process = self._process
        assert process.stdout is not None
        try:
            while (frame := read_frame(process.stdout)) is not None:
                self._take(*frame)
        except (OSError, EOFError, pickle.UnpicklingError) as e:
            _log.warning("the frames of process %s broke off: %s", process.pid, e)
            process.kill()
        code = process.wait()
        process.stdout.close()
        self._ended(code)

    def _take(self, kind: str, value: Any) -> None:
        if kind == "telemetry":
            events, levels, dropped = value
            for event in events:
                if isinstance(event, NodeStarted):
                    self._gone_nodes.discard(event.node_id)
                elif isinstance(event, NodeStopped | NodeKilled | NodeCrashed):
                    self._gone_nodes.add(event.node_id)
            self.hub.take_in(events, levels, dropped)
        elif kind == "status":
            self.companion_status = value
        elif kind == "plan":
            self._plan = value
        elif kind == "answer":
            number, ok, result = value
            with self._lock:
                answer = self._answers.pop(number)
            if ok:
                answer.set_result(result)
            elif number == 0:
                # No such cluster can be: the child ends by itself.
                self._closing.set()
                answer.set_exception(_error_of(*result))
            else:
                answer.set_exception(_error_of(*result))

    def _ended(self, code: int) -> None:
        """The child is gone. Where nobody ordered that, its nodes went with it."""
        cause = f"signal {-code}" if code < 0 else f"exit status {code}"
        ordered = self._closing.is_set()
        with self._lock:
            self.failure = "The cluster was closed." if ordered else f"The process of the cluster ended ({cause})."
            waiting = list(self._answers.values())
            self._answers.clear()
        if self._started and (code or not ordered):
            self._bury_nodes(cause)
        for answer in waiting:
            answer.set_exception(HostError(self.failure))
        if not ordered:
            _log.error("%s", self.failure)
            if self._on_ended is not None:
                self._on_ended(self.failure)

    def _bury_nodes(self, cause: str) -> None:
        at_ms = time.time() * 1000
        dead = [node_id for node_id in self._known_nodes if node_id not in self._gone_nodes]
        events: list[Event] = [NodeKilled(at_ms=at_ms, node_id=node_id, cause=cause) for node_id in dead]
        # What a node reported of itself goes with it, and what was made to fail with the host that made it.
        own = [key for key in self.hub.levels() if isinstance(key, _OF_ONE_LIFE)]
        self.hub.take_in(events, dict.fromkeys(own), 0)


def _error_of(kind: type[Exception], args: tuple[Any, ...], fields: dict[str, Any]) -> Exception:
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(fields)
    return error


def _log_levels() -> dict[str, int]:
    """What this process logs, its child logs too."""
    names = ["", *logging.root.manager.loggerDict]
    return {name: level for name in names if (level := logging.getLogger(name).level) != logging.NOTSET}
