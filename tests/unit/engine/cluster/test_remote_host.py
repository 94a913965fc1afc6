"""A cluster in a real child process, as the window has it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kafkalab.engine.cluster.errors import DataDirInUse, HostError, PortInUse, RequestRefused
from kafkalab.engine.cluster.remote_host import RemoteClusterHost, dismiss, spawn_host_process
from kafkalab.engine.common.config import ConfigError
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.telemetry.events import NodeKilled, NodeStarted, NodeStopped
from kafkalab.engine.telemetry.levels import ClockKey, LinksKey, ReplicaKey, SegmentsKey, TopicKey

QUICK = {"broker.session.timeout.ms": "1500", "broker.heartbeat.interval.ms": "300"}
WAIT_S = 60.0


@pytest.fixture
def host(tmp_path: Path) -> Iterator[RemoteClusterHost]:
    host = RemoteClusterHost(1, 1, data_dir=tmp_path / "data", config=QUICK)
    yield host
    host.close()


def test_before_the_start_there_is_nobody(host: RemoteClusterHost) -> None:
    assert host.is_alive and host.pid != os.getpid()
    assert (host.node_ids, host.broker_ids, host.controller_ids) == ((), (), ())
    with pytest.raises(HostError, match="was not started"):
        _ = host.bootstrap_servers
    with pytest.raises(HostError, match="no node 1"):
        host.kill(1)


def test_a_life_of_a_cluster(host: RemoteClusterHost, tmp_path: Path) -> None:
    reader = host.hub.open_reader()
    host.start()
    host.wait_until_ready(WAIT_S)
    assert (sorted(host.node_ids), host.broker_ids, host.controller_ids) == ([1, 101], (1,), (101,))
    assert host.data_dir == tmp_path / "data"
    started = [event for event in reader.drain(10_000)[0] if isinstance(event, NodeStarted)]
    assert [(event.node_id, event.pid) for event in started] == [(101, host.pid), (1, host.pid)]
    with socket.create_connection(("127.0.0.1", int(host.bootstrap_servers.rpartition(":")[2])), timeout=WAIT_S):
        pass

    host.create_topic("orders", 2, 1)
    host.wait_until_healthy(WAIT_S)
    assert TopicKey("orders") in host.hub.levels()
    assert len(host.describe().topics["orders"].partitions) == 2
    with pytest.raises(RequestRefused) as refused:
        host.create_topic("orders", 2, 1)
    assert refused.value.error is Errors.TOPIC_ALREADY_EXISTS
    assert "orders" in str(refused.value)
    host.delete_topic("orders")

    host.pause(1)
    with pytest.raises(HostError, match="cannot be paused: it is paused"):
        host.pause(1)
    host.resume(1)
    host.kill(1)
    # Who has the answer has what came of it.
    killed = [event for event in reader.drain(10_000)[0] if isinstance(event, NodeKilled)]
    assert [(event.node_id, event.cause) for event in killed] == [(1, "you")]
    assert host.describe().node(1).state == "killed"
    assert not any(isinstance(key, ReplicaKey) for key in host.hub.levels() if getattr(key, "node_id", None) == 1)
    host.restart(1)
    assert host.describe().node(1).is_running
    host.stop(1)
    host.start_node(1)
    assert host.describe().cluster_id == host.cluster_id

    host.close()
    stopped = [event.node_id for event in reader.drain(10_000)[0] if isinstance(event, NodeStopped)]
    assert stopped == [1, 1, 101]
    assert not psutil.pid_exists(host.pid)
    assert host.is_closing and not host.is_alive
    with pytest.raises(HostError, match="closed"):
        host.kill(1)
    host.close()


def test_all_nodes_can_be_killed_at_once(host: RemoteClusterHost) -> None:
    host.start()
    assert not host.wait_until_all_gone(0.0)
    host.kill_all()
    assert host.wait_until_all_gone(0.0)


def test_errors_come_back_as_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"num\.partitons") as wrong:
        RemoteClusterHost(data_dir=tmp_path / "none", config={"num.partitons": "3"})
    assert wrong.value.key == "num.partitons"
    with pytest.raises(HostError, match="'fibre'"):
        RemoteClusterHost(data_dir=tmp_path / "none", isolation="fibre")
    assert not (tmp_path / "none").exists()

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        host = RemoteClusterHost(1, 1, port=port, data_dir=tmp_path / "busy")
        with pytest.raises(PortInUse) as busy:
            host.start()
        assert busy.value.port == port and busy.value.proposed_port is not None
        host.close()

    first = RemoteClusterHost(1, 1, data_dir=tmp_path / "data")
    second = RemoteClusterHost(1, 1, data_dir=tmp_path / "data")
    first.start()
    with pytest.raises(DataDirInUse) as in_use:
        second.start()
    assert in_use.value.pid == first.pid
    second.close()
    first.close()


@pytest.mark.expects_warnings
def test_disks_break_and_power_fails_in_the_child(tmp_path: Path) -> None:
    host = RemoteClusterHost(1, 1, data_dir=tmp_path)
    reader = host.hub.open_reader()
    host.start()
    try:
        host.wait_until_ready(WAIT_S)
        with pytest.raises(HostError, match="no log directory 2"):
            host.break_disk(1, 2)
        host.fill_disk(1, free_bytes=1 << 40)
        host.break_disk(1, kind="read_only")
        host.heal_disk(1)
        host.restart(1)
        host.power_loss(1)
        causes = [event.cause for event in reader.drain(10_000)[0] if isinstance(event, NodeKilled)]
        assert causes == ["a power cut"]
    finally:
        host.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.expects_warnings
def test_a_child_that_is_killed_takes_its_nodes_along(tmp_path: Path) -> None:
    told: list[str] = []
    ended = threading.Event()

    def on_ended(why: str) -> None:
        told.append(why)
        ended.set()

    host = RemoteClusterHost(1, 1, data_dir=tmp_path, on_ended=on_ended)
    reader = host.hub.open_reader()
    host.start()
    host.wait_until_ready(WAIT_S)
    host.kill(1)
    host.restart(1)
    host.isolate(1, 101)
    host.jump_clock(1, 5)
    reader.drain(10_000)
    waiting: list[HostError] = []

    def wait() -> None:
        try:
            host.wait_until_all_gone()
            host.create_topic("late")
        except HostError as e:
            waiting.append(e)

    waiter = threading.Thread(target=wait)
    waiter.start()
    os.kill(host.pid, signal.SIGKILL)
    assert ended.wait(WAIT_S)
    killed = [(event.node_id, event.cause) for event in reader.drain(10_000)[0] if isinstance(event, NodeKilled)]
    assert sorted(killed) == [(1, "signal 9"), (101, "signal 9")]
    assert told == ["The process of the cluster ended (signal 9)."]
    # The next host knows nothing of what this one made to fail.
    assert not any(isinstance(key, LinksKey | ClockKey | SegmentsKey) for key in host.hub.levels())
    waiter.join(WAIT_S)
    assert "signal 9" in str(waiting[0])
    with pytest.raises(HostError, match="signal 9"):
        host.kill(1)
    host.kill_all()
    host.close()

    again = RemoteClusterHost(1, 1, data_dir=tmp_path, hub=host.hub)
    again.start()
    again.wait_until_ready(WAIT_S)
    again.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_nodes_may_have_processes_of_their_own_below_it(tmp_path: Path) -> None:
    host = RemoteClusterHost(1, 1, data_dir=tmp_path, config=QUICK, isolation="process")
    host.start()
    pids = {node.pid for node in host.describe().nodes}
    assert len(pids) == 2 and host.pid not in pids
    assert {process.pid for process in psutil.Process(host.pid).children()} == pids
    host.close()
    assert not any(psutil.pid_exists(pid) for pid in pids if pid is not None)


def test_a_parent_that_is_gone_is_an_orderly_end(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from kafkalab.engine.cluster.remote_host import RemoteClusterHost\n"
        "host = RemoteClusterHost(1, 1, data_dir=Path(sys.argv[1])); host.start()\n"
        "print(host.pid, flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=True)
    try:
        psutil.Process(int(done.stdout)).wait(WAIT_S)
    except psutil.NoSuchProcess:
        pass
    assert list(tmp_path.rglob(".kafka_cleanshutdown"))


def test_a_child_nobody_wants_ends() -> None:
    process = spawn_host_process()
    dismiss(process)
    assert process.returncode == 0
    early = spawn_host_process()
    host = RemoteClusterHost(1, 1, process=early)
    assert host.pid == early.pid
    host.close()
    assert early.returncode == 0


def test_a_controller_comes_and_goes(host: RemoteClusterHost) -> None:
    host.start()
    host.wait_until_ready(WAIT_S)
    added = host.add_controller()
    assert host.controller_ids == (101, added)
    host.isolate(added, 1)
    host.heal()
    host.remove_controller(added)
    assert host.controller_ids == (101,)
    with pytest.raises(HostError, match=f"no node {added}"):
        host.kill(added)
