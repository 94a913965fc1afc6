"""The settings that say who a node is: Kafka reads them from ``server.properties``, KafkaLab gives them to each node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kafkalab.engine.server.connection import CONTROLLER_LISTENER

if TYPE_CHECKING:
    from kafkalab.engine.server.node import NodeSpec

BROKER_LISTENER: Final = "PLAINTEXT"


def identity_settings(spec: NodeSpec) -> dict[str, str]:
    """What the node's own ``server.properties`` would say, so that DescribeConfigs tells it as set there."""
    listeners = {}
    if "broker" in spec.roles:
        listeners[BROKER_LISTENER] = f"{BROKER_LISTENER}://{spec.host}:{spec.broker_port}"
    if "controller" in spec.roles:
        listeners[CONTROLLER_LISTENER] = f"{CONTROLLER_LISTENER}://{spec.host}:{spec.controller_port}"
    everything = ",".join(listeners.values())
    # A quorum has one or the other: static voters, or somebody to ask.
    quorum = {
        "controller.quorum.voters": ",".join(f"{voter}@{host}:{port}" for voter, (host, port) in sorted(spec.voters.items())),
        "controller.quorum.bootstrap.servers": ",".join(f"{host}:{port}" for host, port in spec.bootstrap_servers),
    }
    return {
        **{name: value for name, value in quorum.items() if value},
        "process.roles": ",".join(role for role in ("broker", "controller") if role in spec.roles),
        "node.id": str(spec.node_id),
        "broker.id": str(spec.node_id),
        "listeners": everything,
        "advertised.listeners": everything,
        "listener.security.protocol.map": f"{CONTROLLER_LISTENER}:PLAINTEXT,{BROKER_LISTENER}:PLAINTEXT",
        "inter.broker.listener.name": BROKER_LISTENER,
        "controller.listener.names": CONTROLLER_LISTENER,
        "log.dirs": ",".join(map(str, spec.directories)),
    }
