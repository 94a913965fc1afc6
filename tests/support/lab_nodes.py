"""Single nodes of KafkaLab that join a quorum of somebody else's, or that somebody else joins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from kafkalab.engine.server.identity import identity_settings
from kafkalab.engine.server.node import NodeRunner, NodeSpec
from kafkalab.engine.telemetry.hub import TelemetryHub
from tests.support.apache_kafka import free_port

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 15.0


class LabNodes:
    """Nodes in threads of this process, each with its own address from the start, none of them started yet."""

    def __init__(self, directory: Path, cluster_id: str, *, config: Mapping[str, str] | None = None) -> None:
        self.hub = TelemetryHub()
        self._directory = directory
        self._cluster_id = cluster_id
        self._config = dict(config or {})
        self._specs: dict[int, NodeSpec] = {}
        self._runners: dict[int, NodeRunner] = {}

    def add(
        self,
        node_id: int,
        role: str,
        voters: Mapping[int, tuple[str, int]],
        *,
        port: int | None = None,
        bootstrap_servers: Sequence[tuple[str, int]] = (),
    ) -> None:
        """Plan a node: ``broker`` or ``controller``. Without voters it asks the bootstrap servers who they are."""
        port = free_port() if port is None else port
        self._specs[node_id] = NodeSpec(
            node_id=node_id,
            roles=frozenset({role}),
            data_dir=self.data_dir(node_id),
            cluster_id=self._cluster_id,
            host="127.0.0.1",
            broker_port=port if role == "broker" else None,
            controller_port=port if role == "controller" else None,
            voters=voters,
            bootstrap_servers=tuple(bootstrap_servers),
            config=self._config,
        )

    def data_dir(self, node_id: int) -> Path:
        """Where a node keeps its files."""
        return self._directory / f"lab-{node_id}"

    def properties_file(self, node_id: int) -> Path:
        """What a node's ``server.properties`` would be, for tools that want it."""
        file = self._directory / f"lab-{node_id}.properties"
        settings = {**self._config, **identity_settings(self._specs[node_id])}
        file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return file

    @property
    def bootstrap_servers(self) -> str:
        """The brokers' addresses."""
        return ",".join(f"{spec.host}:{spec.broker_port}" for spec in self._specs.values() if spec.broker_port is not None)

    @property
    def brokers(self) -> dict[int, str]:
        """The addresses of the brokers that are alive."""
        alive = ((node_id, self._specs[node_id]) for node_id, runner in self._runners.items() if runner.is_alive)
        return {node_id: f"{spec.host}:{spec.broker_port}" for node_id, spec in alive if spec.broker_port is not None}

    def runner(self, node_id: int) -> NodeRunner:
        """A node that was started."""
        return self._runners[node_id]

    def start(self, *node_ids: int) -> None:
        """Start these nodes, or all, and wait until they have their ports."""
        for node_id in node_ids or self._specs:
            runner = self._runners[node_id] = NodeRunner(self._specs[node_id], self.hub)
            runner.start()
        for node_id in node_ids or self._specs:
            self._runners[node_id].wait_ready(START_TIMEOUT_S)

    def kill(self, node_id: int) -> None:
        """End a node as SIGKILL would."""
        self._runners[node_id].kill()

    def stop(self, node_id: int) -> None:
        """Stop a node in order."""
        self._runners[node_id].stop(STOP_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # Brokers first: they need the quorum to leave in order. Controllers have nobody left to hand over to.
        for node_id in sorted(self._runners, key=lambda node_id: "broker" not in self._specs[node_id].roles):
            runner = self._runners[node_id]
            if runner.is_alive and error is None:
                runner.stop(STOP_TIMEOUT_S, hands_over="broker" in self._specs[node_id].roles)
            elif runner.is_alive:
                runner.kill()
