"""The simulator as a stage: virtual time, and every step watched by the simulator's invariants."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kafkalab.engine.metadata.image import BrokerRegistration
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.server.client import NodeNetwork
from kafkalab.engine.simulation.invariants import Invariants
from kafkalab.engine.simulation.loop import SimLoop
from kafkalab.engine.simulation.machine import WALL_START_MS
from kafkalab.engine.simulation.node import SimNode
from kafkalab.engine.simulation.world import SimWorld
from kafkalab.scenarios.stage import (
    CLIENT_ID,
    QUICK,
    REQUEST_WITHIN_S,
    E,
    NodeFiles,
    PartitionState,
    Pending,
    ReplicaState,
    Setup,
    Stage,
    Step,
    setting,
)


class SimStage(Stage):
    """See the module.

    :param seed: what chance there is follows from it.
    :param watched: every step is watched; without, only the script judges.
    """

    name = "simulator"

    def __init__(self, setup: Setup, *, seed: int = 1, watched: bool = True, tell: Callable[[Step], None] | None = None) -> None:
        self.world = SimWorld(
            seed,
            brokers=setup.brokers,
            controllers=setup.controllers,
            config={key: setting(value) for key, value in {**QUICK, **setup.config}.items()},
            log_dirs=setup.log_dirs,
        )
        super().__init__(self.world, tell)
        if watched:
            Invariants(self.world, unclean=setup.may_lose)
        self._began_ms = 0.0
        self._asking: dict[SimLoop, NodeNetwork] = {}

    @property
    def now_s(self) -> float:
        return (self.world.now_ms - self._began_ms) / 1000.0

    def wall_ms(self) -> int:
        return WALL_START_MS + int(self.world.now_ms)

    def sleep(self, seconds: float) -> None:
        self.world.run(seconds * 1000.0)

    def comes_to_be(self, condition: Callable[[], bool], within_s: float) -> bool:
        world = self.world
        until_ms = world.now_ms + within_s * 1000.0
        while not condition():
            if not world.step(until_ms):
                return condition()
        return True

    # --- the cluster -----------------------------------------------------------------------------------

    def start(self) -> None:
        self.world.start()
        self._began_ms = self.world.now_ms

    def close(self) -> None:
        for loop in list(self._asking):
            self._hang_up(loop)
        self.world.close()

    def is_alive(self, node_id: int) -> bool:
        return self.world.nodes[node_id].is_alive

    def files(self, node_id: int) -> NodeFiles:
        return _SimFiles(self.world.nodes[node_id])

    def keep(self) -> str:
        folder = Path(tempfile.mkdtemp(prefix="kafkalab-scenario-"))
        for node in self.world.nodes.values():
            for name, inode in node.storage.files.items():
                path = folder / Path(name).relative_to(Path(name).anchor)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(bytes(inode.content))
        return str(folder)

    # --- what is known ---------------------------------------------------------------------------------

    def active_controller(self) -> int | None:
        return self.world.active_controller()

    def partition(self, topic: str, index: int) -> PartitionState | None:
        image = self.world.image()
        found = None if image is None else image.topics_by_name.get(topic)
        one = None if found is None else found.partitions.get(index)
        if one is None:
            return None
        return PartitionState(
            leader=one.leader if one.leader >= 0 else None,
            leader_epoch=one.leader_epoch,
            partition_epoch=one.partition_epoch,
            replicas=one.replicas,
            isr=tuple(one.isr),
            elr=one.eligible_leader_replicas,
            last_known_elr=one.last_known_elr,
        )

    def replica(self, node_id: int, topic: str, index: int) -> ReplicaState | None:
        node = self.world.nodes[node_id].node
        one = None if node is None or node.replica_manager is None else node.replica_manager.partition((topic, index))
        if one is None:
            return None
        return ReplicaState(
            is_leader=one.is_leader,
            leader_epoch=one.leader_epoch,
            log_start_offset=one.log.log_start_offset,
            log_end_offset=one.log.log_end_offset,
            high_watermark=one.high_watermark,
        )

    def topic_id(self, topic: str) -> uuid.UUID | None:
        image = self.world.image()
        found = None if image is None else image.topics_by_name.get(topic)
        return None if found is None else found.topic_id

    def broker_epoch(self, node_id: int) -> int:
        registration = self._registration(node_id)
        return -1 if registration is None else registration.broker_epoch

    def is_fenced(self, node_id: int) -> bool:
        registration = self._registration(node_id)
        return registration is None or registration.fenced

    def _registration(self, node_id: int) -> BrokerRegistration | None:
        image = self.world.image()
        return None if image is None else image.brokers.get(node_id)

    def events(self, kind: type[E]) -> Sequence[E]:
        return [happening.event for happening in self.world.sink.happenings if isinstance(happening.event, kind)]

    # --- requests --------------------------------------------------------------------------------------

    def send(self, node_id: int, api_key: ApiKey, version: int, body: Mapping[str, Any], within_s: float = REQUEST_WITHIN_S) -> Pending:
        pending = Pending()
        loop = self.world.client_loop()
        network = self._asking[loop] = NodeNetwork(loop.as_asyncio, CLIENT_ID, self._address_of)

        def answered(response: Any | None) -> None:
            pending.finish(response)
            # Not from within the connection's own call.
            self.world.at(self.world.now_ms, lambda: self._hang_up(loop))

        loop.run(lambda: network.send(node_id, api_key, body, answered, timeout_ms=within_s * 1000.0, version=version))
        return pending

    def _address_of(self, node_id: int) -> tuple[str, int] | None:
        spec = self.world.nodes[node_id].spec
        port = spec.broker_port or spec.controller_port
        return None if port is None else (spec.host, port)

    def _hang_up(self, loop: SimLoop) -> None:
        network = self._asking.pop(loop, None)
        if network is not None:
            loop.run(network.close)
            loop.kill()
            self.world.network.drop(loop)


class _SimFiles(NodeFiles):
    """Of a node's disks in memory; what is written here is on the disk at once."""

    def __init__(self, node: SimNode) -> None:
        self._node = node
        self._storage = node.storage
        self._root = node.spec.directories[0]

    def names(self, folder: str) -> list[str]:
        path = self._root / folder
        if not self._storage.is_dir(path):
            return []
        return sorted(f"{folder}/{name}" for name in self._storage.list_dir(path) if not self._storage.is_dir(path / name))

    def read(self, name: str) -> bytes:
        return self._storage.read(self._root / name)

    def write(self, name: str, content: bytes) -> None:
        self._tampered()
        self._storage.replace(self._root / name, content)

    def remove(self, name: str) -> None:
        self._tampered()
        self._storage.remove(self._root / name)

    def _tampered(self) -> None:
        # To the simulator's watch it is as if the power had gone: what was on this disk may not be there any more.
        self._node.power_losses += 1
