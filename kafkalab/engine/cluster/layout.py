"""Who is in the cluster and where each node listens: planned once, then kept in ``cluster.json``.

Brokers are 1 to N and controllers 101 to 100 + N; in combined mode the same ids 1 to N are both. Ports that
nobody asked for are taken from below the ranges that systems use for outgoing connections: a port from
within could be gone when its node comes back.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Final

from kafkalab.engine.cluster.errors import HostError, PortInUse
from kafkalab.engine.common.ids import random_uuid, uuid_from_text, uuid_to_text
from kafkalab.engine.log.meta_properties import META_PROPERTIES_FILE, log_directories

FILE_NAME: Final = "cluster.json"
FILE_VERSION: Final = 1
FIRST_CONTROLLER_ID: Final = 101
NODES_MAX: Final = 99
"""Of each kind: broker ids stay below the first controller's."""
LOG_DIRS_MAX: Final = 16
PORT_MAX: Final = 65_535
FREE_PORTS: Final = range(20_000, 32_000)
PROPOSAL_STEP: Final = 10
PROPOSALS_MAX: Final = 200

BROKER: Final = "broker"
CONTROLLER: Final = "controller"


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node: what it is and where it listens."""

    node_id: int
    roles: frozenset[str]
    broker_port: int | None = None
    controller_port: int | None = None
    has_joined: bool = False
    """A controller that came when the quorum was there already; its settings name nobody, the metadata log does."""
    has_left: bool = False
    """A controller that votes no more and is started no more."""

    @property
    def role(self) -> str:
        """``broker``, ``controller`` or ``broker,controller``."""
        return ",".join(sorted(self.roles))

    @property
    def port(self) -> int:
        """Where clients find it; a controller has only its own listener."""
        port = self.broker_port if self.broker_port is not None else self.controller_port
        assert port is not None, "a node listens somewhere"
        return port

    @property
    def directory_name(self) -> str:
        """Its folder under the cluster's."""
        return f"node-{self.node_id}" if len(self.roles) == 2 else f"{self.role}-{self.node_id}"


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """All nodes, by id, and the id of their cluster."""

    cluster_id: str
    host: str
    nodes: tuple[NodePlan, ...]

    @property
    def voters(self) -> dict[int, tuple[str, int]]:
        """The quorum as it was first: controller ids and their addresses."""
        return {
            node.node_id: (self.host, node.controller_port)
            for node in self.nodes
            if node.controller_port is not None and not node.has_joined
        }

    @property
    def controller_addresses(self) -> tuple[tuple[str, int], ...]:
        """Where all controllers listen, those that joined among them."""
        return tuple((self.host, node.controller_port) for node in self.nodes if node.controller_port is not None)

    @property
    def brokers(self) -> tuple[NodePlan, ...]:
        """Nodes that serve clients, by id."""
        return tuple(node for node in self.nodes if BROKER in node.roles)

    @property
    def controllers(self) -> tuple[NodePlan, ...]:
        """Nodes that vote, by id."""
        return tuple(node for node in self.nodes if CONTROLLER in node.roles)


def roles_of_nodes(brokers: int, controllers: int, *, combined: bool) -> dict[int, frozenset[str]]:
    """Node ids and what each is.

    :raises HostError: when there would be no broker, no controller, or too many.
    """
    for name, count in (("brokers", brokers), ("controllers", controllers)):
        if not 1 <= count <= NODES_MAX:
            raise HostError(f"The number of {name} was {count}; it can be 1 to {NODES_MAX}.")
    roles: dict[int, set[str]] = {node_id: {BROKER} for node_id in range(1, brokers + 1)}
    first = 1 if combined else FIRST_CONTROLLER_ID
    for node_id in range(first, first + controllers):
        roles.setdefault(node_id, set()).add(CONTROLLER)
    return {node_id: frozenset(names) for node_id, names in sorted(roles.items())}


