"""Nodes in processes of their own: real signals."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kafkalab import Lab
from kafkalab.engine.cluster.node_process import spec_from_json, spec_to_json
from kafkalab.engine.faults.network import CLIENTS, LinkFault
from kafkalab.engine.server.node import NodeSpec
from kafkalab.engine.telemetry.events import Event, NodeKilled, NodeStarted, NodeStopped

QUICK = {"broker.session.timeout.ms": 1_500, "broker.heartbeat.interval.ms": 300}
WAIT_S = 60.0

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


def test_a_spec_survives_its_way_to_the_child() -> None:
    spec = NodeSpec(
        node_id=1,
        roles=frozenset({"broker", "controller"}),
        data_dir=Path("/data/node 1"),
        cluster_id="MkU3OEVBNTcwNTJENDM2Qk",
        host="127.0.0.1",
        broker_port=9092,
        controller_port=None,
        voters={1: ("127.0.0.1", 9093)},
        config={"num.partitions": "3"},
        link_faults=(LinkFault(1, 2, is_cut=True), LinkFault(CLIENTS, 1, delay_ms=20.0, loss=0.1)),
        clock_offset_ms=-7,
    )
    assert spec_from_json(spec_to_json(spec, log_level=logging.INFO)) == (spec, logging.INFO)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(brokers=2, controllers=1, isolation="process", config=QUICK) as lab:
        yield lab


def next_of(lab: Lab, kind: type[Event], act: object) -> Event:
    reader = lab.hub.open_reader()
    act()  # type: ignore[operator]
    while True:
        assert reader.wait_changed(WAIT_S), f"no {kind.__name__} came"
        for event in reader.drain()[0]:
            if isinstance(event, kind):
                return event


def is_running(pid: int) -> bool:
    """Whether a process lives: one that nobody has buried yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pid_of(lab: Lab, node_id: int) -> int:
    pid = lab.describe().node(node_id).pid
    assert pid is not None
    return pid


def test_each_node_has_its_own_process_and_a_kill_ends_it(lab: Lab) -> None:
    pids = {node.pid for node in lab.describe().nodes}
    assert len(pids) == 3 and os.getpid() not in pids
    pid = pid_of(lab, 1)
    event = next_of(lab, NodeKilled, lambda: lab.kill(1))
    assert isinstance(event, NodeKilled) and (event.node_id, event.cause) == (1, "you")
    assert not is_running(pid)
    assert lab.describe().node(1).pid is None
    lab.restart(1)
    lab.wait_until_healthy(WAIT_S)
    assert pid_of(lab, 1) != pid


@pytest.mark.expects_warnings
def test_somebody_elses_kill_is_noticed(lab: Lab) -> None:
    pid = pid_of(lab, 2)
    event = next_of(lab, NodeKilled, lambda: os.kill(pid, signal.SIGKILL))
    assert isinstance(event, NodeKilled) and (event.node_id, event.cause) == (2, "signal 9")
    assert lab.describe().node(2).state == "killed"
    lab.restart(2)
    lab.wait_until_healthy(WAIT_S)


@pytest.mark.expects_warnings
def test_somebody_elses_sigterm_is_a_controlled_shutdown(lab: Lab) -> None:
    pid = pid_of(lab, 2)
    event = next_of(lab, NodeStopped, lambda: os.kill(pid, signal.SIGTERM))
    assert isinstance(event, NodeStopped) and (event.node_id, event.cause) == (2, "signal 15")
    assert lab.describe().node(2).state == "stopped"


def test_a_paused_process_is_stopped_by_the_system(lab: Lab) -> None:
    lab.pause(2)
    stat = Path(f"/proc/{pid_of(lab, 2)}/stat")
    if stat.exists():
        assert stat.read_text().rpartition(")")[2].split()[0] == "T"
    lab.resume(2)
    lab.wait_until_healthy(WAIT_S)
    lab.pause(1)
    lab.stop(1)
    assert lab.describe().node(1).state == "stopped"


def test_a_childs_telemetry_names_its_process() -> None:
    lab = Lab(brokers=1, controllers=1, isolation="process")
    reader = lab.hub.open_reader()
    with lab:
        started = {event.node_id: event.pid for event in reader.drain()[0] if isinstance(event, NodeStarted)}
        assert started == {node.node_id: node.pid for node in lab.describe().nodes}


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux lets one wait for somebody else's child")
def test_children_do_not_outlive_a_host_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kafkalab", "serve", "--port", "0", "--brokers", "1", "--controllers", "1", "--isolation", "process"]
    with subprocess.Popen([*command, "--data-dir", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as host:
        assert host.stdout is not None
        children = []
        for line in host.stdout:
            if line.startswith("READY"):
                break
            children.append(os.pidfd_open(int(line.rpartition("pid=")[2])))
        host.kill()
    assert len(children) == 2
    for child in children:
        assert select.select([child], [], [], WAIT_S)[0], "a node lives on without its host"
        os.close(child)
    # It had nobody to hand anything over to, but its files are whole.
    assert list(tmp_path.rglob(".kafka_cleanshutdown"))


def test_links_and_clocks_are_set_while_a_process_is_paused_too(lab: Lab) -> None:
    lab.isolate(1, 2)
    lab.pause(1)
    # Nobody waits for it to say so.
    lab.heal()
    lab.jump_clock(1, 5)
    lab.resume(1)
    lab.jump_clock(1, -5)
    lab.wait_until_healthy(WAIT_S)
    lab.create_topic("after", 1, 2)
