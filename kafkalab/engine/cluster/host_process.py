"""The whole cluster in a process of its own, below the window's: drawing does not wait for nodes that have work.

``python -m kafkalab.engine.cluster.host_process`` reads its options as one line of JSON and then commands, a line
each; answers and telemetry go up as frames (see :mod:`kafkalab.engine.cluster.child`). Its modules are loaded before
the options come, so it can be started before anybody knows them. The other end is
:class:`kafkalab.engine.cluster.remote_host.RemoteClusterHost`.
"""

from __future__ import annotations

import copyreg
import importlib
import json
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final

from kafkalab.engine.cluster.child import LOG_FORMAT, Uplink, read_only, take_standard_output
from kafkalab.engine.cluster.collector import collect_rarely
from kafkalab.engine.cluster.errors import HostError
from kafkalab.engine.cluster.host import ClusterHost
from kafkalab.engine.cluster.signals import heard_signals
from kafkalab.engine.common.config import ConfigError

_log = logging.getLogger(__name__)

FRAME_INTERVAL_S: Final = 0.025
"""The window looks thirty times a second: more frames than that nobody sees."""

NICENESS: Final = 5
"""Where the cores do not suffice, a frame that is due goes before a batch."""

COMMANDS: Final = frozenset(
    {
        "start",
        "wait_until_ready",
        "wait_until_healthy",
        "wait_until_all_gone",
        "kill",
        "stop",
        "start_node",
        "restart",
        "pause",
        "resume",
        "kill_all",
        "isolate",
        "cut",
        "delay",
        "lose",
        "slow",
        "heal",
        "jump_clock",
        "power_loss",
        "fill_disk",
        "break_disk",
        "heal_disk",
        "add_controller",
        "remove_controller",
        "create_topic",
        "delete_topic",
        "elect_leaders",
        "reassign",
        "describe",
    }
)
"""What is handed on to the host as it is."""


class _Process:
    """The host, its companion, and what the parent wants of them."""

    def __init__(self, stream: IO[bytes], options: dict[str, Any]) -> None:
        for name, level in options["log_levels"].items():
            logging.getLogger(name).setLevel(level)
        folder = options["data_dir"]
        self._host = ClusterHost(**{**options["cluster"], "data_dir": Path(folder) if folder is not None else None})
        self._companion: Any = None
        self._making = threading.Lock()
        self._closing = threading.Lock()
        self.uplink = Uplink(stream, self._host.hub.open_reader(), interval_s=FRAME_INTERVAL_S, status=self._status)
        self.uplink.start()

    def carry_out(self, command: dict[str, Any]) -> None:
        """Do what the parent wants, and answer."""
        verb: str = command["do"]
        answer: tuple[bool, Any]
        try:
            answer = True, self._do(verb, command["args"], command["named"])
        except Exception as e:
            if not isinstance(e, HostError | ConfigError | ValueError | OSError):
                _log.exception("%s", verb)
            answer = False, error_parts(e)
        if verb in ("start", "add_controller", "remove_controller"):
            self._tell_plan()
        # Who has the answer sees on the telemetry what came of the command.
        self.uplink.send_news()
        self.uplink.send("answer", (command["id"], *answer))

    def close(self) -> None:
        """End it all in order; returns when it is done, whoever began."""
        with self._closing:
            if self._companion is not None:
                self._companion.close()
            self._host.close()

    def _do(self, verb: str, args: list[Any], named: Mapping[str, Any]) -> Any:
        if verb == "close":
            return self.close()
        if verb == "make_companion":
            return self._make_companion(*args)
        if verb == "tell_companion":
            return self._tell_companion(*args)
        assert verb in COMMANDS, verb
        return getattr(self._host, verb)(*args, **named)

    def _make_companion(self, address: str) -> None:
        with self._making:
            if self._companion is None:
                module, _, name = address.partition(":")
                self._companion = getattr(importlib.import_module(module), name)(self._host.bootstrap_servers)

    def _tell_companion(self, verb: str, *args: Any) -> Any:
        answer = getattr(self._companion, verb)(*args)
        self.uplink.send_status()
        return answer

    def _status(self) -> Any:
        return self._companion.status() if self._companion is not None else None

    def _tell_plan(self) -> None:
        host = self._host
        if host.node_ids:
            plan = {
                "bootstrap_servers": host.bootstrap_servers,
                "cluster_id": host.cluster_id,
                "data_dir": host.data_dir,
                "node_ids": host.node_ids,
                "broker_ids": host.broker_ids,
                "controller_ids": host.controller_ids,
            }
            self.uplink.send("plan", plan)


def error_parts(error: Exception) -> tuple[type[Exception], tuple[Any, ...], dict[str, Any]]:
    """An error as it can travel: errors of ours take more than their message, and pickle would make them anew from that."""
    if isinstance(error, HostError | ConfigError) or type(error).__module__ == "builtins":
        return type(error), error.args, vars(error)
    # Its class is one that the parent need not know.
    return RuntimeError, (f"{type(error).__name__}: {error}",), {}


def main() -> int:
    """Run a cluster until it is told to close, or the parent is gone."""
    stream = take_standard_output()
    _let_window_go_first()
    copyreg.pickle(MappingProxyType, _reduce_proxy)
    commands: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with heard_signals([signal.SIGTERM], lambda _number: commands.put(None)):
        return _run(stream, commands)


def _run(stream: IO[bytes], commands: queue.SimpleQueue[str | None]) -> int:
    line = sys.stdin.readline()
    if not line:
        return 0
    logging.basicConfig(stream=sys.stderr, format=LOG_FORMAT)
    try:
        process = _Process(stream, json.loads(line))
    except (HostError, ConfigError) as e:
        _refuse(stream, e)
        return 0
    process.uplink.send("answer", (0, True, None))
    collect_rarely()
    threading.Thread(target=_read_commands, args=(commands,), name="kafkalab-commands", daemon=True).start()
    while (line_or_end := commands.get()) is not None:
        # Each in a thread of its own: a kill does not wait for the controlled shutdown before it.
        threading.Thread(target=process.carry_out, args=(json.loads(line_or_end),), name="kafkalab-command", daemon=True).start()
    process.close()
    process.uplink.close()
    return 0


def _let_window_go_first() -> None:
    if hasattr(os, "nice"):
        with suppress(OSError):
            os.nice(NICENESS)
    # Linux may share the cores out by sessions; then this counts, and the process's own niceness within its session only.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICENESS))


def _refuse(stream: IO[bytes], error: Exception) -> None:
    from kafkalab.engine.telemetry.hub import TelemetryHub

    Uplink(stream, TelemetryHub().open_reader(), interval_s=FRAME_INTERVAL_S).send("answer", (0, False, error_parts(error)))


def _reduce_proxy(proxy: MappingProxyType[Any, Any]) -> tuple[Any, ...]:
    return read_only, (dict(proxy),)


def _read_commands(commands: queue.SimpleQueue[str | None]) -> None:
    for line in sys.stdin:
        commands.put(line)
    commands.put(None)


if __name__ == "__main__":
    sys.exit(main())
