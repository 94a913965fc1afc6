"""A node in a process of its own: a kill is SIGKILL, a pause SIGSTOP, and every core of the machine is used.

The host starts ``python -m kafkalab.engine.cluster.node_process`` and hands it one line of JSON, then commands (see
:mod:`kafkalab.engine.cluster.child`). A host that is gone closes the input, and its nodes stop too.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Final

from kafkalab.engine.cluster.child import LOG_FORMAT, Uplink, read_frame, spawn, take_standard_output
from kafkalab.engine.cluster.collector import collect_rarely
from kafkalab.engine.cluster.signals import heard_signals
from kafkalab.engine.faults.disk import DiskFault, DiskFaultKind
from kafkalab.engine.faults.network import LinkFault
from kafkalab.engine.server.node import NodeFailed, NodeRunner, NodeSpec
from kafkalab.engine.telemetry.hub import TelemetryHub, TelemetrySink

_log = logging.getLogger(__name__)

START_TIMEOUT_S: Final = 60.0
ORPHAN_STOP_TIMEOUT_S: Final = 2.0
TERMINATED_STOP_TIMEOUT_S: Final = 30.0
KILL_WAIT_S: Final = 10.0
COMMAND_WAIT_S: Final = 5.0
FRAME_INTERVAL_S: Final = 0.005
SWITCH_INTERVAL_S: Final = 0.0005
_HAS_STOP_SIGNAL: Final = hasattr(signal, "SIGSTOP")


def spec_to_json(spec: NodeSpec, *, log_level: int) -> str:
    """All that a child needs to know, on one line."""
    data = {
        "node_id": spec.node_id,
        "roles": sorted(spec.roles),
        "data_dir": str(spec.data_dir),
        "cluster_id": spec.cluster_id,
        "host": spec.host,
        "broker_port": spec.broker_port,
        "controller_port": spec.controller_port,
        "bootstrap_servers": [list(address) for address in spec.bootstrap_servers],
        "voters": {str(node_id): list(address) for node_id, address in spec.voters.items()},
        "config": dict(spec.config),
        "log_dirs": spec.log_dirs,
        "disk_faults": _faults_to_data(spec.disk_faults),
        "link_faults": _links_to_data(spec.link_faults),
        "clock_offset_ms": spec.clock_offset_ms,
        "log_level": log_level,
    }
    return json.dumps(data)


def spec_from_json(text: str) -> tuple[NodeSpec, int]:
    """The inverse of :func:`spec_to_json`: the spec, and how much to log."""
    data = json.loads(text)
    spec = NodeSpec(
        node_id=data["node_id"],
        roles=frozenset(data["roles"]),
        data_dir=Path(data["data_dir"]),
        cluster_id=data["cluster_id"],
        host=data["host"],
        broker_port=data["broker_port"],
        controller_port=data["controller_port"],
        voters={int(node_id): (host, port) for node_id, (host, port) in data["voters"].items()},
        config=data["config"],
        log_dirs=data["log_dirs"],
        bootstrap_servers=tuple((host, port) for host, port in data["bootstrap_servers"]),
        disk_faults=_faults_from_data(data["disk_faults"]),
        link_faults=_links_from_data(data["link_faults"]),
        clock_offset_ms=data["clock_offset_ms"],
    )
    return spec, data["log_level"]


def _faults_to_data(faults: tuple[DiskFault, ...]) -> list[list[object]]:
    return [[fault.kind, fault.directory, fault.free_bytes] for fault in faults]


def _faults_from_data(data: list[list[Any]]) -> tuple[DiskFault, ...]:
    return tuple(DiskFault(DiskFaultKind(kind), directory, free_bytes) for kind, directory, free_bytes in data)


def _links_to_data(faults: tuple[LinkFault, ...]) -> list[dict[str, Any]]:
    return [asdict(fault) for fault in faults]


def _links_from_data(data: list[dict[str, Any]]) -> tuple[LinkFault, ...]:
    return tuple(LinkFault(**fault) for fault in data)


class ProcessRunner:
    """The host's end: a :class:`Runner` whose node is a child process."""

    def __init__(self, spec: NodeSpec, sink: TelemetrySink) -> None:
        self.spec = spec
        self.on_exit: Callable[[str | None], None] | None = None
        self.exit_signal: int | None = None
        """The signal that ended the process, or told it to stop, when somebody else sent it."""
        self.failure: str | None = None
        self._sink = sink
        self._process: subprocess.Popen[bytes] | None = None
        self._settled = threading.Event()
        self._gone = threading.Event()
        self._ordered = False
        self._commands_given = 0
        self._commands_obeyed = 0
        self._obeying = threading.Condition()
        self._is_paused = False
        self._input_lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The child's process id, once it was started."""
        return self._process.pid if self._process is not None else None

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process is not None and not self._gone.is_set()

    def start(self) -> None:
        """Start the process; the node in it is ready later."""
        assert self._process is None, "a runner lives once"
        self._process = spawn("kafkalab.engine.cluster.node_process")
        threading.Thread(target=self._read_frames, name=f"kafkalab-telemetry-{self.spec.node_id}", daemon=True).start()
        self._send(spec_to_json(self.spec, log_level=logging.getLogger("kafkalab").getEffectiveLevel()))

    def wait_ready(self, timeout: float) -> None:
        """Wait until the node listens.

        :raises NodeFailed: when it could not start, or not in time.
        """
        if not self._settled.wait(timeout):
            raise NodeFailed(f"node {self.spec.node_id} did not start within {timeout:g} s")
        if self.failure is not None:
            raise NodeFailed(self.failure)
        if self._gone.is_set():
            raise NodeFailed(f"the process of node {self.spec.node_id} ended")

    def stop(self, timeout: float, *, hands_over: bool = True) -> None:
        """Controlled shutdown; past the timeout the process is killed."""
        self._ordered = True
        self._send(f"{'stop' if hands_over else 'end'} {timeout:g}")
        # The node's own timeout comes first: what is left is for the process to end.
        if not self._gone.wait(timeout + 2.0):
            self.kill()

    def kill(self) -> None:
        """SIGKILL, and wait for the process to be gone."""
        self._ordered = True
        if self._process is not None and not self._gone.is_set():
            self._process.kill()
            if not self._gone.wait(KILL_WAIT_S):
                _log.error("process %s of node %s outlives SIGKILL", self._process.pid, self.spec.node_id)

    def power_loss(self, torn_tail_bytes: int = 0) -> None:
        """The process throws away what was not synced, as only it knows what that is, and ends."""
        self._ordered = True
        self._send(f"power_loss {torn_tail_bytes}")
        self.resume()
        if not self._gone.wait(KILL_WAIT_S):
            _log.error("the process of node %s did not end with its power and is killed", self.spec.node_id)
            self.kill()

    def set_disk_faults(self, faults: tuple[DiskFault, ...]) -> None:
        """Tell the process, and wait until it says that it is so; a paused one will say so later."""
        self._command(f"disk_faults {json.dumps(_faults_to_data(faults))}")

    def set_link_faults(self, faults: tuple[LinkFault, ...]) -> None:
        """Tell the process, and wait until it says that it is so; a paused one will say so later."""
        self._command(f"link_faults {json.dumps(_links_to_data(faults))}")

    def set_clock_offset(self, offset_ms: int) -> None:
        """Tell the process, and wait until it says that it is so; a paused one will say so later."""
        self._command(f"clock_offset {offset_ms}")

    def _command(self, line: str) -> None:
        with self._obeying:
            self._commands_given = number = self._commands_given + 1
            self._send(line)

            def is_done() -> bool:
                return self._commands_obeyed >= number or self._gone.is_set() or self._is_paused

            self._obeying.wait_for(is_done, COMMAND_WAIT_S)

    def pause(self) -> None:
        """Stop the process where the system can, else its loop."""
        with self._obeying:
            self._is_paused = True
            self._obeying.notify_all()
        if _HAS_STOP_SIGNAL:
            self._signal(signal.SIGSTOP)
            # The signal takes effect in its own time; who is told of a pause must not see one more answer.
            if self._process is not None and not self._gone.is_set() and hasattr(os, "waitid"):
                with suppress(ChildProcessError):
                    os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        else:
            self._send("pause")

    def resume(self) -> None:
        """Let it go on."""
        self._is_paused = False
        if _HAS_STOP_SIGNAL:
            self._signal(signal.SIGCONT)
        else:
            self._send("resume")

    def _signal(self, number: int) -> None:
        if self._process is not None and not self._gone.is_set():
            self._process.send_signal(number)

    def _send(self, line: str) -> None:
        assert self._process is not None and self._process.stdin is not None, "a command before the start"
        with self._input_lock, suppress(OSError, ValueError):  # It ended meanwhile: its exit says so.
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def _read_frames(self) -> None:
        process = self._process
        assert process is not None and process.stdout is not None and process.stdin is not None
        exited_with: str | None = None
        try:
            while (frame := read_frame(process.stdout)) is not None:
                kind, value = frame
                if kind == "telemetry":
                    self._pass_on(*value)
                elif kind == "ready":
                    self._settled.set()
                elif kind == "failed":
                    self.failure = value
                    self._settled.set()
                elif kind == "obeyed":
                    with self._obeying:
                        self._commands_obeyed += 1
                        self._obeying.notify_all()
                elif kind == "exit":
                    exited_with, self.exit_signal = value
        except (OSError, EOFError, pickle.UnpicklingError) as e:
            _log.warning("telemetry of node %s broke off: %s", self.spec.node_id, e)
            process.kill()
        code = process.wait()
        with self._input_lock, suppress(OSError):
            process.stdin.close()
        process.stdout.close()
        if not self._ordered:
            if code < 0:
                self.exit_signal = -code
            elif code > 0:
                self.failure = self.failure or exited_with or f"its process ended with exit status {code}"
        self._gone.set()
        self._settled.set()
        with self._obeying:
            self._obeying.notify_all()
        if self.on_exit is not None:
            self.on_exit(self.failure)

    def _pass_on(self, events: list[Any], levels: Mapping[Any, Any], dropped: int) -> None:
        for key, level in levels.items():
            self._sink.level(key, level)
        for event in events:
            self._sink.emit(event)
        if dropped:
            _log.warning("node %s dropped %s events before they reached the host", self.spec.node_id, dropped)


