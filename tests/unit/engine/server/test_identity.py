"""Who a node is, as DescribeConfigs tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafkalab.engine.common.config import BrokerConfig, ConfigSource, broker_config_view
from kafkalab.engine.server.identity import identity_settings
from kafkalab.engine.server.node import NodeSpec


def spec(*roles: str) -> NodeSpec:
    return NodeSpec(
        node_id=1,
        roles=frozenset(roles),
        data_dir=Path("/data/node-1"),
        cluster_id="c",
        host="127.0.0.1",
        broker_port=9092,
        controller_port=19093,
        voters={102: ("127.0.0.1", 2), 101: ("127.0.0.1", 1)},
    )


@pytest.mark.parametrize(
    ("roles", "process_roles", "listeners"),
    [
        (("broker",), "broker", "PLAINTEXT://127.0.0.1:9092"),
        (("controller",), "controller", "CONTROLLER://127.0.0.1:19093"),
        (("controller", "broker"), "broker,controller", "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:19093"),
    ],
)
def test_identity_is_told_as_set_in_the_nodes_properties(roles: tuple[str, ...], process_roles: str, listeners: str) -> None:
    entries = {entry.name: entry for entry in broker_config_view(BrokerConfig(identity_settings(spec(*roles))))}
    for name, value in (
        ("process.roles", process_roles),
        ("node.id", "1"),
        ("broker.id", "1"),
        ("listeners", listeners),
        ("advertised.listeners", listeners),
        ("controller.quorum.voters", "101@127.0.0.1:1,102@127.0.0.1:2"),
        ("log.dirs", str(Path("/data/node-1"))),
    ):
        assert (entries[name].value, entries[name].source) == (value, ConfigSource.STATIC_BROKER_CONFIG), name