def plan(
    data_dir: Path,
    *,
    brokers: int,
    controllers: int,
    combined: bool,
    port: int,
    host: str,
    rng: Random,
    log_dirs: int = 1,
) -> ClusterPlan:
    """The cluster of this folder: remembered where it ran before, new where not. Writes the folder's file.

    :raises PortInUse: when a port that was asked for belongs to another program.
    :raises HostError: when the folder holds another cluster than the one asked for, or its file is broken.
    """
    if not 0 <= port <= PORT_MAX - brokers + 1:
        raise HostError(f"The port was {port}; with {brokers} brokers it can be 0 (any free ports) to {PORT_MAX - brokers + 1}.")
    roles = roles_of_nodes(brokers, controllers, combined=combined)
    known = _read(data_dir / FILE_NAME)
    gone: set[int] = set()
    if known is not None:
        roles |= {node.node_id: node.roles for node in known.nodes if node.has_joined}
        gone = {node.node_id for node in known.nodes if node.has_left}
        _check_log_dirs(data_dir, known, log_dirs)
        _check_same_quorum(data_dir, known, {node_id for node_id, names in roles.items() if CONTROLLER in names}, roles)
    remembered = {node.node_id: node for node in known.nodes} if known is not None else {}

    nodes = []
    taken: set[int] = set()
    if port:
        taken.update(range(port, port + brokers))
        for wanted in range(port, port + brokers):
            if not is_port_free(host, wanted):
                raise PortInUse(host, wanted, _propose(host, port, brokers), brokers)
    # A node that needs a new port must not take the place of one that comes back later.
    kept = {kept_port for old in remembered.values() for kept_port in (old.broker_port, old.controller_port) if kept_port}
    free = _free_ports(host, taken, kept, rng)
    for node_id, names in sorted(roles.items()):
        old = remembered.get(node_id)
        if node_id in gone:
            continue
        node = NodePlan(node_id, names, has_joined=old is not None and old.has_joined)
        if BROKER in names:
            broker_port = port + node_id - 1 if port else _kept_or_free(host, old.broker_port if old else None, taken, free)
            node = replace(node, broker_port=broker_port)
        if CONTROLLER in names:
            node = replace(node, controller_port=_kept_or_free(host, old.controller_port if old else None, taken, free))
        nodes.append(node)
    # Brokers that are not started this time stay known, with their place and their folder.
    cluster_id = known.cluster_id if known is not None else uuid_to_text(random_uuid(rng))
    result = ClusterPlan(cluster_id, host, tuple(nodes))
    absent = tuple(node for node_id, node in remembered.items() if node_id not in roles or node_id in gone)
    _write(data_dir / FILE_NAME, replace(result, nodes=tuple(sorted((*result.nodes, *absent), key=lambda node: node.node_id))))
    return result


def with_controller(data_dir: Path, cluster: ClusterPlan, rng: Random) -> ClusterPlan:
    """The cluster with one more controller, which is remembered from now on.

    :raises HostError: when there are too many, or no port is free.
    """
    known = _read(data_dir / FILE_NAME) or cluster
    first = max(FIRST_CONTROLLER_ID, *(node.node_id + 1 for node in known.nodes))
    if first >= FIRST_CONTROLLER_ID + NODES_MAX:
        raise HostError(f"There are no more than {NODES_MAX} controllers, those that have left among them.")
    kept = {port for node in known.nodes for port in (node.broker_port, node.controller_port) if port is not None}
    port = next(_free_ports(cluster.host, set(), kept, rng))
    added = NodePlan(first, frozenset({CONTROLLER}), controller_port=port, has_joined=True)
    _write(data_dir / FILE_NAME, replace(known, nodes=(*known.nodes, added)))
    return replace(cluster, nodes=(*cluster.nodes, added))


def without_controller(data_dir: Path, cluster: ClusterPlan, node_id: int) -> ClusterPlan:
    """The cluster without a controller that has left its quorum; that is remembered from now on."""
    known = _read(data_dir / FILE_NAME) or cluster
    left = tuple(replace(node, has_left=True) if node.node_id == node_id else node for node in known.nodes)
    _write(data_dir / FILE_NAME, replace(known, nodes=left))
    return replace(cluster, nodes=tuple(node for node in cluster.nodes if node.node_id != node_id))


def hold_port(host: str, port: int) -> socket.socket | None:
    """Keep the port of a node that is gone from others who look for a free one; whoever connects is refused.

    Closing the socket lets go of it. None where it could not be had.
    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((host, port))
    except OSError:
        held.close()
        return None
    return held


def is_port_free(host: str, port: int, *, unused: bool = False) -> bool:
    """Whether a listener could be bound now; ``unused``: and nobody keeps the port or has left it only just now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if sys.platform == "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        elif not unused:
            # Connections of an earlier run that linger in TIME_WAIT do not make a port busy.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as e:
            if e.errno in (errno.EADDRINUSE, errno.EACCES, getattr(errno, "WSAEADDRINUSE", errno.EADDRINUSE)):
                return False
            raise HostError(f"No listener can be opened on {host}:{port}: {e.strerror or e}.") from e
    return sys.platform != "darwin" or not _answers(host, port)


def _answers(host: str, port: int) -> bool:
    # macOS lets one bind an address beside somebody's wildcard listener.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((host, port)) == 0


def _kept_or_free(host: str, old: int | None, taken: set[int], free: Iterator[int]) -> int:
    port = old if old is not None and old not in taken and is_port_free(host, old) else next(free)
    taken.add(port)
    return port