def main() -> int:
    """Run one node until it is told to stop, ends itself, or the host is gone."""
    stream = take_standard_output()
    commands: queue.SimpleQueue[str] = queue.SimpleQueue()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with heard_signals([signal.SIGTERM], lambda number: commands.put(f"signal {number}")):
        return _run(stream, commands)


def _run(stream: IO[bytes], commands: queue.SimpleQueue[str]) -> int:
    spec, log_level = spec_from_json(sys.stdin.readline())
    logging.basicConfig(stream=sys.stderr, level=log_level, format=LOG_FORMAT)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    collect_rarely()

    hub = TelemetryHub()
    uplink = Uplink(stream, hub.open_reader(), interval_s=FRAME_INTERVAL_S)
    uplink.start()
    runner = NodeRunner(spec, hub)
    runner.on_exit = lambda reason: commands.put("exited")
    runner.start()
    threading.Thread(target=_read_commands, args=(commands,), name="kafkalab-commands", daemon=True).start()
    threading.Thread(target=_announce, args=(runner, uplink), name="kafkalab-announce", daemon=True).start()

    code, stop_signal = _obey(runner, commands, uplink)
    uplink.close()
    if code:
        uplink.send("failed", runner.failure or f"node {spec.node_id} ended itself")
    uplink.send("exit", (runner.failure, stop_signal))
    return code


