"""``kafkalab serve``: a cluster on standard output, a line for each node, and ``READY`` when a record got through."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from kafkalab.engine.cluster.collector import collect_rarely
from kafkalab.engine.cluster.errors import ClusterStartError, HostError
from kafkalab.engine.cluster.host import ClusterHost, Isolation
from kafkalab.engine.cluster.settings import read_settings
from kafkalab.engine.cluster.signals import END_SIGNALS, heard_signals
from kafkalab.engine.common.config import ConfigError

_log = logging.getLogger(__name__)

READY_TIMEOUT_S: Final = 60.0
EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What was asked for on the command line."""

    brokers: int
    controllers: int
    combined: bool
    port: int
    data_dir: Path | None
    config: tuple[str, ...]
    config_file: Path | None
    isolation: str
    log_dirs: int = 1
    orders: bool = False
    """Whether to be told on standard input what to do to the cluster."""


def run(options: ServeOptions) -> int:
    """Run a cluster until a signal comes. The exit status."""
    started_at = time.monotonic() - _process_age_s()
    try:
        host = ClusterHost(
            brokers=options.brokers,
            controllers=options.controllers,
            combined=options.combined,
            port=options.port,
            data_dir=options.data_dir,
            config=read_settings(options.config, options.config_file),
            isolation=cast(Isolation, options.isolation),
            log_dirs=options.log_dirs,
        )
    except (ConfigError, HostError) as e:
        _say(f"kafkalab serve: {e}")
        return EXIT_USAGE

    collect_rarely()
    ends: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    signals: list[int] = []

    def stop(number: int) -> None:
        signals.append(number)
        if len(signals) == 1:
            ends.put(None)
        elif len(signals) == 3:
            # Who insists does not want to wait for an orderly end.
            threading.Thread(target=host.kill_all, name="kafkalab-kill", daemon=True).start()

    with heard_signals(END_SIGNALS, stop):
        threading.Thread(target=_serve, args=(host, started_at, ends, options.orders), name="kafkalab-serve", daemon=True).start()
        status = ends.get()
        if status is None:
            _log.info("stopping")
        host.close()
    return EXIT_OK if status is None else status


def _serve(host: ClusterHost, started_at: float, ends: queue.SimpleQueue[int | None], orders: bool) -> None:
    try:
        try:
            host.start()
        except ClusterStartError as e:
            # The others go on. Each failure is in the log already, where it happened.
            _log.error("%s of %s nodes did not start", len(e.failures), len(host.node_ids))
        snapshot = host.describe()
        running = [node for node in snapshot.nodes if node.is_running]
        for node in sorted(running, key=lambda node: ("broker" in node.roles, node.node_id)):
            _print(f"NODE {','.join(sorted(node.roles))} {node.node_id} {node.address} pid={node.pid}")
        ready_at = host.wait_until_ready(READY_TIMEOUT_S)
        bootstrap = ",".join(node.address for node in running if "broker" in node.roles)
        _print(f"READY bootstrap={bootstrap} seconds={ready_at - started_at:.2f}")
        if orders:
            from kafkalab.cli.orders import obey

            threading.Thread(target=obey, args=(host, sys.stdin, _print), name="kafkalab-orders", daemon=True).start()
        host.wait_until_all_gone()
        if not host.is_closing:
            _say("kafkalab serve: no node is left running")
    except HostError as e:
        if not host.is_closing:
            _say(f"kafkalab serve: {e}")
    except Exception:
        _log.exception("serving failed")
    ends.put(EXIT_FAILED)


def _process_age_s() -> float:
    """How long ago this process began, its imports included, where the system tells."""
    try:
        # The fields after the name, which may hold anything, start with the third: the start time is the 22nd.
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0


def _print(line: str) -> None:
    with suppress(OSError):  # Who reads the first lines only does not end the cluster with that.
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