def _free_ports(host: str, taken: set[int], kept: set[int], rng: Random) -> Iterator[int]:
    # Each program starts somewhere else, so that two that start together rarely meet.
    start = rng.randrange(len(FREE_PORTS))
    for i in range(len(FREE_PORTS)):
        port = FREE_PORTS[(start + i) % len(FREE_PORTS)]
        if port not in taken and port not in kept and is_port_free(host, port, unused=True):
            yield port
    raise HostError(f"No port from {FREE_PORTS.start} to {FREE_PORTS.stop - 1} on {host} is free.")


def _propose(host: str, port: int, count: int) -> int | None:
    """The nearest run of free ports above a busy one."""
    for step in range(1, PROPOSALS_MAX + 1):
        first = port + step * PROPOSAL_STEP
        if first + count - 1 > PORT_MAX:
            return None
        if all(is_port_free(host, candidate) for candidate in range(first, first + count)):
            return first
    return None


def _check_same_quorum(data_dir: Path, known: ClusterPlan, voters: Collection[int], roles: dict[int, frozenset[str]]) -> None:
    # Static voters are the quorum's identity: with others, two leaders of one epoch would be possible.
    old = {node.node_id for node in known.controllers}
    both = {node.node_id: node.roles for node in known.nodes}
    changed = [node_id for node_id, names in roles.items() if both.get(node_id, names) != names]
    if old != set(voters) or changed:
        first = sum(not node.has_joined for node in known.controllers)
        combined = bool(old & {node.node_id for node in known.brokers})
        raise HostError(
            f"The data folder {data_dir} holds a cluster whose controllers are {_listed(old)}; asked for were {_listed(voters)}. "
            f"Its quorum cannot be changed so: start it with {first} controllers{', combined' if combined else ', not combined'}, "
            "or choose another folder."
        )


def _check_log_dirs(data_dir: Path, known: ClusterPlan, asked: int) -> None:
    # What lies where nobody looks would seem to be lost. One that is new is made, as on a broker that is given one more.
    for node in known.nodes:
        folder = data_dir / node.directory_name
        found = max((count for count in range(1, LOG_DIRS_MAX + 1) if _holds_a_log_dir(log_directories(folder, count)[-1])), default=0)
        if found > asked or (found == 1 and asked > 1):
            raise HostError(
                f"The data folder {data_dir} holds nodes with {found} log {'directory' if found == 1 else 'directories'} each; "
                f"asked for {'was' if asked == 1 else 'were'} {asked}. What is in them would not be found: start it with {found}"
                f"{'' if found == 1 else ' or more'}, or choose another folder."
            )


def _holds_a_log_dir(folder: Path) -> bool:
    return (folder / META_PROPERTIES_FILE).exists()


def _listed(ids: Collection[int]) -> str:
    return ", ".join(str(node_id) for node_id in sorted(ids))


def _read(path: Path) -> ClusterPlan | None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as e:
        raise HostError(f"{path} cannot be read: {e}.") from e
    try:
        return _parse(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise HostError(f"{path} is not what KafkaLab wrote there ({type(e).__name__}: {e}). Mend it or choose another folder.") from e


def _parse(data: Any) -> ClusterPlan:
    if data["version"] != FILE_VERSION:
        raise ValueError(f"version is {data['version']!r}, known is {FILE_VERSION}")
    uuid_from_text(data["cluster_id"])
    nodes = []
    for key, value in data["nodes"].items():
        names = frozenset(value["roles"])
        if not names or names - {BROKER, CONTROLLER}:
            raise ValueError(f"roles of node {key} are {sorted(names)!r}")
        nodes.append(
            NodePlan(
                int(key),
                names,
                _port(value["broker_port"]) if BROKER in names else None,
                _port(value["controller_port"]) if CONTROLLER in names else None,
                has_joined=bool(value.get("has_joined", False)),
                has_left=bool(value.get("has_left", False)),
            )
        )
    return ClusterPlan(data["cluster_id"], str(data["host"]), tuple(sorted(nodes, key=lambda node: node.node_id)))


def _port(value: object) -> int:
    if not isinstance(value, int) or not 0 < value <= PORT_MAX:
        raise ValueError(f"{value!r} is no port")
    return value


def _write(path: Path, cluster: ClusterPlan) -> None:
    nodes: dict[str, dict[str, object]] = {}
    for node in cluster.nodes:
        entry: dict[str, object] = {"roles": sorted(node.roles)}
        if node.broker_port is not None:
            entry["broker_port"] = node.broker_port
        if node.controller_port is not None:
            entry["controller_port"] = node.controller_port
        if node.has_joined:
            entry["has_joined"] = True
        if node.has_left:
            entry["has_left"] = True
        nodes[str(node.node_id)] = entry
    data = {"version": FILE_VERSION, "cluster_id": cluster.cluster_id, "host": cluster.host, "nodes": nodes}
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(data, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