def _read_commands(commands: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        commands.put(line.strip())
    commands.put("orphaned")


def _announce(runner: NodeRunner, uplink: Uplink) -> None:
    try:
        runner.wait_ready(START_TIMEOUT_S)
    except NodeFailed as e:
        uplink.send("failed", str(e))
    else:
        uplink.send("ready", None)


def _obey(runner: NodeRunner, commands: queue.SimpleQueue[str], uplink: Uplink) -> tuple[int, int | None]:
    """The exit status, and the signal that asked for the end."""
    while True:
        verb, _, argument = commands.get().partition(" ")
        if verb == "exited":
            return (1, None) if runner.failure is not None else (0, None)
        if verb == "pause":
            runner.pause()
        elif verb == "resume":
            runner.resume()
        elif verb == "disk_faults":
            runner.set_disk_faults(_faults_from_data(json.loads(argument)))
            uplink.send("obeyed", None)
        elif verb == "link_faults":
            runner.set_link_faults(_links_from_data(json.loads(argument)))
            uplink.send("obeyed", None)
        elif verb == "clock_offset":
            runner.set_clock_offset(int(argument))
            uplink.send("obeyed", None)
        elif verb == "power_loss":
            runner.power_loss(int(argument))
            # No goodbye to anybody: the sockets go with the process.
            os._exit(0)
        elif verb in ("stop", "end"):
            runner.stop(float(argument), hands_over=verb == "stop")
            return 0, None
        elif verb == "signal":
            runner.stop(TERMINATED_STOP_TIMEOUT_S)
            return 0, int(argument)
        elif verb == "orphaned":
            # All nodes of the host are in the same state.
            runner.stop(ORPHAN_STOP_TIMEOUT_S, hands_over=False)
            return 0, None


if __name__ == "__main__":
    sys.exit(main())
