"""Who is where, and what is remembered of it."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from random import Random

import pytest

from kafkalab.engine.cluster.errors import HostError, PortInUse
from kafkalab.engine.cluster.layout import FREE_PORTS, PORT_MAX, ClusterPlan, is_port_free, plan, roles_of_nodes

HOST = "127.0.0.1"


def planned(path: Path, **changes: object) -> ClusterPlan:
    arguments = {"brokers": 3, "controllers": 3, "combined": False, "port": 0, "host": HOST, "rng": Random(7), **changes}
    return plan(path, **arguments)  # type: ignore[arg-type]


def test_brokers_count_from_one_and_controllers_from_101() -> None:
    roles = roles_of_nodes(2, 3, combined=False)
    assert {node_id: sorted(names) for node_id, names in roles.items()} == {
        1: ["broker"],
        2: ["broker"],
        101: ["controller"],
        102: ["controller"],
        103: ["controller"],
    }


def test_combined_nodes_are_both() -> None:
    roles = roles_of_nodes(4, 3, combined=True)
    assert [",".join(sorted(roles[node_id])) for node_id in (1, 2, 3, 4)] == ["broker,controller"] * 3 + ["broker"]


@pytest.mark.parametrize(("brokers", "controllers"), [(0, 3), (3, 0), (100, 1), (-1, 3)])
def test_numbers_that_make_no_cluster_are_refused(brokers: int, controllers: int) -> None:
    with pytest.raises(HostError, match="it can be 1 to 99"):
        roles_of_nodes(brokers, controllers, combined=False)


def test_ports_nobody_asked_for_are_free_distinct_and_outside_the_systems_own_range(tmp_path: Path) -> None:
    cluster = planned(tmp_path)
    ports = [node.port for node in cluster.nodes]
    assert len(set(ports)) == 6
    assert all(port in FREE_PORTS for port in ports)
    assert set(cluster.voters) == {101, 102, 103}


def test_a_restart_keeps_id_and_addresses(tmp_path: Path) -> None:
    first = planned(tmp_path)
    assert planned(tmp_path, rng=Random(8)) == first


def test_a_port_that_is_given_moves_brokers_only(tmp_path: Path) -> None:
    first = planned(tmp_path)
    port = next(
        one for one in range(first.nodes[-1].port + 100, PORT_MAX) if all(is_port_free(HOST, one + i, unused=True) for i in range(3))
    )
    second = planned(tmp_path, port=port)
    assert [node.broker_port for node in second.brokers] == [port, port + 1, port + 2]
    assert second.voters == first.voters
    assert second.cluster_id == first.cluster_id


def test_a_remembered_controller_port_that_is_taken_is_replaced(tmp_path: Path) -> None:
    first = planned(tmp_path)
    old = first.voters[101][1]
    with socket.create_server((HOST, old)):
        second = planned(tmp_path)
    assert second.voters[101][1] != old
    assert second.voters[102] == first.voters[102]


def test_a_busy_port_is_named_and_another_proposed(tmp_path: Path) -> None:
    base = planned(tmp_path).brokers[0].port
    with socket.create_server((HOST, base + 1)), pytest.raises(PortInUse) as caught:
        planned(tmp_path, port=base)
    assert caught.value.port == base + 1
    proposed = caught.value.proposed_port
    assert proposed is not None and all(is_port_free(HOST, proposed + i) for i in range(3))
    assert f"Port {base + 1} on 127.0.0.1 is in use" in str(caught.value)
    assert f"start with port {proposed}" in str(caught.value)


@pytest.mark.parametrize("port", [-1, 65_534, 70_000])
def test_a_port_that_does_not_exist_is_refused(tmp_path: Path, port: int) -> None:
    with pytest.raises(HostError, match=f"The port was {port}; with 3 brokers it can be 0"):
        planned(tmp_path, port=port)


def test_brokers_may_be_added_and_left_out(tmp_path: Path) -> None:
    first = planned(tmp_path)
    more = planned(tmp_path, brokers=5)
    assert more.brokers[:3] == first.brokers
    assert [node.node_id for node in planned(tmp_path, brokers=1).brokers] == [1]
    assert planned(tmp_path, brokers=5) == more


@pytest.mark.parametrize("changes", [{"controllers": 1}, {"combined": True}, {"controllers": 5}])
def test_another_quorum_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    planned(tmp_path)
    with pytest.raises(HostError, match=r"controllers are 101, 102, 103.*start it with 3 controllers, not combined"):
        planned(tmp_path, **changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"version": 2}',
        '{"version": 1, "cluster_id": "x", "host": "h", "nodes": {}}',
        json.dumps({"version": 1, "cluster_id": "A" * 22, "host": "h", "nodes": {"1": {"roles": ["broker"], "broker_port": "9092"}}}),
        json.dumps({"version": 1, "cluster_id": "A" * 22, "host": "h", "nodes": {"1": {"roles": []}}}),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(HostError, match=r"cluster\.json is not what KafkaLab wrote there"):
        planned(tmp_path)


def test_nodes_are_not_looked_for_in_other_log_directories(tmp_path: Path) -> None:
    """What lies where nobody looks would be as good as lost, and the node would begin anew."""
    one, three = tmp_path / "one", tmp_path / "three"
    for folder, directories in ((one, ["."]), (three, ["dir-1", "dir-2", "dir-3"])):
        folder.mkdir()
        planned(folder)
        for directory in directories:
            (folder / "broker-2" / directory).mkdir(parents=True)
            (folder / "broker-2" / directory / "meta.properties").touch()
    for folder, log_dirs in ((one, 1), (three, 3), (three, 4)):
        planned(folder, log_dirs=log_dirs)
    remembered = (one / "cluster.json").read_text()
    with pytest.raises(HostError, match=r"1 log directory each; asked for were 2\. .* start it with 1, or choose another folder"):
        planned(one, log_dirs=2, brokers=4)
    assert (one / "cluster.json").read_text() == remembered
    for fewer in (1, 2):
        with pytest.raises(HostError, match=rf"3 log directories each; asked for w\w+ {fewer}\. .* start it with 3 or more,"):
            planned(three, log_dirs=fewer)
